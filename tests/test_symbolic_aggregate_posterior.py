"""The derivations of page 18 against oracles that share no code: SciPy, NumPy, mpmath, and draws."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import sympy as sp

from vaelib.symbolic import aggregate_posterior as derivation
from vaelib.symbolic.claims import ClaimError, check

NORMALS = [(0.3, 0.8), (-0.7, 1.6), (0.0, 0.25), (1.2, 1.0)]


@pytest.mark.parametrize(("shift", "slope"), [(0.3, 0.2), (-1.1, 0.7), (0.0, 1.4), (2.0, 0.1)])
def test_mean_size_of_a_shifted_normal_number_is_that_of_scipys_folded_one(
    shift: float, slope: float
) -> None:
    found = derivation.mean_size().subs({derivation.m: shift, derivation.s: slope})
    expected = scipy.stats.foldnorm.mean(abs(shift) / slope, scale=slope)
    # A closed form on both sides, of floats.
    assert math.isclose(found, expected, rel_tol=1e-12)


def by_mpmath(expression: sp.Expr) -> float:
    """A sum of integrals, each by mpmath."""
    total = mpmath.mpf(0)
    for part in sp.Add.make_args(expression):
        variable, *ends = part.limits[0]
        between = [sp.lambdify([], end, "mpmath")() for end in ends]
        total += mpmath.quad(sp.lambdify(variable, part.function, "mpmath"), between)
    return float(total)


@pytest.mark.parametrize(("mean", "deviation"), NORMALS)
def test_distance_of_two_normal_latents_is_the_area_between_their_distribution_functions(
    mean: float, deviation: float
) -> None:
    found = by_mpmath(
        derivation.normal_wasserstein((sp.Float(mean), sp.Float(deviation)), derivation.standard)
    )
    crossing = [mean / (1 - deviation)] if deviation != 1 else []
    expected = 0.0
    for low, high in itertools.pairwise([-14.0, *crossing, 14.0]):
        area, _ = scipy.integrate.quad(
            lambda z: scipy.stats.norm.cdf(z, mean, deviation) - scipy.stats.norm.cdf(z),
            low,
            high,
            epsabs=1e-12,
        )
        expected += abs(area)
    # What the two quadratures were asked for.
    assert math.isclose(found, expected, abs_tol=1e-10)


def test_latents_of_one_width_have_no_crossing_to_cut_at() -> None:
    assert derivation.ends(sp.S.One, sp.S.Zero) == (-sp.oo, 0, sp.oo)
    assert derivation.ends(sp.S.One, sp.Integer(2)) == (-sp.oo, -sp.Rational(1, 2), sp.oo)


@pytest.mark.parametrize("z", [-1.3, 0.0, 0.6])
def test_shares_below_a_point_are_binomial(z: float) -> None:
    chance = derivation.shares.names["p(k)"]
    found = [float(chance(k).subs(derivation.z, z)) for k in range(derivation.DRAWS + 1)]
    expected = scipy.stats.binom.pmf(range(derivation.DRAWS + 1), derivation.DRAWS, scipy.stats.norm.cdf(z))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def third_takes_its_sign_from_the_others(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(count, 3))
    draws[:, 2] = np.abs(draws[:, 2]) * np.sign(draws[:, 0] * draws[:, 1])
    return draws


def test_density_of_even_signs_is_where_its_draws_are() -> None:
    draws = third_takes_its_sign_from_the_others(40_000)
    inside = np.mean((np.abs(draws - [0.5, -0.5, -0.5]) < 0.5).all(1))  # the cube from 0 to the point
    one = mpmath.quad(lambda x: mpmath.npdf(x), [0, 1])
    ratio = derivation.even_signs(*map(sp.Float, (0.5, -0.5, -0.5))) / mpmath.npdf(0.5) ** 3
    expected = float(ratio * one**3)
    # Four standard errors of a share.
    assert abs(inside - expected) < 4 * math.sqrt(expected * (1 - expected) / 40_000)
    assert derivation.even_signs(*map(sp.Float, (0.5, 0.5, -0.5))) == 0
    assert (draws.prod(1) > 0).all()


def test_any_two_of_the_three_are_uncorrelated_in_their_squares_and_signs_too() -> None:
    draws = third_takes_its_sign_from_the_others(40_000)
    for i, j in itertools.combinations(range(3), 2):
        for function in (np.sign, lambda x: x, lambda x: x**2 - 1):
            products = function(draws[:, i]) * function(draws[:, j])
            # The third function's products have the deviation 2; four standard errors.
            assert abs(products.mean()) < 4 * products.std() / math.sqrt(len(draws))
    # All three together: the mean of the product is that of three sizes.
    products = draws.prod(1)
    error = products.std() / math.sqrt(len(draws))
    assert abs(products.mean() - (2 / math.pi) ** 1.5) < 4 * error


def test_half_of_the_octants_hold_twice_the_priors_mass() -> None:
    ratios = derivation.OCTANTS
    assert sorted(ratios.values()) == [0] * 4 + [2] * 4
    assert all((ratio > 0) == (sp.prod(signs) > 0) for signs, ratio in ratios.items())


def test_integral_by_halves_is_that_over_the_line() -> None:
    found = by_mpmath(derivation.both_sides(lambda c: sp.exp(-((c - 1) ** 2)) * (1 + c)))
    expected, _ = scipy.integrate.quad(lambda c: math.exp(-((c - 1) ** 2)) * (1 + c), -12, 14)
    assert math.isclose(found, expected, rel_tol=1e-9)


def test_total_correlation_is_the_mutual_information_of_the_pair() -> None:
    masses = np.array([[0.1, 0.3], [0.25, 0.35]])  # in the order of PAIRS
    values = dict(zip(derivation.g, masses.ravel()[:3], strict=True))
    found = float(derivation.total_correlation().subs(values))
    alone = np.outer(masses.sum(1), masses.sum(0))
    expected = scipy.stats.entropy(masses.ravel(), alone.ravel())
    assert math.isclose(found, expected, rel_tol=1e-12)
    for j in (0, 1):
        marginal = [float(derivation.alone(j)(k).subs(values)) for k in (1, 2)]
        np.testing.assert_allclose(marginal, masses.sum(1 - j), rtol=1e-12)


def test_prior_of_a_pair_is_a_product_of_that_of_its_latents() -> None:
    one, two = sp.S.One, sp.Integer(2)
    total = sum(derivation.prior(pair) for pair in derivation.PAIRS)
    assert sp.expand(total) == 1
    assert sp.expand(derivation.prior((one, two)) - derivation.prior(one) * derivation.prior(two)) == 0


def test_mixtures_that_leave_one_image_out_average_to_the_whole() -> None:
    names = derivation.leave_one_out.names
    for z in (1, 2, 3):
        mean = sp.Add(*(mixture(z) for mixture in names[r"\tilde q(z)"])) / 3
        assert sp.expand(mean - names[r"q_\phi(z)"](z)) == 0


W1 = r"W_1\bigl(\mathcal N(m, s^2), \mathcal N(0, 1)\bigr) = "
KL = r"\mathrm{KL}\bigl(q_\phi(z) \,\|\, p(z)\bigr) = "
SINGLE = r"\sum_{j=1}^{J} \mathrm{KL}\bigl(q_j(z_j) \,\|\, p(z_j)\bigr)"
# What is easily believed, and wrong.
MISTAKES = {
    "shift and width add up": ("eq-w1-normal", W1 + r"|m| + |s - 1| \sqrt{\frac{2}{\pi}}"),
    "shift and width add up as squares do": ("eq-w1-normal", W1 + r"\sqrt{m^2 + (s - 1)^2}"),
    "the means lack the variance, not the deviation": (
        "eq-means-distance",
        r"W_1\bigl(\mathcal N(0, 1 - s^2), \mathcal N(0, 1)\bigr) = \sqrt{\frac{2}{\pi}} s^2",
    ),
    "a share scatters as a count does": (
        "eq-share-variance",
        r"\operatorname{Var}_{p(k)}\left[ \frac{k}{N} \right] = N \Phi(z) \, \bigl(1 - \Phi(z)\bigr)",
    ),
    "normal latents are a normal pair": ("eq-one-bit", r"\mathrm{KL}(q \,\|\, p) = 0"),
    "a bit is a nat": ("eq-one-bit", r"\mathrm{KL}(q \,\|\, p) = 1"),
    "single latents say all": ("eq-marginals-miss", KL + SINGLE),
    "what latents share is taken away": ("eq-marginals-miss", KL + SINGLE + r"- \mathrm{TC}(z)"),
    "fewer images show the same": (
        "eq-fewer-images",
        r"\frac{1}{N} \sum_{i=1}^{N} \mathrm{KL}\bigl(\tilde q_i(z) \,\|\, p(z)\bigr)"
        r" = \mathrm{KL}\bigl(q_\phi(z) \,\|\, p(z)\bigr)",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_easily_believed_is_turned_down(name: str) -> None:
    label, latex = MISTAKES[name]
    with pytest.raises(ClaimError):
        check(label, derivation.CLAIMS[label], latex)
