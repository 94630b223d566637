"""DiagNormalMixture: a direct float64 evaluation, closed forms, the other backend, and what it keeps in memory."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as ndist
import pyro
import pyro.distributions as pdist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpyro import handlers
from pyro import poutine
from scipy.special import logsumexp, softmax
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from ppl_vae import distributions as pyro_side
from ppl_vae.numpyro import distributions as numpyro_side

Arrays = tuple[np.ndarray, ...]
BACKENDS = ["pyro", "numpyro"]
SCALES = [1.0, 0.1, 0.05, 0.01, 0.001]


def problem(scale: float, rows: int = 100, components: int = 500, dim: int = 40) -> Arrays:
    """float32 (z, loc, scale, logits): means spread by 1.5 around 3, each z drawn from some component."""
    rng = np.random.default_rng(0)
    loc = 3 + 1.5 * rng.standard_normal((components, dim))
    scales = scale * np.exp(0.3 * rng.standard_normal((components, dim)))
    c = rng.integers(components, size=rows)
    z = loc[c] + scales[c] * rng.standard_normal((rows, dim))
    return tuple(a.astype(np.float32) for a in (z, loc, scales, rng.standard_normal(components)))


def reference(z: Any, loc: Any, scale: Any, logits: Any) -> np.ndarray:
    """The mixture's log-density by direct evaluation in float64, a row at a time."""
    z, loc, scale, logits = (np.asarray(a, np.float64) for a in (z, loc, scale, logits))
    weights = logits - logsumexp(logits) - np.log(scale).sum(-1) - 0.5 * np.log(2 * np.pi) * loc.shape[-1]
    rows = [logsumexp(weights - 0.5 * (((row - loc) / scale) ** 2).sum(-1)) for row in z.reshape(-1, z.shape[-1])]
    return np.array(rows).reshape(z.shape[:-1])


def log_prob(backend: str, z: Any, *params: Any, batch_shape: tuple[int, ...] = ()) -> np.ndarray:
    if backend == "pyro":
        z, *params = map(torch.as_tensor, (z, *params))
        return pyro_side.DiagNormalMixture(*params).expand(batch_shape).log_prob(z).numpy()
    return np.asarray(JAX_LOG_PROB(numpyro_side.DiagNormalMixture(*params).expand(batch_shape), z))


def jax_sum(z: Any, *params: Any) -> jax.Array:
    return numpyro_side.DiagNormalMixture(*params).log_prob(z).sum()


JAX_LOG_PROB = jax.jit(lambda d, z: d.log_prob(z))
JAX_GRADIENTS = jax.jit(jax.grad(jax_sum, (0, 1, 2, 3)))


def gradients(backend: str, *args: Any) -> list[np.ndarray]:
    """Of the summed log-density with respect to z, loc, scale and logits."""
    if backend == "numpyro":
        return [np.asarray(g) for g in JAX_GRADIENTS(*args)]
    leaves = [torch.tensor(a, requires_grad=True) for a in args]
    total = pyro_side.DiagNormalMixture(*leaves[1:]).log_prob(leaves[0]).sum()
    return [g.numpy() for g in torch.autograd.grad(total, leaves)]


def naive_gradients(*args: Any) -> list[np.ndarray]:
    """The same by float64 autograd of the stock mixture, which builds the (B, C, D) tensor."""
    leaves = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in args]
    components = pdist.Normal(leaves[1], leaves[2]).to_event(1)
    total = pdist.MixtureSameFamily(pdist.Categorical(logits=leaves[3]), components).log_prob(leaves[0]).sum()
    return [g.numpy() for g in torch.autograd.grad(total, leaves)]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("scale", SCALES)
