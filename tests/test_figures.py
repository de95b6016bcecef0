"""What the pictures show, read back from the figures; how they look is for eyes."""

import io
import itertools
import math

import matplotlib.image as mpimg
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredText
from matplotlib.text import Text
from scipy.stats.mstats import mquantiles

from vaelib import aggregate, figures
from vaelib.history import Epoch
from vaelib.latent import latent_grid
from vaelib.models import mlp_vae


def numbered(count: int, side: int = 3) -> torch.Tensor:
    """Pictures of one grey each, all different."""
    return torch.linspace(0, 1, count)[:, None].expand(count, side * side)


def shown(figure: object) -> np.ndarray:
    return np.asarray(figure.axes[0].images[0].get_array())


def test_tile_puts_each_picture_in_its_place_and_nothing_between() -> None:
    sheet = figures.tile(numbered(5), 3, gap=2)
    assert sheet.shape == (2 * 5 - 2, 3 * 5 - 2)
    for index in range(5):
        row, column = divmod(index, 3)
        cell = sheet[row * 5 : row * 5 + 3, column * 5 : column * 5 + 3]
        torch.testing.assert_close(cell, torch.full((3, 3), index / 4))
    covered = ~sheet.isnan()
    assert covered.sum() == 5 * 9


def test_tile_keeps_rows_of_pixels_as_rows() -> None:
    picture = torch.arange(9.0).reshape(1, 9) / 8
    assert torch.equal(figures.tile(picture, 1), torch.arange(9.0).reshape(3, 3) / 8)


def test_manifold_shows_the_decoding_of_each_grid_point_where_it_belongs() -> None:
    calls = []

    def decode(z: torch.Tensor) -> torch.Tensor:
        calls.append(z)
        return torch.sigmoid(z[:, :1] + 2 * z[:, 1:]).expand(-1, 9)

    picture = shown(figures.manifold(decode, cells=4, grid="linear", span=2.0))
    assert len(calls) == 1  # one batch
    assert torch.equal(calls[0], latent_grid(4, grid="linear", span=2.0))
    expected = decode(calls[0])[:, 0].reshape(4, 4)
    np.testing.assert_allclose(picture[1::3, 1::3], expected.numpy(), rtol=1e-6)


def test_reconstructions_stand_below_their_originals_with_their_elbo() -> None:
    originals, made = numbered(3), 1 - numbered(3)
    figure = figures.reconstructions(originals, made, elbo=torch.tensor([-10.4, -200.6, -3.0]))
    picture = shown(figure)
    np.testing.assert_allclose(picture[1, [1, 6, 11]], [0, 0.5, 1])
    np.testing.assert_allclose(picture[6, [1, 6, 11]], [1, 0.5, 0])
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said == ["-10", "-201", "-3", "image", "decoded", "ELBO, nats"]


def test_reconstructions_of_many_images_go_on_in_a_second_band_under_their_names() -> None:
    originals, names = numbered(5), ["a", "b", "c", "d", "e"]
    figure = figures.reconstructions(originals, 1 - originals, names=names, columns=3)
    picture, axes = shown(figure), figure.axes[0]
    top = picture.shape[0] - 8  # of the second band: two pictures of 3 pixels with 2 between
    np.testing.assert_allclose(picture[top + 1, [1, 6]], [0.75, 1])
    np.testing.assert_allclose(picture[top + 6, [1, 6]], [0.25, 0])
    assert np.isnan(picture[top:, 10:]).all()
    places = {text.get_text(): text.get_position() for text in axes.texts if text.get_text() in names}
    assert [places[name][0] for name in names] == [1, 6, 11, 1, 6]
    assert all(places[name][1] < 0 for name in "abc")
    assert all(8 < places[name][1] < top for name in "de")


def test_scatter_draws_every_point_once_in_the_colour_of_its_digit() -> None:
    generator = torch.Generator().manual_seed(0)
    points, labels = torch.randn(50, 2, generator=generator), torch.arange(50) % 10
    axes = figures.latent_scatter(points, labels, dims=(3, 4)).axes[0]
    clouds = [c for c in axes.collections if isinstance(c, PathCollection)]
    drawn = np.concatenate([np.asarray(cloud.get_offsets()) for cloud in clouds])
    expected = np.concatenate([points[labels == digit].numpy() for digit in range(10)])
    np.testing.assert_allclose(drawn, expected)
    assert len({tuple(cloud.get_facecolor()[0]) for cloud in clouds}) == 10
    assert axes.get_xlabel() == "mean of $z_{3}$"


