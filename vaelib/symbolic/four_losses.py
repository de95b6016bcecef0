"""Losses of public repositories as one ELBO, and why totals of coins and of densities part. Book: page 15."""

from operator import itemgetter

import sympy as sp

from vaelib.symbolic.claims import Claim, ClaimError
from vaelib.symbolic.losses import (
    BETWEEN,
    RATE,
    D,
    bernoulli,
    binarizations,
    black_and_white,
    gaussian,
    moved,
    moved_mean,
    mu,
    nll,
    pi,
    rate,
    s,
    sigma,
    squared_error,
    w,
    x,
    z,
)
from vaelib.symbolic.reading import Reading, normal

kappa, h = sp.symbols("kappa h", positive=True)  # the weight of the KL term in the code, and a bin's width
total, R = sp.symbols("T R", positive=True)


def implied_variance() -> sp.Expr:
    r"""The variance of the Gaussian decoder whose ELBO a loss with two weights is.

    .. math::

        \frac{w}{D} \sum_{d=1}^{D} (y_d - \nu_d)^2
        = \frac{\kappa}{2 \sigma^2} \sum_{d=1}^{D} (x_d - \mu_d)^2, \qquad y = a + s x

    Returns
    -------
    Expr
        SymPy's solution for :math:`\sigma^2`: it is not typed here.

    References
    ----------
    Book: eq-one-loss.
    """
    variance = sp.Symbol("v", positive=True)
    as_coded = w * squared_error(moved, moved_mean) / D
    as_likelihood = kappa * squared_error(x, mu) / (2 * variance)
    [solution] = sp.solve(sp.cancel(as_coded / as_likelihood) - 1, variance)
    return solution


def coin_price() -> sp.Expr:
    r"""Prove eq-coin-price pixel by pixel: what a coin costs above its floor grows faster than the square.

    .. math::

        g(\pi) = x \log \frac{x}{\pi} + (1 - x) \log \frac{1 - x}{1 - \pi} - 2 (x - \pi)^2, \qquad
        g(x) = 0, \quad g'(\pi) = (\pi - x) \, \frac{(1 - 2 \pi)^2}{\pi (1 - \pi)}

    Falling before x and rising behind it, g is least at x.

    Returns
    -------
    Expr
        The gap between the two sides, for three pixels.

    Raises
    ------
    ClaimError
        If a step fails.

    References
    ----------
    Book: eq-coin-price.
    """
    grey, p = sp.symbols("x p", positive=True)
    entropy = sum(-q * sp.log(q) for _, q in binarizations([grey]))
    gap = nll(bernoulli([grey], [p])) - entropy - 2 * (grey - p) ** 2
    if sp.simplify(gap.subs(p, grey)) != 0:
        raise ClaimError("a decoder that says the pixel does not cost the floor")
    slope = (p - grey) * (1 - 2 * p) ** 2 / (p * (1 - p))  # a square over a product of positive numbers
    if sp.simplify(sp.diff(gap, p) - slope) != 0:
        raise ClaimError(f"the slope is not (p - x) times what is never negative, but {sp.diff(gap, p)}")
    return sp.Add(*(gap.subs({grey: a, p: b}) for a, b in zip(x, pi, strict=True)))


def density_gap() -> sp.Expr:
    r"""Prove eq-density-floor: what lies above the floor is a sum of squares.

    References
    ----------
    Book: eq-density-floor.
    """
    gap = squared_error(x, mu) / (2 * sigma**2)
    if not all(part.is_nonnegative for part in sp.Add.make_args(gap.expand(deep=False))):
        raise ClaimError(f"{gap} is no sum of squares")
    return gap


def level_lemma() -> None:
    r"""Prove the equality of eq-level-bound for every bin; the inequality before it is Jensen's.

    References
    ----------
    Book: eq-level-bound, eq-jensen.
    """
    u, at, mean = sp.symbols("u x m", real=True)
    log_density = sp.expand_log(sp.log(normal(u, mean, sigma**2)), force=True)
    average = sp.integrate(-log_density, (u, at - h / 2, at + h / 2)) / h
    if sp.simplify(average + log_density.subs(u, at) - h**2 / (24 * sigma**2)) != 0:
        raise ClaimError("the mean over a bin differs from the middle by something else")


# --- how the page's equations are read and checked -------------------------------------------------------

variance = implied_variance()
two_weights = Reading(
    {
        "x": x, r"\mu": mu, "y": moved, r"\nu": moved_mean, "w": w, r"\kappa": kappa, "s": s, "D": D,
        r"\sigma": sp.sqrt(variance),
        r"p_\theta(x|z)": lambda x, z: gaussian(x, mu, variance),
    }
    | rate,
    domains={"z": [0, 1]},
)  # fmt: skip

# T is what the code reports: w s^2 E / D + kappa R.
trade = Reading(
    {
        "E": (total - kappa * R) * D / (w * s**2), "T": total, "R": R, "w": w, r"\kappa": kappa, "s": s,
        "D": D, r"\sigma": sp.sqrt(variance),
    }
)  # fmt: skip

normal_pixels = Reading(
    {
        "x": x, r"\mu": mu, r"\sigma": sigma, "D": D, "z": z,
        r"p_\theta(x|z)": lambda x, z: gaussian(x, mu, sigma**2),
    }
)  # fmt: skip

grey, mean = sp.symbols("x mu", real=True)
one_pixel = Reading(
    {
        "x": grey, r"\mu": mean, r"\sigma": sigma, "h": h, "z": z,
        r"p_\theta(x|z)": lambda x, z: normal(x, mean, sigma**2),
        r"p_\theta(u|z)": lambda u, z: normal(u, mean, sigma**2),
    }
)  # fmt: skip

CLAIMS = {
    "eq-one-loss": Claim(two_weights, ranges=RATE),
    "eq-exchange-rate": Claim(trade),
    "eq-density-floor": Claim(
        normal_pixels,
        tight=[{f"mu{d}": itemgetter(f"x{d}") for d in (1, 2, 3)}],
        proof=density_gap,
    ),
    "eq-coin-price": Claim(
        black_and_white,
        ranges=BETWEEN,
        tight=[{f"pi{d}": itemgetter(f"x{d}") for d in (1, 2, 3)}],
        proof=coin_price,
    ),
    "eq-level-bound": Claim(
        one_pixel,
        ranges={"h": (1.0, 0.5, 0.25)},  # 2, 3 and 5 levels
        # Of narrow bins at the mean the two sides differ by (h / sigma)^4 / 2880, here 2e-9.
        tight=[{"mu": lambda v: v["x"], "h": lambda v: v["sigma"] / 20}],
        proof=level_lemma,
    ),
}