def test_log_density_is_right_however_sharp_the_components(scale: float) -> None:
    args = problem(scale)
    values = {b: log_prob(b, *args) for b in BACKENDS}
    for value in values.values():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, reference(*args), rtol=0, atol=1e-4)
    np.testing.assert_allclose(values["pyro"], values["numpyro"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", SCALES)
def test_gradients_are_right_however_sharp_the_components(scale: float) -> None:
    args = problem(scale, rows=20, components=50)
    ours = {b: gradients(b, *args) for b in BACKENDS}
    for pyros, numpyros, naive in zip(ours["pyro"], ours["numpyro"], naive_gradients(*args), strict=True):
        assert pyros.dtype == numpyros.dtype == np.float32
        assert distance(pyros, naive) < 1e-5
        assert distance(numpyros, naive) < 1e-5


@pytest.mark.parametrize(("scale", "nats"), [(1.0, 1e-11), (0.05, 1e-10), (0.01, 1e-9), (0.001, 1e-7)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_float64_stays_float64(backend: str, scale: float, nats: float) -> None:
    """What is left of the cancellation: about 1e-16 (spread / scale)^2."""
    args = [a.astype(np.float64) for a in problem(scale, rows=20, components=50)]
    with jax.enable_x64(True):
        value, slopes = log_prob(backend, *args), gradients(backend, *args)
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, reference(*args), rtol=0, atol=nats)
    assert max(distance(g, n) for g, n in zip(slopes, naive_gradients(*args), strict=True)) < 10 * nats


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_component_or_equal_components_are_a_normal(backend: str) -> None:
    z, loc, scale, logits = problem(0.3, rows=7, components=6, dim=4)
    normal = pdist.Normal(torch.tensor(loc[0]), torch.tensor(scale[0])).to_event(1).log_prob(torch.tensor(z)).numpy()
    np.testing.assert_allclose(log_prob(backend, z, loc[:1], scale[:1], logits[:1]), normal, rtol=1e-5)
    repeated = (np.repeat(a[:1], 6, 0) for a in (loc, scale))
    np.testing.assert_allclose(log_prob(backend, z, *repeated, logits), normal, rtol=1e-5)


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_density_integrates_to_one(backend: str, dim: int) -> None:
    loc, scale = np.array([[-1.0, 0.5], [2.0, -1.0]])[:, :dim], np.array([[0.5, 0.7], [0.6, 0.4]])[:, :dim]
    step = 0.05
    axis = np.arange(-6, 6, step)
    grid = np.stack(np.meshgrid(*[axis] * dim), -1).astype(np.float32)
    density = np.exp(log_prob(backend, grid, *(a.astype(np.float32) for a in (loc, scale)), np.float32([0.3, -1])))
    assert density.sum() * step**dim == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sample_moments_are_mean_and_variance(backend: str) -> None:
    n, (_, loc, scale, logits) = 20_000, problem(0.5, components=3, dim=2)
    if backend == "pyro":
        d = pyro_side.DiagNormalMixture(*map(torch.tensor, (loc, scale, logits))).expand((2,))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            draws = d.sample((n,)).numpy()
    else:
        d = numpyro_side.DiagNormalMixture(loc, scale, logits).expand((2,))
        draws = np.asarray(d.sample(jax.random.key(0), (n,)))
    mean, variance = np.asarray(d.mean), np.asarray(d.variance)
    assert not d.has_rsample
    assert draws.shape == (n, 2, 2) and mean.shape == variance.shape == (2, 2)
    assert (np.abs(draws.mean(0) - mean) < 4.5 * np.sqrt(variance / n)).all()
    deviations = (draws - mean) ** 2
    assert (np.abs(deviations.mean(0) - variance) < 4.5 * deviations.std(0) / np.sqrt(n)).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 3), max_size=3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 1000))
def test_any_shape_and_any_order_of_components(leading: list[int], components: int, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z, loc, raw = (rng.standard_normal((*s, dim)).astype(np.float32) for s in (leading, (components,), (components,)))
    params, order = (loc, np.exp(raw), raw[:, 0]), rng.permutation(components)
    for batch_shape in ((), tuple(leading), (4, *leading)):
        value = log_prob("pyro", z, *params, batch_shape=batch_shape)
        expected = np.broadcast_to(reference(z, *params), np.broadcast_shapes(batch_shape, tuple(leading)))
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)
        shuffled = log_prob("pyro", z, *(a[order] for a in params), batch_shape=batch_shape)
        np.testing.assert_allclose(shuffled, value, rtol=1e-5, atol=1e-5)
        d = pyro_side.DiagNormalMixture(*map(torch.tensor, params)).expand(batch_shape)
        assert d.sample((2,)).shape == (2, *batch_shape, dim)


@pytest.mark.parametrize(
    ("leading", "batch_shape"), [((), ()), ((3,), (3,)), ((), (3,)), ((2, 3), (3,)), ((3,), (2, 3))]
)
def test_mirror_has_the_same_shapes_and_order(leading: tuple[int, ...], batch_shape: tuple[int, ...]) -> None:
    z, *params = problem(0.5, rows=6, components=5, dim=2)
    z = z[: int(np.prod(leading))].reshape(*leading, 2)
    value = log_prob("numpyro", z, *params, batch_shape=batch_shape)
    assert value.shape == np.broadcast_shapes(leading, batch_shape)
    np.testing.assert_allclose(value, log_prob("pyro", z, *params, batch_shape=batch_shape), rtol=1e-5, atol=1e-5)
    shuffled = log_prob("numpyro", z, *(a[::-1] for a in params), batch_shape=batch_shape)
    np.testing.assert_allclose(shuffled, value, rtol=1e-5, atol=1e-5)


