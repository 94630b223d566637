"""Likelihood of tables whose columns have distributions of several kinds, in Pyro."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from ... import distributions
from ...data.columns import FLOOR, START
from ...data.tables.kinds import MOST_CONCENTRATION, Group, Units, groups_of
from ...data.tables.kinds import Column as Kind


class Columns(nn.Module):
    """h -> independent columns, each with the distribution of its kind. Event shape (P,).

    With m and s the centre and the scale of a column, and a the net's output for it: a real one is N(m + s a, (s t)^2);
    of a positive one the logarithm is; a count is negative binomial with mean exp(m + s a); a boolean has the logit
    logit(m) + a, the names of a categorical one have logits log shares + a, and a grade k of an ordinal one has
    P(x <= k) = sigmoid(c_k - a). The scales t, the concentrations of counts and the cuts c are learned.

    Args:
        net: maps (..., H) to the outputs of the groups of columns of one kind, side by side (``groups_of``).
        columns: the kinds of the P columns.
        units: of the columns of the training data.

    >>> from ppl_vae import nets
    >>> from ppl_vae.data.tables.kinds import columns_of, units_of
    >>> columns = columns_of(["real", "categorical:3"], 2)
    >>> net = nets.MLP((2, 4), np.random.default_rng(0))
    >>> Columns(net, columns, units_of(columns, None))(torch.zeros(1, 2)).entries(torch.tensor([[0.0, 1.0]]))
    tensor([[-0.2258, -1.0986]], grad_fn=<IndexBackward0>)
    """

    def __init__(self, net: nn.Module, columns: Sequence[Kind], units: Units) -> None:
        super().__init__()
        self.net = net
        self.columns = tuple(columns)
        groups = groups_of(columns)
        self.sizes = [group.outputs for group in groups]
        self.parts = nn.ModuleList(PARTS[group.column.kind](group, units.of(group)) for group in groups)

    def forward(self, h: Tensor) -> distributions.Columns:
        """Map h (..., H) to a distribution over (P,)."""
        outputs = self.net(h).split(self.sizes, -1)
        return distributions.Columns([part(out) for part, out in zip(self.parts, outputs, strict=True)], self.columns)


class Real(nn.Module):
    """Numbers: N(m + s a, (s t)^2)."""

    def __init__(self, group: Group, units: Units) -> None:
        super().__init__()
        self.centre, self.scale = constant(units.centre), constant(units.scale)
        self.raw = nn.Parameter(torch.full((len(group.places),), float(np.log(np.expm1(START - FLOOR)))))

    def forward(self, out: Tensor) -> dist.Distribution:
        """Map outputs (..., n) to n distributions."""
        return distributions.Normal(self.centre + self.scale * out, self.scale * (softplus(self.raw) + FLOOR))


class Positive(Real):
    """Numbers above 0: log x ~ N(m + s a, (s t)^2)."""

    def forward(self, out: Tensor) -> dist.Distribution:
        """Map outputs (..., n) to n distributions."""
        return dist.LogNormal(self.centre + self.scale * out, self.scale * (softplus(self.raw) + FLOOR))


class Count(nn.Module):
    """Counts: negative binomial of mean exp(m + s a), with a learned concentration."""

    def __init__(self, group: Group, units: Units) -> None:
        super().__init__()
        self.centre, self.scale = constant(units.centre), constant(units.scale)
        self.raw = nn.Parameter(tensor(np.log(units.concentration / (MOST_CONCENTRATION - units.concentration))))

    def forward(self, out: Tensor) -> dist.Distribution:
        """Map outputs (..., n) to n distributions."""
        concentration = MOST_CONCENTRATION * torch.sigmoid(self.raw)
        logits = self.centre + self.scale * out - concentration.log()
        return distributions.NegativeBinomial(concentration, logits=logits)


class Boolean(nn.Module):
    """0 or 1, of logit logit(m) + a."""

    def __init__(self, group: Group, units: Units) -> None:
        super().__init__()
        shares = units.centre.clip(0.001, 0.999)
        self.centre = constant(np.log(shares / (1 - shares)))

    def forward(self, out: Tensor) -> dist.Distribution:
        """Map outputs (..., n) to n distributions."""
        return dist.Bernoulli(logits=self.centre + out)


class Categorical(nn.Module):
    """Names, of logits log shares + a."""

    def __init__(self, group: Group, units: Units) -> None:
        super().__init__()
        self.centre = constant(np.log(np.stack(units.shares)))

    def forward(self, out: Tensor) -> dist.Distribution:
        """Map outputs (..., n C), those of a column side by side, to n distributions."""
        return dist.Categorical(logits=self.centre + out.unflatten(-1, self.centre.shape))


class Ordinal(nn.Module):
    """Grades in order: P(x <= k) = sigmoid(c_k - a), with learned cuts c, which start at the shares of the grades.

    Regression Models for Ordinal Data, McCullagh, 1980.
    """

    def __init__(self, group: Group, units: Units) -> None:
        super().__init__()
        below = np.cumsum(np.stack(units.shares), 1)[:, :-1]
        cuts = np.log(below / (1 - below))
        self.first = nn.Parameter(tensor(cuts[:, :1]))
        self.raw = nn.Parameter(tensor(np.log(np.expm1(np.diff(cuts, axis=1)))))

    def forward(self, out: Tensor) -> dist.Distribution:
        """Map outputs (..., n) to n distributions."""
        gaps = softplus(self.raw)
        cuts = torch.cat([self.first, self.first + gaps.cumsum(-1)], -1) - out[..., None]
        between = logsigmoid(cuts[..., 1:]) + logsigmoid(-cuts[..., :-1]) + torch.log(-torch.expm1(-gaps))
        return dist.Categorical(logits=torch.cat([logsigmoid(cuts[..., :1]), between, logsigmoid(-cuts[..., -1:])], -1))


PARTS: dict[str, Callable[[Group, Units], nn.Module]] = {
    "real": Real,
    "positive": Positive,
    "count": Count,
    "boolean": Boolean,
    "categorical": Categorical,
    "ordinal": Ordinal,
}
"""Kind of columns -> their part of the likelihood."""


def tensor(array: np.ndarray) -> Tensor:
    """Make a tensor of the default type."""
    return torch.tensor(array, dtype=torch.get_default_dtype())


def constant(array: np.ndarray) -> nn.Buffer:
    """Make numbers that are saved with the module, and not trained."""
    return nn.Buffer(tensor(array))
