"""The KL divergence of normal distributions, from the integral that defines it. Book: page 7."""

from collections.abc import Sequence

import sympy as sp

from vaelib.symbolic.claims import Claim
from vaelib.symbolic.reading import Reading, normal

z = sp.Symbol("z", real=True)
mu, mu_p, mu_q = sp.symbols("mu mu_p mu_q", real=True)
sigma, sigma_p, sigma_q = sp.symbols("sigma sigma_p sigma_q", positive=True)
log_var = sp.Symbol("v", real=True)


def kl_integral(
    mean_q: sp.Expr = mu_q, sigma_q: sp.Expr = sigma_q, mean_p: sp.Expr = mu_p, sigma_p: sp.Expr = sigma_p
) -> sp.Integral:
    r"""The definition, with nothing solved yet.

    .. math::

        \int q(z) \log \frac{q(z)}{p(z)} \, dz, \qquad
        q = \mathcal N(\mu_q, \sigma_q^2), \quad p = \mathcal N(\mu_p, \sigma_p^2)

    References
    ----------
    Book: def-kl.
    """
    q, p = normal(z, mean_q, sigma_q**2), normal(z, mean_p, sigma_p**2)
    return sp.Integral(q * sp.expand_log(sp.log(q / p), force=True), (z, -sp.oo, sp.oo))


def kl_closed_form(
    mean_q: sp.Expr = mu_q, sigma_q: sp.Expr = sigma_q, mean_p: sp.Expr = mu_p, sigma_p: sp.Expr = sigma_p
) -> sp.Expr:
    r"""What the integral comes to.

    .. math::

        \log \frac{\sigma_p}{\sigma_q} + \frac{\sigma_q^2 + (\mu_q - \mu_p)^2}{2 \sigma_p^2} - \frac{1}{2}

    References
    ----------
    Book: eq-gaussian-kl-1d.
    """
    return (
        sp.log(sigma_p / sigma_q)
        + (sigma_q**2 + (mean_q - mean_p) ** 2) / (2 * sigma_p**2)
        - sp.Rational(1, 2)
    )


# --- how the page's equations are read and checked -------------------------------------------------------

between_two = Reading(
    {
        r"\mu_q": mu_q, r"\mu_p": mu_p, r"\sigma_q": sigma_q, r"\sigma_p": sigma_p, "z": z,
        "q": lambda z: normal(z, mu_q, sigma_q**2),
        "p": lambda z: normal(z, mu_p, sigma_p**2),
    }
)  # fmt: skip

mus, sigmas = sp.symbols("mu1:3", real=True), sp.symbols("sigma1:3", positive=True)


# A distribution with independent coordinates, as the mean and the deviation of each.
Coordinates = Sequence[tuple[sp.Expr, sp.Expr]]


def independent(means: Sequence[sp.Expr], deviations: Sequence[sp.Expr]) -> Coordinates:
    """Return a normal distribution with a diagonal covariance."""
    return list(zip(means, deviations, strict=True))


def kl_of_coordinates(q: Coordinates, p: Coordinates) -> sp.Expr:
    """The KL of independent coordinates: an unsolved integral for each (book: eq-kl-additivity)."""
    return sp.Add(*(kl_integral(*one, *other) for one, other in zip(q, p, strict=True)))


encoder_and_prior = Reading(
    {
        r"\mu": mus, r"\sigma": sigmas, "J": sp.Integer(2), "x": sp.Symbol("x"), "z": z,
        r"q_\phi(z|x)": independent(mus, sigmas),
        "p(z)": independent([sp.S.Zero] * 2, [sp.S.One] * 2),
        "KL": kl_of_coordinates,
    }
)  # fmt: skip

CLAIMS = {
    "eq-gaussian-kl-1d": Claim(between_two),
    "eq-gaussian-kl": Claim(encoder_and_prior),
}
