"""The derivations of page 20 against PyTorch's optimizer, its autograd, draws and quadrature."""

import math

import pytest
import scipy.integrate
import sympy as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from vaelib.symbolic import paper

SLOPES = st.floats(0.01, 10).flatmap(lambda size: st.sampled_from([size, -size]))


@given(gradients=st.tuples(SLOPES, SLOPES, SLOPES), step=st.floats(1e-3, 1.0))
def test_adagrads_walk_is_that_of_pytorch(gradients: tuple[float, ...], step: float) -> None:
    numbers = {paper.start: 0.4, paper.eta: step, **dict(zip(paper.slopes, gradients, strict=True))}
    theta = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    adagrad = torch.optim.Adagrad([theta], lr=step)
    for place, gradient in zip(paper.walk()[1:], gradients, strict=True):
        theta.grad = torch.tensor(-gradient, dtype=torch.float64)  # it goes downhill
        adagrad.step()
        # PyTorch adds 1e-10 to the root, which is a hundredth at the least: one part in 1e8.
        assert theta.item() == pytest.approx(float(place.subs(numbers)), abs=1e-8 * step * 3)


def test_weight_decay_of_one_over_the_number_of_images_is_the_standard_normal_prior() -> None:
    value = 0.7
    numbers = {paper.w: value, **dict(zip(paper.images, (0.2, -1.1, 2.5), strict=True))}
    weight = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([float(numbers[pixel]) for pixel in paper.images], dtype=torch.float64)
    likelihood = torch.distributions.Normal(weight.sin(), 1.0).log_prob(x)
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(weight)
    (with_prior,) = torch.autograd.grad((prior + likelihood.sum()) / 3, weight)
    slope = sum(sp.diff(sp.log(paper.model(pixel)), paper.w) for pixel in paper.images) / 3
    assert with_prior.item() == pytest.approx(float(slope.subs(numbers)) - value / 3, rel=1e-12)


def test_mean_of_q_over_the_joint_is_the_inverse_evidence_for_a_normal_model() -> None:
    """z ~ N(0, 1), x | z ~ N(z, 1): p(x) = N(x; 0, 2), and the posterior is N(x / 2, 1 / 2)."""

    def normal(at: float, mean: float, variance: float) -> float:
        return math.exp(-((at - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)

    x = 0.8

    def integrand(z: float) -> float:
        return normal(z, x / 2, 0.5) * normal(z, 0.1, 0.3) / (normal(z, 0, 1) * normal(x, z, 1))

    mean, _ = scipy.integrate.quad(integrand, -8, 8)
    assert mean == pytest.approx(1 / normal(x, 0, 2), rel=1e-10)
