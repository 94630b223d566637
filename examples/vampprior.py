"""One VAE under four priors: standard Gaussian, mixture of Gaussians, VampPrior and VampPrior-data.

    python examples/vampprior.py                                        # digits, under two minutes on two cores
    python examples/vampprior.py --backend numpyro --seeds 0 1 2 --sweep-pseudo-inputs
    python examples/vampprior.py --dataset static_mnist                 # with the nets of the VampPrior report

Prints one table of test log-likelihoods; writes it, the figures, the fits and every setting and number below ``--out``.
VAE with a VampPrior, Tomczak and Welling, 2018; Large VAE (the VampPrior report), 2021.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ppl_vae import backends, data, evaluation, plots, recipes, schedules, seeds
from ppl_vae.results import Fit
from ppl_vae.runtime import folders, scripts

PACKAGES = ("torch", "pyro-ppl", "jax", "numpyro", "flax", "numpy")
HEADINGS = {"elbo": "ELBO", "log_p": "log p(x)", "test_error": "± test images", "mc_error": "± Monte Carlo"}
HEADINGS |= {"active_units": "active units", "seconds": "seconds", "parameters": "parameters"}
NOTE = """\
ELBO and log p(x) are nats per test image: higher is better.{spread}
log p(x): importance sampling with {draws} draws an image, a lower bound in expectation. ± test images: its standard
error from which {images} images were seen. ± Monte Carlo: its standard error from the draws. Seconds: of training."""


@dataclass(frozen=True)
class Setting:
    """What is chosen for a data set; the defaults are the nets of the report, in a shorter training of our own."""

    hidden: tuple[int, ...] = (300, 300)
    latent_dim: int = 40
    num_pseudo_inputs: int = 500
    sweep: tuple[int, ...] = (50, 200, 500, 1000)
    epochs: int = 100
    learning_rate: float = 5e-4
    warm_up: int = 20
    patience: int | None = None
    checkpoint_every: int = 1
    num_particles: int = 500


DIGITS = Setting((200, 200), 16, 100, (10, 30, 100, 300), 200, 1e-3, warm_up=0, patience=30, checkpoint_every=20)
SETTINGS = {"digits": DIGITS, "static_mnist": Setting()}


@dataclass(frozen=True)
class Result:
    """A trained pair and what it achieves."""

    fit: Fit
    evaluation: evaluation.Evaluation
    about: dict[str, Any]

    @property
    def log_p(self) -> np.ndarray:
        return self.evaluation.log_p.values

    @property
    def row(self) -> dict[str, Any]:
        return {**self.about, "epochs": len(self.fit.history["loss"]), **self.evaluation.row()}


@dataclass
class Experiment:
    """The pairs of one data set on one backend, each trained and evaluated once, when it is first asked for."""

    split: data.Split
    setting: Setting
    args: argparse.Namespace
    results: dict[tuple[str, int, int], Result] = field(default_factory=dict)

    def svi(self) -> Any:
        s, inference = self.setting, backends.load(self.args.backend).inference
        loss = inference.TraceELBO(beta=schedules.Linear(0.0, 1.0, over=s.warm_up) if s.warm_up else 1.0)
        options = {"patience": s.patience, "checkpoint_every": s.checkpoint_every}
        batch_size = min(100, len(self.split.train))
        return inference.SVI(loss, learning_rate=s.learning_rate, epochs=s.epochs, batch_size=batch_size, **options)

    def recipe(self, prior: str, number: int) -> recipes.Recipe:
        likelihood = "normal" if self.split.binarisation == "none" else "bernoulli"
        sizes = {"hidden": self.setting.hidden, "latent_dim": self.setting.latent_dim, "num_pseudo_inputs": number}
        return recipes.vae(self.split, prior=prior, backend=self.args.backend, likelihood=likelihood, **sizes)

    def result(self, prior: str, seed: int, number: int | None = None) -> Result:
        number = number or self.setting.num_pseudo_inputs
        if (prior, seed, number) not in self.results:
            usual = number == self.setting.num_pseudo_inputs
            name = f"{prior}-seed{seed}" if usual else f"{prior}{number}-seed{seed}"
            fit = self.train(self.recipe(prior, number), seed, name)
            options = {"num_particles": self.setting.num_particles, "seed": seed, "progress": None}
            options["train"] = self.split.train
            about = {"prior": prior, "num_pseudo_inputs": number, "seed": seed}
            self.results[prior, seed, number] = Result(fit, evaluation.evaluate(fit, self.split.test, **options), about)
            print(f"{name}: log p(x) {self.results[prior, seed, number].log_p.mean():.2f} nats", flush=True)
        return self.results[prior, seed, number]

    def train(self, recipe: recipes.Recipe, seed: int, name: str) -> Fit:
        """A new training, or with ``--resume`` the rest of one; a finished one has no rest."""
        checkpoint, resume = self.args.out / name / "checkpoint.safetensors", self.args.resume
        options = {"seed": seed, "device": self.args.device, "description": name}
        pair = recipe(seeds.generator(seed, "weights"))
        fit = self.svi().fit(*pair, self.split, checkpoint=checkpoint, resume=resume, **options)
        fit.save(self.args.out / name / "fit.safetensors", recipe=recipe)
        return fit


def in_words(table: pd.DataFrame) -> str:
    """The table of ``evaluation.compare`` as it is printed: means, with standard deviations over several seeds."""
    text = pd.DataFrame(index=table.index)
    for column, heading in HEADINGS.items():
        sd = table.get(f"{column}_sd")
        digits = {"active_units": 0 if sd is None else 1, "seconds": 1, "parameters": 0, "mc_error": 3}.get(column, 2)
        text[heading] = [f"{value:,.{digits}f}" for value in table[column]]
        if sd is not None:
            text[heading] += [f" ± {value:.{digits}f}" for value in sd]
    return text.to_string()


def figures(experiment: Experiment) -> None:
    """The report's figures, of the first seed."""
    args, split = experiment.args, experiment.split
    results = {prior: experiment.result(prior, args.seeds[0]) for prior in args.priors}
    about = f"({split.name}, {args.backend}, seed {args.seeds[0]})"

    values = {prior: r.log_p for prior, r in results.items()}
    histograms = plots.likelihood_histograms(values, title=f"Test log-likelihood {about}")
    plots.save(histograms, args.out / "likelihood_histograms.png")
    histories = {prior: r.fit.history for prior, r in results.items()}
    plots.save(plots.training_curves(histories, title=f"Training {about}"), args.out / "training_curves.png")
    if not plots.is_drawable(split.image_shape):
        print(f"No images are drawn: one datum has shape {split.image_shape}, not (H, W) or (H, W, 3).")
        return
    x = split.test[np.linspace(0, len(split.test) - 1, 12).astype(int)]
    samples = plots.reconstructions_and_generations(
        x,
        {prior: r.fit.reconstruct(x) for prior, r in results.items()},
        {prior: r.fit.generate(36, seed=args.seeds[0]) for prior, r in results.items()},
        split.image_shape,
        title=f"Reconstructions and generations {about}",
    )
    plots.save(samples, args.out / "reconstructions_and_generations.png")
    for prior in ("vampprior", "vampprior-data"):
        if prior in results:
            inputs = results[prior].fit.model.prior.pseudo_inputs()
            inputs = np.asarray(inputs.detach().cpu() if args.backend == "pyro" else inputs)
            grid = plots.pseudo_inputs(inputs, split.image_shape, title=f"pseudo-inputs of {prior} {about}")
            plots.save(grid, args.out / f"pseudo_inputs-{prior}.png")


