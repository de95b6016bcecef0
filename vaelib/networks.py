"""The maps of a VAE with one hidden layer or none: from images to q(z | x), and from latents to p(x | z)."""

import math

import torch
from torch import Tensor, nn

from vaelib.settings import Activation

_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}


def _linear(
    inputs: int, outputs: int, generator: torch.Generator | None, gain: float, std: float | None
) -> nn.Linear:
    """A linear layer that starts as PyTorch's own do, or normal, ``gain`` times as wide."""
    # Not made on the "meta" device, for which PyTorch would load SymPy first.
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(inputs, outputs)
    bound = gain / math.sqrt(inputs)
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            if std is None:
                parameter.uniform_(-bound, bound, generator=generator)
            else:
                parameter.normal_(0, gain * std, generator=generator)
    return layer


class _OneHidden(nn.Module):
    """A map with one hidden layer.

    Parameters
    ----------
    inputs, hidden, outputs : int
        Widths of the layers.
    activation : {"relu", "tanh"}
        What the hidden layer applies; the last layer is linear. The paper used tanh.
    gain : float
        How much wider than the last one the first layer starts.
    std : float, optional
        Weights and biases start as draws from a normal distribution of this deviation, instead of
        PyTorch's uniform one.
    generator : torch.Generator, optional
        Draws the initial weights.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        activation: Activation,
        *,
        gain: float = 1.0,
        std: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.hidden = _linear(inputs, hidden, generator, gain, std)
        self.output = _linear(hidden, outputs, generator, 1.0, std)
        self.activation = _ACTIVATIONS[activation]

    def through(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs); in 32 bits at least, however the products were computed."""
        output: Tensor = self.output(self.activation(self.hidden(x)))
        return output.to(torch.promote_types(output.dtype, torch.float32))


class MLPDecoder(_OneHidden):
    """The map from a latent to logits, to means, or to means and then log-variances, of p(x | z)."""

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (..., J) to (..., D), or (..., 2 D)."""
        return self.through(z)


class MLPEncoder(_OneHidden):
    """The map from an image to the parameters of a normal q(z | x): means, then log-variances."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (..., D) to ``mean`` and ``log_var``, each (..., J)."""
        mean, log_var = self.through(x).chunk(2, dim=-1)
        return mean, log_var


class PointEncoder(_OneHidden):
    r"""The map from an image to a latent of which it is sure: q(z | x) is a point, as in a plain autoencoder.

    .. math::

        \sigma = 0: \qquad z = \mu_\phi(x), \qquad \mathrm{KL}(q(z \mid x) \,\|\, p(z)) = \infty

    So it can be trained with a KL weight of 0 only, and its ELBO is minus infinity.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (..., D) to ``mean`` and a ``log_var`` of minus infinity, each (..., J)."""
        mean = self.through(x)
        return mean, torch.full_like(mean, -math.inf)


class PriorEncoder(nn.Module):
    """No encoder at all: q(z | x) is the prior, whatever x. What is trained beside it is a generator alone.

    Parameters
    ----------
    latent_dim : int
        J.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (..., D) to a mean of 0 and a log-variance of 0, each (..., J)."""
        nothing = x.new_zeros(*x.shape[:-1], self.latent_dim)
        return nothing, nothing


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
