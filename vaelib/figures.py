"""The book's pictures, one function each. They take numbers and give a Matplotlib figure, and train nothing.

Figures are built without ``pyplot``: no global state, nothing to close. Backgrounds are transparent and
lines mid-grey, so that one picture serves light and dark pages.
"""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from vaelib.history import Epoch
from vaelib.latent import latent_grid
from vaelib.settings import Grid

# One colour for each quantity, the same as in the pages' formulas (book/_static/book.css): the decoder's
# for distortion, the encoder's for rate.
DISTORTION = "#c2410c"
RATE = "#2563eb"
ELBO = "#7c3aed"
THETA, PHI = DISTORTION, RATE  # the decoder and the encoder, or p and q where a page has only those
DATA = "#0f7b6c"
LATENT = "#c026a3"
# Grey that reads on white and on near-black alike (contrast at least 4 to 1 on both).
INK = "#7d8590"
# Ten hues that stay apart in the common kinds of colour blindness as far as ten can; digits are written
# on the picture as well, so that colour is never the only sign.
DIGITS = (
    "#4e79a7",
    "#f28e2b",
    "#59a14f",
    "#e15759",
    "#b07aa1",
    "#9c755f",
    "#e377c2",
    "#17a2b8",
    "#bcbd22",
    "#7f7f7f",
)


