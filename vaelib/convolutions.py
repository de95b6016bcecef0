"""Convolutional encoder and decoder, laid out so that a CPU runs them fast.

Images come and go as rows of pixels, as everywhere in vaelib; inside, a pixel's channels lie side by side
(channels last), the order in which convolutions on a CPU read them.
"""

import math
from collections.abc import Sequence
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaelib.settings import Head

_SLOPE = 0.01


def _start(layer: nn.Module, fan_in: int, generator: torch.Generator | None) -> None:
    """Start a layer as PyTorch does, within 1 / sqrt(fan_in), drawn from ``generator``."""
    bound = 1 / math.sqrt(fan_in)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)


def _linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    _start(layer, inputs, generator)
    return layer


def _convolution(
    inputs: int, outputs: int, *, stride: int, bias: bool, generator: torch.Generator | None
) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=bias, device="meta").to_empty(device="cpu")
    _start(layer, inputs * 9, generator)
    return layer


def _transposed(
    inputs: int, outputs: int, *, output_padding: int, generator: torch.Generator | None
) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(
        inputs, outputs, 3, stride=2, padding=1, output_padding=output_padding, device="meta"
    ).to_empty(device="cpu")
    # Of a transposed convolution PyTorch takes the outputs for the inputs, and so do the reference networks.
    _start(layer, outputs * 9, generator)
    return layer


def _norm(channels: int, batch_norm: bool) -> nn.Module:
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


def _check(side: int, channels: Sequence[int], latent_dim: int, head: Head) -> None:
    """Refuse widths below 1 and heads that are not known."""
    if head not in get_args(Head):
        raise ValueError(f"{head!r} is not one of {', '.join(get_args(Head))}")
    if not channels:
        raise ValueError("channels is empty: give the width of at least one convolution")
    for name, width in [("side", side), ("latent_dim", latent_dim), *(("channels", c) for c in channels)]:
        if width < 1:
            raise ValueError(f"{name} has {width}: it must be at least 1")


