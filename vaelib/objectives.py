"""The evidence lower bound, kept as its two terms for each image. The mean is taken once, by the caller."""

from typing import NamedTuple

import torch
from torch import Tensor

from vaelib.divergences import gaussian_kl
from vaelib.models import VAE, reparameterize


class ElboTerms(NamedTuple):
    r"""The two terms of the ELBO, in nats, each of shape (B,).

    .. math::

        \mathcal L(x) = \underbrace{\mathbb E_{q(z \mid x)}[\log p(x \mid z)]}_{-\text{distortion}}
        - \underbrace{\mathrm{KL}(q(z \mid x) \,\|\, p(z))}_{\text{rate}}

    References
    ----------
    Book: eq-elbo. Kingma and Welling (2014), equation (3).
    """

    log_likelihood: Tensor
    kl: Tensor

    @property
    def elbo(self) -> Tensor:
        """The evidence lower bound, shape (B,)."""
        return self.log_likelihood - self.kl

    @property
    def distortion(self) -> Tensor:
        """What a reconstruction costs: minus the log-likelihood, shape (B,)."""
        return -self.log_likelihood

    @property
    def rate(self) -> Tensor:
        """What the latent costs: the KL term, shape (B,)."""
        return self.kl

    def weighted(self, beta: float) -> Tensor:
        """The beta-VAE's objective, ``log_likelihood - beta * kl``, shape (B,); the ELBO where beta is 1."""
        return self.log_likelihood - beta * self.kl


def elbo_terms(
    model: VAE, x: Tensor, *, generator: torch.Generator | None = None, noise: Tensor | None = None
) -> ElboTerms:
    r"""Estimate the ELBO of each image with one draw of z; the KL term is exact.

    .. math::

        \widetilde{\mathcal L}(x) = \log p_\theta(x \mid z) - \mathrm{KL}(q_\phi(z \mid x) \,\|\, p(z)),
        \qquad z = \mu_\phi(x) + \sigma_\phi(x) \odot \epsilon

    It draws in ``eval()`` mode too: without a draw it would not be an estimate of the ELBO.

    Parameters
    ----------
    model : VAE
    x : Tensor, shape (B, D)
        Images in [0, 1].
    generator : torch.Generator, optional
        Draws :math:`\epsilon`; it must live on the device of ``x``.
    noise : Tensor, shape (B, J), optional
        The :math:`\epsilon` to use instead of drawing.

    Returns
    -------
    ElboTerms
        Two tensors of shape (B,): nothing here depends on the size of the batch.

    References
    ----------
    Book: def-sgvb. Kingma and Welling (2014), equation (7), their second estimator with L = 1.
    """
    mean, log_var = model.encode(x)
    if noise is None:
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    z = reparameterize(mean, log_var, noise)
    return ElboTerms(log_likelihood=model.log_likelihood(model.decode(z), x), kl=gaussian_kl(mean, log_var))
