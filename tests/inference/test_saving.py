"""What trains can be saved, whatever values its sites observe and whatever type its settings have."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from numpyro.contrib.module import nnx_module
from pairs import P as PIXELS
from pairs import toy

from ppl_vae import backends, baselines, critics, data, evaluation, recipes, schedules, seeds, strategies
from ppl_vae.cli import config
from ppl_vae.cli.commands import fit as fit_command
from ppl_vae.cli.main import parser
from ppl_vae.results import Fit
from ppl_vae.runtime import storage

N, P = 20, 6
RNG = np.random.default_rng(3)
UNIT = RNG.dirichlet(np.ones(P), N)
ONE_HOT = np.eye(P)[np.arange(N) % P]
REAL = RNG.normal(size=(N, P))

SUPPORTS: dict[str, tuple[np.ndarray, dict[str, Callable[[Any, Any, Any], tuple[Any, Any]]]]] = {
    "simplex": (UNIT, {"x": lambda d, h, x: (d.Dirichlet(_positive(h)), x)}),
    "positive": (np.exp(REAL), {"x": lambda d, h, x: (d.LogNormal(h, 1.0).to_event(1), x)}),
    "gamma": (np.exp(REAL), {"x": lambda d, h, x: (d.Gamma(_positive(h) + 2.0, 1.0).to_event(1), x)}),
    "one-hot": (ONE_HOT, {"x": lambda d, h, x: (_one_hot(d, h), x)}),
    "counts": (RNG.poisson(3.0, (N, P)), {"x": lambda d, h, x: (d.Poisson(_positive(h)).to_event(1), x)}),
    "category": (np.c_[np.arange(N) % P], {"x": lambda d, h, x: (d.Categorical(logits=h), _whole(x[..., 0]))}),
    "two sites": (
        np.c_[REAL[:, :3], np.eye(3)[np.arange(N) % 3]],
        {
            "number": lambda d, h, x: (d.Normal(h[..., :3], 1.0).to_event(1), x[..., :3]),
            "kind": lambda d, h, x: (_one_hot(d, h[..., 3:]), x[..., 3:]),
        },
    ),
    "reordered": (
        np.c_[np.exp(REAL[:, :3]), REAL[:, 3:]],
        {
            "second": lambda d, h, x: (d.Normal(h[..., :3], 1.0).to_event(1), x[..., 3:]),
            "first": lambda d, h, x: (d.LogNormal(h[..., 3:], 1.0).to_event(1), x[..., :3]),
        },
    ),
}
"""Data, and the sites that observe them: (distributions, decoder's numbers, x) -> (distribution, value)."""


def _positive(h: Any) -> Any:
    return (h / 20).exp() if isinstance(h, torch.Tensor) else jnp.exp(h / 20)


def _whole(x: Any) -> Any:
    return x.long() if isinstance(x, torch.Tensor) else x.astype(int)


def _one_hot(d: Any, h: Any) -> Any:
    return d.OneHotCategorical(logits=h) if d is dist else d.Multinomial(1, logits=h)


def program(backend: backends.Backend, sites: dict[str, Any], width: int) -> tuple[Any, Any]:
    """A user's own pair that observes these sites."""
    rng = np.random.default_rng(0)
    decoder, encoder = backend.nets.MLP((2, P), rng), backend.nets.MLP((width, 4), rng)
    on_pyro = backend.name == "pyro"
    sample, plate, d = (pyro.sample, pyro.plate, dist) if on_pyro else (numpyro.sample, numpyro.plate, npdist)
    module, zeros = (pyro.module, torch.zeros) if on_pyro else (nnx_module, jnp.zeros)

    def model(x: Any) -> None:
        net = module("decoder", decoder)
        with plate("data", len(x), dim=-1):
            h = net(sample("z", d.Normal(zeros(2), 1.0).to_event(1)))
            for name, site in sites.items():
                fn, value = site(d, h, x)
                sample(name, fn, obs=value)

    def guide(x: Any) -> None:
        out = module("encoder", encoder)(x)
        with plate("data", len(x), dim=-1):
            sample("z", d.Normal(out[..., :2] / 20, _positive(out[..., 2:])).to_event(1))

    return model, guide


@pytest.mark.release("numpyro", keep=["category", "two sites"])
@pytest.mark.parametrize("name", SUPPORTS)
def test_a_fit_of_any_support_is_saved_and_loaded(name: str, backend: backends.Backend, tmp_path: Path) -> None:
    """Dirichlet, counts, one-hot, several sites ...: zeros are no data of most of them."""
    x, sites = SUPPORTS[name]
    pair = program(backend, sites, x.shape[1])
    svi = backend.inference.SVI(epochs=1, batch_size=10)
    fit = svi.fit(*pair, x, checkpoint=tmp_path / "c", progress=False)
    loaded = Fit.load(fit.save(tmp_path / "fit"), pair=pair)
    gone_on = svi.fit(*pair, x, checkpoint=tmp_path / "c", resume=True, progress=False)
    expected = fit.terms(x, 3, seed=1).log_weights
    assert np.isfinite(expected).all()
    for again in (loaded, gone_on):
        np.testing.assert_array_equal(again.terms(x, 3, seed=1).log_weights, expected)


def test_a_loaded_fit_is_told_from_another_where_zeros_are_no_data(backend: backends.Backend, tmp_path: Path) -> None:
    x, sites = SUPPORTS["positive"]
    saved = Fit.untrained(backend.inference.Pair(*program(backend, sites, P)), x).save(tmp_path / "fit")
    wider = {"x": lambda d, h, x: (d.LogNormal(h, 2.0).to_event(1), x)}
    with pytest.raises(ValueError, match="another model"):
        Fit.load(saved, pair=program(backend, wider, P))


def test_no_datum_is_written_where_zeros_serve(backend: backends.Backend, tmp_path: Path) -> None:
    bernoulli = {"x": lambda d, h, x: (d.Bernoulli(logits=h).to_event(1), x)}
    written = {}
    for name, sites in {"zeros": bernoulli, "datum": SUPPORTS["positive"][1]}.items():
        x = SUPPORTS["positive"][0] if name == "datum" else ONE_HOT
        fit = Fit.untrained(backend.inference.Pair(*program(backend, sites, P)), x)
        written[name] = storage.read(fit.save(tmp_path / name))[1]["example"]
    assert written == {"zeros": None, "datum": {"x": [SUPPORTS["positive"][0][0].tolist()]}}


def test_data_with_hidden_values_are_saved_too(backend: backends.Backend, tmp_path: Path) -> None:
    """The zeros behind a mask are no data of a LogNormal; nor are blank side inputs some of logarithms."""
    x, mask = SUPPORTS["positive"][0], np.arange(N * P).reshape(N, P) % 5 > 0
    on_pyro = backend.name == "pyro"
    sample, plate, d = (pyro.sample, pyro.plate, dist) if on_pyro else (numpyro.sample, numpyro.plate, npdist)
    net = backend.nets.MLP((2, P), np.random.default_rng(0))
    module, zeros = (pyro.module, torch.zeros) if on_pyro else (nnx_module, jnp.zeros)

    def model(x: Any, *, mask: Any = None, given: Any) -> None:
        decoder = module("decoder", net)
        with plate("data", len(x), dim=-1):
            h = decoder(sample("z", d.Normal(zeros(2), 1.0).to_event(1))) + (torch if on_pyro else jnp).log(given)
            seen = d.LogNormal(h, 1.0)
            x = x if mask is None else (torch if on_pyro else jnp).where(mask, x, 1.0)
            sample("x", (seen if mask is None else seen.mask(mask)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        with plate("data", len(x), dim=-1):
            shift = pyro.param("shift", zeros(2)) if on_pyro else numpyro.param("shift", zeros(2))
            sample("z", d.Normal(shift, 1.0).to_event(1))

    side = {"mask": mask, "given": x[:, :1]}
    svi = backend.inference.SVI(epochs=1, batch_size=10)
    fit = svi.fit(model, guide, np.where(mask, x, np.nan), **side, checkpoint=tmp_path / "c", progress=False)
    loaded = Fit.load(fit.save(tmp_path / "fit"), pair=(model, guide))
    np.testing.assert_array_equal(*(f.terms(x, 3, **side).log_weights for f in (loaded, fit)))
    assert fit.reconstruct(x, **side).shape == x.shape  # what the program puts in hidden places is not asked


# Several observed sites


def test_several_sites_are_reconstructed_side_by_side_if_they_are_x(backend: backends.Backend) -> None:
    x, sites = SUPPORTS["two sites"]
    rng = np.random.default_rng(0)
    decoder = backend.nets.MLP((2, P), rng)  # the weights that ``program`` draws
    fit = Fit.untrained(backend.inference.Pair(*program(backend, sites, P)), x)
    z = fit.pair.sample(x, 1, 5)[0]["z"][0]
    h = np.asarray(decoder(torch.tensor(z)).detach() if backend.name == "pyro" else decoder(z))
    odds = np.exp(h[:, 3:])
    expected = np.c_[h[:, :3], odds / odds.sum(-1, keepdims=True)]
    np.testing.assert_allclose(fit.pair.predict(x, 1, 5)[0][0], expected, rtol=1e-4, atol=1e-5)
    assert fit.reconstruct(x).shape == x.shape and fit.pair.predict(x, 3, 5)[0].shape == (3, *x.shape)


@pytest.mark.parametrize("name", ["reordered", "logarithms"])
def test_a_mean_of_unknown_columns_is_refused(name: str, backend: backends.Backend) -> None:
    logarithms = {"x": lambda d, h, x: (d.Normal(h, 1.0).to_event(1), (torch if d is dist else jnp).log(x))}
    x, sites = SUPPORTS["reordered"] if name == "reordered" else (SUPPORTS["positive"][0], logarithms)
    fit = Fit.untrained(backend.inference.Pair(*program(backend, sites, P)), x)
    with pytest.raises(ValueError, match=f"side by side, are x .*'{next(iter(sites))}'.* trace fit.model"):
        fit.reconstruct(x)


def test_several_sites_are_not_generated_as_one(backend: backends.Backend) -> None:
    x, sites = SUPPORTS["two sites"]
    fit = Fit.untrained(backend.inference.Pair(*program(backend, sites, P)), x)
    for ask in (fit.generate, lambda: fit.decode(np.zeros((1, 2)))):
        with pytest.raises(ValueError, match="observes the sites 'number', 'kind'"):
            ask()


# Settings x writers

NUMBERS: dict[str, Callable[[Any], Any]] = {
    "scalars": lambda v: np.array(v, np.float32 if isinstance(v, float) and v == float(np.float32(v)) else None)[()],
    "arrays": np.array,
}
"""Python's numbers as NumPy computes them, in single precision where they are the same in it."""


def of_numpy(value: Any, kind: str) -> Any:
    """A setting, or the settings of a dataclass, with every number in it as one of NumPy's."""
    if isinstance(value, bool | int | float):
        return NUMBERS[kind](value)
    if isinstance(value, tuple):
        return np.array(value) if kind == "arrays" else tuple(of_numpy(v, kind) for v in value)
    if isinstance(value, recipes.Recipe):
        numbers = {n: of_numpy(v, kind) for n, v in {**vars(value), **value.settings}.items() if n != "settings"}
        return recipes.Recipe(**numbers)
    if dataclasses.is_dataclass(value) and not isinstance(value, data.Split):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return type(value)(**{name: of_numpy(v, kind) for name, v in fields.items()})
    return [of_numpy(v, kind) for v in value] if isinstance(value, list) else value


def svi_of(backend: backends.Backend) -> Any:
    """Settings of a training, none of which is the default."""
    i = backend.inference
    loss = i.TraceELBO(2, beta=schedules.Linear(0.25, 1.0, over=2), chunk=1)
    numbers = {"learning_rate": 2**-8, "clip_norm": 8.0, "validation_particles": 2, "patience": 2}
    more = {"epochs": 1, "batch_size": 20, "checkpoint_every": 2, "epoch_size": 40, "check_stock": False}
    return i.SVI(loss, learning_rate_factor=schedules.Exponential(1.0, 0.5, over=4.0), **numbers, **more)


SETTINGS: dict[str, Callable[[backends.Backend], list[Any]]] = {
    "trainings": lambda b: [svi_of(b), b.inference.SVI(local_steps=3, local_learning_rate=0.5, freeze_model=True)],
    "strategies": lambda b: [
        strategies.svi(name.replace("-N", "-4"), b.name, epochs=3) for name in strategies.spellings()
    ],
    "schedules": lambda b: [
        schedules.Linear(0.0, 1.0, 20),
        schedules.Exponential(1.0, 0.5, over=10.0),
        schedules.PiecewiseConstant((1.0, 0.5, 0.25), boundaries=(2.0, 4.0)),
    ],
    "players": lambda b: [critics.Critic((5, 4), 0.25, (0.5, 0.75)), baselines.Neural(0.5, (7,), learning_rate=0.5)],
    "recipes": lambda b: [
        recipes.vae((2, 3), prior="mixture", latent_dim=3, hidden=(5, 4), gated=True, backend=b.name),
        recipes.vae((4, 4), net="conv", channels=(3,), backend=b.name, guide="per-datapoint", num_images=7),
        recipes.conditional_vae((4,), 3, latents="gaussian", backend=b.name),
    ],
}


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("what", SETTINGS)
def test_numbers_of_numpy_are_kept_as_pythons(what: str, kind: str, backend: backends.Backend) -> None:
    for plain in SETTINGS[what](backend):
        kept = of_numpy(plain, kind)
        assert repr(kept) == repr(plain)
        if hasattr(plain, "to_dict"):
            assert json.dumps(kept.to_dict()) == json.dumps(plain.to_dict())


@pytest.mark.release("numpyro")
def test_whatever_writes_writes_the_same(backend: backends.Backend, tmp_path: Path) -> None:
    """Fit, checkpoint, recipe, study and report, from NumPy's numbers and from Python's."""
    x = toy(40)
    split = data.from_arrays(x, x[:8], x[:8], binarisation="fixed")
    pair = recipes.vae((PIXELS,), latent_dim=2, hidden=(4,), backend=backend.name)
    told: dict[str, list[Any]] = {}
    for name, convert in {"plain": lambda v: v, "numpy": lambda v: of_numpy(v, "scalars")}.items():
        folder, recipe, svi, seed = tmp_path / name, convert(pair), convert(svi_of(backend)), convert(3)
        model = recipe(seeds.generator(3, "weights"))
        fit = svi.fit(*model, split, seed=seed, checkpoint=folder / "c", progress=False)
        fit = svi.fit(*model, split, seed=seed, checkpoint=folder / "c", resume=True, progress=False)
        loaded = Fit.load(fit.save(folder / "fit", recipe=recipe))
        cell = evaluation.Cell("own", backend.name, recipe, svi)
        numbers = {"num_particles": convert(4), "elbo_particles": convert(2)}
        study = evaluation.Study(folder / "study", split, [cell], convert((3,)), **numbers)
        study.run(progress=False)
        evaluation.write_report(study)
        headers = [storage.read(folder / file)[1] for file in ("c", "fit")]
        headers += json.loads((folder / "study" / "results.json").read_text())
        headers += [json.loads(file.read_text()) for file in sorted(study.folder.rglob("settings.json"))]
        told[name] = [*map(timeless, headers), evaluation.elbo(loaded, x, 3).mean]
    assert told["numpy"] == told["plain"]


CLOCKS = {"seconds", "compilation", "memory", "seconds_per_step", "peak_memory", "elapsed"}


def timeless(value: Any) -> Any:
    """A record without what a clock or the memory of a process says."""
    if isinstance(value, dict):
        return {name: timeless(v) for name, v in value.items() if name not in CLOCKS}
    return [timeless(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", NUMBERS)
def test_a_configuration_holds_numbers_of_numpy(kind: str, tmp_path: Path) -> None:
    chosen = {**fit_command.defaults(), "data": "digits", "hidden": [3, 4], "beta": 0.5, "gated": True}
    for name, options in {"plain": chosen, "numpy": {n: of_numpy(v, kind) for n, v in chosen.items()}}.items():
        config.write(tmp_path / name, options, "")
    assert (tmp_path / "numpy").read_text() == (tmp_path / "plain").read_text()
    assert config.read(tmp_path / "numpy", parser().parse_args(["fit"]).parser)["hidden"] == [3, 4]


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("activation", np.tanh, "a text"),
        ("hidden", (lambda: 5,), "a whole number"),
        ("hidden", (4.5,), "a whole number"),
        ("latent_dim", 2.5, "a whole number"),
        ("levels", object(), "a whole number"),
    ],
)
def test_what_no_file_can_hold_is_no_setting_of_a_recipe(name: str, value: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' should be {kind}.*; got"):
        recipes.vae((PIXELS,), **{name: value})


def test_units_may_be_computed() -> None:
    assert recipes.vae((PIXELS,), hidden=np.geomspace(16, 4, 3)).hidden == (16, 8, 4)


def test_a_fit_is_copied(backend: backends.Backend) -> None:
    """On Pyro a copy ran the caller's nets as they were, without a word; on NumPyro a device could not be copied."""
    x, sites = SUPPORTS["positive"]
    pair = program(backend, sites, x.shape[1])
    fit = backend.inference.SVI(epochs=3, batch_size=10).fit(*pair, x)
    before = fit.encode(x)
    again = copy.deepcopy(fit)
    np.testing.assert_array_equal(again.encode(x), before)
    again.pair.load_state({name: 0 * value for name, value in again.pair.state().items()})
    np.testing.assert_array_equal(fit.encode(x), before)
    assert not again.encode(x).any() and before.any()
