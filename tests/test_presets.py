"""The published models as data: what their sources say, and nothing that `train` would not take."""

import math

import pytest

from vaelib import presets, results
from vaelib.cli.training import resolve
from vaelib.errors import SettingsError
from vaelib.runs import _model

PRESETS = presets.load()


@pytest.mark.parametrize(
    ("name", "run"), [(name, run.name) for name, preset in PRESETS.items() for run in preset.runs]
)
def test_every_run_of_every_preset_is_settings_that_train_takes(name: str, run: str) -> None:
    preset = PRESETS[name]
    (chosen,) = [each for each in preset.runs if each.name == run]
    assert chosen.seeds
    settings = resolve(name, chosen.settings)
    assert settings["preset"] == name
    for key, value in {**preset.settings, **chosen.settings}.items():
        assert settings[key] == (None if value == "none" else value), key


def test_unknown_names_are_refused_and_say_what_there_is() -> None:
    with pytest.raises(SettingsError, match="no preset 'kimras': there are giwoong, kimrass"):
        presets.named("kimras")
    with pytest.raises(SettingsError, match="no setting epoch"):
        resolve("kimrass", {"epoch": 3})


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # Counted by hand from the originals' code.
        ("giwoong", 784 * 400 + 400 + 400 * 4 + 4 + 2 * 400 + 400 + 400 * 784 + 784),
        ("woogyeong", 784 * 500 + 500 + 500 * 4 + 4 + 2 * 500 + 500 + 500 * 784 + 784),
        ("kimrass", 196_932),
        (
            "juyoung",
            9 * (32 + 32 * 64 + 2 * 64 * 64 + 64 * 128) + 32 + 3 * 64 + 128  # down
            + 9 * (3 * 64 * 64 + 64 * 32 + 32) + 3 * 64 + 32 + 1,  # and up
        ),
    ],
)  # fmt: skip
def test_networks_have_as_many_parameters_as_the_originals(name: str, parameters: int) -> None:
    model = _model(resolve(name, {}), seed=0)
    assert sum(weight.numel() for weight in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "row"), [("kimrass", "KimRass/VAE"), ("juyoung", "juyoung-hong/Deep-learning")]
)
def test_a_weight_on_the_squared_error_is_the_sigma_that_the_loss_stands_for(name: str, row: str) -> None:
    # weight * mean of (y - y')^2 + kl_weight * KL, on a range of length span, divided by the KL's weight: its
    # summed squares on [0, 1] have the weight 1 / (2 sigma^2).
    loss, model = results.read("published")["losses"]["rows"][row], _model(resolve(name, {}), seed=0)
    precision = 2 * loss["weight"] / loss["kl_weight"] * loss["span"] ** 2 / loss["data_dim"]
    assert model.log_var is not None
    assert model.log_var.item() == pytest.approx(-math.log(precision), rel=1e-6)
    assert not model.log_var.requires_grad
    preset = PRESETS[name]
    assert preset.loss == {key: loss[key] for key in ("weight", "kl_weight", "span")}
