"""Piano rolls as MIDI files, which every player of music reads."""

from __future__ import annotations

import os
from pathlib import Path

import mido
import numpy as np
from numpy.typing import ArrayLike

LOWEST = 21
"""The number of the lowest key of a piano, A0."""
TICKS = 480
"""Of a quarter note."""
VELOCITY = 80


def write_midi(path: str | os.PathLike[str], roll: ArrayLike, *, tempo: float = 90.0, lowest: int = LOWEST) -> Path:
    """Write a piano roll (T, P) of 0 and 1, a quarter note a step, as a standard MIDI file of one track.

    A key that sounds in steps one after the other is one note, held. Standard MIDI Files 1.0, MIDI Manufacturers
    Association, 1996.

    Args:
        path: of the file, over one that is there.
        roll: 1 where a key sounds; the first column is the lowest key.
        tempo: quarter notes a minute.
        lowest: the number of the first key, 60 for the middle C.

    Returns: the path.

    Raises:
        ValueError: a roll of other numbers, of none, or with keys beyond 127; a tempo that is not above 3.6.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(write_midi(f"{folder}/c.mid", [[1], [1], [0]], lowest=60).read_bytes())
    42
    """
    keys = np.asarray(roll)
    if keys.ndim != 2 or not keys.size or not ((keys == 0) | (keys == 1)).all():
        raise ValueError(
            f"'roll' should be a piano roll (T, P) of 0 and 1; got shape {keys.shape}: give one sequence, "
            "fit.generate(1, mean=False).reshape(T, P)."
        )
    if not 0 <= lowest <= 128 - keys.shape[1] or not tempo > 60e6 / 2**24:
        raise ValueError(
            f"MIDI has keys 0 to 127, and more than 3.6 quarter notes a minute; got {keys.shape[1]} keys from {lowest} "
            f"and tempo={tempo!r}: set lowest={LOWEST} for the 88 keys of a piano, and tempo=90."
        )
    track, waited = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=round(60e6 / tempo))]), 0
    for step in np.diff(np.pad(keys.astype(int), ((1, 1), (0, 0))), axis=0):
        for change, kind in ((-1, "note_off"), (1, "note_on")):
            for key in np.flatnonzero(step == change):
                track.append(mido.Message(kind, note=lowest + int(key), velocity=VELOCITY, time=waited))
                waited = 0
        waited += TICKS
    mido.MidiFile(type=0, ticks_per_beat=TICKS, tracks=[track]).save(path)
    return Path(path)
