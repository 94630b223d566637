"""Laws of flows: autodiff log-determinants, inverses, integrals, known pre-images, stock transforms, both backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as npdist
import pyro.distributions as dist
import pyro.distributions.transforms as stock
import pytest
import torch
from flax import nnx
from pairs import TRAIN, recipe
from pyro.distributions.transforms.spline import ConditionedSpline
from scipy.stats import multivariate_normal

from ppl_vae import backends, conditionals, distributions, evaluation, nets, objectives, priors
from ppl_vae.arrays import flows
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.numpyro import distributions as numpyro_distributions
from ppl_vae.numpyro import nets as numpyro_nets
from ppl_vae.results import Fit

D, H = 4, 3
Make = Callable[[Any, np.random.Generator, int], Any]

STEPS: dict[str, Make] = {
    "IAF": lambda n, rng, d: n.Autoregressive(d, (8,), rng, context=H),
    "coupling": lambda n, rng, d: n.Coupling(d, (8,), rng, context=H, swapped=True),
    "linear coupling": lambda n, rng, d: n.Coupling(d, (), rng, context=H),
    "spline": lambda n, rng, d: n.Coupling(d, (8,), rng, context=H, scalar=flows.Spline(4, 3.0)),
    "spline in order": lambda n, rng, d: n.Autoregressive(
        d, (8, 8), rng, context=H, scalar=flows.Spline(4, 3.0), order=tuple(range(d))[::-1]
    ),
    "planar": lambda n, rng, d: n.Planar(d, H, rng),
    "radial": lambda n, rng, d: n.Radial(d, H, rng),
    "Sylvester": lambda n, rng, d: n.Sylvester(d, H, rng, rank=d - 1, reflections=3),
    "MAF": lambda n, rng, d: n.Inverse(n.Autoregressive(d, (8,), rng, context=H)),
}


def step(name: str, *, dim: int = D, scale: float = 0.3, double: bool = True) -> Any:
    """A torch step with random weights."""
    made, rng = STEPS[name](nets, np.random.default_rng(0), dim), np.random.default_rng(1)
    for p in made.parameters():
        p.data = torch.tensor(scale * rng.standard_normal(p.shape), dtype=torch.float32)
    return made.double() if double else made


def inputs(seed: int = 0, rows: int = 5, dim: int = D) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return 1.5 * rng.standard_normal((rows, dim)), rng.standard_normal((rows, H))


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.tensor(a) for a in arrays]


@pytest.mark.parametrize("name", STEPS)
def test_log_determinants_are_those_of_the_jacobian(name: str) -> None:
    own = step(name)
    x, h = tensors(*inputs())
    log_det = own.forward(x, h)[1]
    for i in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda a, i=i: own.forward(a[None], h[i : i + 1])[0][0], x[i])
        assert abs(torch.linalg.slogdet(jacobian)[1] - log_det[i]) < 1e-9


@pytest.mark.parametrize("name", STEPS)
def test_the_inverse_inverts_and_known_has_its_gradient(name: str) -> None:
    own = step(name)
    x, h = tensors(*inputs())
    y = own.forward(x, h)[0].detach().requires_grad_()
    h = h.requires_grad_()
    inverse, known = own.inverse(y, h), own.known(y, x, h)
    assert (inverse - x).abs().max() < 1e-9
    assert (known == x).all()
    weights = torch.tensor(np.random.default_rng(2).standard_normal(x.shape))
    of = [y, h, *own.parameters()]
    both = (torch.autograd.grad((z * weights).sum(), of, retain_graph=True) for z in (inverse, known))
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8)
    again = own.inverse(own.forward(x, h)[0], h)  # it does not depend on the weights
    for grad in torch.autograd.grad((again * weights).sum(), [h, *own.parameters()]):
        assert grad.abs().max() < 1e-8


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_zeros_is_the_identity(name: str) -> None:
    own = step(name, scale=0.0)
    x, h = tensors(*inputs())
    y, log_det = own.forward(x, h)
    torch.testing.assert_close(y, x, atol=1e-9, rtol=0)
    assert log_det.abs().max() < 1e-9


@pytest.mark.parametrize("name", STEPS)
def test_backends_agree(name: str) -> None:
    """From the same generator, and at other weights; JAX's loops are compiled as in a training."""
    ours, theirs = (STEPS[name](n, np.random.default_rng(0), D) for n in (nets, numpyro_nets))
    x, h = (a.astype(np.float32) for a in inputs())

    def both(x: Any, h: Any) -> Any:
        y, log_det = theirs.forward(x, h)
        return y, log_det, theirs.inverse(y, h)

    expected = jax.jit(both)(jnp.asarray(x), jnp.asarray(h))
    with torch.no_grad():
        y, log_det = ours.forward(*tensors(x, h))
        for a, b in zip((y, log_det, ours.inverse(y, torch.tensor(h))), expected, strict=True):
            np.testing.assert_allclose(a.numpy(), b, atol=1e-5)


