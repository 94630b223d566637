"""Laws of components that are registered from outside the package, as ``extension/my_components.py`` does."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import pickle
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import TINY, P, command, one_line, same_weights, toy, write_images
from sklearn.base import clone

from ppl_vae import VAE, backends, evaluation, recipes
from ppl_vae.cli.config import CONFIG
from ppl_vae.cli.runs import FIT, SETTINGS
from ppl_vae.recipes import Recipe, components
from ppl_vae.results import Fit
from ppl_vae.runtime import extensions

FOLDER = Path(__file__).parent / "extension"
MODULES = ("my_components", "my_pyro", "my_numpyro")
ALL: dict[str, Any] = {
    "prior": "laplace",
    "laplace_scale": 2.0,
    "likelihood": "fixed",
    "noise": 0.7,
    "posterior": "tied",
    "net": "skip",
    "skip_units": 6,
    "program": "twofold",
}
WORDS = [word for name, value in ALL.items() for word in ("--" + name.replace("_", "-"), str(value))]


@pytest.fixture(autouse=True)
def outside(tables: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The folder of the extension can be imported from; nothing of it is, and nothing stays."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def registered(outside: None) -> Any:
    return importlib.import_module("my_components")


def forget() -> None:
    """As in a process that has not imported the extension."""
    for table in components.TABLES.values():
        for name in [n for n, c in table.items() if not c.is_own]:
            del table[name]
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"))


# In Python


def test_each_component_trains_and_is_read_again(backend: backends.Backend, registered: Any, tmp_path: Path) -> None:
    recipe = recipes.vae(toy(), backend=backend.name, latent_dim=3, **ALL)
    fit = backend.inference.SVI(epochs=2, batch_size=20).fit(*recipe(np.random.default_rng(0)), toy(), seed=0)
    again = Fit.load(fit.save(tmp_path / "fit", recipe=recipe))
    assert evaluation.elbo(again, toy()).mean == pytest.approx(evaluation.elbo(fit, toy()).mean, rel=1e-6)
    assert again.encode(toy(5)).shape == (5, 3)
    model, guide = recipe(np.random.default_rng(0))
    assert type(model).__name__ == "Twofold" and type(model.prior).__name__ == "Laplace"
    assert model.prior.scale == 2.0 and model.likelihood.scale == 0.7 and type(guide.posterior).__name__ == "Tied"
    saved = json.loads(json.dumps(recipe.to_dict()))
    assert Recipe.from_dict(saved) == recipe and {n: saved[n] for n in ALL} == ALL
    assert set(saved["registered_by"].values()) == {"my_components"}


def test_both_backends_start_from_the_same_pair(registered: Any) -> None:
    sums: list[Any] = []
    for name in backends.NAMES:
        pair = recipes.vae(toy(), backend=name, latent_dim=3, **ALL)(np.random.default_rng(0))
        state = backends.load(name).inference.Pair(*pair).state()
        drawn = [value for value in state.values() if value.any()]
        sums.append(sorted((value.shape, round(float(np.abs(value).sum()), 3)) for value in drawn))
    assert sums[0] == sums[1]


@pytest.mark.release("numpyro", keep=["likelihood", "net"])
@pytest.mark.parametrize("slot", ["prior", "likelihood", "posterior", "net", "program"])
def test_one_component_among_those_of_the_package(slot: str, registered: Any, backend: backends.Backend) -> None:
    recipe = recipes.vae(toy(), backend=backend.name, latent_dim=2, hidden=(4,), **{slot: ALL[slot]})
    pair = backend.inference.Pair(*recipe(np.random.default_rng(0)))
    pair.prepare(toy(4), 0)
    fit = Fit(pair, {}, {})
    assert np.isfinite(evaluation.elbo(fit, toy(8)).mean) and fit.generate(3).shape == (3, P)


def test_a_table_of_rows_serves_a_posterior_from_outside(registered: Any, backend: backends.Backend) -> None:
    recipe = recipes.vae(toy(), backend=backend.name, guide="per-datapoint", posterior="tied", latent_dim=2)
    fit = backend.inference.SVI(epochs=1, batch_size=20).fit(*recipe(np.random.default_rng(0)), toy(), seed=0)
    assert fit.encode(toy(), index=np.arange(60)).shape == (60, 2)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "its own": ({"prior": "laplace", "full_covariance": True}, "independent latents: leave full_covariance=False"),
    "its program": ({"program": "twofold", "given_dim": 2}, "'twofold' takes no 'given_dim'"),
    "of other latents": ({"prior": "laplace", "latents": "bernoulli"}, "bernoulli latents have a prior of their own"),
    "posterior": (
        {"posterior": "tied", "latents": "bernoulli"},
        "The posterior 'tied' is one of gaussian latents; got latents='bernoulli': leave posterior='standard'",
    ),
    "covariance": ({"posterior": "tied", "full_covariance": True}, "full_covariance=True is for the standard"),
    "not chosen": (
        {"laplace_scale": 2.0},
        "'laplace_scale' is a setting of the prior 'laplace', and here it is 'standard': leave it out",
    ),
    "limit": ({"prior": "laplace", "laplace_scale": 0.0}, "'laplace_scale' should be above 0; got 0.0"),
    "kind": ({"net": "skip", "skip_units": 2.5}, "'skip_units' should be a whole number; got 2.5"),
    "unknown": ({"latent_dims": 2}, "no setting 'latent_dims' of a recipe (did you mean 'latent_dim'?)"),
    "near": ({"prior": "laplace", "laplace_scales": 2}, "(did you mean 'laplace_scale'?)"),
    "name": (
        {"prior": "laplacian"},
        f"there are {', '.join(recipes.PRIORS)}, laplace.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case: str, registered: Any) -> None:
    settings, text = REFUSED[case]
    with pytest.raises(ValueError) as refusal:
        recipes.vae((2, 3), **settings)
    assert text in str(refusal.value)


def test_settings_of_the_package_that_have_no_use_are_accepted() -> None:
    """Saved recipes write every one of them."""
    recipe = recipes.vae((2, 3), num_pseudo_inputs=10, levels=5, num_categories=3)
    assert recipe.num_pseudo_inputs == recipe.to_dict()["num_pseudo_inputs"] == 10


def test_a_recipe_is_changed_and_copied(registered: Any) -> None:
    recipe = recipes.vae((2, 3), hidden=[4], **ALL)
    assert recipe.hidden == (4,) and recipe.laplace_scale == 2.0
    other = dataclasses.replace(recipe, prior="standard", latent_dim=3)
    assert other.noise == 0.7 and other.latent_dim == 3 and "laplace_scale" not in other.to_dict()
    assert pickle.loads(pickle.dumps(recipe)) == recipe and hash(recipe) == hash(dataclasses.replace(recipe))
    with pytest.raises(AttributeError, match="no 'laplace_scale'"):
        _ = other.laplace_scale


def test_a_recipe_that_an_earlier_version_pickled() -> None:
    """It had every setting beside the others."""
    recipe = recipes.vae((2, 3), prior="mixture", num_pseudo_inputs=7, hidden=(5,))
    old = {**recipe.to_dict(), "shape": (2, 3), "hidden": (5,), "images": None}
    again = Recipe.__new__(Recipe)
    again.__setstate__(old)
    assert again == recipe


def test_files_stay_as_earlier_versions_read_them() -> None:
    saved = recipes.vae((2, 3)).to_dict()
    assert not saved.keys() & {"posterior", "program", "registered_by", "settings"} and len(saved) == 21


def test_a_saved_fit_is_refused_until_its_components_are_registered(registered: Any, tmp_path: Path) -> None:
    recipe = recipes.vae(toy(), latent_dim=2, hidden=(4,), prior="laplace")
    svi = backends.load("pyro").inference.SVI(epochs=1, batch_size=20)
    path = svi.fit(*recipe(np.random.default_rng(0)), toy()).save(tmp_path / "fit", recipe=recipe)
    forget()
    with pytest.raises(ValueError, match="Unknown prior 'laplace'.*import my_components.*--with my_components"):
        Fit.load(path)
    assert "my_components" not in sys.modules
    importlib.import_module("my_components")
    assert Fit.load(path).encode(toy(2)).shape == (2, 2)


def test_names_that_are_taken(registered: Any) -> None:
    build = registered.ENTRIES[0].build
    components.register(dataclasses.replace(registered.ENTRIES[0], module="my_components"))  # a cell is run again
    with pytest.raises(ValueError, match="There is a prior 'standard' already, of ppl_vae.recipes.builders"):
        components.register(components.Prior("standard", "", build=build))
    with pytest.raises(ValueError, match="There is a prior 'laplace' already, of my_components"):
        components.register(dataclasses.replace(registered.ENTRIES[0], module="another"))
    for name, text in (
        ("levels", "'levels' of the prior 'mine' is one of the likelihood"),
        ("latent_dim", "'latent_dim' cannot be the name of a setting"),
    ):
        with pytest.raises(ValueError, match=text):
            setting = components.Setting(name, 3, "of mine")
            components.register(components.Prior("mine", "", build=build, settings=(setting,)))
    assert "mine" not in components.TABLES["prior"]


def test_installed_packages_register_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked when a name is not known; one that is broken is named and skipped."""
    entries = [EntryPoint("mine", value, extensions.GROUP) for value in ("no_such_module", "my_components")]
    monkeypatch.setattr(extensions, "entry_points", lambda group: entries)
    extensions._load_installed.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"\(no_such_module\) cannot be loaded: ModuleNotFoundError"):
            assert recipes.vae((2, 3), prior="laplace", laplace_scale=3).laplace_scale == 3.0
        assert "my_components" in sys.modules
    finally:
        extensions._load_installed.cache_clear()


