"""The cells of the VampPrior table: data sets x priors x seeds, under a setting, each a training of its own."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runs import Training, whole

from ppl_vae import backends, data, recipes, schedules
from ppl_vae.data import Binarisation, Split

STEPS_BETWEEN_CHECKPOINTS = 3000
"""What an interruption may cost, in gradient steps: seconds."""


@dataclass(frozen=True)
class DataSet:
    """A row of the table: a named set under one rule and one likelihood."""

    source: str
    binarisation: Binarisation
    likelihood: str = "bernoulli"

    def load(self) -> Split:
        """The split; raises what ``data.load`` does."""
        return data.load(self.source, binarisation=self.binarisation)


DATA = {
    "freyfaces": DataSet("freyfaces", "none", "discretised-logistic"),
    "caltech101_silhouettes": DataSet("caltech101_silhouettes", "fixed"),
    "static_mnist": DataSet("static_mnist", "fixed"),
    "dynamic_mnist": DataSet("mnist", "dynamic"),
    "fashion_mnist": DataSet("fashion_mnist", "dynamic"),
    "fashion_mnist-grey": DataSet("fashion_mnist", "none"),
}
"""The cheapest first. Grey levels under a Bernoulli likelihood count as expected values: a cross-entropy."""

PRIORS: dict[str, tuple[Callable[..., recipes.Recipe], str]] = {
    **{prior: (recipes.vae, prior) for prior in recipes.REPORT_PRIORS},
    "flow": (recipes.vae, "flow"),
    "two-levels": (recipes.hierarchy, "standard"),
    "two-levels+vampprior": (recipes.hierarchy, "vampprior"),
}
"""What the table calls a prior -> the recipe, and its prior. The first four are the report's."""


