"""Laws of particle filters: of what they estimate, of ends and padding, and of resampling itself."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from flax import nnx
from pairs import fill, untrained
from pyro.nn import PyroModule
from state_spaces import moments, settle

from ppl_vae import backends, evaluation, objectives, recipes
from ppl_vae.arrays.log_weights import effective
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.mcmc.filtering import SCHEMES, resample
from ppl_vae.objectives import FilterRequest

LENGTH, WIDTH, DIM = 4, 2, 2
RNG = np.random.default_rng(0)
X = (RNG.random((6, LENGTH * WIDTH)) < 0.4).astype(np.float32)
MASK = np.ones_like(X, bool)
MASK[:2, 4:] = False  # two steps
MASK[3, 2:4] = False  # a gap


def pair_of(backend: backends.Backend, length: int = LENGTH, **settings: Any) -> Any:
    own = {"latent_dim": DIM, "recurrent_units": 4, "transition_hidden": (3,), "hidden": (4,), "posterior": "filtering"}
    recipe = recipes.deep_markov((length, WIDTH), backend=backend.name, **{**own, **settings})
    return recipe(np.random.default_rng(0))


def array(backend: backends.Backend, a: np.ndarray) -> Any:
    return torch.as_tensor(a) if backend.name == "pyro" else jnp.asarray(a)


def numbers(values: Any) -> np.ndarray:
    return np.asarray(values.detach() if isinstance(values, torch.Tensor) else values)


def filtered(backend: backends.Backend, own: Any, x: np.ndarray, draws: int, seed: int = 0, **settings: Any) -> Any:
    """The particles of a filter, and what it is made of, as arrays."""
    mask, options = settings.pop("mask", None), {}
    side = {} if mask is None else {"mask": array(backend, mask)}
    if backend.name == "pyro":
        from ppl_vae.inference.filtering import filtered as run

        torch.manual_seed(seed)
    else:
        from ppl_vae.numpyro.inference.filtering import filtered as run

        options = {"key": jax.random.key(seed)}
    model, guide = own
    from ppl_vae.pairs.keywords import tolerant

    programs = tolerant(model, ("mask",)), tolerant(guide)
    found, _ = run(FilterRequest(**settings), *programs, (array(backend, x),), side, draws, 1, **options)
    return type(found)(*(None if a is None else numbers(a) for a in found))


@pytest.mark.release("numpyro", keep=["smoothing"])
@pytest.mark.parametrize("posterior", ["filtering", "smoothing"])
def test_without_resampling_the_weights_are_those_of_whole_paths(backend: backends.Backend, posterior: str) -> None:
    """log w = log p(x, z) - log q(z | x), each by one density of the path: the IWAE, and the ELBO of one particle."""
    own = pair_of(backend, posterior=posterior)
    found = filtered(backend, own, X, 3, ess=0.0)
    z = array(backend, np.moveaxis(found.z, 0, 2).reshape(3, len(X), -1))
    (model, guide), x = own, array(backend, X)
    expected = model.prior().log_prob(z) + model.likelihood(z).log_prob(x) - guide.posterior(x).log_prob(z)
    np.testing.assert_allclose(found.log_w, numbers(expected), rtol=1e-4, atol=1e-5)
    once = filtered(backend, own, X, 1, ess=1.0)
    z = array(backend, np.moveaxis(once.z, 0, 2).reshape(1, len(X), -1))
    expected = model.prior().log_prob(z) + model.likelihood(z).log_prob(x) - guide.posterior(x).log_prob(z)
    np.testing.assert_allclose(once.log_w, numbers(expected), rtol=1e-4, atol=1e-5)


def test_a_likelihood_of_one_step_is_that_of_the_traced_program(backend: backends.Backend) -> None:
    """A program that is no ``VAE`` is traced at each step instead: the same weights, with gaps and ends, too."""
    model, guide = pair_of(backend, likelihood="normal-diagonal")
    call = "forward" if backend.name == "pyro" else "__call__"
    base = getattr(type(model), call)
    own = type("Own", (type(model),), {call: lambda *args, **kwargs: base(*args, **kwargs)})
    traced = own(model.prior, model.likelihood)
    found = [filtered(backend, (m, guide), X, 3, mask=MASK, ess=1.0) for m in (model, traced)]
    np.testing.assert_allclose(found[0].log_w, found[1].log_w, rtol=1e-5)
    assert np.isfinite(found[0].log_w).all() and (found[0].ancestors == found[1].ancestors).all()
    assert not filtered(backend, (model, guide), X, 3, paths=False, ess=1.0).z.size


class Laid(torch.nn.Module):
    """A likelihood that lays all steps out itself, and so cannot be that of one."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: torch.Tensor) -> Any:
        logits = self.net(z).unflatten(-1, (LENGTH, WIDTH)).flatten(-2)
        return pyro.distributions.Bernoulli(logits=logits).to_event(1)


