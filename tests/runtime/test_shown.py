"""What results say of themselves: short texts, and in a notebook a table, a small figure and the next step."""

from __future__ import annotations

import base64
import io
import re
import sys
import types
from typing import Any

import numpy as np
import pytest
import tqdm as bars
from PIL import Image

from ppl_vae import data, evaluation, inference, plots, recipes
from ppl_vae.results import Fit
from ppl_vae.runtime import progress
from ppl_vae.runtime.shown import Shown, curve, image_row

LONGEST = 400


@pytest.fixture(scope="module")
def split() -> data.Split:
    return data.load("digits").subset(60, 30, 30)


@pytest.fixture(scope="module")
def fit(split: data.Split) -> Fit:
    made = recipes.vae(split, latent_dim=2, hidden=(8,))
    return inference.SVI(epochs=3, batch_size=20).fit(*made(np.random.default_rng(0)), split)


@pytest.fixture(scope="module")
def results(fit: Fit, split: data.Split) -> list[Any]:
    x, values = split.test, np.arange(4.0)
    return [
        fit,
        split,
        recipes.vae(split, latent_dim=2, hidden=(8,)),
        fit.terms(x),
        fit.draws(x, 5),
        evaluation.evaluate(fit, x, 30),
        evaluation.log_likelihood(fit, x, 30),
        evaluation.elbo(fit, x),
        evaluation.diagnose(fit, x, 30),
        evaluation.Gaps(values, values, values, values, values, values, "importance", False),
        evaluation.Calibration(np.zeros((100, 2), int), ("z[0]", "z[1]"), 99, 20),
        evaluation.elbo_surgery(fit, x),
        evaluation.Certificate({"importance sampling": evaluation.log_likelihood(fit, x, 30)}, k_hat=values),
    ]


def test_every_result_is_short_and_a_table(results: list[Any]) -> None:
    for result in results:
        name = type(result).__name__
        assert repr(result).startswith(f"{name}(") and len(repr(result)) < LONGEST, name
        if isinstance(result, Shown):
            page = result._repr_html_()
            assert f"<b>{name}</b>" in page and page.count("<tr>") == len(result.shown()) > 0, name
            assert not result.then or result.then.split("(")[0] in page


def test_a_fit_says_what_it_is_and_draws_its_training(fit: Fit, split: data.Split) -> None:
    said, page = repr(fit), fit._repr_html_()
    assert "model=VAE" in said and "data=digits, 60 rows" in said and "epochs=3" in said
    assert f"valid_elbo={fit.history['valid_elbo'][-1]:.4g}" in said and "<svg" in page and "fit.check(x)" in page
    bare = Fit.untrained(fit.pair, split.test)
    assert "epochs=0" in repr(bare) and "<svg" not in bare._repr_html_()


def test_the_sentence_of_the_next_step_works(fit: Fit, split: data.Split, results: list[Any]) -> None:
    """Each call that a result names exists."""
    recipe = recipes.vae(split, latent_dim=2, hidden=(8,))
    known = {"fit": fit, "evaluation": evaluation, "recipes": recipes, "inference": inference, "np": np}
    known |= {"plots": plots, "recipe": recipe, "draws": fit.draws(split.test, 3)}
    for result in results:
        for owner, names in re.findall(r"\b(\w+)\.([\w.]+)\(", getattr(result, "then", "")):
            value = known[owner]
            for name in names.split("."):
                value = getattr(value, name)
            assert callable(value)


def test_a_recipe_is_what_its_text_makes(split: data.Split) -> None:
    made = recipes.vae(split, prior="vampprior", latent_dim=3, hidden=(8, 4), num_pseudo_inputs=5)
    assert repr(made) == (
        "Recipe(shape=(8, 8), backend='pyro', prior='vampprior', latent_dim=3, num_pseudo_inputs=5, hidden=(8, 4))"
    )
    assert eval(repr(made), {"Recipe": recipes.Recipe}) == made


def test_images_are_in_the_page_as_they_are(split: data.Split) -> None:
    page = split._repr_html_()
    picture = Image.open(io.BytesIO(base64.b64decode(re.findall(r"base64,([^\"]+)", page)[0])))
    assert picture.size == (8 * 10, 10)
    shown = np.asarray(picture)[1:9, 11:19] / 255
    np.testing.assert_allclose(shown, split.images(split.train)[1], atol=1 / 255)
    colour = image_row(np.random.default_rng(0).random((2, 4, 4, 3)))
    assert Image.open(io.BytesIO(base64.b64decode(re.findall(r"base64,([^\"]+)", colour)[0]))).mode == "RGB"
    rows = data.from_arrays(np.random.default_rng(0).normal(size=(40, 3)))
    assert "<img" not in rows._repr_html_()


def test_a_curve_has_its_ends_and_leaves_out_what_is_no_number() -> None:
    line = curve([0.0, np.nan, 1.0, 0.5], "loss <1>")
    assert re.findall(r'points="([^"]*)"', line)[0].split() == ["2.0,58.0", "159.3,2.0", "238.0,30.0"]
    assert "loss &lt;1&gt;: 0 to 1" in line and curve([np.nan, 1.0], "x") == ""


def test_bars_are_there_in_a_notebook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without widgets as text, with None too; elsewhere None shows it on a terminal alone."""
    assert progress.progress_bar(None, total=3).disable and not progress.progress_bar(True, total=3).disable
    kernel = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: kernel))
    monkeypatch.setattr("tqdm.notebook.IProgress", None)
    with progress.progress_bar(None, total=3, desc="training") as bar:
        bar.update()
    assert type(bar) is bars.tqdm and "training" in capsys.readouterr().err
    assert progress.progress_bar(False, total=3).disable
    monkeypatch.setattr("tqdm.notebook.IProgress", object())
    monkeypatch.setattr("tqdm.notebook.tqdm", lambda disable, **options: ("widget", disable, options))
    assert progress.progress_bar(None, total=3) == ("widget", False, {"total": 3})
