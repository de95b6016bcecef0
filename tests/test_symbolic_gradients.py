"""Estimators of gradients as SymPy objects, against quadrature, derivatives of integrals and draws."""

import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import sympy as sp

from vaelib.symbolic import gradients
from vaelib.symbolic.gradients import epsilon, mu, omega, phi, sigma

# mpmath's quadrature of smooth densities at 25 digits is right to far more than a float shows.
EXACT = 1e-12
AT = {mu: 0.7, sigma: 1.3, omega: 2.1, phi: 0.4}


def expectation(expression: sp.Expr) -> float:
    """The mean over standard normal noise by mpmath, which shares nothing with the rule under test."""
    f = sp.lambdify(epsilon, expression.subs(AT), "mpmath")
    with mpmath.workdps(25):
        weight = lambda e: mpmath.exp(-e * e / 2) / mpmath.sqrt(2 * mpmath.pi)  # noqa: E731
        return float(mpmath.quad(lambda e: f(e) * weight(e), [-14, -6, -3, -1, 0, 1, 3, 6, 14]))


@pytest.mark.parametrize(
    "expression",
    [
        sp.Integer(3),
        (mu + sigma * epsilon) ** 5,
        epsilon**2 * sp.exp(sigma * epsilon - mu),
        sp.cos(omega * (mu + sigma * epsilon)) ** 2 * epsilon**2,
        epsilon * sp.sin(omega * epsilon) + sp.exp(epsilon) * sp.cos(epsilon),
    ],
)
def test_the_mean_over_noise_agrees_with_quadrature(expression: sp.Expr) -> None:
    found = gradients.standard_normal_mean(expression)
    assert math.isclose(float(found.subs(AT)), expectation(expression), rel_tol=EXACT, abs_tol=EXACT)


@pytest.mark.parametrize("expression", [sp.exp(epsilon**2), sp.tanh(epsilon) / epsilon, sp.log(epsilon)])
def test_a_mean_that_the_rule_does_not_cover_is_refused(expression: sp.Expr) -> None:
    with pytest.raises(ValueError, match="no power of epsilon"):
        gradients.standard_normal_mean(expression)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "square": lambda z: z**2,
    "cosine": lambda z: sp.cos(omega * z),
    "oracle": gradients.ORACLE,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("mean", "deviation", "by"), [(mu, sigma, mu), (mu, sigma, sigma), (phi**3, sp.exp(phi), phi)]
)
def test_both_estimators_have_the_mean_of_the_gradient(
    name: str, mean: sp.Expr, deviation: sp.Expr, by: sp.Symbol
) -> None:
    f = FUNCTIONS[name]
    of = {"mean": mean, "deviation": deviation, "by": by}
    # The gradient itself: quadrature of E[f] either side, a difference of fourth order.
    step = 1e-3

    def value(shift: float) -> float:
        return expectation(f(mean + deviation * epsilon).subs(by, AT[by] + shift))

    gradient = (8 * (value(step) - value(-step)) - (value(2 * step) - value(-2 * step))) / (12 * step)
    for estimator in (gradients.score_estimator, gradients.pathwise_estimator):
        # The step's fourth power, 1e-12, times a fifth derivative of a few hundred at most.
        assert math.isclose(expectation(estimator(f, **of)), gradient, rel_tol=1e-8, abs_tol=1e-9)


def test_the_variances_of_a_square_are_the_known_ones() -> None:
    score = gradients.moments(gradients.score_estimator(lambda z: z**2))
    pathwise = gradients.moments(gradients.pathwise_estimator(lambda z: z**2))
    assert score.mean == pathwise.mean == 2 * mu
    assert sp.expand(score.variance - (mu**4 / sigma**2 + 14 * mu**2 + 15 * sigma**2)) == 0
    assert pathwise.variance == 4 * sigma**2


def test_the_pathwise_gradient_loses_on_fast_waves() -> None:
    f, standard = lambda z: sp.cos(5 * z), {mu: 0, sigma: 1}
    score = gradients.moments(gradients.score_estimator(f).subs(standard)).variance
    pathwise = gradients.moments(gradients.pathwise_estimator(f).subs(standard)).variance
    # Up to e^{-50}.
    assert math.isclose(float(score), 0.5, rel_tol=EXACT)
    assert math.isclose(float(pathwise), 12.5, rel_tol=EXACT)


def test_the_oracle_is_the_known_number() -> None:
    value = gradients.standard_normal_mean(gradients.ORACLE(phi**3 + sp.exp(phi) * epsilon))
    with mpmath.workdps(20):
        assert math.isclose(value.subs(phi, 0.5), 2.765933444191135, rel_tol=1e-14)
        assert math.isclose(sp.diff(value, phi).subs(phi, 0.5), 5.728164107910542, rel_tol=1e-14)


@pytest.mark.parametrize(
    ("images", "draws", "replace"), [(1, 1, True), (2, 3, True), (1, 2, False), (2, 4, False), (3, 2, False)]
)
def test_the_list_of_all_batches_has_the_variance_of_the_formula(
    images: int, draws: int, replace: bool
) -> None:
    population = 3
    law = gradients.batch_law(population, images, draws, replace=replace)
    assert sum(law.values()) == 1
    mean = sum(value * chance for value, chance in law.items())
    variance = sum(value**2 * chance for value, chance in law.items()) - mean**2
    between, within = gradients.symbolic_parts(population)
    left = 1 if replace else sp.Rational(population - images, population - 1)
    assert sp.expand(variance - left * between / images - within / (images * draws)) == 0


def test_the_list_of_all_batches_agrees_with_coins_thrown_one_by_one() -> None:
    law = gradients.batch_law(2, 1, 2, replace=False)
    g = gradients.gradients_of(2)
    expected: dict[sp.Expr, sp.Expr] = {}
    for image, sides in itertools.product(range(2), itertools.product((0, 1), repeat=2)):
        value = sp.Add(*(g[image][side] for side in sides)) / 2
        chance = sp.Rational(1, 2)
        for side in sides:
            chance *= gradients.coins[image] if side else 1 - gradients.coins[image]
        expected[value] = expected.get(value, 0) + chance
    assert law == expected


def test_one_draw_of_each_estimator_is_the_function_it_stands_for() -> None:
    rng, place = random.Random(0), {mu: 0.3, sigma: 0.8}
    for _ in range(5):
        noise = rng.gauss(0, 1)
        z = 0.3 + 0.8 * noise
        score = gradients.score_estimator(sp.sin).subs(place).subs(epsilon, noise)
        pathwise = gradients.pathwise_estimator(sp.sin).subs(place).subs(epsilon, noise)
        assert math.isclose(score, math.sin(z) * (z - 0.3) / 0.8**2, rel_tol=EXACT)
        assert math.isclose(pathwise, math.cos(z), rel_tol=EXACT)
