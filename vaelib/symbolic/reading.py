r"""What the book's formulas mean: from a tree of notation to SymPy objects.

A :class:`Reading` says what each name of a formula stands for. What every page shares is here already:
:math:`\mathcal N`, expectations, variances, entropies, :math:`\mathrm{KL}`. All of them unfold to their
*definition*, an integral or a sum that nothing has solved yet.

Probability writes :math:`p(x)`, :math:`p(z)` and :math:`p(x \mid z)` with one letter, so a call is looked up
first as it is written, with the indices of its arguments left out (``p(x|z)``), then by its letter (``p``).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy as sp
from sympy.matrices.exceptions import NonInvertibleMatrixError, NonSquareMatrixError, ShapeError

from vaelib.symbolic.latex import Chain, Node, parse

Value = Any  # a SymPy expression, a matrix, a sequence of them, or a callable that gives one


class ReadingError(ValueError):
    """A formula that can be parsed, but not with the names at hand."""


# What SymPy raises where numbers, matrices and functions are put together that do not fit.
MISFITS = (TypeError, AttributeError, ShapeError, NonInvertibleMatrixError, NonSquareMatrixError)


@dataclass(frozen=True)
class Density:
    """A distribution as an argument: what it says at a point, and which letters its variables have."""

    at: Callable[..., Value]
    variables: tuple[str, ...] = ()
    size: int = 1  # of a point; a point of several numbers is a column


@dataclass(frozen=True)
class Space:
    """Where a variable lives that is no single number, such as a plane: a point of it, and how to integrate.

    ``integral(f)`` integrates a function of such a point over the whole space.
    """

    point: Value
    integral: Callable[[Callable[[Value], Value]], Value]


@dataclass(frozen=True)
class Functional:
    """A number that depends on whole distributions: ``formula(total, *densities)``.

    ``total(f)`` sums or integrates ``f`` over the variable that the densities share.
    """

    formula: Callable[..., Value]


def normal(x: Value, mean: Value, variance: Value) -> Value:
    r"""The normal density, :math:`e^{-(x - \mu)^2 / 2 \sigma^2} / \sqrt{2 \pi \sigma^2}`."""
    return sp.exp(-((x - mean) ** 2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)


def kl(total: Callable[..., Value], q: Callable[..., Value], p: Callable[..., Value]) -> Value:
    r""":math:`\int q \log \frac{q}{p}`, unsolved."""
    return total(lambda *z: q(*z) * sp.log(q(*z) / p(*z)))


def entropy(
    total: Callable[..., Value], q: Callable[..., Value], p: Callable[..., Value] | None = None
) -> Value:
    r""":math:`-\int q \log q`; with a second distribution the cross-entropy :math:`-\int q \log p`."""
    return total(lambda *z: -q(*z) * sp.log((p or q)(*z)))


def total_variation(total: Callable[..., Value], q: Callable[..., Value], p: Callable[..., Value]) -> Value:
    r""":math:`\frac{1}{2} \int |q - p|`, unsolved."""
    return total(lambda z: sp.Abs(q(z) - p(z)) / 2)


def jensen_shannon(total: Callable[..., Value], q: Callable[..., Value], p: Callable[..., Value]) -> Value:
    r"""The mean KL of two distributions to their half-and-half mixture, unsolved."""
    return total(
        lambda z: q(z) * sp.log(2 * q(z) / (q(z) + p(z))) / 2 + p(z) * sp.log(2 * p(z) / (q(z) + p(z))) / 2
    )


def square_root(matrix: sp.MatrixBase) -> sp.MatrixBase:
    r"""The positive definite root R of a positive definite matrix in the plane.

    By Cayley and Hamilton :math:`R^2 - \operatorname{tr}(R) R + |R| I = 0`, with :math:`|R|^2` and
    :math:`\operatorname{tr}(R)^2 - 2 |R|` the matrix's own determinant and trace. A diagonal matrix, of any
    size, has the roots of its entries.
    """
    if matrix.is_diagonal():
        return matrix.applyfunc(sp.sqrt)
    if matrix.shape != (2, 2):
        raise ReadingError(f"the root of a matrix of shape {matrix.shape}: only planes have one here")
    (a, b), (c, d) = matrix.tolist()
    size = sp.sqrt(sp.factor(a * d - b * c))  # often a square: of a product of diagonals, say
    return (matrix + size * sp.eye(2)) / sp.sqrt(matrix.trace() + 2 * size)


def between_bars(value: Value) -> Value:
    """What bars say: the determinant of a matrix, the size of a set, the absolute value of a number."""
    if isinstance(value, sp.MatrixBase):
        return value.det()
    return sp.Integer(len(value)) if isinstance(value, Sequence) else sp.Abs(value)


SHARED: dict[str, Value] = {
    r"\mathcal N": lambda *a: normal(*a) if len(a) == 3 else Density(lambda x: normal(x, *a)),
    r"\mathcal N(,)": lambda mean, variance: Density(lambda x: normal(x, mean, variance)),
    "KL": Functional(kl),
    "H": Functional(entropy),
    "TV": Functional(total_variation),
    "JS": Functional(jensen_shannon),
    "tr": lambda matrix: matrix.trace(),
    r"\det": between_bars,
    r"\Phi": lambda x: (1 + sp.erf(x / sp.sqrt(2))) / 2,
    "erf": sp.erf,
    "max": sp.Max,
    "min": sp.Min,
    r"\pi": sp.pi,
    "e": sp.E,
    r"\infty": sp.oo,
}
APPLIED: dict[str, Callable[[Value], Value]] = {
    "log": sp.log, "exp": sp.exp, "sin": sp.sin, "cos": sp.cos, "tanh": sp.tanh, "sqrt": sp.sqrt,
    "arcsin": sp.asin, "erf": sp.erf,
}  # fmt: skip


@dataclass(frozen=True)
class Reading:
    r"""What the names of a formula stand for.

    Parameters
    ----------
    names : mapping
        From a name as the page writes it, without font commands for upright letters, to a SymPy object, a
        sequence (picked by an index, counted from 1) or a callable. ``p(x|z)`` stands before ``p``.
    domains : mapping
        Where a variable lives: a list of values (then expectations are sums), a pair of ends (then they are
        integrals) or a :class:`Space`. A variable that is not named here runs over the real line.
    latent : str
        The variable of a distribution that is named without one, as in :math:`\mathrm{KL}(q \,\|\, p)`.
    laws : mapping
        How a variable is distributed, for statements such as :math:`z \sim q`.
    """

    names: Mapping[str, Value] = field(default_factory=dict)
    domains: Mapping[str, Sequence[Value] | Space] = field(default_factory=dict)
    latent: str = "z"
    laws: Mapping[str, Value] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether a name has a meaning."""
        return name in self.names or name in SHARED

    def is_function(self, name: str) -> bool:
        """Whether a name is called when a bracket follows it."""
        value = self.names.get(name, SHARED.get(name))
        spelled = any(key.startswith(f"{name}(") for key in self.names)
        return spelled or callable(value) or isinstance(value, Functional | Density)

    def chains(self, latex: str) -> list[Chain]:
        """Parse a formula with these names."""
        return parse(latex, self.is_function)

    def value(self, node: Node, bound: Mapping[str, Value] | None = None) -> Value:
        """Return what a node stands for; ``bound`` are the variables that something around it binds.

        Raises
        ------
        ReadingError
            If a name is unknown, or something is put together that does not fit.
        """
        return _Evaluation(self, dict(bound or {})).value(node)

    def density(self, node: Node) -> Density:
        """Return the distribution that a node stands for."""
        return _Evaluation(self, {}).density(node)

    def law(self, node: Node) -> Density:
        """Return how the variable that a node names is distributed."""
        if node.text not in self.laws:
            raise ReadingError(f"no law is known for {node.text!r}")
        law = self.laws[node.text]
        return law if isinstance(law, Density) else Density(law)


