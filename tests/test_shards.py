"""Images on disk: the same images, read in any order, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vaelib.data import Images
from vaelib.errors import DataError
from vaelib.models import mlp_vae
from vaelib.settings import Recipe
from vaelib.shards import COPIES, INDEX_FILE, Shards, shifted, write
from vaelib.training import fit


def images(count: int, side: int = 4, seed: int = 0) -> Images:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, side**2), generator=generator).byte()
    return Images(pixels, torch.randint(0, 10, (count,), generator=generator))


@pytest.fixture(scope="module")
def whole() -> Images:
    return images(70)


@pytest.fixture(scope="module")
def shards(whole: Images, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return write(tmp_path_factory.mktemp("shards"), [whole[:30], whole[30:31], whole[31:]])


@given(index=st.lists(st.integers(0, 69), max_size=40))
def test_images_come_in_the_order_that_was_asked_for(shards: Shards, whole: Images, index: list[int]) -> None:
    positions = torch.tensor(index, dtype=torch.int64)
    found, expected = shards.take(positions), whole.take(positions)
    assert torch.equal(found.pixels, expected.pixels)
    assert torch.equal(found.labels, expected.labels)


def test_training_from_disk_gives_the_weights_of_training_from_memory(shards: Shards, whole: Images) -> None:
    found = []
    for train in (whole, shards):
        model = mlp_vae(data_dim=16, hidden_dim=6, generator=torch.Generator().manual_seed(0))
        fit(model, train, Recipe(epochs=2, batch_size=16), progress=False)
        found.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(*found)


def test_copies_are_moved_and_nothing_else() -> None:
    inside = torch.zeros(1, 8, 8, dtype=torch.uint8)
    inside[0, 3:5, 3:6] = torch.arange(1, 7, dtype=torch.uint8).view(2, 3)
    one = Images(inside.view(1, 64), torch.tensor([7]))
    moved = [shifted(one, copy) for copy in range(COPIES)]
    assert torch.equal(moved[0].pixels, one.pixels)
    assert len({bytes(each.pixels.numpy()) for each in moved}) == COPIES == 25
    for each in moved:
        rows, columns = each.pixels.view(8, 8).nonzero(as_tuple=True)
        top, left = int(rows.min()), int(columns.min())
        assert torch.equal(each.pixels.view(8, 8)[top : top + 2, left : left + 3], inside[0, 3:5, 3:6])
        assert max(abs(top - 3), abs(left - 3)) <= 2
        assert each.labels.tolist() == [7]
    with pytest.raises(DataError, match="there are 25"):
        shifted(one, 25)


def test_unfinished_damaged_and_taken_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no finished shards"):
        Shards(tmp_path)
    write(tmp_path, [images(5), images(3)])
    with pytest.raises(DataError, match="holds shards already"):
        write(tmp_path, [images(5)])
    np.save(tmp_path / "pixels-00001.npy", np.zeros((2, 16), np.uint8))
    with pytest.raises(DataError, match="shard 1 is not of 3 images"):
        Shards(tmp_path)
    (tmp_path / "pixels-00001.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="shard 1 cannot be read"):
        Shards(tmp_path)
    (tmp_path / INDEX_FILE).write_text(json.dumps({"size": [5]}))
    with pytest.raises(DataError, match="damaged"):
        Shards(tmp_path)


PEAK = """
import resource, sys, torch
from pathlib import Path
from vaelib.shards import Shards
shards = Shards(Path(sys.argv[1]))
order = torch.randperm(len(shards), generator=torch.Generator().manual_seed(0))
shards.take(order[:4096])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for part in order.split(4096):
    shards.take(part)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS counts ru_maxrss in other units")
def test_memory_does_not_grow_with_what_has_been_read(tmp_path: Path) -> None:
    part = images(20_000, side=28)
    write(tmp_path, [part] * 6)  # 94 MB
    command = [sys.executable, "-c", PEAK, str(tmp_path)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    # A reading of 4,096 images takes 3 MB for them, as much again while they are sorted, and up to 17 MB of
    # pages that they lie in; after the first one nothing more is needed, but for what malloc keeps.
    assert grown < 20_000_000
