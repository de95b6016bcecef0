"""Entropy, cross-entropy, Jensen's inequality, KL and what it fits. Book: page 5."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import sympy as sp

from vaelib.symbolic.claims import Claim, ClaimError, Point, panels
from vaelib.symbolic.reading import Reading, Value, normal

# --- finite distributions, with nothing said about their probabilities -------------------------------------

VALUES = [sp.Integer(k) for k in (1, 2, 3)]
chances_q, chances_p = sp.symbols("q1:3", positive=True), sp.symbols("p1:3", positive=True)
heights = sp.symbols("f1:4", positive=True)
t = sp.Symbol("t", positive=True)


def on_three(chances: Sequence[sp.Expr]) -> Callable[[Value], sp.Expr]:
    """Return a distribution on 1, 2 and 3; the last probability is what the first two leave."""
    first, second = chances
    return lambda value: [first, second, 1 - first - second][int(value) - 1]


q, p = on_three(chances_q), on_three(chances_p)


def mean_under(chances: Callable[[Value], sp.Expr], function: Callable[[Value], sp.Expr]) -> sp.Expr:
    r"""Average over the three values.

    .. math::

        \mathbb E_{q(z)}[f(z)] = \sum_z q(z) \, f(z)
    """
    return sp.Add(*(chances(value) * function(value) for value in VALUES))


def entropy(q: Callable[[Value], sp.Expr] = q, p: Callable[[Value], sp.Expr] | None = None) -> sp.Expr:
    r"""The entropy of a distribution on three values, or its cross-entropy with another one.

    .. math::

        \mathrm H(q) = -\sum_z q(z) \log q(z), \qquad \mathrm H(q, p) = -\sum_z q(z) \log p(z)

    References
    ----------
    Book: def-entropy, def-cross-entropy.
    """
    other = p or q
    return -mean_under(q, lambda value: sp.log(other(value)))


def kl(q: Callable[[Value], sp.Expr] = q, p: Callable[[Value], sp.Expr] = p) -> sp.Expr:
    r"""The KL divergence between distributions on three values.

    .. math::

        \mathrm{KL}(q \,\|\, p) = \sum_z q(z) \log \frac{q(z)}{p(z)}

    References
    ----------
    Book: def-kl.
    """
    return mean_under(q, lambda value: sp.log(q(value) / p(value)))


# --- proofs ------------------------------------------------------------------------------------------------


def prove_tangent(curve: sp.Expr | None = None) -> sp.Expr:
    r"""Prove that a curve in t > 0, the logarithm, lies below the line t - 1, and touches it at 1 alone.

    .. math::

        \log t \le t - 1

    The gap has one stationary point, there it is 0, and its second derivative is positive everywhere.

    References
    ----------
    Book: eq-log-tangent.

    Raises
    ------
    ClaimError
        If one of these is not so.
    """
    curve = sp.log(t) if curve is None else curve
    gap = t - 1 - curve
    bend = sp.simplify(sp.diff(gap, t, 2))
    if sp.solve(sp.diff(gap, t), t) != [1] or gap.subs(t, 1) != 0 or not bend.is_positive:
        raise ClaimError(f"{curve} is not shown to lie below t - 1")
    return gap


def jensen_gap() -> sp.Expr:
    r"""How much the inequality leaves, for three values and three positive numbers.

    .. math::

        \log \mathbb E_{q(z)}[f(z)] - \mathbb E_{q(z)}[\log f(z)]

    References
    ----------
    Book: eq-jensen.
    """

    def height(value: Value) -> sp.Expr:
        return heights[int(value) - 1]

    return sp.log(mean_under(q, height)) - mean_under(q, lambda value: sp.log(height(value)))


def prove_jensen() -> sp.Expr:
    r"""Prove Jensen's inequality for the logarithm from its tangent.

    With :math:`t(z) = f(z) / \mathbb E[f]` the gap is the mean of :math:`t - 1 - \log t`, which is never
    negative.

    References
    ----------
    Book: eq-jensen.

    Raises
    ------
    ClaimError
        If SymPy does not find the gap to be that mean.
    """
    prove_tangent()
    mean = mean_under(q, lambda value: heights[int(value) - 1])

    def above_tangent(value: Value) -> sp.Expr:
        ratio = heights[int(value) - 1] / mean
        return ratio - 1 - sp.expand_log(sp.log(ratio), force=True)

    difference = sp.expand(jensen_gap() - mean_under(q, above_tangent))
    if sp.simplify(difference) != 0:
        raise ClaimError(f"Jensen's gap is not the mean above the tangent: {difference} is left")
    return mean_under(q, above_tangent)


def prove_nonnegative() -> sp.Expr:
    """Return the mean under q of the tangent's gap at p / q: no term of it is negative."""
    gap = prove_tangent()
    return mean_under(q, lambda value: gap.subs(t, p(value) / q(value)))


