"""When a latent dies, what free bits and a warm-up do about it, and what a decoder can be. Book: page 19."""

import functools
from collections.abc import Mapping, Sequence

import sympy as sp

from vaelib.symbolic.claims import Claim
from vaelib.symbolic.elbo import at_most_zero
from vaelib.symbolic.reading import Reading

beta, sigma, eigenvalue, rate, floor = sp.symbols("beta sigma lambda R f", positive=True)
amplitude = sp.Symbol("a", real=True)

# --- the best that any q can do ---------------------------------------------------------------------------

# A latent with two values; q, the prior and log p(x | z) are left as symbols.
q_one, p_one = sp.symbols("q p", positive=True)
logs = sp.symbols("t1:3", real=True)
Q, PRIOR = (q_one, 1 - q_one), (p_one, 1 - p_one)


def tilted(prior: Sequence[sp.Expr] = PRIOR) -> tuple[sp.Expr, ...]:
    r"""The q of the largest weighted ELBO: the prior, tilted by the likelihood.

    .. math::

        q^\ast(z) \propto p(z) \, p_\theta(x \mid z)^{1 / \beta}

    Parameters
    ----------
    prior : sequence of Expr
        Probabilities of the values of z.

    References
    ----------
    Book: eq-best-answer.
    """
    weights = [p * sp.exp(log / beta) for p, log in zip(prior, logs, strict=True)]
    return tuple(weight / sp.Add(*weights) for weight in weights)


def answer_is_best() -> sp.Expr:
    r"""Prove eq-best-answer: what q misses is :math:`\beta` times its KL to the best one."""
    best = tilted()
    weighted = sp.Add(*(q * (log - beta * sp.log(q / p)) for q, log, p in zip(Q, logs, PRIOR, strict=True)))
    bound = beta * sp.log(sp.Add(*(p * sp.exp(log / beta) for p, log in zip(PRIOR, logs, strict=True))))
    at_most_zero((weighted - bound) / beta, Q, best)
    return bound - weighted


def answer_is_tight(values: Mapping[str, float]) -> float:
    """The q at which both sides of eq-best-answer are equal."""
    best = sp.lambdify([p_one, beta, *logs], tilted()[0], modules=["math"])
    return float(best(values["p"], values["beta"], *(values[log.name] for log in logs)))


answers = Reading(
    {
        "x": sp.Symbol("x"), r"\beta": beta,
        "q(z)": lambda z: Q[int(z) - 1], "p(z)": lambda z: PRIOR[int(z) - 1],
        r"p_\theta(x|z)": lambda x, z: sp.exp(logs[int(z) - 1]),
    },
    domains={"z": [sp.S.One, sp.Integer(2)]},
)  # fmt: skip

# --- leaving the collapsed state --------------------------------------------------------------------------

# Two images of two pixels, whose mean is 0; a latent with two values, and a decoder that is any function of
# it whose mean over the prior is 0.
CHANCES = (sp.Rational(1, 3), sp.Rational(2, 3))
image, picture = (sp.Matrix(sp.symbols(f"{name}1:3", real=True)) for name in "xg")
IMAGES = (image, -image)
PICTURES = (picture, -picture / 2)
COVARIANCE = sp.Add(*(x * x.T for x in IMAGES)) / len(IMAGES)


def best_objective(scale: sp.Expr = amplitude) -> sp.Expr:
    r"""The weighted ELBO of a decoder :math:`a \, g(z)` whose q is the best of all, but for a constant.

    .. math::

        \frac{1}{N} \sum_{i=1}^{N} \beta \log
        \mathbb E_{p(z)}\Bigl[ e^{-\|x_i - a \, g(z)\|^2 / 2 \beta \sigma^2} \Bigr]

    Parameters
    ----------
    scale : Expr
        a.

    References
    ----------
    Book: eq-waking.
    """

    def inside(x: sp.Matrix) -> sp.Expr:
        terms = (
            chance * sp.exp(-sum(entry**2 for entry in x - scale * picture) / (2 * beta * sigma**2))
            for chance, picture in zip(CHANCES, PICTURES, strict=True)
        )
        return beta * sp.log(sp.Add(*terms))

    return sp.Add(*map(inside, IMAGES)) / len(IMAGES)


def at_rest(difference: sp.Expr) -> sp.Expr:
    """Put the amplitude to 0, where the decoder ignores z; only polynomials are left to be compared."""
    still = difference.subs(amplitude, 0).doit()
    return sp.cancel(sp.expand(sp.powsimp(sp.expand(still))))


waking = Reading(
    {
        "a": amplitude, r"\beta": beta, r"\sigma": sigma, "N": sp.Integer(2), "x": IMAGES, "S": COVARIANCE,
        "I": sp.eye(2), "g(z)": lambda z: PICTURES[int(z) - 1], "p(z)": lambda z: CHANCES[int(z) - 1],
    },
    domains={"z": [sp.S.One, sp.Integer(2)]},
)  # fmt: skip