def test_a_likelihood_of_whole_paths_is_traced() -> None:
    backend = backends.load("pyro")
    model, guide = pair_of(backend)
    laid = type(model)(model.prior, Laid(model.likelihood.net))
    ours, theirs = (filtered(backend, (m, guide), X, 3, ess=1.0).log_w for m in (model, laid))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.release("numpyro", keep=["nan"])
@pytest.mark.parametrize("garbage", [1.0, np.nan])
def test_padding_changes_no_bit_and_no_slope(backend: backends.Backend, garbage: float) -> None:
    """Particles, weights and the weights after a step, of zeros or of anything in hidden places."""
    own, dirty = pair_of(backend), np.where(MASK, X, garbage).astype(np.float32)
    one, other = (filtered(backend, own, x, 3, ess=1.0, mask=MASK) for x in (np.where(MASK, X, 0), dirty))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
    svi = backend.inference.SVI(objectives.FIVO(3, ess=1.0), epochs=1, batch_size=6)
    fits = [svi.fit(*pair_of(backend), x, mask=MASK).pair.state() for x in (np.where(MASK, X, 0), dirty)]
    assert all((a == b).all() and np.isfinite(a).all() for a, b in zip(*(f.values() for f in fits), strict=True))


def test_a_sequence_that_has_ended_neither_moves_nor_weighs(backend: backends.Backend) -> None:
    """Its particles and weights stay after its last step; the weights are those of masked paths, with gaps, too."""
    own = pair_of(backend)
    found = filtered(backend, own, X, 3, ess=1.0, mask=MASK)
    assert (found.z[1:2, :, :2] == found.z[2:, :, :2]).all() and (found.weights[1, :, :2] == found.log_w[:, :2]).all()
    assert (found.ancestors[1:, :, :2] == np.arange(3)[:, None]).all()
    whole, (model, guide) = filtered(backend, own, X, 3, ess=0.0, mask=MASK), own
    x, mask = array(backend, np.where(MASK, X, 0)), array(backend, MASK)
    z = array(backend, np.moveaxis(whole.z, 0, 2).reshape(3, len(X), -1))
    log_lik = (numbers(model.likelihood(z).base_dist.log_prob(x)) * MASK).sum(-1)
    log_kl = model.prior().lasting(mask).log_prob(z) - guide.posterior(x).lasting(mask).log_prob(z)
    np.testing.assert_allclose(whole.log_w, log_lik + numbers(log_kl), rtol=1e-4, atol=1e-5)


def test_a_sequence_knows_nothing_of_those_beside_it(backend: backends.Backend) -> None:
    """Other sequences in its place change no bit of it, and resampling of rows in another order is that of the rows."""
    own, others = pair_of(backend), np.where(np.arange(6)[:, None] == 4, X, 1 - X)
    one, other = (filtered(backend, own, x, 3, ess=1.0, mask=MASK) for x in (X, others))
    assert (one.log_w[:, 4] == other.log_w[:, 4]).all() and (one.log_w[:, :4] != other.log_w[:, :4]).all()
    assert all((a[:, :, 4] == b[:, :, 4]).all() for a, b in zip(one[1:4], other[1:4], strict=True))
    rng = np.random.default_rng(0)
    log_w, uniform, order = rng.normal(size=(3, 6)), rng.random((3, 6)), rng.permutation(6)
    for scheme in SCHEMES:
        noise = uniform[:1] if scheme == "systematic" else uniform
        whole = resample(log_w, noise, scheme, 0.9, np.ones(6, bool))
        apart = resample(log_w[:, order], noise[:, order], scheme, 0.9, np.ones(6, bool))
        assert all((a[:, order] == b).all() for a, b in zip(whole, apart, strict=True))


