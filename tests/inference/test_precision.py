"""Trainings with products in bfloat16: how far they move a loss, and all that stays in full precision."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import optax
import pyro
import pyro.distributions as dist
import pytest
import torch
from pairs import apart, common_names, distance, pair, recipe, toy
from programs import PROGRAMS
from torch.utils import _python_dispatch

from ppl_vae import backends, critics, evaluation
from ppl_vae.backends import Backend
from ppl_vae.discriminators import Discriminator
from ppl_vae.errors import RoundedLoss, UnsuitableObjective
from ppl_vae.inference.svi import products as of_torch
from ppl_vae.inference.svi.recorded_step import NotTraceable
from ppl_vae.numpyro.inference.svi import products as of_jax
from ppl_vae.numpyro.inference.svi.step import Data, scan_steps
from ppl_vae.results import Fit
from ppl_vae.training import TrainingData, rounding
from ppl_vae.training.rounding import LARGEST

PYRO, X = backends.load("pyro"), toy(60)
RNG = np.random.default_rng(0)
A, B = (RNG.normal(size=shape).astype(np.float32) for shape in ((64, 128), (128, 32)))


def test_the_state_of_the_process_is_restored_after_an_error(backend: Backend) -> None:
    def broken(epoch: int, *_: Any) -> None:
        raise KeyboardInterrupt

    svi = backend.inference.SVI(epochs=2, batch_size=20, precision="bfloat16")
    with pytest.raises(KeyboardInterrupt):
        svi.fit(*pair("standard", backend), X, callback=broken)
    with pytest.raises(ZeroDivisionError), of_torch.products("bfloat16"):
        raise ZeroDivisionError
    assert not _python_dispatch._get_current_dispatch_mode_stack()
    np.testing.assert_array_equal(torch.tensor(A) @ torch.tensor(B), torch.tensor(A).mm(torch.tensor(B)))
    assert jax.config.jax_default_matmul_precision is None


def both(backend: Backend, name: str = "standard", loss: str = "TraceELBO", **options: Any) -> list[Fit]:
    """A training in full precision and in bfloat16."""
    settings = {"epochs": 2, "batch_size": 25, "learning_rate": 0.01, **options}
    return [
        backend.inference.SVI(getattr(backend.inference, loss)(), precision=precision, **settings).fit(
            *pair(name, backend), X, valid=toy(20, seed=1)
        )
        for precision in ("full", "bfloat16")
    ]


def test_a_training_moves_a_little_and_says_so(backend: Backend) -> None:
    full, half = both(backend)
    assert 1e-5 < apart(full, half) < 0.05
    assert "rounding" not in full.history and "precision" not in full.settings["svi"]
    assert half.settings["svi"]["precision"] == "'bfloat16'"
    rounding = half.history["rounding"]
    assert rounding.shape == (2,) and (rounding != 0).all() and (np.abs(rounding) < LARGEST).all()
    assert half.pair.state().keys() == full.pair.state().keys()
    assert all(a.dtype == full.pair.state()[name].dtype for name, a in half.pair.state().items())


def test_evaluation_is_in_full_precision(backend: Backend) -> None:
    """Of the same weights: the validation ELBO, and log p(x), to the last digit."""
    full, half = both(backend)
    valid = toy(20, seed=1)
    full.pair.load_state(half.pair.state())
    found = [evaluation.log_likelihood(fit, valid, 20).values for fit in (full, half)]
    np.testing.assert_array_equal(*found)
    with torch.no_grad():
        x = full.pair.sample(valid, 1, 0)[1]
    np.testing.assert_array_equal(half.pair.sample(valid, 1, 0)[1].log_weights, x.log_weights)


def test_the_optimiser_is_in_full_precision(backend: Backend) -> None:
    """One that multiplies matrices: its products are those of float32."""
    seen: list[float] = []

    class Multiplies(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            seen.append(float((torch.tensor(A) @ torch.tensor(B))[0, 0]))
            return super().step(closure)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        shift = jnp.asarray(A) @ jnp.asarray(B)
        return jax.tree.map(lambda u: 0 * u, updates), state + shift[0, 0]

    optim: Any = partial(Multiplies, lr=0.0)
    if backend.name == "numpyro":
        optim = optax.GradientTransformation(lambda params: jnp.zeros(()), update)
    svi = backend.inference.SVI(optim=optim, epochs=1, batch_size=60, precision="bfloat16")
    run = svi._loop(*pair("standard", backend), TrainingData.of(X), 0, None, None).run
    run.epoch(0, np.arange(60))
    found = seen[-1] if backend.name == "pyro" else float(run.carry.optim)
    assert found == pytest.approx(float(A[0].astype(float) @ B[:, 0]), abs=1e-4)
    half = [torch.tensor(a).bfloat16().double() for a in (A[0], B[:, 0])]
    assert abs(found - float(half[0] @ half[1])) > 1e-3


def test_both_backends_train_to_the_same_losses(base_noise: None, fresh_programs: None) -> None:
    """With the same noise: rounding of the nets is the same, and its error beside."""
    states, errors = [], []
    for name in backends.NAMES:
        b = backends.load(name)
        svi = b.inference.SVI(epochs=3, batch_size=25, learning_rate=0.01, precision="bfloat16")
        fit = svi.fit(*pair("standard", b), X, seed=3)
        states.append({**common_names(fit.pair.state()), "loss": fit.history["loss"]})
        states[-1].pop("model.prior.loc", None)
        errors.append(fit.history["rounding"])
    assert distance(*states) < 1e-3
    np.testing.assert_allclose(errors[0], errors[1], atol=2e-3)


def error_before(svi: Any, programs: tuple[Any, Any], x: np.ndarray) -> float:
    """How far the loss moves before the first step, where that is not refused."""
    loop = svi._loop(*programs, TrainingData.of(x), 0, None, None)
    loop.begin(False)
    return loop._rounding()


@pytest.mark.release("numpyro", keep=["normal", "low-rank normal", "IAF", "gamma"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_on_programs_of_users_the_error_is_small_or_refused(backend: Backend, name: str) -> None:
    """The weights of every program are no matrices, or so few that little is lost."""
    program = PROGRAMS[name]
    x, loss = np.repeat(program.x, 10, 0).astype(np.float32), backend.inference.TraceGraphELBO()
    programs, options = program.pairs[backend.name](), {"epochs": 1, "batch_size": len(x)}
    try:
        error = error_before(backend.inference.SVI(loss, precision="bfloat16", **options), programs, x)
    except ValueError as refusal:
        if "precision='full'" not in str(refusal):
            with pytest.raises(type(refusal), match=re.escape(str(refusal).splitlines()[0])):
                error_before(backend.inference.SVI(loss, **options), programs, x)
    else:
        assert abs(error) <= LARGEST


def covariance_of(weight: Any, noise: float) -> Any:
    """W W' + s^2 I, by a product of matrices."""
    eye = torch.eye(len(weight)) if isinstance(weight, torch.Tensor) else jnp.eye(len(weight))
    return weight @ weight.T + noise**2 * eye


