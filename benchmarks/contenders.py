"""Who takes the steps that ``step.py`` measures: this package, programs by hand, stock Pyro and NumPyro, pythae.

A contender is a function (scale, task, count) -> a block of so many steps: fetch a batch, value, gradient, Adam. All
start from the weights of the same recipe. PyTorch's take their steps in Python, JAX's in one compiled scan.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import hand_written
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import torch
from cost import RATE, Block, Scale, epochs, jax_block, random_images, torch_block, wait_for
from flax import nnx
from hand_written import FLOOR, jax_mlp
from numpyro import distributions as numpyro_dist
from torch import Tensor
from torch.nn.functional import softplus

from ppl_vae import backends, recipes, seeds

Contender = Callable[[Scale, "Task", int], Block]


@dataclass(frozen=True)
class Task:
    """What a step is of: the ELBO of one draw or the IWAE bound of several, under N(0, I) or a VampPrior."""

    draws: int = 1
    pseudo_inputs: int = 0

    @property
    def name(self) -> str:
        """As the tables call it."""
        prior = f"VampPrior {self.pseudo_inputs}" if self.pseudo_inputs else "standard"
        return f"IWAE {self.draws}" if self.draws > 1 else prior

    @property
    def bound(self) -> str:
        """As ``hand_written`` calls it."""
        return "iwae" if self.draws > 1 else "elbo"

    def objective(self, backend: str) -> Any:
        """The package's."""
        inference = backends.load(backend).inference
        return inference.IWAE(self.draws) if self.draws > 1 else inference.TraceELBO()

    def noise(self, scale: Scale) -> tuple[int, ...]:
        """The shape of a batch's."""
        shape = (scale.batch, scale.latents)
        return (self.draws, *shape) if self.draws > 1 else shape

    def images(self, scale: Scale, count: int) -> np.ndarray:
        """As many as so many steps read, and at least as many as pseudo-inputs start from."""
        return random_images(max(count * scale.batch, self.pseudo_inputs), scale.pixels)

    def recipe(self, scale: Scale, images: np.ndarray, backend: str) -> recipes.Recipe:
        """The pair."""
        prior = {"prior": "vampprior", "num_pseudo_inputs": self.pseudo_inputs} if self.pseudo_inputs else {}
        return scale.recipe(images, backend=backend, **prior)


def ours(backend: str, **settings: Any) -> Contender:
    """This package: epochs of SVI with these settings."""

    def contender(scale: Scale, task: Task, count: int) -> Block:
        images = task.images(scale, count)
        recipe = task.recipe(scale, images, backend)
        return epochs(scale, task.objective(backend), recipe, images, count, **settings)

    return contender


def batches(images: np.ndarray, size: int, device: str = "cpu") -> Iterator[Tensor]:
    """Batches of shuffled images, pass after pass."""
    data = torch.from_numpy(images).to(device)
    while True:
        for index in torch.randperm(len(data)).to(device).split(size):
            if len(index) == size:
                yield data.index_select(0, index)


def torch_nets(scale: Scale, task: Task, images: np.ndarray) -> tuple[Any, Any, Any]:
    """(encoder, decoder, pseudo-inputs or None)."""
    programs = task.recipe(scale, images, "pyro")(seeds.generator(0, "weights"))
    model, guide = (program.to(scale.device) for program in programs)
    return guide.posterior.net, model.likelihood.net, getattr(model.prior, "inputs", None)


def jax_params(scale: Scale, task: Task, images: np.ndarray) -> hand_written.Params:
    """(encoder, decoder), and the pseudo-inputs if there are any."""
    model, guide = task.recipe(scale, images, "numpyro")(seeds.generator(0, "weights"))
    nets = guide.posterior.net, model.likelihood.net
    encoder, decoder = ([(layer.weight[...], layer.bias[...]) for layer in net.layers] for net in nets)
    return (encoder, decoder, model.prior.pseudo_inputs()) if task.pseudo_inputs else (encoder, decoder)


def torch_by_hand(*, fused: bool) -> Contender:
    """A plain loop of PyTorch."""

    def contender(scale: Scale, task: Task, count: int) -> Block:
        images, noise = task.images(scale, count), task.noise(scale)
        encoder, decoder, pseudo_inputs = torch_nets(scale, task, images)
        bound, data = getattr(hand_written, f"torch_{task.bound}"), batches(images, scale.batch, scale.device)
        options = {"pseudo_inputs": pseudo_inputs} if task.pseudo_inputs else {}
        parameters = [*encoder.parameters(), *decoder.parameters(), *options.values()]

        def loss() -> Tensor:
            return bound(encoder, decoder, next(data), torch.randn(noise, device=scale.device), **options)

        return torch_block(loss, parameters, count, fused=fused)

    return contender


