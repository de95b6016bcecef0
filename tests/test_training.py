import copy
import csv
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vaelib import training
from vaelib.checkpoints import load
from vaelib.data import Images
from vaelib.errors import CheckpointError, TrainingError
from vaelib.evaluation import Evaluation, evaluate
from vaelib.history import Epoch
from vaelib.models import VAE, conv_vae, mlp_vae
from vaelib.objectives import ElboTerms, terms_of
from vaelib.settings import Recipe
from vaelib.training import fit, learning_rate_at

QUIET = {"progress": False}


def stripes(count: int, seed: int = 0) -> Images:
    """Pictures with structure that two latents can hold: a bright block whose place and size vary."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.randint(0, 20, (count, 2), generator=generator)
    rows = torch.arange(28)
    inside = (rows >= place[:, :1]) & (rows < place[:, :1] + 8)
    across = (rows >= place[:, 1:]) & (rows < place[:, 1:] + 8)
    pixels = (inside[:, :, None] & across[:, None, :]).reshape(count, 784).to(torch.uint8) * 255
    return Images(pixels, torch.zeros(count, dtype=torch.int64))


def fresh(**other: object) -> VAE:
    return mlp_vae(hidden_dim=16, generator=torch.Generator().manual_seed(0), **other)


def same(one: VAE, other: VAE) -> bool:
    return all(torch.equal(weight, other.state_dict()[name]) for name, weight in one.state_dict().items())


def without_seconds(history: list[Epoch]) -> list[Epoch]:
    return [line._replace(seconds=0.0) for line in history]


def test_training_raises_the_elbo() -> None:
    model, train, held_out = fresh(), stripes(512), stripes(200, seed=1)
    before = evaluate(model, held_out).elbo
    history = fit(model, train, Recipe(epochs=5, batch_size=32), held_out=held_out, **QUIET)
    assert len(history) == 5
    # An untrained decoder pays about 784 log 2 = 543 nats; what is asked is far beyond noise.
    assert history[-1].held_out_elbo > before + 200


def test_same_seed_same_weights_and_other_seed_other_weights() -> None:
    models = [fresh() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        fit(model, stripes(96), Recipe(epochs=2, batch_size=32, seed=seed), **QUIET)
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_held_out_images_do_not_change_the_training() -> None:
    alone, watched = fresh(), fresh()
    fit(alone, stripes(96), Recipe(epochs=2), **QUIET)
    fit(watched, stripes(96), Recipe(epochs=2), held_out=stripes(50, seed=1), **QUIET)
    assert same(alone, watched)


def test_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    fit(fresh(), stripes(40), Recipe(epochs=1), held_out=stripes(10), **QUIET)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_image_counts_once_in_an_epoch_though_the_last_batch_is_smaller() -> None:
    # With a step size of almost nothing the weights stay, so the epoch's mean rate is that of the images.
    model, train = fresh(), stripes(70)
    history = fit(model, train, Recipe(epochs=1, batch_size=32, learning_rate=1e-12), **QUIET)
    expected = evaluate(model, train).rate  # exact: the KL term has no noise
    # float32 sums of three batches.
    assert history[0].train_rate == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("patience", [None, 2])
@pytest.mark.parametrize("stop_after", [1, 3])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_interrupted_and_resumed_run_is_the_uninterrupted_one_to_the_bit(
    tmp_path: Path, patience: int | None, stop_after: int, likelihood: str
) -> None:
    recipe = Recipe(epochs=6, batch_size=32, patience=patience, seed=3)
    images = {"train": stripes(100), "held_out": stripes(60, seed=1)}
    whole, broken = fresh(likelihood=likelihood), fresh(likelihood=likelihood)
    expected = fit(whole, images["train"], recipe, held_out=images["held_out"], **QUIET)

    def interrupt(line: Epoch) -> None:
        if line.epoch == stop_after:
            raise KeyboardInterrupt

    def run(model: VAE, **more: object) -> list[Epoch]:
        return fit(
            model, images["train"], recipe, held_out=images["held_out"], folder=tmp_path, **more, **QUIET
        )

    with pytest.raises(KeyboardInterrupt):
        run(broken, on_epoch=interrupt)
    resumed = fresh(likelihood=likelihood)
    history = run(resumed, resume=True)
    assert same(whole, resumed)
    assert without_seconds(history) == without_seconds(expected)
    assert same(load(tmp_path).model, resumed)
    # Resuming what is complete changes nothing.
    assert without_seconds(run(fresh(likelihood=likelihood), resume=True)) == without_seconds(expected)


def test_early_stopping_restores_the_best_weights_and_stops_by_the_right_rule(tmp_path: Path) -> None:
    # Few images and a fixed large step: the held-out objective gets worse after a while.
    recipe = Recipe(epochs=200, batch_size=8, learning_rate=2e-2, schedule="constant", patience=3)
    model, held_out = fresh(), stripes(100, seed=1)
    history = fit(model, stripes(24), recipe, held_out=held_out, folder=tmp_path, **QUIET)
    elbos = [line.held_out_elbo for line in history]
    assert len(history) < 200
    best = max(elbos)
    # The best epoch is the one before the last `patience`: none of them passed it. (A rule that resets its
    # count whenever an epoch beats the previous one would run on.)
    assert elbos.index(best) == len(elbos) - 1 - 3
    fixed = torch.Generator().manual_seed(recipe.seed)
    assert evaluate(model, held_out, generator=fixed).elbo == pytest.approx(best, abs=1e-9)
    assert same(load(tmp_path).model, model)


def test_history_compares_at_a_kl_weight_of_one_whatever_was_trained() -> None:
    history = fit(fresh(), stripes(64), Recipe(epochs=1, beta=4.0), held_out=stripes(32), **QUIET)
    (line,) = history
    assert line.train_elbo == pytest.approx(-line.train_distortion - line.train_rate)
    assert line.held_out_elbo == pytest.approx(-line.held_out_distortion - line.held_out_rate)


def test_patience_judges_by_the_objective_that_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    # At beta = 5 the second epoch is the best, at 1 the first: -100 - 5 * 10 < -110 - 5 * 2 < -100 - 10.
    measured = iter([(100.0, 10.0), (110.0, 2.0), (105.0, 9.0), (104.0, 9.0), (1.0, 1.0)])

    def played(*_: object, **__: object) -> Evaluation:
        distortion, rate = next(measured)
        return Evaluation(-distortion - rate, distortion, rate, 1.0, 10, 5.0)

    monkeypatch.setattr(training, "evaluate", played)
    recipe = Recipe(epochs=5, patience=2, beta=5.0)
    history = fit(fresh(), stripes(24), recipe, held_out=stripes(10), **QUIET)
    assert len(history) == 4


def test_a_step_follows_the_gradient_of_the_mean_over_its_batch(tmp_path: Path) -> None:
    train, recipe = stripes(40), Recipe(epochs=1, batch_size=64, beta=2.0, seed=5)
    model, trained = fresh(), fresh()
    fit(trained, train, recipe, folder=tmp_path, **QUIET)

    generator = torch.Generator().manual_seed(5)
    x = train[torch.randperm(40, generator=generator)].floats()
    mean, log_var = model.encode(x)
    z = mean + (log_var / 2).exp() * torch.randn(40, 2, generator=generator)
    p = model.mean_image(z)
    log_likelihood = (x * p.log() + (1 - x) * (1 - p).log()).sum(1)
    kl = -(1 + log_var - mean**2 - log_var.exp()).sum(1) / 2
    loss = -(log_likelihood - 2 * kl).mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    # After one step Adam's first moment is a tenth of the gradient; the step itself hides its scale.
    moments = load(tmp_path / "checkpoint.safetensors").extra
    for index, gradient in enumerate(gradients):
        torch.testing.assert_close(10 * moments[f"optimizer.{index}.exp_avg"], gradient, rtol=1e-3, atol=1e-5)


def test_larger_beta_lowers_the_rate() -> None:
    rates = []
    for beta in (0.5, 20.0):
        history = fit(fresh(), stripes(256), Recipe(epochs=8, batch_size=32, beta=beta), **QUIET)
        rates.append(history[-1].train_rate)
    assert rates[1] < rates[0]


@given(st.integers(1, 40), st.integers(1, 500), st.floats(0, 5))
def test_learning_rate_rises_then_falls_to_nothing(epochs: int, steps: int, warmup: float) -> None:
    recipe, total = Recipe(epochs=epochs, warmup_epochs=warmup), epochs * steps
    rates = [learning_rate_at(t, total, warmup * steps, recipe) for t in range(1, total + 1)]
    assert all(0 <= rate <= recipe.learning_rate * (1 + 1e-12) for rate in rates)
    if warmup < epochs:
        assert rates[-1] == pytest.approx(0, abs=1e-12)
        peak = rates.index(max(rates))
        assert rates[: peak + 1] == sorted(rates[: peak + 1])
        assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_learning_rate_halfway_down_the_cosine_is_half() -> None:
    recipe = Recipe(learning_rate=1.0)
    assert learning_rate_at(60, 100, 20, recipe) == pytest.approx(0.5)
    assert learning_rate_at(10, 100, 20, recipe) == pytest.approx(0.5)
    constant = Recipe(learning_rate=1.0, schedule="constant")
    assert [learning_rate_at(t, 100, 20, constant) for t in (10, 20, 99)] == [0.5, 1, 1]


def test_a_training_that_diverges_says_so_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    recipe = Recipe(epochs=3, learning_rate=1e30, schedule="constant", warmup_epochs=0)
    with pytest.raises(TrainingError, match="lower the learning rate"):
        fit(fresh(), stripes(300), recipe, folder=tmp_path, **QUIET)
    for path in tmp_path.iterdir():
        assert all(weight.isfinite().all() for weight in load(path).model.state_dict().values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"epochs": 9}, "epochs was 2, now 9"),
        ({"learning_rate": 1e-4}, "learning_rate was 0.005, now 0.0001"),
    ],
)
def test_resuming_with_other_settings_is_refused_and_names_them(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    settings = {"epochs": 2, "seed": 0}
    fit(fresh(), stripes(20), Recipe(**settings), folder=tmp_path, **QUIET)
    with pytest.raises(CheckpointError, match=said):
        fit(fresh(), stripes(20), Recipe(**{**settings, **change}), folder=tmp_path, resume=True, **QUIET)
    with pytest.raises(CheckpointError, match="train_images was 20, now 21"):
        fit(fresh(), stripes(21), Recipe(**settings), folder=tmp_path, resume=True, **QUIET)
    with pytest.raises(CheckpointError, match="latent_dim was 2, now 3"):
        fit(fresh(latent_dim=3), stripes(20), Recipe(**settings), folder=tmp_path, resume=True, **QUIET)


def test_resuming_from_nothing_or_from_a_bare_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        fit(fresh(), stripes(20), folder=tmp_path, resume=True, **QUIET)
    fit(fresh(), stripes(20), Recipe(epochs=1), folder=tmp_path, **QUIET)
    (tmp_path / "model.safetensors").replace(tmp_path / "checkpoint.safetensors")
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        fit(fresh(), stripes(20), Recipe(epochs=1), folder=tmp_path, resume=True, **QUIET)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan},
        {"schedule": "stairs"}, {"warmup_epochs": -1.0}, {"beta": -0.1}, {"patience": 0},
        {"optimizer": "sgd"}, {"precision": "fp8"}, {"weight_decay": -1.0}, {"free_bits": math.inf},
        {"beta_warmup_epochs": -1.0},
    ],
)  # fmt: skip
def test_recipes_that_make_no_sense_are_refused_by_name(wrong: dict[str, object]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(TrainingError, match=f"{name} must .* it is {value}"):
        Recipe(**wrong)


def test_calls_that_make_no_sense_are_refused() -> None:
    with pytest.raises(TrainingError, match="no training images"):
        fit(fresh(), stripes(20)[:0], **QUIET)
    with pytest.raises(TrainingError, match="needs held-out images"):
        fit(fresh(), stripes(20), Recipe(patience=2), **QUIET)
    with pytest.raises(TrainingError, match="needs the folder"):
        fit(fresh(), stripes(20), resume=True, **QUIET)


def test_history_file_holds_the_history(tmp_path: Path) -> None:
    history = fit(fresh(), stripes(40), Recipe(epochs=2), folder=tmp_path, **QUIET)
    with (tmp_path / "history.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["train_elbo"]) for line in lines] == [line.train_elbo for line in history]
    assert {line["held_out_elbo"] for line in lines} == {""}


def test_a_progress_bar_is_shown_where_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    fit(fresh(), stripes(40), Recipe(epochs=2), progress=True)
    shown = capsys.readouterr()
    assert "epoch 2/2" in shown.err
    assert "nats" in shown.err
    assert shown.out == ""
    fit(fresh(), stripes(40), Recipe(epochs=1), **QUIET)
    assert capsys.readouterr().err == ""


def test_adagrad_takes_the_steps_of_its_formula_and_decay_pulls_by_half_the_square(tmp_path: Path) -> None:
    """Duchi et al.: w <- w - lr g / (sqrt(sum of g squared) + 1e-10), with g + decay * w for a decay."""
    train, rate, decay = stripes(60), 0.02, 0.1
    recipe = Recipe(
        epochs=1, batch_size=20, optimizer="adagrad", learning_rate=rate, weight_decay=decay,
        schedule="constant", warmup_epochs=0.0, seed=5,
    )  # fmt: skip
    trained, model = fresh(), fresh()
    fit(trained, train, recipe, folder=tmp_path, **QUIET)

    generator = torch.Generator().manual_seed(5)
    shuffled = train[torch.randperm(60, generator=generator)].floats()
    weights = list(model.parameters())
    squares = [torch.zeros_like(weight) for weight in weights]
    noises = torch.randn(60, 2, generator=generator)
    for x, noise in zip(shuffled.split(20), noises.split(20), strict=True):
        mean, log_var = model.encode(x)
        terms = terms_of(model, x, mean, log_var, noise)
        gradients = torch.autograd.grad(-terms.elbo.mean(), weights)
        with torch.no_grad():
            for weight, gradient, square in zip(weights, gradients, squares, strict=True):
                pull = gradient + decay * weight
                square += pull**2
                weight -= rate * pull / (square.sqrt() + 1e-10)
    for ours, theirs in zip(weights, trained.parameters(), strict=True):
        # Three steps of about 0.02 in float32; where a gradient is next to nothing its sign is noise.
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-4)


def test_adamw_decays_weights_apart_from_the_gradient() -> None:
    # One step of size lr: both move by lr along the gradient's sign, AdamW by lr * decay * w besides.
    rate, decay = 1e-2, 0.5
    settings = {
        "epochs": 1,
        "batch_size": 64,
        "learning_rate": rate,
        "schedule": "constant",
        "warmup_epochs": 0.0,
    }
    start, adam, adamw = fresh(), fresh(), fresh()
    fit(adam, stripes(64), Recipe(**settings), **QUIET)
    fit(adamw, stripes(64), Recipe(**settings, optimizer="adamw", weight_decay=decay), **QUIET)
    for before, plain, decayed in zip(*(model.parameters() for model in (start, adam, adamw)), strict=True):
        torch.testing.assert_close(plain - decayed, rate * decay * before, rtol=1e-3, atol=1e-6)


def test_bf16_products_train_to_nearly_the_same_bound() -> None:
    train, held_out, elbos = stripes(512), stripes(200, seed=1), []
    for precision in ("fp32", "bf16"):
        model = fresh()
        fit(model, train, Recipe(epochs=4, batch_size=32, precision=precision), **QUIET)
        assert all(weight.dtype == torch.float32 for weight in model.parameters())
        elbos.append(evaluate(model, held_out, generator=torch.Generator().manual_seed(0)).elbo)
    # Eight bits of mantissa, 64 steps; the bound rises by hundreds of nats meanwhile.
    assert elbos[0] != elbos[1]
    assert elbos[1] == pytest.approx(elbos[0], rel=0.05)


def test_a_last_batch_that_is_dropped_is_neither_trained_on_nor_counted() -> None:
    seen: list[tuple[int, int, int]] = []

    def watch(epoch: int, step: int, terms: ElboTerms) -> None:
        assert not terms.log_likelihood.requires_grad
        seen.append((epoch, step, len(terms.kl)))

    recipe = Recipe(epochs=2, batch_size=32, drop_last=True)
    fit(fresh(), stripes(70), recipe, on_step=watch, **QUIET)
    assert seen == [(1, 1, 32), (1, 2, 32), (2, 1, 32), (2, 2, 32)]
    seen.clear()
    fit(fresh(), stripes(70), Recipe(epochs=1, batch_size=32), on_step=watch, **QUIET)
    assert seen == [(1, 1, 32), (1, 2, 32), (1, 3, 6)]
    with pytest.raises(TrainingError, match="lower batch_size"):
        fit(fresh(), stripes(20), recipe, **QUIET)


@pytest.mark.parametrize("keep_best", [True, False])
def test_best_weights_are_kept_beside_the_last_unless_not_wanted(
    tmp_path: Path, keep_best: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([100.0, 80.0, 90.0])
    monkeypatch.setattr(
        training, "evaluate", lambda *_, **__: Evaluation(0.0, next(measured), 0.0, 1.0, 10, 5.0)
    )
    model, after = fresh(), []
    fit(
        model, stripes(24), Recipe(epochs=3, schedule="constant"), held_out=stripes(10), keep_best=keep_best,
        folder=tmp_path, on_epoch=lambda _: after.append(copy.deepcopy(model)), **QUIET,
    )  # fmt: skip
    assert same(load(tmp_path).model, after[-1])
    assert (tmp_path / "best.safetensors").exists() == keep_best
    if keep_best:
        best = load(tmp_path / "best.safetensors")
        assert best.record["epoch"]["epoch"] == 2
        assert same(best.model, after[1])
        assert not same(best.model, model)


def test_a_convolutional_model_resumes_to_the_bit_with_its_running_statistics(tmp_path: Path) -> None:
    def built() -> VAE:
        return conv_vae(
            data_dim=784, encoder_channels=(4, 4), decoder_channels=(4, 4), sigma=0.5,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip

    recipe = Recipe(epochs=3, batch_size=32, optimizer="adamw", weight_decay=0.01, precision="bf16")
    whole, broken, resumed = built(), built(), built()
    fit(whole, stripes(80), recipe, **QUIET)

    def interrupt(_: Epoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(broken, stripes(80), recipe, folder=tmp_path, on_epoch=interrupt, **QUIET)
    fit(resumed, stripes(80), recipe, folder=tmp_path, resume=True, **QUIET)
    assert same(whole, resumed)
    assert any("running_mean" in name for name in whole.state_dict())
