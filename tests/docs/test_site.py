"""The documentation site is complete, says what the code says, and builds."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import importlib.util
import io
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ppl_vae import data
from ppl_vae.cli.main import main, parser

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def script(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, DOCS / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks, tutorials = script("hooks/pages.py"), script("hooks/tutorials.py")
WRITTEN = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
PAGES = {**{name: hooks.composed(text) for name, text in WRITTEN.items()}, **hooks.api(), **tutorials.pages()}


def in_navigation() -> list[str]:
    return re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def test_the_navigation_names_every_page_and_no_other() -> None:
    assert sorted(in_navigation()) == sorted([*WRITTEN, *tutorials.pages(), "api/index.md"])


def public_modules() -> list[str]:
    folders = {"ppl_vae": ROOT / "ppl_vae", "ppl_vae.numpyro": ROOT / "ppl_vae" / "numpyro"}
    paths = [(prefix, path) for prefix, folder in folders.items() for path in sorted(folder.iterdir())]
    inner = [(prefix, path) for prefix, folder in folders.items() for path in folder.glob("*/*/__init__.py")]
    inner = [(prefix, path) for prefix, path in inner if path.parent.parent.name != "numpyro"]
    names = [
        f"{prefix}.{path.stem}" for prefix, path in paths if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    names += [f"{prefix}.{path.parent.parent.name}.{path.parent.name}" for prefix, path in inner]
    return [name for name in names if "._" not in name and not re.match(r"ppl_vae\.(cli(\.|$)|numpyro$)", name)]


def shown(page: str) -> set[str]:
    """The names that a package's page lists, and those that are called like their file and stand by themselves."""
    names = re.findall(r"^        - (\w+)$|^::: .*\.(\w+)\.\2$", page, re.MULTILINE)
    return {one or other for one, other in names}


@pytest.mark.parametrize("name", public_modules())
def test_every_public_module_has_a_page_with_all_that_it_offers(name: str) -> None:
    page = PAGES[f"api/{name.removeprefix('ppl_vae.')}.md"]
    assert page.startswith(f"::: {name}\n")
    assert f"[`{name}`]({name.removeprefix('ppl_vae.')}.md)" in PAGES["api/index.md"]
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):  # a package offers what it imports, and its page lists that
        offered = {n for n, value in vars(module).items() if n[0] != "_" and not isinstance(value, ModuleType)}
        offered -= {"annotations", "TYPE_CHECKING"}
        assert not offered or shown(page) == offered
        parts = {path.stem for path in Path(module.__path__[0]).glob("*.py")} - {"__init__"}
        assert offered or set(re.findall(rf"^::: {re.escape(name)}\.(\w+)$", page, re.MULTILINE)) == parts


def test_the_tree_of_the_api_has_every_module_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = re.findall(r"api/[\w.]+\.md", repr(hooks.navigation()))
    assert sorted(shown) == sorted(f"api/{name.removeprefix('ppl_vae.')}.md" for name in hooks.modules())
    assert all(len(members) < 14 for members in hooks.grouped().values())
    monkeypatch.setitem(hooks.GROUPS, "More", ("gone",))
    with pytest.raises(ValueError, match="names modules that are not there: ppl_vae.gone"):
        hooks.grouped()
    monkeypatch.setitem(hooks.GROUPS, "Programs", ("models",))
    with pytest.raises(ValueError, match="ppl_vae.conditionals stands in no group of the API: name it in GROUPS"):
        hooks.grouped()


def test_every_data_set_is_on_the_page_of_the_data() -> None:
    names = data.names()
    assert len(names) > 2 and all(f"::: ppl_vae.data.sets.{name}\n" in PAGES["api/data.sets.md"] for name in names)


def test_every_command_says_its_help() -> None:
    commands = next(action.choices for action in parser()._actions if isinstance(action.choices, dict))
    assert len(commands) > 5
    for arguments in ([], *([name] for name in commands)):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert main([*arguments, "--help"]) == 0
        assert printed.getvalue().strip() in PAGES["command_line.md"]


