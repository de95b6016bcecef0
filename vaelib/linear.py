"""The linear VAE in closed form: what the best linear decoder and encoder reach, with nothing trained.

A linear decoder with normal noise is probabilistic PCA. Everything about it follows from S, the covariance of
the data about their mean, and all results are means over images, in nats, computed in float64.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Images that are turned into float64 at once: 6 MB each thousand, instead of 376 MB for all of MNIST.
_CHUNK = 4096


class Moments(NamedTuple):
    """The mean image (D,), and the covariance of the images about it (D, D)."""

    mean: Tensor
    covariance: Tensor


class Spectrum(NamedTuple):
    """Eigenvalues, the largest first, (D,), and their eigenvectors as columns (D, D)."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class Decoder(NamedTuple):
    r"""The decoder :math:`p(x \mid z) = \mathcal N(W z + \bar x, \sigma^2 I)`.

    ``weight`` (D, J) is W, ``variance`` () is :math:`\sigma^2`.
    """

    weight: Tensor
    variance: Tensor


class Encoder(NamedTuple):
    r"""The encoder :math:`q(z \mid x) = \mathcal N(V (x - \bar x), \operatorname{diag} d)`.

    ``weight`` (J, D) is V, ``variances`` (J,) are d: the same for every image.
    """

    weight: Tensor
    variances: Tensor


class Terms(NamedTuple):
    """The two terms of the ELBO: ``distortion`` () in all, and the ``rate`` (J,) of each latent."""

    distortion: Tensor
    rate: Tensor

    @property
    def elbo(self) -> Tensor:
        """The evidence lower bound, a mean over images."""
        return -(self.distortion + self.rate.sum())


def moments(x: Tensor) -> Moments:
    r"""Mean and covariance of images.

    .. math::

        \bar x = \frac{1}{N} \sum_{i=1}^{N} x_i, \qquad
        S = \frac{1}{N} \sum_{i=1}^{N} (x_i - \bar x)(x_i - \bar x)^\top

    Parameters
    ----------
    x : Tensor, shape (N, D)
        Of any floating type; the sums are taken in float64.

    Examples
    --------
    >>> moments(torch.tensor([[0.0, 1.0], [2.0, 1.0]])).covariance
    tensor([[1., 0.],
            [0., 0.]], dtype=torch.float64)
    """
    mean = x.mean(0, dtype=torch.float64)
    total = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64, device=x.device)
    for part in torch.split(x, _CHUNK):
        centred = part.double() - mean
        total.addmm_(centred.mT, centred)
    return Moments(mean, total / len(x))


def spectrum(covariance: Tensor) -> Spectrum:
    r"""Principal components: :math:`S = U \Lambda U^\top`, the largest eigenvalue first.

    Parameters
    ----------
    covariance : Tensor, shape (D, D)
        S.
    """
    values, vectors = torch.linalg.eigh(covariance.double())
    return Spectrum(values.flip(0).clamp(min=0), vectors.flip(1))


def evidence(covariance: Tensor, decoder: Decoder) -> Tensor:
    r"""Mean log-evidence of the data under a linear decoder, exactly.

    .. math::

        \frac{1}{N} \sum_{i=1}^{N} \log p(x_i)
        = -\frac{1}{2} \left( D \log 2 \pi + \log |C| + \operatorname{tr}(C^{-1} S) \right),
        \qquad C = W W^\top + \sigma^2 I

    Parameters
    ----------
    covariance : Tensor, shape (D, D)
        S, of data about the mean that the decoder adds.
    decoder : Decoder

    Returns
    -------
    Tensor, shape ()
        Nats for an image.

    References
    ----------
    Book: eq-ppca-evidence. Tipping and Bishop (1999), section 3.
    """
    weight, variance = decoder
    size = covariance.shape[-1]
    model = weight @ weight.mT + variance * torch.eye(size, dtype=weight.dtype, device=weight.device)
    factor = torch.linalg.cholesky(model)
    log_determinant = 2 * factor.diagonal().log().sum()
    trace = torch.cholesky_solve(covariance, factor).trace()
    total: Tensor = size * math.log(2 * math.pi) + log_determinant + trace
    return -0.5 * total


