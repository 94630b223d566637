"""The one table of pairs that every law runs through, tiny trainings of them, and tiny runs of the command line.

Tests import helpers from here and from ``oracles`` alone.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as npdist
import pyro
import pyro.distributions as dist
import pytest
import torch
from flax import nnx
from numpyro.contrib.module import nnx_module
from pyro.nn import PyroModule
from torch import nn

from ppl_vae import backends, conditionals, guides, models, recipes, seeds
from ppl_vae.cli import main
from ppl_vae.cli.runs import FIT
from ppl_vae.inference.svi.run import PyroRun
from ppl_vae.results import Fit
from ppl_vae.runtime import storage

P, D = 12, 3

SMALL: dict[str, Any] = {"latent_dim": D, "hidden": (8,), "num_pseudo_inputs": 5}

GRID: dict[str, Any] = {"net": "grid", "image_shape": (4, 3), "channels": (4,), "latent_dim": 2}

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
    "concrete": {"latents": "concrete", "num_categories": 4},
    "vq": {"latents": "vq", "num_codes": 5, "code_dim": 2, "codebook_start": "normal"},
    "dvae": {**GRID, "latents": "categorical", "num_categories": 3, "prior": "factorised"},
    "flow": {"posterior": "iaf", "prior": "flow", "flow_steps": 1, "flow_hidden": (8,), "flow_context": 4},
    "residual-vq": {"latents": "residual-vq", "num_codes": 5, "code_dim": 2, "codebook_start": "normal"},
}
"""Name -> settings of a recipe. All are mirrored."""

DISCRETE = ("bernoulli", "categorical", "dvae")
"""Those whose latents have no pathwise gradient."""

EXACT = {**dict.fromkeys(DISCRETE, "TraceEnumELBO"), **dict.fromkeys(("vq", "residual-vq"), "VQELBO")}
"""Those whose bound is computed without noise -> the objective that does so."""

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


def plain_modules(model: Any, guide: Any) -> tuple[nn.Module, nn.Module]:
    """A VAE and its guide as torch modules that are no ``PyroModule``, whose weights Pyro's store does not have."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prior, self.likelihood = model.prior, model.likelihood

        def forward(self, x: torch.Tensor) -> None:
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("x", self.likelihood(pyro.sample("z", self.prior())), obs=x)

    class Guide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.posterior = guide.posterior

        def forward(self, x: torch.Tensor) -> None:
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", self.posterior(x))

    return Model(), Guide()


def plain_functions(backend: backends.Backend, change: str = "") -> tuple[Any, Any, list[Any]]:
    """A user's own model and guide as plain functions, with ``param`` and ``module``; and the modules they reach."""
    rng = np.random.default_rng(0)
    decoder, encoder = backend.nets.MLP((2, 8, P), rng), backend.nets.MLP((P, 4), rng)
    if backend.name == "pyro":

        def model(x: torch.Tensor) -> None:
            net = pyro.module("decoder", decoder)
            scale = pyro.param("scale", torch.ones(2), constraint=dist.constraints.positive)
            with pyro.plate("data", len(x), dim=-1):
                prior = dist.Poisson(scale) if change == "discrete" else dist.Normal(torch.zeros(2), scale)
                z = pyro.sample("z", prior.to_event(1))
                p = dist.Bernoulli(logits=net(z))
                pyro.sample("x", p if change == "no to_event" else p.to_event(1), obs=x)
            if change == "global":
                pyro.sample("w", dist.Normal(0.0, 1.0))

        def guide(x: torch.Tensor) -> None:
            loc, raw = pyro.module("encoder", encoder)(x).chunk(2, -1)
            with pyro.plate("data", len(x), dim=-1):
                if change == "discrete":
                    pyro.sample("z", dist.Poisson(raw.exp()).to_event(1))
                elif change == "delta":
                    pyro.sample("z", dist.Delta(loc).to_event(1))
                elif change == "renamed":
                    pyro.sample("latent", dist.Normal(loc, raw.exp()).to_event(1))
                elif change == "wider":
                    pyro.sample("z", dist.Normal(torch.cat([loc, loc], -1), 1.0).to_event(1))
                else:
                    pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))
            if change == "global":
                pyro.sample("w", dist.Normal(0.0, 1.0))

    else:

        def model(x: jax.Array) -> None:
            net = nnx_module("decoder", decoder)
            scale = numpyro.param("scale", jnp.ones(2), constraint=npdist.constraints.positive)
            with numpyro.plate("data", len(x), dim=-1):
                prior = npdist.Poisson(scale) if change == "discrete" else npdist.Normal(jnp.zeros(2), scale)
                z = numpyro.sample("z", prior.to_event(1))
                p = npdist.Bernoulli(logits=net(z))
                numpyro.sample("x", p if change == "no to_event" else p.to_event(1), obs=x)
            if change == "global":
                numpyro.sample("w", npdist.Normal(0.0, 1.0))

        def guide(x: jax.Array) -> None:
            loc, raw = jnp.split(nnx_module("encoder", encoder)(x), 2, -1)
            with numpyro.plate("data", len(x), dim=-1):
                if change == "discrete":
                    numpyro.sample("z", npdist.Poisson(jnp.exp(raw)).to_event(1))
                elif change == "delta":
                    numpyro.sample("z", npdist.Delta(loc, event_dim=1))
                elif change == "renamed":
                    numpyro.sample("latent", npdist.Normal(loc, jnp.exp(raw)).to_event(1))
                elif change == "wider":
                    numpyro.sample("z", npdist.Normal(jnp.concatenate([loc, loc], -1), 1.0).to_event(1))
                else:
                    numpyro.sample("z", npdist.Normal(loc, jnp.exp(raw)).to_event(1))
            if change == "global":
                numpyro.sample("w", npdist.Normal(0.0, 1.0))

    return model, guide, [decoder, encoder]


