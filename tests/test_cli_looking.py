"""The commands that look inside a trained model: what they show, against oracles, and what they refuse."""

import csv
import dataclasses
import io
import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from tests.shell import Shell, one_line
from vaelib import checkpoints, cli, data, evaluation, figures, movies, pretrained, snapshots
from vaelib.cli import options
from vaelib.data import Images
from vaelib.errors import VaelibError
from vaelib.figures import saving
from vaelib.models import VAE, conv_vae, linear_vae, mlp_vae

FEW = 300


def arrays_of(file: Path | io.BytesIO) -> dict[str, np.ndarray]:
    """What an .npz holds, read whole, and the file closed."""
    with np.load(file) as archive:
        return dict(archive)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_conv(side: int, latent_dim: int, head: str) -> VAE:
    widths = (4, 4, 4, 4)
    return conv_vae(
        data_dim=side**2, encoder_channels=widths, decoder_channels=widths, latent_dim=latent_dim,
        batch_norm=head == "linear", head=head, sigma=0.3, generator=seeded(),
    )  # fmt: skip


# As small as may be, and of every kind that the presets have.
KINDS = {
    "bernoulli": lambda: mlp_vae(hidden_dim=8, generator=seeded()),
    "pixel-variance": lambda: mlp_vae(
        hidden_dim=8, likelihood="gaussian", pixel_variance=True, generator=seeded()
    ),
    "point": lambda: mlp_vae(hidden_dim=8, posterior="point", generator=seeded()),
    "prior": lambda: mlp_vae(hidden_dim=8, posterior="prior", generator=seeded()),
    "conv-28": lambda: small_conv(28, 64, "convolution"),
    "conv-32": lambda: small_conv(32, 2, "linear"),
    "linear": lambda: linear_vae(latent_dim=3, generator=seeded()),
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each kind, and one whose weights are no numbers."""
    folder = tmp_path_factory.mktemp("zoo")
    broken = KINDS["bernoulli"]()
    with torch.no_grad():
        broken.decoder.hidden.bias[3] = math.nan
    models = {**{kind: make() for kind, make in KINDS.items()}, "nan": broken}
    models["one"] = mlp_vae(hidden_dim=8, latent_dim=1, generator=seeded())
    for kind, model in models.items():
        checkpoints.save(folder / f"{kind}.safetensors", model)
    return {kind: folder / f"{kind}.safetensors" for kind in models}


@pytest.fixture(scope="module")
def mnist() -> tuple[Images, Images]:
    return data.load()


@pytest.fixture
def few(mnist: tuple[Images, Images], monkeypatch: pytest.MonkeyPatch) -> Images:
    """The first images of MNIST's test set, in the place of all."""
    train, test = (part[:FEW] for part in mnist)
    monkeypatch.setattr(data, "load", lambda *_, **__: (train, test))
    return test


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The figures that commands write; they are written as well."""
    figures_drawn: list[Figure] = []
    save = saving.save

    def watched(figure: Figure, path: Path) -> None:
        figures_drawn.append(figure)
        save(figure, path)

    monkeypatch.setattr(saving, "save", watched)
    return figures_drawn


def scattered(figure: Figure) -> np.ndarray:
    """All points of a scatter plot, in the order of their digits."""
    clouds = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    return np.concatenate([np.asarray(cloud.get_offsets()) for cloud in clouds])


def by_digit(points: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    return np.concatenate([points[labels == digit].numpy() for digit in sorted(set(labels.tolist()))])


def written(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def played(path: Path) -> tuple[list[int], list[Image.Image]]:
    """How long each frame of a GIF is shown, in milliseconds, and the frames."""
    with Image.open(path) as film:
        pages = [(page.info["duration"], page.convert("RGB")) for page in ImageSequence.Iterator(film)]
    return [duration for duration, _ in pages], [page for _, page in pages]


# What was shown from the first


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
    assert vaelib("encode", wide, "--target", "std", "--out", path).code == 0
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


def test_a_reader_that_goes_away_is_no_drama(wide: Path) -> None:
    command = f"{sys.executable} -m vaelib encode {wide} --out {wide.parent}/x.csv | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


# Every command, every kind of model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("few")
def test_no_command_is_broken_by_a_kind_of_model(
    kind: str, zoo: dict[str, Path], tmp_path: Path, vaelib: Shell
) -> None:
    model = zoo[kind]
    for number, command in enumerate(
        (
            ["sample", "--count", "5"],
            ["reconstruct"],
            ["reconstruct", "--worst", "--count", "3"],
            ["encode"],
            ["encode", "--target", "std"],
            ["encode", "--target", "sample"],
            ["encode", "--dims", "pca", "--target", "std"],
            ["manifold", "--cells", "3"],
            ["qq"],
        )
    ):
        out = tmp_path / f"{number}.png"
        answer = vaelib(command[0], model, *command[1:], "--out", out)
        if kind == "prior" and "pca" in command:
            assert answer.code == 2
            assert "all 300 points are the same" in one_line(answer)
        else:
            assert (answer.code, answer.err) == (0, ""), command
            assert out.read_bytes().startswith(b"\x89PNG")
    told = json.loads(vaelib("evaluate", model, "--importance", 3, "--json").out)
    assert told["images"] == FEW
    assert told["squared_error"] > 0
    numbers = [told[name] for name in ("elbo", "rate", "importance_weighted")]
    assert numbers == [None] * 3 if kind == "point" else all(map(math.isfinite, numbers))


def test_a_point_says_that_its_rate_is_infinite(
    zoo: dict[str, Path], few: Images, tmp_path: Path, vaelib: Shell, drawn: list[Figure]
) -> None:
    said = vaelib("evaluate", zoo["point"]).out
    assert re.search(r"ELBO +-inf\n", said)
    assert "compare by the squared error" in said
    said = vaelib("qq", zoo["point"], "--out", tmp_path / "x.csv").out
    assert "rate and mutual information are infinite" in said
    with (tmp_path / "x.csv").open() as file:
        assert [row["kl"] for row in csv.DictReader(file)] == ["inf", "inf"]
    assert vaelib("reconstruct", zoo["point"], "--out", tmp_path / "x.png").code == 0
    model = KINDS["point"]()
    expected = evaluation.reconstruct(model, few[:10]).terms.log_likelihood  # without noise
    assert written(drawn[0])[:10] == [f"{value:.0f}" for value in expected.tolist()]
    assert "log p(x|z), nats" in written(drawn[0])


# Where RUN is


def test_a_model_that_comes_with_vaelib_is_run_by_its_name(
    tmp_path: Path, vaelib: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = pretrained.load_pretrained("plane").record["test"]
    told = json.loads(vaelib("evaluate", "plane", "--seed", record["seed"], "--device", "cpu", "--json").out)
    # Another number of threads sums in another order.
    assert told["elbo"] == pytest.approx(record["elbo"], abs=1e-3)
    assert vaelib("sample", "plane", "--count", 1).out == "plane-samples.png\n"
    assert (tmp_path / "plane-samples.png").exists()
    (tmp_path / "plane").mkdir()  # what is here goes first
    assert "no checkpoint at plane" in one_line(vaelib("sample", "plane"))
    answer = vaelib("sample", "plain")
    assert answer.code == 1
    assert "no checkpoint at plain" in one_line(answer)
    assert ", ".join(pretrained.names()) in answer.err


def test_a_run_is_looked_at_with_its_own_images(
    tmp_path: Path, mnist: tuple[Images, Images], vaelib: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    train, test = (part[:FEW] for part in mnist)
    monkeypatch.setattr(data, "load", lambda name, **_: asked.append(name) or (train, test))
    checkpoints.save(tmp_path / "model.safetensors", KINDS["bernoulli"]())

    def labels() -> list[int]:
        assert vaelib("encode", tmp_path, "--out", tmp_path / "x.npz").code == 0
        return arrays_of(tmp_path / "x.npz")["labels"].tolist()

    config = {"dataset": "fashion-mnist", "validation": 20, "mixed": False, "seed": 5}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert labels() == test.labels.tolist()
    assert vaelib("evaluate", tmp_path, "--dataset", "mnist").code == 0
    assert asked == ["fashion-mnist", "mnist"]

    (tmp_path / "config.json").write_text(json.dumps(config | {"mixed": True}))
    assert labels() == data.parts(train, test, validation=20, mixed=True, seed=5).test.labels.tolist()
    assert "fashion-mnist, mixed test set" in vaelib("evaluate", tmp_path).out
    (tmp_path / "config.json").write_text("[]")
    assert "config.json is damaged" in one_line(vaelib("evaluate", tmp_path))


# encode


def test_numbers_of_encode_are_the_encoders_own(
    zoo: dict[str, Path], few: Images, tmp_path: Path, vaelib: Shell
) -> None:
    mean, log_var = evaluation.encode(KINDS["conv-28"](), few)
    for what, expected in (("mean", mean), ("std", (0.5 * log_var).exp())):
        csv_file, npz = tmp_path / f"{what}.csv", tmp_path / f"{what}.npz"
        assert vaelib("encode", zoo["conv-28"], "--target", what, "--out", csv_file, "--out", npz).code == 0
        table = np.loadtxt(csv_file, delimiter=",", skiprows=1)
        arrays = arrays_of(npz)
        assert sorted(arrays) == ["labels", "mean", "std"]
        assert table[:, 0].tolist() == arrays["labels"].tolist() == few.labels.tolist()
        # Nine digits tell any two float32 apart.
        np.testing.assert_array_equal(table[:, 1:].astype(np.float32), arrays[what])
        np.testing.assert_allclose(arrays[what], expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("few")
def test_samples_of_encode_scatter_as_q_says_and_by_the_seed_alone(
    zoo: dict[str, Path], tmp_path: Path, vaelib: Shell
) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        path = tmp_path / f"{name}.npz"
        assert vaelib("encode", zoo["conv-28"], "--target", "sample", "--seed", seed, "--out", path).code == 0
    a, b, c = ((tmp_path / f"{name}.npz").read_bytes() for name in "abc")
    assert a == b
    assert a != c
    arrays = arrays_of(io.BytesIO(a))
    noise = (arrays["sample"] - arrays["mean"]) / arrays["std"]
    # 19,200 standard normal numbers: mean and mean square are within five of their standard errors.
    assert abs(noise.mean()) < 5 / math.sqrt(noise.size)
    assert abs((noise**2).mean() - 1) < 5 * math.sqrt(2 / noise.size)


def test_encode_draws_the_latents_of_largest_kl_or_those_asked_for(
    tmp_path: Path, few: Images, vaelib: Shell, drawn: list[Figure]
) -> None:
    model = mlp_vae(hidden_dim=8, latent_dim=5, generator=seeded())
    with torch.no_grad():
        model.encoder.output.bias[[1, 4]] = 3.0  # the means of the second and the fifth: KL above 4
    checkpoints.save(tmp_path / "model.safetensors", model)
    mean, log_var = evaluation.encode(model, few)
    for arguments, latents, points in (
        ([], (2, 5), mean),
        (["--dims", 3, 1], (3, 1), mean),
        (["--dims=3", 1, "--target", "std"], (3, 1), (0.5 * log_var).exp()),
    ):
        assert vaelib("encode", tmp_path, *arguments, "--out", tmp_path / "x.png").code == 0
        chosen = points[:, [latents[0] - 1, latents[1] - 1]]
        np.testing.assert_allclose(scattered(drawn[-1]), by_digit(chosen, few.labels), rtol=1e-5, atol=1e-6)
        assert drawn[-1].axes[0].get_xlabel().endswith(f"of $z_{{{latents[0]}}}$")
        assert drawn[-1].axes[0].get_ylabel().endswith(f"of $z_{{{latents[1]}}}$")


@pytest.mark.parametrize("words", [["--dims", "pca"], ["--dims=pca"]])
def test_the_principal_plane_is_that_of_a_singular_value_decomposition(
    words: list[str], zoo: dict[str, Path], few: Images, tmp_path: Path, vaelib: Shell, drawn: list[Figure]
) -> None:
    mean, log_var = (t.double() for t in evaluation.encode(KINDS["conv-28"](), few))
    left, values, right = np.linalg.svd((mean - mean.mean(0)).numpy(), full_matrices=False)
    share = values**2 / (values**2).sum()
    assert vaelib("encode", zoo["conv-28"], *words, "--out", tmp_path / "x.png").code == 0
    expected = by_digit(torch.from_numpy(left[:, :2] * values[:2]), few.labels)
    # float32 means; an axis has no sign of its own.
    np.testing.assert_allclose(np.abs(scattered(drawn[0])), np.abs(expected), rtol=1e-3, atol=1e-5)
    assert f"{100 * share[0]:.0f} % of the variance" in drawn[0].axes[0].get_xlabel()
    assert f"{100 * share[1]:.0f} % of the variance" in drawn[0].axes[0].get_ylabel()

    assert vaelib("encode", zoo["conv-28"], *words, "--target", "std", "--out", tmp_path / "x.png").code == 0
    variances = log_var.exp().numpy()
    along = np.stack([[v @ np.diag(d) @ v for v in right[:2]] for d in variances]) ** 0.5
    np.testing.assert_allclose(scattered(drawn[1]), by_digit(torch.from_numpy(along), few.labels), rtol=1e-4)


# manifold


def test_a_manifold_of_many_latents_moves_two_and_holds_the_others_at_0(
    zoo: dict[str, Path], tmp_path: Path, vaelib: Shell, drawn: list[Figure]
) -> None:
    arguments = ["--dims", 3, 60, "--latent-min", -1, "--latent-max", 2, "--cells", 4]
    assert vaelib("manifold", zoo["conv-28"], *arguments, "--out", tmp_path / "x.png").code == 0
    picture = np.asarray(drawn[0].axes[0].images[0].get_array())
    model = KINDS["conv-28"]().eval()
    for row, up in enumerate((2, 1, 0, -1)):
        for column, across in enumerate((-1, 0, 1, 2)):
            z = torch.zeros(1, 64)
            z[0, 2], z[0, 59] = across, up
            expected = model.mean_image(z).detach().reshape(28, 28).numpy()
            cell = picture[28 * row : 28 * (row + 1), 28 * column : 28 * (column + 1)]
            np.testing.assert_allclose(cell, expected, atol=1e-5)
    axes = drawn[0].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_{3}$", "$z_{60}$")
    assert axes.get_title(loc="left") == "the other 62 latents at 0"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["-1.0", "0.0", "1.0", "2.0"]


def test_the_edge_of_a_manifold_may_be_given_alone(
    zoo: dict[str, Path], tmp_path: Path, vaelib: Shell, drawn: list[Figure]
) -> None:
    for arguments, ends in (
        (["--latent-max", 1], ["-3.0", "1.0"]),
        (["--grid", "linear"], ["-3.0", "3.0"]),
        ([], ["-1.2", "1.2"]),  # the prior's quantiles at 1/8 and 7/8 are -+1.15
    ):
        out = tmp_path / "x.png"
        assert vaelib("manifold", zoo["bernoulli"], *arguments, "--cells", 4, "--out", out).code == 0
        ticks = [tick.get_text() for tick in drawn[-1].axes[0].get_xticklabels()]
        assert [ticks[0], ticks[-1]] == ends
        assert drawn[-1].axes[0].get_title(loc="left") == ""


# reconstruct


@pytest.mark.parametrize("worst", [False, True])
def test_best_and_worst_are_those_of_all_images_with_the_draw_that_ranks_them(
    worst: bool, zoo: dict[str, Path], tmp_path: Path, vaelib: Shell, drawn: list[Figure],
    mnist: tuple[Images, Images],
) -> None:  # fmt: skip
    arguments = ["--worst" if worst else "--best", "--count", 12, "--seed", 3, "--device", "cpu"]
    out = tmp_path / "x.png"
    assert vaelib("reconstruct", zoo["bernoulli"], *arguments, "--out", out).code == 0
    elbo = evaluation.image_terms(KINDS["bernoulli"](), mnist[1], generator=seeded(3)).elbo
    order = elbo.argsort(descending=not worst)[:12].tolist()
    names, numbers = (re.findall(pattern, "\n".join(written(drawn[0]))) for pattern in (r"#\d+", r"-\d+"))
    assert names == [f"#{number}" for number in order]
    assert numbers == [f"{elbo[number]:.0f}" for number in order]
    picture = np.asarray(drawn[0].axes[0].images[0].get_array())
    shown = mnist[1].floats()[order[0]].reshape(28, 28)
    np.testing.assert_allclose(picture[:28, :28], shown.numpy())


def test_a_digit_and_numbers_choose_the_images(
    zoo: dict[str, Path], few: Images, tmp_path: Path, vaelib: Shell, drawn: list[Figure]
) -> None:
    sevens = [number for number, label in enumerate(few.labels.tolist()) if label == 7]
    elbo = evaluation.image_terms(KINDS["bernoulli"](), few[sevens], generator=seeded()).elbo
    best = sevens[int(elbo.argmax())]
    for arguments, chosen in (
        (["--digit", 7, "--count", 3], sevens[:3]),
        (["--digit", 7, "--best", "--count", 1], [best]),
        (["--index", 299, "--index", 0], [299, 0]),
    ):
        out = tmp_path / "x.png"
        assert vaelib("reconstruct", zoo["bernoulli"], *arguments, "--out", out).code == 0
        assert written(drawn[-1])[: 2 * len(chosen) : 2] == [f"#{number}" for number in chosen]
        picture = np.asarray(drawn[-1].axes[0].images[0].get_array())
        for place, number in enumerate(chosen):
            shown = few.floats()[number].reshape(28, 28).numpy()
            np.testing.assert_allclose(picture[:28, 30 * place : 30 * place + 28], shown)
    answer = vaelib("reconstruct", zoo["bernoulli"], "--index", 300, "--out", out)
    assert answer.code == 2
    assert "--index 300: the test images end at 299" in one_line(answer)


def test_ones_own_images_are_laid_out_and_framed_for_the_model(
    zoo: dict[str, Path], few: Images, tmp_path: Path, vaelib: Shell, drawn: list[Figure]
) -> None:
    digit = few.pixels[0].reshape(28, 28).numpy()
    sheet = np.full((280, 260), 255, dtype=np.uint8)
    sheet[10:234, 20:244] = 255 - np.kron(digit, np.ones((8, 8), dtype=np.uint8))
    Image.fromarray(sheet).save(tmp_path / "7 for $5 and $6.png")
    Image.fromarray(digit).save(tmp_path / "七.png")
    files = ["--image", tmp_path / "7 for $5 and $6.png", "--image", tmp_path / "七.png"]
    assert vaelib("reconstruct", zoo["conv-32"], *files, "--out", tmp_path / "x.png").code == 0
    picture = np.asarray(drawn[0].axes[0].images[0].get_array())
    framed = np.pad(digit, 2) / 255
    np.testing.assert_allclose(picture[:32, :32], framed, atol=1e-6)
    np.testing.assert_allclose(picture[:32, 34:66], framed, atol=1e-6)
    assert written(drawn[0])[0:4:2] == ["7 for $5…", "file 2"]  # the font has no seven


# evaluate and qq


@pytest.mark.usefixtures("few")
def test_the_importance_weighted_bound_of_evaluate_rises_from_the_elbo(wide: Path, vaelib: Shell) -> None:
    one, many = (
        json.loads(vaelib("evaluate", wide, "--importance", draws, "--json").out) for draws in (1, 50)
    )
    # The same bound at one draw, with other draws: both means are within 0.1 nat, of some 560.
    assert one["importance_weighted"] == pytest.approx(one["elbo"], abs=0.3)
    assert many["importance_weighted"] > one["importance_weighted"]
    assert many["elbo"] == one["elbo"]
    table = vaelib("evaluate", wide, "--importance", 50).out
    assert f"{many['importance_weighted']:.2f} ± {many['importance_standard_error']:.2f}" in table
    assert re.search(rf"squared error +{many['squared_error']:.2f} ", table)


@pytest.mark.usefixtures("few")
def test_the_table_of_qq_is_the_report_of_the_draws_that_encode_writes(
    zoo: dict[str, Path], tmp_path: Path, vaelib: Shell
) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for path in paths:
        answer = vaelib("qq", zoo["conv-28"], "--seed", 4, "--out", path)
        assert answer.code == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    draws = tmp_path / "z.npz"
    vaelib("encode", zoo["conv-28"], "--target", "sample", "--seed", 4, "--out", draws)
    z = np.sort(arrays_of(draws)["sample"], axis=0)
    with paths[0].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["latent"] for row in rows] == [str(latent) for latent in range(1, 65)]
    below = torch.special.ndtr(torch.from_numpy(z)).numpy()
    steps = np.arange(FEW + 1)[:, None] / FEW
    distance = np.maximum(steps[1:] - below, below - steps[:-1]).max(0)
    np.testing.assert_allclose([float(row["kolmogorov_smirnov"]) for row in rows], distance, rtol=1e-9)

    farthest = sorted(rows, key=lambda row: -float(row["wasserstein"]))[:8]
    shown = re.findall(r"^ +(\d+) +([\d.]+) +([\d.]+) +([\d.]+)  (yes|no)$", answer.out, re.M)
    assert [line[0] for line in shown] == [row["latent"] for row in farthest]
    for line, row in zip(shown, farthest, strict=True):
        assert line[1] == f"{float(row['wasserstein']):.4f}"
        assert line[3] == f"{float(row['kl']):.3f}"
        assert (line[4] == "yes") == (row["active"] == "1")
    assert "8 of 64 latents" in answer.out
    assert f"{sum(row['active'] == '1' for row in rows)} of 64 latents active" in answer.out
    rate = sum(float(row["kl"]) for row in rows)
    assert re.search(rf"rate +{rate:.2f} ", answer.out)
    assert f"log N = {math.log(FEW):.2f}" in answer.out


@pytest.mark.usefixtures("few")
def test_qq_says_when_the_mutual_information_tells_only_of_the_number_of_images(
    tmp_path: Path, vaelib: Shell
) -> None:
    model = mlp_vae(hidden_dim=8, latent_dim=3, generator=seeded())
    with torch.no_grad():
        model.encoder.output.weight.mul_(10)
        model.encoder.output.weight[3:] = 0
        model.encoder.output.bias[3:] = -16.0  # deviations of 0.0003 and means apart: all images told apart
    path = tmp_path / "sharp.safetensors"
    checkpoints.save(path, model)
    answer = vaelib("qq", path, "--out", tmp_path / "x.png", "--out", tmp_path / "x.csv")
    assert "it says that there are 300 images" in answer.out
    assert answer.out.splitlines()[:2] == [str(tmp_path / "x.png"), str(tmp_path / "x.csv")]
    assert len(re.findall(r"^ +\d .* (?:yes|no)$", answer.out, re.M)) == 3


# Help


EXAMPLES = [
    line.strip()
    for name, command in cli.cli.commands.items()
    if command.epilog and name not in {"data", "shard"}  # no run to look at; tried where the command line is
    for line in command.epilog.splitlines()
    if line.strip().startswith("vaelib ") and " train " not in line
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_the_help_do_what_they_say(
    example: str, replayed: Path, few: Images, tmp_path: Path, vaelib: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("first", "film"):
        shutil.copytree(replayed, tmp_path / "runs" / name, ignore=shutil.ignore_patterns("*.gif"))
        shutil.copy(replayed / "model.safetensors", tmp_path / "runs" / name / "best.safetensors")
    monkeypatch.setattr(movies, "mp4", lambda *_, **__: b"seconds, and tried above")
    digit = Image.fromarray(255 - few.pixels[0].reshape(28, 28).numpy())
    digit.resize((200, 200)).save("my-digit.jpg")
    before = set(tmp_path.rglob("*"))
    _, *arguments = shlex.split(example)
    answer = vaelib(*arguments)
    assert answer.code == 0, answer.err
    made = set(tmp_path.rglob("*")) - before
    named = re.findall(r"--out (\S+)", example)
    assert {str(path.relative_to(tmp_path)) for path in made} >= set(named)
    assert bool(made) == (arguments[0] != "evaluate")


def test_every_command_that_looks_at_a_run_shows_an_example() -> None:
    told = {line.split()[1] for line in EXAMPLES}
    assert told == {"sample", "reconstruct", "encode", "manifold", "animate", "evaluate", "qq"}


def test_a_bar_shows_on_a_terminal_only_and_of_what_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(options.bar("image")(range(3))) == [0, 1, 2]
    with options.waiting("something"):
        pass
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(options.bar("image")(range(3))) == [0, 1, 2]  # at once: not worth a bar
    assert "image" not in capsys.readouterr().err
    with options.waiting("something"):
        assert capsys.readouterr().err == "something ..."


# What is asked wrongly


def test_pictures_are_allowed_the_endings_that_can_be_written() -> None:
    for ending in options.PICTURES:
        assert saving.kind_of(Path(f"x{ending}")) == ending[1:]
    assert len(options.PICTURES) == len(saving._UNDATED)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sample", "WIDE", "--temperature", "nan"], "nan is not a finite number"),
        (["sample", "NOWHERE", "--out", "x.jpeg"], "`sample` writes .png, .svg or .pdf"),
        (["sample", "NOWHERE", "--out", "x"], "`sample` writes .png, .svg or .pdf"),
        (["evaluate"], "Missing argument 'RUN'"),
        (["evaluate", "WIDE", "--seed", "-1"], "'--seed'"),
        (["evaluate", "WIDE", "--importance", "0"], "'--importance': 0 is not in the range"),
        (["manifold", "ONE"], "has 1 latent, and a manifold is a picture of 2"),
        (["manifold", "WIDE", "--dims", "1", "4"], "this model has 3 latents"),
        (["manifold", "WIDE", "--dims", "2", "2"], "say two different latents"),
        (["manifold", "NOWHERE", "--latent-min", "2", "--latent-max", "2"], "2 is not below --latent-max 2"),
        (["manifold", "NOWHERE", "--latent-min", "4"], "--latent-min 4 is not below --latent-max 3"),
        (["manifold", "NOWHERE", "--grid", "gaussian", "--latent-min", "-4"], "says nothing to --grid"),
        (["manifold", "NOWHERE", "--latent-max", "inf"], "'--latent-max'"),
        (["encode", "WIDE", "--dims", "1", "4"], "this model has 3 latents"),
        (["encode", "WIDE", "--dims", "2", "2"], "say two different latents"),
        (["encode", "NOWHERE", "--dims", "2", "pca"], "say two latents, or pca alone"),
        (["encode", "NOWHERE", "--dims", "two", "three"], "'two' is not a valid integer"),
        (["encode", "NOWHERE", "--dims", "0", "1"], "0 is not in the range"),
        (["encode", "NOWHERE", "--dims", "1"], "'--dims' requires 2 arguments"),
        (["encode", "NOWHERE", "--target", "median"], "'median' is not one of"),
        (["encode", "NOWHERE", "--out", "x.png", "--out", "x.xls"], "`encode` writes .png, .svg, .pdf, .csv"),
        (["encode", "ONE"], "has 1 latent, and a picture shows 2"),
        (["qq", "NOWHERE", "--out", "x.npz"], "`qq` writes .png, .svg, .pdf or .csv"),
        (["reconstruct", "NOWHERE", "--best", "--worst"], "--best and --worst choose the images in two ways"),
        (["reconstruct", "NOWHERE", "--index", "1", "--digit", "3"], "--index and --digit choose"),
        (["reconstruct", "NOWHERE", "--index", "1", "--count", "3"], "--index and --count choose"),
        (["reconstruct", "NOWHERE", "--image", "FILE", "--worst"], "--image and --worst choose"),
        (["reconstruct", "NOWHERE", "--image", "FILE", "--split", "test"], "--image and --split choose"),
        (["reconstruct", "NOWHERE", "--invert", "no"], "give it with --image"),
        (["reconstruct", "NOWHERE", "--image", "nothing.png"], "'nothing.png' does not exist"),
        (["reconstruct", "NOWHERE", "--digit", "10"], "10 is not in the range"),
        (["reconstruct", "NOWHERE", "--count", "0"], "0 is not in the range"),
        (["animate", "WIDE", "--out", "x.webm"], "`animate` writes .gif or .mp4"),
        (["animate", "REPLAYED", "--dims", "1", "4"], "this run has 3 latent(s), and the film draws two"),
        (["animate", "REPLAYED", "--dims", "0", "1"], "'--dims': 0 is not in the range"),
        (["animate", "REPLAYED", "--fps", "0"], "'--fps': 0.0 is not in the range"),
        (["animate", "REPLAYED", "--fps", "nan"], "'--fps'"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_one_line_before_anything_is_computed(
    arguments: list[str], said: str, wide: Path, replayed: Path, zoo: dict[str, Path], tmp_path: Path,
    vaelib: Shell, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Of NOWHERE there would be other things to say, were it opened."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluation, "_evaluating", None)  # whoever computes with a model fails loudly
    places = {"WIDE": wide, "REPLAYED": replayed, "ONE": zoo["one"], "FILE": __file__}
    answer = vaelib(*(places.get(word, word) for word in arguments))
    assert answer.code == 2
    assert said in one_line(answer)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["sample", "reconstruct", "encode", "manifold", "qq"])
def test_an_unwritable_place_is_said_before_the_model_is_opened(
    command: str, tmp_path: Path, vaelib: Shell
) -> None:
    # Below a file rather than in a read-only folder: root may write there, and tests may run as root.
    (tmp_path / "file").write_text("")
    answer = vaelib(command, "NOWHERE", "--out", tmp_path / "file" / "run" / "x.png")
    assert answer.code == 1
    assert str(tmp_path / "file") in one_line(answer)


def test_weights_that_are_no_numbers_are_refused(zoo: dict[str, Path], vaelib: Shell) -> None:
    for command in ("sample", "encode", "evaluate", "qq"):
        answer = vaelib(command, zoo["nan"])
        assert answer.code == 1
        assert "its weights are not all numbers (decoder.hidden.bias)" in one_line(answer)


@pytest.mark.usefixtures("few")
def test_images_that_are_put_nowhere_are_said(tmp_path: Path, vaelib: Shell) -> None:
    model = KINDS["bernoulli"]()
    with torch.no_grad():
        model.encoder.output.weight.fill_(3e38)  # finite, and its sums are not
    checkpoints.save(tmp_path / "model.safetensors", model)
    for command in ("encode", "qq"):
        answer = vaelib(command, tmp_path, "--out", tmp_path / "x.csv")
        assert answer.code == 1
        assert "is not a number" in one_line(answer)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"GIF89a no more", "not a picture that can be read"), (None, "nothing is drawn on it")],
)
def test_a_file_that_shows_no_digit_is_said_before_the_model_is_opened(
    content: bytes | None, said: str, tmp_path: Path, vaelib: Shell
) -> None:
    path = tmp_path / "x.png"
    Image.new("L", (50, 50), 128).save(path) if content is None else path.write_bytes(content)
    answer = vaelib("reconstruct", "NOWHERE", "--image", path)
    assert answer.code == 1
    assert said in one_line(answer)
