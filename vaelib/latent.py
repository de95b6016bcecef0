"""Places in the latent space worth decoding, the ways between them, and the plane that shows most of it."""

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from vaelib.linear import moments, spectrum
from vaelib.settings import Grid

Way = Literal["linear", "spherical"]
# Nearer than this to opposite directions, in radians, the arc's weights would be rounding times a million.
OPPOSITE = 1e-6


class PrincipalPlane(NamedTuple):
    """The plane through ``centre`` (J,) in which points scatter most.

    ``directions`` (2, J) are of unit length and at right angles, ``projected`` (N, 2) the points' coordinates
    along them, so that ``centre + projected @ directions`` is the nearest place of the plane, and
    ``explained`` (2,) the share of the points' variance along each.
    """

    directions: Tensor
    projected: Tensor
    explained: Tensor
    centre: Tensor


def latent_grid(cells: int, *, rows: int | None = None, grid: Grid = "gaussian", span: float = 3.0) -> Tensor:
    r"""A grid over a two-dimensional latent space, in the order of a picture's rows.

    .. math::

        t_i = \Phi^{-1}\!\left(\frac{i + 1/2}{n}\right) \quad\text{(Gaussian)}, \qquad
        t_i = -s + 2 s \frac{i}{n - 1} \quad\text{(linear)}, \qquad i = 0, \dots, n - 1

    The Gaussian grid cuts the prior into cells of equal probability, so the picture shows each kind of
    digit about as often as the model would draw it. The linear one is the map of a region.

    Parameters
    ----------
    cells : int
        The number n of cells along the first axis.
    rows : int, optional
        The number along the second one; n, for a square picture, if not given.
    grid : {"gaussian", "linear"}
    span : float
        The linear grid's half-width s.

    Returns
    -------
    Tensor, shape (rows * n, 2)
        The first n rows are the picture's top row: the first latent grows to the right, the second upwards.

    Raises
    ------
    ValueError
        If ``cells`` or ``rows`` is below 1 or ``grid`` unknown.

    References
    ----------
    Book: def-manifold. Kingma and Welling (2014), appendix A, figure 4.
    """
    rows = cells if rows is None else rows
    for name, count in (("cells", cells), ("rows", rows)):
        if count < 1:
            raise ValueError(f"{name} is {count}: a grid needs at least one")
    if grid not in get_args(Grid):
        raise ValueError(f"{grid!r} is not one of {', '.join(get_args(Grid))}")

    def ticks(count: int) -> Tensor:
        if grid == "gaussian":
            middles = (torch.arange(count, dtype=torch.float64) + 0.5) / count
            quantiles: Tensor = torch.special.ndtri(middles)
            return quantiles
        return torch.linspace(-span, span, count, dtype=torch.float64)

    down, right = torch.meshgrid(ticks(rows).flip(0), ticks(cells), indexing="ij")
    return torch.stack([right, down], dim=-1).reshape(-1, 2).float()


def traversal(start: Tensor, dimension: int, values: Tensor) -> Tensor:
    """Copies of one latent in which a single coordinate takes each of the values.

    Parameters
    ----------
    start : Tensor, shape (J,)
    dimension : int
        The coordinate that moves, counted from 0.
    values : Tensor, shape (K,)

    Returns
    -------
    Tensor, shape (K, J)

    Raises
    ------
    ValueError
        If the latent has no such coordinate.
    """
    if not 0 <= dimension < start.shape[-1]:
        raise ValueError(f"dimension {dimension} does not exist: this latent has {start.shape[-1]}")
    z = start.repeat(len(values), 1)
    z[:, dimension] = values
    return z


