"""Convolutional encoder and decoder, made to be fast on a CPU.

Images come and go as rows of pixels, as everywhere in vaelib. In between they are (B, S, S, C): a pixel's
channels lie side by side, the order in which a CPU's convolutions read them.

In float32 all is PyTorch's own. In bfloat16 (``torch.autocast``) a processor with AMX multiplies matrices ten
times as fast, and what is left is everything else: so filters are kept in the order in which they are used,
convolutions of small images are written as products of matrices, and backward passes leave out what is slow.
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
    """(B, S, S, C) as PyTorch's layers want it, without a copy: (B, C, S, S), channels last in memory."""
    return x.permute(0, 3, 1, 2)


def _nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _cast(parameter: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if parameter is None else parameter.to(dtype)


def _precision(x: Tensor) -> torch.dtype:
    """What autocast asks for, or else the precision of ``x``."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _by_hand(x: Tensor) -> bool:
    """Whether the backward passes written here pay off; PyTorch's own also serve ``torch.func``."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu"


def _patches(x: Tensor) -> Tensor:
    """All pixels that a filter with stride 2 and a padding of 1 sees: (B, S, S, C) to (B H H, 9 C)."""
    odd = x.shape[1] % 2
    padded = F.pad(x, (0, 0, 1, odd, 1, odd))
    return padded.unfold(1, 3, 2).unfold(2, 3, 2).permute(0, 1, 2, 4, 5, 3).reshape(-1, 9 * x.shape[3])


class _Halving(torch.autograd.Function):
    r"""Convolution with stride 2 and a padding of 1, from (B, S, S, C) to (B, H, H, K), H = S/2 rounded up.

    .. math::

        y = P W^{\mathsf T} + b, \qquad
        \frac{\partial \ell}{\partial W} = \Bigl(\frac{\partial \ell}{\partial y}\Bigr)^{\mathsf T} P, \qquad
        P = \text{patches}(x)
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        patches, matrix = _patches(x), weight.flatten(1).mT
        ctx.save_for_backward(patches, weight)
        ctx.side = x.shape[1]
        y = patches @ matrix if bias is None else torch.addmm(bias, patches, matrix)
        half = (x.shape[1] + 1) // 2
        return y.view(-1, half, half, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        patches, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, len(weight))
        of_bias = rows.sum(0) if ctx.needs_input_grad[2] else None
        return _transposed(gradient, weight, None, ctx.side), (rows.mT @ patches).view_as(weight), of_bias


class _Doubling(torch.autograd.Function):
    r"""Transposed convolution with stride 2 and a padding of 1, from (B, H, H, K) to (B, S, S, C).

    It is the transpose of :class:`_Halving` with the same weight, and so is its backward pass:

    .. math::

        \frac{\partial \ell}{\partial x} = P W^{\mathsf T}, \qquad
        \frac{\partial \ell}{\partial W} = x^{\mathsf T} P, \qquad
        P = \text{patches}\Bigl(\frac{\partial \ell}{\partial y}\Bigr)

    PyTorch's takes longer for the gradient of the bias than for the two others together.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, side: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _transposed(x, weight, bias, side)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        if gradient.shape[1] > _SMALL:
            wide, filters = _nchw(gradient), _nchw(weight)
            of_x = _nhwc(F.conv2d(wide, filters, stride=2, padding=1))
            of_weight = _nhwc(conv2d_weight(wide, filters.shape, _nchw(x), 2, 1))  # type: ignore[no-untyped-call]
        else:
            patches = _patches(gradient)
            of_x = (patches @ weight.flatten(1).mT).view_as(x)
            of_weight = (x.reshape(-1, len(weight)).mT @ patches).view_as(weight)
        rows = gradient.reshape(-1, weight.shape[3])
        return of_x, of_weight, rows.sum(0) if ctx.needs_input_grad[2] else None, None


def _transposed(x: Tensor, weight: Tensor, bias: Tensor | None, side: int) -> Tensor:
    rest = side + 1 - 2 * x.shape[1]
    y = F.conv_transpose2d(_nchw(x), _nchw(weight), bias, stride=2, padding=1, output_padding=rest)
    return _nhwc(y)


def _shifted(image: Tensor, side: int, stride: int) -> list[Tensor]:
    """The part of a padded image that each of the nine weights of a filter touches."""
    reach = stride * (side - 1) + 1
    return [image[:, i : i + reach : stride, j : j + reach : stride] for i in range(3) for j in range(3)]


class _Painting(torch.autograd.Function):
    r"""Transposed convolution with a padding of 1 to a single channel, from (B, H, H, K) to (B, S, S).

    .. math::

        y_q = \sum_{p, k \,:\, s p + k - 1 = q} W_k \cdot x_p, \qquad k \in \{0, 1, 2\}^2

    One product gives what each pixel adds to its nine neighbours; then nine images are added up in float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, side: int, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        batch, small = x.shape[:2]
        parts = (weight @ x.reshape(-1, x.shape[3]).mT).view(9, batch, small, small)
        size = stride * (small - 1) + 3
        image = torch.zeros(batch, size, size, device=x.device)
        for target, part in zip(_shifted(image, small, stride), parts, strict=True):
            target += part
        return image[:, 1 : side + 1, 1 : side + 1].contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        small, side = x.shape[1], gradient.shape[1]
        after = ctx.stride * (small - 1) + 2 - side
        padded = F.pad(gradient.to(x.dtype), (1, after, 1, after))
        parts = torch.stack(_shifted(padded, small, ctx.stride)).view(9, -1)
        return (parts.mT @ weight).view_as(x), parts @ x.reshape(-1, x.shape[3]), None, None


class _Filters(nn.Module):
    """The filters between a small image and one twice as wide, for both directions.

    Parameters
    ----------
    small, wide : int
        Channels of the two images.
    inputs : int
        What the initial weights are drawn for, between -1 / sqrt(9 inputs) and 1 / sqrt(9 inputs).
    bias : int
        Channels with a bias.
    generator : torch.Generator, optional
        Draws the initial weights.

    Notes
    -----
    The weight is (small, 3, 3, wide), since another order would have to be restored in every step. In a
    ``state_dict`` it stands as in PyTorch's layers, (small, wide, 3, 3), and can be exchanged with theirs.
    """

    def __init__(
        self, small: int, wide: int, *, inputs: int, bias: int, generator: torch.Generator | None
    ) -> None:
        super().__init__()
        bound = 1 / math.sqrt(9 * inputs)
        weight = torch.empty(small, wide, 3, 3).uniform_(-bound, bound, generator=generator)
        self.weight = nn.Parameter(_nhwc(weight).contiguous())
        self.bias = (
            nn.Parameter(torch.empty(bias).uniform_(-bound, bound, generator=generator)) if bias else None
        )

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = _nchw(destination[prefix + "weight"])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        name = prefix + "weight"
        if name in state_dict and state_dict[name].ndim == 4:
            state_dict[name] = _nhwc(state_dict[name])
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _Halve(_Filters):
    """Convolution with stride 2: (B, S, S, wide) to (B, H, H, small), H = S/2 rounded up."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == 2:
            # Four of the nine weights meet the image, and casting them would take longer than the product.
            x = x.to(self.weight.dtype).flatten(1)
            return F.linear(x, self.weight[:, 1:, 1:].flatten(1), self.bias)[:, None, None]
        weight, bias = self.weight.to(x.dtype), _cast(self.bias, x.dtype)
        if _by_hand(x) and x.shape[3] > 1 and x.shape[1] <= _SMALL:
            y: Tensor = _Halving.apply(x, weight, bias)
            return y
        return _nhwc(F.conv2d(_nchw(x), _nchw(weight), bias, stride=2, padding=1))


class _Double(_Filters):
    """Transposed convolution with stride 2: (B, H, H, small) to (B, side, side, wide)."""

    def forward(self, x: Tensor, side: int) -> Tensor:
        if side == 2:
            x = x.to(self.weight.dtype).flatten(1)
            y = (x @ self.weight[:, 1:, 1:].flatten(1)).view(-1, 2, 2, self.weight.shape[3])
            return y if self.bias is None else y + self.bias
        weight, bias = self.weight.to(x.dtype), _cast(self.bias, x.dtype)
        if _by_hand(x):
            y = _Doubling.apply(x, weight, bias, side)
        else:  # a bias added by itself gets its gradient by a quicker sum
            y = _transposed(x, weight, None, side)
            y = y if bias is None else y + bias
        return y


class _Paint(_Filters):
    """Convolution, transposed if it has a stride, to the one channel of a picture: (B, side, side)."""

    def forward(self, x: Tensor, side: int) -> Tensor:
        if self.weight.shape[3] == 1:
            stride, weight = 2, self.weight.flatten(1).mT
        else:  # with stride 1, a convolution is a transposed one with its filter turned half around
            stride, weight = 1, self.weight[0].flip(0, 1).flatten(0, 1)
        weight = weight.to(x.dtype)
        if _by_hand(x):
            picture: Tensor = _Painting.apply(x, weight, side, stride)
        else:
            parts = weight @ x.flatten(1, 2).mT
            picture = F.fold(parts, (side, side), 3, padding=1, stride=stride)[:, 0]
        return picture if self.bias is None else picture + self.bias


def _linear(inputs: int, outputs: int, generator: torch.Generator | None) -> nn.Linear:
    """A linear layer that starts as PyTorch's own do, drawn from ``generator``."""
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = 1 / math.sqrt(inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


def _norm(channels: int, batch_norm: bool) -> nn.Module:
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


def _activated(x: Tensor, norm: nn.Module) -> Tensor:
    return F.leaky_relu(_nhwc(norm(_nchw(x))), _SLOPE)


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
            _Halve(outputs, inputs, inputs=inputs, bias=0 if batch_norm else outputs, generator=generator)
            for inputs, outputs in zip([1, *channels], channels, strict=False)
        )
        self.norms = nn.ModuleList(_norm(width, batch_norm) for width in channels)
        last, left, outputs = channels[-1], _sides(side, len(channels))[-1], 2 * latent_dim
        self.head: nn.Module = (
            _linear(last * left**2, outputs, generator)
            if head == "linear"
            else _Halve(outputs, last, inputs=last, bias=outputs, generator=generator)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, side * side) on [0, 1] to ``mean`` and ``log_var``, each (B, J)."""
        dtype = _precision(x)
        with torch.autocast(x.device.type, enabled=False):
            h = (2 * x - 1).to(dtype).view(-1, self.side, self.side, 1)
            for halve, norm in zip(self.convolutions, self.norms, strict=True):
                h = _activated(halve(h), norm)
            if isinstance(self.head, nn.Linear):
                output = self.head(_nchw(h).flatten(1).to(x.dtype))
            else:
                output = self.head(h).flatten(1)
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
        self.side, self.sides = side, sides[: layers + 1]
        self.head = (
            _linear(latent_dim, first * sides[0] ** 2, generator) if head == "linear" else nn.Identity()
        )
        # Of a transposed convolution PyTorch takes the outputs for the inputs when it draws its weights.
        self.convolutions = nn.ModuleList(
            _Double(inputs, outputs, inputs=outputs, bias=outputs, generator=generator)
            for inputs, outputs in zip([first, *channels], channels, strict=False)
        )
        self.norms = nn.ModuleList(_norm(width, batch_norm) for width in channels)
        self.output = (
            _Paint(1, last, inputs=last, bias=0, generator=generator)
            if head == "linear"
            else _Paint(last, 1, inputs=1, bias=1, generator=generator)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (B, J) to means on [0, 1], or to logits, (B, side * side)."""
        dtype = _precision(z)
        start, *sides = self.sides
        with torch.autocast(z.device.type, enabled=False):
            h = _nhwc(self.head(z).view(len(z), -1, start, start)).contiguous()
            for double, norm, side in zip(self.convolutions, self.norms, sides, strict=True):
                h = _activated(double(h if side == 2 else h.to(dtype), side), norm)
            a = self.output(h.to(dtype), self.side).flatten(1).to(z.dtype)
        return 2 * a if self.logits else (1 + torch.tanh(a)) / 2
