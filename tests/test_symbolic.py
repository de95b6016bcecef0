"""The reader of formulas, the meaning it gives them, and the checks: each against something independent."""

from __future__ import annotations

import math
import random
import re
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from tools.environment import read_lock
from tools.ledger import equations
from vaelib.symbolic import claim_of, claims_by_topic, verify
from vaelib.symbolic.claims import (
    NODES,
    Claim,
    ClaimError,
    by_draws,
    check,
    comparisons,
    is_zero,
    kinds,
    number,
    panels,
    prove,
    solved,
    trial,
)
from vaelib.symbolic.latex import LatexError, mutants, parse, walk
from vaelib.symbolic.numeric import Estimate, SideBySide, monte_carlo, quadrature
from vaelib.symbolic.reading import Density, Reading, ReadingError, normal

ROOT = Path(__file__).resolve().parent.parent
x, y, z = sp.symbols("x y z", real=True)
mu, sigma = sp.Symbol("mu", real=True), sp.Symbol("sigma", positive=True)
PLAIN = Reading({"x": x, "y": y, "z": z, r"\mu": mu, r"\sigma": sigma})
NORMAL = Reading(
    {"z": z, r"\mu": mu, r"\sigma": sigma}
    | {"q(z)": lambda z: normal(z, mu, sigma**2), "p(z)": lambda z: normal(z, 0, 1)}
)
KL = (
    r"\mathrm{KL}\bigl(q(z) \,\|\, p(z)\bigr)"
    r" = \frac{1}{2} \left( \mu^2 + \sigma^2 - 1 - \log \sigma^2 \right)"
)


def value(latex: str, reading: Reading = PLAIN) -> sp.Expr:
    [chain] = reading.chains(latex)
    return reading.value(chain.sides[0])


# --- reading LaTeX -----------------------------------------------------------------------------------------

# A formula and what Python computes for it, built side by side: neither is derived from the other.
Pair = tuple[str, Callable[[float, float], float]]
atoms = st.one_of(
    st.integers(1, 9).map(lambda n: (str(n), lambda a, b: float(n))),
    st.just(("x", lambda a, b: a)),
    st.just(("y", lambda a, b: b)),
)


