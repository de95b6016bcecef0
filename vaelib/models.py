"""The VAE that joins an encoder and a decoder, and the ones that come ready. It knows nothing of training."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaelib.convolutions import ConvDecoder, ConvEncoder
from vaelib.likelihoods import bernoulli_log_likelihood, gaussian_log_likelihood
from vaelib.networks import (
    LinearDecoder,
    LinearEncoder,
    MLPDecoder,
    MLPEncoder,
    PointEncoder,
    PriorEncoder,
)
from vaelib.settings import Activation, Head, Likelihood, Posterior

# A decoder that may be sure of each pixel is held to what the pixels are recorded in: no deviation below a
# grey level, lest a pixel that never changes give an infinite density.
_LEAST_LOG_VAR = -2 * math.log(255)


def reparameterize(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    r"""Turn standard normal noise into a draw from q(z | x) that gradients can flow through.

    .. math::

        z = \mu + \sigma \odot \epsilon, \qquad \sigma = e^{\frac{1}{2} \log \sigma^2},
        \qquad \epsilon \sim \mathcal N(0, I)

    Parameters
    ----------
    mean, log_var : Tensor, shape (..., J)
        Parameters of q(z | x); :math:`\sigma` is a standard deviation, half the log-variance exponentiated.
    noise : Tensor, broadcastable to (..., J)
        :math:`\epsilon`.

    Returns
    -------
    Tensor, shape (..., J)

    References
    ----------
    Book: def-reparameterization. Kingma and Welling (2014), section 2.4.
    """
    return mean + torch.exp(0.5 * log_var) * noise


class VAE(nn.Module):
    r"""A variational autoencoder with a standard normal prior and a diagonal normal q(z | x).

    .. math::

        p(z) = \mathcal N(0, I), \qquad p_\theta(x \mid z) = \text{Bernoulli or normal}, \qquad
        q_\phi(z \mid x) = \mathcal N(\mu_\phi(x), \operatorname{diag} \sigma_\phi^2(x))

    Parameters
    ----------
    encoder : nn.Module
        Maps x to ``(mean, log_var)`` of q(z | x).
    decoder : nn.Module
        Maps z to logits (Bernoulli) or to means (Gaussian).
    latent_dim : int
        The number J of latents.
    likelihood : {"bernoulli", "gaussian"}
        A Gaussian decoder has one variance, shared by all pixels and learned with the rest:
        its logarithm is ``model.log_var``.
    sigma : float, optional
        The Gaussian decoder's deviation on [0, 1], held fixed.
    pixel_variance : bool
        The Gaussian decoder gives 2 D numbers, the means and then a log-variance for each pixel, which is
        kept above that of one grey level.
    settings : Mapping
        What :func:`build` needs to make this model again; a checkpoint carries it.

    References
    ----------
    Book: def-vae. Kingma and Welling (2014), section 3.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        latent_dim: int,
        likelihood: Likelihood = "bernoulli",
        sigma: float | None = None,
        pixel_variance: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if (sigma is not None or pixel_variance) and likelihood != "gaussian":
            raise ValueError("sigma and pixel_variance belong to a Gaussian decoder, and this one is not")
        if sigma is not None and pixel_variance:
            raise ValueError("pixel_variance learns what sigma would hold fixed: give one of them")
        if sigma is not None and not 0 < sigma < math.inf:
            raise ValueError(f"sigma is {sigma}: it must be a positive number")
        self.encoder = encoder
        self.decoder = decoder
        self.latent_dim = latent_dim
        self.likelihood = likelihood
        self.settings = dict(settings or {})
        self.pixel_variance = pixel_variance
        self.log_var: Tensor | None = None
        if likelihood == "gaussian" and sigma is not None:
            del self.log_var
            self.register_buffer("log_var", torch.tensor(2 * math.log(sigma)))
        elif likelihood == "gaussian" and not pixel_variance:
            self.log_var = nn.Parameter(torch.zeros(()))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x): (B, D) to two of (B, J)."""
        mean, log_var = self.encoder(x)
        return mean, log_var

    def decode(self, z: Tensor) -> Tensor:
        """Logits (Bernoulli) or means (Gaussian) of p(x | z): (B, J) to (B, D) or (B, 2 D)."""
        output: Tensor = self.decoder(z)
        return output

    def log_likelihood(self, output: Tensor, x: Tensor) -> Tensor:
        """Log p(x | z) in nats, shape (B,), from what :meth:`decode` gave for z."""
        if self.likelihood == "bernoulli":
            return bernoulli_log_likelihood(output, x)
        if self.log_var is not None:
            return gaussian_log_likelihood(output, x, self.log_var)
        mean, raw = output.chunk(2, dim=-1)
        return gaussian_log_likelihood(mean, x, _LEAST_LOG_VAR + F.softplus(raw - _LEAST_LOG_VAR))

    def mean_of(self, output: Tensor) -> Tensor:
        """E[x | z], shape (B, D), from what :meth:`decode` gave for z."""
        if self.likelihood == "bernoulli":
            return torch.sigmoid(output)
        return output.chunk(2, dim=-1)[0] if self.pixel_variance else output

    def mean_image(self, z: Tensor) -> Tensor:
        """E[x | z], shape (B, D): the picture usually shown, an average and not a sample of p(x | z)."""
        return self.mean_of(self.decode(z))

    def sample_prior(
        self, count: int, *, generator: torch.Generator | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Draw ``count`` latents from the prior, their deviation scaled by ``temperature``: (count, J)."""
        device = next(self.parameters()).device
        return temperature * torch.randn(count, self.latent_dim, generator=generator, device=device)


