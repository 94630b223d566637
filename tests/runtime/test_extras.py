"""Each backend alone: what is not installed is not asked for, or refused with the extra that brings it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ppl_vae.runtime import extras

WITHOUT = """
import sys
from importlib.machinery import PathFinder

absent = set(sys.argv[1].split(","))


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else PathFinder.find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""
ALONE = """
from ppl_vae import backends, data, evaluation, recipes, results, seeds

backend, other = sys.argv[2:4]
inference = backends.load(backend).inference
digits = data.load("digits")
recipe = recipes.vae(digits, latent_dim=2, hidden=(8,), backend=backend)
fit = inference.SVI(epochs=1).fit(*recipe(seeds.generator(0, "weights")), digits, seed=0, progress=False)
fit.save(sys.argv[4], recipe=recipe)
assert evaluation.log_likelihood(results.Fit.load(sys.argv[4]), digits.test[:4], 3).mean < 0
assert not absent & set(sys.modules), absent & set(sys.modules)
for start in (lambda: backends.load(other), lambda: recipes.vae(digits, backend=other)(seeds.generator(0, "weights"))):
    try:
        start()
    except ModuleNotFoundError as error:
        print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "other"), [pytest.param("pyro", "numpyro", marks=pytest.mark.release), ("numpyro", "pyro")]
)
def test_a_backend_needs_no_other(backend: str, other: str, tmp_path: Path) -> None:
    absent = extras.LIBRARIES[other]
    words = [",".join(absent), backend, other, str(tmp_path / "fit.safetensors")]
    done = subprocess.run([sys.executable, "-c", WITHOUT + ALONE, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = f"This part of ppl_vae needs {', '.join(absent)}, not installed here: pip install 'ppl_vae[{other}]'."
    assert done.stdout.splitlines() == [said, said]


def test_an_extra_has_its_libraries() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {"pyro-ppl": "pyro"}
    for extra, modules in extras.LIBRARIES.items():
        brought = {line.partition(">=")[0] for line in project["optional-dependencies"][extra]}
        assert {names.get(name, name) for name in brought} == set(modules)
        assert not brought & {line.partition(">=")[0] for line in project["dependencies"]}


def test_every_dependency_has_a_reason() -> None:
    """A row of the table in CONTRIBUTING.md, and no row is of what is no dependency any more."""
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    names = {re.split(r"[\[>=<]", line)[0] for line in lines} - {"ppl_vae"}
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Dependencies")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row[1])} == names
    assert all(row[2].strip() for row in rows)


def test_hashes_are_of_the_same_versions() -> None:
    """And the other lines are of what PyTorch brings: CUDA's libraries on Linux, and setuptools."""

    def pins(name: str) -> dict[str, str]:
        text = (Path(__file__).parents[2] / name).read_text(encoding="utf-8").replace("\\\n", "")
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower(): line.partition("==")[2] for line in lines}

    pinned, hashed = pins("constraints.txt"), pins("constraints-hashes.txt")
    assert {name: hashed[name].split()[0] for name in pinned} == pinned
    assert all("sys_platform" in line for name, line in hashed.items() if name not in {*pinned, "setuptools"})
    for name, line in hashed.items():
        assert re.search(r"( +--hash=sha256:[0-9a-f]{64})+$", line), name