def maximum_likelihood(
    covariance: Tensor,
    latent_dim: int,
    *,
    variance: float | None = None,
    rotation: Tensor | None = None,
) -> Decoder:
    r"""The decoder under which the data are most probable.

    .. math::

        W^\star = U_J (\Lambda_J - \sigma^2 I)_+^{1/2} R

    Latents whose eigenvalue is not above :math:`\sigma^2` get nothing: their column of :math:`W^\star R^\top`
    is 0, and no term of any loss but the likelihood asked for it.

    Parameters
    ----------
    covariance : Tensor, shape (D, D)
        S.
    latent_dim : int
        J.
    variance : float, optional
        :math:`\sigma^2`. Without one it is learned too: :func:`best_variance`.
    rotation : Tensor, shape (J, J), optional
        R. The evidence is the same for each; the ELBO is largest without one.

    References
    ----------
    Book: def-ppca-weight. Tipping and Bishop (1999), section 3.2.
    """
    values, vectors = spectrum(covariance)
    noise = best_variance(values, latent_dim) if variance is None else values.new_tensor(variance)
    lengths = (values[:latent_dim] - noise).clamp(min=0).sqrt()
    weight = vectors[:, :latent_dim] * lengths
    return Decoder(weight if rotation is None else weight @ rotation, noise)


def best_variance(eigenvalues: Tensor, latent_dim: int) -> Tensor:
    r"""The noise variance of maximum likelihood: the mean of the eigenvalues that no latent takes.

    .. math::

        \sigma_\star^2 = \frac{1}{D - J} \sum_{j=J+1}^{D} \lambda_j

    A mean of eigenvalues that are all below the others, so that with it no latent dies.

    Parameters
    ----------
    eigenvalues : Tensor, shape (D,)
        The largest first.
    latent_dim : int
        J, below D.

    Raises
    ------
    ValueError
        If no eigenvalue is left.

    References
    ----------
    Book: eq-best-variance. Tipping and Bishop (1999), section 3.2.
    """
    if not 0 < latent_dim < len(eigenvalues):
        raise ValueError(
            f"latent_dim is {latent_dim} with {len(eigenvalues)} dimensions: the noise needs at least one of "
            "them, and so does the latent"
        )
    return eigenvalues[latent_dim:].mean()


def best_encoder(decoder: Decoder) -> Encoder:
    r"""The diagonal normal encoder that comes nearest to the posterior, for every image at once.

    .. math::

        V^\star = M^{-1} W^\top, \qquad d^\star_j = \frac{\sigma^2}{\|w_j\|^2 + \sigma^2},
        \qquad M = W^\top W + \sigma^2 I

    References
    ----------
    Book: eq-linear-encoder. Lucas et al. (2019).
    """
    weight, variance = decoder
    precision = _precision(decoder)
    return Encoder(torch.linalg.solve(precision, weight.mT), variance / precision.diagonal())


def terms(covariance: Tensor, decoder: Decoder, encoder: Encoder) -> Terms:
    r"""Both terms of the ELBO for any linear decoder and encoder, nothing drawn.

    .. math::

        \text{distortion} &= \frac{D}{2} \log 2 \pi \sigma^2 + \frac{1}{2 \sigma^2} \operatorname{tr}\bigl(
        (I - W V) S (I - W V)^\top + W \operatorname{diag}(d) W^\top \bigr) \\
        \text{rate}_j &= \frac{1}{2} \left( (V S V^\top)_{jj} + d_j - 1 - \log d_j \right)

    Parameters
    ----------
    covariance : Tensor, shape (D, D)
        S, of data about the mean that the encoder takes away and the decoder adds.
    decoder : Decoder
    encoder : Encoder

    References
    ----------
    Book: eq-linear-terms.
    """
    weight, variance = decoder
    rows, variances = encoder
    size = covariance.shape[-1]
    missed = torch.eye(size, dtype=weight.dtype, device=weight.device) - weight @ rows
    squared_error = ((missed @ covariance) * missed).sum() + (weight.square() * variances).sum()
    distortion = 0.5 * size * torch.log(2 * math.pi * variance) + squared_error / (2 * variance)
    spread = ((rows @ covariance) * rows).sum(-1)
    return Terms(distortion, 0.5 * (spread + variances - 1 - variances.log()))


