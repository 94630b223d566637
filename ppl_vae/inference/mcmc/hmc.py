"""Chains on a pair, in Pyro: Hamiltonian Monte Carlo and annealed runs, with torch's autograd over the whole batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor

from ...mcmc import kernels
from ...mcmc.annealing import Annealed, AnnealingSteps
from ...mcmc.kernels import Sampled
from ...mcmc.layout import Layout, Position
from ...pairs.keywords import generated_site
from ...pairs.side_inputs import Arrays
from ...pairs.sites import Sites
from ..densities import Densities, encoded, layout_of, repeat, validated
from ..pair import Pair, forked

Values = dict[str, np.ndarray]


@contextmanager
def densities_of(pair: Pair, x: np.ndarray, side: Arrays, seed: int, start: str = "prior") -> Iterator[Densities]:
    """Yield the pair's densities; draws within the block come from the seed."""
    with forked(seed, pair.device), pair.active() as (model, guide), encoded(model):
        batch, where = pair.tensor(x), pair.tensors(side)
        with forked(seed, pair.device):
            checked = validated(model, batch, where)
        with pyro.validation_enabled(False):
            yield Densities(model, guide, batch, where, layout_of(model, batch, where), start, checked)


def to_numpy(values: dict[str, Tensor]) -> Values:
    return {name: value.cpu().numpy() for name, value in values.items()}


def position_of(pair: Pair, densities: Densities, values: Arrays) -> Position:
    on_device = {n: torch.as_tensor(v, device=pair.device) for n, v in values.items() if v.dtype.kind != "f"}
    return densities.position({n: on_device[n] if n in on_device else pair.tensor(v) for n, v in values.items()})


def layout(pair: Pair, x: np.ndarray, side: Arrays) -> Layout:
    """The latent sites of the pair's model, as chains see them."""
    with densities_of(pair, x, side, 0) as densities:
        return densities.layout


def starts(
    pair: Pair, x: np.ndarray, num_chains: int, start: str, side: Arrays, *, seed: int, guide_seed: int
) -> Values:
    """Draw z ~ p(z) or q(z | x) for each datum, (K, B, ...) by site; a guide's own noise comes from ``guide_seed``."""
    with densities_of(pair, x, side, guide_seed, start) as densities, torch.no_grad(), forked(seed, pair.device):
        return to_numpy(densities.draws(num_chains))


def simulate(pair: Pair, size: int, seed: int, side: Arrays) -> tuple[Values, np.ndarray]:
    """Draw z ~ p(z), (size, ...) for each site, and x ~ p(x | z), (size, P).

    Raises:
        ValueError: a program that cannot generate.
    """
    sites: Sites | None = pair.sites
    generated_site(pair.programs[0], sites)
    assert sites is not None
    with torch.no_grad(), forked(seed, pair.device), pair.active() as (model, _):
        trace = poutine.trace(model).get_trace(size=size, **pair.tensors(side))
    latent = {site.name: trace.nodes[site.name]["value"] for site in sites.latent}
    return to_numpy(latent), trace.nodes[sites.observed[0].name]["value"].cpu().numpy()


def log_joint(pair: Pair, x: np.ndarray, values: Arrays, side: Arrays) -> np.ndarray:
    """log p(x, z) at the latents' values (K, B, ...), (K, B)."""
    with densities_of(pair, x, side, 0) as densities, torch.no_grad():
        log_lik, log_prior, _, _ = densities.parts(position_of(pair, densities, values))
    return (log_lik + log_prior).cpu().numpy()


def move(
    densities: Densities,
    position: Position,
    at: kernels.Evaluated,
    beta: float | Tensor,
    step_size: Tensor,
    num_steps: int,
) -> kernels.Moved:
    """Make one HMC transition of the continuous sites with step sizes (B,), of 1 to ``num_steps`` steps, at random."""
    u = position.u
    momentum, noise = torch.randn_like(u), torch.rand(2, *u.shape[:2], dtype=u.dtype, device=u.device)
    step_size = kernels.jittered(step_size, noise[0])
    density = densities.at(position.codes, beta)
    count = int(torch.randint(1, num_steps + 1, ()))
    return kernels.hmc(u, at, momentum, noise[1], step_size, count, density, repeat)


