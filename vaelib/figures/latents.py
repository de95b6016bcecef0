"""Where the encoder puts images, how its latents are distributed, and what lies along them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnchoredText
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from vaelib.aggregate import LatentReport, sampling_noise
from vaelib.figures.images import show, tile
from vaelib.figures.style import DIGITS, INK, PHI, Picture, blank, plain

# Inches: the width of a page, the side of a panel that need not be smaller, and what is around the panels.
PAGE, PANEL, GAP = 7.2, 2.6, 0.06
LEFT, RIGHT, BELOW, KEY_LINE = 0.6, 0.1, 0.5, 0.2
# How far the Q-Q plots look into the tails, in deviations, and how wide their band is: at each place it holds
# 99.9 % of normal samples.
TAIL, BAND_WIDTH = 3.0, 3.29
# Inches from which on all of a key stands in one line.
WIDE = 5.5


def check_plane(points: Tensor) -> None:
    """Refuse points that are not in a plane."""
    if points.shape[-1] != 2:
        raise ValueError(f"a plane shows 2 latents, these points have {points.shape[-1]}: choose two of them")


def latent_scatter(
    points: Tensor,
    labels: Tensor,
    *,
    name: str = "mean",
    dims: tuple[int, int] = (1, 2),
    axes_names: tuple[str, str] | None = None,
) -> Picture:
    """Where the encoder puts each image, or how sure it is: two latents, coloured by digit.

    Parameters
    ----------
    points : Tensor, shape (N, 2)
        Means, or standard deviations; or what :func:`vaelib.latent.principal_plane` projects.
    labels : Tensor, shape (N,)
        Classes 0 to 9.
    name : str
        What the points are, for the axes: ``"mean"`` or ``"standard deviation"``.
    dims : tuple of int
        Which latents these are, counted from 1, for the axes.
    axes_names : tuple of str, optional
        What to write along the axes instead, such as :func:`principal_names` of a plane.

    Raises
    ------
    ValueError
        If the points are not in a plane.
    """
    check_plane(points)
    figure = blank(5.6, 5.2)
    axes = plain(figure.add_subplot())
    for digit in sorted(set(labels.tolist())):
        here = points[labels == digit]
        colour = DIGITS[digit % len(DIGITS)]
        axes.scatter(
            here[:, 0].numpy(),
            here[:, 1].numpy(),
            s=3,
            color=colour,
            alpha=0.5,
            linewidths=0,
            label=str(digit),
        )
        across, up = here.median(0).values.tolist()
        axes.annotate(
            str(digit), (across, up), ha="center", va="center", fontsize=9, fontweight="bold", color="white",
            bbox={"boxstyle": "circle,pad=0.18", "facecolor": colour, "edgecolor": "white", "linewidth": 0.8},
        )  # fmt: skip
    if name == "mean":
        axes.set_aspect("equal")
    along_x, along_y = axes_names or (f"{name} of $z_{{{dim}}}$" for dim in dims)
    axes.set_xlabel(along_x)
    axes.set_ylabel(along_y)
    legend = axes.legend(
        frameon=False, markerscale=4, fontsize=8, labelcolor=INK, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return figure


def principal_names(explained: Tensor) -> tuple[str, str]:
    """What to write along the axes of a principal plane: each component with its share of the variance."""
    first, second = (f"{100 * share:.0f} % of the variance" for share in explained.tolist())
    return f"1st principal component: {first}", f"2nd principal component: {second}"


def qq(
    draws: Tensor,
    latents: LatentReport,
    *,
    worst: int | None = None,
    columns: int | None = None,
    points: int = 81,
) -> Picture:
    r"""Each latent's draws from the aggregate posterior against the prior: quantiles against quantiles.

    .. math::

        \bigl( \Phi^{-1}(u),\; Q_j(u) \bigr), \qquad 0 < u < 1

    A latent that is N(0, 1) follows the diagonal; one that is shifted runs beside it, one that is too wide is
    steeper, and bends tell of more than one hump. The grey band is where the curves of samples from N(0, 1)
    run: those t with

    .. math::

        |u - \Phi(t)| \le 3.29 \sqrt{\frac{\Phi(t) \, (1 - \Phi(t))}{N}},

    at each u for 99.9 % of them, and over the whole length for nine in ten and more. Beyond three deviations,
    where one draw in a thousand lies, nothing is shown.

    Parameters
    ----------
    draws : Tensor, shape (N, J)
        One from each q(z | x): :func:`vaelib.aggregate.draw`.
    latents : LatentReport
        Of the same draws, for the numbers in the panels and for which are active: these are drawn as a line,
        the others as dots.
    worst : int, optional
        Show only so many latents, those farthest from normal by their :math:`W_1`, the farthest first.
    columns : int, optional
        Panels in a row; by default as many as make few empty places, 8 at most.
    points : int
        Quantiles in a panel, evenly spread over the prior's.

    Raises
    ------
    ValueError
        If the report is of other latents, there are fewer than two draws, or there would be nothing to see.

    References
    ----------
    Book: def-aggregate, eq-w1-area.
    """
    count = draws.shape[-1]
    if len(latents.wasserstein) != count:
        raise ValueError(
            f"draws have {count} latents, the report {len(latents.wasserstein)}: they must agree"
        )
    if len(draws) < 2:
        raise ValueError(f"{len(draws)} draw(s) have no quantiles: give two or more, best thousands")
    for name, number in {"worst": worst, "columns": columns}.items():
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}: there would be nothing to see")
    ranked = latents.wasserstein.argsort(descending=True, stable=True).tolist()
    order = list(range(count)) if worst is None else ranked[:worst]
    columns = min(columns, len(order)) if columns else _columns(len(order))
    side = min(PANEL, (PAGE - LEFT - RIGHT) / columns)
    large = side > 1.2

    # Evenly over the prior's range and not over its mass, most of which is in the middle.
    reach = min(TAIL, -torch.special.ndtri(torch.tensor(0.5 / len(draws), dtype=torch.float64)).item())
    normal = torch.linspace(-reach, reach, points, dtype=torch.float64)
    below = torch.special.ndtr(normal)
    quantiles = np.quantile(draws.double().numpy(), below.numpy(), axis=0, method="hazen")
    low, high = _band(below, len(draws))
    edge = 1.08 * max(reach, float(np.abs(quantiles[:, order]).max()))

    figure, panels = _squares(len(order), columns, side)
    for axes, latent in zip(panels, order, strict=True):
        active = bool(latents.active[latent])
        axes.fill_between(normal.numpy(), low.numpy(), high.numpy(), **BAND)
        axes.axline((0, 0), slope=1, **DIAGONAL)
        every = slice(None) if active else slice(None, None, 4 if large else 5)
        axes.plot(normal[every].numpy(), quantiles[every, latent], **_curve(active, large))
        axes.set(xlim=(-edge, edge), ylim=(-edge, edge))
        name, distance = latent + 1, latents.wasserstein[latent].item()
        corners = {
            "upper left": f"$z_{{{name}}}$" if large else f"{name}",
            "lower right": f"$W_1 = {distance:.3f}$" if large else f"{distance:.2f}",
        }
        for corner, words in corners.items():
            bold = active and corner == "upper left"
            axes.add_artist(_note(words, corner, 10 if large else 8, "bold" if bold else "normal"))
    _frame(figure, panels, columns, edge)
    kinds = {bool(latents.active[latent]) for latent in order}
    handles: list[Artist] = [
        Line2D([], [], label=LABELS[kind], **_curve(kind, True)) for kind in (True, False) if kind in kinds
    ]
    handles += [
        Line2D([], [], label="N(0, 1) itself", **DIAGONAL), Patch(label="range of its samples", **BAND)
    ]  # fmt: skip
    _key(figure, handles)
    return figure


def _band(below: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Where quantiles of samples are: the inequality of :func:`qq`, solved for t (Wilson's interval)."""
    extra = BAND_WIDTH**2 / count
    middle, half = below + extra / 2, (extra * (below * (1 - below) + extra / 4)).sqrt()
    low, high = (torch.special.ndtri((middle + sign * half) / (1 + extra)) for sign in (-1, 1))
    return low, high


