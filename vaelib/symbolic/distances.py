"""Total variation, Jensen-Shannon and Wasserstein beside KL, from their definitions. Book: page 10."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sympy as sp

from vaelib.symbolic.claims import Claim, ClaimError, solved
from vaelib.symbolic.reading import Functional, Reading, Space, Value, normal

z, u, t = sp.symbols("z u t", real=True)


@dataclass(frozen=True)
class Law:
    r"""A distribution on the line by its density, its distribution function and its quantile function.

    Parameters
    ----------
    density, below, quantile : callable
        :math:`p(z)`, :math:`F(z) = P(Z \le z)` and its inverse Q, of SymPy expressions.

    References
    ----------
    Book: def-wasserstein.
    """

    density: Callable[[Value], Value]
    below: Callable[[Value], Value]
    quantile: Callable[[Value], Value]

    def __call__(self, point: Value) -> Value:
        """Return the density at a point."""
        return self.density(point)


def uniform(low: sp.Expr, high: sp.Expr) -> Law:
    r"""Uniform distribution on an interval.

    .. math::

        p(z) = \frac{1}{b - a}, \quad a < z < b, \qquad Q(u) = a + (b - a) u

    Parameters
    ----------
    low, high : Expr
        a and b.

    References
    ----------
    Book: eq-uniform-tv.
    """
    return Law(
        lambda z: sp.Piecewise((1 / (high - low), sp.And(z > low, z < high)), (0, True)),
        lambda z: sp.Max(0, sp.Min(1, (z - low) / (high - low))),
        lambda u: low + (high - low) * u,
    )


def gaussian(mean: sp.Expr, deviation: sp.Expr) -> Law:
    r"""Return the normal distribution.

    .. math::

        F(z) = \Phi\left( \frac{z - \mu}{\sigma} \right), \qquad
        Q(u) = \mu + \sigma \Phi^{-1}(u)

    Parameters
    ----------
    mean, deviation : Expr

    References
    ----------
    Book: eq-gaussian-tv, eq-gaussian-w2.
    """
    return Law(
        lambda z: normal(z, mean, deviation**2),
        lambda z: (1 + sp.erf((z - mean) / (deviation * sp.sqrt(2)))) / 2,
        lambda u: mean + deviation * sp.sqrt(2) * sp.erfinv(2 * u - 1),
    )


def wasserstein(q: Law, p: Law, order: Value) -> sp.Expr:
    r"""The k-Wasserstein distance on the line, with nothing solved yet.

    .. math::

        W_k(q, p) = \left( \int_0^1 |Q_q(u) - Q_p(u)|^k \, du \right)^{1/k}

    Parameters
    ----------
    q, p : Law
    order : Expr
        k, at least 1.

    References
    ----------
    Book: def-wasserstein.
    """
    return sp.Integral(sp.Abs(q.quantile(u) - p.quantile(u)) ** order, (u, 0, 1)) ** (sp.S.One / order)


def gaussian_wasserstein(
    mean_q: sp.Expr, sigma_q: sp.Expr, mean_p: sp.Expr, sigma_p: sp.Expr, order: Value
) -> sp.Expr:
    r"""The same for two normal distributions, after the substitution :math:`u = \Phi(t)`.

    .. math::

        \left( \int |\mu_q + \sigma_q t - \mu_p - \sigma_p t|^k \, \mathcal N(t; 0, 1) \, dt \right)^{1/k}

    Parameters
    ----------
    mean_q, sigma_q, mean_p, sigma_p : Expr
    order : Expr
        k, at least 1.

    References
    ----------
    Book: eq-gaussian-w2.
    """
    shift = mean_q + sigma_q * t - mean_p - sigma_p * t
    cost = shift**order if order == 2 else sp.Abs(shift) ** order
    return sp.Integral(cost * normal(t, 0, 1), (t, -sp.oo, sp.oo)) ** (sp.S.One / order)


def crossings(mean_q: float, sigma_q: float, mean_p: float, sigma_p: float) -> list[float]:
    r"""Find where two normal densities are equal: one point if they are equally wide, else two.

    .. math::

        \frac{(z - \mu_q)^2}{2 \sigma_q^2} + \log \sigma_q
        = \frac{(z - \mu_p)^2}{2 \sigma_p^2} + \log \sigma_p

    Parameters
    ----------
    mean_q, sigma_q, mean_p, sigma_p : float

    Returns
    -------
    list of float
        In order; none if the two are the same.

    References
    ----------
    Book: eq-gaussian-tv.
    """
    square = 1 / sigma_q**2 - 1 / sigma_p**2
    half = mean_p / sigma_p**2 - mean_q / sigma_q**2
    constant = mean_q**2 / sigma_q**2 - mean_p**2 / sigma_p**2 + 2 * math.log(sigma_q / sigma_p)
    if square == 0:
        return [-constant / (2 * half)] if half else []
    middle, reach = -half / square, math.sqrt(half**2 - square * constant) / abs(square)
    return [middle - reach, middle + reach]


def gaussian_total_variation(mean_q: float, sigma_q: float, mean_p: float, sigma_p: float) -> float:
    r"""Total variation of two normal distributions on the line, by the masses between their crossings.

    .. math::

        \mathrm{TV}(q, p) = \frac{1}{2} \sum_k \bigl| \Phi_q(z_{k+1}) - \Phi_q(z_k)
        - \Phi_p(z_{k+1}) + \Phi_p(z_k) \bigr|

    with :math:`z_0 = -\infty`, the crossings, and :math:`\infty`. (:mod:`vaelib.divergences` has the same in
    PyTorch, to be differentiated.)

    Parameters
    ----------
    mean_q, sigma_q, mean_p, sigma_p : float

    References
    ----------
    Book: eq-gaussian-tv, where both are equally wide.
    """

    def below(z: float, mean: float, deviation: float) -> float:
        return 0.5 * math.erfc((mean - z) / (deviation * math.sqrt(2)))

    ends = [-math.inf, *crossings(mean_q, sigma_q, mean_p, sigma_p), math.inf]
    ahead = [below(z, mean_q, sigma_q) - below(z, mean_p, sigma_p) for z in ends]
    return sum(abs(after - before) for before, after in itertools.pairwise(ahead)) / 2


def jensen_shannon_integrand(q: Value, p: Value) -> sp.Expr:
    r"""What Jensen-Shannon integrates, 0 where a density is.

    .. math::

        \frac{q}{2} \log \frac{2 q}{q + p} + \frac{p}{2} \log \frac{2 p}{q + p}

    Parameters
    ----------
    q, p : Expr
        Two densities at one point.

    References
    ----------
    Book: def-js.
    """

    def half(own: Value) -> sp.Expr:
        if own == 0:
            return sp.S.Zero
        return sp.Piecewise((own / 2 * sp.log(2 * own / (q + p)), own > 0), (0, True))

    return half(q) + half(p)


def gaussian_wasserstein2_by_coupling(
    factor_q: sp.Matrix, factor_p: sp.Matrix, mean_q: sp.Matrix, mean_p: sp.Matrix
) -> sp.Expr:
    r"""Squared 2-Wasserstein distance in the plane, as the cheapest of all couplings.

    .. math::

        \|\mu_q - \mu_p\|^2 + \operatorname{tr} (\Sigma_q + \Sigma_p) - 2 \max_C \operatorname{tr} C,
        \qquad C = L_q K L_p^\top, \quad \|K\| \le 1

    The mean squared distance of two vectors depends on their means and covariances only, so that normal
    couplings are enough; C is the covariance between them. The maximum is reached at a rotation or a
    reflection K, over whose angle it is found by hand: with :math:`M = L_p^\top L_q` it is
    :math:`\sqrt{(M_{11} + M_{22})^2 + (M_{12} - M_{21})^2}` for rotations, which are better if both factors
    have a positive determinant.

    Parameters
    ----------
    factor_q, factor_p : Matrix, shape (2, 2)
        Lower triangular, with a positive diagonal: :math:`\Sigma = L L^\top`.
    mean_q, mean_p : Matrix, shape (2, 1)

    References
    ----------
    Book: eq-gaussian-w2-full. Peyré and Cuturi (2019), remark 2.31.
    """
    product = factor_p.T * factor_q
    best = sp.sqrt((product[0, 0] + product[1, 1]) ** 2 + (product[0, 1] - product[1, 0]) ** 2)
    shift = mean_q - mean_p
    spread = (factor_q * factor_q.T + factor_p * factor_p.T).trace()
    return shift.dot(shift) + spread - 2 * best


# --- how the page's equations are read and checked -------------------------------------------------------


def pieces(symbol: sp.Symbol, *ends: sp.Expr) -> Space:
    """Return an interval to be integrated piece by piece: no kink or step within a piece."""
    return Space(
        symbol,
        lambda f: sp.Add(*(sp.Integral(f(symbol), (symbol, a, b)) for a, b in itertools.pairwise(ends))),
    )


def table(*masses: sp.Expr) -> Callable[[Value], Value]:
    """Return the probability of a point 1, 2, ... or of a set of them."""

    def at(where: Value) -> Value:
        points: Sequence[Value] = where if isinstance(where, tuple) else (where,)
        return sum((masses[int(point) - 1] for point in points), sp.S.Zero)

    return at


SYMMETRIC = "it is symmetric"


def swaps(*written: str, why: str = SYMMETRIC) -> dict[str, str]:
    """Excuse the swapped arguments of calls that mean the same either way round."""
    return {f"the arguments of {call} swap": why for call in written}


# Three points, so that events differ: A is the first of them.
q1, q2, p1, p2 = sp.symbols("q1 q2 p1 p2", positive=True)
three_q, three_p = table(q1, q2, 1 - q1 - q2), table(p1, p2, 1 - p1 - p2)
THREE = {"q1": (0.1, 0.45), "q2": (0.1, 0.45), "p1": (0.1, 0.45), "p2": (0.1, 0.45)}
three_points = Reading(
    {"z": z, "q": three_q, "p": three_p, "A": (1,)},
    domains={"z": [sp.Integer(k) for k in (1, 2, 3)]},
)


def by_absolute_values(expression: sp.Expr) -> sp.Expr:
    """Let SymPy see a minimum and a maximum through absolute values."""
    return sp.expand(expression.rewrite(sp.Abs))


def no_event_tells_more_apart() -> None:
    """Prove eq-tv-event: |d| is at least d and -d, point by point, and the d of all points sum to 0."""
    d = sp.symbols("d1:4", real=True)
    balanced = {d[2]: -d[0] - d[1]}
    variation = sum(map(sp.Abs, d)) / 2
    for event in itertools.product((0, 1), repeat=3):
        chosen = sum(x for x, inside in zip(d, event, strict=True) if inside)
        slack = sum(sp.Abs(x) - x if inside else sp.Abs(x) + x for x, inside in zip(d, event, strict=True))
        if sp.simplify((variation - chosen - slack / 2).subs(balanced)) != 0:
            raise ClaimError(f"the slack of the event {event} is no sum of |d| - d and |d| + d")


# Two points: what a distribution says about one event and its opposite.
a, b = sp.symbols("a b", real=True)
COIN = {"a": (0.1, 0.9), "b": (0.1, 0.9)}


def two_point(first: sp.Expr) -> Callable[[Value], Value]:
    """Return a coin's mass function, readable at a symbol as well: a at 1 and 1 - a at 0."""
    return lambda z: first * z + (1 - first) * (1 - z)


