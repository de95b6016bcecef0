"""What keeps latents alive, and what is left of a VAE without noise or without an encoder, as it is trained.

KL warm-up and free bits are held to their formulas by finite differences and by the gradients of the first
steps; an autoencoder and a decoder alone to what they are by definition.
"""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from vaelib.checkpoints import load
from vaelib.data import Images
from vaelib.evaluation import encode, evaluate
from vaelib.handwritten import Backward
from vaelib.history import Epoch
from vaelib.models import VAE, mlp_vae
from vaelib.objectives import ElboTerms, elbo_terms, floored_kl
from vaelib.settings import Recipe
from vaelib.training import beta_at, fit

QUIET = {"progress": False}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blocks(count: int, seed: int = 0) -> Images:
    """Pictures of 784 pixels with a bright block on a grey ground, somewhere."""
    place = torch.randint(0, 20, (count, 2), generator=seeded(seed))
    line = torch.arange(28)
    rows = (line >= place[:, :1]) & (line < place[:, :1] + 8)
    columns = (line >= place[:, 1:]) & (line < place[:, 1:] + 8)
    pixels = 25 + 200 * (rows[:, :, None] & columns[:, None, :]).reshape(count, 784).to(torch.uint8)
    return Images(pixels.to(torch.uint8), torch.zeros(count, dtype=torch.int64))


def fresh(**other: object) -> VAE:
    return mlp_vae(hidden_dim=12, generator=seeded(), **other)


def first_moments(folder: Path) -> list[Tensor]:
    """Ten times Adam's first moments after one step: the gradient that it followed."""
    extra = load(folder / "checkpoint.safetensors").extra
    names = sorted(
        (name for name in extra if name.endswith("exp_avg")), key=lambda name: int(name.split(".")[1])
    )
    return [10 * extra[name] for name in names]


# --- KL warm-up -------------------------------------------------------------------------------------------


def test_the_kl_weight_rises_along_a_line_and_then_stays() -> None:
    recipe = Recipe(beta=4.0)
    assert [beta_at(step, 8, recipe) for step in (1, 2, 4, 8, 9, 1000)] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert [beta_at(step, 0, recipe) for step in (1, 2)] == [4.0, 4.0]  # no warm-up: all of it at once
    assert beta_at(1, 3, Recipe(beta=0.0)) == 0


@pytest.mark.parametrize(("warmup_epochs", "weight"), [(0.0, 2.0), (1.0, 2.0), (4.0, 0.5)])
def test_a_step_follows_the_gradient_at_the_weight_that_the_warm_up_has_then(
    tmp_path: Path, warmup_epochs: float, weight: float
) -> None:
    # One step is one epoch here, so that it is step 1 of `warmup_epochs`.
    images = blocks(30)
    fit(
        fresh(), images, Recipe(epochs=1, batch_size=30, beta=2.0, beta_warmup_epochs=warmup_epochs),
        folder=tmp_path, **QUIET,
    )  # fmt: skip
    model, generator = fresh(), seeded()
    x = images[torch.randperm(30, generator=generator)].floats()
    mean, log_var = model.encode(x)
    z = mean + (log_var / 2).exp() * torch.randn(30, 2, generator=generator)
    distortion = -Bernoulli(logits=model.decode(z), validate_args=False).log_prob(x).sum(1)
    kl = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(0.0, 1.0)).sum(1)
    gradients = torch.autograd.grad((distortion + weight * kl).mean(), list(model.parameters()))
    for ours, theirs in zip(first_moments(tmp_path), gradients, strict=True):
        # float32, sums over 784 pixels in another order.
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_warm_up_counts_steps_over_all_epochs_and_goes_on_where_a_stopped_run_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[float] = []
    backward = Backward.__call__

    def noting(self: Backward, x: Tensor, noise: Tensor, beta: float, images: int) -> ElboTerms:
        met.append(beta)
        return backward(self, x, noise, beta, images)

    monkeypatch.setattr(Backward, "__call__", noting)
    recipe = Recipe(epochs=3, batch_size=10, beta_warmup_epochs=2.0)  # 4 steps an epoch

    def stop(line: Epoch) -> None:
        if line.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(fresh(), blocks(40), recipe, folder=tmp_path, on_epoch=stop, **QUIET)
    assert met == [1 / 8, 2 / 8, 3 / 8, 4 / 8]
    fit(fresh(), blocks(40), recipe, folder=tmp_path, resume=True, **QUIET)
    assert met[4:] == [5 / 8, 6 / 8, 7 / 8, 1, 1, 1, 1, 1]


