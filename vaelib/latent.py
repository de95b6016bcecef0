"""Places in the latent space worth decoding."""

from typing import get_args

import torch
from torch import Tensor

from vaelib.settings import Grid


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