# --- cures ------------------------------------------------------------------------------------------------

step, warmup = sp.symbols("t w", positive=True)
rates = sp.symbols("R1:4", positive=True)


@functools.cache
def best_rate() -> sp.Expr:
    r"""The rate at which one latent costs least if f nats are free, from the slope on each side of f.

    .. math::

        \frac{\lambda}{2 \sigma^2} e^{-2 R} + \beta \max(f, R)

    References
    ----------
    Book: eq-free-rate. Its first term is the distortion that eq-price-is-slope has.
    """
    distortion = eigenvalue * sp.exp(-2 * rate) / (2 * sigma**2)
    [level] = sp.solve(sp.diff(distortion + beta * rate, rate), rate)
    # Below the floor the cost only falls. Above it, it falls on if the slope at the floor is still negative.
    falls_on = sp.diff(distortion + beta * rate, rate).subs(rate, floor) < 0
    return sp.Piecewise((level, falls_on), (floor, True))


# --- what a decoder can be --------------------------------------------------------------------------------

# Two images of one pixel, a latent with two values, and an encoder that is any table.
pixels = sp.symbols("x1:3", real=True)
shares = sp.symbols("q1:3", positive=True)  # q(z = 1 | x_i)
drawn = sp.symbols("c1:3", real=True)  # what the decoder draws at each z


def encoder(z: sp.Expr, image: sp.Expr) -> sp.Expr:
    """q(z | x_i), for the image with that pixel."""
    share = shares[pixels.index(image)]
    return share if int(z) == 1 else 1 - share


def best_picture(z: sp.Expr) -> sp.Expr:
    r"""What to draw at z: where the slope of the squared error, weighted with q(z | x_i), vanishes.

    .. math::

        \min_c \; \sum_{i=1}^{N} q_\phi(z \mid x_i) (x_i - c)^2

    References
    ----------
    Book: def-average-image.
    """
    c = sp.Symbol("c", real=True)
    cost = sp.Add(*(encoder(z, x) * (x - c) ** 2 for x in pixels))
    [found] = sp.solve(sp.diff(cost, c), c)
    return found


pictures = Reading(
    {
        "x": pixels, "N": sp.Integer(2), r"q_\phi(z|x)": encoder, r"\bar x": best_picture,
        r"q_\phi(z)": lambda z: sp.Add(*(encoder(z, x) for x in pixels)) / 2,
        r"\hat x": lambda z: drawn[int(z) - 1], "z": sp.S.One,
    },
    domains={"z": [sp.S.One, sp.Integer(2)]},
)  # fmt: skip

mean, width = sp.Symbol("mu", real=True), sp.Symbol("sigma", positive=True)

CHANCE = dict.fromkeys(("q", "p", "q1", "q2"), (0.15, 0.85))

CLAIMS = {
    "eq-best-answer": Claim(
        answers, ranges=CHANCE, tight=[{"q": answer_is_tight}], proof=answer_is_best
    ),
    # Both sides are compared where the decoder ignores z.
    "eq-waking": Claim(
        waking,
        ranges={"a": (0.0,)},
        simplify=at_rest,
        equivalent={r"the sign before a \, g(z) flips": "at a = 0 the second derivative sees no sign of a"},
    ),
    "def-kl-warm-up": Claim(
        Reading(
            {
                r"\beta_t": sp.Piecewise((beta * step / warmup, step <= warmup), (beta, True)),
                r"\beta": beta, "t": step, "w": warmup,
            }
        ),
        method="quadrature",
        ranges={"t": (0.5, 2.5, 1.5), "w": (1.0, 1.2)},
        equivalent={
            r"the arguments of \min\left(1, \frac{t}{w}\right) swap": "a minimum knows no order"
        },
    ),
    "eq-free-bits": Claim(
        Reading({"R": rates, "J": sp.Integer(3), "f": floor}),
        method="quadrature",
        ranges={"R1": (0.5, 1.5, 0.7), "f": (0.9, 1.1)},
        equivalent={r"the arguments of \max(f, R_j) swap": "a maximum knows no order"},
    ),
    "eq-free-rate": Claim(
        Reading(
            {"R^*": best_rate(), "f": floor, r"\lambda": eigenvalue, r"\beta": beta, r"\sigma": sigma}
        ),
        method="quadrature",
        ranges={"lambda": (3.0, 0.4, 2.0), "f": (0.2, 0.3), "beta": (0.9, 1.1), "sigma": (0.8, 0.9)},
        equivalent={
            r"the arguments of \max\left( f, \frac{1}{2} \log \frac{\lambda}{\beta \sigma^2} \right) swap": (
                "a maximum knows no order"
            )
        },
    ),
    "eq-halving": Claim(
        Reading({r"\mu": mean, r"\sigma": width})
    ),
    "def-average-image": Claim(pictures, ranges=CHANCE),
    "eq-blur-and-holes": Claim(pictures, ranges=CHANCE),
}  # fmt: skip
