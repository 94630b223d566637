"""Pairs and objectives of ``gpu.py`` and of ``tests/inference/test_devices.py`` beside the tests' table of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppl_vae import mcmc, objectives

LARGE: dict[str, Any] = {"latent_dim": 40, "hidden": (300, 300), "num_pseudo_inputs": 500}
LARGE_PAIRS: dict[str, dict[str, Any]] = {
    "large": {},
    "large-vampprior": {"prior": "vampprior"},
    "large-mixture": {"prior": "mixture"},
    "large-full": {"full_covariance": True},
    "large-bernoulli": {"latents": "bernoulli"},
    "large-conv": {"net": "conv", "image_shape": (28, 28), "channels": (16, 32)},
}
"""Name -> settings of a recipe on 784 pixels, beside the small ones of the tests' table ``PAIRS``: whole tiles."""

SEMI: dict[str, Any] = {"program": "semi-supervised", "guide": "semi-supervised", "given_dim": 3}
GROUPS, LABELS = np.eye(2)[[0, 1, 0, 1, 0, 1]][:, :1], np.array([[0.0], [2.0], [-1.0], [1.0], [-1.0], [0.0]])
OTHERS: dict[str, tuple[dict[str, Any], objectives.Objective, dict[str, np.ndarray]]] = {
    "ACN": ({}, objectives.ACN(2, neighbours=2, hidden=(4,)), {}),
    "AVB, implicit": ({"posterior": "implicit"}, objectives.AVB(2), {}),
    "Denoising": ({}, objectives.Denoising(objectives.IWAE(2)), {}),
    "FDivergenceVAE": ({}, objectives.FDivergenceVAE(), {}),
    "GMMN": ({"program": "implicit", "guide": "empty"}, objectives.GMMN(), {}),
    "GroupMMD": ({"given_dim": 1}, objectives.GroupMMD(), {"given": GROUPS}),
    "Labelled": (SEMI, objectives.Labelled(objectives.TraceEnumELBO()), {"given": LABELS}),
    "PerSite": (
        SEMI,
        objectives.PerSite({"y": objectives.Score(), "z": objectives.Reparameterise()}, num_particles=2),
        {"given": LABELS},
    ),
    "PriorELBO": ({"prior": "flow"}, objectives.PriorELBO(), {}),
    "RandomMixtureVAE": ({}, objectives.RandomMixtureVAE(), {}),
    "WAEGAN": ({}, objectives.WAEGAN(), {}),
}
"""Objective that no strategy is of -> settings of its pair, the objective, and side inputs."""
IMAGES: dict[str, Any] = {"image_shape": (4, 3), "pixel_channels": 4, "pixel_layers": 2}
STEPS: dict[str, Any] = {"image_shape": (4, 3), "recurrent_units": 4}
COMPONENTS: dict[str, dict[str, Any]] = {
    **{name: {"posterior": name} for name in ("planar", "radial", "sylvester", "coupling", "spline", "semi-implicit")},
    **{name: {"likelihood": name} for name in ("normal-diagonal", "poisson", "negative-binomial", "columns", "made")},
    **{name: {"likelihood": name} for name in ("zero-inflated-poisson", "zero-inflated-negative-binomial")},
    "made-categorical": {"likelihood": "made-categorical", "levels": 3},
    "pixelcnn": {"likelihood": "pixelcnn", **IMAGES},
    "pixelcnn-categorical": {"likelihood": "pixelcnn-categorical", "levels": 3, **IMAGES},
    **{name: {"latents": name} for name in ("stick-breaking", "fsq", "lfq")},
    "aggregate": {"prior": "aggregate"},
    "autoregressive prior": {"latents": "categorical", "num_categories": 3, "prior": "autoregressive"},
    "autoregressive program": {"program": "autoregressive", "guide": "empty", "likelihood": "made"},
    "smoothing": {"prior": "markov", "posterior": "smoothing", "net": "recurrent", **STEPS},
    "top-down": {"program": "hierarchy", "guide": "top-down"},
    "ladder": {"program": "hierarchy", "guide": "ladder"},
    "draw": {"net": "draw", "guide": "draw", "latent_dim": 4, "draw_steps": 2, **STEPS},
    "hidden-markov": {"program": "hidden-markov", "guide": "empty", **STEPS},
    "recurrent": {"program": "recurrent", "guide": "recurrent", **STEPS},
    "hamiltonian": {"guide": "hamiltonian"},
}
"""Components of recipes that neither a pair of the table nor a strategy has."""
OBJECTIVE_OF = {
    "autoregressive prior": objectives.TraceEnumELBO(),
    **dict.fromkeys(("fsq", "lfq"), objectives.VQELBO()),
}
"""Of these, where it is not the IWAE."""

SAMPLERS: dict[str, Any] = {
    "HMC": mcmc.HMC(4, num_warmup=4),
    "NUTS": mcmc.NUTS(4, num_warmup=4),
    "LearnedHMC": mcmc.LearnedHMC(4, num_warmup=4, num_steps=3, num_training=4),
}
"""Name -> a sampler of p(z | x), with so few transitions that rounding hardly grows."""

PROGRAMS = (
    *("Pyro, eager", "Pyro, trace", "Pyro, trace, bfloat16", "stock pyro.infer.SVI"),
    *("NumPyro", "NumPyro, bfloat16", "stock numpyro.infer.SVI"),
)
REHEARSED = ("Pyro, trace", "Pyro, trace, bfloat16", "NumPyro", "NumPyro, bfloat16")
LATER = ("Pyro, inductor",)
"""Contenders of ``step.py``; the later ones, which compile for long, have turns of their own at the end."""
TASKS: dict[str, tuple[dict[str, int], dict[str, Any], int]] = {
    "standard": ({}, {}, 200),
    "VampPrior 500": ({"pseudo_inputs": 500}, {}, 100),
    "IWAE 50": ({"draws": 50}, {}, 100),
    "4096 wide, batch 2048": ({}, {"hidden": (4096, 4096), "batch": 2048}, 10),
}
"""Name -> what a step is of, other sizes than the usual ones, and the steps in a block."""
