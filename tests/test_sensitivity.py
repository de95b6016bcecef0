"""The decoder's slope against finite differences, torch.distributions, and the model that can be solved."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from vaelib import linear, sensitivity
from vaelib.latent import interpolate
from vaelib.models import VAE, conv_vae, linear_vae, mlp_vae


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def small(likelihood: str = "bernoulli", latents: int = 3) -> VAE:
    return mlp_vae(
        data_dim=25, hidden_dim=16, latent_dim=latents, likelihood=likelihood, generator=seeded()
    ).double()


def pictures(model: VAE, z: Tensor) -> Independent:
    """p(x | z) as PyTorch has it."""
    output = model.decode(z)
    if model.log_var is None:
        return Independent(Bernoulli(logits=output), 1)
    return Independent(Normal(output, torch.exp(0.5 * model.log_var)), 1)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_information_is_how_the_divergence_of_near_pictures_bends(likelihood: str) -> None:
    model, z, step = small(likelihood), some(4, 3), 1e-3
    if model.log_var is not None:
        model.log_var.data.fill_(-1.3)
    found = sensitivity.information(model, z)
    with torch.no_grad():
        for j in range(3):
            for k in range(3):
                ways = torch.zeros(2, 3, dtype=torch.float64)
                ways[0, j], ways[1, k] = step, step

                def away(shift: Tensor) -> Tensor:
                    return kl_divergence(pictures(model, z), pictures(model, z + shift))

                # The mixed second difference, from four corners; KL itself is level at no step.
                mixed = away(ways[0] + ways[1]) + away(-ways[0] - ways[1])
                mixed = mixed - away(ways[0] - ways[1]) - away(ways[1] - ways[0])
                # Fourth derivatives times the squared step, and rounding over it: both about 1e-6.
                torch.testing.assert_close(found[:, j, k], mixed / (4 * step**2), rtol=1e-4, atol=1e-5)


def solvable() -> tuple[VAE, linear.Decoder]:
    model = linear_vae(data_dim=6, latent_dim=3, variance=0.4, generator=seeded(1)).double()
    (weight,) = (parameter.detach() for parameter in model.decoder.parameters())
    return model, linear.Decoder(weight, torch.tensor(0.4, dtype=torch.float64))


def test_information_of_a_linear_decoder_is_its_matrix_squared_over_the_noise_everywhere() -> None:
    model, decoder = solvable()
    expected = decoder.weight.T @ decoder.weight / 0.4
    found = sensitivity.information(model, some(5, 3))
    torch.testing.assert_close(found, expected.expand(5, 3, 3))


def test_best_deviations_of_a_linear_decoder_are_those_of_the_best_encoder() -> None:
    model, decoder = solvable()
    found = sensitivity.best_deviations(sensitivity.information(model, some(1, 3)))
    torch.testing.assert_close(found[0].square(), linear.best_encoder(decoder).variances)


def test_a_decoder_that_ignores_a_latent_leaves_it_the_width_of_the_prior() -> None:
    model = small()
    first = next(p for p in model.decoder.parameters() if p.ndim == 2)
    first.data[:, 1] = 0
    found = sensitivity.best_deviations(sensitivity.information(model, some(2, 3)))
    assert torch.equal(found[:, 1], torch.ones(2, dtype=torch.float64))
    assert (found[:, [0, 2]] < 1).all()


def test_looking_leaves_the_model_as_it_was_and_takes_latents_one_by_one() -> None:
    model = conv_vae(data_dim=16, encoder_channels=(4,), decoder_channels=(4,), sigma=0.5, generator=seeded())
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    z = some(3, 2).float()
    together = sensitivity.information(model, z)
    alone = torch.cat([sensitivity.information(model, z[k : k + 1]) for k in range(3)])
    torch.testing.assert_close(together, alone)  # no batch statistics
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    with torch.inference_mode():
        inside = z.clone()
    torch.testing.assert_close(sensitivity.information(model, inside), together)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_picture_kl_is_that_of_torch_distributions(likelihood: str) -> None:
    model, z, other = small(likelihood), some(4, 3), some(4, 3, seed=1)
    with torch.no_grad():
        expected = kl_divergence(pictures(model, z), pictures(model, other))
    torch.testing.assert_close(sensitivity.picture_kl(model, z, other), expected)


def test_length_of_a_way_through_a_linear_decoder_is_that_of_the_pictures_over_the_deviation() -> None:
    model, decoder = solvable()
    a, b = some(3), some(3, seed=1)
    along = sensitivity.lengths(model, interpolate(a, b, 7))
    whole = (decoder.weight @ (b - a)).norm() / math.sqrt(0.4)
    torch.testing.assert_close(along, torch.linspace(0, 1, 7, dtype=torch.float64) * whole)


def test_length_is_the_sum_of_the_roots_of_twice_the_divergences_of_small_steps() -> None:
    model = small()
    path = interpolate(some(3), 2 * some(3, seed=1), 400, "spherical")
    steps = torch.sqrt(2 * sensitivity.picture_kl(model, path[:-1], path[1:]))
    # Each step's KL has a term of third order, of either sign along the way.
    torch.testing.assert_close(sensitivity.lengths(model, path)[1:], steps.cumsum(0), rtol=1e-3, atol=0)


def test_even_steps_change_the_picture_equally_much() -> None:
    model = small()
    path = interpolate(some(3), 2 * some(3, seed=1), 400)
    even = sensitivity.even_steps(path, sensitivity.lengths(model, path), 9)
    assert torch.equal(even[0], path[0])
    torch.testing.assert_close(even[-1], path[-1])
    pieces = [sensitivity.lengths(model, interpolate(a, b, 100))[-1] for a, b in itertools.pairwise(even)]
    torch.testing.assert_close(torch.stack(pieces), torch.stack(pieces).mean().expand(8), rtol=1e-3, atol=0)
    # On this path equal steps of z are no such thing.
    plain = [sensitivity.lengths(model, path[50 * k : 50 * k + 51])[-1] for k in range(7)]
    assert max(plain) > 1.2 * min(plain)


def test_what_has_no_length_is_refused() -> None:
    model = small()
    with pytest.raises(ValueError, match="two places or more"):
        sensitivity.lengths(model, some(1, 3))
    with pytest.raises(ValueError, match="at least two ends"):
        sensitivity.even_steps(some(4, 3), torch.arange(4.0), 1)
    with pytest.raises(ValueError, match="the same all along"):
        sensitivity.even_steps(some(4, 3), torch.zeros(4), 3)
    by_pixel = mlp_vae(data_dim=4, hidden_dim=3, likelihood="gaussian", pixel_variance=True)
    with pytest.raises(ValueError, match="a variance for each pixel"):
        sensitivity.information(by_pixel, torch.zeros(1, 2))
