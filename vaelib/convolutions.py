"""Convolutional encoder and decoder, made to be fast on a CPU.

Images come and go as rows of pixels, as everywhere in vaelib. In between, a pixel's channels lie side by side
in memory (``torch.channels_last``), the order in which a CPU's convolutions read them.

The layers are PyTorch's own, and so is what they compute. But in bfloat16 (``torch.autocast``) a processor
with AMX multiplies matrices so fast that all else takes the time: there, convolutions of small images are
written as products of matrices, and backward passes leave out what is slow.
"""

import math
from collections.abc import Sequence
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from vaelib.settings import Head

_SLOPE = 0.01
_SMALL = 14  # pixels of a side up to which a product of matrices beats oneDNN's convolutions


def _nchw(x: Tensor) -> Tensor:
    """(B, S, S, C) to (B, C, S, S) without a copy: channels last in memory."""
    return x.permute(0, 3, 1, 2)


def _nhwc(x: Tensor) -> Tensor:
    """(B, C, S, S) to (B, S, S, C); no copy where the channels come last in memory."""
    return x.permute(0, 2, 3, 1)


def _channels_last(x: Tensor) -> Tensor:
    """The same (B, C, S, S) in the order that is fast; ``contiguous`` cannot give it within ``vmap``."""
    return _nchw(_nhwc(x).contiguous())


def _rows(x: Tensor) -> Tensor:
    """(B, C, S, S) to a row of channels for each pixel, (B S S, C)."""
    return _nhwc(x).reshape(-1, x.shape[1])


def _matrix(weight: Tensor) -> Tensor:
    """Filters (K, C, 3, 3) as (K, 9 C), in the order of :func:`_patches`."""
    return _nhwc(weight).flatten(1)


def _precision(x: Tensor) -> torch.dtype:
    """What autocast asks for, or else the precision of ``x``."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _by_hand(x: Tensor) -> bool:
    """Whether the backward passes written here pay off; PyTorch's own also serve ``torch.func``."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu"


def _patches(x: Tensor) -> Tensor:
    """What filters with stride 2 and a padding of 1 see of (B, C, S, S), place by place: (B H H, 9 C)."""
    x = _nhwc(x)
    odd = x.shape[1] % 2
    padded = F.pad(x, (0, 0, 1, odd, 1, odd))
    return padded.unfold(1, 3, 2).unfold(2, 3, 2).permute(0, 1, 2, 4, 5, 3).reshape(-1, 9 * x.shape[3])


def _of_weight(small: Tensor, patches: Tensor, weight: Tensor) -> Tensor:
    """The gradient of filters between a small image and the patches of one twice as wide."""
    product = _rows(small).mT @ patches
    return _nchw(product.view(len(weight), 3, 3, -1))


class _Halving(torch.autograd.Function):
    r"""Convolution with stride 2 and a padding of 1, from (B, C, S, S) to (B, K, H, H), H = S/2 rounded up.

    .. math::

        y = P W^{\mathsf T} + b, \qquad
        \frac{\partial \ell}{\partial W} = \Bigl(\frac{\partial \ell}{\partial y}\Bigr)^{\mathsf T} P, \qquad
        P = \text{patches}(x)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        patches, matrix = _patches(x), _matrix(weight).mT
        ctx.save_for_backward(patches, weight)
        ctx.side = x.shape[2]
        half = (ctx.side + 1) // 2
        # Made in its last shape: of a view, nothing could be changed in place.
        size = (len(x), len(weight), half, half)
        y = torch.empty(size, dtype=x.dtype, memory_format=torch.channels_last)
        if bias is None:
            torch.mm(patches, matrix, out=_rows(y))
        else:
            torch.addmm(bias, patches, matrix, out=_rows(y))
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        patches, weight = ctx.saved_tensors
        rest = 1 - ctx.side % 2
        of_x = F.conv_transpose2d(gradient, weight, stride=2, padding=1, output_padding=rest)
        of_bias = _rows(gradient).sum(0) if ctx.needs_input_grad[2] else None
        return of_x, _of_weight(gradient, patches, weight), of_bias


class _Doubling(torch.autograd.Function):
    r"""Transposed convolution with stride 2 and a padding of 1, from (B, K, H, H) to (B, C, S, S).

    It is the transpose of :class:`_Halving` with the same weight, and so is its backward pass:

    .. math::

        \frac{\partial \ell}{\partial x} = P W^{\mathsf T}, \qquad
        \frac{\partial \ell}{\partial W} = x^{\mathsf T} P, \qquad
        P = \text{patches}\Bigl(\frac{\partial \ell}{\partial y}\Bigr)

    PyTorch's takes longer for the gradient of the bias than for the two others together.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, rest: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1, output_padding=rest)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        if gradient.shape[2] > _SMALL:
            of_x = F.conv2d(gradient, weight, stride=2, padding=1)
            of_weight = conv2d_weight(gradient, weight.shape, x, 2, 1)  # type: ignore[no-untyped-call]
        else:
            patches = _patches(gradient)
            of_x = _nchw((patches @ _matrix(weight).mT).view_as(_nhwc(x)))
            of_weight = _of_weight(x, patches, weight)
        return of_x, of_weight, _rows(gradient).sum(0) if ctx.needs_input_grad[2] else None, None