coins = Reading(
    {
        "z": z, "q": two_point(a), "p": two_point(b),
        "m": lambda z: (two_point(a)(z) + two_point(b)(z)) / 2,
    },
    domains={"z": [sp.S.Zero, sp.S.One]},
)  # fmt: skip
coins_that_may_be_sure = Reading(
    {
        "z": z, "q": two_point(a), "p": two_point(b),
        "JS": Functional(lambda total, q, p: total(lambda z: jensen_shannon_integrand(q(z), p(z)))),
    },
    domains={"z": [sp.S.Zero, sp.S.One]},
)  # fmt: skip


def coins_obey_pinsker() -> None:
    """Prove eq-pinsker for coins: KL - 2 TV^2 falls to 0 at b = a and rises beyond."""
    kl = a * sp.log(a / b) + (1 - a) * sp.log((1 - a) / (1 - b))
    gap = kl - 2 * (a - b) ** 2
    # The slope has the sign of b - a, times a square, over b (1 - b) > 0.
    if sp.simplify(sp.diff(gap, b) - (b - a) * (1 - 2 * b) ** 2 / (b * (1 - b))) != 0:
        raise ClaimError("the slope in b is not (b - a) (1 - 2 b)^2 / (b (1 - b))")
    if sp.expand_log(gap.subs(b, a), force=True) != 0:
        raise ClaimError("the gap is not 0 where the coins are the same")