# --- fits of one normal distribution to several -----------------------------------------------------------

LogDensity = Callable[[float], float]


def kl_on_line(log_q: LogDensity, log_p: LogDensity, low: float = -40.0, high: float = 40.0) -> float:
    r"""The KL divergence between two densities by quadrature in floats, from its definition.

    .. math::

        \int q(z) \log \frac{q(z)}{p(z)} \, dz

    Parameters
    ----------
    log_q, log_p : callable
        Log-densities, smooth on the scale of 1/4 near 0 and of 1 beyond 6.
    low, high : float
        The ends; what lies outside is left out.

    References
    ----------
    Book: def-kl.
    """

    def integrand(z: float) -> float:
        at_q = log_q(z)
        return math.exp(at_q) * (at_q - log_p(z))

    return panels(integrand, low, high)


@dataclass(frozen=True)
class Bump:
    """A normal distribution on the line, in floats."""

    mean: float
    deviation: float

    def log_density(self, z: float) -> float:
        """Return log N(z; mean, deviation^2)."""
        off = (z - self.mean) / self.deviation
        return -off * off / 2 - math.log(self.deviation) - math.log(2 * math.pi) / 2


@dataclass(frozen=True)
class Mixture:
    r"""Normal distributions on the line, mixed.

    .. math::

        p(z) = \sum_k w_k \, \mathcal N(z; \mu_k, \sigma_k^2)

    Parameters
    ----------
    weights : sequence of float
        :math:`w_k`, which sum to 1.
    bumps : sequence of Bump
    """

    weights: Sequence[float]
    bumps: Sequence[Bump]

    def log_parts(self, z: float) -> list[float]:
        """Return the logarithm of each summand."""
        return [
            math.log(weight) + bump.log_density(z)
            for weight, bump in zip(self.weights, self.bumps, strict=True)
        ]

    def log_density(self, z: float) -> float:
        """Return log p(z); finite however far out z lies."""
        parts = self.log_parts(z)
        highest = max(parts)
        return highest + math.log(math.fsum(math.exp(part - highest) for part in parts))

    def slope(self, z: float) -> float:
        """Return the derivative of log p(z): the bumps' slopes, weighted by who is likely to have made z."""
        parts, total = self.log_parts(z), self.log_density(z)
        return math.fsum(
            -math.exp(part - total) * (z - bump.mean) / bump.deviation**2
            for part, bump in zip(parts, self.bumps, strict=True)
        )

    @property
    def moments(self) -> Bump:
        """The normal distribution with the same mean and variance: the best fit in KL(p || q)."""
        mean = math.fsum(w * b.mean for w, b in zip(self.weights, self.bumps, strict=True))
        square = math.fsum(
            w * (b.deviation**2 + (b.mean - mean) ** 2) for w, b in zip(self.weights, self.bumps, strict=True)
        )
        return Bump(mean, math.sqrt(square))


class Smooth(Protocol):
    """What a fit asks of its target: the log-density and its slope."""

    def log_density(self, z: float, /) -> float:
        """Return log p(z)."""

    def slope(self, z: float, /) -> float:
        """Return the derivative of log p(z)."""


# The trapezoid rule for means under a standard normal distribution: for a smooth integrand its error falls
# faster than any power of the step.
_STEP = 0.03
_NOISE = [
    (k * _STEP, _STEP * math.exp(-((k * _STEP) ** 2) / 2) / math.sqrt(2 * math.pi)) for k in range(-300, 301)
]


