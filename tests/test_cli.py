"""The command line as a user meets it: files, exit codes, one line for each mistake, never a traceback."""

import csv
import dataclasses
import inspect
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from vaelib import checkpoints, cli
from vaelib.models import mlp_vae
from vaelib.settings import Recipe

SMALL = ["--hidden-dim", "16", "--epochs", "2", "--batch-size", "500", "--device", "cpu"]
PICTURES = {
    "losses.png", "reconstructions.png", "samples.png", "latent-mean.png", "latent-std.png", "manifold.png",
}  # fmt: skip
FILES = {"config.json", "history.csv", "checkpoint.safetensors", "model.safetensors", "metrics.json"}


@dataclasses.dataclass
class Answer:
    code: int
    out: str
    err: str


class Shell:
    """Runs ``vaelib`` in this process, through the very function that the command calls."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Answer:
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        said = self.capsys.readouterr()
        return Answer(left.value.code, said.out, said.err)


@pytest.fixture
def vaelib(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, trained once through the real command in a process of its own."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    command = [sys.executable, "-m", "vaelib", "train", "--out", str(folder), *SMALL]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "test ELBO -" in done.stdout
    assert "epoch 2: training ELBO" in done.stderr  # not a terminal: a line an epoch instead of a bar
    return folder


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with three latents."""
    path = tmp_path_factory.mktemp("wide") / "wide.safetensors"
    model = mlp_vae(hidden_dim=8, latent_dim=3, generator=torch.Generator().manual_seed(0))
    checkpoints.save(path, model)
    return path


def one_line(answer: Answer) -> str:
    lines = answer.err.splitlines()
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("vaelib: ")
    assert "Traceback" not in answer.err
    return lines[0]


def one_line_after_the_log(answer: Answer) -> str:
    """The same for commands that have first said where the images came from."""
    *log, last = answer.err.splitlines()
    assert all("served by" in line for line in log)
    return one_line(dataclasses.replace(answer, err=last))


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


def test_evaluate_measures_what_training_reported(run: Path, vaelib: Shell) -> None:
    answer = vaelib("evaluate", run, "--json")
    assert answer.code == 0
    told, metrics = json.loads(answer.out), json.loads((run / "metrics.json").read_text())
    # Same weights, images, seed and batches; the number of threads may differ between two processes.
    assert told["elbo"] == pytest.approx(metrics["elbo"], abs=1e-4)
    assert told["rate"] == pytest.approx(metrics["rate"], abs=1e-4)
    table = vaelib("evaluate", run).out
    assert re.search(rf"ELBO +{told['elbo']:.2f} ± ", table)


@pytest.mark.parametrize("arguments", [["sample"], ["reconstruct"], ["encode"], ["manifold", "--cells", "5"]])
def test_pictures_are_written_where_asked_and_the_same_twice(
    run: Path, tmp_path: Path, vaelib: Shell, arguments: list[str]
) -> None:
    first, second = tmp_path / "new" / "a.png", tmp_path / "b.png"
    for path in (first, second):
        answer = vaelib(arguments[0], run, *arguments[1:], "--out", path)
        assert answer.code == 0, answer.err
        assert str(path) in answer.out
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(b"\x89PNG")


def test_a_seed_changes_the_samples_and_nothing_else_does(run: Path, tmp_path: Path, vaelib: Shell) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert (
            vaelib("sample", run, "--count", 3, "--seed", seed, "--out", tmp_path / f"{name}.png").code == 0
        )
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_vector_pictures_are_written_and_the_same_twice(
    run: Path, tmp_path: Path, vaelib: Shell, kind: str
) -> None:
    paths = [tmp_path / f"{name}.{kind}" for name in "ab"]
    for path in paths:
        assert vaelib("manifold", run, "--cells", 2, "--out", path).code == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_encode_writes_every_latent_of_every_image_as_numbers(
    wide: Path, tmp_path: Path, vaelib: Shell
) -> None:
    path = tmp_path / "std.csv"
    assert vaelib("encode", wide, "--what", "std", "--out", path).code == 0
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10_000
    assert list(rows[0]) == ["label", "std_1", "std_2", "std_3"]
    assert rows[0]["label"] == "7"  # the first image of MNIST's test set
    assert all(float(row["std_3"]) > 0 for row in rows)


