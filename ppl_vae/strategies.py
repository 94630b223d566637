"""Inference strategies by name, such as ``iwae-5``, written once over both backends.

A name is a key of ``STRATEGIES``. If that strategy takes a number, ``-`` and the number may follow: the draws per
datum, or another number that its entry describes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import backends, baselines, objectives
from .data.checks import closest
from .objectives import Objective


def _nothing(number: int) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Strategy:
    """Inference strategy: an entry of the table, with a description and the makers of its settings.

    Args:
        about: a few words for a list.
        loss: ``loss(number)``, the objective.
        number: the number of a name without one; None if the strategy takes none.
        svi: ``svi(number)``, settings of the ``SVI`` that belong to the strategy.
        recipe: ``recipe(number)``, settings of ``Recipe`` that belong to it, such as another guide.
        training: the name of the class in a backend's ``inference`` that runs it.
    """

    about: str
    loss: Callable[[int], Objective]
    number: int | None = None
    svi: Callable[[int], Mapping[str, Any]] = _nothing
    recipe: Callable[[int], Mapping[str, Any]] = _nothing
    training: str = "SVI"


STRATEGIES: dict[str, Strategy] = {
    # latents with a pathwise gradient
    "elbo": Strategy("the ELBO, every term sampled", lambda k: objectives.TraceELBO(k), 1),
    "mean-field": Strategy(
        "the ELBO, its KL in closed form where there is one", lambda k: objectives.TraceMeanFieldELBO(k), 1
    ),
    "stl": Strategy("the ELBO, sticking the landing", lambda k: objectives.TraceELBO(k, stick_the_landing=True), 1),
    "beta": Strategy("the ELBO with its KL weighted by N", lambda n: objectives.TraceELBO(beta=float(n)), 4),
    "free-bits": Strategy(
        "the ELBO with a KL of at least N nats", lambda n: objectives.FreeBitsELBO(floor=float(n)), 1
    ),
    "capacity": Strategy(
        "the reconstruction, with the batch's mean KL held at N nats",
        lambda n: objectives.CapacityELBO(target=float(n)),
        25,
    ),
    "iwae": Strategy("the importance-weighted bound", lambda k: objectives.IWAE(k), 5),
    "dreg": Strategy("the IWAE with doubly reparameterised gradients", lambda k: objectives.DReG(k), 5),
    "miwae": Strategy("the mean of N IWAE bounds of 5 draws each", lambda n: objectives.MIWAE(5, num_groups=n), 2),
    "ciwae": Strategy("half the ELBO, half the IWAE", lambda k: objectives.CIWAE(k), 5),
    "rejection": Strategy(
        "the ELBO of the draws that a rejection step keeps", lambda k: objectives.RejectionELBO(k), 10
    ),
    "fivo": Strategy("log of a particle filter's estimate of p(x), of sequences", lambda k: objectives.FIVO(k), 4),
    "nasmc": Strategy(
        "the same for the model; its guide follows the filter's particles", lambda k: objectives.NASMC(k), 4
    ),
    "renyi": Strategy("the Renyi bound of order 1/2", lambda k: objectives.RenyiELBO(k), 5),
    "miselbo": Strategy(
        "the ELBO of a mixture guide, K of its components, one draw of each",
        lambda k: objectives.MISELBO(k),
        1,
        recipe=lambda k: {"posterior": "mixture"},
    ),
    "hmc": Strategy(
        "the ELBO for the guide; for the model its draws, moved by N transitions of HMC",
        lambda n: objectives.HMCELBO(transitions=n),
        1,
    ),
    "per-datapoint": Strategy(
        "the ELBO with a q(z) for each image, at most N local steps a batch",
        lambda n: objectives.TraceELBO(),
        20,
        svi=lambda n: {"local_steps": n, "patience": None},
        recipe=lambda n: {"guide": "per-datapoint"},
    ),
    "semi-amortised": Strategy(
        "the ELBO with N steps of refinement from the encoder's answer",
        lambda n: objectives.TraceELBO(),
        5,
        recipe=lambda n: {"guide": "semi-amortised", "refinement_steps": n},
    ),
    # one vector of such latents, with terms of its aggregate posterior
    "beta-tc": Strategy("the ELBO - N total correlation", lambda n: objectives.BetaTCVAE(strength=float(n)), 5),
    "dip-i": Strategy(
        "the ELBO - N |Cov[mean] - 1|^2, of the means of the codes", lambda n: objectives.DIPVAE(strength=float(n)), 10
    ),
    "dip-ii": Strategy(
        "the ELBO - N |Cov[z] - 1|^2, of the codes", lambda n: objectives.DIPVAE(strength=float(n), kind="ii"), 10
    ),
    "infovae": Strategy("the ELBO - N MMD(q(z), p(z))", lambda n: objectives.InfoVAE(strength=float(n)), 100),
    "wae": Strategy("the reconstruction - N MMD(q(z), p(z)), no KL", lambda n: objectives.WAE(strength=float(n)), 10),
    "factor": Strategy(
        "the ELBO - N total correlation, by a critic",
        lambda n: objectives.FactorVAE(strength=float(n)),
        10,
        training="Adversarial",
    ),
    "aae": Strategy(
        "the reconstruction, with N times an adversary on the codes, no KL",
        lambda n: objectives.AAE(strength=float(n)),
        1,
        training="Adversarial",
    ),
    "avb": Strategy(
        "the ELBO of a guide without a density, its KL by a critic of x and z",
        lambda k: objectives.AVB(k),
        8,
        svi=lambda k: {"patience": None},
        recipe=lambda k: {"posterior": "implicit"},
        training="Adversarial",
    ),
    "ali": Strategy(
        "no density: encoder and decoder hide from a critic which pairs (x, z) are whose",
        lambda k: objectives.ALI(k),
        1,
        svi=lambda k: {"patience": None},
        training="Adversarial",
    ),
    "vae-gan": Strategy(
        "a VAE whose likelihood is of what a critic of x looks at, in a game with it",
        lambda _: objectives.VAEGAN(),
        svi=lambda _: {"patience": None},
        training="Adversarial",
    ),
    # a model that draws x, and has no density
    "gan": Strategy(
        "an implicit model: its draws and the data beside each other in a game with a critic",
        lambda _: objectives.GAN(),
        recipe=lambda _: {"program": "implicit", "guide": "empty"},
        training="Adversarial",
    ),
    # codes of a codebook
    "vq": Strategy("the ELBO of the nearest codes, straight through", lambda _: objectives.VQELBO()),
    "vq-ema": Strategy("the same, the codes averages of their vectors", lambda _: objectives.VQELBO(decay=0.99)),
    "fsq": Strategy("the ELBO of rounded numbers, straight through", lambda _: objectives.VQELBO(commitment=0.0)),
    "lfq": Strategy("the ELBO of signs, with an entropy penalty", lambda _: objectives.VQELBO(entropy=0.1)),
    # a chain of noise
    "diffusion": Strategy(
        "the ELBO of a chain of noise, by one level at random",
        lambda _: objectives.DiffusionELBO(),
        recipe=lambda _: {"program": "diffusion", "guide": "noising"},
    ),
    # any latents
    "reinforce": Strategy("the ELBO by score functions", lambda k: objectives.TraceGraphELBO(k), 4),
    "running-average": Strategy(
        "REINFORCE with a running average as baseline",
        lambda k: objectives.TraceGraphELBO(k, baseline=baselines.RunningAverage()),
        4,
    ),
    "nvil": Strategy(
        "REINFORCE with a neural baseline", lambda k: objectives.TraceGraphELBO(k, baseline=baselines.Neural()), 4
    ),
    "rloo": Strategy(
        "REINFORCE with the other draws as baseline",
        lambda k: objectives.TraceGraphELBO(k, baseline=baselines.LeaveOneOut()),
        4,
    ),
    "vimco": Strategy("the importance-weighted bound by score functions", lambda k: objectives.VIMCO(k), 5),
    "wake-wake": Strategy("reweighted wake-sleep without the sleep", lambda k: objectives.WakeWake(k), 5),
    "wake-sleep": Strategy("wake-sleep, the guide on the model's dreams", lambda k: objectives.WakeSleep(k), 5),
    # discrete ones
    "gumbel-softmax": Strategy("the ELBO by relaxed draws", lambda k: objectives.GumbelSoftmax(k), 1),
    "straight-through": Strategy(
        "the ELBO by hard draws with the gradient of relaxed ones",
        lambda k: objectives.GumbelSoftmax(k, straight_through=True),
        1,
    ),
    "gumbel-rao": Strategy(
        "straight-through, averaged over N relaxed draws",
        lambda n: objectives.GumbelSoftmax(straight_through=True, averaged=n, temperature=0.1),
        10,
    ),
    "rebar": Strategy("score functions with relaxed draws as control variate", lambda k: objectives.REBAR(k), 1),
    "relax": Strategy("REBAR with a control variate that learns", lambda k: objectives.RELAX(k), 1),
    "rodeo": Strategy("RLOO with discrete Stein control variates that learn", lambda k: objectives.RODEO(k), 2),
    "muprop": Strategy("score functions, linearised at the mean", lambda k: objectives.MuProp(k), 1),
    "arm": Strategy("the ELBO of bits by antithetic pairs", lambda k: objectives.ARM(k), 1),
    "disarm": Strategy("the same, its noise integrated out", lambda k: objectives.DisARM(k), 1),
    "enumeration": Strategy("the exact ELBO of discrete latents", lambda _: objectives.TraceEnumELBO()),
}
"""Name -> strategy; the only table of names."""

USUAL: dict[str, tuple[str, ...]] = {
    "gaussian": ("elbo", "mean-field", "stl", "iwae-10", "dreg-10"),
    "bernoulli": ("reinforce-4", "rloo-4", "vimco-10", "wake-wake-10"),
    "categorical": ("reinforce-4", "rloo-4", "vimco-10", "wake-wake-10"),
    "concrete": ("elbo", "stl", "iwae-10", "dreg-10"),
    "vq": ("vq", "vq-ema"),
    "residual-vq": ("vq", "vq-ema"),
    "fsq": ("fsq",),
    "lfq": ("lfq",),
}
"""Kind of latents -> the strategies that a comparison trains by default."""


def register(name: str, strategy: Strategy) -> None:
    """Register a strategy under a name, for the command line, the estimators and studies.

    Raises:
        ValueError: the name of another strategy, or one that does not consist of lower-case words joined by dashes.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*", name):
        raise ValueError(f"A strategy's name should be lower-case words joined by dashes, as in my-elbo; got {name!r}.")
    if STRATEGIES.get(name, strategy) is not strategy:
        raise ValueError(f"There is a strategy {name!r} already ({STRATEGIES[name].about}): choose another name.")
    STRATEGIES[name] = strategy


