import json
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from vaelib import checkpoints, files
from vaelib.errors import CheckpointError
from vaelib.models import VAE, mlp_vae


def fresh(**other: object) -> VAE:
    return mlp_vae(hidden_dim=8, generator=torch.Generator().manual_seed(0), **other)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_a_checkpoint_brings_back_weights_record_and_extra_exactly(tmp_path: Path, likelihood: str) -> None:
    model, path = (
        fresh(likelihood=likelihood, latent_dim=3, activation="tanh"),
        tmp_path / "model.safetensors",
    )
    record, extra = (
        {"epoch": 3, "elbo": 0.1 + 0.2, "none": None},
        {"state": torch.arange(5, dtype=torch.uint8)},
    )
    checkpoints.save(path, model, record=record, extra=extra)
    for place in (path, tmp_path):
        loaded = checkpoints.load(place)
        assert loaded.record == record
        assert torch.equal(loaded.extra["state"], extra["state"])
        assert loaded.model.settings == model.settings
        for name, weight in model.state_dict().items():
            assert torch.equal(loaded.model.state_dict()[name], weight)


def test_same_model_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        checkpoints.save(tmp_path / name, fresh(), record={"seed": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    checkpoints.save(path, fresh())
    before = path.read_bytes()

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(path, fresh(latent_dim=5))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_are_readable_by_others_as_the_umask_says(tmp_path: Path) -> None:
    files.write_atomically(tmp_path / "ours", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


class Trap:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(self.path), "w"))


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    path, sprung = tmp_path / "model.pth", tmp_path / "sprung"
    path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(CheckpointError, match="damaged or not a safetensors file"):
        checkpoints.load(path)
    assert not sprung.exists()


def header(**change: object) -> dict[str, str]:
    entries = {"format": 1, "vaelib": "0", "model": fresh().settings, "record": {}, **change}
    return {"vaelib": json.dumps(entries)}


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (None, "not written by vaelib"),
        ({"other": "x"}, "not written by vaelib"),
        (header(format=99), "upgrade"),
        (header(model={"architecture": "cnn"}), "unknown architecture 'cnn'"),
        (header(model={"architecture": "mlp", "hidden_dim": 9}), "do not fit"),
        ({"vaelib": "{"}, "header of .* is damaged"),
        ({"vaelib": "[]"}, "header of .* is damaged"),
        (header(format="one"), "header of .* is damaged"),
    ],
)
def test_foreign_and_newer_files_are_refused_with_the_reason(
    tmp_path: Path, metadata: dict[str, str] | None, said: str
) -> None:
    weights = {f"model.{name}": weight for name, weight in fresh().state_dict().items()}
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors.torch.save(weights, metadata=metadata))
    with pytest.raises(CheckpointError, match=said) as caught:
        checkpoints.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "model.safetensors"
    checkpoints.save(path, fresh())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.load(path)


def test_a_missing_checkpoint_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="vaelib train"):
        checkpoints.load(tmp_path)
