"""Products in bfloat16: the numbers that they should be, and what they leave alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import lax
from torch._subclasses import FakeTensorMode
from torch.nn import functional
from torch.utils import _python_dispatch

from ppl_vae.inference.svi import products as of_torch
from ppl_vae.numpyro.inference.svi import products as of_jax

RNG = np.random.default_rng(0)
A, B, W = (RNG.normal(size=shape).astype(np.float32) for shape in ((64, 128), (128, 32), (6, 3, 4, 4)))
IMAGES = RNG.normal(size=(5, 3, 8, 8)).astype(np.float32)

Arrays = tuple[np.ndarray, ...]


def rounded(a: np.ndarray) -> np.ndarray:
    """The nearest numbers of eight bits, ties to even, by their bits alone."""
    bits = np.ascontiguousarray(a, np.float32).view(np.uint32).astype(np.uint64)
    kept = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return kept.astype(np.uint32).view(np.float32).astype(float)


def by_torch(function: Callable[..., Any], *operands: np.ndarray) -> Arrays:
    """The value of a function with products in bfloat16, and the gradient of the sum of its sines."""
    tensors = [torch.tensor(a, requires_grad=True) for a in operands]
    with of_torch.products("bfloat16"):
        value = function(*tensors)
        value.sin().sum().backward()
    assert value.dtype == torch.float32
    return (value.detach().numpy(), *(a.grad.numpy() for a in tensors if a.grad is not None))


def by_jax(function: Callable[..., Any], *operands: np.ndarray) -> Arrays:
    def both(*arrays: jax.Array) -> Any:
        value, back = jax.vjp(function, *arrays)
        return value, *back(jnp.cos(value))

    found = jax.jit(of_jax.products("bfloat16", both))(*operands)
    assert found[0].dtype == jnp.float32
    return tuple(np.asarray(a) for a in found)


PRODUCTS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Arrays]] = {
    "matrices": (lambda a, b: a @ b, lambda a, b: a @ b, (A, B)),
    "batches": (lambda a, b: a @ b, lambda a, b: a @ b, (A.reshape(4, 16, 128), B.reshape(4, 32, 32).repeat(4, 1))),
    "a linear layer": (
        lambda x, w, b: functional.linear(x, w, b),
        lambda x, w, b: x @ w.T + b,
        (A.reshape(2, 32, 128), B.T.copy(), B[0].copy()),
    ),
    "einsum": (partial(torch.einsum, "ij,jk->ki"), partial(jnp.einsum, "ij,jk->ki"), (A, B)),
    "a convolution": (
        lambda x, w: functional.conv2d(x, w, stride=2, padding=1),
        lambda x, w: lax.conv_general_dilated(x, w, (2, 2), [(1, 1), (1, 1)]),
        (IMAGES, W),
    ),
}
"""Name -> the product in torch, in JAX, and its operands."""


@pytest.mark.parametrize("name", PRODUCTS)
def test_both_backends_round_the_same_operands_and_no_sums(name: str) -> None:
    """Values and gradients of torch and JAX are alike to roundings of float32, and not those in full precision."""
    torchs, jaxs, operands = PRODUCTS[name]
    ours, theirs = by_torch(torchs, *operands), by_jax(jaxs, *operands)
    full = torchs(*map(torch.tensor, operands)).numpy()
    assert np.abs(ours[0] - full).max() > 1e-3 * np.abs(full).max()
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=3e-4 * np.abs(one).max())
    np.testing.assert_allclose(ours[0], theirs[0], rtol=0, atol=1e-6 * np.abs(full).max())


def test_a_product_is_that_of_rounded_operands() -> None:
    """And so are both products of its gradient, by NumPy in double precision."""
    for value, of_a, of_b in (by_torch(lambda a, b: a @ b, A, B), by_jax(lambda a, b: a @ b, A, B)):
        np.testing.assert_allclose(value, rounded(A) @ rounded(B), atol=2e-5)
        back = rounded(np.cos(value))
        np.testing.assert_allclose(of_a, back @ rounded(B).T, atol=2e-4)
        np.testing.assert_allclose(of_b, rounded(A).T @ back, atol=2e-4)


def test_a_convolution_is_that_of_rounded_operands() -> None:
    """The gradient of its bias is a sum, and not rounded."""
    bias = np.zeros(6, np.float32)
    exact = functional.conv2d(torch.tensor(rounded(IMAGES)), torch.tensor(rounded(W)))
    value, _, _, of_bias = by_torch(functional.conv2d, IMAGES, W, bias)
    np.testing.assert_allclose(value, exact, atol=1e-4)
    np.testing.assert_allclose(of_bias, np.cos(value.astype(float)).sum((0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(by_jax(lambda x, w: lax.conv(x, w, (1, 1), "VALID"), IMAGES, W)[0], exact, atol=1e-4)


ALONE: dict[str, tuple[Callable[..., Any], Arrays]] = {
    "a product with a vector": (lambda a, b: a @ b, (A, B[:, 0])),
    "one row": (lambda a, b: a @ b, (A[:1], B)),
    "an outer product": (lambda a, b: a @ b, (A[:, :1], B[:1])),
    "a sum of squares": (lambda a: (a * a).sum(-1), (A,)),
}


@pytest.mark.parametrize("name", ALONE)
def test_what_is_no_product_of_matrices_stays_as_it_is(name: str) -> None:
    function, operands = ALONE[name]
    np.testing.assert_array_equal(by_torch(function, *operands)[0], function(*map(torch.tensor, operands)).numpy())
    np.testing.assert_array_equal(by_jax(function, *operands)[0], jax.jit(function)(*operands))


def test_double_precision_and_a_precision_of_ones_own_stay() -> None:
    with of_torch.products("bfloat16"):
        double = torch.tensor(A, dtype=torch.float64) @ torch.tensor(B, dtype=torch.float64)
    np.testing.assert_allclose(double, A.astype(float) @ B, rtol=1e-12)

    def own(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.dot(a, b, precision="highest")

    np.testing.assert_allclose(of_jax.in_bfloat16(own)(A, B), A @ B, atol=1e-4)
    with jax.default_matmul_precision("highest"):  # the user's default is no wish of the program
        np.testing.assert_allclose(of_jax.in_bfloat16(jnp.matmul)(A, B), rounded(A) @ rounded(B), atol=2e-5)
        assert "HIGHEST" in str(
            jax.make_jaxpr(of_jax.in_bfloat16(jnp.matmul))(A, B[:, 0])
        )  # but of what is not rounded
    assert "HIGHEST" not in str(jax.make_jaxpr(of_jax.in_bfloat16(jnp.matmul))(A, B[:, 0]))


def test_loops_branches_and_mapped_programs_are_rounded_within() -> None:
    w = (B @ B.T / 100).astype(np.float32)

    def program(a: jax.Array) -> jax.Array:
        a = lax.scan(lambda c, _: (c @ w, None), a, None, length=1)[0]
        a = lax.cond(a[0, 0] < 1e9, lambda a: a @ w, lambda a: a, a)
        return lax.while_loop(lambda s: s[0] < 1, lambda s: (s[0] + 1, s[1] @ w), (0, a))[1]

    expected = A
    for _ in range(3):
        expected = (rounded(expected) @ rounded(w)).astype(np.float32)
    mapped = jax.jit(jax.vmap(lambda a: of_jax.in_bfloat16(program)(a)))(A[None])[0]
    for found in (jax.jit(of_jax.in_bfloat16(program))(A), mapped):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
        assert np.abs(found - program(jnp.asarray(A))).max() > 2e-3 * np.abs(expected).max()


class Seen(_python_dispatch.TorchDispatchMode):
    """The operations of a block, with the types of their tensors and of their result."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: dict[str, list[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [a for a in (*args, result) if isinstance(a, torch.Tensor)]
        self.operations[str(func)] = [a.dtype for a in tensors]
        return result


