"""Curves, level lines and bars."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from vaelib.figures.style import DISTORTION, ELBO, INK, RATE, Picture, blank, plain
from vaelib.history import Epoch


def loss_curves(history: Sequence[Epoch], *, held_out_name: str = "held out") -> Picture:
    """Distortion, rate and ELBO by epoch, training and held-out images.

    Parameters
    ----------
    history : sequence of Epoch
        What :func:`vaelib.training.fit` returns.
    held_out_name : str
        What the held-out images are called in the legend.
    """
    figure = blank(7.2, 2.6)
    epochs = [line.epoch for line in history]
    panels = (("ELBO", "elbo", ELBO), ("distortion", "distortion", DISTORTION), ("rate (KL)", "rate", RATE))
    for axes, (title, name, colour) in zip(figure.subplots(1, 3), panels, strict=True):
        train = [getattr(line, f"train_{name}") for line in history]
        held_out = [getattr(line, f"held_out_{name}") for line in history]
        plain(axes).set_title(title, color=colour, fontsize=10)
        mark = "o" if len(epochs) == 1 else None
        axes.plot(epochs, train, color=colour, alpha=0.55, linestyle="--", marker=mark, label="training")
        if held_out[0] is not None:
            axes.plot(epochs, held_out, color=colour, linewidth=2, marker=mark, label=held_out_name)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    figure.axes[0].set_ylabel("nats per image")
    return figure


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
    figure = blank(width, height * rows)
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(places, panels, strict=False):
        _panel(axes, panel)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    return figure


def _panel(axes: Axes, panel: Panel) -> None:
    plain(axes)
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
