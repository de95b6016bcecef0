"""The shapes inside a network: its feature maps as boxes, all drawn to one scale."""

import itertools
import math
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Polygon
from torch import Tensor, nn

from vaelib.figures.images import side_of
from vaelib.figures.style import INK, LATENT, PHI, THETA, Picture, blank

# Inches: the width of the picture, what its words take at each side, between columns and between rows.
WIDTH, WORDS, BETWEEN, ROOM, LINE = 4.8, 1.12, 0.2, 0.24, 0.16
# How far a channel reaches to the right and upwards behind the first, in sides of a pixel.
ACROSS, UP = 0.4, 0.14


class FeatureMap(NamedTuple):
    """What a layer gives: ``channels`` squares of ``side`` by ``side`` numbers.

    ``weights`` are those of the layer that gave it, biases included; ``products`` is how many multiplications
    it took for one image, those with the zeros of the padding included.
    """

    side: int
    channels: int
    weights: int = 0
    products: int = 0


def feature_maps(network: nn.Module, *, side: int, channels: int) -> list[FeatureMap]:
    r"""Follow an image, or a latent, through the layers of a network.

    .. math::

        m = \left\lfloor \frac{n + 2 p - k}{s} \right\rfloor + 1, \qquad
        \hat n = s (m - 1) - 2 p + k + o

    Parameters
    ----------
    network : nn.Module
        Its ``Conv2d``, ``ConvTranspose2d`` and ``Linear`` layers are taken one after the other, as it names
        them; nothing is computed. A convolution after a linear layer takes its numbers for squares of as many
        channels as it wants.
    side, channels : int
        Of what goes in; a latent has the side 1 and J channels.

    Returns
    -------
    list of FeatureMap
        What goes in, and what each layer gives.

    Raises
    ------
    ValueError
        If a layer does not fit what comes before it, or is not square, or there is none.

    References
    ----------
    Book: eq-convolution-side, eq-transposed-side, eq-weight-count.
    """
    maps = [FeatureMap(side, channels)]
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            if maps[-1].side ** 2 * maps[-1].channels != layer.in_features:
                raise ValueError(
                    f"a linear layer wants {layer.in_features} numbers, and gets {_named(maps[-1])}"
                )
            maps.append(FeatureMap(1, layer.out_features, _weights(layer), layer.weight.numel()))
        elif isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            maps[-1] = _folded(maps[-1], layer.in_channels)
            maps.append(_convolved(maps[-1].side, layer))
    if len(maps) == 1:
        raise ValueError("the network has no layer of PyTorch's own to be followed")
    return maps


def _named(shape: FeatureMap) -> str:
    return f"{shape.side} × {shape.side} × {shape.channels}"


