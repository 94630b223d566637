"""Particle filters of a pair, in Pyro."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..arrays.sequences import steps
from ..mcmc.filtering import (
    Filtered,
    check_filtered,
    check_own_model,
    check_scored,
    check_twist,
    log_emission,
    reads_each_step,
    resample,
    scored,
)
from ..objectives.request import FilterRequest
from .filter_steps import MarkovSteps, RecurrentSteps, of_one_step
from .sites import base_of, masks_of
from .traces import Ruled, run, split_sites


def filtered(
    request: FilterRequest,
    model: Any,
    guide: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    num_particles: int,
    max_plate_nesting: int = 1,
    name: str = "FIVO",
) -> tuple[Filtered, Any]:
    """Move K particles of each datum from step to step by the guide, and resample them; return the sites, too.

    All log-weights are NaN where the likelihood of a step knows of other steps.

    Raises:
        UnsuitableObjective: a pair of which not every step is known.
    """
    ruled = Ruled(lambda site: torch.zeros(site.shape, dtype=args[0].dtype, device=args[0].device))
    p, q = run(model, guide, args, dict(kwargs), 1, max_plate_nesting, None, ruled)
    (latent, observed), guided = split_sites(p), split_sites(q)[0]
    prior, posterior = (base_of(next(iter(s.values()))["fn"]) if len(s) == 1 else None for s in (latent, guided))
    masked = any(masks_of(site) for site in [*latent.values(), *guided.values()])
    check_filtered(name, prior, posterior, [s["fn"] for s in observed.values()], masked, "given" in kwargs)
    ((of_z, _),), ((of_x, data),) = latent.items(), observed.items()
    assert prior is not None and posterior is not None
    recurrent, length, size = hasattr(posterior, "at"), posterior.steps, (num_particles, len(data["value"]))

    def rows(z: Tensor, x: Tensor) -> Tensor:
        conditioned: Any = poutine.condition(model, {of_z: z})
        nodes: dict[str, Any] = dict(poutine.trace(conditioned).get_trace(x, *args[1:]).nodes)
        log_p: Tensor = nodes[of_x]["fn"].base_dist.log_prob(x)
        return log_p

    if recurrent:
        check_own_model(name, posterior.reads(base_of(data["fn"])), masked or bool(masks_of(data)))
    lasting = posterior.on if recurrent else prior.on
    x, seen = data["value"], None
    for mask in masks_of(data):
        seen = mask.expand(x.shape) if seen is None else seen & mask
    x = steps(x if seen is None else torch.where(seen, x, 0), length)
    seen = None if seen is None else steps(seen, length)

    alone = None if recurrent else of_one_step(model)

    def emission(z: Tensor, t: int) -> Tensor:
        of_step = None if seen is None else seen[:, t]
        if alone is None:
            return log_emission(rows, z, x[:, t], of_step, length)
        log_p = alone(z, x[:, t])
        return (log_p if of_step is None else torch.where(of_step, log_p, 0)).sum(-1)

    def drawn(proposal: Any) -> tuple[Tensor, Tensor]:
        z = proposal.rsample()
        z = z.detach() if request.scored else z
        return z, proposal.log_prob(z)

    def expected(proposal: Any) -> tuple[Tensor, Tensor]:
        return proposal.mean, proposal.log_prob(proposal.mean)

    if request.scored:
        check_scored(posterior)
    if request.twist:
        check_twist(name, posterior)
    if recurrent and lasting is not None:
        x = torch.where(lasting[..., None], x, 0)
    walk: Any = RecurrentSteps(posterior, x, size) if recurrent else MarkovSteps(prior, posterior, emission, size)
    found = walk.step(walk.start(), 0, drawn)
    z, state = found.z, found.state
    log_w = found.log_p - (found.log_q.detach() if request.scored else found.log_q)
    scores = [scored(log_w, found.log_q)] if request.scored else []
    if recurrent and lasting is not None:  # of nothing seen nothing weighs
        log_w, *scores = (torch.where(lasting[..., 0], a, 0) for a in (log_w, *scores))
    path, ancestors, weights = [z], [], [log_w]
    every = torch.ones_like(log_w[0], dtype=torch.bool)
    for t in range(1, length):
        on = every if lasting is None else lasting[..., t]
        if request.ess:
            uniform = torch.rand(request.noise(num_particles), len(x), dtype=log_w.dtype, device=log_w.device)
            ahead = walk.step(state, t, expected) if request.lookahead else None
            twist = None if ahead is None else (ahead.log_p - ahead.log_q).detach()
            twist = posterior.log_twist(z, t - 1).detach() if request.twist else twist
            chosen, log_w = resample(log_w, uniform, request.resampling, request.ess, on, twist)
            state = tuple(a.gather(0, chosen[..., None].expand(a.shape)) for a in state)
            ancestors += [chosen] if request.paths else []
        found = walk.step(state, t, drawn)
        gain = found.log_p - (found.log_q.detach() if request.scored else found.log_q)
        moved = [*found.state, found.z, log_w + gain]
        if lasting is not None:
            pairs = zip(moved, (*state, z, log_w), strict=True)
            moved = [torch.where(on if new.ndim == 2 else on[..., None], new, old) for new, old in pairs]
        *states, z, log_w = moved
        state = tuple(states)
        if request.scored:
            scores.append(torch.where(on, scored(log_w, found.log_q), 0))
        if request.paths:
            path.append(z)
            weights.append(log_w)
    if not recurrent:
        path_like = torch.sin(1 + torch.arange(z.shape[-1] * length, dtype=z.dtype, device=z.device) ** 2)
        with torch.no_grad():
            stepwise = reads_each_step(rows, path_like.reshape(length, -1), x[0, 0], alone)
        log_w = torch.where(stepwise, log_w, torch.nan)
    chosen_of = torch.stack(ancestors) if ancestors else ()
    score = torch.stack(scores).sum(0) if request.scored else ()
    kept = (torch.stack(path), chosen_of, torch.stack(weights)) if request.paths else ((), (), ())
    return Filtered(log_w, kept[0], kept[1], kept[2], score), [
        *latent.values(),
        *observed.values(),
        *guided.values(),
    ]
