"""What the site has beside the pages of docs/: parts of the root's documents, help texts, the API, formulas.

MkDocs calls the functions ``on_...``. A page asks for what it includes on a line of its own: ``{{ README.md }}`` for a
document, ``{{ README.md # Run it }}`` for what stands below a heading, ``{{ README.md # }}`` for what stands above all
of them, ``{{ help }}`` for the help of every command.
"""

from __future__ import annotations

import argparse
import ast
import html
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ppl_vae"
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/LEDGER.md": "ledger.md",
}
"""Documents outside docs/ -> the page that shows them."""
INCLUDE = re.compile(r"^\{\{ (\S+\.md)(?: (#) ?(.*))? \}\}$", re.MULTILINE)
HELP = "{{ help }}"
TUTORIAL = re.compile(r"\(tutorials/(\w+)\.ipynb\)")
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)([^)#\s]+)(#[^)\s]*)?\)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
SPACE = '<mspace width="0.17em"></mspace>'
"""Around an operator's name, where the converter leaves none."""
APART = ("cli", "numpyro")
"""Packages without a page of their own: the command line has one, and the mirror one for each of its modules."""


GROUPS = {
    "Everyday work": ("estimators", "tabular", "recipes", "results", "evaluation", "plots", "explorer", "callbacks"),
    "Programs": ("models", "guides", "priors", "conditionals", "nets", "distributions", "init"),
    "Inference": ("inference", "strategies", "objectives", "bounds", "schedules", "mcmc", "training"),
    "Beside the pair": ("players", "baselines", "controls", "critics", "discriminators", "games"),
    "Data and arithmetic": ("data", "arrays", "divergences", "coding", "seeds"),
    "Under the hood": ("backends", "pairs", "runtime", "errors", "kinds", "testing"),
}
"""Group of the API -> its modules."""
MIRROR = "NumPyro"
"""The group of the mirror's modules."""


def composed(markdown: str) -> str:
    """A page with what it includes, and links to the pages of notebooks."""
    markdown = TUTORIAL.sub(r"(tutorials/\1.md)", markdown)
    markdown = INCLUDE.sub(lambda found: included(*found.groups()), markdown)
    return markdown.replace(HELP, commands()) if HELP in markdown else markdown


def included(document: str, part: str | None = None, heading: str | None = None) -> str:
    """A document of the repository, or one of its parts, with links that hold on the site."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return relinked(section(text, heading or "") if part else text, document)


def section(text: str, heading: str) -> str:
    r"""What stands below a heading of the second level, or, without one, between the title and the first.

    >>> section("# A\n\nb\n\n## C\n\nd\n", "C"), section("# A\n\nb\n\n## C\n\nd\n", "")
    ('d', 'b')
    """
    above, *rest = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    parts = {"": above.split("\n", 1)[1], **dict(zip(rest[::2], rest[1::2], strict=True))}
    if heading not in parts:
        raise ValueError(f"There is no heading {heading!r}; there are {', '.join(map(repr, parts))}.")
    return parts[heading].strip()


def relinked(text: str, document: str) -> str:
    """A document's links as its page has them; what is not on the site keeps its words only."""

    def link(found: re.Match[str]) -> str:
        words, target, anchor = found[1], _in_root(found[2], document), found[3] or ""
        if target in PAGES:
            return f"[{words}]({PAGES[target]}{anchor})"
        if target.startswith("docs/") or target.endswith(".png"):
            return f"[{words}]({target.removeprefix('docs/').replace('.ipynb', '.md')}{anchor})"
        return words

    return LINK.sub(link, text)


def _in_root(target: str, document: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(document), target))


def pictures() -> Iterator[str]:
    """The figures outside docs/ that included documents show."""
    for document in PAGES:
        for _, target, _ in LINK.findall((ROOT / document).read_text(encoding="utf-8")):
            target = _in_root(target, document)
            if target.endswith(".png") and not target.startswith("docs/"):
                yield target


def commands() -> str:
    """The help of every command, a section each."""
    from ppl_vae.cli.main import parser

    top = parser()
    (choices,) = (a.choices for a in top._actions if isinstance(a, argparse._SubParsersAction))
    texts = {"ppl-vae": top.format_help()}
    texts |= {f"ppl-vae {name}": command.format_help() for name, command in choices.items()}
    return "\n\n".join(f"## {name}\n\n``` {{.text .help}}\n{text.rstrip()}\n```" for name, text in texts.items())


def modules() -> dict[str, Path]:
    """The public modules, by import name: those at the top of ppl_vae and of its mirror, and packages in those."""
    found = {}
    for prefix, folder in (("ppl_vae", PACKAGE), ("ppl_vae.numpyro", PACKAGE / "numpyro")):
        for path in sorted(folder.iterdir()):
            source = path / "__init__.py" if path.is_dir() else path
            if source.suffix == ".py" and source.exists() and not path.stem.startswith("_") and path.stem not in APART:
                found[f"{prefix}.{path.stem}"] = source
                inner = sorted(path.glob("*/__init__.py")) if path.is_dir() else []
                found |= {f"{prefix}.{path.stem}.{inside.parent.name}": inside for inside in inner}
    return found