@pytest.mark.parametrize("third", [3.0, 0.0])
def test_a_twist_keeps_the_mean_weight_in_expectation(third: float) -> None:
    """Of each particle's descendants the sum of weights has the mean w_k, whatever the twist; of 0 they had none."""
    rng, count = np.random.default_rng(0), 40_000
    log_w = np.tile(np.log([0.5, 0.3, 0.15, 0.05])[:, None], (1, count))
    with np.errstate(divide="ignore"):
        twist = np.tile(np.log([0.1, 1.0, third, 20.0])[:, None], (1, count))
    for own in (np.asarray, torch.tensor, jnp.asarray):
        noise = own(rng.random((1, count)))
        made = resample(own(log_w), noise, "systematic", 1.0, own(np.ones(count, bool)), own(twist))
        chosen, level = (np.asarray(a) for a in made)
        found = [np.where(chosen == k, np.exp(level), 0).sum(0).mean() for k in range(4)]
        np.testing.assert_allclose(found, [0.5, 0.3, 0.15, 0.05], rtol=0.05)
        assert (chosen == 3).mean() > 0.4


@pytest.mark.parametrize("scheme", SCHEMES)
def test_resampling_keeps_the_mean_weight_and_takes_each_by_its_own(scheme: str) -> None:
    """Of many filters with the same weights: the mean number of descendants is K w_k; equal weights stay."""
    rng, size, count = np.random.default_rng(0), 4, 20_000
    log_w = np.tile(np.log([0.5, 0.3, 0.15, 0.05])[:, None], (1, count)) + 3.0
    uniform = rng.random((1 if scheme == "systematic" else size, count))
    chosen, level = resample(log_w, uniform, scheme, 1.0, np.ones(count, bool))
    children = (chosen[None] == np.arange(size)[:, None, None]).sum(1)
    np.testing.assert_allclose(children.mean(1) / size, [0.5, 0.3, 0.15, 0.05], atol=0.01)
    np.testing.assert_allclose(np.exp(level).mean(0), np.exp(log_w).mean(0))
    spread = {"systematic": 1, "stratified": 2, "multinomial": size}[scheme]
    assert np.ptp(children, 1).max() <= spread and children.var(1).sum() <= 4 * 0.65
    for due in (0.5 * np.ones(count, bool), effective(log_w) < 0):  # not below half of K; not wanted
        share = 0.5 if due.dtype != bool else 1.0
        kept, same = resample(log_w, uniform, scheme, share, np.ones(count, bool) if share < 1 else due)
        assert (kept == np.arange(size)[:, None]).all() and (same == log_w).all()
    for own in (torch.tensor, jnp.asarray):
        there, at = resample(own(log_w), own(uniform), scheme, 1.0, own(np.ones(count, bool)))
        assert (np.asarray(there) == chosen).mean() > 0.999
        np.testing.assert_allclose(np.asarray(at), level, rtol=1e-5)


# Exact answers


def linear(backend: backends.Backend) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """A fit of a linear Gaussian state space of two states, and the covariances of its x and of its z."""
    own = pair_of(backend, transition="linear", likelihood="normal", hidden=(), posterior="smoothing")
    outer = own[1].posterior.conditional.net.outer
    fill(outer, np.zeros(tuple(outer.weight.shape)), np.repeat([0.0, 1.0], DIM))  # proposals as wide as a posterior
    numbers = np.array([[0.7, 0.4], [-0.3, 0.6]]), np.array([[1.0, 0.5], [-0.5, 1.0]]), 0.6, 0.8
    settle(backend, own[0], *numbers)
    cov, across, _ = moments(*numbers, LENGTH)
    x = np.random.default_rng(1).multivariate_normal(np.zeros(len(cov)), cov, size=6).astype(np.float32)
    return untrained(*own, backend, x), x, cov, across