def reverse_kl(target: Smooth, guess: Bump) -> float:
    r"""The KL divergence from a normal q to a mixture p, by quadrature where q lives.

    .. math::

        \mathrm{KL}(q \,\|\, p) = \mathbb E_u\left[\log \frac{q(m + s u)}{p(m + s u)}\right]

    Good to about 1e-8 if q is not more than five times as wide as a bump of p.

    References
    ----------
    Book: def-kl.
    """
    entropy = math.log(guess.deviation) + math.log(2 * math.pi * math.e) / 2
    return -entropy - math.fsum(
        weight * target.log_density(guess.mean + guess.deviation * u) for u, weight in _NOISE
    )


def reverse_slopes(target: Smooth, guess: Bump) -> tuple[float, float]:
    r"""The derivatives of :math:`\mathrm{KL}(q \,\|\, p)` in the mean and the deviation of a normal q.

    .. math::

        -\mathbb E_{q(z)}\left[\frac{d}{dz} \log p(z)\right], \qquad
        -\frac{1}{s} - \mathbb E_{q(z)}\left[\frac{z - m}{s} \, \frac{d}{dz} \log p(z)\right]

    References
    ----------
    Book: eq-reverse-fit.
    """
    slopes = [(u, weight * target.slope(guess.mean + guess.deviation * u)) for u, weight in _NOISE]
    in_mean = -math.fsum(slope for _, slope in slopes)
    return in_mean, -1 / guess.deviation - math.fsum(u * slope for u, slope in slopes)


def reverse_fit(target: Smooth, start: Bump, *, tolerance: float = 1e-7) -> Bump:
    r"""The local optimum of :math:`\mathrm{KL}(q \,\|\, p)` over normal q to which a start leads.

    Descent along the slopes of eq-reverse-fit, in units in which a step means the same for every q: in
    deviations of q for the mean, in factors for the deviation. A step that does not help is halved.

    Parameters
    ----------
    target : Mixture, or anything else with ``log_density`` and ``slope``
        p.
    start : Bump
        Where the descent begins; another start may end elsewhere.
    tolerance : float
        Of both slopes, in these units.

    References
    ----------
    Book: eq-reverse-fit.

    Raises
    ------
    ClaimError
        If it has not settled after 300 steps.
    """
    guess, reached, step = start, reverse_kl(target, start), 1.0
    for _ in range(300):
        in_mean, in_deviation = (slope * guess.deviation for slope in reverse_slopes(target, guess))
        if max(abs(in_mean), abs(in_deviation)) < tolerance:
            return guess
        while step > 1e-6:
            mean = guess.mean - step * guess.deviation * in_mean
            tried = Bump(mean, guess.deviation * math.exp(-step * in_deviation / 2))
            value = reverse_kl(target, tried)
            if value <= reached + 1e-15:  # rounding, where the optimum is flat
                break
            step /= 2
        guess, reached, step = tried, value, min(1.0, 1.5 * step)
    raise ClaimError(f"no fit to {target} settles from {start}")


# --- how the page's equations are read and checked -------------------------------------------------------


finite = Reading(
    {"q": q, "p": p, "f": lambda value: heights[int(value) - 1], "t": t},
    domains={"z": VALUES},
)  # fmt: skip
chance_q, chance_p = sp.symbols("pi_q pi_p", positive=True)
coin = Reading(
    {
        "q": lambda value: chance_q if value == 1 else 1 - chance_q,
        "p": lambda value: chance_p if value == 1 else 1 - chance_p,
        r"\pi_q": chance_q, r"\pi_p": chance_p,
    },
    domains={"z": [sp.S.Zero, sp.S.One]},
)  # fmt: skip
die = Reading(
    {
        "q": q, "p": p, "C": sp.Integer(3),
        r"\pi": {q: [q(value) for value in VALUES], p: [p(value) for value in VALUES]},
    },
    domains={"z": VALUES},
)  # fmt: skip

z = sp.Symbol("z", real=True)
mu, mu_q, mu_p = sp.symbols("mu mu_q mu_p", real=True)
sigma, sigma_q, sigma_p = sp.symbols("sigma sigma_q sigma_p", positive=True)
line = Reading({"q": lambda z: normal(z, mu, sigma**2), r"\mu": mu, r"\sigma": sigma})


