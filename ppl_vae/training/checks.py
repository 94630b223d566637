"""Refusals of a training, before its first step: settings, data and a pair that do not fit each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import UnsuitableObjective
from ..mcmc.filtering import not_of_each_step
from ..objectives.base import Objective
from ..objectives.checks import check_stock
from ..objectives.relaxed import ReadingOnTrial
from ..objectives.request import TermsRequest
from ..pairs.densities import density_unknown
from ..pairs.implicit import DESCRIBED, NO_DENSITY, warn_of_data
from ..pairs.inputs import check_gaps, checked
from ..pairs.pair import Pair
from ..pairs.side_inputs import Arrays, check_labels, take_rows
from ..pairs.sites import Sites
from ..pairs.trials import ROWS, check_reading, does_not_read, examine_draws, warn_of_mixed_rows
from ..seeds import derive
from .data import TrainingData
from .images import check_images
from .settings import TrainingSettings

STATE = frozenset({"weights", "local", "optim", "average"})
"""First parts of the names in a training's state, which no player can have."""
_VALID = "valid_elbo valid_log_joint valid_log_lik valid_mmd"
_ALWAYS = f"epoch loss {_VALID} codes_used acceptance perplexity gradient_norm rounding"
HISTORY = frozenset(f"{_ALWAYS} seconds compilation memory".split())
"""Names in every history, which no player's metric can have."""


def check_arguments(settings: TrainingSettings, data: TrainingData, seed: Any) -> None:
    """Refuse a seed, a batch, an epoch or early stopping that the data do not allow.

    Raises:
        ValueError: names the setting.
    """
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"'seed' should be an integer of at least 0; got {seed!r}.")
    if settings.batch_size > len(data.train):
        raise ValueError(
            f"'batch_size' is {settings.batch_size}, but there are only {len(data.train)} data points: lower it."
        )
    if settings.epoch_size is not None and settings.epoch_size > len(data.train):
        raise ValueError(
            f"'epoch_size' is {settings.epoch_size}, but there are only {len(data.train)} data points: lower it, or "
            "leave it at None."
        )
    if settings.patience is not None and data.valid is None:
        raise ValueError("Early stopping needs validation data: pass a Split or valid=, or set patience=None.")


def prepare(settings: TrainingSettings, pair: Pair, data: TrainingData, seed: int) -> Sites:
    """Run the pair on a batch, refuse what does not fit, and return the sites.

    Raises:
        ValueError: data that are wrong for the pair or its likelihood, or settings that are wrong for the pair.
        UnsuitableObjective: an objective that is wrong for the pair.
    """
    check_rows(pair, data)
    first = slice(settings.batch_size)
    sites = pair.prepare(data.train[first], derive(seed, "prepare"), take_rows(data.side, first))
    check_objective(settings, pair, sites, len(data.train))
    check_validated(sites, data)
    if pair.size_refusal:
        raise ValueError(pair.size_refusal)
    for name, x, side in (("data", data.train, data.side), ("valid", data.valid, data.valid_side)):
        check_gaps(sites, mask := side.get("mask"))
        if x is not None:
            checked(pair, x, name, intensities=data.dynamic and name == "data", mask=mask)
    check_images(pair, data)
    check_draws(settings, pair, data, derive(seed, "trial"))
    if sites.implicit:
        noisy = getattr(getattr(settings, "critic", None), "noise", 0) > 0
        warn_of_data(type(settings.loss).__name__, data.train[:DESCRIBED], noisy=noisy)
    if sites.implicit and data.valid is not None and len(data.valid) < 2:
        raise ValueError(
            "The validation of an implicit model is the MMD of draws and validation data, of at least 2 rows, and "
            "there is 1: pass more, or none."
        )
    if isinstance(settings.loss, Objective):
        settings.loss.check_given(data.side.get("given"))
    check_seen(settings, pair, data, derive(seed, "trial"))
    check_known_labels(settings, sites, data)
    check_relaxed(settings, pair, data, derive(seed, "trial"))
    check_filter(settings, pair, data, derive(seed, "trial"))
    check_guide(settings, pair)
    if settings.local_steps:
        check_inner_loop(settings, pair)
    if getattr(settings.loss, "prior_alone", False):
        check_prior(settings, pair)
    if not pair.num_parameters:
        raise ValueError("The pair has no parameter to train.")
    return sites