def jensen_shannon_stays_below() -> None:
    """Prove eq-js-bound, point by point: the entropy of a coin lies above its chord 2 min(s, 1 - s) log 2."""
    q, p, s = sp.symbols("q p s", positive=True)
    entropy = -s * sp.log(s) - (1 - s) * sp.log(1 - s)
    term = sp.expand_log((q * sp.log(2 * q / (q + p)) + p * sp.log(2 * p / (q + p))) / 2, force=True)
    mean = (q + p) / 2
    other = mean * (sp.log(2) - entropy.subs(s, q / (q + p)))
    if sp.simplify(sp.expand_log(sp.together(term - other), force=True)) != 0:
        raise ClaimError("JS is not log 2 minus the mean entropy of the side that a point came from")
    # 1 - 2 min(s, 1 - s) is |2 s - 1|, and mean |2 s - 1| is |q - p| / 2, the total variation's own term.
    if sp.simplify(mean * (2 * q / (q + p) - 1) - (q - p) / 2) != 0:
        raise ClaimError("the chord is not the total variation's term")
    if sp.simplify(sp.diff(entropy, s, 2) + 1 / (s * (1 - s))) != 0:
        raise ClaimError("the entropy of a coin is not concave")
    if entropy.subs(s, sp.Rational(1, 2)) != sp.log(2) or sp.limit(entropy, s, 0) != 0:
        raise ClaimError("the chord does not meet the entropy at 0 and 1/2")


