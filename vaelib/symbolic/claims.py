r"""Claims that the book makes, and what it takes for one to hold.

A :class:`Claim` says how one labelled formula is to be read and checked. The formula itself is not here: it
comes from the page, so that what is checked is what is printed.

Every formula is first evaluated at a few fixed points, integrals by Gauss-Legendre panels and derivatives by
differences, which is quick and turns down nearly all that is wrong. What passes is then proved: by SymPy,
from the definitions that the reading unfolds, or by mpmath's quadrature to many digits.
"""

import functools
import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import mpmath
import sympy as sp
from sympy.integrals.quadrature import gauss_legendre

from vaelib.symbolic.latex import Chain, Mutant, mutants
from vaelib.symbolic.reading import MISFITS, Density, Reading, ReadingError, Value

Point = Mapping[str, float]  # a value for each symbol's name
POINTS = 2  # at which every formula is evaluated
SCREEN = 1e-7  # relative; panels and differences are good to about 1e-10, a mutant is off by 1e-2 or more
DIGITS = 15  # to which mpmath's quadrature has to agree, computing with ten more
THRESHOLD = 4.5  # of a z-test: a right formula fails one such test in 150,000
DRAWS = 20_000


class ClaimError(AssertionError):
    """A formula that does not hold, with the place where it was caught."""


@dataclass(frozen=True)
class Claim:
    r"""How one labelled formula is read, and which check it has to pass.

    Parameters
    ----------
    reading : Reading
        What its names stand for.
    method : {"symbolic", "quadrature", "typed"}
        What comes after the evaluation at points: a proof by SymPy, or quadrature to fifteen digits. Where
        the notation cannot be read, "typed": the formula must be ``typed`` to the letter, and ``proof``
        checks what it says.
    ranges : mapping
        Where to evaluate: a pair of ends or a tuple of values for a symbol. By default a positive symbol is
        taken from 0.4 to 1.9, any other from -1.4 to 1.4.
    tight : sequence of mappings
        For an inequality: points where both sides are equal, some symbols given as functions of the others,
        all by name. A bound that is loosened or turned round fails there.
    proof : callable, optional
        For an inequality: shows by SymPy that an expression is never negative, and returns it; the sides of
        the page's inequality have to differ by just that, and it counts as proved. If it returns nothing it
        proves a lemma, and the inequality counts as spot-checked. It raises :class:`ClaimError` if it fails.
    draws : callable, optional
        ``draws(rng, point)`` gives one random number whose mean must be the last side: a z-test.
    simplify : callable
        How SymPy is to see that a difference is zero.
    equivalent : mapping
        Mutants that say the same as the formula, by what was done to it, and why they do.
    typed : str
        The formula once more, for the method "typed" alone.
    """

    reading: Reading
    method: Literal["symbolic", "quadrature", "typed"] = "symbolic"
    ranges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    tight: Sequence[Mapping[str, Callable[[Point], float]]] = ()
    proof: Callable[[], sp.Expr | None] | None = None
    draws: Callable[[random.Random, Point], float] | None = None
    simplify: Callable[[sp.Expr], sp.Expr] = sp.simplify
    equivalent: Mapping[str, str] = field(default_factory=dict)
    typed: str = ""


# --- numbers ---------------------------------------------------------------------------------------------


# Of Gauss and Legendre, on [0, 1].
NODES = [
    ((1 + float(node)) / 2, float(weight) / 2) for node, weight in zip(*gauss_legendre(10, 20), strict=True)
]
# Panels over the real line: narrow where normal densities of unit size live, wide where only tails are left.
HALF = [0.25 * k for k in range(25)] + [7.0 + k for k in range(8)] + [18.0, 24.0, 32.0, 40.0]
EDGES = sorted({-edge for edge in HALF} | set(HALF))


def panels(function: Callable[[float], float], low: float, high: float) -> float:
    """Integrate by Gauss-Legendre on panels; the tails beyond 40 are cut off."""
    inner = [edge for edge in EDGES if low < edge < high]
    if len(inner) < 24:  # a short interval gets panels of its own
        inner = [low + (high - low) * k / 24 for k in range(1, 24)]
    edges = [max(low, -40.0), *inner, min(high, 40.0)]
    return math.fsum(
        (b - a) * math.fsum(weight * function(a + (b - a) * node) for node, weight in NODES)
        for a, b in itertools.pairwise(edges)
        if b > a
    )


