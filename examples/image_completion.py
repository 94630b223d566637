"""The missing half of an image: a digit of which the lower half is seen, completed by three kinds of model.

    python examples/image_completion.py                                 # digits, about three minutes on two cores
    python examples/image_completion.py --backend numpyro
    python examples/image_completion.py --data mnist --only 9 --parts a b                 # nines alone, of 28 x 28
    python examples/image_completion.py --data static_mnist --full      # the published setting, some hours

(a) Under a tractable model of whole images the hidden pixels are Bernoulli latents: guesses at the parameters phi of
their q, and a phi fitted to each image by REINFORCE, beside the exact answer log p(seen). (b) Under a VAE q(z) is
fitted to what was seen, and the other half drawn from it. (c) A conditional VAE with one, two and three quadrants
given, beside published numbers. In (a) and (b) also under models that have learned nothing, which know what to draw as
little as whoever guesses the mean of each pixel. Nats per test image.

Learning Structured Output Representation using Deep Conditional Generative Models, Sohn, Lee and Yan, 2015; MADE,
Germain et al., 2015; MIWAE, Mattei and Frellsen, 2019.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ppl_vae import backends, baselines, data, evaluation, init, plots, recipes, schedules, seeds
from ppl_vae.data.regions import put_together, region
from ppl_vae.errors import Divergence
from ppl_vae.mcmc import HMC
from ppl_vae.results import Fit
from ppl_vae.runtime import folders, scripts

RATES = {"mixture": 1e-2, "MADE": 1e-3}
"""Learning rates of the models of images."""
UNTRAINED = "not trained"
NEAR = 0.99
"""What "near 1" is."""
GIVEN = {1: ("bottom left",), 2: ("left",), 3: ("left", "top right")}
"""Quadrants given -> which."""
PUBLISHED = {1: (100.4, 71.8), 2: (61.9, 51.0), 3: (25.4, 24.2)}
"""Quadrants given -> a baseline net and the conditional VAE on MNIST, as Pyro's tutorial on the conditional VAE prints
them: of grey levels as expected bits, and by the ELBO."""
NOTE = """\
Published: MNIST's grey levels as expected bits, the conditional VAE by its negative ELBO, at the epoch that was best on
the test images themselves. Ours: {name} in zeros and ones, by importance sampling with {draws} draws, the epoch chosen
on validation images, and no baseline net; the VAE and the mixture on {images} test images, exactly for the mixture.
{same}"""


@dataclass(frozen=True)
class Setting:
    """What is chosen for a data set."""

    components: int = 50
    made: tuple[int, ...] = (300,)
    hidden: tuple[int, ...] = (200,)
    latent_dim: int = 16
    conditional_hidden: tuple[int, ...] = (200,)
    conditional_dim: int = 16
    epochs: int = 300
    patience: int = 15
    steps: int = 400
    warmup: int = 100
    images: int = 200
    num_particles: int = 1000


MNIST = Setting(200, (500,), (300, 300), 40, (300, 300), 40, epochs=20, patience=4, images=100)
FULL = replace(MNIST, conditional_hidden=(500, 500), conditional_dim=200, epochs=200, patience=10, images=1000)
SMOKE = Setting(5, (20,), (20,), 4, (20,), 4, epochs=3, patience=3, steps=30, warmup=10, images=10, num_particles=20)


@dataclass
class Experiment:
    """The data, what is chosen for them, and where everything is written."""

    split: data.Split
    setting: Setting
    args: argparse.Namespace

    def __post_init__(self) -> None:
        self.backend = backends.load(self.args.backend)
        self.rng = seeds.generator(self.args.seed, "weights")
        test, count = self.split.test, self.setting.images
        self.x = test[:: max(1, len(test) // count)][:count]  # from all of the part, which may be in the classes' order
        self.hidden = region(self.split.image_shape[:2], "top")
        step = max(1, len(self.x) // 12)
        self.shown = slice(0, 12 * step, step)

    def svi(self, **settings: Any) -> Any:
        """A training with early stopping."""
        s = self.setting
        usual = {"epochs": s.epochs, "patience": s.patience, "learning_rate": 1e-3, "batch_size": 100}
        return self.backend.inference.SVI(**{**usual, **settings})

    def trained(self, name: str, model: Any, guide: Any, train: Any = None, **settings: Any) -> Fit:
        """The pair, trained; on the images by default."""
        learning_rate = settings.pop("learning_rate", 1e-3)
        options = {"seed": self.args.seed, "device": self.args.device, "description": name, **settings}
        fit = self.svi(learning_rate=learning_rate).fit(model, guide, self.split if train is None else train, **options)
        print(f"{name}: {len(fit.history['loss'])} epochs, {fit.seconds:.0f} seconds", flush=True)
        return fit

    def pixel_means(self) -> np.ndarray:
        """log-probability of each image's hidden pixels (N,), by the mean of each over the training images alone."""
        train = self.split.train[:, self.hidden]
        p, truth = (train.sum(0) + 1) / (len(train) + 2), self.x[:, self.hidden]
        return np.where(truth > 0, np.log(p), np.log1p(-p)).sum(-1)

    def save(self, table: pd.DataFrame, name: str, **figures: Any) -> None:
        """A table and its figures."""
        self.args.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(self.args.out / f"{name}.csv")
        for figure, drawn in figures.items():
            plots.save(drawn, self.args.out / f"{figure}.png")


