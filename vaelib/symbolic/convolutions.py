"""Strided convolutions and their transposes along a row of pixels, from windows that move. Book: page 17.

Nothing here knows a formula of the page: windows are laid down one by one, and looked at.
"""

import itertools
from collections.abc import Mapping, Sequence

import sympy as sp

from vaelib.symbolic.claims import Claim
from vaelib.symbolic.reading import Reading

Row = Sequence[sp.Expr]


def windows(side: int, kernel: int, *, stride: int, padding: int) -> list[range]:
    """Places that each window covers, counted from 1; those below 1 or above the side are padding.

    Parameters
    ----------
    side, kernel, stride, padding : int
        n, k, s and p.
    """
    first, last = 1 - padding, side + padding
    starts = itertools.count(first, stride)
    fitting = itertools.takewhile(lambda start: start + kernel - 1 <= last, starts)
    return [range(start, start + kernel) for start in fitting]


def beyond(row: Row) -> Mapping[int, sp.Expr]:
    """The row by place, counted from 1, with zeros for some way around it."""
    return {place: row[place - 1] if 1 <= place <= len(row) else sp.S.Zero for place in range(-20, 40)}


def convolve(weights: Row, row: Row, *, stride: int = 2, padding: int = 1) -> list[sp.Expr]:
    r"""What each window holds, weighted and added up.

    .. math::

        y_i = \sum_{j=1}^{k} w_j \, x_{s (i - 1) + j - p}

    Parameters
    ----------
    weights, row : sequence of Expr
        w and x.
    stride, padding : int
        s and p.

    References
    ----------
    Book: def-convolution.
    """
    there = beyond(row)
    return [
        sp.Add(*(weight * there[place] for weight, place in zip(weights, window, strict=True)))
        for window in windows(len(row), len(weights), stride=stride, padding=padding)
    ]


def matrix(weights: Row, side: int, *, stride: int = 2, padding: int = 1) -> sp.Matrix:
    """The matrix that convolves: its columns are what comes of a single pixel that is 1.

    References
    ----------
    Book: eq-convolution-matrix.
    """
    pixels = ([sp.Integer(place == other) for other in range(side)] for place in range(side))
    return sp.Matrix([convolve(weights, pixel, stride=stride, padding=padding) for pixel in pixels]).T


def paint(
    weights: Row, row: Row, *, stride: int = 2, padding: int = 1, output_padding: int = 0
) -> list[sp.Expr]:
    r"""Convolve the transposed way: every number paints a window, and where windows overlap paint adds up.

    .. math::

        \hat x_t = \sum_{i=1}^{m} w_{t + p - s (i - 1)} \, u_i

    Parameters
    ----------
    weights, row : sequence of Expr
        w and u.
    stride, padding, output_padding : int
        s, p, which is cut off at both ends, and o, which stays at the end.

    References
    ----------
    Book: def-transposed-convolution.
    """
    canvas = [sp.S.Zero] * (stride * (len(row) - 1) + len(weights) + output_padding)
    for (i, amount), (j, weight) in itertools.product(enumerate(row), enumerate(weights)):
        canvas[stride * i + j] += weight * amount
    return canvas[padding : len(canvas) - padding]


def doubled(row: Row) -> list[sp.Expr]:
    """Each pixel twice: the nearest neighbour, on twice the side."""
    return [pixel for pixel in row for _ in range(2)]


def uses(
    side: int, kernel: int, *, stride: int, padding: int, inputs: int, outputs: int
) -> list[tuple[int, ...]]:
    """The weight in each product of an image's convolution: channel out, channel in, row and column.

    References
    ----------
    Book: eq-weight-count. A window that hangs over the edge multiplies the zeros there, too.
    """
    places = windows(side, kernel, stride=stride, padding=padding)
    channels = itertools.product(range(outputs), range(inputs))
    within = itertools.product(range(kernel), repeat=2)
    weights = [(*pair, *place) for pair, place in itertools.product(channels, within)]
    return weights * len(list(itertools.product(places, repeat=2)))


def sees(strides: Sequence[int], kernel: int = 3) -> int:
    """How many pixels in a row one unit depends on, through layers with these strides, the first one first.

    References
    ----------
    Book: eq-receptive-field.
    """
    places = {0}
    for stride in reversed(strides):
        places = {stride * place + j for place in places for j in range(kernel)}
    return max(places) - min(places) + 1


# --- how the page's equations are read and checked -------------------------------------------------------

SIDE = 8
w = sp.symbols("w1:4", real=True)
x, u = sp.symbols("x1:9", real=True), sp.symbols("u1:5", real=True)
same = sp.Symbol("u", real=True)
PAINTED = paint(w, u, output_padding=1)

# A row of eight, three weights, stride 2; the second window, and a pixel that two windows share.
row = {
    "n": sp.Integer(SIDE), "k": sp.Integer(3), "s": sp.Integer(2), "p": sp.S.One, "m": sp.Integer(4),
    "i": sp.Integer(2), "t": sp.Integer(2), "w": beyond(w), "x": beyond(x), "u": u,
    "y": convolve(w, x), r"\hat x": PAINTED,
}  # fmt: skip
C = matrix(w, SIDE)
as_matrices = row | {
    "C": C, "t": sp.Integer(4), "C_it": C[1, 3],
    "x": sp.Matrix(x), "u": sp.Matrix(u), "y": sp.Matrix(row["y"]), r"\hat x": sp.Matrix(PAINTED),
}  # fmt: skip