def precise(function: Callable[[Any], Any], low: Any, high: Any) -> Any:
    """Integrate with mpmath, the line cut where densities bend."""
    cuts = [cut for cut in (-8, -4, -2, -1, 0, 1, 2, 4, 8) if low < cut < high]
    return mpmath.quad(function, [low, *cuts, high])


Number = Callable[[Mapping[sp.Symbol, Any]], Any]
BOUND = (sp.Integral, sp.Derivative)


def _outermost(expression: sp.Basic) -> Iterator[sp.Basic]:
    if isinstance(expression, BOUND):
        yield expression
    else:
        for argument in expression.args:
            yield from _outermost(argument)


def _logs_apart(expression: sp.Expr) -> sp.Expr:
    """Write log(exp(a) b) as a + log(b): far out the exponential is too small for a float to hold."""
    return sp.expand_log(expression, force=True)


@functools.lru_cache(maxsize=4096)
def number(expression: sp.Expr, exact: bool = False) -> Number:
    """Compile an expression to a function of its symbols' values.

    With ``exact`` it computes in mpmath's numbers, integrals by its quadrature; else in floats.
    """
    expression = expression.replace(
        lambda e: isinstance(e, sp.Limit | sp.Sum | sp.Product), lambda e: e.doit()
    )
    expression = expression.replace(
        lambda e: isinstance(e, sp.Derivative) and (exact or len(e.variables) > 1),
        lambda e: e.doit(integrals=False),
    )
    found = list(dict.fromkeys(_outermost(expression)))
    stands = {part: sp.Dummy(real=True) for part in found}
    rest = _logs_apart(expression.xreplace(stands))
    symbols = sorted(rest.free_symbols - set(stands.values()), key=str)
    plain = sp.lambdify([*symbols, *stands.values()], rest, modules="mpmath" if exact else ["math"])
    inner = [_integral(part, exact) if isinstance(part, sp.Integral) else _difference(part) for part in found]

    def evaluate(values: Mapping[sp.Symbol, Any]) -> Any:
        return plain(*(values[symbol] for symbol in symbols), *(part(values) for part in inner))

    return evaluate


def _constant(value: Any) -> Number:
    return lambda _: value


def _integral(integral: sp.Integral, exact: bool) -> Number:
    *within, (symbol, low, high) = integral.limits  # the last limit is the outermost integral's
    body = sp.Integral(integral.function, *within) if within else integral.function
    body = body.replace(lambda e: isinstance(e, sp.Derivative), lambda e: e.doit(integrals=False))
    # What does not move with the variable, such as an evidence inside an expectation, is computed once.
    still = [part for part in dict.fromkeys(_outermost(body)) if symbol not in part.free_symbols]
    stands = {part: sp.Dummy(real=True, positive=part.is_positive) for part in still}
    inside = number(body.xreplace(stands), exact)
    outside = [(stands[part], number(part, exact)) for part in still]
    ends = [
        _constant(mpmath.mpf(float(end)) if exact else float(end)) if end.is_infinite else number(end, exact)
        for end in (low, high)
    ]
    rule = precise if exact else panels

    def evaluate(values: Mapping[sp.Symbol, Any]) -> Any:
        here = dict(values)
        here.update({dummy: part(values) for dummy, part in outside})

        def at(point: Any) -> Any:
            here[symbol] = point
            return inside(here)

        return rule(at, ends[0](values), ends[1](values))

    return evaluate


def _difference(derivative: sp.Derivative) -> Number:
    """The derivative as a central difference of fourth order: an error of about 1e-11 at unit size."""
    (symbol,) = derivative.variables
    inside, step = number(derivative.expr), 2e-3

    def evaluate(values: Mapping[sp.Symbol, Any]) -> Any:
        def at(shift: float) -> Any:
            # Where nothing depends on the symbol it has no value, and any will do.
            return inside({**values, symbol: values.get(symbol, 0.0) + shift})

        return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)

    return evaluate


