"""The evidence lower bound: for a latent of three values, for the linear model, and cut in pieces. Book: page 6."""

import functools
from collections.abc import Sequence

import sympy as sp

from vaelib.symbolic.claims import Claim, ClaimError, is_zero
from vaelib.symbolic.reading import Density, Functional, Reading, ReadingError, Value, normal

# --- a latent of three values, all else left open ---------------------------------------------------------

joint = sp.symbols("a1:4", positive=True)  # p(x, z) for the x at hand and each value of z


def distribution(letter: str) -> list[sp.Expr]:
    """Return three probabilities, two of them free symbols."""
    first, second = sp.symbols(f"{letter}1:3", positive=True)
    return [first, second, 1 - first - second]


q, prior = distribution("q"), distribution("p")
likelihood = sp.symbols("l1:4", positive=True)  # p(x | z)


def finite_elbo(joint: Sequence[sp.Expr], q: Sequence[sp.Expr]) -> sp.Expr:
    r"""The bound for a latent of few values.

    .. math::

        \mathcal L(q) = \sum_k q_k \log \frac{p(x, z_k)}{q_k}

    References
    ----------
    Book: def-elbo.
    """
    return sp.Add(*(weight * sp.log(a / weight) for a, weight in zip(joint, q, strict=True)))


def finite_kl(q: Sequence[sp.Expr], p: Sequence[sp.Expr]) -> sp.Expr:
    r"""The divergence of two distributions over few values.

    .. math::

        \mathrm{KL}(q \,\|\, p) = \sum_k q_k \log \frac{q_k}{p_k}

    References
    ----------
    Book: def-kl.
    """
    return sp.Add(*(weight * sp.log(weight / other) for weight, other in zip(q, p, strict=True)))


@functools.cache
def best_q(joint: tuple[sp.Expr, ...]) -> tuple[sp.Expr, ...]:
    r"""The distribution at which the bound is highest, by a Lagrange multiplier.

    .. math::

        \frac{\partial}{\partial q_k} \Bigl( \mathcal L(q) - \lambda \bigl( \textstyle\sum_j q_j - 1 \bigr) \Bigr) = 0

    The bound is concave in q, so that a point without slope is its top.

    References
    ----------
    Book: eq-gibbs.
    """
    free = sp.symbols(f"q1:{len(joint) + 1}", positive=True)
    multiplier, scale = sp.Symbol("lambda", real=True), sp.Symbol("scale", positive=True)
    slopes = [sp.diff(finite_elbo(joint, free), symbol) - multiplier for symbol in free]
    # Each slope holds one q alone; what they share is exp(-1 - lambda), fixed by the sum.
    shares = [
        sp.solve(slope, symbol)[0].subs(multiplier, -1 - sp.log(scale))
        for slope, symbol in zip(slopes, free, strict=True)
    ]
    (found,) = sp.solve(sp.Add(*shares) - 1, scale)
    return tuple(sp.simplify(share.subs(scale, found)) for share in shares)


def at_most_zero(difference: sp.Expr, q: Sequence[sp.Expr], p: Sequence[sp.Expr]) -> None:
    r"""Prove that an expression is at most 0, by showing that it is :math:`-\mathrm{KL}(q \,\|\, p)`.

    Where both sum to 1, the divergence is a sum of terms that cannot be negative:

    .. math::

        \mathrm{KL}(q \,\|\, p) = \sum_k q_k \left( \frac{p_k}{q_k} - 1 - \log \frac{p_k}{q_k} \right),
        \qquad t - 1 - \log t \ge 0

    Raises
    ------
    ClaimError
        If SymPy does not find one of the steps to hold.
    """
    t = sp.Symbol("t", positive=True)
    term = t - 1 - sp.log(t)
    convex = sp.diff(term, t, 2).is_positive
    if not (convex and sp.solve(sp.diff(term, t), t) == [1] and term.subs(t, 1) == 0):
        raise ClaimError("t - 1 - log t is not least at 1, where it is 0")
    terms = sp.Add(*(a * term.subs(t, b / a) for a, b in zip(q, p, strict=True)))
    if not is_zero(difference + terms):
        raise ClaimError(f"SymPy is left with {difference + terms}, which should vanish")


# --- the linear model with normal noise -------------------------------------------------------------------

x, z, b, w, mu = sp.symbols("x z b w mu", real=True)
s, sigma = sp.symbols("s sigma", positive=True)


def _solve(integrand: sp.Expr) -> sp.Expr:
    """Let SymPy integrate over the whole line of z, from the definition."""
    return sp.integrate(sp.expand(integrand), (z, -sp.oo, sp.oo), conds="none")


@functools.cache
def linear_evidence() -> sp.Expr:
    r"""The evidence of the linear model, integrated by SymPy.

    .. math::

        p(x) = \int \mathcal N(x; w z + b, s^2) \, \mathcal N(z; 0, 1) \, dz

    References
    ----------
    Book: eq-linear-posterior.
    """
    return sp.simplify(_solve(normal(x, w * z + b, s**2) * normal(z, sp.S.Zero, sp.S.One)))


@functools.cache
def linear_posterior() -> tuple[sp.Expr, sp.Expr]:
    r"""Mean and variance of the linear model's posterior, each an integral that SymPy solves.

    .. math::

        \nu = \int z \, p(z \mid x) \, dz, \qquad \tau^2 = \int (z - \nu)^2 \, p(z \mid x) \, dz

    References
    ----------
    Book: eq-linear-posterior.
    """
    density = normal(x, w * z + b, s**2) * normal(z, sp.S.Zero, sp.S.One) / linear_evidence()
    mean = sp.simplify(_solve(z * density))
    return mean, sp.factor(sp.simplify(_solve(z**2 * density) - mean**2))


@functools.cache
def linear_elbo() -> sp.Expr:
    r"""The bound of the linear model for :math:`q = \mathcal N(\mu, \sigma^2)`, integrated by SymPy.

    .. math::

        \mathcal L(q) = \int q(z) \log \frac{\mathcal N(x; w z + b, s^2) \, \mathcal N(z; 0, 1)}{q(z)} \, dz

    References
    ----------
    Book: def-elbo, eq-linear-elbo.
    """
    density = normal(z, mu, sigma**2)
    ratio = normal(x, w * z + b, s**2) * normal(z, sp.S.Zero, sp.S.One) / density
    return sp.simplify(_solve(density * sp.expand_log(sp.log(ratio), force=True)))
