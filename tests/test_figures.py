"""What the pictures show, read back from the figures; how they look is for eyes."""

import io

import matplotlib.image as mpimg
import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb

from vaelib import figures
from vaelib.history import Epoch
from vaelib.latent import latent_grid


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
    assert [text.get_text() for text in figure.axes[0].texts] == ["-10", "-201", "-3"]


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
