"""How far one distribution is from another, in nats, one number for each image."""

import torch
from torch import Tensor


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    r"""KL divergence from a diagonal normal distribution to the standard normal one.

    .. math::

        \mathrm{KL}\bigl(\mathcal N(\mu, \operatorname{diag} \sigma^2) \,\|\, \mathcal N(0, I)\bigr)
        = \frac{1}{2} \sum_{j=1}^{J} \left( \mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2 \right)

    Parameters
    ----------
    mean : Tensor, shape (..., J)
        :math:`\mu`.
    log_var : Tensor, shape (..., J)
        :math:`\log \sigma^2`: the logarithm of the variance, not of the standard deviation.

    Returns
    -------
    Tensor, shape (...)
        Nats, never negative, and 0 only at ``mean = 0, log_var = 0``.

    References
    ----------
    Book: eq-gaussian-kl. Kingma and Welling (2014), appendix B.

    Examples
    --------
    >>> gaussian_kl(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
    tensor([0.5000])
    """
    # expm1(v) - v rather than exp(v) - 1 - v: near v = 0 the latter cancels to noise of either sign.
    return 0.5 * (mean.square() + torch.expm1(log_var) - log_var).sum(-1)
