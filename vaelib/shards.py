"""Images on disk, for sets that are larger than memory: files that are mapped in where they are read.

A folder of shards has ``pixels-00000.npy`` (n, D) and ``labels-00000.npy`` (n,), both of bytes, and
``shards.json``, which is written last: a folder without one is not finished.
"""

import json
import math
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vaelib.data import Images
from vaelib.errors import DataError
from vaelib.files import write_atomically

INDEX_FILE = "shards.json"

# By whole pixels, the nearest first: a digit is the same digit two pixels further on.
_SHIFTS = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
_SHIFTS.sort(key=lambda by: by[0] ** 2 + by[1] ** 2)
COPIES = len(_SHIFTS)


class Shards:
    """Images in files, of which those that are asked for are read.

    Memory holds the sizes of the files, and what was read as long as the caller holds it: each reading maps
    the files anew and lets go of them.

    Parameters
    ----------
    folder : Path
        Which :func:`write` wrote.

    Raises
    ------
    DataError
        If the folder is not finished, or a file is missing or has another shape than was written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / INDEX_FILE
        try:
            self.sizes = [int(size) for size in json.loads(path.read_text())["sizes"]]
        except FileNotFoundError as error:
            raise DataError(
                f"{folder} holds no finished shards ({INDEX_FILE} is missing): write them with `vaelib shard`"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error!r}): write the shards anew") from error
        self.folder = folder
        self._starts = torch.tensor([0, *self.sizes]).cumsum(0)
        self.data_dim = self._mapped(0)[0].shape[1] if self.sizes else 0
        for number, size in enumerate(self.sizes):
            pixels, labels = self._mapped(number)
            wanted = (size, self.data_dim)
            if pixels.shape != wanted or labels.shape != wanted[:1]:
                raise DataError(f"{folder}: shard {number} is not of {size} images: write the shards anew")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, index: Tensor) -> Images:
        """Read the images at these positions, in their order."""
        index = index.cpu()
        order = index.argsort()
        bounds = torch.searchsorted(index[order], self._starts).tolist()
        pixels = torch.empty(len(index), self.data_dim, dtype=torch.uint8)
        labels = torch.empty(len(index), dtype=torch.int64)
        for number, (first, last) in enumerate(pairwise(bounds)):
            if first < last:
                places = order[first:last]
                rows = (index[places] - self._starts[number]).numpy()
                from_pixels, from_labels = self._mapped(number)
                pixels[places] = torch.from_numpy(from_pixels[rows])
                labels[places] = torch.from_numpy(from_labels[rows]).long()
        return Images(pixels, labels)

    def to(self, device: torch.device | str) -> "Shards":  # noqa: ARG002 (what is read goes there, not the files)
        """Return the same images: on a device there is only what has been read."""
        return self

    def _mapped(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        try:
            pixels, labels = (
                np.load(self.folder / f"{name}-{number:05}.npy", mmap_mode="r")
                for name in ("pixels", "labels")
            )
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder}: shard {number} cannot be read ({error}): write anew") from error
        return pixels, labels


def write(folder: Path, parts: Iterable[Images]) -> Shards:
    """Write images as shards, one for each part; only one part need be in memory.

    Raises
    ------
    DataError
        If the folder holds shards already.
    """
    if (folder / INDEX_FILE).exists():
        raise DataError(f"{folder} holds shards already: choose another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    sizes = []
    for number, part in enumerate(parts):
        np.save(folder / f"pixels-{number:05}.npy", part.pixels.numpy())
        np.save(folder / f"labels-{number:05}.npy", part.labels.byte().numpy())
        sizes.append(len(part))
    write_atomically(folder / INDEX_FILE, json.dumps({"sizes": sizes}).encode())
    return Shards(folder)


def shifted(images: Images, copy: int) -> Images:
    """Return the images moved by whole pixels, each copy its own way, the first not at all.

    Raises
    ------
    DataError
        If there is no such copy.
    """
    if not 0 <= copy < COPIES:
        raise DataError(f"copy {copy}: there are {COPIES}, 0 to {COPIES - 1}")
    dy, dx = _SHIFTS[copy]
    side = math.isqrt(images.pixels.shape[1])
    moved = F.pad(images.pixels.view(-1, side, side), (dx, -dx, dy, -dy))
    return Images(moved.flatten(1), images.labels)
