"""Several trainings of equal structure as one program, in NumPyro."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..pair import Tree
from .run import NumPyroRun, binarised
from .step import Carry, Constants, Data, Step, StepResult, scan_steps
from .streaming import Batches


class Replicas:
    """Trainings of equal structure as one program: the data are shared, every other array has a row for each training.

    On an accelerator the program is vmapped, which fills it; on a CPU it does one training after the other, because
    products of stacked matrices take several times as long there as one product after the other.
    """

    def __init__(self, runs: Sequence[NumPyroRun]) -> None:
        self.runs = runs
        self.vmapped = runs[0].pair.device.platform != "cpu"
        for run in runs[1:]:
            run.train, run.side = runs[0].train, runs[0].side
        self.load()

    def load(self) -> None:
        """Read the state of each training."""
        self.carry = stacked([run.carry for run in self.runs])
        self.constants = stacked([run.constants for run in self.runs])

    def epoch(self, epochs: Sequence[int], orders: Sequence[np.ndarray], active: Sequence[bool]) -> list[np.ndarray]:
        """Pass over the data once in each training; return the losses of each. Inactive trainings stay as they are."""
        first = self.runs[0]
        planned = [run.plan(epoch, order) for run, epoch, order in zip(self.runs, epochs, orders, strict=True)]
        x = jnp.stack([binarised(drawn, first.train) for drawn, _ in planned]) if first.dynamic else first.train
        losses, outcomes = [], []
        for parts in zip(*(parts for _, parts in planned), strict=True):
            memory: Any = x
            data = Data(memory, first.side, first.places(parts[0]))
            self.carry, (values, told) = scan_replicas(
                first.step, first.dynamic, self.vmapped, self.carry, self.constants, data, stacked(parts)
            )
            losses.append(np.asarray(values, np.float64))
            outcomes.append(told)
        for number, (run, goes_on) in enumerate(zip(self.runs, active, strict=True)):
            if goes_on:
                run.carry = jax.tree.map(lambda leaf, number=number: leaf[number], self.carry)
                run.settle()
                run.measure([None if told is None else told[number] for told in outcomes])
        return list(np.concatenate(losses, 1))


def stacked(trees: Sequence[Tree]) -> Tree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnames=("step", "dynamic", "vmapped"))
def scan_replicas(
    step: Step,
    dynamic: bool,
    vmapped: bool,
    carry: Carry,
    constants: Constants,
    data: Data,
    batches: Batches,
) -> tuple[Carry, StepResult]:
    """Scan steps of R trainings, (R, ...) each; return the losses, (R, S)."""

    def one(carry: Carry, constants: Constants, own: Array | None, batches: Batches) -> tuple[Carry, StepResult]:
        return scan_steps(step, carry, constants, data if own is None else data._replace(x=own), batches)

    replicas = (carry, constants, data.x if dynamic else None, batches)
    return jax.vmap(one)(*replicas) if vmapped else jax.lax.map(lambda replica: one(*replica), replicas)