def rotation_gap(decoder: Decoder) -> Tensor:
    r"""What the best diagonal encoder falls short of the evidence, in nats, the same for every image.

    .. math::

        \log p(x) - \mathcal L(x) = \frac{1}{2} \log \frac{\prod_{j=1}^{J} (\|w_j\|^2 + \sigma^2)}{|M|},
        \qquad M = W^\top W + \sigma^2 I

    Never negative, and 0 if the columns of W are orthogonal.

    References
    ----------
    Book: eq-diagonal-gap.
    """
    precision = _precision(decoder)
    return 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))


def rates(eigenvalues: Tensor, variance: float | Tensor) -> Tensor:
    r"""Rate of each direction in the best model: reverse water-filling.

    .. math::

        r_j = \max \left( 0, \frac{1}{2} \log \frac{\lambda_j}{\sigma^2} \right)

    Parameters
    ----------
    eigenvalues : Tensor, shape (...)
        :math:`\lambda`.
    variance : float or Tensor
        :math:`\sigma^2`, the water level.

    Returns
    -------
    Tensor, shape (...)
        Nats.

    References
    ----------
    Book: eq-water-filling. Cover and Thomas (2006), section 10.3.3.

    Examples
    --------
    >>> rates(torch.tensor([math.e**2, 1.0, 0.5]), 1.0)
    tensor([1., 0., 0.])
    """
    return 0.5 * (eigenvalues / variance).clamp(min=1).log()


def floored_rates(eigenvalues: Tensor, variance: float | Tensor, free: float, *, beta: float = 1.0) -> Tensor:
    r"""Rate of each direction if a latent may say so many nats of it at no price: the water, and a floor.

    .. math::

        R^\star_j = \max \left( f, \frac{1}{2} \log \frac{\lambda_j}{\beta \sigma^2} \right)

    It is where the distortion of a direction and the price of its rate are least together. What is left of
    its squared error then is :math:`\lambda_j e^{-2 R^\star_j}`, and no latent dies, however high the water.
    The floor is one of the mean rate over images, as in Kingma et al. (2016).

    Parameters
    ----------
    eigenvalues : Tensor, shape (...)
        :math:`\lambda`, each with a latent of its own.
    variance : float or Tensor
        :math:`\sigma^2`.
    free : float
        f, in nats; at 0 these are the :func:`rates` at the level :math:`\beta \sigma^2`.
    beta : float
        Price of each nat above f.

    Returns
    -------
    Tensor, shape (...)
        Nats.

    References
    ----------
    Book: eq-free-rate. Kingma et al. (2016), equation (15), for the floor.

    Examples
    --------
    >>> floored_rates(torch.tensor([math.e**2, 1.0, 0.5]), 1.0, 0.25)
    tensor([1.0000, 0.2500, 0.2500])
    """
    return rates(eigenvalues, beta * variance).clamp(min=free)


def squared_errors(eigenvalues: Tensor, variance: float | Tensor) -> Tensor:
    r"""Mean squared error of the best model along each direction: the smaller of eigenvalue and water level.

    .. math::

        e_j = \min(\lambda_j, \sigma^2)

    Parameters
    ----------
    eigenvalues : Tensor, shape (...)
        :math:`\lambda`.
    variance : float or Tensor
        :math:`\sigma^2`, the water level.

    References
    ----------
    Book: eq-water-filling. Cover and Thomas (2006), section 10.3.3.
    """
    return torch.minimum(eigenvalues, torch.as_tensor(variance, dtype=eigenvalues.dtype))


def active_units(eigenvalues: Tensor, variance: float | Tensor) -> int:
    r"""How many latents the best model uses: the number of eigenvalues above :math:`\sigma^2`.

    More of them are of no use, however many there are.

    References
    ----------
    Book: eq-water-level. Lucas et al. (2019).

    Examples
    --------
    >>> active_units(torch.tensor([3.0, 1.5, 0.2]), 1.0)
    2
    """
    return int((eigenvalues > variance).sum())


def _precision(decoder: Decoder) -> Tensor:
    """Return M: the posterior's precision in units of the noise's."""
    weight, variance = decoder
    identity = torch.eye(weight.shape[-1], dtype=weight.dtype, device=weight.device)
    return weight.mT @ weight + variance * identity