def _columns(count: int) -> int:
    """Panels in a row: about square, not more than 8, and few places left empty."""
    fewest = min(8, math.ceil(math.sqrt(count)))
    return min(range(fewest, min(8, count, 2 * fewest) + 1), key=lambda columns: -count % columns)


LABELS = {True: "active latent", False: "inactive latent"}
BAND: dict[str, Any] = {"color": INK, "alpha": 0.3, "linewidth": 0}
DIAGONAL: dict[str, Any] = {"color": INK, "linewidth": 0.8}


def _curve(active: bool, large: bool) -> dict[str, Any]:
    """How the curve of an active or an inactive latent is drawn."""
    if active:
        return {"color": PHI, "linewidth": 2.0 if large else 1.6}
    return {"color": INK, "linestyle": "none", "marker": "o", "markersize": 3.2 if large else 2.0}


def _squares(count: int, columns: int, side: float) -> tuple[Picture, list[Axes]]:
    """Square panels row by row. Their places are reckoned: a layout engine takes seconds for 64 of them."""
    rows = math.ceil(count / columns)
    width = max(LEFT + columns * side + RIGHT, LEFT + 3)  # the key needs some room
    above = KEY_LINE * (1.5 if width > WIDE else 2.5)
    height = above + rows * side + BELOW
    figure = blank(width, height)
    figure.set_layout_engine("none")
    panels = []
    for index in range(count):
        row, column = divmod(index, columns)
        left, bottom = LEFT + column * side, height - above - (row + 1) * side
        place = (left / width, bottom / height, (side - GAP) / width, (side - GAP) / height)
        panels.append(plain(figure.add_axes(place)))
    return figure, panels


