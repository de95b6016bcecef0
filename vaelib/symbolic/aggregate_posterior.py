"""The aggregate posterior held against the prior: one latent, all latents, and few images. Book: page 18."""

import itertools
from collections.abc import Callable, Sequence

import sympy as sp

from vaelib.symbolic.claims import Claim
from vaelib.symbolic.distances import SYMMETRIC, pieces, swaps
from vaelib.symbolic.elbo import distribution, table, tidy
from vaelib.symbolic.reading import Reading, Space, Value, normal

z, t, m = sp.symbols("z t m", real=True)
s = sp.Symbol("s", positive=True)
standard = (sp.S.Zero, sp.S.One)  # mean and deviation of the prior of one latent


def below(z: Value) -> sp.Expr:
    """Phi, the standard normal distribution function."""
    return (1 + sp.erf(z / sp.sqrt(2))) / 2


# --- one latent ------------------------------------------------------------------------------------------


def ends(shift: sp.Expr, slope: sp.Expr) -> tuple[sp.Expr, ...]:
    """Cut the line where ``shift + slope * t`` is 0, so that an integral of its size has no kink within."""
    if sp.expand(slope) == 0:
        return (-sp.oo, sp.S.Zero, sp.oo)
    return (-sp.oo, -shift / slope, sp.oo)


def normal_wasserstein(q: tuple[sp.Expr, sp.Expr], p: tuple[sp.Expr, sp.Expr]) -> sp.Expr:
    r"""1-Wasserstein distance of two normal distributions, with nothing solved yet.

    .. math::

        \int |\mu_q - \mu_p + (\sigma_q - \sigma_p) \, t| \, \mathcal N(t; 0, 1) \, dt

    Parameters
    ----------
    q, p : pair of Expr
        Mean and deviation.

    References
    ----------
    Book: def-wasserstein with u = Phi(t), eq-w1-normal.
    """
    shift, slope = q[0] - p[0], q[1] - p[1]
    return pieces(t, *ends(shift, slope)).integral(lambda t: sp.Abs(shift + slope * t) * normal(t, *standard))


def mean_size(shift: sp.Expr = m, slope: sp.Expr = s) -> sp.Expr:
    r"""The mean of :math:`|m + s t|` over a standard normal t, solved on both sides of its kink.

    .. math::

        \int_{-m/s}^{\infty} (m + s t) \, \mathcal N(t; 0, 1) \, dt
        - \int_{-\infty}^{-m/s} (m + s t) \, \mathcal N(t; 0, 1) \, dt

    Parameters
    ----------
    shift, slope : Expr
        m, and s > 0.

    References
    ----------
    Book: eq-w1-normal.
    """
    # Indefinite, which takes a hundredth of the time that SymPy needs between symbolic ends.
    primitive = sp.integrate(sp.expand((shift + slope * t) * normal(t, *standard)), t)
    at_kink = primitive.subs(t, -shift / slope)
    at_ends = sp.limit(primitive, t, sp.oo) + sp.limit(primitive, t, -sp.oo)
    return sp.expand(at_ends - 2 * at_kink)


one_latent = Reading(
    {
        "z": z, "t": t, "m": m, "s": s, "W_1": normal_wasserstein,
        r"\mathcal N(,)": lambda mean, variance: (mean, sp.sqrt(variance)),
    },
    domains={"t": pieces(t, *ends(m, s - 1))},
)  # fmt: skip

# Of three draws from the prior, k lie below z.
DRAWS = 3
shares = Reading(
    {
        "N": sp.Integer(DRAWS), "z": z,
        "p(k)": lambda k: sp.binomial(DRAWS, k) * below(z) ** k * (1 - below(z)) ** (DRAWS - k),
    },
    domains={"k": [sp.Integer(k) for k in range(DRAWS + 1)]},
)  # fmt: skip

# --- all latents -----------------------------------------------------------------------------------------

a, b, c = sp.symbols("a b c", real=True)


def even_signs(a: Value, b: Value, c: Value) -> sp.Expr:
    r"""The density of three latents of which the third takes its sign from the other two.

    a and b are independent and standard normal. The size of c is that of a standard normal number, and its
    sign is that of the product of a and b.

    Parameters
    ----------
    a, b, c : Expr

    References
    ----------
    Book: def-even-signs.
    """
    same_side = sp.Or(sp.And(a * b > 0, c > 0), sp.And(a * b < 0, c < 0))
    return (
        normal(a, *standard)
        * normal(b, *standard)
        * sp.Piecewise((2 * normal(c, *standard), same_side), (0, True))
    )


def both_sides(function: Callable[[Value], Value]) -> sp.Expr:
    """Integrate over the line as one half of it: what happens at c and at -c is added first."""
    size = sp.Symbol("c", positive=True)
    return sp.Integral(function(size) + function(-size), (size, 0, sp.oo))


three = Reading(
    {"a": a, "b": b, "c": c, "p": lambda z: normal(z, *standard), "q": even_signs},
    domains={"c": Space(c, both_sides)},
)