def sample(
    pair: Pair,
    x: np.ndarray,
    start: Arrays,
    side: Arrays,
    *,
    num_warmup: int,
    num_samples: int,
    num_steps: int,
    target: float,
    seed: int,
) -> Sampled:
    """Run HMC chains from the latents' values ``start`` (K, B, ...) towards p(z | x)."""
    with densities_of(pair, x, side, seed) as densities:
        position, parts = position_of(pair, densities, start), []
        density = densities.at(position.codes, 1.0)
        state = kernels.start_adaptation(position.u.new_full((len(x),), kernels.first_step(position.u.shape[-1])))
        for number in range(num_warmup + num_samples):
            warm = number >= num_warmup
            step_size = (state.log_average if warm else state.log_step).exp()
            moved = move(densities, position, density(position.u), 1.0, step_size, num_steps)
            position = position._replace(u=moved.u)
            if warm:
                parts.append((moved.accept_prob, moved.diverging, densities.values(position)))
            else:
                state = kernels.adapt(state, moved.accept_prob.mean(0), target)
    accept_prob, diverging, values = zip(*parts, strict=True)
    draws = {name: torch.stack([v[name] for v in values], 1) for name in values[0]}
    accepted, diverged = (torch.stack(part, 1).cpu().numpy() for part in (accept_prob, diverging))
    return Sampled(to_numpy(draws), accepted, diverged, state.log_average.exp().cpu().numpy())


def sweep(densities: Densities, position: Position, beta: float | Tensor, entries: list[int]) -> Position:
    """Draw the discrete entries one after the other, each from its conditional under f_beta: a Gibbs sweep."""
    codes = position.codes
    for entry in entries:
        count = densities.layout.num_values[entry]
        tried = codes.repeat(count, 1, 1).unflatten(0, (count, -1)).clone()
        tried[..., entry] = torch.arange(count, device=codes.device)[:, None, None]
        log_f = densities.log_f(Position(position.u.repeat(count, 1, 1), tried.flatten(0, 1)), beta)
        log_f = log_f.unflatten(0, (count, -1))
        codes = codes.clone()
        codes[..., entry] = kernels.pick(log_f, torch.rand_like(log_f[0]))
    return position._replace(codes=codes)


def anneal(
    pair: Pair,
    x: np.ndarray,
    start: Arrays,
    side: Arrays,
    rungs: AnnealingSteps,
    *,
    gain: float,
    initial: str,
    num_steps: int,
    target: float,
    seed: int,
    guide_seed: int,
) -> Annealed:
    """Anneal from the latents' values ``start`` (K, B, ...) through the temperatures; return log-weights, (K, B)."""
    with densities_of(pair, x, side, guide_seed, initial) as densities, forked(seed, pair.device):
        position = position_of(pair, densities, start)
        entries = list(range(len(densities.layout.num_values)))
        log_w = position.u.new_zeros(position.u.shape[:2])
        shift, accept_prob, divergences, used, spread = log_w[0], 0 * log_w[0], 0 * log_w[0], [], []
        for rung in zip(*rungs, strict=True):
            increment, beta, log_step = (torch.as_tensor(a, dtype=log_w.dtype, device=log_w.device) for a in rung)
            at = densities.at(position.codes, beta)(position.u)
            log_w = log_w + increment * at.gap
            spread.append(at.gap.std(0, correction=0))
            if entries:
                position = sweep(densities, position, beta, entries)
                at = densities.at(position.codes, beta)(position.u)
            if position.u.shape[-1]:
                moved = move(densities, position, at, beta, (log_step + shift).exp(), num_steps)
                position = position._replace(u=moved.u)
                accepted = moved.accept_prob.mean(0)
                shift = shift + gain * (accepted - target)
                accept_prob = accept_prob + accepted / len(rungs.beta)
                divergences = divergences + moved.diverging.sum(0)
            position = sweep(densities, position, beta, entries[::-1])
            used.append(log_step + shift)
        parts = log_w, torch.stack(used), accept_prob, divergences, torch.stack(spread)
    return Annealed(*(part.cpu().numpy() for part in parts))
