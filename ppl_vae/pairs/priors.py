"""Another prior in the place of a model's own."""

from __future__ import annotations

from typing import Any


def exchange(model: Any, prior: Any) -> None:
    """Put a prior into a model; of codes of a codebook it becomes the prior over their numbers.

    Raises:
        ValueError: a model without a prior of its own, or what is no prior.
    """
    own = getattr(model, "prior", None)
    if own is None:
        raise ValueError(
            f"The prior of this model ({type(model).__name__}) is not known: make the program a module with the "
            "attribute 'prior', a module whose call returns p(z), as models.VAE(prior, likelihood) is."
        )
    if not callable(prior) or isinstance(prior, type):
        raise ValueError(
            "A prior is a module whose call returns p(z): pass one, such as priors.FactorisedCategorical(8, 16); got "
            f"{prior!r}."
        )
    model.prior = own.with_inner(prior) if hasattr(own, "with_inner") else prior