def _index_free(node: Node) -> str:
    """The letter of an argument, without its index and primes; other arguments have none."""
    return node.marks[0].rstrip("'") if node.kind == "name" else "·"


def variables_of(call: Node) -> tuple[str, ...]:
    """The letters of a call that are no conditions: z of ``q(z | x)``, x and z of ``p(x, z)``."""
    names: list[str] = []
    for argument, mark in zip(call.parts, (*call.marks, ""), strict=False):
        if argument.kind == "name":
            names.append(argument.text)
        if mark in {"|", ";"}:
            break
    return tuple(names)


class _Evaluation:
    def __init__(self, reading: Reading, bound: dict[str, Value]) -> None:
        self.reading = reading
        self.bound = bound

    def within(self, **bound: Value) -> "_Evaluation":
        return _Evaluation(self.reading, self.bound | bound)

    def value(self, node: Node) -> Value:
        method: Callable[[Node], Value] = getattr(self, f"_{node.kind}")
        try:
            return method(node)
        except MISFITS as error:
            raise ReadingError(f"{node.kind} does not fit together: {error}") from error

    def lookup(self, name: str) -> Value:
        for names in (self.bound, self.reading.names, SHARED):
            if name in names:
                return names[name]
        raise ReadingError(f"no meaning is known for {name!r}")

    # --- arithmetic ---------------------------------------------------------------------------------------

    def _number(self, node: Node) -> Value:
        return sp.Rational(node.text)

    def _name(self, node: Node) -> Value:
        for names in (self.bound, self.reading.names, SHARED):
            if node.text in names:
                return names[node.text]
        value = self.lookup(node.marks[0])
        for part in node.parts:
            if isinstance(value, sp.Basic | Density) or callable(value):
                raise ReadingError(f"{node.marks[0]!r} takes no index")
            index = self.value(part)
            try:
                value = value[index] if isinstance(value, Mapping) else value[int(index) - 1]
            except (TypeError, KeyError, IndexError) as error:
                raise ReadingError(f"{node.text!r} has no entry {index}") from error
        return value

    def _sum(self, node: Node) -> Value:
        total = self.value(node.parts[0])
        for mark, part in zip(node.marks, node.parts[1:], strict=True):
            total = total + self.value(part) if mark == "+" else total - self.value(part)
        return total

    def _negative(self, node: Node) -> Value:
        return -self.value(node.parts[0])

    def _product(self, node: Node) -> Value:
        result = self.value(node.parts[0])
        for part in node.parts[1:]:
            factor = self.value(part)
            columns = isinstance(result, sp.MatrixBase) and isinstance(factor, sp.MatrixBase)
            if columns and result.cols == factor.cols == 1 and result.rows > 1:
                result = result.multiply_elementwise(factor)  # two columns can only be meant entry by entry
            else:
                result = result * factor
        if isinstance(result, sp.MatrixBase) and result.shape == (1, 1):
            return result[0, 0]  # a quadratic form is a number
        return result

    def _quotient(self, node: Node) -> Value:
        above, below = map(self.value, node.parts)
        if below == 0:
            raise ReadingError("a division by zero")
        return above / below

    def _power(self, node: Node) -> Value:
        whole = "^".join(part.text for part in node.parts)  # sigma^2 may be a name of its own
        if all(part.kind in {"name", "number"} for part in node.parts) and whole in self.reading.names:
            return self.reading.names[whole]
        base, exponent = map(self.value, node.parts)
        if isinstance(base, sp.MatrixBase) and exponent == sp.Rational(1, 2):
            return square_root(base)
        if isinstance(base, sp.MatrixBase) and not exponent.is_integer:
            raise ReadingError(f"a matrix to the power {exponent}")
        return sp.exp(exponent) if base == sp.E else base**exponent

    def _transpose(self, node: Node) -> Value:
        return self.value(node.parts[0]).T

    def _bars(self, node: Node) -> Value:
        return between_bars(self.value(node.parts[0]))

    def _floor(self, node: Node) -> Value:
        return sp.floor(self.value(node.parts[0]))

    def _norm(self, node: Node) -> Value:
        value = self.value(node.parts[0])
        return sp.sqrt(sum(entry**2 for entry in value))

    def _apply(self, node: Node) -> Value:
        return APPLIED[node.text](self.value(node.parts[0]))

    def _relation(self, node: Node) -> Value:
        left, right = self.value(node.parts[0]), self.value(node.parts[1])
        kind = {">": sp.Gt, "<": sp.Lt, ">=": sp.Ge, "<=": sp.Le, "=": sp.Eq}[node.marks[0]]
        first = kind(left, right)
        if len(node.parts) == 2:
            return first
        rest = Node("relation", "", node.parts[1:], node.start, node.end, node.marks[1:])
        return sp.And(first, self._relation(rest))

    def _cases(self, node: Node) -> Value:
        pairs, parts = [], list(node.parts)
        while parts:
            value = self.value(parts.pop(0))
            condition = self.value(parts.pop(0)) if parts and parts[0].kind == "relation" else True
            pairs.append((value, condition))
        return sp.Piecewise(*pairs)

    # --- what binds a variable ----------------------------------------------------------------------------

    def symbol(self, name: str) -> sp.Symbol:
        value = self.reading.names.get(name)
        return value if isinstance(value, sp.Symbol) else sp.Symbol(name.replace("\\", ""), real=True)

    def may_vary(self, name: str) -> bool:
        """Whether a name can be a variable, rather than stand for a matrix or a list of parameters."""
        known = self.reading.names.get(name)
        return known is None or isinstance(known, sp.Symbol) or name in self.reading.domains

    def sample(self, name: str) -> Value:
        """Any point that a variable may take."""
        domain = self.reading.domains.get(name)
        if isinstance(domain, Space):
            return domain.point
        return domain[0] if isinstance(domain, list) else self.symbol(name)

    def total(self, names: Sequence[str], body: Callable[["_Evaluation"], Value]) -> Value:
        """Sum or integrate over variables, innermost last."""
        if not names:
            return body(self)
        name, rest = names[0], names[1:]
        domain = self.reading.domains.get(name)
        if isinstance(domain, list):
            return sum((self.within(**{name: value}).total(rest, body) for value in domain), sp.S.Zero)
        if isinstance(domain, Space):
            return domain.integral(lambda value: self.within(**{name: value}).total(rest, body))
        symbol = self.symbol(name)
        inside = self.within(**{name: symbol}).total(rest, body)
        low, high = domain or (-sp.oo, sp.oo)
        return sp.Integral(inside, (symbol, low, high))

    def _integral(self, node: Node) -> Value:
        count = int(node.text)
        body, variables, ends = node.parts[0], node.parts[1 : 1 + count], node.parts[1 + count :]
        names = [variable.text for variable in variables]
        if not ends:
            return self.total(names, lambda inner: inner.value(body))
        symbol = self.symbol(names[0])
        low, high = map(self.value, ends)
        return sp.Integral(self.within(**{names[0]: symbol}).value(body), (symbol, low, high))

    def _big(self, node: Node) -> Value:
        body, index, *ends = node.parts
        name = index.text
        if len(ends) == 2:
            low, high = map(self.value, ends)
            if not (low.is_Integer and high.is_Integer):
                if node.text in {"max", "min"}:
                    raise ReadingError(f"{node.text} over a range without end")
                symbol = sp.Symbol(name, integer=True, positive=True)
                inside = self.within(**{name: symbol}).value(body)
                kind = sp.Sum if node.text == "sum" else sp.Product
                return kind(inside, (symbol, low, high))
            values: Sequence[Value] = [sp.Integer(k) for k in range(int(low), int(high) + 1)]
        else:
            domain = self.value(ends[0]) if ends else self.reading.domains.get(name)
            if not isinstance(domain, list):
                raise ReadingError(f"over what does {name!r} run?")
            values = domain
        terms = [self.within(**{name: value}).value(body) for value in values]
        if node.text == "sum":
            return sum(terms[1:], terms[0]) if terms else sp.S.Zero
        if node.text == "prod":
            return math.prod(terms[1:], start=terms[0]) if terms else sp.S.One
        return (sp.Max if node.text == "max" else sp.Min)(*terms)

    def _limit(self, node: Node) -> Value:
        body, variable, goal = node.parts
        known = self.reading.names.get(variable.text)
        symbol = known if isinstance(known, sp.Symbol) else sp.Symbol(variable.text, positive=True)
        return sp.Limit(self.within(**{variable.text: symbol}).value(body), symbol, self.value(goal), "-")

    def _derivative(self, node: Node) -> Value:
        body, *variables = node.parts
        symbols = [self.value(variable) for variable in variables]
        if len(symbols) == 1 and isinstance(symbols[0], sp.MatrixBase):  # the gradient, of the same shape
            value = self.value(body)
            return symbols[0].applyfunc(lambda entry: sp.Derivative(value, entry))
        if not all(isinstance(symbol, sp.Symbol) for symbol in symbols):
            raise ReadingError(f"a derivative with respect to {symbols}, which are not all symbols")
        return sp.Derivative(self.value(body), *symbols)

    # --- distributions ------------------------------------------------------------------------------------

    def density(self, node: Node) -> Density:
        """Read a distribution, named with its variable (``q(z)``) or without (``q``)."""
        if node.kind == "call":
            # q(z | x) is a distribution of z; N(mu, sigma^2) has no variable among its arguments.
            names = tuple(name for name in variables_of(node) if self.may_vary(name))
            here = {name: self.bound.get(name, self.sample(name)) for name in names}
            value = self.within(**here).value(node)
            if isinstance(value, Density):
                return value
            return Density(
                lambda *points: self.within(**dict(zip(names, points, strict=True))).value(node), names
            )
        value = self.value(node)
        if isinstance(value, Density):
            return value
        if callable(value):
            return Density(value)
        raise ReadingError("a distribution is wanted here")

    def functional(self, functional: Functional, nodes: Sequence[Node]) -> Value:
        densities = [self.density(node) for node in nodes]
        names = next((d.variables for d in densities if d.variables), (self.reading.latent,))

        def total(function: Callable[..., Value]) -> Value:
            return self.total(names, lambda inner: function(*map(inner.lookup, names)))

        def in_order(density: Density) -> Callable[..., Value]:
            if set(density.variables) != set(names):
                return density.at
            order = [names.index(name) for name in density.variables]  # q(a, b) against p(b, a)
            return lambda *points: density.at(*(points[k] for k in order))

        return functional.formula(total, *map(in_order, densities))

    def _call(self, node: Node) -> Value:
        index = node.marks[-1:] == ("_",)
        separators = node.marks[:-1] if index else node.marks
        arguments = node.parts[: len(separators) + 1]
        letters = [_index_free(argument) for argument in arguments]
        written = letters[0] + "".join(map("".join, zip(separators, letters[1:], strict=True)))
        for key in (f"{node.text}({written})", f"{node.text}({''.join(separators)})", node.text):
            if self.reading.has(key):
                value = self.lookup(key)
                break
        else:
            raise ReadingError(f"no meaning is known for {node.text}({written})")
        for part in node.parts[len(arguments) :]:
            value = value[int(self.value(part)) - 1]
        if isinstance(value, Functional):
            return self.functional(value, arguments)
        if not callable(value) and not isinstance(value, Density) and "(" in key:
            for argument in arguments:  # an index has to mean something all the same
                if argument.kind == "name" and argument.parts:
                    self.value(argument)
            return value  # it stands for the whole call, as p(z) may for a distribution
        values = [self.value(argument) for argument in arguments]
        if isinstance(value, Density):
            return value.at(*values)
        if not callable(value):
            raise ReadingError(f"{node.text} takes no arguments")
        return value(*values)

    def _operator(self, node: Node) -> Value:
        subs = node.parts[len(node.parts) - len(node.marks) :]
        bodies = node.parts[: len(node.parts) - len(node.marks)]

        def mean(function: Callable[[_Evaluation], Value]) -> Value:
            return self.expectation(subs, function)

        first = bodies[0]
        if node.text == r"\mathbb E":
            return mean(lambda inner: inner.value(first))
        second = bodies[-1]
        product = mean(lambda inner: inner.value(first) * inner.value(second))
        return product - mean(lambda inner: inner.value(first)) * mean(lambda inner: inner.value(second))

    def expectation(self, subs: Sequence[Node], body: Callable[["_Evaluation"], Value]) -> Value:
        names: list[str] = []
        weights: list[Callable[[_Evaluation], Value]] = []
        for sub in subs or (self.default_sub(),):
            if sub.kind == "relation":  # z ~ q
                name, law = sub.parts[0].text, self.density(sub.parts[1])
                names.append(name)
                weights.append(lambda inner, law=law, name=name: law.at(inner.lookup(name)))  # type: ignore[misc]
            elif sub.kind == "call" and sub.parts[0].kind == "name":
                names += variables_of(sub)
                weights.append(lambda inner, sub=sub: inner.value(sub))  # type: ignore[misc]
            else:
                density, name = self.density(sub), self.reading.latent
                names.append(name)
                weights.append(lambda inner, law=density, name=name: law.at(inner.lookup(name)))  # type: ignore[misc]
        return self.total(
            names, lambda inner: math.prod((w(inner) for w in weights), start=sp.S.One) * body(inner)
        )

    def default_sub(self) -> Node:
        return Node("name", "q", (), 0, 0, ("q",))