def jax_by_hand(scale: Scale, task: Task, count: int) -> Block:
    """JAX and optax in a scan."""
    images = task.images(scale, count)
    data, noise, bound = jnp.asarray(images), task.noise(scale), getattr(hand_written, f"jax_{task.bound}")

    def value_and_grad(params: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        which, draws = jax.random.split(key)
        x = data[jax.random.randint(which, (scale.batch,), 0, len(data))]
        return bound(params, x, jax.random.normal(draws, noise))

    return jax_block(value_and_grad, jax_params(scale, task, images), count)


def stock_pyro(scale: Scale, task: Task, count: int) -> Block:
    """``pyro.infer.SVI``, as Pyro's tutorials use it: validation on, a VampPrior as ``MixtureSameFamily``."""
    import pyro
    from pyro import distributions as dist

    images = task.images(scale, count)
    encoder, decoder, pseudo_inputs = torch_nets(scale, task, images)
    zeros = torch.zeros(scale.latents, device=scale.device)

    def posterior(x: Tensor) -> Any:
        loc, raw = encoder(x).chunk(2, -1)
        return dist.Normal(loc, softplus(raw) + FLOOR).to_event(1)

    def prior() -> Any:
        if not task.pseudo_inputs:
            return dist.Normal(zeros, 1 + zeros).to_event(1)
        inputs = pyro.param("pseudo_inputs", lambda: pseudo_inputs.detach().clone())
        weights = dist.Categorical(logits=torch.zeros(task.pseudo_inputs, device=scale.device))
        return dist.MixtureSameFamily(weights, posterior(inputs))

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior())
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", posterior(x))

    loss = pyro.infer.Trace_ELBO()
    if task.draws > 1:
        loss = pyro.infer.RenyiELBO(alpha=0, num_particles=task.draws, vectorize_particles=True)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": RATE}), loss)
    store: Any = {"params": {}, "constraints": {}}
    data = batches(images, scale.batch, scale.device)

    def block() -> int:
        with pyro.get_param_store().scope(store), pyro.validation_enabled(True):
            for _ in range(count):
                svi.step(next(data))
        wait_for(torch.device(scale.device))
        return count

    return block


def stock_numpyro(scale: Scale, task: Task, count: int) -> Block:
    """``numpyro.infer.SVI`` in a scan; a VampPrior as ``MixtureSameFamily``."""
    images = task.images(scale, count)
    data, weights = jnp.asarray(images), jax_params(scale, task, images)

    def posterior(encoder: hand_written.Layers, x: jax.Array) -> Any:
        loc, raw = jnp.split(jax_mlp(encoder, x), 2, -1)
        return numpyro_dist.Normal(loc, jax.nn.softplus(raw) + FLOOR).to_event(1)

    def model(x: jax.Array) -> None:
        encoder, decoder, *inputs = numpyro.param("nets", weights)
        prior = numpyro_dist.Normal(jnp.zeros(scale.latents), 1.0).to_event(1)
        if inputs:
            equal = numpyro_dist.Categorical(logits=jnp.zeros(task.pseudo_inputs))
            prior = numpyro_dist.MixtureSameFamily(equal, posterior(encoder, inputs[0]))
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", prior)
            numpyro.sample("x", numpyro_dist.Bernoulli(logits=jax_mlp(decoder, z)).to_event(1), obs=x)

    def guide(x: jax.Array) -> None:
        encoder, *_ = numpyro.param("nets", weights)
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", posterior(encoder, x))

    loss = numpyro.infer.Trace_ELBO()
    if task.draws > 1:
        loss = numpyro.infer.RenyiELBO(alpha=0, num_particles=task.draws)
    svi = numpyro.infer.SVI(model, guide, numpyro.optim.Adam(RATE), loss)
    state = svi.init(jax.random.key(0), data[: scale.batch])
    steps = jax.jit(lambda state, index: jax.lax.scan(lambda s, i: svi.update(s, data[i]), state, index))
    rng = seeds.generator(0, "order")

    def block() -> int:
        nonlocal state
        index = rng.permutation(len(data))[: count * scale.batch].reshape(count, scale.batch)
        state, losses = steps(state, jnp.asarray(index))
        jax.block_until_ready((state, losses))
        return count

    return block


