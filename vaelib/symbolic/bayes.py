"""Bayes' theorem for events, tables and densities; what a grid costs. Book: page 1."""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp

from vaelib.symbolic.claims import Claim, Point
from vaelib.symbolic.reading import Reading, Value, normal

x, z, m = sp.symbols("x z m", real=True)
s, sigma = sp.symbols("s sigma", positive=True)


# --- what can be counted ---------------------------------------------------------------------------------


def bayes(prior: Sequence[Any], likelihood: Sequence[Any]) -> tuple[list[Any], Any]:
    r"""Turn a prior and a likelihood over finitely many latents into the posterior and the evidence.

    .. math::

        p(z \mid x) = \frac{p(x \mid z) \, p(z)}{p(x)}, \qquad p(x) = \sum_z p(x \mid z) \, p(z)

    Parameters
    ----------
    prior : sequence
        p(z), one number or SymPy expression for each z.
    likelihood : sequence
        p(x | z) for the x that was seen, in the same order.

    Returns
    -------
    tuple
        The posterior, a list in the same order, and the evidence.

    Raises
    ------
    ValueError
        If the two differ in length, or no latent could have made x.

    References
    ----------
    Book: eq-bayes, eq-evidence.

    Examples
    --------
    >>> bayes([sp.Rational(2, 5), sp.Rational(3, 5)], [sp.Rational(9, 10), sp.Rational(3, 20)])
    ([4/5, 1/5], 9/20)
    """
    if len(prior) != len(likelihood):
        raise ValueError(f"{len(prior)} priors stand against {len(likelihood)} likelihoods")
    joint = [above * below for above, below in zip(likelihood, prior, strict=True)]
    evidence = sum(joint)
    if evidence == 0:
        raise ValueError("the evidence is 0: no latent could have made this x")
    return [part / evidence for part in joint], evidence


@dataclass(frozen=True)
class Table:
    r"""A joint distribution p(x, z) of finitely many values, none of which is known.

    Parameters
    ----------
    weights : sequence of sequences
        One row for each z, one entry for each x; they need not add up to 1.

    References
    ----------
    Book: eq-bayes, eq-evidence, eq-odds.
    """

    weights: Sequence[Sequence[Value]]

    def joint(self, x: int, z: int) -> Value:
        r""":math:`p(x, z)`."""
        return self.weights[z][x] / sp.Add(*itertools.chain(*self.weights))

    def prior(self, z: int) -> Value:
        r""":math:`p(z) = \sum_x p(x, z)`."""
        return sp.Add(*(self.joint(x, z) for x in range(len(self.weights[z]))))

    def evidence(self, x: int) -> Value:
        r""":math:`p(x) = \sum_z p(x, z)`."""
        return sp.Add(*(self.joint(x, z) for z in range(len(self.weights))))

    def likelihood(self, x: int, z: int) -> Value:
        r""":math:`p(x \mid z) = p(x, z) / p(z)`."""
        return self.joint(x, z) / self.prior(z)

    def posterior(self, z: int, x: int) -> Value:
        r""":math:`p(z \mid x) = p(x, z) / p(x)`."""
        return self.joint(x, z) / self.evidence(x)


# --- two normal distributions ----------------------------------------------------------------------------


def evidence_integral(x: Value = x, m: Value = m, s: Value = s, sigma: Value = sigma) -> sp.Integral:
    r"""The evidence of a normal prior and a normal likelihood, with nothing solved yet.

    .. math::

        p(x) = \int \mathcal N(x; t, \sigma^2) \, \mathcal N(t; m, s^2) \, dt

    References
    ----------
    Book: eq-evidence.
    """
    t = sp.Symbol("t", real=True)
    return sp.Integral(normal(x, t, sigma**2) * normal(t, m, s**2), (t, -sp.oo, sp.oo))


def evidence_closed_form(x: Value = x, m: Value = m, s: Value = s, sigma: Value = sigma) -> Value:
    r"""What that integral comes to.

    .. math::

        p(x) = \mathcal N(x; m, s^2 + \sigma^2)

    References
    ----------
    Book: eq-conjugate-evidence.
    """
    return normal(x, m, s**2 + sigma**2)


def posterior_by_definition(
    z: Value = z, x: Value = x, m: Value = m, s: Value = s, sigma: Value = sigma
) -> Value:
    r"""Likelihood times prior over the unsolved evidence.

    .. math::

        p(z \mid x) = \frac{\mathcal N(x; z, \sigma^2) \, \mathcal N(z; m, s^2)}{p(x)}

    References
    ----------
    Book: eq-bayes.
    """
    return normal(x, z, sigma**2) * normal(z, m, s**2) / evidence_integral(x, m, s, sigma)


