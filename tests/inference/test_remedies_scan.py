"""The steps of NumPyro's scan: refused, under the plate and in it, and what the refusal advises works."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from pairs import TRAIN, follow

from ppl_vae import backends

X = TRAIN[:20, :2]
REMEDIES = {
    "Put steps into a Python loop, each a site, or draw the whole path as one site, as priors.Markov does": "loop"
}
"""Part of the text -> what it advises."""


def programs(steps: str) -> tuple[Any, Any]:
    """A walk of two steps; its guide knows one number."""

    def walk(drift: Any, x: Any, observed: bool) -> None:
        def step(z: Any, x_t: Any, name: str = "") -> tuple[Any, Any]:
            z = numpyro.sample(f"z{name}", dist.Normal(z + drift, 1.0))
            if observed:
                numpyro.sample(f"x{name}", dist.Normal(z, 1.0), obs=x_t)
            return z, z

        def planted(z: Any, x_t: Any) -> tuple[Any, Any]:
            with numpyro.plate("data", len(x)):
                return step(z, x_t)

        z = jnp.zeros(len(x))
        if steps == "scan in the plate":
            scan(planted, z, x.T)
            return
        with numpyro.plate("data", len(x)):
            if steps == "scan":
                scan(step, z, x.T)
            else:
                for t in range(2):
                    z, _ = step(z, x[:, t], str(t))

    def guide(x: Any) -> None:
        walk(numpyro.param("drift", jnp.zeros(())), x, False)

    return lambda x: walk(0.0, x, True), guide


def trained(steps: str) -> Any:
    return backends.load("numpyro").inference.SVI(epochs=1, batch_size=20).fit(*programs(steps), X)


@pytest.mark.parametrize("says", REMEDIES)
@pytest.mark.parametrize("steps", ["scan", "scan in the plate"])
def test_the_advice_works(steps: str, says: str) -> None:
    follow(says, None, lambda _: trained(steps), lambda _: trained(REMEDIES[says]))
