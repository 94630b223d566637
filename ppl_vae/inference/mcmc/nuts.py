"""Pyro's No-U-Turn Sampler for each datum by itself, one after the other."""

from __future__ import annotations

import numpy as np
import torch
from pyro.infer import MCMC
from pyro.infer import NUTS as PyroNUTS
from torch import Tensor

from ...mcmc.kernels import Sampled
from ...mcmc.layout import Position
from ...pairs.side_inputs import Arrays, take_rows
from ..densities import Densities
from ..pair import Pair
from .hmc import densities_of, position_of, to_numpy


def sample(
    pair: Pair,
    x: np.ndarray,
    start: Arrays,
    side: Arrays,
    *,
    num_warmup: int,
    num_samples: int,
    depth: int,
    target: float,
    seed: int,
) -> Sampled:
    """Run NUTS chains from the latents' values ``start`` (K, B, ...) towards p(z | x)."""
    columns: list[dict[str, np.ndarray]] = []
    stats: list[list[np.ndarray]] = []
    for datum in range(len(x)):
        row = slice(datum, datum + 1)
        with densities_of(pair, x[row], take_rows(side, row), seed + datum) as densities:
            position = position_of(pair, densities, {name: value[:, row] for name, value in start.items()})
            chains = [_chain(densities, u, num_warmup, num_samples, depth, target) for u in position.u[:, 0]]
            u, *others = (torch.stack(parts) for parts in zip(*chains, strict=True))
            positions = [Position(u[:, number, None], position.codes) for number in range(num_samples)]
            drawn = [to_numpy(densities.values(p)) for p in positions]
        columns.append({name: np.stack([values[name] for values in drawn], 1) for name in drawn[0]})
        stats.append([stat.cpu().numpy() for stat in others])
    draws = {name: np.concatenate([column[name] for column in columns], 2) for name in columns[0]}
    accept_prob, diverging, step_size = (np.stack(parts, -1) for parts in zip(*stats, strict=True))
    return Sampled(draws, accept_prob, diverging, step_size)


def _chain(
    densities: Densities, start: Tensor, num_warmup: int, num_samples: int, depth: int, target: float
) -> tuple[Tensor, ...]:
    """Run one chain from u (D,): draws (S, D), acceptance (S,), divergence (S,), step size ()."""
    codes = torch.zeros(1, 1, 0, dtype=torch.long, device=start.device)

    def potential(latents: dict[str, Tensor]) -> Tensor:
        return -densities.ends(Position(latents["u"][None, None], codes))[1][0, 0]

    kernel = PyroNUTS(potential_fn=potential, target_accept_prob=target, max_tree_depth=depth)
    accepted: list[float] = []

    def after(kernel: PyroNUTS, _: dict[str, Tensor], stage: str, number: int) -> None:
        if stage == "Sample":
            accepted.append(kernel._mean_accept_prob)

    options = {"num_samples": num_samples, "warmup_steps": num_warmup, "disable_progbar": True, "hook_fn": after}
    mcmc = MCMC(kernel, initial_params={"u": start}, **options)
    mcmc.run()
    diverging = torch.zeros(num_samples, dtype=torch.bool)
    diverging[mcmc.diagnostics()["divergences"]["chain 0"]] = True
    means = torch.tensor(accepted) * torch.arange(1, num_samples + 1)
    rates = torch.diff(means, prepend=torch.zeros(1))
    return mcmc.get_samples()["u"], rates, diverging, torch.tensor(kernel.step_size)
