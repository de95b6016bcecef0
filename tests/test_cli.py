"""The command line as a user meets it: training, help, exit codes, one line for each mistake."""

import csv
import dataclasses
import inspect
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from tests.interrupts import heed_interrupts
from tests.shell import SMALL, Shell, one_line, one_line_after_the_log
from vaelib import checkpoints, cli, runs, snapshots, training
from vaelib.cli.options import DATASETS
from vaelib.models import mlp_vae
from vaelib.settings import Recipe

PICTURES = {
    "losses.png", "reconstructions.png", "samples.png", "latent-mean.png", "latent-std.png", "manifold.png",
}  # fmt: skip
FILES = {
    "config.json", "history.csv", "checkpoint.safetensors", "model.safetensors", "best.safetensors",
    "metrics.json", "train.log",
}  # fmt: skip


# What works


def test_a_run_folder_holds_all_that_is_promised(run: Path) -> None:
    assert {path.name for path in run.iterdir()} == FILES | PICTURES
    for name in PICTURES:
        assert (run / name).read_bytes().startswith(b"\x89PNG")
    config = json.loads((run / "config.json").read_text())
    assert (config["hidden_dim"], config["epochs"], config["seed"], config["validation"]) == (16, 2, 0, 5000)
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["split"], metrics["images"], metrics["epochs"]) == ("test", 10_000, 2)
    with (run / "history.csv").open() as file:
        assert [line["epoch"] for line in csv.DictReader(file)] == ["1", "2"]


def test_data_names_the_proved_files(vaelib: Shell) -> None:
    answer = vaelib("data")
    assert answer.code == 0
    assert [Path(line).name for line in answer.out.split()] == [
        "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ]  # fmt: skip


def test_interrupted_training_resumes_to_the_same_result(run: Path, tmp_path: Path, vaelib: Shell) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "vaelib", "train", "--out", str(folder), *SMALL]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts)
    deadline = time.monotonic() + 120
    while not (folder / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (0, 130), said
    if process.returncode == 130:
        assert f"vaelib train --out {folder} --resume" in said
        assert not (folder / "metrics.json").exists()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]

    answer = vaelib("train", "--out", folder, "--resume")
    assert answer.code == 0, answer.err
    ours, theirs = (checkpoints.load(place).model.state_dict() for place in (folder, run))
    # To the bit with as many threads; the test process may run with another number than the command did.
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-3, atol=1e-4)