# scikit-learn


def test_the_estimator_knows_them(registered: Any, backend: backends.Backend) -> None:
    names = ("prior", "likelihood")
    more = {name: value for name, value in ALL.items() if name not in names}
    own = {"latent_dim": 2, "epochs": 1, "random_state": 0, "num_particles": 2, "backend": backend.name}
    estimator = VAE(**own, **{name: ALL[name] for name in names}, settings=more)
    x = np.random.default_rng(0).normal(size=(40, 3))
    fitted = clone(estimator).fit(x)
    assert fitted.transform(x).shape == (40, 2) and fitted.recipe_.skip_units == 6
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(x), fitted.transform(x))
    for settings, text in (
        ({"noise": 1.0}, "'noise' is a setting of the likelihood 'fixed'"),
        ({"latent_dim": 3}, "'latent_dim' should be given by itself, not in 'settings'"),
    ):
        with pytest.raises(ValueError, match=text):
            VAE(**own, settings=settings).fit(x)


# The command line


def run_words(files: Path, out: Path, *words: object) -> tuple[object, ...]:
    return ("fit", "--data", files / "images.npy", "--out", out, *TINY, "--epochs", 1, "--no-figures", *words)


def test_the_help_names_them_and_their_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--with", "my_components", "fit", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "laplace = independent Laplace latents" in text
    assert "--laplace-scale N laplace: their scale (default: 1.0)" in text
    assert "; recurrent = " in text and "; twofold = " in text
    forget()
    assert command("fit", "--help") == 0
    assert "laplace" not in capsys.readouterr().out.lower()


