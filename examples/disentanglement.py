"""Which objective disentangles? Four of them at several strengths and seeds, three metrics, and their fine print.

    python examples/disentanglement.py                             # sprites drawn at 32 x 32: some minutes on two cores
    python examples/disentanglement.py --data dsprites_grid        # 46,080 of the original images, 64 x 64
    python examples/disentanglement.py --executor processes:2      # two objectives at a time; or dask://..., ray
    python examples/disentanglement.py --thesis --device cuda      # a thesis as its text has it: 170 trainings
    python examples/disentanglement.py --thesis-code --device cuda # the same as its public code has it

beta-VAE, FactorVAE, beta-TCVAE and DIP-VAE on one unchanged VAE with convolutional nets. Every strength and seed of an
objective is trained in one program on NumPyro, one after the other on Pyro. What is trained is kept under ``--out`` and
not trained again: a run that was interrupted goes on from its last checkpoints. Strengths are those of the objective:
beta of the beta-VAE; lambda of FactorVAE and beta-TCVAE, where Chen's beta is 1 + lambda; of DIP-VAE both weights.
Published cells are those of a thesis of 2020 on dSprites. Without --thesis nets, steps, seeds and conventions are ours.

--thesis has its nets of 502,005 parameters, its critic, its grid of strengths and its metrics. Where its text and its
code differ the text decides, --thesis-code the other way: weights from Kaiming's normal distribution (torch's default),
a slope of the critic of 0.02 (0.2), 22,260 steps (345,600), five factors in the metrics (six, one of them constant).
Its cells are most likely those of 345,600 steps. Ours are, under both, how the scale of q(z | x) is kept positive
(softplus), where the critic's weights start (Xavier), and a DIP-VAE that takes its covariance over the right axis.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ppl_vae import backends, data, evaluation, plots, recipes, results
from ppl_vae.critics import Critic
from ppl_vae.data.factors import Factors
from ppl_vae.data.rendering import renderer
from ppl_vae.data.sets import dsprites, sprites
from ppl_vae.data.streams import Data
from ppl_vae.evaluation import disentanglement
from ppl_vae.runtime import folders, scripts, storage

METRICS = {"beta_vae": "beta-VAE metric", "factor_vae": "FactorVAE metric", "mig_binned": "MIG"}
"""Column -> the three that were published."""


@dataclass(frozen=True)
class Conventions:
    """What is settled one way or another from study to study; the defaults are ours."""

    initial_weights: str = "xavier"
    """of encoder and decoder"""
    slope: float = 0.2
    """of the critic's leaky ReLU"""
    outputs: int = 1
    """of the critic: a logit, or one for each class"""
    dip: str = "i"
    """the kind of the DIP-VAE: of the means' covariance, or 'ii', of the aggregate posterior's"""
    estimator: str = "stratified"
    """of the aggregate posterior, for the beta-TCVAE; or 'weighted'"""
    standardise: bool = True
    """the points of the beta-VAE metric"""
    threshold: float = 0.05
    """standard deviation below which a dimension takes no part in the FactorVAE metric"""
    constant_factors: int = 0
    """that count in these two metrics"""
    all_images: bool = False
    """judged on them, not on the grid of 46,080"""
    traversal: int = 9
    """values from -3 to 3"""
    trees: str = "binned"
    """of the usefulness; or 'exact', scikit-learn's older ones"""

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Keywords of the metrics."""
        constant = {"num_constant": self.constant_factors}
        beta_vae = {"standardise": self.standardise, **constant}
        return {"beta_vae": beta_vae, "factor_vae": {"threshold": self.threshold, **constant}}


OURS = Conventions()
TEXT = Conventions("kaiming-normal", 0.02, 2, "ii", "weighted", False, 0.0, 0, True, 10, "exact")
"""Those of the thesis, as its text has them."""
CODE = replace(TEXT, initial_weights="torch", slope=0.2, constant_factors=1)
"""The same where its public code has others."""


@dataclass(frozen=True)
class Objective:
    """One of the four: ``make(inference, strength, conventions)``, the grids, and what was published."""

    make: Callable[[Any, float, Conventions], Any]
    strengths: tuple[float, ...]
    few: tuple[float, ...]
    published: dict[str, str]
    """metric -> mean +- standard deviation over ten seeds of the best strength (in brackets)"""


OBJECTIVES = {
    "beta-VAE": Objective(
        lambda i, s, c: i.TraceMeanFieldELBO(beta=s),
        (1, 3, 10, 30),
        (1, 4),
        {"beta_vae": "0.867 ± 0.079 (1)", "factor_vae": "0.737 ± 0.031 (3)", "mig_binned": "0.270 ± 0.013 (10)"},
    ),
    "FactorVAE": Objective(
        lambda i, s, c: i.FactorVAE(strength=s),
        (5, 10, 25, 50, 100),
        (10,),
        {"beta_vae": "0.894 ± 0.033 (10)", "factor_vae": "0.758 ± 0.054 (10)", "mig_binned": "0.297 ± 0.061 (25)"},
    ),
    "beta-TCVAE": Objective(
        lambda i, s, c: i.BetaTCVAE(strength=s, estimator=c.estimator),
        (1, 3, 6, 10),
        (3,),
        {"beta_vae": "0.884 ± 0.049 (1)", "factor_vae": "0.736 ± 0.028 (1)", "mig_binned": "0.285 ± 0.060 (1)"},
    ),
    "DIP-VAE": Objective(
        lambda i, s, c: i.DIPVAE(strength=s, kind=c.dip),
        (1, 3, 10, 30),
        (3,),
        {"beta_vae": "0.612 ± 0.041 (1)", "factor_vae": "0.479 ± 0.038 (1)", "mig_binned": "0.039 ± 0.011 (1)"},
    ),
}


@dataclass(frozen=True)
class Scale:
    """How large a study is."""

    steps: int
    steps_per_epoch: int
    batch_size: int
    learning_rate: float
    latents: int
    channels: tuple[int, ...]
    hidden: tuple[int, ...]
    critic: Critic
    seeds: int
    labels: tuple[int, ...]
    surgery_images: int


COARSE = Scale(1800, 60, 64, 1e-3, 6, (16, 16, 32), (128,), Critic((128,) * 4, 1e-3), 2, (10, 100, 1000), 4032)
LARGE = Scale(22_260, 742, 64, 1e-4, 10, (32, 32, 32, 32), (256,), Critic(), 2, (10, 100, 1_000, 10_000), 10_000)
THESIS = replace(LARGE, hidden=(256, 256), critic=Critic((1000,) * 5), seeds=10)
"""Nets of 502,005 parameters; 30 epochs of 742 steps, as its text counts them."""
THESIS_CODE = replace(THESIS, steps=345_600, steps_per_epoch=11_520)
"""30 epochs of all 737,280 images."""
SMOKE = Scale(12, 6, 20, 1e-3, 3, (4,), (8,), Critic((8,)), 2, (10, 50, 200), 60)


class Images(NamedTuple):
    """Training images (N, P) and their factors."""

    name: str
    x: Data
    factors: Factors
    shape: tuple[int, int]


def load(name: str, smoke: bool, folder: Path) -> Images:
    """A set with its factors: by its name, or ``rendered``, all of dSprites drawn and not downloaded.

    The images of all of dSprites are kept in the folder, from which a training reads them: as numbers they take 12 GB.
    """
    if smoke:
        images, factors = sprites.rendered((3, 2, 3, 4, 4), side=8, closed=False)
        return Images(name, images.reshape(len(images), -1).astype(np.float32), factors, images.shape[1:])
    kept = folder / "images.npy"
    if name == "rendered" and not kept.exists():
        images, unfinished = sprites.rendered()[0], folder / "images.part.npy"
        np.save(unfinished, images.reshape(len(images), -1))
        unfinished.replace(kept)
    if name == "rendered":
        return Images(name, data.stream(kept, scale=1), Factors.grid(sprites.FULL, sprites.NAMES), (64, 64))
    images, factors = dsprites.whole(name)
    return Images(name, images.reshape(len(images), -1).astype(np.float32), factors, images.shape[1:])


def some(images: Images, count: int) -> np.ndarray:
    """Random positions of so many images, always the same: every n-th of a grid would miss values of its factors."""
    return np.sort(np.random.default_rng(0).permutation(len(images.x))[:count])


def judged(images: Images, args: argparse.Namespace) -> Images:
    """Of all of dSprites the grid of 46,080 images: every fourth orientation, every other position; or all of them."""
    classes, steps = images.factors.classes, np.array([1, 1, 4, 2, 2])
    if images.factors.sizes != sprites.FULL or args.conventions.all_images:
        return images
    rows = (classes % steps == 0).all(1)
    sizes = tuple(-(-size // step) for size, step in zip(sprites.FULL, steps, strict=True))
    return images._replace(
        x=images.x[np.flatnonzero(rows)], factors=Factors(images.factors.names, sizes, classes[rows] // steps)
    )


def read(images: Images, args: argparse.Namespace) -> Data:
    """The images of a training; of a stream only a random part, as many as the steps read, where not all are read."""
    count = args.steps * args.scale.batch_size
    if isinstance(images.x, data.Stream) and count < len(images.x):
        return images.x[np.sort(np.random.default_rng(args.seeds[0]).permutation(len(images.x))[:count])]
    return images.x


def epochs_of(images: Images, args: argparse.Namespace) -> tuple[int, int]:
    """The whole epochs of a training, at least so many steps as are asked for, and the steps of each."""
    size = (
        min(len(images.x), args.steps * args.scale.batch_size) if isinstance(images.x, data.Stream) else len(images.x)
    )
    each = min(args.scale.steps_per_epoch, -(-size // args.scale.batch_size))
    return -(-args.steps // each), each


def train(name: str, strengths: tuple[float, ...], images: Images, args: argparse.Namespace) -> list[results.Fit]:
    """Every strength and seed of an objective; what a checkpoint holds is not trained again."""
    scale, backend = args.scale, backends.load(args.backend)
    inference = backend.inference
    loss = OBJECTIVES[name].make(inference, strengths[0], args.conventions)
    training = inference.Adversarial if name == "FactorVAE" else inference.SVI
    critic = replace(scale.critic, slope=args.conventions.slope, outputs=args.conventions.outputs)
    extra = {"critic": critic} if name == "FactorVAE" else {}
    x = read(images, args)
    epochs, steps = epochs_of(images, args)
    svi = training(
        loss,
        epochs=epochs,
        epoch_size=min(steps * scale.batch_size, len(x)),
        batch_size=scale.batch_size,
        learning_rate=args.learning_rate,
        checkpoint_every=args.checkpoint_every,
        **extra,
    )
    return svi.fit_seeds(
        recipe(images, args),
        x,
        valid=images.x[some(images, 500)],
        seeds=args.seeds,
        strengths=strengths,
        device=args.device,
        checkpoint=args.out / "checkpoints" / name,
        resume=True,
        description=name,
    )


def recipe(images: Images, args: argparse.Namespace) -> recipes.Recipe:
    """The VAE that all of them train."""
    settings = {"channels": args.scale.channels, "hidden": args.scale.hidden, "latent_dim": args.scale.latents}
    settings["initial_weights"] = args.conventions.initial_weights
    return recipes.conv_vae(images.shape, backend=args.backend, **settings)


def judge(fit: results.Fit, images: Images, args: argparse.Namespace) -> dict[str, Any]:
    """A row of the table: metrics and usefulness of codes that are encoded once, and the ELBO in parts."""
    codes = disentanglement.encode(fit, images.x)
    settings = args.conventions.metrics()
    row: dict[str, Any] = disentanglement.metrics(codes.means, images.factors, sds=codes.sds, settings=settings)
    useful = disentanglement.usefulness(
        codes.means, images.factors, labels=args.scale.labels, trees=args.conventions.trees
    )
    row |= {f"accuracy_{n}": float(a) for n, a in zip(useful.labels, useful.mean, strict=True)}
    row["efficiency"] = useful.ratio(useful.labels[1], useful.labels[-1])
    row |= evaluation.elbo_surgery(fit, dissected(images, args), num_particles=2).row()
    return row | {"reconstruction": row["distortion"], "kl": row["rate"], "seconds": fit.seconds}


def dissected(images: Images, args: argparse.Namespace) -> np.ndarray:
    """The images over which q(z) is the aggregate posterior in the ELBO's surgery."""
    return images.x[some(images, args.scale.surgery_images)]