def grouped() -> dict[str, dict[str, list[str]]]:
    """Group -> its modules, import names -> the packages within each.

    Raises:
        ValueError: a module that stands in no group, or one that is not there.
    """
    groups = {root: group for group, roots in GROUPS.items() for root in roots}
    found: dict[str, dict[str, list[str]]] = {group: {} for group in (*GROUPS, MIRROR)}
    for name in modules():
        short = name.removeprefix("ppl_vae.")
        mirrored = short.startswith("numpyro.")
        root, _, inner = short.removeprefix("numpyro.").partition(".")
        if not mirrored and root not in groups:
            raise ValueError(f"ppl_vae.{root} stands in no group of the API: name it in GROUPS of docs/hooks/pages.py.")
        within = found[MIRROR if mirrored else groups[root]].setdefault(name.removesuffix(f".{inner}"), [])
        if inner:
            within.append(name)
    if missing := {f"ppl_vae.{root}" for root in groups} - set(modules()):
        raise ValueError(f"GROUPS of docs/hooks/pages.py names modules that are not there: {', '.join(missing)}.")
    return found


def exported(source: Path) -> list[str]:
    """The names that a package offers: what it imports from its modules, and its own functions."""
    body = ast.parse(source.read_text(encoding="utf-8")).body
    typed = [node for branch in body if isinstance(branch, ast.If) for node in branch.body]
    imports = [node for node in (*body, *typed) if isinstance(node, ast.ImportFrom)]
    own = [node for node in imports if node.module not in ("__future__", "typing", None)]
    found = [alias.asname or alias.name for node in own for alias in node.names if not _is_module(node, alias, source)]
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"]
    return [one for name in (*found, *functions) for one in (objectives() if name == "*" else [name])]


def _is_module(node: ast.ImportFrom, alias: ast.alias, source: Path) -> bool:
    """Whether an import brings a module, which has a page of its own, or stands on its package's."""
    base = ROOT if not node.level else source.parents[node.level - 1]
    return (base.joinpath(*(node.module or "").split(".")) / f"{alias.name}.py").exists()


def objectives() -> list[str]:
    """The objectives, of which each backend makes its own."""
    from ppl_vae.objectives import concrete

    return list(concrete())


def api() -> dict[str, str]:
    """The pages of the API: address -> text."""
    pages = {f"api/{name.removeprefix('ppl_vae.')}.md": _module(name, source) for name, source in modules().items()}
    return {"api/index.md": _overview(), **pages}


def _module(name: str, source: Path) -> str:
    """A module; of a package what it exports. What has the name of its own file is named by the file, else it hides."""
    if source.name != "__init__.py":
        return f"::: {name}\n"
    names = exported(source)
    if not names:  # a package that only groups modules shows each of them
        parts = sorted(path.stem for path in source.parent.glob("*.py") if path != source)
        about = "\n    options:\n      heading_level: 2\n      show_root_full_path: false\n"
        return f"::: {name}\n" + "".join(f"\n::: {name}.{part}{about}" for part in parts)
    hidden = [member for member in names if (source.parent / f"{member}.py").exists()]
    members = "".join(f"\n        - {member}" for member in names if member not in hidden)
    text = f"::: {name}\n    options:\n      members:{members}\n"
    about = "\n    options:\n      heading_level: 2\n      show_root_full_path: false\n"
    text += "".join(f"\n::: {name}.{member}.{member}{about}" for member in hidden)
    return text


def _overview() -> str:
    lines = ["# API", "", "From the docstrings. The mirror has the same names at the same paths.", ""]
    sources = modules()
    for group, members in grouped().items():
        lines += [f"## {group}", "", "| module | |", "| --- | --- |"]
        for name in (each for module, inner in members.items() for each in (module, *inner)):
            about = (ast.get_docstring(ast.parse(sources[name].read_text(encoding="utf-8"))) or "").split("\n", 1)[0]
            cell = about.replace("``", "`").replace("|", "\\|")
            lines.append(f"| [`{name}`]({name.removeprefix('ppl_vae.')}.md) | {cell} |")
        lines.append("")
    return "\n".join(lines)


def with_formulas(content: str) -> str:
    """HTML with its LaTeX as MathML, which browsers read without a script."""
    from latex2mathml.converter import convert

    def formula(found: re.Match[str]) -> str:
        text = convert(html.unescape(found[2]), display="block" if found[1] == "div" else "inline")
        return text.replace("<mi>log</mi>", f"{SPACE}<mi>log</mi>{SPACE}")

    return FORMULA.sub(formula, content)


def navigation() -> list[dict[str, Any]]:
    """The pages of the API for the navigation: groups, modules, and the packages within a module."""

    def entry(name: str, within: list[str], prefix: str) -> dict[str, Any]:
        address = f"api/{name.removeprefix('ppl_vae.')}.md"
        inner = [entry(each, [], f"{name}.") for each in within]
        return {name.removeprefix(prefix): [address, *inner] if inner else address}

    return [
        {
            group: [
                entry(n, inner, "ppl_vae.numpyro." if group == MIRROR else "ppl_vae.") for n, inner in members.items()
            ]
        }
        for group, members in grouped().items()
    ]


def on_config(config: Any) -> Any:
    """Name the pages of the API in the navigation."""
    next(part["API"] for part in config.nav if "API" in part).extend(navigation())
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the API, and figures from outside docs/."""
    from mkdocs.structure.files import File

    for address, text in api().items():
        files.append(File.generated(config, address, content=text))
    for address in dict.fromkeys(pictures()):
        files.append(File.generated(config, address, abs_src_path=str(ROOT / address)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in what the page includes."""
    return composed(markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML."""
    return with_formulas(content)