def test_help_with_an_extension_loads_no_framework() -> None:
    words = ["--with", "my_components", "fit", "--help"]
    code = f"import sys; from ppl_vae.cli import main; main({words}); print(*sys.modules, sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER.parents[2]), str(FOLDER)])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    loaded = set(done.stdout.splitlines())
    assert "my_components" in loaded and not loaded & {"torch", "jax", "pyro", "numpyro", "my_pyro"}


@pytest.mark.release("numpyro")
@pytest.mark.parametrize("name", backends.NAMES)
def test_the_command_line_trains_them(
    name: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = run_words(files, out, *WORDS, "--backend", name, "--quiet")
    assert command("--with", "my_components", *words) == 0
    config, settings = tomllib.loads((out / CONFIG).read_text()), json.loads((out / SETTINGS).read_text())
    assert config["with"] == settings["options"]["with"] == ["my_components"]
    assert all(config[n] == settings["recipe"][n] == value for n, value in ALL.items())
    assert Fit.load(out / FIT).encode(toy(2)).shape == (2, 2)
    again = ("fit", "--config", out, "--out", tmp_path / "again", "--quiet", "--no-figures")
    assert command(*again, "--with", "my_components") == 0 and same_weights(out, tmp_path / "again")
    resumed = ("fit", "--resume", "--out", out, "--epochs", 2, "--quiet", "--no-figures")
    forget()
    capsys.readouterr()
    for words in (("evaluate", out), resumed, again):
        assert command(*words) == 2
        assert "--with my_components" in one_line(capsys) and "my_components" not in sys.modules
    assert command("--with", "my_components", "evaluate", out, "--num-particles", 2, "--quiet") == 0
    assert command("--with", "my_components", *resumed) == 0


def test_a_default_is_recorded_and_others_are_left_out(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert command("--with", "my_components", *run_words(files, out, "--prior", "laplace", "--quiet")) == 0
    options = json.loads((out / SETTINGS).read_text())["options"]
    assert options["laplace_scale"] == 1.0 and not options.keys() & {"noise", "skip_units"}


WRONG = {
    ("--laplace-scale", "2"): "'laplace_scale' is a setting of the prior 'laplace', and here it is 'standard'",
    ("--prior", "laplace", "--laplace-scale", "0"): "it should be a number above 0; got '0'",
    ("--prior", "laplace", "--full-covariance"): "independent latents",
    ("--net", "skip", "--skip-units", "x"): "a whole number of at least 1",
}


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_the_command_line_refuses(
    words: tuple[str, ...], files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert command("--with", "my_components", *run_words(files, out, *words)) == 2
    assert WRONG[words] in one_line(capsys) and not out.exists()


def test_a_module_that_cannot_be_imported(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--with", "my_componets", *run_words(files, tmp_path / "run")) == 2
    assert "The module 'my_componets' cannot be imported" in one_line(capsys)


def test_a_setting_named_as_another_option(registered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    setting = components.Setting("epochs", 3, "of mine")
    entry = dataclasses.replace(registered.ENTRIES[0], name="mine", settings=(setting,), module="elsewhere")
    components.register(entry)
    assert command("fit", "--help") == 2
    assert "the setting 'epochs' of the prior 'mine', which elsewhere registers" in one_line(capsys)


def test_a_comparison_of_them(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "compared"
    words = ("--strategies", "elbo", "--epochs", 1, "--num-particles", 2, "--prior", "laplace", *TINY, "--quiet")
    assert command("--with", "my_components", "compare", "--data", files / "images.npy", "--out", out, *words) == 0
    assert tomllib.loads((out / CONFIG).read_text())["with"] == ["my_components"]


# The tables


def test_every_setting_of_the_package_stands_in_the_words_on_recipes() -> None:
    documented = set(re.findall(r"^        (\w+): |``(\w+)``", str(Recipe.__doc__), re.MULTILINE))
    assert {one or other for one, other in documented} >= {*components.SLOTS, *components.settings(own=True)}


def test_every_entry_says_what_it_is() -> None:
    for table in components.TABLES.values():
        for name, entry in table.items():
            assert entry.name == name and entry.about and entry.module.startswith("ppl_vae.recipes.")
            assert all(setting.help for setting in entry.settings)
    assert all(about.default in components.TABLES[slot] for slot, about in components.SLOTS.items())
