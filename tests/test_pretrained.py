"""The models that come with the package: each reproduces the metrics that its file records."""

from __future__ import annotations

import math

import pytest
import torch

import vaelib
from vaelib import presets
from vaelib.data import Images, load_mnist
from vaelib.errors import CheckpointError
from vaelib.evaluation import evaluate
from vaelib.models import VAE
from vaelib.pretrained import FOLDER, load_pretrained, names
from vaelib.reproduction import own_loss
from vaelib.widgets import as_the_page_has_it


@pytest.fixture(scope="module")
def test_images() -> Images:
    return load_mnist()[1]


def sized(images: Images, model: VAE) -> Images:
    return images.framed(math.isqrt(model.settings["data_dim"]))


@pytest.mark.parametrize("name", names())
def test_recorded_elbo_is_measured_again_and_the_page_loses_little_of_it(
    name: str, test_images: Images
) -> None:
    found = vaelib.load_pretrained(name)
    model, record = found.model, found.record

    def measure(measured: VAE) -> float:
        seed = torch.Generator().manual_seed(record["test"]["seed"])
        return evaluate(measured, sized(test_images, model), generator=seed).elbo

    again = measure(model)
    # The same weights, images and noise: only the order of summation may differ between processors.
    assert again == pytest.approx(record["test"]["elbo"], abs=0.01)
    assert record["test"]["images"] == 10_000
    if model.settings["architecture"] == "mlp":
        # What the widgets' eight bits cost, with the same noise; the book promises no more than this.
        assert abs(again - measure(as_the_page_has_it(model))) <= 0.15


@pytest.mark.parametrize("name", sorted(presets.load().keys() & set(names())))
def test_a_published_model_says_what_its_original_would_report_and_on_which_images(name: str) -> None:
    found = load_pretrained(name)
    preset, record = presets.named(name), found.record
    assert record["source"] == preset.source
    if "held_out" in record:
        measured = record["held_out"]
        loss = own_loss(preset.loss, measured, found.model.settings["data_dim"])
        assert measured["own_loss"] == pytest.approx(loss, rel=1e-12)
        assert measured["chosen_on"] == preset.settings.get("select_on", "validation")


@pytest.mark.parametrize("name", names())
def test_file_is_small_and_says_where_it_comes_from(name: str) -> None:
    record = load_pretrained(name).record
    assert record["command"] == f"python tools/weights.py {name}"
    assert {"data", "recipe", "date", "versions"} <= set(record)
    # Half precision: two bytes for each of the weights, and a header, which has a line for each tensor.
    tensors = load_pretrained(name).model.state_dict().values()
    count = sum(tensor.numel() for tensor in tensors)
    assert (FOLDER / f"{name}.safetensors").stat().st_size < 2 * count + 4096 + 128 * len(tensors)


def test_all_models_together_are_small_enough_for_a_repository() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 12e6


def test_loaded_model_computes_in_single_precision() -> None:
    assert {p.dtype for p in load_pretrained("plane").model.parameters()} == {torch.float32}


def test_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"no trained model 'plain' comes with vaelib: .*plane"):
        load_pretrained("plain")