def _sides(side: int, layers: int) -> list[int]:
    """Sides of the image before each convolution with stride 2 and after the last: halves, rounded up."""
    found = [side]
    for _ in range(layers):
        found.append((found[-1] + 1) // 2)
    return found


def _check_single_pixel(side: int, layers: int) -> None:
    """Refuse a convolution as head that would not see, or not leave, a single pixel."""
    sides = _sides(side, layers)
    if sides[-1] != 1 or 1 in sides[:-1]:
        needed = (side - 1).bit_length() - 1
        cure = f"give {needed} channels, or head='linear'" if needed > 0 else "give head='linear'"
        raise ValueError(
            f"{layers - 1} channels and a convolution as head take a side of {side} to "
            f"{' -> '.join(map(str, sides))}, which must reach 1 exactly at the end: {cure}"
        )


class ConvEncoder(nn.Module):
    r"""The map from an image to the parameters of q(z | x), by convolutions that halve the side.

    .. math::

        h_0 = 2x - 1, \qquad h_k = \operatorname{LeakyReLU}(\operatorname{BN}(W_k * h_{k-1} + b_k)), \qquad
        (\mu, \log \sigma^2) = W h_K + b

    Every convolution is 3 x 3 with stride 2 and a padding of 1.

    Parameters
    ----------
    side : int
        Pixels of a side of the image.
    channels : sequence of int
        Outputs of each convolution.
    latent_dim : int
        J.
    batch_norm : bool
        Whether a batch normalisation follows each convolution, which then needs no bias of its own.
    head : {"linear", "convolution"}
        What gives the 2 J parameters of q: a linear layer on all that is left of the image, or one more
        convolution, which must leave a single pixel.
    generator : torch.Generator, optional
        Draws the initial weights.

    Raises
    ------
    ValueError
        If a width is below 1, the head is unknown, or a convolution as head would not leave one pixel.
    """

    def __init__(
        self,
        side: int,
        channels: Sequence[int],
        latent_dim: int,
        *,
        batch_norm: bool,
        head: Head,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check(side, channels, latent_dim, head)
        if head == "convolution":
            _check_single_pixel(side, len(channels) + 1)
        self.side = side
        self.convolutions = nn.ModuleList(
            _convolution(inputs, outputs, stride=2, bias=not batch_norm, generator=generator)
            for inputs, outputs in zip([1, *channels], channels, strict=False)
        )
        self.norms = nn.ModuleList(_norm(width, batch_norm) for width in channels)
        left = _sides(side, len(channels))[-1]
        self.head: nn.Module = (
            _linear(channels[-1] * left**2, 2 * latent_dim, generator)
            if head == "linear"
            else _convolution(channels[-1], 2 * latent_dim, stride=2, bias=True, generator=generator)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, side * side) on [0, 1] to ``mean`` and ``log_var``, each (B, J)."""
        h = (2 * x - 1).view(-1, 1, self.side, self.side).contiguous(memory_format=torch.channels_last)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            h = F.leaky_relu(norm(convolution(h)), _SLOPE, inplace=True)
        output = self.head(h.flatten(1) if isinstance(self.head, nn.Linear) else h)
        mean, log_var = output.flatten(1).float().chunk(2, dim=-1)
        return mean, log_var


class ConvDecoder(nn.Module):
    r"""The map from a latent to the means or the logits of p(x | z), by transposed convolutions.

    .. math::

        h_k = \operatorname{LeakyReLU}(\operatorname{BN}(W_k *^{\mathsf T} h_{k-1} + b_k)), \qquad
        \mu = \tfrac{1}{2} (1 + \tanh a) = \frac{1}{1 + e^{-2 a}}, \quad a = W * h_K

    So :math:`2 a` are the logits of :math:`\mu`. Every transposed convolution is 3 x 3 with stride 2 and a
    padding of 1.

    Parameters
    ----------
    latent_dim : int
        J.
    side : int
        Pixels of a side of the image.
    channels : sequence of int
        Outputs of each transposed convolution with an activation.
    batch_norm : bool
        Whether a batch normalisation follows each of them.
    head : {"linear", "convolution"}
        How the latent becomes an image: by a linear layer to ``channels[0]`` channels, after which the last
        layer is a convolution that keeps the side; or taken for a pixel with J channels, after which the last
        layer is one more transposed convolution.
    logits : bool
        Give the logits of the means in their stead.
    generator : torch.Generator, optional
        Draws the initial weights.

    Raises
    ------
    ValueError
        If a width is below 1, the head is unknown, or the side cannot be reached by doubling.
    """

    def __init__(
        self,
        latent_dim: int,
        side: int,
        channels: Sequence[int],
        *,
        batch_norm: bool,
        head: Head,
        logits: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check(side, channels, latent_dim, head)
        self.logits = logits
        layers = len(channels)
        if head == "convolution":
            _check_single_pixel(side, layers + 1)
            sides = _sides(side, layers + 1)[::-1]
            widths = [latent_dim, *channels]
        else:
            if side % 2**layers:
                raise ValueError(
                    f"a side of {side} is not {layers} doublings of a whole number: "
                    f"pad the images to a multiple of {2**layers}, or give fewer channels"
                )
            sides = [side // 2**k for k in range(layers, -1, -1)]
            widths = [channels[0], *channels]
        self.start_side = sides[0]
        self.head: nn.Module = (
            _linear(latent_dim, channels[0] * sides[0] ** 2, generator) if head == "linear" else nn.Identity()
        )
        self.convolutions = nn.ModuleList(
            _transposed(inputs, outputs, output_padding=(after + 1) % 2, generator=generator)
            for inputs, outputs, after in zip(widths, channels, sides[1:], strict=False)
        )
        self.norms = nn.ModuleList(_norm(width, batch_norm) for width in channels)
        self.output: nn.Module = (
            _convolution(channels[-1], 1, stride=1, bias=False, generator=generator)
            if head == "linear"
            else _transposed(channels[-1], 1, output_padding=(side + 1) % 2, generator=generator)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (B, J) to means on [0, 1], or to logits, (B, side * side)."""
        h = self.head(z).view(len(z), -1, self.start_side, self.start_side)
        h = h.contiguous(memory_format=torch.channels_last)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            h = F.leaky_relu(norm(convolution(h)), _SLOPE, inplace=True)
        a = self.output(h).float().flatten(1)
        return 2 * a if self.logits else (1 + torch.tanh(a)) / 2
