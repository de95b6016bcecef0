"""What a run makes of its settings: which images it may see, and what it writes down."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vaelib import checkpoints, data, reproduction, runs, snapshots
from vaelib.cli.training import resolve
from vaelib.data import Images
from vaelib.errors import SettingsError
from vaelib.evaluation import evaluate
from vaelib.training import fit


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> tuple[Images, Images]:
    """A data set of 300 and 80 images, each different from all others."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (380, 784), dtype=torch.uint8, generator=generator)
    images = Images(pixels, torch.arange(380) % 10)
    sets = images[:300], images[300:]
    monkeypatch.setattr(data, "load", lambda *_, **__: sets)
    return sets


def small(**more: Any) -> dict[str, Any]:
    chosen = {
        "epochs": 2,
        "batch_size": 64,
        "hidden_dim": 8,
        "validation": 50,
        "device": "cpu",
        "patience": "none",
    }
    return resolve("woogyeong", {**chosen, **more})


def rows(images: Images) -> set[bytes]:
    return {row.numpy().tobytes() for row in images.pixels}


def test_no_image_is_trained_on_that_is_chosen_or_reported_on(few: tuple[Images, Images]) -> None:
    ready = runs.prepare(small())
    assert len(ready.train) == 250
    assert rows(ready.train) | rows(ready.held_out) == rows(few[0])
    assert rows(ready.test) == rows(few[1])
    assert (ready.held_out_name, ready.test_name, ready.selecting) == ("validation", "test", True)


def test_mixing_makes_another_test_set_and_says_so(few: tuple[Images, Images]) -> None:
    ready = runs.prepare(small(mixed=True))
    parts = [rows(part) for part in (ready.train, ready.held_out, ready.test)]
    assert [len(part) for part in parts] == [250, 50, 80]
    assert set().union(*parts) == rows(few[0]) | rows(few[1])
    assert parts[2] != rows(few[1])
    assert ready.test_name == "test of the mixed images"


def test_choosing_on_the_test_set_has_to_be_asked_for(few: tuple[Images, Images]) -> None:
    watched = runs.prepare(small(validation=0))
    assert not watched.selecting
    leaking = runs.prepare(small(validation=0, select_on="test", patience=3))
    assert leaking.selecting
    assert rows(leaking.held_out) == rows(leaking.test) == rows(few[1])
    for wrong in ({"validation": 0, "patience": 3}, {"select_on": "test"}):
        with pytest.raises(SettingsError, match="--select-on test"):
            runs.prepare(small(**wrong))


def test_dropping_last_batches_drops_them_of_the_validation_images_too(few: tuple[Images, Images]) -> None:
    assert len(few[0]) == 300
    ready = runs.prepare(small(drop_last=True, batch_size=16))
    assert len(ready.held_out) == 48


