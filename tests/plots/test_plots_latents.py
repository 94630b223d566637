"""Figures of latents and of objectives show what they were given, and refuse what cannot be drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.stats import norm

from ppl_vae import plots
from ppl_vae.plots import GAP
from ppl_vae.plots.drawing import COLOURS

RNG = np.random.default_rng(0)
SHAPE = (4, 6)


def images(*size: int) -> np.ndarray:
    return np.random.default_rng(1).random((*size, 24))


def part(mosaic: Any, row: int, column: int, top: int = 0) -> np.ndarray:
    top, left = top + row * (SHAPE[0] + GAP) + GAP, column * (SHAPE[1] + GAP) + GAP
    return np.asarray(mosaic)[top : top + SHAPE[0], left : left + SHAPE[1]]


def labels(axes: Any, which: str = "y") -> list[str]:
    return [tick.get_text() for tick in getattr(axes, f"get_{which}ticklabels")()]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


# Latents


def test_a_traversal_has_a_row_for_each_dimension() -> None:
    x, above = images(3, 5), images(2)
    figure = plots.traversals(
        x, np.linspace(-3, 3, 5), SHAPE, labels=["z4", "z0", "z1"], above={"image": above[0], "made": above[1]}
    )
    shown = figure.axes[0].images[0].get_array()
    top = len(shown) - 3 * (SHAPE[0] + GAP) - GAP
    for row, column in np.ndindex(3, 5):
        np.testing.assert_array_equal(part(shown, row, column, top), x[row, column].reshape(SHAPE))
    for column in range(2):
        np.testing.assert_array_equal(part(shown, 0, column), above[column].reshape(SHAPE))
    assert (part(shown, 0, 2) == 1).all()
    assert labels(figure.axes[0]) == ["image, made", "z4", "z0", "z1"]
    assert labels(figure.axes[0], "x") == ["-3", "-1.5", "0", "1.5", "3"]
    ticks = figure.axes[0].get_yticks()
    assert all(top + row * 5 < tick < top + (row + 1) * 5 for row, tick in enumerate(ticks[1:]))


def test_a_traversal_in_colours() -> None:
    x = np.random.default_rng(0).random((2, 3, 72))
    figure = plots.traversals(x, [0, 1, 2], (*SHAPE, 3), above={"image": x[0, 0]})
    assert figure.axes[0].images[0].get_array().shape[-1] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"values": [0, 1]}, r"shape \(dimensions, 2, P\)"),
        ({"labels": ["a"]}, "'labels' should name the 2 rows; got 1"),
        ({"above": dict.fromkeys("abcd", images(1)[0])}, "'above' should hold at most 3"),
        ({"image_shape": (5, 5)}, r"'images' should have shape \(N, 25\)"),
    ],
)
def test_traversals_that_do_not_fit(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plots.traversals(**{"images": images(2, 3), "values": [0, 1, 2], "image_shape": SHAPE, **arguments})


def test_differences_have_their_sign_and_white_gaps() -> None:
    x, made = np.ones((3, 24)), images(3)
    made[1, 0], x[1, 0] = 1, 0  # a difference of exactly 1 is no gap
    figure = plots.reconstruction_differences(x, made, SHAPE)
    for axes, values in zip(figure.axes[:3], (x, made, made - x), strict=True):
        for column in range(3):
            np.testing.assert_allclose(part(axes.images[0].get_array(), 0, column), values[column].reshape(SHAPE))
    drawn = figure.axes[2].images[0]
    assert drawn.get_clim() == (-1, 1) and drawn.get_cmap()(1.0)[0] > drawn.get_cmap()(1.0)[2]  # red
    gaps = np.ma.getmaskarray(np.ma.masked_invalid(drawn.get_array()))
    assert gaps[0].all() and gaps.sum() == gaps.size - 3 * 24
    assert [axes.get_ylabel() for axes in figure.axes[:3]] == ["image", "reconstruction", "difference"]
    with pytest.raises(ValueError, match="as many reconstructions as images, 3; got 2"):
        plots.reconstruction_differences(x, made[:2], SHAPE)


def test_differences_of_colours_are_means_over_channels() -> None:
    x, made = np.zeros((2, 72)), np.random.default_rng(0).random((2, 72))
    shown = plots.reconstruction_differences(x, made, (*SHAPE, 3)).axes[2].images[0].get_array()
    np.testing.assert_allclose(part(shown, 0, 1), made[1].reshape(*SHAPE, 3).mean(-1))


def test_the_density_of_draws_by_pairs_of_dimensions() -> None:
    z = RNG.normal(size=(500, 5)) * [1, 2, 0.5, 1, 1]
    figure = plots.sample_density(z, dimensions=[3, 1, 2])
    assert len(figure.axes) == 6
    below = [axes for axes in figure.axes if axes.collections]
    assert {(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes} >= {("z3", "z2"), ("z1", ""), ("z2", "")}
    first = below[0]  # z1 over z3
    assert first.get_ylabel() == "z1"
    counts = np.histogram2d(z[:, 3], z[:, 1], bins=40)[0]
    assert np.ma.filled(first.collections[0].get_array(), 0).sum() == counts.sum() == 500
    corners = first.collections[0].get_coordinates()
    for axis, d in enumerate((3, 1)):
        assert [corners[..., axis].min(), corners[..., axis].max()] == pytest.approx([z[:, d].min(), z[:, d].max()])
    radii = [np.hypot(*line.get_data()) for line in first.lines]
    assert [r.mean() for r in radii] == pytest.approx([1, 2, 3]) and max(np.ptp(r) for r in radii) < 1e-9


def test_the_density_of_a_prior_that_is_given() -> None:
    z, prior = RNG.normal(size=(300, 2)), RNG.normal(4, 1, size=(20000, 2))
    axes = next(a for a in plots.sample_density(z, prior=prior).axes if a.collections)
    contours = axes.collections[-1].get_paths()
    inner = np.concatenate([path.vertices for path in contours])
    assert not axes.lines and np.abs(inner.mean(0) - 4).max() < 0.3
    radius = sorted(np.hypot(*(path.vertices - 4).T).mean() for path in contours)
    assert radius == pytest.approx([2**0.5 * (-np.log(1 - p)) ** 0.5 for p in (0.39, 0.86)], rel=0.15)


def test_aggregate_posteriors_stand_over_the_prior() -> None:
    z = RNG.normal(size=(400, 3)) + np.array([0, 5, 0])
    figure = plots.aggregate_posteriors(z, dimensions=[1, 0], labels=["z1, 2 nats", "z0"])
    assert [axes.get_title() for axes in figure.axes] == ["z1, 2 nats", "z0"]
    for axes, d in zip(figure.axes, (1, 0), strict=True):
        bars = axes.patches
        assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1)
        centre = sum((bar.get_x() + bar.get_width() / 2) * bar.get_height() * bar.get_width() for bar in bars)
        assert centre == pytest.approx(z[:, d].mean(), abs=0.1)
        x, y = axes.lines[0].get_data()
        np.testing.assert_allclose(y, norm.pdf(x))
    other = plots.aggregate_posteriors(z, prior=z + 1)
    assert not other.axes[0].lines and "draws from the prior" in other.get_suptitle()


def test_moments_have_a_point_for_each_datum() -> None:
    mean, sd = RNG.normal(size=(30, 7)) * 2, RNG.random((30, 7))
    figure = plots.posterior_moments(mean, sd, dimensions=[6, 2, 0, 1, 3, 4])
    assert len(figure.axes) == 6
    for axes, d in zip(figure.axes, [6, 2, 0, 1, 3, 4], strict=True):
        np.testing.assert_array_equal(axes.lines[0].get_data(), [mean[:, d], sd[:, d]])
        assert axes.lines[1].get_xydata().tolist() == [[0, 1]]
        assert axes.get_xlim()[1] >= np.abs(mean[:, d]).max() and axes.get_ylim()[1] >= 1.2


def test_many_points_are_thinned() -> None:
    mean = np.arange(20_000.0)[:, None]
    shown = plots.posterior_moments(mean, np.ones_like(mean)).axes[0].lines[0].get_xdata()
    assert len(shown) == 5000 and shown[0] == 0 and shown[-1] == 19_999


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda z: plots.sample_density(z[0]), r"'z' should have shape \(M, D\)"),
        (lambda z: plots.aggregate_posteriors(z, prior=z[:, :1]), r"'prior' should have shape \(M, 2\)"),
        (lambda z: plots.aggregate_posteriors(z * np.nan), "'z' should be finite; 8 of 8"),
        (lambda z: plots.aggregate_posteriors(z, dimensions=[2]), "'dimensions' should be integers from 0 to 1"),
        (lambda z: plots.posterior_moments(z, z[:1]), "'mean' and 'sd' should be of the same data"),
        (lambda z: plots.posterior_moments(z, z, labels=["a"]), "'labels' should name the 2 dimensions; got 1"),
    ],
)
def test_draws_that_cannot_be_drawn(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call(np.ones((4, 2)))


def test_shifted_images_stand_over_their_scores() -> None:
    x = {"data": images(5), "noise": 1 - images(5)}
    made = {name: 0.5 * values for name, values in x.items()}
    scores = {"data": np.arange(5.0), "noise": np.arange(5.0) + 10}
    moved = {name: values[:4] for name, values in x.items()}
    figure = plots.shifted_images(x, made, scores, SHAPE, traversals=moved, count=3, score_name="rate")
    assert [axes.get_title() for axes in figure.axes] == [
        "data: mean 2.0",
        "traversal from the first",
        "noise: mean 12.0",
        "traversal from the first",
    ]
    assert "rate" in figure.get_suptitle()
    for axes, name in zip(figure.axes[::2], x, strict=True):
        shown = axes.images[0].get_array()
        assert labels(axes, "x") == [f"{s:.0f}" for s in scores[name][:3]]
        for column in range(3):
            np.testing.assert_array_equal(part(shown, 0, column), x[name][column].reshape(SHAPE))
            np.testing.assert_array_equal(part(shown, 1, column), made[name][column].reshape(SHAPE))
    np.testing.assert_array_equal(part(figure.axes[3].images[0].get_array(), 1, 1), x["noise"][3].reshape(SHAPE))


def test_shifted_images_that_do_not_fit() -> None:
    x = {"data": images(5)}
    with pytest.raises(ValueError, match="'scores' should have the names of 'images'"):
        plots.shifted_images(x, x, {}, SHAPE)
    with pytest.raises(ValueError, match=r"for each of images\['data'\]; got \[5, 5, 4\]"):
        plots.shifted_images(x, x, {"data": np.zeros(4)}, SHAPE)
    with pytest.raises(ValueError, match="'images' is empty"):
        plots.shifted_images({}, {}, {}, SHAPE)


# Objectives


def trainings() -> pd.DataFrame:
    """Two models, three strengths, two seeds."""
    rows = []
    for model, strength, seed in ((m, s, k) for m in ("beta", "factor") for s in (4.0, 1.0, 2.0) for k in (0, 1)):
        information, total, dims = 5 / strength, 2 / strength, 1 / strength + 0.1 * seed
        parts = {"mutual_information": information, "total_correlation": total, "dimension_wise_kl": dims}
        rate, distortion = information + total + dims, 2.0 + strength
        rows.append(
            {"model": model, "strength": strength, "seed": seed, "rate": rate, "distortion": distortion, **parts}
        )
    return pd.DataFrame(rows)


def test_the_parts_of_the_rate_are_stacked() -> None:
    frame = trainings()
    figure = plots.objective_decomposition(frame)
    upper, lower = np.reshape(figure.axes, (2, 2))
    assert [axes.get_title() for axes in upper] == ["beta", "factor"]
    assert labels(lower[0], "x") == ["1", "2", "4"]
    assert upper[0].lines[0].get_ydata().tolist() == [3, 4, 6]
    mean = frame[frame["model"] == "beta"].groupby("strength").mean(numeric_only=True)
    heights = np.reshape([bar.get_height() for bar in lower[0].patches], (3, 3))
    names = ["mutual_information", "total_correlation", "dimension_wise_kl"]
    np.testing.assert_allclose(heights, mean[names].T)
    tops = [bar.get_y() + bar.get_height() for bar in lower[0].patches[6:]]
    np.testing.assert_allclose(tops, lower[0].lines[0].get_ydata())  # the rate
    np.testing.assert_allclose(tops, mean["rate"])
    assert legend(figure) == ["rate R", "mutual information I", "total correlation", "dimension-wise KL"]


def test_the_plane_has_curves_and_what_cannot_be() -> None:
    frame = trainings()
    frame["entropy"] = 8.0
    indexed = frame.set_index(["model", "strength"])
    for given in (frame, indexed):
        figure = plots.rate_distortion_plane(given)
        plane, bounds = figure.axes
        mean = frame[frame["model"] == "beta"].groupby("strength").mean(numeric_only=True)
        np.testing.assert_allclose(plane.lines[0].get_data(), mean[["rate", "distortion"]].T)
        assert [text.get_text() for text in plane.texts] == ["1", "2", "4"] * 2
        shaded = plane.collections[0].get_paths()[0].vertices
        assert (shaded.sum(1) <= 8 + 1e-9).all() and shaded.sum(1).max() == pytest.approx(8)
        assert legend(figure) == ["beta", "factor", "R + D < H"]
        bars = bounds.patches[:3]
        np.testing.assert_allclose([b.get_y() for b in bars], np.maximum(0, 8 - mean["distortion"]))
        np.testing.assert_allclose([b.get_y() + b.get_height() for b in bars], mean["rate"])
        dots = [line.get_ydata()[0] for line in bounds.lines[:3]]
        np.testing.assert_allclose(dots, mean["mutual_information"])
        assert set(bounds.lines[-1].get_ydata()) == {8.0} and bounds.texts[0].get_text() == "H = 8.00"
        assert labels(bounds, "x") == ["1", "2", "4"] * 2


def test_the_plane_without_an_entropy_or_far_from_it_shades_nothing() -> None:
    unknown, far = trainings().drop(columns="model"), trainings()
    unknown["entropy"] = np.nan
    far["entropy"], far["distortion"] = 3.0, far["distortion"] + 100
    for frame in (unknown, far):
        plane, bounds = plots.rate_distortion_plane(frame).axes
        assert not plane.collections and all(bar.get_y() == 0 for bar in bounds.patches)
    named = unknown.groupby("strength").mean().set_axis(["a", "b", "c"])
    assert sorted(labels(plots.rate_distortion_plane(named).axes[1], "x")) == ["a", "b", "c"]


def steps() -> pd.DataFrame:
    return pd.concat([trainings().assign(step=step, reconstruction=lambda f: f["rate"] - f["step"]) for step in (2, 1)])


def test_every_seed_has_a_line() -> None:
    frame = steps()
    figure = plots.training_by_seed(frame)
    assert [axes.get_title() for axes in figure.axes] == ["beta", "factor"]
    (left, _) = figure.axes
    assert len(left.lines) == 6 and [t.get_text() for t in left.get_legend().get_texts()] == ["1", "2", "4"]
    first = frame.query("model == 'beta' and strength == 1 and seed == 1").sort_values("step")
    np.testing.assert_array_equal(left.lines[1].get_data(), first[["step", "reconstruction"]].T)
    assert [to_hex(line.get_color()).upper() for line in left.lines] == [c for c in COLOURS[:3] for _ in (0, 1)]
    assert left.get_ylabel() == "reconstruction [nats]" and left.get_xlabel() == "step"


def test_objectives_side_by_side_are_means_and_bands() -> None:
    frame = steps()
    figure = plots.training_across_objectives(frame)
    (axes,) = figure.axes
    assert legend(figure) == [f"{m}, {s}" for m in ("beta", "factor") for s in (1, 2, 4)]
    told = frame.query("model == 'beta' and strength == 2").groupby("step")["reconstruction"].agg(["mean", "std"])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), told["mean"])
    band = axes.collections[1].get_paths()[0].vertices
    np.testing.assert_allclose(
        [band[:, 1].min(), band[:, 1].max()], [(told["mean"] - told["std"]).min(), (told["mean"] + told["std"]).max()]
    )
    assert axes.lines[0].get_color() == axes.lines[1].get_color() != axes.lines[3].get_color()
    assert axes.lines[0].get_linestyle() != axes.lines[1].get_linestyle()
    alone = plots.training_across_objectives(frame.drop(columns="model")).axes[0]
    assert len({line.get_color() for line in alone.lines}) == 3


def test_a_metric_against_the_reconstruction_has_its_rank_correlation() -> None:
    frame = trainings().assign(mig=lambda f: -(f["rate"] ** 3), reconstruction=lambda f: f["rate"])
    figure = plots.metric_against(frame, "mig")
    assert [axes.get_title() for axes in figure.axes] == ["beta, rho = -1.00", "factor, rho = -1.00"]
    points = np.concatenate([line.get_xydata() for line in figure.axes[0].lines])
    own = frame[frame["model"] == "beta"].sort_values(["strength", "seed"])
    np.testing.assert_allclose(points, own[["reconstruction", "mig"]])
    assert plots.metric_against(frame.assign(mig=1.0), "mig").axes[0].get_title() == "beta"


def test_metrics_over_seeds_have_a_box_and_every_seed() -> None:
    frame = trainings().assign(mig=RNG.random(12))
    figure = plots.metric_distributions(frame, "mig")
    left = figure.axes[0]
    assert labels(left, "x") == ["1", "2", "4"] and left.get_xlabel() == "strength"
    own = frame.query("model == 'beta' and strength == 2")["mig"].to_numpy()
    dots = [line.get_ydata() for line in left.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(dots[1], own)
    medians = [line.get_ydata()[0] for line in left.lines if line.get_color() == "black" and len(line.get_ydata()) == 2]
    assert np.median(own) in medians
    assert [box.get_path().vertices[:, 0].mean() for box in left.patches] == pytest.approx([0, 1, 2], abs=0.15)
    assert not any(isinstance(artist, PathCollection) for artist in left.collections)


def test_correlations_are_written_into_the_map() -> None:
    values = pd.DataFrame([[1.0, -0.5, np.nan]], ["mig"], ["mig", "sap", "elbo"])
    figure = plots.correlation_matrix(values)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["1.00", "-0.50"]
    assert [text.get_position() for text in axes.texts] == [(0, 0), (1, 0)]
    assert axes.images[0].get_clim() == (-1, 1) and labels(axes) == ["mig"]
    assert labels(axes, "x") == ["mig", "sap", "elbo"]
    for wrong in (pd.DataFrame(), pd.DataFrame([[1.5]])):
        with pytest.raises(ValueError, match="'table' should hold correlations from -1 to 1"):
            plots.correlation_matrix(wrong)


@pytest.mark.parametrize(
    "draw",
    [
        plots.objective_decomposition,
        plots.rate_distortion_plane,
        lambda f: plots.training_by_seed(f, "rate"),
        lambda f: plots.training_across_objectives(f, "rate"),
        lambda f: plots.metric_against(f, "rate", "distortion"),
        lambda f: plots.metric_distributions(f, "rate"),
    ],
)
def test_frames_that_cannot_be_drawn(draw: Any) -> None:
    frame = trainings().assign(step=1)
    draw(frame)
    with pytest.raises(ValueError, match="'frame' should have the columns .*; it lacks rate"):
        draw(frame.drop(columns="rate").rename(columns={"rate ": "x"}))
    for wrong in (frame.assign(rate=np.nan), frame[:0]):
        with pytest.raises(ValueError, match="of 'frame' should hold finite numbers"):
            draw(wrong)


# Critics


def two_samples(count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """log N(z; 1, 1) - log N(z; -1, 1) = 2 z at draws of both, and where they are from."""
    z = np.random.default_rng(0).normal(np.array([[1.0], [-1.0]]), size=(2, count))
    return 2 * z.ravel(), np.repeat([True, False], count)


def points(axes: Any) -> np.ndarray:
    """(x, y) of the bins, (bins, 2), and half of each bar."""
    (drawn,) = axes.containers
    bars = drawn[2][0].get_segments() if drawn[2] else np.zeros((len(drawn[0].get_xdata()), 2, 2))
    return np.column_stack([drawn[0].get_xdata(), drawn[0].get_ydata(), [np.ptp(bar[:, 1]) / 2 for bar in bars]])


def test_a_right_ratio_lies_on_both_diagonals() -> None:
    known, from_q = two_samples()
    figure = plots.ratio_calibration(known, known, from_q=from_q, history={"critic_accuracy": [0.5, 0.8]}, bins=8)
    ratios, reliability, training = figure.axes
    shown = points(ratios)
    order = np.sort(known).reshape(8, -1)
    np.testing.assert_allclose(shown, np.column_stack([order.mean(1), order.mean(1), order.std(1)]), rtol=1e-6)
    x, y, errors = points(reliability).T
    counts = from_q[np.argsort(known)].reshape(8, -1).mean(1)
    np.testing.assert_allclose(y, counts)
    np.testing.assert_allclose(errors, 2 * np.sqrt(counts * (1 - counts) / 1000), rtol=1e-6)
    assert (abs(x - y) < 2 * errors + 1e-3).all()
    assert training.lines[0].get_xydata().tolist() == [[1, 0.5], [2, 0.8]]
    assert training.lines[1].get_ydata()[0] == pytest.approx(norm.cdf(1), abs=0.01)  # Bayes's


def test_a_timid_ratio_leaves_them() -> None:
    known, from_q = two_samples()
    figure = plots.ratio_calibration(0.5 * known, known, from_q=from_q, bins=8)
    assert len(figure.axes) == 2
    ratios, reliability = map(points, figure.axes)
    np.testing.assert_allclose(ratios[:, 1], 0.5 * ratios[:, 0], rtol=1e-6)
    assert reliability[0, 1] < reliability[0, 0] - 0.05 and reliability[-1, 0] + 0.05 < reliability[-1, 1]
    exact = points(plots.ratio_calibration(0.5 * known, known, bins=8).axes[1])  # frequencies by the known ratio
    np.testing.assert_allclose(exact[:, 1], reliability[:, 1], atol=0.05)
    assert not exact[:, 2].any()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"learned": np.zeros(3)}, r"one shape; got \(3,\) and \(4,\)"),
        ({"learned": np.zeros((4, 1))}, r"'learned' should have shape \(N,\)"),
        ({"known": np.array([0, 0, 0, np.inf])}, "'known' should be finite"),
        ({"bins": 5}, "'bins' should be 1 to 4, the number of points; got 5"),
        ({"from_q": [True, False]}, r"'from_q' should hold true or false for each of the 4 points; got \(2,\)"),
        ({"from_q": [0, 1, 2, 0]}, "'from_q' should hold true or false"),
        ({"history": {"loss": [1.0]}}, "'history' should have 'critic_accuracy', .* got loss"),
    ],
)
def test_calibrations_that_cannot_be_drawn(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plots.ratio_calibration(**{"learned": np.zeros(4), "known": np.zeros(4), "bins": 2, **arguments})
