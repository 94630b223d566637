"""Losses of the two players of an adversarial training, as functions of the critic's logits.

A game has ``critic(real, fake)`` and ``generator(real, fake)``, losses of logits c at data, (M,), and at draws of the
model, (M',): numbers, each to be made small by its player. The same text runs on NumPy, torch and JAX. Where the critic
classifies, c learns log p(x) - log q(x) of data x ~ p and draws x ~ q.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from .arrays import ops
from .arrays.ops import Array
from .divergences.families import FAMILIES, FDivergence, dual_bound


class Game(Protocol):
    """Losses of a critic and a generator."""

    def critic(self, real: Array, fake: Array) -> Array:
        """Return the critic's loss."""

    def generator(self, real: Array, fake: Array) -> Array:
        """Return the generator's loss."""


def classification(real: Array, fake: Array) -> Array:
    """-E_p log D - E_q log(1 - D), D = sigmoid(c), in nats; 2 log 2 - 2 JSD(p, q) at c = log p - log q, its least."""
    return ops.softplus(-real).mean() + ops.softplus(fake).mean()


@dataclass(frozen=True)
class Saturating:
    """The minimax game: the generator descends E_q log(1 - D), whose gradient vanishes where the critic is sure.

    Generative Adversarial Nets, Goodfellow et al., 2014.

    >>> import numpy as np
    >>> float(Saturating().generator(np.zeros(2), np.zeros(2)).round(4))
    -0.6931
    """

    def critic(self, real: Array, fake: Array) -> Array:
        """Return the loss of the classifier."""
        return classification(real, fake)

    def generator(self, real: Array, fake: Array) -> Array:
        """E_q log(1 - D)."""
        return -ops.softplus(fake).mean()


@dataclass(frozen=True)
class NonSaturating:
    """The usual game: the generator descends -E_q log D. Its gradient is that of KL(q || p) - 2 JSD(p, q).

    Generative Adversarial Nets, Goodfellow et al., 2014; Towards Principled Methods for Training Generative Adversarial
    Networks, Arjovsky and Bottou, 2017.

    >>> import numpy as np
    >>> float(NonSaturating().generator(np.zeros(2), np.zeros(2)).round(4))
    0.6931
    """

    def critic(self, real: Array, fake: Array) -> Array:
        """Return the loss of the classifier."""
        return classification(real, fake)

    def generator(self, real: Array, fake: Array) -> Array:
        """-E_q log D."""
        return ops.softplus(-fake).mean()


_OWN_TOTAL_VARIATION = dataclasses.replace(
    FAMILIES["total variation"], witness=lambda c: ops.tanh(c / 2) / 2, conjugate=lambda c: ops.tanh(c / 2) / 2
)
"""Of a critic that learns by the bound itself, which a step would give no gradient."""


@dataclass(frozen=True)
class FGAN:
    """The generator descends the f-divergence D_f(p || q) that the critic's log-ratio says: -E_q f*(f'(e^c)).

    The critic classifies, whatever f is. With ``own_bound`` it climbs the variational bound of that divergence instead,
    as in the paper; Pearson and reverse KL often diverge so. f-GAN, Nowozin, Cseke and Tomioka, 2016.

    Args:
        divergence: a name in ``divergences.FAMILIES``.
        own_bound: whether the critic climbs the divergence's own bound.
        clip: c above it is cut off before it is exponentiated.

    Raises:
        ValueError: an unknown divergence; the total variation of a classifier, whose bound is a step without a slope; a
            clip that is not above 0.

    >>> import numpy as np
    >>> float(FGAN("reverse kl").generator(np.zeros(1), np.array([-3.0])))
    4.0
    """

    divergence: str = "jensen-shannon"
    own_bound: bool = False
    clip: float = 10.0

    def __post_init__(self) -> None:
        if self.divergence not in FAMILIES:
            raise ValueError(
                f"FGAN: 'divergence' should be one of {', '.join(map(repr, FAMILIES))}; got {self.divergence!r}."
            )
        if self.divergence == "total variation" and not self.own_bound:
            raise ValueError(
                "FGAN: the total variation of a log-ratio changes where its sign does alone, and gives a generator no "
                "gradient: set own_bound=True, or use another divergence, such as 'jensen-shannon'."
            )
        if not self.clip > 0:
            raise ValueError(f"FGAN: 'clip' should be above 0; got {self.clip!r}.")

    @property
    def _family(self) -> FDivergence:
        smooth = self.own_bound and self.divergence == "total variation"
        return _OWN_TOTAL_VARIATION if smooth else FAMILIES[self.divergence]

    def _clipped(self, c: Array) -> Array:
        return -ops.clip_below(-c, -self.clip)

    def critic(self, real: Array, fake: Array) -> Array:
        """Return the loss of the classifier, or minus the divergence's own bound."""
        if self.own_bound:
            return -dual_bound(self._family, self._clipped(real), self._clipped(fake))
        return classification(real, fake)

    def generator(self, real: Array, fake: Array) -> Array:
        """-E_q f*(f'(e^c))."""
        return -self._family.conjugate(self._clipped(fake)).mean()