def flow(name: str, *, dim: int = D, rows: int = 5, scale: float = 0.3, double: bool = True, repeats: int = 2) -> Any:
    """A flow in torch of two steps."""
    dtype = torch.float64 if double else torch.float32
    rng = np.random.default_rng(3)
    loc, spread = (torch.tensor(rng.standard_normal((rows, dim)), dtype=dtype).requires_grad_() for _ in range(2))
    context = torch.tensor(inputs(4, rows)[1], dtype=dtype).requires_grad_()
    steps = [step(name, dim=dim, scale=scale, double=double) for _ in range(repeats)]
    q = distributions.Flow(dist.Normal(loc, 0.5 + spread.sigmoid()).to_event(1), steps, context)
    return q, [loc, spread, context, *(p for s in steps for p in s.parameters())]


@pytest.mark.parametrize("name", STEPS)
def test_a_given_value_has_the_density_and_the_score_of_the_draw(name: str) -> None:
    """Own draw, view, detached tensor and copy: one value; of the last two the gradient is the score."""
    q, parameters = flow(name)
    z = q.rsample()
    values = {"own": z, "view": z.view_as(z), "stopped": z.detach(), "copy": z.detach().clone()}
    log_q = {kind: q.log_prob(value) for kind, value in values.items()}
    grads = {}
    for kind, value in log_q.items():
        torch.testing.assert_close(value, log_q["own"], atol=1e-8, rtol=1e-8)
        grads[kind] = torch.autograd.grad(
            value.sum(), parameters, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    for kind, other in (("stopped", "copy"), ("view", "own")):
        for a, b in zip(grads[kind], grads[other], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["IAF", "spline", "spline in order", "planar", "Sylvester"])
def test_a_known_draw_has_its_value_where_the_inverse_loses_it(name: str) -> None:
    """Weights that stretch by thousands, in single precision: the draw's own density, and finite gradients."""
    q, parameters = flow(name, scale=4.0, double=False, rows=50)
    z = q.rsample()
    given = q.log_prob(z.detach())
    torch.testing.assert_close(given, q.log_prob(z), rtol=1e-3, atol=1e-3)
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(given.sum(), parameters))


@pytest.mark.parametrize("name", ["IAF", "spline", "planar", "radial"])
def test_the_density_integrates_to_one(name: str) -> None:
    q, _ = flow(name, dim=2, rows=1, scale=0.25)
    with torch.no_grad():
        draws = q.sample((2000,))[:, 0]
        spread = draws.std(0)
        unit = torch.linspace(-8, 8, 401, dtype=torch.float64)
        grid = draws.mean(0) + spread * torch.cartesian_prod(unit, unit)
        total = q.log_prob(grid[:, None]).exp().sum() * spread.prod() * (unit[1] - unit[0]) ** 2
    assert abs(total - 1) < 2e-3


