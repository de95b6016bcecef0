"""Errors of means, moments of weights and bounds in closed form, against quadrature and plain enumeration."""

import itertools
import math
import random
from collections.abc import Sequence

import mpmath
import pytest
import scipy.integrate
import sympy as sp

from vaelib.symbolic import monte_carlo
from vaelib.symbolic.claims import ClaimError
from vaelib.symbolic.monte_carlo import mu, sigma_p, sigma_q

EXACT = 1e-12  # quadrature at 25 digits, shown in a float


def p_squared_over_q(mean: float, deviation_p: float, deviation_q: float, reach: float) -> float:
    def integrand(z: mpmath.mpf) -> mpmath.mpf:
        log_p = -((z - mean) ** 2) / (2 * deviation_p**2) - mpmath.log(deviation_p)
        log_q = -(z**2) / (2 * deviation_q**2) - mpmath.log(deviation_q)
        return mpmath.exp(2 * log_p - log_q) / mpmath.sqrt(2 * mpmath.pi)

    with mpmath.workdps(25):
        cuts = [k * reach / 12 for k in range(-12, 13)]
        return float(mpmath.quad(integrand, cuts))


@pytest.mark.parametrize(
    ("mean", "p", "q"), [(0.0, 1.0, 1.0), (0.7, 1.0, 1.3), (-1.2, 0.6, 0.5), (0.3, 1.4, 1.0)]
)
def test_the_second_moment_of_normal_weights_agrees_with_quadrature(mean: float, p: float, q: float) -> None:
    rate, integral = monte_carlo.squared_weight(*map(sp.Rational, map(str, (mean, p, q))))
    assert rate > 0
    # Twelve times the widest deviation of the integrand, 1 / sqrt(2 rate).
    reach = abs(mean) * 10 + 12 / math.sqrt(2 * rate)
    assert math.isclose(integral, p_squared_over_q(mean, p, q, reach), rel_tol=EXACT)


def test_weights_have_a_variance_only_from_half_the_variance_on() -> None:
    rate, _ = monte_carlo.squared_weight()
    assert sp.simplify(rate - (2 * sigma_q**2 - sigma_p**2) / (2 * sigma_p**2 * sigma_q**2)) == 0
    # Below that the integral has no end: it grows with the range, and ever faster.
    values = [p_squared_over_q(0.2, 1.0, 0.6, reach) for reach in (5, 10, 15)]
    assert values[1] / values[0] > 1e3
    assert values[2] / values[1] > 1e6


def test_a_guess_that_is_the_posterior_leaves_no_variance() -> None:
    _, integral = monte_carlo.squared_weight()
    assert sp.simplify(integral.subs({mu: 0, sigma_q: sigma_p})) == 1


def enumerated(draws: int, joint: Sequence[float], guess: Sequence[float]) -> float:
    """The bound as its definition has it: a sum over every sequence of draws."""
    total = 0.0
    for drawn in itertools.product(range(len(joint)), repeat=draws):
        chance = math.prod(guess[value] for value in drawn)
        total += chance * math.log(sum(joint[value] / guess[value] for value in drawn) / draws)
    return total


JOINT, GUESS = (0.1, 0.3, 0.05), (0.5, 0.2, 0.3)


@pytest.mark.parametrize("draws", [1, 2, 3, 5])
def test_the_bound_on_a_finite_latent_is_the_sum_over_all_sequences(draws: int) -> None:
    found = monte_carlo.finite_bound(draws, *(tuple(map(sp.Float, values)) for values in (JOINT, GUESS)))
    assert math.isclose(found, enumerated(draws, JOINT, GUESS), rel_tol=EXACT)


def test_bounds_rise_from_the_elbo_towards_the_evidence() -> None:
    bounds = [enumerated(draws, JOINT, GUESS) for draws in range(1, 8)]
    elbo = sum(q * math.log(p / q) for p, q in zip(JOINT, GUESS, strict=True))
    assert math.isclose(bounds[0], elbo, rel_tol=EXACT)
    assert all(low < high for low, high in itertools.pairwise(bounds))
    assert bounds[-1] < math.log(sum(JOINT))


