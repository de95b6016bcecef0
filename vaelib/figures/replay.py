"""A training run as one picture that is redrawn for each epoch, for a film."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from vaelib.figures.images import show, side_of, tile
from vaelib.figures.latents import check_plane
from vaelib.figures.style import DIGITS, DISTORTION, ELBO, INK, Picture, plain
from vaelib.history import Epoch


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
        The number in the title at each of the E + 1 moments, in nats: the held-out ELBO. Where the history's
        is minus infinity, as an autoencoder's, the distortion is shown in its place.
    dims : tuple of int
        Which latents these are, counted from 1, for the axes.
    note : str
        What is said of them below.
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

    # Pixels of a frame, of five pictures in a row, and of a picture's own pixel where those have room.
    WIDTH, HEIGHT, ROW, ZOOM = 900, 600, 296, 2
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
        note: str = "",
        held_out_name: str = "held out",
        scale: float = 1.0,
    ) -> None:
        check_plane(points)
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
        self._term = "elbo" if all(math.isfinite(line.train_elbo) for line in history) else "distortion"
        self.figure = Picture(
            figsize=(self.WIDTH / self._DPI, self.HEIGHT / self._DPI),
            dpi=self._DPI * scale,
            facecolor="white",
        )
        self._canvas = FigureCanvasAgg(self.figure)
        self.size: tuple[int, int] = self._canvas.get_width_height(physical=True)
        self._heading = self._say(58, 42, size=15, weight="bold", color=self._TEXT)
        self._number = self._say(
            856, 42, size=12, ha="right", color=ELBO if self._term == "elbo" else DISTORTION
        )
        self._draw_latents(labels, dims)
        self._draw_pictures(labels[shown])
        self._draw_curves()
        about = (
            "Badges and their trails: the images on the right. Decoded is E[x | z] at the mean of q(z | x)."
        )
        for line, words in enumerate([about, note] if note else [about]):
            self._say(58, (576 if note else 586) + 16 * line, words, size=8, color=INK)
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
        name, value = "ELBO", self._elbo[moment]
        if self._term != "elbo":
            name, value = "distortion", self._history[moment - 1].held_out_distortion if moment else None
        self._number.set_text("" if value is None else f"{self._held_out_name} {name} {_minus(value)} nats")
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
        axes = plain(self._axes(58, 92, 428, 428))
        lowest, highest = self._points.amin((0, 1)), self._points.amax((0, 1))
        # One length is one length along both axes, and a little air around the outermost point. Where all
        # points are one, as without an encoder, about as much as the prior covers.
        extent = float((highest - lowest).max())
        reach = 0.54 * extent if extent > 1e-6 else 3.0
        middle = ((lowest + highest) / 2).tolist()
        axes.set_xlim(middle[0] - reach, middle[0] + reach)
        axes.set_ylim(middle[1] - reach, middle[1] + reach)
        axes.set_xlabel(f"mean of $z_{{{dims[0]}}}$", fontsize=9, labelpad=2)
        axes.set_ylabel(f"mean of $z_{{{dims[1]}}}$", fontsize=9, labelpad=3)
        axes.tick_params(labelsize=8)
        axes.tick_params(axis="y", labelrotation=90)  # however long, they leave the name its place
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(7))
        for label in axes.get_yticklabels():
            label.set_verticalalignment("center")
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
        side, left, gap = side_of(self._originals), 560, 2
        zoom = min(self.ZOOM, self.ROW / (5 * (side + gap) - gap))
        self._bands = [slice(start, start + 5) for start in range(0, len(labels), 5)]
        self.pictures: list[AxesImage] = []
        for band, part in enumerate(self._bands):
            here, top = labels[part].tolist(), 92 + 146 * band
            empty = tile(torch.zeros(2 * len(here), side * side), len(here), gap=gap)
            axes = self._axes(left, top, zoom * empty.shape[1], zoom * empty.shape[0])
            show(axes, empty)
            if zoom != self.ZOOM:  # pixels between the frame's own
                axes.images[0].set_interpolation("hanning")
            self.pictures += axes.images
            for column, digit in enumerate(here):
                middle = left + zoom * (column * (side + gap) + side / 2)
                colour = DIGITS[digit % len(DIGITS)]
                self._say(middle, top - 7, str(digit), size=8.5, weight="bold", ha="center", color=colour)
            for row, words in enumerate(("image", "decoded")):
                middle = top + zoom * (row * (side + gap) + side / 2)
                self._say(left - 8, middle, words, size=8, ha="right", va="center", color=INK)

    def _draw_curves(self) -> None:
        axes = plain(self._axes(560, 392, 296, 128))
        epochs = list(range(1, len(self)))
        term, name = self._term, {"elbo": "ELBO", "distortion": "distortion"}[self._term]
        names = (
            (f"train_{term}", "training", "--", 0.55),
            (f"held_out_{term}", self._held_out_name, "-", 1.0),
        )
        colour = {"elbo": ELBO, "distortion": DISTORTION}[term]
        self.curves, self._runs = [], []
        for field, label, style, alpha in names:
            values = [getattr(line, field) for line in self._history]
            if values[0] is None:
                continue
            axes.plot(epochs, values, style, color=colour, alpha=0.2 * alpha + 0.05, linewidth=1.2)
            self.curves += axes.plot(
                [], [], style, marker="o", markersize=5, color=colour, alpha=alpha, linewidth=1.8,
                label=label, clip_on=False,
            )  # fmt: skip
            self._runs.append((epochs, values))
        self._now = axes.axvline(0, color=INK, linewidth=1, linestyle=":")
        axes.set_xlim(0, len(self) - 1)
        axes.set_xlabel("epoch", fontsize=9, labelpad=2)
        axes.set_title(f"{name}, nats per image", color=colour, fontsize=9, loc="left", pad=4)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(
            frameon=False, fontsize=8, labelcolor=INK, loc="lower right" if term == "elbo" else "upper right"
        )


def _minus(value: float) -> str:
    """One decimal, with a sign of the width of a digit."""
    return f"{value:.1f}".replace("-", "−")
