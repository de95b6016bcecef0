"""The gradient that is written out, against autograd and against finite differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vaelib.handwritten import Backward, applies_to
from vaelib.models import VAE, conv_vae, linear_vae, mlp_vae
from vaelib.objectives import elbo_terms


def drawn(seed: int, batch: int, activation: str, latent_dim: int = 2) -> tuple[VAE, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    model = mlp_vae(
        data_dim=9, hidden_dim=7, latent_dim=latent_dim, activation=activation, generator=generator
    ).double()
    x = torch.rand(batch, 9, generator=generator, dtype=torch.float64)
    return model, x, torch.randn(batch, latent_dim, generator=generator, dtype=torch.float64)


def loss_of(model: VAE, x: Tensor, noise: Tensor, beta: float, images: int) -> Tensor:
    return -elbo_terms(model, x, noise=noise).weighted(beta).sum() / images


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(0, 6),
    others=st.integers(0, 4),
    latent_dim=st.integers(1, 4),
    activation=st.sampled_from(["relu", "tanh"]),
    beta=st.floats(0, 8),
)
def test_gradient_and_terms_are_autograds(
    seed: int, batch: int, others: int, latent_dim: int, activation: str, beta: float
) -> None:
    model, x, noise = drawn(seed, batch, activation, latent_dim)
    images = max(1, batch + others)
    expected = torch.autograd.grad(loss_of(model, x, noise, beta, images), list(model.parameters()))
    terms = Backward(model)(x, noise, beta, images)
    # float64 against float64: sums of at most nine products, in another order.
    for found, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(found.grad, gradient, rtol=1e-10, atol=1e-12)
    for found, term in zip(terms, elbo_terms(model, x, noise=noise), strict=True):
        torch.testing.assert_close(found, term.detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gradient_is_autograds_at_the_size_of_mnist_in_float32(activation: str) -> None:
    generator = torch.Generator().manual_seed(0)
    model = mlp_vae(activation=activation, generator=generator)
    x, noise = torch.rand(128, 784, generator=generator), torch.randn(128, 2, generator=generator)
    expected = torch.autograd.grad(loss_of(model, x, noise, 1.0, 128), list(model.parameters()))
    Backward(model)(x, noise, 1.0, 128)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        # Sums of 128 and 784 products in another order: some eps of float32 (1.2e-7) of the largest entry.
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=1e-6 * float(gradient.abs().max()))


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gradient_is_the_slope_of_the_loss(activation: str) -> None:
    model, x, noise = drawn(1, 5, activation)
    Backward(model)(x, noise, 0.7, 5)
    generator, step = torch.Generator().manual_seed(2), 1e-6
    for parameter in model.parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        ends = []
        with torch.no_grad():
            for sign in (1, -1):
                parameter.add_(direction, alpha=sign * step)
                ends.append(float(loss_of(model, x, noise, 0.7, 5)))
                parameter.sub_(direction, alpha=sign * step)
        slope = (ends[0] - ends[1]) / (2 * step)
        # Central difference: error of the order of step^2, and 1e-16 / step from rounding.
        assert float((parameter.grad * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_batches_of_other_sizes_leave_each_others_results_alone() -> None:
    model, x, noise = drawn(3, 6, "tanh")
    backward = Backward(model)
    whole = backward(x, noise, 1.0, 6)
    kept = [term.clone() for term in whole]
    gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    backward(x[:2], noise[:2], 1.0, 2)
    again = backward(x, noise, 1.0, 6)
    for term, before, after in zip(whole, kept, again, strict=True):
        torch.testing.assert_close(term, before, rtol=0, atol=0)
        torch.testing.assert_close(after, before, rtol=0, atol=0)
    for parameter, before in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, before, rtol=0, atol=0)


def test_only_the_bernoulli_mlp_with_a_normal_posterior_is_written_out() -> None:
    small = {"data_dim": 9, "hidden_dim": 4}
    assert applies_to(mlp_vae(**small))
    for other in (
        mlp_vae(**small, likelihood="gaussian"),
        mlp_vae(**small, posterior="point"),
        mlp_vae(**small, posterior="prior"),
        linear_vae(data_dim=9),
        conv_vae(data_dim=1024, likelihood="bernoulli"),
    ):
        assert not applies_to(other)
    frozen = mlp_vae(**small)
    frozen.decoder.requires_grad_(False)
    assert not applies_to(frozen)
