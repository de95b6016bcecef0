"""The derivations of page 10 against oracles that share no code: mpmath, SciPy, vaelib in PyTorch."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import sympy as sp
import torch

from vaelib import divergences
from vaelib.symbolic import distances
from vaelib.symbolic.reading import square_root

INTERVALS = [(-0.3, 1.1, 0.4, 2.3), (0.0, 1.0, 0.2, 0.7), (0.1, 1.4, 2.0, 2.6)]  # overlapping, nested, apart


def number(expression: sp.Expr) -> float:
    return float(expression.evalf(20))


def tensor(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("law", [distances.uniform(-0.5, 2.0), distances.gaussian(0.3, 0.7)])
def test_density_is_the_slope_of_the_distribution_function_and_quantiles_invert_it(
    law: distances.Law,
) -> None:
    for share in (0.1, 0.5, 0.8):
        point = law.quantile(sp.Float(share, 20))
        # A root found to 15 digits at least, and mpmath's difference quotient.
        assert number(sp.sympify(law.below(point))) == pytest.approx(share, abs=1e-12)
        slope = mpmath.diff(lambda z: mpmath.mpf(sp.sympify(law.below(z)).evalf(30)), point)
        assert number(sp.sympify(law(point))) == pytest.approx(float(slope), rel=1e-8)


@pytest.mark.parametrize("ends", INTERVALS)
def test_wasserstein_integrates_the_distance_of_quantiles(ends: tuple[float, float, float, float]) -> None:
    a, b, c, d = ends
    q, p = distances.uniform(sp.Float(a), sp.Float(b)), distances.uniform(sp.Float(c), sp.Float(d))
    grid = (np.arange(10_000) + 0.5) / 10_000
    [integral] = distances.wasserstein(q, p, 1).atoms(sp.Integral)
    found = np.mean(sp.lambdify(distances.u, integral.function)(grid))
    drawn = scipy.stats.wasserstein_distance(a + (b - a) * grid, c + (d - c) * grid)
    assert found == pytest.approx(drawn, rel=1e-12)
    # Squares of a straight line need no quadrature.
    start, slope = a - c, (b - a) - (d - c)
    expected = math.sqrt(start**2 + start * slope + slope**2 / 3)
    assert number(distances.wasserstein(q, p, sp.Integer(2)).doit()) == pytest.approx(expected, rel=1e-12)


def test_substituting_phi_leaves_the_integral_over_quantiles_as_it_was() -> None:
    def cost(u: mpmath.mpf) -> mpmath.mpf:
        score = mpmath.sqrt(2) * mpmath.erfinv(2 * u - 1)
        return (
            mpmath.mpf("0.5") + mpmath.mpf("1.3") * score - mpmath.mpf("-0.4") - mpmath.mpf("0.6") * score
        ) ** 2

    with mpmath.workdps(20):
        expected = mpmath.sqrt(mpmath.quad(cost, [0, mpmath.mpf("0.5"), 1]))
    half, wide, left, narrow = (sp.Rational(k, 10) for k in (5, 13, -4, 6))
    found = distances.gaussian_wasserstein(half, wide, left, narrow, 2)
    # tanh-sinh at the ends of (0, 1), where the quantile is infinite.
    assert number(found.doit()) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize(
    "laws", [(0.0, 1.0, 2.0, 1.0), (0.3, 0.5, -0.4, 1.7), (1.0, 2.0, 1.0, 0.4), (0.5, 1.0, 0.5, 1.0)]
)
def test_gaussian_total_variation_is_that_of_vaelib_and_of_quadrature(
    laws: tuple[float, float, float, float],
) -> None:
    mean_q, sigma_q, mean_p, sigma_p = laws
    found = distances.gaussian_total_variation(*laws)
    means, log_vars = (mean_q, mean_p), (2 * math.log(sigma_q), 2 * math.log(sigma_p))
    expected = divergences.gaussian_total_variation(
        *(tensor(x) for pair in zip(means, log_vars, strict=True) for x in pair)
    )
    assert found == pytest.approx(expected.item(), abs=1e-14)
    cuts = [-20, *distances.crossings(*laws), 20]
    by_quadrature = mpmath.quad(
        lambda z: abs(mpmath.npdf(z, mean_q, sigma_q) - mpmath.npdf(z, mean_p, sigma_p)) / 2,
        sorted({*cuts, mean_q, mean_p}),
    )
    assert found == pytest.approx(float(by_quadrature), abs=1e-10)


@pytest.mark.parametrize("ends", INTERVALS)
def test_pieces_integrate_densities_with_steps_exactly(ends: tuple[float, float, float, float]) -> None:
    values = dict(zip(("a_q", "b_q", "a_p", "b_p"), ends, strict=True))
    symbols = {
        s: values[s.name] for s in (distances.low_q, distances.high_q, distances.low_p, distances.high_p)
    }
    cuts = [float(end.subs(symbols)) for end in distances.four_ends]
    assert cuts == sorted(ends)
    expected = divergences.uniform_total_variation(*map(tensor, ends)).item()
    found = sum(
        (high - low) / 2 * abs(float((distances.first(z) - distances.second(z)).subs(symbols)))
        for low, high in itertools.pairwise(cuts)
        for z in [sp.Float((low + high) / 2)]
    )
    assert found == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("delta", [0.3, 0.9, 1.0, 2.5])
def test_regions_of_two_unit_intervals_hold_all_of_both(delta: float) -> None:
    lengths = {r: float(length.subs(distances.shift, delta)) for r, length in distances.REGIONS.items()}
    for side in (0, 1):
        assert sum(float(r[side]) * length for r, length in lengths.items()) == pytest.approx(1, abs=1e-15)
    js = sum(length * number(distances.jensen_shannon_integrand(*r)) for r, length in lengths.items())

    def log_uniform(low: float) -> divergences.LogDensity:
        return lambda z: torch.where((z > low) & (z < low + 1), 0.0, -math.inf).double()

    expected = divergences.jensen_shannon(log_uniform(delta), log_uniform(0.0), -1.0, 4.0, points=64_000)
    # Steps leave an error of the order of a panel's width, 1e-3.
    assert js == pytest.approx(expected.item(), abs=2e-3)


def test_jensen_shannon_integrand_integrates_to_that_of_vaelib() -> None:
    def normal(mean: float) -> divergences.LogDensity:
        return torch.distributions.Normal(tensor(mean), tensor(1.0)).log_prob

    def integrand(z: mpmath.mpf) -> mpmath.mpf:
        q, p = mpmath.npdf(z, 0, 1), mpmath.npdf(z, 1.5, 1)
        return mpmath.mpf(distances.jensen_shannon_integrand(sp.Float(q), sp.Float(p)))

    expected = divergences.jensen_shannon(normal(0.0), normal(1.5), -12.0, 14.0).item()
    assert float(mpmath.quad(integrand, [-8, 0, 1.5, 10])) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cheapest_coupling_in_the_plane_is_bures_distance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = [np.tril(rng.normal(size=(2, 2))) for _ in range(2)]
    for factor in factors:
        np.fill_diagonal(factor, np.abs(np.diag(factor)) + 0.2)
    means = [rng.normal(size=2) for _ in range(2)]
    q, p = (factor @ factor.T for factor in factors)
    root = scipy.linalg.sqrtm(p)
    expected = np.sum((means[0] - means[1]) ** 2) + np.trace(q + p - 2 * scipy.linalg.sqrtm(root @ q @ root))
    found = distances.gaussian_wasserstein2_by_coupling(*map(sp.Matrix, factors), *map(sp.Matrix, means))
    assert float(found) == pytest.approx(float(np.real(expected)), rel=1e-10)
    np.testing.assert_allclose(
        np.array(square_root(sp.Matrix(p)).tolist(), dtype=float), np.real(root), rtol=1e-10
    )
    in_torch = divergences.full_gaussian_wasserstein2(
        *(torch.from_numpy(x) for pair in zip(means, (q, p), strict=True) for x in pair)
    )
    assert float(found) == pytest.approx(in_torch.item(), rel=1e-10)


def test_no_angle_couples_more_cheaply() -> None:
    one, other = sp.Matrix([[1.2, 0], [0.7, 0.5]]), sp.Matrix([[0.6, 0], [-0.4, 1.1]])
    zero = sp.Matrix([0, 0])
    best = float(distances.gaussian_wasserstein2_by_coupling(one, other, zero, zero))
    left, right = (np.array(m.tolist(), dtype=float) for m in (one, other))
    costs = []
    for angle in np.linspace(0, 2 * np.pi, 20_001):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        for coupling in (turn, turn @ np.diag([1, -1])):
            costs.append(np.sum((left - right @ coupling) ** 2))
    # The grid misses the best angle by 2e-4 at most, to which the cost is flat.
    assert min(costs) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("points", [(0.3, -1.0, 0.5, 2.0), (1.0, 0.0, 3.0, -2.0), (0.0, 0.0, 1.0, -1.0)])
def test_cheapest_pairing_is_scipys_wasserstein_distance(points: tuple[float, ...]) -> None:
    a, b, c, d = map(sp.Float, points)
    found = distances.cheapest_pairing([a, b], [c, d])
    assert float(found) == pytest.approx(scipy.stats.wasserstein_distance(points[:2], points[2:]), abs=1e-14)


@pytest.mark.parametrize(
    "proof",
    [
        distances.no_event_tells_more_apart,
        distances.coins_obey_pinsker,
        distances.jensen_shannon_stays_below,
        distances.deviations_stay_below_rates,
        distances.no_encoder_is_cheaper,
    ],
)
def test_inequalities_are_proved(proof: object) -> None:
    assert callable(proof)
    proof()
