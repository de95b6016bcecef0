"""Encoders, decoders, and the VAE that joins them. Models know nothing of how they are trained."""

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

import torch
from torch import Tensor, nn

from vaelib.likelihoods import bernoulli_log_likelihood, gaussian_log_likelihood
from vaelib.settings import Activation, Likelihood

_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


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


def _linear(inputs: int, outputs: int, generator: torch.Generator | None, gain: float = 1.0) -> nn.Linear:
    """A linear layer that starts as PyTorch's own do, ``gain`` times as wide, drawn from ``generator``."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = gain / math.sqrt(inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


class MLPEncoder(nn.Module):
    """The map from an image to the parameters of q(z | x), with one hidden layer.

    Parameters
    ----------
    data_dim, hidden_dim, latent_dim : int
        Widths of the layers; the last has ``2 * latent_dim`` units, the means and then the log-variances.
    activation : {"relu", "tanh"}
        What the hidden layer applies; the paper used tanh.
    generator : torch.Generator, optional
        Draws the initial weights.
    """

    def __init__(
        self,
        data_dim: int,
        hidden_dim: int,
        latent_dim: int,
        activation: Activation,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.hidden = _linear(data_dim, hidden_dim, generator)
        self.output = _linear(hidden_dim, 2 * latent_dim, generator)
        self.activation = _ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (..., D) to ``mean`` and ``log_var``, each (..., J)."""
        mean, log_var = self.output(self.activation(self.hidden(x))).chunk(2, dim=-1)
        return mean, log_var