def check_moved(settings: TrainingSettings, moved: bool) -> None:
    """Refuse a training that moves no parameter.

    Raises:
        ValueError: the model stays as it is, and the guide has none of its own.
    """
    if not moved:
        raise ValueError(
            f"freeze_model={settings.freeze_model} trains the guide alone, and it has no parameter of its own, so that "
            "nothing would learn: leave freeze_model at False, or give the guide a net."
        )


def check_rows(pair: Pair, data: TrainingData) -> None:
    """Refuse data that are not those of a per-datapoint guide, or side information that the model has no use for.

    Raises:
        ValueError: says what to pass.
    """
    if pair.num_rows is not None and pair.num_rows != len(data.train):
        raise ValueError(
            f"The per-datapoint guide was made for {pair.num_rows} data points; there are {len(data.train)}: make "
            "its rows for these, nets.Rows(init.standard_rows(len(data), ...))."
        )
    check_given = getattr(pair.model, "check_given", None)
    if check_given is not None:
        check_given(data.side.get("given"))
    conditional, given = getattr(pair.model, "takes_given", None), "given" in data.side
    if conditional is not None and conditional != given:
        raise ValueError(
            f"{type(pair.model).__name__} is conditional on side information: pass it, given= of shape (N, G)."
            if conditional
            else f"{type(pair.model).__name__} has no use for side information ('given'): use ConditionalVAE, as "
            "recipes.conditional_vae makes it, or leave it out."
        )


def check_objective(settings: TrainingSettings, pair: Pair, sites: Sites, num_data: int) -> None:
    """Refuse an objective, ours or a stock one, that is wrong for the pair, its batches or its players.

    Raises:
        UnsuitableObjective: names the site and the objectives that fit.
        ValueError: batches that it cannot be estimated from, or players of one name.
    """
    loss = settings.loss
    if not sites.latent and not getattr(loss, "serves_models_without_latents", False):
        raise UnsuitableObjective(
            f"{type(loss).__name__} is made for latents, and the model has none: its likelihood is the TraceELBO()."
        )
    check_implicit(loss, sites)
    check_critic(settings)
    if sites.implicit:
        check_players(settings, sites, num_data)
        loss.check_batches(settings.epoch_size or num_data, settings.batch_size)
    elif isinstance(loss, Objective):
        sites.check_terms(type(loss).__name__)
        check_nesting(loss, sites)
        loss.check(sites)
        check_players(settings, sites, num_data)
        loss.check_batches(settings.epoch_size or num_data, settings.batch_size)
    elif settings.check_stock:
        check_nesting(loss, sites)
        check_stock(loss, sites, pair.backend, settings.batch_size, num_data)


def check_validated(sites: Sites, data: TrainingData) -> None:
    """Refuse validation of a pair that has no ELBO of each datum.

    Raises:
        ValueError: says what to leave out.
    """
    if sites.misplaced and data.valid is not None and not sites.implicit:
        raise ValueError(
            f"Validation is by the ELBO of each datum. {sites.misplaced.partition(': ')[0]}: train without validation, "
            "on split.train in the place of a split and with valid=None."
        )


def check_implicit(loss: Any, sites: Sites) -> None:
    """Refuse densities of an implicit model, which has none, and draws alone of a model that has densities.

    Raises:
        UnsuitableObjective: names the objective, and what to use.
    """
    name, implicit = type(loss).__name__, getattr(loss, "implicit", False)
    if sites.implicit and not implicit:
        raise UnsuitableObjective(f"{name} is made of densities. {NO_DENSITY}")
    if implicit and not sites.implicit:
        raise UnsuitableObjective(
            f"{name} trains an implicit model, which draws x and observes nothing, and this one observes "
            f"{', '.join(repr(site.name) for site in sites.observed)}: use models.Implicit(prior, generator) with "
            "guides.Empty(), or train it by its likelihood, inference.SVI(inference.TraceELBO())."
        )
    for site in sites.latent:
        if implicit and not site.reparameterised:
            raise UnsuitableObjective(
                f"{name} follows the gradient through the draws of an implicit model, and those of {site.name!r} "
                f"({site.distribution}) carry none, so that what they are made of would never learn: draw normal noise "
                "in its place, models.StandardNormal(D), and let the generator make its values of that."
            )


