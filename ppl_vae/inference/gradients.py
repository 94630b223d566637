"""Gradients of an objective at a pair's present parameters, one for each seed, and the owner of each parameter."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor, nn

from ..baselines import SETTLING
from ..errors import UnsuitableObjective
from ..pairs.side_inputs import NOTHING, Arrays, placeholder
from ..players import sizes_of
from ..seeds import derive, generator
from .pair import Pair, forked
from .svi.players import RunningPlayer, detached, view_of
from .traces import run


def owners(pair: Pair) -> dict[str, str]:
    """Find the owner of each parameter, by name: ``model``, ``guide``, or ``shared`` where both hold the same tensor.

    A module owns the parameters inside it; a plain function those that it touches when it runs (``pyro.param``,
    ``pyro.module``). The encoder of a VampPrior is shared.

    >>> from ppl_vae import recipes
    >>> recipe = recipes.vae(np.eye(6), prior="vampprior", latent_dim=2, hidden=(4,), num_pseudo_inputs=3)
    >>> pair = Pair(*recipe(np.random.default_rng(0)))
    >>> sites = pair.prepare(np.eye(6), 0)
    >>> {name.split(".")[1]: owner for name, owner in owners(pair).items() if "posterior" not in name}
    {'prior': 'model', 'likelihood': 'model'}
    >>> {owner for name, owner in owners(pair).items() if "posterior" in name}
    {'shared'}
    """
    touched = _touched(pair)
    lent = {id(tensor) for tensor, _ in pair.lent.values()}
    held: list[set[int]] = []
    for program, ids in zip(pair.programs, touched, strict=True):
        # Pyro names a module's parameters by attribute: two modules may have the same names, and then share no tensor.
        module = isinstance(program, nn.Module)
        held.append({id(p) for p in program.parameters()} | (ids & lent) if module else ids)
    of_model, of_guide = held
    return {
        name: "shared" if id(p) in of_model & of_guide else "model" if id(p) in of_model else "guide"
        for name, p in pair.named_parameters().items()
    }


def _touched(pair: Pair) -> tuple[set[int], set[int]]:
    """The tensors behind the ``pyro.param`` statements of the model and of the guide, by identity."""
    if not pair.lent and all(isinstance(program, nn.Module) for program in pair.programs):
        return set(), set()
    side = {**placeholder(1, 1, pair.given_dim), **pair.example}
    x = pair.tensor(side.pop("x"))
    with torch.no_grad(), forked(0, pair.device), pair.active() as (model, guide):
        traces = run(model, guide, (x,), pair.tensors(side), 1)
        store = dict(pyro.get_param_store().named_parameters())
    p, q = ({id(store[n]) for n, site in t.nodes.items() if site["type"] == "param" and n in store} for t in traces)
    return p, q


def draw_gradients(
    pair: Pair,
    objective: Any,
    x: np.ndarray,
    index: np.ndarray,
    seeds: Sequence[int],
    side: Arrays = NOTHING,
) -> Iterator[tuple[dict[str, np.ndarray], float | None]]:
    """Yield for each seed the gradient of the mean bound, d/d parameters (1/B) sum_b bound_b: the direction of ascent.

    The parameters are the unconstrained ones that are trained, and stay as they are, like their ``grad`` and the
    caller's generators. Nets are in evaluation mode. A baseline that follows a training first follows ``SETTLING``
    batches at these parameters, and then stays.

    Args:
        pair: a pair that has run on a batch (``fit.pair``).
        objective: of ours, or a stock one of ``pyro.infer``.
        x: data (N, P).
        index: the rows of each gradient's batch, (R, B).
        seeds: of the draws, (R,).
        side: side inputs of x; the positions that a per-datapoint guide needs are 0, 1, 2, ... by default.

    Yields:
        (gradients by name, (C, ...) each, for C consecutive seeds; seconds per gradient, None for the first).

    Raises:
        UnsuitableObjective: a stock objective that does not reach the pair's parameters.

    >>> from ppl_vae import recipes
    >>> from ppl_vae.inference import TraceELBO
    >>> pair = Pair(*recipes.vae((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0)))
    >>> sites = pair.prepare(np.eye(6), 0)
    >>> drawn = draw_gradients(pair, TraceELBO(), np.eye(6), np.array([[0, 1], [4, 5], [2, 0]]), [0, 1, 2])
    >>> sum(len(gradients["model.likelihood.net.layers.0.weight"]) for gradients, _ in drawn)
    3
    """
    objective, data, parameters = copy.deepcopy(objective), pair.tensor(x), pair.named_parameters()
    beside = pair.tensors({"index": np.arange(len(x)), **side})
    batches = torch.tensor(index, device=pair.device)
    players = _settled(pair, objective, (data, beside), batches, seeds)
    for number, (rows, seed) in enumerate(zip(batches, seeds, strict=True)):
        part, batch = data[rows], {name: a[rows] for name, a in beside.items()}
        with forked(seed, pair.device), pair.active() as programs, pyro.validation_enabled(number == 0):
            began = _now(pair.device)
            grads = _grads(objective, programs, list(parameters.values()), part, batch, players)
            seconds = _now(pair.device) - began
        uphill = {
            name: (torch.zeros_like(p) if grad is None else -_dense(grad) / len(rows)).detach().cpu().numpy()[None]
            for (name, p), grad in zip(parameters.items(), grads, strict=True)
        }
        yield uphill, seconds if number else None


def _settled(
    pair: Pair, objective: Any, data: tuple[Tensor, dict[str, Tensor]], index: Tensor, seeds: Sequence[int]
) -> list[RunningPlayer]:
    """Train the objective's players on ``SETTLING`` batches at the present parameters, and return them."""
    sizes, rngs = sizes_of(pair.dim, pair.sites, len(data[0])), partial(generator, seeds[0])
    players = [RunningPlayer(p, sizes, rngs(p.name), pair.device) for p in getattr(objective, "players", ())]
    if not players:
        return []
    with forked(derive(seeds[0], "settle"), pair.device), pair.active() as (model, guide):
        for step in range(SETTLING):
            rows = index[step % len(index)]
            x, side = data[0][rows], {name: a[rows] for name, a in data[1].items()}
            terms = objective.log_terms(model, guide, x, **side)
            view = view_of(x, terms, side["index"], noisy=any(running.player.noisy for running in players))
            view = detached(view, None if terms.latents is None else terms.latents.prior)
            for player in players:
                player.step(view)
    return players


