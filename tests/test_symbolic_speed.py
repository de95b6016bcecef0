"""The counts and gradients of page 21 against PyTorch's own."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vaelib.models import mlp_vae
from vaelib.objectives import elbo_terms
from vaelib.symbolic import speed


def test_five_products_are_what_pytorch_counts_in_a_step() -> None:
    images, pixels, hidden = 6, 64, 32
    model = mlp_vae(data_dim=pixels, hidden_dim=hidden)
    with FlopCounterMode(display=False) as counter:
        (-elbo_terms(model, torch.rand(images, pixels)).elbo.mean()).backward()
    large = int(speed.operations(images, pixels, hidden))
    # The latent's own products, with four numbers and two: two forward, four backward.
    small = 2 * 3 * images * hidden * (4 + 2)
    assert counter.get_total_flops() == large + small


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_a_ring_takes_twice_as_many_rounds_as_there_are_others(workers: int) -> None:
    numbers = {speed.latency: 1, speed.size: 0, speed.rate: 1}
    assert speed.around_the_ring(workers).subs(numbers) == 2 * (workers - 1)


def test_latent_gradients_are_autograds() -> None:
    numbers = {speed.mean: 0.3, speed.v: -0.8, speed.epsilon: 1.1, speed.beta: 0.7}
    mean, v = (
        torch.tensor(numbers[each], dtype=torch.float64, requires_grad=True) for each in (speed.mean, speed.v)
    )
    z = mean + torch.exp(v / 2) * 1.1
    loss = z.sin() + z**3 / 5 + 0.35 * (mean**2 + v.exp() - v - 1)
    found = torch.autograd.grad(loss, (mean, v))
    of_z = speed.gradient_at(speed.price, speed.drawn)
    of_mean = of_z + speed.beta * speed.mean
    sigma = 2.718281828459045 ** (numbers[speed.v] / 2)
    assert found[0].item() == pytest.approx(float(of_mean.subs(numbers)), rel=1e-12)
    expected = 0.5 * (float(of_z.subs(numbers)) * sigma * 1.1 + 0.7 * (sigma**2 - 1))
    assert found[1].item() == pytest.approx(expected, rel=1e-12)
