"""Laws of certificates: the verdicts on planted estimates, and the numbers against exact answers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles import COUNTS, PCA, WRONG, bernoulli, counts_fit, fit_of
from pairs import P, untrained

from ppl_vae import backends, data, evaluation
from ppl_vae.errors import UnsuitableObjective
from ppl_vae.evaluation import ELBO, Annealing, Certificate, Evaluation, LogLikelihood
from ppl_vae.evaluation.certificates import ANNEALED, IMPORTANCE, SUMMED
from ppl_vae.evaluation.studies.page import ranked
from ppl_vae.evaluation.studies.study import Result, tabulate

PRIOR, GUIDE = ANNEALED["prior"], ANNEALED["guide"]
N, S = 200, 100


def estimate(mean: float, noise: float = 0.05, size: int = N, seed: int = 0) -> LogLikelihood:
    """Data that differ by nats, and an estimate of each with noise of its own."""
    truth = np.random.default_rng(size).normal(mean, 5.0, size)
    values = truth + np.random.default_rng(seed).normal(0, noise, size)
    return LogLikelihood(values, np.full(size, noise), np.full(size, 50.0), 100)


def planted(here: dict[str, float], simulated: dict[str, float], unreliable: float = 0.0, **more: Any) -> Certificate:
    """A certificate whose estimates miss log p(x), here and of simulated data, by so many nats; the upper bound not."""
    k_hat = np.where(np.arange(N) < unreliable * N, 0.9, 0.3)
    names = (IMPORTANCE, PRIOR, GUIDE)
    found = {n: estimate(-90 - here[n], seed=1 + names.index(n)) for n in names}
    told = {n: estimate(-90 - simulated[n], size=S, seed=5 + names.index(n)) for n in simulated}
    return Certificate(found, told, estimate(-90, size=S, seed=9), k_hat, **more)


def misses(importance: float, prior: float, guide: float) -> dict[str, float]:
    return {IMPORTANCE: importance, PRIOR: prior, GUIDE: guide}


NEAR = misses(0.05, 0.02, 0.0)


@pytest.mark.parametrize(
    ("certificate", "settled", "words"),
    [
        (planted(NEAR, NEAR), True, "lower bounds agree to 0.0"),
        (planted(NEAR, NEAR, 1.0), True, "lower bounds agree to 0.0"),  # annealing settles it
        (planted(misses(0.9, 0, 0), misses(0.7, 0, 0), 0.95), True, "importance sampling is low by about 0.9"),
        (planted(misses(0, 1.4, 0), misses(0, 1.3, 0)), True, "annealing from the prior is low by about 1.4"),
        # annealing is off on simulated data
        (planted(misses(0.1, 0, 0), misses(0.5, 0.5, 0.5)), False, "on simulated data annealing from the"),
        # the estimates are further apart here than there
        (planted(misses(0, 3, 0), misses(0, 0, 0)), False, "annealing from the prior is lower by 3.0"),
        (planted(misses(0, 2, 2), misses(0, 0, 0), 0.5), False, "k-hat > 0.7 for 50% of the data"),
        # no heavy tail says why importance sampling is low
        (planted(misses(2, 0, 0), misses(0, 0, 0)), False, "importance sampling is lower by 2.0"),
        (planted(misses(0, 0, 0), {PRIOR: 0.0}), True, "lower bounds agree to 0.0"),  # a per-datapoint guide
        (planted(misses(0, 2, 0), {PRIOR: 0.0}, 0.5), False, "nothing is known of"),
        (planted(misses(0.3, 0, 0), misses(0.3, 0, 0), tolerance=0.5), True, "agree to 0.3"),
    ],
)
def test_verdicts(certificate: Certificate, settled: bool, words: str) -> None:
    assert certificate.settled is settled
    assert words in certificate.verdict
    assert certificate.verdict.startswith("unsettled: ") is not settled
    assert certificate.row()["settled"] == float(settled)


def test_the_gap_must_be_known_as_well_as_it_is_small() -> None:
    """A gap of nothing, give or take more than the tolerance, settles nothing."""
    certificate = planted(NEAR, NEAR)
    assert certificate.upper is not None
    values = certificate.upper.values + 3 * (-1.0) ** np.arange(S)  # as often above as below
    noisy = LogLikelihood(values, np.zeros(S), np.ones(S), 100)
    wide = Certificate(certificate.estimates, {n: noisy for n in certificate.simulated}, certificate.upper)
    gap = wide.gap(PRIOR)
    assert gap is not None and abs(gap.mean) < 1e-9 and gap.error == pytest.approx(0.3, rel=0.01)
    assert certificate.settled and not wide.settled


def test_agreement_must_be_known_as_well_as_it_is_close() -> None:
    """Estimates that differ by more than the tolerance, give or take as much, do not agree to within it."""
    certificate = planted(NEAR, NEAR)
    for shift in (-0.35, 0.35):
        moved = certificate.estimates[PRIOR].values + shift + 0.2 * math.sqrt(N) * (-1.0) ** np.arange(N)
        noisy = replace(certificate.estimates[PRIOR], values=moved)
        found = replace(certificate, estimates={**certificate.estimates, PRIOR: noisy})
        assert not found.settled and "too uncertain to tell" in found.verdict


def test_a_verdict_does_not_hang_on_nats_that_are_common_to_all() -> None:
    for certificate in (planted(NEAR, NEAR), planted(misses(2, 0, 0), misses(0, 0, 0))):
        moved = {n: LogLikelihood(e.values + 50, e.mc_error, e.ess, 100) for n, e in certificate.estimates.items()}
        again = Certificate(moved, certificate.simulated, certificate.upper, certificate.k_hat)
        assert again.verdict == certificate.verdict and again.best == certificate.best


@pytest.mark.release("numpyro")
def test_every_estimate_is_log_p_within_its_error_and_the_table_says_so(backend: backends.Backend) -> None:
    pca = PCA()
    found = evaluation.certify(fit_of(pca, backend, **WRONG), pca.x, 400, Annealing(60, 16, 5), size=60)
    assert set(found.estimates) == set(found.simulated) == {IMPORTANCE, PRIOR, GUIDE}
    for each in found.estimates.values():
        assert (np.abs(each.values - pca.log_p()) < 5 * each.mc_error + 0.02).all()
    assert found.upper is not None and len(found.upper.values) == 60 and found.k_hat.shape == (7,)
    for name in found.simulated:
        gap = found.gap(name)
        assert gap is not None and abs(gap.mean) < 4 * gap.error + 0.05
    assert found.settled and found.verdict.startswith("lower bounds agree to")

    table, row = found.table(), found.row()
    assert row["certified_log_p"] == max(e.mean for e in found.estimates.values()) == table.log_p.max()
    assert table.behind.min() == 0 and table.behind.idxmin() == found.best
    values = found.upper.values - found.simulated[PRIOR].values  # type: ignore[union-attr]
    assert table.gap[PRIOR] == pytest.approx(values.mean())
    assert table.gap_error[PRIOR] == pytest.approx(values.std(ddof=1) / math.sqrt(60))
    assert table.behind[PRIOR] == pytest.approx((found.log_p.values - found.estimates[PRIOR].values).mean())
    again = Certificate.from_dict(json.loads(json.dumps(evaluation.evaluations.plain(found.to_dict()))))
    assert again.verdict == found.verdict and again.row() == row


@pytest.mark.release("numpyro")
def test_a_rough_ladder_is_seen_to_be_rough(backend: backends.Backend) -> None:
    """And a guide that misses the posterior, of whose draws one in many counts."""
    fit = fit_of(PCA(), backend, shift=2.5, widen=0.6)
    found = evaluation.certify(fit, PCA().x, 25, Annealing(2, 1, 1), size=60)
    assert not found.settled and "below the upper bound" in found.verdict


def test_few_joint_values_are_summed(backend: backends.Backend) -> None:
    model, guide = bernoulli(backend)
    x = (np.random.default_rng(0).random((3, P)) < 0.5).astype(np.float32)
    fit = untrained(model, guide, backend, x)
    found = evaluation.certify(fit, x)
    assert list(found.estimates) == [SUMMED] and found.settled and found.verdict.startswith("exact")
    assert np.allclose(found.log_p.values, evaluation.exact_log_likelihood(fit, x))


def test_each_way_is_the_function_of_its_name() -> None:
    fit, rough = counts_fit(backends.load("pyro")), Annealing(3, 2, 1)
    found, uppers = evaluation.certify(fit, COUNTS, 30, rough, size=20, seed=4), []
    for start in ("prior", "guide"):
        name, setting = ANNEALED[start], replace(rough, start=start)
        assert np.array_equal(found.estimates[name].values, evaluation.ais(fit, COUNTS, setting, seed=4).values)
        bounds = evaluation.bdmc(fit, 20, setting, seed=4)
        assert np.array_equal(found.simulated[name].values, bounds.lower.values)
        uppers.append(bounds.upper.mean)
    assert found.upper is not None and found.upper.mean == min(uppers) < max(uppers)
    for known, x in ((found.estimates, COUNTS), (found.simulated, bounds.x)):
        assert np.allclose(known[IMPORTANCE].values, evaluation.diagnose(fit, x, 30, seed=4).log_p)


def test_a_users_program_is_certified_in_every_table(backend: backends.Backend) -> None:
    fit, quick = counts_fit(backend), Annealing(20, 8, 3)
    row = evaluation.evaluate(fit, COUNTS, 50, certify=2, annealing=quick)
    assert row.certificate is not None and row.row()["certified_log_p"] == row.certificate.log_p.mean
    again = evaluation.Evaluation.from_dict(json.loads(json.dumps(row.to_dict())))
    assert again.certificate is not None and again.certificate.verdict == row.certificate.verdict
    missed = row.certificate.log_p.values - row.log_p.values[row.certified]
    assert row.row()["corrected_log_p"] == pytest.approx(row.log_p.mean + missed.mean())
    assert again.row()["corrected_error"] == row.row()["corrected_error"]
    assert np.array_equal(again.certified, row.certified) and len(row.certified) == 2
    table = evaluation.compare({"counts": row})
    assert table.certified_log_p["counts"] == row.certificate.log_p.mean
    assert table.corrected_log_p["counts"] == row.row()["corrected_log_p"]
    assert {"certified_error", "simulated_gap", "k_hat_above", "settled"} <= set(table)


def part(found: LogLikelihood, rows: np.ndarray) -> Certificate:
    """A certificate of some data, by one estimate."""
    return Certificate({GUIDE: LogLikelihood(found.values[rows], found.mc_error[rows], found.ess[rows], 100)})


def test_a_certified_part_corrects_log_p_of_all() -> None:
    """Over many draws of the part: right in the mean, and its error says how far it is off, not how data differ."""
    rng, every = np.random.default_rng(0), estimate(-90, 0.05, 1000)
    exact = replace(every, values=every.values + rng.gamma(0.5, 2.0, 1000))  # what heavy tails miss
    off = []
    for _ in range(2000):
        mean, error = part(exact, rows := rng.permutation(1000)[:200]).carried_to(every, rows)
        off.append([mean - exact.mean, error])
    mean, error = np.transpose(off)
    assert abs(mean.mean()) < 4 * mean.std() / math.sqrt(len(mean)) and exact.mean - every.mean > 0.8
    assert np.sqrt((error**2).mean()) == pytest.approx(mean.std(), rel=0.1)
    assert mean.std() < 0.4 * exact.values[:200].std() / math.sqrt(200), "how data differ is known of all of them"
    assert part(exact, np.arange(1000)).carried_to(every, np.arange(1000)) == (pytest.approx(exact.mean), 0)
    assert math.isnan(part(exact, np.array([3])).carried_to(every, np.array([3]))[1])


def test_bad_input() -> None:
    backend = backends.load("pyro")
    pca = PCA()
    fit = fit_of(pca, backend)
    with pytest.raises(ValueError, match="'tolerance' should be a positive number"):
        evaluation.certify(fit, pca.x, tolerance=0)
    with pytest.raises(ValueError, match="size"):
        evaluation.certify(fit, pca.x, size=0)
    with pytest.raises(ValueError, match="'certify' should be a number of the 7 test data"):
        evaluation.evaluate(fit, pca.x, 30, certify=8)
    tractable = backend.models.FullyVisible(backend.models.MixtureOfBernoullis(2, np.eye(4), np.random.default_rng(0)))
    visible = untrained(tractable, backend.guides.Empty(), backend, np.eye(4, dtype=np.float32))
    with pytest.raises(UnsuitableObjective):
        evaluation.certify(visible, np.eye(4, dtype=np.float32))


def test_a_difference_that_is_too_uncertain_is_no_agreement() -> None:
    """Importance sampling that heavy tails excuse, lower by more than the tolerance, is not said to agree."""
    certificate = planted(misses(0.5, 0, 0), misses(0.4, 0, 0), 0.95)
    low = certificate.estimates[IMPORTANCE]
    values = low.values + 4 * (-1.0) ** np.arange(N)  # as often above as below
    noisy = {**certificate.estimates, IMPORTANCE: LogLikelihood(values, low.mc_error, low.ess, 100)}
    unsure = Certificate(noisy, certificate.simulated, certificate.upper, certificate.k_hat)
    assert unsure.behind(IMPORTANCE).mean > 0.2 and not unsure.behind(IMPORTANCE).exceeds(0.2)
    assert "importance sampling" in unsure.verdict and "too uncertain to tell" in unsure.verdict
    assert "agree to 0.5" not in unsure.verdict


def evaluated(certificate: Certificate | None, log_p: float) -> Evaluation:
    """A fit whose importance sampling says that much, and whose certificate says something else."""
    found = estimate(log_p)
    return Evaluation(found, ELBO(found.values - 3, found.values * 0 + 2), log_p, 4, 1.0, 10, certificate=certificate)


def test_only_what_is_settled_has_a_rank() -> None:
    """By the certified numbers: importance sampling has these fits the other way round."""
    above, below = planted(NEAR, NEAR), planted(misses(2.0, 1.0, 1.0), misses(1.9, 1.0, 1.0), tolerance=1.5)
    torn = planted(misses(-3, 3, 0), misses(0, 0, 0), 0.5)
    assert above.settled and below.settled and not torn.settled
    fits = {"torn": (torn, -80.0), "below": (below, -85.0), "above": (above, -95.0)}
    rows = {name: evaluated(*told) for name, told in fits.items()}
    table = evaluation.compare(rows)
    assert table["rank"].dropna().to_dict() == {"above": 1, "below": 2} and list(table["rank"].isna()) == [1, 0, 0]
    seeds = evaluation.compare({"above": [rows["above"]] * 2, "mixed": [rows["above"], rows["torn"]]})
    assert seeds["rank"]["above"] == 1 and math.isnan(seeds["rank"]["mixed"]), "one seed of two is not settled"
    assert "rank" not in evaluation.compare({"plain": evaluated(None, -90.0)})

    settings = {"cell": {"svi": {"is_bound": True}}}
    results = [Result(Path(), name, "pyro", 0, row, {}, settings, "") for name, row in rows.items()]
    table = tabulate(results)
    assert list(ranked(table).index) == ["above", "below", "torn"]
    told = above.log_p.values - below.log_p.values
    assert table.log_p_difference["below"] == pytest.approx(-told.mean()) and table.log_p_difference["above"] == 0
    assert math.isnan(table.log_p_difference["torn"]) and math.isnan(table.difference_error["torn"])
    nothing = tabulate(results[:1])
    assert nothing["rank"].isna().all() and nothing.log_p_difference.isna().all()
    with pytest.raises(ValueError, match=r"needs certificates: evaluate\(fit, test, certify=N\)"):
        evaluation.difference([rows["above"]], [evaluated(None, -90.0)], certified=True)
    parts = [evaluated(replace(above, data=name), -90.0) for name in ("one part", "another")]
    with pytest.raises(ValueError, match="different certified data"):
        evaluation.difference(parts[:1], parts[1:], certified=True)


def with_values(certificate: Certificate, name: str, change: Any) -> Certificate:
    """The certificate, another number in the place of the first datum's estimate."""
    found = certificate.estimates[name]
    values = np.where(np.arange(len(found.values)) == 0, change(found.values), found.values)
    return replace(certificate, estimates={**certificate.estimates, name: replace(found, values=values)})


