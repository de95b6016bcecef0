"""Marginals, fits and gradients of page 2, against quadrature, differences and torch.distributions."""

from __future__ import annotations

import math
import random

import mpmath
import pytest
import sympy as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, MixtureSameFamily, Normal

from vaelib.symbolic import latent_variables as lv

WIDTHS = lv.NormalMixture([0.6, 0.4], [4.0, 12.0], [1.0, 2.0])
THREE = lv.NormalMixture([0.5, 0.3, 0.2], [-2.0, 0.5, 3.0], [0.4, 1.0, 0.7])


def by_torch(mixture: lv.NormalMixture) -> MixtureSameFamily:
    chances, means, deviations = (
        torch.tensor(values, dtype=torch.float64)
        for values in (mixture.chances, mixture.means, mixture.deviations)
    )
    return MixtureSameFamily(Categorical(chances), Normal(means, deviations))


def divergence(q: lv.NormalMixture, p: lv.NormalMixture) -> float:
    """KL(q || p) by a sum so fine that refining it changes nothing."""
    return math.fsum(
        0.01 * q.density(t) * (q.log_density(t) - p.log_density(t))
        for t in (0.01 * k for k in range(-3000, 4000))
    )


def one_normal(mean: float, deviation: float) -> lv.NormalMixture:
    return lv.NormalMixture([1.0], [mean], [deviation])


# --- a mixture ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixture", [WIDTHS, THREE], ids=["two", "three"])
def test_mixture_is_that_of_torch(mixture: lv.NormalMixture) -> None:
    theirs = by_torch(mixture)
    for x in (-3.0, 0.0, 2.2, 7.0, 40.0, -80.0):  # the last two are far beyond what a density can hold
        at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        log_density = theirs.log_prob(at)
        (slope,) = torch.autograd.grad(log_density, at)
        assert mixture.log_density(x) == pytest.approx(log_density.item(), rel=1e-12)
        assert mixture.density(x) == pytest.approx(log_density.exp().item(), rel=1e-11)
        assert mixture.slope(x) == pytest.approx(slope.item(), rel=1e-9)
        assert sum(mixture.posterior(x)) == pytest.approx(1, rel=1e-12)
    mean, variance = mixture.moments()
    assert (mean, variance) == pytest.approx((theirs.mean.item(), theirs.variance.item()), rel=1e-12)


def test_posterior_is_the_joint_over_its_sum() -> None:
    joint = [math.exp(part) for part in THREE.log_joint(0.3)]
    assert THREE.posterior(0.3) == pytest.approx([part / sum(joint) for part in joint], rel=1e-12)
    assert sum(joint) == pytest.approx(THREE.density(0.3), rel=1e-12)


