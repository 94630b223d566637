"""Matrix products and convolutions in bfloat16, with sums and results in float32, in whatever a program computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, jaxpr_as_fun

Function = Callable[..., Any]
PRODUCTS = (lax.dot_general_p, lax.conv_general_dilated_p)


def products(precision: str, function: Function) -> Function:
    """Make a function whose products have that precision, one of ``kinds.PRECISIONS``."""
    return in_bfloat16(function) if precision == "bfloat16" else function


def in_bfloat16(function: Function) -> Function:
    """Make a function whose products of float32 matrices, and convolutions, have operands rounded to bfloat16.

    It sees the operations that JAX records, those of gradients inside the function, too. It is not to be
    differentiated itself. Everything else stays as it is: products with a vector, sums, densities, what is of another
    type, products of which a program itself says the ``precision``, and kernels written in Pallas. Results are in
    float32.
    """

    def rounded(*args: Any) -> Any:
        usual = jax.make_jaxpr(lambda a: lax.dot(a, a))(jnp.ones((2, 2))).eqns[0].params["precision"]
        with jax.default_matmul_precision(None):  # so that what has one has it from the program
            recorded, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
        results = jaxpr_as_fun(_closed(recorded, usual))(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return rounded


def _closed(jaxpr: ClosedJaxpr, usual: Any) -> ClosedJaxpr:
    return jaxpr.replace(jaxpr=_open(jaxpr.jaxpr, usual))


def _open(jaxpr: Jaxpr, usual: Any) -> Jaxpr:
    return jaxpr.replace(eqns=[_equation(eqn, usual) for eqn in jaxpr.eqns])


def _equation(eqn: JaxprEqn, usual: Any) -> JaxprEqn:
    """Round the operands of an equation if it is a product, or those of the equations inside it.

    A product that stays as it is has the ``usual`` precision, that of JAX's configuration, if the program names none.
    """
    if _rounds(eqn):
        product = _product(eqn.primitive, tuple(sorted(eqn.params.items())), *(v.aval for v in eqn.invars))
        return eqn.replace(primitive=product.primitive, params=product.params)
    if eqn.primitive in PRODUCTS:
        return eqn.replace(params={**eqn.params, "precision": eqn.params["precision"] or usual})
    if eqn.primitive.name == "pallas_call":
        return eqn
    return eqn.replace(params={name: _inside(value, usual) for name, value in eqn.params.items()})


def _inside(value: Any, usual: Any) -> Any:
    if isinstance(value, ClosedJaxpr):
        return _closed(value, usual)
    if isinstance(value, Jaxpr):
        return _open(value, usual)
    if isinstance(value, tuple) and any(isinstance(part, ClosedJaxpr | Jaxpr) for part in value):
        parts = [_inside(part, usual) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _rounds(eqn: JaxprEqn) -> bool:
    """Whether an equation is a convolution, or a sum of products in which no side is a single vector."""
    if eqn.primitive not in PRODUCTS or eqn.params["precision"] is not None:
        return False
    arrays: list[Any] = [v.aval for v in (*eqn.invars, *eqn.outvars)]
    if any(array.dtype != jnp.float32 for array in arrays):
        return False
    if eqn.primitive is lax.conv_general_dilated_p:
        return True
    summed, batch = eqn.params["dimension_numbers"]
    left, right, _ = arrays
    sizes = [prod(left.shape[d] for d in summed[0])]
    for operand, used in ((left, summed[0] + batch[0]), (right, summed[1] + batch[1])):
        sizes.append(prod(n for d, n in enumerate(operand.shape) if d not in used))
    return min(sizes) > 1


@lru_cache
def _product(primitive: Any, params: tuple[tuple[str, Any], ...], *avals: Any) -> JaxprEqn:
    """Record a product of rounded operands, as one equation with the inputs and outputs of the product itself.

    A CPU, for which XLA lacks some of these, multiplies what is rounded in float32: the same number.
    """
    options = {**dict(params), "preferred_element_type": jnp.dtype(jnp.float32)}

    def emulated(*operands: Array) -> Any:
        return primitive.bind(*(lax.reduce_precision(a, 8, 7) for a in operands), **options)

    def native(*operands: Array) -> Any:
        return primitive.bind(*(a.astype(jnp.bfloat16) for a in operands), **options)

    @jax.jit
    def rounded_product(*operands: Array) -> Any:
        return lax.platform_dependent(*operands, cpu=emulated, default=native)

    like = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
    return jax.make_jaxpr(rounded_product)(*like).eqns[0]
