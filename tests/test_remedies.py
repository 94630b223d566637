"""The law of remedies, read off the source alone: what a refusal advises is followed by a test, and works.

Nothing of the package is imported here. The rows are in ``tests/*/test_remedies*.py``: keys of the tables ``REMEDIES``
and first arguments of ``refused``, each a part of the text that it is about.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERBS = """ask binarise call choose clip compare copy delete divide download drop end fit give go get infer install
judge keep leave let load lower make name number open pass pip put raise register remove rename repair replace report
rescale restore resume return run save say scale see set stack start take train use wait"""
ADVICE = re.compile(
    rf"(?:^|[,;:.(}}]|\b(?:or|and|then)) *(?:{'|'.join(VERBS.split())})\b|(?<!in )(?<!no )(?<!a )\buse\b|another --out"
    r"|\w\[:, None\]|\[None\]|go in as|e\.g\.",
    re.I,
)
"""An imperative at the head of a clause, which is how a text advises."""

ELSEWHERE: dict[str, tuple[str, ...]] = {
    "runtime/test_extras.py": ("This part of ppl_vae needs {}, not installed here: pip install",),
    "evaluation/test_clusters.py": ("No Dask scheduler answers at {} ({}): start one by 'dask scheduler'",),
    "recipes/test_standardise.py": ("Set standardise=True where columns are not standardised",),
    "inference/test_outputs.py": ("give its last layer 2 D outputs", "give the last layer of the net as many outputs"),
    "cli/test_cli.py": ("and --data says {}: leave --data out to go on",),
    "cli/test_folders.py": (
        "give its options again, --data first of all",
        "is among the run's own data, which would be lost",
        "which would lose it: give another",
        "use another folder",
        "give another --out",
    ),
    "data/test_containers.py": (
        "and all of its values are needed: pass {}.filled(0)",
        "pass {}.to_dense()",
        "pass rows of one length, np.stack([...])",
        "is a {} of {}: pass one of its arrays",
        "and a column of 0 and 1 for each category",
        "make one of its items, as np.stack([np.ravel(item)",
        "pass its items, np.stack([np.ravel({})",
        "pass np.concatenate([{}.real, {}.imag], -1)",
        ": pass {}",
    ),
    "inference/test_refused_kinds.py": (
        "pass the net as it is before torch.jit.script",
        "need the loss several times (a closure)",
        "leave it out, and set learning_rate_factor=, such as",
        "has no 'lr' that learning_rate_factor could multiply: leave that at 1.0",
        "fail on the gradients of a training, which are dense ({}): use another one",
        "use one of flax.nnx",
        "should be an optax transformation, such as optax.adam(1e-3), that makes updates",
        "The guide is an automatic one",
        "and this training is of {}: make the pair with backend",
    ),
    "objectives/test_discrete.py": ("decorate the distribution's sample with torch.no_grad()",),
    "objectives/test_stock.py": (
        "Use ppl_vae's WakeWake",
        "Use ppl_vae's TraceELBO, with SVI(compile='trace')",
        "Use ppl_vae's TraceGraphELBO, with SVI(compile='trace')",
        "Use ppl_vae's TraceEnumELBO, with SVI(compile='trace')",
        "Use ppl_vae's TraceMeanFieldELBO, with SVI(compile='trace')",
        "ranks whole batches, not data",
        "Use ppl_vae's InfoVAE(alpha=1.0) or WAE",
        "enumerates by the package funsor",
        "Scale both programs by one number",
    ),
    "inference/test_right_or_refused.py": (
        "takes the logarithm of the weights of a whole batch",
        "knows no mask over a latent site",
        "use ppl_vae's RenyiELBO, or give the plate the batch's size, len(x)",
        "use Trace_ELBO, or put it into the model, a factor with the other sign",
        "needs the whole log q of the site",
        "needs every density of the site",
    ),
    "inference/test_known_densities.py": (
        "set closed=False to sample it, or use TraceELBO",
        "asks for log q at values that are not the guide's own draws",
        "whose log-density is not known at the guide's draws: give the model",
    ),
    "evaluation/test_users_programs.py": (
        "Give the guide a distribution with the model's bounds, or use {}",
        "take what the column has in common off, x - x.mean(0), or compute in double precision",
        "of which log p(x, z) alone would be told under the name of log p(x): use evaluation.ais(fit, x)",
        "pass codes as fit.encode(x) returns them, or np.rint(z)",
        "leave the scale out, and give the weight of a term to the objective",
        "of batch shape (N, M) with .to_event(1), or use evaluation.log_likelihood(fit, x)",
    ),
    "inference/test_batches.py": ("takes what the model draws at",),
    "inference/test_reached.py": (
        "stays as it is. To train it",
        "they stay as they are. To train them",
        "leave it out, and let what should change over a training be a schedule",
    ),
    "inference/test_supports.py": (
        "the one has a density and the other probabilities",
        "let the guide draw from a {} of the same values",
        "which may be any number",
        "no density at {}, or the weights start too far off",
        "Rescale or round the data to values",
        "of which no mean is known: average draws",
        "of which no mean is known. Use {}",
    ),
    "objectives/test_adversarial_bayes.py": ("the draws miss the posterior, and log p(x) is too low. Take",),
    "testing/test_parity.py": (
        "no partner was found for some: pass names=",
        "make the nets of the same sizes",
        "is a value of it in {} alone; compare constraint=",
    ),
    "inference/test_trials.py": ("the size of an epoch's {}: set batch_size={}", "a net there mixes rows"),
}
"""Test file -> parts of texts whose advice it follows, in tests without a table of remedies."""
WHOLE = {"give another --out", ": pass {}"}
"""Those that are whole texts, and parts of others."""

EXCEPTIONS: dict[str, str] = {
    **dict.fromkeys(
        (
            "BatchNorm sees the rows of one process only",
            "The processes were given different trainings",
            "so that a batch cannot be shared out: train in one process, parallel=False, or on NumPyro",
            "the scale of a part of a batch is another one",
            "data points for {} processes: start at most {}",
            "'parallel' needs processes that train together",
            "so that it belongs to no row of a batch",
            "for one row depend on those of the others",
            "draws for {} rows: train with parallel=False",
            "outside a sample site cannot be told apart",
            "let it be a multiple of the {} devices",
        ),
        "processes or devices that train together; tests/inference/test_parallel.py sees the refusals",
    ),
    "JAX finds no device": "an environment without a device; tests/runtime/test_faults.py sees the refusal",
    "E[x | z] is known where observed sites": "the ways out change the user's program; test_saving.py sees it",
}
"""Part of a text that advises -> why no test follows it."""
MADE_FOR_OTHERS = {"its channels seem to come first: put them last, np.moveaxis(x, 1, -1) of images ({})"}
"""Rows about texts that a function returns to the modules that raise them."""


class Texts(ast.NodeVisitor):
    """The texts of every error and warning that a module makes, in pieces, with {} for what is known only when it runs.

    A text may stand in a variable or in a function of the module; each branch of a choice is a piece of its own.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.values: dict[str, list[ast.expr]] = defaultdict(list)
        self.found: set[str] = set()
        self.advice: list[ast.FunctionDef] = []
        self.seen: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self.values[ast.unparse(target)].append(node.value)
            elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                self.values[ast.unparse(node.target)].append(node.value)
            elif isinstance(node, ast.FunctionDef):
                named = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                self.values["remedy"] += [
                    default for argument, default in named if argument.arg == "remedy" and default
                ]
                if node.name.startswith("refuse"):  # a component's, which ``Recipe`` raises
                    self.advice.append(node)
                self.values[node.name] += [n.value for n in ast.walk(node) if isinstance(n, ast.Return) and n.value]
        self.visit(tree)
        self.read_all(value for node in self.advice for value in self.values[node.name])

    def visit_Call(self, node: ast.Call) -> None:
        name = ast.unparse(node.func)
        self.read_all(k.value for k in node.keywords if k.arg == "remedy")
        if re.search(r"(Error|Objective|File|Loss|InUse|NotDivisible|NotTraceable|Lost)$|warnings.warn$|^said$", name):
            self.read_all(node.args)
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        if isinstance(node.exc, ast.Call):
            self.read_all(node.exc.args)
        self.generic_visit(node)

    def read_all(self, nodes: Iterable[ast.AST]) -> None:
        """Add the pieces of several expressions."""
        for node in nodes:
            self.read(node)

    def read(self, node: ast.AST) -> None:
        """Add the pieces of an expression."""
        if id(node) in self.seen:
            return
        self.seen.add(id(node))
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.found.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            self.found.add("".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values))
        elif isinstance(node, ast.Name | ast.Attribute):
            self.read_all(self.values[ast.unparse(node)])
        elif isinstance(node, ast.Call):
            self.read_all(self.values[ast.unparse(node.func)])
        whole = isinstance(node, ast.JoinedStr)
        self.read_all(n for n in ast.iter_child_nodes(node) if not (whole and isinstance(n, ast.Constant)))


