"""The bounds of a VAE, written by hand: what the package's cost is measured against.

No probabilistic programming: the encoder runs once, the draws are one batch, densities are formulas. The noise
(K, B, D), or (B, D) for one draw, is an argument, so that a test can give both sides the same. The encoder maps x
(B, P) to (B, 2 D), the means and the raw scales, and the decoder z (K, B, D) to logits (K, B, P); scales are
``softplus(raw) + FLOOR``. The prior is N(0, I), or with pseudo-inputs (C, P) a VampPrior, whose density is a matrix
product. Losses are nats per datum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import torch
from jax import Array
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

FLOOR = 1e-3
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def torch_elbo(
    encoder: nn.Module, decoder: nn.Module, x: Tensor, noise: Tensor, pseudo_inputs: Tensor | None = None
) -> Tensor:
    """- mean log w, whose backward pass gives the pathwise gradient."""
    return -torch_log_weights(encoder, decoder, x, noise, pseudo_inputs).mean()


def torch_iwae(encoder: nn.Module, decoder: nn.Module, x: Tensor, noise: Tensor) -> Tensor:
    """- mean_b log (1/K) sum_k w_kb, whose backward pass gives the pathwise gradient."""
    return -_torch_bound(torch_log_weights(encoder, decoder, x, noise))


def torch_log_weights(
    encoder: nn.Module, decoder: nn.Module, x: Tensor, noise: Tensor, pseudo_inputs: Tensor | None = None
) -> Tensor:
    """log p(x, z) - log q(z | x) for z = loc + scale * noise, (K, B) or (B,)."""
    loc, scale = _torch_posterior(encoder, x)
    z = loc + scale * noise
    log_q = (-0.5 * noise**2 - scale.log() - HALF_LOG_TWO_PI).sum(-1)
    prior = None if pseudo_inputs is None else _torch_posterior(encoder, pseudo_inputs)
    return _torch_joint(decoder, x, z, prior) - log_q


def torch_dreg(encoder: nn.Module, decoder: nn.Module, x: Tensor, noise: Tensor) -> Tensor:
    """The same value; the gradient through each z is weighted once more (Tucker et al., 2019), by a hook."""
    loc, scale = _torch_posterior(encoder, x)
    z = loc + scale * noise
    fixed = scale.detach()
    log_q = (-0.5 * ((z - loc.detach()) / fixed) ** 2 - fixed.log() - HALF_LOG_TWO_PI).sum(-1)
    log_w = _torch_joint(decoder, x, z) - log_q
    weights = log_w.detach().softmax(0).unsqueeze(-1)
    z.register_hook(lambda grad: weights * grad)
    return -_torch_bound(log_w)


def _torch_posterior(encoder: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    loc, raw = encoder(x).chunk(2, -1)
    return loc, softplus(raw) + FLOOR


def _torch_joint(decoder: nn.Module, x: Tensor, z: Tensor, prior: tuple[Tensor, Tensor] | None = None) -> Tensor:
    logits = decoder(z)
    log_lik = -binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
    return log_lik + ((-0.5 * z**2 - HALF_LOG_TWO_PI).sum(-1) if prior is None else _torch_mixture(z, *prior))


def _torch_mixture(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log 1/C sum_c N(z; loc_c, diag scale_c^2)."""
    precision = scale**-2
    square = torch.cat([z * z, z], -1) @ torch.cat([precision, -2 * loc * precision], -1).T
    constant = 0.5 * (loc * loc * precision).sum(-1) + scale.log().sum(-1) + HALF_LOG_TWO_PI * loc.shape[-1]
    return (-0.5 * square - constant).logsumexp(-1) - math.log(len(loc))


def _torch_bound(log_w: Tensor) -> Tensor:
    return (log_w.logsumexp(0) - math.log(len(log_w))).mean()


Layers = Sequence[tuple[Array, Array]]
Params = tuple[Layers, Layers] | tuple[Layers, Layers, Array]
"""Weights (out, inp) and biases (out,) of the encoder's and the decoder's layers, with relu between them; for a
VampPrior the pseudo-inputs (C, P) too."""