def test_kalman_is_conditioning_of_the_joint_normal_and_filters_estimate_it(backend: backends.Backend) -> None:
    """Of whole sequences, of one with a gap and of two that end; smc has the mean p(x) and stays below log p(x)."""
    fit, x, cov, across = linear(backend)
    found = evaluation.kalman(fit, x, mask=MASK)
    for n, (row, seen) in enumerate(zip(x.astype(float), MASK, strict=True)):
        part = cov[np.ix_(seen, seen)]
        exact = -0.5 * (row[seen] @ np.linalg.solve(part, row[seen]) + np.linalg.slogdet(2 * np.pi * part)[1])
        np.testing.assert_allclose(found.log_p[n], exact, rtol=1e-5)
        mean = across[:, seen] @ np.linalg.solve(part, row[seen])
        np.testing.assert_allclose(found.mean[n].ravel(), mean, rtol=1e-4, atol=1e-5)
        for t in range(LENGTH):
            known = seen & (np.arange(len(seen)) < (t + 1) * WIDTH)
            mean = across[t * DIM : (t + 1) * DIM, known] @ np.linalg.solve(cov[np.ix_(known, known)], row[known])
            np.testing.assert_allclose(found.filtered_mean[n, t], mean, rtol=1e-4, atol=1e-5)
    copies = np.repeat(np.arange(6), 100)
    near = (0.6 * x).astype(np.float32)  # a look ahead at the proposals' means is noisier for data far from them
    for data, options in ((x, {}), (near, {"lookahead": True, "ess": 1.0}))[: 2 if backend.name == "pyro" else 1]:
        found = evaluation.kalman(fit, data, mask=MASK)
        estimates = evaluation.smc(fit, data[copies], 400, num_filters=1, mask=MASK[copies], **options)
        values = estimates.values.reshape(6, 100)
        assert (values.std(1) < 1).all(), "of others a mean of exponentials tells nothing"
        ratio = np.exp(values - found.log_p[:, None])
        assert (np.abs(ratio.mean(1) - 1) < 4 * ratio.std(1, ddof=1) / np.sqrt(100)).all()
        assert (values.mean(1) < found.log_p + 4 * values.std(1) / np.sqrt(100)).all()


