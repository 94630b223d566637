"""Chains whose leapfrog steps two nets change, in Pyro: trained while they run, then fixed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ...mcmc import kernels, learned
from ...mcmc.kernels import Evaluated, Sampled
from ...mcmc.layout import Position
from ...pairs.side_inputs import Arrays
from ..densities import Densities, repeat
from ..pair import Pair
from .hmc import densities_of, move, position_of, to_numpy


def _along(densities: Densities, codes: Tensor) -> kernels.Density:
    """The density with a gradient that can be differentiated, for values that a net's weights reach."""

    def density(u: Tensor) -> Evaluated:
        log_f = densities.ends(Position(u, codes))[1]
        (gradient,) = torch.autograd.grad(log_f.sum(), u, create_graph=True)
        return Evaluated(log_f, gradient, 0 * log_f)

    return density


def sample(
    pair: Pair,
    x: np.ndarray,
    start: Arrays,
    side: Arrays,
    *,
    weights: Mapping[str, np.ndarray],
    masks: np.ndarray,
    num_warmup: int,
    num_training: int,
    num_samples: int,
    learning_rate: float,
    target: float,
    burn_in: float,
    begins: Arrays | None,
    seed: int,
) -> Sampled:
    """Warm up by leapfrog chains from ``start`` (K, B, ...), train the nets, and draw.

    With ``begins`` the loss has that of transitions from there, too, times ``burn_in``.
    """
    with densities_of(pair, x, side, seed) as densities:
        position, parts = position_of(pair, densities, start), []
        u, plain = position.u, densities.at(position.codes, 1.0)
        state = kernels.start_adaptation(u.new_full((len(x),), kernels.first_step(u.shape[-1])))
        seen = learned.start_seen(u)
        for number in range(num_warmup):
            seen = learned.start_seen(u) if number == num_warmup // 2 else seen
            moved = move(densities, position._replace(u=u), plain(u), 1.0, state.log_step.exp(), len(masks))
            state = kernels.adapt(state, moved.accept_prob.mean(0), target)
            seen, u = learned.see(seen, u, moved.u), moved.u
        place, usual = learned.place_of(seen)
        y, step_size = (u - place.centre) / place.scale, state.log_average.exp() / place.scale[..., 0]
        first = torch.as_tensor(masks, dtype=u.dtype, device=u.device)
        nets = {
            n: torch.as_tensor(w, dtype=u.dtype, device=u.device).clone().requires_grad_() for n, w in weights.items()
        }
        here = learned.placed(plain, place)

        def propose(density: kernels.Density, y: Tensor) -> tuple[learned.Proposed, Tensor]:
            momentum, noise = torch.randn_like(y), torch.rand(2, *y.shape[:2], dtype=y.dtype, device=y.device)
            return learned.propose(nets, y, here(y), momentum, noise, step_size, first, density, repeat)

        along = learned.placed(_along(densities, position.codes), place)
        adam = torch.optim.Adam(nets.values(), lr=learning_rate)
        fresh = None if begins is None else learned.burn_in(position_of(pair, densities, begins).u, place)
        for number in range(num_training):
            with torch.enable_grad():
                end, log_ratio = propose(along, y)
                loss = learned.loss(learned.jump(y, end, log_ratio), usual)
                if fresh is not None:
                    begin = fresh[number % len(fresh)]
                    loss = loss + burn_in * learned.loss(learned.jump(begin, *propose(along, begin)), usual)
                gradients = torch.autograd.grad(loss, list(nets.values()))
            if all(gradient.isfinite().all() for gradient in gradients):
                for weight, gradient in zip(nets.values(), gradients, strict=True):
                    weight.grad = gradient
                adam.step()
            y = learned.moved(y, end, log_ratio, torch.rand_like(log_ratio)).u.detach()
        with torch.no_grad():
            for _ in range(num_samples):
                end, log_ratio = propose(here, y)
                moved = learned.moved(y, end, log_ratio, torch.rand_like(log_ratio))
                y = moved.u
                values = densities.values(position._replace(u=place.centre + place.scale * y))
                parts.append((moved.accept_prob, moved.diverging, values))
            steps = (step_size * nets["log_step"].exp() * place.scale[..., 0]).cpu().numpy()
    accept_prob, diverging, each = zip(*parts, strict=True)
    draws = {name: torch.stack([values[name] for values in each], 1) for name in each[0]}
    accepted, diverged = (torch.stack(part, 1).cpu().numpy() for part in (accept_prob, diverging))
    return Sampled(to_numpy(draws), accepted, diverged, steps)
