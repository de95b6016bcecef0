"""Entropies, KL and fits against oracles that share no code with them: SciPy and mpmath."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import sympy as sp

from vaelib.symbolic import divergence
from vaelib.symbolic.claims import ClaimError, check
from vaelib.symbolic.divergence import Bump, Mixture

Q, P = (0.5, 0.3, 0.2), (0.1, 0.6, 0.3)
APART = Mixture((0.6, 0.4), (Bump(-3, 0.6), Bump(3, 0.8)))
CLOSER = Mixture((0.6, 0.4), (Bump(-2, 0.6), Bump(2, 0.8)))


def on_three(chances: tuple[float, ...]):
    return divergence.on_three([sp.nsimplify(c) for c in chances[:2]])


def scipy_log_density(mixture: Mixture, z: float) -> float:
    parts = [scipy.stats.norm.logpdf(z, bump.mean, bump.deviation) for bump in mixture.bumps]
    return float(scipy.special.logsumexp(parts, b=mixture.weights))


def exact_kl(mixture: Mixture, fit: Bump) -> float:
    """KL(q || p) by mpmath, from densities of its own."""

    def density(z, mean, deviation):
        return mpmath.npdf(z, mean, deviation)

    def integrand(z):
        q = density(z, fit.mean, fit.deviation)
        bumps = zip(mixture.weights, mixture.bumps, strict=True)
        p = mpmath.fsum(w * density(z, b.mean, b.deviation) for w, b in bumps)
        return q * mpmath.log(q / p)

    ends = [fit.mean + k * fit.deviation for k in (-12, -6, -3, -1, 0, 1, 3, 6, 12)]
    with mpmath.workdps(30):
        return float(mpmath.quad(integrand, sorted({*ends, -1.0, 0.0, 1.0}), maxdegree=8))


def test_entropies_and_divergences_are_those_of_scipy() -> None:
    q, p = on_three(Q), on_three(P)
    assert math.isclose(divergence.entropy(q), scipy.stats.entropy(Q), rel_tol=1e-14)
    assert math.isclose(divergence.kl(q, p), scipy.stats.entropy(Q, P), rel_tol=1e-14)
    surplus = divergence.entropy(q, p) - divergence.entropy(q)
    assert math.isclose(surplus, scipy.stats.entropy(Q, P), rel_tol=1e-13)


def test_the_logarithm_is_proved_to_lie_below_its_tangent_and_other_curves_are_not() -> None:
    divergence.prove_tangent()
    t = divergence.t
    for curve in (2 * sp.log(t), sp.log(t) + 1, t**2, sp.sqrt(t), 1 - t):
        with pytest.raises(ClaimError):
            divergence.prove_tangent(curve)


def test_jensens_gap_is_proved_and_is_what_its_name_says() -> None:
    divergence.prove_jensen()
    heights = (0.3, 2.0, 1.1)
    at = dict(zip((*divergence.chances_q, *divergence.heights), (*Q[:2], *heights), strict=True))
    expected = math.log(np.dot(Q, heights)) - np.dot(Q, np.log(heights))
    assert math.isclose(divergence.jensen_gap().subs(at), expected, rel_tol=1e-12)


@pytest.mark.parametrize("z", [-50.0, -3.1, 0.0, 0.4, 2.0, 300.0])
def test_a_mixture_has_scipys_log_density_however_far_out(z: float) -> None:
    assert math.isclose(APART.log_density(z), scipy_log_density(APART, z), rel_tol=1e-12)


@pytest.mark.parametrize("z", [-3.1, -0.2, 0.0, 0.4, 2.0])
def test_a_mixtures_slope_is_its_derivative(z: float) -> None:
    slope = mpmath.diff(lambda x: scipy_log_density(APART, float(x)), z, h=1e-5)
    assert math.isclose(APART.slope(z), slope, rel_tol=1e-4, abs_tol=1e-4)  # a difference of floats


def test_moments_are_those_of_draws_in_proportion() -> None:
    grid = np.linspace(-12, 12, 20_001)
    weight = np.exp([APART.log_density(z) for z in grid]) * (grid[1] - grid[0])
    mean = weight @ grid
    assert math.isclose(APART.moments.mean, mean, rel_tol=1e-10)
    assert math.isclose(APART.moments.deviation, math.sqrt(weight @ (grid - mean) ** 2), rel_tol=1e-10)


@pytest.mark.parametrize("mixture", [APART, CLOSER])
@pytest.mark.parametrize("fit", [Bump(-3, 0.6), Bump(0.2, 1.8), Bump(-0.6, 3.0), Bump(1.0, 0.2)])
def test_both_quadratures_agree_with_mpmath(mixture: Mixture, fit: Bump) -> None:
    expected = exact_kl(mixture, fit)
    # The docstring's accuracy, for the widest of these fits.
    assert math.isclose(divergence.reverse_kl(mixture, fit), expected, rel_tol=1e-8)
    on_line = divergence.kl_on_line(fit.log_density, mixture.log_density)
    assert math.isclose(on_line, expected, rel_tol=1e-8)


@pytest.mark.parametrize("fit", [Bump(-2.5, 0.6), Bump(0.2, 1.8)])
def test_the_reverse_slopes_are_differences_of_the_divergence(fit: Bump) -> None:
    step = 1e-3
    in_mean, in_deviation = divergence.reverse_slopes(CLOSER, fit)
    rise = exact_kl(CLOSER, Bump(fit.mean + step, fit.deviation)) - exact_kl(
        CLOSER, Bump(fit.mean - step, fit.deviation)
    )
    assert math.isclose(in_mean, rise / (2 * step), rel_tol=1e-4, abs_tol=1e-5)  # an error of step^2
    rise = exact_kl(CLOSER, Bump(fit.mean, fit.deviation + step)) - exact_kl(
        CLOSER, Bump(fit.mean, fit.deviation - step)
    )
    assert math.isclose(in_deviation, rise / (2 * step), rel_tol=1e-4, abs_tol=1e-5)


def test_one_bump_is_found_again() -> None:
    alone = Mixture((1.0,), (Bump(0.7, 1.3),))
    fit = divergence.reverse_fit(alone, Bump(-2, 0.3))
    assert math.isclose(fit.mean, 0.7, rel_tol=1e-6)
    assert math.isclose(fit.deviation, 1.3, rel_tol=1e-6)


@pytest.mark.parametrize(("mixture", "count"), [(APART, 2), (CLOSER, 3)])
def test_the_reverse_fit_has_as_many_ends_as_scipys_descent_finds(mixture: Mixture, count: int) -> None:
    def objective(at: np.ndarray) -> float:
        return divergence.reverse_kl(mixture, Bump(at[0], math.exp(at[1])))

    starts = [-3.0, -1.0, 0.0, 1.0, 3.0]
    ours = {round(divergence.reverse_fit(mixture, Bump(mean, 1)).mean, 2) for mean in starts}
    theirs = {
        round(float(scipy.optimize.minimize(objective, [mean, 0.0], method="BFGS").x[0]), 2)
        for mean in starts
    }
    assert len(ours) == count
    assert theirs <= ours  # another descent may jump over one, but finds none of its own


def test_far_apart_a_fit_costs_the_log_of_its_bumps_weight() -> None:
    far = Mixture((0.6, 0.4), (Bump(-8, 0.6), Bump(8, 0.8)))
    for weight, bump in zip(far.weights, far.bumps, strict=True):
        fit = divergence.reverse_fit(far, Bump(bump.mean, 1))
        assert math.isclose(divergence.reverse_kl(far, fit), -math.log(weight), rel_tol=1e-9)


def test_the_moments_are_the_best_forward_fit() -> None:
    def objective(at: np.ndarray) -> float:
        return divergence.kl_on_line(APART.log_density, Bump(at[0], math.exp(at[1])).log_density)

    best = scipy.optimize.minimize(objective, [1.0, 0.0], method="BFGS")
    assert math.isclose(best.x[0], APART.moments.mean, abs_tol=1e-4)
    assert math.isclose(math.exp(best.x[1]), APART.moments.deviation, rel_tol=1e-4)


def test_a_fit_that_does_not_settle_says_so() -> None:
    with pytest.raises(ClaimError, match="settles"):
        divergence.reverse_fit(APART, Bump(1, 1), tolerance=0.0)


MISREADINGS = {
    "def-entropy": r"\mathrm H(q) = \sum_z q(z) \log q(z)",
    "def-cross-entropy": r"\mathrm H(q, p) = -\sum_z p(z) \log q(z)",
    "def-kl": r"\mathrm{KL}(q \,\|\, p) = \sum_z p(z) \log \frac{p(z)}{q(z)}",
    "eq-kl-cross-entropy": r"\mathrm{KL}(q \,\|\, p) = \mathrm H(q, p) - \mathrm H(p)",
    "eq-jensen": r"\mathbb E_{q(z)}[\log f(z)] \ge \log \mathbb E_{q(z)}[f(z)]",
    "eq-bernoulli-kl": r"\mathrm{KL}(q \,\|\, p) = \pi_q \log \frac{\pi_q}{\pi_p}",
    "eq-normal-entropy": r"\mathrm H(q) = \frac{1}{2} \log (2 \pi \sigma^2)",
    "eq-change-of-variables": r"\mathrm H(q(y)) = \mathrm H(q(z))",
}


@pytest.mark.parametrize("label", MISREADINGS)
def test_what_is_often_misread_is_turned_down(label: str) -> None:
    with pytest.raises(ClaimError):
        check(label, divergence.CLAIMS[label], MISREADINGS[label])
