"""Likelihoods as losses, from the mass or density of one pixel. Book: page 3."""

import itertools
import math
from collections.abc import Iterator, Sequence

import sympy as sp

from vaelib.symbolic.claims import Claim, ClaimError
from vaelib.symbolic.reading import Reading, normal

# Three pixels stand for D: what holds for three, and is a sum over pixels, holds for any number.
D = sp.Integer(3)
x, pi = sp.symbols("x1:4", positive=True), sp.symbols("pi1:4", positive=True)
mu, logits = sp.symbols("mu1:4", real=True), sp.symbols("l1:4", real=True)
sigma, w, s = sp.symbols("sigma w s", positive=True)
z = sp.Symbol("z", real=True)


def bernoulli(x: Sequence[sp.Expr], pi: Sequence[sp.Expr]) -> sp.Expr:
    r"""Probability of an image whose pixels are independent coins.

    .. math::

        \prod_{d=1}^{D} \pi_d^{x_d} (1 - \pi_d)^{1 - x_d}

    Parameters
    ----------
    x, pi : sequence of Expr
        Pixels, and the probability that each is 1.

    References
    ----------
    Book: eq-bernoulli.
    """
    return sp.Mul(*(p**a * (1 - p) ** (1 - a) for a, p in zip(x, pi, strict=True)))


def gaussian(x: Sequence[sp.Expr], mean: Sequence[sp.Expr], variance: sp.Expr) -> sp.Expr:
    r"""Density of an image whose pixels are independent and normal, with one variance.

    .. math::

        \prod_{d=1}^{D} \mathcal N(x_d; \mu_d, \sigma^2)

    Parameters
    ----------
    x, mean : sequence of Expr
        Pixels, and the mean of each.
    variance : Expr

    References
    ----------
    Book: eq-gaussian.
    """
    return sp.Mul(*(normal(a, m, variance) for a, m in zip(x, mean, strict=True)))


def nll(probability: sp.Expr) -> sp.Expr:
    r"""Minus the logarithm of a mass or a density, as a sum.

    .. math::

        -\log p

    Parameters
    ----------
    probability : Expr
        A product of powers and exponentials, all of them positive.
    """
    return sp.expand(-sp.expand_log(sp.log(probability), force=True))


def squared_error(x: Sequence[sp.Expr], mean: Sequence[sp.Expr]) -> sp.Expr:
    r"""Squared error, summed over pixels: :math:`\sum_d (x_d - \mu_d)^2`."""
    return sp.Add(*((a - m) ** 2 for a, m in zip(x, mean, strict=True)))


def best_variance(x: Sequence[sp.Expr], mean: Sequence[sp.Expr]) -> sp.Expr:
    r"""Find the variance at which the Gaussian likelihood is stationary.

    .. math::

        \frac{\partial}{\partial v} \left( -\sum_{d=1}^{D} \log \mathcal N(x_d; \mu_d, v) \right) = 0
        \quad \Longrightarrow \quad v = \frac{1}{D} \sum_{d=1}^{D} (x_d - \mu_d)^2

    Parameters
    ----------
    x, mean : sequence of Expr
        Pixels, and the mean of each.

    Returns
    -------
    Expr
        SymPy's solution: it is not typed here.

    References
    ----------
    Book: eq-best-sigma. Rybkin, Daniilidis and Levine (2021), section 3.
    """
    variance = sp.Symbol("v", positive=True)
    slope = sp.diff(nll(gaussian(x, mean, variance)), variance)
    numerator, _ = sp.fraction(sp.together(slope))
    [solution] = sp.solve(numerator, variance)
    return sp.expand(solution)


def binarizations(x: Sequence[sp.Expr]) -> Iterator[tuple[tuple[int, ...], sp.Expr]]:
    r"""Yield every black and white version of a grey image, with its probability.

    .. math::

        q(b \mid x) = \prod_{d=1}^{D} x_d^{b_d} (1 - x_d)^{1 - b_d}, \qquad b \in \{0, 1\}^D

    Parameters
    ----------
    x : sequence of Expr
        Pixels in [0, 1]; there are 2 to the power of their number of versions.

    References
    ----------
    Book: eq-binarization.
    """
    for b in itertools.product((0, 1), repeat=len(x)):
        yield b, sp.Mul(*(grey if bit else 1 - grey for grey, bit in zip(x, b, strict=True)))