# (a) A tractable model of whole images


def models_of_images(e: Experiment) -> dict[str, Fit]:
    """A mixture, and an autoregressive model that has the seen pixels first: trained by their likelihood, and not."""
    b, s = e.backend, e.setting
    order = np.argsort(e.hidden, kind="stable")
    mixture = b.models.MixtureOfBernoullis(s.components, e.split.train, e.rng)
    made = b.models.Autoregressive(b.nets.MADE(len(e.hidden), s.made, e.rng, order=order))
    pairs = {name: (b.models.FullyVisible(m), b.guides.Empty()) for name, m in (("mixture", mixture), ("MADE", made))}
    trained = {name: e.trained(name, *pair, learning_rate=RATES[name]) for name, pair in pairs.items()}
    start = {name: Fit.untrained(b.inference.Pair(*pair, e.args.device), e.x) for name, pair in pairs.items()}
    return trained | {f"{name}, {UNTRAINED}": fit for name, fit in start.items()}


def guesses(truth: np.ndarray) -> dict[str, np.ndarray]:
    """The lecture's guesses at phi (N, H), the probability of each hidden pixel; the truth is not known, of course."""
    return {
        "0.5 everywhere": np.full(truth.shape, 0.5),
        f"{NEAR} everywhere": np.full(truth.shape, NEAR),
        "1 everywhere": np.ones(truth.shape),
        f"{NEAR} at the truth": np.where(truth > 0, NEAR, 1 - NEAR),
        "1 at the truth": truth.astype(float),
    }


def answers(e: Experiment, images: Any) -> dict[str, Fit]:
    """Name -> q of the hidden pixels of each image: the guesses, the fitted phi, the exact conditional."""
    b, s = e.backend, e.setting
    model, seen = b.models.Completion(images, e.hidden), e.x[:, ~e.hidden]

    def product(phi: np.ndarray) -> Any:
        return b.guides.PerDatapoint(b.conditionals.Bernoulli(b.nets.Rows(init.bernoulli_rows(phi))))

    def as_it_is(guide: Any) -> Fit:
        return Fit.untrained(b.inference.Pair(model, guide, e.args.device), seen)

    starts = guesses(e.x[:, e.hidden])
    loss = b.inference.TraceGraphELBO(16, baseline=baselines.LeaveOneOut())
    falling = schedules.Exponential(1.0, 0.03, over=s.steps)
    local = {"local_learning_rate": 0.3, "learning_rate_factor": falling, "freeze_model": True}
    svi = e.svi(loss=loss, epochs=s.steps, batch_size=len(seen), patience=None, **local)
    fitted = svi.fit(model, product(starts["0.5 everywhere"]), seen, seed=e.args.seed, device=e.args.device)
    exact = as_it_is(b.guides.ExactCompletion(model))
    return {**{name: as_it_is(product(phi)) for name, phi in starts.items()}, "fitted": fitted, "exact": exact}


