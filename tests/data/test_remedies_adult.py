"""What refusals of the files of Adult advise, followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pairs import follow

from ppl_vae import data

ROW = "39, Private, 7, HS-grad, 9, Divorced, Sales, Unmarried, White, Male, 0, 0, 40, Cuba, <=50K"


def reads(root: bool, counts: bool, files: bool = True) -> Callable[[Path], Any]:
    def read(folder: Path) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PPL_VAE_DATA", str(folder))
            patch.setenv("PPL_VAE_CACHE", str(folder / "cache"))
            for name in ("adult.data", "adult.test") if files else ():
                (folder / name).write_text(ROW + "\n")
            found = data.adult.read(folder if root else None, **({} if counts else {"counts": None}))
        return len(found[0].x)

    return read


REMEDIES: dict[str, tuple[Callable[[Path], Any], ...]] = {
    "say counts=None for others": (reads(True, True), reads(True, False)),
    "get them from UCI's page of the data set Adult": (
        reads(False, False, files=False),
        reads(True, False),
        reads(False, False),
    ),
}


@pytest.mark.parametrize("says", REMEDIES)
def test_the_advice_works(says: str, tmp_path: Path) -> None:
    follow(says, tmp_path, *REMEDIES[says])