def marginal(backend: Backend, scale: float) -> tuple[Any, Any]:
    """Factor analysis whose factors are integrated out, as a user writes it, beside a latent that does little."""
    weight = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)
    if backend.name == "pyro":

        def model(x: torch.Tensor) -> None:
            w = pyro.param("w", torch.tensor(weight))
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                normal = dist.MultivariateNormal(0.1 * z[..., None].expand(*z.shape, 6), covariance_of(w, scale))
                pyro.sample("x", normal, obs=x)

        def guide(x: torch.Tensor) -> None:
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(pyro.param("a", torch.tensor(0.0)), 1.0))

        return model, guide

    def numpyro_model(x: jax.Array) -> None:
        w = numpyro.param("w", jnp.asarray(weight))
        with numpyro.plate("data", len(x), dim=-1):
            z = numpyro.sample("z", npdist.Normal(0.0, 1.0))
            means = 0.1 * jnp.broadcast_to(z[..., None], (*z.shape, 6))
            numpyro.sample("x", npdist.MultivariateNormal(means, covariance_of(w, scale)), obs=x)

    def numpyro_guide(x: jax.Array) -> None:
        with numpyro.plate("data", len(x), dim=-1):
            numpyro.sample("z", npdist.Normal(numpyro.param("a", jnp.array(0.0)), 1.0))

    return numpyro_model, numpyro_guide


@pytest.mark.parametrize(("scale", "refused"), [(3.0, False), (0.01, True)])
def test_a_covariance_that_loses_its_digits_is_refused(backend: Backend, scale: float, refused: bool) -> None:
    """The error of W W' counts in units of s^2."""
    weight = np.random.default_rng(1).normal(size=(6, 2))
    rng = np.random.default_rng(2)
    x = (rng.normal(size=(100, 2)) @ weight.T + scale * rng.normal(size=(100, 6))).astype(np.float32)
    svi = backend.inference.SVI(epochs=1, batch_size=100, precision="bfloat16")
    programs = marginal(backend, scale)
    if refused:
        with pytest.raises(UnsuitableObjective, match="train with precision='full'"):
            error_before(svi, programs, x)
    else:
        assert 0 < abs(error_before(svi, programs, x)) < LARGEST