class Picture(Figure):
    """A Matplotlib figure that a notebook shows by itself, without ``pyplot`` or a magic command."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()


def _figure(width: float, height: float) -> Picture:
    figure = Picture(figsize=(width, height), layout="constrained", dpi=160)
    figure.patch.set_alpha(0)
    return figure


def _plain(axes: Axes) -> Axes:
    """Give axes the book's look: no box, quiet lines, grey text."""
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(INK)
    axes.tick_params(colors=INK, which="both")
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(INK)
    axes.grid(color=INK, alpha=0.18, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _side(images: Tensor) -> int:
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
    side = _side(images)
    rows = math.ceil(len(images) / columns)
    sheet = torch.full((rows * (side + gap), columns * (side + gap)), math.nan)
    for index, image in enumerate(images.reshape(-1, side, side)):
        top, left = (index // columns) * (side + gap), (index % columns) * (side + gap)
        sheet[top : top + side, left : left + side] = image
    return sheet[: rows * (side + gap) - gap, : columns * (side + gap) - gap]


def _show(axes: Axes, sheet: Tensor) -> None:
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
    figure = _figure(width, width * laid.shape[0] / laid.shape[1])
    _show(figure.add_subplot(), laid)
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
    count, side, gap = len(originals), _side(originals), 2
    laid = tile(torch.cat([originals, reconstructed]), count, gap=gap)
    width = max(4.0, 0.62 * count)
    figure = _figure(width, width * laid.shape[0] / laid.shape[1] + (0.3 if elbo is not None else 0))
    axes = figure.add_subplot()
    _show(axes, laid)
    for index, value in enumerate([] if elbo is None else elbo.tolist()):
        middle = index * (side + gap) + side / 2
        axes.text(middle, laid.shape[0] + 3, f"{value:.0f}", ha="center", va="top", color=INK, fontsize=8)
    return figure


def loss_curves(history: Sequence[Epoch], *, held_out_name: str = "held out") -> Picture:
    """Distortion, rate and ELBO by epoch, training and held-out images.

    Parameters
    ----------
    history : sequence of Epoch
        What :func:`vaelib.training.fit` returns.
    held_out_name : str
        What the held-out images are called in the legend.
    """
    figure = _figure(7.2, 2.6)
    epochs = [line.epoch for line in history]
    panels = (("ELBO", "elbo", ELBO), ("distortion", "distortion", DISTORTION), ("rate (KL)", "rate", RATE))
    for axes, (title, name, colour) in zip(figure.subplots(1, 3), panels, strict=True):
        train = [getattr(line, f"train_{name}") for line in history]
        held_out = [getattr(line, f"held_out_{name}") for line in history]
        _plain(axes).set_title(title, color=colour, fontsize=10)
        mark = "o" if len(epochs) == 1 else None
        axes.plot(epochs, train, color=colour, alpha=0.55, linestyle="--", marker=mark, label="training")
        if held_out[0] is not None:
            axes.plot(epochs, held_out, color=colour, linewidth=2, marker=mark, label=held_out_name)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    figure.axes[0].set_ylabel("nats per image")
    return figure


def latent_scatter(
    points: Tensor, labels: Tensor, *, name: str = "mean", dims: tuple[int, int] = (1, 2)
) -> Picture:
    """Where the encoder puts each image, or how sure it is: two latents, coloured by digit.

    Parameters
    ----------
    points : Tensor, shape (N, 2)
        Means, or standard deviations.
    labels : Tensor, shape (N,)
        Classes 0 to 9.
    name : str
        What the points are, for the axes: ``"mean"`` or ``"standard deviation"``.
    dims : tuple of int
        Which latents these are, counted from 1, for the axes.

    Raises
    ------
    ValueError
        If the points are not in a plane.
    """
    _check_plane(points)
    figure = _figure(5.6, 5.2)
    axes = _plain(figure.add_subplot())
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
    axes.set_xlabel(f"{name} of $z_{{{dims[0]}}}$")
    axes.set_ylabel(f"{name} of $z_{{{dims[1]}}}$")
    legend = axes.legend(
        frameon=False, markerscale=4, fontsize=8, labelcolor=INK, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
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
    figure = _figure(6.0, 6.0)
    axes = figure.add_subplot()
    laid = tile(decode(z), cells, gap=0)
    _show(axes, laid)
    _plain(axes).grid(visible=False)
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


def _check_plane(points: Tensor) -> None:
    if points.shape[-1] != 2:
        raise ValueError(f"a plane shows 2 latents, these points have {points.shape[-1]}: choose two of them")


@dataclass(frozen=True)
class Line:
    """One curve, or one row of marks.

    Parameters
    ----------
    x, y : sequence of float
        Numbers, tensors or arrays.
    label : str
        Its name in the legend; without one it is not listed.
    colour : str
        One of this module's: a quantity has one colour everywhere.
    style : str
        Matplotlib's ``"-"``, ``"--"``, ``":"``, or a marker such as ``"o"``: colour is never the only
        difference.
    fill : bool
        Shade the area below.
    error : sequence of float, optional
        Standard errors, drawn as bars of 1.96 of them.
    """

    x: Any
    y: Any
    label: str = ""
    colour: str = INK
    style: str = "-"
    fill: bool = False
    error: Any = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Parameters
    ----------
    lines : sequence of Line
    title, across, up : str
        Above the panel and along its axes.
    log : str
        ``"x"``, ``"y"`` or ``"xy"`` for logarithmic axes.
    marks : sequence of (float, str)
        Vertical lines and what is written at them.
    limits : tuple, optional
        Lowest and highest y shown.
    contours : sequence of (x, y, density, colour)
        Level lines of a density over a plane.
    bars : sequence of (str, float, str)
        Horizontal bars: name, length, colour.
    """

    lines: Sequence[Line] = ()
    title: str = ""
    across: str = ""
    up: str = ""
    log: str = ""
    marks: Sequence[tuple[float, str]] = ()
    limits: tuple[float, float] | None = None
    contours: Sequence[tuple[Any, Any, Any, str]] = ()
    bars: Sequence[tuple[str, float, str]] = ()


def plot(*panels: Panel, columns: int = 2, width: float = 7.2, height: float = 2.8) -> Picture:
    """Curves, level lines and bars in one or more panels.

    Parameters
    ----------
    *panels : Panel
        Laid out in rows.
    columns : int
        Panels in a row, at most.
    width, height : float
        Inches: of the whole, and of one row.

    Raises
    ------
    ValueError
        If there is no panel.
    """
    if not panels:
        raise ValueError("there is nothing to plot: give at least one Panel")
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = _figure(width, height * rows)
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(places, panels, strict=False):
        _panel(axes, panel)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    return figure


def _panel(axes: Axes, panel: Panel) -> None:
    _plain(axes)
    axes.set_title(panel.title, fontsize=10)
    axes.set_xlabel(panel.across)
    axes.set_ylabel(panel.up)
    if "x" in panel.log:
        axes.set_xscale("log")
    if "y" in panel.log:
        axes.set_yscale("log")
    for x, y, density, colour in panel.contours:
        axes.contour(x, y, density, levels=6, colors=colour, linewidths=1.2)
    for line in panel.lines:
        if line.error is not None:
            bars = [1.96 * float(e) for e in line.error]
            axes.errorbar(
                line.x, line.y, bars, fmt="o", color=line.colour, markersize=4, label=line.label or None
            )
            continue
        axes.plot(
            line.x, line.y, line.style, color=line.colour, linewidth=2, markersize=5, label=line.label or None
        )
        if line.fill:
            axes.fill_between(line.x, line.y, color=line.colour, alpha=0.18, linewidth=0)
    for name, length, colour in reversed(panel.bars):
        axes.barh(name, length, color=colour, height=0.62)
    if panel.limits is not None:
        axes.set_ylim(*panel.limits)
    for place, words in panel.marks:
        axes.axvline(place, color=INK, linewidth=1, linestyle=":")
        axes.annotate(
            words, (place, 1), xycoords=("data", "axes fraction"), xytext=(3, -3), textcoords="offset points",
            color=INK, fontsize=8, va="top",
        )  # fmt: skip
    if any(line.label for line in panel.lines):
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)


class Replay:
    r"""A training run as one picture that is redrawn for each epoch, for a film.

    On the left where the encoder puts held-out images, on the right some of them above what the decoder makes
    of their means, and the ELBO's curves. Only what changes is moved: axes, colours and sizes are those of
    the whole run, so that a point that moves has moved. White behind all, for films have no transparency.

    Parameters
    ----------
    points : Tensor, shape (E + 1, N, 2)
        Two latents' means of N images before training and after each of E epochs.
    labels : Tensor, shape (N,)
        Classes 0 to 9.
    shown : Tensor, shape (K,)
        Which of the N images are on the right, ten at most; badges mark them on the left.
    originals : Tensor, shape (K, side * side)
        In [0, 1].
    reconstructions : Tensor, shape (E + 1, K, side * side)
        In [0, 1].
    history : sequence of Epoch
        The E epochs; at least one.
    elbo : sequence of float or None, optional
        The number in the title at each of the E + 1 moments, in nats: the held-out ELBO.
    dims : tuple of int
        Which latents these are, counted from 1, for the axes.
    held_out_name : str
        What the held-out images are called.
    scale : float
        Of the 900 by 600 pixels of a frame.

    Raises
    ------
    ValueError
        If the points are not in a plane, there is no epoch, more than ten images are shown, or one of the
        lengths does not fit the history's.
    """

    # Pixels of a frame, and in it of a picture's own pixel: whole numbers, so that none is blurred.
    WIDTH, HEIGHT, ZOOM = 900, 600, 2
    # Epochs that a badge's trail goes back: the way it has just come, before all ways make a scribble.
    TRAIL = 3
    _TEXT = "#24292f"
    _DPI = 120

    def __init__(
        self,
        points: Tensor,
        labels: Tensor,
        shown: Tensor,
        originals: Tensor,
        reconstructions: Tensor,
        history: Sequence[Epoch],
        *,
        elbo: Sequence[float | None] | None = None,
        dims: tuple[int, int] = (1, 2),
        held_out_name: str = "held out",
        scale: float = 1.0,
    ) -> None:
        _check_plane(points)
        moments = len(history) + 1
        elbo = [None] * moments if elbo is None else elbo
        if moments == 1:
            raise ValueError("there is no epoch to replay")
        if len(shown) > 10:
            raise ValueError(f"there is room for 10 images, not for {len(shown)}")
        for name, length in (
            ("points", len(points)),
            ("reconstructions", len(reconstructions)),
            ("elbo", len(elbo)),
        ):
            if length != moments:
                raise ValueError(f"{name} has {length} moments, {moments - 1} epochs have {moments}")
        self._points, self._reconstructions, self._shown = points, reconstructions, shown
        self._originals, self._history, self._elbo = originals, history, elbo
        self._held_out_name = held_out_name
        self.figure = Picture(
            figsize=(self.WIDTH / self._DPI, self.HEIGHT / self._DPI),
            dpi=self._DPI * scale,
            facecolor="white",
        )
        self._canvas = FigureCanvasAgg(self.figure)
        self.size: tuple[int, int] = self._canvas.get_width_height(physical=True)
        self._heading = self._say(58, 42, size=15, weight="bold", color=self._TEXT)
        self._number = self._say(856, 42, size=12, ha="right", color=ELBO)
        self._draw_latents(labels, dims)
        self._draw_pictures(labels[shown])
        self._draw_curves()
        note = (
            "Badges and their trails: the images on the right. Decoded is E[x | z] at the mean of q(z | x)."
        )
        self._say(58, 586, note, size=8, color=INK)
        self.show(0)

    def __len__(self) -> int:
        """How many moments there are: one more than epochs."""
        return len(self._points)

    def show(self, moment: int) -> Picture:
        """Move everything to a moment, 0 before training, and give the figure."""
        points = self._points[moment]
        self.scatter.set_offsets(points.numpy())
        for badge, trail, index in zip(self._badges, self._trails, self._shown.tolist(), strict=True):
            badge.set_position(tuple(points[index].tolist()))
            trail.set_data(*self._points[max(0, moment - self.TRAIL) : moment + 1, index].T.numpy())
        for part, picture in zip(self._bands, self.pictures, strict=True):
            above, below = self._originals[part], self._reconstructions[moment][part]
            picture.set_data(tile(torch.cat([above, below]), len(above)).numpy())
        for line, (epochs, values) in zip(self.curves, self._runs, strict=True):
            line.set_data(epochs[:moment], values[:moment])
            line.set_markevery([moment - 1] if moment else [])
        self._now.set_xdata([moment, moment])
        self._heading.set_text(f"epoch {moment} of {len(self) - 1}" if moment else "before training")
        value = self._elbo[moment]
        self._number.set_text("" if value is None else f"{self._held_out_name} ELBO {_minus(value)} nats")
        return self.figure

    def frame(self, moment: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        """Draw a moment as pixels: (height, width, 3), uint8."""
        self.show(moment)
        self._canvas.draw()  # type: ignore[no-untyped-call]
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes at pixels of the frame, counted from its upper left corner."""
        bottom = self.HEIGHT - top - height
        return self.figure.add_axes(
            (left / self.WIDTH, bottom / self.HEIGHT, width / self.WIDTH, height / self.HEIGHT)
        )

    def _say(self, left: float, base: float, words: str = "", **style: Any) -> Text:
        return self.figure.text(left / self.WIDTH, 1 - base / self.HEIGHT, words, **style)

    def _draw_latents(self, labels: Tensor, dims: tuple[int, int]) -> None:
        axes = _plain(self._axes(58, 92, 428, 428))
        lowest, highest = self._points.amin((0, 1)), self._points.amax((0, 1))
        # One length is one length along both axes, and a little air around the outermost point.
        reach = max(0.54 * float((highest - lowest).max()), 1e-3)
        middle = ((lowest + highest) / 2).tolist()
        axes.set_xlim(middle[0] - reach, middle[0] + reach)
        axes.set_ylim(middle[1] - reach, middle[1] + reach)
        axes.set_xlabel(f"mean of $z_{{{dims[0]}}}$", fontsize=9, labelpad=2)
        axes.set_ylabel(f"mean of $z_{{{dims[1]}}}$", fontsize=9, labelpad=0)
        axes.tick_params(labelsize=8)
        colours = [DIGITS[digit % len(DIGITS)] for digit in labels.tolist()]
        # All classes in one collection, in the order of the images: no class lies on top of another.
        across, up = self._points[0].T.numpy()
        self.scatter = axes.scatter(across, up, s=7, c=colours, alpha=0.6, linewidths=0)
        self._trails, self._badges = [], []
        for index in self._shown.tolist():
            colour = colours[index]
            self._trails += axes.plot([], [], color=colour, linewidth=1.1, alpha=0.8, solid_capstyle="round")
            self._badges.append(
                axes.text(
                    0, 0, str(int(labels[index])), ha="center", va="center", fontsize=8, fontweight="bold",
                    color="white", zorder=5,
                    bbox={"boxstyle": "circle,pad=0.2", "facecolor": colour, "edgecolor": "white"},
                )
            )  # fmt: skip
        dots = [
            axes.plot([], [], "o", color=DIGITS[digit % len(DIGITS)], markersize=5, label=str(digit))[0]
            for digit in sorted(set(labels.tolist()))
        ]
        axes.legend(
            handles=dots, ncols=len(dots), loc="lower left", bbox_to_anchor=(-0.015, 0.99), frameon=False,
            fontsize=8, labelcolor=INK, handletextpad=0, columnspacing=0.6, borderpad=0.2,
        )  # fmt: skip

    def _draw_pictures(self, labels: Tensor) -> None:
        """Two bands of five, originals above what was decoded; the labels name the columns."""
        side, left, gap = _side(self._originals), 560, 2
        self._bands = [slice(start, start + 5) for start in range(0, len(labels), 5)]
        self.pictures: list[AxesImage] = []
        for band, part in enumerate(self._bands):
            here, top = labels[part].tolist(), 92 + 146 * band
            empty = tile(torch.zeros(2 * len(here), side * side), len(here), gap=gap)
            axes = self._axes(left, top, self.ZOOM * empty.shape[1], self.ZOOM * empty.shape[0])
            _show(axes, empty)
            self.pictures += axes.images
            for column, digit in enumerate(here):
                middle = left + self.ZOOM * (column * (side + gap) + side / 2)
                colour = DIGITS[digit % len(DIGITS)]
                self._say(middle, top - 7, str(digit), size=8.5, weight="bold", ha="center", color=colour)
            for row, words in enumerate(("image", "decoded")):
                middle = top + self.ZOOM * (row * (side + gap) + side / 2)
                self._say(left - 8, middle, words, size=8, ha="right", va="center", color=INK)

    def _draw_curves(self) -> None:
        axes = _plain(self._axes(560, 392, 296, 128))
        epochs = list(range(1, len(self)))
        names = (("train_elbo", "training", "--", 0.55), ("held_out_elbo", self._held_out_name, "-", 1.0))
        self.curves, self._runs = [], []
        for field, label, style, alpha in names:
            values = [getattr(line, field) for line in self._history]
            if values[0] is None:
                continue
            axes.plot(epochs, values, style, color=ELBO, alpha=0.2 * alpha + 0.05, linewidth=1.2)
            self.curves += axes.plot(
                [], [], style, marker="o", markersize=5, color=ELBO, alpha=alpha, linewidth=1.8, label=label,
                clip_on=False,
            )  # fmt: skip
            self._runs.append((epochs, values))
        self._now = axes.axvline(0, color=INK, linewidth=1, linestyle=":")
        axes.set_xlim(0, len(self) - 1)
        axes.set_xlabel("epoch", fontsize=9, labelpad=2)
        axes.set_title("ELBO, nats per image", color=ELBO, fontsize=9, loc="left", pad=4)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower right")


def _minus(value: float) -> str:
    """One decimal, with a sign of the width of a digit."""
    return f"{value:.1f}".replace("-", "−")
