"""Players that a user writes, outside the package: trained, in the history, in the checkpoint, resumed to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pairs import D, P, pair, toy

from ppl_vae import backends, bounds, objectives
from ppl_vae.arrays import ops
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.objectives import LatentsRequest, TermsRequest
from ppl_vae.pairs.terms import Terms
from ppl_vae.players import Player, Sizes, State, View

X = toy(40)


@dataclass(frozen=True)
class OfData(Player):
    """A discriminator that sees x: data against the means of their reconstructions."""

    name: ClassVar[str] = "of_data"
    metrics: ClassVar[tuple[str, ...]] = ("of_data_loss",)
    learning_rate: float = 1e-2

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        assert sizes.data == P
        return State({}, {"weight": 0.1 * rng.normal(size=P), "bias": np.zeros(())})

    def logits(self, net: Mapping[str, Any], x: Any) -> Any:
        return (x * net["weight"]).sum(-1) + net["bias"]

    def output(self, state: State, view: View) -> Any:
        assert view.latents is not None
        return self.logits(state.learned, view.latents.mean)

    def loss(self, state: State, view: View) -> Any:
        assert view.latents is not None
        real, made = (self.logits(state.learned, x) for x in (view.x, view.latents.mean))
        return ops.softplus(-real).mean() + ops.softplus(made).mean(), ()


@dataclass(frozen=True)
class OfBoth(Player):
    """A discriminator that sees x and z: codes of the guide against draws of the prior; it counts its steps."""

    name: ClassVar[str] = "of_both"
    sees: ClassVar[Any] = "both"
    metrics: ClassVar[tuple[str, ...]] = ("of_both_loss", "of_both_gap")
    learning_rate: float = 1e-2

    def init(self, sizes: Sizes, rng: np.random.Generator) -> State:
        assert sizes._replace(rows=0) == Sizes(P, D) and sizes.rows
        return State({"steps": np.zeros(())}, {"weight": 0.1 * rng.normal(size=(P, D))})

    def logits(self, net: Mapping[str, Any], x: Any, z: Any) -> Any:
        return ((x @ net["weight"]) * z).sum(-1)

    def output(self, state: State, view: View) -> Any:
        assert view.latents is not None
        return self.logits(state.learned, view.x, view.latents.z)

    def loss(self, state: State, view: View) -> Any:
        assert view.latents is not None
        ours, theirs = (self.logits(state.learned, view.x, z) for z in (view.latents.z, view.others))
        return ops.softplus(-ours).mean() + ops.softplus(theirs).mean(), (ours.mean() - theirs.mean(),)

    def track(self, tracked: Any, view: View) -> Any:
        return {"steps": tracked["steps"] + 1}


@dataclass(frozen=True)
class TwoPlayers(objectives.Objective):
    """The ELBO with what two players think of the reconstruction and of the codes."""

    weight: float = 0.1
    per_datum: ClassVar[bool] = False

    @property
    def is_bound(self) -> bool:
        return False

    @property
    def players(self) -> tuple[Player, ...]:
        return (OfData(), OfBoth())

    @property
    def request(self) -> TermsRequest:
        return replace(super().request, latents=LatentsRequest(prior=True, reconstruction=True))

    def bound(self, terms: Terms, of_data: Any = None, of_both: Any = None) -> Any:
        assert of_data.shape == of_both.shape == terms.log_lik.shape
        return bounds.elbo(terms) - self.weight * (ops.softplus(-of_data) + ops.softplus(of_both)).mean(0)


def training(backend: backends.Backend, epochs: int, loss: Any = None) -> Any:
    """An SVI that takes the neutral objective as it is."""
    return backend.inference.SVI(TwoPlayers() if loss is None else loss, epochs=epochs, batch_size=10)


def test_they_train_are_told_of_and_go_on_to_the_bit(backend: backends.Backend, tmp_path: Path) -> None:
    whole = training(backend, 4).fit(*pair("standard", backend), X)
    for name in ("of_data_loss", "of_both_loss", "of_both_gap"):
        assert len(whole.history[name]) == 4 and np.isfinite(whole.history[name]).all()
    path = tmp_path / "checkpoint"
    training(backend, 2).fit(*pair("standard", backend), X, checkpoint=path)
    from ppl_vae.runtime import storage

    (steps,) = (a for name, a in storage.read(path)[0].items() if name.endswith("tracked/steps"))
    assert steps == 8
    resumed = training(backend, 4).fit(*pair("standard", backend), X, checkpoint=path, resume=True)
    for name in set(whole.history) - {"seconds", "compilation", "memory"}:
        np.testing.assert_array_equal(whole.history[name], resumed.history[name])
    ours, theirs = whole.pair.state(), resumed.pair.state()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_the_pair_listens_to_them(backend: backends.Backend) -> None:
    plain, heard = (training(backend, 1, TwoPlayers(weight=w)).fit(*pair("standard", backend), X) for w in (0.0, 1.0))
    assert any(not np.array_equal(a, heard.pair.state()[name]) for name, a in plain.pair.state().items())
    assert heard.history["loss"] != plain.history["loss"]


def test_backends_agree(base_noise: None, fresh_programs: None, float64: None) -> None:
    """One step from the same weights and noise: the same loss and metrics; the prior's draws are not shared."""
    fits = [training(backends.load(name), 1).fit(*pair("standard", name), X[:10]) for name in backends.NAMES]
    assert fits[0].history["of_data_loss"] == pytest.approx(fits[1].history["of_data_loss"], rel=1e-3)


