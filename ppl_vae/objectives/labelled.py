"""Objectives around another one: with log q of known labels, less the distance of groups, or of a guide in noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from ..arrays.ops import Array
from ..divergences import two_sample
from ..divergences.two_sample import Kernel
from ..errors import UnsuitableObjective
from ..pairs.side_inputs import check_groups
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from ..players import Player
from ..schedules import Schedule
from .base import Objective, WeightedObjective
from .checks import check_codes, observed_labels
from .elbo import TraceELBO
from .options import from_python, option
from .request import PATHWISE, LatentsRequest, TermsRequest

PYTHON = "the command line has no pairs with labels"


@dataclass(frozen=True)
class AroundObjective(Objective):
    """Base of the objectives around another, ``objective``, whose draws, players and schedules they have."""

    unused: ClassVar[tuple[str, ...]] = ("num_particles", "chunk")
    fits: ClassVar[str] = "TraceEnumELBO"
    """the name of an objective that it can be around"""
    objective: Objective = from_python(TraceELBO(), PYTHON, kw_only=False)
    num_particles: int = option(1, "not used: the objective's own", name="train_particles", kind="count", metavar="K")

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if not isinstance(self.objective, Objective):
            raise TypeError(
                f"{name}: 'objective' should be one of ppl_vae.objectives, such as TraceEnumELBO(); got "
                f"{self.objective!r}."
            )
        if self.num_particles != 1 or self.chunk is not None:
            raise ValueError(f"{name}: set num_particles and chunk of its objective, and leave its own at 1 and None.")
        for how, does in self.clashes().items():
            if does:
                raise ValueError(
                    f"{name}: {type(self.objective).__name__} trains {how}, beside which another term has no "
                    f"meaning: give it another objective, such as {self.fits}()."
                )

    def clashes(self) -> dict[str, bool]:
        """Name what may leave no room for another term, and say whether the objective has it."""
        return {"the prior alone": self.objective.prior_alone, "with a critic": self.objective.needs_critic}

    @property
    def warm_up(self) -> float:
        """Epochs until the settings are constant."""
        return max(self.objective.warm_up, super().warm_up)

    @property
    def num_draws(self) -> int:
        """Draws per datum."""
        return self.objective.num_draws

    @property
    def players(self) -> tuple[Player, ...]:
        """The objective's."""
        return self.objective.players

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for."""
        self.objective.check(sites)

    def at(self, epoch: Any) -> Self:
        """Return it with every schedule at its value after ``epoch`` epochs."""
        return replace(super().at(epoch), objective=self.objective.at(epoch))

    def of_data(self, num_data: int) -> Self:
        """Return it with the number of data that the batches are drawn from."""
        return replace(self, objective=self.objective.of_data(num_data))

    def check_batches(self, num_data: int, batch_size: int) -> None:
        """Refuse batches that the objective cannot be estimated from."""
        self.objective.check_batches(num_data, batch_size)

    def check_given(self, given: np.ndarray | None) -> None:
        """Refuse side information that the objective cannot be estimated from."""
        self.objective.check_given(given)


@dataclass(frozen=True)
class Labelled(AroundObjective):
    """An objective, and ``weight`` log q(y | x) for each label y that is known: the classifier learns from labels.

    In a guide whose known labels are themselves, as ``guides.SemiSupervised``, nothing else trains q(y | x) on data
    with a label. The labels are the keyword ``given`` (B, 1), -1 where they are not known; ``site`` is theirs.
    Semi-supervised Learning with Deep Generative Models, Kingma et al., 2014.

    Where the label is a site that the model observes, as that of ``models.FairVAE``, it is ``weight`` log p(y | z) at
    the guide's draws, which stands in the bound once already: the label has the weight 1 + ``weight``.

    Args:
        objective: of the pair, such as ``TraceEnumELBO()``, which sums over labels that are not known.
        weight: of log q(y | x), in data.
        site: the label's sample site, categories of event shape (1,).

    Raises:
        TypeError: no objective.
        ValueError: a negative weight, or an objective that trains the prior alone, has a critic or labels of its own.
        UnsuitableObjective: a pair without that site.

    >>> from ppl_vae.objectives import TraceEnumELBO
    >>> Labelled(TraceEnumELBO(), weight=10.0).is_bound
    False
    """

    weight: float = from_python(1.0, PYTHON, kind="non-negative")
    site: str = from_python("y", PYTHON)

    def clashes(self) -> dict[str, bool]:
        """Name labels of its own, too."""
        return {**super().clashes(), "from labels already": bool(self.objective.request.labels)}

    @property
    def per_datum(self) -> bool:  # type: ignore[override]
        """Whether the objective is a sum over data."""
        return self.objective.per_datum

    @property
    def is_bound(self) -> bool:
        """Whether the weight is 0 and the objective a bound."""
        return self.weight == 0 and self.objective.is_bound

    @property
    def request(self) -> TermsRequest:
        """The objective's request, and the labels' log q."""
        return replace(self.objective.request, labels=self.site)

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for, or without such a label."""
        super().check(sites)
        labels = observed_labels(sites)
        fits = [site.name for site in sites.latent if site.is_categorical and site.event_shape == (1,)]
        if self.site not in (*fits, *labels):
            raise UnsuitableObjective(
                f"Labelled: 'site' should be a latent site of categories of event shape (1,), the label; the pair has "
                f"{', '.join(map(repr, fits)) or 'none'}; got {self.site!r}."
            )
        if self.site in labels and (self.request.gradient != PATHWISE or self.request.chunk is not None):
            raise UnsuitableObjective(
                f"Labelled: the model observes the label {self.site!r}, whose density is taken at plain draws of the "
                "guide, all at once: use TraceELBO, TraceMeanFieldELBO or IWAE, with chunk=None."
            )

    def bound(self, terms: Terms, *outputs: Array) -> Array:
        """Terms, and outputs of the objective's players, -> (B,)."""
        return self.objective.bound(terms, *outputs) + self.weight * terms.log_label


