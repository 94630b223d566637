"""Attend, infer, repeat: its windows, its limits, and both backends on the same numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from numpyro import handlers
from pairs import STOCK, common_names, distance, skip_if_broken
from pyro import poutine
from scipy.stats import norm

from ppl_vae import backends, recipes, seeds
from ppl_vae.arrays.windows import Windows

SHAPE, MOST, D = (12, 10), 2, 3
P = SHAPE[0] * SHAPE[1]
RNG = np.random.default_rng(0)
X = RNG.random((5, P)).astype(np.float32)


def pair(backend: backends.Backend | str, **settings: Any) -> tuple[Any, Any]:
    name = backend if isinstance(backend, str) else backend.name
    small = {"side": 4.0, "spread": 0.3, "resolution": 5, "latent_dim": D, "hidden": (9, 8), "most": MOST}
    return recipes.attend_infer_repeat(SHAPE, seeds.generator(0, "weights"), backend=name, **{**small, **settings})


def values(count: np.ndarray, most: int = MOST) -> dict[str, np.ndarray]:
    """A value of each latent site, with the numbers of objects that are given, (B,)."""
    rng = np.random.default_rng(1)
    drawn = {"count": count[:, None].astype(np.int64)}
    for t in range(most):
        drawn |= {f"where_{t}": rng.normal(size=(len(count), 3)), f"what_{t}": rng.normal(size=(len(count), D))}
    return drawn


def log_densities(backend: backends.Backend, model: Any, guide: Any, x: np.ndarray, given: Any) -> dict[str, Any]:
    """Site -> log p in the model, 'q ' + site -> log q in the guide, (B,) each, at the given values."""
    if backend.name == "numpyro":
        return jax.jit(lambda: _log_densities(model, guide, jnp.asarray(x), jax.tree.map(jnp.asarray, given)))()
    kinds = {n: torch.long if n == "count" else torch.get_default_dtype() for n in given}
    tensors = {n: torch.as_tensor(v).to(kinds[n]) for n, v in given.items()}
    return _log_densities(model, guide, torch.as_tensor(x).to(torch.get_default_dtype()), tensors)


def _log_densities(model: Any, guide: Any, x: Any, given: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for prefix, program in (("", model), ("q ", guide)):
        if isinstance(x, torch.Tensor):
            sites = poutine.trace(poutine.condition(program, data=given)).get_trace(x).nodes
        else:
            sites = handlers.trace(handlers.seed(handlers.condition(program, data=given), 0)).get_trace(x)
        for name, site in sites.items():
            if name in (*given, "x"):
                found[prefix + name] = site["fn"].log_prob(site["value"])
    return found


# --- windows ---


def coordinates(windows: Windows, top: float, left: float, side: float) -> np.ndarray:
    """The coordinates (1, 3) of a window, by the inverse of their definition."""
    free = [(size - side) for size in windows.shape]
    shift = [np.arctanh(2 * edge / room - 1) for edge, room in zip((top, left), free, strict=True)]
    return np.array([[np.log(side / windows.typical) / windows.spread, *shift]])


def test_a_window_on_whole_pixels_copies_them() -> None:
    """Written, read and wiped, with a side of as many pixels as it shows, nothing is interpolated."""
    windows = Windows(SHAPE, 5, typical=4.0, spread=0.3)
    where, patch = coordinates(windows, 3, 2, 5), RNG.random((1, 25))
    image = np.zeros((1, *SHAPE))
    image[:, 3:8, 2:7] = patch.reshape(1, 5, 5)
    np.testing.assert_allclose(windows.write(patch, where), image.reshape(1, -1), atol=1e-12)
    np.testing.assert_allclose(windows.read(image.reshape(1, -1), where), patch, atol=1e-12)
    noise = RNG.random((1, *SHAPE))
    left = windows.wipe(noise.reshape(1, -1), where).reshape(1, *SHAPE)
    np.testing.assert_allclose(left[:, 3:8, 2:7], 0, atol=1e-12)
    left[:, 3:8, 2:7] = noise[:, 3:8, 2:7]
    np.testing.assert_allclose(left, noise, atol=1e-12)


@pytest.mark.parametrize("side", [2.5, 5.0, 7.3])
def test_a_window_of_any_size_keeps_what_is_the_same_everywhere(side: float) -> None:
    """An even image is even in each window; a wiped pixel loses what the window covers, side^2 in all."""
    windows = Windows(SHAPE, 5, typical=4.0, spread=0.3)
    where = coordinates(windows, 2.2, 1.3, side)
    np.testing.assert_allclose(windows.read(np.full((1, P), 0.7), where), 0.7, atol=1e-12)
    assert (1 - windows.wipe(np.ones((1, P)), where)).sum() == pytest.approx(side**2)
    middle = windows.write(np.full((1, 25), 0.7), where).reshape(SHAPE)[3:5, 2:4]
    if side > 4:
        np.testing.assert_allclose(middle, 0.7, atol=1e-12)


def test_a_linear_image_is_read_exactly() -> None:
    """Linear interpolation of a + b row + c column: its values at the centres of the window's pixels."""
    windows = Windows(SHAPE, 5, typical=4.0, spread=0.3)
    top, left, side = 3.4, 2.7, 4.0
    rows, columns = (edge + side * (np.arange(5) + 0.5) / 5 - 0.5 for edge in (top, left))
    image = 0.3 + 0.2 * np.arange(SHAPE[0])[:, None] - 0.1 * np.arange(SHAPE[1])
    exact = 0.3 + 0.2 * rows[:, None] - 0.1 * columns
    seen = windows.read(image.reshape(1, -1), coordinates(windows, top, left, side))
    np.testing.assert_allclose(seen.reshape(5, 5), exact, atol=1e-12)