@dataclass(frozen=True)
class Setting:
    """How all cells of one table are trained; the defaults are our own, with the nets of the VampPrior report."""

    name: str = "plain"
    hidden: tuple[int, ...] = (300, 300)
    latent_dim: int = 40
    gated: bool = False
    num_pseudo_inputs: int = 500
    start: str = "random"
    """where the pseudo-inputs of VampPrior start; those of VampPrior-data are random training images"""
    epochs: int = 1000
    warm_up: int = 20
    patience: int | None = None
    learning_rate: float = 5e-4
    batch_size: int = 100
    num_particles: int = 500
    certify: int = 0
    images: tuple[int, int, int] | None = None
    """of each part, where not all are used"""

    def split(self, of: DataSet) -> Split:
        """The data: with early stopping as they are, without it the validation images trained on too."""
        split = of.load()
        if self.images is not None:
            split = split.subset(*(min(n, size) for n, size in zip(self.images, split.sizes.values(), strict=True)))
        return whole(split) if self.patience is None else split

    def svi(self, backend: str, images: int) -> Any:
        """What trains a cell."""
        inference = backends.load(backend).inference
        beta = schedules.Linear(0.0, 1.0, over=self.warm_up) if self.warm_up else 1.0
        loss = inference.TraceELBO(beta=beta)
        return inference.SVI(
            loss,
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            batch_size=self.batch_size,
            patience=self.patience,
            checkpoint_every=max(1, STEPS_BETWEEN_CHECKPOINTS * self.batch_size // images),
        )


PLAIN = Setting()
"""Ours: the report's nets, latents, batches, Xavier weights and draws; a warm-up, half the rate, images as a start."""
REPORT = Setting("report", start="means", warm_up=0, learning_rate=1e-3)
"""The VampPrior report (Large VAE, 2021): Adam at its default rate, no warm-up, pseudo-inputs from a net of means.

Its text does not say the activation (ours is ReLU), how the encoder's scale is kept positive (softplus), nor whether
validation images are trained on (here they are).
"""
EARLY_STOPPING = Setting("early-stopping", patience=50)
"""The plain one, stopped by the validation images, which it does not train on: the small sets overfit otherwise."""
PAPER = Setting("paper", gated=True, start="mean", epochs=2000, warm_up=100, patience=50, num_particles=5000)
"""After Tomczak and Welling, 2018: gated layers, a warm-up over 100 epochs, a look-ahead of 50, Adam at 5e-4.

Not theirs: pseudo-inputs start at the data mean (theirs, on the small sets, at 0.5 with deviation 0.02), a scale is a
softplus (theirs a log-variance clipped to [-6, 2]), gradients are not normalised, pseudo-inputs not clipped to [0, 1].
"""
SMOKE = Setting("smoke", (16,), 4, num_pseudo_inputs=10, epochs=3, warm_up=1, batch_size=50, num_particles=10)
SMOKE = replace(SMOKE, images=(150, 50, 40))
SETTINGS = {setting.name: setting for setting in (PLAIN, REPORT, EARLY_STOPPING, PAPER, SMOKE)}


@dataclass(frozen=True)
class Cell:
    """One number of the table under one seed."""

    data: str
    prior: str
    seed: int
    backend: str
    setting: Setting

    @property
    def components(self) -> int | None:
        """Pseudo-inputs, or components of the mixture; None where there are none."""
        return None if PRIORS[self.prior][1] in ("standard", "flow") else self.setting.num_pseudo_inputs

    @property
    def start(self) -> str | None:
        """Where learned pseudo-inputs start."""
        return self.setting.start if PRIORS[self.prior][1] == "vampprior" else None

    @property
    def key(self) -> dict[str, Any]:
        """What tells one entry of a ledger from the others; the seed does not."""
        return {
            "data": self.data,
            "prior": self.prior,
            "components": self.components,
            "start": self.start,
            "setting": self.setting.name,
            "warm_up": self.setting.warm_up,
            "backend": self.backend,
            "epochs": self.setting.epochs,
        }

    @property
    def stem(self) -> str:
        """The name of its files, without epochs."""
        numbers = "" if self.components is None else str(self.components)
        prior = "-".join(filter(None, (self.prior, numbers, self.start)))
        other = self.setting.warm_up != SETTINGS[self.setting.name].warm_up
        setting = self.setting.name + other * f"-warmup{self.setting.warm_up}"
        return f"{self.data}-{prior}-{setting}-{self.backend}-seed{self.seed}"

    def training(self, split: Split, folder: Path) -> Training:
        """The training that fills it."""
        s, likelihood = self.setting, DATA[self.data].likelihood
        sizes = {"hidden": s.hidden, "latent_dim": s.latent_dim, "num_pseudo_inputs": s.num_pseudo_inputs}
        make, prior = PRIORS[self.prior]
        recipe = make(
            split,
            prior=prior,
            likelihood=likelihood,
            gated=s.gated,
            pseudo_inputs_start=s.start,
            backend=self.backend,
            **sizes,
        )
        told = {"likelihood": likelihood, "learning_rate": s.learning_rate}
        about = {**self.key, **told, "trained_on": "train and validation images"}
        if s.patience is not None:
            about["trained_on"] = f"train images; stopped {s.patience} epochs after the best validation ELBO"
        svi = s.svi(self.backend, split.sizes["train"])
        command = self.command([self.seed])
        of_draws = s.num_particles, command, about
        return Training(folder, self.stem, recipe, svi, split, self.seed, *of_draws, certify=s.certify)

    def command(self, seeds: Sequence[int]) -> str:
        """What makes this cell, under these seeds."""
        draws = {"num_particles": self.setting.num_particles, "certify": self.setting.certify}
        return command(**self.key, **draws, seeds=seeds)

    def work(self, split: Split) -> float:
        """Roughly how much there is to compute, in passes of one row through half of the nets."""
        components = 0 if self.components is None or self.prior == "mixture" else self.components
        per_image = 3 * (2 + components / self.setting.batch_size)  # a gradient costs two passes more
        trained = split.sizes["train"] * self.setting.epochs * per_image
        return trained + split.sizes["test"] * self.setting.num_particles


def command(
    *,
    data: str,
    prior: str,
    components: int | None,
    start: str | None,
    setting: str,
    warm_up: int,
    backend: str,
    epochs: int,
    num_particles: int,
    seeds: Sequence[int],
    certify: int = 0,
) -> str:
    """What makes the cells with this key, under these seeds."""
    named = SETTINGS[setting]
    words = ["--data", data, "--priors", prior, "--epochs", str(epochs), "--seeds", *map(str, seeds)]
    if components not in (None, named.num_pseudo_inputs):
        words = ["--sweep", str(components), *words[4:]]
    words += ["--pseudo-inputs-start", start] if start not in (None, named.start) else []
    words += ["--warm-up", str(warm_up)] if warm_up != named.warm_up else []
    words += ["--num-particles", str(num_particles)] if num_particles != named.num_particles else []
    words += ["--certify", str(certify)] if certify else []
    words += ["--backend", backend] if backend != "numpyro" else []
    words += [f"--{setting}"] if setting != PLAIN.name else []
    return shlex.join(["python", "benchmarks/vampprior_table.py", *words])


def cells(
    data: Sequence[str], priors: Sequence[str], seeds: Sequence[int], backend: str, setting: Setting
) -> Iterator[Cell]:
    """Seed by seed, so that an interrupted table has something to say of every cell; the cheap data sets first."""
    for seed in seeds:
        for name in sorted(data, key=list(DATA).index):
            yield from (Cell(name, prior, seed, backend, setting) for prior in priors)


def sweep(numbers: Sequence[int], seeds: Sequence[int], backend: str, setting: Setting) -> Iterator[Cell]:
    """VampPriors of so many pseudo-inputs on static MNIST, with the standard prior beside them."""
    for seed in seeds:
        yield Cell("static_mnist", "standard", seed, backend, setting)
        for number in sorted(numbers):
            yield Cell("static_mnist", "vampprior", seed, backend, replace(setting, num_pseudo_inputs=number))