def line(epoch: int, held_out: float | None) -> Epoch:
    return Epoch(epoch, -150.0 - epoch, 144.0, 6.0 + epoch, held_out, held_out, held_out, 1e-3, 1.0)


@pytest.mark.parametrize(("held_out", "curves"), [(None, 1), (-151.0, 2)])
def test_loss_curves_draw_training_and_where_measured_held_out(held_out: float | None, curves: int) -> None:
    history = [line(epoch, held_out) for epoch in (1, 2, 3)]
    figure = figures.loss_curves(history, held_out_name="test")
    for axes, expected in zip(figure.axes, ("train_elbo", "train_distortion", "train_rate"), strict=True):
        assert len(axes.lines) == curves
        np.testing.assert_allclose(axes.lines[0].get_xdata(), [1, 2, 3])
        np.testing.assert_allclose(axes.lines[0].get_ydata(), [getattr(e, expected) for e in history])


def test_a_notebook_shows_a_figure_as_a_picture_with_a_transparent_ground() -> None:
    picture = figures.loss_curves([line(1, None)])
    pixels = mpimg.imread(io.BytesIO(picture._repr_png_()))
    assert pixels.shape[-1] == 4
    assert pixels[0, 0, 3] == 0


def test_figures_leave_pyplot_without_open_figures() -> None:
    from matplotlib import pyplot

    figures.sheet(numbered(4))
    figures.loss_curves([line(1, None)])
    assert pyplot.get_fignums() == []


def test_pictures_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(ValueError, match="10 pixels do not make a square"):
        figures.tile(torch.zeros(2, 10), 2)
    with pytest.raises(ValueError, match="at least one"):
        figures.tile(torch.zeros(2, 9), 0)
    with pytest.raises(ValueError, match="these points have 3"):
        figures.latent_scatter(torch.zeros(5, 3), torch.zeros(5))
    with pytest.raises(ValueError, match="originals are"):
        figures.reconstructions(torch.zeros(2, 9), torch.zeros(3, 9))
    with pytest.raises(ValueError, match="3 names for 2 images"):
        figures.reconstructions(torch.zeros(2, 9), torch.zeros(2, 9), names=["a", "b", "c"])
    with pytest.raises(ValueError, match="1 names for 2 images"):
        figures.reconstructions(torch.zeros(2, 9), torch.zeros(2, 9), names=["one"])


