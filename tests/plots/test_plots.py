"""Figures show what they were given, say what they show, and refuse what cannot be drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from ppl_vae import plots
from ppl_vae.plots.images import SEEN, UNKNOWN

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


LOG_P = {"iwae": [-22.0, -22.4, -22.5], "elbo": [-23.0, -23.5, -23.1]}
BOUND = {"iwae": [-24.0, -24.4, -24.6], "elbo": [-23.5, -24.0, -23.9]}


def test_intervals_show_means_errors_and_every_seed():
    figure = plots.likelihood_intervals(LOG_P, BOUND, {"iwae": 0.2, "elbo": 0.3})
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["iwae", "elbo"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first on top
    for y, name in enumerate(LOG_P):
        points = [tuple(line.get_xdata()) for line in axes.lines if line.get_ydata()[0] == y]
        assert (pytest.approx(np.mean(LOG_P[name])),) in points and (pytest.approx(np.mean(BOUND[name])),) in points
        dots = [
            tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 3 and line.get_ydata()[0] > y
        ]
        assert tuple(LOG_P[name]) in dots and tuple(BOUND[name]) in dots
    bars = [container.lines[2][0].get_segments()[0] for container in axes.containers]
    assert [np.ptp(bar[:, 0]) for bar in bars] == pytest.approx([0.4, 0.6])
    assert sorted(texts(figure)) == ["ELBO", "log p(x)"] and "higher is better" in axes.get_xlabel()


def test_differences_have_two_standard_errors():
    differences = {"iwae": (0.0, 0.0), "elbo": (-0.9, 0.1)}
    left, right = plots.likelihood_intervals(LOG_P, BOUND, {"iwae": 0.2, "elbo": 0.3}, differences).axes
    bars = [container.lines[2][0].get_segments()[0] for container in right.containers]
    assert bars[1][:, 0] == pytest.approx([-1.1, -0.7]) and bars[0][:, 0] == pytest.approx([0, 0])
    assert "two standard errors" in right.get_xlabel() and left.get_title() != right.get_title()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (({}, {}, {}), "'log_p' is empty"),
        ((LOG_P, {"iwae": [1.0]}, {"iwae": 0.1, "elbo": 0.1}), r"'elbo' should have the names of 'log_p'"),
        ((LOG_P, BOUND, {"iwae": 0.1}), r"'error' should have the names"),
        ((LOG_P, BOUND, {"iwae": 0.1, "elbo": 0.1}, {}), r"'difference' should have the names"),
        (({"a": [np.nan]}, {"a": [0.0]}, {"a": 0.1}), r"log_p\['a'\] should be finite"),
    ],
)
def test_intervals_say_what_is_missing(arguments, said):
    with pytest.raises(ValueError, match=said):
        plots.likelihood_intervals(*arguments)


def test_gaps_are_bars_of_the_mean_with_every_seed():
    gaps = {name: np.subtract(LOG_P[name], BOUND[name]) for name in LOG_P}
    axes = plots.bound_gaps(gaps, title="gaps").axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([g.mean() for g in gaps.values()])
    assert [list(line.get_xdata()) for line in axes.lines] == [list(g) for g in gaps.values()]
    assert [text.get_text().strip() for text in axes.texts] == [f"{g.mean():.2f}" for g in gaps.values()]
    assert "log p(x) - ELBO" in axes.get_xlabel() and axes.figure.get_suptitle() == "gaps"
    with pytest.raises(ValueError, match="'gaps' is empty"):
        plots.bound_gaps({})


def test_progress_is_drawn_by_epoch_and_by_second_a_line_per_seed():
    slow = {**HISTORY, "seconds": np.full(40, 100.0)}
    figure = plots.progress_curves({"quick": [HISTORY, HISTORY], "slow": [slow]}, target=-25.0)
    by_epoch, by_second = figure.axes
    assert [len(line.get_xdata()) for line in by_epoch.lines[:3]] == [40, 40, 40]
    assert list(by_epoch.lines[0].get_xdata()) == list(range(1, 41))
    assert list(by_second.lines[2].get_xdata()) == [100.0 * n for n in range(1, 41)]
    assert all(np.array_equal(line.get_ydata(), HISTORY["valid_elbo"]) for line in by_second.lines[:3])
    assert by_epoch.lines[0].get_color() == by_epoch.lines[1].get_color() != by_epoch.lines[2].get_color()
    assert texts(figure) == ["quick", "slow", "target: -25.00"]
    assert by_second.get_xscale() == "log" and by_epoch.get_xscale() == "linear"
    assert plots.progress_curves({"quick": [HISTORY]}).axes[1].get_xscale() == "linear"


def test_progress_says_what_is_missing():
    with pytest.raises(ValueError, match=r"histories\['a'\] should have 'valid_elbo' and 'seconds'.*it has \['loss'\]"):
        plots.progress_curves({"a": [{"loss": np.ones(3)}]})
    with pytest.raises(ValueError, match="'histories' is empty"):
        plots.progress_curves({})


def test_many_generations_are_wrapped_and_every_strategy_is_there():
    x = images(4, (4, 4))
    names = [f"strategy {n}" for n in range(7)]
    figure = plots.reconstructions_and_generations(
        x, dict.fromkeys(names, x), dict.fromkeys(names, x), (4, 4), what="strategy"
    )
    assert [axes.get_title() for axes in figure.axes[1:]] == names
    rows = {round(axes.get_subplotspec().rowspan.start) for axes in figure.axes[1:]}
    assert rows == {0, 1}
    assert "each strategy's model" in figure.axes[0].get_title()


def test_a_figure_is_saved_as_png_at_150_dpi(tmp_path):
    path = plots.save(plots.likelihood_histograms(VALUES), tmp_path / "new" / "figure.png")
    header = path.read_bytes()[:24]
    assert header.startswith(b"\x89PNG") and int.from_bytes(header[16:20]) == 9 * 150


def test_nothing_is_registered_with_pyplot():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    plots.image_grid(np.zeros((3, 4)), (2, 2))
    assert plt.get_fignums() == before


def test_labelled_rows_show_every_image_with_its_ground() -> None:
    """Values from black, or from blue where they were seen; NaN grey; a line for each draw."""
    shape, seen = (4, 6), np.arange(24) >= 12
    x = images(3, shape)
    drawn = np.stack([images(3, shape)[::-1], x])
    unknown = np.where(seen, x, np.nan)
    rows = {"truth": x, "drawn": drawn, "seen": unknown}
    figure = plots.labelled_rows(rows, shape, seen={"drawn": seen, "seen": seen}, title="three")
    axes = figure.axes[0]
    shown, apart = np.asarray(axes.images[0].get_array()), 2
    height, width = shape[0] + plots.GAP, shape[1] + plots.GAP
    tops = {"truth": 0, "drawn": height + 1 + apart, "seen": 3 * height + 2 + 2 * apart}
    assert shown.shape == (4 * height + 3 + 2 * apart, 3 * width + 1, 3)
    for name, lines in rows.items():
        for line, values in enumerate(lines.reshape(-1, 3, *shape)):
            for column, image in enumerate(values):
                top, left = tops[name] + line * height + plots.GAP, column * width + plots.GAP
                part = shown[top : top + shape[0], left : left + shape[1]]
                blue = np.array(SEEN) * seen.reshape(*shape, 1) if name != "truth" else 0.0
                expected = np.where(np.isnan(image)[..., None], UNKNOWN, image[..., None] * (1 - blue) + blue)
                np.testing.assert_allclose(part, np.broadcast_to(expected, part.shape))
    assert [t.get_text() for t in axes.get_yticklabels()] == list(rows) and axes.get_title() == "three"


def test_boxes_lie_where_their_edges_say() -> None:
    """A box around the white pixels of an image, in the second row and the second column of the mosaic."""
    images = np.zeros((3, 4, 6))
    images[1, 1:3, 2:5] = 1
    rows = {"a": np.zeros((3, 24)), "b": images.reshape(3, 24)}
    boxes = np.full((3, 2, 4), np.nan)
    boxes[1, 0] = 1, 2, 2, 3
    axes = plots.labelled_rows(rows, (4, 6), boxes={"b": boxes}).axes[0]
    mosaic = np.asarray(axes.images[0].get_array())
    (box,) = [patch for patch in axes.patches if np.isfinite(patch.get_xy()).all()]
    left, top = (round(edge + 0.5) for edge in box.get_xy())
    inside = mosaic[top : top + int(box.get_height()), left : left + int(box.get_width())]
    assert inside.shape[:2] == (2, 3) and (inside == 1).all()
    around = mosaic[top - 1 : top + 3, left - 1 : left + 4]
    assert around.sum() == inside.sum(), "the pixels next to it are black"


@pytest.mark.parametrize("boxes", [{"c": np.zeros((3, 1, 4))}, {"a": np.zeros((2, 1, 4))}, {"a": np.zeros((3, 1, 3))}])
def test_boxes_of_no_row_are_refused(boxes: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="'boxes' should hold arrays"):
        plots.labelled_rows({"a": np.zeros((3, 4))}, (2, 2), boxes=boxes)


def test_labelled_rows_refuse_what_they_cannot_draw() -> None:
    with pytest.raises(ValueError, match=r"'image_shape' should be \(H, W\)"):
        plots.labelled_rows({"a": np.zeros((2, 12))}, (2, 2, 3))
    with pytest.raises(ValueError, match="as many images of 4 pixels each"):
        plots.labelled_rows({"a": np.zeros((2, 4)), "b": np.zeros((3, 4))}, (2, 2))
    with pytest.raises(ValueError, match="rows"):
        plots.labelled_rows({}, (2, 2))