def posterior_moments(x: Value = x, m: Value = m, s: Value = s, sigma: Value = sigma) -> tuple[Value, Value]:
    r"""Mean and variance of the posterior of two normal distributions.

    .. math::

        \frac{\sigma^2 m + s^2 x}{s^2 + \sigma^2}, \qquad \frac{s^2 \sigma^2}{s^2 + \sigma^2}

    Parameters
    ----------
    x : number or expression
        What was seen.
    m, s : number or expression
        Mean and standard deviation of the prior.
    sigma : number or expression
        Standard deviation of the likelihood, whose mean is z.

    References
    ----------
    Book: eq-conjugate.

    Examples
    --------
    >>> posterior_moments(1, 0, 1, sp.Rational(1, 2))
    (4/5, 1/5)
    """
    return (sigma**2 * m + s**2 * x) / (s**2 + sigma**2), s**2 * sigma**2 / (s**2 + sigma**2)


# --- a grid ----------------------------------------------------------------------------------------------


def grid_sum(terms: Sequence[Value], spacing: Value, dimensions: int) -> Value:
    r"""Replace an integral over J dimensions by a sum over the points of a grid.

    .. math::

        \widehat p_h(x) = h^J \sum_i p(x \mid z_i) \, p(z_i)

    Parameters
    ----------
    terms : sequence
        :math:`p(x \mid z_i) \, p(z_i)` at each point.
    spacing : number or expression
        The distance h of neighbours.
    dimensions : int
        J.

    References
    ----------
    Book: def-grid.
    """
    return spacing**dimensions * sum(terms)


def grid_evidence(points: int, *, sigma: float, x: float = 0.0, reach: float = 6.0) -> float:
    r"""The evidence under a standard normal prior on one latent, by a grid of midpoints.

    .. math::

        \widehat p_h(x) = h \sum_{i=1}^{k} \mathcal N(x; z_i, \sigma^2) \, \mathcal N(z_i; 0, 1),
        \qquad z_i = \left( i - \tfrac{1}{2} \right) h - r, \quad h = \frac{2 r}{k}

    Parameters
    ----------
    points : int
        The number k of midpoints.
    sigma : float
        Standard deviation of the likelihood.
    x : float
        What was seen.
    reach : float
        How far the grid reaches, r; beyond 6 the prior has two parts in a thousand million.

    Raises
    ------
    ValueError
        If there is no point.

    References
    ----------
    Book: def-grid.
    """
    if points < 1:
        raise ValueError(f"points is {points}: a grid needs at least one")
    h = 2 * reach / points
    places = [(i + 0.5) * h - reach for i in range(points)]
    scale = 2 * math.pi * sigma
    return float(
        grid_sum([math.exp(-(((x - t) / sigma) ** 2) / 2 - t * t / 2) / scale for t in places], h, 1)
    )


def grid_error(points: int, dimensions: int, *, sigma: float) -> float:
    r"""The relative error of a grid with k points along each of J latents, at x = 0.

    .. math::

        \frac{\widehat p_h(x)}{p(x)} - 1 = \left( \frac{\widehat p_h(x_1)}{p(x_1)} \right)^{\!J} - 1

    Prior and likelihood have independent coordinates here, so the sum over :math:`k^J` points is a product of
    J equal sums, and its error is known without forming it. At x = 0 a grid point, or the middle between
    two, stands exactly on the posterior's peak: no other x is worse.

    Parameters
    ----------
    points : int
        k, along each axis.
    dimensions : int
        J.
    sigma : float
        Standard deviation of the likelihood; the prior's is 1.

    References
    ----------
    Book: def-grid, eq-conjugate-evidence.
    """
    exact = float(evidence_closed_form(0.0, 0.0, 1.0, sigma))
    return float((grid_evidence(points, sigma=sigma) / exact) ** dimensions - 1)


def points_per_axis(dimensions: int, *, sigma: float, tolerance: float = 0.01) -> int:
    r"""How many points k an axis needs for a small relative error; the whole grid then has :math:`k^J`.

    Parameters
    ----------
    dimensions : int
        J.
    sigma : float
        Standard deviation of the likelihood; the prior's is 1.
    tolerance : float
        Of the evidence, relative.

    Raises
    ------
    ValueError
        If the tolerance is so small that the prior's tails, which the grid leaves out, exceed it.

    References
    ----------
    Book: def-grid.

    Examples
    --------
    >>> k = points_per_axis(2, sigma=0.5)
    >>> k, k**2
    (15, 225)
    """
    if tolerance < 1e-8 * dimensions:
        raise ValueError(f"tolerance is {tolerance}: the tails beyond the grid make {1e-8 * dimensions:g}")
    points = 2
    while abs(grid_error(points, dimensions, sigma=sigma)) > tolerance:
        points += 1
    return points


# --- how the page's equations are read and checked -------------------------------------------------------

