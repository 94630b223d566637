"""Pages are made in one way, by Jinja, which escapes every value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from ppl_vae.runtime import pages
from ppl_vae.runtime.shown import table

ROOT = Path(__file__).resolve().parents[2]


def test_no_module_escapes_by_hand() -> None:
    """``html.escape`` is nowhere in the package, and only ``runtime/pages.py`` makes an environment."""
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "ppl_vae").rglob("*.py")}
    assert [path.name for path, text in texts.items() if re.search(r"\bhtml\.escape|^import html$", text, re.M)] == []
    assert [path.name for path, text in texts.items() if "jinja2" in text] == ["pages.py"]


def test_values_are_escaped_and_figures_are_not() -> None:
    made = table({"a<b": "<i>"}, "<t>", "<svg></svg>", "x &")
    assert made == (
        "<div><b>&lt;t&gt;</b><table><tr><td>a&lt;b</td><td>&lt;i&gt;</td></tr></table><svg></svg><p>x &amp;</p></div>"
    )
    with pytest.raises(UndefinedError):
        pages.part("{{ nothing }}")