def written(certificate: Certificate) -> Certificate:
    """The certificate, by the file of a study."""
    whole = evaluated(certificate, -90.0).to_dict()
    again = Evaluation.from_dict(json.loads(json.dumps(whole, allow_nan=False))).certificate
    assert again is not None
    return again


@pytest.mark.parametrize("name", [IMPORTANCE, PRIOR, GUIDE])
@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_an_estimate_that_is_not_finite_settles_nothing(name: str, number: float) -> None:
    """Here, and when it comes back from a file: no difference can be read from it, and none is not a small one."""
    found = with_values(planted(NEAR, NEAR), name, lambda values: number)
    for certificate in (found, written(found)):
        assert not certificate.settled and certificate.best != name
        assert certificate.verdict == f"unsettled: {name} is not finite for 1 of {N} data"
        assert math.isfinite(certificate.row()["certified_log_p"])


def test_an_impossible_datum_is_no_exact_sum() -> None:
    values = np.array([-3.0, np.nan])
    assert not Certificate({SUMMED: LogLikelihood(values, 0 * values, 0 * values, 1)}).settled


def test_infinite_k_hats_are_still_infinite_in_a_file() -> None:
    certificate = planted(NEAR, NEAR, 0.5)
    certificate = replace(certificate, k_hat=np.where(certificate.k_hat > 0.7, np.inf, -np.inf))
    again = written(certificate)
    assert np.array_equal(again.k_hat, certificate.k_hat) and again.share_unreliable == 0.5


