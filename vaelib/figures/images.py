"""Pictures of pictures: sheets, reconstructions, and a plane of latents decoded."""

import math
from collections.abc import Callable, Sequence
from typing import Any

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


def reconstructions(
    originals: Tensor,
    reconstructed: Tensor,
    *,
    elbo: Tensor | None = None,
    score: str = "ELBO",
    names: Sequence[str] | None = None,
    columns: int = 10,
) -> Picture:
    """Originals above, what the model makes of them below, in bands of so many pairs.

    Parameters
    ----------
    originals, reconstructed : Tensor, shape (K, side * side)
        In [0, 1].
    elbo : Tensor, shape (K,), optional
        Written below each pair, in nats.
    score : str
        What that number is called.
    names : sequence of str, optional
        Written above each pair.
    columns : int
        Pairs in a band.

    Raises
    ------
    ValueError
        If there are not as many of each, or none, or ``columns`` is below 1.
    """
    if originals.shape != reconstructed.shape:
        raise ValueError(
            f"originals are {tuple(originals.shape)}, reconstructions {tuple(reconstructed.shape)}"
        )
    for what, values in (("numbers", elbo), ("names", names)):
        if values is not None and len(values) != len(originals):
            raise ValueError(f"{len(values)} {what} for {len(originals)} images")
    side, gap = side_of(originals), 2
    columns = min(columns, len(originals))
    bands = [slice(start, start + columns) for start in range(0, len(originals), max(columns, 1))]
    # A line of text is as high as a third of a picture; what is not written takes no room.
    line = math.ceil(side / 3)
    above, below = (0 if names is None else line), (0 if elbo is None else line)
    pair = 2 * side + gap
    pitch = above + pair + below + 2 * gap
    laid = torch.full((pitch * (len(bands) - 1) + pair, columns * (side + gap) - gap), math.nan)
    for number, band in enumerate(bands):
        here = tile(torch.cat([originals[band], reconstructed[band]]), len(originals[band]), gap=gap)
        laid[number * pitch : number * pitch + pair, : here.shape[1]] = here
    inch = 0.58 / (side + gap)
    figure = blank(inch * laid.shape[1] + 0.75, inch * (laid.shape[0] + above + below) + 0.1)
    axes = figure.add_subplot()
    show(axes, laid)

    def say(x: float, y: float, words: str, **style: Any) -> None:
        style = {"fontsize": 7, "va": "center", "ha": "center", **style}
        axes.text(x, y, words, color=INK, parse_math=False, **style)

    for index, top in enumerate(pitch * (index // columns) for index in range(len(originals))):
        middle = (index % columns) * (side + gap) + side / 2 - 0.5
        if names is not None:
            say(middle, top - line / 2 - 0.5, names[index])
        if elbo is not None:
            say(middle, top + pair + line / 2 - 0.5, f"{elbo[index].item():.0f}", fontsize=8)
    for number in range(len(bands)):
        rows = [("image", side / 2), ("decoded", side + gap + side / 2)]
        if elbo is not None:
            rows.append((f"{score}, nats", pair + line / 2))
        for words, y in rows:
            say(-0.15 * side, number * pitch + y - 0.5, words, ha="right")
    return figure


def manifold(
    decode: Callable[[Tensor], Tensor],
    *,
    cells: int = 20,
    grid: Grid = "gaussian",
    span: float = 3.0,
    centre: float = 0.0,
    dims: tuple[int, int] = (1, 2),
    note: str = "",
) -> Picture:
    """What the decoder draws over a plane of latents, after figure 4 of Kingma and Welling (2014).

    Parameters
    ----------
    decode : callable
        From latents (K, 2) to pictures (K, side * side) in [0, 1], all in one call.
    cells, grid, span
        See :func:`vaelib.latent.latent_grid`.
    centre : float
        Added to both coordinates: the middle of a linear grid.
    dims : tuple of int
        Which latents these are, counted from 1, for the axes.
    note : str
        A line above the picture.
    """
    z = latent_grid(cells, grid=grid, span=span) + centre
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
    axes.set_xlabel(f"$z_{{{dims[0]}}}$")
    axes.set_ylabel(f"$z_{{{dims[1]}}}$")
    if note:
        axes.set_title(note, fontsize=9, color=INK, loc="left")
    return figure