def _dense(grad: Tensor) -> Tensor:
    return grad.to_dense() if grad.is_sparse else grad


def _now(device: torch.device) -> float:
    """Read a clock, in seconds, once the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _grads(
    objective: Any,
    programs: tuple[Any, Any],
    parameters: list[Tensor],
    x: Tensor,
    side: dict[str, Tensor],
    players: Sequence[RunningPlayer],
) -> Sequence[Tensor | None]:
    """The gradient of the summed loss with respect to each parameter."""
    if players:
        terms = objective.log_terms(*programs, x, **side)
        view = view_of(x, terms, side["index"], noisy=any(running.player.noisy for running in players))
        loss = -(terms.scale * objective.bound(terms, *(player.output(view) for player in players))).sum()
        return torch.autograd.grad(loss, parameters, allow_unused=True)
    if hasattr(objective, "differentiable_loss"):
        loss = objective.differentiable_loss(*programs, x, **side)
        return torch.autograd.grad(loss, parameters, allow_unused=True)
    theirs = [p.grad for p in parameters]
    try:
        for p in parameters:
            p.grad = None
        objective.loss_and_grads(*programs, x, **side)
        grads = [p.grad for p in parameters]
    finally:
        for p, grad in zip(parameters, theirs, strict=True):
            p.grad = grad
    if all(grad is None for grad in grads):
        raise UnsuitableObjective(
            f"{type(objective).__name__} left every gradient empty: its loss_and_grads sees only parameters that Pyro "
            "knows. Make the model and the guide PyroModules, or use an objective of ppl_vae."
        )
    return grads