def replayed(moments: int = 4, **other: object) -> dict[str, object]:
    """A run of three epochs: twelve points that drift apart, four of them shown, greys that grow lighter."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(12, 2, generator=generator)
    parts = {
        "points": torch.stack([start * (1 + moment) for moment in range(moments)]),
        "labels": torch.arange(12, dtype=torch.uint8) % 4,
        "shown": torch.tensor([4, 1, 2, 7]),
        "originals": numbered(4),
        "reconstructions": torch.stack([numbered(4) * moment / moments for moment in range(moments)]),
        "history": [
            Epoch(epoch, -200.0 + epoch, 1.0, 1.0, -190.0 + epoch, 1.0, 1.0, 0.1, 1.0)
            for epoch in range(1, moments)
        ],
        "elbo": [-543.25, *(-190.0 + epoch for epoch in range(1, moments))],
    }
    return {**parts, **other}


def test_a_replay_moves_the_points_and_neither_axes_nor_colours() -> None:
    parts = replayed()
    replay = figures.Replay(**parts)
    axes, seen = replay.figure.axes[0], []
    assert len(replay) == 4
    for moment in (0, 3, 1):
        replay.show(moment)
        np.testing.assert_array_equal(replay.scatter.get_offsets(), parts["points"][moment].numpy())
        seen.append((axes.get_xlim(), axes.get_ylim(), replay.scatter.get_facecolors().tolist()))
    assert seen[0] == seen[1] == seen[2]
    (left, right), (bottom, top), colours = seen[0]
    points = parts["points"]
    assert left < points[..., 0].min() and points[..., 0].max() < right  # noqa: PT018 (one statement)
    assert bottom < points[..., 1].min() and points[..., 1].max() < top  # noqa: PT018
    assert right - left == pytest.approx(top - bottom)
    expected = [to_rgb(figures.DIGITS[label]) for label in parts["labels"].tolist()]
    np.testing.assert_allclose(np.array(colours)[:, :3], expected)


def test_badges_of_a_replay_are_where_the_shown_images_are() -> None:
    parts = replayed()
    replay = figures.Replay(**parts)
    replay.show(2)
    badges = replay.figure.axes[0].texts
    assert [badge.get_text() for badge in badges] == ["0", "1", "2", "3"]
    for badge, index in zip(badges, parts["shown"].tolist(), strict=True):
        assert badge.get_position() == pytest.approx(parts["points"][2, index].tolist())


@pytest.mark.parametrize("count", [4, 7])
def test_a_replay_shows_originals_above_what_is_decoded_at_that_moment(count: int) -> None:
    parts = replayed(shown=torch.arange(count), originals=numbered(count))
    parts["reconstructions"] = torch.stack([numbered(count) * moment / 4 for moment in range(4)])
    replay = figures.Replay(**parts)
    for moment in (3, 1):
        replay.show(moment)
        bands = [np.asarray(picture.get_array()) for picture in replay.pictures]
        assert len(bands) == (1 if count == 4 else 2)
        above, below = (np.concatenate([band[row, 1::5] for band in bands]) for row in (1, 6))
        np.testing.assert_allclose(above, np.linspace(0, 1, count), rtol=1e-6)
        np.testing.assert_allclose(below, np.linspace(0, 1, count) * moment / 4, rtol=1e-6)


def test_curves_and_title_of_a_replay_reach_its_moment() -> None:
    replay = figures.Replay(**replayed(), held_out_name="validation")
    title = [text.get_text() for text in replay.show(0).texts]
    assert "before training" in title
    assert "validation ELBO −543.2 nats" in title
    assert [len(curve.get_xdata()) for curve in replay.curves] == [0, 0]
    title = [text.get_text() for text in replay.show(2).texts]
    assert "epoch 2 of 3" in title
    assert "validation ELBO −188.0 nats" in title
    training, held_out = replay.curves
    assert (list(training.get_xdata()), list(training.get_ydata())) == ([1, 2], [-199.0, -198.0])
    assert (list(held_out.get_xdata()), list(held_out.get_ydata())) == ([1, 2], [-189.0, -188.0])


def test_frames_of_a_replay_are_opaque_all_different_and_repeatable() -> None:
    replay = figures.Replay(**replayed())
    frames = [replay.frame(moment) for moment in range(4)]
    assert {frame.shape for frame in frames} == {(600, 900, 3)}
    assert frames[0].dtype == np.uint8
    for moment, frame in enumerate(frames):
        assert (frame[[0, -1]] == 255).all()  # white up to the edge
        assert all((frame != other).any() for other in frames[moment + 1 :])
    assert (replay.frame(1) == frames[1]).all()


@pytest.mark.parametrize("side", [28, 32, 48, 100])
def test_nothing_of_a_replay_is_cut_off_or_lies_on_another(side: int) -> None:
    """Whatever a picture's side, and however long the numbers along the axes are."""
    count = 10
    parts = replayed(
        shown=torch.arange(count),
        originals=torch.rand(count, side**2),
        reconstructions=torch.rand(4, count, side**2),
        note="Shown are these and those of 64 latents.",
    )
    parts["points"] = parts["points"] / 1000  # ticks such as -0.0025
    replay = figures.Replay(**parts)
    replay.frame(2)
    renderer = replay.figure.canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in replay.figure.axes]
    boxes += [text.get_window_extent(renderer) for text in replay.figure.texts]
    for index, box in enumerate(boxes):
        assert 0 <= box.x0 < box.x1 <= 900
        assert 0 <= box.y0 < box.y1 <= 600
        for other in boxes[:index]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            up = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert across <= 1 or up <= 1, "two things lie on one another by more than a pixel"


def test_a_replay_without_a_finite_elbo_shows_the_distortion() -> None:
    parts = replayed(elbo=[-math.inf] * 4)
    parts["history"] = [
        line._replace(
            train_elbo=-math.inf,
            train_distortion=190.0 - line.epoch,
            held_out_elbo=-math.inf,
            held_out_distortion=195.0 - line.epoch,
        )
        for line in parts["history"]
    ]
    replay = figures.Replay(**parts)
    assert not any("nats" in text.get_text() for text in replay.show(0).texts)
    assert "held out distortion 193.0 nats" in [text.get_text() for text in replay.show(2).texts]
    assert [list(curve.get_ydata()) for curve in replay.curves] == [[189.0, 188.0], [194.0, 193.0]]


