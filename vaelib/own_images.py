"""A reader's own pictures as MNIST has its digits: light ink on black, in a box of 20 pixels, on 28 by 28."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vaelib.errors import DataError

Invert = Literal["auto", "yes", "no"]
Grey = np.ndarray[Any, np.dtype[np.float64]]

SIDE, BOX = 28, 20
# A photograph is first made so small: averages over many of its pixels have no grain.
LARGEST = 280
# Of 255 greys: with less between the darkest and the lightest pixel there is no digit.
LEAST_CONTRAST = 16
# Where paper has grain, as in a photograph, ink is what is further from it than this many deviations of the
# grain, than this share of the darkest ink, and not alone: of 80,000 pixels some are far out by chance.
ABOVE_GRAIN, FAINT, COMPANY = 5, 0.1, 3


def read(paths: Sequence[Path], *, invert: Invert = "auto") -> Tensor:
    """Read pictures and lay each out as MNIST's digits are.

    Colours become grey, transparent pixels paper. The paper's grey is a plane through the picture's edge, so
    that a shadow across a photograph is paper too, and what hardly differs from it where it has grain is
    none of the ink. The ink is cut out, scaled until its longer side has 20 pixels, made as light as 255 at
    its lightest, and laid on 28 by 28 black pixels with the middle of its mass in the middle. A pen of a
    tenth of the digit's height writes as MNIST's did; a hairline nearly disappears.

    A picture that already has 28 by 28 pixels is taken for one of MNIST's and not moved.

    Parameters
    ----------
    paths : sequence of Path
        Of K files in any format that Pillow reads; of a film, its first frame.
    invert : {"auto", "yes", "no"}
        Whether the ink is darker than the paper. Auto looks at the edge: where most of it is nearer to the
        picture's lightest pixel than to its darkest, paper is light.

    Returns
    -------
    Tensor, shape (K, 784), uint8

    Raises
    ------
    DataError
        If a file is no picture, or nothing is drawn on it.
    ValueError
        If ``invert`` is unknown.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner (1998), section III.A, for the box and the mass.
    """
    if invert not in get_args(Invert):
        raise ValueError(f"{invert!r} is not one of {', '.join(get_args(Invert))}")
    rows = [_as_digit(_grey(path), invert, path) for path in paths]
    return torch.from_numpy(np.stack(rows)).flatten(1) if rows else torch.empty(0, SIDE**2, dtype=torch.uint8)


def _grey(path: Path) -> Grey:
    """The picture's greys, 0 to 255, upright."""
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
    # Pillow's readers complain of broken files in these ways; the last is about files made to fill memory.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a picture that can be read ({error})") from error
    if picture.mode.startswith(("I", "F")):  # more than 8 bits: what is light or dark, only the picture knows
        deep = np.asarray(picture, dtype=np.float64)
        if not np.isfinite(deep).all():
            raise DataError(f"{path}: not a picture that can be read (a grey is not a number)")
        span = np.ptp(deep)
        grey = 255 * (deep - deep.min()) / span if span else np.zeros_like(deep)
        picture = Image.fromarray(grey.round().astype(np.uint8))
    elif picture.has_transparency_data:
        layers = picture.convert("LA")
        ink, cover = (np.asarray(layer, dtype=np.float64) for layer in layers.split())
        # Transparent is the paper: white beneath dark ink, black beneath light.
        paper = 255.0 if (ink * cover).sum() < 128 * cover.sum() else 0.0
        over = (ink * cover + paper * (255 - cover)) / 255
        picture = Image.fromarray(over.round().astype(np.uint8))
    else:
        picture = picture.convert("L")
    if max(picture.size) > LARGEST:
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
    return np.asarray(picture, dtype=np.float64)


def _as_digit(grey: Grey, invert: Invert, path: Path) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    darkest, lightest = grey.min(), grey.max()
    if lightest - darkest < LEAST_CONTRAST:
        raise DataError(f"{path}: nothing is drawn on it, all of it is about the same grey")
    dark_ink = invert == "yes"
    if invert == "auto":
        most = np.median(grey[_on_edge(grey)])
        dark_ink = bool(most - darkest > lightest - most)
    if dark_ink:
        grey = 255 - grey
    if grey.shape == (SIDE, SIDE):
        return grey.round().astype(np.uint8)
    ink = _above_paper(grey, shaded=dark_ink)
    if not ink.any():
        raise DataError(
            f"{path}: no {'dark ink on light' if dark_ink else 'light ink on dark'} paper is found on it: "
            "see --invert, or cut the picture to the digit"
        )
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    cut = Image.fromarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32))
    scale = BOX / max(cut.size)
    width, height = (max(1, round(scale * length)) for length in cut.size)
    small = np.asarray(cut.resize((width, height), _kernel(scale)), dtype=np.float64).clip(0)
    small = (255 * small / small.max()).round()
    left, top = (_start(small.sum(axis), length) for axis, length in ((0, width), (1, height)))
    digit = np.zeros((SIDE, SIDE), dtype=np.uint8)
    digit[top : top + height, left : left + width] = small
    return digit


def _on_edge(grey: Grey) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    edge = np.ones(grey.shape, dtype=bool)
    edge[1:-1, 1:-1] = False
    return edge


def _above_paper(grey: Grey, *, shaded: bool) -> Grey:
    """How far each pixel is above the paper, a plane through the edge; 0 where that is no more than grain.

    Where paper is the light one, what has been turned into its darkness is light that falls on it, and
    falls on the ink too: ``shaded`` ink is a share of that.
    """
    edge, lightest, middle = _on_edge(grey), grey.max(), (grey.min() + grey.max()) / 2
    # Ink may run over the edge: what is nearer to the lightest pixel than to most of the edge counts as ink.
    most = np.median(grey[edge])
    bare = edge & (grey < ((most + lightest) / 2 if most < middle else middle))
    if not bare.any():
        alone: Grey = grey - grey.min()
        return alone
    down, across = np.mgrid[0 : grey.shape[0], 0 : grey.shape[1]]
    places = np.stack([np.ones(bare.sum()), down[bare], across[bare]], 1)
    plane, *_ = np.linalg.lstsq(places, grey[bare], rcond=None)
    paper = plane[0] + plane[1] * down + plane[2] * across
    above: Grey = grey - paper
    grain = 1.4826 * np.median(np.abs(above[bare]))  # the deviation, were it normal, whatever lies about
    ink = above >= (max(ABOVE_GRAIN * grain, FAINT * above.max()) if grain > 1 else 1)
    if grain > 1:
        beside = np.lib.stride_tricks.sliding_window_view(np.pad(ink, 1), (3, 3)).sum((2, 3))
        ink &= beside > COMPANY
    if shaded:
        above = above / (255 - paper).clip(1)
    return np.where(ink, above, 0.0)


def _kernel(scale: float) -> Image.Resampling:
    """Means over areas make smaller, lines between pixels larger."""
    return Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR


def _start(mass: Grey, length: int) -> int:
    """Where along one side to begin, so that the middle of the mass is in the middle, and nothing cut off."""
    middle = (mass * (np.arange(length) + 0.5)).sum() / mass.sum()
    # Up to a pixel to the right, as in MNIST: its middles are all from 14 to 15.
    return int(min(max(math.ceil(SIDE / 2 - middle), 0), SIDE - length))
