"""One name for two things of a pair: refused by that name, and what the refusal advises works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import TRAIN, P, follow

from ppl_vae import backends

REMEDIES = {
    "Each site, plate and parameter of a program needs a name of its own: rename one of them": {
        "pyro": "z",
        "numpyro": "z",
    },
    "The parameter {} has the name of a site of the other program, and NumPyro would take its value for that site's: "
    "rename the parameter": {"numpyro": "x"},
}
"""Part of the text -> backend -> a name of the guide's parameter that is wrong."""


def programs(backend: str, parameter: str, plate: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A linear pair; a parameter and a plate of the guide have these names."""
    if backend == "pyro":

        def model(x: torch.Tensor) -> None:
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(P), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        def guide(x: torch.Tensor) -> None:
            loc = pyro.param(parameter, torch.zeros(P))
            with pyro.plate(plate, len(x)):
                pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

        return model, guide

    def np_model(x: Any) -> None:
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", npdist.Normal(jnp.zeros(P), 1.0).to_event(1))
            numpyro.sample("x", npdist.Normal(z, 1.0).to_event(1), obs=x)

    def np_guide(x: Any) -> None:
        loc = numpyro.param(parameter, jnp.zeros(P))
        with numpyro.plate(plate, len(x)):
            numpyro.sample("z", npdist.Normal(loc, 1.0).to_event(1))

    return np_model, np_guide


def prepared(backend: str, parameter: str = "m", plate: str = "data") -> Any:
    own = backends.load(backend).inference.Pair(*programs(backend, parameter, plate))
    own.prepare(TRAIN[:20], 0)
    return own.sites.latent[0].name


@pytest.mark.parametrize(("says", "backend"), [(says, b) for says, names in REMEDIES.items() for b in names])
def test_the_advice_works(says: str, backend: str) -> None:
    wrong = REMEDIES[says][backend]
    follow(says, None, lambda _: prepared(backend, wrong), lambda _: prepared(backend, "m"))


@pytest.mark.parametrize("backend", backends.NAMES)
def test_a_plate_of_a_sites_name_is_refused(backend: str) -> None:
    with pytest.raises(ValueError, match="needs a name of its own"):
        prepared(backend, plate="z")


def test_a_parameter_of_an_observed_sites_name_changes_nothing_on_pyro() -> None:
    """NumPyro refuses it, because its handlers would put the parameter in the place of the data."""
    inference = backends.load("pyro").inference
    losses = [
        inference.SVI(epochs=1, batch_size=20).fit(*programs("pyro", name, "data"), TRAIN, seed=0).history["loss"]
        for name in ("x", "m")
    ]
    np.testing.assert_array_equal(*losses)
