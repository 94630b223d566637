"""Data parallel training in NumPyro: one program over all devices, each with its rows of every batch."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ....data import Stream
from ....training.data import TrainingData
from ....training.svi import BaseSVI
from ..pair import Pair, Tree, find_device
from .run import NumPyroRun
from .step import Carry, Constants
from .streaming import Batches


def devices_of(name: str | None, batch_size: int) -> list[Any]:
    """List all devices of this process, on JAX's default platform or on the named one.

    Raises:
        ValueError: a single device's name, or batches that cannot be divided by them.
    """
    if name is not None and ":" in name:
        raise ValueError(f"'parallel' takes every device of a platform, and {name!r} is a single one: name a platform.")
    devices = jax.local_devices(backend=None if name is None else find_device(name).platform)
    if batch_size % len(devices):
        raise ValueError(f"'batch_size' is {batch_size}: let it be a multiple of the {len(devices)} devices.")
    return devices


class MeshRun(NumPyroRun):
    """A training whose batches are shared out by rows; XLA adds the communication between devices.

    Weights and data are on every device. Under a per-datapoint guide the table's rows, their moments and their data
    are divided in blocks instead, filled up with rows that are in no batch. Between epochs the pair is
    whole, on the first device.
    """

    def __init__(self, settings: BaseSVI, pair: Pair, data: TrainingData, seed: int, devices: Sequence[Any]) -> None:
        super().__init__(settings, pair, data, seed)
        mesh = Mesh(np.array(devices), ("data",))
        self.everywhere = NamedSharding(mesh, PartitionSpec())
        self.by_rows = NamedSharding(mesh, PartitionSpec("data"))
        self.step = replace(self.step, rows=self.by_rows)
        self.spare = 0 if pair.num_rows is None else -self.count % mesh.size
        place = self._copied if pair.num_rows is None else self._divided
        self.side = place(self.side)
        if not isinstance(self.train, Stream):
            self.train = place(self.train)
        self._place()

    def _copied(self, tree: Tree) -> Tree:
        return jax.device_put(tree, self.everywhere)

    def _divided(self, tree: Tree) -> Tree:
        def filled_up(rows: Array) -> Array:
            return jnp.pad(rows, [(0, self.spare), *[(0, 0)] * (rows.ndim - 1)]) if self.spare else rows

        return jax.device_put(jax.tree.map(filled_up, tree), self.by_rows)

    def _place(self) -> None:
        carry, divided = self.carry, self._divided((self.carry.tables, self.carry.moments))
        trained, optim, players = self._copied((carry.trained, carry.optim, carry.players))
        self.carry = Carry(trained, optim, divided[0], divided[1], players, self._copied(carry.average))
        self.fixed = self._copied(super().constants)

    @property
    def constants(self) -> Constants:
        """Constants of a training: what no step changes."""
        return self.fixed

    def plan(self, epoch: int, order: np.ndarray) -> tuple[Array | None, list[Batches]]:
        """Plan batches as on one device; rows that fill a shorter batch stand after those that fill the blocks."""
        drawn, parts = super().plan(epoch, order)
        places = [jnp.where(part.rows < self.count, part.rows, part.rows + self.spare) for part in parts]
        return drawn, [part._replace(positions=p, rows=p) for part, p in zip(parts, places, strict=True)]

    def _blocks(self, epoch: int, order: np.ndarray) -> Generator[tuple[Array, Batches]]:
        with closing(super()._blocks(epoch, order)) as blocks:
            for x, batches in blocks:
                yield self._copied(x) if isinstance(self.train, Stream) else x, batches

    def settle(self) -> None:
        """Write the present parameters to the pair, whole and on its own device."""
        super().settle()
        tables = jax.tree.map(lambda rows: rows[: self.count], self.carry.tables)
        self.pair.params = jax.device_put({**self.pair.params, "tables": tables}, self.pair.device)

    def state(self) -> dict[str, np.ndarray]:
        """Return the state as a run on one device would."""
        return {name: a[: self.count] if name.startswith("local/") else a for name, a in super().state().items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``state`` returned, on any number of devices."""
        super().load_state(state)
        self._place()