def test_a_replay_of_points_that_are_all_one_shows_as_much_as_the_prior_covers() -> None:
    axes = figures.Replay(**replayed(points=torch.zeros(4, 12, 2))).figure.axes[0]
    assert axes.get_xlim() == axes.get_ylim() == (-3, 3)


def test_a_replay_at_twice_the_size_has_twice_the_pixels() -> None:
    replay = figures.Replay(**replayed(), scale=2)
    assert replay.size == (1800, 1200)
    assert replay.frame(1).shape == (1200, 1800, 3)


def test_a_replay_without_held_out_images_says_nothing_of_them() -> None:
    parts = replayed(elbo=None)
    parts["history"] = [line._replace(held_out_elbo=None) for line in parts["history"]]
    replay = figures.Replay(**parts)
    assert not any("nats" in text.get_text() for text in replay.show(1).texts)
    assert len(replay.curves) == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"points": torch.zeros(4, 12, 3)}, "these points have 3"),
        ({"points": torch.zeros(3, 12, 2)}, "points has 3 moments, 3 epochs have 4"),
        ({"reconstructions": torch.zeros(5, 4, 9)}, "reconstructions has 5 moments"),
        ({"elbo": [0.0]}, "elbo has 1 moments"),
        ({"history": []}, "no epoch to replay"),
        ({"shown": torch.zeros(11, dtype=torch.int64)}, "room for 10 images, not for 11"),
        ({"originals": torch.zeros(4, 8), "reconstructions": torch.zeros(4, 4, 8)}, "do not make a square"),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        figures.Replay(**replayed(**wrong))