def test_on_a_gpu_operands_are_in_bfloat16_and_results_in_float32() -> None:
    """By types and compiled text alone: no GPU computes here."""
    half, full = torch.bfloat16, torch.float32
    with FakeTensorMode(), Seen() as seen:
        a, b, bias = (torch.empty(*shape, device="cuda") for shape in ((3, 4), (4, 5), (5,)))
        stacked = [torch.empty(2, *shape, device="cuda") for shape in ((3, 4), (4, 5))]
        x, w = (torch.empty(*shape, device="cuda") for shape in ((2, 3, 8, 8), (6, 3, 4, 4)))
        aten = torch.ops.aten
        options = [[1, 1], [0, 0], [1, 1], False, [0, 0], 1]
        found = [
            of_torch.RULES[aten.addmm.default](aten.addmm.default, bias, a, b),
            of_torch.RULES[aten.bmm.default](aten.bmm.default, *stacked),
            of_torch.RULES[aten.convolution.default](aten.convolution.default, x, w, None, *options),
        ]
    assert [value.dtype for value in found] == [full] * 3
    assert seen.operations["aten.mm.dtype"] == seen.operations["aten.bmm.dtype"] == [half, half, full]
    assert seen.operations["aten.convolution.default"][:2] == [half, half]
    lowered = jax.jit(of_jax.in_bfloat16(jnp.matmul)).trace(A, B).lower(lowering_platforms=("cuda",)).as_text()
    assert "(tensor<64x128xbf16>, tensor<128x32xbf16>) -> tensor<64x32xf32>" in lowered