def sweep(experiment: Experiment, numbers: list[int]) -> list[dict[str, float]]:
    """Mean log p(x) over seeds against the number of pseudo-inputs, beside the standard prior's."""

    def log_p(prior: str, number: int | None = None) -> np.ndarray:
        return np.mean([experiment.result(prior, seed, number).log_p for seed in experiment.args.seeds], 0)

    reference, points = log_p("standard"), []
    for number in numbers:
        values = log_p("vampprior", number)
        error = float((values - reference).std(ddof=1) / np.sqrt(len(values)))
        points.append({"num_pseudo_inputs": number, "log_p": float(values.mean()), "error_of_gain": error})
    bars = "standard error of the gain over the standard prior, over test images"
    options = {"reference": float(reference.mean()), "error_name": bars}
    title = f"Test log-likelihood and the number of pseudo-inputs ({experiment.split.name}, {experiment.args.backend})"
    figure = plots.pseudo_input_sweep(*pd.DataFrame(points).to_numpy().T, title=title, **options)
    plots.save(figure, experiment.args.out / "pseudo_input_sweep.png")
    return points


def record(experiment: Experiment, points: list[dict[str, float]]) -> dict[str, Any]:
    """Every setting and number, JSON-able."""
    results = experiment.results
    return {
        "options": {name: str(v) if isinstance(v, Path) else v for name, v in vars(experiment.args).items()},
        "device": str(next(iter(results.values())).fit.pair.device),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "data": experiment.split.to_dict(),
        "setting": asdict(experiment.setting),
        "svi": experiment.svi().to_dict(),
        "recipes": [experiment.recipe(*pair).to_dict() for pair in dict.fromkeys((p, n) for p, _, n in results)],
        "rows": [result.row for result in results.values()],
        "sweep": points,
    }


