"""Any objective, and log q of labels that are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from ..arrays.ops import Array
from ..errors import UnsuitableObjective
from ..pairs.sites import Sites
from ..pairs.terms import Terms
from ..players import Player
from .base import Objective
from .elbo import TraceELBO
from .options import from_python, option
from .request import TermsRequest

PYTHON = "the command line has no pairs with labels"


@dataclass(frozen=True)
class Labelled(Objective):
    """An objective, and ``weight`` log q(y | x) for each label y that is known: the classifier learns from labels.

    In a guide whose known labels are themselves, as ``guides.SemiSupervised``, nothing else trains q(y | x) on data
    with a label. The labels are the keyword ``given`` (B, 1), -1 where they are not known; ``site`` is theirs.
    Semi-supervised Learning with Deep Generative Models, Kingma et al., 2014.

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

    unused: ClassVar[tuple[str, ...]] = ("num_particles", "chunk")
    objective: Objective = from_python(TraceELBO(), PYTHON, kw_only=False)
    num_particles: int = option(1, "not used: the objective's own", name="train_particles", kind="count", metavar="K")
    weight: float = from_python(1.0, PYTHON, kind="non-negative")
    site: str = from_python("y", PYTHON)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.objective, Objective):
            raise TypeError(
                f"Labelled: 'objective' should be one of ppl_vae.objectives, such as TraceEnumELBO(); got "
                f"{self.objective!r}."
            )
        if self.num_particles != 1 or self.chunk is not None:
            raise ValueError("Labelled: set num_particles and chunk of its objective, and leave its own at 1 and None.")

        trains = {"the prior alone": self.objective.prior_alone, "with a critic": self.objective.needs_critic}
        trains["from labels already"] = bool(self.objective.request.labels)
        for how, does in trains.items():
            if does:
                raise ValueError(
                    f"Labelled: {type(self.objective).__name__} trains {how}, beside which log q of labels has no "
                    "meaning: give it another objective, such as TraceEnumELBO()."
                )

    @property
    def per_datum(self) -> bool:  # type: ignore[override]
        """Whether the objective is a sum over data."""
        return self.objective.per_datum

    @property
    def is_bound(self) -> bool:
        """Whether the weight is 0 and the objective a bound."""
        return self.weight == 0 and self.objective.is_bound

    @property
    def warm_up(self) -> float:
        """Epochs until the objective's settings are constant."""
        return self.objective.warm_up

    @property
    def num_draws(self) -> int:
        """Draws per datum."""
        return self.objective.num_draws

    @property
    def request(self) -> TermsRequest:
        """The objective's request, and the labels' log q."""
        return replace(self.objective.request, labels=self.site)

    @property
    def players(self) -> tuple[Player, ...]:
        """The objective's."""
        return self.objective.players

    def check(self, sites: Sites) -> None:
        """Refuse a pair that the objective is wrong for, or without such a label."""
        self.objective.check(sites)
        fits = [site.name for site in sites.latent if site.is_categorical and site.event_shape == (1,)]
        if self.site not in fits:
            raise UnsuitableObjective(
                f"Labelled: 'site' should be a latent site of categories of event shape (1,), the label; the pair has "
                f"{', '.join(map(repr, fits)) or 'none'}; got {self.site!r}."
            )

    def at(self, epoch: Any) -> Self:
        """Return it with the objective's schedules at their values after ``epoch`` epochs."""
        return replace(self, objective=self.objective.at(epoch))

    def of_data(self, num_data: int) -> Self:
        """Return it with the number of data that the batches are drawn from."""
        return replace(self, objective=self.objective.of_data(num_data))

    def check_batches(self, num_data: int, batch_size: int) -> None:
        """Refuse batches that the objective cannot be estimated from."""
        self.objective.check_batches(num_data, batch_size)

    def bound(self, terms: Terms, *outputs: Array) -> Array:
        """Terms, and outputs of the objective's players, -> (B,)."""
        return self.objective.bound(terms, *outputs) + self.weight * terms.log_label