@contextmanager
def eval_mode(model: VAE) -> Iterator[None]:
    """Switch to ``eval()`` mode, and back to whatever was before."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def mlp_vae(
    *,
    data_dim: int = 784,
    hidden_dim: int = 400,
    latent_dim: int = 2,
    activation: Activation = "tanh",
    likelihood: Likelihood = "bernoulli",
    sigma: float | None = None,
    pixel_variance: bool = False,
    posterior: Posterior = "normal",
    latent_gain: float = 3.0,
    init_std: float | None = None,
    generator: torch.Generator | None = None,
) -> VAE:
    r"""Build the MLP VAE: one hidden layer in the encoder and one in the decoder.

    Weights and biases start as PyTorch's linear layers do, drawn from ``generator``:
    :math:`\mathcal U(-g/\sqrt{n}, g/\sqrt{n})` for a layer with n inputs, with g = 1; or, given ``init_std``,
    :math:`\mathcal N(0, g^2 s^2)`.
    The exception is the layer that reads z, with g = ``latent_gain``: at g = 1 its tanh units are nearly
    straight over all the plane that the prior covers, and much of the training goes into bending them.

    Parameters
    ----------
    data_dim, hidden_dim, latent_dim : int
        Pixels, hidden units and latents; ``data_dim-hidden_dim-latent_dim-hidden_dim-data_dim``.
    activation : {"relu", "tanh"}
        Of both hidden layers; the paper used tanh.
    likelihood, sigma, pixel_variance
        Of the decoder; see :class:`VAE`.
    posterior : {"normal", "point", "prior"}
        What q(z | x) is: a normal distribution; a point, which makes a plain autoencoder; or the prior, which
        leaves a generator without an encoder.
    latent_gain : float
        g of the layer that reads z; 1 for PyTorch's own start.
    init_std : float, optional
        s; the paper drew from a normal distribution.
    generator : torch.Generator, optional
        On the CPU. The same seed gives the same weights; without one, PyTorch's global generator draws.

    Raises
    ------
    ValueError
        If a width is below 1, the gain or a deviation is not positive, or a name is unknown.
    """
    _check_widths(data_dim=data_dim, hidden_dim=hidden_dim, latent_dim=latent_dim)
    for name, number in {"latent_gain": latent_gain, "init_std": init_std}.items():
        if number is not None and not 0 < number < math.inf:
            raise ValueError(f"{name} is {number}: it must be a positive number")
    _check_names((activation, Activation), (likelihood, Likelihood), (posterior, Posterior))
    encoder: nn.Module = PriorEncoder(latent_dim)
    if posterior == "normal":
        encoder = MLPEncoder(
            data_dim, hidden_dim, 2 * latent_dim, activation, std=init_std, generator=generator
        )
    elif posterior == "point":
        encoder = PointEncoder(
            data_dim, hidden_dim, latent_dim, activation, std=init_std, generator=generator
        )
    decoder = MLPDecoder(
        latent_dim,
        hidden_dim,
        2 * data_dim if pixel_variance else data_dim,
        activation,
        gain=latent_gain,
        std=init_std,
        generator=generator,
    )
    return VAE(
        encoder,
        decoder,
        latent_dim=latent_dim,
        likelihood=likelihood,
        sigma=sigma,
        pixel_variance=pixel_variance,
        settings={
            "architecture": "mlp",
            "data_dim": data_dim,
            "hidden_dim": hidden_dim,
            "latent_dim": latent_dim,
            "activation": activation,
            "likelihood": likelihood,
            "sigma": sigma,
            "pixel_variance": pixel_variance,
            "posterior": posterior,
            "latent_gain": latent_gain,
            "init_std": init_std,
        },
    )


def start_at_mean(model: VAE, mean: Tensor) -> None:
    r"""Let an MLP decoder begin with the mean image, whatever z: the bias of its last layer, in place.

    .. math::

        b_d = \log \frac{\bar x_d}{1 - \bar x_d}
        \quad \text{(Bernoulli)}, \qquad b_d = \bar x_d \quad \text{(normal)}

    Parameters
    ----------
    model : VAE
        With an MLP decoder.
    mean : Tensor, shape (D,)
        :math:`\bar x`, the mean training image, on [0, 1]. For a Bernoulli decoder it is kept half a grey
        level from 0 and 1, where the logarithm is infinite.

    Raises
    ------
    ValueError
        If the model has no MLP decoder, or the mean is of another size.
    """
    if not isinstance(model.decoder, MLPDecoder):
        raise ValueError("only an MLP decoder can start at the mean image")
    bias = model.decoder.output.bias
    if mean.shape != (model.settings["data_dim"],):
        raise ValueError(f"the mean has shape {tuple(mean.shape)}: an image has {model.settings['data_dim']}")
    with torch.no_grad():
        start = torch.logit(mean, eps=0.5 / 255) if model.likelihood == "bernoulli" else mean
        bias[: len(mean)].copy_(start)


def conv_vae(
    *,
    data_dim: int = 1024,
    encoder_channels: Sequence[int] = (32, 64, 64, 64),
    decoder_channels: Sequence[int] = (64, 64, 32, 32),
    latent_dim: int = 2,
    batch_norm: bool = True,
    head: Head = "linear",
    likelihood: Likelihood = "gaussian",
    sigma: float | None = None,
    generator: torch.Generator | None = None,
) -> VAE:
    r"""Build the convolutional VAE: strided convolutions down to q(z | x), transposed ones back up.

    Each of the encoder's convolutions halves the side of the picture,
    :math:`n \mapsto \lceil n / 2 \rceil`, and each of the decoder's transposed ones undoes that. Inside,
    pixels are on [-1, 1]; images come and go on [0, 1], as everywhere here.

    Parameters
    ----------
    data_dim : int
        Pixels of a square picture.
    encoder_channels, decoder_channels : sequence of int
        Widths of the layers.
    latent_dim : int
        J.
    batch_norm : bool
        Normalize over the batch after each convolution but the last of the decoder.
    head : {"linear", "convolution"}
        How the smallest picture becomes latents and back: by a linear layer, or by one more convolution.
    likelihood, sigma
        Of the decoder; see :class:`VAE`.
    generator : torch.Generator, optional
        On the CPU. The same seed gives the same weights; without one, PyTorch's global generator draws.

    Raises
    ------
    ValueError
        If the picture is not square, the layers do not fit it, or a name is unknown.

    References
    ----------
    Dumoulin and Visin (2016), sections 2 and 4.
    """
    _check_widths(data_dim=data_dim, latent_dim=latent_dim)
    _check_names((head, Head), (likelihood, Likelihood))
    side = math.isqrt(data_dim)
    if side * side != data_dim:
        raise ValueError(f"{data_dim} pixels do not make a square picture")
    return VAE(
        ConvEncoder(
            side, encoder_channels, latent_dim, batch_norm=batch_norm, head=head, generator=generator
        ),
        ConvDecoder(
            latent_dim,
            side,
            decoder_channels,
            batch_norm=batch_norm,
            head=head,
            logits=likelihood == "bernoulli",
            generator=generator,
        ),
        latent_dim=latent_dim,
        likelihood=likelihood,
        sigma=sigma,
        settings={
            "architecture": "conv",
            "data_dim": data_dim,
            "encoder_channels": list(encoder_channels),
            "decoder_channels": list(decoder_channels),
            "latent_dim": latent_dim,
            "batch_norm": batch_norm,
            "head": head,
            "likelihood": likelihood,
            "sigma": sigma,
        },
    )


def _check_widths(**widths: int) -> None:
    for name, width in widths.items():
        if width < 1:
            raise ValueError(f"{name} is {width}: a layer needs at least one unit")


def _check_names(*chosen: tuple[str, Any]) -> None:
    for value, literal in chosen:
        if value not in get_args(literal):
            raise ValueError(f"{value!r} is not one of {', '.join(get_args(literal))}")


def linear_vae(
    *,
    data_dim: int = 784,
    latent_dim: int = 2,
    centre: Tensor | None = None,
    variance: float | None = None,
    generator: torch.Generator | None = None,
) -> VAE:
    r"""Build the linear VAE, whose best weights are known: probabilistic PCA.

    .. math::

        p(x \mid z) = \mathcal N(W z + \bar x, \sigma^2 I), \qquad
        q(z \mid x) = \mathcal N\bigl(V (x - \bar x), \operatorname{diag} d\bigr)

    Parameters
    ----------
    data_dim, latent_dim : int
        Pixels and latents.
    centre : Tensor, shape (data_dim,), optional
        :math:`\bar x`, best the mean of the training images; 0 if not given. A checkpoint carries it.
    variance : float, optional
        :math:`\sigma^2`, held fixed. Without one it is learned, and begins at 1.
    generator : torch.Generator, optional
        On the CPU. The same seed gives the same weights; without one, PyTorch's global generator draws.

    Raises
    ------
    ValueError
        If a width is below 1, the variance is not positive, or the centre has another shape.

    References
    ----------
    Book: eq-linear-terms. :mod:`vaelib.linear` has the solution. Lucas et al. (2019).
    """
    _check_widths(data_dim=data_dim, latent_dim=latent_dim)
    if variance is not None and not 0 < variance < math.inf:
        raise ValueError(f"variance is {variance}: it must be a positive number")
    centre = torch.zeros(data_dim) if centre is None else centre.float()
    if centre.shape != (data_dim,):
        raise ValueError(f"centre has shape {tuple(centre.shape)}: an image has ({data_dim},)")
    return VAE(
        LinearEncoder(centre, latent_dim, generator),
        LinearDecoder(latent_dim, centre, generator),
        latent_dim=latent_dim,
        likelihood="gaussian",
        sigma=None if variance is None else math.sqrt(variance),
        settings={
            "architecture": "linear",
            "data_dim": data_dim,
            "latent_dim": latent_dim,
            "variance": variance,
        },
    )


_BUILDERS: dict[str, Callable[..., VAE]] = {"mlp": mlp_vae, "conv": conv_vae, "linear": linear_vae}


def build(settings: Mapping[str, Any]) -> VAE:
    """Make the untrained model that ``settings`` describes, as a checkpoint carries them.

    Raises
    ------
    ValueError
        If the architecture is unknown or a setting has no meaning here.
    """
    arguments = dict(settings)
    architecture = arguments.pop("architecture", None)
    if architecture not in _BUILDERS:
        known = ", ".join(map(repr, _BUILDERS))
        raise ValueError(f"unknown architecture {architecture!r}: this version of vaelib builds {known}")
    try:
        return _BUILDERS[architecture](**arguments)
    except TypeError as error:
        raise ValueError(
            f"these settings do not describe a model of the kind {architecture!r}: {error}"
        ) from error
