"""The one table of pairs that every law runs through, and helpers of the tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from ppl_vae import backends, recipes, seeds
from ppl_vae.results import Fit

P, D = 12, 3

SMALL: dict[str, Any] = {"latent_dim": D, "hidden": (8,), "num_pseudo_inputs": 5}

PAIRS: dict[str, dict[str, Any]] = {
    "standard": {},
    "tanh": {"activation": "tanh", "hidden": (8, 7)},
    "mixture": {"prior": "mixture"},
    "vampprior": {"prior": "vampprior"},
    "vampprior-mean": {"prior": "vampprior", "pseudo_inputs_start": "mean"},
    "vampprior-means": {"prior": "vampprior", "pseudo_inputs_start": "means"},
    "vampprior-data": {"prior": "vampprior-data"},
    "gated": {"prior": "vampprior", "gated": True},
    "conv": {"net": "conv", "image_shape": (4, 3), "channels": (4,)},
    "full": {"full_covariance": True},
    "full-vampprior": {"prior": "vampprior", "full_covariance": True},
    "normal": {"likelihood": "normal"},
    "logistic": {"likelihood": "discretised-logistic", "levels": 5},
    "levels": {"likelihood": "categorical", "levels": 3},
    "bernoulli": {"latents": "bernoulli"},
    "categorical": {"latents": "categorical", "num_categories": 4},
}
"""Name -> settings of a recipe. All are mirrored."""

DISCRETE = ("bernoulli", "categorical")
"""Those whose latents have no pathwise gradient."""

NOT_MIRRORED: dict[str, str] = {
    "nets.Linear": "torch has it; nnx's own stores its weights the other way round",
    "nets.PerDatum": "the mark of a table on NumPyro; torch marks the gradient instead, as sparse",
    **dict.fromkeys(
        ("nets.Convolution", "nets.TransposedConvolution"),
        "torch has them; nnx's own store their weights the other way round",
    ),
    **dict.fromkeys(
        ("nets.convolve", "nets.convolve_transposed", "nets.find_method"),
        "torch has the functions; XLA's are slow in a compiled loop on a CPU, so that there are two ways",
    ),
    "distributions.Normal": "spares Pyro the logarithm of every draw's scale; a compiled program computes it once",
    "inference.launch": "starts the processes of torch.distributed; a JAX mesh is one process",
    "inference.WorkerLost": "what one such process says when another has ended",
    "inference.as_functions": "in Pyro a PyroModule is such a function already",
}
"""Module.name on one backend only -> why there is no mirror."""


def toy(count: int = 60, seed: int = 0) -> np.ndarray:
    """Binary images (count, P) with structure."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 2)) @ (2 * np.random.default_rng(7).normal(size=(2, P)))
    return (rng.random((count, P)) < 1 / (1 + np.exp(-logits))).astype(np.float32)


def noise(shape: tuple[int, ...]) -> np.ndarray:
    """What ``base_noise`` draws: of shape (..., B, D), a datum's is that of its place, whatever the batch's size."""
    if len(shape) < 2:
        return np.random.default_rng([len(shape), *shape]).standard_normal(shape)
    *particles, size, inner = shape
    drawn = np.random.default_rng([len(shape), *particles, inner]).standard_normal((size, *particles, inner))
    return np.moveaxis(drawn, 0, -2)


def recipe(name: str, backend: backends.Backend | str, **settings: Any) -> recipes.Recipe:
    """The recipe of that name in the table."""
    backend = backend if isinstance(backend, str) else backend.name
    return recipes.vae(toy(), backend=backend, **{**SMALL, **PAIRS[name], **settings})


def pair(name: str, backend: backends.Backend | str, seed: int = 0, **settings: Any) -> tuple[Any, Any]:
    """The (model, guide) of that name, with weights from the seed."""
    return recipe(name, backend, **settings)(seeds.generator(seed, "weights"))


def untrained(model: Any, guide: Any, backend: backends.Backend, x: np.ndarray | None = None) -> Fit:
    """A fit of weights as they are."""
    own = backend.inference.Pair(model, guide)
    own.prepare(toy(4) if x is None else x[:4], 0)
    return Fit(own, {}, {})


def common_names(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A state of either backend under the names that Pyro gives."""
    renamed = {}
    for name, value in state.items():
        for prefix in ("params/modules/", "params/tables/", "constants/"):
            if name.startswith(prefix):
                number, *rest = name.removeprefix(prefix).split("/")
                name = ".".join([("model", "guide")[int(number)], *(r for r in rest if r != "value")])
        renamed[name] = value
    return renamed


def fill(layer: Any, weight: np.ndarray, bias: np.ndarray) -> None:
    """Set a linear layer of either backend."""
    if hasattr(layer.weight, "data") and hasattr(layer.weight, "detach"):
        import torch

        layer.weight.data, layer.bias.data = (torch.tensor(a, dtype=torch.get_default_dtype()) for a in (weight, bias))
    else:
        import jax.numpy as jnp

        layer.weight[...], layer.bias[...] = jnp.asarray(weight), jnp.asarray(bias)