# --- what is compared ------------------------------------------------------------------------------------


def entries(value: Value) -> list[sp.Expr]:
    """Return a side's numbers: one, or those of a matrix or a sequence."""
    if isinstance(value, Density):
        anywhere = sp.symbols(f"a_point:{value.size}", real=True)
        value = value.at(sp.Matrix(anywhere) if value.size > 1 else anywhere[0])
    if isinstance(value, sp.MatrixBase):
        return list(value)
    if isinstance(value, Sequence):
        return [entry for part in value for entry in entries(part)]
    if isinstance(value, sp.Expr):
        return [value]
    if callable(value):
        return entries(Density(value))
    raise ReadingError(f"{value!r} is no number")


def statements(claim: Claim, latex: str) -> list[Chain]:
    """Parse a formula whose every statement says something.

    Raises
    ------
    ReadingError
        If there is no statement, or one that is only an expression: a line that lost its sign would else go
        unseen.
    """
    chains = claim.reading.chains(latex)
    if not chains or not all(chain.relations for chain in chains):
        raise ReadingError("a statement has no relation in it, so it claims nothing")
    return chains


def pairs(claim: Claim, chain: Chain) -> Iterator[tuple[str, sp.Expr, sp.Expr]]:
    """Yield the relations of a statement with what stands on both sides."""
    values = []
    for k, side in enumerate(chain.sides):
        if k and chain.relations[k - 1] == "~":
            values.append(claim.reading.density(side))
        elif k < len(chain.relations) and chain.relations[k] == "~":
            values.append(claim.reading.law(side))
        else:
            values.append(claim.reading.value(side))
    for relation, left, right in zip(chain.relations, values, values[1:], strict=False):
        shapes = [side.shape for side in (left, right) if isinstance(side, sp.MatrixBase)]
        if len(set(shapes)) > 1:
            raise ClaimError(f"matrices of the shapes {shapes[0]} and {shapes[1]} cannot be equal")
        try:
            lefts, rights = entries(left), entries(right)
        except MISFITS as error:
            raise ReadingError(f"the sides of {relation!r} do not fit together: {error}") from error
        if len(lefts) != len(rights):
            raise ReadingError(f"{len(lefts)} numbers stand against {len(rights)}")
        for a, b in zip(lefts, rights, strict=True):
            yield relation, a, b


def point(
    label: str, claim: Claim, symbols: Iterator[sp.Symbol] | set[sp.Symbol], k: int
) -> dict[sp.Symbol, float]:
    """Choose the k-th value of each symbol: the same in every run, and for every mutant."""
    chosen = {}
    for symbol in symbols:
        name = symbol.name
        positive = bool(symbol.is_positive)
        span = claim.ranges.get(name, (0.4, 1.9) if positive else (-1.4, 1.4))
        rng = random.Random(f"{label}/{name}/{k}")
        if len(span) == 2 and not symbol.is_integer:
            chosen[symbol] = rng.uniform(*span)
        else:
            chosen[symbol] = span[k % len(span)]
    return chosen


def _holds(relation: str, left: float, right: float, tolerance: float) -> bool:
    room = tolerance * (1 + abs(left) + abs(right))
    if relation in {"=", "~"}:
        return abs(left - right) <= room
    if relation in {">=", ">"}:
        return left >= right - (room if relation == ">=" else -room)
    if relation in {"<=", "<"}:
        return left <= right + (room if relation == "<=" else -room)
    raise ReadingError(f"{relation!r} cannot be checked")


@functools.lru_cache(maxsize=65536)
def _value(expression: sp.Expr, values: tuple[tuple[sp.Symbol, Any], ...], exact: bool) -> Any:
    """Evaluate once what many mutants of the other side are compared with."""
    return number(expression, exact)(dict(values))


def _evaluate(expression: sp.Expr, values: Mapping[sp.Symbol, Any], exact: bool) -> Any:
    found = _value(expression, tuple((s, values[s]) for s in expression.free_symbols), exact)
    if isinstance(found, complex) or (not exact and not math.isfinite(found)):
        raise ClaimError(f"a side is {found}, no finite real number")
    return found