def test_draws_have_the_mixtures_moments() -> None:
    rng, count = random.Random(0), 20_000
    drawn = torch.tensor([THREE.draw(rng) for _ in range(count)], dtype=torch.float64)
    mean, variance = THREE.moments()
    # 4.5 standard errors of the mean, and of the mean square.
    assert abs(drawn.mean().item() - mean) < 4.5 * math.sqrt(variance / count)
    squares = (drawn - mean).square()
    assert abs(squares.mean().item() - variance) < 4.5 * squares.std().item() / math.sqrt(count)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1.0], [0.0, 1.0], [1.0]), "as many chances"),
        (([0.5, 0.6], [0.0, 1.0], [1.0, 1.0]), "no distribution"),
        (([1.5, -0.5], [0.0, 1.0], [1.0, 1.0]), "no distribution"),
        (([1.0], [0.0], [0.0]), "not positive"),
    ],
)
def test_what_is_no_mixture_is_refused(arguments: tuple[list[float], ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        lv.NormalMixture(*arguments)


def test_bump_without_a_chance_is_never_seen() -> None:
    mixture = lv.NormalMixture([1.0, 0.0], [0.0, 5.0], [1.0, 1.0])
    assert mixture.density(5.0) == pytest.approx(float(mpmath.npdf(5)), rel=1e-12)
    assert mixture.posterior(5.0)[1] == 0


# --- a normal distribution fitted to data ------------------------------------------------------------------


@given(st.floats(-3, 3), st.floats(0.3, 3))
def test_expected_log_likelihood_needs_two_moments_only(mu: float, sigma: float) -> None:
    bumps = Normal(*(torch.tensor(v, dtype=torch.float64) for v in (THREE.means, THREE.deviations)))
    model = Normal(torch.tensor(mu, dtype=torch.float64), torch.tensor(sigma, dtype=torch.float64))
    cross = bumps.entropy() + torch.distributions.kl_divergence(bumps, model)
    expected = -sum(c * part for c, part in zip(THREE.chances, cross.tolist(), strict=True))
    found = float(lv.expected_log_likelihood(mu, sigma, *THREE.moments()))
    assert found == pytest.approx(expected, rel=1e-10)
    assert found <= float(lv.best_log_likelihood(THREE.moments()[1])) + 1e-12


def test_moments_are_those_of_torch() -> None:
    numbers = torch.tensor([3.5, 4.0, 5.5, 8.0, 9.0], dtype=torch.float64)
    mean, variance = lv.moments(numbers.tolist(), [0.2] * 5)
    assert mean == pytest.approx(numbers.mean().item(), rel=1e-14)
    assert variance == pytest.approx(numbers.var(correction=0).item(), rel=1e-14)


def test_proof_of_the_fit_holds() -> None:
    lv.prove_normal_fit()
    best = lv.expected_log_likelihood(lv.mean, sp.sqrt(lv.variance)) - lv.best_log_likelihood()
    assert sp.simplify(sp.expand_log(best)) == 0


def test_proof_turns_down_a_bound_that_is_too_low(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = lv.best_log_likelihood
    monkeypatch.setattr(lv, "best_log_likelihood", lambda v: bound(v) - sp.Rational(1, 100))
    with pytest.raises(AssertionError, match="gap"):
        lv.prove_normal_fit()


def test_reverse_fit_has_no_better_neighbour() -> None:
    mean, deviation = lv.reverse_fit(WIDTHS, 4.0, 1.0)
    least = divergence(one_normal(mean, deviation), WIDTHS)
    for shift, factor in ((0.02, 1), (-0.02, 1), (0, 1.02), (0, 0.98)):
        assert divergence(one_normal(mean + shift, deviation * factor), WIDTHS) > least
    # It sits on the first summit, and is the better of the two minima.
    assert abs(mean - 4) < 0.1
    assert least < divergence(one_normal(*lv.reverse_fit(WIDTHS, 12.0, 2.0)), WIDTHS)


def test_reverse_fit_of_a_normal_is_that_normal() -> None:
    assert lv.reverse_fit(one_normal(1.5, 0.7), 0.0, 2.0) == pytest.approx((1.5, 0.7), rel=1e-8)


def test_each_direction_prefers_its_own_fit() -> None:
    mean, variance = WIDTHS.moments()
    likely, reverse = one_normal(mean, math.sqrt(variance)), one_normal(*lv.reverse_fit(WIDTHS, 4.0, 1.0))
    assert divergence(WIDTHS, likely) < divergence(WIDTHS, reverse)
    assert divergence(reverse, WIDTHS) < divergence(likely, WIDTHS)


# --- what the checks of the page rest on -------------------------------------------------------------------


def test_models_of_the_checks_are_distributions() -> None:
    everything = [lv.moving.joint(x, z) for x in (0, 1) for z in (0, 1)]
    assert sp.simplify(sum(everything)) == 1
    assert sp.simplify(sum(lv.p_data(x) for x in (0, 1, 2))) == 1
    assert sp.simplify(sum(lv.chance_of.values())) == 1
