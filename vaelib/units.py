"""What one loss says in the units of another: weights as deviations, ranges, bits, and an entropy floor.

Plain numbers, each for one image of ``data_dim`` pixels; only :func:`entropy_floor` takes a tensor, and needs
PyTorch. A range of length ``span`` is [0, 1] where it is 1 and [-1, 1] where it is 2; deviations and squared
errors are those on [0, 1] unless said.
"""

import math
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

Reduction = Literal["sum", "mean"]


def sigma_of_weight(
    weight: float, *, data_dim: int, reduction: Reduction = "sum", span: float = 1.0
) -> float:
    r"""Deviation of the Gaussian decoder that a weighted squared error stands for.

    .. math::

        w \, s^2 \sum_{d=1}^{D} (x_d - \hat x_d)^2 = \frac{1}{2 \sigma^2} \sum_{d=1}^{D} (x_d - \hat x_d)^2
        \qquad \Longleftrightarrow \qquad \sigma = \frac{1}{s \sqrt{2 w}},

    where s is the length of the range that the loss saw, x is on [0, 1], and w / D takes the place of w if
    the loss averages over the D pixels. Up to a constant, the loss ``weight * squared error + KL`` is then
    minus the ELBO of a Gaussian decoder with this deviation.

    Parameters
    ----------
    weight : float
        w, of the squared error, where the KL term has weight 1. A loss with a weight on the KL term is
        divided by it first: ``error + 0.001 * KL`` has w = 1000.
    data_dim : int
        The number D of pixels.
    reduction : {"sum", "mean"}
        What the loss does with the squares of one image.
    span : float
        s: 1 for [0, 1], 2 for [-1, 1].

    Returns
    -------
    float
        :math:`\sigma` on [0, 1].

    Raises
    ------
    ValueError
        If a number is not positive and finite, or the reduction is unknown.

    References
    ----------
    Book: eq-dial.

    Examples
    --------
    >>> sigma_of_weight(0.5, data_dim=784)  # half of the summed squared error: a unit variance
    1.0
    """
    _check(weight=weight, span=span)
    return math.sqrt(_divisor(data_dim, reduction) / (2 * weight)) / span


def weight_of_sigma(sigma: float, *, data_dim: int, reduction: Reduction = "sum", span: float = 1.0) -> float:
    r"""Weight of the squared error that stands for a Gaussian decoder: undoes :func:`sigma_of_weight`.

    .. math::

        w = \frac{1}{2 \sigma^2 s^2}, \quad \text{times } D \text{ if the loss averages over the pixels}

    Parameters
    ----------
    sigma : float
        :math:`\sigma` on [0, 1].
    data_dim, reduction, span
        As in :func:`sigma_of_weight`.

    Returns
    -------
    float
        w, where the KL term has weight 1.

    Raises
    ------
    ValueError
        If a number is not positive and finite, or the reduction is unknown.

    References
    ----------
    Book: eq-dial.

    Examples
    --------
    >>> weight_of_sigma(1.0, data_dim=784, reduction="mean")
    392.0
    """
    _check(sigma=sigma, span=span)
    return _divisor(data_dim, reduction) / (2 * (sigma * span) ** 2)


def beta_of_weight(
    weight: float,
    *,
    squared_error: float,
    data_dim: int,
    reduction: Reduction = "sum",
    span: float = 1.0,
) -> float:
    r"""Weight of the KL term beside a calibrated decoder: the same loss, read as a beta-VAE's.

    .. math::

        \beta = \frac{\sigma^2}{\sigma_*^2}, \qquad
        \sigma_*^2 = \frac{1}{D} \sum_{d=1}^{D} (x_d - \hat x_d)^2

    A Gaussian decoder is calibrated if its variance is the mean squared error per pixel, which maximizes its
    likelihood; with :math:`\sigma` from :func:`sigma_of_weight`, the loss is in proportion to that decoder's
    distortion plus :math:`\beta` times the rate.

    Parameters
    ----------
    weight, data_dim, reduction, span
        As in :func:`sigma_of_weight`.
    squared_error : float
        Summed over the pixels of an image on [0, 1], the mean over images; from another range through
        :func:`squared_error_on_unit_range`.

    Returns
    -------
    float
        :math:`\beta`: above 1 the loss asks for less information in z than the ELBO would.

    Raises
    ------
    ValueError
        If a number is not positive and finite, or the reduction is unknown.

    References
    ----------
    Book: eq-calibrated. Rybkin, Daniilidis and Levine (2021).

    Examples
    --------
    >>> beta_of_weight(0.5, squared_error=98.0, data_dim=784)
    8.0
    """
    _check(squared_error=squared_error)
    sigma = sigma_of_weight(weight, data_dim=data_dim, reduction=reduction, span=span)
    return sigma**2 / (squared_error / data_dim)