def test_encode_draws_any_two_latents(wide: Path, tmp_path: Path, vaelib: Shell) -> None:
    assert vaelib("encode", wide, "--dims", 3, 1, "--out", tmp_path / "x.png").code == 0


def test_pictures_land_beside_the_checkpoint_by_default(wide: Path, vaelib: Shell) -> None:
    assert vaelib("sample", wide, "--count", 2).code == 0
    assert (wide.parent / "samples.png").exists()


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
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
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
    defaults = {option.name: option.default for option in cli.train.params}
    for name, value in dataclasses.asdict(Recipe()).items():
        assert defaults[name] == value, name
    for name, parameter in inspect.signature(mlp_vae).parameters.items():
        assert name in ("data_dim", "generator") or defaults[name] == parameter.default, name


def test_datasets_of_the_command_are_those_of_the_module() -> None:
    from vaelib import sources

    assert set(cli.DATASETS) == set(sources.DATASETS)


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
        (["sample", "WIDE", "--temperature", "nan"], "nan is not a finite number"),
        (["evaluate"], "Missing argument 'RUN'"),
        (["evaluate", "RUN", "--seed", "-1"], "'--seed'"),
        (["manifold", "WIDE"], "has 3 latents and a manifold is a picture of 2"),
        (["encode", "WIDE", "--dims", "1", "4"], "this model has 3 latent(s)"),
        (["sample", "WIDE", "--out", "x.jpeg"], "written as .png, .svg or .pdf"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_one_line_with_exit_code_2(
    arguments: list[str],
    said: str,
    wide: Path,
    tmp_path: Path,
    vaelib: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = vaelib(*(str(wide) if word in ("WIDE", "RUN") else word for word in arguments))
    assert answer.code == 2
    assert said in one_line(answer)
    assert not list(tmp_path.rglob("*.*"))  # nothing written


def test_a_model_beyond_the_memory_is_said_in_one_line(tmp_path: Path, vaelib: Shell) -> None:
    answer = vaelib("train", "--hidden-dim", 10**12, "--device", "cpu", "--out", tmp_path / "run")
    assert answer.code == 1
    assert "not enough memory" in one_line_after_the_log(answer)
    assert not (tmp_path / "run").exists()  # so that the next try finds no run in its way


def test_a_missing_device_is_said_in_one_line(wide: Path, vaelib: Shell) -> None:
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    answer = vaelib("evaluate", wide, "--device", missing)
    assert answer.code == 1
    assert f"this machine has no '{missing}' device" in one_line(answer)


def test_a_missing_or_foreign_checkpoint_is_said_in_one_line(tmp_path: Path, vaelib: Shell) -> None:
    (tmp_path / "foreign.pth").write_bytes(b"\x80\x04not a model")
    for path, said in ((tmp_path, "no checkpoint at"), (tmp_path / "foreign.pth", "not a safetensors file")):
        answer = vaelib("sample", path)
        assert answer.code == 1
        assert said in one_line(answer)
    assert [path.name for path in tmp_path.iterdir()] == ["foreign.pth"]


@pytest.mark.parametrize("command", ["train", "sample"])
def test_an_unwritable_place_is_said_in_one_line(
    command: str, wide: Path, tmp_path: Path, vaelib: Shell
) -> None:
    # Below a file rather than in a read-only folder: root may write there, and tests may run as root.
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "run"
    arguments = ["train", *SMALL] if command == "train" else ["sample", wide]
    answer = vaelib(*arguments, "--out", place if command == "train" else place / "x.png")
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


def test_a_reader_that_goes_away_is_no_drama(wide: Path) -> None:
    command = f"{sys.executable} -m vaelib encode {wide} --out {wide.parent}/x.csv | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