def combined(inner: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    def two(kind: str, one: Pair, other: Pair) -> Pair:
        (s, f), (t, g) = one, other
        return {
            "sum": (rf"\left( {s} + {t} \right)", lambda a, b: f(a, b) + g(a, b)),
            "difference": (f"({s} - ({t}))", lambda a, b: f(a, b) - g(a, b)),
            "product": (f"({s}) ({t})", lambda a, b: f(a, b) * g(a, b)),
            "dot": (rf"({s}) \cdot ({t})", lambda a, b: f(a, b) * g(a, b)),
            "fraction": (rf"\frac{{{s}}}{{1 + ({t})^2}}", lambda a, b: f(a, b) / (1 + g(a, b) ** 2)),
            "exponential": (rf"e^{{-({s})^2}}", lambda a, b: math.exp(-(f(a, b) ** 2))),
            "logarithm": (rf"\log \bigl(1 + ({s})^2\bigr)", lambda a, b: math.log1p(f(a, b) ** 2)),
            "cosine": (rf"\cos({s})", lambda a, b: math.cos(f(a, b))),
        }[kind]

    names = ["sum", "difference", "product", "dot", "fraction", "exponential", "logarithm", "cosine"]
    return st.builds(two, st.sampled_from(names), inner, inner)


@given(st.recursive(atoms, combined, max_leaves=8))
def test_formula_means_what_python_computes(pair: Pair) -> None:
    latex, function = pair
    ours = float(value(latex).subs({x: sp.Rational(7, 10), y: sp.Rational(-13, 10)}).evalf(30))
    # A handful of float operations on numbers that may cancel.
    assert ours == pytest.approx(function(0.7, -1.3), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\frac12 x^2", x**2 / 2),
        (r"\frac{1}{2} \log 2 \pi x^2", sp.log(2 * sp.pi * x**2) / 2),
        (r"x \log y - y \log x", x * sp.log(y) - y * sp.log(x)),
        (r"\log x \log y", sp.log(x) * sp.log(y)),
        (r"-x^2", -(x**2)),
        (r"x / 2 y", x * y / 2),
        (r"\sum_{k=1}^{3} k x + y", 6 * x + y),
        (r"\prod_{k=1}^{3} (x + k)", (x + 1) * (x + 2) * (x + 3)),
        (r"|x - y|^2", sp.Abs(x - y) ** 2),
        (r"\frac{\partial}{\partial x} (x^3 y)", 3 * x**2 * y),
        (r"\frac{\partial^2}{\partial x \partial y} (x^3 y)", 3 * x**2),
        (r"\nabla_x x^2", 2 * x),
        (r"\int_0^1 x^2 \, \mathrm dx", sp.Rational(1, 3)),
        (r"\int \mathcal N(z; \mu, \sigma^2) \, \mathrm{d}z", sp.S.One),
        (r"\lim_{n \to \infty} \left(1 + \frac{1}{n}\right)^n", sp.E),
        (r"\underbrace{x + 1}_{\text{named } p}", x + 1),
        (
            r"\begin{cases} x & \text{if } x > 0, \\ -x & \text{otherwise} \end{cases}",
            sp.Piecewise((x, x > 0), (-x, True)),
        ),
        (r"\max(1, 2) + \min(1, 2)", sp.Integer(3)),
        (r"\left\lfloor \frac{7}{2} \right\rfloor x - \lfloor -\frac{1}{2} \rfloor", 3 * x + 1),
        (r"2.5 x", sp.Rational(5, 2) * x),
    ],
)
def test_notation_has_its_usual_meaning(latex: str, expected: sp.Expr) -> None:
    assert sp.simplify(value(latex).doit() - expected) == 0


def test_lines_of_a_derivation_are_the_sides_of_one_chain() -> None:
    latex = r"\begin{aligned} x^2 &= x \cdot x \\ &\ge - x, \qquad y &= y \end{aligned}"
    first, second = PLAIN.chains(latex)
    assert (first.relations, second.relations) == (("=", ">="), ("=",))


@pytest.mark.parametrize(
    "latex",
    [r"x +", r"\frac{1}{", r"x = ", r"\int x", r"\mathbb E_q x", r"(x", r"\left| x", r"\lfloor x", "x § y"],
)
def test_what_cannot_be_read_is_refused_with_its_place(latex: str) -> None:
    with pytest.raises(LatexError, match=r"at \d+ of"):
        PLAIN.chains(latex)


def test_every_node_knows_where_it_stands() -> None:
    for chain in NORMAL.chains(KL):
        for side in chain.sides:
            for node in walk(side):
                again = NORMAL.chains(KL[node.start : node.end])[0].sides[0]
                assert again.kind == node.kind


def test_a_mutant_loses_a_floor() -> None:
    found = mutants(r"x = \left\lfloor x / 2 \right\rfloor", PLAIN.is_function)
    [lost] = [mutant.latex for mutant in found if mutant.what == "the floor of x / 2 is lost"]
    assert value(lost.partition("=")[2]) == x / 2


def test_mutants_differ_from_the_formula_and_can_be_read() -> None:
    found = mutants(KL, NORMAL.is_function)
    texts = {mutant.latex for mutant in found}
    assert len(texts) == len(found)
    assert KL not in texts
    assert all(parse(text, NORMAL.is_function) for text in texts)
    what = {mutant.what for mutant in found}
    assert {
        r"the sign before \sigma^2 flips",
        r"the term 1 is lost",
        r"the factor \frac{1}{2} is lost",
        r"\frac{1}{2} is turned over",
        r"the exponent of \mu is lost",
        r"the log of \sigma^2 is lost",
        r"the arguments of \mathrm{KL}\bigl(q(z) \,\|\, p(z)\bigr) swap",
        "2 becomes 3",
    } <= what


# --- meaning -----------------------------------------------------------------------------------------------


