"""log p(x) beside the quality of samples: what fools each measure, and models of the collection, on digits.

    python benchmarks/sample_quality.py --out quality.jsonl            # all; goes on where it stopped
    python benchmarks/sample_quality.py --out quality.jsonl --only traps

``traps`` are samples that fool one measure or another: a normal law with the data's moments, the mean image, copies of
the training images, uniform noise, and noise beside a reference with one far row. ``counter-examples`` are two models
whose log p(x) says nothing of their samples. ``models`` are trained on binary digits, one after the other; their
log p(x) is by importance sampling, and their samples are draws of p(x), as many as there are test images. A GAN has no
log p(x); it trains for ten times as many epochs, its critic sees data and draws with noise, and what it draws is
rounded to 0 and 1. Of AVB the proposal is the normal of the guide's draws. The guide of a VQ-VAE has one value for each
image, so that the ELBO stands in the place of log p(x).
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rows import checkpoint_of, options_of, table
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture

from ppl_vae import backends, data, evaluation, recipes, seeds
from ppl_vae.critics import Critic
from ppl_vae.discriminators import Discriminator
from ppl_vae.divergences import classifier_test

MEASURES = ("1000 MMD", "1-NN accuracy", "net accuracy", "precision", "recall", "density", "coverage", "nearest train")
COLUMNS = ("name", "linear accuracy", *MEASURES, "modes")
TRAPS = ("other digits", "normal law", "mean image", "copies", "noise", "noise, one far row")
WIDTHS = {"kernels 0.01": 0.01, "kernels 0.1": 0.1}
NOISY = "99 in 100 noise"
COUNTER_EXAMPLES = (*WIDTHS, "ten normals", NOISY)
PARTS = ("traps", "counter-examples", "models")
Digits = tuple[np.ndarray, np.ndarray, np.ndarray]
MODELS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "VAE": ({}, "TraceELBO", {}),
    "VAE, IWAE": ({}, "IWAE", {"num_particles": 10}),
    "VAE, beta 4": ({}, "TraceELBO", {"beta": 4.0}),
    "VAE, beta 0.25": ({}, "TraceELBO", {"beta": 0.25}),
    "WAE": ({}, "WAE", {}),
    "mixture prior": ({"prior": "mixture"}, "TraceELBO", {}),
    "VampPrior": ({"prior": "vampprior"}, "TraceELBO", {}),
    "flow prior": ({"prior": "flow"}, "TraceELBO", {}),
    "flow posterior": ({"posterior": "iaf"}, "TraceELBO", {}),
    "two levels": ({"program": "hierarchy", "guide": "top-down"}, "TraceELBO", {}),
    "PixelCNN decoder": ({"likelihood": "pixelcnn"}, "TraceELBO", {}),
    "AVB": ({"posterior": "implicit"}, "AVB", {"num_particles": 8}),
    "VAE/GAN": ({}, "VAEGAN", {}),
    "VQ-VAE": ({"latents": "vq", "num_codes": 16, "code_dim": 4}, "VQELBO", {}),
    "VQ-VAE, learned prior": ({"latents": "vq", "num_codes": 16, "code_dim": 4, "prior": "factorised"}, "VQELBO", {}),
    "GAN": ({"program": "implicit", "guide": "empty"}, "GAN", {}),
    "diffusion": (
        {"program": "diffusion", "guide": "noising", "hidden": (256, 256, 256), "noise_levels": 50},
        "DiffusionELBO",
        {"levels": 50},
    ),
}
"""Name -> settings of the recipe, the objective and its options."""
CRITICS = {
    "GAN": Discriminator((100,), penalty="r1", strength=1.0, noise=0.3),
    "VAEGAN": Discriminator((100,), penalty="r1", strength=1.0),
    "AVB": Critic((100, 100), learning_rate=1e-3),
}
"""Objective -> its critic."""
LONGER = {"GAN": 10}
"""Objective -> how many times as many epochs."""


def told(quality: evaluation.SampleQuality) -> dict[str, float]:
    """The row of a table."""
    return {**quality.row(), "1000 MMD": 1000 * quality.row()["MMD"]}


def digits() -> Digits:
    """Training images, test images, both in [0, 1], and the classes of the former."""
    x, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return x[order[:900]] / 16, x[order[900:]] / 16, labels[order[:900]]


def trap(parts: Digits, name: str) -> dict[str, Any]:
    """The measures of samples that fool some of them."""
    train, test, labels = parts
    rng, count = np.random.default_rng(1), len(test)
    reference, noise = test.copy(), rng.random(test.shape)
    if name == TRAPS[0]:  # no trap: one half of the images beside the other
        samples, reference = test[: count // 2], test[count // 2 :]
    else:
        samples = {
            "normal law": rng.multivariate_normal(train.mean(0), np.cov(train.T), count),
            "mean image": np.tile(train.mean(0), (count, 1)),
            "copies": train[:count],
        }.get(name, noise)
    if name == TRAPS[-1]:
        reference[0] = 30.0
    linear = classifier_test(samples, reference, classifier=LogisticRegression(max_iter=2000)).accuracy
    return {
        "linear accuracy": linear,
        **told(evaluation.sample_quality(samples, reference, train=train, labels=labels)),
    }


def counter_example(parts: Digits, name: str) -> dict[str, Any]:
    """log p(x) of grey digits beside the measures of samples: kernels on images, and ten normals, alone or in noise."""
    train, test, labels = parts
    rng, count, numbers = np.random.default_rng(2), len(test), {}
    if name in WIDTHS:
        width = WIDTHS[name]
        constant = np.log(len(train)) + 32 * np.log(2 * np.pi * width**2)
        log_p = logsumexp(-cdist(test, train, "sqeuclidean") / 2 / width**2, axis=1) - constant
        samples = train[rng.integers(len(train), size=count)] + width * rng.normal(size=test.shape)
    else:
        normals = GaussianMixture(10, reg_covar=0.01, random_state=0).fit(train)
        log_p, samples = normals.score_samples(test), normals.sample(count)[0]
    if name == NOISY:
        mixed = np.logaddexp(np.log(0.01) + log_p, np.log(0.99))  # noise on [0, 1]^64 has log-density 0
        numbers, log_p = {"loss": float((log_p - mixed).mean())}, mixed
        samples = np.where(rng.random((count, 1)) < 0.99, rng.random(test.shape), samples)
    quality = evaluation.sample_quality(samples, test, train=train, labels=labels)
    return {"log p(x)": float(log_p.mean()), **numbers, **told(quality)}


def model(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """Train a model on binary digits; its log p(x) of test images beside the quality of as many draws."""
    settings, objective, options = MODELS[name]
    b, parts = backends.load(arguments.backend), data.load("digits", binarisation="threshold")
    shared = {"latent_dim": 8, "hidden": (100,), "backend": arguments.backend}
    loss, epochs = getattr(b.inference, objective)(**options), LONGER.get(objective, 1) * arguments.epochs
    critic = {"critic": CRITICS[objective]} if objective in CRITICS else {}
    training = b.inference.Adversarial if critic else b.inference.SVI
    svi = training(loss, epochs=epochs, batch_size=100, learning_rate=1e-3, **critic)
    path = checkpoint_of(arguments.out, {"name": name}, options_of(arguments, "only", "models"))
    pair = recipes.vae(parts, **{**shared, **settings})(seeds.generator(arguments.seed, "weights"))
    fit = svi.fit(*pair, parts, seed=arguments.seed, checkpoint=path, resume=True)
    drawn = fit.generate(len(parts.test), seed=arguments.seed, mean=False)
    if fit.sites.implicit:
        drawn = np.round(drawn.clip(0, 1))
    numbers: dict[str, Any] = {}
    if objective == "VQELBO":
        numbers["ELBO"] = float(evaluation.elbo(fit, parts.test).mean)
    elif not fit.sites.implicit:
        proposal = {"proposal": "normal"} if objective == "AVB" else {}
        numbers["log p(x)"] = float(evaluation.log_likelihood(fit, parts.test, arguments.particles, **proposal).mean)
    quality = evaluation.sample_quality(drawn, parts.test, train=parts.train)
    path.unlink(missing_ok=True)
    return {**numbers, **told(quality)}


def main() -> None:
    """Print each table; what is there of the same options is not made again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--backend", default="pyro", choices=backends.NAMES)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--particles", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    fixed, trained = {"digits": 8}, options_of(arguments, "only", "models")
    makers = {
        "traps": (TRAPS, COLUMNS, fixed, partial(trap, digits())),
        "counter-examples": (
            COUNTER_EXAMPLES,
            ("name", "log p(x)", "loss", *MEASURES, "modes"),
            fixed,
            partial(counter_example, digits()),
        ),
        "models": (arguments.models, ("name", "log p(x)", "ELBO", *MEASURES), trained, partial(model, arguments)),
    }
    for part in arguments.only:
        names, columns, options, make = makers[part]
        print(f"\n{part}\n")
        table(arguments.out, columns, options, ({"name": name} for name in names), make)


if __name__ == "__main__":
    main()