def file_of(name: str, strength: float, seed: int, args: argparse.Namespace) -> Path:
    """The file of a row."""
    return Path(args.out / "rows" / f"{name}-{strength:g}-{seed}.json")


def rows_of(
    name: str, strengths: tuple[float, ...], images: Images, told: Images, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """The rows of an objective, from what is kept or trained and judged now."""
    files = {(s, seed): file_of(name, s, seed, args) for s in strengths for seed in args.seeds}
    if not all(file.exists() for file in files.values()):
        fits = train(name, strengths, images, args)
        for ((strength, seed), file), fit in zip(files.items(), fits, strict=True):
            if file.exists():
                continue
            began = time.perf_counter()
            row = {"model": name, "strength": strength, "seed": seed, **judge(fit, told, args)}
            row["history"] = {k: list(map(float, v)) for k, v in fit.history.items()}
            fit.save(args.out / "fits" / f"{file.stem}.safetensors", recipe=recipe(images, args))
            storage.write_atomically(file, json.dumps(row).encode())
            said = ", ".join(f"{label} {row[metric]:.3f}" for metric, label in METRICS.items())
            print(f"{file.stem}: {said} (judged in {time.perf_counter() - began:.0f} s)", file=sys.stderr)
    return [json.loads(file.read_text(encoding="utf-8")) for file in files.values()]


def elsewhere(args: argparse.Namespace) -> None:
    """Let the executor make the rows of each objective.

    Raises:
        ValueError: an objective failed.
    """
    words = [sys.executable, str(Path(__file__).absolute()), *sys.argv[1:], "--out", str(args.out.absolute())]
    commands = {name: [*words, "--rows-only", "--objectives", name] for name in args.objectives}
    failed = [
        f"{name}: {why}" for name, why in evaluation.run_commands(evaluation.executor(args.executor), commands) if why
    ]
    if failed:
        raise ValueError("; ".join(failed))


def best(frame: pd.DataFrame) -> pd.DataFrame:
    """For each model and metric mean ± sd over seeds at the strength whose mean is best, beside what was published."""
    table: dict[str, dict[str, str]] = {}
    for name, rows in frame.groupby("model", sort=False):
        table[name], told = {}, rows.groupby("strength")[list(METRICS)].agg(["mean", "std"])
        for metric, label in METRICS.items():
            strength = told[metric]["mean"].idxmax()
            mean, sd = told.loc[strength, metric]
            over = f"{mean:.3f} ± {sd:.3f}" if np.isfinite(sd) else f"{mean:.3f}"
            table[name][label] = f"{over} ({strength:g})"
            table[name][f"{label}, published"] = OBJECTIVES[name].published[metric]
    return pd.DataFrame.from_dict(table, orient="index")


def usefulness(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy of boosted trees by the number of labels, over all strengths and seeds of a model."""
    columns = [c for c in frame if c.startswith("accuracy_")] + ["efficiency"]
    told = frame.groupby("model", sort=False)[columns].agg(["mean", "std"])
    cells = {c: [f"{m:.3f} ± {s:.3f}" for m, s in told[c].to_numpy()] for c in columns}
    return pd.DataFrame(cells, told.index).rename(columns=lambda c: c.replace("accuracy_", "") + " labels" * ("_" in c))


def over_training(frame: pd.DataFrame, args: argparse.Namespace) -> pd.DataFrame:
    """A row for each epoch of each training: the reconstruction of the validation part."""
    rows = [
        {**row[["model", "strength", "seed"]], "step": (e + 1) * args.steps_per_epoch, "reconstruction": -value}
        for _, row in frame.iterrows()
        for e, value in enumerate(row["history"]["valid_log_lik"])
    ]
    return pd.DataFrame(rows)


def figures(frame: pd.DataFrame, images: Images, args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """(name, figure): of the objectives over strengths and seeds, and of the best fit of each."""
    curves = over_training(frame, args)
    yield "reconstruction_by_seed", plots.training_by_seed(curves, "reconstruction")
    yield "reconstruction_by_objective", plots.training_across_objectives(curves, "reconstruction")
    yield "metric_against_reconstruction", plots.metric_against(frame, "beta_vae", "reconstruction")
    for metric, label in METRICS.items():
        yield metric, plots.metric_distributions(frame, metric, title=f"{label} over seeds")
    yield "decomposition", plots.objective_decomposition(frame)
    entropy = evaluation.data_entropy(dissected(images, args))
    yield "rate_distortion", plots.rate_distortion_plane(frame.assign(entropy=entropy))
    supervised = [*METRICS, "mig_sampled", "sap", "dci_disentanglement", "modularity"]
    if len(frame) > 2:
        parts = ["elbo", "reconstruction", "kl", "total_correlation", "gaussian_total_correlation"]
        yield "metrics_by_metrics", plots.correlation_matrix(disentanglement.spearman(frame[supervised]))
        rho = disentanglement.spearman(frame[supervised], frame[parts])
        yield "metrics_by_objectives", plots.correlation_matrix(rho)
    for name, rows in list(frame.groupby("model", sort=False))[: 1 if args.smoke else None]:
        row = rows.loc[rows["mig_binned"].idxmax()]
        file = args.out / "fits" / f"{name}-{row['strength']:g}-{row['seed']}.safetensors"
        if not file.exists():  # a row that was made elsewhere
            continue
        fit = results.Fit.load(file)
        for part, figure in of_a_fit(fit, images, args):
            yield f"{name}_{part}", figure


def of_a_fit(fit: results.Fit, images: Images, args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """What one fit has learned."""
    values = np.linspace(-3, 3, args.conventions.traversal)
    x = images.x[some(images, 1000)]
    order = evaluation.kl_by_dimension(fit, x)
    dimensions = np.argsort(-order)
    labels = [f"z{d}, {order[d]:.2f} nats" for d in dimensions]
    for start, z in (("image", fit.encode(x[:1])[0]), ("prior", evaluation.prior_draws(fit, 1)[0])):
        told = evaluation.traverse(fit, z, values=values, dimensions=dimensions)
        yield f"traversal_{start}", plots.traversals(told.images, told.values, images.shape, labels=labels)
    shown = images.x[some(images, 8)]
    yield "reconstructions", plots.reconstruction_differences(shown, fit.reconstruct(shown), images.shape)
    mean, sd = fit.posterior(x)["z"]
    z = mean + sd * np.random.default_rng(0).normal(size=mean.shape)
    yield "aggregate_posterior", plots.aggregate_posteriors(z)
    yield "sample_density", plots.sample_density(z, dimensions=dimensions[:3])
    yield "posterior_moments", plots.posterior_moments(mean, sd)
    yield "shifted", shifted(fit, images, shown, dimensions)


def shifted(fit: results.Fit, images: Images, shown: np.ndarray, dimensions: np.ndarray) -> Any:
    """Images under pixel noise, of an unseen shape, in inverted colours, beside their scores as outliers."""
    classes = images.factors.classes[some(images, 8)].copy()
    classes[:, 0] = 0
    sizes = (1, *images.factors.sizes[1:])
    unseen = sprites.draw(Factors(images.factors.names, sizes, classes), side=images.shape[0], shapes=["triangle"])
    sets = {"as they were": shown, "triangles": unseen.reshape(len(unseen), -1).astype(np.float32)}
    sets |= {f"pixel noise {p:g}": renderer.pixel_noise(shown, p, seed=0) for p in (0.001, 0.01, 0.05)}
    sets["inverted colours"] = renderer.inverted(shown)
    again = {name: fit.reconstruct(x) for name, x in sets.items()}
    scores = {name: evaluation.outlier_scores(fit, x) for name, x in sets.items()}
    moved = {
        name: evaluation.traverse(fit, fit.encode(x[:1])[0], dimensions=dimensions[:1]) for name, x in sets.items()
    }
    told = {name: traversal.images[0] for name, traversal in moved.items()}
    return plots.shifted_images(sets, again, scores, images.shape, traversals=told)


def settle(args: argparse.Namespace) -> None:
    """Note what this study is in its folder; refuse a folder of another one.

    Raises:
        ValueError: the folder holds a study with other settings, or something else.
    """
    folders.claim(args.out, "the work of examples/disentanglement.py", earlier="study.json")
    settings: dict[str, Any] = {
        n: str(getattr(args, n)) for n in ("backend", "data", "steps", "learning_rate", "scale")
    }
    settings["conventions"] = asdict(args.conventions)
    file = args.out / "study.json"
    for folder in ("rows", "fits", "checkpoints"):
        (args.out / folder).mkdir(parents=True, exist_ok=True)
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != settings:
        raise ValueError(f"{args.out} holds a study with other settings, as {file} says: give another --out.")
    storage.write_atomically(file, json.dumps(settings, indent=1).encode())


def strengths_of(name: str, args: argparse.Namespace) -> tuple[float, ...]:
    """The strengths of an objective that are asked for."""
    return OBJECTIVES[name].strengths if args.all_strengths else OBJECTIVES[name].few


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """What the command line says, or ``words``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="numpyro")
    names = ("sprites", "dsprites_grid", "dsprites", "rendered")
    parser.add_argument("--data", choices=names, help="sprites; with --thesis dsprites, which 'rendered' draws anew")
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, help="0 1; with --thesis 0 to 9")
    text = "in whole epochs: 1,800; of larger images and with --thesis 22,260, with --thesis-code 345,600"
    parser.add_argument("--steps", type=int, help=text)
    parser.add_argument("--learning-rate", type=float, help="1e-3; of larger images and with --thesis 1e-4")
    parser.add_argument("--all-strengths", action="store_true", help="the thesis's grid of strengths")
    parser.add_argument("--checkpoint-every", type=int, default=5, metavar="EPOCHS", help="what a killed run may lose")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--out", type=Path, help="a folder; by default runs/disentanglement-<data>-<backend>")
    text = "trains each objective elsewhere: processes:N here, dask://HOST:PORT, ray or ray://HOST:PORT"
    parser.add_argument("--executor", metavar="ADDRESS", help=text)
    parser.add_argument("--rows-only", action="store_true", help="train and judge; no table and no figures")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--thesis", action="store_true", help="the setting of the thesis's text: 170 trainings")
    whose.add_argument("--thesis-code", action="store_true", help="that of its public code, where it differs")
    parser.add_argument("--smoke", action="store_true", help="tiny images, a few steps: seconds")
    args = parser.parse_args(words)
    theirs = args.thesis or args.thesis_code
    args.data = args.data or ("dsprites" if theirs else "sprites")
    args.conventions = CODE if args.thesis_code else TEXT if args.thesis else OURS
    args.scale = THESIS_CODE if args.thesis_code else THESIS if args.thesis else LARGE
    args.scale = SMOKE if args.smoke else COARSE if args.data == "sprites" and not theirs else args.scale
    args.all_strengths = args.all_strengths or (theirs and not args.smoke)
    args.seeds = args.seeds if args.seeds is not None else list(range(args.scale.seeds))
    args.steps = args.steps or args.scale.steps
    args.learning_rate = args.learning_rate or args.scale.learning_rate
    name = "-".join([*["thesis-code" if args.thesis_code else "thesis"] * theirs, "smoke" if args.smoke else args.data])
    args.out = args.out or Path("runs") / f"disentanglement-{name}-{args.backend}"
    return args