def part_a(e: Experiment) -> dict[str, Fit]:
    """ELBOs and gaps of the guesses under both models."""
    seen, rows, drawn, likely = e.x[:, ~e.hidden], [], {}, {}
    trained = models_of_images(e)
    for kind, fit in trained.items():
        found = answers(e, fit.model.images)
        log_p = evaluation.log_likelihood(found["exact"], seen, 1).values
        for name, answer in found.items():
            elbo = evaluation.elbo(answer, seen, e.setting.num_particles).values
            gap = log_p - elbo
            error = gap.std(ddof=1) / np.sqrt(len(gap))
            rows.append({"model": kind, "phi": name, "ELBO": elbo.mean(), "gap": gap.mean(), "± images": error})
        drawn[kind] = found
        likely[kind] = what_is_drawn(e, found["exact"], evaluation.log_likelihood(fit, e.x, 1).values - log_p)
    table = pd.DataFrame(rows).set_index(["model", "phi"])
    print("\n(a) The hidden half as Bernoulli latents: ELBO, and its gap to log p(seen)")
    print(table.round(2).to_string())
    told = pd.DataFrame(likely).T.rename_axis("model")
    print("\n(a) Draws from p(hidden | seen), and what the mean of each pixel makes of the same pixels")
    print(told.round(2).to_string())
    e.save(told, "draws")
    gaps = {
        f"{kind}, {phi}": [gap]
        for (kind, phi), gap in table["gap"].items()
        if phi != "exact" and not kind.endswith(UNTRAINED)
    }
    title = "The gap of q(hidden pixels), a product of Bernoullis phi"
    e.save(table, "guesses", guesses=pictures_of_phi(e, drawn), gaps=plots.bound_gaps(gaps, title=title))
    return trained


def what_is_drawn(e: Experiment, exact: Fit, log_p: np.ndarray) -> dict[str, float]:
    """How likely the hidden pixels are, and what completions are like: 50 draws of p(hidden | seen) an image."""
    seen, truth = e.x[:, ~e.hidden], e.x[:, e.hidden]
    z = exact.draws(seen, 50, seed=e.args.seed)["z"]
    entropy = -exact.terms(seen, 50, seed=e.args.seed).log_guide.mean()
    return {
        "log p(hidden | seen)": float(log_p.mean()),
        "by pixel means": float(e.pixel_means().mean()),
        "entropy of draws": float(entropy),
        "pixels as in the truth": float((z == truth).mean()),
        "share of ink": float(z.mean()),
        "of ink in the truth": float(truth.mean()),
    }


def pictures_of_phi(e: Experiment, drawn: dict[str, dict[str, Fit]]) -> Any:
    """The fitted phi, and draws of the exact answers, above what was seen."""
    seen = e.x[:, ~e.hidden]

    def whole(z: np.ndarray) -> np.ndarray:
        return put_together(e.hidden, z, seen)[..., e.shown, :]

    rows = {"image": e.x[e.shown], "seen": whole(np.full(e.hidden.sum(), np.nan))}
    for kind, found in drawn.items():
        if not kind.endswith(UNTRAINED):
            rows[f"{kind}: fitted phi"] = whole(found["fitted"].posterior(seen)["z"][0])
            rows[f"{kind}: drawn from it"] = whole(found["fitted"].draws(seen, 2, seed=e.args.seed)["z"])
        rows[f"{kind}: exact draws"] = whole(found["exact"].draws(seen, 2, seed=e.args.seed)["z"])
    return plots.labelled_rows(rows, e.split.image_shape, seen=~e.hidden, title="Upper halves as latents")


# (b) A VAE


def ways(fit: Fit, refined: Fit, s: Setting) -> dict[str, tuple[Fit, Any]]:
    """Way to draw z given what was seen -> whose draws they are or start from, and by which method."""
    return {
        "the encoder": (fit, "guide"),
        "per-datapoint": (refined, "guide"),
        "importance": (refined, "importance"),
        "HMC": (refined, HMC(num_warmup=s.warmup, num_chains=4)),
    }