def interpolate(start: Tensor, end: Tensor, steps: int, kind: Way = "linear") -> Tensor:
    r"""Places on the way from one latent to another, both ends among them.

    .. math::

        z(t) = (1 - t) \, a + t \, b \quad\text{(linear)}, \qquad
        z(t) = \frac{\sin\bigl((1 - t) \, \omega\bigr)}{\sin \omega} \, a
        + \frac{\sin(t \, \omega)}{\sin \omega} \, b \quad\text{(spherical)}

    with :math:`\omega` the angle between a and b. In many dimensions the middle of the straight way is far
    nearer to the origin than nearly all draws from the prior; the arc stays among them.

    Parameters
    ----------
    start, end : Tensor, shape (J,)
        a and b.
    steps : int
        How many places, at equal steps of t from 0 to 1; two or more.
    kind : {"linear", "spherical"}

    Returns
    -------
    Tensor, shape (steps, J)
        Of the type of ``start``; the first and the last place are a and b.

    Raises
    ------
    ValueError
        If there are fewer than two steps, the ends are not of one shape, the kind is unknown, or the ends
        name no arc: one is the origin, or they lie in opposite directions.

    References
    ----------
    Book: def-arc, eq-chord-square. White (2016).

    Examples
    --------
    >>> interpolate(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 3, "spherical")
    tensor([[1.0000, 0.0000],
            [0.7071, 0.7071],
            [0.0000, 1.0000]])
    """
    if steps < 2:
        raise ValueError(f"steps is {steps}: a way needs at least its two ends")
    if start.shape != end.shape or start.ndim != 1:
        raise ValueError(
            f"start has shape {tuple(start.shape)}, end {tuple(end.shape)}: give two latents, each (J,)"
        )
    if kind not in get_args(Way):
        raise ValueError(f"{kind!r} is not one of {', '.join(get_args(Way))}")
    a, b = start.double(), end.double()
    t = torch.linspace(0, 1, steps, dtype=torch.float64, device=start.device)[:, None]
    weight_a, weight_b = 1 - t, t
    if kind == "spherical":
        angle = _angle(a, b)
        # sin(t w) / sin(w) as a ratio of sinc, which has its limit t where the ends lie in one direction.
        weight_a, weight_b = (
            weight * torch.sinc(weight * angle / math.pi) / torch.sinc(angle / math.pi)
            for weight in (1 - t, t)
        )
    return (weight_a * a + weight_b * b).to(start.dtype)


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle between two latents, to the last digits also where it is small."""
    if not (a.any() and b.any()):
        raise ValueError('an end of the way is the origin, which has no direction: take kind="linear"')
    a, b = a / a.norm(), b / b.norm()
    angle: Tensor = 2 * torch.atan2((a - b).norm(), (a + b).norm())
    if angle > math.pi - OPPOSITE:
        raise ValueError(
            "the ends lie in opposite directions, and no arc between them is better than another: "
            'take kind="linear", or move one of them'
        )
    return angle


def principal_plane(points: Tensor) -> PrincipalPlane:
    r"""The plane in which points scatter most: their first two principal components.

    .. math::

        S = \frac{1}{N} \sum_{n=1}^{N} (z_n - \bar z)(z_n - \bar z)^\top = U \Lambda U^\top, \qquad
        c_n = U_2^\top (z_n - \bar z), \qquad \lambda_j \Big/ \sum_k \lambda_k

    Eigenvectors have no sign of their own; here each one's largest element is positive, so that the same
    points give the same picture everywhere.

    Parameters
    ----------
    points : Tensor, shape (N, J)
        Means of q(z | x), or draws; J is 2 or more.

    Returns
    -------
    PrincipalPlane
        In float64.

    Raises
    ------
    ValueError
        If the points are not of two or more dimensions, or all of them are the same.

    References
    ----------
    Book: def-data-moments. :mod:`vaelib.linear` has the same components of images.
    """
    if points.ndim != 2 or points.shape[-1] < 2 or not len(points):
        raise ValueError(f"points have shape {tuple(points.shape)}: a plane needs (N, J) with J of 2 or more")
    centre, covariance = moments(points)
    values, vectors = spectrum(covariance)
    if not values.sum() > 0:
        raise ValueError(f"all {len(points)} points are the same or not finite: they name no plane")
    directions = vectors[:, :2].mT
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    directions = directions * largest.sign()
    projected = (points.double() - centre) @ directions.mT
    return PrincipalPlane(directions, projected, values[:2] / values.sum(), centre)