def test_what_is_included_is_there() -> None:
    """The start page has the ten lines of the README, the ideas both programs."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"```python\n(.*?)```", readme, re.DOTALL)[0] in PAGES["index.md"]
    assert "{{ " not in "".join(PAGES.values())
    snippets = [path for text in WRITTEN.values() for path in re.findall(r'--8<-- "(.*?)"', text)]
    programs = ["models/vae.py", "guides/amortised.py"]
    assert snippets == [f"ppl_vae/{side}{path}" for path in programs for side in ("", "numpyro/")]
    assert all((ROOT / path).is_file() for path in snippets)


@pytest.mark.parametrize("path", ["hooks/pages.py", "hooks/docstrings.py", "hooks/tutorials.py"])
def test_the_examples_of_the_hooks_hold(path: str) -> None:
    if path == "hooks/docstrings.py":
        pytest.importorskip("griffe")
    result = doctest.testmod(script(path))
    assert result.attempted and not result.failed


def test_a_heading_that_is_not_there_is_said() -> None:
    with pytest.raises(ValueError, match="no heading 'Nothing'; there are '', 'C'"):
        hooks.section("# A\n\nb\n\n## C\n\nd\n", "Nothing")


def test_links_lead_to_pages_and_figures_of_the_site() -> None:
    shown = (
        path.relative_to(DOCS).as_posix() for folder in ("figures", "screens") for path in DOCS.glob(f"{folder}/*.png")
    )
    notebooks = list(tutorials.FOLDER.glob("*.ipynb"))
    files = {name for path in notebooks for name in (path.name, *tutorials.pictures(path.stem, tutorials.read(path)))}
    there = {*PAGES, *hooks.pictures(), *shown, *(f"tutorials/{name}" for name in files)}
    for name, text in PAGES.items():
        for _, target, _ in hooks.LINK.findall(text):
            assert posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) in there, f"{name}: {target}"


def test_every_figure_is_in_the_gallery_and_in_the_script_that_makes_it() -> None:
    shown = re.findall(r"\(figures/(.*?\.png)\)", PAGES["gallery.md"])
    figures = script("make_figures.py").FIGURES
    assert sorted(shown) == sorted(figures) == sorted(path.name for path in DOCS.glob("figures/*.png"))
    assert all((ROOT / source.split()[0]).is_file() for source, _ in figures.values())
    commands = re.findall(r"^python (.+)$", PAGES["gallery.md"], re.MULTILINE)
    assert commands == [source for source in dict.fromkeys(s for s, _ in figures.values()) if ".py" in source]


def test_the_pages_of_ideas_run(capsys: pytest.CaptureFixture) -> None:
    """And the refusal that they show is the one that is raised."""
    for name in ("model_and_guide.md", "objective_and_fit.md", "likelihoods.md"):
        code = "\n".join(re.findall(r"^```python\n(.*?)^```", WRITTEN[name], re.DOTALL | re.MULTILINE))
        exec(compile(code, name, "exec"), {})
    printed = capsys.readouterr().out
    (refusal,) = re.findall(r"^```text\n(.*?)^```", WRITTEN["objective_and_fit.md"], re.DOTALL | re.MULTILINE)
    assert refusal in printed
    for shown in re.findall(r"^print\(.*\)  # (.*)$", WRITTEN["model_and_guide.md"], re.MULTILINE):
        assert shown in printed


@pytest.mark.slow
def test_it_builds_without_a_warning_and_reads_without_a_network(tmp_path: Path) -> None:
    for library in ("material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(library)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = {
        path.relative_to(tmp_path).as_posix(): path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.html")
    }
    assert {name.replace(".md", ".html") for name in PAGES} <= set(built)
    for name, text in built.items():
        assert not re.search(r'<(?:script|img|link)[^>]*(?:src|href)="?(?:https?:)?//', text), name
        assert "<blockquote>" not in text, f"{name}: a doctest that is not fenced"
        assert "arithmatex" not in text, name
    for name, page in PAGES.items():
        for member in shown(page) if name.startswith("api/") else ():
            place = re.escape(f"ppl_vae.{Path(name).stem}.")
            assert re.search(rf'id="{place}({member}\.)?{member}"', built[name.replace(".md", ".html")]), (
                f"{name}: {member}"
            )
    assert built["objective_and_fit.html"].count("<math") > 10
    bounds, strategies = built["api/bounds.html"], built["api/inference.html"]
    assert 'id="ppl_vae.bounds.iwae"' in bounds and "&gt;&gt;&gt;" in bounds
    assert 'id="ppl_vae.inference.SVI.fit"' in strategies and "doubly reparameterised" in strategies
