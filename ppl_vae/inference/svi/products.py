"""Matrix products and convolutions in bfloat16, with sums and results in float32, in whatever a program computes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


def products(precision: str) -> AbstractContextManager[Any]:
    """Make a block in which products have that precision, one of ``kinds.PRECISIONS``."""
    return InBfloat16() if precision == "bfloat16" else nullcontext()


def check_device(precision: str, device: torch.device) -> None:
    """Refuse a GPU without such products.

    Raises:
        ValueError: it would compute them more slowly than in float32.
    """
    if precision != "bfloat16" or device.type != "cuda":
        return
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        raise ValueError(
            f"SVI: precision='bfloat16' needs a GPU of compute capability 8.0, and this "
            f"{torch.cuda.get_device_name(device)} has {major}.{minor}: train with precision='full'."
        )


class InBfloat16(TorchDispatchMode):
    """A block whose products of float32 matrices, and convolutions, have operands rounded to bfloat16.

    It sees operations below autograd: those of a backward pass within the block, too. Everything else stays as it is:
    products with a vector, sums, densities, and what is of another type. Results are in float32, but for convolutions
    on a GPU, whose results are rounded once more. Fused kernels, of attention and of torch's recurrent nets, are not
    touched. A CPU rounds the operands and multiplies in float32, which is the same number.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute an operation, by its rule if it has one."""
        rule, named = RULES.get(func), kwargs or {}
        return func(*args, **named) if rule is None else rule(func, *args, **named)


def _rounds(*operands: Tensor) -> bool:
    return all(a.dtype == torch.float32 for a in operands)


def _rounds_matrices(a: Tensor, b: Tensor) -> bool:
    """Whether this is a sum of products in which no side is a single vector."""
    return _rounds(a, b) and min(*a.shape[-2:], b.shape[-1]) > 1


def _rounded(a: Tensor) -> Tensor:
    """Round to bfloat16, as a tensor that the device multiplies: a CPU in float32."""
    rounded = a.to(torch.bfloat16)
    return rounded.to(torch.float32) if a.device.type == "cpu" else rounded


def _product(func: Any, a: Tensor, b: Tensor) -> Tensor:
    if not _rounds_matrices(a, b):
        found: Tensor = func(a, b)
    elif a.device.type == "cuda":
        found = func.overloadpacket(_rounded(a), _rounded(b), torch.float32)
    else:
        found = func(_rounded(a), _rounded(b)).to(torch.float32)
    return found


def _product_and_sum(
    product: Any, func: Any, start: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    if not _rounds_matrices(a, b):
        found: Tensor = func(start, a, b, beta=beta, alpha=alpha)
    elif a.device.type == "cpu":
        found = func(start, _rounded(a), _rounded(b), beta=beta, alpha=alpha)
    else:
        found = _product(product, a, b)
        found = torch.add(start if beta == 1 else start * beta, found, alpha=alpha)
    return found


def _convolution(func: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    if not _rounds(x, weight):
        found: Tensor = func(x, weight, bias, *how)
        return found
    found = func(_rounded(x), _rounded(weight), None, *how).to(torch.float32)
    return found if bias is None else found + bias.reshape(-1, *[1] * (x.dim() - 2))


def _convolution_backward(
    func: Any, grad: Tensor, x: Tensor, weight: Tensor, bias: Any, *how: Any
) -> tuple[Tensor | None, ...]:
    """Compute the gradients; that of the bias is a sum, and not rounded."""
    if not _rounds(grad, x, weight):
        found: tuple[Tensor | None, ...] = func(grad, x, weight, bias, *how)
        return found
    *how_, (of_x, of_weight, of_bias) = how
    operands = (_rounded(a) for a in (grad, x, weight))
    grads = func(*operands, None, *how_, [of_x, of_weight, False])
    summed = grad.sum([0, *range(2, grad.dim())]) if of_bias else None
    return (*(None if g is None else g.to(torch.float32) for g in grads[:2]), summed)


RULES: dict[Any, Callable[..., Any]] = {
    aten.mm.default: _product,
    aten.bmm.default: _product,
    aten.addmm.default: partial(_product_and_sum, aten.mm.default),
    aten.baddbmm.default: partial(_product_and_sum, aten.bmm.default),
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
}
"""Operation -> what computes it, of the operation and its arguments."""