def advice(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a module's errors that advise."""
    yield from (text for text in Texts(tree).found if ADVICE.search(text) and " " in text.strip())


def advised() -> dict[str, str]:
    """Text -> a module that it stands in."""
    paths = sorted((ROOT / "ppl_vae").rglob("*.py"))
    return {t: str(p.relative_to(ROOT)) for p in paths for t in advice(ast.parse(p.read_text(encoding="utf-8")))}


def rows(tree: ast.Module) -> Iterator[str]:
    """Yield the parts of texts that a test file follows."""
    for node in ast.walk(tree):
        keys: list[ast.expr | None] = []
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and ast.unparse(target).startswith("REMEDIES"):
            keys = node.value.keys if isinstance(node.value, ast.Dict) else []
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "refused":
            keys = node.args[:1]
        yield from (k.value for k in keys if isinstance(k, ast.Constant))


def followed() -> set[str]:
    """The parts of texts that tests follow."""
    paths = sorted((ROOT / "tests").glob("*/test_remedies*.py"))
    return {row for path in paths for row in rows(ast.parse(path.read_text(encoding="utf-8")))}


def elsewhere() -> set[str]:
    """The parts of texts that tests without a table follow."""
    return {part for parts in ELSEWHERE.values() for part in parts}


def about(part: str, text: str) -> bool:
    """Whether a part is of a text, or the text itself where other texts have it, too."""
    return part == text if part in WHOLE else part in text


def without(texts: dict[str, str], parts: set[str]) -> dict[str, str]:
    """The texts in which none of the parts stands."""
    return {text: where for text, where in texts.items() if not any(about(part, text) for part in parts)}


def test_every_advice_is_followed_by_a_test() -> None:
    left = without(advised(), followed() | elsewhere() | EXCEPTIONS.keys())
    assert not left, "No test follows:\n" + "\n".join(f"{where}: {text}" for text, where in left.items())


def test_no_row_is_about_two_texts_or_none() -> None:
    texts = advised()
    parts = followed() | elsewhere() | EXCEPTIONS.keys()
    count = {part: sum(about(part, text) for text in texts) for part in parts}
    assert {part for part, n in count.items() if n != 1} == MADE_FOR_OTHERS
    assert all((ROOT / "tests" / name).is_file() for name in ELSEWHERE)
    assert all(EXCEPTIONS.values()), "An exception needs a reason."