class Curved(torch.nn.Module):
    """Means far from 0, and bent by little beside that."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return 1e5 + 5 * torch.tanh(z)


@pytest.mark.filterwarnings("ignore::ppl_vae.errors.RoundedData")
def test_a_curve_on_top_of_a_large_level_is_no_line() -> None:
    backend = backends.load("pyro")
    model, guide = pair_of(backend, transition="linear", likelihood="normal", hidden=())
    own = type(model)(model.prior, backend.conditionals.Normal(Curved(), learned=True))
    with pytest.raises(UnsuitableObjective, match="state space, and its likelihood is none"):
        evaluation.kalman(untrained(own, guide, backend, X + 1e5), X + 1e5)


def observing(backend: backends.Backend, prior: Any, way: str) -> Any:
    """A user's own program of that prior, which observes x, x in another unit, or its columns at two sites."""
    on_pyro = backend.name == "pyro"
    ppl, d, base = (pyro, dist, PyroModule) if on_pyro else (numpyro, npdist, nnx.Module)

    class Program(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.prior = prior

        def __call__(self, x: Any = None, *, size: int = 1) -> Any:
            half = LENGTH * WIDTH // 2
            with ppl.plate("data", size if x is None else len(x), dim=-1):
                z = ppl.sample("z", self.prior())
                if way == "two sites":
                    for name, there in (("a", slice(half)), ("b", slice(half, None))):
                        ppl.sample(
                            name, d.Normal(z[..., there], 0.5).to_event(1), obs=None if x is None else x[:, there]
                        )
                    return z
                seen = x if x is None or way == "x" else (x - 3) / 2
                return ppl.sample("x", d.Normal(z, 0.5).to_event(1), obs=seen)

    if on_pyro:
        Program.forward = Program.__dict__["__call__"]  # type: ignore[attr-defined]
        del Program.__call__
    return Program()


@pytest.mark.parametrize("way", ["x", "another unit", "two sites"])
def test_kalman_is_of_what_a_program_observes(way: str, backend: backends.Backend) -> None:
    """It took x for what the first site observes: six nats beside log p of the numbers that it did, and 2 N of them."""
    fit, x, _, _ = linear(backend)
    own = untrained(observing(backend, fit.model.prior, way), fit.guide, backend, x)
    if way == "x":
        cov = moments(np.array([[0.7, 0.4], [-0.3, 0.6]]), np.eye(DIM), 0.6, 0.5, LENGTH)[0]
        exact = scipy.stats.multivariate_normal.logpdf(x, np.zeros(len(cov)), cov)
        np.testing.assert_allclose(evaluation.kalman(own, x).log_p, exact, rtol=1e-4)
    else:
        told = "what it observes of x" if way == "another unit" else "this pair"
        with pytest.raises(UnsuitableObjective, match=f"state space, and {told} is none"):
            evaluation.kalman(own, x)


@pytest.mark.release
def test_chains_of_masked_paths_anneal_to_log_p_and_have_the_moments_of_the_smoother(backend: backends.Backend) -> None:
    """Of whole sequences, of two that end and of one with a gap, whatever stands where nothing was seen."""
    fit, x, _, _ = linear(backend)
    x = np.where(MASK, 0.6 * x, 99.0).astype(np.float32)
    found, on = evaluation.kalman(fit, x, mask=MASK), np.arange(LENGTH) < np.where(MASK.all(1), LENGTH, 2)[:, None]
    on[3] = True  # a gap
    annealed = evaluation.ais(fit, x, evaluation.Annealing(30, num_chains=300, num_steps=4), mask=MASK)
    ratio = np.exp(annealed.log_weights - found.log_p)
    assert (np.abs(ratio.mean(0) - 1) < 4 * ratio.std(0, ddof=1) / np.sqrt(len(ratio))).all()
    z = fit.draws(x, 400, method="hmc", mask=MASK)["z"].reshape(400, len(x), LENGTH, DIM)
    sd = np.sqrt(np.einsum("ntdd->ntd", found.cov))
    assert np.sqrt((((z.mean(0) - found.mean) / sd)[on] ** 2).mean()) < 0.12
    assert (np.abs(z.std(0) / sd - 1)[on] < 0.25).all() and abs(z[:, ~on].std() - 1) < 0.1


@pytest.mark.release("numpyro")
def test_paths_of_a_filter_have_the_moments_of_the_smoother(backend: backends.Backend) -> None:
    """Means, covariances and those of neighbours, by ancestors and backwards; z is N(0, I) after an end."""
    fit, x, cov, across = linear(backend)
    x, draws = 0.4 * x, 1500  # near to the proposals, which are at 0
    found = evaluation.kalman(fit, x, mask=MASK)
    on = np.array([[True, True, n > 1, n > 1] for n in range(len(x))])
    sd, seen, few = np.sqrt(np.einsum("ntdd->ntd", found.cov)), MASK[3], {}
    of_z = across @ np.kron(np.eye(LENGTH), np.linalg.inv([[1.0, 0.5], [-0.5, 1.0]]).T)
    of_z = of_z - across[:, seen] @ np.linalg.solve(cov[np.ix_(seen, seen)], across[:, seen].T)
    for method in ("smc", "backward"):
        drawn = fit.draws(x, draws, method=method, num_particles=2, mask=MASK)
        z = drawn["z"].reshape(draws, len(x), LENGTH, DIM).astype(float)
        spread = np.stack([np.cov(z[:, :, t].transpose(1, 2, 0)[n]) for n in range(6) for t in range(4)])
        apart = (z.mean(0) - found.mean) / sd, spread.reshape(found.cov.shape) - found.cov
        assert (np.sqrt([(a[on] ** 2).mean() for a in apart]) < [0.1, 0.04]).all(), method
        neighbours = np.cov(z[:, 3].reshape(draws, -1).T)
        assert np.sqrt(((neighbours - of_z) ** 2).mean()) < 0.04, method
        assert abs(z[:, ~on].mean()) < 0.05 and abs(z[:, ~on].std() - 1) < 0.05
        few[method] = drawn.diagnostics()["distinct"]
        assert drawn.log_weights.shape == (draws, len(x))
    assert (few["smc"] < few["backward"]).mean() > 0.5 and (few["backward"] < draws).all()
    drawn = fit.draws(x, draws, method="filter", num_particles=2, mask=MASK)["z"].reshape(draws, len(x), LENGTH, DIM)
    spread = np.sqrt(np.einsum("ntdd->ntd", found.filtered_cov))
    apart = (drawn.mean(0) - found.filtered_mean) / spread, drawn.std(0) / spread - 1
    assert (np.sqrt([(a[on] ** 2).mean() for a in apart]) < [0.06, 0.05]).all()
    assert np.abs((found.filtered_mean - found.mean) / spread)[on].max() > 0.2, "they are others than the smoother's"


@pytest.mark.release("numpyro")
def test_a_recurrent_net_is_filtered_by_the_same_steps(backend: backends.Backend) -> None:
    """Weights of whole paths without resampling, whatever the padding; with it, log p(x) as by importance sampling."""
    own = {"latent_dim": DIM, "recurrent_units": 3, "hidden": (4,), "backend": backend.name}
    model, guide = recipes.variational_recurrent((LENGTH, WIDTH), **own)(np.random.default_rng(0))
    ends = MASK.copy()
    ends[3], ends[4] = True, False  # no gap; nothing at all, so that log p is 0
    found, dirty = (
        filtered(backend, (model, guide), np.where(ends, X, a).astype(np.float32), 3, ess=0.0, mask=ends)
        for a in (0, np.nan)
    )
    assert (found.log_w == dirty.log_w).all() and (found.z[1:2, :, :2] == found.z[2:, :, :2]).all()
    x, mask = array(backend, np.where(ends, X, 0)), array(backend, ends)
    e = array(backend, np.moveaxis(found.z, 0, 2).reshape(3, len(X), -1))
    p = sequences_of(backend, model, e).where_seen(mask)
    on = numbers(mask).reshape(len(X), LENGTH, WIDTH).any(-1)
    of_prior = (-0.5 * (np.moveaxis(found.z, 0, 2) ** 2 + np.log(2 * np.pi))).sum(-1)
    log_q = numbers(guide.posterior(x).lasting(mask).log_prob(e)) - np.where(on, 0, of_prior).sum(-1)
    expected = numbers(p.log_prob(x)) + np.where(on, of_prior, 0).sum(-1) - log_q
    np.testing.assert_allclose(found.log_w, expected, rtol=1e-4, atol=1e-4)
    fit = untrained(model, guide, backend, X)
    smc = evaluation.smc(fit, X, 500, num_filters=4, ess=1.0, mask=ends)
    plain = evaluation.log_likelihood(fit, X, 4000, mask=ends)
    assert (np.abs(smc.values - plain.values) < 0.02 + 5 * (smc.mc_error + plain.mc_error)).all()
    assert smc.ess_over_time[:4].max() < 500 and abs(smc.values[4]) < 1e-6
    assert fit.draws(X, 5, method="smc", mask=ends)["z"].shape == (5, 6, LENGTH * DIM)


def sequences_of(backend: backends.Backend, model: Any, e: Any) -> Any:
    """p(x | e) of a recurrent net, of innovations (K, B, T D)."""
    path = e.reshape(*e.shape[:-1], LENGTH, DIM)
    return backend.distributions.Sequences(model, model.first(path[..., 0, :]), path, LENGTH)


def test_a_graph_records_a_filter() -> None:
    """On Pyro a recorded step gives the losses of an eager one."""
    b = backends.load("pyro")
    for ahead in ("lookahead", "twist"):
        loss, losses = objectives.FIVO(2, ess=1.0, **{ahead: True}), []
        for compiled in (False, "trace"):
            svi = b.inference.SVI(loss, epochs=2, batch_size=6, compile=compiled)
            pair = pair_of(b, 2, twist=ahead == "twist")
            losses.append(svi.fit(*pair, X[:, :4], mask=MASK[:, :4], seed=0).history["loss"])
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
