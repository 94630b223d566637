"""Pages and parts of pages, by Jinja: every value is escaped, but for what is marked as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def page(template: str, folders: Sequence[Path], **values: Any) -> str:
    """Render a template of a file, found in one of the folders."""
    import jinja2

    return _environment(jinja2.FileSystemLoader(folders, encoding="utf-8")).get_template(template).render(**values)


def part(template: str, **values: Any) -> str:
    """Render a template of a text.

    >>> part("<b>{{ name }}</b>", name="a < b")
    '<b>a &lt; b</b>'
    """
    return _environment(None).from_string(template).render(**values)


def html(text: str) -> Any:
    """Mark a text as HTML, which is not escaped.

    >>> part("{{ line }}", line=html("<br>"))
    '<br>'
    """
    from markupsafe import Markup

    return Markup(text)


def _environment(loader: Any) -> Any:
    import jinja2

    undefined = jinja2.StrictUndefined
    return jinja2.Environment(loader=loader, autoescape=True, undefined=undefined, trim_blocks=True, lstrip_blocks=True)