def principal(backend: Backend, scale: float, count: int = 40) -> tuple[Any, Any]:
    """A linear decoder of two latents with a noise of that scale, and data of it: pPCA."""
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(2, count)).astype(np.float32)
    x = rng.normal(size=(100, 2)) @ weight + scale * rng.normal(size=(100, count))
    posterior = backend.conditionals.DiagNormal(backend.nets.MLP((count, 4), rng))
    decoder = backend.nets.MLP((2, count), rng)
    likelihood = backend.conditionals.Normal(decoder, scale=scale, learned=False)
    model = backend.models.VAE(backend.models.StandardNormal(2), likelihood)
    return (model, backend.guides.Amortised(posterior)), x.astype(np.float32)


class Told(NamedTuple):
    """What is known of a training: its losses in full precision, and those in bfloat16 or the error there."""

    full: float
    rounded: float | Exception

    def losses(self, x: np.ndarray, side: Any, seeds: list[int], precision: str) -> np.ndarray:
        """Return a loss for each seed, or raise the error."""
        value = self.full if precision == "full" else self.rounded
        if isinstance(value, Exception):
            raise value
        return np.full(len(seeds), value)


def test_a_loss_that_is_lost_is_infinitely_far_off() -> None:
    """And where there is none in full precision, that is another error's matter."""
    far = [rounding.error_of(Told(1.0, r), X, {}, 0) for r in (np.nan, np.inf, ValueError("no covariance"))]  # type: ignore[arg-type]
    assert all(map(rounding.too_large, far)) and far == [np.inf] * 3
    assert np.isnan(rounding.error_of(Told(np.nan, 1.0), X, {}, 0))  # type: ignore[arg-type]
    assert rounding.error_of(Told(1.0, 1.25), X, {}, 0) == 0.25  # type: ignore[arg-type]
    assert [rounding.too_large(e) for e in (-0.06, -0.04, 0.04, 0.06)] == [True, False, False, True]


