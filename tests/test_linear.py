"""The linear VAE's closed forms, against densities, gradients and draws that share no code with them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from vaelib import linear
from vaelib.checkpoints import load, save
from vaelib.data import Images, load_mnist
from vaelib.models import VAE, linear_vae
from vaelib.objectives import elbo_terms
from vaelib.settings import Recipe
from vaelib.training import fit
from vaelib.units import sigma_of_weight

SIZE = 7
# Rounding of float64 in sums of a few hundred numbers of size 1 to 100.
CLOSE = {"rtol": 1e-11, "atol": 1e-12}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


@pytest.fixture
def x() -> Tensor:
    """Images with deviations from 3 to a tenth, and a mean that is not 0."""
    stretch = torch.logspace(0.5, -1, SIZE, dtype=torch.float64)
    turn = torch.linalg.qr(normal(SIZE, SIZE, seed=1)).Q
    return normal(50, SIZE) * stretch @ turn + normal(SIZE, seed=2)


@pytest.fixture
def covariance(x: Tensor) -> Tensor:
    return linear.moments(x).covariance


def any_decoder(latents: int = 3) -> linear.Decoder:
    return linear.Decoder(normal(SIZE, latents, seed=3), torch.tensor(0.6, dtype=torch.float64))


def any_encoder(latents: int = 3) -> linear.Encoder:
    return linear.Encoder(normal(latents, SIZE, seed=4), normal(latents, seed=5).exp())


def rotation(latents: int) -> Tensor:
    return torch.linalg.qr(normal(latents, latents, seed=6)).Q


def test_moments_of_many_chunks_are_those_of_all_images_at_once() -> None:
    many = torch.rand(10_000, 3, generator=seeded())
    found = linear.moments(many)
    assert found.covariance.dtype == torch.float64
    torch.testing.assert_close(found.mean, many.double().mean(0), **CLOSE)
    torch.testing.assert_close(found.covariance, torch.cov(many.double().T, correction=0), **CLOSE)


def test_evidence_is_the_mean_log_density_of_the_images(x: Tensor, covariance: Tensor) -> None:
    weight, variance = decoder = any_decoder()
    theirs = MultivariateNormal(x.mean(0), weight @ weight.T + variance * torch.eye(SIZE).double())
    torch.testing.assert_close(linear.evidence(covariance, decoder), theirs.log_prob(x).mean(), **CLOSE)


def test_terms_are_what_one_draw_estimates(x: Tensor, covariance: Tensor) -> None:
    decoder, encoder = any_decoder(), any_encoder()
    model = linear_vae(data_dim=SIZE, latent_dim=3, centre=x.mean(0), variance=0.6).double()
    model.load_state_dict(
        {
            "encoder.centre": x.mean(0), "encoder.weight": encoder.weight,
            "encoder.log_var": encoder.variances.log(), "decoder.centre": x.mean(0),
            "decoder.weight": decoder.weight, "log_var": decoder.variance.log(),
        }
    )  # fmt: skip
    found = linear.terms(covariance, decoder, encoder)
    many = x.repeat(400, 1)
    with torch.inference_mode():
        drawn = elbo_terms(model, many, generator=seeded(7))
    torch.testing.assert_close(found.rate.sum(), drawn.kl.mean(), **CLOSE)
    # The images stay the same, so the standard error is that of the draws: 400 means over 50 images.
    means = drawn.distortion.reshape(400, 50).mean(1)
    assert abs(means.mean() - found.distortion) < 4 * means.std() / 20


def test_rate_of_each_latent_is_a_mean_of_divergences(x: Tensor, covariance: Tensor) -> None:
    decoder, encoder = any_decoder(), any_encoder()
    q = Normal((x - x.mean(0)) @ encoder.weight.T, encoder.variances.sqrt())
    theirs = kl_divergence(q, Normal(0.0, 1.0)).mean(0)
    torch.testing.assert_close(linear.terms(covariance, decoder, encoder).rate, theirs, **CLOSE)


@pytest.mark.parametrize("variance", [0.05, 0.247, 1.0, 3.0])
def test_linear_vae_elbo_equals_ppca_log_likelihood(covariance: Tensor, variance: float) -> None:
    decoder = linear.maximum_likelihood(covariance, 5, variance=variance)
    bound = linear.terms(covariance, decoder, linear.best_encoder(decoder)).elbo
    torch.testing.assert_close(bound, linear.evidence(covariance, decoder), **CLOSE)


def test_rotation_costs_no_evidence_and_as_much_elbo_as_the_gap_says(covariance: Tensor) -> None:
    straight = linear.maximum_likelihood(covariance, 4, variance=0.1)
    turned = linear.maximum_likelihood(covariance, 4, variance=0.1, rotation=rotation(4))
    evidence = linear.evidence(covariance, straight)
    torch.testing.assert_close(linear.evidence(covariance, turned), evidence, **CLOSE)
    lost = evidence - linear.terms(covariance, turned, linear.best_encoder(turned)).elbo
    assert lost > 0.5
    torch.testing.assert_close(linear.rotation_gap(turned), lost, rtol=1e-10, atol=0)
    assert linear.rotation_gap(straight).abs() < 1e-12


def test_gap_is_the_divergence_between_encoder_and_posterior() -> None:
    weight, variance = decoder = any_decoder()
    precision = weight.T @ weight / variance + torch.eye(3).double()
    posterior = MultivariateNormal(torch.zeros(3).double(), precision_matrix=precision)
    q = MultivariateNormal(torch.zeros(3).double(), linear.best_encoder(decoder).variances.diag())
    torch.testing.assert_close(linear.rotation_gap(decoder), kl_divergence(q, posterior), **CLOSE)


def test_best_encoder_is_where_the_elbo_is_flat_and_highest(covariance: Tensor) -> None:
    decoder = any_decoder()
    leaves = [part.requires_grad_() for part in linear.best_encoder(decoder)]
    bound = linear.terms(covariance, decoder, linear.Encoder(*leaves)).elbo
    for slope in torch.autograd.grad(bound, leaves):
        assert slope.abs().max() < 1e-10
    for seed in range(20):
        rows, variances = (leaf.detach() + 0.1 * normal(*leaf.shape, seed=seed) for leaf in leaves)
        other = linear.Encoder(rows, variances.clamp(min=0.01))
        assert linear.terms(covariance, decoder, other).elbo < bound


@pytest.mark.parametrize("variance", [None, 0.3, 2.0])
def test_decoder_of_maximum_likelihood_is_where_the_evidence_is_flat_and_highest(
    covariance: Tensor, variance: float | None
) -> None:
    best = linear.maximum_likelihood(covariance, 4, variance=variance, rotation=rotation(4))
    weight, noise = (part.clone().requires_grad_() for part in best)
    evidence = linear.evidence(covariance, linear.Decoder(weight, noise))
    slope, slope_of_noise = torch.autograd.grad(evidence, [weight, noise])
    assert slope.abs().max() < 1e-10
    if variance is None:
        assert slope_of_noise.abs() < 1e-9
    for seed in range(20):
        other = linear.Decoder(best.weight + 0.1 * normal(SIZE, 4, seed=seed), best.variance)
        assert linear.evidence(covariance, other) < evidence


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("free", [0.0, 0.1, 0.7])
def test_floored_rates_are_the_cheapest_on_a_fine_grid(beta: float, free: float) -> None:
    values, variance = torch.tensor([5.0, 1.2, 0.3, 0.01], dtype=torch.float64), 0.4
    grid = torch.linspace(0, 4, 400_001, dtype=torch.float64)
    found = linear.floored_rates(values, variance, free, beta=beta)
    for eigenvalue, rate in zip(values, found, strict=True):
        cost = eigenvalue / (2 * variance) * torch.exp(-2 * grid) + beta * grid.clamp(min=free)
        # To half a step of the grid, 1e-5, and what rounding makes of a flat minimum.
        assert rate.item() == pytest.approx(grid[cost.argmin()].item(), abs=2e-5)


def test_no_latent_dies_above_a_floor_however_high_the_water() -> None:
    values = torch.tensor([5.0, 1.2, 0.3], dtype=torch.float64)
    assert (linear.rates(values, 100.0) == 0).all()
    assert (linear.floored_rates(values, 100.0, 0.25) == 0.25).all()
    # Without a floor, a weight on the KL does the same as a larger variance.
    torch.testing.assert_close(
        linear.floored_rates(values, 0.1, 0.0, beta=4.0), linear.rates(values, 0.4), **CLOSE
    )


def test_latents_below_the_water_level_die_in_the_exact_evidence(covariance: Tensor) -> None:
    values = linear.spectrum(covariance).eigenvalues
    level = (values[2] + values[3]).item() / 2
    decoder = linear.maximum_likelihood(covariance, 5, variance=level)
    assert linear.active_units(values, level) == 3
    assert torch.equal(decoder.weight[:, 3:], torch.zeros(SIZE, 2).double())
    assert (decoder.weight[:, :3].norm(dim=0) > 0).all()
    # And to give a dead one something lowers the evidence.
    evidence = linear.evidence(covariance, decoder)
    decoder.weight[:, 3] = 0.1 * linear.spectrum(covariance).eigenvectors[:, 3]
    assert linear.evidence(covariance, decoder) < evidence


@pytest.mark.parametrize("variance", [0.05, 0.5, 4.0])
def test_rate_and_squared_error_are_reverse_water_filling(
    x: Tensor, covariance: Tensor, variance: float
) -> None:
    values, directions = linear.spectrum(covariance)
    decoder = linear.maximum_likelihood(covariance, SIZE - 1, variance=variance)
    encoder = linear.best_encoder(decoder)
    rate = linear.terms(covariance, decoder, encoder).rate
    torch.testing.assert_close(rate, linear.rates(values[:-1], variance), rtol=0, atol=1e-10)
    # Along each direction: what the mean reconstruction misses, and the width of q behind it.
    missed = (x - x.mean(0)) @ (torch.eye(SIZE).double() - decoder.weight @ encoder.weight).T
    errors = (missed @ directions).square().mean(0)
    errors += (directions.T @ decoder.weight).square() @ encoder.variances
    expected = linear.squared_errors(values, variance)
    expected[-1] = values[-1]  # the direction that has no latent
    torch.testing.assert_close(errors, expected, **CLOSE)


@given(
    st.lists(st.floats(0.01, 100), min_size=2, max_size=12).flatmap(
        lambda values: st.tuples(st.just(values), st.integers(1, len(values) - 1))
    )
)
def test_with_a_learned_variance_no_unit_dies(case: tuple[list[float], int]) -> None:
    values, latents = case
    ordered = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    variance = linear.best_variance(ordered, latents)
    # Up to ties: a mean of the eigenvalues that are left is at most the smallest that is taken.
    assert ordered[latents - 1] >= variance * (1 - 1e-15)


@pytest.mark.parametrize("latents", [0, 3, 5])
def test_noise_without_a_dimension_of_its_own_is_refused(latents: int) -> None:
    with pytest.raises(ValueError, match=f"latent_dim is {latents} with 3 dimensions"):
        linear.best_variance(torch.ones(3), latents)


def test_mnist_has_the_spectrum_that_the_book_argues_with() -> None:
    train, _ = load_mnist(progress=False)
    values = linear.spectrum(linear.moments(train.floats()).covariance).eigenvalues
    assert values[0].item() == pytest.approx(5.12, abs=0.005)
    mean_over_pixels = {"data_dim": 784, "reduction": "mean", "span": 2}
    for weight, sigma, active in ((1, 9.9, 0), (1000, 0.313, 71)):  # 1000: a KL weight of 0.001
        found = sigma_of_weight(weight, **mean_over_pixels)
        assert found == pytest.approx(sigma, rel=1e-3)
        assert linear.active_units(values, found**2) == active


# --- the training loop, held to the theory ---------------------------------------------------------------


def synthetic(eigenvalues: list[float], count: int = 1000) -> Images:
    """Grey images that vary along a few waves; rounding to bytes adds a variance of 1e-6 to every pixel."""
    place = torch.arange(28, dtype=torch.float64) + 0.5
    waves = [torch.cos(math.pi * k * place / 28) for k in range(3)]
    patterns = torch.stack([torch.outer(a, b).flatten() for a in waves for b in waves][1:])
    patterns = patterns[: len(eigenvalues)] / patterns[: len(eigenvalues)].norm(dim=1, keepdim=True)
    deviations = torch.tensor(eigenvalues, dtype=torch.float64).sqrt()
    x = 0.5 + normal(count, len(eigenvalues)) * deviations @ patterns
    return Images((255 * x.clamp(0, 1)).round().to(torch.uint8), torch.zeros(count, dtype=torch.int64))


def solution(model: VAE) -> tuple[linear.Decoder, linear.Encoder]:
    state = {name: tensor.double() for name, tensor in model.state_dict().items()}
    return (
        linear.Decoder(state["decoder.weight"], state["log_var"].exp()),
        linear.Encoder(state["encoder.weight"], state["encoder.log_var"].exp()),
    )


@pytest.mark.parametrize("variance", [1.0, 392.0])
def test_training_converges_to_the_theory(variance: float) -> None:
    images = synthetic([6.0, 3.0, 1.5, 0.6, 0.3])
    mean, covariance = linear.moments(images.floats())
    values = linear.spectrum(covariance).eigenvalues
    model = linear_vae(latent_dim=5, centre=mean, variance=variance, generator=seeded())
    fit(model, images, Recipe(epochs=60, batch_size=100, learning_rate=0.02), progress=False)
    decoder, encoder = solution(model)
    assert decoder.variance.item() == pytest.approx(variance, rel=1e-6)  # held fixed, in float32

    best = linear.maximum_likelihood(covariance, 5, variance=variance)
    evidence, found = linear.evidence(covariance, best), linear.terms(covariance, decoder, encoder)
    # One draw an image leaves noise in every step; at the end of the cosine it has cost 0.003 nats (seeds
    # 0 to 3), and no ELBO can exceed the evidence.
    assert evidence - 0.02 < found.elbo < evidence
    lengths = torch.linalg.svdvals(decoder.weight) ** 2
    assert int((lengths > 0.05 * variance).sum()) == linear.active_units(values, variance)
    assert found.rate.sum().item() == pytest.approx(linear.rates(values[:5], variance).sum().item(), abs=0.05)


def test_a_linear_vae_comes_back_from_its_checkpoint(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = linear_vae(data_dim=6, latent_dim=2, centre=torch.arange(6.0), variance=0.3, generator=seeded())
    save(tmp_path / "model.safetensors", model)
    again = load(tmp_path / "model.safetensors").model
    assert again.settings == model.settings
    assert not again.log_var.requires_grad
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)
