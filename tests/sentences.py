"""Sentences of documents and of the command line's help."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 38
"""Words of a sentence."""
WRITTEN = ("right_or_refused.md", "LEDGER.md", "CHANGELOG.md")
"""Documents that commands write, and the record of changes."""
MARKER = re.compile(r"([-*+]|\d+\.)\s+")


def sentences(text: str) -> Iterator[str]:
    """The sentences of a document, without its code, tables and headings; code and links in a line are one word."""
    paragraphs: list[list[str]] = [[]]
    for line in map(str.strip, re.sub(r"```.*?```|<!--.*?-->", "\n\n", text, flags=re.DOTALL).splitlines()):
        marker = MARKER.match(line)
        if not line or marker or line.startswith(("#", "|", "![", "<", "{", "---", "$$", "\\")):
            paragraphs.append([])
        if marker or (line and not line.startswith(("#", "|", "![", "<", "{", "---", "$$", "\\"))):
            paragraphs[-1].append(line[marker.end() :] if marker else line)
    for lines in paragraphs:
        plain = re.sub(r"`[^`]*`", "`x`", re.sub(r"\]\([^)]*\)", "]", " ".join(lines)))
        yield from re.split(r"(?<=[.!?])[)*\"']*\s+(?=[A-Z0-9$\[*`(\"'])", plain)


def long_sentences() -> set[str]:
    """A sentence of a document or of a command's help is no longer than LONGEST words."""
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]
    texts = {path: path.read_text(encoding="utf-8") for path in documents if path.name not in WRITTEN}
    for path in ROOT.glob("ppl_vae/cli/commands/*.py"):
        source = path.read_text(encoding="utf-8")
        about = re.search(r'^ABOUT = f?("""(?:.*?)""")', source, re.MULTILINE | re.DOTALL)
        texts[path] = ast.literal_eval(about[1]).partition("\nreads ")[0] if about else ""
    found = ((path, s, len(s.split())) for path, text in texts.items() for s in sentences(text))
    return {f"{path.relative_to(ROOT)}, {words} words: {s}" for path, s, words in found if words > LONGEST}