def test_settings_that_contradict_each_other_are_refused_before_anything_is_written(
    few: tuple[Images, Images], tmp_path: Path
) -> None:
    assert few
    for wrong, said in (
        ({"recon_weight": 2.0, "sigma": 1.0, "likelihood": "gaussian"}, "stands for a --sigma"),
        ({"sigma": 1.0}, "belong to a Gaussian decoder"),
        ({"validation": 300}, "leaves none of 300"),
    ):
        with pytest.raises(SettingsError, match=said):
            runs.execute(small(**wrong), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_metrics_are_those_of_the_files_beside_them(few: tuple[Images, Images], tmp_path: Path) -> None:
    metrics = runs.execute(small(epochs=3), tmp_path, progress=False)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics

    def again(file: str, images: Images) -> dict[str, Any]:
        model = checkpoints.load(tmp_path / file).model
        return evaluate(model, images, generator=torch.Generator().manual_seed(0))._asdict()

    last = again("model.safetensors", few[1])
    assert {name: metrics[name] for name in last} == last
    assert metrics["best"]["test"] == again("best.safetensors", few[1])
    held_out = runs.prepare(small()).held_out
    assert metrics["best"]["held_out"] == again("best.safetensors", held_out)
    with (tmp_path / "history.csv").open() as file:
        header, *lines = [line.strip().split(",") for line in file]
    elbos = [float(line[header.index("held_out_elbo")]) for line in lines]
    assert metrics["best"]["epoch"] == 1 + elbos.index(max(elbos))


def test_the_log_tells_each_epoch_and_what_leaks(
    few: tuple[Images, Images], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert few
    caplog.set_level(logging.INFO)
    runs.execute(small(validation=0, select_on="test", log_interval=3), tmp_path, progress=True)
    said = (tmp_path / "train.log").read_text()
    assert said.count("training ELBO") == 2
    assert "epoch 1, step 3: loss" in said
    assert "chosen on the test set" in said
    assert "training ELBO" not in caplog.text  # beside a bar, only there
    runs.execute(small(), tmp_path / "other", progress=False)
    assert "training ELBO" in caplog.text


def test_an_autoencoder_and_a_decoder_alone_are_runs_like_others(
    few: tuple[Images, Images], tmp_path: Path
) -> None:
    assert few
    point = runs.execute(
        small(posterior="point", beta=0.0, snapshots=True), tmp_path / "point", progress=False
    )
    assert point["elbo"] == -float("inf")
    # No number of JSON is infinite.
    assert json.loads((tmp_path / "point" / "metrics.json").read_text())["elbo"] is None
    assert snapshots.load(tmp_path / "point").epochs == 2
    prior = runs.execute(small(posterior="prior"), tmp_path / "prior", progress=False)
    assert prior["rate"] == 0


def test_curves_are_written_for_tensorboard(few: tuple[Images, Images], tmp_path: Path) -> None:
    assert few
    runs.execute(small(tensorboard=True), tmp_path, progress=False)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    written = [event.value for event in events.Scalars("elbo/train")]
    with (tmp_path / "history.csv").open() as file:
        header, *lines = [line.strip().split(",") for line in file]
    # float32 in the file.
    assert written == pytest.approx([float(line[header.index("train_elbo")]) for line in lines], rel=1e-6)


def test_a_config_of_a_run_makes_the_same_run(few: tuple[Images, Images], tmp_path: Path) -> None:
    assert few
    settings = small(activation="relu", free_bits=0.1)
    runs.execute(settings, tmp_path / "a", progress=False)
    saved = json.loads((tmp_path / "a" / "config.json").read_text())
    del saved["vaelib"]
    runs.execute(saved, tmp_path / "b", progress=False)
    ours, theirs = (checkpoints.load(tmp_path / name).model.state_dict() for name in "ab")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


# Reproduction


def plan(*seeds: int) -> list[tuple[str, int, dict[str, Any]]]:
    chosen = {"epochs": 2, "batch_size": 64, "hidden_dim": 8, "device": "cpu"}
    return [("same", seed, resolve("giwoong", {**chosen, "seed": seed})) for seed in seeds]


def reproduce(folder: Path, *seeds: int) -> dict[str, Any]:
    path = reproduction.reproduce(
        "giwoong", plan(*seeds), runs=folder / "runs", results=folder / "results", changed={"epochs": "2"},
        progress=False,
    )  # fmt: skip
    assert path == folder / "results" / "giwoong.json"
    return json.loads(path.read_text())


def test_reproducing_trains_what_is_missing_and_keeps_the_rest(
    few: tuple[Images, Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert few
    first = reproduce(tmp_path, 1, 2)["runs"]["same"]
    assert [entry["seed"] for entry in first["seeds"]] == [1, 2]
    assert first["seeds"][0]["changed"] == {"epochs": "2"}
    assert len(first["seeds"][0]["curve"]["train_elbo"]) == 2
    trained = []
    monkeypatch.setattr(reproduction, "execute", lambda settings, *_, **__: trained.append(settings["seed"]))
    assert reproduce(tmp_path, 1)["runs"]["same"]["seeds"] == first["seeds"]
    assert trained == []
    one, two = (entry["last"]["elbo"] for entry in first["seeds"])
    summary = first["summary"]["last"]["elbo"]
    assert summary["mean"] == pytest.approx((one + two) / 2, rel=1e-12)
    assert summary["std"] == pytest.approx(abs(one - two) / 2**0.5, rel=1e-9)


def test_a_reproduction_that_was_stopped_goes_on_to_the_same_result(
    few: tuple[Images, Images], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert few
    whole = reproduce(tmp_path / "whole", 1)

    def interrupted(*arguments: Any, **named: Any) -> Any:
        said = named.pop("on_epoch")

        def stop(epoch: Any) -> None:
            said(epoch)
            raise KeyboardInterrupt

        return fit(*arguments, on_epoch=stop, **named)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reproduce(tmp_path / "broken", 1)
    assert not (tmp_path / "broken" / "results" / "giwoong.json").exists()
    mended = reproduce(tmp_path / "broken", 1)
    for name in ("last", "best", "curve"):
        assert mended["runs"]["same"]["seeds"][0][name] == whole["runs"]["same"]["seeds"][0][name]


def test_own_losses_of_the_originals_come_out_of_squares_and_rates() -> None:
    # KimRass printed 0.1085, a mean over 1024 pixels of squares on [-1, 1], and 7.3032: 27.776 on [0, 1].
    measured = {"squared_error": 0.1085 * 1024 / 4, "rate": 7.3032, "distortion": 0.0}
    loss = {"weight": 600.0, "kl_weight": 1.0, "span": 2}
    assert reproduction.own_loss(loss, measured, 1024) == pytest.approx(72.4032, abs=1e-9)
    # juyoung-hong: 0.03562, and 0.02833 of a KL term of which it takes a thousandth.
    measured = {"squared_error": 0.03562 * 784 / 4, "rate": 28.33, "distortion": 0.0}
    loss = {"weight": 1.0, "kl_weight": 0.001, "span": 2}
    assert reproduction.own_loss(loss, measured, 784) == pytest.approx(0.06395, abs=1e-9)
    assert reproduction.own_loss(None, {"distortion": 141.7242, "rate": 6.6025}, 784) == pytest.approx(
        148.3267
    )


def test_the_command_tries_a_reproduction_from_a_shell(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "vaelib", "reproduce", "giwoong", "--only", "same", "--seed", "3",
        "--set", "epochs=1", "--set", "hidden-dim=4", "--set", "batch_size=1000",
        "--runs", str(tmp_path / "runs"),
        "--results", str(tmp_path), "--device", "cpu",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "giwoong.json")
    entry = json.loads((tmp_path / "giwoong.json").read_text())["runs"]["same"]["seeds"][0]
    assert entry["changed"] == {"epochs": "1", "hidden_dim": "4", "batch_size": "1000"}
    assert entry["best"]["chosen_on"] == "test"
