"""The derivations of page 19 against oracles that share no code: grids, differences, torch.distributions."""

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import sympy as sp
import torch

from vaelib import linear
from vaelib.models import mlp_vae
from vaelib.symbolic import collapse

BETA, SIGMA, PRIOR_ONE, LOGS = 0.7, 0.9, 0.3, (-1.2, 0.4)


def test_tilted_prior_has_the_largest_weighted_elbo_of_all_on_a_fine_grid() -> None:
    q = np.linspace(1e-6, 1 - 1e-6, 1_000_001)
    kl = q * np.log(q / PRIOR_ONE) + (1 - q) * np.log((1 - q) / (1 - PRIOR_ONE))
    objective = q * LOGS[0] + (1 - q) * LOGS[1] - BETA * kl
    numbers = {collapse.p_one: PRIOR_ONE, collapse.beta: BETA, **dict(zip(collapse.logs, LOGS, strict=True))}
    best = float(collapse.tilted()[0].subs(numbers))
    # The grid's step; its maximum is flat, so its value agrees to far more.
    assert best == pytest.approx(q[objective.argmax()], abs=2e-6)
    bound = BETA * math.log(PRIOR_ONE * math.exp(LOGS[0] / BETA) + (1 - PRIOR_ONE) * math.exp(LOGS[1] / BETA))
    assert bound == pytest.approx(objective.max(), abs=1e-11)
    assert collapse.answer_is_tight(
        {"p": PRIOR_ONE, "beta": BETA, "t1": LOGS[0], "t2": LOGS[1]}
    ) == pytest.approx(best)


@pytest.mark.parametrize("scale", [0.0, 0.3, -1.1])
def test_best_objective_is_what_the_best_of_many_q_reaches(scale: float) -> None:
    x, g = (0.8, -0.5), (0.6, 1.3)
    values = {
        collapse.beta: BETA, collapse.sigma: SIGMA,
        **dict(zip(collapse.image, x, strict=True)), **dict(zip(collapse.picture, g, strict=True)),
    }  # fmt: skip
    pictures = [scale * np.array(g), -scale * np.array(g) / 2]
    q = np.linspace(1e-6, 1 - 1e-6, 200_001)
    kl = q * np.log(3 * q) + (1 - q) * np.log(1.5 * (1 - q))
    total = 0.0
    for image in (np.array(x), -np.array(x)):
        errors = [((image - picture) ** 2).sum() / (2 * SIGMA**2) for picture in pictures]
        total += (-q * errors[0] - (1 - q) * errors[1] - BETA * kl).max() / 2
    found = float(collapse.best_objective(sp.Float(scale)).subs(values))
    assert found == pytest.approx(total, abs=1e-9)  # the grid's step, squared