def test_names_unfold_to_definitions() -> None:
    kl = value(r"\mathrm{KL}(q(z) \,\|\, p(z))", NORMAL)
    assert isinstance(kl, sp.Integral)
    # By quadrature with mpmath's own density, at mu = 1/2 and sigma = 4/5.
    ours = number(kl)({mu: 0.5, sigma: 0.8})
    with mpmath.workdps(30):
        theirs = mpmath.quad(
            lambda t: mpmath.npdf(t, 0.5, 0.8) * mpmath.log(mpmath.npdf(t, 0.5, 0.8) / mpmath.npdf(t, 0, 1)),
            [-20, -4, 0, 4, 20],
        )
    assert ours == pytest.approx(float(theirs), abs=1e-12)


def test_expectations_are_sums_where_the_variable_is_finite() -> None:
    weights = sp.symbols("w1:4", positive=True)
    reading = Reading(
        {"q(z)": lambda k: weights[int(k) - 1]}, domains={"z": [sp.Integer(k) for k in (1, 2, 3)]}
    )
    w1, w2, w3 = weights
    assert value(r"\mathbb E_{q(z)}[z^2]", reading) == w1 + 4 * w2 + 9 * w3
    spread = value(r"\operatorname{Var}_{q(z)}[z]", reading)
    assert sp.expand(spread - (w1 + 4 * w2 + 9 * w3 - (w1 + 2 * w2 + 3 * w3) ** 2)) == 0


def test_one_letter_has_a_meaning_for_each_argument() -> None:
    reading = Reading(
        {"x": x, "z": z, "p(x)": x, "p(z)": 2 * z, "p(x|z)": lambda a, b: a - b, "p(,)": lambda a, b: a * b}
    )
    assert value(r"p(x) + p(z) + p(x \mid z) + p(x, z)", reading) == x + 2 * z + (x - z) + x * z


def test_matrices_and_columns() -> None:
    a, b, c = sp.symbols("a b c", positive=True)
    matrix, column = sp.Matrix([[a, b], [b, c]]), sp.Matrix([x, y])
    reading = Reading({"A": matrix, "v": column, "w": sp.Matrix([2, 3])})
    assert sp.expand(value(r"v^\top A v", reading) - (a * x**2 + 2 * b * x * y + c * y**2)) == 0
    assert sp.simplify(value(r"\log |A|", reading) - sp.log(a * c - b**2)) == 0
    assert value(r"\operatorname{tr}(A)", reading) == a + c
    assert value(r"w \odot v", reading) == sp.Matrix([2 * x, 3 * y])


@pytest.mark.parametrize(
    "latex", [r"u + 1", r"p(x)", r"\mathrm{KL}(x \,\|\, y)", r"x_3", r"\sum_k k", r"\frac{1}{0}"]
)
def test_unknown_meaning_is_refused(latex: str) -> None:
    with pytest.raises(ReadingError):
        value(latex)


def test_law_of_a_variable_is_compared_as_a_density() -> None:
    reading = Reading({}, laws={r"\epsilon": Density(lambda point: normal(point, 0, 1))})
    check("a label", Claim(reading), r"\epsilon \sim \mathcal N(0, 1)")
    with pytest.raises(ClaimError):
        check("a label", Claim(reading), r"\epsilon \sim \mathcal N(0, 2)")


# --- numbers -----------------------------------------------------------------------------------------------


def test_nodes_are_those_of_gauss_and_legendre() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(len(NODES))
    ours = sorted(NODES)
    np.testing.assert_allclose([node for node, _ in ours], np.sort((1 + nodes) / 2), atol=1e-15)
    np.testing.assert_allclose(sum(weight for _, weight in ours), weights.sum() / 2, atol=1e-15)


