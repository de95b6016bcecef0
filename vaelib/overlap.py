"""Which classes lie over each other: in a latent space or among pixels, by neighbours and by densities.

Nothing here knows a model. Points are means of q(z | x), draws, or images as rows of pixels; labels are
classes counted from 0, and every class up to the largest must occur. Results are float64 and on the CPU.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vaelib.divergences import cholesky_factors

# Distances held at a time: rows of points against all others.
ROWS = 500
# How far from 1 the mass of a class may come out before its grid is called too coarse.
LOST = 1e-3


class ClassDensities(NamedTuple):
    """What q(z) of each class is over the cells of a plane.

    ``across`` (P,) and ``up`` (P,) are the cells' middles along both latents; ``mass`` (C, P, P) is the
    probability of each cell, its rows upwards. Each class sums to 1.
    """

    across: Tensor
    up: Tensor
    mass: Tensor


class Overlap(NamedTuple):
    """How alike any two of C distributions are, (C, C): the best guess's error, and Bhattacharyya's."""

    error: Tensor
    coefficient: Tensor


class Moments(NamedTuple):
    """Means (C, J) and covariances (C, J, J) of the classes, divided by their number of points."""

    mean: Tensor
    covariance: Tensor


class Pair(NamedTuple):
    """Two classes, ``first`` < ``second``, and what a table says of them."""

    first: int
    second: int
    value: float


# --- by neighbours ----------------------------------------------------------------------------------------


def neighbours(points: Tensor, count: int) -> Tensor:
    r"""The nearest other points of each point.

    .. math::

        \operatorname*{arg\,min}_{m \ne n} \|z_n - z_m\|, \quad \text{and the next ones}

    Exact, by all :math:`N^2` distances.

    Parameters
    ----------
    points : Tensor, shape (N, J)
    count : int
        How many, below N.

    Returns
    -------
    Tensor, shape (N, count)
        Positions, the nearest first.

    Raises
    ------
    ValueError
        If there are not so many others.
    """
    if not 1 <= count < len(points):
        raise ValueError(f"count is {count}: {len(points)} points have 1 to {len(points) - 1} others")
    z = points.detach().cpu().double()
    z = z - z.mean(0)  # squares are expanded below: the smaller they are, the less is lost
    squares = z.square().sum(1)
    nearest = []
    for rows in torch.split(torch.arange(len(z)), ROWS):
        distance = squares - 2 * z[rows] @ z.T  # but for the point's own square, the same in its row
        distance[torch.arange(len(rows)), rows] = math.inf
        nearest.append(distance.topk(count, dim=1, largest=False).indices)
    return torch.cat(nearest)


def guesses(points: Tensor, labels: Tensor, *, count: int = 15) -> Tensor:
    """Guess the class of each point from its nearest neighbours: most of them decide.

    The point itself has no voice. In a tie the class with the nearest of its voices wins.

    Parameters
    ----------
    points : Tensor, shape (N, J)
    labels : Tensor, shape (N,)
    count : int
        How many neighbours are asked.

    Returns
    -------
    Tensor, shape (N,)
        Classes.

    Raises
    ------
    ValueError
        If there are not as many labels as points, or not enough points.

    References
    ----------
    Cover and Hart (1967): as the points become many, a single neighbour errs at most twice as often as who
    knows the densities.
    """
    labels, classes = _classes(points, labels)
    asked = labels[neighbours(points, count)]
    # One voice each, and on top 1/2, 1/4, ...: together below one voice, and the nearest outweighs the rest.
    voices = 1 + torch.exp2(-torch.arange(1, count + 1, dtype=torch.float64))
    votes = torch.zeros(len(points), classes, dtype=torch.float64)
    return votes.scatter_add_(1, asked, voices.expand_as(asked)).argmax(1)


def pair_error(points: Tensor, labels: Tensor, first: int, second: int, *, count: int = 15) -> float:
    """How often the nearest neighbours take one of two classes for the other, no other class being there.

    Parameters
    ----------
    points : Tensor, shape (N, J)
    labels : Tensor, shape (N,)
    first, second : int
        The two classes.
    count : int
        As for :func:`guesses`.

    Returns
    -------
    float
        The mean of both classes' shares of wrong guesses: 1/2 where nothing tells them apart.

    Raises
    ------
    ValueError
        If one of the two does not occur.

    References
    ----------
    Book: eq-best-guess, of which it is an estimate, a little too large.
    """
    both = (labels == first) | (labels == second)
    is_second = (labels[both] == second).long()
    if first == second or not (is_second.any() and (1 - is_second).any()):
        raise ValueError(f"classes {first} and {second}: two different ones that occur are needed")
    shares = confusion(is_second, guesses(points[both], is_second, count=count))
    return float((shares[0, 1] + shares[1, 0]) / 2)


def confusion(labels: Tensor, guessed: Tensor) -> Tensor:
    """Share of each class that was taken for each class.

    Parameters
    ----------
    labels, guessed : Tensor, shape (N,)

    Returns
    -------
    Tensor, shape (C, C)
        Row a, column b: of the images of class a, the share guessed to be b. Rows sum to 1.

    Raises
    ------
    ValueError
        If the shapes differ, or a class does not occur.
    """
    labels, classes = _classes(guessed, labels)
    classes = max(classes, int(guessed.max()) + 1)
    counts = torch.bincount(labels * classes + guessed.cpu().long(), minlength=classes**2).double()
    counts = counts.reshape(classes, classes)
    return counts / counts.sum(1, keepdim=True)


# --- by densities -----------------------------------------------------------------------------------------


def class_densities(mean: Tensor, log_var: Tensor, labels: Tensor, *, points: int = 300) -> ClassDensities:
    r"""The aggregate posterior of each class, over a grid that holds all of it.

    .. math::

        q(z \mid c) = \frac{1}{N_c} \sum_{n :\, c_n = c} \mathcal N(z; \mu_n, \operatorname{diag} \sigma_n^2)

    No width has to be chosen, as for a kernel density estimate: the encoder gives one for each image. Since
    each term is a product, the sum at :math:`P^2` points is one product of matrices.

    Parameters
    ----------
    mean, log_var : Tensor, shape (N, 2)
        Of q(z | x).
    labels : Tensor, shape (N,)
    points : int
        Cells along each axis, P. A step of the grid should not exceed the narrowest deviations by much.

    Returns
    -------
    ClassDensities

    Raises
    ------
    ValueError
        If there are not two latents, the shapes do not fit, or the grid is so coarse that a class does not
        sum to 1: give more points.

    References
    ----------
    Book: def-aggregate.
    """
    if mean.ndim != 2 or mean.shape[1] != 2 or mean.shape != log_var.shape:
        raise ValueError(
            f"mean is {tuple(mean.shape)}, log_var {tuple(log_var.shape)}: densities over a plane need (N, 2)"
        )
    labels, classes = _classes(mean, labels)
    centre = mean.detach().cpu().double()
    deviation = torch.exp(0.5 * log_var.detach().cpu().double())
    low, high = (centre - 6 * deviation).amin(0), (centre + 6 * deviation).amax(0)
    axes, weights = [], []
    for j in range(2):
        edges = torch.linspace(low[j], high[j], points + 1, dtype=torch.float64)
        middles, step = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
        scaled = (middles[:, None] - centre[:, j]) / deviation[:, j]
        axes.append(middles)
        weights.append(step * torch.exp(-0.5 * scaled.square()) / (deviation[:, j] * math.sqrt(2 * math.pi)))
    across, up = weights
    mass = torch.stack([up[:, labels == c] @ across[:, labels == c].T for c in range(classes)])
    mass /= torch.bincount(labels)[:, None, None]
    total = mass.sum((1, 2))
    if (total - 1).abs().max() > LOST:
        worst = int((total - 1).abs().argmax())
        raise ValueError(
            f"class {worst} sums to {total[worst].item():.4f} over {points} points a side: "
            "a deviation is narrower than a step, so give more points"
        )
    return ClassDensities(axes[0], axes[1], mass / total[:, None, None])


def overlap(mass: Tensor) -> Overlap:
    r"""How alike any two of some distributions are: how badly one can tell which of them a draw came from.

    .. math::

        \frac{1}{2} \sum_k \min(p_k, q_k), \qquad \sum_k \sqrt{p_k q_k}

    The first is how often the best guess errs if both are equally common: 1/2 if they are the same, 0 if
    they never meet. The second lies between 0 and 1 in the same order, and bounds the first.

    Parameters
    ----------
    mass : Tensor, shape (C, ...)
        Probabilities of the same cells under C distributions.

    Returns
    -------
    Overlap

    References
    ----------
    Book: eq-best-guess, def-bhattacharyya, eq-guess-above, eq-guess-below.
    """
    flat = mass.detach().cpu().double().flatten(1)
    roots = flat.sqrt()
    error = torch.stack([0.5 * torch.minimum(row, flat).sum(1) for row in flat])
    return Overlap(error, (roots @ roots.T).clamp(max=1))


def error_bounds(coefficient: Tensor) -> tuple[Tensor, Tensor]:
    r"""Between what the best guess's error lies, from Bhattacharyya's coefficient.

    .. math::

        \frac{1}{2} \Bigl( 1 - \sqrt{1 - \mathrm{BC}^2} \Bigr) \le \frac{1}{2} (1 - \mathrm{TV})
        \le \frac{1}{2} \mathrm{BC}

    Parameters
    ----------
    coefficient : Tensor
        In [0, 1].

    Returns
    -------
    low, high : Tensor

    References
    ----------
    Book: eq-guess-above, eq-guess-below. Kailath (1967).
    """
    square = coefficient.square()
    # 1 - sqrt(1 - b) as b / (1 + sqrt(1 - b)): no digits are lost where the coefficient is small.
    return 0.5 * square / (1 + torch.sqrt(1 - square)), 0.5 * coefficient


# --- by moments -------------------------------------------------------------------------------------------


def class_moments(points: Tensor, labels: Tensor, *, log_var: Tensor | None = None) -> Moments:
    r"""Mean and covariance of each class.

    .. math::

        \mu_c = \frac{1}{N_c} \sum_n z_n, \qquad
        \Sigma_c = \frac{1}{N_c} \sum_n (z_n - \mu_c) (z_n - \mu_c)^\top
        + \frac{1}{N_c} \sum_n \operatorname{diag} \sigma_n^2

    Parameters
    ----------
    points : Tensor, shape (N, J)
    labels : Tensor, shape (N,)
    log_var : Tensor, shape (N, J), optional
        Of q(z | x): the moments are then those of q(z | c), widths included, and else those of the points.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a class does not occur.

    References
    ----------
    Book: eq-aggregate-variance, as a matrix.
    """
    labels, classes = _classes(points, labels)
    z = points.detach().cpu().double()
    means, covariances = [], []
    for c in range(classes):
        own = z[labels == c]
        means.append(own.mean(0))
        centred = own - means[-1]
        covariance = centred.T @ centred / len(own)
        if log_var is not None:
            covariance += log_var.detach().cpu()[labels == c].double().exp().mean(0).diag()
        covariances.append(covariance)
    return Moments(torch.stack(means), torch.stack(covariances))


def gaussian_bhattacharyya(
    mean_q: Tensor, covariance_q: Tensor, mean_p: Tensor, covariance_p: Tensor
) -> Tensor:
    r"""Bhattacharyya coefficient of two normal distributions.

    .. math::

        \log \mathrm{BC}(q, p) = -\frac{1}{8} (\mu_q - \mu_p)^\top \Sigma^{-1} (\mu_q - \mu_p)
        - \frac{1}{2} \log \frac{|\Sigma|}{\sqrt{|\Sigma_q| \, |\Sigma_p|}},
        \qquad \Sigma = \frac{1}{2} (\Sigma_q + \Sigma_p)

    Parameters
    ----------
    mean_q, mean_p : Tensor, shape (..., J)
    covariance_q, covariance_p : Tensor, shape (..., J, J)
        Symmetric and positive definite. Leading dimensions broadcast.

    Returns
    -------
    Tensor, shape (...)
        Between 0 and 1.

    Raises
    ------
    ValueError
        If shapes do not fit, or a covariance is not symmetric or not positive definite.

    References
    ----------
    Book: eq-gaussian-bhattacharyya, in one dimension. Kailath (1967).

    Examples
    --------
    >>> zero, one = torch.zeros(1), torch.eye(1)
    >>> gaussian_bhattacharyya(zero, one, zero + 2, one).log()
    tensor(-0.5000)
    """
    factor_q, factor_p = cholesky_factors(mean_q, covariance_q, mean_p, covariance_p)
    middle = torch.linalg.cholesky((covariance_q + covariance_p) / 2)
    shift = torch.linalg.solve_triangular(middle, (mean_q - mean_p).unsqueeze(-1), upper=False)

    def half_log_det(factor: Tensor) -> Tensor:
        return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    width = half_log_det(middle) - 0.5 * (half_log_det(factor_q) + half_log_det(factor_p))
    return torch.exp(-0.125 * shift.square().sum((-2, -1)) - width)


# --- tables of classes ------------------------------------------------------------------------------------


def pairs(table: Tensor) -> list[Pair]:
    """The pairs of different classes by what a table says of them both ways, the largest first.

    Parameters
    ----------
    table : Tensor, shape (C, C)
        The value of a pair is the mean of its two entries.

    Returns
    -------
    list of Pair
    """
    both = ((table + table.T) / 2).tolist()
    found = [Pair(a, b, both[a][b]) for b in range(len(both)) for a in range(b)]
    return sorted(found, key=lambda pair: -pair.value)


def _classes(points: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    """Labels on the CPU, and the number of classes; ValueError where they do not fit or one is missing."""
    labels = labels.detach().cpu().long()
    if labels.ndim != 1 or len(labels) != len(points) or not len(labels):
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}, and there are {len(points)} rows: give one for each"
        )
    counts = torch.bincount(labels)
    if not counts.all():
        raise ValueError(f"no label is {int((counts == 0).nonzero()[0])}: classes are counted from 0 on")
    return labels, len(counts)
