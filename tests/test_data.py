"""The images themselves: read as torchvision reads them, and split with nothing dropped or shared."""

import hashlib
import time
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaelib import sources
from vaelib.data import Images, load, load_fashion_mnist, load_mnist, parts, split
from vaelib.errors import DataError


@pytest.fixture(scope="module")
def mnist():
    return load_mnist()


def numbered(count: int) -> Images:
    """Images of which no two are alike: the row's number in its first two pixels, and as its label."""
    pixels = torch.zeros(count, 784, dtype=torch.uint8)
    number = torch.arange(count)
    pixels[:, 0], pixels[:, 1] = number // 256, number % 256
    return Images(pixels, number)


def numbers(images: Images) -> list[int]:
    return (images.pixels[:, 0].long() * 256 + images.pixels[:, 1]).tolist()


# MNIST -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "count"), [(0, 60_000), (1, 10_000)], ids=["train", "test"])
def test_torchvision_reads_the_same_pixels_and_labels_from_the_same_cache(mnist, part, count):
    from torchvision.datasets import MNIST

    theirs = MNIST(sources.cache_dir(), train=part == 0, download=False)
    ours = mnist[part]
    assert len(ours) == count
    assert torch.equal(ours.pixels.view(-1, 28, 28), theirs.data)
    assert torch.equal(ours.labels, theirs.targets)


def test_tensors_hold_the_proved_bytes_and_nothing_else(mnist):
    for part, images in zip(("train", "t10k"), mnist, strict=True):
        md5 = {file.name: file.md5 for file in sources.MNIST.files}
        header = bytes.fromhex("00000803") + len(images).to_bytes(4) + (28).to_bytes(4) * 2
        content = header + images.pixels.numpy().tobytes()
        assert hashlib.md5(content).hexdigest() == md5[f"{part}-images-idx3-ubyte"]
        header = bytes.fromhex("00000801") + len(images).to_bytes(4)
        content = header + images.labels.to(torch.uint8).numpy().tobytes()
        assert hashlib.md5(content).hexdigest() == md5[f"{part}-labels-idx1-ubyte"]


@pytest.mark.usefixtures("mnist")  # which fills the cache
def test_loading_from_the_cache_takes_under_half_a_second():
    times = []
    for _ in range(3):
        start = time.perf_counter()
        load_mnist()
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5  # the best of three: a busy machine proves nothing


def test_floats_are_in_0_1_and_equal_pixels_over_255(mnist):
    test = mnist[1]
    before = test.pixels.clone()
    floats = test.floats()
    assert floats.shape == (10_000, 784)
    assert floats.dtype == torch.float32
    assert floats.min() == 0
    assert floats.max() == 1
    np.testing.assert_array_equal(floats.numpy(), test.pixels.numpy() / np.float32(255))
    assert torch.equal(test.pixels, before)


def test_every_grey_value_becomes_the_nearest_float_to_its_255th():
    pixels = torch.arange(784).remainder(256).to(torch.uint8).view(1, 784)
    floats = Images(pixels, torch.zeros(1, dtype=torch.int64)).floats()
    np.testing.assert_array_equal(floats.numpy(), (pixels.numpy() / 255.0).astype(np.float32))


def test_each_door_asks_for_its_own_data_set(monkeypatch, tmp_path):
    asked = []

    def fetch(dataset, **options):
        asked.append((dataset, options))
        raise DataError("asked")

    monkeypatch.setattr(sources, "fetch", fetch)
    options = {"root": tmp_path, "folder": tmp_path / "f", "progress": False}
    for door in (load, load_mnist, load_fashion_mnist):
        with pytest.raises(DataError, match="asked"):
            door(**options)
    assert asked == [("mnist", options), ("mnist", options), ("fashion-mnist", options)]


# Images ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "labels", "says"),
    [
        (
            torch.zeros(3, 784, dtype=torch.uint8),
            torch.zeros(4, dtype=torch.int64),
            r"\(4, 784\), not .* \(3, 784\)",
        ),
        (
            torch.zeros(3, 784),
            torch.zeros(3, dtype=torch.int64),
            "pixels must be torch.uint8 .* not torch.float32",
        ),
        (
            torch.zeros(3, 28, 28, dtype=torch.uint8),
            torch.zeros(3, dtype=torch.int64),
            r"not .* \(3, 28, 28\)",
        ),
        (torch.zeros(3, 784, dtype=torch.uint8), torch.zeros(3), "labels must be torch.int64"),
        (
            torch.zeros(3, 784, dtype=torch.uint8),
            torch.zeros(3, 10, dtype=torch.int64),
            "labels must be .* shape",
        ),
        (torch.zeros(784, dtype=torch.uint8), torch.tensor(3), r"labels must be torch.int64 of shape \(N,\)"),
    ],
    ids=["lengths differ", "floats", "not flat", "float labels", "one-hot labels", "one image"],
)
def test_images_of_another_shape_or_dtype_are_refused(pixels, labels, says):
    with pytest.raises(DataError, match=says):
        Images(pixels, labels)


