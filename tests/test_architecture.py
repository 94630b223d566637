"""The laws of the house, read off the source alone: who may import whom, what mirrors what, how large a thing may be.

Nothing of the package is imported here. A law that does not hold somewhere has a line in ``EXCEPTIONS``, with a reason;
a line that is no longer needed fails, too.
"""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from sentences import long_sentences

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ppl_vae"
MIRRORED = ("conditionals", "distributions", "guides", "inference", "models", "nets", "priors")
"""Packages of the Pyro side, each with its mirror at the same path under ``ppl_vae/numpyro``."""
LIBRARIES = {"pyro": {"torch", "pyro"}, "numpyro": {"jax", "jaxlib", "flax", "optax", "numpyro"}}
"""Backend -> what only its side may import where a module begins."""
ENDINGS = ("ers", "ing", "ion", "ed", "er", "es", "e", "s", "")
HELPERS = {"oracles", "pairs", "programs", "state_spaces", "sentences"}
"""Modules of ``tests`` that tests may import."""
MAX_DEPTH, MAX_MODULES, MAX_LINES = 3, 18, 500
RIDDLE = re.compile(r"(What|Where|How|Whose|Those|Of|Who)\b")
"""Words with which no docstring begins: they make a riddle of what it describes."""

EXCEPTIONS: dict[str, dict[str, str]] = {
    "files_without_mirror": {
        "pyro: distributions/normal.py": "a compiled program computes the logarithm of every draw's scale once",
        "pyro: inference/svi/cuda_graph.py": "XLA launches a compiled program by itself",
        "pyro: inference/svi/recorded_step.py": "JAX records every step by itself",
        "pyro: inference/svi/recorded_game.py": "JAX records every step by itself",
        "pyro: inference/svi/record.py": "a compiled epoch returns the numbers of its steps as one array",
        "pyro: inference/svi/optimiser_state.py": "an optax state is a tree of arrays already",
        "pyro: inference/svi/processes.py": "a JAX mesh is one process",
        "pyro: inference/svi/shared_noise.py": "the draws of a mesh are those of one device",
        "pyro: inference/svi/trainable.py": "optax takes values, so nothing has to be made trainable",
        "numpyro: inference/svi/compilation.py": "counts what XLA compiles",
        "numpyro: inference/svi/replicas.py": "on Pyro trainings run one after the other",
        "numpyro: inference/svi/step.py": "on Pyro a step is a method of the run",
        "numpyro: inference/svi/streaming.py": "on Pyro a block of a stream is read between two steps",
    },
    "dispatch_by_name": {
        "ppl_vae.objectives.checks: cls.__name__ in names": "the libraries' objectives say nothing of themselves; the "
        "tables of these by name see subclasses, too",
        "ppl_vae.objectives.checks: SCALED_STOCK[backend][stock.__name__]": "the reason in such a table",
        "ppl_vae.objectives.checks: REFUSED_STOCK[backend][stock.__name__]": "the reason in such a table",
    },
}
"""Law -> what breaks it -> why it may."""


class Import(NamedTuple):
    """What an import statement of a module reaches."""

    target: str
    """the module, by its full name"""
    name: str | None
    """what is taken from it, or None for the module itself"""
    at_top: bool
    """false within a function or under TYPE_CHECKING"""


@dataclass(frozen=True)
class Module:
    """A source file of the package."""

    name: str
    path: Path

    @functools.cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.path.read_text(encoding="utf-8"))

    @property
    def is_package(self) -> bool:
        """Whether it is the ``__init__`` of a folder."""
        return self.path.name == "__init__.py"

    @property
    def parts(self) -> tuple[str, ...]:
        """Its name without ``ppl_vae``."""
        return tuple(self.name.split(".")[1:])

    @property
    def side(self) -> str:
        """``pyro``, ``numpyro`` or ``neutral``."""
        if self.parts[:1] == ("numpyro",):
            return "numpyro"
        return "pyro" if self.parts[:1] and self.parts[0] in MIRRORED else "neutral"


