"""Decoding: E[x | z] for codes that are given."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import PCA, fit_of, two_layers
from pairs import P, pair, toy, untrained

from ppl_vae import backends
from ppl_vae.pairs.chunks import CHUNK


@pytest.mark.parametrize("name", ["vampprior", "bernoulli", "categorical", "two layers"])
def test_decoding_the_draws_of_a_reconstruction_gives_the_reconstruction(backend: backends.Backend, name: str) -> None:
    model, guide = two_layers(backend) if name == "two layers" else pair(name, backend)
    fit, x = untrained(model, guide, backend), toy(9)
    draws, _ = fit.pair.sample(x, 1, 3)
    z = np.concatenate([values[0].reshape(len(x), -1) for values in draws.values()], 1)
    np.testing.assert_allclose(fit.decode(z), fit.pair.predict(x, 1, 3)[0][0], atol=1e-6)
    assert np.ptp(fit.decode(z), axis=0).max() > 1e-3, "it depends on z"


def test_decoding_is_linear_on_pca(backend: backends.Backend) -> None:
    """E[x | z] = W z + m, for more codes than one call takes."""
    pca = PCA()
    z = np.random.default_rng(0).normal(size=(CHUNK + 100, 2))
    np.testing.assert_allclose(fit_of(pca, backend).decode(z), z @ pca.weights.T + pca.mean, atol=1e-5)


def test_codes_that_do_not_fit(backend: backends.Backend) -> None:
    fit = untrained(*pair("vampprior", backend), backend)
    with pytest.raises(ValueError, match=rf"'z' should have shape \(N, 3\); got \(4, {P}\)"):
        fit.decode(toy(4))
    with pytest.raises(ValueError, match="'z' holds NaN or infinite values"):
        fit.decode(np.full((2, 3), np.nan))


def test_codes_of_categories_are_their_modes(backend: backends.Backend) -> None:
    """What ``encode`` returns decodes, and is the most probable category of each latent."""
    fit = untrained(*pair("categorical", backend), backend)
    z = fit.encode(toy(9))
    assert np.isfinite(fit.decode(z)).all()
    draws = fit.draws(toy(9), 4000)["z"]
    counts = np.stack([(draws == c).sum(0) for c in range(4)])
    likely = np.take_along_axis(counts, z.astype(int)[None], 0)[0]
    assert (likely > counts.max(0) - 300).all()