def _frame(figure: Picture, panels: list[Axes], columns: int, edge: float) -> None:
    """Ticks and their labels, which only the outer panels carry, and what runs along the whole."""
    tick = max(1, math.floor(0.75 * edge))
    for index, axes in enumerate(panels):
        axes.set_xticks([-tick, 0, tick])
        axes.set_yticks([-tick, 0, tick])
        lowest, first = index + columns >= len(panels), index % columns == 0
        axes.tick_params(labelsize=8, length=2, labelbottom=lowest, labelleft=first)
    width, height = figure.get_size_inches()
    boxes = [axes.get_position() for axes in panels]
    across = (boxes[0].x0 + max(box.x1 for box in boxes)) / 2
    up = (boxes[0].y1 + boxes[-1].y0) / 2
    style: dict[str, Any] = {"color": INK, "fontsize": 9}
    figure.text(across, 0.05 / height, "quantile of N(0, 1)", ha="center", va="bottom", **style)
    figure.text(0.05 / width, up, "quantile of the draws", va="center", rotation=90, **style)


def _key(figure: Picture, handles: Sequence[Artist]) -> None:
    """What the marks mean, above the panels."""
    width, height = figure.get_size_inches()
    figure.legend(
        handles=handles, loc="upper left", ncols=len(handles) if width > WIDE else 2,
        bbox_to_anchor=(LEFT / width, 1 - 0.04 / height), frameon=False, fontsize=8, labelcolor=INK,
        borderpad=0, borderaxespad=0, columnspacing=1.4, handlelength=1.4,
    )  # fmt: skip


def _note(words: str, corner: str, size: int, weight: str) -> AnchoredText:
    """Words in a corner of a panel: Q-Q curves leave two of them free."""
    style = {"color": INK, "fontsize": size, "fontweight": weight}
    return AnchoredText(words, loc=corner, prop=style, frameon=False, pad=0, borderpad=0.4)