@pytest.mark.parametrize(("beta", "sign"), [(1.0, 1), (1.0, -1), (3.0, 1), (3.0, -1)])
def test_a_network_leaves_the_collapsed_state_where_the_largest_eigenvalue_is_above_the_water(
    beta: float, sign: int
) -> None:
    """Any decoder, the best q by quadrature over a latent, and a second difference in the amplitude."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 4, generator=generator, dtype=torch.float64) * torch.tensor([2.0, 1.0, 0.5, 0.2])
    x = (x - x.mean(0)).double()
    covariance = linear.moments(x).covariance
    eigenvalues, directions = linear.spectrum(covariance)
    # The water is a tenth above the largest eigenvalue, or a tenth below.
    variance = eigenvalues[0].item() * (1 - 0.1 * sign) / beta
    z = torch.linspace(-9, 9, 2001, dtype=torch.float64)[:, None]
    prior = torch.softmax(-0.5 * z[:, 0] ** 2, 0)  # the trapezoidal rule: both ends are nothing

    def objective(amplitude: float, pictures: torch.Tensor) -> float:
        errors = (x[:, None] - amplitude * pictures).square().sum(-1) / (2 * beta * variance)
        return beta * torch.logsumexp(prior.log() - errors, 1).mean().item()

    def curvature(pictures: torch.Tensor, step: float = 1e-3) -> float:
        ends = objective(step, pictures) + objective(-step, pictures)
        return (ends - 2 * objective(0.0, pictures)) / step**2

    def formula(pictures: torch.Tensor) -> float:
        middle = covariance / (beta * variance) - torch.eye(4, dtype=torch.float64)
        return (prior * ((pictures @ middle) * pictures).sum(1)).sum().item() / variance

    # Three networks that bend, and the straight line along the first eigenvector.
    along = z @ directions[:, :1].T
    curves = [along]
    for seed in range(3):
        network = mlp_vae(
            data_dim=4, hidden_dim=6, latent_dim=1, generator=torch.Generator().manual_seed(seed)
        ).double()
        drawn = network.decode(z).detach()
        curves.append(drawn - prior @ drawn)
    for pictures in curves:
        # Differences of numbers of size 10 over 1e-6: about 1e-8 of rounding, and step^2 of truncation.
        assert curvature(pictures) == pytest.approx(formula(pictures), rel=1e-4, abs=1e-4)
    assert math.copysign(1, curvature(along)) == sign
    if sign < 0:
        assert all(curvature(pictures) < 0 for pictures in curves)


@pytest.mark.parametrize("free", [0.05, 0.4])
@pytest.mark.parametrize("eigenvalue", [0.2, 2.5])
def test_best_rate_is_where_a_minimizer_finds_the_cost_least(free: float, eigenvalue: float) -> None:
    found = scipy.optimize.minimize_scalar(
        lambda r: eigenvalue / (2 * SIGMA**2) * math.exp(-2 * r) + BETA * max(free, r),
        bounds=(0, 5), method="bounded", options={"xatol": 1e-9},
    )  # fmt: skip
    at = {
        collapse.eigenvalue: eigenvalue, collapse.sigma: SIGMA, collapse.beta: BETA, collapse.floor: free
    }  # fmt: skip
    best = float(collapse.best_rate().subs(at))
    # A flat minimum is found to the root of the rounding.
    assert best == pytest.approx(found.x, abs=1e-6)
    ours = linear.floored_rates(torch.tensor([eigenvalue], dtype=torch.float64), SIGMA**2, free, beta=BETA)
    assert best == pytest.approx(ours.item(), abs=1e-12)


def test_average_image_is_the_least_squares_answer_at_each_latent() -> None:
    x, shares = (0.9, -0.4), (0.7, 0.2)
    at = {
        **dict(zip(collapse.pixels, x, strict=True)), **dict(zip(collapse.shares, shares, strict=True))
    }  # fmt: skip
    for z, weights in ((1, shares), (2, [1 - share for share in shares])):
        # Least squares with weights: numpy's polynomial of degree 0.
        [expected] = np.polyfit([0.0, 1.0], x, 0, w=np.sqrt(weights))
        assert float(collapse.best_picture(sp.Integer(z)).subs(at)) == pytest.approx(expected, abs=1e-12)


def test_every_decoder_pays_for_its_distance_from_the_average_image() -> None:
    x, shares = (0.9, -0.4), (0.7, 0.2)
    at = dict(zip((*collapse.pixels, *collapse.shares), (*x, *shares), strict=True))
    table = [(share, 1 - share) for share in shares]
    best = [float(collapse.best_picture(sp.Integer(z)).subs(at)) for z in (1, 2)]

    def error(pictures: list[float]) -> float:
        return sum(
            q * (a - c) ** 2 / 2
            for a, row in zip(x, table, strict=True)
            for q, c in zip(row, pictures, strict=True)
        )

    mass = [sum(row[z] for row in table) / 2 for z in (0, 1)]
    for shifts in itertools.product((-0.3, 0.0, 0.5), repeat=2):
        moved = [c + s for c, s in zip(best, shifts, strict=True)]
        expected = error(best) + sum(m * s**2 for m, s in zip(mass, shifts, strict=True))
        assert error(moved) == pytest.approx(expected, abs=1e-12)