def test_responsibilities_are_the_components_posterior_weights() -> None:
    z, *params = problem(0.5, rows=6, components=5, dim=3)
    d, mirror = pyro_side.DiagNormalMixture(*map(torch.tensor, params)), numpyro_side.DiagNormalMixture(*params)
    joint = np.stack([reference(z, *(a[[c]] for a in params)) for c in range(5)], -1) + params[2]
    for weights in (d.responsibilities(torch.tensor(z)), mirror.responsibilities(z)):
        np.testing.assert_allclose(weights, softmax(joint, -1), atol=1e-5)


ROWS, C, D = 30, 60, 12


def test_pyro_keeps_nothing_of_rows_by_components_by_dimensions() -> None:
    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for t in torch.utils._pytree.tree_leaves(out):
                self.numel = max(self.numel, t.numel() if isinstance(t, torch.Tensor) else 0)
            return out

    with Largest() as seen:
        gradients("pyro", *problem(0.5, ROWS, C, D))
    assert ROWS * C <= seen.numel <= max(ROWS * C, 2 * C * D)


def test_numpyro_keeps_nothing_of_rows_by_components_by_dimensions() -> None:
    program = jax.jit(jax.value_and_grad(jax_sum, (0, 1, 2, 3))).lower(*problem(0.5, ROWS, C, D)).as_text()
    shapes = re.findall(r"tensor<([\dx]+)xf\d\d>", program)
    largest = max(math.prod(map(int, shape.split("x"))) for shape in shapes)
    assert ROWS * C <= largest <= max(ROWS * C, 2 * C * D)


def transforms() -> dict[str, Callable[[Any], Any]]:
    """JAX transformations of f(z, loc, scale, logits), all differentiated."""

    def scanned(f: Any) -> Any:
        def step(loc: Any, z: Any, scale: Any, logits: Any) -> Any:
            value, slope = jax.value_and_grad(f, 1)(z, loc, scale, logits)
            return loc + 1e-4 * slope, value

        return lambda z, loc, *rest: jax.lax.scan(lambda c, x: step(c, x, *rest), loc, jnp.stack([z, z]))

    def over_draws(f: Any) -> Any:
        return lambda *args: jax.vmap(f)(*(jnp.stack([a, 1.01 * a]) for a in args))

    grad = lambda f: jax.grad(f, (0, 1, 2, 3))  # noqa: E731
    hessian = lambda f: jax.hessian(lambda z, *p: f(z[:1], *p))  # noqa: E731
    return {
        "jit scan": lambda f: jax.jit(scanned(f)),
        "vmap scan": lambda f: jax.jit(over_draws(scanned(f))),
        "jit vmap grad": lambda f: jax.jit(over_draws(grad(f))),
        "grad jit vmap": lambda f: jax.jit(grad(lambda *a: over_draws(jax.jit(f))(*a).sum())),
        "checkpoint": lambda f: jax.jit(grad(jax.checkpoint(f))),
        "jvp": lambda f: jax.jit(lambda *a: jax.jvp(f, a, a)),
        "hessian": lambda f: jax.jit(hessian(f)),
    }