Event = frozenset[int]  # of the four things that can happen: A and B, A alone, B alone, neither
chances = sp.symbols("a1:5", positive=True)
ALL: Event = frozenset(range(4))


def probability(event: Event) -> Value:
    """The share of an event, all four chances being free."""
    return sp.Add(*(chances[k] for k in event)) / sp.Add(*chances)


def conditional(event: Event, given: Event) -> Value:
    r""":math:`P(A \mid B)`: the share of A within B (book: def-conditional)."""
    return sp.Add(*(chances[k] for k in event & given)) / sp.Add(*(chances[k] for k in given))


A, B = frozenset({0, 1}), frozenset({0, 2})
events = Reading(
    {
        "A": A, "B": B, r"\bar A": ALL - A,
        "P": probability, "P(|)": conditional, "P(,)": lambda a, b: probability(a & b),
    }
)  # fmt: skip

mu = sp.Symbol("mu", real=True)
one_normal = Reading({"x": x, r"\mu": mu, r"\sigma": sigma})

table = Table([sp.symbols(f"a{k}_1:3", positive=True) for k in (1, 2, 3)])
finite = Reading(
    {
        "x": 0, "z": 0, "z'": 1,
        "p(z)": table.prior, "p(x)": table.evidence, "p(x|z)": table.likelihood, "p(z|x)": table.posterior,
    },
    domains={"z": [0, 1, 2]},
)  # fmt: skip

two_normals = Reading(
    {
        "x": x, "z": z, "m": m, "s": s, r"\sigma": sigma,
        "p(x)": evidence_integral, "p(z|x)": posterior_by_definition,
    }
)  # fmt: skip

# Three points along each of two axes.
h = sp.Symbol("h", positive=True)
pair = sp.symbols("x1:3", real=True)
grid_points = list(itertools.product((-h, sp.S.Zero, h), repeat=2))


def _likelihood(x: Sequence[Value], z: Sequence[Value]) -> Value:
    return sp.Mul(*(normal(one, other, sigma**2) for one, other in zip(x, z, strict=True)))


def _prior(z: Sequence[Value]) -> Value:
    return sp.Mul(*(normal(one, 0, 1) for one in z))


on_a_grid = Reading(
    {
        "x": pair, "z": grid_points, "h": h, "J": sp.Integer(2), "k": sp.Integer(3),
        "p(x|z)": _likelihood, "p(z)": _prior,
        r"\widehat p_h": lambda x: grid_sum([_likelihood(x, z) * _prior(z) for z in grid_points], h, 2),
    }
)  # fmt: skip


def _draw_evidence(rng: random.Random, point: Point) -> float:
    """The likelihood at a draw from the prior, whose mean is the evidence."""
    drawn = rng.gauss(point["m"], point["s"])
    off = (point["x"] - drawn) / point["sigma"]
    return math.exp(-off * off / 2) / (math.sqrt(2 * math.pi) * point["sigma"])


SYMMETRIC = "a normal density sees only the square of the distance, so point and mean may change places"


def _symmetric(*densities: str) -> dict[str, str]:
    return {f"the arguments of {density} swap": SYMMETRIC for density in densities}


CLAIMS: dict[str, Claim] = {
    "def-conditional": Claim(
        events,
        equivalent={"the arguments of P(A, B) swap": "that A and B both happen does not depend on the order"},
    ),
    "eq-bayes-events": Claim(events),
    "def-normal": Claim(one_normal, equivalent=_symmetric(r"\mathcal N(x; \mu, \sigma^2)")),
    "eq-density": Claim(
        one_normal,
        method="quadrature",
        equivalent=_symmetric(r"\mathcal N(x; \mu, \sigma^2)")
        | {r"the arguments of \mathcal N(\mu; \mu, \sigma^2) swap": "both of them are the mean"},
    ),
    "eq-bayes": Claim(finite),
    "eq-evidence": Claim(finite),
    "eq-odds": Claim(finite),
    "eq-posterior-slope": Claim(
        two_normals, equivalent=_symmetric(r"\mathcal N(x; z, \sigma^2)", r"\mathcal N(z; m, s^2)")
    ),
    "eq-conjugate": Claim(
        two_normals,
        equivalent=_symmetric(
            r"\mathcal N \left( z; \frac{\sigma^2 m + s^2 x}{s^2 + \sigma^2}, "
            r"\frac{s^2 \sigma^2}{s^2 + \sigma^2} \right)"
        ),
    ),
    "eq-precision": Claim(two_normals),
    "eq-conjugate-evidence": Claim(
        two_normals,
        draws=_draw_evidence,
        equivalent=_symmetric(
            r"\mathcal N(x; z, \sigma^2)", r"\mathcal N(z; m, s^2)", r"\mathcal N(x; m, s^2 + \sigma^2)"
        ),
    ),
    "def-grid": Claim(on_a_grid),
}
