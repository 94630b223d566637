"""The importance-weighted bounds of a VAE, written by hand: what the package's cost is measured against.

No probabilistic programming: the encoder runs once, the draws are one batch, densities are formulas. The noise
(K, B, D) is an argument, so that a test can give both sides the same. The encoder maps x (B, P) to (B, 2 D), the means
and the raw scales, and the decoder z (K, B, D) to logits (K, B, P); scales are ``softplus(raw) + FLOOR``. Losses are
nats per datum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

FLOOR = 1e-3
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def torch_iwae(encoder: nn.Module, decoder: nn.Module, x: Tensor, noise: Tensor) -> Tensor:
    """- mean_b log (1/K) sum_k w_kb, whose backward pass gives the pathwise gradient."""
    loc, raw = encoder(x).chunk(2, -1)
    scale = softplus(raw) + FLOOR
    z = loc + scale * noise
    log_q = (-0.5 * noise**2 - scale.log() - HALF_LOG_TWO_PI).sum(-1)
    return -_torch_bound(_torch_joint(decoder, x, z) - log_q)


def torch_dreg(encoder: nn.Module, decoder: nn.Module, x: Tensor, noise: Tensor) -> Tensor:
    """The same value; the gradient through each z is weighted once more (Tucker et al., 2019), by a hook."""
    loc, raw = encoder(x).chunk(2, -1)
    scale = softplus(raw) + FLOOR
    z = loc + scale * noise
    fixed = scale.detach()
    log_q = (-0.5 * ((z - loc.detach()) / fixed) ** 2 - fixed.log() - HALF_LOG_TWO_PI).sum(-1)
    log_w = _torch_joint(decoder, x, z) - log_q
    weights = log_w.detach().softmax(0).unsqueeze(-1)
    z.register_hook(lambda grad: weights * grad)
    return -_torch_bound(log_w)


def _torch_joint(decoder: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    logits = decoder(z)
    log_lik = -binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
    return log_lik + (-0.5 * z**2 - HALF_LOG_TWO_PI).sum(-1)


def _torch_bound(log_w: Tensor) -> Tensor:
    return (log_w.logsumexp(0) - math.log(len(log_w))).mean()


Layers = Sequence[tuple[Array, Array]]
Params = tuple[Layers, Layers]
"""Weights (out, inp) and biases (out,) of the encoder's and the decoder's layers, with relu between them."""


def jax_mlp(layers: Layers, h: Array) -> Array:
    """(..., inp) -> (..., out)."""
    *hidden, (weight, bias) = layers
    for w, b in hidden:
        h = jax.nn.relu(h @ w.T + b)
    return h @ weight.T + bias


def jax_iwae(params: Params, x: Array, noise: Array) -> tuple[Array, Any]:
    """The loss - mean_b log (1/K) sum_k w_kb and its pathwise gradient."""

    def loss(params: Params) -> Array:
        encoder, decoder = params
        loc, scale = _jax_posterior(encoder, x)
        log_q = (-0.5 * noise**2 - jnp.log(scale) - HALF_LOG_TWO_PI).sum(-1)
        return -_jax_bound(_jax_joint(decoder, x, loc + scale * noise) - log_q)

    return jax.value_and_grad(loss)(params)


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


def _jax_joint(decoder: Layers, x: Array, z: Array) -> Array:
    logits = jax_mlp(decoder, z)
    log_lik = (x * logits - jax.nn.softplus(logits)).sum(-1)
    return log_lik + (-0.5 * z**2 - HALF_LOG_TWO_PI).sum(-1)


def _jax_bound(log_w: Array) -> Array:
    return (jax.nn.logsumexp(log_w, 0) - math.log(len(log_w))).mean()