# --- The aggregate posterior ----------------------------------------------------------------------------
def latents(count: int, *, images: int = 2000, seed: int = 0) -> tuple[torch.Tensor, aggregate.LatentReport]:
    """Draws with other shifts and widths in each latent, of which every third is inactive."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(images, count, generator=generator, dtype=torch.float64)
    shift, width = torch.linspace(0.5, -0.5, count), torch.linspace(0.6, 1.4, count)
    active = torch.arange(count) % 3 != 2
    draws = torch.where(active, shift + width * normal, normal)
    mean = torch.where(active, draws, 0)
    return draws, aggregate.report(mean, torch.zeros_like(mean), draws)


def notes(axes: Axes) -> list[str]:
    """What stands in the corners of a panel: the latent, and its distance."""
    return [artist.txt.get_text() for artist in axes.artists if isinstance(artist, AnchoredText)]


def curve(axes: Axes) -> tuple[np.ndarray, np.ndarray]:
    x, y = axes.lines[-1].get_data()
    return np.asarray(x), np.asarray(y)


@pytest.mark.parametrize("count", [2, 64])
def test_qq_draws_each_latents_quantiles_against_those_of_the_prior(count: int) -> None:
    draws, report = latents(count)
    panels = figures.qq(draws, report).axes
    assert len(panels) == count
    for latent, axes in enumerate(panels):
        x, y = curve(axes)
        # Hazen's positions, (i - 1/2) / N, are those with both of SciPy's parameters at 1/2.
        expected = mquantiles(draws[:, latent].numpy(), scipy.special.ndtr(x), alphap=0.5, betap=0.5)
        np.testing.assert_allclose(y, expected, atol=1e-12)
        assert (x.min(), x.max()) == pytest.approx((-3, 3))


def test_qq_of_exact_quantiles_is_a_straight_line() -> None:
    exact = torch.special.ndtri((torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000)
    draws = torch.stack([exact, 0.5 + 2 * exact], 1)
    report = aggregate.report(draws, torch.zeros_like(draws), draws)
    for axes, (shift, slope) in zip(figures.qq(draws, report).axes, [(0, 1), (0.5, 2)], strict=True):
        x, y = curve(axes)
        # Between neighbours the interpolation is right to their distance squared: 1e-4 at 3 deviations.
        np.testing.assert_allclose(y, shift + slope * x, atol=1e-3)


def test_qq_tells_active_latents_from_inactive_ones_by_more_than_colour() -> None:
    draws, report = latents(6)
    for latent, axes in enumerate(figures.qq(draws, report).axes):
        drawn = axes.lines[-1]
        if report.active[latent]:
            assert (to_hex(drawn.get_color()), drawn.get_linestyle()) == (figures.PHI, "-")
        else:
            assert (to_hex(drawn.get_color()), drawn.get_linestyle()) == (figures.INK, "None")
            assert drawn.get_marker() == "o"


def test_qq_names_each_latent_and_its_distance_and_can_show_the_worst_alone() -> None:
    draws, report = latents(12)
    by_distance = sorted(range(12), key=lambda latent: -report.wasserstein[latent].item())
    for worst, expected in ((None, range(12)), (3, by_distance[:3]), (99, by_distance)):
        panels = figures.qq(draws, report, worst=worst).axes
        distances = report.wasserstein.tolist()
        assert [notes(axes) for axes in panels] == [
            [f"$z_{{{latent + 1}}}$", f"$W_1 = {distances[latent]:.3f}$"] for latent in expected
        ]
    small = figures.qq(*latents(40)).axes
    assert notes(small[39])[0] == "40"


def words(figure: Figure) -> list[Text]:
    """All text that is drawn, once it is."""
    FigureCanvasAgg(figure).draw()
    return [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text() and text.get_window_extent().width > 0
    ]


@pytest.mark.parametrize("count", [1, 2, 7, 24, 64, 70])
def test_panels_of_a_qq_plot_are_equal_squares_and_no_text_lies_on_another(count: int) -> None:
    figure = figures.qq(*latents(count))
    boxes = [axes.get_window_extent() for axes in figure.axes]
    for box in boxes:
        assert box.width == pytest.approx(box.height)
        assert box.width == pytest.approx(boxes[0].width)
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}) == 1
    places = [text.get_window_extent() for text in words(figure)]
    assert len(places) > 2 * count + 4  # two notes in each panel, what runs along, and labels of ticks
    for index, place in enumerate(places):
        assert figure.bbox.x0 <= place.x0 < place.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= place.y0 < place.y1 <= figure.bbox.y1
        for other in places[index + 1 :]:
            assert not place.overlaps(other)


@pytest.mark.parametrize(
    ("count", "asked", "columns"),
    [(1, None, 1), (5, None, 5), (7, None, 4), (24, None, 6), (5, 2, 2), (2, 9, 2)],
)
def test_panels_of_a_qq_plot_fill_their_rows(count: int, asked: int | None, columns: int) -> None:
    panels = figures.qq(*latents(count), columns=asked).axes
    assert len({round(axes.get_position().x0, 6) for axes in panels}) == columns


@pytest.mark.parametrize("count", [100, 10_000])
def test_band_of_a_qq_plot_is_wilsons_interval(count: int) -> None:
    draws, report = latents(1, images=count)
    axes = figures.qq(draws, report).axes[0]
    outline = axes.collections[0].get_paths()[0].vertices
    level = 2 * scipy.special.ndtr(figures.latents.BAND_WIDTH) - 1
    x, _ = curve(axes)
    for place in (0, 30, 40, 75):
        # The test takes whole successes: of the interval at the two that are nearest, between.
        successes = count * scipy.special.ndtr(x[place])
        whole = np.array([np.floor(successes), np.floor(successes) + 1], dtype=int)
        exact = [scipy.stats.binomtest(int(k), count).proportion_ci(level, method="wilson") for k in whole]
        edges = np.unique(outline[np.isclose(outline[:, 0], x[place])][:, 1])
        for edge, name in ((edges[0], "low"), (edges[-1], "high")):
            near = scipy.special.ndtri([getattr(interval, name) for interval in exact])
            assert near[0] - 1e-9 <= edge <= near[1] + 1e-9


def test_curves_of_nine_in_ten_normal_samples_stay_in_the_band() -> None:
    normal = torch.randn(1000, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = figures.latents._band(torch.special.ndtr(torch.linspace(-3, 3, 81).double()), 1000)
    quantiles = np.quantile(normal.numpy(), scipy.special.ndtr(np.linspace(-3, 3, 81)), 0, method="hazen").T
    inside = ((low.numpy() < quantiles) & (quantiles < high.numpy())).all(1).mean()
    # 0.92 with 4,000 samples; the standard error of a share of 400 is 0.014.
    assert 0.88 < inside < 0.97


def test_distances_of_latents_stand_in_order_beside_those_of_normal_samples() -> None:
    _, report = latents(9)
    axes = figures.latent_distances(report).axes[0]
    order = report.wasserstein.argsort(descending=True)
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(n + 1) for n in order.tolist()]
    filled, hollow, mean, level = axes.lines
    drawn = {}
    for line_ in (filled, hollow):
        drawn |= dict(zip(*(np.asarray(part).tolist() for part in line_.get_data()), strict=True))
    assert [drawn[place] for place in range(9)] == report.wasserstein[order].tolist()
    assert len(hollow.get_xdata()) == 3
    assert hollow.get_markerfacecolor() == "none"
    noise = aggregate.sampling_noise(2000)
    assert mean.get_ydata() == pytest.approx([noise.wasserstein] * 2)
    assert level.get_ydata() == pytest.approx([noise.wasserstein_level] * 2)
    stems = [c for c in axes.collections if isinstance(c, LineCollection)]
    assert sum(len(stem.get_segments()) for stem in stems) == 9
    assert all(segment[0, 1] == noise.wasserstein for stem in stems for segment in stem.get_segments())


@pytest.mark.parametrize("count", [1, 2, 24, 64])
def test_no_text_lies_on_another_among_the_distances(count: int) -> None:
    places = [text.get_window_extent() for text in words(figures.latent_distances(latents(count)[1]))]
    for index, place in enumerate(places):
        assert not any(place.overlaps(other) for other in places[index + 1 :])


def test_strips_show_each_row_of_pictures_beside_its_name_and_above_its_ticks() -> None:
    images = numbered(6).reshape(2, 3, 9)
    figure = figures.strips(images, names=["chord", "arc"], ticks=["0", "½", "1"], across="t")
    axes = figure.axes[0]
    np.testing.assert_allclose(shown(figure)[1::5, 1::5], np.linspace(0, 1, 6).reshape(2, 3), rtol=1e-6)
    # Pixels 0 to 2, 5 to 7 and 10 to 12 across.
    assert [(t.get_text(), *t.get_position()) for t in axes.get_xticklabels()] == [
        ("0", 1, 0),
        ("½", 6, 0),
        ("1", 11, 0),
    ]
    assert [(t.get_text(), t.get_position()[1]) for t in axes.get_yticklabels()] == [("chord", 1), ("arc", 6)]
    assert axes.get_xlabel() == "t"
    plainly = figures.strips(images).axes[0]
    assert not plainly.get_xticklabels()
    assert not plainly.get_yticklabels()


def test_a_scatter_of_principal_components_says_what_its_axes_explain() -> None:
    names = figures.principal_names(torch.tensor([0.42, 0.071]))
    axes = figures.latent_scatter(torch.zeros(10, 2), torch.arange(10), axes_names=names).axes[0]
    assert axes.get_xlabel() == "1st principal component: 42 % of the variance"
    assert axes.get_ylabel() == "2nd principal component: 7 % of the variance"


def test_pictures_of_latents_that_cannot_be_drawn_are_refused() -> None:
    draws, report = latents(3)
    with pytest.raises(ValueError, match="draws have 2 latents, the report 3"):
        figures.qq(draws[:, :2], report)
    with pytest.raises(ValueError, match="1 draw"):
        figures.qq(draws[:1], report)
    with pytest.raises(ValueError, match="worst is 0"):
        figures.qq(draws, report, worst=0)
    with pytest.raises(ValueError, match="columns is -1"):
        figures.qq(draws, report, columns=-1)
    with pytest.raises(ValueError, match="1 names for 2"):
        figures.strips(torch.zeros(2, 3, 9), names=["one"])
    with pytest.raises(ValueError, match="2 ticks for 3"):
        figures.strips(torch.zeros(2, 3, 9), ticks=["one", "two"])


# --- The shapes inside a network ------------------------------------------------------------------------
def halves(*channels: int, bias: bool) -> list[torch.nn.Module]:
    return [torch.nn.Conv2d(a, b, 3, 2, 1, bias=bias) for a, b in itertools.pairwise(channels)]


def doubles(channels: list[int], sides: list[int]) -> list[torch.nn.Module]:
    return [
        torch.nn.ConvTranspose2d(a, b, 3, 2, 1, output_padding=1 - side % 2)
        for (a, b), side in zip(itertools.pairwise(channels), sides, strict=True)
    ]


def networks(name: str) -> tuple[torch.nn.Module, torch.nn.Module, int, int]:
    """Encoder, decoder, side of the image and latents; random, as only their layers matter."""
    linear, chained = torch.nn.Linear, torch.nn.Sequential
    if name == "mlp":
        model = mlp_vae(data_dim=144, hidden_dim=9, latent_dim=3)
        return model.encoder, model.decoder, 12, 3
    if name == "even":
        encoder = chained(*halves(1, 32, 64, 64, 64, bias=False), torch.nn.Flatten(), linear(256, 4))
        up = doubles([64, 64, 64, 32, 32], [4, 8, 16, 32])
        decoder = chained(linear(2, 256), torch.nn.Unflatten(1, (64, 2, 2)), *up)
        decoder.append(torch.nn.Conv2d(32, 1, 3, 1, 1, bias=False))
        return encoder, decoder, 32, 2
    encoder = chained(*halves(1, 32, 64, 64, 64, 128, bias=True))
    return encoder, chained(*doubles([64, 64, 64, 64, 32, 1], [2, 4, 7, 14, 28])), 28, 64


NETWORKS = ["mlp", "even", "odd"]


def layers_of(network: torch.nn.Module) -> list[torch.nn.Module]:
    kinds = torch.nn.Linear | torch.nn.Conv2d | torch.nn.ConvTranspose2d
    return [layer for layer in network.modules() if isinstance(layer, kinds)]


def really(network: torch.nn.Module, going_in: torch.Tensor) -> list[torch.Tensor]:
    """What PyTorch's layers give, one after the other."""
    found = [going_in]
    for layer in layers_of(network):
        if isinstance(layer, torch.nn.Linear):
            found.append(layer(found[-1].flatten(1))[:, :, None, None])
        else:
            rows = math.isqrt(found[-1][0].numel() // layer.in_channels)
            found[-1] = found[-1].view(1, layer.in_channels, rows, rows)
            found.append(layer(found[-1]))
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_feature_maps_are_of_the_shapes_that_the_layers_give(name: str) -> None:
    encoder, decoder, side, latent_dim = networks(name)
    for network, going_in in (
        (encoder, torch.zeros(1, 1, side, side)),
        (decoder, torch.zeros(1, latent_dim, 1, 1)),
    ):
        _, channels, rows, _ = going_in.shape
        found = figures.feature_maps(network, side=rows, channels=channels)
        expected = [(each.shape[2], each.shape[1]) for each in really(network, going_in)]
        assert [shape[:2] for shape in found] == expected
        counted = [sum(part.numel() for part in layer.parameters()) for layer in layers_of(network)]
        assert [shape.weights for shape in found[1:]] == counted


def test_products_are_counted_window_by_window() -> None:
    conv, transposed = (
        torch.nn.Conv2d(2, 5, 3, 2, 1),
        torch.nn.ConvTranspose2d(5, 2, 3, 2, 1, output_padding=1),
    )
    # What stands in the windows of an image of 8 x 8: the same for both, whichever way they are read.
    within = torch.nn.functional.unfold(torch.ones(1, 2, 8, 8), 3, padding=1, stride=2).numel()
    assert figures.feature_maps(conv, side=8, channels=2)[-1].products == 5 * within
    assert figures.feature_maps(transposed, side=4, channels=5)[-1].products == 5 * within
    assert figures.feature_maps(transposed, side=4, channels=5)[-1].side == 8
    assert figures.feature_maps(torch.nn.Linear(8, 3), side=2, channels=2)[-1].products == 24


def test_a_spread_window_reaches_as_far_as_its_dilation_says() -> None:
    spread = torch.nn.Conv2d(1, 1, 3, dilation=2)
    assert (
        figures.feature_maps(spread, side=9, channels=1)[-1].side == spread(torch.zeros(1, 1, 9, 9)).shape[-1]
    )


def drawn_shapes(name: str, **pictures: torch.Tensor) -> tuple[figures.Picture, list[tuple[int, int]]]:
    """The picture, and sides and channels in the order of drawing: latent, down, up."""
    encoder, decoder, side, latent_dim = networks(name)
    latent, *up = figures.feature_maps(decoder, side=1, channels=latent_dim)
    boxes = [latent, *figures.feature_maps(encoder, side=side, channels=1), *up]
    expected = [box[:2] for box in boxes]
    if name == "mlp":
        expected[-1] = (side, 1)
    return figures.shapes(encoder, decoder, side=side, latent_dim=latent_dim, **pictures), expected


@pytest.mark.parametrize("name", NETWORKS)
def test_boxes_are_drawn_to_one_scale(name: str) -> None:
    picture, expected = drawn_shapes(name)
    front, _, right = (picture.axes[0].patches[face::3] for face in range(3))
    pixel = np.ptp(front[1].get_xy(), axis=0)[0] / expected[1][0]
    for (side, channels), face, flank in zip(expected, front, right, strict=True):
        np.testing.assert_allclose(np.ptp(face.get_xy(), axis=0), [side * pixel] * 2)
        depth = flank.get_xy()[1] - flank.get_xy()[0]
        np.testing.assert_allclose(depth, channels * pixel * np.array([0.4, 0.14]))


@pytest.mark.parametrize("name", NETWORKS)
def test_boxes_and_words_are_apart_within_the_picture_and_large_enough_for_a_phone(name: str) -> None:
    picture, _ = drawn_shapes(name)
    renderer = FigureCanvasAgg(picture).get_renderer()
    texts = picture.axes[0].texts
    extents = [text.get_window_extent(renderer) for text in texts]
    faces = [patch.get_window_extent(renderer) for patch in picture.axes[0].patches]
    for box in [*extents, *faces]:
        assert picture.bbox.x0 <= box.x0 < box.x1 <= picture.bbox.x1
        assert picture.bbox.y0 <= box.y0 < box.y1 <= picture.bbox.y1
    for index, box in enumerate(extents):
        assert not any(box.overlaps(other) for other in [*extents[:index], *faces]), texts[index]
    # Of the 390 pixels of a phone the page leaves some 350 to a picture; 8 of them are the least to be read.
    assert min(text.get_fontsize() for text in texts) / 72 * 350 / picture.get_figwidth() >= 8


def test_words_beside_the_boxes_are_their_shapes_and_between_them_their_weights() -> None:
    picture, _ = drawn_shapes("even")
    words = [text.get_text() for text in picture.axes[0].texts]
    down = ["32 × 32 × 1", "16 × 16 × 32", "8 × 8 × 64", "4 × 4 × 64", "2 × 2 × 64", "1 × 1 × 4"]
    up = ["2 × 2 × 64", "4 × 4 × 64", "8 × 8 × 64", "16 × 16 × 32", "32 × 32 × 32", "32 × 32 × 1"]
    assert [each for each in words if "×" in each] == down + up
    assert [each for each in words if "↓" in each][:-1] == [
        "↓ 288",
        "↓ 18,432",
        "↓ 36,864",
        "↓ 36,864",
        "↓ 1,028",
    ]
    assert [each for each in words if "↑" in each][-1] == "↑ 288"
    assert "$z$: 2 latents" in words


def test_image_stands_on_the_first_box_and_what_is_drawn_of_it_on_the_last() -> None:
    image, drawn = torch.rand(2, 784, generator=torch.Generator().manual_seed(0))
    picture, _ = drawn_shapes("odd", image=image, drawn=drawn)
    axes = picture.axes[0]
    for shown_there, pixels, front in zip(
        axes.images, (image, drawn), (axes.patches[3], axes.patches[-3]), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(shown_there.get_array()), pixels.view(28, 28).numpy())
        (left, bottom), (right, top) = front.get_xy()[[0, 2]]
        np.testing.assert_allclose(shown_there.get_extent(), [left, right, bottom, top])


@pytest.mark.parametrize(
    ("layer", "side", "channels", "said"),
    [
        (torch.nn.Linear(10, 2), 3, 1, "wants 10 numbers, and gets 3 × 3 × 1"),
        (torch.nn.Conv2d(4, 1, 3), 3, 1, "wants 4 channels, and gets 3 × 3 × 1"),
        (torch.nn.Conv2d(4, 1, 3), 1, 12, "wants 4 channels, and gets 1 × 1 × 12"),
        (torch.nn.Conv2d(1, 1, (3, 1)), 3, 1, "kernel_size is .*: give one number"),
        (torch.nn.Conv2d(1, 1, 3, padding="same"), 3, 1, "padding is 'same'"),
        (torch.nn.Conv2d(1, 1, 5), 3, 1, "a window of 5 does not fit into a side of 3"),
        (torch.nn.ReLU(), 3, 1, "no layer of PyTorch's own"),
    ],
)
def test_layers_that_do_not_fit_are_refused(
    layer: torch.nn.Module, side: int, channels: int, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        figures.feature_maps(layer, side=side, channels=channels)


def test_a_picture_of_another_side_is_refused() -> None:
    with pytest.raises(ValueError, match="drawn has a side of 4, not of 28"):
        drawn_shapes("odd", drawn=torch.zeros(16))
