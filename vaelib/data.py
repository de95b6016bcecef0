"""MNIST and Fashion-MNIST as tensors: held in memory once, as bytes, and made into numbers on demand."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vaelib import sources
from vaelib.errors import DataError

PIXELS = 28 * 28


@dataclass(frozen=True, eq=False)
class Images:
    """Images with their labels, row by row.

    Parameters
    ----------
    pixels : Tensor (N, 784), uint8
        Grey values, 0 (paper) to 255 (ink), rows of the image one after another. Other squares than those of
        28 pixels a side will do.
    labels : Tensor (N,), int64
        Class of each image, 0 to 9.

    Raises
    ------
    DataError
        If a shape or a dtype is another, or the lengths differ.
    """

    pixels: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        count = self.labels.shape[0] if self.labels.ndim == 1 else "N"
        width = self.pixels.shape[-1] if self.pixels.ndim else 0
        pixels = width if width and math.isqrt(width) ** 2 == width else PIXELS
        for name, tensor, shape, dtype in (
            ("labels", self.labels, (count,), torch.int64),
            ("pixels", self.pixels, (count, pixels), torch.uint8),
        ):
            if tuple(tensor.shape) != shape or tensor.dtype != dtype:
                expected = str(shape).replace("'", "")
                raise DataError(
                    f"Images: {name} must be {dtype} of shape {expected}, "
                    f"not {tensor.dtype} of shape {tuple(tensor.shape)}"
                )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | list[int] | Tensor) -> "Images":
        """Images at a slice, a list or a tensor of positions; ``images[i : i + 1]`` for one."""
        return Images(self.pixels[index], self.labels[index])

    def take(self, index: Tensor) -> "Images":
        """Images at these positions, in their order; several times quicker than indexing with a tensor."""
        return Images(self.pixels.index_select(0, index), self.labels.index_select(0, index))

    def floats(self) -> Tensor:
        r"""Grey values in [0, 1].

        .. math:: x = \text{pixels} / 255

        Returns
        -------
        Tensor (N, 784), float32
        """
        return self.pixels.to(torch.float32).div_(255)

    def framed(self, side: int) -> "Images":
        """Return the same images in the middle of paper of ``side`` pixels a side.

        Raises
        ------
        DataError
            If the paper is smaller, or the images would not lie in its middle.
        """
        old = math.isqrt(self.pixels.shape[1])
        margin, odd = divmod(side - old, 2)
        if margin < 0 or odd:
            raise DataError(f"images of side {old} do not lie in the middle of {side} by {side} pixels")
        framed = F.pad(self.pixels.view(-1, old, old), [margin] * 4)
        return Images(framed.flatten(1), self.labels)

    def to(self, device: torch.device | str) -> "Images":
        """Return the same images on another device."""
        return Images(self.pixels.to(device), self.labels.to(device))


class Dataset(Protocol):
    """What can be trained on: :class:`Images` in memory, or :class:`vaelib.shards.Shards` on disk."""

    def __len__(self) -> int:
        """How many images there are."""

    def take(self, index: Tensor) -> Images:
        """Images at these positions, in their order."""

    def to(self, device: torch.device) -> "Dataset":
        """Bring to the device what is in memory."""


def load_mnist(
    *, root: str | Path | None = None, folder: str | Path | None = None, progress: bool = True
) -> tuple[Images, Images]:
    """MNIST: 60,000 handwritten digits to train on and 10,000 to test on.

    See `load` for the parameters.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86 (1998) 2278-2324.
    """
    return load("mnist", root=root, folder=folder, progress=progress)


def load_fashion_mnist(
    *, root: str | Path | None = None, folder: str | Path | None = None, progress: bool = True
) -> tuple[Images, Images]:
    """Fashion-MNIST: 60,000 pieces of clothing to train on and 10,000 to test on.

    See `load` for the parameters.

    References
    ----------
    H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", arXiv:1708.07747 (2017).
    """
    return load("fashion-mnist", root=root, folder=folder, progress=progress)


def load(
    dataset: str = "mnist",
    *,
    root: str | Path | None = None,
    folder: str | Path | None = None,
    progress: bool = True,
) -> tuple[Images, Images]:
    """Training and test images of a data set, fetched if the cache has them not.

    Parameters
    ----------
    dataset : {"mnist", "fashion-mnist"}
    root : path, optional
        Cache folder; ``VAELIB_DATA``, else vaelib's place in the user's cache folder, if not given.
    folder : path, optional
        Take what the cache lacks from here: raw or ``.gz`` IDX files.
    progress : bool
        Show a progress bar while something downloads.

    Returns
    -------
    train, test : Images

    Raises
    ------
    DataError
        If a file is damaged or no source could serve.
    """
    contents = sources.fetch(dataset, root=root, folder=folder, progress=progress).contents
    return _images(contents, "train"), _images(contents, "t10k")


def _images(contents: Mapping[str, bytes], part: str) -> Images:
    """Skip the IDX headers, 16 bytes before pixels and 8 before labels: the MD5 has proved what they say."""
    pixels = torch.frombuffer(bytearray(contents[f"{part}-images-idx3-ubyte"]), dtype=torch.uint8, offset=16)
    labels = torch.frombuffer(bytearray(contents[f"{part}-labels-idx1-ubyte"]), dtype=torch.uint8, offset=8)
    return Images(pixels.view(-1, PIXELS), labels.long())


def split(images: Images, held_out: int, *, seed: int = 0) -> tuple[Images, Images]:
    """Hold out images at random, each image landing in exactly one part.

    Parameters
    ----------
    images : Images
        N of them.
    held_out : int
        Number of images in the second part, 0 to N - 1.
    seed : int
        The same seed gives the same parts on every machine.

    Returns
    -------
    kept, held : Images
        N - held_out and held_out images.

    Raises
    ------
    DataError
        If ``held_out`` is outside 0 to N - 1.
    """
    if not 0 <= held_out < len(images):
        raise DataError(
            f"split: held_out must be 0 to {len(images) - 1} for {len(images)} images, not {held_out}"
        )
    # On the CPU whatever the device of the images, for a GPU permutes otherwise.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    kept = len(images) - held_out
    return images[order[:kept]], images[order[kept:]]


class Parts(NamedTuple):
    """What is trained on, what is chosen on, and what is reported on."""

    train: Images
    validation: Images
    test: Images


def parts(train: Images, test: Images, *, validation: int, mixed: bool = False, seed: int = 0) -> Parts:
    """Hold out validation images from the training set, or mix both sets and split them anew.

    Parameters
    ----------
    train, test : Images
        As they were published.
    validation : int
        How many to hold out; 0 for none.
    mixed : bool
        Throw both sets together and split at random: as many test images as before, but others. Numbers on
        such a test set do not compare with those on the published one, of which most is trained on.
    seed : int
        The same seed gives the same parts on every machine.

    Raises
    ------
    DataError
        If nothing is left to train on.
    """
    if mixed:
        both = Images(torch.cat([train.pixels, test.pixels]), torch.cat([train.labels, test.labels]))
        train, test = split(both, len(test), seed=seed)
    return Parts(*split(train, validation, seed=seed), test)