# Laws whose quantiles do not cross: then neither integral of eq-w1-area has a kink but at the ends.
low_q, high_q, low_p, high_p = sp.symbols("a_q b_q a_p b_p", real=True)
first, second = uniform(low_q, high_q), uniform(low_p, high_p)
four_ends = (
    sp.Min(low_q, low_p),
    sp.Min(sp.Max(low_q, low_p), sp.Min(high_q, high_p)),
    sp.Max(sp.Max(low_q, low_p), sp.Min(high_q, high_p)),
    sp.Max(high_q, high_p),
)
# They overlap, and one is the wider at the first point, the other at the second.
OVERLAP = {
    "a_q": (-0.3, 0.1, 0.0), "b_q": (1.7, 1.4, 1.0), "a_p": (1.0, 0.2, 3.0), "b_p": (2.1, 2.6, 4.0),
}  # fmt: skip
# At the first point they overlap, at the second they do not.
APART = {
    "a_q": (-0.3, 0.1, 0.0), "b_q": (1.1, 1.4, 1.0), "a_p": (0.4, 2.0, 3.0), "b_p": (2.3, 2.6, 4.0),
}  # fmt: skip
order = sp.Symbol("k", integer=True, positive=True)
intervals = Reading(
    {
        "z": z, "q": first, "p": second, "a_q": low_q, "b_q": high_q, "a_p": low_p, "b_p": high_p,
        "Q_q": first.quantile, "Q_p": second.quantile, "F_q": first.below, "F_p": second.below,
        "W_k": lambda q, p: wasserstein(q, p, order), "W_1": lambda q, p: wasserstein(q, p, 1), "k": order,
    },
    domains={"z": pieces(z, *four_ends)},
)  # fmt: skip

