"""Maps of a latent plane: where classes lie over each other, and a number at every image's place."""

import math
from collections.abc import Mapping, Sequence

import torch
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize, to_rgba
from torch import Tensor

from vaelib.figures.latents import check_plane
from vaelib.figures.style import DIGITS, INK, PHI, Picture, blank, plain

# Values beyond these quantiles get the colour of the ends.
ENDS = (0.02, 0.98)
# Between the ends of viridis, which are hardly seen on black and on white.
SHADES = (0.14, 0.94)
# A mistake of this share of the largest one is strongly coloured, and its number white.
STRONG = 1 / 5


def confusion(shares: Tensor, *, guessed: str = "guessed", colour: str = PHI) -> Picture:
    """A table of which class was taken for which, in per cent; what was taken rightly stands in grey.

    Parameters
    ----------
    shares : Tensor, shape (C, C)
        Rows are classes and sum to 1; see :func:`vaelib.overlap.confusion`.
    guessed : str
        What is written along the columns.
    colour : str
        Of the largest mistake; a mistake of no size is left open.

    Raises
    ------
    ValueError
        If the table is not square.
    """
    if shares.ndim != 2 or shares.shape[0] != shares.shape[1]:
        raise ValueError(f"the table has shape {tuple(shares.shape)}: a class needs a row and a column")
    classes = len(shares)
    wrong = shares.clone()
    wrong.fill_diagonal_(math.nan)
    figure = blank(5.0, 4.6)
    axes = plain(figure.add_subplot())
    # A number is read in grey on little colour and in white on much; between the two there is a step.
    steps = [(0.0, 0.0), (STRONG, 0.2), (STRONG, 0.72), (1.0, 1.0)]
    fade = LinearSegmentedColormap.from_list("fade", [(at, to_rgba(colour, alpha)) for at, alpha in steps])
    largest = max(wrong.nan_to_num(0).max().item(), 1e-9)
    axes.imshow(wrong.numpy(), cmap=fade, vmin=0, vmax=largest)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    axes.set_xticks(range(classes))
    axes.set_yticks(range(classes))
    axes.set_xlabel(guessed)
    axes.set_ylabel("digit")
    for row in range(classes):
        for column in range(classes):
            share = shares[row, column].item()
            if round(100 * share) == 0:
                continue
            strong = row != column and share >= STRONG * largest
            axes.text(
                column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8,
                color="white" if strong else INK, fontweight="bold" if row != column else "normal",
            )  # fmt: skip
    return figure


def class_pairs(
    points: Tensor, labels: Tensor, pairs: Sequence[tuple[int, int]], *, columns: int = 3, count: int = 400
) -> Picture:
    """Pairs of classes on the plane, a panel each, to see whether their images lie apart.

    Parameters
    ----------
    points : Tensor, shape (N, 2)
        Where the images are.
    labels : Tensor, shape (N,)
        Classes 0 to 9.
    pairs : sequence of (int, int)
        The first class is drawn as dots, the second one as crosses.
    columns : int
        Panels in a row.
    count : int
        Images of each class, at most: the first ones.

    Raises
    ------
    ValueError
        If the points are not in a plane, or there is no pair.
    """
    check_plane(points)
    if not pairs:
        raise ValueError("there is nothing to draw: give at least one pair of classes")
    columns = min(columns, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    figure = blank(7.2, 2.6 * rows)
    places = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, pair in zip(places, pairs, strict=False):
        plain(axes).set_aspect("equal")
        for digit, marker, size in zip(pair, "ox", (7, 11), strict=True):
            own = points[labels == digit][:count]
            axes.scatter(
                own[:, 0].numpy(), own[:, 1].numpy(), s=size, marker=marker, alpha=0.75, label=str(digit),
                color=DIGITS[digit % len(DIGITS)], linewidths=0 if marker == "o" else 0.9,
            )  # fmt: skip
        legend = axes.legend(
            frameon=False, fontsize=9, labelcolor=INK, loc="lower left", bbox_to_anchor=(-0.02, 0.97),
            ncols=2, borderpad=0, handletextpad=0.1, columnspacing=1.0, markerscale=1.8,
        )  # fmt: skip
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1)
    for axes in places[len(pairs) :]:
        axes.set_axis_off()
    for axes in places[(rows - 1) * columns :]:
        axes.set_xlabel("$z_1$")
    for axes in places[::columns]:
        axes.set_ylabel("$z_2$")
    return figure


def latent_values(points: Tensor, values: Mapping[str, Tensor], *, name: str = "") -> Picture:
    """The same images once for each kind of number, coloured by it: a panel each, one scale for all.

    Parameters
    ----------
    points : Tensor, shape (N, 2)
        Where the images are.
    values : mapping of str to Tensor, shape (N,)
        Titles, and the numbers.
    name : str
        What the numbers are, written along the scale of colours.

    Raises
    ------
    ValueError
        If the points are not in a plane, there are no numbers, or not one for each point.
    """
    check_plane(points)
    if not values:
        raise ValueError("there is nothing to draw: give at least one kind of number")
    for title, numbers in values.items():
        if numbers.shape != points.shape[:1]:
            raise ValueError(
                f"{title!r} has shape {tuple(numbers.shape)}, and there are {len(points)} points"
            )
    ends = torch.cat(list(values.values())).double().quantile(torch.tensor(ENDS, dtype=torch.float64))
    low, high = ends.tolist()
    scale = Normalize(low, high, clip=True)
    shades = colormaps["viridis"](torch.linspace(*SHADES, 256).numpy())
    figure = blank(7.2, 7.2 / len(values) + 0.5)
    places = figure.subplots(1, len(values), squeeze=False, sharex=True, sharey=True).ravel()
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))  # no class on top
    for axes, (title, numbers) in zip(places, values.items(), strict=True):
        plain(axes).set_aspect("equal")
        axes.set_title(title, fontsize=10)
        drawn = axes.scatter(
            points[order, 0].numpy(), points[order, 1].numpy(), c=numbers[order].numpy(),
            s=4, cmap=ListedColormap(shades), norm=scale, linewidths=0,
        )  # fmt: skip
        axes.set_xlabel("$z_1$")
    places[0].set_ylabel("$z_2$")
    bar = figure.colorbar(drawn, ax=list(places), orientation="horizontal", shrink=0.6, aspect=40, pad=0.02)
    bar.set_label(name, color=INK, fontsize=9)
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.outline.set_visible(False)
    return figure