def test_images_cannot_be_rebound():
    with pytest.raises(FrozenInstanceError):
        numbered(3).pixels = torch.zeros(3, 784, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (slice(2, 5), [2, 3, 4]),
        ([4, 0, 4], [4, 0, 4]),
        (torch.tensor([1, 3]), [1, 3]),
        (torch.arange(6) > 3, [4, 5]),
        ([], []),
    ],
    ids=["slice", "list", "tensor", "mask", "nothing"],
)
def test_indexing_takes_pixels_and_labels_together(index, expected):
    chosen = numbered(6)[index]
    assert numbers(chosen) == chosen.labels.tolist() == expected


def test_images_move_to_another_device():
    moved = numbered(3).to("meta")
    assert (moved.pixels.device.type, moved.labels.device.type) == ("meta", "meta")


# Splits ----------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.data(), st.integers(1, 600), st.integers(0, 2**63 - 1))
def test_every_split_holds_each_image_once_with_its_own_label(data, count, seed):
    held_out = data.draw(st.integers(0, count - 1))
    kept, held = split(numbered(count), held_out, seed=seed)
    assert (len(kept), len(held)) == (count - held_out, held_out)
    assert sorted(numbers(kept) + numbers(held)) == list(range(count))
    assert numbers(kept) == kept.labels.tolist()
    assert numbers(held) == held.labels.tolist()


def test_training_and_validation_of_mnist_share_and_drop_nothing(mnist):
    train = mnist[0]
    kept, held = split(Images(train.pixels, torch.arange(60_000)), 5_000, seed=7)
    assert torch.equal(torch.cat([kept.labels, held.labels]).sort().values, torch.arange(60_000))
    assert torch.equal(held.pixels, train.pixels[held.labels])


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_same_seed_same_split_and_other_seed_other_split(seed):
    first, again, other = (split(numbered(500), 100, seed=s)[1].labels for s in (seed, seed, seed + 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_splitting_neither_reads_nor_moves_the_global_generator():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = split(numbered(50), 10)[1].labels
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(split(numbered(50), 10)[1].labels, first)


@pytest.mark.parametrize("held_out", [-1, 5, 6])
def test_holding_out_all_or_more_or_less_than_nothing_is_refused(held_out):
    with pytest.raises(DataError, match=f"held_out must be 0 to 4 for 5 images, not {held_out}"):
        split(numbered(5), held_out)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 60), st.booleans(), st.integers(0, 2**32), st.data())
def test_parts_hold_each_image_once_mixed_or_not(train, test, mixed, seed, data):
    validation = data.draw(st.integers(0, train - 1))
    images = numbered(train + test)
    three = parts(images[:train], images[train:], validation=validation, mixed=mixed, seed=seed)
    assert [len(part) for part in three] == [train - validation, validation, test]
    assert sorted(number for part in three for number in numbers(part)) == list(range(train + test))
    if not mixed:
        assert numbers(three.test) == list(range(train, train + test))


def test_mixed_parts_take_test_images_from_everywhere():
    images = numbered(700)
    mixed = parts(images[:600], images[600:], validation=50, mixed=True, seed=0)
    # Of 100 images drawn from 700 the mean number from the last 100 is 14.3, with a deviation of 3.2.
    assert 1 <= sum(number >= 600 for number in numbers(mixed.test)) <= 28


# Frames ----------------------------------------------------------------------------------------------------


def test_a_frame_is_paper_around_the_same_pixels():
    images = Images(torch.randint(1, 256, (3, 784), dtype=torch.uint8), torch.arange(3))
    framed = images.framed(32)
    pixels = framed.pixels.view(3, 32, 32)
    assert torch.equal(pixels[:, 2:-2, 2:-2], images.pixels.view(3, 28, 28))
    assert pixels.long().sum() == images.pixels.long().sum()
    assert torch.equal(framed.labels, images.labels)
    assert torch.equal(images.framed(28).pixels, images.pixels)


@pytest.mark.parametrize("side", [27, 29, 24, 0, -2])
def test_a_frame_that_does_not_go_around_is_refused(side):
    with pytest.raises(DataError, match=f"do not lie in the middle of {side} by {side}"):
        numbered(2).framed(side)