def test_stock_transforms_are_these_steps() -> None:
    """Pyro's spline and affine autoregressive transforms, at the same parameters."""
    x = torch.tensor(inputs()[0])
    ours = step("IAF")
    h = torch.zeros(len(x), H, dtype=torch.float64)

    class Net(torch.nn.Module):
        permutation = tuple(range(D))

        def forward(self, u: torch.Tensor) -> Any:
            raw = ours.net(flows.beside(u, h)).reshape(*u.shape, 2)
            return raw[..., 0], 2 * torch.tanh(raw[..., 1] / 2)

    theirs = stock.AffineAutoregressive(Net())
    y, log_det = ours.forward(x, h)
    torch.testing.assert_close(theirs(x), y)
    torch.testing.assert_close(theirs.log_abs_det_jacobian(x, theirs(x)), log_det)

    raw = torch.tensor(np.random.default_rng(5).standard_normal((len(x), D, 11)))
    widths, heights = raw[..., :4].softmax(-1), raw[..., 4:8].softmax(-1)
    slopes = torch.nn.functional.softplus(raw[..., 8:] + np.log(np.expm1(1 - flows.scalars.MIN_SLOPE)))
    spline = ConditionedSpline(lambda: (widths, heights, slopes, None), bound=3.0, order="quadratic")
    y, log_slope = flows.Spline(4, 3.0).forward(x, raw)
    edges = -3.0 + 6.0 * (0.001 + 0.996 * widths).cumsum(-1)
    inner = (x > edges[..., 0]) & (x < edges[..., 2])  # in Pyro the slope at the ends is .999
    assert inner.sum() > 5
    torch.testing.assert_close(spline(x)[inner], y[inner], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(spline.log_abs_det_jacobian(x, spline(x))[inner], log_slope[inner], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["IAF", "planar", "Sylvester"])
def test_numpyro_knows_its_draws_too(name: str) -> None:
    """Under ``jit``: given values with known pre-images have the gradient of the inverse, by every parameter."""
    own = STEPS[name](numpyro_nets, np.random.default_rng(0), D)
    graph, weights = nnx.split(own)
    x, h = (jnp.asarray(a, jnp.float32) for a in inputs())

    def log_q(known: bool, weights: Any, h: Any, loc: Any) -> Any:
        base = npdist.Normal(loc, 1.0).to_event(1)
        q = numpyro_distributions.Flow(base, [nnx.merge(graph, weights)], h).expand((2, 5))
        z, between = q.sample_with_intermediates(jax.random.key(0))
        return q.log_prob(jax.lax.stop_gradient(z), q.of_given(between) if known else None).sum(), q.log_prob(
            z, between
        ).sum()

    results = [
        jax.jit(jax.value_and_grad(log_q, argnums=(1, 2, 3), has_aux=True), static_argnums=0)(known, weights, h, x)
        for known in (True, False)
    ]
    for (value, own_value), _ in results:
        np.testing.assert_allclose(value, own_value, rtol=1e-4)
    for a, b in zip(*(jax.tree.leaves(grads) for _, grads in results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)


def test_the_mean_is_that_of_draws_and_does_not_change() -> None:
    q, _ = flow("coupling", scale=0.25)
    draws = q.sample((20000,))
    error = ((q.mean - draws.mean(0)) / draws.std(0)).abs().max()
    assert error < 0.25
    assert (q.mean == q.mean).all()
    assert ((q.variance - draws.var(0)) / draws.var(0)).abs().max() < 0.5
    exact, _ = flow("spline", scale=0.0)
    torch.testing.assert_close(exact.mean, exact.base.mean)  # in pairs around it


def test_a_flow_prior_is_a_model_by_itself() -> None:
    """p(x) of a flow alone, by maximum likelihood: a banana that N(0, I) does not fit."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((400, 2))
    x = torch.tensor(np.stack([z[:, 0], 0.5 * z[:, 1] + z[:, 0] ** 2 - 1], -1), dtype=torch.float32)
    made = np.random.default_rng(0)
    prior = priors.FlowPrior(2, [nets.Inverse(nets.Autoregressive(2, (16,), made)) for _ in range(2)])
    optimiser = torch.optim.Adam(prior.parameters(), 0.02)
    start = prior().log_prob(x).mean().item()
    for _ in range(150):
        optimiser.zero_grad()
        (-prior().log_prob(x).mean()).backward()
        optimiser.step()
    exact = dist.Normal(0.0, 1.0).log_prob(x[:, 0]) + dist.Normal(x[:, 0] ** 2 - 1, 0.5).log_prob(x[:, 1])
    assert start + 0.5 < prior().log_prob(x).mean() < exact.mean() + 0.1
    assert abs(prior().log_prob(x).mean() - exact.mean()) < 0.15


def linear(backend: str) -> tuple[Fit, np.ndarray, np.ndarray, np.ndarray]:
    """A linear Gaussian model with a flow for a guide, data, and the mean and the covariance of x."""
    b, rng = backends.load(backend), np.random.default_rng(0)
    model = b.models.VAE(b.priors.StandardNormal(2), b.conditionals.Normal(b.nets.MLP((2, 3), rng), scale=1.0))
    base = b.conditionals.DiagNormal(b.nets.MLP((3, 4 + H), rng), floor=0.5)
    posterior, x = b.conditionals.Flow(base, H, [b.nets.Planar(2, H, rng)]), rng.normal(size=(4, 3)) / 2
    fit = Fit.untrained(b.inference.Pair(model, b.guides.Amortised(posterior)), x)
    level = fit.decode(np.zeros((1, 2)))[0]
    loadings = fit.decode(np.eye(2)) - level
    return fit, x, level, loadings.T @ loadings + np.eye(3)


@pytest.mark.parametrize("backend", backends.NAMES)
def test_the_steps_of_a_flow_are_none_of_a_path(backend: str) -> None:
    """Hidden numbers of a linear Gaussian model, by their normal given those seen; a forecast is refused."""
    fit, x, level, cov = linear(backend)
    mask = np.array([[1, 1, 0]] * 4) > 0
    exact = level[2] + (x[:, :2] - level[:2]) @ np.linalg.solve(cov[:2, :2], cov[:2, 2])
    np.testing.assert_allclose(fit.impute(x, mask=mask, num_particles=1000)[:, 2], exact, atol=0.1)
    with pytest.raises(UnsuitableObjective, match=r"priors\.Markov"):
        fit.forecast(x, 2)
    with pytest.raises(UnsuitableObjective, match="Kalman"):
        evaluation.kalman(fit, x)


@pytest.mark.release("numpyro")
@pytest.mark.parametrize("backend", backends.NAMES)
def test_a_flow_is_refined(backend: str) -> None:
    """Rows stand in the place of the net that its base holds: the gap shrinks to that of a diagonal normal."""
    fit, x, level, cov = linear(backend)
    log_p = multivariate_normal(level, cov).logpdf(x)
    before, after = ((log_p - evaluation.elbo(f, x, 300).values).mean() for f in (fit, fit.refine(x, steps=120)))
    assert before > 0.3
    assert -0.03 < after < 0.5 * before


def test_recorded_steps_are_the_eager_ones() -> None:
    """``compile="trace"`` keeps the pre-images that draws have."""
    svi = backends.load("pyro").inference.SVI
    losses = []
    for compiled in (False, "trace"):
        fit = svi(objectives.DReG(2), epochs=1, batch_size=20, compile=compiled).fit(
            *recipe("flow", "pyro")(np.random.default_rng(0)), TRAIN
        )
        losses.append(fit.history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def base(rng: np.random.Generator, context: int) -> Any:
    return conditionals.DiagNormal(nets.MLP((5, 2 * D + context), rng))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def planar(width: int) -> Any:
    q = conditionals.Flow(base(rng(), H), H, [nets.Planar(D, width, rng())])
    return q(torch.zeros(2, 5)).rsample()


REFUSED: dict[str, Callable[[], Any]] = {
    "Coupling moves some entries by others, and z has 1": lambda: nets.Coupling(1, (8,), rng()),
    "Autoregressive moves some entries by others, and z has 1": lambda: nets.Autoregressive(1, (8,), rng()),
    "should have at least D = 4 units in each layer": lambda: nets.Autoregressive(4, (8, 3), rng()),
    "'order' should hold each of 0..3 once": lambda: nets.Autoregressive(4, (8,), rng(), order=(0, 1, 2, 2)),
    "A spline needs at least 2 bins": lambda: flows.Spline(1),
    "and fewer than 1000; got 1000": lambda: flows.Spline(1000),
    "'bound' should be a finite number above 0; got 0.0": lambda: flows.Spline(4, 0.0),
    "from a context, of one number at least; got 0": lambda: nets.Planar(3, 0, rng()),
    "'rank' should be a number of directions from 1 to D = 3; got 4": lambda: nets.Sylvester(3, 2, rng(), rank=4),
    "'reflections' should be at least 1; got 0": lambda: nets.Sylvester(3, 2, rng(), reflections=0),
    "is for 4 entries and a context of 5 numbers, and z has 4 entries and the context 3": lambda: planar(5),
    "would invert a flow posterior once for each pseudo-input": lambda: priors.VampPrior(
        conditionals.Flow(base(rng(), H), H, [nets.Planar(D, H, rng())]), np.zeros((3, 5))
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_bad_input_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("(", r"\(")):
        REFUSED[text]()