def filled(fit: Fit, z: np.ndarray, x: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images completed by a draw for each z (K, N, D), (K, N, P), and log 1/K sum_k p(x_hidden | z_k), (N,)."""
    p = fit.decode(z.reshape(-1, z.shape[-1])).reshape(*z.shape[:2], -1).clip(1e-7, 1 - 1e-7)
    log_p = np.where(mask, 0, np.where(x > 0, np.log(p), np.log1p(-p))).sum(-1, dtype=float)
    drawn = seeds.generator(seed, "pixels").random(p.shape) < p
    return np.where(mask, x, drawn), np.logaddexp.reduce(log_p, 0) - np.log(len(z))


def part_b(e: Experiment) -> Fit:
    """The VAE's completions of the upper half, and how likely they make the true one; then those of one not trained."""
    recipe = recipes.vae(e.split, latent_dim=e.setting.latent_dim, hidden=e.setting.hidden, backend=e.args.backend)
    fit = e.trained("VAE", *recipe(e.rng))
    weights = seeds.generator(e.args.seed, "weights", UNTRAINED)
    start = Fit.untrained(e.backend.inference.Pair(*recipe(weights), e.args.device), e.x)
    parts, figures, count = [], {}, max(20, e.setting.num_particles // 5)
    for name, own, figure in (("trained", fit, "completions"), (UNTRAINED, start, "untrained")):
        scores, images = scored(e, own, count)
        parts.append(pd.DataFrame(scores).assign(VAE=name))
        rows = {"image": e.x[e.shown], "seen": np.where(e.hidden, np.nan, e.x[e.shown])}
        rows |= {way: drawn[:3, e.shown] for way, drawn in images.items()}
        title = "Upper halves drawn from a VAE" + (f", {UNTRAINED}" if own is start else "")
        figures[figure] = plots.labelled_rows(rows, e.split.image_shape, seen=~e.hidden, title=title)
    table = pd.concat(parts).set_index(["VAE", "draws by"]).astype(float)
    print(f"\n(b) A VAE given the lower half: the true upper half under {count} draws of z; means over images")
    print(table.round(2).to_string(na_rep=""))
    e.save(table, "completions", **figures)
    return fit


def scored(e: Experiment, fit: Fit, count: int) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """A row of the table for each way to draw z, and the images that each completes, (K, N, P)."""
    s, x, mask = e.setting, e.x, np.tile(~e.hidden, (len(e.x), 1))
    began = time.perf_counter()
    refined, spent = fit.refine(x, mask=mask, seed=e.args.seed), time.perf_counter() - began
    scores, completed = [], {}
    for name, (start, method) in ways(fit, refined, s).items():
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Divergence)  # they are counted in the table
            draws = start.draws(x, count, method=method, seed=e.args.seed, mask=mask)
        images, log_p = filled(fit, draws["z"], x, mask, e.args.seed)
        seconds = time.perf_counter() - began + (0 if start is fit else spent)
        completed[name], told = images, draws.diagnostics().mean()
        same = (images == x)[..., e.hidden].mean()
        worth = {"k-hat of q": told["k_hat"], "ESS of q": told["ess"], "ESS after": told.get("ess_after")}
        rest = {"R-hat": told.get("r_hat"), "divergences": told.get("divergences"), "seconds": seconds}
        likely = {"log p(hidden | draws)": log_p.mean(), "as in the truth": same}
        scores.append({"draws by": name, **likely, **worth, **rest})
    found = evaluation.conditional_log_likelihood(fit, x, mask, s.num_particles, refined=refined)
    scores.append({"draws by": "log p(x) - log p(seen)", "log p(hidden | draws)": found.mean})
    scores.append({"draws by": "the mean of each pixel", "log p(hidden | draws)": e.pixel_means().mean()})
    return scores, completed


# (c) A conditional VAE


def conditional(e: Experiment, seen: np.ndarray, name: str) -> Fit:
    """A VAE of the other pixels given those seen."""
    s, train, valid = e.setting, e.split.train, e.split.valid
    settings = {"latent_dim": s.conditional_dim, "hidden": s.conditional_hidden, "backend": e.args.backend}
    recipe = recipes.conditional_vae(train[:, ~seen], int(seen.sum()), **settings)
    beside = {"given": train[:, seen], "valid": valid[:, ~seen], "valid_given": valid[:, seen]}
    return e.trained(name, *recipe(e.rng), train[:, ~seen], **beside)


def part_c(e: Experiment, mixture: Fit | None, vae: Fit | None) -> None:
    """Negative conditional log-likelihoods with one, two and three quadrants given, and completions of each."""
    s, rows, pictures = e.setting, [], {"image": e.x[e.shown]}
    tests = e.split.test if e.args.full else e.x
    places = {}
    for number in e.args.quadrants:
        seen = region(e.split.image_shape[:2], *GIVEN[number])
        fit = conditional(e, seen, f"conditional VAE, {number} given")
        found = evaluation.log_likelihood(fit, tests[:, ~seen], s.num_particles, given=tests[:, seen])
        bound = evaluation.elbo(fit, tests[:, ~seen], 10, given=tests[:, seen])
        rows.append({
            "quadrants": number, "conditional VAE": -found.mean, "± images": found.test_error, "-ELBO": -bound.mean,
            **({"VAE": -of_vae(e, vae, seen)} if vae else {}),
            **({"mixture": -of_mixture(e, mixture, seen)} if mixture else {}),
            "published": PUBLISHED[number][1], "published baseline": PUBLISHED[number][0],
        })  # fmt: skip
        given = np.tile(e.x[e.shown][:, seen], (3, 1))
        drawn = fit.generate(given=given, seed=e.args.seed, mean=False).reshape(3, -1, (~seen).sum())
        label = f"{number} given"
        pictures[label], places[label] = put_together(~seen, drawn, e.x[e.shown][:, seen]), seen
    table = pd.DataFrame(rows).set_index("quadrants")
    print("\n(c) -log p(other quadrants | those given) [nats per test image; lower is better]")
    print(table.round(2).to_string())
    same = "The data are other ones: only the order compares." if e.split.name == "digits" else ""
    print("\n" + NOTE.format(name=e.split.name, draws=s.num_particles, images=len(e.x), same=same).strip())
    title = "Drawn from the conditional VAE"
    e.save(table, "quadrants", quadrants=plots.labelled_rows(pictures, e.split.image_shape, seen=places, title=title))


def of_vae(e: Experiment, fit: Fit, seen: np.ndarray) -> float:
    """log p(hidden | seen) of the VAE of whole images, of the first test images."""
    mask = np.tile(seen, (len(e.x), 1))
    return evaluation.conditional_log_likelihood(fit, e.x, mask, e.setting.num_particles).mean


def of_mixture(e: Experiment, fit: Fit, seen: np.ndarray) -> float:
    """log p(hidden | seen) of the mixture, which is exact, of the same images."""
    b = e.backend
    model = b.models.Completion(fit.model.images, ~seen)
    pair = b.inference.Pair(model, b.guides.ExactCompletion(model), e.args.device)
    part = evaluation.log_likelihood(Fit.untrained(pair, e.x[:, seen]), e.x[:, seen], 1)
    return evaluation.log_likelihood(fit, e.x, 1).mean - part.mean


def of_class(split: data.Split, label: int) -> data.Split:
    """The images of one class.

    Raises:
        ValueError: data without labels, or without that one.
    """
    labels = split.labels or {}
    there = sorted(set.intersection(*(set(labels.get(part, np.empty(0)).tolist()) for part in split.pixels)))
    if label not in there:
        known = f"its labels are {there}" if there else "it has none: give --data digits or --data mnist, which have"
        raise ValueError(f"--only {label} takes the images of {split.name} with that label, and {known}.")
    rows = {part: np.asarray(labels[part]) == label for part in split.pixels}
    pixels = {part: values[rows[part]] for part, values in split.pixels.items()}
    return replace(split, pixels=pixels, labels={part: labels[part][rows[part]] for part in rows})


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=backends.NAMES, default="pyro")
    parser.add_argument("--data", default="digits", help=f"{', '.join(data.names())}, or a .npy or .npz file")
    parser.add_argument("--only", type=int, metavar="LABEL", help="images of one class alone, as 9 for nines")
    parser.add_argument("--parts", nargs="+", choices="abc", default=list("abc"))
    parser.add_argument("--quadrants", type=int, nargs="+", choices=GIVEN, default=list(GIVEN), help="given, in (c)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--out", type=Path, help="a folder; by default runs/completion-<data>-<backend>")
    parser.add_argument("--full", action="store_true", help="nets and epochs of the published setting, for MNIST")
    parser.add_argument("--smoke", action="store_true", help="a few images, epochs and draws: seconds")
    return parser.parse_args()


def main() -> None:
    """The three parts, one after the other."""
    args = arguments()
    if args.backend == "pyro":
        import torch

        torch.set_num_threads(1)  # nets this small run faster on one thread
    split = data.load(args.data)
    split = split if split.binarisation == "fixed" else split.with_binarisation("threshold")
    split = split.subset(200, 40, 40) if args.smoke else split
    split = split if args.only is None else of_class(split, args.only)
    of = split.name if args.only is None else f"{split.name}-{args.only}"
    args.out = args.out or Path("runs") / f"completion-{of}-{args.backend}"
    folders.claim(args.out, "the work of examples/image_completion.py")
    setting = SMOKE if args.smoke else FULL if args.full else Setting() if split.name == "digits" else MNIST
    experiment = Experiment(split, setting, args)
    mixture = part_a(experiment)["mixture"] if "a" in args.parts else None
    vae = part_b(experiment) if "b" in args.parts else None
    if "c" in args.parts:
        part_c(experiment, mixture, vae)
    print(f"\nTables and figures: {args.out}")


if __name__ == "__main__":
    sys.exit(scripts.run(main, "tables and figures of the parts that were done are kept"))
