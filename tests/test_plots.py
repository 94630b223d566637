"""Figures show what they were given, say what they show, and refuse what cannot be drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from ppl_vae import plots

RNG = np.random.default_rng(0)
VALUES = {"standard": RNG.normal(-93, 20, 200), "vampprior": RNG.normal(-88, 20, 300)}
HISTORY = {"loss": np.linspace(30, 20, 40), "valid_elbo": np.linspace(-31, -21, 40), "seconds": np.ones(40)}


def images(count: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).random((count, int(np.prod(shape))))


def tile(figure: Figure, row: int, column: int, shape: tuple[int, ...], axes: int = 0) -> np.ndarray:
    """One image of a grid, without the gaps."""
    top, left = row * (shape[0] + plots.GAP) + plots.GAP, column * (shape[1] + plots.GAP) + plots.GAP
    return np.asarray(figure.axes[axes].images[0].get_array())[top : top + shape[0], left : left + shape[1]]


def texts(figure: Figure) -> list[str]:
    return [t.get_text() for legend in figure.legends for t in legend.get_texts()]


def test_histograms_count_every_image_over_common_bins():
    figure = plots.likelihood_histograms(VALUES)
    assert [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes] == [200, 300]
    edges = [[bar.get_x() for bar in axes.patches] for axes in figure.axes]
    assert edges[0] == edges[1]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()


def test_histograms_mark_and_print_the_mean():
    figure = plots.likelihood_histograms(VALUES, title="on something")
    for axes, (name, values) in zip(figure.axes, VALUES.items(), strict=True):
        assert axes.get_title("left") == f"{name}: mean {values.mean():.2f} nats"
        assert axes.lines[0].get_xdata()[0] == pytest.approx(values.mean())
        assert axes.get_ylabel() == "images"
    assert "nats" in figure.axes[-1].get_xlabel() and figure.get_suptitle() == "on something"


@pytest.mark.parametrize(
    "values", [{}, {"a": np.zeros((2, 2))}, {"a": np.array([])}, {"a": np.array([0.0, np.nan])}], ids=repr
)
def test_histograms_refuse_what_they_cannot_count(values):
    with pytest.raises(ValueError, match="values"):
        plots.likelihood_histograms(values)


@pytest.mark.parametrize("shape", [(8, 8), (28, 20), (5, 4, 3)])
def test_a_grid_shows_the_given_pixels(shape):
    x = images(7, shape)
    figure = plots.image_grid(x, shape, columns=3, title="seven")
    for number in range(7):
        assert np.array_equal(tile(figure, number // 3, number % 3, shape), x[number].reshape(shape))
    picture = figure.axes[0].images[0]
    assert picture.get_interpolation() == "nearest" and figure.axes[0].get_title() == "seven"
    if len(shape) == 2:
        assert picture.get_clim() == (0, 1) and picture.get_cmap().name == "gray"


def test_one_channel_is_grey_and_values_are_clipped():
    figure = plots.image_grid(np.array([[-1.0, 0.5, 0.25, 2.0]]), (2, 2, 1))
    assert np.array_equal(tile(figure, 0, 0, (2, 2)), [[0, 0.5], [0.25, 1]])


@pytest.mark.parametrize("shape", [(13,), (), (2, 2, 2), (2, 2, 3, 1), (0, 4)])
def test_shapes_that_cannot_be_drawn_are_refused(shape):
    assert not plots.is_drawable(shape)
    x = np.zeros((3, 13))
    calls = [
        lambda: plots.image_grid(x, shape),
        lambda: plots.pseudo_inputs(x, shape),
        lambda: plots.reconstructions_and_generations(x, {"a": x}, {"a": x}, shape),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"should be \(H, W\), \(H, W, 1\) or \(H, W, 3\)"):
            call()


@pytest.mark.parametrize("x", [np.zeros((3, 5)), np.zeros(4), np.zeros((0, 4)), np.zeros((3, 2, 2))], ids=np.shape)
def test_images_of_another_size_are_refused(x):
    with pytest.raises(ValueError, match=r"'images' should have shape \(N, 4\)"):
        plots.image_grid(x, (2, 2))


def test_a_grid_needs_a_column():
    with pytest.raises(ValueError, match="columns"):
        plots.image_grid(np.zeros((3, 4)), (2, 2), columns=0)


def test_pseudo_inputs_are_counted():
    x = images(20, (4, 4))
    figure = plots.pseudo_inputs(x, (4, 4), title="pseudo-inputs of vampprior")
    assert figure.axes[0].get_title() == "20 pseudo-inputs of vampprior"
    assert np.array_equal(tile(figure, 0, 1, (4, 4)), x[1].reshape(4, 4))


@pytest.mark.parametrize("shape", [(4, 4), (4, 5, 3)])
def test_originals_stand_above_reconstructions_and_generations_apart(shape):
    x = images(9 * 3, shape).reshape(3, 9, -1)
    reconstructions = {"standard": x[1, :4], "vampprior": x[2, :4]}
    figure = plots.reconstructions_and_generations(
        x[0, :4], reconstructions, {"standard": x[1], "vampprior": x[2]}, shape
    )
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["test image", "standard", "vampprior"]
    for row in range(3):
        assert np.array_equal(tile(figure, row, 3, shape), x[row, 3].reshape(shape))
    assert [axes.get_title() for axes in figure.axes[1:]] == ["standard", "vampprior"]
    assert np.array_equal(tile(figure, 2, 1, shape, axes=2), x[2, 7].reshape(shape))


def test_every_original_needs_its_reconstruction():
    x = np.zeros((4, 4))
    with pytest.raises(ValueError, match=r"as many reconstructions\['a'\] as originals, 4; got 3"):
        plots.reconstructions_and_generations(x, {"a": x[:3]}, {"a": x}, (2, 2))


def test_training_curves_have_their_signs_and_units():
    figure = plots.training_curves({"standard": HISTORY, "vampprior": HISTORY})
    loss, elbo = figure.axes
    assert "lower is better" in loss.get_title() and "higher is better" in elbo.get_title()
    assert loss.get_ylabel() == "loss [nats per image]" and elbo.get_ylabel() == "ELBO [nats per image]"
    assert loss.get_xlabel() == elbo.get_xlabel() == "epoch"
    assert np.array_equal(loss.lines[0].get_ydata(), HISTORY["loss"])
    assert np.array_equal(elbo.lines[1].get_ydata(), HISTORY["valid_elbo"])
    assert np.array_equal(loss.lines[0].get_xdata(), np.arange(1, 41))
    assert texts(figure) == ["standard", "vampprior"]
    assert loss.get_ylim()[0] < 20 and elbo.get_ylim()[1] > -21


def test_training_curves_without_validation_have_one_panel():
    assert len(plots.training_curves({"a": {"loss": np.ones(3)}}).axes) == 1


def test_training_curves_say_what_is_missing():
    with pytest.raises(ValueError, match=r"should have 'loss'.*it has \['elbo'\]"):
        plots.training_curves({"a": {"elbo": np.ones(3)}})


def test_the_sweep_is_sorted_and_has_its_reference():
    figure = plots.pseudo_input_sweep([500, 10, 100], [-88.0, -91.0, -89.0], [0.1, 0.3, 0.2], reference=-93.0)
    axes = figure.axes[0]
    line, reference = axes.lines[0], axes.lines[-1]
    assert list(line.get_xdata()) == [10, 100, 500] and list(line.get_ydata()) == [-91, -89, -88]
    assert set(reference.get_ydata()) == {-93.0}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["10", "100", "500"]
    assert "nats per image" in axes.get_ylabel() and "number of pseudo-inputs" in axes.get_xlabel()
    assert sorted(texts(figure)) == ["VampPrior; bars: standard error", "standard Gaussian prior: -93.00"]


@pytest.mark.parametrize(
    "arguments", [([1, 2], [0.0]), ([1, 2], [0.0, 1.0], [0.1]), ([], []), ([0, 1], [0.0, 1.0])], ids=repr
)
def test_the_sweep_refuses_unequal_lengths_and_no_pseudo_inputs(arguments):
    with pytest.raises(ValueError, match="numbers"):
        plots.pseudo_input_sweep(*arguments)


def test_a_figure_is_saved_as_png_at_150_dpi(tmp_path):
    path = plots.save(plots.likelihood_histograms(VALUES), tmp_path / "new" / "figure.png")
    header = path.read_bytes()[:24]
    assert header.startswith(b"\x89PNG") and int.from_bytes(header[16:20]) == 9 * 150


def test_nothing_is_registered_with_pyplot():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    plots.image_grid(np.zeros((3, 4)), (2, 2))
    assert plt.get_fignums() == before
