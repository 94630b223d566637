"""Run a pair, read the log-densities of its sites."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import kl_divergence

from ..bounds import Terms
from ..objective import Site, Sites, does_not_run, match

PyroSite = Any


def _sites(trace: poutine.Trace, *, observed: bool) -> dict[str, PyroSite]:
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not site_is_subsample(site) and site["is_observed"] == observed
    }


def _run(
    model: Any, guide: Any, args: tuple[Any, ...], kwargs: dict[str, Any], num_particles: int, max_plate_nesting: int
) -> tuple[poutine.Trace, poutine.Trace]:
    if num_particles > 1:
        plate = pyro.plate("num_particles", num_particles, dim=-1 - max_plate_nesting)
        model, guide = plate(model), plate(guide)
    q = poutine.trace(guide).get_trace(*args, **kwargs)
    return poutine.trace(poutine.replay(model, trace=q)).get_trace(*args, **kwargs), q


def _per_datum(site: PyroSite, values: Tensor, num_particles: int) -> Tensor:
    """Apply the site's mask, sum what is neither particle nor datum: (K, B)."""
    if site["mask"] is not None:
        values = scale_and_mask(values, mask=site["mask"])
    if not any(frame.vectorized and frame.dim == -1 for frame in site["cond_indep_stack"]):
        raise ValueError(
            f"Site {site['name']!r} is outside the plate of the data at dim -1, so its density does not belong to any "
            "datum: put it inside, or use a stock objective of pyro.infer, which sums over everything."
        )
    while values.dim() > (1 if num_particles == 1 else 2):
        values = values.sum(-2)
    return values.unsqueeze(0) if num_particles == 1 else values


def _density(site: PyroSite, num_particles: int) -> Tensor:
    return _per_datum(site, site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]), num_particles)


def _common_scale(sites: dict[str, PyroSite]) -> Any:
    """The scale that all sites share, from a subsampled plate or ``poutine.scale``."""
    first, *others = sites.values()
    for other in others:
        if not (
            other["scale"] is first["scale"] or torch.equal(*map(torch.as_tensor, (other["scale"], first["scale"])))
        ):
            raise ValueError(
                f"Sites {first['name']!r} and {other['name']!r} have different scales: the weight of a term belongs to "
                "the objective, e.g. TraceELBO(beta=0.5), and a scale to the whole program."
            )
    return first["scale"]


def log_terms(
    model: Any,
    guide: Any,
    *args: Any,
    num_particles: int = 1,
    analytic_kl: bool = False,
    max_plate_nesting: int = 1,
    **kwargs: Any,
) -> Terms:
    """Draw ``num_particles`` latents per datum from the guide; return their log-densities, (K, B) in nats.

    Particles are one more plate on the left (at dim -2, for ``max_plate_nesting=1``), so that the encoder runs once.
    Densities are unscaled; the scale that the sites share stands in ``terms.scale``.

    Args:
        model: the generative program, p(x, z), with the data in a plate at dim -1.
        guide: the program q(z | x).
        args: what both are called with, first of all x (B, P).
        num_particles: K.
        analytic_kl: where KL(q || p) of a site has a closed form, put ``log_prior = -KL`` and ``log_guide = 0``, so
            that their difference keeps its expectation and loses its noise. Right for guides that sample in the model's
            order.
        max_plate_nesting: how many plates the programs nest.
        kwargs: keywords for both programs.

    Raises:
        ValueError: a site outside the data plate, or sites with different scales.

    >>> import numpy as np, torch
    >>> from ppl_vae import recipes
    >>> model, guide = recipes.vae((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0))
    >>> log_terms(model, guide, torch.zeros(3, 6), num_particles=5).log_guide.shape
    torch.Size([5, 3])
    """
    p, q = _run(model, guide, args, kwargs, num_particles, max_plate_nesting)
    latent, observed, guided = _sites(p, observed=False), _sites(p, observed=True), _sites(q, observed=False)
    if set(latent) != set(guided) or not observed:
        examine(model, guide, *args, **kwargs)
    scale = _common_scale({**{"p " + n: s for n, s in p.nodes.items() if n in latent or n in observed}, **guided})
    log_lik = torch.stack([_density(site, num_particles) for site in observed.values()]).sum(0)
    log_prior = log_guide = log_lik.new_zeros(())
    for name, site in guided.items():
        kl = _kl(site["fn"], latent[name]["fn"]) if analytic_kl else None
        if kl is None:
            log_prior = log_prior + _density(latent[name], num_particles)
            log_guide = log_guide + _density(site, num_particles)
        else:
            log_prior = log_prior - _per_datum(latent[name], kl, num_particles)
    log_lik, log_prior, log_guide = torch.broadcast_tensors(log_lik, log_prior, log_guide)
    return Terms(log_lik, log_prior, log_guide, scale)


def _kl(q: Any, p: Any) -> Tensor | None:
    try:
        return kl_divergence(q, p)
    except NotImplementedError:
        return None


def _describe(site: PyroSite) -> Site:
    fn = site["fn"]
    base = fn
    while hasattr(base, "base_dist"):
        base = base.base_dist
    binary = getattr(base, "support", None) is torch.distributions.constraints.boolean
    name = type(base).__name__.removesuffix("_")
    return Site(site["name"], name, tuple(fn.event_shape), bool(fn.has_rsample), binary)


def examine(model: Any, guide: Any, *args: Any, **kwargs: Any) -> Sites:
    """Run the pair once and say what its sites are.

    Raises:
        ValueError: the pair does not run on this batch, the model and the guide do not speak of the same latent sites,
            or a site's log-density has a shape that is not the batch's.
    """
    try:
        with torch.no_grad():
            p, q = _run(model, guide, args, kwargs, 1, 1)
    except (ValueError, TypeError, RuntimeError, AssertionError) as error:
        raise does_not_run(args, error) from error
    for site in [
        *_sites(p, observed=False).values(),
        *_sites(p, observed=True).values(),
        *_sites(q, observed=False).values(),
    ]:
        plates = [frame for frame in site["cond_indep_stack"] if frame.vectorized]
        shape = tuple(site["fn"].batch_shape)
        expected = {frame.dim: frame.size for frame in plates}
        if plates and any(shape[i] not in (1, expected.get(i - len(shape))) for i in range(len(shape))):
            raise ValueError(
                f"Site {site['name']!r} has batch shape {shape}, which its plates {[f.name for f in plates]} do not "
                "explain: is .to_event(1) missing?"
            )
    guided, latent, observed = (
        {name: _describe(site) for name, site in sites.items()}
        for sites in (_sites(q, observed=False), _sites(p, observed=False), _sites(p, observed=True))
    )
    return match(guided, latent, observed)
