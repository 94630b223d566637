"""Fits side by side in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Unpack

import numpy as np
import pandas as pd

from ..pairs.inputs import Input
from ..pairs.side_inputs import Side
from ..results.fit import Fit
from .evaluations import Evaluation, evaluate, fingerprint, likelihood
from .likelihood.annealed_importance_sampling import Annealing
from .posterior.inference_gaps import Method

DEVIATIONS = [
    "elbo",
    "reconstruction",
    "kl",
    "train_elbo",
    "objective",
    "log_p",
    "bits_per_dim",
    "discrete_elbo",
    "discrete_log_p",
    "certified_log_p",
    "simulated_gap",
    "corrected_log_p",
    "best_elbo",
    "approximation_gap",
    "amortisation_gap",
    "train_best_elbo",
    "train_approximation_gap",
    "train_amortisation_gap",
    "active_units",
    "codes_used",
    "perplexity",
    "seconds",
    "seconds_per_step",
    "seconds_to_target",
    "peak_memory",
]
"""The columns whose standard deviation over seeds is in the table."""

Entry = Fit | Evaluation


def compare(
    fits: Mapping[str, Entry | Sequence[Entry]],
    test: Input | None = None,
    *,
    train: Input | None = None,
    target: float | None = None,
    num_particles: int = 500,
    elbo_particles: int = 10,
    gaps: bool | Method = False,
    certify: int = 0,
    annealing: Annealing | None = None,
    seed: int = 0,
    progress: bool | None = False,
    train_side: Side | None = None,
    **side: Unpack[Side],
) -> pd.DataFrame:
    """One row per fit, or per list of fits of several seeds; nats per datum on ``test`` (N, P).

    Columns: ``elbo``, the plain one whatever was trained on, its parts ``reconstruction`` and ``kl``; ``train_elbo``,
    that of training images; ``objective``, what the training itself maximised, on its own data; ``log_p``, by
    importance sampling, with ``test_error`` (from which images were seen) and ``mc_error`` (from sampling z) apart;
    ``likelihood_trained``, 1, or 0 for a row of ``ALI`` or ``VAEGAN``, whose log p(x) and ELBO are of a likelihood that
    nothing trained, where there is such a row;
    ``bits_per_dim``, -log p(x) / (P log 2), where the likelihood is over levels; of relaxed categories, whose other
    columns are of a model of their own, ``discrete_elbo`` and ``discrete_log_p`` of the discrete pair behind them;
    with ``certify`` also ``certified_log_p`` of that many test data, the best of three lower bounds,
    ``certified_error`` over them, ``simulated_gap``, ``k_hat_above``, the share of them with a k-hat above 0.7, and
    ``settled``, 1 or 0, and ``rank`` by the certified number among those that are settled under every seed, NaN for the
    others: importance sampling alone, with large k-hats, ranks nothing (see ``evaluation.certify``);
    ``corrected_log_p`` of all test data, ``log_p`` plus what it misses of the certified ones, with ``corrected_error``
    from which these are (see ``Certificate.carried_to``);
    with ``gaps`` also ``best_elbo``, the best bound of the guide's family for each datum, ``approximation_gap`` above
    it and ``amortisation_gap`` below it, with their errors over the data (see ``evaluation.gaps``), and with ``train``
    the same of training images, ``train_approximation_gap`` and so on;
    ``active_units``; of several latent sites ``kl_z1``, ``active_units_z1`` and so on, of each of them;
    of codes of a codebook ``codes_used`` and their ``perplexity``; ``seconds`` of training,
    ``seconds_per_step``, and ``seconds_to_target``, until the validation ELBO first reached ``table.attrs["target"]``;
    ``peak_memory`` of the training in MiB; ``parameters``. What is not known of a fit is NaN. Where there are lists,
    every number is the mean over seeds, and ``elbo_sd``, ``log_p_sd`` and so on are the standard deviations;
    a number that is NaN under one of the seeds is NaN, as ``seconds_to_target`` is where a seed did not get there.

    Args:
        fits: name -> a fit, an ``Evaluation`` of one, or a list of them.
        test: data (N, P); not needed where everything is evaluated already.
        train: training images (N, P), as in ``evaluate``, like the options below.
        target: a validation ELBO, nats per datum; by default the lowest of the fits' best, which each of them reaches.
        num_particles: as in ``evaluate``.
        elbo_particles: as in ``evaluate``.
        gaps: as in ``evaluate``; of an ``Evaluation`` those that it has.
        certify: as in ``evaluate``.
        annealing: as in ``evaluate``.
        seed: of the draws.
        progress: a progress bar.
        train_side: as in ``evaluate``.
        side: as in ``evaluate``.

    Raises:
        ValueError: nothing to compare, a fit without test data, or fits of different data or likelihoods.
    """
    if not isinstance(fits, Mapping):
        raise ValueError(f"compare: 'fits' should be {{name: fit or list of fits}}; got {type(fits).__name__}.")
    if not fits or any(isinstance(group, Sequence) and not group for group in fits.values()):
        raise ValueError("compare: there is nothing to compare; pass {name: fit} or {name: [fit, ...]}.")
    groups = {name: list(group) if isinstance(group, Sequence) else [group] for name, group in fits.items()}
    check_comparable(groups)
    evaluations: dict[str, list[Evaluation]] = {}
    for name, group in groups.items():
        evaluations[name] = []
        for entry in group:
            if isinstance(entry, Fit):
                if test is None:
                    raise ValueError(f"compare: {name!r} is a fit, so test data are needed: compare(fits, test).")
                options = {"train": train, "train_side": train_side, "elbo_particles": elbo_particles, "gaps": gaps}
                options |= {"certify": certify, "annealing": annealing}
                test, side = entry.checked(test, located=False, **side), {}
                if train is not None:
                    train, train_side = entry.checked(train, located=False, **(train_side or {})), None
                entry = evaluate(entry, test, num_particles, seed=seed, progress=progress, **options)  # type: ignore
            evaluations[name].append(entry)
    known = [(name, e) for name, group in evaluations.items() for e in group]
    _check_same("test data", [(name, None if e.test is None else f"{e.test[:12]}...") for name, e in known])
    _check_same("numbers of draws for log p(x)", [(name, str(e.log_p.num_particles)) for name, e in known])
    _check_same("certified data", [(name, _certified(group)) for name, group in evaluations.items()])
    best = [e.best_valid_elbo for group in evaluations.values() for e in group if len(e.valid_elbo)]
    return _tabulate(evaluations, min(best, default=math.nan) if target is None else float(target))


def _certified(group: Sequence[Evaluation]) -> str | None:
    """The certified data of a row, over its seeds, which may have one part each; None where some are not known."""
    digests = [e.certificate.data for e in group if e.certificate]
    return None if None in digests or not digests else ", ".join(sorted({f"{of[:12]}..." for of in digests if of}))


def _tabulate(evaluations: Mapping[str, Sequence[Evaluation]], target: float) -> pd.DataFrame:
    rows = [{"name": name, **e.row(target)} for name, group in evaluations.items() for e in group]
    alone = all(len(group) == 1 for group in evaluations.values())
    groups = pd.DataFrame(rows).astype({} if alone else {"active_units": float}).groupby("name", sort=False)
    if alone:
        table = groups.first()
    else:
        means = groups.agg(lambda values: values.mean(skipna=False))
        spread = groups[[name for name in DEVIATIONS if name in means]].agg(lambda values: values.std(skipna=False))
        table = pd.concat([means, spread.add_suffix("_sd")], axis=1)
    if "likelihood_trained" in table:
        table["likelihood_trained"] = table["likelihood_trained"].fillna(1.0)
    if "settled" in table:
        trusted = table["certified_log_p"].where(table["settled"] == 1)
        table.insert(table.columns.get_loc("settled") + 1, "rank", trusted.rank(ascending=False, method="min"))
    table = table.rename_axis(None)
    table.attrs["target"] = target
    return table


def difference(
    one: Sequence[Evaluation], other: Sequence[Evaluation], *, certified: bool = False
) -> tuple[float, float]:
    """The mean log p(x) of ``one`` minus that of ``other``, nats per datum, and the standard error of that.

    Where they are ``certified``, it is the certificates' best estimates that differ.

    Both are evaluations on the same test data, one per seed, the same seeds in the same order: the difference is taken
    image by image and seed by seed, so that its error, of images and of seeds, is far less than that of each mean.

    Raises:
        ValueError: other test data, likelihoods, numbers of draws or certified data, another number of seeds, or no
            certificate where it is asked for.
    """
    groups = [[_log_p(e, certified) for e in group] for group in (one, other)]
    shapes = [(len(group), len(group[0])) for group in groups]
    entries = [(f"evaluation {i}", e) for i, e in enumerate([*one, *other])]
    _check_same("test data", [(name, e.test) for name, e in entries])
    if shapes[0] != shapes[1]:
        raise ValueError(f"A difference needs the same seeds and test data; got (seeds, data points) {shapes}.")
    _check_same("likelihoods", [(name, e.likelihood) for name, e in entries])
    if not certified:
        _check_same("numbers of draws for log p(x)", [(name, str(e.log_p.num_particles)) for name, e in entries])
    for pair in zip(one, other, strict=True) if certified else ():
        _check_same("certified data", [(f"evaluation {i}", _certified([e])) for i, e in enumerate(pair)])
    values = np.stack([a - b for a, b in zip(*groups, strict=True)])
    variance = sum(values.mean(1 - i).var(ddof=1) / n for i, n in enumerate(values.shape) if n > 1)
    return float(values.mean()), float(np.sqrt(variance)) if values.shape[1] > 1 else math.nan


def _log_p(evaluation: Evaluation, certified: bool) -> np.ndarray:
    """log p(x) of the test data, (N,), or of those that are certified."""
    if not certified:
        return evaluation.log_p.values
    if evaluation.certificate is None:
        raise ValueError("A difference of certified numbers needs certificates: evaluate(fit, test, certify=N).")
    return evaluation.certificate.log_p.values


def check_comparable(groups: Mapping[str, Sequence[Entry]]) -> None:
    """Refuse to compare bounds on different data or of different likelihoods; those that are not known are not refused.

    Raises:
        ValueError: names two fits, and what differs between them.
    """
    entries = [(name, entry) for name, group in groups.items() for entry in group]
    _check_same("data", [(name, _data(entry)) for name, entry in entries])
    _check_same("likelihoods", [(name, _likelihood(entry)) for name, entry in entries])


def _check_same(what: str, facts: Sequence[tuple[str, str | None]]) -> None:
    known = [(name, fact) for name, fact in facts if fact is not None]
    for name, fact in known[1:]:
        first, expected = known[0]
        if fact != expected:
            raise ValueError(
                f"compare: bounds on different {what} are not comparable: {first!r} has {expected}, {name!r} has "
                f"{fact}. Compare fits on the same {what}."
            )


def _data(entry: Entry) -> str | None:
    data = entry.data if isinstance(entry, Evaluation) else fingerprint(entry)
    return None if data is None else f"those with the fingerprint {data[:12]}..."


def _likelihood(entry: Entry) -> str | None:
    return entry.likelihood if isinstance(entry, Evaluation) else likelihood(entry)