def test_heavy_tails_do_not_say_why_importance_sampling_is_high() -> None:
    """One datum of which annealing misses all: the best number is half a nat above what is vouched for."""
    found = with_values(planted(NEAR, NEAR), IMPORTANCE, lambda values: values + 100)
    heavy = replace(found, k_hat=np.where(np.arange(N) == 0, 0.9, 0.3))
    assert heavy.best == IMPORTANCE and heavy.reference == GUIDE and heavy.behind(GUIDE).mean > 0.4
    assert not heavy.settled and "importance sampling differs by -0.4" in heavy.verdict
    low = with_values(planted(NEAR, NEAR), IMPORTANCE, lambda values: values - 100)
    assert replace(low, k_hat=heavy.k_hat).settled, "that it is low they do"


def test_one_simulated_datum_says_nothing_of_others() -> None:
    certificate = planted(NEAR, NEAR)

    def first(found: LogLikelihood) -> LogLikelihood:
        return LogLikelihood(found.values[:1], found.mc_error[:1], found.ess[:1], 100)

    assert certificate.upper is not None
    told = {name: first(found) for name, found in certificate.simulated.items()}
    one = replace(certificate, simulated=told, upper=first(certificate.upper))
    assert not one.settled and one.verdict.startswith("unsettled: the gap of one simulated datum")
    assert math.isnan(one.table().gap_error[PRIOR]) and one.row()["simulated_gap"] == one.table().gap[one.reference]