def check_nesting(loss: Any, sites: Sites) -> None:
    """Refuse an objective that puts draws where the programs have a plate of their own; a stock one always may.

    Raises:
        ValueError: names the setting.
    """
    told, stock = getattr(loss, "max_plate_nesting", None), not isinstance(loss, Objective)
    several = draws_at_once(loss) > 1
    if told is not None and stock and several:
        told -= 1  # Pyro counts the plate of the draws in
    if told is not None and told < sites.nesting and (stock or several):
        raise ValueError(
            f"{type(loss).__name__}: the programs nest {sites.nesting} plates, and the draws need a dimension left of "
            f"them: set max_plate_nesting={sites.nesting}; it is {told}."
        )


def check_draws(settings: TrainingSettings, pair: Pair, data: TrainingData, seed: int) -> None:
    """Refuse several draws of each datum where the pair does not take them at once, and warn where it mixes rows.

    Raises:
        ValueError: says what to do.
    """
    assert pair.sites is not None
    if pair.sites.misplaced:  # stock objectives alone serve it, in ways of their own
        return
    first = slice(settings.batch_size)
    x, side = data.train[first], take_rows(data.side, first)
    if data.dynamic:  # the model sees draws of these intensities, as zeros and ones
        x = np.round(x)
    pair.draws_refusal, mixed = examine_draws(pair, x, seed, side)
    if draws_at_once(settings.loss) > 1 and pair.draws_refusal:
        raise ValueError(pair.draws_refusal)
    warn_of_mixed_rows(mixed)


def check_relaxed(settings: TrainingSettings, pair: Pair, data: TrainingData, seed: int) -> None:
    """Refuse a model that does not read relaxed draws as it reads discrete ones, where the objective gives it some.

    Raises:
        UnsuitableObjective: says how it reads them.
    """
    loss = settings.loss
    if not isinstance(loss, Objective) or not loss.request.gradient.relaxes:
        return
    first, name = slice(settings.batch_size), type(loss).__name__
    request = TermsRequest(gradient=ReadingOnTrial(loss.request.gradient), analytic_kl=True)
    try:
        reading = pair.terms(data.train[first], request, seed, take_rows(data.side, first))
    except UnsuitableObjective:
        raise
    except Exception as error:  # whatever a user's own code raises
        raise does_not_read(name, error) from error
    check_reading(name, reading)


def check_filter(settings: TrainingSettings, pair: Pair, data: TrainingData, seed: int) -> None:
    """Refuse a likelihood of which single steps are not known, where the objective is a particle filter.

    Raises:
        UnsuitableObjective: says what to use.
    """
    loss = settings.loss
    if isinstance(loss, Objective) and loss.request.filter is not None:
        first = slice(min(ROWS, settings.batch_size))
        request = TermsRequest(filter=loss.request.filter)
        if np.isnan(pair.terms(data.train[first], request, seed, take_rows(data.side, first)).log_lik).all():
            raise not_of_each_step(type(loss).__name__)


def check_seen(settings: TrainingSettings, pair: Pair, data: TrainingData, seed: int) -> None:
    """Refuse a guide that reads the mask, where a critic that learns log q(z | x, mask) sees x and z alone.

    And any mask, where a critic sees what the model draws, in which nothing is hidden.

    Raises:
        UnsuitableObjective: the guide's draws are others where nothing is hidden, of the same x and noise.
    """
    if getattr(settings.loss, "shows_draws", False) and "mask" in data.side:
        raise UnsuitableObjective(
            f"{type(settings.loss).__name__}: the critic would tell data by their hidden places, which draws of the "
            "model do not have: fill them in before fit(...), and leave the mask out, or use TraceELBO."
        )
    if getattr(settings.loss, "judges_given_x", False) and "mask" in data.side:
        first = slice(min(ROWS, settings.batch_size))
        x, side = data.train[first], take_rows(data.side, first)
        seen = {**side, "mask": np.ones_like(side["mask"])}
        drawn = [pair.sample(x, 1, seed, side=beside)[0] for beside in (side, seen)]
        if not all(np.allclose(drawn[0][name], drawn[1][name], atol=1e-5) for name in drawn[0]):
            raise UnsuitableObjective(
                f"{type(settings.loss).__name__}: the critic sees x and z, and not the mask, of which q(z | x, mask) "
                "of this guide is made, too: let it read x alone, with zeros in the hidden places, as guides.Amortised "
                "does; or use TraceELBO, and a guide that has a density."
            )


