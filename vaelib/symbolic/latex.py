r"""Read the book's formulas: from LaTeX as it stands in a page to a tree whose nodes know their place.

The reader knows the notation of this book and no more: sums, products, fractions, powers, calls such as
``p(x \mid z)``, integrals that end in ``\mathrm dz``, expectations with their distribution as subscript. It
decides nothing about meaning; :mod:`vaelib.symbolic.reading` does.

A formula is a list of statements, a statement a chain of sides: ``a = b = c \ge d``. Since every node knows
where it stands, one node can be altered in the text itself, which is what :func:`mutants` does.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["Chain", "LatexError", "Node", "mutants", "parse"]


class LatexError(ValueError):
    """A formula that the reader cannot read; the message shows the place."""


@dataclass(frozen=True)
class Node:
    """One piece of a formula.

    Attributes
    ----------
    kind : str
        ``number``, ``name``, ``sum``, ``product``, ``quotient``, ``power``, ``transpose``, ``negative``,
        ``call``, ``apply`` (a prefix function such as the logarithm), ``integral``, ``big`` (sum or product
        over an index), ``limit``, ``operator`` (expectation and its kin), ``derivative``, ``bars``,
        ``norm``, ``floor``, ``cases`` or ``relation``.
    text : str
        The number, the name, or what the kind leaves open.
    parts : tuple of Node
    marks : tuple of str
        The signs between the parts: of a sum, or of the arguments of a call.
    start, end : int
        Where the node stands in the text.
    spans : tuple of (int, int)
        Where the marks stand.
    """

    kind: str
    text: str
    parts: tuple["Node", ...]
    start: int
    end: int
    marks: tuple[str, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Chain:
    """A statement: sides, and the relations between neighbours."""

    sides: tuple[Node, ...]
    relations: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Token:
    kind: str  # "number", "name", "command", "sign", "text" or "end"
    text: str
    start: int
    end: int


RELATIONS = {
    "=": "=", ":=": "=", r"\coloneqq": "=", r"\ge": ">=", r"\geq": ">=", r"\le": "<=", r"\leq": "<=",
    "<": "<", ">": ">", r"\sim": "~",
}  # fmt: skip
SEPARATORS = {",": ",", ";": ";", r"\mid": "|", "|": "|", r"\|": "||", r"\Vert": "||", r"\,\|\,": "||"}
FUNCTIONS = {
    r"\log": "log", r"\ln": "log", r"\exp": "exp", r"\sin": "sin", r"\cos": "cos", r"\tanh": "tanh",
    r"\arcsin": "arcsin", r"\operatorname{erf}": "erf",
}  # fmt: skip
ACCENTS = {r"\hat", r"\bar", r"\tilde", r"\widetilde", r"\widehat", r"\overline"}
FACES = {r"\mathcal", r"\mathbb", r"\mathbf", r"\boldsymbol", r"\mathrm", r"\operatorname"}
OPERATORS = {r"\mathbb E", "Var", "Cov"}
SKIPPED = re.compile(
    r"""\s+|&|~
    |\\[,;:!\ >]
    |\\(left|right|bigl|bigr|Bigl|Bigr|biggl|biggr|Biggl|Biggr|big|Big|bigm|middle|displaystyle|textstyle
        |limits|nolimits)(?![A-Za-z])
    |\\(begin|end)\{aligned\}
    """,
    re.VERBOSE,
)
TOKEN = re.compile(
    r"""(?P<number>\d+(?:\.\d+)?)
    |(?P<name>[A-Za-zΑ-ω]'*)
    |(?P<text>\\text(?:rm|it)?\{[^{}]*\})
    |(?P<command>\\[A-Za-z]+|\\\||\\\\|\\[{}])
    |(?P<sign>:=|[-+*/^_=<>(){}\[\],;.|!])
    """,
    re.VERBOSE,
)


def tokens(latex: str) -> list[Token]:
    """Cut the text into tokens, without what only makes room."""
    found, place = [], 0
    while place < len(latex):
        if skipped := SKIPPED.match(latex, place):
            place = skipped.end()
            continue
        match = TOKEN.match(latex, place)
        if match is None:
            raise LatexError(f"cannot read {latex[place : place + 12]!r} at {place} of {latex!r}")
        found.append(Token(str(match.lastgroup), match.group(), place, match.end()))
        place = match.end()
    found.append(Token("end", "", len(latex), len(latex)))
    return found


class Reader:
    """A recursive descent over the tokens; one is made for each formula."""

    def __init__(self, latex: str, is_function: Callable[[str], bool]) -> None:
        self.latex = latex
        self.tokens = tokens(latex)
        self.at = 0
        self.is_function = is_function
        # Signs that, where an operator could stand, end what is being read instead of opening bars.
        self.closing: list[set[str]] = [set()]
        self.beneath: list[Chain] = []  # what stands under braces and is no mere word

    # --- moving over the tokens ---------------------------------------------------------------------------

    @property
    def now(self) -> Token:
        return self.tokens[self.at]

    @property
    def last_end(self) -> int:
        return self.tokens[self.at - 1].end if self.at else 0

    def take(self, text: str | None = None) -> Token:
        token = self.now
        if text is not None and token.text != text:
            self.fail(f"expected {text!r}")
        self.at += 1
        return token

    def accept(self, *texts: str) -> Token | None:
        return self.take() if self.now.text in texts and self.now.kind != "end" else None

    def fail(self, why: str) -> None:
        token = self.now
        raise LatexError(f"{why}, found {token.text or 'the end'!r} at {token.start} of {self.latex!r}")

    # --- statements ---------------------------------------------------------------------------------------

    def formula(self) -> list[Chain]:
        chains: list[Chain] = []
        while True:
            while self.now.kind == "text" or self.now.text in {",", ";", ".", r"\\", r"\quad", r"\qquad"}:
                self.take()
            if self.now.kind == "end":
                return chains + self.beneath
            chains.append(self.chain())

    def chain(self) -> Chain:
        sides: list[Node] = [self.expression()]
        relations: list[str] = []
        spans: list[tuple[int, int]] = []
        while True:
            ahead = self.at
            while self.tokens[ahead].text == r"\\" or self.tokens[ahead].kind == "text":
                ahead += 1
            if self.tokens[ahead].text not in RELATIONS:
                return Chain(tuple(sides), tuple(relations), tuple(spans))
            self.at = ahead
            sign = self.take()
            while self.now.text == r"\\":
                self.take()
            relations.append(RELATIONS[sign.text])
            spans.append((sign.start, sign.end))
            sides.append(self.expression())

    # --- sums and products --------------------------------------------------------------------------------

    def expression(self) -> Node:
        start = self.now.start
        terms: list[Node] = []
        marks: list[str] = []
        spans: list[tuple[int, int]] = []
        if sign := self.accept("-", "+"):
            term = self.product()
            if sign.text == "-":
                term = Node("negative", "", (term,), sign.start, term.end, ("-",), ((sign.start, sign.end),))
            terms.append(term)
        else:
            terms.append(self.product())
        while True:
            # A sum may go on in the next line of an aligned formula.
            ahead = self.at
            while self.tokens[ahead].text == r"\\":
                ahead += 1
            if self.tokens[ahead].text not in {"+", "-"}:
                break
            self.at = ahead
            sign = self.take()
            marks.append(sign.text)
            spans.append((sign.start, sign.end))
            terms.append(self.product())
        if len(terms) == 1:
            return terms[0]
        return Node("sum", "", tuple(terms), start, self.last_end, tuple(marks), tuple(spans))

    def starts_factor(self) -> bool:
        token = self.now
        if token.kind in {"number", "name"}:
            return not (token.text == "d" and self.is_differential())
        if token.text in {"(", "[", "{"}:
            return True
        if token.text in {"|", r"\|"}:
            return token.text not in self.closing[-1]
        if token.kind != "command" or token.text in RELATIONS or token.text in SEPARATORS:
            return False
        if token.text in {r"\mathrm", r"\quad", r"\qquad", r"\\", r"\}", r"\end", r"\rvert", r"\rVert"}:
            return token.text == r"\mathrm" and not self.is_differential()
        return token.text not in {r"\cdot", r"\times", r"\odot", r"\to", r"\rfloor"}

    def is_differential(self) -> bool:
        text = "".join(token.text for token in self.tokens[self.at : self.at + 4])
        return text.startswith((r"\mathrmd", r"\mathrm{d}"))

    def product(self, stop_before_functions: bool = False) -> Node:
        start = self.now.start
        factors = [self.power()]
        while True:
            if self.accept(r"\cdot", r"\times", r"\odot"):
                factors.append(self.power())
            elif slash := self.accept("/"):
                below = self.power()
                above = Node("product", "", tuple(factors), start, slash.start) if factors[1:] else factors[0]
                factors = [Node("quotient", "/", (above, below), start, below.end)]
            elif self.starts_factor() and not (stop_before_functions and self.now.text in FUNCTIONS):
                factors.append(self.power())
            else:
                break
        return factors[0] if len(factors) == 1 else Node("product", "", tuple(factors), start, self.last_end)

    def power(self) -> Node:
        base = self.factor()
        while hat := self.accept("^"):
            if self.is_transpose():
                base = Node("transpose", "", (base,), base.start, self.last_end)
                continue
            exponent = self.braced()
            base = Node(
                "power", "", (base, exponent), base.start, self.last_end, spans=((hat.start, self.last_end),)
            )
        return base

    def is_transpose(self) -> bool:
        if self.accept(r"\top"):
            return True
        if self.now.text == "{" and self.tokens[self.at + 1].text == r"\top":
            self.at += 2
            self.take("}")
            return True
        return False

    def braced(self) -> Node:
        """One token, or a group in braces."""
        if self.accept("{"):
            inside = self.expression()
            self.take("}")
            return inside
        token = self.now
        if token.kind == "number":  # x^23 is x^2 times 3
            self.tokens[self.at : self.at + 1] = [
                Token("number", digit, token.start + i, token.start + i + 1)
                for i, digit in enumerate(token.text)
            ]
            return self.number()
        return self.factor(bare=True)

    # --- factors ------------------------------------------------------------------------------------------

    def number(self) -> Node:
        token = self.take()
        return Node("number", token.text, (), token.start, token.end)

    def factor(self, bare: bool = False) -> Node:
        token = self.now
        if token.kind == "number":
            return self.number()
        if token.text in {"(", "[", "{"}:
            return self.group()
        if token.text in {"|", r"\|", r"\lvert", r"\lVert"}:
            return self.bars()
        if token.text == r"\lfloor":
            return self.floor()
        if token.text == r"\frac" or token.text == r"\tfrac" or token.text == r"\dfrac":
            return self.fraction()
        if token.text == r"\sqrt":
            self.take()
            inside = self.braced()
            return Node("apply", "sqrt", (inside,), token.start, self.last_end)
        if token.text in FUNCTIONS:
            return self.prefix()
        if token.text == r"\int":
            return self.integral()
        following = self.tokens[self.at + 1].text if token.kind != "end" else ""
        if token.text in {r"\sum", r"\prod"} or (
            token.text in {r"\max", r"\min"} and following in {"_", "("}
        ):
            return self.big()
        if token.text == r"\lim":
            return self.limit()
        if token.text == r"\nabla":
            return self.gradient()
        if token.text in {r"\underbrace", r"\overbrace"}:
            return self.brace()
        if token.text == r"\begin":
            return self.cases()
        if token.kind == "text" and bare:  # a word as an index
            self.take()
            return Node("name", token.text, (), token.start, token.end, (token.text,))
        if token.kind in {"name", "command"}:
            return self.named(bare)
        self.fail("expected a number, a name or a bracket")
        raise AssertionError  # fail() never returns

    def group(self) -> Node:
        opening = self.take()
        self.closing.append(set())
        inside = self.expression()
        self.closing.pop()
        self.take({"(": ")", "[": "]", "{": "}"}[opening.text])
        return Node(
            inside.kind, inside.text, inside.parts, opening.start, self.last_end, inside.marks, inside.spans
        )

    def bars(self) -> Node:
        opening = self.take()
        closing = {r"\lvert": r"\rvert", r"\lVert": r"\rVert"}.get(opening.text, opening.text)
        self.closing.append({closing})
        inside = self.expression()
        self.closing.pop()
        self.take(closing)
        kind = "bars" if closing in {"|", r"\rvert"} else "norm"
        return Node(kind, "", (inside,), opening.start, self.last_end)

    def floor(self) -> Node:
        opening = self.take()
        self.closing.append(set())
        inside = self.expression()
        self.closing.pop()
        self.take(r"\rfloor")
        return Node("floor", "", (inside,), opening.start, self.last_end)

    def fraction(self) -> Node:
        token = self.take()
        first = self.tokens[self.at + 1].text if self.now.text == "{" else self.now.text
        if first == r"\partial" or (self.now.text == "{" and self.inside_is_differential()):
            return self.derivative(token)
        above = self.braced()
        below = self.braced()
        return Node("quotient", r"\frac", (above, below), token.start, self.last_end)

    def inside_is_differential(self) -> bool:
        self.at += 1
        found = self.is_differential()
        self.at -= 1
        return found

    def differential(self) -> None:
        if self.accept(r"\partial"):
            return
        self.take(r"\mathrm")
        if self.accept("{"):
            self.take("d")
            self.take("}")
        else:
            self.take("d")

    def derivative(self, token: Token) -> Node:
        self.take("{")
        self.differential()
        order = int(self.take().text) if self.accept("^") else 1
        body = None if self.now.text == "}" else self.product()
        self.take("}")
        self.take("{")
        variables: list[Node] = []
        while self.now.text != "}":
            self.differential()
            variable = self.factor(bare=True)
            times = int(self.take().text) if self.accept("^") else 1
            variables += [variable] * times
        self.take("}")
        if len(variables) != order:
            self.fail("the derivative's order and its variables disagree")
        if body is None:
            body = self.product()
        return Node("derivative", "", (body, *variables), token.start, self.last_end)

    def gradient(self) -> Node:
        token = self.take()
        self.take("_")
        variable = self.braced()
        body = self.product()
        return Node("derivative", "", (body, variable), token.start, self.last_end)

    def prefix(self) -> Node:
        token = self.take()
        inside = self.group() if self.now.text in {"(", "["} else self.product(stop_before_functions=True)
        return Node(
            "apply",
            FUNCTIONS[token.text],
            (inside,),
            token.start,
            self.last_end,
            spans=((token.start, token.end),),
        )

    def brace(self) -> Node:
        """An underbrace is what stands over it; who takes that away takes the brace with it.

        A word beneath it says what it is called; a symbol there is claimed to be the same.
        """
        start = self.take().start
        inside = self.braced()
        if sign := self.accept("_", "^"):
            begun, depth = self.at, 0
            while not depth or depth > 1 or self.now.text != "}":
                depth += {"{": 1, "}": -1}.get(self.take().text, 0)
            self.take("}")
            end = self.at
            if all(token.kind != "text" for token in self.tokens[begun:end]):
                self.at = begun
                named = self.braced()
                self.beneath.append(Chain((inside, named), ("=",), ((sign.start, sign.end),)))
            self.at = end
        return Node(inside.kind, inside.text, inside.parts, start, self.last_end, inside.marks, inside.spans)

    # --- what binds a variable ----------------------------------------------------------------------------

    def limits(self) -> tuple[Node | None, Node | None]:
        low = high = None
        while sign := self.accept("_", "^"):
            if sign.text == "_":
                low = self.braced()
            else:
                high = self.braced()
        return low, high

    def integral(self) -> Node:
        token = self.take()
        low, high = self.limits()
        body = self.expression()
        if not self.is_differential():
            self.fail(r"expected \mathrm d and the variable of the integral")
        variables = []
        while self.is_differential():
            self.differential()
            variables.append(self.factor(bare=True))
        if (low is None) != (high is None):
            self.fail("an integral has both ends or none, and this one has one")
        ends = () if low is None or high is None else (low, high)
        if ends and len(variables) > 1:
            self.fail("an integral with ends has one variable")
        marks = ("ends",) if ends else ()
        return Node(
            "integral", str(len(variables)), (body, *variables, *ends), token.start, self.last_end, marks
        )

    def big(self) -> Node:
        token = self.take()
        name = token.text[1:]
        if name in {"max", "min"} and self.now.text == "(":
            arguments, marks, spans = self.arguments()
            return Node("call", name, arguments, token.start, self.last_end, marks, spans)
        self.take("_")
        group = self.accept("{")
        index = self.factor(bare=True)
        low: tuple[Node, ...] = ()
        if self.accept("=", r"\in"):
            low = (self.expression(),)
        if group:
            self.take("}")
        high = (self.braced(),) if self.accept("^") else ()
        body = self.product()
        return Node("big", name, (body, index, *low, *high), token.start, self.last_end)

    def limit(self) -> Node:
        token = self.take()
        self.take("_")
        self.take("{")
        variable = self.factor(bare=True)
        self.take(r"\to")
        goal = self.expression()
        self.take("}")
        body = self.product()
        return Node("limit", "", (body, variable, goal), token.start, self.last_end)

    def cases(self) -> Node:
        token = self.take()
        for sign in ("{", *"cases", "}"):
            self.take(sign)
        rows: list[Node] = []
        while self.now.text != r"\end":
            value = self.expression()
            self.accept(",")
            if self.now.kind == "text":  # "if" and "otherwise" are words
                self.take()
            rows.append(value)
            if self.now.text in {r"\\", r"\end"} or self.now.kind == "text":
                while self.now.kind == "text":
                    self.take()
            else:
                chain = self.chain()
                rows.append(
                    Node("relation", "", chain.sides, value.end, self.last_end, chain.relations, chain.spans)
                )
            while self.accept(r"\\", ",", ".", ";"):
                pass
        self.take(r"\end")
        for sign in ("{", *"cases", "}"):
            self.take(sign)
        return Node("cases", "", tuple(rows), token.start, self.last_end)

    # --- names and calls ----------------------------------------------------------------------------------

    def bare_name(self) -> str:
        token = self.take()
        if token.text in FACES | ACCENTS:
            braced = self.accept("{")
            letters = ""
            while not letters or (braced and self.now.text != "}"):
                letters += self.bare_name() if self.now.kind == "command" else self.take().text
            if braced:
                self.take("}")
            if token.text in {r"\mathrm", r"\operatorname"}:
                return letters
            return f"{token.text} {letters}"
        if token.kind not in {"name", "command"}:
            self.at -= 1
            self.fail("expected a name")
        return token.text

    def subscript(self) -> tuple[Node, ...]:
        if self.now.text == "{" and self.tokens[self.at + 1].kind == "text":
            self.take()
            word = self.factor(bare=True)
            self.take("}")
            return (word,)
        if self.accept("{"):
            parts = [self.relation_or_expression()]
            while self.accept(","):
                parts.append(self.relation_or_expression())
            self.take("}")
            return tuple(parts)
        return (self.braced(),)

    def relation_or_expression(self) -> Node:
        start = self.now.start
        left = self.expression()
        if self.now.text in {r"\sim"}:
            sign = self.take()
            right = self.expression()
            return Node(
                "relation", "", (left, right), start, self.last_end, ("~",), ((sign.start, sign.end),)
            )
        return left

    def named(self, bare: bool) -> Node:
        start = self.now.start
        name = self.bare_name()
        if name in OPERATORS:
            return self.operator(name, start)
        full = name
        sub: tuple[Node, ...] = ()
        while not bare or self.now.text == "_":
            if self.now.text == "^" and self.tokens[self.at + 1].text in {r"\ast", r"\star", "*"}:
                self.at += 2
                full += "^*"
                name = full
            elif self.now.text == "_" and not sub:
                self.take()
                before = self.at
                sub = self.subscript()
                text = "".join(token.text for token in self.tokens[before : self.at])
                full = f"{full}_{text.removeprefix('{').removesuffix('}')}"
            else:
                break
        if not bare and self.now.text in {"(", "["} and (self.is_function(full) or self.is_function(name)):
            arguments, marks, spans = self.arguments()
            head = full if self.is_function(full) or not sub else name
            index = sub if head == name and sub else ()
            parts = (*arguments, *index)
            return Node("call", head, parts, start, self.last_end, (*marks, "_") if index else marks, spans)
        return Node("name", full, sub, start, self.last_end, (name,))

    def arguments(self) -> tuple[tuple[Node, ...], tuple[str, ...], tuple[tuple[int, int], ...]]:
        opening = self.take()
        self.closing.append({"|", r"\|"})  # between arguments a bar separates
        found: list[Node] = [self.expression()]
        marks: list[str] = []
        spans: list[tuple[int, int]] = []
        while self.now.text in SEPARATORS:
            sign = self.take()
            marks.append(SEPARATORS[sign.text])
            spans.append((sign.start, sign.end))
            found.append(self.expression())
        self.closing.pop()
        self.take(")" if opening.text == "(" else "]")
        return tuple(found), tuple(marks), tuple(spans)

    def operator(self, name: str, start: int) -> Node:
        sub = self.subscript() if self.accept("_") else ()
        if self.now.text not in {"[", "("}:
            self.fail(f"expected a bracket after {name}")
        if name == "Cov":
            body, _, _ = self.arguments()
        else:
            body = (self.group(),)
        return Node("operator", name, (*body, *sub), start, self.last_end, ("sub",) * len(sub))


def parse(latex: str, is_function: Callable[[str], bool]) -> list[Chain]:
    r"""Read a formula.

    Parameters
    ----------
    latex : str
        What stands between the dollar signs.
    is_function : callable
        Whether a name that is followed by a bracket is called (``f(x)``) or multiplied (``m (x + 1)``).

    Returns
    -------
    list of Chain
        One for each statement; a formula may hold several, one under the other or after a comma.

    Raises
    ------
    LatexError
        If something is not of the book's notation.

    Examples
    --------
    >>> [chain] = parse(r"f(x) = \frac{1}{2} x^2", lambda name: name == "f")
    >>> chain.relations, [side.kind for side in chain.sides]
    (('=',), ['call', 'product'])
    """
    return Reader(latex, is_function).formula()


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and all below it that carry meaning: the subscripts of names are part of the name."""
    yield node
    if node.kind != "name":
        for part in node.parts:
            yield from walk(part)


@dataclass(frozen=True)
class Mutant:
    """A formula with one thing wrong with it."""

    latex: str
    what: str


def _edits(latex: str, node: Node) -> Iterator[tuple[int, int, str, str]]:
    """Yield what could go wrong at one node: from, to, what to put there, and a name for it."""

    def text(part: Node) -> str:
        return latex[part.start : part.end]

    if node.kind == "number" and "." not in node.text:
        yield node.start, node.end, str(int(node.text) + 1), f"{node.text} becomes {int(node.text) + 1}"
    elif node.kind == "negative":
        yield *node.spans[0], "", f"the minus before {text(node.parts[0])} is lost"
    elif node.kind == "sum":
        for mark, span, term in zip(node.marks, node.spans, node.parts[1:], strict=True):
            yield *span, {"+": "-", "-": "+"}[mark], f"the sign before {text(term)} flips"
            yield span[0], term.end, "", f"the term {text(term)} is lost"
        first, span, mark = node.parts[0], node.spans[0], node.marks[0]
        yield first.start, span[1] if mark == "+" else first.end, "", f"the term {text(first)} is lost"
    elif node.kind == "product":
        for factor in node.parts:
            yield factor.start, factor.end, "", f"the factor {text(factor)} is lost"
    elif node.kind == "transpose":
        yield node.parts[0].end, node.end, "", f"the transpose of {text(node.parts[0])} is lost"
    elif node.kind == "floor":
        yield node.start, node.end, f"({text(node.parts[0])})", f"the floor of {text(node.parts[0])} is lost"
    elif node.kind == "power":
        yield *node.spans[0], "", f"the exponent of {text(node.parts[0])} is lost"
    elif node.kind == "quotient" and node.text != "/":
        above, below = map(text, node.parts)
        yield node.start, node.end, rf"\frac{{{below}}}{{{above}}}", f"{text(node)} is turned over"
    elif node.kind == "apply" and node.spans:
        yield *node.spans[0], "", f"the {node.text} of {text(node.parts[0])} is lost"
    elif node.kind == "call" and node.spans:
        first, second = node.parts[:2]
        between = latex[first.end : second.start]
        yield (
            first.start,
            second.end,
            text(second) + between + text(first),
            f"the arguments of {text(node)} swap",
        )


def mutants(latex: str, is_function: Callable[[str], bool]) -> list[Mutant]:
    """Return the formula's mutants: each is the text with one sign, number, term or order changed.

    Signs flip, numbers grow by one, exponents, terms, factors and function names are lost, fractions turn
    over, neighbouring arguments swap, inequalities turn round. Texts that no longer make a formula are left
    out, and so are duplicates.

    Parameters
    ----------
    latex : str
        A formula that :func:`parse` reads.
    is_function : callable
        As for :func:`parse`.
    """
    edits: list[tuple[int, int, str, str]] = []
    for chain in parse(latex, is_function):
        for relation, (start, end) in zip(chain.relations, chain.spans, strict=True):
            if relation in {">=", "<=", "<", ">"}:
                turned = {">=": r"\le", "<=": r"\ge", "<": ">", ">": "<"}[relation]
                edits.append((start, end, turned + " ", "the inequality turns round"))
        for side in chain.sides:
            edits += [edit for node in walk(side) for edit in _edits(latex, node)]
    found: dict[str, Mutant] = {}
    for start, end, instead, what in edits:
        altered = f"{latex[:start]} {instead} {latex[end:]}"
        try:
            parse(altered, is_function)
        except LatexError:
            continue
        if altered != latex:
            found.setdefault(altered, Mutant(altered, what))
    return list(found.values())
