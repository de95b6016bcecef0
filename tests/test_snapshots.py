"""Snapshots: what they hold, that they change nothing, that a stopped run's are those of one that was not."""

import dataclasses
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch.distributions import Normal, kl_divergence

from vaelib import checkpoints, snapshots, training
from vaelib.data import Images
from vaelib.errors import CheckpointError, TrainingError
from vaelib.evaluation import decode, evaluate
from vaelib.history import Epoch
from vaelib.models import VAE, mlp_vae
from vaelib.settings import Recipe
from vaelib.snapshots import Snapshots, after_epoch, begin

RECIPE = Recipe(epochs=3, batch_size=32, seed=3)
TENSORS = ("labels", "means", "rates", "shown", "originals", "reconstructions")
LINE = Epoch(1, -2.0, 1.5, 0.5, -3.0, 2.0, 1.0, 0.1, 7.0)


def pictures(count: int, seed: int = 0, classes: int = 10) -> Images:
    """Noise whose bright half depends on the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    pixels = torch.randint(0, 128, (count, 784), dtype=torch.uint8, generator=generator)
    pixels[torch.arange(784)[None] // 78 <= labels[:, None]] += 100
    return Images(pixels, labels)


TRAIN, HELD_OUT = pictures(100), pictures(60, seed=1)


def fresh(**other: object) -> VAE:
    return mlp_vae(hidden_dim=8, generator=torch.Generator().manual_seed(0), **other)


def train(
    folder: Path, *, keep: bool = True, resume: bool = False, recipe: Recipe = RECIPE, **other: object
) -> VAE:
    """A run as the command line makes one."""
    model = fresh(**other)
    taken = None
    if keep:
        taken = snapshots.load(folder) if resume else begin(model, HELD_OUT, seed=recipe.seed)
        folder.mkdir(exist_ok=True)
        snapshots.save(folder / snapshots.SNAPSHOTS_FILE, taken)

    def record(history: list[Epoch]) -> None:
        nonlocal taken
        taken = after_epoch(taken, model, HELD_OUT, history)
        snapshots.save(folder / snapshots.SNAPSHOTS_FILE, taken)

    training.fit(
        model, TRAIN, recipe, held_out=HELD_OUT, folder=folder, resume=resume, progress=False,
        before_saving=record if keep else None,
    )  # fmt: skip
    return model


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[VAE, Path]:
    """A trained model and the folder of its run."""
    folder = tmp_path_factory.mktemp("snapshots")
    return train(folder), folder


def small(**other: object) -> Snapshots:
    """Two epochs of made-up numbers, three images, two latents."""
    parts = {
        "labels": torch.tensor([4, 2, 4], dtype=torch.uint8),
        "means": torch.arange(18.0).reshape(3, 3, 2),
        "rates": torch.arange(6.0).reshape(3, 2),
        "shown": torch.tensor([1, 0]),
        "originals": torch.zeros(2, 784, dtype=torch.uint8),
        "reconstructions": torch.ones(3, 2, 784, dtype=torch.uint8),
        "history": (LINE._replace(seconds=0.0), LINE._replace(epoch=2, held_out_elbo=None, seconds=0.0)),
        "elbo_before": -543.4,
        "held_out_name": "validation",
    }
    return Snapshots(**{**parts, **other})


# What they hold


def test_snapshots_begin_with_the_untrained_model_and_end_with_the_trained_one(
    whole: tuple[VAE, Path],
) -> None:
    model, folder = whole
    taken = snapshots.load(folder)
    assert taken.means.shape == (4, 60, 2)
    for moment, other in ((0, fresh()), (3, model)):
        with torch.no_grad():
            mean, log_var = other.encode(HELD_OUT.pixels / 255)
        # float32, in batches of another size.
        torch.testing.assert_close(taken.means[moment], mean, rtol=1e-4, atol=1e-5)
        prior = Normal(torch.zeros(()), torch.ones(()))
        rates = kl_divergence(Normal(mean, (0.5 * log_var).exp()), prior).mean(0)
        torch.testing.assert_close(taken.rates[moment], rates, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("latent_dim", [1, 5])
def test_any_number_of_latents_can_be_recorded(latent_dim: int) -> None:
    model = fresh(latent_dim=latent_dim)
    taken = after_epoch(begin(model, HELD_OUT, seed=0), model, HELD_OUT, [LINE])
    assert taken.means.shape == (2, 60, latent_dim)
    assert torch.equal(taken.means[0], taken.means[1])  # the model has not moved


def test_reconstructions_are_decoded_from_the_followed_means_of_the_shown_images(
    whole: tuple[VAE, Path],
) -> None:
    model, folder = whole
    taken = snapshots.load(folder)
    for moment, other in ((0, fresh()), (3, model)):
        expected = (255 * decode(other, taken.means[moment, taken.shown])).round()
        assert torch.equal(taken.reconstructions[moment].float(), expected)
    assert not torch.equal(taken.reconstructions[0], taken.reconstructions[3])
    assert torch.equal(taken.originals, HELD_OUT.pixels[taken.shown])


def test_shown_is_the_first_image_of_each_class_that_there_is() -> None:
    labels = torch.tensor([7, 3, 3, 0, 7, 9])
    taken = begin(fresh(), Images(HELD_OUT.pixels[:6], labels), seed=0)
    assert taken.shown.tolist() == [3, 1, 0, 5]
    assert taken.labels[taken.shown].tolist() == [0, 3, 7, 9]


def test_no_more_than_the_first_two_thousand_images_are_followed() -> None:
    many = pictures(2010)
    taken = begin(fresh(), many, seed=0)
    assert taken.labels.tolist() == many.labels[:2000].tolist()
    assert taken.means.shape == (1, 2000, 2)


def test_a_decoder_that_leaves_the_grey_values_is_cut_and_does_not_wrap_around() -> None:
    model = fresh(likelihood="gaussian")
    with torch.no_grad():
        model.decoder.output.bias[:392] = -3.0
        model.decoder.output.bias[392:] = 3.0
    (picture,) = begin(model, HELD_OUT, seed=0).reconstructions
    assert (picture[:, :392] == 0).all()
    assert (picture[:, 392:] == 255).all()


def test_elbo_in_the_snapshots_is_that_of_all_held_out_images_at_that_moment(whole: tuple[VAE, Path]) -> None:
    model, folder = whole
    taken = snapshots.load(folder)
    told = [taken.held_out_elbo[0], taken.held_out_elbo[-1]]
    for value, other in zip(told, (fresh(), model), strict=True):
        noise = torch.Generator().manual_seed(RECIPE.seed)
        assert value == pytest.approx(evaluate(other, HELD_OUT, generator=noise).elbo, abs=1e-9)
    assert told[1] > told[0]
    assert [line.epoch for line in taken.history] == [1, 2, 3]
    assert taken.epochs == 3
    assert {line.seconds for line in taken.history} == {0.0}


def test_plane_is_that_of_the_two_latents_with_the_largest_rates_at_the_end() -> None:
    rates = torch.tensor([[9.0, 9.0, 0.0, 0.0], [9.0, 9.0, 0.0, 0.0], [0.1, 2.0, 0.2, 3.0]])
    assert small(means=torch.zeros(3, 3, 4), rates=rates).plane() == (2, 4)
    with pytest.raises(ValueError, match="this run has 1"):
        small(means=torch.zeros(3, 3, 1), rates=rates[:, :1].clone()).plane()


# What they leave alone


@pytest.mark.parametrize("patience", [None, 2])
def test_training_with_snapshots_gives_the_weights_of_training_without_to_the_bit(
    tmp_path: Path, patience: int | None
) -> None:
    recipe = dataclasses.replace(RECIPE, patience=patience)
    before = torch.random.get_rng_state()
    watched = train(tmp_path / "a", recipe=recipe)
    alone = train(tmp_path / "b", keep=False, recipe=recipe)
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, weight in alone.state_dict().items():
        assert torch.equal(weight, watched.state_dict()[name]), name
    # The optimiser's moments and the training generator's state as well.
    ours, theirs = (checkpoints.load(tmp_path / x / training.CHECKPOINT_FILE).extra for x in "ab")
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_recorder_of_a_run_takes_what_its_folder_would_keep_and_leaves_the_weights_alone(
    whole: tuple[VAE, Path],
) -> None:
    model, folder = whole
    ours = fresh()
    recorder = snapshots.Recorder(ours, HELD_OUT, seed=RECIPE.seed)
    assert recorder.snapshots.epochs == 0
    training.fit(ours, TRAIN, RECIPE, held_out=HELD_OUT, progress=False, before_saving=recorder)
    taken = snapshots.load(folder)
    assert recorder.snapshots.history == taken.history
    assert recorder.snapshots.elbo_before == taken.elbo_before
    for name in TENSORS:
        assert torch.equal(getattr(recorder.snapshots, name), getattr(taken, name)), name
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, ours.state_dict()[name]), name


def test_a_snapshot_is_of_its_moment_and_does_not_move_with_the_model() -> None:
    model = fresh()
    taken = begin(model, HELD_OUT, seed=0)
    means = taken.means.clone()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)
    assert torch.equal(taken.means, means)


# Stopped and resumed


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("where", ["before the checkpoint", "after the checkpoint"])
def test_a_stopped_and_resumed_run_has_the_file_of_one_that_was_not_to_the_bit(
    whole: tuple[VAE, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, where: str
) -> None:
    store = training._store

    def stop(*arguments: object) -> None:
        """Play Ctrl-C beside the write of the checkpoint."""
        reached = len(arguments[5]) == epoch + (where == "before the checkpoint")
        if reached and where == "before the checkpoint":
            raise KeyboardInterrupt
        store(*arguments)
        if reached:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_store", stop)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path)
    kept = snapshots.load(tmp_path)
    assert kept.epochs == epoch + (where == "before the checkpoint")
    train(tmp_path, resume=True)
    ours, theirs = ((folder / snapshots.SNAPSHOTS_FILE).read_bytes() for folder in (tmp_path, whole[1]))
    assert ours == theirs


@pytest.mark.parametrize("what", ["history", "labels", "pixels", "too few"])
def test_snapshots_of_another_run_are_not_continued(what: str) -> None:
    model, lines = fresh(), [LINE, LINE._replace(epoch=2)]
    taken = after_epoch(begin(model, HELD_OUT, seed=0), model, HELD_OUT, lines[:1])
    held_out = HELD_OUT
    if what == "history":
        lines = [LINE._replace(train_elbo=-2.1), lines[1]]
    elif what == "labels":
        held_out = Images(HELD_OUT.pixels, HELD_OUT.labels.roll(1))
    elif what == "pixels":
        held_out = Images(255 - HELD_OUT.pixels, HELD_OUT.labels)
    else:
        lines.append(LINE._replace(epoch=3))
    with pytest.raises(CheckpointError, match="not those of this run's first"):
        after_epoch(taken, model, held_out, lines)


def test_how_long_an_epoch_took_makes_no_other_run() -> None:
    model = fresh()
    taken = after_epoch(begin(model, HELD_OUT, seed=0), model, HELD_OUT, [LINE])
    slower = [LINE._replace(seconds=99.0), LINE._replace(epoch=2)]
    assert after_epoch(taken, model, HELD_OUT, slower).epochs == 2


# The file


def test_a_file_brings_back_everything_exactly(tmp_path: Path) -> None:
    taken, path = small(), tmp_path / snapshots.SNAPSHOTS_FILE
    snapshots.save(path, taken)
    for place in (path, tmp_path):
        loaded = snapshots.load(place)
        assert all(torch.equal(getattr(loaded, name), getattr(taken, name)) for name in TENSORS)
        assert loaded.history == taken.history
        assert isinstance(loaded.history[0], Epoch)
        assert (loaded.elbo_before, loaded.held_out_name) == (-543.4, "validation")
        assert loaded.held_out_elbo == (-543.4, -3.0, None)


def written(path: Path, *, drop: str = "", header: dict[str, object] | None = None, **other: object) -> None:
    """A file like one of :func:`vaelib.snapshots.save`, with something else about it."""
    taken = small()
    tensors = {name: other.get(name, getattr(taken, name)) for name in TENSORS if name != drop}
    said = {
        "format": 1, "vaelib": "0", "fields": Epoch._fields, "history": taken.history, "elbo_before": -1.0,
        "held_out_name": "test",
    }  # fmt: skip
    said |= header or {}
    path.write_bytes(safetensors.torch.save(tensors, metadata={"snapshots": json.dumps(said)}))


def test_the_file_that_is_spoilt_below_is_good_before(tmp_path: Path) -> None:
    written(tmp_path / "x")
    assert snapshots.load(tmp_path / "x").epochs == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"header": {"format": 2, "vaelib": "9.9"}}, "written by vaelib 9.9.*upgrade"),
        ({"header": {"format": "x"}}, "header of .* is damaged"),
        ({"header": {"history": [[1, 2]]}}, "is damaged"),
        ({"header": {"history": 5}}, "is damaged"),
        ({"header": {"fields": ["epoch"]}}, "is damaged"),
        ({"header": {"history": []}}, "snapshots of 0 epochs: means must be .*\\(1, 3, 2\\)"),
        ({"drop": "means"}, "is damaged: KeyError\\('means'\\)"),
        ({"means": torch.zeros(3, 4, 2)}, "means must be torch.float32 of shape \\(3, 3, 2\\)"),
        ({"means": torch.zeros(3, 3, 2).half()}, "not torch.float16"),
        ({"rates": torch.zeros(())}, "is damaged"),
        ({"originals": torch.zeros(2, 9, dtype=torch.uint8)}, "originals must be"),
    ],
)
def test_a_damaged_or_newer_file_is_refused_and_says_why(
    tmp_path: Path, wrong: dict[str, object], said: str
) -> None:
    written(tmp_path / "x", **wrong)
    with pytest.raises(CheckpointError, match=said):
        snapshots.load(tmp_path / "x")


def test_a_missing_or_foreign_file_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train with `vaelib train --snapshots`"):
        snapshots.load(tmp_path)
    checkpoints.save(tmp_path / "model", fresh())
    with pytest.raises(CheckpointError, match="holds no snapshots"):
        snapshots.load(tmp_path / "model")
    snapshots.save(tmp_path / "cut", small())
    content = (tmp_path / "cut").read_bytes()
    (tmp_path / "cut").write_bytes(content[:-100])
    with pytest.raises(CheckpointError, match="damaged or not a safetensors file"):
        snapshots.load(tmp_path / "cut")


def test_nothing_to_follow_is_refused() -> None:
    with pytest.raises(TrainingError, match="there are none"):
        begin(fresh(), HELD_OUT[:0], seed=0)