def _shifted(image: Tensor, side: int, stride: int) -> list[Tensor]:
    """The part of a padded image that each of the nine weights of a filter touches."""
    reach = stride * (side - 1) + 1
    return [image[:, i : i + reach : stride, j : j + reach : stride] for i in range(3) for j in range(3)]


class _Painting(torch.autograd.Function):
    r"""Transposed convolution with a padding of 1 to a single channel, from (B, K, H, H) to (B, S, S).

    .. math::

        y_q = \sum_{p, k \,:\, s p + k - 1 = q} W_k \cdot x_p, \qquad k \in \{0, 1, 2\}^2

    One product gives what each pixel adds to its nine neighbours; then nine images are added up in float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, side: int, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        batch, small = len(x), x.shape[2]
        parts = (weight @ _rows(x).mT).view(9, batch, small, small)
        size = stride * (small - 1) + 3
        image = torch.zeros(batch, size, size, device=x.device)
        for target, part in zip(_shifted(image, small, stride), parts, strict=True):
            target += part
        return image[:, 1 : side + 1, 1 : side + 1].contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        small, side = x.shape[2], gradient.shape[1]
        after = ctx.stride * (small - 1) + 2 - side
        padded = F.pad(gradient.to(x.dtype), (1, after, 1, after))
        parts = torch.stack(_shifted(padded, small, ctx.stride)).view(9, -1)
        return _nchw((parts.mT @ weight).view_as(_nhwc(x))), parts @ _rows(x), None, None


def _painted(x: Tensor, weight: Tensor, bias: Tensor | None, side: int, stride: int) -> Tensor:
    """(B, K, H, H) to (B, 1, side, side), with a weight for each of nine neighbours, (9, K)."""
    weight = weight.to(x.dtype)
    if _by_hand(x):
        picture: Tensor = _Painting.apply(x, weight, side, stride)[:, None]
    else:
        parts = weight @ _nhwc(x).flatten(1, 2).mT
        picture = F.fold(parts, (side, side), 3, padding=1, stride=stride)
    return picture if bias is None else picture + bias[:, None, None]


def _start(layer: nn.Module, inputs: int, generator: torch.Generator | None) -> None:
    """Draw the weights of a layer that has none yet as PyTorch does, within 1 / sqrt(inputs)."""
    layer.to_empty(device="cpu")
    bound = 1 / math.sqrt(inputs)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)


def _cast(layer: nn.Conv2d | nn.ConvTranspose2d, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Weight and bias in the precision asked for, channels last. Both at once would take twice as long."""
    weight = _channels_last(layer.weight.to(dtype))
    return weight, None if layer.bias is None else layer.bias.to(dtype)