# The same for two intervals of length 1 by the regions that their ends make: in each, both densities are
# constant, so that an integral is a sum over regions.
shift = sp.Symbol("delta", positive=True)
REGIONS = {  # the densities of q and of p, and how long the region is
    (sp.S.One, sp.S.Zero): sp.Min(1, shift),
    (sp.S.One, sp.S.One): sp.Max(0, 1 - shift),
    (sp.S.Zero, sp.S.One): sp.Min(1, shift),
}
moved, start = uniform(shift, 1 + shift), uniform(sp.S.Zero, sp.S.One)
shifted = Reading(
    {
        "q": lambda region: region[0], "p": lambda region: region[1], r"\delta": shift,
        "JS": Functional(lambda total, q, p: total(lambda z: jensen_shannon_integrand(q(z), p(z)))),
        "W_1": lambda q, p: wasserstein(moved, start, 1),
    },
    domains={
        "z": Space(
            (sp.S.One, sp.S.Zero),
            lambda f: sp.Add(*(length * f(region) for region, length in REGIONS.items())),
        )
    },
)  # fmt: skip

mu_q, mu_p = sp.symbols("mu_q mu_p", real=True)
sigma, sigma_q, sigma_p = sp.symbols("sigma sigma_q sigma_p", positive=True)
one_width = Reading(
    {
        "z": z, r"\mu_q": mu_q, r"\mu_p": mu_p, r"\sigma": sigma,
        "q": gaussian(mu_q, sigma), "p": gaussian(mu_p, sigma),
    },
    domains={"z": pieces(z, -sp.oo, (mu_q + mu_p) / 2, sp.oo)},
)  # fmt: skip

on_a_line = Reading(
    {
        r"\mu_q": mu_q, r"\mu_p": mu_p, r"\sigma_q": sigma_q, r"\sigma_p": sigma_p, "t": t,
        "q": (mu_q, sigma_q), "p": (mu_p, sigma_p),
        "W_2": lambda q, p: gaussian_wasserstein(q[0], q[1], p[0], p[1], 2),
    }
)  # fmt: skip

unit = Reading(
    {
        "z": z, r"\delta": shift, "q": gaussian(shift, sp.S.One), "p": gaussian(sp.S.Zero, sp.S.One),
        "W_1": lambda q, p: gaussian_wasserstein(shift, sp.S.One, sp.S.Zero, sp.S.One, 1),
        # Where it is differentiated, total variation has been integrated already: eq-gaussian-tv.
        "TV": lambda q, p: sp.erf(shift / 2 / sp.sqrt(2)),
    }
)  # fmt: skip


# An encoder's q before the standard normal prior.
mu = sp.Symbol("mu", real=True)
before_prior = Reading(
    {
        "z": z, "q": gaussian(mu, sigma), "p": gaussian(sp.S.Zero, sp.S.One),
        "W_2": lambda q, p: gaussian_wasserstein(mu, sigma, sp.S.Zero, sp.S.One, 2),
    }
)  # fmt: skip


def deviations_stay_below_rates() -> sp.Expr:
    """Prove eq-talagrand: the two sides differ by 2 (sigma - 1 - log sigma)."""
    law, prior = gaussian(mu, sigma), gaussian(sp.S.Zero, sp.S.One)
    log_ratio = sp.expand_log(sp.log(law(z) / prior(z)), force=True)
    rate = solved(sp.Integral(law(z) * log_ratio, (z, -sp.oo, sp.oo)))
    way = solved(gaussian_wasserstein(mu, sigma, sp.S.Zero, sp.S.One, 2) ** 2)
    gap = sp.simplify(2 * rate - way)
    if sp.expand(gap - 2 * (sigma - 1 - sp.log(sigma))) != 0:
        raise ClaimError(f"the gap is {gap}")
    line = sigma - 1 - sp.log(sigma)
    if sp.solve(sp.diff(line, sigma), sigma) != [1] or line.subs(sigma, 1) != 0:
        raise ClaimError("sigma - 1 - log sigma is not stationary at 1, or not 0 there")
    if not sp.diff(line, sigma, 2).is_positive:
        raise ClaimError("sigma - 1 - log sigma is not convex")
    return 2 * line


def plane(name: str) -> tuple[sp.Matrix, sp.Matrix]:
    """Return a mean and a covariance's factor, with five symbols."""
    mean = sp.Matrix(sp.symbols(f"m_{name}1:3", real=True))
    across, below, up = sp.symbols(f"l_{name}1:4", real=True)
    positive = {across: sp.Symbol(across.name, positive=True), up: sp.Symbol(up.name, positive=True)}
    return mean, sp.Matrix([[across, 0], [below, up]]).subs(positive)