def test_a_window_never_leaves_the_image() -> None:
    windows = Windows(SHAPE, 5, typical=4.0, spread=0.5)
    top, left, side = windows.edges(RNG.normal(size=(1000, 3)) * 5)
    assert (top >= 0).all() and (left >= 0).all() and side.max() == 10
    assert (top + side <= SHAPE[0] + 1e-9).all() and (left + side <= SHAPE[1] + 1e-9).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"side": 11.0}, "'typical' above 0 and at most"),
        ({"side": 0.0}, "'typical' above 0"),
        ({"resolution": 0}, "'resolution' at least 1"),
        ({"spread": -1.0}, "'spread' should be at least 0"),
        ({"most": 0}, "'most' should be at least 1"),
    ],
)
def test_windows_that_cannot_be_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        pair("pyro", **settings)


# --- the pair ---


def test_what_is_absent_adds_nothing(backend: backends.Backend) -> None:
    """Of absent objects log p = log q exactly, and x does not depend on them: at 0 objects it is N(0, scale^2)."""
    count = np.array([0, 1, 2, 0, 1])
    model, guide = pair(backend)
    found = {n: np.array(v.tolist()) for n, v in log_densities(backend, model, guide, X, values(count)).items()}
    for t in range(MOST):
        for site in (f"where_{t}", f"what_{t}"):
            absent, there = count <= t, count > t
            np.testing.assert_array_equal(found[site][absent], found["q " + site][absent])
            assert (np.abs(found[site] - found["q " + site])[there] > 1e-3).all()
    empty = norm.logpdf(X, scale=0.3).sum(1)
    np.testing.assert_allclose(found["x"][count == 0], empty[count == 0], rtol=1e-5)
    assert (np.abs(found["x"] - empty)[count > 0] > 1e-3).all()
    np.testing.assert_allclose(found["count"], -np.log(3), rtol=1e-6)


def test_one_object_as_large_as_the_image_is_a_vae(backend: backends.Backend) -> None:
    """The window covers all of a square image, pixel by pixel: p(x | 1 object) is the decoder's."""
    square, side = (6, 6), 6
    rng = np.random.default_rng(0)
    settings = {"most": 1, "side": 6.0, "spread": 0.0, "resolution": side, "latent_dim": D, "hidden": (9,)}
    model, guide = recipes.attend_infer_repeat(square, rng, backend=backend.name, **settings)
    x, given = X[:, :36], values(np.ones(5), most=1)
    found = log_densities(backend, model, guide, x, given)["x"]
    what = given["what_0"].astype(np.float32)
    array = torch.as_tensor if backend.name == "pyro" else jnp.asarray
    logits = np.array(model.likelihood.net.net(array(what)).tolist())
    mean = 1 / (1 + np.exp(2 - logits))
    np.testing.assert_allclose(np.array(found.tolist()), norm.logpdf(x, mean, 0.3).sum(1), rtol=1e-4)


def test_the_backends_agree_on_every_site_and_its_gradient(float64: None) -> None:
    """Same weights, and at the same values the same log-densities, and the gradients of their sum."""
    count, sums = np.array([2, 1, 2, 0, 1]), []
    ours = backends.load("pyro").inference.Pair(*pair("pyro"))
    theirs = backends.load("numpyro").inference.Pair(*pair("numpyro"))
    starts = [
        {n: v for n, v in common_names(p.state()).items() if "loc" not in n and "logits" not in n}
        for p in (ours, theirs)
    ]
    assert distance(*starts) == 0.0
    with ours.active() as (model, guide):
        found = log_densities(backends.load("pyro"), model, guide, X.astype(float), values(count))
        total = sum(v.sum() for v in found.values())
    parameters = ours.named_parameters()
    slopes = torch.autograd.grad(total, list(parameters.values()), allow_unused=True, materialize_grads=True)
    sums.append({**{n: g.numpy() for n, g in zip(parameters, slopes, strict=True)}})

    def of(params: Any) -> Any:
        model, guide = theirs.structure.programs(params, theirs.constants)
        again = log_densities(backends.load("numpyro"), model, guide, X.astype(float), values(count))
        return sum(v.sum() for v in again.values()), again

    (_, again), theirs.params = jax.jit(jax.value_and_grad(of, has_aux=True))(theirs.params)
    sums.append(common_names({n: v for n, v in theirs.state().items() if n.startswith("params")}))
    assert distance(*sums) < 1e-10
    assert (
        distance({n: v.detach().numpy() for n, v in found.items()}, {n: np.asarray(v) for n, v in again.items()})
        < 1e-10
    )


@pytest.mark.release("numpyro", keep=["vimco"])
@pytest.mark.parametrize("loss", ["vimco", "enumeration", "stock"])
def test_objectives_for_any_latents_train_it(backend: backends.Backend, loss: str) -> None:
    """Every weight that an objective reaches moves, and the loss is a number, under a stock objective too."""
    own = backend.inference
    losses = {
        "vimco": lambda: own.VIMCO(2),
        "enumeration": lambda: own.TraceEnumELBO(),
        "stock": STOCK[backend.name][2],
    }
    if loss == "stock":
        skip_if_broken(backend, losses[loss])
    before = backend.inference.Pair(*pair(backend)).state()
    fit = own.SVI(losses[loss](), epochs=1, batch_size=5).fit(*pair(backend), X)
    after = fit.pair.state()
    still = {n for n in before if (before[n] == after[n]).all()}
    assert not {n for n in common_names(dict.fromkeys(still, 0)) if "loc" not in n and "logits" not in n}
    assert np.isfinite(fit.history["loss"]).all()