def test_the_closed_form_for_exponential_weights_agrees_with_a_double_integral() -> None:
    # What is left beyond 40 is e^{-40}.
    one, _ = scipy.integrate.quad(lambda a: math.exp(-a) * math.log(a), 0, 40)
    two, _ = scipy.integrate.dblquad(
        lambda a, b: math.exp(-a - b) * math.log((a + b) / 2), 0, 40, 0, 40, epsabs=1e-9
    )
    for draws, integral in ((1, one), (2, two)):
        found = monte_carlo.exponential_bound(sp.Integer(draws)).subs(monte_carlo.evidence, 1)
        assert math.isclose(found, integral, abs_tol=1e-7)


@pytest.mark.parametrize("draws", [1, 3, 6])
def test_the_closed_form_is_the_integral_over_the_sum_of_the_draws(draws: int) -> None:
    integral = monte_carlo.bound_by_integral(draws).subs(monte_carlo.evidence, sp.Rational(1, 3))
    f = sp.lambdify(integral.variables, integral.function, "mpmath")
    with mpmath.workdps(20):
        value = mpmath.quad(f, [0, 0.5, 1, 2, 4, 8, 16, 32, 80])
    closed = monte_carlo.exponential_bound(sp.Integer(draws)).subs(monte_carlo.evidence, sp.Rational(1, 3))
    assert math.isclose(closed, value, rel_tol=EXACT)


def test_the_gap_closes_like_the_variance_over_twice_the_draws() -> None:
    bound = sp.lambdify(
        monte_carlo.k, monte_carlo.exponential_bound().subs(monte_carlo.evidence, 1), "mpmath"
    )
    with mpmath.workdps(30):
        draws = mpmath.mpf(10) ** 6
        # The weights have the relative variance 1; the next term is 1 / (12 k).
        assert math.isclose(-draws * bound(draws), 0.5, rel_tol=1e-6)


def test_a_mean_and_its_error_are_unbiased() -> None:
    law = monte_carlo.law_of(monte_carlo.squared_error_of, monte_carlo.some_function)
    assert sum(law.values()) == 1
    values = [monte_carlo.some_function(place) for place in monte_carlo.PLACES]
    mean = sum(c * v for c, v in zip(monte_carlo.CHANCES, values, strict=True))
    variance = sum(c * (v - mean) ** 2 for c, v in zip(monte_carlo.CHANCES, values, strict=True))
    assert sp.expand(sum(value * chance for value, chance in law.items()) - variance / monte_carlo.N) == 0


@pytest.mark.parametrize("draws", [1, 2, 3])
def test_the_gaps_that_the_proofs_give_are_those_between_the_bounds(draws: int) -> None:
    at = {monte_carlo.chance: 0.3} | dict(zip(monte_carlo.pair, (0.2, 0.5), strict=True))
    bounds = [enumerated(k, (0.2, 0.5), (0.3, 0.7)) for k in (draws, draws + 1)]
    raised = monte_carlo.prove_order(draws).subs(at)
    below = monte_carlo.prove_below_evidence(draws).subs(at)
    assert math.isclose(raised, bounds[1] - bounds[0], rel_tol=1e-9)
    assert math.isclose(below, math.log(0.7) - bounds[0], rel_tol=1e-9)


def test_a_proof_refuses_what_does_not_average_to_one() -> None:
    with pytest.raises(ClaimError, match="mean 1"):
        monte_carlo.gap_from_tangent({sp.Integer(2): sp.Rational(1, 2), sp.Integer(1): sp.Rational(1, 2)})


def test_the_closed_forms_hold_for_every_number_of_draws() -> None:
    monte_carlo.prove_exponential_bound()


def test_the_logarithm_of_the_weight_is_that_of_its_densities() -> None:
    rng = random.Random(0)

    def log_normal(at: float, mean: float, deviation: float) -> float:
        return -(((at - mean) / deviation) ** 2) / 2 - math.log(deviation * math.sqrt(2 * math.pi))

    for _ in range(5):
        x, z, m, s = rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(0, 1), rng.uniform(0.5, 2)
        place = {monte_carlo.x: x, monte_carlo.mu: m, monte_carlo.sigma: s}
        expected = log_normal(x, z, 1) + log_normal(z, 0, 1) - log_normal(z, m, s)
        assert math.isclose(monte_carlo.log_weight(sp.Float(z)).subs(place), expected, rel_tol=EXACT)