@pytest.mark.parametrize("name", transforms())
def test_jax_transformations_keep_the_precision(name: str) -> None:
    """Those that revisit the 64-bit lines outside their context would truncate them; the components are sharp."""

    def naive(z: Any, loc: Any, scale: Any, logits: Any) -> Any:
        components = ndist.Normal(loc, scale).to_event(1).log_prob(z[:, None])
        return jax.nn.logsumexp(jax.nn.log_softmax(logits) + components, axis=-1).sum()

    args = problem(0.005, rows=4, components=5, dim=6)
    ours = jax.tree.map(np.asarray, jax.tree.leaves(transforms()[name](jax_sum)(*args)))
    with jax.enable_x64(True):
        theirs = jax.tree.leaves(transforms()[name](naive)(*(jnp.asarray(a, jnp.float64) for a in args)))
        theirs = jax.tree.map(np.asarray, theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == np.float32
        assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max() + 1e-6


def test_torch_transformations() -> None:
    z, *params = map(torch.tensor, problem(0.05, rows=5, components=4, dim=3))

    def log_p(z: Any, *params: Any) -> Any:
        return pyro_side.DiagNormalMixture(*params, validate_args=False).log_prob(z)

    def slope(*args: Any) -> Any:
        return torch.func.grad(lambda *a: log_p(*a).sum(), (0, 1, 2, 3))(*args)

    torch.testing.assert_close(torch.func.vmap(log_p, (0, None, None, None))(z, *params), log_p(z, *params))
    for traced, eager in zip(make_fx(slope)(z, *params)(z, *params), slope(z, *params), strict=True):
        torch.testing.assert_close(traced, eager)


@pytest.mark.parametrize("particles", [(), (3,)])
def test_inside_programs_with_plates_and_particles(particles: tuple[int, ...]) -> None:
    z, *params = problem(0.5, rows=5, components=4, dim=3)
    z = np.broadcast_to(z, (*particles, *z.shape))

    def model(ppl: Any, d: Any) -> None:
        plates = [ppl.plate("particles", n, dim=-2) for n in particles] + [ppl.plate("data", 5, dim=-1)]
        for plate in plates:
            plate.__enter__()
        ppl.sample("z", d)
        for plate in plates[::-1]:
            plate.__exit__(None, None, None)

    d = pyro_side.DiagNormalMixture(*map(torch.tensor, params))
    assert poutine.trace(model).get_trace(pyro, d).nodes["z"]["value"].shape == z.shape
    trace = poutine.trace(poutine.condition(model, {"z": torch.tensor(z)})).get_trace(pyro, d)
    trace.compute_log_prob()
    np.testing.assert_allclose(trace.nodes["z"]["log_prob"], reference(z, *params), rtol=1e-5)

    mirror = numpyro_side.DiagNormalMixture(*params)
    assert handlers.trace(handlers.seed(model, 0)).get_trace(numpyro, mirror)["z"]["value"].shape == z.shape
    total, _ = numpyro.infer.util.log_density(model, (numpyro, mirror), {}, {"z": z})
    assert total == pytest.approx(reference(z, *params).sum(), rel=1e-5)


def test_mixture_chooses_by_the_components() -> None:
    z, loc, scale, logits = problem(0.5, rows=3, components=4, dim=2)
    for ours, stock, array in ((pyro_side, pdist, torch.tensor), (numpyro_side, ndist, jnp.array)):
        diagonal = ours.mixture(stock.Normal(array(loc), array(scale)).to_event(1), array(logits))
        assert isinstance(diagonal, ours.DiagNormalMixture)
        covariance = array(np.stack([np.diag(s**2) for s in scale]))
        full = ours.mixture(stock.MultivariateNormal(array(loc), covariance), array(logits))
        assert not isinstance(full, ours.DiagNormalMixture)
        np.testing.assert_allclose(full.log_prob(array(z)), diagonal.log_prob(array(z)), rtol=1e-4, atol=1e-4)
        equal = ours.mixture(stock.MultivariateNormal(array(loc), covariance))
        alone = ours.DiagNormalMixture(array(loc), array(scale))
        np.testing.assert_allclose(equal.log_prob(array(z)), alone.log_prob(array(z)), rtol=1e-4, atol=1e-4)
        with pytest.raises(ValueError, match=r"batch shape \(C,\) and event shape \(D,\); got \(4, 2\) and \(\)"):
            ours.mixture(stock.Normal(array(loc), array(scale)))
        with pytest.raises(ValueError, match=r"'logits' should have shape \(4,\).*got \(2,\)"):
            ours.mixture(stock.MultivariateNormal(array(loc), covariance), array(logits[:2]))


@pytest.mark.parametrize("side", [pyro_side, numpyro_side])
def test_arguments_are_checked_at_the_border(side: Any) -> None:
    array = torch.tensor if side is pyro_side else jnp.array
    loc, scale = array(np.zeros((4, 2), np.float32)), array(np.ones((4, 2), np.float32))
    with pytest.raises(ValueError, match=r"should have shape \(C, D\); got \(2,\) and \(2,\)"):
        side.DiagNormalMixture(loc[0], scale[0])
    with pytest.raises(ValueError, match=r"should have shape \(C, D\); got \(4, 2\) and \(3, 2\)"):
        side.DiagNormalMixture(loc, scale[:3])
    with pytest.raises(ValueError, match=r"'logits' should have shape \(4,\).*got \(3,\)"):
        side.DiagNormalMixture(loc, scale, loc[:3, 0])
    with pytest.raises(ValueError, match="scale"):
        side.DiagNormalMixture(loc, -scale, validate_args=True)


def test_numpyro_mixture_is_a_pytree() -> None:
    z, *params = problem(0.5, rows=5, components=4, dim=3)
    d = numpyro_side.DiagNormalMixture(*params).expand((5,))
    again = jax.tree.map(lambda a: a, d)
    assert len(jax.tree.leaves(d)) == 3 and again.batch_shape == (5,) and again.event_shape == (3,)
    np.testing.assert_array_equal(again.log_prob(z), d.log_prob(z))
    keys = jax.random.split(jax.random.key(0), 6)
    assert jax.vmap(lambda key: d.sample(key))(keys).shape == (6, 5, 3)