def test_a_loss_that_moves_too_far_is_refused_or_warned_of(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow likelihood multiplies the error of its net; one that becomes narrow is told of once."""
    svi = backend.inference.SVI(epochs=3, batch_size=50, precision="bfloat16")
    assert abs(error_before(svi, *principal(backend, 1.0))) < LARGEST
    programs, x = principal(backend, 0.005)
    with pytest.raises(UnsuitableObjective, match=r"off by .* nats per datum, and 0.05 is the most"):
        svi.fit(*programs, x)
    monkeypatch.setattr(rounding, "check_before", lambda error: None)
    with pytest.warns(RoundedLoss, match="after epoch 0 .* train with precision='full'") as caught:
        fit = svi.fit(*programs, x)
    assert sum(w.category is RoundedLoss for w in caught) == 1
    assert (np.abs(fit.history["rounding"]) > LARGEST).any()


KINDS: dict[str, tuple[str, Callable[[Any], Any], dict[str, Any], dict[str, Any]]] = {
    "importance weighted": ("vampprior", lambda i: i.IWAE(3), {}, {}),
    "inner loop": (
        *("standard", lambda i: i.TraceELBO()),
        *({"guide": "per-datapoint", "num_images": 60}, {"local_steps": 20}),
    ),
    "convolutions": ("conv", lambda i: i.TraceELBO(), {}, {}),
    "codes": ("vq", lambda i: i.VQELBO(), {}, {}),
    "bits": ("bernoulli", lambda i: i.VIMCO(3), {}, {}),
    "critic after it": ("standard", lambda i: i.FactorVAE(), {}, {"critic": critics.Critic(hidden=(8,))}),
    "critic before it": (
        *("standard", lambda i: i.GAN(game="hinge"), {"program": "implicit", "guide": "empty"}),
        {"critic": Discriminator((6,), steps=2, noise=0.1)},
    ),
}
"""Name -> pair, objective, settings of the pair and of the training."""


class Watched(_python_dispatch.TorchDispatchMode):
    """The products of a block around another mode's: how many there are, and those with operands of more digits."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.whole = 0, set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operands = [a for a in args if isinstance(a, torch.Tensor) and a.dim() > 1]
        matrices = func not in CONVOLUTIONS and func in of_torch.RULES
        if func in CONVOLUTIONS or (matrices and of_torch._rounds_matrices(*operands[-2:])):
            self.count += 1
            if not all((a.bfloat16() == a).all() for a in operands[-2:]):
                self.whole.add(str(func))
        return func(*args, **(kwargs or {}))


CONVOLUTIONS = (torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default)


def products_of(jaxpr: Any) -> tuple[int, int]:
    """The number of rounded products in what JAX recorded, and that of those which are left."""
    done, left = 0, 0
    for eqn in jaxpr.eqns:
        if eqn.params.get("name") == "rounded_product":
            done += 1
            continue
        left += of_jax._rounds(eqn)
        for inner in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            if hasattr(inner, "eqns"):
                found = products_of(inner)
                done, left = done + found[0], left + found[1]
    return done, left


@pytest.mark.parametrize("name", KINDS)
def test_every_product_of_a_step_is_rounded(backend: Backend, name: str) -> None:
    """Those of inner loops and of players, too; in full precision none is."""
    which, loss, more, options = KINDS[name]
    training = backend.inference.Adversarial if "critic" in options else backend.inference.SVI
    for precision in ("bfloat16", "full"):
        svi = training(loss(backend.inference), precision=precision, epochs=1, batch_size=30, **options)
        run = svi._loop(*pair(which, backend, **more), TrainingData.of(X), 0, None, None).run
        if backend.name == "pyro":
            with Watched() as watched:
                run.epoch(0, np.arange(60))
            assert watched.count > 5 and bool(watched.whole) == (precision == "full"), watched.whole
        else:
            ((x, batches),) = run._blocks(0, np.arange(60))
            there = Data(x, run.side, run.places(batches))
            step = jax.make_jaxpr(partial(scan_steps, run.step))(run.carry, run.constants, there, batches)
            done, left = products_of(step.jaxpr)
            assert (done > 5 and left == 0) if precision == "bfloat16" else (done == 0 and left > 5)


@pytest.mark.parametrize("mode", ["trace", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_recorded_step_rounds_as_an_eager_one(mode: str) -> None:
    """Inductor would leave out a rounding that a cast back follows."""
    fits = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotTraceable)
        for options in ({"precision": "full"}, {"precision": "bfloat16"}, {"precision": "bfloat16", "compile": mode}):
            svi = PYRO.inference.SVI(epochs=2, batch_size=20, learning_rate=0.01, **options)
            fits.append(svi.fit(*pair("standard", "pyro"), X))
    full, eager, recorded = fits
    assert apart(recorded, eager) < 0.1 * apart(full, eager)


def test_a_recorded_game_rounds_as_an_eager_one() -> None:
    fits = [
        PYRO.inference.Adversarial(
            PYRO.inference.GAN(), critic=Discriminator((6,), steps=2, noise=0.1), epochs=2, batch_size=20, **options
        ).fit(*pair("standard", "pyro", program="implicit", guide="empty"), X)
        for options in ({}, {"precision": "bfloat16"}, {"precision": "bfloat16", "compile": "trace"})
    ]
    full, eager, recorded = fits
    assert apart(recorded, eager) < 0.1 * apart(full, eager)


def test_checkpoints_and_files_know_the_precision(backend: Backend, tmp_path: Path) -> None:
    def train(epochs: int, precision: str = "bfloat16", **options: Any) -> Fit:
        svi = backend.inference.SVI(epochs=epochs, batch_size=20, precision=precision)
        return svi.fit(*pair("standard", backend), X, **options)

    whole, path = train(4), tmp_path / "c"
    train(2, checkpoint=path)
    for ours, theirs in (("full", "bfloat16"), ("bfloat16", "full")):
        with pytest.raises(ValueError, match="belongs to another training: its 'precision' is"):
            train(4, ours, checkpoint=path, resume=True)
        if theirs == "bfloat16":
            resumed = train(4, checkpoint=path, resume=True)
            assert apart(resumed, whole) == 0
            np.testing.assert_array_equal(resumed.history["rounding"], whole.history["rounding"])
            train(2, "full", checkpoint=path)
    saved = whole.save(tmp_path / "fit.safetensors", recipe=recipe("standard", backend))
    assert Fit.load(saved).settings["svi"]["precision"] == "'bfloat16'"


def test_several_seeds_are_each_of_that_precision(backend: Backend) -> None:
    svi = backend.inference.SVI(epochs=2, batch_size=20, precision="bfloat16")
    for seed, fit in enumerate(svi.fit_seeds(recipe("standard", backend), X, seeds=[0, 1])):
        alone = svi.fit(*pair("standard", backend, seed), X, seed=seed)
        assert apart(fit, alone) < 1e-4
        np.testing.assert_allclose(fit.history["rounding"], alone.history["rounding"], atol=1e-3)


def test_rows_shared_out_over_devices() -> None:
    """On NumPyro a mesh of one device, on which a step is the same program."""
    b = backends.load("numpyro")
    svi = b.inference.SVI(epochs=2, batch_size=20, precision="bfloat16")
    fits = [svi.fit(*pair("standard", b), X, parallel=parallel) for parallel in (False, True)]
    assert apart(*fits) < 1e-4
    assert fits[1].history["rounding"].shape == (2,)


@pytest.mark.parametrize("wrong", ["bf16", None, True])
def test_unknown_precisions(backend: Backend, wrong: Any) -> None:
    with pytest.raises(ValueError, match="'precision' should be 'full' or 'bfloat16'; got"):
        backend.inference.SVI(precision=wrong)
