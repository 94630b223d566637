"""Outputs of nets: are they one array, with as many numbers as a distribution needs?"""

from __future__ import annotations

from typing import Any


def check_halves(name: str, out: Any, first: str) -> None:
    """Refuse outputs of a net that are not two halves of the last axis.

    Args:
        name: the conditional that reads them.
        out: the net's outputs, (..., 2 D).
        first: what the first half is, in the plural.

    Raises:
        ValueError: an odd number of outputs, or several arrays.

    >>> import numpy as np
    >>> check_halves("DiagNormal", np.zeros((3, 4)), "means")
    """
    shape = getattr(out, "shape", None)
    if shape is None:
        raise ValueError(
            f"{name}: the net should return one array (..., 2 D), {first} and then raw scales, of which softplus(raw) "
            f"+ floor are the scales; got a {type(out).__name__}. Of two heads return the concatenation along the last "
            "axis, without an exp of its own."
        )
    if not shape or shape[-1] % 2:
        raise ValueError(
            f"{name}: the net should return an even number of outputs, D {first} and D raw scales; got "
            f"{shape[-1] if shape else 'a single number'}: give its last layer 2 D outputs."
        )


def check_outputs(name: str, event_shape: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Compare the event shape of an observed site's distribution with the shape of its data.

    Raises:
        ValueError: they differ, so that one number would stand for several, or the other way round.
    """
    data = shape[max(len(shape) - len(event_shape), 0) :]
    if data != tuple(event_shape):
        raise ValueError(
            f"Site {name!r} observes data of event shape {data}, and its distribution has event shape "
            f"{tuple(event_shape)}: give the last layer of the net as many outputs as the distribution needs for "
            "these data. One number for all of them is written with .expand, before .to_event(1)."
        )


def check_logits(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Compare the shape of an autoregressive net's logits with what the distribution needs, (D,) or (D, C).

    Raises:
        ValueError: they differ, so that one logit would stand for several.

    >>> check_logits("AutoregressiveCategorical", (5, 3, 4), (3, 4))
    """
    if tuple(shape[-len(expected) :]) != tuple(expected):
        logits = ", ".join(map(str, expected))
        raise ValueError(f"{name}: the net should return logits (..., {logits}); got shape {tuple(shape)}.")


def check_order(net: Any, order: tuple[int, ...]) -> None:
    """Compare the order of a distribution's entries with that which its net was made for, if this says one.

    Raises:
        ValueError: they differ, so that the logits of an entry would depend on it.
    """
    own = tuple(getattr(net, "order", order))
    if own != tuple(order):
        raise ValueError(
            f"The net was made for {len(own)} entries in the order {own[:5]}..., and the distribution has {len(order)} "
            f"in the order {tuple(order)[:5]}...: give it the net's own, order=net.order."
        )