(mean_q, factor_q), (mean_p, factor_p) = plane("q"), plane("p")
in_a_plane = Reading(
    {
        r"\mu_q": mean_q, r"\mu_p": mean_p,
        r"\Sigma_q": factor_q * factor_q.T, r"\Sigma_p": factor_p * factor_p.T,
        "q": (factor_q, mean_q), "p": (factor_p, mean_p),
        "W_2": lambda q, p: sp.sqrt(gaussian_wasserstein2_by_coupling(q[0], p[0], q[1], p[1])),
    }
)  # fmt: skip

# Two images and two pictures that a decoder draws, each with probability 1/2. With probability r the encoder
# sends an image to the picture of the same number, so that each latent comes up half of the time, as its
# prior asks.
x, g, r = sp.symbols("x1:3", real=True), sp.symbols("g1:3", real=True), sp.Symbol("r", positive=True)
HALVES = {"x1": (-1.0, 0.0), "x2": (0.5, 1.5), "g1": (-2.0, 0.5), "g2": (0.7, 2.0), "r": (0.1, 0.9)}


def cheapest_pairing(points: Sequence[sp.Expr], others: Sequence[sp.Expr]) -> sp.Expr:
    """W_1 of two pairs of points with probabilities 1/2: quantiles are the sorted points."""
    return (
        sp.Abs(sp.Min(*points) - sp.Min(*others)) + sp.Abs(sp.Max(*points) - sp.Max(*others))
    ) * sp.Rational(1, 2)


encoded = Reading(
    {
        "p(i)": lambda i: sp.Rational(1, 2),
        "q(z|i)": lambda z, i: r if z == i else 1 - r,
        "x": x, "g": g,
        "W_1": cheapest_pairing,
    },
    domains={"i": [sp.Integer(1), sp.Integer(2)], "z": [sp.Integer(1), sp.Integer(2)]},
)  # fmt: skip


def no_encoder_is_cheaper() -> None:
    """Prove eq-wae: the cost lies between those of the two pairings, of which the sorted one is cheapest."""
    sorted_pairs = (sp.Abs(x[0] - g[0]) + sp.Abs(x[1] - g[1])) / 2
    crossed = (sp.Abs(x[0] - g[1]) + sp.Abs(x[1] - g[0])) / 2
    cost = sum((r if i == j else 1 - r) * sp.Abs(x[i] - g[j]) / 2 for i in (0, 1) for j in (0, 1))
    if sp.expand(cost - r * sorted_pairs - (1 - r) * crossed) != 0:
        raise ClaimError("the cost is no mixture of the two pairings")
    # Sorted, x2 = x1 + h and g2 = g1 + k: each sorted difference lies between the two crossed ones, with
    # weights that sum to 1, and the absolute value is convex.
    h, k = sp.symbols("h k", positive=True)
    short, long = x[0] - g[0] - k, x[0] + h - g[0]
    weight = h / (h + k)
    if sp.simplify(weight * short + (1 - weight) * long - (x[0] - g[0])) != 0:
        raise ClaimError("x1 - g1 does not lie between the crossed differences")
    if sp.simplify((1 - weight) * short + weight * long - (x[0] + h - g[0] - k)) != 0:
        raise ClaimError("x2 - g2 does not lie between the crossed differences")


s, c, m = sp.Symbol("s", positive=True), sp.Symbol("c", positive=True), sp.Symbol("m", real=True)
needles = Reading({"z": z, "m": m, "s": s, "c": c})


def by_factored_roots(expression: sp.Expr) -> sp.Expr:
    """Let SymPy see the squares under its roots; multiplied out, they are past seeing."""
    if len(expression.args) > 12:
        return expression

    def is_root(part: sp.Expr) -> bool:
        return bool(part.is_Pow and part.exp.is_Rational and not part.exp.is_Integer)

    return sp.simplify(expression.replace(is_root, lambda part: sp.factor(part.base) ** part.exp))


DIFFERENCE = "the density depends on the square of a difference"