@functools.cache
def modules() -> dict[str, Module]:
    """Full name -> module."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path)
    return found


def is_late(tree: ast.Module) -> set[int]:
    """The ids of the import statements that do not run when the module is imported."""
    late = set()
    for node in ast.walk(tree):
        typed = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if typed or isinstance(node, ast.FunctionDef):
            late |= {id(n) for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)}
    return late


@functools.cache
def imports(module: Module) -> tuple[Import, ...]:
    """Every import of a module, type-only and late ones too."""
    late, found = is_late(module.tree), []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, None, id(node) not in late) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.name.split(".")[: None if module.is_package else -1]
            base = base[: len(base) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{target}.{alias.name}"
                found.append(
                    Import(inner, None, id(node) not in late)
                    if inner in modules()
                    else Import(target, alias.name, id(node) not in late)
                )
    return tuple(found)


Graph = dict[str, set[str]]


@functools.cache
def graph() -> Graph:
    """Module -> the modules of the package that it imports."""
    return {
        name: {i.target for i in imports(module) if i.target in modules() and i.target != name}
        for name, module in modules().items()
    }


def circles(edges: Graph) -> set[str]:
    """The strongly connected parts of more than one node, as text that names four of them at most."""

    def reached(start: str) -> set[str]:
        seen, todo = set(), [start]
        while todo:
            for node in edges.get(todo.pop(), ()):
                if node not in seen:
                    seen.add(node)
                    todo.append(node)
        return seen

    reach = {node: reached(node) for node in edges}
    parts = {tuple(sorted({b for b in reach[a] if a in reach.get(b, ())} | {a})) for a in edges if a in reach[a]}
    return {" <-> ".join(part[:4]) + (f" and {len(part) - 4} more" if len(part) > 4 else "") for part in parts}


def circles_of_files() -> set[str]:
    """No module reaches itself by imports, whenever they run."""
    return circles(graph())


def circles_of_packages() -> set[str]:
    """In every folder, its modules and the folders in it, each taken as one thing, do not import each other in turn."""
    found = set()
    folders = {tuple(m.parts) for m in modules().values() if m.is_package}
    for folder in folders:
        depth, edges = len(folder), {}
        for name, targets in graph().items():
            own = modules()[name].parts
            if own[:depth] != folder or len(own) == depth:
                continue
            for target in targets:
                theirs = modules()[target].parts
                if theirs[:depth] == folder and len(theirs) > depth and theirs[depth] != own[depth]:
                    edges.setdefault(own[depth], set()).add(theirs[depth])
                    edges.setdefault(theirs[depth], set())
        found |= {f"{'.'.join(('ppl_vae', *folder))}: {circle}" for circle in circles(edges)}
    return found


def backends_in_neutral_code() -> set[str]:
    """Neutral modules load neither library, nor a module of either side, when they are imported."""
    libraries = set.union(*LIBRARIES.values())
    found = set()
    for module in modules().values():
        for i in imports(module) if module.side == "neutral" else ():
            theirs = modules()[i.target].side != "neutral" if i.target in modules() else False
            if i.at_top and (theirs or i.target.split(".")[0] in libraries):
                found.add(f"{module.name} imports {i.target}")
    return found


def backends_in_each_other() -> set[str]:
    """Neither side imports the other's library or modules."""
    found = set()
    for module in modules().values():
        for i in imports(module) if module.side != "neutral" else ():
            other = "numpyro" if module.side == "pyro" else "pyro"
            theirs = modules()[i.target].side == other if i.target in modules() else False
            if theirs or i.target.split(".")[0] in LIBRARIES[other]:
                found.add(f"{module.name} imports {i.target}")
    return found


def files_without_mirror() -> set[str]:
    """Both sides have the same files."""
    ours = {str(m.path.relative_to(PACKAGE)) for m in modules().values() if m.side == "pyro"}
    theirs = {str(m.path.relative_to(PACKAGE / "numpyro")) for m in modules().values() if m.side == "numpyro"}
    return {f"pyro: {name}" for name in ours - theirs} | {
        f"numpyro: {name}" for name in theirs - ours - {"__init__.py"}
    }


def is_private(name: str) -> bool:
    """Whether a name is for its own module alone."""
    return name.startswith("_") and not name.startswith("__")