def after_scaling(density: sp.Expr, variable: sp.Symbol, offset: sp.Expr, factor: sp.Expr) -> sp.Expr:
    r"""Density of :math:`y = a + s x` in terms of y, by differentiating its distribution function.

    .. math::

        p_Y(y) = \frac{d}{dy} P(a + s X \le y) = \frac{d}{dy} \int_{-\infty}^{(y - a) / s} p_X(t) \, dt

    Parameters
    ----------
    density : Expr
        :math:`p_X` in terms of ``variable``, on the whole line.
    variable : Symbol
        Stands for x in what is given and for y in what is returned.
    offset, factor : Expr
        a and s > 0.

    References
    ----------
    Book: eq-change-of-range.
    """
    below = sp.Integral(density, (variable, -sp.oo, (variable - offset) / factor))
    return sp.diff(below, variable)


# --- how the page's equations are read and checked -------------------------------------------------------

BETWEEN = {symbol.name: (0.1, 0.9) for symbol in (*x, *pi)}
RATE = {"q": (0.1, 0.9), "p": (0.1, 0.9)}

coins = Reading(
    {
        "x": x, r"\pi": pi, "D": D, "z": z,
        r"p_\theta(x|z)": lambda x, z: bernoulli(x, pi),
    }
)  # fmt: skip

coins_from_logits = Reading(
    {
        "x": x, r"\ell": logits, r"\pi": [1 / (1 + sp.exp(-logit)) for logit in logits], "D": D, "z": z,
        "d": sp.Integer(2),
        r"p_\theta(x|z)": lambda x, z: bernoulli(x, [1 / (1 + sp.exp(-logit)) for logit in logits]),
    }
)  # fmt: skip

# Whatever q(z | x) and the prior are: here a latent with two values, so that KL is a sum.
q_one, p_one = sp.symbols("q p", positive=True)
rate = {
    "z": z,
    r"q_\phi(z|x)": lambda z, x: q_one if z else 1 - q_one,
    "p(z)": lambda z: p_one if z else 1 - p_one,
}

normal_pixels = Reading(
    {
        "x": x, r"\mu": mu, r"\sigma": sigma, "D": D, "z": z,
        r"p_\theta(x|z)": lambda x, z: gaussian(x, mu, sigma**2),
    }
)  # fmt: skip

implied = sp.sqrt(1 / (2 * w))  # the decoder's deviation that a weight stands for
weighted = Reading(
    {
        "x": x, r"\mu": mu, "w": w, "D": D, r"\sigma": implied,
        r"p_\theta(x|z)": lambda x, z: gaussian(x, mu, implied**2),
    }
    | rate,
    domains={"z": [0, 1]},
)  # fmt: skip

mean_square = best_variance(x, mu)
calibrated = Reading(
    {
        "x": x, r"\mu": mu, "w": w, "D": D, r"\sigma": implied, r"\sigma_\star": sp.sqrt(mean_square),
        r"\beta": implied**2 / mean_square,
    }
    | rate,
    domains={"z": [0, 1]},
)  # fmt: skip

best = Reading(
    {
        "x": x, r"\mu": mu, r"\sigma": sigma, "D": D, "z": z, r"\sigma_\star": sp.sqrt(mean_square),
        r"p_\theta(x|z)": lambda x, z: gaussian(x, mu, sigma**2),
    }
)  # fmt: skip


def best_variance_is_a_maximum() -> sp.Expr:
    r"""Prove eq-best-sigma: :math:`t - 1 \ge \log t` with :math:`t = \sigma_\star^2 / \sigma^2`."""
    t = sp.Symbol("t", positive=True)
    gap = (nll(gaussian(x, mu, mean_square / t)) - nll(gaussian(x, mu, mean_square))) / D
    if not sp.simplify(sp.expand_log(2 * gap - (t - 1 - sp.log(t)), force=True)) == 0:
        raise ClaimError(f"the gap is not (t - 1 - log t) / 2 a pixel, but {gap}")
    if sp.solve(sp.diff(t - 1 - sp.log(t), t), t) != [1] or not sp.diff(t - 1 - sp.log(t), t, 2).is_positive:
        raise ClaimError("t - 1 - log t has its only minimum at 1, where it is 0")
    return D * (t - 1 - sp.log(t)).subs(t, mean_square / sigma**2) / 2