def test_training_an_autoencoder_ends_with_what_it_has_instead_of_a_bound(
    tmp_path: Path, vaelib: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_draw", lambda *_: None)
    done = vaelib(
        "train", "--out", tmp_path / "run", *SMALL, "--epochs", 1, "--posterior", "point", "--beta", 0
    )
    assert done.code == 0
    said = done.out.splitlines()[0]
    assert said.startswith("test ELBO none, since q is a point (distortion ")
    assert "nan" not in said


def test_a_run_with_snapshots_is_the_run_without_and_resumes_to_the_same_file(
    run: Path, tmp_path: Path, vaelib: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_draw", lambda *_: None)  # seconds, and not what is asked here
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert vaelib("train", "--out", whole, *SMALL, "--snapshots").code == 0
    ours, theirs = (checkpoints.load(folder).model.state_dict() for folder in (whole, run))
    # To the bit with as many threads, which test_snapshots.py proves; `run` was another process.
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-3, atol=1e-4)

    taken = snapshots.load(whole)
    assert taken.means.shape == (3, 2000, 2)
    assert taken.labels[taken.shown].tolist() == list(range(10))
    assert taken.held_out_name == "validation"
    with (whole / "history.csv").open() as file:
        assert [float(line["held_out_elbo"]) for line in csv.DictReader(file)] == list(
            taken.held_out_elbo[1:]
        )

    store = training._store

    def interrupt(*arguments: object) -> None:
        store(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_store", interrupt)
        assert vaelib("train", "--out", broken, *SMALL, "--snapshots").code == 130
    assert snapshots.load(broken).epochs == 1
    (broken / "snapshots.safetensors").rename(tmp_path / "kept")
    answer = vaelib("train", "--out", broken, "--resume")
    assert answer.code == 1
    assert "snapshots.safetensors is gone" in one_line_after_the_log(answer)
    (tmp_path / "kept").rename(broken / "snapshots.safetensors")
    assert vaelib("train", "--out", broken, "--resume").code == 0  # and takes snapshots, unasked
    ours, theirs = ((folder / "snapshots.safetensors").read_bytes() for folder in (broken, whole))
    assert ours == theirs


def test_a_run_begun_without_snapshots_goes_on_without(run: Path, tmp_path: Path, vaelib: Shell) -> None:
    answer = vaelib("train", "--out", run, "--resume", "--snapshots")
    assert answer.code == 2
    assert "the run in" in one_line(answer)
    # One from before there were any says nothing of them.
    folder = tmp_path / "old"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes((run / name).read_bytes())
    config = json.loads((folder / "config.json").read_text())
    del config["snapshots"]
    (folder / "config.json").write_text(json.dumps(config))
    assert vaelib("train", "--out", folder, "--resume").code == 0
    assert not (folder / "snapshots.safetensors").exists()


# Help


@pytest.mark.parametrize("command", ["", *cli.cli.commands])
def test_help_teaches_every_option_with_its_default(command: str) -> None:
    shown = CliRunner().invoke(cli.cli, [*command.split(), "--help"])
    assert shown.exit_code == 0
    if not command:
        assert all(name in shown.output for name in cli.cli.commands)
        assert "Exit codes" in shown.output
        return
    for option in cli.cli.commands[command].params:
        if option.param_type_name == "option" and option.name != "help":
            assert option.help
            assert option.is_flag or option.show_default or "[default:" in option.help, option.name


def test_a_bare_command_shows_the_help(vaelib: Shell) -> None:
    assert vaelib().out == vaelib("--help").out


def test_defaults_of_the_command_are_those_of_the_module() -> None:
    defaults = {option.name: option.default for option in cli.cli.commands["train"].params}
    for name, value in dataclasses.asdict(Recipe()).items():
        assert defaults[name] == value, name
    for name, parameter in inspect.signature(mlp_vae).parameters.items():
        assert name in ("data_dim", "generator") or defaults[name] == parameter.default, name


def test_datasets_of_the_command_are_those_of_the_module() -> None:
    from vaelib import sources

    assert set(DATASETS) == set(sources.DATASETS)


# What does not


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fly"], "No such command 'fly'"),
        (["train", "--device", "tpu"], "'tpu' is not one of"),
        (["train", "--batch-size", "0"], "'--batch-size': 0 is not in the range"),
        (["train", "--epochs", "many"], "'many' is not a valid integer"),
        (["train", "--learning-rate", "0"], "'--learning-rate': 0.0 is not in the range"),
        (["train", "--latent-dim", "-1"], "'--latent-dim'"),
        (["train", "--patience", "3", "--validation", "0"], "would choose the epoch on the test set"),
        (["train", "--validation", "60000"], "leaves none of 60000"),
        (["train", "--unknown"], "No such option"),
        (["train", "--learning-rate", "nan"], "nan is not a finite number"),
        (["train", "--latent-gain", "inf"], "inf is not a finite number"),
        (["train", "--beta", "-1"], "'--beta'"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_one_line_with_exit_code_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    vaelib: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = vaelib(*arguments)
    assert answer.code == 2
    assert said in one_line(answer)
    assert not list(tmp_path.rglob("*.*"))  # nothing written


def test_a_model_beyond_the_memory_is_said_in_one_line(tmp_path: Path, vaelib: Shell) -> None:
    answer = vaelib("train", "--hidden-dim", 10**12, "--device", "cpu", "--out", tmp_path / "run")
    assert answer.code == 1
    assert "not enough memory" in one_line_after_the_log(answer)
    assert not (tmp_path / "run").exists()  # so that the next try finds no run in its way


def test_an_unwritable_place_is_said_in_one_line(tmp_path: Path, vaelib: Shell) -> None:
    # Below a file rather than in a read-only folder: root may write there, and tests may run as root.
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "run"
    answer = vaelib("train", *SMALL, "--out", place)
    assert answer.code == 1
    assert str(tmp_path / "file") in one_line(answer)


def test_a_run_is_not_overwritten(run: Path, vaelib: Shell) -> None:
    before = (run / "model.safetensors").read_bytes()
    answer = vaelib("train", "--out", run, *SMALL)
    assert answer.code == 2
    assert "--resume" in one_line(answer)
    assert (run / "model.safetensors").read_bytes() == before


def test_resuming_with_another_setting_or_from_nothing_is_refused(
    run: Path, tmp_path: Path, vaelib: Shell
) -> None:
    answer = vaelib("train", "--out", run, "--resume", "--latent-dim", 5)
    assert answer.code == 2
    assert "--latent-dim 5" in one_line(answer)
    answer = vaelib("train", "--out", tmp_path, "--resume")
    assert answer.code == 1
    assert "nothing to resume" in one_line(answer)
    (tmp_path / "config.json").write_text("{}")
    answer = vaelib("train", "--out", tmp_path, "--resume")
    assert answer.code == 1
    assert "damaged" in one_line(answer)


def test_train_from_shards_holds_nothing_out_and_starts_at_the_mean(vaelib: Shell, tmp_path: Path) -> None:
    big, run = tmp_path / "big", tmp_path / "run"
    assert "give --validation 0" in one_line(vaelib("train", "--shards", big, "--out", run))
    missing = vaelib("train", "--shards", big, "--validation", 0, "--out", run)
    assert "write them with `vaelib shard`" in one_line_after_the_log(missing)
    assert not run.exists()

    written = vaelib("shard", big, "--copies", 2)
    assert written.code == 0, written.err
    assert written.out.strip() == f"120000 images in {big}"
    assert "choose another folder" in one_line_after_the_log(vaelib("shard", big))

    arguments = ["train", "--shards", big, "--validation", 0, "--out", run, *SMALL, "--mean-start"]
    done = vaelib(*arguments, "--epochs", 1)
    assert done.code == 0, done.err
    record = checkpoints.load(run / "checkpoint.safetensors").record
    assert record["train_images"] == 120_000
    # At the mean image, an image costs some 207 nats; one epoch of any use stays below.
    assert json.loads((run / "metrics.json").read_text())["elbo"] > -207


def test_only_an_mlp_can_start_at_the_mean(vaelib: Shell, tmp_path: Path) -> None:
    refused = vaelib("train", "--architecture", "conv", "--mean-start", "--out", tmp_path / "run")
    assert "--mean-start says nothing" in one_line(refused)
