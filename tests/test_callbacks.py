"""Callbacks: what they write is what the training said."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pairs import pair, toy

from ppl_vae import VAE, callbacks, inference, recipes
from ppl_vae.results import Fit

pytest.importorskip("tensorboard")

X = toy(60)


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(folder).Scalars(name)]


def train(callback: Any, epochs: int = 3) -> Fit:
    svi = inference.SVI(epochs=epochs, batch_size=20)
    return svi.fit(*pair("vampprior", "pyro"), X, valid=X[:20], callback=callback)


def logged(fit: Fit, name: str) -> list[tuple[int, float]]:
    return [(step, pytest.approx(value, rel=1e-6)) for step, value in enumerate(fit.history[name])]


def test_every_metric_of_every_epoch_is_logged(tmp_path: Path) -> None:
    fit = train(callbacks.TensorBoard(tmp_path / "tb"))
    assert set(events(tmp_path / "tb").Tags()["scalars"]) == set(fit.history) - {"epoch"}
    for name in ("loss", "valid_elbo", "seconds", "memory"):
        assert scalars(tmp_path / "tb", name) == logged(fit, name)


def test_images_of_a_conditional_pair_with_gaps(tmp_path: Path) -> None:
    """What is beside the images goes with them; the new ones have their side information."""
    given, mask = np.eye(2)[np.arange(60) % 2], np.random.default_rng(0).random(X.shape) < 0.7
    recipe = recipes.conditional_vae(X, 2, latent_dim=2, hidden=(8,))
    board = callbacks.TensorBoard(
        tmp_path, (3, 4), np.where(mask, X, np.nan)[:5], every=1, side={"given": given[:5], "mask": mask[:5]}
    )
    svi = inference.SVI(epochs=1, batch_size=20)
    svi.fit(*recipe(np.random.default_rng(0)), X, given=given, mask=mask, callback=board)
    drawn = {name: len(events(tmp_path).Images(name)) for name in ("samples", "originals", "reconstructions")}
    assert drawn == dict.fromkeys(drawn, 1)


@pytest.mark.parametrize("same", [True, False], ids=["same object", "another process's"])
def test_a_resumed_training_goes_on_where_its_checkpoint_stands(same: bool, tmp_path: Path) -> None:
    """What was logged after the checkpoint is replaced, and nothing is logged twice."""
    folder = tmp_path / "tb"
    first = callbacks.TensorBoard(folder)
    options = {"checkpoint": tmp_path / "run.checkpoint", "resume": True}

    def interrupt(epoch: int, *_: Any) -> None:
        if epoch == 4:
            raise KeyboardInterrupt

    svi = inference.SVI(epochs=6, batch_size=20, checkpoint_every=3)
    with pytest.raises(KeyboardInterrupt):
        svi.fit(*pair("vampprior", "pyro"), X, callback=callbacks.chain(first, interrupt), **options)
    assert [step for step, _ in scalars(folder, "loss")] == [0, 1, 2, 3, 4]
    fit = svi.fit(*pair("vampprior", "pyro"), X, callback=first if same else callbacks.TensorBoard(folder), **options)
    assert scalars(folder, "loss") == logged(fit, "loss") and len(fit.history["loss"]) == 6
    assert len(scalars(folder, "seconds")) == 6


def test_images_are_those_of_the_fit(tmp_path: Path) -> None:
    """Reconstructions and new images, every so many epochs, with grey levels as they are."""
    seen = {}

    def remember(epoch: int, _: Any, fit: Fit) -> None:
        seen[epoch] = fit.generate(callbacks.SAMPLES, seed=epoch)

    board = callbacks.TensorBoard(tmp_path, image_shape=(3, 4), images=X[:8], every=2)
    train(callbacks.chain(board, remember), epochs=4)
    log = events(tmp_path)
    assert set(log.Tags()["images"]) == {"samples", "originals", "reconstructions"}
    assert [image.step for image in log.Images("samples")] == [0, 2]
    for name, rows in (("originals", X[:8]), ("samples", seen[2])):
        drawn = log.Images(name)[-1]
        np.testing.assert_allclose(np.sort(pixels(drawn).ravel()), np.sort(rows.ravel()), atol=1 / 255)
        assert (drawn.height, drawn.width) == (3 * (len(rows) // 8), 4 * 8)


def pixels(event: Any) -> np.ndarray:
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(event.encoded_image_string)).convert("L")) / 255


def test_copies_log_for_themselves(tmp_path: Path) -> None:
    """Also one in use, which scikit-learn's clone and joblib's workers copy."""
    board = callbacks.TensorBoard(tmp_path)
    fit = VAE(hidden=(4,), epochs=2, random_state=0, callback=board).fit(X).fit_
    assert scalars(tmp_path, "loss") == logged(fit, "loss")
    for twin in (copy.deepcopy(board), pickle.loads(pickle.dumps(board))):
        assert twin == board
        twin(2, {"loss": 7.0}, fit)
        twin.close()
        assert scalars(tmp_path, "loss") == [*logged(fit, "loss"), (2, 7.0)]
    board.close()
    board.close()


def test_without_tensorboard_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"pip install 'ppl_vae\[tensorboard\]'"):
        callbacks.TensorBoard(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": X}, "'images' are drawn in an 'image_shape'"),
        ({"image_shape": (12,)}, r"'image_shape' should be \(H, W\), .*; got \(12,\)"),
        ({"every": 0}, "'every' should be at least 1; got 0"),
        ({"image_shape": (3, 4), "images": X[:, :10]}, r"'images' should have shape \(N, 12\); got \(60, 10\)"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        callbacks.TensorBoard(tmp_path, **settings)