# The same two pixels on another range, y = a + s x, and the decoder's means with them.
a = sp.Symbol("a", real=True)
moved = [a + s * pixel for pixel in x]
moved_mean = [a + s * mean for mean in mu]
point = sp.Symbol("y", real=True)

averaged = Reading(
    {
        "y": moved, r"\nu": moved_mean, "x": x, r"\mu": mu, "w": w, "s": s, "D": D,
        r"\sigma": sp.sqrt(D / (2 * w)) / s,
    }
)  # fmt: skip

on_another_range = Reading(
    {
        "x": x, "y": moved, "a": a, "s": s, "D": D, "d": sp.Integer(2),
        "p_X": lambda x: gaussian(x, mu, sigma**2),
        "p_Y": lambda y: sp.Mul(
            *(
                after_scaling(normal(point, mean, sigma**2), point, a, s).subs(point, pixel)
                for pixel, mean in zip(y, mu, strict=True)
            )
        ),
    }
)  # fmt: skip

black_and_white = Reading(
    {
        "x": x, r"\pi": pi, "D": D, "z": z,
        r"p_\theta(b|z)": lambda b, z: bernoulli(b, pi),
        "q(b|x)": lambda b, x: dict(binarizations(x))[b],
    },
    domains={"b": [b for b, _ in binarizations(x)]},
)  # fmt: skip


def floor_is_reached_only_at_the_pixels() -> None:
    """Prove eq-entropy-floor for one pixel: convex in the decoder's probability, least where it is x."""
    grey, p = sp.symbols("x p", positive=True)
    loss = nll(bernoulli([grey], [p]))
    if sp.solve(sp.diff(loss, p), p) != [grey]:
        raise ClaimError("binary cross-entropy is stationary elsewhere than at the pixel")
    # x / p^2 + (1 - x) / (1 - p)^2, both terms positive for x and p between 0 and 1
    if sp.simplify(sp.diff(loss, p, 2) - grey / p**2 - (1 - grey) / (1 - p) ** 2) != 0:
        raise ClaimError("the second derivative is not a sum of two positive terms")
    entropy = sum(-q * sp.log(q) for _, q in binarizations([grey]))
    if sp.simplify(loss.subs(p, grey) - entropy) != 0:
        raise ClaimError("at the pixel the loss is not its entropy")


one_coin = sp.Symbol("p", positive=True)
grey_pixel = Reading({r"\pi": one_coin})

snow = Reading(
    {
        "x": x, r"\pi": pi, "D": D, "z": z,
        r"p_\theta(x|z)": lambda x, z: bernoulli(x, pi),
    },
    domains={"x": [b for b, _ in binarizations(x)]},
)  # fmt: skip

CLAIMS = {
    "eq-bernoulli": Claim(coins, ranges=BETWEEN),
    "eq-logits": Claim(coins_from_logits, ranges=BETWEEN),
    "eq-gaussian": Claim(normal_pixels),
    "eq-dial": Claim(weighted, ranges=RATE),
    "eq-best-sigma": Claim(
        best,
        tight=[{"sigma": lambda v: math.sqrt(sum((v[f"x{d}"] - v[f"mu{d}"]) ** 2 for d in (1, 2, 3)) / 3)}],
        proof=best_variance_is_a_maximum,
    ),
    "eq-calibrated": Claim(calibrated, ranges=RATE, simplify=sp.cancel),
    "eq-reduction": Claim(averaged),
    "eq-change-of-range": Claim(on_another_range),
    "eq-binarization": Claim(black_and_white, ranges=BETWEEN),
    "eq-entropy-floor": Claim(
        black_and_white,
        ranges=BETWEEN,
        tight=[{"pi1": lambda v: v["x1"], "pi2": lambda v: v["x2"], "pi3": lambda v: v["x3"]}],
        proof=floor_is_reached_only_at_the_pixels,
    ),
    "eq-no-density": Claim(grey_pixel, ranges={"p": (0.6, 0.9)}),
    "eq-speckle": Claim(snow, ranges=BETWEEN),
}
