"""The same program on two libraries: weights that are carried over, and log-densities that agree."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np

from .. import backends
from ..pairs.parity import first_difference
from ..pairs.side_inputs import Arrays, Side, check_names
from ..results import Fit
from .names import match, to_numpyro, to_pyro

LIBRARIES = ("Pyro", "NumPyro")
PROBES = (-1.0, 0.5, 1.5, 10.0)
"""Values that constraints of one parameter take alike."""


def _tools(backend: str) -> Any:
    package = "ppl_vae.inference" if backend == "pyro" else "ppl_vae.numpyro.inference"
    return importlib.import_module(f"{package}.parity")


def _prepared(backend: str, programs: Any, x: Any, side: Side) -> tuple[Fit, np.ndarray, Arrays]:
    """A fit of programs as they are, or the fit that is given, with the data that it reads."""
    if isinstance(programs, Fit):
        if programs.backend != backend:
            raise ValueError(f"This fit is of {programs.backend}; the pair at this place is one of {backend}.")
        fit = programs
    else:
        fit = Fit.untrained(backends.load(backend).inference.Pair(*programs), x, **side)
    data = fit.checked(x, **side)
    return fit, data.x, data.arrays


def _carried(pyro: Fit, numpyro: Fit, names: Mapping[str, str] | None, to: str) -> None:
    """Set the weights of one pair to those of the other."""
    ours, theirs = (_tools(f.backend).weights(f.pair) for f in (pyro, numpyro))
    partners = match(ours, theirs, _tools("numpyro").modules(numpyro.pair), names or {})
    if to == "numpyro":
        moved = {b: to_numpyro(b, ours[a]) for a, b in partners.items()}
    else:
        moved = {a: to_pyro(b, theirs[b]) for a, b in partners.items()}
    held = theirs if to == "numpyro" else ours
    for a, b in partners.items():
        name = b if to == "numpyro" else a
        if moved[name].shape != held[name].shape:
            raise ValueError(
                f"The weight {a!r} of Pyro has shape {ours[a].shape}, and {b!r} of NumPyro {theirs[b].shape}: make the "
                "nets of the same sizes, or pass names= if these two are no partners."
            )
    target = numpyro if to == "numpyro" else pyro
    _tools(to).set_weights(target.pair, moved)


def _check_constraints(pyro: Fit, numpyro: Fit, names: Mapping[str, str] | None) -> None:
    """Refuse parameters of plain functions of which one library's may have values that the other's may not."""
    ours, theirs = (_tools(f.backend).weights(f.pair) for f in (pyro, numpyro))
    for a, b in match(ours, theirs, _tools("numpyro").modules(numpyro.pair), names or {}).items():
        for probe in PROBES:
            value = np.full_like(ours[a], probe)
            one, other = _tools("pyro").takes(pyro.pair, a, value), _tools("numpyro").takes(numpyro.pair, b, value)
            if None not in (one, other) and one != other:
                alone = LIBRARIES[0 if one else 1]
                raise AssertionError(
                    f"The parameters {a!r} of Pyro and {b!r} of NumPyro differ in their constraints: {probe:g} is a "
                    f"value of it in {alone} alone; compare constraint=."
                )


def port_weights(
    source: Fit, target: tuple[Any, Any], x: Any, *, names: Mapping[str, str] | None = None, **side: Unpack[Side]
) -> Fit:
    """Carry the weights of a fit over to the same pair on the other library: a fit of that library.

    Weights are matched by their names: 'guide.encoder.0.weight' of torch is 'guide/encoder/layers/0/kernel' of nnx,
    whose kernels (inputs, outputs) are torch's (outputs, inputs) transposed, and a parameter of ``pyro.param`` is the
    one of ``numpyro.param`` of that name, whatever its constraint. What this gets wrong, ``assert_same_program`` shows.

    Args:
        source: a fit of either library.
        target: (model, guide) of the other; its own weights are not changed.
        x: data (N, P), to run the pair on once.
        names: Pyro's name -> NumPyro's, of weights whose names differ.
        side: side inputs of x.

    Raises:
        ValueError: weights without a partner, or of another shape; the message lists them.
    """
    check_names(side)
    other = "numpyro" if source.backend == "pyro" else "pyro"
    fit, _, _ = _prepared(other, target, x, side)
    pyro, numpyro = (source, fit) if other == "numpyro" else (fit, source)
    _carried(pyro, numpyro, names, other)
    return Fit(fit.pair, source.history, source.settings)


def assert_same_program(
    pyro_pair: Any,
    numpyro_pair: Any,
    x: Any,
    *,
    names: Mapping[str, str] | None = None,
    num_draws: int = 3,
    seed: int = 0,
    rtol: float = 1e-4,
    atol: float = 1e-4,
    **side: Unpack[Side],
) -> None:
    """Assert that a pair on Pyro and a pair on NumPyro are one program: the same sites, the same log-densities.

    Pyro's weights are carried over to a copy of NumPyro's pair. Pyro's guide draws; on these values each site of both
    guides and of both models is evaluated, with its plates, mask and scale. The error names the first site that
    differs, and, where it can, which parameter of its distribution; or a parameter of plain functions whose
    constraint does.

    Args:
        pyro_pair: (model, guide), or a fit, whose trained weights then count.
        numpyro_pair: (model, guide), or a fit.
        x: data (B, P), as both libraries get it.
        names: Pyro's name -> NumPyro's, of weights whose names differ.
        num_draws: number of draws, one after another.
        seed: of the draws.
        rtol: relative tolerance of log-densities.
        atol: absolute tolerance, nats.
        side: side inputs of x, such as ``mask`` and ``given``.

    Raises:
        AssertionError: they differ.
        ValueError: weights without a partner, or a pair that does not run.
    """
    check_names(side)
    pyro, rows, arrays = _prepared("pyro", pyro_pair, x, side)
    numpyro, _, _ = _prepared("numpyro", numpyro_pair, x, side)
    before = numpyro.pair.state()
    _check_constraints(pyro, numpyro, names)
    _carried(pyro, numpyro, names, "numpyro")
    try:
        for number in range(num_draws):
            p, q = _tools("pyro").densities(pyro.pair, rows, seed + number, arrays)
            values = {name: site.value for name, site in q.items() if not site.observed}
            other_p, other_q = _tools("numpyro").densities(numpyro.pair, rows, seed, arrays, values)
            for program, ours, theirs in (("guide", q, other_q), ("model", p, other_p)):
                found = first_difference(program, ours, theirs, LIBRARIES, rtol, atol)
                if found is not None:
                    raise AssertionError(found)
    finally:
        numpyro.pair.load_state(before)