class MLPDecoder(nn.Module):
    """The map from a latent to the parameters of p(x | z), with one hidden layer.

    Parameters
    ----------
    latent_dim, hidden_dim, data_dim : int
        Widths of the layers.
    activation : {"relu", "tanh"}
        What the hidden layer applies; the last layer is linear.
    latent_gain : float
        How much wider than the others the layer that reads z starts.
    generator : torch.Generator, optional
        Draws the initial weights.
    """

    def __init__(
        self,
        latent_dim: int,
        hidden_dim: int,
        data_dim: int,
        activation: Activation,
        latent_gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.hidden = _linear(latent_dim, hidden_dim, generator, latent_gain)
        self.output = _linear(hidden_dim, data_dim, generator)
        self.activation = _ACTIVATIONS[activation]

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (..., J) to logits or means (..., D)."""
        output: Tensor = self.output(self.activation(self.hidden(z)))
        return output


class LinearEncoder(nn.Module):
    r"""The map from an image to q(z | x) that is linear, with variances that are the same for all images.

    .. math::

        \mu = V (x - \bar x), \qquad \log \sigma^2 = \log d

    Parameters
    ----------
    centre : Tensor, shape (D,)
        :math:`\bar x`: given, not learned.
    latent_dim : int
        J.
    generator : torch.Generator, optional
        Draws the initial V; the variances begin at 1.
    """

    centre: Tensor

    def __init__(self, centre: Tensor, latent_dim: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.register_buffer("centre", centre.clone())
        self.weight = _narrow(latent_dim, len(centre), generator)
        self.log_var = nn.Parameter(torch.zeros(latent_dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (..., D) to ``mean`` and ``log_var``, each (..., J)."""
        mean = (x - self.centre) @ self.weight.mT
        return mean, self.log_var.expand_as(mean)


class LinearDecoder(nn.Module):
    r"""The map from a latent to the mean of p(x | z) that is linear: :math:`W z + \bar x`.

    Parameters
    ----------
    latent_dim : int
        J.
    centre : Tensor, shape (D,)
        :math:`\bar x`: given, not learned.
    generator : torch.Generator, optional
        Draws the initial W.
    """

    centre: Tensor

    def __init__(self, latent_dim: int, centre: Tensor, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.register_buffer("centre", centre.clone())
        self.weight = _narrow(len(centre), latent_dim, generator)

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (..., J) to means (..., D)."""
        return z @ self.weight.mT + self.centre


def _narrow(rows: int, columns: int, generator: torch.Generator | None) -> nn.Parameter:
    """A matrix whose columns, or rows, begin shorter than 1 on the side of the pixels."""
    bound = 1 / math.sqrt(max(rows, columns))
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound, generator=generator))


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
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latent_dim = latent_dim
        self.likelihood = likelihood
        self.settings = dict(settings or {})
        self.log_var = nn.Parameter(torch.zeros(())) if likelihood == "gaussian" else None

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x): (B, D) to two of (B, J)."""
        mean, log_var = self.encoder(x)
        return mean, log_var

    def decode(self, z: Tensor) -> Tensor:
        """Logits (Bernoulli) or means (Gaussian) of p(x | z): (B, J) to (B, D)."""
        output: Tensor = self.decoder(z)
        return output

    def log_likelihood(self, output: Tensor, x: Tensor) -> Tensor:
        """Log p(x | z) in nats, shape (B,), from what :meth:`decode` gave for z."""
        if self.log_var is None:
            return bernoulli_log_likelihood(output, x)
        return gaussian_log_likelihood(output, x, self.log_var)

    def mean_image(self, z: Tensor) -> Tensor:
        """E[x | z], shape (B, D): the picture usually shown, an average and not a sample of p(x | z)."""
        output = self.decode(z)
        return torch.sigmoid(output) if self.likelihood == "bernoulli" else output

    def sample_prior(
        self, count: int, *, generator: torch.Generator | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Draw ``count`` latents from the prior, their deviation scaled by ``temperature``: (count, J)."""
        device = next(self.parameters()).device
        return temperature * torch.randn(count, self.latent_dim, generator=generator, device=device)


def mlp_vae(
    *,
    data_dim: int = 784,
    hidden_dim: int = 400,
    latent_dim: int = 2,
    activation: Activation = "tanh",
    likelihood: Likelihood = "bernoulli",
    latent_gain: float = 3.0,
    generator: torch.Generator | None = None,
) -> VAE:
    r"""Build the MLP VAE: one hidden layer in the encoder and one in the decoder.

    Weights and biases start as PyTorch's linear layers do, drawn from ``generator``:
    :math:`\mathcal U(-g/\sqrt{n}, g/\sqrt{n})` for a layer with n inputs, with g = 1.
    The exception is the layer that reads z, with g = ``latent_gain``: at g = 1 its tanh units are nearly
    straight over all the plane that the prior covers, and much of the training goes into bending them.

    Parameters
    ----------
    data_dim, hidden_dim, latent_dim : int
        Pixels, hidden units and latents; ``data_dim-hidden_dim-latent_dim-hidden_dim-data_dim``.
    activation : {"relu", "tanh"}
        Of both hidden layers; the paper used tanh.
    likelihood : {"bernoulli", "gaussian"}
        Of the decoder.
    latent_gain : float
        g of the layer that reads z; 1 for PyTorch's own start.
    generator : torch.Generator, optional
        On the CPU. The same seed gives the same weights; without one, PyTorch's global generator draws.

    Raises
    ------
    ValueError
        If a width is below 1, the gain is not positive, or a name is unknown.
    """
    for name, width in {"data_dim": data_dim, "hidden_dim": hidden_dim, "latent_dim": latent_dim}.items():
        if width < 1:
            raise ValueError(f"{name} is {width}: a layer needs at least one unit")
    if not 0 < latent_gain < math.inf:
        raise ValueError(f"latent_gain is {latent_gain}: it must be a positive number")
    for value, known in ((activation, get_args(Activation)), (likelihood, get_args(Likelihood))):
        if value not in known:
            raise ValueError(f"{value!r} is not one of {', '.join(known)}")
    return VAE(
        MLPEncoder(data_dim, hidden_dim, latent_dim, activation, generator),
        MLPDecoder(latent_dim, hidden_dim, data_dim, activation, latent_gain, generator),
        latent_dim=latent_dim,
        likelihood=likelihood,
        settings={
            "architecture": "mlp",
            "data_dim": data_dim,
            "hidden_dim": hidden_dim,
            "latent_dim": latent_dim,
            "activation": activation,
            "likelihood": likelihood,
            "latent_gain": latent_gain,
        },
    )


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
    for name, width in {"data_dim": data_dim, "latent_dim": latent_dim}.items():
        if width < 1:
            raise ValueError(f"{name} is {width}: a layer needs at least one unit")
    if variance is not None and not 0 < variance < math.inf:
        raise ValueError(f"variance is {variance}: it must be a positive number")
    centre = torch.zeros(data_dim) if centre is None else centre.float()
    if centre.shape != (data_dim,):
        raise ValueError(f"centre has shape {tuple(centre.shape)}: an image has ({data_dim},)")
    model = VAE(
        LinearEncoder(centre, latent_dim, generator),
        LinearDecoder(latent_dim, centre, generator),
        latent_dim=latent_dim,
        likelihood="gaussian",
        settings={
            "architecture": "linear",
            "data_dim": data_dim,
            "latent_dim": latent_dim,
            "variance": variance,
        },
    )
    if variance is not None:
        model.log_var = nn.Parameter(torch.tensor(math.log(variance)), requires_grad=False)
    return model


_BUILDERS: dict[str, Callable[..., VAE]] = {"mlp": mlp_vae, "linear": linear_vae}


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
