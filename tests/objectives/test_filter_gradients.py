"""Laws of the gradients that particle filters give to a guide, at the filter that is exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from state_spaces import exact

from ppl_vae import backends

X = np.array([[0.5, -1.0, 2.0, 0.3]], np.float32)


def of_guide(b: backends.Backend, objective: Any, sd: float = 1.0, batches: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of the gradient of weights, bias, deviation and start of the guide, of many filters."""
    copies = np.repeat(X, 400, 0)
    pair = exact(b, copies, sd).pair
    rows = np.tile(np.arange(len(copies)), (batches, 1))
    parts: list[np.ndarray] = []
    for found, _ in b.inference.draw_gradients(pair, objective, copies, rows, range(batches)):
        guided = [
            a.reshape(len(a), -1) for name, a in sorted(found.items()) if b.inference.owners(pair)[name] == "guide"
        ]
        parts.append(np.concatenate(guided, 1))
    each = np.concatenate(parts)
    return each.mean(0), each.std(0, ddof=1) / np.sqrt(batches)


def test_at_the_exact_filter_its_particles_teach_it_nothing_and_fivo_teaches_it_otherwise(
    backend: backends.Backend,
) -> None:
    """The mean gradient is 0 for any K, and not of a filter that is too wide; FIVO's is 0 at another guide."""
    mean, error = of_guide(backend, backend.inference.NASMC(3, ess=1.0))
    assert mean.shape == (5,) and (error > 0).all() and (np.abs(mean) < 4 * error).all()
    mean, error = of_guide(backend, backend.inference.NASMC(3, ess=1.0), sd=1.3)
    assert (np.abs(mean) > 10 * error).any()
    mean, error = of_guide(backend, backend.inference.FIVO(3, ess=1.0))
    assert (np.abs(mean) > 10 * error).any()


def test_the_model_s_gradient_is_that_of_the_draws() -> None:
    """Of one particle that of log p(x, z) at a draw, as under wake-wake."""
    backend = backends.load("pyro")
    copies = np.repeat(X, 50, 0)
    pair = exact(backend, copies).pair
    rows, found = np.arange(50)[None], []
    for objective in (backend.inference.NASMC(1), backend.inference.WakeWake(1)):
        total: list[dict[str, np.ndarray]] = []
        for gradients, _ in backend.inference.draw_gradients(
            pair, objective, copies, np.repeat(rows, 40, 0), range(40)
        ):
            total.append(gradients)
        names = [name for name, owner in backend.inference.owners(pair).items() if owner == "model"]
        found.append(np.concatenate([np.concatenate([t[n] for t in total]).reshape(40, -1) for n in names], 1))
    error = np.sqrt(sum(a.var(0, ddof=1) for a in found) / 40)
    assert (np.abs(found[0].mean(0) - found[1].mean(0)) < 4 * error).all() and (np.abs(found[0].mean(0)) > error).any()