@functools.cache
def private_names(module: Module) -> frozenset[str]:
    """The private names that a module defines, of functions, classes, values and attributes."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return frozenset(filter(is_private, found))


def private_names_elsewhere() -> set[str]:
    """No module uses a private name of another."""
    everywhere = set().union(*(private_names(m) for m in modules().values()))
    found = set()
    for module in modules().values():
        found |= {
            f"{module.name} imports {i.name}"
            for i in imports(module)
            if i.target in modules() and is_private(i.name or i.target.rpartition(".")[2])
        }
        bases = {base for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef) for base in node.bases}
        foreign = everywhere - private_names(module)
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in foreign:
                own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "torch", "pyro")
                if not (own and bases):
                    found.add(f"{module.name} reads {node.attr}")
    return found


def too_large() -> set[str]:
    """Folders are at most three deep and hold at most 18 modules, of at most 500 lines each."""
    found = set()
    count: dict[Path, int] = {}
    for module in modules().values():
        if not module.is_package:
            count[module.path.parent] = count.get(module.path.parent, 0) + 1
        if len(module.path.relative_to(PACKAGE).parents) - 1 > MAX_DEPTH:
            found.add(f"{module.name} is too deep")
        lines = len(module.path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_LINES:
            found.add(f"{module.name} has over {MAX_LINES} lines")
    names = {folder: ".".join(folder.relative_to(ROOT).parts) for folder in count}
    return found | {f"{names[f]} holds over {MAX_MODULES} modules" for f, n in count.items() if n > MAX_MODULES}


def stem(name: str) -> str:
    """A name without its ending.

    >>> stem("regularised") == stem("regularisers")
    True
    """
    return next(name.removesuffix(e) for e in ENDINGS if (name.endswith(e) and len(name) - len(e) > 3) or not e)


def alike() -> set[str]:
    """No two neutral modules of a folder differ in an ending alone."""
    found, seen = set(), {}
    for module in modules().values():
        if module.side == "neutral" and module.parts:
            key = (*module.parts[:-1], stem(module.parts[-1]))
            if key in seen:
                found.add(f"{seen[key]} and {module.name}")
            seen[key] = module.name
    return found


def missing_in_readme() -> set[str]:
    """Every module at the root stands in the README's layout."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    layout = readme.partition("## Layout")[2].partition("\n## ")[0]
    names = {m.parts[0] for m in modules().values() if len(m.parts) == 1 and not m.parts[0].startswith("_")}
    return {name for name in names if not re.search(rf"\b{name}\b", layout)}


def helpers_elsewhere() -> set[str]:
    """Tests import helpers from the ``HELPERS`` of ``tests``; no test file, from another."""
    paths = [p for p in sorted((ROOT / "tests").rglob("*.py")) if p.parent.name not in ("saved", "extension")]
    ours = {"", "tests", *(path.stem for path in paths)} - HELPERS
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                targets = [f"{'.' * node.level}{node.module or ''}"]
            else:
                targets = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            roots = {target.split(".")[0] for target in targets}
            found |= {f"{path.relative_to(ROOT)} imports {r or 'a neighbour'}" for r in roots & ours}
    return found


WORDS = ("__name__", "__qualname__", "distribution")
"""Attributes that are names, for messages: of a class or function, and of a site's distribution."""


def is_named(node: ast.AST, held: set[str] = frozenset()) -> bool:
    """Whether an expression contains such a name, read off an object or held by a variable."""
    return any(
        (isinstance(n, ast.Attribute) and n.attr in WORDS) or (isinstance(n, ast.Name) and n.id in held)
        for n in ast.walk(node)
    )


def holders(function: ast.AST) -> set[str]:
    """The variables of a function that hold such a name, by assignments, loops and comprehensions."""
    found: set[str] = set()
    bound: list[tuple[ast.expr, ast.expr]] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            bound += [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            bound.append((node.target, node.value))
        elif isinstance(node, ast.For | ast.comprehension):
            bound.append((node.target, node.iter))
    for target, value in [*bound, *bound]:  # twice, for what is bound further up
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            pairs = list(zip(target.elts, value.elts, strict=True))
        for name, content in pairs:
            if isinstance(name, ast.Name) and is_named(content, found):
                found.add(name.id)
    return found


def dispatch_by_name(tree: ast.AST | None = None) -> set[str]:
    """No decision hangs on a class's name or a distribution's: what a thing can do is an attribute or a method."""
    if tree is None:
        return {f"{m.name}: {line}" for m in modules().values() for line in dispatch_by_name(m.tree)}
    found = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.Module):
            continue
        held = holders(function) if isinstance(function, ast.FunctionDef) else set()
        for node in ast.walk(function):
            if isinstance(node, ast.Compare):
                named = any(is_named(part, held) for part in (node.left, *node.comparators))
            elif isinstance(node, ast.Match):
                named = is_named(node.subject, held)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                named = node.func.attr in ("startswith", "endswith") and is_named(node.func.value, held)
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
                named = is_named(node.slice, held)
            else:
                named = False
            if named:
                found.add(ast.unparse(node.subject if isinstance(node, ast.Match) else node))
    return found


