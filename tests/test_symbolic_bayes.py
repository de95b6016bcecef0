"""Bayes' theorem, conjugate normals and grids, against quadrature, counting and enumeration."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import mpmath
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from vaelib.symbolic import bayes
from vaelib.symbolic.claims import solved
from vaelib.symbolic.reading import normal

CASES = [(0.0, 1.0, 0.5, 1.0), (-1.5, 0.3, 2.0, 0.7), (2.0, 3.0, 0.2, -4.0)]  # m, s, sigma, x


def joint(t: object, m: float, s: float, sigma: float, x: float) -> object:
    return mpmath.npdf(x, t, sigma) * mpmath.npdf(t, m, s)


def moment(power: int, m: float, s: float, sigma: float, x: float) -> float:
    """An integral of z^power p(x | z) p(z), by quadrature."""
    middle = (sigma**2 * m + s**2 * x) / (s**2 + sigma**2)
    cuts = [middle + k * min(s, sigma) for k in (-30, -10, -5, -2, 0, 2, 5, 10, 30)]
    return float(mpmath.quad(lambda t: t**power * joint(t, m, s, sigma, x), [-mpmath.inf, *cuts, mpmath.inf]))


# --- what can be counted -----------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=5))
def test_bayes_gives_the_shares_that_counting_gives(counts: list[tuple[int, int]]) -> None:
    everything = sum(sum(row) for row in counts)
    seen = sum(row[0] for row in counts)
    posterior, evidence = bayes.bayes(
        prior=[Fraction(sum(row), everything) for row in counts],
        likelihood=[Fraction(row[0], sum(row)) for row in counts],
    )
    assert posterior == [Fraction(row[0], seen) for row in counts]
    assert evidence == Fraction(seen, everything)
    assert sum(posterior) == 1


def test_bayes_refuses_what_has_no_posterior() -> None:
    with pytest.raises(ValueError, match="2 priors stand against 1"):
        bayes.bayes([1, 2], [1])
    with pytest.raises(ValueError, match="evidence is 0"):
        bayes.bayes([Fraction(1, 2), Fraction(1, 2)], [0, 0])


def test_table_is_a_joint_distribution_and_its_parts_belong_together() -> None:
    table = bayes.Table([[sp.Integer(36), sp.Integer(4)], [sp.Integer(9), sp.Integer(51)]])
    assert sum(table.joint(x, z) for x in (0, 1) for z in (0, 1)) == 1
    assert (table.prior(0), table.evidence(0)) == (sp.Rational(2, 5), sp.Rational(9, 20))
    assert (table.likelihood(0, 1), table.posterior(0, 0)) == (sp.Rational(3, 20), sp.Rational(4, 5))


def test_events_are_shares_of_their_outcomes() -> None:
    chances = {symbol: sp.Integer(k) for k, symbol in enumerate(bayes.chances, start=1)}  # 1, 2, 3, 4 of 10
    assert bayes.probability(bayes.A).subs(chances) == sp.Rational(3, 10)
    assert bayes.conditional(bayes.A, bayes.B).subs(chances) == sp.Rational(1, 4)
    assert bayes.conditional(bayes.B, bayes.A).subs(chances) == sp.Rational(1, 3)


# --- two normal distributions ------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "s", "sigma", "x"), CASES)
def test_evidence_and_posterior_moments_are_those_of_quadrature(
    m: float, s: float, sigma: float, x: float
) -> None:
    evidence = moment(0, m, s, sigma, x)
    mean, variance = bayes.posterior_moments(x, m, s, sigma)
    # mpmath.quad is good to about its 15 digits here; what is left are float64's own.
    assert float(bayes.evidence_closed_form(x, m, s, sigma)) == pytest.approx(evidence, rel=1e-12, abs=0)
    assert mean == pytest.approx(moment(1, m, s, sigma, x) / evidence, rel=1e-11, abs=0)
    second = moment(2, m, s, sigma, x) / evidence
    assert variance == pytest.approx(second - mean**2, rel=1e-8, abs=0)  # a difference of larger numbers


def test_sympy_solves_the_definitions_to_the_closed_forms() -> None:
    evidence, closed = solved(bayes.evidence_integral()), bayes.evidence_closed_form()
    assert sp.simplify(sp.expand_log(sp.log(evidence / closed), force=True)) == 0
    posterior = solved(bayes.posterior_by_definition())
    mean, variance = bayes.posterior_moments()
    named = normal(bayes.z, mean, variance)
    assert sp.simplify(sp.expand_log(sp.log(posterior / named), force=True)) == 0


@settings(max_examples=15, deadline=None)  # each integrates twice to 15 digits
@given(
    st.floats(0.1, 3),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.tuples(*[st.floats(-2, 2)] * 5),
)
def test_bells_are_integrated_as_quadrature_does(
    a: float, b: float, c: float, powers: tuple[float, ...]
) -> None:
    """The shortcut by which ``solved`` integrates a polynomial times a normal density."""
    t = sp.Symbol("t", real=True)
    body = sum(k * t**n for n, k in enumerate(powers)) * sp.exp(-a * t**2 + b * t + c)
    found = float(solved(sp.Integral(body, (t, -sp.oo, sp.oo))))
    middle, width = b / (2 * a), 1 / math.sqrt(2 * a)
    cuts = [middle + k * width for k in (-12, -6, -3, 0, 3, 6, 12)]

    def at(u: object) -> object:
        return sum(k * u**n for n, k in enumerate(powers)) * mpmath.exp(-a * u**2 + b * u + c)

    size = float(mpmath.quad(lambda u: abs(at(u)), cuts))
    assert found == pytest.approx(float(mpmath.quad(at, cuts)), rel=0, abs=1e-8 * (1 + size))


def test_what_is_no_bell_is_left_to_sympy() -> None:
    t = sp.Symbol("t", real=True)
    assert solved(sp.Integral(1 / (1 + t**2), (t, -sp.oo, sp.oo))) == sp.pi
    assert solved(sp.Integral(sp.exp(-t), (t, 0, sp.oo))) == 1
    assert solved(sp.Integral(sp.exp(-(t**2)), (t, 0, sp.oo))) == sp.sqrt(sp.pi) / 2


# --- a grid ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [1.0, 0.3, 0.1])
@pytest.mark.parametrize("x", [0.0, 0.9, -2.0])
def test_fine_grid_finds_the_evidence(sigma: float, x: float) -> None:
    exact = float(bayes.evidence_closed_form(x, 0.0, 1.0, sigma))
    # A spacing of a quarter of sigma: the error is below 1e-60, and float64's rounding is left.
    assert bayes.grid_evidence(round(48 / sigma), sigma=sigma, x=x) == pytest.approx(exact, rel=1e-8, abs=0)


@pytest.mark.parametrize(("points", "dimensions"), [(7, 1), (9, 2), (6, 3)])
def test_error_in_many_dimensions_is_that_of_all_points(points: int, dimensions: int) -> None:
    h, sigma = 12 / points, 0.7
    ticks = [(i + 0.5) * h - 6 for i in range(points)]
    terms = [
        math.prod(float(joint(t, 0.0, 1.0, sigma, 0.0)) for t in corner)  # type: ignore[arg-type]
        for corner in itertools.product(ticks, repeat=dimensions)
    ]
    assert len(terms) == points**dimensions
    exact = float(bayes.evidence_closed_form(0.0, 0.0, 1.0, sigma)) ** dimensions
    expected = bayes.grid_sum(terms, h, dimensions) / exact - 1
    assert bayes.grid_error(points, dimensions, sigma=sigma) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("sigma", [0.5, 0.1])
def test_error_is_the_one_the_page_states(sigma: float) -> None:
    deviation = math.sqrt(bayes.posterior_moments(0.0, 0.0, 1.0, sigma)[1])
    for points in range(round(12 / (1.6 * deviation)), round(12 / deviation)):
        stated = 2 * math.exp(-2 * math.pi**2 * deviation**2 * points**2 / 12**2)
        # The next term of the series is the third power of the first, over 4.
        assert abs(bayes.grid_error(points, 1, sigma=sigma)) == pytest.approx(stated, rel=1e-3, abs=1e-8)


def test_no_observation_is_worse_for_a_grid_than_the_one_that_is_used() -> None:
    for points in (12, 13):
        worst = abs(bayes.grid_error(points, 1, sigma=0.4))
        for k in range(40):
            x = 0.05 * k
            exact = float(bayes.evidence_closed_form(x, 0.0, 1.0, 0.4))
            assert abs(bayes.grid_evidence(points, sigma=0.4, x=x) / exact - 1) <= worst + 1e-8


@pytest.mark.parametrize(("dimensions", "sigma"), [(1, 1.0), (3, 0.3), (20, 0.1)])
def test_points_per_axis_are_enough_and_no_fewer_are(dimensions: int, sigma: float) -> None:
    points = bayes.points_per_axis(dimensions, sigma=sigma)
    assert abs(bayes.grid_error(points, dimensions, sigma=sigma)) <= 0.01
    assert abs(bayes.grid_error(points - 1, dimensions, sigma=sigma)) > 0.01


def test_grids_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="points is 0"):
        bayes.grid_evidence(0, sigma=1.0)
    with pytest.raises(ValueError, match="tails beyond the grid"):
        bayes.points_per_axis(5, sigma=1.0, tolerance=1e-9)
