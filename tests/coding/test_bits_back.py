"""Codes of data: what comes off is what went on, and the length is what the bound says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from pairs import P, pair, toy, untrained

from ppl_vae import backends, coding, errors, recipes
from ppl_vae.coding.ans import Coder
from ppl_vae.coding.intervals import PRECISION, Normals, Table, Uniform, centres
from ppl_vae.results import Fit

UNIT = 2.0**PRECISION


def levels(name: str, count: int) -> np.ndarray:
    """Data that the likelihood of that pair has probabilities for."""
    top = {"logistic": 4, "levels": 2}.get(name, 1)
    return np.random.default_rng(3).integers(0, top + 1, (count, P)).astype(np.float32) / np.float32(top)


def fit_of(name: str, backend: str, x: np.ndarray) -> Fit:
    own = backends.load(backend)
    return untrained(*pair(name, own), own, x)


@pytest.mark.parametrize("lanes", [1, 5])
def test_what_comes_off_is_what_went_on(lanes: int) -> None:
    """The stack grows by -log2 of the masses, and is as it was once everything has come off."""
    rng = np.random.default_rng(lanes)
    coder, entries = Coder(lanes, seed=1), 4000 // lanes
    before, logits = coder.words(), rng.normal(size=(3, lanes, entries))
    table, bins = Table(logits), Normals(rng.normal(size=(lanes, entries)), np.full((lanes, entries), 0.2), 6)
    even = Uniform((lanes, entries), 6)
    masses = np.exp(logits) / np.exp(logits).sum(0)
    letters = (np.cumsum(masses, 0) < rng.random((lanes, entries))).sum(0)
    numbers = rng.integers(0, 64, (lanes, entries))
    size = coder.size
    coder.put(letters, table)
    coder.put(numbers, even)
    ideal = 6 * numbers.size - np.log2(np.take_along_axis(masses, letters[None], 0)).sum()
    assert coder.size - size == pytest.approx(ideal, rel=1e-3)
    drawn = Coder.read(coder.words(), lanes)
    found = drawn.take(bins)  # as Alice draws z
    drawn.put(found, bins)
    np.testing.assert_array_equal(drawn.take(even), numbers)
    np.testing.assert_array_equal(drawn.take(table), letters)
    np.testing.assert_array_equal(drawn.words(), before)


def test_random_bits_are_drawn_where_there_are_none_and_stay() -> None:
    coder = Coder(2, seed=3)
    heads, even = coder.heads.copy(), Uniform((2, 40), 8)
    letters = coder.take(even)
    assert coder.drawn >= 2 * 40 * 8 // 32 - 2 * 2
    coder.put(letters, even)
    np.testing.assert_array_equal(coder.heads, heads)
    assert len(coder.tail) == coder.drawn


def test_bins_have_equal_mass_under_the_prior_and_the_normals_under_q() -> None:
    bits, loc, scale = 5, np.array([[0.3, -4.0, 0.0]]), np.array([[0.5, 0.01, 1.0]])
    bins, numbers = Normals(loc, scale, bits), np.arange(2**bits)[:, None] * np.ones((1, 3), np.int64)
    masses = np.stack([bins.of(row[None])[1][0] for row in numbers]) / UNIT
    edges = scipy.stats.norm.ppf(np.arange(2**bits + 1) / 2**bits)[:, None]
    np.testing.assert_allclose(masses, np.diff(scipy.stats.norm.cdf(edges, loc, scale), axis=0), atol=1e-6)
    assert masses.sum(0) == pytest.approx(1) and (masses > 0).all()
    np.testing.assert_allclose(masses[:, 2], 1 / 2**bits, atol=1e-6)
    inside = scipy.stats.norm.cdf(centres(numbers, bits)) * 2**bits
    np.testing.assert_array_equal(np.floor(inside), numbers)
    for entry in range(3):
        starts = np.array([bins.of(row[None])[0][0, entry] for row in numbers])
        found, start, mass = Normals(loc.repeat(64, 0), scale.repeat(64, 0), bits).find(starts.repeat(2), entry)
        np.testing.assert_array_equal(found, np.arange(2**bits).repeat(2))
        np.testing.assert_array_equal(start, starts.repeat(2))
        assert mass / UNIT == pytest.approx(masses[:, entry].repeat(2))


@pytest.mark.release("numpyro", keep=["categorical", "levels"])
@pytest.mark.parametrize("backend", backends.NAMES)
@pytest.mark.parametrize("name", ["standard", "bernoulli", "categorical", "logistic", "levels"])
def test_bob_reads_what_alice_has_coded(name: str, backend: str) -> None:
    """To the bit, in batches of which the last is not full, and in as many bits as -ELBO says, but for sampling z."""
    x = np.concatenate([levels(name, 190), levels(name, 3)])
    fit = fit_of(name, backend, x)
    message = coding.bits_back(fit, x, batch_size=20, seed=2)
    decoded = coding.decode(fit, coding.Message.from_bytes(message.to_bytes()))
    assert decoded.dtype == x.dtype
    np.testing.assert_array_equal(decoded, x)
    log_w = fit.terms(x, 100).log_weights.astype(float) / np.log(2)
    noise = np.sqrt(log_w.var(0).mean() / len(x))
    assert message.growth.sum() / len(x) == pytest.approx(-log_w.mean(), abs=4 * noise, rel=0.005)
    assert message.bits == 32 * len(message.words) and message.net_bits == message.bits - message.initial_bits
    assert message.net_bits == pytest.approx(message.growth.sum(), abs=32 * 20)


@pytest.mark.parametrize("backend", backends.NAMES)
def test_the_length_is_the_bound_where_the_model_is_wrong(backend: str) -> None:
    """The bits that a poor model leaves on the stack are not random, and choose z by q all the same."""
    x, own = toy(600), backends.load(backend)
    recipe = recipes.vae(x, latent_dim=3, hidden=(8,), backend=backend)
    fit = untrained(*recipe(np.random.default_rng(0)), own, x)
    growth = coding.bits_back(fit, x, batch_size=100).growth.sum() / len(x)
    log_w = fit.terms(x, 50).log_weights.astype(float) / np.log(2)
    assert growth == pytest.approx(-log_w.mean(), abs=4 * np.sqrt(log_w.var(0).mean() / len(x)))


@pytest.mark.parametrize("backend", backends.NAMES)
def test_a_zero_with_a_sign_is_read_as_zero(backend: str) -> None:
    """As ``np.rint`` makes of small negative numbers: it equals 0, and its bits are others."""
    x = -toy(7) * np.float32(0)
    fit = fit_of("bernoulli", backend, x)
    np.testing.assert_array_equal(coding.decode(fit, coding.bits_back(fit, x)), x)


@pytest.mark.parametrize("backend", backends.NAMES)
def test_what_bob_cannot_read_is_refused(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = toy(12)
    fit, other = (untrained(*pair("bernoulli", own := backends.load(backend), seed), own) for seed in (0, 1))
    message = coding.bits_back(fit, x, batch_size=4)
    with pytest.raises(ValueError, match="coded with other weights"):
        coding.decode(other, message)
    content = message.to_bytes()
    header = len(content) - 4 * len(message.words)
    flipped = [content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :] for i in range(header)]
    for damaged in (content[:-1], content[:-9] + b"123456789", b"", b"{}\n", content[:100], *flipped):
        with pytest.raises(errors.UnreadableFile, match="complete and unchanged"):
            coding.Message.from_bytes(damaged)
    module, honest = backends.load(backend).inference, backends.load(backend).inference.marginals

    def elsewhere(*args: Any) -> Any:
        found = honest(*args)
        tables = found.likelihood["log_masses"] + np.float32([[[0.0]], [[1e-3]]])
        return found._replace(likelihood={"log_masses": tables})

    monkeypatch.setattr(module, "marginals", elsewhere)
    with pytest.raises(ValueError, match="the nets give other numbers here"):
        coding.decode(fit, message)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="the nets give other numbers here"):
        coding.decode(fit, replace(message, checksum=message.checksum ^ 1))


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"scale": np.inf}, {"loc": np.inf}])
@pytest.mark.parametrize("backend", backends.NAMES)
def test_a_posterior_without_intervals_is_refused(
    backend: str, wrong: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = backends.load(backend)
    fit, honest = untrained(*pair("standard", own), own), own.inference.marginals

    def broken(*args: Any) -> Any:
        found = honest(*args)
        posterior = {name: np.full_like(value, wrong.get(name, 1.0)) for name, value in found.posterior.items()}
        return found._replace(posterior=posterior)

    monkeypatch.setattr(own.inference, "marginals", broken)
    with pytest.raises(FloatingPointError, match="of which there is no code: train the pair again"):
        coding.bits_back(fit, toy(3))
