"""Verdicts on a fit: each a number, a sentence, and what to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from ..arrays.log_weights import UNRELIABLE
from ..errors import UnsuitableObjective
from ..pairs.inputs import CheckedData, Input
from ..pairs.side_inputs import Side
from ..results.fit import Fit
from ..runtime.pages import part
from .independent import LEAVE_OUT, column_log_density, constant_columns, told_of_constant
from .likelihood.importance_sampling import elbo, log_likelihood
from .posterior.diagnostics import FEWEST, diagnose
from .posterior.latents import active_units, collapsed
from .posterior.simulation_based_calibration import calibration

ERRORS = 2.0
"""Two numbers differ where they are this many standard errors apart."""
FEWEST_EPOCHS = 20
SMALL = 0.1
"""Nats per datum that no further epochs are worth, and the share of data that may have a large k-hat."""
LARGE_GAP = 2.0
"""Nats per datum between log p(x) and the ELBO, beyond which the guide is worth mending."""
LEVEL = 0.01
"""The p-value below which a guide is not calibrated."""
SIMULATED = 200
"""Simulated data of the calibration."""
TABLE = """\
<table><tr>{% for name in head %}<th>{{ name }}</th>{% endfor %}</tr>\
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</table>"""


@dataclass(frozen=True)
class Finding:
    """One verdict."""

    name: str
    value: float
    """NaN where it cannot be told"""
    good: bool | None
    """None where it cannot be told"""
    says: str
    """a sentence, with the number"""
    remedy: str = ""
    """the next step, where there is one"""

    def __str__(self) -> str:
        mark = {True: "good", False: "not good", None: "unknown"}[self.good]
        return f"{self.name} ({mark}): {' '.join(filter(None, (self.says, self.remedy)))}"


@dataclass(frozen=True)
class Check:
    """Verdicts on a fit, by name; a text as such, and a table in a notebook."""

    findings: tuple[Finding, ...]

    @property
    def good(self) -> bool:
        """Whether nothing was found that is not good."""
        return not self.bad

    @property
    def bad(self) -> tuple[Finding, ...]:
        """The findings that are not good."""
        return tuple(finding for finding in self.findings if finding.good is False)

    def row(self) -> dict[str, float]:
        """The number of each finding."""
        return {finding.name: finding.value for finding in self.findings}

    def __getitem__(self, name: str) -> Finding:
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"There is no finding {name!r}; there are {', '.join(self.row())}.")

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __repr__(self) -> str:
        return "\n".join(map(str, self.findings))

    def _repr_html_(self) -> str:
        marks = {True: "✓", False: "✗", None: "?"}
        rows = [
            (marks[f.good], f.name, "" if math.isnan(f.value) else f"{f.value:.4g}", f.says, f.remedy)
            for f in self.findings
        ]
        return part(TABLE, head=("", "", "number", "that is", "next"), rows=rows)


def check(
    fit: Fit,
    x: Input,
    num_particles: int = 500,
    *,
    num_simulated: int = SIMULATED,
    seed: int = 0,
    progress: bool | None = False,
    **side: Unpack[Side],
) -> Check:
    """Judge a fit by data x (N, P) that it was not trained on: six findings.

    ``converged``, nats that the last tenth of the epochs gained over the tenth before; ``active units``; ``columns``,
    log p(x) above that of a model of each column by itself; ``k-hat``, the share of data whose k-hat is above 0.7;
    ``gap``, log p(x) - ELBO; ``calibration``, the p-value of simulation-based calibration on data that the model draws.
    What cannot be told of a pair is so marked, with the reason.

    Args:
        fit: what an inference returned.
        x: data (N, P); some hundreds will do.
        num_particles: draws for each datum, at least 25.
        num_simulated: data that the calibration draws, at least 100; 0 leaves it out.
        seed: of the draws.
        progress: a progress bar for k-hat; None shows it on a terminal only.
        side: side inputs of x.

    Raises:
        ValueError: data that do not fit, or fewer than 25 particles.

    >>> from ppl_vae import inference, recipes
    >>> pair = inference.Pair(*recipes.vae((6,), latent_dim=2, hidden=(4,))(np.random.default_rng(0)))
    >>> x = np.eye(6)[np.arange(60) % 6]
    >>> found = check(Fit.untrained(pair, x), x, num_particles=50, num_simulated=0)
    >>> found["active units"].good, found["converged"].good
    (True, None)
    """
    if num_particles < FEWEST:
        raise ValueError(f"'num_particles' should be at least {FEWEST}; got {num_particles}.")
    data = fit.checked(x, **side)
    broken = weights(fit)
    if broken is not None:
        return Check((broken,))
    values: np.ndarray | None = None
    told = ""
    reliable = _told("k-hat", lambda: k_hat(fit, data, num_particles, seed, progress))

    def weigh() -> Finding:
        nonlocal values, told
        first, second = (elbo(fit, data, num_particles // 2, seed=seed + n).values for n in range(2))
        values, told = (first + second) / 2, "The mean ELBO"
        bound, estimate = values.mean(), log_likelihood(fit, data, num_particles, seed=seed)
        values, told = estimate.values, "Mean log p(x)"
        error = math.hypot(estimate.mean_mc_error, np.linalg.norm(first - second) / (2 * len(first)))
        return gap(float(values.mean() - bound), error, reliable.good is not False)

    weighed = _told("gap", weigh)
    game = fit.shown_to_critic is not None
    findings = [_of_game("converged") if game else converged(fit), _told("active units", lambda: in_use(fit, data))]
    if game:
        findings.append(_of_game("columns"))
    elif values is None:
        findings.append(Finding("columns", math.nan, None, weighed.says))
    else:
        findings.append(beside_columns(fit, data, values, told, exact=reliable.good is not False))
    findings += [reliable, weighed]
    if num_simulated:
        given = data.side.get("given")
        given = None if given is None else given[np.arange(num_simulated) % len(given)]
        findings.append(_told("calibration", lambda: calibrated(fit, num_simulated, seed, given)))
    return Check(tuple(findings))


def of_training(fit: Fit, valid: Input, train: np.ndarray, *, seed: int = 0) -> Check:
    """Judge a training by its validation data (N, P): what ``check`` finds without weighing draws.

    Args:
        fit: what an inference returned.
        valid: data that it was not trained on, checked where they have a mask.
        train: data that describe the columns.
        seed: of the draws.
    """
    if fit.sites.implicit:
        return Check(())  # no bound to judge, and a loss that says nothing of progress
    if fit.shown_to_critic:
        return Check((_of_game("converged"), _told("active units", lambda: in_use(fit, fit.checked(valid)))))
    findings = [converged(fit)]
    if fit.generalises:
        data = fit.checked(valid)
        findings.append(_told("active units", lambda: in_use(fit, data)))
        bound = "By ten draws the validation ELBO"
        findings.append(
            _told("columns", lambda: beside_columns(fit, data, elbo(fit, data, seed=seed).values, bound, train))
        )
    return Check(tuple(findings))


def _of_game(name: str) -> Finding:
    """Return that a game, which no likelihood was trained in, has no number for this."""
    says = "A critic stood in the place of the likelihood: no bound was trained, and the loss says nothing of progress."
    return Finding(name, math.nan, None, says, "See evaluation.sample_quality.")


def _told(name: str, find: Callable[[], Finding]) -> Finding:
    """Return what is found; where the pair does not allow it, the reason."""
    try:
        return find()
    except (UnsuitableObjective, ValueError) as reason:
        return Finding(name, math.nan, None, str(reason).splitlines()[0])


def weights(fit: Fit) -> Finding | None:
    """Tell of weights that are NaN, with which no other number is one; None where there are none."""
    state = fit.pair.state()
    broken = [name for name, array in state.items() if array.dtype.kind == "f" and np.isnan(array).any()]
    if not broken:
        return None
    says = (
        f"{len(broken)} of {len(state)} arrays of this fit hold NaN, {broken[0]!r} first, and so would other numbers."
    )
    return Finding("weights", float(len(broken)), False, says, "Train again, with a lower learning rate.")


def converged(fit: Fit) -> Finding:
    """Judge the history: whether the last epochs still gain, or lose what was gained before.

    Compares the mean validation ELBO of the last tenth of the epochs, or without one the objective, with that of the
    tenth before; noise is that of the epochs about their means.
    """
    name, history = "converged", fit.history
    validated = len(history.get("valid_elbo", ())) > 0
    values = np.asarray(history["valid_elbo"] if validated else -np.asarray(history.get("loss", ())), float)
    what = "validation ELBO" if validated else "objective"
    settings: Mapping[str, Any] = fit.settings.get("svi", {})
    stopped = settings.get("patience") is not None and 1 < len(values) < settings.get("epochs", 0)
    if len(values) < FEWEST_EPOCHS and not stopped:
        says = f"{len(values)} epochs are too few to tell."
        return Finding(name, math.nan, None, says, f"Train at least {FEWEST_EPOCHS} epochs.")
    tenth = max(1, min(5, len(values) // 2), len(values) // 10)
    before, last = values[-2 * tenth : -tenth], values[-tenth:]
    gain = float(last.mean() - before.mean())
    if not math.isfinite(gain):
        says = f"The {what} is not finite in some of the last {2 * tenth} epochs."
        return Finding(name, gain, False, says, "Train again, with a lower learning rate.")
    if stopped:
        return Finding(name, gain, True, f"The training stopped early, and the best weights of {what} were kept.")
    noise = ERRORS * math.sqrt((before.var(ddof=1) + last.var(ddof=1)) / tenth)
    if gain > max(noise, SMALL):
        says = f"The {what} still rose by {gain:.2f} nats in the last {tenth} epochs."
        return Finding(name, gain, False, says, "Train for more epochs.")
    smooth = np.convolve(values, np.full(tenth, 1 / tenth), "valid")
    best = int(smooth.argmax()) + tenth // 2
    fallen = float(smooth.max() - last.mean())
    if validated and settings.get("patience") is None and fallen > max(noise, SMALL):
        says = f"The {what} was best about epoch {best}, and has fallen by {fallen:.2f} nats since: it overfits."
        return Finding(
            name, gain, False, says, "Set patience=20, which keeps the best weights, or make the nets smaller."
        )
    return Finding(name, gain, True, f"The {what} gained {gain:.2f} nats in the last {tenth} epochs.")


def in_use(fit: Fit, x: Input) -> Finding:
    """Count the latents that depend on x."""
    name = "active units"
    if not fit.sites.latent:
        return Finding(name, 0.0, None, "There are no latents.")
    count = active_units(fit, x)
    of = sum(len(site.codes) or math.prod(site.event_shape) for site in fit.sites.latent)
    if count:
        return Finding(name, float(count), True, f"{count} of {of} latents are in use.")
    if isinstance(x, CheckedData) and not collapsed(fit, x.x, mask=x.side.get("mask")):
        return Finding(name, 0.0, None, "The data are all alike, so that no latent can tell them apart.")
    says = f"None of {of} latents is in use: q(z | x) is the same for all data, and the fit has collapsed."
    remedy = "Train for more epochs, with a lower learning rate, or raise the weight of the KL slowly (warm-up)"
    remedy += "; standardise the columns where they are not." if _is_real(fit) else "."
    return Finding(name, 0.0, False, says, remedy)


def _is_real(fit: Fit) -> bool:
    return any(site.support == "real" for site in fit.sites.observed)


def beside_columns(
    fit: Fit,
    data: CheckedData[np.ndarray],
    values: np.ndarray,
    what: str,
    train: np.ndarray | None = None,
    *,
    exact: bool = True,
) -> Finding:
    """Compare log p(x) of data, or a bound ``values`` (N,), with a model of each column by itself.

    Not ``exact``, values that are below say nothing: log p(x) may be far higher.
    """
    name = "columns"
    mask = data.side.get("mask")
    constant = constant_columns(fit.sites, data.x if train is None else train, mask if train is None else None)
    if constant:
        says = told_of_constant(constant, np.shape(data.x)[-1])
        return Finding(name, math.nan, False, says, LEAVE_OUT)
    alone = column_log_density(fit.sites, data.x, train, mask=mask)
    if alone is None:
        says = "No model of each column by itself is known for this likelihood and these data."
        return Finding(name, math.nan, None, says)
    above = values - alone
    error = float(above.std(ddof=1) / math.sqrt(len(above))) if len(above) > 1 else math.inf
    mean, each = float(above.mean()), f"{alone.mean():.2f}, that of a model of each column by itself"
    if not math.isfinite(mean):
        return Finding(name, mean, None, f"{what} is not finite.")
    if mean < -ERRORS * error and not exact:
        says = f"{what}, {values.mean():.2f} by draws that k-hat does not trust, is below {each}; it may be far higher."
        return Finding(name, mean, None, says, "Estimate log p(x) by evaluation.ais(fit, x).")
    if mean < -ERRORS * error:
        remedy = "Train until the validation ELBO rises no more, and no longer (patience=20)"
        remedy += "; standardise the columns where they are not." if _is_real(fit) else "."
        return Finding(name, mean, False, f"{what}, {values.mean():.2f}, is below {each}.", remedy)
    if mean > max(ERRORS * error, SMALL):
        return Finding(name, mean, True, f"{what}, {values.mean():.2f}, is above {each}.")
    return Finding(name, mean, None, f"{what}, {values.mean():.2f}, is no different from {each}.")


def k_hat(fit: Fit, x: Input, num_particles: int, seed: int, progress: bool | None = False) -> Finding:
    """Judge the guide as a proposal."""
    found = diagnose(fit, x, num_particles, seed=seed, progress=progress)
    share, count = found.share_above(), len(found.k_hat)
    says = f"{share:.0%} of the data have a k-hat above {UNRELIABLE}"
    if np.isnan(found.k_hat).any():
        return Finding("k-hat", math.nan, None, f"Weights of {int(np.isnan(found.k_hat).sum())} data are not finite.")
    if share <= SMALL and count < 1 / SMALL:
        return Finding("k-hat", share, None, f"{says}, of {count} in all: too few to tell.", "Give at least ten data.")
    if share <= SMALL:
        return Finding("k-hat", share, True, f"{says}: importance sampling with this guide can be trusted.")
    remedy = "Estimate log p(x) by evaluation.ais(fit, x), and draw from fit.refine(x)."
    return Finding("k-hat", share, False, f"{says}: weights of this guide's draws are unreliable.", remedy)


def gap(nats: float, error: float, reliable: bool = True) -> Finding:
    """Judge the distance of the ELBO from log p(x), as far as k-hat says that its estimate is ``reliable``."""
    if not math.isfinite(nats):
        return Finding("gap", nats, None, "log p(x) of some of these data, or their ELBO, is not finite.")
    says = f"log p(x) is at least {nats:.2f} ± {error:.2f} nats above the ELBO"
    if nats <= LARGE_GAP and not reliable:
        remedy = "See evaluation.gaps(fit, x, method='ais')."
        return Finding("gap", nats, None, f"{says}, and may be far more: k-hat does not trust this estimate.", remedy)
    if nats <= LARGE_GAP:
        return Finding("gap", nats, True, f"{says}.")
    remedy = "Say log p(x), not the ELBO; train by iwae-10, give a richer guide, or see evaluation.gaps(fit, x)."
    return Finding("gap", nats, False, f"{says}: the guide is far from the posterior.", remedy)


def calibrated(fit: Fit, count: int, seed: int, given: np.ndarray | None = None) -> Finding:
    """Judge the guide by data that the model draws, whose true z are known."""
    ranks = calibration(fit, count, seed=seed, given=given)
    worst, p_value = ranks.quantities[int(ranks.p_values.argmin())], ranks.p_value
    says = f"p = {p_value:.2g} that ranks of the true z are uniform"
    if p_value >= LEVEL:
        return Finding("calibration", p_value, True, f"{says}: nothing speaks against the guide.")
    remedy = "Use fit.draws(x, method='sir') or 'hmc' where q(z | x) itself is what you want."
    return Finding("calibration", p_value, False, f"{says}, least so of {worst}.", remedy)