def at_points(label: str, claim: Claim, latex: str, *, exact: bool = False) -> None:
    """Evaluate each relation at the claim's points.

    Raises
    ------
    ClaimError
        If one does not hold.
    """
    tolerance = 10.0**-DIGITS if exact else SCREEN
    for chain in statements(claim, latex):
        for relation, left, right in pairs(claim, chain):
            symbols = left.free_symbols | right.free_symbols
            inequality = relation not in {"=", "~"}
            tight = claim.tight if inequality else ()
            if tight and relation in {"<", ">"}:
                raise ClaimError(f"{label}: the sides can be equal, so {relation} is too strict")
            for k in range(POINTS if not inequality else 6 * POINTS):
                values = point(label, claim, symbols, k)
                _compare(label, relation, left, right, values, tolerance, exact)
                for equal in tight[: len(tight) if k < POINTS else 0]:
                    names = {symbol.name: value for symbol, value in values.items()}
                    here = {
                        s: float(equal[s.name](names)) if s.name in equal else v for s, v in values.items()
                    }
                    _compare(label, "=", left, right, here, tolerance, exact)


def _compare(
    label: str,
    relation: str,
    left: sp.Expr,
    right: sp.Expr,
    values: Mapping[sp.Symbol, Any],
    tolerance: float,
    exact: bool,
) -> None:
    try:
        a, b = (_evaluate(side, values, exact) for side in (left, right))
    except (OverflowError, ValueError, ZeroDivisionError, TypeError) as error:  # TypeError: complex numbers
        raise ClaimError(f"{label}: cannot be evaluated at {_shown(values)}: {error}") from error
    if not _holds(relation, a, b, tolerance):
        raise ClaimError(
            f"{label}: {float(a):.12g} {relation} {float(b):.12g} does not hold at {_shown(values)}"
        )


def _shown(values: Mapping[sp.Symbol, Any]) -> str:
    return (
        ", ".join(f"{symbol} = {float(value):.4g}" for symbol, value in sorted(values.items(), key=str))
        or "any point"
    )


# --- proofs ----------------------------------------------------------------------------------------------


LINE = (-sp.oo, sp.oo)