def keywords_without_use(tree: ast.AST | None = None) -> set[str]:
    """A program takes no keyword that it ignores, so that it reads like its formula."""
    if tree is None:
        programs = [m for m in modules().values() if {"models", "guides"} & set(m.parts)]
        return {f"{m.name}: {found}" for m in programs for found in keywords_without_use(m.tree)}
    found = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            used = {n.id for statement in function.body for n in ast.walk(statement) if isinstance(n, ast.Name)}
            found |= {f"{function.name}({a.arg})" for a in function.args.kwonlyargs if a.arg not in used}
    return found


def riddles(tree: ast.AST | None = None) -> set[str]:
    """A docstring names the thing first; it does not begin with a question or a word that points at it."""
    if tree is None:
        pending, found = EXCEPTIONS.get("riddles", {}), set()
        for module in modules().values():
            path = module.path.relative_to(ROOT).as_posix()
            package = next((p for p in pending if path.startswith(f"{p}/")), None)
            found |= {package or f"{path}:{name}" for name in riddles(module.tree)}
        return found
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    documented = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return {getattr(n, "name", "<module>") for n in documented if RIDDLE.match(ast.get_docstring(n) or "")}


LAWS = {
    law.__name__: law
    for law in (
        circles_of_files,
        circles_of_packages,
        backends_in_neutral_code,
        backends_in_each_other,
        files_without_mirror,
        private_names_elsewhere,
        too_large,
        alike,
        missing_in_readme,
        helpers_elsewhere,
        dispatch_by_name,
        keywords_without_use,
        riddles,
        long_sentences,
    )
}


@pytest.mark.parametrize("name", LAWS)
def test_the_law_holds(name: str) -> None:
    found, known = LAWS[name](), EXCEPTIONS.get(name, {})
    assert not found - known.keys(), f"{LAWS[name].__doc__}\n" + "\n".join(sorted(found - known.keys()))
    assert not known.keys() - found, "No longer an exception: " + "; ".join(sorted(known.keys() - found))
    assert all(known.values()), "An exception needs a reason."


@pytest.mark.parametrize(
    "code",
    [
        "def f(a):\n return type(a).__name__ == 'Normal'",
        "def f(site):\n return site.distribution not in KNOWN",
        "def f(a):\n name = type(a).__name__\n return name in ('Normal', 'Delta')",
        "def f(a):\n return [n == 'Normal' for n in [type(b).__name__ for b in a]]",
        "def f(a):\n names = [type(b).__name__ for b in a]\n return any(n == 'Normal' for n in names)",
        "def f(a):\n return type(a).__name__.startswith('Categorical')",
        "def f(a):\n return TABLE[type(a).__name__]",
        "def f(a):\n match type(a).__qualname__:\n  case 'Normal': return 1",
    ],
)
def test_a_decision_by_name_is_found(code: str) -> None:
    assert len(dispatch_by_name(ast.parse(code))) == 1


def test_a_name_in_a_message_is_none() -> None:
    code = "def f(a, n):\n k, name = len(a), type(a).__name__\n return f'{name}' if k > n else str(a.distribution)"
    assert not dispatch_by_name(ast.parse(code))


def test_a_keyword_without_use_is_found() -> None:
    code = "def forward(self, x, *, index=None, size=1):\n return f(x, size)"
    assert keywords_without_use(ast.parse(code)) == {"forward(index)"}


def test_a_riddle_is_found() -> None:
    code = '"What runs."\nclass A:\n def f(self):\n  "How it runs."\n def g(self):\n  "Whether it runs."'
    assert riddles(ast.parse(code)) == {"<module>", "f"}
    assert not riddles(ast.parse("def f():\n 'Offset of a row.'\n\ndef g(): pass"))


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == {"a <-> b <-> c"}
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})