@dataclass(frozen=True)
class GroupMMD(AroundObjective, WeightedObjective):
    """An objective less ``strength`` MMD(q(z | s), q(z | s')): codes that do not tell which group s a datum is of.

    The squared maximum mean discrepancy between the codes of each two groups of a batch, by the unbiased U-statistic
    (``divergences.group_mmd``), on average over the pairs of groups; a pair of which one has less than two rows in the
    batch counts as 0. The groups are the first ``columns`` of the keyword ``given`` (B, G): one column of 0 and 1 for
    two groups, else one-hot rows. Any guide of one vector whose draws carry a gradient. At strength 0 it is the
    objective. The Variational Fair Autoencoder, Louizos, Swersky, Li, Welling and Zemel, 2016.

    Args:
        objective: of the pair.
        strength: a number or a schedule; 200 was right for codes of 16 numbers of 106 binary columns.
        columns: how many of ``given``, from the first, say the group.
        kernel: 'imq' or 'rbf'.
        bandwidth: h of the kernel; 2 D where it is None.

    Raises:
        TypeError: no objective.
        ValueError: a negative strength, no column, an unknown kernel, or an objective that trains the prior alone, has
            a critic or groups of its own.

    >>> GroupMMD(strength=200.0).is_bound, GroupMMD(strength=0.0).is_bound
    (False, True)
    """

    fits: ClassVar[str] = "TraceELBO"
    scheduled: ClassVar[str | None] = "strength"
    strength: float | Schedule = from_python(100.0, PYTHON)
    columns: int = from_python(1, PYTHON, kind="count")
    kernel: Kernel = from_python("imq", PYTHON)
    bandwidth: float | None = from_python(None, PYTHON, kind="positive")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel not in two_sample.KERNELS:
            raise ValueError(
                f"GroupMMD: 'kernel' should be one of {', '.join(two_sample.KERNELS)}; got {self.kernel!r}."
            )

    def clashes(self) -> dict[str, bool]:
        """Name groups of its own, too."""
        latents = self.objective.request.latents
        return {**super().clashes(), "on groups already": latents is not None and latents.groups > 0}

    @property
    def per_datum(self) -> bool:  # type: ignore[override]
        """False: the codes of a batch are compared with each other."""
        return False

    @property
    def is_bound(self) -> bool:
        """Whether the strength is 0 and the objective a bound."""
        return self.objective.is_bound and super().is_bound

    @property
    def request(self) -> TermsRequest:
        """The objective's request, with the codes and their groups."""
        asked = self.objective.request
        return replace(asked, latents=replace(asked.latents or LatentsRequest(), groups=self.columns))

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for, or whose codes are no vector with a path."""
        super().check(sites)
        check_codes("GroupMMD", sites, normal=False)
        if self.objective.request.gradient != PATHWISE:
            raise UnsuitableObjective(
                f"GroupMMD needs the plain gradient through the draws, and {type(self.objective).__name__} has another "
                "one: use TraceELBO, TraceMeanFieldELBO or IWAE."
            )

    def check_batches(self, num_data: int, batch_size: int) -> None:
        """Refuse batches in which no two groups have two rows each, so that nothing would be penalised."""
        super().check_batches(num_data, batch_size)
        if batch_size < 4:
            raise ValueError(
                f"GroupMMD compares groups of at least two rows of a batch, and a batch of {batch_size} has no two of "
                "them: set batch_size=4 or more, of many rows of each group."
            )

    def check_given(self, given: np.ndarray | None) -> None:
        """Refuse groups that are none, or a single one."""
        super().check_given(given)
        check_groups(given, self.columns)

    def bound(self, terms: Terms, *outputs: Array) -> Array:
        """Terms, and outputs of the objective's players, -> (B,)."""
        assert terms.latents is not None
        options: dict[str, Any] = {"kernel": self.kernel, "bandwidth": self.bandwidth}
        distance = two_sample.group_mmd(terms.latents.z, terms.latents.groups, **options).mean()
        return self.objective.bound(terms, *outputs) - self._weight() * distance