def pythae(scale: Scale, task: Task, count: int) -> Block:
    """pythae's model and trainer, an epoch at a time; its VampPrior has a net for the pseudo-inputs."""
    from pythae import models
    from pythae.data.datasets import BaseDataset
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    images = task.images(scale, count)[: count * scale.batch]
    nets = torch_nets(scale, Task(task.draws), images)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = nets[0]

        def forward(self, x: Tensor) -> ModelOutput:
            loc, log_variance = self.net(x).chunk(2, -1)
            return ModelOutput(embedding=loc, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = nets[1]

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.net(z).sigmoid())

    options = {"number_components": task.pseudo_inputs} if task.pseudo_inputs else {}
    options |= {"number_samples": task.draws} if task.draws > 1 else {}
    name = "VAMP" if task.pseudo_inputs else "IWAE" if task.draws > 1 else "VAE"
    sizes = {"input_dim": (scale.pixels,), "latent_dim": scale.latents, "reconstruction_loss": "bce"}
    model = getattr(models, name)(getattr(models, f"{name}Config")(**sizes, **options), Encoder(), Decoder())
    data, numbers = BaseDataset(torch.from_numpy(images), torch.zeros(len(images))), itertools.count(1)
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder, per_device_train_batch_size=scale.batch, learning_rate=RATE, no_cuda=True
        )
        trainer = BaseTrainer(model, data, training_config=config)
        trainer.prepare_training()

    def block() -> int:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            trainer.train_step(next(numbers))
        return count

    return block


BASE, BASE_JAX = "by hand, PyTorch", "by hand, JAX"
CONTENDERS: dict[str, Contender] = {
    BASE: torch_by_hand(fused=True),
    f"{BASE}, default Adam": torch_by_hand(fused=False),
    "Pyro, eager": ours("pyro"),
    "Pyro, trace": ours("pyro", compile="trace"),
    "Pyro, inductor": ours("pyro", compile="inductor"),
    "stock pyro.infer.SVI": stock_pyro,
    "pythae": pythae,
    BASE_JAX: jax_by_hand,
    "NumPyro": ours("numpyro"),
    "stock numpyro.infer.SVI": stock_numpyro,
}
ROUNDED: dict[str, Contender] = {
    "Pyro, eager, bfloat16": ours("pyro", precision="bfloat16"),
    "Pyro, trace, bfloat16": ours("pyro", compile="trace", precision="bfloat16"),
    "NumPyro, bfloat16": ours("numpyro", precision="bfloat16"),
}
"""Those with products in bfloat16, which are for accelerators: measured where they are named, and on a GPU."""
OF_JAX = (BASE_JAX, "NumPyro", "NumPyro, bfloat16", "stock numpyro.infer.SVI")


def bare_numpyro(scale: Scale, task: Task, count: int) -> Block:
    """The package's NumPyro objective in a scan of one's own, without SVI."""
    images, objective = task.images(scale, count), task.objective("numpyro")
    model, guide = task.recipe(scale, images, "numpyro")(seeds.generator(0, "weights"))
    graph, weights, rest = nnx.split(nnx.List([model, guide]), nnx.Param, ...)  # type: ignore[misc]
    data = jnp.asarray(images)

    def value_and_grad(weights: Any, key: jax.Array) -> tuple[jax.Array, Any]:
        which, draws = jax.random.split(key)
        x = data[jax.random.randint(which, (scale.batch,), 0, len(data))]

        def loss(weights: Any) -> jax.Array:
            return objective.loss(draws, {}, *nnx.merge(graph, weights, rest), x) / len(x)

        return jax.value_and_grad(loss)(weights)

    return jax_block(value_and_grad, weights, count)


def bare_pyro(scale: Scale, task: Task, count: int) -> Block:
    """The package's Pyro objective in a loop of one's own, without SVI."""
    images, objective = task.images(scale, count), task.objective("pyro")
    programs = task.recipe(scale, images, "pyro")(seeds.generator(0, "weights"))
    model, guide = (program.to(scale.device) for program in programs)
    data = batches(images, scale.batch, scale.device)
    parameters = list({id(p): p for p in [*model.parameters(), *guide.parameters()]}.values())
    return torch_block(lambda: objective.differentiable_loss(model, guide, next(data)) / scale.batch, parameters, count)


def installed(name: str) -> bool:
    """Whether a contender can take part."""
    return name != "pythae" or importlib.util.find_spec("pythae") is not None
