"""Tutorials: the notebooks of docs/tutorials, run without Jupyter, and pages of the site with what they showed.

    python docs/hooks/tutorials.py                             # run all of them anew and store what they show
    python docs/hooks/tutorials.py docs/tutorials/first_vae.ipynb

A cell may begin with ``%matplotlib inline``, which Jupyter needs to show figures; such lines are passed over here.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "tutorials"
DPI = 80
Cell = dict[str, Any]


def read(path: Path) -> list[Cell]:
    """The cells of a notebook."""
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def text_of(value: str | list[str]) -> str:
    """A text as one string; the format has lists of lines, too."""
    return value if isinstance(value, str) else "".join(value)


def run(cells: list[Cell]) -> list[Cell]:
    r"""Cells with what they print and show, when all of them are run in order in one namespace.

    >>> cell = {"cell_type": "code", "source": "print(1)\n1 + 1"}
    >>> [output.get("text") or output["data"] for output in run([cell])[0]["outputs"]]
    ['1\n', {'text/plain': '2'}]
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    number, done = 0, []
    for cell in cells:
        if cell["cell_type"] == "code":
            number += 1
            cell = {**cell, "execution_count": number, "outputs": list(_outputs(cell, names, number))}
        done.append(cell)
    return done


def _outputs(cell: Cell, names: dict[str, Any], number: int) -> Iterator[Cell]:
    lines = text_of(cell["source"]).splitlines()
    tree = ast.parse("\n".join("" if line.startswith("%") else line for line in lines))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, f"cell {number}", "exec"), names)
        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names) if last else None
    if printed.getvalue():
        yield {"output_type": "stream", "name": "stdout", "text": printed.getvalue()}
    if value is not None:
        yield {"output_type": "execute_result", "metadata": {}, "execution_count": number, "data": shown(value)}


def shown(value: Any) -> dict[str, str]:
    """What Jupyter would show of a value, by its kind: a picture of a figure, a table if there is one, a text."""
    from matplotlib.figure import Figure

    if isinstance(value, Figure):
        file = io.BytesIO()
        value.savefig(file, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
        return {"image/png": base64.b64encode(file.getvalue()).decode(), "text/plain": "<Figure>"}
    page = {"text/html": value._repr_html_()} if hasattr(value, "_repr_html_") else {}
    return {**page, "text/plain": repr(value)}


def pictures(name: str, cells: list[Cell]) -> dict[str, bytes]:
    """File name -> the pictures that a notebook shows."""
    found = [output["data"] for cell in cells for output in cell.get("outputs", ()) if "data" in output]
    shown = [base64.b64decode(text_of(data["image/png"])) for data in found if "image/png" in data]
    return {f"{name}-{number}.png": picture for number, picture in enumerate(shown)}


def page(name: str, cells: list[Cell]) -> str:
    r"""A notebook as Markdown, whose links to other notebooks lead to their pages, with a link to itself.

    >>> output = {"output_type": "stream", "text": "1\n"}
    >>> page("a", [{"cell_type": "code", "source": "print(1)", "outputs": [output]}]).splitlines()[:6]
    ['```python', 'print(1)', '```', '', '```{.text .output}', '1']
    """
    parts, files, heading = [], iter(pictures(name, cells)), name
    for cell in cells:
        text = text_of(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text.replace(".ipynb)", ".md)"))
            heading = next((line.lstrip("# ") for line in text.splitlines()[::-1] if line.startswith("#")), heading)
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                parts.append(f"![{heading}]({next(files)})")
            elif "text/html" in data:
                parts.append(f'<div class="output">{text_of(data["text/html"])}</div>')
            else:
                parts.append(f"```{{.text .output}}\n{text_of(data['text/plain']).rstrip()}\n```")
    parts.append(f"*This page is a notebook: [{name}.ipynb]({name}.ipynb).*")
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """Address -> text of the page of each notebook."""
    return {f"tutorials/{path.stem}.md": page(path.stem, read(path)) for path in sorted(FOLDER.glob("*.ipynb"))}


def store(path: Path) -> None:
    """Run a notebook and write it with what it showed."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"] = run(notebook["cells"])
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def on_files(files: Any, config: Any) -> Any:
    """Add the page of each notebook, and its pictures."""
    from mkdocs.structure.files import File

    for address, text in pages().items():
        files.append(File.generated(config, address, content=text))
    for path in sorted(FOLDER.glob("*.ipynb")):
        for file, picture in pictures(path.stem, read(path)).items():
            files.append(File.generated(config, f"tutorials/{file}", content=picture))
    return files


if __name__ == "__main__":
    for notebook in map(Path, sys.argv[1:]) if len(sys.argv) > 1 else sorted(FOLDER.glob("*.ipynb")):
        print(notebook.name, flush=True)
        store(notebook)
