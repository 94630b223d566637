"""What is saved, and what is asked of it: the one description that ``write.py`` and the test share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pairs import SMALL, P, toy

from ppl_vae import backends, baselines, critics, data, evaluation, recipes, schedules, seeds, strategies
from ppl_vae.results import Fit

VERSION, COMMIT = "0.1.0", "3e5a992"
"""What wrote the files."""
BACKENDS = ("pyro", "numpyro")
EXPECTED, IMAGES = "expected.json", "images.npy"
N, TEST, G = 42, 12, 4
"""Training images, test images, and the width of the side information."""
K = 10
"""Draws per datum. All sizes are the same everywhere, so that programs are compiled once."""
TOLERANCE: dict[str, dict[str, float]] = {
    "evaluated": {"rtol": 1e-4, "atol": 1e-5},  # saved weights, asked again
    "trained": {"rtol": 1e-3, "atol": 1e-4},  # after two or more epochs on another machine
    "weights": {"rtol": 1e-3, "atol": 3e-3},  # norms and projections of arrays after these
}
"""How near numbers should come: to the bit they are the same on one machine only."""
INNER: dict[str, Any] = {"batch_size": 14, "learning_rate": 1e-2}
"""A rate at which two epochs move weights by more than the tolerance."""


# Fits


FITS: dict[str, dict[str, Any]] = {
    "standard": {},
    "vampprior": {"prior": "vampprior"},
    "vampprior-means-gated": {"prior": "vampprior", "pseudo_inputs_start": "means", "gated": True},
    "vampprior-data-normal-diagonal": {"prior": "vampprior-data", "likelihood": "normal-diagonal"},
    "conv-normal": {"net": "conv", "image_shape": (4, 3), "channels": (4,), "likelihood": "normal"},
    "full-levels": {"full_covariance": True, "likelihood": "categorical", "levels": 3},
    "bernoulli": {"latents": "bernoulli"},
    "categorical-logistic": {
        **{"latents": "categorical", "num_categories": 4},
        **{"likelihood": "discretised-logistic", "levels": 5},
    },
    "per-datapoint-mixture": {"guide": "per-datapoint", "prior": "mixture", "activation": "tanh"},
    "semi-amortised": {"guide": "semi-amortised", "refinement_steps": 2},
    "conditional": {"given_dim": G, "conditional_prior": True},
    "conditional-mixture": {"given_dim": G, "prior": "mixture"},
    "pair": {},
    "ladder": {},
}
"""Name -> settings of a recipe; several are told together, because each is compiled anew on NumPyro."""
WITHOUT_RECIPE = ("pair", "ladder")
"""Those that are saved without one."""


def images(name: str) -> np.ndarray:
    """The training images of a fit, (N, P)."""
    levels = FITS[name].get("levels", 2)
    if levels == 2:
        return toy(N)
    return (np.random.default_rng(levels).integers(levels, size=(N, P)) / (levels - 1)).astype(np.float32)


def given(name: str, size: int) -> dict[str, np.ndarray]:
    """The side information of so many data of a fit, if it has some."""
    return {"given": np.eye(G, dtype=np.float32)[np.arange(size) % G]} if FITS[name].get("given_dim") else {}


def maker(name: str, backend: str) -> Callable[[np.random.Generator], tuple[Any, Any]]:
    """The recipe of a fit."""
    if name == "ladder":
        return functools.partial(ladder, backends.load(backend))
    settings = {**SMALL, "backend": backend, **FITS[name]}
    if settings.get("conditional_prior"):
        return recipes.conditional_vae(images(name), **settings)
    return recipes.vae(images(name), **settings)


def ladder(b: backends.Backend, rng: np.random.Generator) -> tuple[Any, Any]:
    """A pair of two stochastic layers, which no recipe makes."""
    normal, mlp = b.conditionals.DiagNormal, b.nets.MLP
    likelihood = b.conditionals.Bernoulli(mlp((3, 8, 12), rng))
    model = b.models.HVAE(b.models.StandardNormal(2), normal(mlp((2, 8, 6), rng)), likelihood)
    return model, b.guides.BottomUp(normal(mlp((12, 8, 6), rng)), normal(mlp((3, 8, 4), rng)))


def drawn(name: str, backend: str) -> tuple[Any, Any]:
    """The (model, guide) of a fit before its training."""
    return maker(name, backend)(seeds.generator(0, "weights"))


def numbers(fit: Fit, name: str) -> dict[str, Any]:
    """What a fit says of a few images, or a per-datapoint guide of those that it knows."""
    x = images(name)[: TEST if fit.generalises else None]
    side = given(name, len(x))
    elbo = evaluation.elbo(fit, x, K, seed=1, **side)
    log_p = evaluation.log_likelihood(fit, x, K, seed=1, **side)
    return {
        "elbo": elbo.mean,
        "log_likelihood": log_p.mean,
        "reconstructions": elbo.reconstruction,
        "kl": elbo.kl,
        "log_likelihoods": log_p.values,
        "encode": fit.encode(x, **side),
        "generate": fit.generate(3, seed=1, **given(name, 3))[:2],
        "loss": fit.history["loss"],
        "parameters": fit.num_parameters,
    }


# Trainings


@dataclass(frozen=True)
class Training:
    """A training that is saved in its middle.

    Args:
        pair: the name in ``FITS`` of what it trains.
        svi: what trains it, of a backend's ``inference``.
        validated: whether it has validation data.
    """

    pair: str
    svi: Callable[[Any], Any]
    validated: bool = False


def _optimiser(inference: Any) -> Any:
    """A plain gradient step with momentum, of the backend's own kind."""
    if inference.__name__.startswith("ppl_vae.numpyro"):
        import optax

        return optax.sgd(0.01, momentum=0.9)
    import torch

    return functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9)


