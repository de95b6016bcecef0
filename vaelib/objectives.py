"""The evidence lower bound, kept as its two terms for each image. The mean is taken once, by the caller."""

import math
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
        """The beta-VAE's objective, ``log_likelihood - beta * kl``, shape (B,); the ELBO where beta is 1.

        At 0 the KL term is left out, since it may be infinite: a plain autoencoder's is.
        """
        return self.log_likelihood - beta * self.kl if beta else self.log_likelihood


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
    return terms_of(model, x, mean, log_var, noise)


def terms_of(model: VAE, x: Tensor, mean: Tensor, log_var: Tensor, noise: Tensor) -> ElboTerms:
    r"""Estimate the ELBO of each image for any normal q, the encoder's or another.

    .. math::

        \frac{1}{L} \sum_{l=1}^{L} \log p_\theta(x \mid z_l) - \mathrm{KL}(q(z) \,\|\, p(z)),
        \qquad z_l = \mu + \sigma \odot \epsilon_l

    Parameters
    ----------
    model : VAE
    x : Tensor, shape (B, D)
        Images in [0, 1].
    mean, log_var : Tensor, shape (B, J)
        Of q, image by image.
    noise : Tensor, shape (B, J) or (L, B, J)
        The :math:`\epsilon`, one or L for each image.

    Returns
    -------
    ElboTerms
        Two tensors of shape (B,).

    References
    ----------
    Book: def-sgvb. Kingma and Welling (2014), equation (7).
    """
    draws = noise if noise.ndim > mean.ndim else noise[None]
    output = model.decode(reparameterize(mean, log_var, draws).flatten(0, 1))
    log_likelihood = model.log_likelihood(output, x.expand(len(draws), *x.shape).flatten(0, 1))
    return ElboTerms(log_likelihood.view(len(draws), len(mean)).mean(0), gaussian_kl(mean, log_var))


def floored_kl(mean: Tensor, log_var: Tensor, free_bits: float) -> Tensor:
    r"""KL term in which the first nats of each latent cost nothing, shape (B,).

    .. math::

        \sum_{j=1}^{J} \max\bigl(f, \mathrm{KL}(q(z_j \mid x) \,\|\, p(z_j))\bigr)

    A latent that says less than f feels no pull towards the prior. The maximum is taken image
    by image; Kingma et al. take it of the mean over a batch, which would make the loss depend on the batch.

    Parameters
    ----------
    mean, log_var : Tensor, shape (B, J)
    free_bits : float
        f, in nats, whatever its name says.

    References
    ----------
    Book: eq-free-bits, eq-gaussian-kl. Kingma et al. (2016), equation (15).
    """
    return gaussian_kl(mean[..., None], log_var[..., None]).clamp(min=free_bits).sum(-1)


def importance_weighted_bound(
    model: VAE, x: Tensor, *, draws: int, generator: torch.Generator | None = None, chunk: int = 16
) -> Tensor:
    r"""Estimate the importance-weighted bound of each image: the ELBO at one draw, tighter with every other.

    .. math::

        \widetilde{\mathcal L}_k(x) = \log \frac{1}{k} \sum_{i=1}^{k} w_i, \qquad
        w_i = \frac{p_\theta(x \mid z_i) \, p(z_i)}{q_\phi(z_i \mid x)}, \qquad z_i \sim q_\phi(z \mid x)

    Its mean does not decrease in k and stays below :math:`\log p_\theta(x)`, to which it comes as close as
    :math:`\operatorname{Var}(w) / (2 k \, p_\theta(x)^2)` where q is wide enough for that variance to exist.

    Written as this one logarithm, the gradient that autograd takes is the right one: the draws' gradients,
    weighted with :math:`w_i / \sum_j w_j`. Only where a loss is written as a weighted sum of
    :math:`\log w_i` must the weights be detached.

    Parameters
    ----------
    model : VAE
    x : Tensor, shape (B, D)
        Images in [0, 1].
    draws : int
        k.
    generator : torch.Generator, optional
        Draws the latents; it must live on the device of ``x``. The result does not depend on ``chunk``.
    chunk : int
        How many draws of each image are decoded at once: under ``torch.no_grad()`` the memory grows with
        this and not with ``draws``. For a gradient all of them are kept.

    Returns
    -------
    Tensor, shape (B,)
        Nats.

    Raises
    ------
    ValueError
        If ``draws`` or ``chunk`` is below 1.

    References
    ----------
    Book: def-iwae. Burda, Grosse and Salakhutdinov (2016), equation (8); section 3 for the gradient.
    """
    for name, count in (("draws", draws), ("chunk", chunk)):
        if count < 1:
            raise ValueError(f"{name} is {count}: the bound needs at least one")
    mean, log_var = model.encode(x)
    log_sums = []
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        # A call for each draw, as randn deals its numbers out differently to tensors of another size.
        noise = torch.stack(
            [
                torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
                for _ in range(size)
            ]
        )
        z = reparameterize(mean, log_var, noise)
        output = model.decode(z.flatten(0, 1))
        log_likelihood = model.log_likelihood(output, x.expand(size, *x.shape).flatten(0, 1))
        # Of log p(z) - log q(z | x), where log 2 pi cancels.
        log_ratio = 0.5 * (noise.square() + log_var - z.square()).sum(-1)
        log_sums.append(torch.logsumexp(log_likelihood.view_as(log_ratio) + log_ratio, dim=0))
    return torch.logsumexp(torch.stack(log_sums), dim=0) - math.log(draws)