class _Halve(nn.Conv2d):
    """A convolution that halves the side."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool, generator: torch.Generator | None) -> None:
        super().__init__(inputs, outputs, 3, stride=2, padding=1, bias=bias, device="meta")
        _start(self, 9 * inputs, generator)

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[2] == 2:
            # Four of the nine weights meet the image, and casting them would take longer than the product.
            weight = self.weight[:, :, 1:, 1:].flatten(1)
            return F.linear(input.to(weight.dtype).flatten(1), weight, self.bias)[:, :, None, None]
        weight, bias = _cast(self, input.dtype)
        if _by_hand(input) and self.in_channels > 1 and input.shape[2] <= _SMALL:
            y: Tensor = _Halving.apply(input, weight, bias)
            return y
        return F.conv2d(input, weight, bias, stride=2, padding=1)


class _Double(nn.ConvTranspose2d):
    """A transposed convolution that doubles the side, or less one."""

    def __init__(self, inputs: int, outputs: int, side: int, generator: torch.Generator | None) -> None:
        rest = 1 - side % 2
        super().__init__(inputs, outputs, 3, stride=2, padding=1, output_padding=rest, device="meta")
        # Of a transposed convolution PyTorch takes the outputs for the inputs when it draws its weights.
        _start(self, 9 * outputs, generator)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: ARG002
        assert self.bias is not None
        rest = self.output_padding[0]
        if input.shape[2] == 1 and rest:
            weight = self.weight[:, :, 1:, 1:].flatten(1)
            y = (input.to(weight.dtype).flatten(1) @ weight).view(-1, self.out_channels, 2, 2)
            return _channels_last(y + self.bias[:, None, None])
        weight, bias = _cast(self, input.dtype)
        assert bias is not None
        if _by_hand(input):
            grown: Tensor = _Doubling.apply(input, weight, bias, rest)
            return grown
        # A bias that is added by itself gets its gradient by a quicker sum.
        y = F.conv_transpose2d(input, weight, stride=2, padding=1, output_padding=rest)
        return y + bias[:, None, None]


class _PaintSame(nn.Conv2d):
    """A convolution to one channel."""

    def __init__(self, inputs: int, generator: torch.Generator | None) -> None:
        super().__init__(inputs, 1, 3, padding=1, bias=False, device="meta")
        _start(self, 9 * inputs, generator)

    def forward(self, input: Tensor) -> Tensor:
        # It is a transposed one with its filter turned half around.
        return _painted(input, self.weight[0].flip(1, 2).flatten(1).mT, None, input.shape[2], stride=1)


class _PaintDouble(nn.ConvTranspose2d):
    """A transposed convolution to one channel that doubles the side, or less one."""

    def __init__(self, inputs: int, side: int, generator: torch.Generator | None) -> None:
        rest = 1 - side % 2
        super().__init__(inputs, 1, 3, stride=2, padding=1, output_padding=rest, device="meta")
        _start(self, 9, generator)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: ARG002
        side = 2 * input.shape[2] - 1 + self.output_padding[0]
        return _painted(input, self.weight.flatten(1).mT, self.bias, side, stride=2)


def _linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, device="meta")
    _start(layer, inputs, generator)
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
            _Halve(inputs, outputs, bias=not batch_norm, generator=generator)
            for inputs, outputs in zip([1, *channels], channels, strict=False)
        )
        self.norms = nn.ModuleList(_norm(width, batch_norm) for width in channels)
        last, left, outputs = channels[-1], _sides(side, len(channels))[-1], 2 * latent_dim
        self.head: nn.Module = (
            _linear(last * left**2, outputs, generator)
            if head == "linear"
            else _Halve(last, outputs, bias=True, generator=generator)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, side * side) on [0, 1] to ``mean`` and ``log_var``, each (B, J)."""
        dtype = _precision(x)
        with torch.autocast(x.device.type, enabled=False):
            h = _nchw((2 * x - 1).to(dtype).view(-1, self.side, self.side, 1))
            for halve, norm in zip(self.convolutions, self.norms, strict=True):
                h = F.leaky_relu(norm(halve(h)), _SLOPE, inplace=True)
            linear = isinstance(self.head, nn.Linear)
            output = self.head(h.flatten(1).to(x.dtype) if linear else h).flatten(1).to(x.dtype)
        mean, log_var = output.chunk(2, dim=-1)
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
        layers, last = len(channels), channels[-1]
        if head == "convolution":
            _check_single_pixel(side, layers + 1)
            sides, first = _sides(side, layers + 1)[::-1], latent_dim
        else:
            if side % 2**layers:
                raise ValueError(
                    f"a side of {side} is not {layers} doublings of a whole number: "
                    f"pad the images to a multiple of {2**layers}, or give fewer channels"
                )
            sides, first = [side // 2**k for k in range(layers, -1, -1)], channels[0]
        self.start = sides[0]
        self.head = (
            _linear(latent_dim, first * self.start**2, generator) if head == "linear" else nn.Identity()
        )
        self.convolutions = nn.ModuleList(
            _Double(inputs, outputs, after, generator)
            for inputs, outputs, after in zip([first, *channels], channels, sides[1:], strict=False)
        )
        self.norms = nn.ModuleList(_norm(width, batch_norm) for width in channels)
        self.output = _PaintSame(last, generator) if head == "linear" else _PaintDouble(last, side, generator)

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (B, J) to means on [0, 1], or to logits, (B, side * side)."""
        dtype = _precision(z)
        with torch.autocast(z.device.type, enabled=False):
            h = _channels_last(self.head(z).view(len(z), -1, self.start, self.start))
            for double, norm in zip(self.convolutions, self.norms, strict=True):
                h = F.leaky_relu(norm(double(h.to(dtype))), _SLOPE, inplace=True)
            a = self.output(h.to(dtype)).flatten(1).to(z.dtype)
        return 2 * a if self.logits else (1 + torch.tanh(a)) / 2