def two_latents(backend: backends.Backend, *, function: bool = False) -> Any:
    """A model with two latents and a guide q(z1 | x) q(z2 | z1)."""
    rng = np.random.default_rng(0)
    given, nets = backend.conditionals, backend.nets
    parts = {
        "prior": backend.models.StandardNormal(2),
        "conditional": given.DiagNormal(nets.MLP((2, 4), rng)),
        "likelihood": given.Bernoulli(nets.MLP((2, P), rng)),
        "first": given.DiagNormal(nets.MLP((P, 4), rng)),
        "second": given.DiagNormal(nets.MLP((2, 4), rng)),
    }
    ppl, base = (pyro, PyroModule) if backend.name == "pyro" else (numpyro, nnx.Module)

    class Program(base):
        def __init__(self, kind: str) -> None:
            super().__init__()
            for name in ("prior", "conditional", "likelihood") if kind == "model" else ("first", "second"):
                setattr(self, name, parts[name])
            self.kind = kind

        def __call__(self, x: Any) -> None:
            if backend.name == "pyro":
                return super().__call__(x)
            return self.forward(x)

        def forward(self, x: Any) -> None:
            with ppl.plate("data", len(x), dim=-1):
                if self.kind == "model":
                    z2 = ppl.sample("z2", self.prior())
                    z1 = ppl.sample("z1", self.conditional(z2))
                    ppl.sample("x", self.likelihood(z1), obs=x)
                else:
                    z1 = ppl.sample("z1", self.first(x))
                    ppl.sample("z2", self.second(z1))

    guide = Program("guide")
    return Program("model"), (lambda x: guide(x)) if function else guide


def semi_supervised(backend: backends.Backend) -> tuple[Any, Any]:
    """A semi-supervised VAE of three labels, with linear nets."""
    rng, nets, given = np.random.default_rng(0), backend.nets, backend.conditionals
    model = backend.models.SemiSupervisedVAE(
        backend.priors.UniformCategorical(1, 3),
        backend.priors.StandardNormal(D),
        given.Bernoulli(nets.MLP((D + 3, P), rng)),
    )
    classifier, posterior = nets.MLP((P, 3), rng), nets.MLP((P + 3, 2 * D), rng)
    return model, backend.guides.SemiSupervised(given.Categorical(classifier, 3), given.DiagNormal(posterior))


def weights_of(module: Any) -> list[np.ndarray]:
    leaves = module.state_dict().values() if isinstance(module, torch.nn.Module) else jax.tree.leaves(nnx.state(module))
    return [np.array(leaf.tolist()) for leaf in leaves]


def prepared(backend: backends.Backend, name: str = "standard") -> Any:
    own = backend.inference.Pair(*pair(name, backend))
    own.prepare(toy(4), 0)
    return own


def norm(state: dict[str, np.ndarray]) -> float:
    return float(np.sqrt(sum((a.astype(float) ** 2).sum() for a in state.values())))


def apart(one: Fit, other: Fit) -> float:
    """The norm of the difference of all weights, relative to theirs."""
    a, b = one.pair.state(), other.pair.state()
    assert a.keys() == b.keys()
    return norm({name: a[name].astype(float) - b[name] for name in a}) / norm(a)


