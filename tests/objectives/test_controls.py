"""Control variates that learn: unbiased whatever they have learned, of less noise once they have, kept to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from oracles import bernoulli, categorical, prepared_net, two_layers
from pairs import pair, toy

from ppl_vae import backends, controls
from ppl_vae.arrays import discrete, ops
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.inference import gradients as pyro_gradients
from ppl_vae.inference.svi.players import RunningPlayer
from ppl_vae.numpyro.inference import gradients as numpyro_gradients
from ppl_vae.pairs.terms import Latents
from ppl_vae.players import Sizes, State, View
from ppl_vae.runtime import storage


def at_random(kind: Any) -> Any:
    """A control variate of that kind whose weights are random numbers that hardly move."""

    @dataclass(frozen=True)
    class AtRandom(kind):
        def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
            start = super().init(sizes, rng)
            return start._replace(learned={name: rng.normal(size=a.shape) for name, a in start.learned.items()})

    return AtRandom(4, learning_rate=1e-9)


@pytest.fixture(autouse=True)
def soon_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches, not 300, before gradients are drawn."""
    for of in (pyro_gradients, numpyro_gradients):
        monkeypatch.setattr(of, "SETTLING", 2)


def drawn(backend: backends.Backend, objective: Any, own: Any, repeats: int, copies: int) -> np.ndarray:
    """Gradients of the mean bound of three images, each of so many copies, (R, parameters)."""
    x = np.repeat(toy(3), copies, 0)
    rows = np.tile(np.arange(len(x)), (repeats, 1))
    parts = [
        np.concatenate([np.reshape(a, (len(a), -1)) for a in gradients.values()], 1)
        for gradients, _ in backend.inference.draw_gradients(own, objective, x, rows, range(repeats))
    ]
    return np.concatenate(parts)


ESTIMATORS = {
    "RELAX": (controls.FreeForm, lambda i, control: i.RELAX(control=control)),
    "RODEO": (controls.Stein, lambda i, control: i.RODEO(3, control=control)),
}


@pytest.mark.release("numpyro", keep=["RODEO"])
@pytest.mark.parametrize(("name", "net"), [("RELAX", "categorical"), ("RODEO", "bernoulli")])
def test_unbiased_at_any_weights(backend: backends.Backend, name: str, net: str) -> None:
    kind, make = ESTIMATORS[name]
    own = prepared_net(net, backend)
    got = drawn(backend, make(backend.inference, at_random(kind)), own, 30, 200)
    exact = drawn(backend, backend.inference.TraceEnumELBO(), own, 1, 1)[0]
    away, noise = got.mean(0) - exact, got.var(0, ddof=1).sum() / len(got)
    assert (away**2).sum() < 3 * noise
    assert noise < 0.1 * (exact**2).sum(), "so that a bias would be seen"