def _exponent(term: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Split a product into what stands in its exponentials, added up, and the rest."""
    factors = sp.Mul.make_args(term)
    powers = [factor for factor in factors if isinstance(factor, sp.exp)]
    rest = [factor for factor in factors if not isinstance(factor, sp.exp)]
    return sp.Add(*(power.exp for power in powers)), sp.Mul(*rest)


def _bell(body: sp.Expr, symbol: sp.Symbol) -> sp.Expr | None:
    """Integrate polynomials times normal densities over the line by their moments, or return None.

    SymPy can do so alone, yet takes seconds where a density has a mean, and leaves error functions behind.
    """
    total = sp.S.Zero
    for term in sp.Add.make_args(body):
        still, moving = term.as_independent(symbol, as_Add=False)
        exponent, rest = _exponent(moving)
        if not (exponent.is_polynomial(symbol) and rest.is_polynomial(symbol)):
            return None
        powers = sp.Poly(exponent, symbol).all_coeffs()
        if len(powers) != 3 or not powers[0].is_negative:
            return None
        a, b, c = powers
        variance = sp.cancel(-1 / (2 * a))
        shifted = sp.Poly(rest.subs(symbol, symbol + sp.cancel(variance * b)), symbol)
        moments = (
            k * variance ** (n // 2) * sp.factorial2(n - 1) for (n,), k in shifted.terms() if n % 2 == 0
        )
        total += (
            still * sp.sqrt(2 * sp.pi * variance) * sp.exp(sp.cancel(c + variance * b**2 / 2)) * sum(moments)
        )
    return total


@functools.lru_cache(maxsize=512)
def solved(expression: sp.Expr) -> sp.Expr:
    """Let SymPy solve every integral, sum, limit and derivative, from the inside out."""

    def solve(part: sp.Expr) -> sp.Expr:
        if isinstance(part, sp.Integral):
            body = sp.expand(_logs_apart(part.function))
            bell = _bell(body, part.limits[0][0]) if part.limits[0][1:] == LINE else None
            if bell is not None:
                return solve(sp.Integral(bell, *part.limits[1:])) if part.limits[1:] else bell
            return sp.integrate(body, *part.limits, conds="none")
        return part.doit()

    kinds = (sp.Integral, sp.Derivative, sp.Sum, sp.Product, sp.Limit)
    return expression.replace(lambda part: isinstance(part, kinds), solve)


def is_zero(difference: sp.Expr, simplify: Callable[[sp.Expr], sp.Expr] = sp.simplify) -> bool:
    """Whether SymPy finds an expression to be zero: expanded, or simplified."""
    apart = sp.expand(_logs_apart(difference))
    if apart.has(sp.exp):  # exponents that are the same number are to be the same text
        parts = map(_exponent, sp.Add.make_args(apart))
        apart = sp.Add(*(rest * sp.exp(sp.cancel(exponent)) for exponent, rest in parts))
    return bool(apart == 0 or simplify(apart) == 0 or simplify(difference) == 0)


def prove(label: str, claim: Claim, latex: str) -> None:
    """Prove the equalities of a formula by SymPy, and its inequalities by the claim's own proof.

    Raises
    ------
    ClaimError
        If SymPy does not find both sides of an equality to be the same.
    """
    for chain in statements(claim, latex):
        for relation, left, right in pairs(claim, chain):
            if relation in {"=", "~"}:
                difference = solved(left) - solved(right)
                if not is_zero(difference, claim.simplify):
                    raise ClaimError(f"{label}: SymPy is left with {difference}")
    if claim.proof is not None:
        prove_inequality(label, claim, latex)


@functools.cache
def _gap(proof: Callable[[], sp.Expr | None]) -> sp.Expr | None:
    """Run a proof once: it knows nothing of the formula, and so of no mutant."""
    return proof()


def prove_inequality(label: str, claim: Claim, latex: str) -> None:
    """Let the claim prove that a gap is never negative, and find that gap between the sides on the page.

    Raises
    ------
    ClaimError
        If the proof fails, or the page's sides differ by something else.
    """
    assert claim.proof is not None
    gap = _gap(claim.proof)
    if gap is None:
        return
    found = [
        pair
        for chain in statements(claim, latex)
        for pair in pairs(claim, chain)
        if pair[0] not in {"=", "~"}
    ]
    for relation, left, right in found:
        difference = solved(left) - solved(right) if relation in {">=", ">"} else solved(right) - solved(left)
        if not is_zero(difference - gap, claim.simplify):
            raise ClaimError(
                f"{label}: the sides do not differ by {gap}, which was proved to be no less than 0"
            )


def by_draws(label: str, claim: Claim, latex: str) -> float:
    """Compare the mean of draws with the last side, at the claim's first point; return the z-score.

    Raises
    ------
    ClaimError
        If it exceeds the threshold.
    """
    assert claim.draws is not None
    *_, (_, left, right) = pairs(claim, statements(claim, latex)[0])
    values = point(label, claim, left.free_symbols | right.free_symbols, 0)
    expected = _evaluate(right, values, exact=False)
    rng, names = random.Random(label), {symbol.name: value for symbol, value in values.items()}
    drawn = [claim.draws(rng, names) for _ in range(DRAWS)]
    mean = math.fsum(drawn) / DRAWS
    variance = math.fsum((x - mean) ** 2 for x in drawn) / (DRAWS - 1)
    if variance == 0:
        raise ClaimError(f"{label}: draws without variance test nothing")
    score = (mean - expected) / math.sqrt(variance / DRAWS)
    if not abs(score) <= THRESHOLD:  # a score that is no number fails too
        raise ClaimError(
            f"{label}: draws have the mean {mean:.6g}, {score:.1f} standard errors from {expected:.6g}"
        )
    return float(score)


def check(label: str, claim: Claim, latex: str) -> None:
    """Let a formula pass everything that its claim asks for.

    Raises
    ------
    ClaimError
        If it does not hold; the message begins with the label.
    ReadingError, LatexError
        If it cannot be read.
    """
    try:
        _check(label, claim, latex)
    except ClaimError as error:
        if str(error).startswith(f"{label}:"):
            raise
        raise ClaimError(f"{label}: {error}") from error


def _check(label: str, claim: Claim, latex: str) -> None:
    if claim.method == "typed":
        assert claim.proof is not None
        if latex.split() != claim.typed.split():
            raise ClaimError(
                f"{label}: the page says {latex!r}, and the check was written for {claim.typed!r}"
            )
        claim.proof()
        return
    at_points(label, claim, latex)
    if claim.method == "symbolic":
        prove(label, claim, latex)
    else:
        with mpmath.workdps(DIGITS + 10):
            at_points(label, claim, latex, exact=True)
        if claim.proof is not None:
            prove_inequality(label, claim, latex)
    if claim.draws is not None:
        by_draws(label, claim, latex)


class Comparison(NamedTuple):
    """One relation of a formula, in LaTeX: as SymPy reads it, and solved where something is to solve."""

    read: str
    solved: str


SIGNS = {"<=": r"\le", ">=": r"\ge", "~": "="}


def comparisons(claim: Claim, latex: str) -> list[Comparison]:
    """Return what the check of a formula compares, relation by relation.

    A formula that holds by SymPy's proof is shown with its integrals, sums and derivatives solved, too.
    """
    found = []
    for chain in statements(claim, latex) if claim.method != "typed" else []:
        for relation, left, right in pairs(claim, chain):
            sign = SIGNS.get(relation, relation)
            read = f"{sp.latex(left)} {sign} {sp.latex(right)}"
            done = read
            if claim.method == "symbolic":
                done = f"{sp.latex(solved(left))} {sign} {sp.latex(solved(right))}"
            found.append(Comparison(read, done if done != read else ""))
    return found


def kinds(claim: Claim, latex: str) -> list[str]:
    """Name what was done to a formula, never more than that."""
    if claim.method == "typed":
        return ["typed"]
    relations = {relation for chain in statements(claim, latex) for relation in chain.relations}
    expressions = [e for chain in statements(claim, latex) for _, *both in pairs(claim, chain) for e in both]
    found: list[str] = []
    if relations & {"=", "~"}:
        plain = claim.method == "quadrature" and not any(e.has(sp.Integral) for e in expressions)
        found.append(f"at {POINTS} points" if plain else claim.method)
    if relations - {"=", "~"}:
        proved = claim.proof is not None and _gap(claim.proof) is not None
        lemma = ", a lemma proved" if claim.proof is not None else ""
        found.append("proved" if proved else f"spot-checked at {6 * POINTS} points{lemma}")
    if any(part.has(sp.Derivative) for e in expressions for part in _outermost(e)):
        found.append("finite difference")
    if claim.draws:
        found.append("Monte Carlo")
    return found


@dataclass(frozen=True)
class Trial:
    """What became of a formula's mutants."""

    killed: int
    equivalent: tuple[tuple[str, str], ...]
    survivors: tuple[Mutant, ...]

    @property
    def total(self) -> int:
        """How many mutants there were, without those that say the same."""
        return self.killed + len(self.survivors)


def trial(label: str, claim: Claim, latex: str) -> Trial:
    """Hold every mutant of a formula to the formula's own check.

    Mutants that cannot be read, because a name has no such argument or a matrix no such shape, are no
    formulas and are not counted.
    """
    killed, equivalent, survivors = 0, [], []
    if claim.method == "typed":
        return Trial(0, (), ())
    for mutant in mutants(latex, claim.reading.is_function):
        try:
            check(label, claim, mutant.latex)
        except ClaimError:
            killed += 1
        except ReadingError:
            continue
        else:
            if mutant.what in claim.equivalent:
                equivalent.append((mutant.what, claim.equivalent[mutant.what]))
            else:
                survivors.append(mutant)
    return Trial(killed, tuple(equivalent), tuple(survivors))
