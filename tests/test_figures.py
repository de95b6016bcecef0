"""What the pictures show, read back from the figures; how they look is for eyes."""

import io

import matplotlib.image as mpimg
import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection

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