@pytest.mark.parametrize(
    ("function", "low", "high", "expected"),
    [
        (lambda t: math.exp(-t * t / 2), -math.inf, math.inf, math.sqrt(2 * math.pi)),
        (lambda t: math.exp(-t * t / 0.02), -math.inf, math.inf, math.sqrt(0.02 * math.pi)),
        (lambda t: math.exp(-((t - 3) ** 2) / 18), -math.inf, math.inf, math.sqrt(18 * math.pi)),
        (math.sin, 0.0, math.pi, 2.0),
        (lambda t: t**7, 2.0, 2.5, (2.5**8 - 2**8) / 8),
        (lambda t: math.exp(-t), 0.0, math.inf, 1.0),
    ],
)
def test_panels_integrate(
    function: Callable[[float], float], low: float, high: float, expected: float
) -> None:
    # The screen that rests on it asks for 1e-7.
    assert panels(function, low, high) == pytest.approx(expected, rel=1e-10)


def test_derivative_of_an_integral_is_taken_by_differences() -> None:
    mean = value(r"\frac{\partial}{\partial \sigma} \mathbb E_{q(z)}[z^4]", NORMAL)
    # E z^4 = mu^4 + 6 mu^2 sigma^2 + 3 sigma^4, by hand.
    expected = 12 * 0.7**2 * 0.9 + 12 * 0.9**3
    assert number(mean)({mu: 0.7, sigma: 0.9}) == pytest.approx(expected, rel=1e-9)


def test_integrals_within_an_integral_keep_their_own_variables() -> None:
    # One integral with two limits, as SymPy writes an integral of an integral; the last is the outer one.
    both = sp.Integral(normal(x, y, 1) * normal(y, 0, 4) * x**2, (x, y - 40, sp.oo), (y, -sp.oo, sp.oo))
    assert number(both)({}) == pytest.approx(5, rel=1e-10)  # E[x^2] = E[1 + y^2]


def test_integrals_far_out_do_not_underflow() -> None:
    far = Reading(
        {"z": z, "q(z)": lambda z: normal(z, 0, sp.Rational(1, 100)), "p(z)": lambda z: normal(z, 0, 1)}
    )
    expected = (0.01 - 1 - math.log(0.01)) / 2
    assert number(value(r"\mathrm{KL}(q(z) \,\|\, p(z))", far))({}) == pytest.approx(expected, rel=1e-10)


@given(st.integers(2, 200), st.integers(0, 3))
def test_estimate_is_mean_and_standard_error(draws: int, seed: int) -> None:
    estimate = monte_carlo(lambda rng: rng.gauss(0, 1), draws=draws, seed=seed)
    rng = random.Random(seed)
    values = np.array([rng.gauss(0, 1) for _ in range(draws)])
    assert estimate.value == pytest.approx(values.mean(), abs=1e-12)
    assert estimate.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(draws), rel=1e-12)


def test_one_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        monte_carlo(lambda rng: 0.0, draws=1)


def test_quadrature_finds_a_narrow_peak_where_it_is_told() -> None:
    found = quadrature(lambda t: mpmath.npdf(t, 5, 0.01), centre=5, width=0.01)
    assert found == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize(
    ("exact", "drawn", "agrees"), [(1.0, 1.1, True), (1.001, 1.1, False), (1.0, 2.0, False)]
)
def test_side_by_side_agrees_only_if_all_do(exact: float, drawn: float, agrees: bool) -> None:
    table = SideBySide(1.0, {"quadrature": exact}, {"draws": Estimate(drawn, 0.1)})
    assert table.agrees == agrees
    assert re.search(r"\| quadrature \| 1\.00\d+ \|", table._repr_markdown_())


@given(st.floats(0.1, 1e3), st.integers(2, 50))
def test_a_table_calls_draws_that_are_all_the_same_without_spread(value: float, draws: int) -> None:
    """A third of the value, thrice, is not the value: what is left is rounding, and no standard error."""
    same = monte_carlo(lambda rng: value + rng.choice([0.0, 1e-16]) * value, draws=draws)
    assert "no spread" in SideBySide(value, {}, {"draws": same})._repr_markdown_()
    wide = monte_carlo(lambda rng: value + rng.choice([-1, 1]), draws=draws)
    if wide.standard_error:
        assert "standard errors" in SideBySide(value, {}, {"draws": wide})._repr_markdown_()