TRAININGS: dict[str, Training] = {
    "warm-up": Training(
        "vampprior",
        lambda i: i.SVI(
            i.TraceELBO(beta=schedules.Linear(0.0, 1.0, over=3)),
            learning_rate_factor=schedules.Exponential(1.0, 0.1, over=4),
            clip_norm=5.0,
            patience=2,
        ),
        validated=True,
    ),
    "iwae": Training("standard", lambda i: i.SVI(i.IWAE(3))),
    "dreg": Training("standard", lambda i: i.SVI(i.DReG(3), optim=_optimiser(i))),
    "running-average": Training(
        "bernoulli", lambda i: i.SVI(i.TraceGraphELBO(3, baseline=baselines.RunningAverage(decay=0.8)))
    ),
    "neural": Training(
        "bernoulli", lambda i: i.SVI(i.TraceGraphELBO(3, baseline=baselines.Neural(hidden=(5,), learning_rate=0.2)))
    ),
    "factor": Training(
        "standard",
        lambda i: i.Adversarial(i.FactorVAE(strength=3.0), critic=critics.Critic(hidden=(6,), learning_rate=0.01)),
    ),
    "beta-tc": Training("standard", lambda i: i.SVI(i.BetaTCVAE(strength=3.0))),
    "wae": Training("standard", lambda i: i.SVI(i.WAE(strength=5.0))),
    "rows": Training("per-datapoint-mixture", lambda i: i.SVI(i.TraceELBO())),
    "local": Training("per-datapoint-mixture", lambda i: i.SVI(i.TraceELBO(), local_steps=3)),
}
"""Name -> training."""
HALFWAY, WHOLE = 2, 4
"""Epochs when it is saved, and in all."""


def trained(name: str, backend: str, epochs: int, checkpoint: Path | None) -> Fit:
    """A training, gone on with from the checkpoint if that is there."""
    training = TRAININGS[name]
    svi = dataclasses.replace(training.svi(backends.load(backend).inference), epochs=epochs, **INNER)
    valid = toy(TEST, seed=2) if training.validated else None
    pair, x = drawn(training.pair, backend), images(training.pair)
    return svi.fit(*pair, x, valid=valid, seed=3, checkpoint=checkpoint, resume=True, progress=False)


def outcome(fit: Fit, name: str) -> dict[str, Any]:
    """What a training came to: its history but for clocks and memory, and what the fit says."""
    told = {n: v for n, v in fit.history.items() if n not in ("epoch", "seconds", "compilation", "memory")}
    asked = numbers(fit, TRAININGS[name].pair)
    return {**told, **{n: asked[n] for n in ("elbo", "log_likelihood")}}


def weights(fit: Fit) -> dict[str, np.ndarray]:
    """The norm of each array of weights and a projection of it, sorted: whatever the arrays are called."""
    arrays = [np.asarray(a, float).ravel() for a in fit.pair.state().values()]
    return {
        "norms": np.sort([np.linalg.norm(a) for a in arrays]),
        "projections": np.sort([a @ np.cos(np.arange(len(a))) for a in arrays]),
    }


