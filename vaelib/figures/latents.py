"""Where the encoder puts images."""

from torch import Tensor

from vaelib.figures.style import DIGITS, INK, Picture, blank, plain


def check_plane(points: Tensor) -> None:
    """Refuse points that are not in a plane."""
    if points.shape[-1] != 2:
        raise ValueError(f"a plane shows 2 latents, these points have {points.shape[-1]}: choose two of them")


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
    axes.set_xlabel(f"{name} of $z_{{{dims[0]}}}$")
    axes.set_ylabel(f"{name} of $z_{{{dims[1]}}}$")
    legend = axes.legend(
        frameon=False, markerscale=4, fontsize=8, labelcolor=INK, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    return figure