def test_history_is_at_weight_one_during_the_warm_up_too() -> None:
    (line,) = fit(fresh(), blocks(40), Recipe(epochs=1, beta_warmup_epochs=10.0), **QUIET)
    assert line.train_elbo == pytest.approx(-line.train_distortion - line.train_rate)


# --- free bits --------------------------------------------------------------------------------------------


def spread(batch: int = 40, latents: int = 3) -> tuple[Tensor, Tensor]:
    """Means and log-variances whose KL terms lie on both sides of any floor between 0.01 and 1 nat."""
    mean = 0.8 * torch.randn(batch, latents, generator=seeded(1), dtype=torch.float64)
    log_var = 0.8 * torch.randn(batch, latents, generator=seeded(2), dtype=torch.float64)
    return mean, log_var


def kl_of_each(mean: Tensor, log_var: Tensor) -> Tensor:
    return kl_divergence(
        Normal(mean, (log_var / 2).exp()), Normal(torch.zeros_like(mean), torch.ones_like(mean))
    )


@pytest.mark.parametrize("free", [0.0, 0.05, 0.3, 1.0])
def test_floored_kl_is_the_sum_of_what_each_latent_costs_above_its_free_nats(free: float) -> None:
    mean, log_var = spread()
    each = kl_of_each(mean, log_var)
    if free:
        assert (each < free).any()
        assert (each > free).any()
    found = floored_kl(mean, log_var, free)
    # Rounding of float64 in two ways to write a KL of size 1.
    torch.testing.assert_close(found, torch.where(each > free, each, free).sum(-1), rtol=0, atol=1e-13)
    # Image by image: nothing depends on the others in the batch.
    torch.testing.assert_close(found[5:6], floored_kl(mean[5:6], log_var[5:6], free), rtol=0, atol=0)


def test_latents_below_the_floor_feel_no_pull_and_those_above_it_all_of_it() -> None:
    free, step = 0.3, 1e-6
    mean, log_var = (parameter.requires_grad_() for parameter in spread())
    each = kl_of_each(mean.detach(), log_var.detach())
    assert (each - free).abs().min() > 1e-4  # none is so near the floor that a difference would cross it
    gradients = torch.autograd.grad(floored_kl(mean, log_var, free).sum(), (mean, log_var))
    below = each < free
    for gradient in gradients:
        assert torch.equal(gradient[below], torch.zeros_like(gradient[below]))

    with torch.no_grad():
        for parameter, gradient in zip((mean, log_var), gradients, strict=True):
            for row, column in [*below.nonzero()[:5].tolist(), *(~below).nonzero()[:5].tolist()]:
                shift = torch.zeros_like(parameter)
                shift[row, column] = step
                ends = []
                for sign in (1, -1):
                    moved = (mean, log_var) if parameter is mean else (log_var, mean)
                    pair = (moved[0] + sign * shift, moved[1])
                    pair = pair if parameter is mean else pair[::-1]
                    ends.append(kl_of_each(*pair).clamp(min=free).sum().item())
                # A central difference: an error of step^2 and 1e-14 / step of rounding, times 120 terms.
                slope = (ends[0] - ends[1]) / (2 * step)
                assert gradient[row, column].item() == pytest.approx(slope, abs=1e-7)