def _weights(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


def _folded(shape: FeatureMap, channels: int) -> FeatureMap:
    """The same numbers as squares of so many channels: a layer in between may have made a row of them."""
    side = math.isqrt(shape.channels // channels) if shape.side == 1 else shape.side
    if side**2 * channels != shape.side**2 * shape.channels:
        raise ValueError(f"a convolution wants {channels} channels, and gets {_named(shape)}")
    return shape._replace(side=side, channels=channels)


def _square(name: str, pair: Any) -> int:
    """What a layer does along rows, if it does the same along columns."""
    if isinstance(pair, str) or len(set(pair)) > 1:
        raise ValueError(f"{name} is {pair!r}: give one number for rows and columns")
    return int(pair[0])


def _convolved(side: int, layer: nn.Conv2d | nn.ConvTranspose2d) -> FeatureMap:
    names = ("kernel_size", "stride", "padding", "dilation")
    kernel, stride, padding, dilation = (_square(name, getattr(layer, name)) for name in names)
    reach = dilation * (kernel - 1) + 1
    if isinstance(layer, nn.ConvTranspose2d):
        extra = _square("output_padding", layer.output_padding)
        after = stride * (side - 1) - 2 * padding + reach + extra
        windows = side
    else:
        after = windows = (side + 2 * padding - reach) // stride + 1
    if after < 1:
        raise ValueError(
            f"a window of {reach} does not fit into a side of {side} with a padding of {padding}"
        )
    return FeatureMap(after, layer.out_channels, _weights(layer), windows**2 * layer.weight.numel())


def shapes(
    encoder: nn.Module,
    decoder: nn.Module,
    *,
    side: int,
    latent_dim: int,
    image: Tensor | None = None,
    drawn: Tensor | None = None,
) -> Picture:
    """Draw the feature maps of an encoder, from the top down, and of its decoder, from the bottom up.

    All boxes have one scale: a box is as high and as wide as its map has pixels a side, and as deep as it has
    channels. Beside the boxes are their sides and channels, and between them the weights of the layers.

    Parameters
    ----------
    encoder, decoder : nn.Module
        As for :func:`feature_maps`.
    side, latent_dim : int
        Of the image, and J.
    image, drawn : Tensor, shape (side * side,), optional
        In [0, 1]: shown on the encoder's first map and on the decoder's last one.

    Raises
    ------
    ValueError
        If the layers do not fit together, or a picture has another side.
    """
    for name, pixels in {"image": image, "drawn": drawn}.items():
        if pixels is not None and side_of(pixels) != side:
            raise ValueError(f"{name} has a side of {side_of(pixels)}, not of {side}")
    down = feature_maps(encoder, side=side, channels=1)
    latent, *up = feature_maps(decoder, side=1, channels=latent_dim)
    if up[-1][:2] == (1, side**2):  # a linear layer's numbers are an image, too
        up[-1] = up[-1]._replace(side=side, channels=1)
    # Rows are counted from the bottom: the latent, what q says of it, and then both columns side by side.
    rows = {0: [latent]}
    for row, box in [*zip(range(len(down), 0, -1), down, strict=True), *enumerate(up, start=2)]:
        rows.setdefault(row, []).append(box)
    unit = (WIDTH - 2 * WORDS - BETWEEN) / (max(map(_wide, down)) + max(map(_wide, up)))
    heights = [max(LINE, *(_high(box) * unit for box in rows[row])) for row in range(len(rows))]
    bottoms = [2 * LINE + sum(heights[:row]) + ROOM * row for row in range(len(rows))]

    figure = blank(WIDTH, bottoms[-1] + heights[-1] + 2 * LINE)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, figure.get_figheight()))
    axes.set_axis_off()

    def draw(box: FeatureMap, row: int, left: float, colour: str) -> float:
        """Draw a box in the middle of its row; return how high that is."""
        height = _high(box) * unit
        bottom = bottoms[row] + (heights[row] - height) / 2
        _box(axes, left, bottom, box, unit, colour)
        return bottom + height / 2

    at_latent = draw(latent, 0, (WIDTH - _wide(latent) * unit) / 2, LATENT)
    _say(axes, WIDTH / 2, LINE, f"$z$: {latent_dim} latents", LATENT, "center", fontweight="bold")

    words, levels = WORDS - 0.1, []
    for box, row in zip(down, range(len(down), 0, -1), strict=True):
        levels.append(draw(box, row, WORDS, PHI))
        _say(axes, words, levels[-1], _named(box), PHI, "right", fontweight="bold")
    _say(axes, words, _above(down[0], levels[0], unit), "encoder", PHI, "right", fontsize=10)
    made = [f"↓ {box.weights:,}" for box in down[1:]]
    for name, ends in zip(
        [*made, r"↓ $z \sim q(z\,|\,x)$"], itertools.pairwise([*levels, at_latent]), strict=True
    ):
        _say(axes, words, sum(ends) / 2, name, INK, "right", fontsize=8)

    words, levels = WIDTH - WORDS + 0.1, [at_latent]
    for row, box in enumerate(up, start=2):
        levels.append(draw(box, row, WIDTH - WORDS - _wide(box) * unit, THETA))
        _say(axes, words, levels[-1], _named(box), THETA, "left", fontweight="bold")
    _say(axes, words, _above(up[-1], levels[-1], unit), "decoder", THETA, "left", fontsize=10)
    for box, ends in zip(up, itertools.pairwise(levels), strict=True):
        _say(axes, words, sum(ends) / 2, f"↑ {box.weights:,}", INK, "left", fontsize=8)

    fronts = [face for face in axes.patches if isinstance(face, Polygon)][:: len(FACES)]
    for pixels, front in ((image, fronts[1]), (drawn, fronts[-1])):
        if pixels is not None:
            (left, bottom), (right, top) = front.get_xy()[[0, 2]]
            square = pixels.view(side, side).clamp(0, 1).numpy()
            axes.imshow(square, cmap="gray", vmin=0, vmax=1, extent=(left, right, bottom, top), zorder=3)
    axes.set(xlim=(0, WIDTH), ylim=(0, figure.get_figheight()))
    return figure


# The front, the top and the right of a box, by corners in sides and depths; and how opaque each is.
FACES = (
    (((0, 0), (1, 0), (1, 1), (0, 1)), (0, 0, 0, 0), 0.35),
    (((0, 1), (1, 1), (1, 1), (0, 1)), (0, 0, 1, 1), 0.12),
    (((1, 0), (1, 0), (1, 1), (1, 1)), (0, 1, 1, 0), 0.22),
)


def _wide(box: FeatureMap) -> float:
    return box.side + ACROSS * box.channels


def _high(box: FeatureMap) -> float:
    return box.side + UP * box.channels


def _box(axes: Axes, left: float, bottom: float, box: FeatureMap, unit: float, colour: str) -> None:
    across, up = ACROSS * box.channels, UP * box.channels
    for corners, depths, opaque in FACES:
        points = [
            (left + unit * (x * box.side + behind * across), bottom + unit * (y * box.side + behind * up))
            for (x, y), behind in zip(corners, depths, strict=True)
        ]
        axes.add_patch(
            Polygon(
                points, facecolor=to_rgba(colour, opaque), edgecolor=colour, linewidth=0.7, joinstyle="round"
            )
        )


def _above(box: FeatureMap, level: float, unit: float) -> float:
    return level + max(_high(box) * unit / 2, LINE) - LINE / 4


def _say(axes: Axes, x: float, y: float, words: str, colour: str, side: str, **style: Any) -> None:
    axes.text(x, y, words, color=colour, ha=side, va="center", **{"fontsize": 9, **style})