def main() -> None:
    """Train, judge, and print the tables."""
    args = arguments()
    settle(args)
    if args.executor and not args.rows_only:
        elsewhere(args)
    images = load(args.data, args.smoke, args.out)
    epochs, args.steps_per_epoch = epochs_of(images, args)
    told = judged(images, args)
    rows = [row for name in args.objectives for row in rows_of(name, strengths_of(name, args), images, told, args)]
    if args.rows_only:
        return
    frame = pd.DataFrame(rows)
    frame.drop(columns="history").to_csv(args.out / "table.csv", index=False)
    for name, figure in figures(frame, told, args):
        plots.save(figure, args.out / f"{name}.png")
    steps, seeds = f"{epochs * args.steps_per_epoch:,} steps", f"{len(args.seeds)} seeds"
    what = "tiny sprites" if args.smoke else args.data
    print(f"{what}, {args.backend}, {steps}, {seeds}; the best strength in brackets, mean ± sd over seeds:\n")
    print(best(frame).to_string())
    if args.conventions == OURS:
        print("\nPublished: by the nets, steps and conventions of the thesis (--thesis), among them DIP-VAE II.")
    print(
        "\nAccuracy of boosted trees on the codes, over all strengths and seeds; efficiency is few labels over many:\n"
    )
    print(usefulness(frame).to_string())
    print(f"\ntable.csv and figures: {args.out}")


if __name__ == "__main__":
    sys.exit(scripts.run(main))