@pytest.mark.parametrize("label", ["eq-bayes", "def-ppca-weight"])  # of numbers, and of matrices
def test_a_failed_check_names_its_label_first(label: str) -> None:
    [latex] = [equation.latex for equation in equations()[0] if equation.label == label]
    claim, refused = claim_of(label), []
    for mutant in mutants(latex, claim.reading.is_function):
        try:
            check(label, claim, mutant.latex)
        except ClaimError as error:
            refused.append(str(error))
        except ReadingError:
            continue
    assert refused
    assert all(message.startswith(f"{label}: ") for message in refused)


@pytest.mark.parametrize(
    ("label", "asked", "answer"),
    [
        ("eq-gaussian-moments", r"\int", r"\sigma_{q}^{2} = \sigma_{q}^{2}"),  # the variance is the parameter
        ("eq-tangent-gap", r"\lim", r"\frac{1}{2} = \frac{1}{2}"),  # a Taylor series says so
    ],
)
def test_comparisons_show_what_is_to_solve_and_its_solution(label: str, asked: str, answer: str) -> None:
    [latex] = [equation.latex for equation in equations()[0] if equation.label == label]
    found = comparisons(claim_of(label), latex)
    assert any(asked in pair.read and pair.solved == answer for pair in found)
    assert not any(asked in pair.solved for pair in found)


def test_comparisons_repeat_nothing_where_nothing_is_to_solve() -> None:
    found = comparisons(claim_of("eq-bayes"), r"p(z \mid x) = \frac{p(x \mid z) \, p(z)}{p(x)}")
    assert [pair.solved for pair in found] == [""]


@pytest.mark.parametrize(
    ("exact", "drawn", "agrees"), [(1.0, 1.1, True), (1.001, 1.1, False), (1.0, 2.0, False)]
)
def test_rows_put_beside_a_table_are_shown_and_judged_with_it(
    exact: float, drawn: float, agrees: bool
) -> None:
    table = SideBySide(1.0, {"quadrature": 1.0}, {"draws": Estimate(1.0, 0.1)})
    before = table._repr_markdown_()
    for longer in (
        table.also({"torch": exact}, {"torch's draws": Estimate(drawn, 0.1)}),
        table.also({"torch": exact}).also(drawn={"torch's draws": Estimate(drawn, 0.1)}),
    ):
        assert longer.agrees == agrees
        names = re.findall(r"^\| ([\w' ]+) \|", longer._repr_markdown_(), re.MULTILINE)
        assert names[1:] == ["the formula", "quadrature", "torch", "draws", "torch's draws"]
    assert (table.agrees, table._repr_markdown_()) == (True, before)


def test_further_rows_keep_the_tables_tolerance_and_what_disagrees_in_it() -> None:
    assert SideBySide(1.0, {}, {}, tolerance=0.1).also({"rough": 1.1}).agrees
    wrong = SideBySide(1.0, {"quadrature": 2.0}, {})
    assert not wrong.also({"torch": 1.0}).agrees
    with pytest.raises(ValueError, match="already in the table: quadrature"):
        wrong.also({"quadrature": 1.0})  # it would hide the 2


# --- checks: what holds passes, and what does not is turned down -------------------------------------------


def test_right_formula_passes_and_all_its_mutants_fail() -> None:
    claim = Claim(NORMAL)
    check("a label", claim, KL)
    result = trial("a label", claim, KL)
    assert result.survivors == ()
    assert result.killed == result.total > 15
    assert kinds(claim, KL) == ["symbolic"]


def test_proof_alone_turns_down_what_is_wrong() -> None:
    claim = Claim(NORMAL)
    prove("a label", claim, KL)
    with pytest.raises(ClaimError, match="SymPy is left with"):
        prove("a label", claim, KL.replace("- 1", "- 2"))