def flat(values: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([np.ravel(values[name]) for name in sorted(values)])


def distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """Normwise relative distance; the names must be the same."""
    assert set(a) == set(b)
    assert {n: v.shape for n, v in a.items()} == {n: v.shape for n, v in b.items()}
    return float(np.linalg.norm(flat(a) - flat(b)) / np.linalg.norm(flat(a)))


TRAIN, VALID = toy(60), toy(30, seed=1)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return set(a) == set(b) and all((a[n] == b[n]).all() for n in a)


def trained(backend: backends.Backend, name: str = "vampprior", *, data: Any = TRAIN, **options: Any) -> Fit:
    fields = (
        "loss",
        "optim",
        "epochs",
        "batch_size",
        "patience",
        "learning_rate",
        "checkpoint_every",
        "learning_rate_factor",
    )
    settings = {k: options.pop(k) for k in fields if k in options}
    svi = backend.inference.SVI(**{"epochs": 3, "batch_size": 20, "learning_rate": 0.01, **settings})
    return svi.fit(*pair(name, backend), data, **options)


STOCK = {
    "pyro": [
        pyro.infer.Trace_ELBO,
        pyro.infer.TraceMeanField_ELBO,
        pyro.infer.TraceGraph_ELBO,
        lambda: pyro.infer.RenyiELBO(0.0, num_particles=3),
    ],
    "numpyro": [
        numpyro.infer.Trace_ELBO,
        numpyro.infer.TraceMeanField_ELBO,
        numpyro.infer.TraceGraph_ELBO,
        lambda: numpyro.infer.RenyiELBO(0.0, num_particles=3),
    ],
}


def skip_if_broken(backend: backends.Backend, make: Any) -> None:
    """Some releases of NumPyro do not run their own TraceGraph_ELBO on some releases of JAX (0.21 on 0.11)."""

    def loss(captured: jax.Array) -> jax.Array:
        def guide() -> jax.Array:
            return numpyro.sample("z", numpyro.distributions.Normal(captured))

        def model() -> None:
            numpyro.sample("x", numpyro.distributions.Normal(guide() + captured), obs=1.0)

        return make().loss(jax.random.key(0), {}, model, guide)

    if backend.name == "numpyro":
        try:
            jax.jit(loss)(1.0)
        except AssertionError:
            pytest.skip(f"this NumPyro does not run its {type(make()).__name__} on this JAX")


def normalised() -> tuple[models.VAE, guides.Amortised]:
    """A pair whose encoder keeps running statistics of what it has seen."""
    torch.manual_seed(0)
    posterior = conditionals.DiagNormal(nn.Sequential(nn.BatchNorm1d(P), nn.Linear(P, 4)))
    return models.VAE(models.StandardNormal(2), conditionals.Bernoulli(nn.Linear(2, P))), guides.Amortised(posterior)


BACKENDS = ("pyro", "numpyro")
COMMANDS = (
    "fit",
    "evaluate",
    "encode",
    "reconstruct",
    "sample",
    "traverse",
    "explore",
    "forecast",
    "metrics",
    "two-sample",
    "compare",
    "data",
)
TINY = ("--hidden", "6", "--latent-dim", "2", "--batch-size", "16", "--num-pseudo-inputs", "4")


def binary(count: int = 40, shape: tuple[int, ...] = (4, 3), seed: int = 0) -> np.ndarray:
    """Images of two kinds, uint8 in {0, 1}."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(2, size=(count, *[1] * len(shape)))
    return (rng.random((count, *shape)) < 0.15 + 0.7 * kind).astype(np.uint8)


def write_images(folder: Path) -> Path:
    """The folder with images.npy, reversed.npy and parts.npz."""
    x = binary()
    np.save(folder / "images.npy", x)
    np.save(folder / "reversed.npy", x[::-1])
    np.savez(folder / "parts.npz", train=x[:30], valid=x[30:35], test=x[35:])
    return folder


def command(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def fit(images: object, out: Path, *arguments: object, backend: str = "pyro") -> None:
    """A tiny fit that should succeed."""
    options = (*TINY, "--epochs", 2, "--no-figures", *arguments)
    assert command("fit", "--data", images, "--out", out, "--backend", backend, "--quiet", *options) == 0


def weights(folder: Path) -> dict[str, np.ndarray]:
    return storage.read(folder / FIT)[0]


def same_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def one_line(capsys: pytest.CaptureFixture[str], prefix: str = "ppl-vae: error: ") -> str:
    """The one line on stderr."""
    out, err = capsys.readouterr()
    assert err.startswith(prefix) and err.count("\n") == 1 and err.endswith("\n"), err
    assert "Traceback" not in err + out
    return err


def interrupt_at(patch: pytest.MonkeyPatch, epochs: int) -> None:
    """Let Ctrl-C strike a training by Pyro in that epoch."""
    whole = PyroRun.epoch

    def interrupted(self: PyroRun, epoch: int, order: np.ndarray) -> np.ndarray:
        if epoch == epochs:
            raise KeyboardInterrupt
        return whole(self, epoch, order)

    patch.setattr(PyroRun, "epoch", interrupted)


def told(*arguments: object) -> str:
    """What a command prints; its error, as an exception."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command(*arguments)
    if code:
        raise SystemExit(err.getvalue())
    return out.getvalue()


def refused(says: str, wrong: Callable[[], Any]) -> str:
    """The refusal or warning of ``wrong``, in which ``says`` stands, with {} for what is known only when it runs."""
    with pytest.raises((Exception, SystemExit)) as caught:
        wrong()
    text = re.escape(says).replace(r"\{\}", ".*")
    assert re.search(text, str(caught.value), re.S), str(caught.value)
    return str(caught.value)


def follow(says: str, at: Any, wrong: Callable[[Any], Any], *ways: Callable[[Any], Any]) -> None:
    """Meet a refusal, and go each way that it names; where that ends in numbers, they are finite."""
    refused(says, lambda: wrong(at))
    assert ways
    for way in ways:
        found = way(at)
        found = found.history["loss"] if isinstance(found, Fit) else getattr(found, "values", found)
        if isinstance(found, float | int | np.ndarray | list):
            assert np.isfinite(found).all()
