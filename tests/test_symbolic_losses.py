"""The derivations of page 3 against oracles that share no code: mpmath, torch.distributions, counting."""

import itertools
import math

import mpmath
import pytest
import sympy as sp
import torch
from torch.distributions import (
    AffineTransform,
    Bernoulli,
    ContinuousBernoulli,
    Normal,
    TransformedDistribution,
)

from vaelib import units
from vaelib.symbolic import losses

PIXELS, MEANS, SIGMA = (0.2, 0.9, 0.4), (0.3, 0.6, 0.35), 0.7


def at(expression: sp.Expr, **values: float) -> float:
    """Evaluate with numbers for the symbols of these names."""
    named = {symbol: values[symbol.name] for symbol in expression.free_symbols}
    return float(expression.evalf(20, subs=named))


def numbers(**rows: tuple[float, ...]) -> dict[str, float]:
    return {f"{name}{d}": value for name, row in rows.items() for d, value in enumerate(row, start=1)}


@pytest.mark.parametrize("bits", list(itertools.product((0, 1), repeat=3)))
def test_bernoulli_is_the_probability_of_independent_coins(bits: tuple[int, ...]) -> None:
    coins = Bernoulli(probs=torch.tensor(MEANS, dtype=torch.float64))
    expected = coins.log_prob(torch.tensor(bits, dtype=torch.float64)).sum().item()
    # Three logarithms in float64.
    assert at(losses.nll(losses.bernoulli(bits, losses.pi)), **numbers(pi=MEANS)) == pytest.approx(
        -expected, abs=1e-13
    )


def test_gaussian_is_the_density_of_independent_normal_pixels() -> None:
    pixels = Normal(torch.tensor(MEANS, dtype=torch.float64), SIGMA)
    expected = pixels.log_prob(torch.tensor(PIXELS, dtype=torch.float64)).sum().item()
    density = losses.gaussian(losses.x, losses.mu, losses.sigma**2)
    found = at(losses.nll(density), sigma=SIGMA, **numbers(x=PIXELS, mu=MEANS))
    assert found == pytest.approx(-expected, abs=1e-13)
    assert found == pytest.approx(
        units.gaussian_nll(sum((a - b) ** 2 for a, b in zip(PIXELS, MEANS, strict=True)), SIGMA, 3), abs=1e-13
    )


def test_best_variance_is_where_mpmath_finds_the_maximum() -> None:
    def slope(variance: mpmath.mpf) -> mpmath.mpf:
        return mpmath.diff(
            lambda v: sum(
                mpmath.log(mpmath.npdf(a, b, mpmath.sqrt(v))) for a, b in zip(PIXELS, MEANS, strict=True)
            ),
            variance,
        )

    expected = mpmath.findroot(slope, (0.02, 0.05), solver="bisect", verify=False)
    found = at(losses.best_variance(losses.x, losses.mu), **numbers(x=PIXELS, mu=MEANS))
    # What mpmath's difference quotient leaves of 15 digits.
    assert found == pytest.approx(float(expected), rel=1e-8)


def test_binarizations_are_all_black_and_white_images_with_probabilities_that_sum_to_one() -> None:
    found = dict(losses.binarizations(PIXELS))
    assert sorted(found) == sorted(itertools.product((0, 1), repeat=3))
    assert float(sum(found.values())) == pytest.approx(1, abs=1e-15)
    for d, grey in enumerate(PIXELS):
        assert float(sum(q for bits, q in found.items() if bits[d])) == pytest.approx(grey, abs=1e-15)


@pytest.mark.parametrize(("offset", "factor"), [(-1.0, 2.0), (0.0, 255.0), (0.3, 0.5)])
def test_density_after_scaling_is_that_of_the_transformed_distribution(offset: float, factor: float) -> None:
    y, a, s = sp.Symbol("y", real=True), sp.Symbol("a", real=True), losses.s
    bell = losses.gaussian([y], [sp.Rational(1, 3)], sp.Rational(1, 4))
    where = offset + factor * 0.8
    law = TransformedDistribution(
        Normal(torch.tensor(1 / 3, dtype=torch.float64), 0.5), [AffineTransform(offset, factor)]
    )
    expected = law.log_prob(torch.tensor(where, dtype=torch.float64)).exp().item()
    found = at(losses.after_scaling(bell, y, a, s), y=where, a=offset, s=factor)
    assert found == pytest.approx(expected, rel=1e-12)


def test_units_agree_with_the_deviation_that_the_claims_imply() -> None:
    for weight in (0.01, 0.5, 3.0):
        implied = at(losses.implied, w=weight)
        assert units.sigma_of_weight(weight, data_dim=3) == pytest.approx(implied, rel=1e-14)


def test_coin_on_grey_levels_is_the_continuous_bernoulli_without_its_normalizer() -> None:
    for p in (0.1, 0.4, 0.97):
        missing = mpmath.quad(lambda x, p=p: p**x * (1 - p) ** (1 - x), [0, 1])
        density = ContinuousBernoulli(torch.tensor(p, dtype=torch.float64))
        grey = torch.tensor(0.3, dtype=torch.float64)
        expected = math.exp(-losses_of_coin(0.3, p) - density.log_prob(grey).item())
        assert float(missing) == pytest.approx(expected, rel=1e-9)


def losses_of_coin(grey: float, p: float) -> float:
    return float(losses.nll(losses.bernoulli([sp.Float(grey)], [sp.Float(p)])))


@pytest.mark.parametrize(
    "proof", [losses.best_variance_is_a_maximum, losses.floor_is_reached_only_at_the_pixels]
)
def test_inequalities_are_proved(proof: object) -> None:
    assert callable(proof)
    proof()