def test_relax_is_unbiased_by_quadrature() -> None:
    """Of one bit, on a grid of both noises and at any weights: d/dl E f(b), and an eta and a net that matter."""
    of_u, of_v = ((np.arange(n) + 0.5) / n for n in (1500, 300))
    grid = [torch.tensor(a.reshape(-1, 1, 1)) for a in np.meshgrid(of_u, of_v)]
    logit, weights = 0.4, np.random.default_rng(4)
    each = torch.full_like(grid[0], logit).requires_grad_()
    of = discrete.Bits(each.detach())
    b = of.hard(of.perturbed(grid[0]))

    def f(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return -3 + torch.sin(2 * z + 0.3)[..., 0], 2 * torch.cos(2 * z + 0.3)

    soft, soft_given = of.soft(of.perturbed(grid[0]), 0.7), of.soft(of.given(grid[1], b), 0.7)
    relaxation = controls.Relaxation(each, *grid, 0.7, f(b)[0], f(soft_given)[0], f(soft)[1], f(soft_given)[1])
    kind, x = controls.FreeForm(4), torch.tensor([[0.2, 0.7]], dtype=torch.float64)
    start = kind.init(Sizes(2, 1, 1), weights)
    learned = {name: torch.tensor(2 * weights.normal(size=a.shape)) for name, a in start.learned.items()}
    tracked = {"weight": torch.tensor(1.0), "sum": torch.tensor(-2.0), "squares": torch.tensor(8.0)}
    view = View(x, relaxation.f.mean(0), Latents(b, control=relaxation))
    kind.output(State(tracked, learned), view).mean(0).sum().backward()
    chance = 1 / (1 + np.exp(-logit))
    at = [float(f(torch.tensor([float(bit)]))[0]) for bit in (0, 1)]
    assert float(each.grad.sum()) == pytest.approx(chance * (1 - chance) * (at[1] - at[0]), abs=2e-3)


def test_the_first_step_is_that_of_the_parent() -> None:
    """At their first weights, and the same noise, RELAX is REBAR."""
    backend = backends.load("pyro")
    own, inference = prepared_net("categorical", backend), backend.inference
    still = controls.FreeForm(learning_rate=1e-12)
    ours, theirs = (drawn(backend, o, own, 2, 1) for o in (inference.RELAX(control=still), inference.REBAR()))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def views(kind: Any, steps: int) -> Iterator[View]:
    """Draws of six bits for 20 data, and f that is not linear in them."""
    rng = np.random.default_rng(3)
    logits, weights = torch.tensor(rng.normal(size=(20, 6))), torch.tensor(rng.normal(size=(6, 4)))
    x = torch.tensor(rng.random((20, 5)))

    def f(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = z.detach().requires_grad_()
        values = -10 - 2 * ((z - 0.45) @ weights).cos().sum(-1)
        return values.detach(), torch.autograd.grad(values.sum(), z)[0]

    for _ in range(steps):
        noise = [torch.tensor(rng.random((3, 20, 6))) for _ in range(2)]
        each = logits.expand(3, 20, 6)
        of = discrete.Bits(each)
        b = of.hard(of.perturbed(noise[0]))
        at_b, slope = f(b)
        given: Any = controls.BitDraws(each, b, at_b, slope)
        if kind is controls.FreeForm:
            at_s = f(of.soft(of.perturbed(noise[0]), 0.5)), f(of.soft(of.given(noise[1], b), 0.5))
            given = controls.Relaxation(each, *noise, 0.5, at_b, at_s[1][0], at_s[0][1], at_s[1][1])
        yield View(x, at_b.mean(0), Latents(b, control=given))


@pytest.mark.parametrize(("kind", "less"), [(controls.FreeForm, 0.95), (controls.Stein, 0.85)])
def test_what_is_learned_takes_noise_away(kind: Any, less: float, float64: None) -> None:
    """The squared gradient falls, on draws that it has not learned from."""
    running = RunningPlayer(kind(learning_rate=1e-2), Sizes(5, 6, 6), np.random.default_rng(0), torch.device("cpu"))
    for view in views(kind, 250):
        running.step(view)
    told = running.history.rows()
    first, last = told[:20].mean().item(), told[-50:].mean().item()
    assert last < less * first


@pytest.mark.parametrize("logits", [[-1.5, 0.2, 3.0], [0.0, 0.0, 0.0]])
def test_a_stein_operator_has_mean_zero(logits: list[float]) -> None:
    """The estimate of log q alone, f constant: its mean over every pair of draws is 0, for any function h."""
    player = at_random(controls.Stein)
    state = player.init(Sizes(4, 3, 3), np.random.default_rng(1))
    rng, bits = np.random.default_rng(2), np.indices((2, 2, 2)).reshape(3, -1).T.astype(float)
    chances = np.prod(np.where(bits > 0.5, 1 / (1 + np.exp(-np.array(logits))), 1 / (1 + np.exp(logits))), -1)
    f, slope = rng.normal(size=8), rng.normal(size=(8, 3))
    exact = (chances * f) @ (bits - 1 / (1 + np.exp(-np.array(logits))))
    first, second = (a.ravel() for a in np.indices((8, 8)))
    both = np.stack([first, second])
    at = np.broadcast_to(np.array(logits), (2, 64, 3))
    given = controls.BitDraws(*map(torch.tensor, (at.copy(), bits[both], f[both], slope[both])))
    view = View(torch.zeros(64, 4), torch.zeros(64), Latents(given.b, control=given))
    tensors = State(*({n: torch.tensor(a) for n, a in part.items()} for part in state))
    each = ops.gradient(lambda a: player.surrogate(tensors, view, a).mean(0).sum(), given.logits).sum(0)
    got = ((chances[first] * chances[second])[:, None] * each.detach().numpy()).sum(0)
    np.testing.assert_allclose(got, exact, atol=1e-12)


def test_the_backends_have_one_loss() -> None:
    """At the same weights and noise."""
    rng = np.random.default_rng(0)
    kind = controls.FreeForm(4)
    start = at_random(controls.FreeForm).init(Sizes(5, 2, 6), rng)
    sizes = [(2, 7, 2, 3)] * 3, [(2, 7)] * 2, [(2, 7, 2, 3)] * 2
    logits, *noise = (rng.random(s) for s in sizes[0])
    rest = [rng.normal(size=s) for s in (*sizes[1], *sizes[2])]
    x, z = rng.random((7, 5)), rng.integers(3, size=(2, 7, 2))
    losses = []
    for array, run in ((partial(torch.tensor, dtype=torch.float32), kind.loss), (jnp.asarray, jax.jit(kind.loss))):
        given = controls.Relaxation(*map(array, (logits, *noise)), 0.5, *map(array, rest))
        state = State(*({n: array(a) for n, a in part.items()} for part in start))
        view = View(array(x), array(x[:, 0]), Latents(array(z), control=given))
        losses.append(run(state, view)[0].tolist())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.release("numpyro", keep=["RODEO"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_training_goes_on_to_the_bit(backend: backends.Backend, name: str, tmp_path: Path) -> None:
    kind, make = ESTIMATORS[name]
    loss, x = make(backend.inference, kind(4)), toy(40)

    def train(epochs: int, **where: Any) -> Any:
        return backend.inference.SVI(loss, epochs=epochs, batch_size=10).fit(*bernoulli(backend), x, **where)

    whole, path = train(4), tmp_path / "checkpoint"
    assert len(whole.history["squared_gradient"]) == 4 and np.isfinite(whole.history["squared_gradient"]).all()
    train(2, checkpoint=path)
    assert any("control/" in where for where in storage.read(path)[0])
    resumed = train(4, checkpoint=path, resume=True)
    np.testing.assert_array_equal(whole.history["loss"], resumed.history["loss"])
    ours, theirs = whole.pair.state(), resumed.pair.state()
    assert all(np.array_equal(ours[at], theirs[at]) for at in ours)


def test_what_they_are_not_for_is_refused(backend: backends.Backend) -> None:
    inference = backend.inference
    for objective, programs, message in (
        (inference.RELAX(), pair("standard", backend), "RELAX is for discrete latents"),
        (inference.RELAX(), two_layers(backend), "RELAX is for one layer of latents"),
        (inference.RODEO(), categorical(backend), "RODEO is for Bernoulli latents"),
    ):
        with pytest.raises(UnsuitableObjective, match=message):
            inference.SVI(objective, epochs=1, batch_size=20).fit(*programs, toy(60))
    with pytest.raises(ValueError, match="RODEO compares each draw .* at least 2; got 1"):
        inference.RODEO(1)
    with pytest.raises(TypeError, match=r"RELAX: 'control' should be controls.FreeForm\(\); got Stein"):
        inference.RELAX(control=controls.Stein())
    with pytest.raises(ValueError, match="FreeForm: 'hidden' should be an integer of at least 1; got 0"):
        controls.FreeForm(0)