def gaussian_nll(squared_error: float, sigma: float, data_dim: int) -> float:
    r"""Minus the log-density of a Gaussian decoder from a squared error, its constant restored.

    .. math::

        -\log p(x \mid z) = \frac{1}{2 \sigma^2} \sum_{d=1}^{D} (x_d - \hat x_d)^2
        + D \log \sigma + \frac{D}{2} \log 2\pi

    Parameters
    ----------
    squared_error : float
        Summed over the pixels of an image on [0, 1]; 0 or more.
    sigma : float
        Of the decoder, on [0, 1].
    data_dim : int
        The number D of pixels.

    Returns
    -------
    float
        Nats, of a density on [0, 1]; it may be negative.

    Raises
    ------
    ValueError
        If a number is out of its range.

    References
    ----------
    Book: eq-gaussian.

    Examples
    --------
    >>> gaussian_nll(0.0, 1.0, 2) / math.log(2 * math.pi)
    1.0
    """
    if squared_error != 0:
        _check(squared_error=squared_error)
    _check(sigma=sigma, data_dim=data_dim)
    return squared_error / (2 * sigma**2) + data_dim * (math.log(sigma) + 0.5 * math.log(2 * math.pi))


def squared_error_on_unit_range(squared_error: float, *, span: float) -> float:
    r"""Bring a squared error to [0, 1] from a range of another length.

    .. math::

        \sum_{d=1}^{D} (x_d - \hat x_d)^2 = \frac{1}{s^2} \sum_{d=1}^{D} (y_d - \hat y_d)^2,
        \qquad y = a + s x

    Parameters
    ----------
    squared_error : float
        On the range of y; a sum or a mean over pixels, and the result is the same.
    span : float
        s, the length of that range: 2 for [-1, 1], 255 for levels of grey.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the span is not positive and finite.

    References
    ----------
    Book: eq-change-of-range.

    Examples
    --------
    >>> squared_error_on_unit_range(8.0, span=2)
    2.0
    """
    _check(span=span)
    return squared_error / span**2


def change_of_range(nats: float, *, data_dim: int, span: float) -> float:
    r"""Bring minus a log-density from [0, 1] to a range of another length.

    .. math::

        -\log p_Y(y) = -\log p_X(x) + D \log s, \qquad y = a + s x

    Parameters
    ----------
    nats : float
        Minus a log-density, or a bound on it, on [0, 1].
    data_dim : int
        The number D of pixels.
    span : float
        s, the length of the other range: 2 for [-1, 1]. ``1 / span`` leads back.

    Returns
    -------
    float
        Nats.

    Raises
    ------
    ValueError
        If ``data_dim`` or ``span`` is not positive and finite.

    References
    ----------
    Book: eq-change-of-range.

    Examples
    --------
    >>> change_of_range(0.0, data_dim=3, span=2) / math.log(2)
    3.0
    """
    _check(data_dim=data_dim, span=span)
    return nats + data_dim * math.log(span)


def minus_elbo_of_loss(
    total: float,
    *,
    weight: float,
    kl_weight: float = 1.0,
    data_dim: int,
    reduction: Reduction = "sum",
    span: float = 1.0,
) -> float:
    r"""Minus the ELBO of the Gaussian decoder that a loss stands for, from what its code reports.

    .. math::

        -\log p(x \mid z) + \mathrm{KL} = \frac{T}{\kappa} + \frac{D}{2} \log 2 \pi \sigma^2, \qquad
        T = w \cdot \text{squared error} + \kappa \, \mathrm{KL}

    Parameters
    ----------
    total : float
        T, as reported: the weighted squared error plus the weighted KL term, the mean over images.
    weight, kl_weight : float
        w and :math:`\kappa`, as they stand in the code.
    data_dim, reduction, span
        As in :func:`sigma_of_weight`.

    Returns
    -------
    float
        Nats, of a density on [0, 1]; it may be negative.

    Raises
    ------
    ValueError
        If a weight or the span is not positive and finite, or the reduction is unknown.

    References
    ----------
    Book: eq-one-loss.

    Examples
    --------
    >>> minus_elbo_of_loss(3.0, weight=math.pi, data_dim=784)  # a density that is at most 1
    3.0
    """
    _check(weight=weight, kl_weight=kl_weight)
    sigma = sigma_of_weight(weight / kl_weight, data_dim=data_dim, reduction=reduction, span=span)
    return total / kl_weight + gaussian_nll(0.0, sigma, data_dim)