def latent_distances(latents: LatentReport) -> Picture:
    """How far each latent is from N(0, 1), the farthest first, and how much of that is chance.

    Parameters
    ----------
    latents : LatentReport
        Active latents are filled dots, the others hollow ones.

    References
    ----------
    Book: eq-w1-area.
    """
    ranked = latents.wasserstein.argsort(descending=True, stable=True).tolist()
    noise = sampling_noise(latents.images)
    few, many = len(ranked) <= 8, len(ranked) > 32
    figure = blank(WIDE - 1 if few else PAGE, 2.9)
    axes = plain(figure.add_subplot())
    places, distances = np.arange(len(ranked)), latents.wasserstein[ranked].numpy()
    active = latents.active[ranked].numpy()
    for kind, here in ((True, active), (False, ~active)):
        colour = PHI if kind else INK
        axes.vlines(places[here], noise.wasserstein, distances[here], color=colour, linewidth=1.2, alpha=0.6)
        axes.plot(
            places[here], distances[here], "o", markersize=5, color=colour,
            markerfacecolor=colour if kind else "none", label=LABELS[kind] if here.any() else None,
        )  # fmt: skip
    axes.axhline(noise.wasserstein, color=INK, linewidth=1, linestyle=":", label="normal samples: mean")
    axes.axhline(noise.wasserstein_level, color=INK, linewidth=1, linestyle="--", label="95 % are below")
    axes.set_yscale("log")
    axes.set_ylim(
        0.8 * min(noise.wasserstein, distances[-1]), 1.25 * max(noise.wasserstein_level, distances[0])
    )
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    names = [str(latent + 1) for latent in ranked]
    axes.set_xticks(places, names, fontsize=6 if many else 8, rotation=90 if many else 0)
    axes.set_xlim(-0.7, len(ranked) - 0.3)
    axes.grid(visible=False, axis="x")
    axes.tick_params(axis="x", length=0)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("latent", fontsize=9)
    axes.set_ylabel("$W_1$ from N(0, 1)", fontsize=9)
    figure.legend(
        loc="outside upper left", ncols=2 if few else 4, frameon=False, fontsize=8, labelcolor=INK,
    )  # fmt: skip
    return figure


def strips(
    images: Tensor,
    *,
    names: Sequence[str] = (),
    ticks: Sequence[str] = (),
    across: str = "",
    width: float = PAGE,
) -> Picture:
    """Rows of pictures that change step by step: traversals of latents, or ways between two of them.

    Parameters
    ----------
    images : Tensor, shape (R, K, side * side)
        R rows of K pictures, in [0, 1].
    names : sequence of str
        Of the rows, at their left: ``"$z_3$"``, ``"chord"``.
    ticks : sequence of str
        Of the columns, below them: the value of the latent, or how far one has come.
    across : str
        What the ticks count.
    width : float
        Inches.

    Raises
    ------
    ValueError
        If there are not as many names as rows or ticks as columns, or the pictures are not square.
    """
    rows, steps, _ = images.shape
    for kind, given, wanted in (("names", names, rows), ("ticks", ticks, steps)):
        if given and len(given) != wanted:
            raise ValueError(f"{len(given)} {kind} for {wanted}: give one for each, or none")
    laid = tile(images.flatten(0, 1), steps)
    labels = 0.25 * bool(ticks) + 0.2 * bool(across)
    room = width - 0.075 * max((len(name.strip("$")) for name in names), default=0)
    figure = blank(width, room * laid.shape[0] / laid.shape[1] + labels)
    axes = figure.add_subplot()
    show(axes, laid)
    plain(axes).grid(visible=False)
    axes.set_axis_on()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for count, given, extent, set_ticks in (
        (rows, names, laid.shape[0], axes.set_yticks),
        (steps, ticks, laid.shape[1], axes.set_xticks),
    ):
        middles = (np.arange(count) + 0.5) * (extent + 2) / count - 1.5
        set_ticks(middles if given else [], list(given), fontsize=8)
    axes.set_xlabel(across, fontsize=9)
    return figure
