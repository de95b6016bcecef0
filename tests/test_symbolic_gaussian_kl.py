"""The Gaussian KL's derivation against oracles that share no code with it: quadrature by mpmath and SciPy."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import sympy as sp

from vaelib.symbolic import gaussian_kl as derivation
from vaelib.symbolic import training
from vaelib.symbolic.claims import ClaimError, check

POINT = {
    derivation.mu_q: 0.7,
    derivation.sigma_q: 0.4,
    derivation.mu_p: -0.3,
    derivation.sigma_p: 1.3,
}  # fmt: skip
MEAN_Q, MEAN_P = [0.4, -0.6], [-0.2, 0.5]
FACTOR_Q, FACTOR_P = [[0.8, 0.0], [-0.5, 0.6]], [[1.1, 0.0], [0.3, 0.9]]


def matrix(entries: list) -> sp.Matrix:
    return sp.Matrix(entries).applyfunc(sp.nsimplify)


def density(mean: list, factor: list) -> scipy.stats.rv_continuous:
    return scipy.stats.multivariate_normal(mean, np.array(factor) @ np.array(factor).T)


def test_the_integral_and_the_closed_form_agree_with_quadrature() -> None:
    integral = derivation.kl_integral()
    integrand = sp.lambdify(derivation.z, integral.function.subs(POINT), "mpmath")
    with mpmath.workdps(30):
        expected = mpmath.quad(integrand, [-mpmath.inf, -2, 0, 0.7, 1.5, 4, mpmath.inf])
    # The points are floats, so the closed form has a float's digits.
    assert math.isclose(derivation.kl_closed_form().subs(POINT), expected, rel_tol=1e-14)


def test_moments_of_a_standard_normal_number_are_double_factorials() -> None:
    found = [derivation.standard_moment(k) for k in range(9)]
    assert found == [0 if k % 2 else sp.factorial2(k - 1) for k in range(9)]


def test_a_normal_vector_has_the_density_that_scipy_gives_it() -> None:
    points = [[0.0, 0.0], [0.4, -0.6], [1.5, -2.0]]
    found = [float(derivation.normal_vector(sp.Matrix(p), matrix(MEAN_Q), matrix(FACTOR_Q))) for p in points]
    np.testing.assert_allclose(found, density(MEAN_Q, FACTOR_Q).pdf(points), rtol=1e-12)


@pytest.mark.parametrize("seen_from", [(MEAN_Q, FACTOR_Q), (MEAN_P, FACTOR_P), ([0, 0], [[1, 0], [0, 1]])])
def test_a_density_integrates_to_one_whatever_the_plane_is_seen_from(seen_from: tuple) -> None:
    def function(point: sp.Matrix) -> sp.Expr:
        return derivation.normal_vector(point, matrix(MEAN_Q), matrix(FACTOR_Q))

    total = derivation.integral_over_plane(function, *map(matrix, seen_from))
    assert math.isclose(total, 1, rel_tol=1e-12)


def test_a_polynomial_is_averaged_as_scipy_averages_it() -> None:
    def polynomial(x, y):  # of numbers or of symbols
        return x**4 * y**2 - 3 * x * y + y

    def function(point: sp.Matrix) -> sp.Expr:
        weight = derivation.normal_vector(point, matrix(MEAN_Q), matrix(FACTOR_Q))
        return weight * polynomial(*point)

    law = density(MEAN_Q, FACTOR_Q)
    expected, _ = scipy.integrate.dblquad(
        lambda y, x: law.pdf([x, y]) * polynomial(x, y), -7, 7, -7, 7, epsabs=1e-9
    )
    for seen_from in ((MEAN_Q, FACTOR_Q), (MEAN_P, FACTOR_P)):
        found = derivation.integral_over_plane(function, *map(matrix, seen_from))
        assert math.isclose(found, expected, rel_tol=1e-7)  # what SciPy was asked for


def test_what_is_no_polynomial_stays_an_integral() -> None:
    def function(point: sp.Matrix) -> sp.Expr:
        weight = derivation.normal_vector(point, sp.zeros(2, 1), sp.eye(2))
        return weight * sp.cos(point[0])

    left = derivation.integral_over_plane(function, sp.zeros(2, 1), sp.eye(2))
    assert left.has(sp.Integral)
    assert math.isclose(left.doit(), math.exp(-1 / 2), rel_tol=1e-12)  # the characteristic function at 1


def test_each_entry_of_a_matrix_is_integrated() -> None:
    def function(point: sp.Matrix) -> sp.Matrix:
        weight = derivation.normal_vector(point, sp.zeros(2, 1), sp.eye(2))
        return weight * point * point.T

    assert derivation.integral_over_plane(function, sp.zeros(2, 1), sp.eye(2)) == sp.eye(2)


def test_the_kl_of_vectors_agrees_with_the_definition() -> None:
    found = derivation.kl_of_vectors(*map(matrix, (MEAN_Q, FACTOR_Q, MEAN_P, FACTOR_P)))
    q, p = density(MEAN_Q, FACTOR_Q), density(MEAN_P, FACTOR_P)
    expected, _ = scipy.integrate.dblquad(
        lambda y, x: q.pdf([x, y]) * (q.logpdf([x, y]) - p.logpdf([x, y])), -7, 7, -7, 7, epsabs=1e-9
    )
    assert math.isclose(found, expected, rel_tol=1e-7)


def test_independent_coordinates_add_up() -> None:
    q, p = [(sp.Rational(1, 2), sp.S.One), (sp.S.Zero, sp.Integer(2))], [(sp.S.Zero, sp.S.One)] * 2
    both = derivation.kl_of_coordinates(q, p).doit()
    alone = [derivation.kl_closed_form(*q[k], *p[k]) for k in range(2)]
    assert sp.simplify(both - sum(alone)) == 0


# What has stood in published code, as a formula.
MISTAKES = {
    "the half is lost": r"\sum_{j=1}^{J} \left( \mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2 \right)",
    "the half is lost in one place": (
        r"\sum_{j=1}^{J} \left( \mu_j^2 + \sigma_j^2 - \log \sigma_j - \frac{1}{2} \right)"
    ),
    "the deviation is taken for the variance": (
        r"\frac{1}{2} \sum_{j=1}^{J} \left( \mu_j^2 + \sigma_j - 1 - \log \sigma_j \right)"
    ),
    "the logarithm is squared": (
        r"\frac{1}{2} \sum_{j=1}^{J} \left( \mu_j^2 + \sigma_j^2 - 1 - (\log \sigma_j)^2 \right)"
    ),
    "the mean over latents": (
        r"\frac{1}{2 J} \sum_{j=1}^{J} \left( \mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2 \right)"
    ),
    "the sign is flipped": (
        r"-\frac{1}{2} \sum_{j=1}^{J} \left( \mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2 \right)"
    ),
    "the other way round": (
        r"\frac{1}{2} \sum_{j=1}^{J} \left( \frac{1 + \mu_j^2}{\sigma_j^2} - 1 + \log \sigma_j^2 \right)"
    ),
}
LEFT = r"\mathrm{KL}\bigl(q_\phi(z \mid x) \,\|\, p(z)\bigr) = "


def test_the_rate_holds_in_another_notation() -> None:
    check(
        "eq-gaussian-kl",
        derivation.CLAIMS["eq-gaussian-kl"],
        LEFT + r"\sum_{j=1}^{J} \left( \frac{\mu_j^2 + \sigma_j^2 - 1}{2} - \log \sigma_j \right)",
    )


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_rate_turns_down_what_has_been_published(mistake: str) -> None:
    with pytest.raises(ClaimError):
        check("eq-gaussian-kl", derivation.CLAIMS["eq-gaussian-kl"], LEFT + MISTAKES[mistake])


def test_joint_distributions_are_matched_by_the_names_of_their_variables() -> None:
    claim = derivation.CLAIMS["eq-kl-additivity"]
    first, second = r"q(z_1, z_2)", r"p(z_1, z_2)"
    swapped = r"p(z_2, z_1)"
    check(
        "eq-kl-additivity",
        claim,
        rf"\mathrm{{KL}}({first} \,\|\, {second}) = \mathrm{{KL}}({first} \,\|\, {second})",
    )
    with pytest.raises(ClaimError):
        check(
            "eq-kl-additivity",
            claim,
            rf"\mathrm{{KL}}({first} \,\|\, {second}) = \mathrm{{KL}}({first} \,\|\, {swapped})",
        )


def test_the_training_page_is_held_to_the_same_claim() -> None:
    assert training.CLAIMS["eq-training-kl"] is derivation.CLAIMS["eq-gaussian-kl"]
