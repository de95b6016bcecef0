"""The weight of the KL term as a price: what one latent of a linear VAE reaches at each. Book: page 14."""

import functools

import sympy as sp

from vaelib.symbolic.claims import Claim
from vaelib.symbolic.gaussian_kl import kl_closed_form
from vaelib.symbolic.reading import Reading, normal

beta, sigma = sp.symbols("beta sigma", positive=True)
eigenvalue = sp.Symbol("lambda", positive=True)  # the variance of the data along the latent's direction
rate = sp.Symbol("R", positive=True)

w, v, d = sp.symbols("w v d", positive=True)  # z -> w z is the decoder, x -> N(v x, d) the encoder


def terms(weight: sp.Expr = w, slope: sp.Expr = v, variance: sp.Expr = d) -> tuple[sp.Expr, sp.Expr]:
    r"""Distortion and rate of a linear VAE with one pixel and one latent, means over the data.

    .. math::

        \mathbb E\bigl[-\log \mathcal N(x; w z, \sigma^2)\bigr], \qquad
        \mathbb E\bigl[\mathrm{KL}(\mathcal N(v x, d) \,\|\, \mathcal N(0, 1))\bigr], \qquad
        \mathbb E[x] = 0, \quad \mathbb E[x^2] = \lambda

    Parameters
    ----------
    weight, slope, variance : Expr
        w, v and d.

    References
    ----------
    Book: eq-linear-terms.
    """
    x, z = sp.symbols("x z", real=True)
    loss = sp.expand(sp.expand_log(-sp.log(normal(x, weight * z, sigma**2)), force=True))
    # Of z given x, then of x: only squares are left, and what has none.
    over_z = sp.expand(loss.subs(z**2, (slope * x) ** 2 + variance).subs(z, slope * x))
    kl = sp.expand(kl_closed_form(slope * x, sp.sqrt(variance), sp.S.Zero, sp.S.One))
    distortion, price = (sp.expand(mean.subs(x**2, eigenvalue)) for mean in (over_z, kl))
    return distortion, price


@functools.cache
def best() -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    r"""The decoder and the encoder that make distortion plus beta times rate least, its slopes being zero.

    Returns
    -------
    tuple of Expr
        :math:`w^2`, :math:`v` and :math:`d`, as functions of :math:`\beta`, :math:`\sigma` and
        :math:`\lambda`.

    References
    ----------
    Book: eq-weighted-terms.
    """
    distortion, price = terms()
    total = distortion + beta * price
    [slope] = sp.solve(sp.diff(total, v), v)
    [variance] = sp.solve(sp.diff(total, d), d)
    # The slope in w is w times a function of its square, s.
    square = sp.Symbol("s", positive=True)
    left = (sp.diff(total, w) / w).subs({v: slope, d: variance}).subs(w, sp.sqrt(square))
    [length] = sp.solve(sp.numer(sp.together(left)), square)
    found = (length, slope.subs(w, sp.sqrt(length)), variance.subs(w, sp.sqrt(length)))
    return tuple(map(sp.factor, found))


def at_best() -> tuple[sp.Expr, sp.Expr]:
    r"""Distortion and rate there, as functions of the weight.

    References
    ----------
    Book: eq-weighted-terms.
    """
    length, slope, variance = best()
    distortion, price = (term.subs({v: slope, d: variance}).subs(w, sp.sqrt(length)) for term in terms())
    return sp.simplify(distortion), sp.simplify(price)


def price_of(rate: sp.Expr = rate) -> sp.Expr:
    """The weight at which training buys so many nats: the rate at the best, solved for it."""
    [found] = sp.solve(at_best()[1] - rate, beta)
    return found


LENGTH, SLOPE, VARIANCE = best()


def reading(price: sp.Expr, rate: sp.Expr = rate) -> Reading:
    """Two images, whose mean is 0 and whose mean square is lambda, and the model that is best at a price."""
    length, slope, variance = (part.subs(beta, price) for part in (LENGTH, SLOPE, VARIANCE))
    return Reading(
        {
            "N": sp.Integer(2), "x": [sp.sqrt(eigenvalue), -sp.sqrt(eigenvalue)], r"\lambda": eigenvalue,
            r"\sigma": sigma, r"\beta": price, "R": rate, "p(z)": lambda z: normal(z, sp.S.Zero, sp.S.One),
            "p(x|z)": lambda x, z: normal(x, sp.sqrt(length) * z, sigma**2),
            "q(z|x)": lambda z, x: normal(z, slope * x, variance),
        }
    )  # fmt: skip


CLAIMS = {
    # Where the water, beta sigma^2, leaves the latent alive.
    "eq-weighted-terms": Claim(
        reading(beta), method="quadrature",
        ranges={"lambda": (2.0, 3.0), "beta": (0.5, 1.7), "sigma": (0.7, 0.9)},
    ),
    "eq-price-is-slope": Claim(reading(price_of()), method="quadrature"),
}  # fmt: skip