def stretched(mean: sp.Expr, deviation: sp.Expr) -> Callable[[Value], sp.Expr]:
    """Return the density of y = e^z, with z normal: that of log y, divided by the stretch dy/dz = y."""
    return lambda y: normal(sp.log(y), mean, deviation**2) / y


two_scales = Reading(
    {
        "z": z, "y": sp.exp(z),
        "q(z)": lambda z: normal(z, mu_q, sigma_q**2), "p(z)": lambda z: normal(z, mu_p, sigma_p**2),
        "q(y)": stretched(mu_q, sigma_q), "p(y)": stretched(mu_p, sigma_p),
    },
    domains={"y": (sp.S.Zero, sp.oo)},
)  # fmt: skip

m, first, second = sp.symbols("m a b", real=True)
s, width = sp.symbols("s c", positive=True)
weight = sp.Symbol("w", positive=True)
q_of_fit = {"m": m, "s": s, "z": z, "q": lambda z: normal(z, m, s**2)}


def two_bumps(z: Value) -> sp.Expr:
    """A mixture of two normal distributions of one width."""
    return weight * normal(z, first, width**2) + (1 - weight) * normal(z, second, width**2)


def two_wells(z: Value) -> sp.Expr:
    """A density with two modes whose logarithm is a polynomial; its constant is left open."""
    depth, tilt, constant = sp.symbols("d g k", real=True)
    return sp.exp(-(z**4) / 4 + depth * z**2 + tilt * z - constant)


# Farther out a float cannot hold the density of a mixture, and there is less than 1e-18 of q or p.
forward_fits = Reading({**q_of_fit, "p": two_bumps}, domains={"z": (-12, 12)})
reverse_fits = Reading({**q_of_fit, "p": two_wells})

CHANCES = {symbol.name: (0.1, 0.45) for symbol in (*chances_q, *chances_p)}
EQUAL = [{f"p{k}": (lambda v, k=k: v[f"q{k}"]) for k in (1, 2)}]


def drawn_log_ratio(rng: random.Random, at: Point) -> float:
    """The log-ratio of q and p at a draw from q."""
    of_q, of_p = ([at[f"{name}1"], at[f"{name}2"]] for name in "qp")
    of_q, of_p = [*of_q, 1 - sum(of_q)], [*of_p, 1 - sum(of_p)]
    [value] = rng.choices(range(3), of_q)
    return math.log(of_q[value] / of_p[value])


CLAIMS = {
    "def-entropy": Claim(finite, ranges=CHANCES),
    "def-cross-entropy": Claim(finite, ranges=CHANCES),
    "def-kl": Claim(finite, ranges=CHANCES, draws=drawn_log_ratio),
    "eq-kl-cross-entropy": Claim(finite, ranges=CHANCES),
    "eq-log-tangent": Claim(finite, tight=[{"t": lambda _: 1.0}], proof=prove_tangent),
    "eq-jensen": Claim(
        finite,
        ranges=CHANCES,
        tight=[{"f2": lambda v: v["f1"], "f3": lambda v: v["f1"]}],
        proof=prove_jensen,
    ),
    "eq-kl-nonnegative": Claim(finite, ranges=CHANCES, tight=EQUAL, proof=prove_nonnegative),
    "eq-bernoulli-kl": Claim(coin, ranges={"pi_q": (0.1, 0.9), "pi_p": (0.1, 0.9)}),
    "eq-categorical-kl": Claim(die, ranges=CHANCES),
    "eq-normal-entropy": Claim(
        line,
        draws=lambda rng, at: -Bump(at["mu"], at["sigma"]).log_density(rng.gauss(at["mu"], at["sigma"])),
    ),
    "eq-change-of-variables": Claim(
        two_scales,
        method="quadrature",
        ranges={"mu_q": (0.1, 0.4), "mu_p": (0.5, 0.8), "sigma_q": (0.2, 0.3), "sigma_p": (0.35, 0.5)},
    ),
    "eq-forward-fit": Claim(
        forward_fits,
        method="quadrature",
        ranges={"w": (0.2, 0.8), "m": (-0.5, 0.5), "s": (0.7, 1.3), "c": (0.6, 1.0)},
    ),
    "eq-reverse-fit": Claim(reverse_fits),
}
