"""Laws of MIDI files: read again by the standard's own rules, they are the piano roll."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import follow

from ppl_vae import data


def read(content: bytes, steps: int) -> tuple[np.ndarray, float]:
    """The roll (T, 128) of a file of one track, and quarter notes a minute."""
    kind, size, form, tracks, ticks = struct.unpack(">4sIHHH", content[:14])
    assert (kind, size, form, tracks) == (b"MThd", 6, 0, 1)
    kind, length = struct.unpack(">4sI", content[14:22])
    assert kind == b"MTrk" and length == len(content) - 22
    at, now, status, roll, tempo = 22, 0, 0, np.zeros((steps, 128), int), 0.0
    while True:
        wait = 0
        while content[at] & 0x80:
            wait, at = wait << 7 | content[at] & 0x7F, at + 1
        now, at = now + (wait << 7 | content[at]), at + 1
        if content[at] & 0x80:  # else the status before holds on
            status, at = content[at], at + 1
        key = content[at]
        if status == 0xFF:
            if key == 0x2F:
                assert at + 2 == len(content)
                return roll, tempo
            tempo, at = 60e6 / int.from_bytes(content[at + 2 : at + 5], "big"), at + 5
            continue
        assert now % ticks == 0 and roll[now // ticks :, key].all() == (status == 0x80)
        roll[now // ticks :, key] = status == 0x90
        at += 2


@pytest.mark.parametrize("silence", [0, 40])
def test_a_file_is_its_roll(tmp_path: Path, silence: int) -> None:
    """Held notes, silence of more ticks than two bytes hold, and keys that end with the roll."""
    roll = (np.random.default_rng(0).random((30, 88)) < 0.3).astype(np.float32)
    roll[5 : 5 + silence] = 0
    found, tempo = read(data.write_midi(tmp_path / "new.mid", roll, tempo=120).read_bytes(), 31)
    assert (found[:30, 21 : 21 + 88] == roll).all() and not found[30].any() and found.sum() == roll.sum()
    np.testing.assert_allclose(tempo, 120)


REMEDIES: dict[str, tuple[Callable[[Path], Any], ...]] = {
    "give one sequence, fit.generate(1, mean=False).reshape(T, P)": (
        lambda at: data.write_midi(at / "a.mid", np.zeros((2, 3, 4))),
        lambda at: data.write_midi(at / "a.mid", np.zeros((2, 3, 4))[0]),
    ),
    "set lowest={} for the 88 keys of a piano, and tempo=90": (
        lambda at: data.write_midi(at / "a.mid", np.zeros((3, 88)), lowest=60),
        lambda at: data.write_midi(at / "a.mid", np.zeros((3, 88)), lowest=21, tempo=90),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_on_a_roll_works(says: str, tmp_path: Path) -> None:
    follow(says, tmp_path, *REMEDIES[says])