# A side, by what it is made of: m windows, a stride apart, and r pixels that none of them reaches.
n, m, k, s, p, o, r = sp.symbols("n m k s p o r", integer=True, positive=True)
spelled_out = Reading({"n": s * (m - 1) + k - 2 * p + r, "m": m, "k": k, "s": s, "p": p})


def whole_part(difference: sp.Expr) -> sp.Expr:
    """Take whole numbers out of floors; what is left of r / s there is below 1, since r is below s."""
    return sp.simplify(sp.expand(difference).subs(sp.floor(r / s), 0))


# How many windows there are, looking at one after the other; and what a side has beyond what they paint.
ENOUGH = 30
counted = sp.Add(*(sp.Piecewise((1, s * i + k <= n + 2 * p), (0, True)) for i in range(ENOUGH)))
left_over = Reading({"n": n, "k": k, "s": s, "p": p, "o": n - (s * (counted - 1) - 2 * p + k)})

# What three painted windows reach.
reached = Reading(
    {
        r"\hat n": sp.Max(*(s * i + k for i in range(3))) - 2 * p + o,
        "m": sp.Integer(3), "k": k, "s": s, "p": p, "o": o,
    }
)  # fmt: skip

products = uses(4, 3, stride=2, padding=1, inputs=2, outputs=5)
pixels_in, pixels_out = (list(itertools.product(range(c), range(a), range(a))) for c, a in ((2, 4), (5, 2)))
counts = Reading(
    {
        "n": sp.Integer(4), "m": sp.Integer(2), "k": sp.Integer(3), "c": sp.Integer(2), "c'": sp.Integer(5),
        r"P_\text{conv}": sp.Integer(len(set(products))), r"Q_\text{conv}": sp.Integer(len(products)),
        r"P_\text{dense}": sp.Integer(len(list(itertools.product(pixels_in, pixels_out)))),
    }
)  # fmt: skip

STRIDES = (2, 3, 2)
fields = Reading(
    {
        "l": sp.Integer(3), "k": sp.Integer(3), "s": [sp.Integer(stride) for stride in STRIDES],
        "r": [sp.Integer(sees(STRIDES[: layer + 1])) for layer in range(3)],
    }
)  # fmt: skip

# A batch of three numbers: its variance by the differences between them, its mean where squares are least.
h = sp.symbols("h1:4", real=True)
gamma, epsilon = sp.symbols("gamma varepsilon", positive=True)
delta, centre = sp.symbols("delta centre", real=True)
[mean] = sp.solve(sp.diff(sp.Add(*((a - centre) ** 2 for a in h)), centre), centre)
variance = sp.Add(*((a - b) ** 2 for a, b in itertools.combinations(h, 2))) / 9
batch = Reading(
    {
        "h": h, r"\bar h": mean, "v": variance, "M": sp.Integer(3), "i": sp.Integer(2),
        r"\gamma": gamma, r"\varepsilon": epsilon, r"\delta": delta,
        # The straight line that takes the mean to delta and a deviation of sqrt(v + epsilon) to gamma.
        r"\hat h": [delta + sp.sqrt(gamma**2 / (variance + epsilon)) * (a - mean) for a in h],
    }
)  # fmt: skip

a = sp.Symbol("a", real=True)

WHOLE = {"m": (2, 5), "k": (3, 4), "s": (2, 3), "p": (1, 2), "r": (1, 2), "o": (1, 2)}

CLAIMS = {
    "def-convolution": Claim(Reading(row)),
    "eq-convolution-side": Claim(spelled_out, ranges=WHOLE, simplify=whole_part),
    "eq-convolution-matrix": Claim(Reading(as_matrices)),
    "def-transposed-convolution": Claim(Reading(row)),
    "eq-transposed-matrix": Claim(Reading(as_matrices)),
    "eq-adjoint": Claim(Reading(row)),
    "eq-transposed-side": Claim(reached, ranges=WHOLE),
    "eq-output-padding": Claim(
        left_over,
        method="quadrature",
        ranges={"n": (8, 7, 9, 28), "s": (2, 3, 2), "k": (3, 3, 5, 4, 3), "p": (2, 1, 1)},
    ),
    "eq-weight-count": Claim(counts),
    "eq-receptive-field": Claim(fields),
    "eq-two-phases": Claim(Reading(row)),
    "eq-checkerboard": Claim(Reading(row | {"u": same, r"\hat x": paint(w, [same] * 4, output_padding=1)})),
    "eq-nearest": Claim(Reading(row | {r"\hat x": convolve(w, doubled(u), stride=1)})),
    "def-batch-norm": Claim(batch),
    "eq-tanh-sigmoid": Claim(
        Reading({"a": a, r"\mu": sp.exp(a) / (sp.exp(a) + sp.exp(-a))}),
        simplify=lambda difference: sp.simplify(difference.rewrite(sp.exp)),
    ),
}  # fmt: skip