def jax_mlp(layers: Layers, h: Array) -> Array:
    """(..., inp) -> (..., out)."""
    *hidden, (weight, bias) = layers
    for w, b in hidden:
        h = jax.nn.relu(h @ w.T + b)
    return h @ weight.T + bias


def jax_elbo(params: Params, x: Array, noise: Array) -> tuple[Array, Any]:
    """The loss - mean log w and its pathwise gradient."""
    return jax.value_and_grad(lambda params: -jax_log_weights(params, x, noise).mean())(params)


def jax_iwae(params: Params, x: Array, noise: Array) -> tuple[Array, Any]:
    """The loss - mean_b log (1/K) sum_k w_kb and its pathwise gradient."""
    return jax.value_and_grad(lambda params: -_jax_bound(jax_log_weights(params, x, noise)))(params)


def jax_log_weights(params: Params, x: Array, noise: Array) -> Array:
    """log p(x, z) - log q(z | x) for z = loc + scale * noise, (K, B) or (B,)."""
    encoder, decoder, *pseudo_inputs = params
    loc, scale = _jax_posterior(encoder, x)
    log_q = (-0.5 * noise**2 - jnp.log(scale) - HALF_LOG_TWO_PI).sum(-1)
    prior = _jax_posterior(encoder, pseudo_inputs[0]) if pseudo_inputs else None
    return _jax_joint(decoder, x, loc + scale * noise, prior) - log_q


def jax_dreg(params: Params, x: Array, noise: Array) -> tuple[Array, Any]:
    """The same value and the doubly reparameterised gradient, the chain rule spelt out: one pass, no surrogate."""
    encoder, decoder = params
    (loc, scale), to_encoder = jax.vjp(lambda layers: _jax_posterior(layers, x), encoder)

    def log_weights(decoder: Layers, z: Array) -> Array:
        log_q = (-0.5 * ((z - loc) / scale) ** 2 - jnp.log(scale) - HALF_LOG_TWO_PI).sum(-1)
        return _jax_joint(decoder, x, z) - log_q

    log_w, back = jax.vjp(log_weights, decoder, loc + scale * noise)
    weights = jax.nn.softmax(log_w, 0)
    decoder_grads, z_grads = back(-weights / x.shape[0])
    z_grads = weights[..., None] * z_grads
    (encoder_grads,) = to_encoder((z_grads.sum(0), (z_grads * noise).sum(0)))
    return -_jax_bound(log_w), (encoder_grads, decoder_grads)


def _jax_posterior(encoder: Layers, x: Array) -> tuple[Array, Array]:
    loc, raw = jnp.split(jax_mlp(encoder, x), 2, -1)
    return loc, jax.nn.softplus(raw) + FLOOR


def _jax_joint(decoder: Layers, x: Array, z: Array, prior: tuple[Array, Array] | None = None) -> Array:
    logits = jax_mlp(decoder, z)
    log_lik = (x * logits - jax.nn.softplus(logits)).sum(-1)
    return log_lik + ((-0.5 * z**2 - HALF_LOG_TWO_PI).sum(-1) if prior is None else _jax_mixture(z, *prior))


def _jax_mixture(z: Array, loc: Array, scale: Array) -> Array:
    """log 1/C sum_c N(z; loc_c, diag scale_c^2)."""
    precision = scale**-2
    square = jnp.concatenate([z * z, z], -1) @ jnp.concatenate([precision, -2 * loc * precision], -1).T
    constant = 0.5 * (loc * loc * precision).sum(-1) + jnp.log(scale).sum(-1) + HALF_LOG_TWO_PI * loc.shape[-1]
    return jax.nn.logsumexp(-0.5 * square - constant, -1) - math.log(len(loc))


def _jax_bound(log_w: Array) -> Array:
    return (jax.nn.logsumexp(log_w, 0) - math.log(len(log_w))).mean()