def choose(args: argparse.Namespace) -> Experiment:
    """The data and the settings that the options ask for."""
    if args.backend == "pyro" and (args.threads or args.dataset == "digits"):
        import torch

        torch.set_num_threads(args.threads or 1)
    split, setting = data.load(args.dataset), SETTINGS.get(args.dataset, Setting())
    if args.smoke:
        split = split.subset(*(min(n, size) for n, size in zip((200, 40, 40), split.sizes.values(), strict=True)))
        setting = replace(setting, hidden=(32,), num_pseudo_inputs=20, sweep=(5, 20), epochs=4, num_particles=20)
        setting = replace(setting, warm_up=min(setting.warm_up, 1), checkpoint_every=1)
    given = {name: getattr(args, name) for name in ("epochs", "num_particles") if getattr(args, name)}
    most = len(split.train)
    setting = replace(setting, num_pseudo_inputs=min(setting.num_pseudo_inputs, most), **given)
    if args.sweep_pseudo_inputs == []:
        args.sweep_pseudo_inputs = [n for n in setting.sweep if n <= most]
    if max(args.sweep_pseudo_inputs or [1]) > most:
        raise ValueError(f"--sweep-pseudo-inputs: pseudo-inputs start at training images, of which there are {most}.")
    args.out = args.out or Path("runs") / f"vampprior-{split.name}-{args.backend}"
    folders.claim(args.out, "the work of examples/vampprior.py", earlier="*/checkpoint.safetensors")
    return Experiment(split, setting, args)


def run(experiment: Experiment) -> None:
    """Train, evaluate, draw, write and print."""
    args, setting, split = experiment.args, experiment.setting, experiment.split
    results = {prior: [experiment.result(prior, seed).evaluation for seed in args.seeds] for prior in args.priors}
    points = sweep(experiment, args.sweep_pseudo_inputs) if args.sweep_pseudo_inputs else []
    figures(experiment)
    table = evaluation.compare(results)
    text = in_words(table)
    spread = f" Means ± standard deviations over {len(args.seeds)} seeds." if len(args.seeds) > 1 else ""
    note = NOTE.format(spread=spread, draws=setting.num_particles, images=len(split.test))
    table.to_csv(args.out / "table.csv", index_label="prior")
    (args.out / "table.txt").write_text(f"{text}\n\n{note}\n", encoding="utf-8")
    (args.out / "metrics.json").write_text(json.dumps(record(experiment, points), indent=2), encoding="utf-8")
    print(f"\n{split!r}, {args.backend}; written to {args.out}\n\n{text}\n\n{note}")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} should be an integer of at least 1")
    return int(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--backend", choices=backends.NAMES, default="pyro")
    add("--dataset", default="digits", help=f"{', '.join(data.names())}, or a .npy or .npz file")
    add("--priors", nargs="+", choices=recipes.REPORT_PRIORS, default=list(recipes.REPORT_PRIORS), metavar="PRIOR")
    add("--seeds", nargs="+", type=int, default=[0], metavar="SEED", help="one training of each prior per seed")
    add("--epochs", type=positive, help="at most so many; by default the data set's")
    add("--num-particles", type=positive, help="draws per image for log p(x); by default 500")
    add("--sweep-pseudo-inputs", nargs="*", type=positive, metavar="N", help="also VampPriors of N pseudo-inputs")
    add("--device", help="cpu, cuda, cuda:1, ...")
    add("--threads", type=positive, help="of torch; by default 1 for digits, whose nets are tiny, and else all cores")
    add("--out", type=Path, help="a folder; by default runs/vampprior-<dataset>-<backend>")
    add("--resume", action="store_true", help="go on from the checkpoints below --out; what is finished stays")
    add("--smoke", action="store_true", help="a few images, epochs and draws: seconds")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    command = shlex.join([*sys.argv, *([] if args.resume else ["--resume"])])
    return scripts.run(lambda: run(choose(args)), f"to go on: python {command}")


if __name__ == "__main__":
    sys.exit(main())