@dataclass(frozen=True)
class LeastSquares:
    """E_p (c - 1)^2 / 2 + E_q c^2 / 2 for the critic, E_q (c - 1)^2 / 2 for the generator.

    Least Squares Generative Adversarial Networks, Mao et al., 2017.

    >>> import numpy as np
    >>> float(LeastSquares().critic(np.ones(2), np.zeros(2)))
    0.0
    """

    def critic(self, real: Array, fake: Array) -> Array:
        """Return the squared distance from 1 at data, and from 0 at draws."""
        return ((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2

    def generator(self, real: Array, fake: Array) -> Array:
        """Return the squared distance from 1 at draws."""
        return ((fake - 1) ** 2).mean() / 2


@dataclass(frozen=True)
class Hinge:
    """E_p (1 - c)_+ + E_q (1 + c)_+ for the critic, -E_q c for the generator. Geometric GAN, Lim and Ye, 2017.

    >>> import numpy as np
    >>> float(Hinge().critic(np.ones(2), -np.ones(2)))
    0.0
    """

    def critic(self, real: Array, fake: Array) -> Array:
        """Return the hinge loss."""
        return ops.clip_below(1 - real, 0.0).mean() + ops.clip_below(1 + fake, 0.0).mean()

    def generator(self, real: Array, fake: Array) -> Array:
        """-E_q c."""
        return -fake.mean()


@dataclass(frozen=True)
class Wasserstein:
    """E_q c - E_p c for the critic, -E_q c for the generator; minus the former is W1 at the best 1-Lipschitz c.

    The critic's slope has to be held: by ``clip``, ``spectral`` or ``penalty="gradient"`` of the ``Discriminator``.
    Wasserstein Generative Adversarial Networks, Arjovsky, Chintala and Bottou, 2017; Improved Training of Wasserstein
    GANs, Gulrajani et al., 2017.

    >>> import numpy as np
    >>> float(Wasserstein().critic(np.ones(2), np.zeros(2)))
    -1.0
    """

    needs_lipschitz = True

    def critic(self, real: Array, fake: Array) -> Array:
        """E_q c - E_p c."""
        return fake.mean() - real.mean()

    def generator(self, real: Array, fake: Array) -> Array:
        """-E_q c."""
        return -fake.mean()


@dataclass(frozen=True)
class Relativistic:
    """Classification of c at data less c at draws, each against the others' mean, or pair by pair.

    The generator plays the same game with the classes exchanged, so that data are in its loss, too. The relativistic
    discriminator, Jolicoeur-Martineau, 2019.

    Args:
        average: against the mean of the other class; else row by row.

    >>> import numpy as np
    >>> float(Relativistic().critic(np.ones(2), np.ones(2)).round(4))
    1.3863
    """

    average: bool = True

    def critic(self, real: Array, fake: Array) -> Array:
        """Return the loss of telling data from draws."""
        if not self.average:
            return ops.softplus(fake - real).mean()
        return ops.softplus(fake.mean() - real).mean() + ops.softplus(fake - real.mean()).mean()

    def generator(self, real: Array, fake: Array) -> Array:
        """Return the critic's loss with data and draws exchanged."""
        return self.critic(fake, real)


NAMED: dict[str, Callable[[], Game]] = {
    "non-saturating": NonSaturating,
    "saturating": Saturating,
    "least-squares": LeastSquares,
    "hinge": Hinge,
    "wasserstein": Wasserstein,
    "relativistic": Relativistic,
    **{name.replace(" ", "-"): partial(FGAN, name) for name in FAMILIES if name != "total variation"},
}
"""Name -> game; those of divergences are f-GANs of a critic that classifies."""


def find(game: Game | str) -> Game:
    """Return the game of that name, or the game itself.

    >>> find("hinge")
    Hinge()
    """
    return NAMED[game]() if isinstance(game, str) else game