CLAIMS = {
    "def-tv": Claim(
        three_points, ranges=THREE, simplify=by_absolute_values, equivalent=swaps(r"\mathrm{TV}(q, p)")
    ),
    "eq-tv-event": Claim(
        three_points,
        ranges=THREE,
        simplify=by_absolute_values,
        tight=[{"q1": lambda v: v["p1"] + 0.05, "q2": lambda v: v["p2"] - 0.05}],
        proof=no_event_tells_more_apart,
        equivalent=swaps(r"\mathrm{TV}(q, p)", r"\min\bigl(q(z), p(z)\bigr)"),
    ),
    "def-js": Claim(coins, ranges=COIN, equivalent=swaps(r"\mathrm{JS}(q, p)")),
    "def-wasserstein": Claim(
        intervals, method="quadrature", ranges=APART | {"k": (2, 3)}, equivalent=swaps("W_k(q, p)")
    ),
    "eq-w1-area": Claim(intervals, method="quadrature", ranges=APART, equivalent=swaps("W_1(q, p)")),
    "eq-uniform-tv": Claim(
        intervals,
        method="quadrature",
        ranges=OVERLAP,
        equivalent=swaps(
            r"\mathrm{TV}(q, p)",
            r"\max\bigl(0, \min(b_q, b_p) - \max(a_q, a_p)\bigr)",
            r"\min(b_q, b_p)",
            r"\max(a_q, a_p)",
            r"\max(b_q - a_q, b_p - a_p)",
        ),
    ),
    "eq-uniform-shift": Claim(
        shifted,
        ranges={"delta": (0.4, 2.5, 1.0)},
        equivalent=swaps(r"\mathrm{TV}(q, p)", r"\mathrm{JS}(q, p)", "W_1(q, p)", r"\min(1, \delta)"),
    ),
    "eq-gaussian-tv": Claim(one_width, method="quadrature", equivalent=swaps(r"\mathrm{TV}(q, p)")),
    "eq-gaussian-w2": Claim(
        on_a_line,
        equivalent=swaps("W_2(q, p)") | swaps(r"\mathcal N(t; 0, 1)", why=DIFFERENCE),
    ),
    "eq-gaussian-w2-full": Claim(in_a_plane, simplify=by_factored_roots, equivalent=swaps("W_2(q, p)")),
    "eq-pull": Claim(
        unit,
        equivalent=swaps(r"\mathrm{TV}(q, p)", "W_1(q, p)")
        | swaps(r"\mathrm{KL}(q \,\|\, p)", why="with equal variances KL is symmetric, too")
        | swaps(r"\mathcal N\Bigl(\frac{\delta}{2}; 0, 1\Bigr)", why=DIFFERENCE),
    ),
    "eq-pinsker": Claim(
        coins,
        ranges=COIN,
        # To second order the two sides agree around a fair coin; what is left is 1e-9.
        tight=[{"a": lambda v: 0.5, "b": lambda v: 0.501}],
        proof=coins_obey_pinsker,
        equivalent=swaps(r"\mathrm{TV}(q, p)")
        | swaps(r"\mathrm{KL}(q \,\|\, p)", why="the bound holds for KL either way round"),
    ),
    "eq-js-bound": Claim(
        coins_that_may_be_sure,
        ranges=COIN,
        tight=[{"a": lambda v: 1.0, "b": lambda v: 0.0}, {"a": lambda v: v["b"]}],
        proof=jensen_shannon_stays_below,
        equivalent=swaps(r"\mathrm{JS}(q, p)", r"\mathrm{TV}(q, p)"),
    ),
    "eq-talagrand": Claim(
        before_prior,
        tight=[{"sigma": lambda v: 1.0}],
        proof=deviations_stay_below_rates,
        equivalent=swaps("W_2(q, p)"),
    ),
    "eq-wae": Claim(
        encoded,
        ranges=HALVES,
        tight=[{"r": lambda v: 1.0}],
        proof=no_encoder_is_cheaper,
        equivalent=swaps("W_1(x, g)"),
    ),
    "eq-matched": Claim(
        needles,
        equivalent=swaps(
            r"\mathcal N(z; m, s^2)", r"\mathcal N(m; 0, c^2)", r"\mathcal N(z; 0, s^2 + c^2)", why=DIFFERENCE
        ),
    ),
}