def check_known_labels(settings: TrainingSettings, sites: Sites, data: TrainingData) -> None:
    """Refuse data without a known label, or with labels that are no classes, for an objective that learns from labels.

    Raises:
        ValueError: no labels, none that is known, or one that is no class of the label's site.
    """
    loss = settings.loss
    if not isinstance(loss, Objective) or not loss.request.labels:
        return
    if "given" not in data.side:
        raise ValueError(
            f"{type(loss).__name__} learns from labels: pass them, given= of shape (N, 1), -1 where they are not known."
        )
    for site in sites.latent:
        if site.name == loss.request.labels and site.num_values is not None:
            check_labels(data.side["given"], site.num_values)
    if not (data.side["given"][:, -1] >= 0).any():
        raise ValueError(
            f"{type(loss).__name__} learns from labels, and all are -1, unknown: train with its objective alone, "
            "without objectives.Labelled around it."
        )


def draws_at_once(loss: Any) -> float:
    """The number of draws of each datum that an objective runs at once; infinite where it takes every configuration."""
    if isinstance(loss, Objective):
        several = 1 if loss.request.chain is None else 2  # draws, and what chains made of them
        return math.inf if loss.request.gradient.enumerates else several * loss.num_draws
    return loss.num_particles if getattr(loss, "vectorize_particles", False) is True else 1


def check_critic(settings: TrainingSettings) -> None:
    """Refuse an adversarial objective without a critic, and a critic without one.

    Raises:
        UnsuitableObjective: names the objective and what to use.
    """
    adversarial, name = getattr(settings.loss, "needs_critic", False), type(settings.loss).__name__
    critic = getattr(settings, "critic", None)
    if adversarial and critic is not None and critic.sees != settings.loss.judges:
        kind = settings.loss.default_critic
        raise UnsuitableObjective(
            f"{name} has a critic of {settings.loss.judges}, and {type(critic).__name__} is one of {critic.sees}: use "
            f"critic={kind.__module__.removeprefix('ppl_vae.')}.{kind.__name__}(...)."
        )
    if adversarial and critic is None:
        raise UnsuitableObjective(
            f"{name} has a second player, a critic with an optimiser of its own: use inference.Adversarial("
            f"{name}(...)) in place of SVI."
        )
    if critic is not None and not adversarial:
        raise UnsuitableObjective(
            f"Adversarial trains a critic beside the pair, and {name} has no use for one: use SVI, or FactorVAE, "
            "AAE, WAEGAN, AVB, ALI or VAEGAN, or GAN of an implicit model."
        )


def check_players(settings: TrainingSettings, sites: Sites, num_data: int) -> None:
    """Refuse players that do not fit the pair or each other.

    Raises:
        UnsuitableObjective: names the player and the sites.
        ValueError: two players of one name, or a name that something else in the state or the history has.
    """
    name = type(settings.loss).__name__
    names = [player.name for player in settings.players]
    if len(set(names)) < len(names):
        raise ValueError(f"{name}: players need different names, for their state and metrics; got {names}.")
    for taken in sorted(STATE.intersection(names)):
        raise ValueError(f"{name}: {taken!r} is a part of every training's state: give the player another name.")
    metrics = [metric for player in settings.players for metric in player.metrics]
    if len(set(metrics)) < len(metrics) or HISTORY.intersection(metrics):
        raise ValueError(
            f"{name}: the players' metrics need names in the history of their own, other than {sorted(HISTORY)}; got "
            f"{metrics}."
        )
    moves = any(player.moves_codes for player in settings.players) or getattr(settings.loss, "restart_codes", False)
    if moves and settings.freeze_model:
        raise ValueError(
            f"{name} moves codes that the model has, too, and freeze_model=True keeps the model as it is: leave decay "
            "at None and restart_codes at False, or train both."
        )
    for player in settings.players:
        player.check(settings.epoch_size or num_data, settings.batch_size)
        if player.sees != "data" and not sites.code_dim:
            raise UnsuitableObjective(
                f"{name}: the player {player.name!r} looks at the codes of one latent site, a vector; the pair has "
                f"the sites {[site.name for site in sites.latent]}: use an objective without it."
            )


