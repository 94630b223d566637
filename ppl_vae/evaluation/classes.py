"""Classes of data by a pair whose label is a latent."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from ..errors import UnsuitableObjective
from ..kinds import check_counts
from ..objectives.request import TermsRequest
from ..pairs.chunks import concatenate, in_chunks
from ..pairs.inputs import Input
from ..pairs.side_inputs import Side, take_rows
from ..results.fit import Fit


def class_probabilities(
    fit: Fit, x: Input, num_particles: int = 1, *, site: str = "y", seed: int = 0, **side: Unpack[Side]
) -> np.ndarray:
    """q(y | x) of each label, (N, C), for data x (N, P); labels that are known, in ``given``, are not read.

    Args:
        fit: of a semi-supervised pair, such as ``models.SemiSupervisedVAE`` with its guide.
        x: data (N, P).
        num_particles: draws of the auxiliary variable a to take the mean of q(y | a, x) over; without one q(y | x) is
            exact, and 1 is enough.
        site: the label's sample site, categories of event shape (1,).
        seed: of the draws.
        side: ``mask``.

    Raises:
        ValueError: data that do not fit, or no draw.
        UnsuitableObjective: a pair without a label that ``given`` tells.
    """
    data = fit.checked(x, likely=False, **side)
    labels = [s for s in fit.sites.latent if s.name == site and s.is_categorical and s.event_shape == (1,)]
    if not labels or fit.pair.given_dim != 1 or not hasattr(fit.model, "unknown_given"):
        raise UnsuitableObjective(
            f"class_probabilities: the pair should have a label, a latent site {site!r} of categories of event shape "
            "(1,), which the side input 'given' tells where it is known: train one as recipes.semi_supervised makes it,"
            " with given= of shape (N, 1)."
        )
    check_counts("class_probabilities", num_particles=num_particles)
    count, request = labels[0].num_values or 0, TermsRequest(labels=site)
    options: dict[str, Any] = {"seed": seed, "purpose": "classes", "rows_each": num_particles}
    options |= {"doing": f"on {len(data)} data points"}
    with in_chunks(fit.pair, data.x, data.arrays, **options) as chunks:
        return concatenate(chunk.keep(_of_chunk(fit, chunk, count, num_particles, request)) for chunk in chunks)


def _of_chunk(fit: Fit, chunk: Any, count: int, num_particles: int, request: TermsRequest) -> np.ndarray:
    """The same for the rows of a chunk: the same draws for every label, so that probabilities add up to 1."""
    x, side = np.repeat(chunk.x, num_particles, 0), take_rows(chunk.side, np.arange(len(chunk)).repeat(num_particles))
    labels = [{**side, "given": np.full((len(x), 1), c, np.float32)} for c in range(count)]
    log_q = [np.asarray(fit.pair.terms(x, request, chunk.seed, given).log_label) for given in labels]
    return np.exp(np.stack(log_q, 1)).reshape(len(chunk), num_particles, count).mean(1)
