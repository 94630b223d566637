"""What a refusal of checkpoints, files, callbacks and players advises, followed: the training goes on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from oracles import two_layers
from pairs import TRAIN, P, follow, pair, plain_functions, refused, trained, two_latents, untrained

from ppl_vae import backends, baselines, callbacks, evaluation, guides, inference, recipes
from ppl_vae.divergences import aggregate_density
from ppl_vae.mcmc import samplers
from ppl_vae.results import Fit
from ppl_vae.runtime import locks, storage
from ppl_vae.training import checkpoints

PYRO, NUMPYRO = backends.load("pyro"), backends.load("numpyro")
Way = Callable[[Path], Any]


def goes_on(
    name: str = "standard", *, file: str = "checkpoint", after: Callable[[Path], Any] | None = None, **options: Any
) -> Way:
    """A training from a checkpoint."""

    def train(at: Path) -> Fit:
        if after is not None:
            after(at)
        return trained(PYRO, name, checkpoint=at / file, **{"epochs": 2, "resume": True, **options})

    return train


def begun(at: Path) -> None:
    if not (at / "checkpoint").exists():
        goes_on(resume=False)(at)


def of_another_version(at: Path) -> None:
    arrays, header = storage.read(at / "checkpoint")
    storage.write(at / "checkpoint", arrays, {**header, "versions": {**header["versions"], "torch": "1.0"}})


def of_this_version(at: Path) -> None:
    arrays, header = storage.read(at / "checkpoint")
    storage.write(at / "checkpoint", arrays, {**header, "versions": checkpoints._versions()})


def a_fit(at: Path) -> None:
    trained(PYRO, "standard", epochs=1).save(at / "fit")


def svi(loss: Any = None, **settings: Any) -> Any:
    return inference.SVI(inference.TraceELBO() if loss is None else loss, **{"epochs": 1, "batch_size": 20, **settings})


class Shared(baselines.Neural):
    """A baseline under another name."""

    name: ClassVar[str] = "weights"


class Critical(baselines.Neural):
    """A baseline that looks at the codes."""

    sees: ClassVar[Any] = "codes"


def with_player(player: Any, model_guide: Callable[[], Any] = lambda: pair("bernoulli", PYRO)) -> Way:
    return lambda _: svi(inference.TraceGraphELBO(2, baseline=player)).fit(*model_guide(), TRAIN)


def tied(name: str) -> Any:
    """A model and a guide, each with a PyroParam, of names that are the same or not."""
    model, guide = pair("standard", PYRO)
    for program, own in ((model, "scale"), (guide, name)):
        setattr(program, own, pyro.nn.PyroParam(torch.tensor(1.0)))
        program.register_forward_pre_hook(lambda module, _, own=own: getattr(module, own) and None)
    return model, guide


def observing(observe: bool) -> Any:
    def model(x: Any) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            p = dist.Bernoulli(logits=z.sum(-1, keepdim=True) + 0 * x).to_event(1)
            pyro.sample("x", p, obs=x if observe else None)

    return model, plain_functions(PYRO)[1]


def wide(dim: int = P) -> Any:
    """A pair whose encoder takes so many numbers."""
    rng, b = np.random.default_rng(0), PYRO
    model = b.models.VAE(b.models.StandardNormal(2), b.conditionals.Bernoulli(b.nets.MLP((2, P), rng)))
    return model, b.guides.Amortised(b.conditionals.DiagNormal(b.nets.MLP((dim, 4), rng)))


def visible() -> Any:
    return PYRO.models.FullyVisible(PYRO.models.MixtureOfBernoullis(2, TRAIN, np.random.default_rng(0))), guides.Empty()


def of_levels(x: np.ndarray, **settings: Any) -> Any:
    one = recipes.vae((P,), latent_dim=2, hidden=(4,), **{"likelihood": "categorical", "levels": 3, **settings})
    return svi().fit(*one(np.random.default_rng(0)), x)


LEVELS = np.random.default_rng(0).integers(0, 3, TRAIN.shape)


REMEDIES: dict[str, tuple[Way, ...]] = {
    "Use the same settings and data, another file, or resume=False": (
        goes_on(after=begun, learning_rate=0.5),
        goes_on(),
        goes_on(learning_rate=0.5, file="another"),
        goes_on(learning_rate=0.5, resume=False),
    ),
    "not a checkpoint to go on from: use another file, or resume=False": (
        goes_on(after=a_fit, file="fit"),
        goes_on(file="another"),
        goes_on(file="fit", resume=False),
    ),
    "go on with that version, or start anew with another file or resume=False": (
        goes_on(after=lambda at: (begun(at), of_another_version(at))),
        goes_on(after=of_this_version),
        goes_on(file="another"),
        goes_on(after=of_another_version, resume=False),
    ),
    "more than the {} asked for: ask for at least as many, or use another file": (
        goes_on(after=begun, epochs=1),
        goes_on(epochs=2),
        goes_on(epochs=1, file="another"),
    ),
    "Use the same model and guide (activations, likelihood, ...), another file, or resume=False": (
        lambda at: (
            begun(at),
            svi(epochs=3, learning_rate=0.01).fit(*tanh(), TRAIN, checkpoint=at / "checkpoint", resume=True),
        ),
        goes_on(epochs=3),
        lambda at: svi(epochs=1).fit(*tanh(), TRAIN, checkpoint=at / "another", resume=True),
        lambda at: svi(epochs=1).fit(*tanh(), TRAIN, checkpoint=at / "checkpoint", resume=False),
    ),
    "such as (28, 28): give one": (
        lambda at: callbacks.TensorBoard(at, images=TRAIN),
        lambda at: callbacks.TensorBoard(at, image_shape=(4, 3), images=TRAIN).close(),
    ),
    "is a part of every training's state: give the player another name": (
        with_player(Shared()),
        with_player(baselines.Neural()),
    ),
    "looks at the codes of one latent site, a vector; the pair has the sites {}: use an objective without it": (
        with_player(Critical(), lambda: two_layers(PYRO)),
        lambda _: svi(inference.TraceGraphELBO(2)).fit(*two_layers(PYRO), TRAIN),
    ),
    "and Pyro would make one of them. Give them different names": (
        lambda _: svi().fit(*tied("scale"), TRAIN),
        lambda _: svi().fit(*tied("other"), TRAIN),
    ),
    "pass the data on, as in pyro.sample('x', ..., obs=x)": (
        lambda _: svi().fit(*observing(False), TRAIN),
        lambda _: svi().fit(*observing(True), TRAIN),
    ),
    "evaluation.log_likelihood(fit, x, 1) is its log p(x), exact": (
        lambda _: evaluation.ais(svi().fit(*visible(), TRAIN), TRAIN[:5]),
        lambda _: evaluation.log_likelihood(svi().fit(*visible(), TRAIN), TRAIN[:5], 1),
    ),
    "use Amortised, SemiAmortised or PerDatapoint over one of the conditionals": (
        lambda _: untrained(*two_latents(PYRO), PYRO).refine(TRAIN[:3]),
        lambda _: untrained(*pair("standard", PYRO), PYRO).refine(TRAIN[:3], steps=2).encode(TRAIN[:3]),
        lambda _: evaluation.log_likelihood(untrained(*two_latents(PYRO), PYRO), TRAIN[:3], 5),
        lambda _: evaluation.ais(
            untrained(*two_latents(PYRO), PYRO),
            TRAIN[:3],
            evaluation.Annealing(num_temperatures=3, num_chains=2, start="prior"),
        ),
    ),
    "do not binarise, or use another likelihood": (
        lambda _: of_levels(LEVELS / 5),
        lambda _: of_levels(LEVELS / 2),
        lambda _: of_levels(LEVELS / 5, likelihood="normal"),
    ),
    "choose another batch size (the last batch of an epoch counts, too)": (
        lambda _: aggregate_density.log_weights("stratified", 1, 60),
        lambda _: np.asarray(aggregate_density.log_weights("stratified", 20, 60)),
    ),
    "Use HMC or NUTS of ppl_vae.inference or ppl_vae.numpyro.inference": (
        lambda _: samplers._Sampler(num_samples=4).run(untrained(*pair("standard", PYRO), PYRO), TRAIN[:2]),
        lambda _: (
            inference.HMC(num_samples=4, num_warmup=20)
            .run(untrained(*pair("standard", PYRO), PYRO), TRAIN[:2])
            .accept_prob
        ),
    ),
}


def tanh() -> Any:
    return pair("standard", PYRO, activation="tanh")


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str, tmp_path: Path) -> None:
    follow(says, tmp_path, *REMEDIES[says])


def test_tensorboard_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard", None)
        refused(
            "The callback TensorBoard needs the package 'tensorboard': pip install 'ppl_vae[tensorboard]'",
            lambda: callbacks.TensorBoard(tmp_path),
        )
    assert any("tensorboard" in line and "extra" in line for line in metadata.requires("ppl_vae") or ())
    callbacks.TensorBoard(tmp_path).close()


def test_a_folder_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.0)

    def enter(folder: Path) -> None:
        with locks.only_writer(folder, folder=True):
            pass

    with locks.only_writer(tmp_path / "a", folder=True):
        refused(": wait until it ends, or use another {}", lambda: enter(tmp_path / "a"))
        enter(tmp_path / "b")
    enter(tmp_path / "a")


def test_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write(tmp_path / "a", {"x": np.arange(3)}, {})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        refused(
            "; nothing was written, what was there is as it was: make room, or permit writing",
            lambda: storage.write(tmp_path / "a", {"x": np.arange(9)}, {}),
        )
    assert storage.read(tmp_path / "a")[0]["x"].tolist() == [0, 1, 2]
    storage.write(tmp_path / "a", {"x": np.arange(9)}, {})
    assert len(storage.read(tmp_path / "a")[0]["x"]) == 9


def test_pairs_that_do_not_run(tmp_path: Path) -> None:
    """The sizes that the refusal gives; and a state that a compiled training does not carry."""
    refused("Do the nets take {} numbers and return what their distributions need", lambda: svi().fit(*wide(11), TRAIN))
    assert np.isfinite(svi().fit(*wide(12), TRAIN).history["loss"]).all()


def with_norm(norm: Any) -> Any:
    from flax import nnx

    b, rng = NUMPYRO, np.random.default_rng(0)
    encoder = nnx.Sequential(norm, b.nets.MLP((P, 4), rng))
    model = b.models.VAE(b.models.StandardNormal(2), b.conditionals.Bernoulli(b.nets.MLP((2, P), rng)))
    return model, b.guides.Amortised(b.conditionals.DiagNormal(encoder))


def test_a_net_with_a_state_on_numpyro() -> None:
    from flax import nnx

    svi = NUMPYRO.inference.SVI(epochs=1, batch_size=20)
    refused(
        "use LayerNorm or weight decay instead",
        lambda: svi.fit(*with_norm(nnx.BatchNorm(P, rngs=nnx.Rngs(0))), TRAIN),
    )
    assert np.isfinite(svi.fit(*with_norm(nnx.LayerNorm(P, rngs=nnx.Rngs(0))), TRAIN).history["loss"]).all()
    refused(
        "and {} is a single one: name a platform",
        lambda: svi.fit(*pair("standard", NUMPYRO), TRAIN, device="cpu:0", parallel=True),
    )
    fit = svi.fit(*pair("standard", NUMPYRO), TRAIN, device="cpu", parallel=True)
    assert np.isfinite(fit.history["loss"]).all()