def test_difference_too_small_for_the_screen_is_found_by_quadrature() -> None:
    off = KL.replace("- 1", "- 1.000000001")
    with pytest.raises(ClaimError):
        check("a label", Claim(NORMAL, method="quadrature"), off)
    check("a label", Claim(NORMAL, method="quadrature"), KL)


def test_loosened_bound_fails_where_both_sides_should_meet() -> None:
    bound = r"x^2 + y^2 \ge 2 x y"
    claim = Claim(PLAIN, tight=[{"x": lambda v: v["y"]}])
    check("a label", claim, bound)
    assert "spot-checked" in kinds(claim, bound)[0]
    for loose in (r"x^2 + y^2 \ge x y", r"x^2 + 2 y^2 \ge 2 x y", r"x^2 + y^2 \le 2 x y"):
        with pytest.raises(ClaimError):
            check("a label", claim, loose)


def test_failing_proof_fails_the_claim() -> None:
    def no_proof() -> None:
        raise ClaimError("not proved")

    with pytest.raises(ClaimError, match="not proved"):
        check(
            "a label", Claim(PLAIN, proof=no_proof, tight=[{"x": lambda v: v["y"]}]), r"x^2 + y^2 \ge 2 x y"
        )


def test_draws_turn_down_a_wrong_mean() -> None:
    def square(rng: random.Random, v: object) -> float:
        return rng.gauss(v["mu"], v["sigma"]) ** 2

    claim = Claim(NORMAL, draws=square)
    assert abs(by_draws("a label", claim, r"\mathbb E_{q(z)}[z^2] = \mu^2 + \sigma^2")) < 4.5
    # Off by sigma^2 - sigma: tens of standard errors at 20,000 draws.
    with pytest.raises(ClaimError, match="standard errors"):
        by_draws("a label", claim, r"\mathbb E_{q(z)}[z^2] = \mu^2 + \sigma")


def test_draws_that_are_no_numbers_are_refused() -> None:
    claim = Claim(NORMAL, draws=lambda rng, v: rng.choice([math.nan, 1.0]))
    with pytest.raises(ClaimError):
        by_draws("a label", claim, r"\mathbb E_{q(z)}[z] = \mu")


def test_proof_has_to_be_of_what_the_page_says() -> None:
    square = Claim(PLAIN, proof=lambda: (x - y) ** 2, tight=[{"x": lambda v: v["y"]}])
    check("a label", square, r"x^2 + y^2 \ge 2 x y")
    assert kinds(square, r"x^2 + y^2 \ge 2 x y") == ["proved"]
    with pytest.raises(ClaimError, match="do not differ by"):
        check("a label", square, r"x^2 + y^2 + (x - y)^2 \ge 2 x y")
    lemma = Claim(PLAIN, proof=lambda: None, tight=[{"x": lambda v: v["y"]}])
    assert kinds(lemma, r"x^2 + y^2 \ge 2 x y") == ["spot-checked at 12 points, a lemma proved"]


def test_draws_without_variance_are_refused() -> None:
    claim = Claim(NORMAL, draws=lambda rng, v: v["mu"])
    with pytest.raises(ClaimError, match="without variance"):
        by_draws("a label", claim, r"\mathbb E_{q(z)}[z] = \mu")


def test_surviving_mutant_is_named_unless_it_says_the_same() -> None:
    careless = Claim(
        Reading({"x": sp.S.One, "y": sp.S.One})
    )  # where everything is 1, exponents do not matter
    result = trial("a label", careless, "x^2 = y")
    assert [mutant.what for mutant in result.survivors] == ["the exponent of x is lost", "2 becomes 3"]
    excused = Claim(careless.reading, equivalent={"the exponent of x is lost": "1 is its own square"})
    result = trial("a label", excused, "x^2 = y")
    assert [mutant.what for mutant in result.survivors] == ["2 becomes 3"]
    assert result.equivalent == (("the exponent of x is lost", "1 is its own square"),)


def test_typed_formula_must_be_the_one_that_was_typed() -> None:
    claim = Claim(PLAIN, method="typed", typed=r"x \star y", proof=lambda: None)
    check("a label", claim, "x  \\star\n y")
    with pytest.raises(ClaimError, match="was written for"):
        check("a label", claim, r"y \star x")


