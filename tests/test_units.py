"""The translations against torch.distributions, each other, and losses that others published."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal
from torch.special import log_ndtr

from vaelib.data import load_mnist
from vaelib.units import (
    Reduction,
    beta_of_weight,
    bits_per_dim,
    change_of_range,
    entropy_floor,
    gaussian_nll,
    level_bound,
    minus_elbo_of_loss,
    sigma_of_weight,
    squared_error_bound,
    squared_error_on_unit_range,
    weight_of_sigma,
)

weights = st.floats(1e-6, 1e6)
sigmas = st.floats(1e-3, 1e3)
dims = st.integers(1, 4096)
reductions = st.sampled_from(["sum", "mean"])
spans = st.sampled_from([1.0, 2.0, 255.0])


def draws(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(weights, st.integers(1, 9), reductions, spans, st.integers(0, 2**31))
def test_weighted_error_is_the_gaussian_decoders_loss_up_to_a_constant(
    weight: float, dim: int, reduction: Reduction, span: float, seed: int
) -> None:
    sigma = sigma_of_weight(weight, data_dim=dim, reduction=reduction, span=span)
    # Two reconstructions of one image: the loss tells them apart by as much as the decoder does.
    x, first, second = draws(3, dim, seed=seed)
    losses, nlls = [], []
    for reconstruction in (first, second):
        squares = (span * x - span * reconstruction).square()  # on the range that the loss saw
        losses.append(weight * getattr(squares, reduction)().item())
        nlls.append(-Normal(reconstruction, sigma).log_prob(x).sum().item())
    # The constant, up to 9 log sigma = 120, cancels to its rounding.
    assert losses[0] - losses[1] == pytest.approx(nlls[0] - nlls[1], rel=1e-9, abs=1e-12)


@given(weights, dims, reductions, spans)
def test_weight_and_sigma_undo_each_other(weight: float, dim: int, reduction: Reduction, span: float) -> None:
    sigma = sigma_of_weight(weight, data_dim=dim, reduction=reduction, span=span)
    back = weight_of_sigma(sigma, data_dim=dim, reduction=reduction, span=span)
    assert back == pytest.approx(weight, rel=1e-14, abs=0)


@given(weights, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), dims, reductions, spans)
def test_loss_is_in_proportion_to_a_beta_vaes(
    weight: float, squared_error: float, kl: float, dim: int, reduction: Reduction, span: float
) -> None:
    beta = beta_of_weight(weight, squared_error=squared_error, data_dim=dim, reduction=reduction, span=span)
    loss = weight * squared_error * span**2 / (dim if reduction == "mean" else 1) + kl
    calibrated = squared_error / dim
    # The calibrated decoder's distortion without its constant is D / 2, whatever the error was.
    beta_loss = squared_error / (2 * calibrated) + beta * kl
    assert beta_loss == pytest.approx(beta * loss, rel=1e-12, abs=0)


@given(st.floats(1e-3, 1e3), dims, st.floats(0.5, 2))
def test_calibrated_sigma_is_the_best_one(squared_error: float, dim: int, factor: float) -> None:
    calibrated = math.sqrt(squared_error / dim)
    best = gaussian_nll(squared_error, calibrated, dim)
    # Equal only at factor 1; near it the two differ by less than the rounding of terms of size dim * 7.
    assert best <= gaussian_nll(squared_error, factor * calibrated, dim) + 1e-14 * dim * 10
    weight = weight_of_sigma(calibrated, data_dim=dim)
    assert beta_of_weight(weight, squared_error=squared_error, data_dim=dim) == pytest.approx(1)


@given(sigmas, st.integers(1, 9), st.integers(0, 2**31))
def test_gaussian_nll_matches_torch_distributions(sigma: float, dim: int, seed: int) -> None:
    x, mean = draws(2, dim, seed=seed)
    ours = gaussian_nll((x - mean).square().sum().item(), sigma, dim)
    assert ours == pytest.approx(-Normal(mean, sigma).log_prob(x).sum().item(), rel=1e-12, abs=1e-12)


@given(sigmas, st.integers(1, 9), st.floats(-5, 5), st.floats(1e-2, 300), st.integers(0, 2**31))
def test_density_on_another_range_is_that_of_the_moved_pixels(
    sigma: float, dim: int, low: float, span: float, seed: int
) -> None:
    x, mean = draws(2, dim, seed=seed)
    y, mean_y = low + span * x, low + span * mean
    on_y = -Normal(mean_y, span * sigma).log_prob(y).sum().item()
    squared_error = squared_error_on_unit_range((y - mean_y).square().sum().item(), span=span)
    ours = change_of_range(gaussian_nll(squared_error, sigma, dim), data_dim=dim, span=span)
    # Subtracting pixels that lie at 5 on a range of 0.01 costs 3 of 16 digits.
    assert ours == pytest.approx(on_y, rel=1e-10, abs=1e-10)
    assert change_of_range(ours, data_dim=dim, span=1 / span) == pytest.approx(
        gaussian_nll(squared_error, sigma, dim), rel=1e-12, abs=1e-12
    )


def test_a_uniform_density_of_256_levels_has_8_bits() -> None:
    on_unit_range = 0.0  # a density of 1 on [0, 1], in every dimension
    assert bits_per_dim(change_of_range(on_unit_range, data_dim=784, span=256), 784) == pytest.approx(8)


# Losses as their authors printed them, rounded as they were; our side to the digits that the input carries.


def test_600_times_the_mean_square_on_minus_one_to_one_is_sigma_0_462_and_beta_7_9() -> None:
    # KimRass/VAE: 600 * MSE over 32 x 32 pixels of [-1, 1] + KL; MSE 0.1085, KL 7.3032.
    loss = {"data_dim": 1024, "reduction": "mean", "span": 2.0}
    squared_error = squared_error_on_unit_range(0.1085 * 1024, span=2)
    assert squared_error == pytest.approx(27.78, abs=0.005)
    sigma = sigma_of_weight(600, **loss)
    assert sigma == pytest.approx(0.462, abs=5e-4)
    assert beta_of_weight(600, squared_error=squared_error, **loss) == pytest.approx(7.9, abs=0.05)
    minus_elbo = gaussian_nll(squared_error, sigma, 1024) + 7.3032
    assert minus_elbo == pytest.approx(222.4, abs=0.05)
    assert change_of_range(minus_elbo, data_dim=1024, span=2) == pytest.approx(932.2, abs=0.05)


def test_mean_square_plus_a_thousandth_of_kl_is_sigma_0_313_and_beta_11() -> None:
    # juyoung-hong/Deep-learning: MSE over 28 x 28 pixels of [-1, 1] + 0.001 * KL; MSE 0.03562.
    loss = {"data_dim": 784, "reduction": "mean", "span": 2.0}
    squared_error = squared_error_on_unit_range(0.03562 * 784, span=2)
    assert squared_error == pytest.approx(6.98, abs=0.005)
    assert sigma_of_weight(1 / 0.001, **loss) == pytest.approx(0.313, abs=5e-4)
    assert beta_of_weight(1 / 0.001, squared_error=squared_error, **loss) == pytest.approx(11, abs=0.05)


def test_an_averaged_square_with_a_whole_kl_is_sigma_9_9() -> None:
    # On [-1, 1]; the variance, 98, is 19 times the largest eigenvalue of MNIST's covariance.
    assert sigma_of_weight(1, data_dim=784, reduction="mean", span=2) == pytest.approx(math.sqrt(98))
    assert sigma_of_weight(1, data_dim=784, reduction="mean") == pytest.approx(2 * math.sqrt(98))


def test_summed_square_is_variance_one_half_and_half_of_it_variance_one() -> None:
    assert sigma_of_weight(1, data_dim=784) ** 2 == pytest.approx(1 / 2)
    assert sigma_of_weight(0.5, data_dim=784) ** 2 == pytest.approx(1)


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**31))
def test_entropy_floor_matches_torch_distributions(batch: int, pixels: int, seed: int) -> None:
    x = draws(batch, pixels, seed=seed)
    torch.testing.assert_close(entropy_floor(x), Bernoulli(probs=x).entropy().sum(-1))


def test_entropy_floor_of_black_and_white_is_zero_in_either_precision() -> None:
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(
            entropy_floor(torch.tensor([[0, 1, 1.0]], dtype=dtype)), torch.zeros(1, dtype=dtype)
        )


def test_entropy_floor_of_mnists_test_set_is_45_53_nats() -> None:
    _, test = load_mnist(progress=False)
    # Computed once from the same 10,000 images, and rounded to two places.
    assert entropy_floor(test.floats().double()).mean().item() == pytest.approx(45.53, abs=0.005)


@pytest.mark.parametrize("outside", [-0.01, 1.01, math.nan])
def test_entropy_floor_refuses_what_is_no_probability(outside: float) -> None:
    with pytest.raises(ValueError, match="a coin needs them in"):
        entropy_floor(torch.tensor([0.5, outside]))


@pytest.mark.parametrize("nonsense", [0.0, -1.0, math.inf, math.nan])
def test_nonsense_is_refused_by_name(nonsense: float) -> None:
    with pytest.raises(ValueError, match=f"weight is {nonsense}: it must be a positive number"):
        sigma_of_weight(nonsense, data_dim=784)
    with pytest.raises(ValueError, match="span is"):
        sigma_of_weight(1, data_dim=784, span=nonsense)
    with pytest.raises(ValueError, match="sigma is"):
        weight_of_sigma(nonsense, data_dim=784)
    with pytest.raises(ValueError, match="squared_error is"):
        beta_of_weight(1, squared_error=nonsense, data_dim=784)
    with pytest.raises(ValueError, match="sigma is"):
        gaussian_nll(1.0, nonsense, 784)
    with pytest.raises(ValueError, match="span is"):
        change_of_range(1.0, data_dim=784, span=nonsense)
    with pytest.raises(ValueError, match="span is"):
        squared_error_on_unit_range(1.0, span=nonsense)
    if nonsense != 0:  # a perfect reconstruction has a density
        with pytest.raises(ValueError, match="squared_error is"):
            gaussian_nll(nonsense, 1.0, 784)


def test_no_pixels_and_unknown_reductions_are_refused() -> None:
    with pytest.raises(ValueError, match="data_dim is 0"):
        bits_per_dim(1.0, 0)
    with pytest.raises(ValueError, match="data_dim is 0"):
        sigma_of_weight(1.0, data_dim=0, reduction="mean")
    with pytest.raises(ValueError, match="reduction is 'none': it must be one of sum, mean"):
        weight_of_sigma(1.0, data_dim=784, reduction="none")  # type: ignore[arg-type]


# The losses of four repositories, read as one.


@given(
    weights,
    st.floats(1e-4, 1e4),
    st.integers(1, 9),
    reductions,
    spans,
    st.floats(0, 50),
    st.integers(0, 2**31),
)
def test_minus_elbo_of_a_loss_is_that_of_the_distributions(
    weight: float, kl_weight: float, dim: int, reduction: Reduction, span: float, kl: float, seed: int
) -> None:
    x, reconstruction = draws(2, dim, seed=seed)
    squares = (span * x - span * reconstruction).square()
    total = weight * getattr(squares, reduction)().item() + kl_weight * kl
    how = {"data_dim": dim, "reduction": reduction, "span": span}
    sigma = sigma_of_weight(weight / kl_weight, **how)
    expected = -Normal(reconstruction, sigma).log_prob(x).sum().item() + kl
    ours = minus_elbo_of_loss(total, weight=weight, kl_weight=kl_weight, **how)
    # The constant, up to 9 log sigma, may cancel against a squared error of any size.
    assert ours == pytest.approx(expected, rel=1e-9, abs=1e-9 * (1 + total / kl_weight))


def test_a_printed_total_becomes_minus_the_elbo_that_its_terms_give() -> None:
    kimrass = minus_elbo_of_loss(600 * 0.1085 + 7.3032, weight=600, data_dim=1024, reduction="mean", span=2)
    assert kimrass == pytest.approx(222.4, abs=0.05)
    # juyoung-hong/Deep-learning, whose printed terms add up as printed; of a density, so it may be negative.
    juyoung = minus_elbo_of_loss(0.06395, weight=1, kl_weight=0.001, data_dim=784, reduction="mean", span=2)
    sigma = sigma_of_weight(1000, data_dim=784, reduction="mean", span=2)
    assert juyoung == pytest.approx(gaussian_nll(0.03562 * 784 / 4, sigma, 784) + 28.33, abs=1e-9)
    assert juyoung < 0


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**31))
def test_squared_error_of_coins_is_within_its_bound(batch: int, pixels: int, seed: int) -> None:
    x, p = draws(2, batch, pixels, seed=seed)
    p = p.clamp(1e-9, 1 - 1e-9)
    cross_entropy = (-x * p.log() - (1 - x) * (-p).log1p()).sum(-1)
    for error, nats, floor in zip(
        (x - p).square().sum(-1).tolist(), cross_entropy.tolist(), entropy_floor(x).tolist(), strict=True
    ):
        # Where p is x to nine digits both are 0 to the rounding of 9 logarithms.
        assert error <= squared_error_bound(max(nats, floor), floor) + 1e-14


def test_bound_on_the_squared_error_is_reached_by_a_coin_that_is_all_but_fair() -> None:
    x, p = 0.5, 0.5 + 1e-3
    cross_entropy = -0.5 * math.log(p) - 0.5 * math.log(1 - p)
    # The next term of the series is 4/3 of the fourth power: 1e-12 beside 1e-6.
    assert squared_error_bound(cross_entropy, math.log(2)) == pytest.approx((x - p) ** 2, rel=1e-5)


def test_a_cross_entropy_below_its_floor_is_refused() -> None:
    for nonsense in (45.0, math.nan):
        with pytest.raises(ValueError, match="is below its floor"):
            squared_error_bound(nonsense, 45.53)


@given(st.floats(0.05, 3), st.integers(2, 256), st.integers(1, 6), st.integers(0, 2**31))
def test_mass_of_a_level_costs_no_more_than_its_bound(sigma: float, levels: int, dim: int, seed: int) -> None:
    mean, shares = draws(2, dim, seed=seed)
    x = (shares * (levels - 1)).round() / (levels - 1)
    normal, half = Normal(mean, sigma), 0.5 / (levels - 1)
    # Both ends on the falling side, where the distribution function keeps its digits however small it is.
    far = (x - mean).abs()
    near, beyond = (log_ndtr(-(far + side) / sigma) for side in (-half, half))
    mass = (near + (-(beyond - near).expm1()).log()).sum().item()
    bound = level_bound(-normal.log_prob(x).sum().item(), sigma=sigma, data_dim=dim, levels=levels)
    # A difference of two distribution functions loses the digits of near / mass, at most four here.
    assert -mass <= bound + 1e-9
    # Jensen loses h^2 / 24 times the squared slope of log p; next come (h slope)^4 / 2880 and (h / sigma)^4.
    slopes = (x - mean) / sigma**2
    if half < sigma / 10 and 2 * half * slopes.abs().max() < 1:
        lost = (2 * half) ** 2 / 24 * slopes.square().sum().item()
        assert bound + mass == pytest.approx(lost, rel=0.05, abs=1e-5 * dim)


def test_fewer_than_two_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="levels is 1: there are at least two"):
        level_bound(1.0, sigma=1.0, data_dim=1, levels=1)