@dataclass(frozen=True)
class Denoising(AroundObjective):
    """An objective whose guide reads x + e, with noise e ~ N(0, ``scale``^2) on each number, and whose model has x.

    Regularised amortisation: the best mean that is linear in x + e has a smaller slope than that of p(z | x), and an
    encoder becomes smoother. For every e the value is that of a guide q(z | x + e), so that a bound stays one, looser
    by what the noise costs. A fit reads x as it is. A guide that does not read x trains as without. Amortized Inference
    Regularization, Shu, Bui, Zhao, Kochenderfer and Ermon, 2018; Denoising Criterion for Variational Auto-Encoding
    Framework, Im, Ahn, Memisevic and Bengio, 2017.

    Args:
        objective: of the pair, such as ``IWAE(5)``; its K draws share the noise of their datum.
        scale: standard deviation of the noise, in units of x; 0 is the objective.

    Raises:
        TypeError: no objective.
        ValueError: a negative scale, or an objective that trains the prior alone, has a critic, or whose guide reads
            other data than x, or none.

    >>> Denoising(TraceELBO(), scale=0.3).is_bound
    True
    """

    fits: ClassVar[str] = "TraceELBO"
    scale: float = from_python(0.1, PYTHON, kind="non-negative")

    def clashes(self) -> dict[str, bool]:
        """Name what the guide reads in the place of x, too."""
        asked = self.objective.request
        elsewhere = asked.sleep or asked.generated or asked.levels is not None or asked.filter is not None
        return {**super().clashes(), "a guide of something else than each x": elsewhere}

    @property
    def per_datum(self) -> bool:  # type: ignore[override]
        """Whether the objective is a sum over data."""
        return self.objective.per_datum

    @property
    def is_bound(self) -> bool:
        """Whether the objective is a bound."""
        return self.objective.is_bound

    @property
    def request(self) -> TermsRequest:
        """The objective's request, with noise on what the guide reads."""
        return replace(self.objective.request, input_noise=self.scale)

    def bound(self, terms: Terms, *outputs: Array) -> Array:
        """Terms, and outputs of the objective's players, -> (B,)."""
        return self.objective.bound(terms, *outputs)