def squared_error_bound(cross_entropy: float, floor: float) -> float:
    r"""The most that a squared error can be, of a decoder of coins with this cross-entropy.

    .. math::

        \sum_{d=1}^{D} (x_d - \pi_d)^2 \le \frac{1}{2} \bigl( \text{cross-entropy} - H(x) \bigr)

    Parameters
    ----------
    cross_entropy : float
        Of grey pixels, summed over an image: nats. For means over images the bound holds as well.
    floor : float
        H(x) of the same images, from :func:`entropy_floor`.

    Returns
    -------
    float
        On [0, 1], summed over pixels.

    Raises
    ------
    ValueError
        If the cross-entropy is below its floor.

    References
    ----------
    Book: eq-coin-price.

    Examples
    --------
    >>> squared_error_bound(100.0, 40.0)
    30.0
    """
    if not cross_entropy >= floor:
        raise ValueError(f"a cross-entropy of {cross_entropy} nats is below its floor, {floor}")
    return (cross_entropy - floor) / 2


def level_bound(nats: float, *, sigma: float, data_dim: int, levels: int = 256) -> float:
    r"""Bound minus the log-probability of an image that is stored in levels of grey, from a density.

    .. math::

        -\log \int_{\text{bin of } x} p(u \mid z) \, du
        \le -\log p(x \mid z) - D \log h + \frac{D h^2}{24 \sigma^2}, \qquad h = \frac{1}{K - 1}

    Parameters
    ----------
    nats : float
        :math:`-\log p(x \mid z)` of a Gaussian decoder on [0, 1], its constant included. With the KL term
        added, that is with minus an ELBO, the result bounds minus the logarithm of what is left when z is
        averaged out.
    sigma : float
        Of the decoder, on [0, 1].
    data_dim : int
        The number D of pixels.
    levels : int
        K, from 0 to 1 in equal steps of h; each level stands for the bin of width h around it.

    Returns
    -------
    float
        Nats, of a mass.

    Raises
    ------
    ValueError
        If a number is out of its range.

    References
    ----------
    Book: eq-level-bound. Theis, van den Oord and Bethge (2016), section 3.1.

    Examples
    --------
    >>> level_bound(0.0, sigma=1.0, data_dim=24, levels=2)  # bins of width 1
    1.0
    """
    _check(sigma=sigma, data_dim=data_dim)
    if levels < 2:
        raise ValueError(f"levels is {levels}: there are at least two")
    h = 1 / (levels - 1)
    return change_of_range(nats, data_dim=data_dim, span=levels - 1) + data_dim * h**2 / (24 * sigma**2)


def bits_per_dim(nats: float, data_dim: int) -> float:
    r"""Nats per image as bits per pixel.

    .. math::

        b = \frac{-\log p(x)}{D \log 2}

    Published values for pixels of 256 levels are those of a density on [0, 256]: bring it there first with
    ``change_of_range(nats, data_dim=..., span=256)``, which adds 8 bits.

    Parameters
    ----------
    nats : float
        Minus a log-probability or log-density of an image.
    data_dim : int
        The number D of pixels.

    Returns
    -------
    float
        Bits.

    Raises
    ------
    ValueError
        If ``data_dim`` is not positive.

    References
    ----------
    Theis, van den Oord and Bethge (2016), section 3.1.

    Examples
    --------
    >>> bits_per_dim(784 * math.log(2), 784)  # a coin for each pixel
    1.0
    """
    _check(data_dim=data_dim)
    return nats / (data_dim * math.log(2))


def entropy_floor(x: "Tensor") -> "Tensor":
    r"""Entropy of grey pixels read as coins: what no Bernoulli decoder's distortion can go below.

    .. math::

        H(x) = -\sum_{d=1}^{D} x_d \log x_d + (1 - x_d) \log (1 - x_d)

    Parameters
    ----------
    x : Tensor, shape (..., D)
        Pixels in [0, 1].

    Returns
    -------
    Tensor, shape (...)
        Nats; 0 for black and white images.

    Raises
    ------
    ValueError
        If a pixel lies outside [0, 1].

    References
    ----------
    Book: eq-entropy-floor.

    Examples
    --------
    >>> import torch
    >>> entropy_floor(torch.tensor([[0.0, 0.5, 1.0]])) / math.log(2)
    tensor([1.])
    """
    import torch

    if not ((x >= 0) & (x <= 1)).all():
        raise ValueError(f"pixels reach from {x.min():.3g} to {x.max():.3g}: a coin needs them in [0, 1]")
    entropy: Tensor = torch.special.entr(x) + torch.special.entr(1 - x)
    return entropy.sum(-1)


def _divisor(data_dim: int, reduction: Reduction) -> int:
    """Return what the loss divides the sum of squares by."""
    _check(data_dim=data_dim)
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction is {reduction!r}: it must be one of {', '.join(get_args(Reduction))}")
    return data_dim if reduction == "mean" else 1


def _check(**numbers: float) -> None:
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name} is {number}: it must be a positive number")