# Space in eight parts by the signs of the latents, in each of which the density is a multiple of the prior's.
OCTANTS = {
    signs: even_signs(*signs) / sp.prod(normal(sign, *standard) for sign in signs)
    for signs in itertools.product((sp.S.One, sp.S.NegativeOne), repeat=3)
}
octants = Reading(
    {"q": lambda octant: OCTANTS[octant], "p": lambda octant: sp.S.One},
    domains={
        "z": Space(
            (sp.S.One, sp.S.One, sp.S.One),
            lambda f: sp.Add(*(f(octant) / 8 for octant, ratio in OCTANTS.items() if ratio > 0)),
        )
    },
)

# Two latents of two values each, and any distribution of the pair.
PAIRS = list(itertools.product((sp.S.One, sp.Integer(2)), repeat=2))
g = sp.symbols("g1:4", positive=True)
JOINT = dict(zip(PAIRS, (*g, 1 - sp.Add(*g)), strict=True))
h = sp.Symbol("h", positive=True)


def alone(index: int) -> Callable[[Value], sp.Expr]:
    """Return the distribution of one latent of the pair."""
    return lambda value: sp.Add(*(mass for pair, mass in JOINT.items() if pair[index] == value))


def prior(value: Value) -> sp.Expr:
    """The prior of the pair, which is independent, or of one latent."""
    values: Sequence[Value] = value if isinstance(value, tuple) else (value,)
    return sp.prod(h if entry == 1 else 1 - h for entry in values)


def total_correlation() -> sp.Expr:
    r"""How far the pair is from independence, by entropies.

    .. math::

        \mathrm H(q_1) + \mathrm H(q_2) - \mathrm H(q_\phi(z))

    References
    ----------
    Book: def-total-correlation. Watanabe (1960).
    """

    def entropy(masses: Sequence[sp.Expr]) -> sp.Expr:
        return -sp.Add(*(mass * sp.log(mass) for mass in masses))

    singles = sp.Add(*(entropy([alone(j)(k) for k in (1, 2)]) for j in (0, 1)))
    return singles - entropy(list(JOINT.values()))


pair = Reading(
    {
        "J": sp.Integer(2), "j": sp.S.One, "TC(z)": total_correlation(),
        r"q_\phi(z)": lambda z: JOINT[z], "q(z)": [alone(0), alone(1)], "p(z)": prior,
    },
    domains={"z": PAIRS, "z_j": [sp.S.One, sp.Integer(2)]},
)  # fmt: skip

# --- few images ------------------------------------------------------------------------------------------

# Three images, and the distribution of three latent values that each is given.
rows = [distribution(letter) for letter in "cde"]


def mixture(rows: Sequence[Sequence[sp.Expr]]) -> Callable[..., Value]:
    """Return the mean of some images' distributions."""
    return table([sp.Add(*column) / len(rows) for column in zip(*rows, strict=True)])


leave_one_out = Reading(
    {
        "N": sp.Integer(3), "i": sp.S.One, "p(z)": table(distribution("p")), r"q_\phi(z)": mixture(rows),
        r"\tilde q(z)": [mixture(rows[:i] + rows[i + 1 :]) for i in range(3)],
    },
    domains={"z": [sp.Integer(k) for k in (1, 2, 3)]},
)  # fmt: skip

DIFFERENCE = "only the distance of point and mean counts"
CHANCES = {f"{letter}{k}": (0.1, 0.45) for letter in "cdep" for k in (1, 2)}
ORDER = swaps("q(a, b, c)")

CLAIMS = {
    "eq-qq-line": Claim(
        one_latent, method="quadrature", equivalent=swaps(r"\mathcal N(z; m, s^2)", why=DIFFERENCE)
    ),
    # Once narrower than the prior, once wider.
    "eq-w1-normal": Claim(
        one_latent,
        method="quadrature",
        ranges={"s": (0.6, 1.7, 1.3)},
        equivalent=swaps(r"W_1\bigl(\mathcal N(m, s^2), \mathcal N(0, 1)\bigr)", why=SYMMETRIC)
        | swaps(
            r"\mathcal N(t; 0, 1)", r"\mathcal N\Bigl( \frac{m}{|s - 1|}; 0, 1 \Bigr)", why=DIFFERENCE
        ),
    ),
    "eq-means-distance": Claim(
        one_latent,
        method="quadrature",
        ranges={"s": (0.2, 0.9)},
        equivalent=swaps(r"W_1\bigl(\mathcal N(0, 1 - s^2), \mathcal N(0, 1)\bigr)", why=SYMMETRIC),
    ),
    "eq-share-variance": Claim(shares),
    # Where the product of the latents is positive, though two of them are not, and where it is negative.
    "def-even-signs": Claim(
        three,
        method="quadrature",
        ranges={"a": (-0.7, 0.4, 0.0), "b": (-1.1, 0.9, 0.0), "c": (0.5, -0.8, 0.0)},
        equivalent=ORDER,
    ),
    "eq-even-pair": Claim(three, method="quadrature", equivalent=ORDER),
    "eq-one-bit": Claim(octants),
    "def-total-correlation": Claim(pair, ranges={f"g{k}": (0.1, 0.3) for k in (1, 2, 3)}, simplify=tidy),
    "eq-marginals-miss": Claim(
        pair, ranges={"h": (0.1, 0.9)} | {f"g{k}": (0.1, 0.3) for k in (1, 2, 3)}, simplify=tidy
    ),
    "eq-fewer-images": Claim(leave_one_out, ranges=CHANCES, simplify=tidy),
}  # fmt: skip
