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
from PIL import Image, ImageSequence

from vaelib import checkpoints, cli, figures, movies, runs, snapshots, training
from vaelib.cli.options import DATASETS
from vaelib.data import Images
from vaelib.errors import VaelibError
from vaelib.history import Epoch
from vaelib.models import mlp_vae
from vaelib.settings import Recipe

SMALL = ["--hidden-dim", "16", "--epochs", "2", "--batch-size", "500", "--device", "cpu"]
PICTURES = {
    "losses.png", "reconstructions.png", "samples.png", "latent-mean.png", "latent-std.png", "manifold.png",
}  # fmt: skip
FILES = {
    "config.json", "history.csv", "checkpoint.safetensors", "model.safetensors", "best.safetensors",
    "metrics.json", "train.log",
}  # fmt: skip


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


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with snapshots of three epochs in which a model with three latents learned nothing."""
    folder = tmp_path_factory.mktemp("replayed")
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 784), dtype=torch.uint8, generator=generator)
    images = Images(pixels, torch.arange(40) % 10)
    model = mlp_vae(hidden_dim=8, latent_dim=3, generator=generator)
    taken, history = snapshots.begin(model, images, seed=0, held_out_name="validation"), []
    for epoch in (1, 2, 3):
        history.append(Epoch(epoch, -200.0 + epoch, 190.0, 10.0, -210.0 + epoch, 195.0, 15.0, 0.1, 1.0))
        with torch.no_grad():
            model.encoder.output.weight.mul_(1.5)
        taken = snapshots.after_epoch(taken, model, images, history)
    snapshots.save(folder / snapshots.SNAPSHOTS_FILE, taken)
    checkpoints.save(folder / checkpoints.MODEL_FILE, model)
    return folder


def played(path: Path) -> tuple[list[int], list[Image.Image]]:
    """How long each frame of a GIF is shown, in milliseconds, and the frames."""
    with Image.open(path) as film:
        pages = [(page.info["duration"], page.convert("RGB")) for page in ImageSequence.Iterator(film)]
    return [duration for duration, _ in pages], [page for _, page in pages]


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


def test_animate_writes_a_gif_with_a_frame_for_each_epoch_and_rests_at_both_ends(
    replayed: Path, tmp_path: Path, vaelib: Shell
) -> None:
    films = [tmp_path / "new" / "a.gif", tmp_path / "b.gif"]
    for film in films:
        answer = vaelib("animate", replayed, "--fps", 5, "--out", film)
        assert answer.code == 0, answer.err
        assert answer.out == f"{film}\n"
        assert answer.err == ""  # no bar where there is no terminal
    assert films[0].read_bytes() == films[1].read_bytes()
    durations, pages = played(films[0])
    assert durations == [1500, 200, 200, 1500]
    assert {page.size for page in pages} == {(900, 600)}
    assert len({page.tobytes() for page in pages}) == 4
    assert {page.getpixel((0, 0)) for page in pages} == {(255, 255, 255)}


def test_animate_lands_beside_the_model_and_holds_slow_frames_for_their_time(
    replayed: Path, vaelib: Shell
) -> None:
    assert vaelib("animate", replayed / "model.safetensors", "--fps", 0.5).code == 0
    assert played(replayed / "training.gif")[0] == [2000] * 4


def test_animate_writes_an_mp4_of_even_size_with_the_ends_repeated(
    replayed: Path, tmp_path: Path, vaelib: Shell
) -> None:
    film = tmp_path / "a.MP4"
    assert vaelib("animate", replayed, "--out", film).code == 0
    ffmpeg = movies.encoder().get_ffmpeg_exe()
    command = [ffmpeg, "-i", film, "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert b"yuv420p" in done.stderr
    frames = len(done.stdout) / (1800 * 1200)
    assert frames == 6 + 2 + 6  # 1.5 s at 4 frames a second, two epochs, 1.5 s


def test_animate_draws_the_latents_that_are_asked_for_or_those_that_say_most(
    replayed: Path, tmp_path: Path, vaelib: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    class Watched(figures.Replay):
        def __init__(self, points: torch.Tensor, *rest: object, **named: object) -> None:
            drawn.append((points, named["dims"]))
            super().__init__(points, *rest, **named)

    monkeypatch.setattr(figures, "Replay", Watched)
    taken = snapshots.load(replayed)
    for dims in ([], ["--dims", 3, 1]):
        assert vaelib("animate", replayed, *dims, "--out", tmp_path / "x.gif").code == 0
    (first, plane), (second, asked) = drawn
    assert plane == taken.plane()
    assert torch.equal(first, taken.means[..., [plane[0] - 1, plane[1] - 1]])
    assert asked == (3, 1)
    assert torch.equal(second, taken.means[..., [2, 0]])


def test_an_interrupted_film_leaves_the_old_one_and_nothing_else(
    replayed: Path, tmp_path: Path, vaelib: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = figures.Replay.frame

    def interrupt(replay: figures.Replay, moment: int) -> object:
        if moment == 2:
            raise KeyboardInterrupt
        return draw(replay, moment)

    monkeypatch.setattr(figures.Replay, "frame", interrupt)
    for name in ("a.gif", "a.mp4"):
        (tmp_path / name).write_bytes(b"old")
        answer = vaelib("animate", replayed, "--out", tmp_path / name)
        assert answer.code == 130
        assert answer.err.split() == ["vaelib:", "interrupted"]
        assert (tmp_path / name).read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"a.gif", "a.mp4"}


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
        (["sample", "WIDE", "--temperature", "nan"], "nan is not a finite number"),
        (["evaluate"], "Missing argument 'RUN'"),
        (["evaluate", "RUN", "--seed", "-1"], "'--seed'"),
        (["manifold", "WIDE"], "has 3 latents and a manifold is a picture of 2"),
        (["encode", "WIDE", "--dims", "1", "4"], "this model has 3 latent(s)"),
        (["sample", "WIDE", "--out", "x.jpeg"], "written as .png, .svg or .pdf"),
        (["animate", "WIDE", "--out", "x.webm"], "a film is written as .gif or .mp4"),
        (["animate", "REPLAYED", "--dims", "1", "4"], "this run has 3 latent(s), and the film draws two"),
        (["animate", "REPLAYED", "--dims", "0", "1"], "'--dims': 0 is not in the range"),
        (["animate", "REPLAYED", "--fps", "0"], "'--fps': 0.0 is not in the range"),
        (["animate", "REPLAYED", "--fps", "nan"], "'--fps'"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_one_line_with_exit_code_2(
    arguments: list[str],
    said: str,
    wide: Path,
    replayed: Path,
    tmp_path: Path,
    vaelib: Shell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    places = {"WIDE": wide, "RUN": wide, "REPLAYED": replayed}
    answer = vaelib(*(places.get(word, word) for word in arguments))
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


def test_a_film_of_a_run_without_snapshots_or_epochs_says_how_to_get_them(
    run: Path, replayed: Path, tmp_path: Path, vaelib: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(replayed)  # a run that does not exist must not be taken for the one here
    for place in (run, run / "model.safetensors", Path("nowhere")):
        answer = vaelib("animate", place)
        assert answer.code == 1
        assert "train with `vaelib train --snapshots`" in one_line(answer)
    taken = snapshots.load(replayed)
    moments = {name: getattr(taken, name)[:1].clone() for name in ("means", "rates", "reconstructions")}
    begun = dataclasses.replace(taken, history=(), **moments)
    snapshots.save(tmp_path / snapshots.SNAPSHOTS_FILE, begun)
    answer = vaelib("animate", tmp_path)
    assert answer.code == 1
    assert "no finished epoch" in one_line(answer)


def test_a_film_of_one_latent_is_refused(tmp_path: Path, vaelib: Shell) -> None:
    images = Images(torch.zeros(10, 784, dtype=torch.uint8), torch.arange(10))
    model = mlp_vae(hidden_dim=8, latent_dim=1)
    snapshots.save(tmp_path / snapshots.SNAPSHOTS_FILE, snapshots.begin(model, images, seed=0))
    answer = vaelib("animate", tmp_path)
    assert answer.code == 2
    assert "this run has 1 latent(s)" in one_line(answer)


def test_an_mp4_without_its_encoder_is_refused_before_anything_is_drawn(
    tmp_path: Path, vaelib: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise VaelibError('pip install "vaelib[video]"')

    monkeypatch.setattr(movies, "encoder", missing)
    answer = vaelib("animate", tmp_path, "--out", "x.mp4")  # a run without snapshots: that would come next
    assert answer.code == 1
    assert 'pip install "vaelib[video]"' in one_line(answer)


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
