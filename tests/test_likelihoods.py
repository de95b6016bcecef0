"""The likelihoods against torch.distributions, closed forms, and the mistakes others have made."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal

from vaelib.data import load_mnist
from vaelib.likelihoods import bernoulli_log_likelihood, gaussian_log_likelihood


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**31))
def test_bernoulli_matches_torch_distributions(batch: int, pixels: int, seed: int) -> None:
    logits = 4 * draws(batch, pixels, seed=seed)
    x = (draws(batch, pixels, seed=seed + 1) > 0).double()
    expected = Bernoulli(logits=logits).log_prob(x).sum(-1)
    torch.testing.assert_close(bernoulli_log_likelihood(logits, x), expected)


def test_bernoulli_of_grey_pixels_is_the_mean_over_random_binarizations() -> None:
    logits, grey = draws(1, 4), torch.sigmoid(draws(1, 4, seed=1))
    # All 2^4 binary images, each weighted with the probability that coins of these greys draw it.
    binary = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 4)
    weight = torch.where(binary == 1, grey, 1 - grey).prod(-1)
    expected = (weight * bernoulli_log_likelihood(logits.expand(16, 4), binary)).sum()
    torch.testing.assert_close(bernoulli_log_likelihood(logits, grey)[0], expected)


def test_bernoulli_of_grey_pixels_cannot_pass_minus_their_entropy() -> None:
    _, test = load_mnist(progress=False)
    x = test.floats().double()
    entropy = -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).sum(-1)
    best = bernoulli_log_likelihood(torch.logit(x, eps=1e-12), x)
    torch.testing.assert_close(best, -entropy, rtol=0, atol=1e-6)
    # 45.53 nats, computed once from the same 10,000 images and rounded to two places.
    assert entropy.mean().item() == pytest.approx(45.53, abs=0.005)


def test_bernoulli_stays_finite_where_probabilities_round_to_0_and_1() -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    wrong = bernoulli_log_likelihood(logits, torch.tensor([[0.0, 1.0]]))
    assert wrong.item() == -400
    wrong.sum().backward()
    assert torch.equal(logits.grad, torch.tensor([[-1.0, 1.0]]))


def test_bernoulli_refuses_shapes_that_would_broadcast() -> None:
    with pytest.raises(ValueError, match="size"):
        bernoulli_log_likelihood(torch.zeros(3, 4), torch.zeros(1, 4))


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**31), st.floats(-8, 8))
def test_gaussian_matches_torch_distributions(batch: int, pixels: int, seed: int, log_var: float) -> None:
    mean, x = draws(batch, pixels, seed=seed), draws(batch, pixels, seed=seed + 1)
    v = torch.tensor(log_var, dtype=torch.float64)
    # Normalised once for each pixel: D times, not D^2 times as in a bug that a KL cancels and so hides.
    expected = Normal(mean, (v / 2).exp()).log_prob(x).sum(-1)
    torch.testing.assert_close(gaussian_log_likelihood(mean, x, v), expected)


def test_gaussian_takes_a_variance_for_each_pixel() -> None:
    mean, x, log_var = draws(5, 3), draws(5, 3, seed=1), draws(5, 3, seed=2)
    expected = Normal(mean, (log_var / 2).exp()).log_prob(x).sum(-1)
    torch.testing.assert_close(gaussian_log_likelihood(mean, x, log_var), expected)


def test_best_shared_variance_is_the_mean_squared_error() -> None:
    mean, x = draws(50, 7), draws(50, 7, seed=1)
    log_mse = (x - mean).square().mean().log()

    def mean_log_likelihood(log_var: torch.Tensor) -> torch.Tensor:
        return gaussian_log_likelihood(mean, x, log_var).mean()

    slope = torch.func.grad(mean_log_likelihood)(log_mse)
    # Exactly 0 in real numbers; float64 sums 350 terms of size 1.
    assert abs(slope.item()) < 1e-12
    for step in (-0.1, 0.1):
        assert mean_log_likelihood(log_mse + step) < mean_log_likelihood(log_mse)


def test_summed_squared_error_is_a_gaussian_with_variance_one_half_up_to_a_constant() -> None:
    mean, x = draws(9, 6), draws(9, 6, seed=1)
    squared_error = (x - mean).square().sum(-1)
    constant = 6 / 2 * math.log(2 * math.pi * 0.5)
    half = gaussian_log_likelihood(mean, x, torch.tensor(math.log(0.5), dtype=torch.float64))
    torch.testing.assert_close(-half - constant, squared_error)
    one = gaussian_log_likelihood(mean, x, torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(-one - 6 / 2 * math.log(2 * math.pi), squared_error / 2)


def test_gaussian_refuses_shapes_that_would_broadcast() -> None:
    with pytest.raises(ValueError, match="must agree"):
        gaussian_log_likelihood(torch.zeros(3, 4), torch.zeros(1, 4), torch.zeros(()))