def test_a_player_of_codes_needs_codes(backend: backends.Backend) -> None:
    class Ladder(TwoPlayers):
        pass

    two = backend.models.HVAE, backend.guides.BottomUp
    rng = np.random.default_rng(0)
    nets, conditionals = backend.nets, backend.conditionals
    model = two[0](
        backend.models.StandardNormal(2),
        conditionals.DiagNormal(nets.MLP((2, 4, 4), rng)),
        conditionals.Bernoulli(nets.MLP((2, 4, P), rng)),
    )
    guide = two[1](conditionals.DiagNormal(nets.MLP((P, 4, 4), rng)), conditionals.DiagNormal(nets.MLP((2, 4, 4), rng)))
    with pytest.raises(UnsuitableObjective, match="the player 'of_both' looks at the codes of one latent site"):
        training(backend, 1).fit(model, guide, X)


def test_two_players_of_one_name_are_refused(backend: backends.Backend) -> None:
    @dataclass(frozen=True)
    class Twins(TwoPlayers):
        @property
        def players(self) -> tuple[Player, ...]:
            return (OfData(), OfData(learning_rate=1e-3))

    with pytest.raises(ValueError, match="players need different names"):
        training(backend, 1, Twins()).fit(*pair("standard", backend), X)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"name": "optim"}, "'optim' is a part of every training's state"),
        ({"name": "weights"}, "'weights' is a part of every training's state"),
        ({"metrics": ("loss",)}, "metrics need names in the history of their own"),
        ({"metrics": ("of_both_gap",)}, "metrics need names in the history of their own"),
    ],
)
def test_a_player_cannot_take_a_name_of_the_training(
    backend: backends.Backend, own: dict[str, Any], message: str
) -> None:
    """Its checkpoint could not be resumed, or a column of the history would be another's."""
    taker: Any = type("Taker", (OfData,), own)

    @dataclass(frozen=True)
    class Taken(TwoPlayers):
        @property
        def players(self) -> tuple[Player, ...]:
            return (taker(), OfBoth())

    with pytest.raises(ValueError, match=message):
        training(backend, 1, Taken()).fit(*pair("standard", backend), X)


def test_metrics_without_a_value_are_told(backend: backends.Backend) -> None:
    """A metric that the loss does not return would take the value of the next player's."""
    forgets: Any = type("Forgets", (OfData,), {"metrics": ("of_data_loss", "of_data_gap")})

    @dataclass(frozen=True)
    class Forgotten(TwoPlayers):
        @property
        def players(self) -> tuple[Player, ...]:
            return (forgets(), OfBoth())

    with pytest.raises(ValueError, match="of_data: 'metrics' names .*, 'loss' returned 1"):
        training(backend, 1, Forgotten()).fit(*pair("standard", backend), X)