# Studies


def study(folder: Path) -> evaluation.Study:
    """A study of two cells, one on each backend."""
    split = data.from_arrays(toy(N), toy(TEST, seed=2), toy(TEST, seed=1), name="toy")
    cells = [
        evaluation.Cell(
            name,
            backend,
            recipes.vae(split, backend=backend, **SMALL),
            strategies.svi(objective, backend, epochs=2, **INNER),
        )
        for name, objective, backend in (("elbo", "elbo", "pyro"), ("IWAE, 3 draws", "iwae-3", "numpyro"))
    ]
    return evaluation.Study(folder, split, cells, num_particles=K, elbo_particles=K)


def results(study: evaluation.Study) -> dict[str, dict[str, Any]]:
    """What each cell came to, by its strategy."""
    return {
        r.strategy: {
            "elbo": r.evaluation.elbo.mean,
            "log_p": r.evaluation.log_p.values,
            "loss": r.history["loss"],
            "valid_elbo": r.history["valid_elbo"],
        }
        for r in study.results()
        if r.evaluation is not None
    }


# The command line


TINY = ("--hidden", 8, "--latent-dim", 3, "--num-pseudo-inputs", 5, "--learning-rate", 0.01, "--epochs", 2)
RUNS: dict[str, tuple[object, ...]] = {
    "default": ("--backend", "pyro", "--batch-size", 14),
    "dreg": ("--backend", "pyro", "--objective", "dreg-10", "--batch-size", 14),
    "rloo": ("--backend", "pyro", "--objective", "rloo-4", "--latents", "bernoulli", "--batch-size", 14),
    "beta": (
        *("--backend", "numpyro", "--objective", "beta-4", "--warm-up", 2, "--prior", "vampprior", "--batch-size", 14),
    ),
    "factor": ("--backend", "pyro", "--objective", "factor-3", "--batch-size", 14),
    "wae": ("--backend", "numpyro", "--objective", "wae-10", "--batch-size", 14),
    "digits": ("--data", "digits", "--prior", "mixture", "--final-learning-rate", 0.001, "--batch-size", 629),
}
"""Name -> options of ``ppl-vae fit``; the data are ``images.npy`` where nothing else is said."""
INTERRUPTED: dict[str, tuple[object, ...]] = {
    "interrupted-pyro": ("--backend", "pyro", "--patience", 3, "--batch-size", 14, "--epochs", 4),
    "interrupted-numpyro": ("--backend", "numpyro", "--batch-size", 14, "--epochs", 4),
}
"""The same of trainings that Ctrl-C ended after two epochs."""
COMPARED = (
    *("--data", "digits", "--valid-fraction", 0.02, "--test-fraction", 0.02, "--strategies", "elbo", "iwae-3"),
    *("--batch-size", 500, "--num-particles", 5),
)
"""Options of ``ppl-vae compare``."""
EVALUATED = ("--num-particles", K, "--seed", 1, "--json")
"""Options of ``ppl-vae evaluate``."""
CLOCKS = ("seconds", "seconds_per_step", "seconds_to_target", "peak_memory")


def binary() -> np.ndarray:
    """The images that the runs read, (60, 4, 3), uint8 in {0, 1}; 42 of them are for training."""
    return toy().reshape(-1, 4, 3).astype(np.uint8)


def arguments(*words: object) -> list[str]:
    """A command line."""
    return [str(word) for word in words]


def numeric(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record but for clocks and memory."""
    return {
        name: float(value)
        for name, value in record.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in CLOCKS
    }


def ranked(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The numbers of each row of a comparison, by name."""
    return {row["name"]: numeric(row) for row in rows}


# Estimators


ESTIMATORS = {"vae-pyro": "VAE", "vae-numpyro": "VAE", "vampvae-pyro": "VampVAE"}
"""Name of the file -> class."""


def table() -> np.ndarray:
    """The rows of the estimators, (60, 4), NaN here and there."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(60, 2)) @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(60, 4))
    x[::7, 1] = np.nan
    return x


def said(estimator: Any) -> dict[str, Any]:
    """What an estimator says of its rows."""
    x = table()[:8]
    return {
        "transform": estimator.transform(x)[:3],
        "score_samples": estimator.score_samples(x),
        "impute": estimator.impute(x)[0],
        "sample": estimator.sample(2),
        "mean": estimator.sample(2, random_state=9, mean=True),
        "loss": estimator.fit_.history["loss"],
    }
