"""The pages for people who come from elsewhere: what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ppl_vae import callbacks, evaluation, inference, recipes, schedules, testing
from ppl_vae.results import Fit

DOCS = Path(__file__).resolve().parents[2] / "docs"
OWNERS = {"callbacks": callbacks, "evaluation": evaluation, "recipes": recipes, "schedules": schedules}
OWNERS |= {"testing": testing, "inference": inference, "fit": Fit, "Fit": Fit}


@pytest.mark.parametrize("page", ["from_pythae", "from_pyro", "glossary"])
def test_every_name_of_a_page_exists(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+)\.(\w+)", text)
    ours = [(owner, name) for owner, name in named if owner in OWNERS]
    known = {"model", "guide", "settings", "safetensors"}
    assert len(ours) > 2 and not [o for o in ours if not hasattr(OWNERS[o[0]], o[1]) and o[1] not in known]


def test_recipes_and_objectives_of_the_table_can_be_made() -> None:
    rows = [line.split("|")[2:4] for line in (DOCS / "from_pythae.md").read_text(encoding="utf-8").splitlines()[8:20]]
    made = 0
    for recipe, objective in rows:
        if call := re.search(r"`recipes\.vae\(data(.*?)\)`", recipe):
            eval(f"vae(data{call[1]})", {"vae": recipes.vae, "data": np.eye(6)})
        eval(re.findall(r"`(\w+\(.*?\))`", objective)[0] if "(" in objective.split("[")[0] else "None", vars(inference))
        made += 1
    assert made == 12
