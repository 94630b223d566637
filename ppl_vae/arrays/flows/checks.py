"""Refuse steps that cannot be, or do not fit together."""

from __future__ import annotations

from collections.abc import Sequence

from .steps import Step


def check_dim(name: str, dim: int) -> None:
    """Refuse a step that needs two entries at least.

    Raises:
        ValueError: says which steps there are for one entry.
    """
    if dim < 2:
        raise ValueError(
            f"{name} moves some entries by others, and z has {dim}: take two or more, or Planar or Radial steps."
        )


def check_steps(steps: Sequence[Step], dim: int, context: int) -> None:
    """Refuse steps that were made for vectors or a context of another width.

    Raises:
        ValueError: says which.
    """
    for number, step in enumerate(steps):
        if (step.dim, step.context) != (dim, context):
            raise ValueError(
                f"Step {number} of the flow is for {step.dim} entries and a context of {step.context} numbers, and "
                f"z has {dim} entries and the context {context}: make it with dim={dim}, context={context}; the net of "
                "conditionals.Flow returns the base's parameters, then the context."
            )


def check_hidden(dim: int, hidden: Sequence[int]) -> None:
    """Refuse hidden layers of an autoregressive step with fewer units than entries, which would hide some from others.

    Raises:
        ValueError: says how many are needed.
    """
    if any(units < dim for units in hidden):
        raise ValueError(
            f"Autoregressive: 'hidden' should have at least D = {dim} units in each layer, so that an entry sees all "
            f"before it; got {tuple(hidden)}."
        )


def check_context(width: int) -> None:
    """Refuse a step whose parameters come from a context that there is not.

    Raises:
        ValueError: says what to do.
    """
    if width < 1:
        raise ValueError(
            "Planar, radial and Sylvester steps have their parameters from a context, of one number at least; got "
            f"{width}: use Coupling or Autoregressive steps, which need none."
        )


def check_rank(dim: int, rank: int, reflections: int) -> None:
    """Refuse a Sylvester step that bends no direction, or more than there are, or whose directions are not turned.

    Raises:
        ValueError: says what is possible.
    """
    if not 1 <= rank <= dim:
        raise ValueError(f"Sylvester: 'rank' should be a number of directions from 1 to D = {dim}; got {rank}.")
    if reflections < 1:
        raise ValueError(f"Sylvester: 'reflections' should be at least 1; got {reflections}.")


def check_transform(name: str, fits: bool) -> None:
    """Refuse a transform of a library whose image is not all of the real numbers.

    Raises:
        ValueError: says what it should be.
    """
    if not fits:
        raise ValueError(
            f"Stock: {name} is no bijection of the real numbers onto themselves, which every step of a flow should be: "
            "take another transform."
        )


def check_image(name: str, shape: tuple[int, ...], dim: int) -> None:
    """Refuse a transform that makes something else of a vector than a vector.

    Raises:
        ValueError: says the shapes.
    """
    if shape != (1, dim):
        raise ValueError(
            f"Stock: {name} should map (1, {dim}) to (1, {dim}), and returns {shape}: make it for D = {dim} entries."
        )


def no_inverse(name: str) -> str:
    """Say that a transform of a library would have to be inverted."""
    return (
        f"The density of a flow through {name} is known at its own draws alone, and was asked at another value: use "
        "an objective that does not ask, such as TraceELBO, or a step of ppl_vae.nets, which has an inverse."
    )