def test_training_prices_the_floored_kl_and_reports_the_true_one(tmp_path: Path) -> None:
    images, free, beta = blocks(30), 0.02, 3.0
    told: list[ElboTerms] = []
    history = fit(
        fresh(latent_dim=4), images, Recipe(epochs=1, batch_size=30, beta=beta, free_bits=free),
        folder=tmp_path, on_step=lambda _, __, terms: told.append(terms), **QUIET,
    )  # fmt: skip
    model, generator = fresh(latent_dim=4), seeded()
    x = images[torch.randperm(30, generator=generator)].floats()
    mean, log_var = model.encode(x)
    z = mean + (log_var / 2).exp() * torch.randn(30, 4, generator=generator)
    distortion = -Bernoulli(logits=model.decode(z), validate_args=False).log_prob(x).sum(1)
    each = kl_of_each(mean, log_var)
    assert (each < free).any()
    assert (each > free).any()
    loss = (distortion + beta * each.clamp(min=free).sum(1)).mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for ours, theirs in zip(first_moments(tmp_path), gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    # What is reported is no floored number.
    torch.testing.assert_close(told[0].kl, each.sum(1).detach(), rtol=1e-4, atol=1e-6)
    assert history[0].train_rate == pytest.approx(each.sum(1).mean().item(), rel=1e-4)


def test_free_bits_keep_latents_alive_that_die_without_them() -> None:
    # A deviation of 20 on [0, 1]: every eigenvalue of these pictures, 4.4 at most, is under water.
    images = blocks(400)
    assert torch.linalg.eigvalsh(torch.cov(images.floats().T))[-1] < 20**2
    found = {}
    for free in (0.0, 0.5):
        model = fresh(likelihood="gaussian", sigma=20.0)
        recipe = Recipe(epochs=10, batch_size=20, learning_rate=1e-2, free_bits=free)
        fit(model, images, recipe, **QUIET)
        found[free] = evaluate(model, images, generator=seeded()).rate
    # Theory: nothing, and half a nat for each of the two latents. It is a maximum image by image, so that
    # an image may stay below, and the noise of the steps leaves some thousandths.
    assert found[0.0] < 0.02
    assert 0.5 < found[0.5] < 1.3


# --- without noise, without an encoder --------------------------------------------------------------------


def autoencoder(**other: object) -> VAE:
    return fresh(posterior="point", **other)


def test_an_autoencoder_is_trained_by_the_likelihood_at_the_mean_alone(tmp_path: Path) -> None:
    images = blocks(30)
    fit(autoencoder(), images, Recipe(epochs=1, batch_size=30, beta=0.0), folder=tmp_path, **QUIET)
    model = autoencoder()
    x = images[torch.randperm(30, generator=seeded())].floats()
    mean, _ = model.encode(x)
    loss = -Bernoulli(logits=model.decode(mean), validate_args=False).log_prob(x).sum(1).mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for ours, theirs in zip(first_moments(tmp_path), gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_an_autoencoder_has_an_infinite_rate_and_no_elbo_and_no_noise() -> None:
    model, x = autoencoder(), blocks(5).floats()
    mean, log_var = model.encode(x)
    assert (log_var == -math.inf).all()
    one, other = (elbo_terms(model, x, generator=seeded(seed)) for seed in (1, 2))
    assert torch.equal(one.log_likelihood, other.log_likelihood)
    torch.testing.assert_close(one.log_likelihood, model.log_likelihood(model.decode(mean), x))
    assert (one.rate == math.inf).all()
    assert (one.elbo == -math.inf).all()
    assert torch.equal(one.weighted(0.0), one.log_likelihood)


@pytest.mark.parametrize("patience", [None, 2])
def test_an_autoencoder_learns_and_no_number_of_it_is_nan(tmp_path: Path, patience: int | None) -> None:
    images, held_out = blocks(400), blocks(100, seed=1)
    model = autoencoder()
    before = evaluate(model, held_out).distortion
    recipe = Recipe(epochs=8, batch_size=20, beta=0.0, patience=patience)
    history = fit(model, images, recipe, held_out=held_out, folder=tmp_path, **QUIET)
    for line in history:
        assert line.train_rate == line.held_out_rate == math.inf
        assert line.train_elbo == line.held_out_elbo == -math.inf
        assert not any(isinstance(number, float) and math.isnan(number) for number in line)
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
    # An untrained decoder pays near 784 log 2 = 543 nats.
    assert evaluate(model, held_out).distortion < before - 100
    # Early stopping judges by the distortion: its best is the least, and what is left is of that epoch.
    if patience is not None:
        least = min(line.held_out_distortion for line in history)
        assert evaluate(model, held_out).distortion == pytest.approx(least, rel=1e-6)
    assert "nan" not in (tmp_path / "history.csv").read_text()


def test_an_autoencoder_stops_early_by_its_distortion() -> None:
    recipe = Recipe(epochs=300, batch_size=8, learning_rate=2e-2, schedule="constant", beta=0.0, patience=3)
    model, held_out = autoencoder(), blocks(100, seed=1)
    history = fit(model, blocks(16), recipe, held_out=held_out, **QUIET)
    assert len(history) < 300
    distortions = [line.held_out_distortion for line in history]
    assert distortions.index(min(distortions)) == len(history) - 1 - 3
    assert evaluate(model, held_out).distortion == pytest.approx(min(distortions), rel=1e-6)


def test_an_autoencoder_resumes_to_the_bit(tmp_path: Path) -> None:
    recipe = Recipe(epochs=3, batch_size=20, beta=0.0)
    whole, broken, resumed = autoencoder(), autoencoder(), autoencoder()
    fit(whole, blocks(40), recipe, held_out=blocks(20, seed=1), **QUIET)

    def stop(line: Epoch) -> None:
        if line.epoch == 2:
            raise KeyboardInterrupt

    options = {"held_out": blocks(20, seed=1), "folder": tmp_path, **QUIET}
    with pytest.raises(KeyboardInterrupt):
        fit(broken, blocks(40), recipe, on_epoch=stop, **options)
    history = fit(resumed, blocks(40), recipe, resume=True, **options)
    assert [line.train_elbo for line in history] == [-math.inf] * 3
    ours, theirs = resumed.state_dict(), whole.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_decoder_alone_has_no_rate_and_learns_the_mean_image() -> None:
    images = blocks(500)
    x = images.floats().double()
    # The best constant decoder: the loss is convex in each pixel's probability, and least at its mean.
    average = x.mean(0)
    best = -(torch.xlogy(x, average) + torch.xlogy(1 - x, 1 - average)).sum(1).mean().item()

    model = fresh(posterior="prior")
    assert not list(model.encoder.parameters())
    recipe = Recipe(epochs=40, batch_size=50, learning_rate=2e-2)
    history = fit(model, images, recipe, **QUIET)
    assert [line.train_rate for line in history] == [0.0] * len(history)
    found = evaluate(model, images, generator=seeded())
    assert found.rate == 0.0
    # z says nothing of the image, so no decoder does better but by chance; and training comes near.
    # 500 images of one draw each leave a standard error; an overfitted draw is not repeated in evaluation.
    assert best - 3 * found.standard_error < found.distortion < best * 1.01
    drawn = model.mean_image(model.sample_prior(300, generator=seeded(3)))
    # Two per cent of a grey scale: what the decoder still makes of z, and Adam's last steps.
    assert (drawn.mean(0) - average).abs().max() < 0.02
    assert drawn.std(0).max() < 0.05
    mean, log_var = encode(model, images)
    assert torch.equal(mean, torch.zeros_like(mean))
    assert torch.equal(log_var, torch.zeros_like(log_var))