def find(name: str) -> tuple[Strategy, int]:
    """Find the strategy of that name and its number, 0 if it takes none.

    Raises:
        ValueError: an unknown name, or a number that the strategy does not take; the message lists the names.

    >>> strategy, number = find("iwae-50")
    >>> strategy.about, number
    ('the importance-weighted bound', 50)
    >>> find("wake-wake")[1], find("enumeration")[1]
    (5, 0)
    """
    if name in STRATEGIES:
        return STRATEGIES[name], STRATEGIES[name].number or 0
    stem, _, number = name.rpartition("-")
    if stem not in STRATEGIES:
        raise ValueError(
            f"Unknown strategy {name!r}{closest(name, STRATEGIES)}; there are {', '.join(spellings())}, N a number."
        )
    if STRATEGIES[stem].number is None:
        raise ValueError(f"The strategy {stem!r} takes no number; got {name!r}.")
    if not number.isdecimal() or int(number) < 1:
        raise ValueError(f"The strategy {stem!r} takes a whole number of at least 1, as in {stem}-5; got {name!r}.")
    return STRATEGIES[stem], int(number)


def spellings() -> list[str]:
    """List the names as they are written, with N for a number.

    >>> spellings()[0], spellings()[-1]
    ('elbo-N', 'enumeration')
    """
    return [name if strategy.number is None else f"{name}-N" for name, strategy in STRATEGIES.items()]


def svi(name: str, backend: str, **settings: Any) -> Any:
    """Make the ``SVI`` that trains by the strategy of that name.

    Args:
        name: such as ``elbo`` or ``iwae-5``.
        backend: ``pyro`` or ``numpyro``.
        settings: settings of the ``SVI``: epochs, batch_size, learning_rate and so on; those of the strategy win.

    Raises:
        ValueError: an unknown name.

    >>> svi("dreg-8", "pyro", epochs=3).loss.num_particles
    8
    """
    strategy, number = find(name)
    inference = backends.load(backend).inference
    training = getattr(inference, strategy.training)
    return training(strategy.loss(number), **{**settings, **strategy.svi(number)})


def recipe_settings(name: str) -> dict[str, Any]:
    """Return the settings of ``Recipe`` that belong to the strategy of that name.

    >>> recipe_settings("semi-amortised-3"), recipe_settings("elbo")
    ({'guide': 'semi-amortised', 'refinement_steps': 3}, {})
    """
    strategy, number = find(name)
    return dict(strategy.recipe(number))
