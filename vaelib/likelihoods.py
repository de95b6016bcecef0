"""What the decoder says about an image: log p(x | z) in nats, one number for each image.

The last dimension holds the pixels and is summed over; all others, the batch first among them, are kept.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def bernoulli_log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    r"""Log-likelihood of pixels under independent Bernoulli distributions.

    .. math::

        \log p(x \mid z) = \sum_{d=1}^{D} x_d \log \pi_d + (1 - x_d) \log (1 - \pi_d),
        \qquad \pi_d = \frac{1}{1 + e^{-\ell_d}}

    Computed from the logits, so that it stays finite where the probability rounds to 0 or 1.

    Parameters
    ----------
    logits : Tensor, shape (..., D)
        The decoder's output :math:`\ell`.
    x : Tensor, shape (..., D)
        Pixels in [0, 1]. Grey ones are allowed: the result is then the mean log-likelihood over images
        drawn by throwing a coin for each pixel, and its maximum is minus the entropy of the pixels, not 0.

    Returns
    -------
    Tensor, shape (...)
        Nats.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    Book: eq-bernoulli. Kingma and Welling (2014), appendix C.1.

    Examples
    --------
    >>> bernoulli_log_likelihood(torch.zeros(1, 2), torch.ones(1, 2)) / math.log(0.5)
    tensor([2.])
    """
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def gaussian_log_likelihood(mean: Tensor, x: Tensor, log_var: Tensor) -> Tensor:
    r"""Log-density of pixels under independent normal distributions.

    .. math::

        \log p(x \mid z) = -\frac{1}{2} \sum_{d=1}^{D} \left( \frac{(x_d - \mu_d)^2}{\sigma_d^2}
        + \log \sigma_d^2 + \log 2\pi \right)

    It keeps the constant, so that it is a density and comparable between variances.

    Parameters
    ----------
    mean : Tensor, shape (..., D)
        The decoder's output :math:`\mu`.
    x : Tensor, shape (..., D)
        Pixels.
    log_var : Tensor, broadcastable to (..., D)
        :math:`\log \sigma^2`; a scalar for one variance shared by all pixels.

    Returns
    -------
    Tensor, shape (...)
        Nats. A density may exceed 1, so this may be positive.

    Raises
    ------
    ValueError
        If the shapes of ``mean`` and ``x`` differ.

    References
    ----------
    Book: eq-gaussian. Kingma and Welling (2014), appendix C.2.
    """
    if mean.shape != x.shape:
        raise ValueError(f"mean has shape {tuple(mean.shape)}, x has {tuple(x.shape)}: they must agree")
    squared_error = (x - mean).square()
    return -0.5 * (squared_error * torch.exp(-log_var) + log_var + math.log(2 * math.pi)).sum(-1)