def test_value_that_is_no_number_is_not_equal_to_anything() -> None:
    with pytest.raises(ClaimError):
        check("a label", Claim(Reading({"x": sp.Symbol("x", positive=True)})), r"\log (-x) = \log (-x)")


def test_integrals_are_solved_from_the_inside_out() -> None:
    inner = sp.Integral(normal(z, x, 1) * z, (z, -sp.oo, sp.oo))
    outer = sp.Integral(normal(x, mu, sigma**2) * inner, (x, -sp.oo, sp.oo))
    assert is_zero(solved(outer) - mu)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=5), st.integers(-2, 2), st.sampled_from([1, 2, 4]))
def test_moments_of_a_bell_are_what_quadrature_finds(powers: list[int], centre: int, variance: int) -> None:
    body = sp.Poly(powers, z).as_expr() * normal(z, centre, variance)
    ours = float(solved(sp.Integral(body, (z, -sp.oo, sp.oo))))
    theirs = panels(sp.lambdify(z, body, "math"), -math.inf, math.inf)
    # Sums of up to five moments of size 3 * E z^4, about a thousand, by panels good to ten digits.
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-7)


@pytest.mark.parametrize("power", [0, 1, 2])
def test_moments_of_a_bell_are_what_sympy_integrates(power: int) -> None:
    body = z**power * normal(z, 1, sigma**2)
    ours = solved(sp.Integral(body, (z, -sp.oo, sp.oo)))
    assert sp.simplify(ours - sp.integrate(sp.expand(body), (z, -sp.oo, sp.oo))) == 0


# --- the book's own claims ---------------------------------------------------------------------------------


def test_reader_can_hold_a_formula_to_a_claim_of_the_book() -> None:
    one = (
        r"\mathrm{KL}\bigl(q_\phi(z \mid x) \,\|\, p(z)\bigr)"
        r" = \frac{1}{2} \sum_{j=1}^{J} (\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2)"
    )
    verify("eq-gaussian-kl", one)
    with pytest.raises(ClaimError):
        verify("eq-gaussian-kl", one.replace("+", "-"))
    with pytest.raises(KeyError, match="no equation"):
        claim_of("eq-no-such-thing")


def test_labels_belong_to_one_topic() -> None:
    labels = [label for claims in claims_by_topic().values() for label in claims]
    assert len(labels) == len(set(labels))


def test_derivations_need_sympy_and_mpmath_and_nothing_else(tmp_path: Path) -> None:
    """In an environment that holds nothing but these two, as a browser's does, checks are there and run."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pins = {
        pin.name: pin.version for pin in read_lock((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    }
    wanted = [f"{name}=={pins[name]}" for name in ("sympy", "mpmath")]
    pip = [
        str(python),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-deps",
        *wanted,
    ]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    # -P keeps the folder of the tests out of the way; only vaelib is put on the path.
    package = tmp_path / "only" / "vaelib"
    package.parent.mkdir()
    package.symlink_to(ROOT / "vaelib")
    code = (
        f"import sys; sys.path.insert(0, {str(package.parent)!r})\n"
        "from vaelib.symbolic import claims_by_topic, numeric, verify\n"
        "print(sum(len(claims) for claims in claims_by_topic().values()))\n"
        f"verify('eq-gaussian-kl-1d', {GAUSSIAN_1D!r})\n"
        "assert not {'torch', 'numpy', 'matplotlib', 'scipy'} & set(sys.modules)\n"
    )
    done = subprocess.run([str(python), "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == sum(len(claims) for claims in claims_by_topic().values())


GAUSSIAN_1D = (
    r"\mathrm{KL}(q \,\|\, p) = \log \frac{\sigma_p}{\sigma_q}"
    r" + \frac{\sigma_q^2 + (\mu_q - \mu_p)^2}{2 \sigma_p^2} - \frac{1}{2}"
)
