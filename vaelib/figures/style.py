"""One colour for each quantity, and the look that all pictures share."""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def blank(width: float, height: float) -> Picture:
    """A transparent figure of so many inches."""
    figure = Picture(figsize=(width, height), layout="constrained", dpi=160)
    figure.patch.set_alpha(0)
    return figure


def plain(axes: Axes) -> Axes:
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