def check_guide(settings: TrainingSettings, pair: Pair) -> None:
    """Refuse a guide that the settings cannot train.

    Raises:
        UnsuitableObjective: dreams, under a per-datapoint guide.
        ValueError: a guide that refines under another model, or early stopping under a per-datapoint guide.
    """
    if pair.num_rows is not None and getattr(settings.loss, "dreams", False):
        raise UnsuitableObjective(
            f"{type(settings.loss).__name__} trains the guide on images that the model dreams, and a dream has no row "
            "of a per-datapoint guide: use WakeWake, or another guide."
        )
    under = [part.refines_under for part in pair.guide_parts() if hasattr(part, "refines_under")]
    if any(model is not pair.model for model in under):
        raise ValueError(
            f"The guide ({type(pair.guide).__name__}) refines under a model of its own, not under the one that is "
            "trained: give it the very module."
        )
    if settings.patience is not None and getattr(settings.loss, "prior_apart", False):
        raise UnsuitableObjective(
            f"{type(settings.loss).__name__} does not train the pair's own prior, under which early stopping takes the "
            "ELBO: set patience=None, and judge it by evaluation.code_lengths."
        )
    if settings.patience is not None and pair.num_rows is not None:
        raise ValueError(
            "Early stopping needs a guide that serves validation data, and a per-datapoint guide does not: set "
            "patience=None, and judge it by fit.refine(valid)."
        )
    if settings.patience is not None and pair.sites and (site := density_unknown(pair.sites)):
        raise UnsuitableObjective(
            f"Early stopping watches the ELBO of validation data, and log q(z | x) of the guide's site {site.name!r} "
            f"({site.distribution}) is known nowhere: set patience=None, and watch valid_log_lik in the history."
        )


def check_dreams(
    settings: TrainingSettings, data: TrainingData, observe: Callable[[np.ndarray, Arrays], dict[str, np.ndarray]]
) -> None:
    """Refuse dreams of another kind than the data: the model observes something else than guide or critic are given.

    Args:
        settings: of the training.
        data: of the training.
        observe: (x, side inputs) -> what each site observes.

    Raises:
        UnsuitableObjective: names the site.
    """
    if not (getattr(settings.loss, "dreams", False) or getattr(settings.loss, "shows_draws", False)):
        return
    first = slice(min(ROWS, settings.batch_size))
    x, side = np.asarray(data.train[first], float), take_rows(data.side, first)
    seen = side.get("mask", np.ones(x.shape, bool))
    for name, values in observe(x, side).items():
        if values.shape != x.shape or not np.allclose(values[seen], x[seen], rtol=1e-4, atol=1e-6):
            raise UnsuitableObjective(
                f"{type(settings.loss).__name__} takes what the model draws at {name!r} for x, and "
                f"that site observes something else than x, of shape {values.shape} where x has {x.shape}: let the "
                "program observe x as it is given, .to_event(1), and scale or select the data before fit(...); or use "
                "WakeWake."
            )


def check_inner_loop(settings: TrainingSettings, pair: Pair) -> None:
    """Refuse ``local_steps`` where no datum has a bound or parameters of its own.

    Raises:
        UnsuitableObjective: an objective that is no sum over data.
        ValueError: a guide without rows, a stock objective, or players.
    """
    loss = settings.loss
    if not getattr(loss, "per_datum", True):
        raise UnsuitableObjective(
            f"{type(loss).__name__} is no sum over data, so no datum has a bound of its own to climb: leave "
            "local_steps at 0, or use another objective."
        )
    if pair.num_rows is None:
        raise ValueError("'local_steps' is for per-datapoint guides, and this pair has none: leave it at 0.")
    if not isinstance(loss, Objective):
        raise ValueError(
            f"'local_steps' needs a bound for each datum, which the stock {type(loss).__name__} does not "
            "give: use an objective of ppl_vae."
        )
    if settings.players:
        raise ValueError(
            "An inner loop ('local_steps') has no use for a baseline that follows the training: use "
            "baselines.LeaveOneOut(), or local_steps=0."
        )


def check_prior(settings: TrainingSettings, pair: Pair) -> None:
    """Refuse to train a prior alone that has no parameters for itself, or beside what does not stay as it is.

    Raises:
        ValueError: says what to do.
    """
    name = type(settings.loss).__name__
    if settings.freeze_model:
        raise ValueError(f"{name} trains the model's prior, which freeze_model=True freezes: leave it False.")
    if pair.num_rows is not None:
        raise ValueError(
            f"{name} leaves the guide as it is, and a per-datapoint guide learns its rows beside any model: use a pair "
            "whose guide is a net, such as recipes.vae(data, guide='amortised') makes."
        )
    if not pair.of_the_prior():
        raise ValueError(
            f"{name} trains what 'model.prior' has for itself, and it has no parameters that nothing else shares: put "
            "a learned prior there, fit.with_prior(priors.FactorisedCategorical(D, C)) for latents that are categories "
            "or codes."
        )
