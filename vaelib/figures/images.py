"""Pictures of pictures: sheets, reconstructions, and a plane of latents decoded."""

import math
from collections.abc import Callable

import torch
from matplotlib.axes import Axes
from torch import Tensor

from vaelib.figures.style import INK, Picture, blank, plain
from vaelib.latent import latent_grid
from vaelib.settings import Grid


def side_of(images: Tensor) -> int:
    """The side of square pictures given as rows of pixels."""
    side = math.isqrt(images.shape[-1])
    if side * side != images.shape[-1]:
        raise ValueError(f"{images.shape[-1]} pixels do not make a square picture")
    return side


def tile(images: Tensor, columns: int, *, gap: int = 2) -> Tensor:
    """Lay pictures out on one sheet.

    Parameters
    ----------
    images : Tensor, shape (K, side * side)
        In [0, 1], row by row of the sheet.
    columns : int
    gap : int
        Pixels between pictures; they are ``nan``, drawn as nothing.

    Returns
    -------
    Tensor, shape (rows * (side + gap) - gap, columns * (side + gap) - gap)

    Raises
    ------
    ValueError
        If the pictures are not square or ``columns`` is below 1.
    """
    if columns < 1:
        raise ValueError(f"columns is {columns}: a sheet needs at least one")
    side = side_of(images)
    rows = math.ceil(len(images) / columns)
    sheet = torch.full((rows * (side + gap), columns * (side + gap)), math.nan)
    for index, image in enumerate(images.reshape(-1, side, side)):
        top, left = (index // columns) * (side + gap), (index % columns) * (side + gap)
        sheet[top : top + side, left : left + side] = image
    return sheet[: rows * (side + gap) - gap, : columns * (side + gap) - gap]


def show(axes: Axes, sheet: Tensor) -> None:
    """Draw a sheet of pictures, ink white on black as MNIST has it, the gaps left open."""
    axes.imshow(sheet.clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()


def sheet(images: Tensor, *, columns: int = 10, width: float = 6.5) -> Picture:
    """Pictures in rows: prior samples, or one row of a traversal.

    Parameters
    ----------
    images : Tensor, shape (K, side * side)
        In [0, 1].
    columns : int
    width : float
        Inches.
    """
    laid = tile(images, columns)
    figure = blank(width, width * laid.shape[0] / laid.shape[1])
    show(figure.add_subplot(), laid)
    return figure


def reconstructions(originals: Tensor, reconstructed: Tensor, *, elbo: Tensor | None = None) -> Picture:
    """Originals above, what the model makes of them below.

    Parameters
    ----------
    originals, reconstructed : Tensor, shape (K, side * side)
        In [0, 1].
    elbo : Tensor, shape (K,), optional
        Written below each pair, in nats.

    Raises
    ------
    ValueError
        If there are not as many of each.
    """
    if originals.shape != reconstructed.shape:
        raise ValueError(
            f"originals are {tuple(originals.shape)}, reconstructions {tuple(reconstructed.shape)}"
        )
    count, side, gap = len(originals), side_of(originals), 2
    laid = tile(torch.cat([originals, reconstructed]), count, gap=gap)
    width = max(4.0, 0.62 * count)
    figure = blank(width, width * laid.shape[0] / laid.shape[1] + (0.3 if elbo is not None else 0))
    axes = figure.add_subplot()
    show(axes, laid)
    for index, value in enumerate([] if elbo is None else elbo.tolist()):
        middle = index * (side + gap) + side / 2
        axes.text(middle, laid.shape[0] + 3, f"{value:.0f}", ha="center", va="top", color=INK, fontsize=8)
    return figure


def manifold(
    decode: Callable[[Tensor], Tensor], *, cells: int = 20, grid: Grid = "gaussian", span: float = 3.0
) -> Picture:
    """What the decoder draws over a plane of latents, after figure 4 of Kingma and Welling (2014).

    Parameters
    ----------
    decode : callable
        From latents (K, 2) to pictures (K, side * side) in [0, 1], all in one call.
    cells, grid, span
        See :func:`vaelib.latent.latent_grid`.
    """
    z = latent_grid(cells, grid=grid, span=span)
    figure = blank(6.0, 6.0)
    axes = figure.add_subplot()
    laid = tile(decode(z), cells, gap=0)
    show(axes, laid)
    plain(axes).grid(visible=False)
    axes.set_axis_on()
    shown = sorted({0, cells // 4, cells // 2, (3 * cells) // 4, cells - 1})
    middles = [(index + 0.5) * laid.shape[0] / cells - 0.5 for index in shown]
    across, up = z[:cells, 0].tolist(), z[::cells, 1].tolist()
    axes.set_xticks(middles, [f"{across[index]:.1f}" for index in shown], fontsize=8)
    axes.set_yticks(middles, [f"{up[index]:.1f}" for index in shown], fontsize=8)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("$z_1$")
    axes.set_ylabel("$z_2$")
    return figure