def test_data_with_a_mask_are_refused_whoever_asks(tmp_path: Path) -> None:
    """Also where they were checked before, as in a table: simulated data have every pixel."""
    pca, backend = PCA(), backends.load("pyro")
    fit, mask = fit_of(pca, backend), np.arange(5) < 3 + 0 * pca.x
    cell = evaluation.Cell("ELBO", "pyro", lambda rng: pca.pair(backend), backend.inference.SVI(epochs=1, batch_size=2))
    split = data.from_arrays(pca.x, pca.x[:3], pca.x)
    for ask in (
        lambda: evaluation.certify(fit, fit.checked(pca.x, mask=mask), 30, Annealing(2, 2, 1), size=2),
        lambda: evaluation.evaluate(fit, pca.x, 30, mask=mask, certify=2, annealing=Annealing(2, 2, 1)),
        lambda: evaluation.Study(tmp_path, split, [cell], certify=2, side={"test_mask": mask}),
    ):
        with pytest.raises(ValueError, match="certify: simulated data have every pixel"):
            ask()


def test_only_certificates_of_the_same_data_are_compared() -> None:
    model, guide = bernoulli(backends.load("pyro"))
    x = np.eye(P, dtype=np.float32)
    fit = untrained(model, guide, backends.load("pyro"), x)
    first, same, other = (evaluation.certify(fit, some).data for some in (x[:2], x[:2].copy(), x[:3]))
    assert first == same != other
    rows = {n: evaluated(replace(planted(NEAR, NEAR), data=of), -90.0) for n, of in {"a": first, "b": other}.items()}
    with pytest.raises(ValueError, match="bounds on different certified data are not comparable: 'a' has"):
        evaluation.compare(rows)
    again = Evaluation.from_dict(json.loads(json.dumps(rows["a"].to_dict())))
    with pytest.raises(ValueError, match="certified data"):
        evaluation.compare({"again": again, "b": rows["b"]})
    seeds = {"a": [rows["a"], rows["b"]], "b": [rows["b"], rows["a"]]}
    assert list(evaluation.compare(seeds)["rank"]) == [1, 1], "a part for each seed, the same for both"
    with pytest.raises(ValueError, match="certified data"):
        evaluation.compare({**seeds, "half": [rows["a"], again]})
    unknown = evaluated(planted(NEAR, NEAR), -90.0)
    assert list(evaluation.compare({"a": rows["a"], "again": again, "old": unknown})["rank"]) == [1, 1, 1]


def test_a_row_with_a_seed_that_has_no_certificate_is_not_ranked() -> None:
    whole = evaluated(planted(NEAR, NEAR), -90.0)
    table = evaluation.compare({"all": [whole, whole], "one": [whole, evaluated(None, -90.0)]})
    assert table["rank"]["all"] == 1 and math.isnan(table["rank"]["one"])
