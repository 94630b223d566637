"""Normals fitted to a guide's draws: a guide with a density, in the place of one that has none."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from ... import backends
from ...errors import UnsuitableObjective
from ...pairs.chunks import concatenate, in_chunks
from ...pairs.densities import check_spread
from ...pairs.inputs import Input
from ...pairs.side_inputs import Side, take_rows
from ...results.fit import Fit
from ...seeds import derive

JITTER = 1e-6
"""Added to each variance, for draws that lie in fewer dimensions than they have."""


def normal_proposal(fit: Fit, x: Input, num_draws: int = 1000, *, seed: int = 0, **side: Unpack[Side]) -> Fit:
    """The same model with q(z | x) = N(mean, covariance) of the guide's draws, a row for each of x (N, P).

    Its density is known, so that ``log_likelihood``, ``elbo`` and ``diagnose`` of these data serve it. Importance
    sampling by it is a lower bound of log p(x) in expectation, whatever the guide is. Where the draws are narrower than
    the posterior it is too low by more than ``mc_error`` says: compare with ``ais`` on some of the data.

    Args:
        fit: what an inference returned; its guide has one site, a vector (D,).
        x: data (N, P).
        num_draws: of each datum, more than D.
        seed: of the draws.
        side: side inputs of x.

    Raises:
        UnsuitableObjective: latents of another kind.
        ValueError: too few draws.

    >>> from ppl_vae import inference, recipes
    >>> pair = inference.Pair(*recipes.vae((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0)))
    >>> better = normal_proposal(Fit.untrained(pair, np.eye(6)), np.eye(6), 50)
    >>> better.encode(np.eye(6)).shape, better.sites.latent[0].density
    ((6, 2), 'anywhere')
    """
    sites = fit.sites
    sites.check_plain("normal_proposal", "evaluation.log_likelihood(fit, x)")
    check_spread(sites, "normal_proposal")
    if not sites.code_dim or sites.latent[0].support in ("discrete", "bounded"):
        told = ", ".join(f"{site.name!r} {site.event_shape} ({site.distribution})" for site in sites.latent)
        raise UnsuitableObjective(
            f"normal_proposal is for one latent site, a vector of real numbers; the pair has {told}: use "
            "evaluation.ais(fit, x)."
        )
    if num_draws <= sites.code_dim:
        raise ValueError(
            f"'num_draws' should be above the {sites.code_dim} entries of z, for a covariance; got {num_draws}."
        )
    data, (name,) = fit.checked(x, likely=False, **side), (site.name for site in sites.latent)
    options: dict[str, Any] = {"rows_each": num_draws, "seed": seed, "purpose": "normal_proposal"}
    doing = f"while drawing codes of {len(data)} data points"
    with in_chunks(fit.pair, data.x, data.arrays, doing=doing, **options) as chunks:
        rows = concatenate(
            chunk.keep(_rows(fit.pair.sample(chunk.x, num_draws, chunk.seed, side=chunk.side)[0][name]))
            for chunk in chunks
        )
    backend = backends.load(fit.backend)
    posterior = backend.conditionals.FullNormal(backend.nets.Rows(rows), sites.code_dim, floor=0.0)
    pair = backend.inference.Pair(fit.model, backend.guides.PerDatapoint(posterior), fit.pair.device_name)
    first = take_rows({"x": data.x, **data.arrays}, slice(2))
    pair.prepare(first.pop("x"), derive(seed, "prepare"), first)
    record = dict(fit.settings.get("data", {}))
    record |= {"trained_on": record.get("trained_on", record.get("train")), "train": data.digest}
    return Fit(pair, {}, {**fit.settings, "data": {**record, "side": data.side_digest}})


def _rows(z: np.ndarray) -> np.ndarray:
    """Means, and Cholesky factors with the inverse softplus of their diagonals, of draws (K, B, D): (B, W)."""
    z = z.astype(np.float64)
    loc, dim = z.mean(0), z.shape[-1]
    covariance = np.einsum("kbi,kbj->bij", z - loc, z - loc) / (len(z) - 1) + JITTER * np.eye(dim)
    tril = np.linalg.cholesky(covariance)
    diagonal = np.einsum("bii->bi", tril).copy()
    tril[:, np.arange(dim), np.arange(dim)] = diagonal + np.log(-np.expm1(-diagonal))
    return np.concatenate([loc, tril[(slice(None), *np.tril_indices(dim))]], -1)
