"""Overlap of classes, and the widths that a decoder's slope leaves to q. Book: page 16."""

import functools
from collections.abc import Callable

import sympy as sp

from vaelib.symbolic.claims import Claim, ClaimError
from vaelib.symbolic.distances import (
    COIN,
    THREE,
    by_absolute_values,
    no_event_tells_more_apart,
    swaps,
    table,
    two_point,
)
from vaelib.symbolic.gaussian_kl import kl_closed_form
from vaelib.symbolic.losses import bernoulli, binarizations
from vaelib.symbolic.reading import Functional, Reading, Value, normal

z = sp.Symbol("z", real=True)

# --- two classes ------------------------------------------------------------------------------------------


def hellinger(total: Callable[..., Value], q: Callable[..., Value], p: Callable[..., Value]) -> Value:
    r"""Bhattacharyya's coefficient by the distance of the densities' roots.

    .. math::

        1 - \frac{1}{2} \int \bigl( \sqrt{q(z)} - \sqrt{p(z)} \bigr)^2 \, dz

    References
    ----------
    Book: def-bhattacharyya, which multiplies out the square.
    """
    return 1 - total(lambda z: (sp.sqrt(q(z)) - sp.sqrt(p(z))) ** 2) / 2


BOTH = {"BC": Functional(hellinger)}
q1, q2, p1, p2 = sp.symbols("q1 q2 p1 p2", positive=True)
three_points = Reading(
    {"z": z, "q_a": table(q1, q2, 1 - q1 - q2), "q_b": table(p1, p2, 1 - p1 - p2), "A": (1,)} | BOTH,
    domains={"z": [sp.Integer(k) for k in (1, 2, 3)]},
)


def by_roots(expression: sp.Expr) -> sp.Expr:
    """Let SymPy split the root of a product: the last probability is positive too, whatever it is made of."""
    last_q, last_p = sp.symbols("q3 p3", positive=True)
    split = expression.subs({1 - q1 - q2: last_q, 1 - p1 - p2: last_p})
    return sp.expand(sp.expand(split).subs({last_q: 1 - q1 - q2, last_p: 1 - p1 - p2}))


a, b = sp.symbols("a b", real=True)
coins = Reading(
    {"z": z, "q_a": two_point(a), "q_b": two_point(b)} | BOTH, domains={"z": [sp.S.Zero, sp.S.One]}
)


def smaller_is_below_the_geometric_mean() -> None:
    """Prove eq-guess-above, point by point: with q the smaller of two, q p - q^2 is q (p - q) >= 0."""
    q, more = sp.symbols("q more", positive=True)
    if not sp.expand(q * (q + more) - q**2).is_positive:
        raise ClaimError("the smaller of two numbers is not below their geometric mean")


def roots_are_a_distance() -> None:
    r"""Prove eq-guess-below by Cauchy and Schwarz.

    :math:`|q - p| = |\sqrt q - \sqrt p| \, (\sqrt q + \sqrt p)`, so that :math:`4 \mathrm{TV}^2` is at most
    the product of :math:`\sum (\sqrt q - \sqrt p)^2` and :math:`\sum (\sqrt q + \sqrt p)^2`, which is
    :math:`4 (1 - \mathrm{BC}^2)`.
    """
    q, p = (sp.symbols(f"{letter}1:4", positive=True) for letter in "qp")
    apart = sp.Add(*((sp.sqrt(x) - sp.sqrt(y)) ** 2 for x, y in zip(q, p, strict=True)))
    together = sp.Add(*((sp.sqrt(x) + sp.sqrt(y)) ** 2 for x, y in zip(q, p, strict=True)))
    one = {q[2]: 1 - q[0] - q[1], p[2]: 1 - p[0] - p[1]}
    coefficient = sp.Add(*(sp.sqrt(x * y) for x, y in zip(q, p, strict=True)))
    left = sp.expand(apart).subs(one), sp.expand(together).subs(one)
    right = 2 * (1 - coefficient).subs(one), 2 * (1 + coefficient).subs(one)
    for found, wanted in zip(left, right, strict=True):
        if sp.simplify(sp.expand(found - wanted)) != 0:
            raise ClaimError(f"{found} is not {wanted}")
    u, v = sp.symbols("u v", positive=True)
    if sp.expand((u - v) * (u + v) - u**2 + v**2) != 0:
        raise ClaimError("a difference is not that of the roots times their sum")


mu_a, mu_b = sp.symbols("mu_a mu_b", real=True)
sigma_a, sigma_b = sp.symbols("sigma_a sigma_b", positive=True)
two_normals = Reading(
    {
        "z": z, r"\mu_a": mu_a, r"\mu_b": mu_b, r"\sigma_a": sigma_a, r"\sigma_b": sigma_b,
        "q_a": lambda z: normal(z, mu_a, sigma_a**2), "q_b": lambda z: normal(z, mu_b, sigma_b**2),
    }
    | BOTH
)  # fmt: skip

# --- the decoder's slope ----------------------------------------------------------------------------------

# A decoder with two pixels whose logits bend; logarithms, so that all its probabilities are rational.
place = sp.Symbol("z", positive=True)
t1, t2 = sp.symbols("t1 t2", positive=True)
LOGITS = [sp.log(t1 * place**2), sp.log(t2 * place)]


def at(z: Value) -> list[sp.Expr]:
    """Pixel probabilities where the decoder stands at a place."""
    return [1 / (1 + sp.exp(-logit.subs(place, z))) for logit in LOGITS]


IMAGES = [x for x, _ in binarizations(sp.symbols("x1 x2"))]


@functools.cache
def information() -> sp.Expr:
    r"""The decoder's Fisher information, as the mean square of the score over all black and white images.

    .. math::

        \mathbb E_{p(x \mid z)} \left[ \left( \frac{\partial}{\partial z} \log p(x \mid z) \right)^2 \right]

    References
    ----------
    Book: def-decoder-information, which has its other two forms.
    """
    probabilities = [bernoulli(x, at(place)) for x in IMAGES]
    return sp.factor(sp.Add(*(p * sp.diff(sp.log(p), place) ** 2 for p in probabilities)))


pictures = Reading(
    {
        "z": place, r"\pi": at(place), r"\ell": LOGITS, "D": sp.Integer(2),
        "G": lambda z: information().subs(place, z),
        r"p_\theta(|)": lambda x, z: bernoulli(x, at(z)),
    },
    domains={"x": IMAGES},
)  # fmt: skip

# --- the width of q ---------------------------------------------------------------------------------------

# Two images with two latents each, and the decoder's information, a matrix.
mu = [sp.symbols(f"mu{i}a mu{i}b", real=True) for i in (1, 2)]
sigma = [sp.symbols(f"sigma{i}a sigma{i}b", positive=True) for i in (1, 2)]
G = [sp.symbols(f"g{i}a g{i}b", positive=True) for i in (1, 2)]


@functools.cache
def best_width(slope: sp.Symbol) -> sp.Expr:
    r"""The deviation at which what a bent likelihood loses and what the rate gains balance.

    .. math::

        \frac{\partial}{\partial \sigma} \Bigl( -\frac{1}{2} G \sigma^2
        - \mathrm{KL}\bigl(\mathcal N(\mu, \sigma^2) \,\|\, \mathcal N(0, 1)\bigr) \Bigr) = 0

    References
    ----------
    Book: eq-best-width.
    """
    width, mean = sp.Symbol("sigma", positive=True), sp.Symbol("mu", real=True)
    bound = -slope * width**2 / 2 - kl_closed_form(mean, width, sp.S.Zero, sp.S.One)
    [found] = sp.solve(sp.diff(bound, width), width)
    return found


def encoded(latent: int) -> Callable[[Value, Value], sp.Expr]:
    """Density of one latent, given the number of an image."""
    return lambda z, i: normal(z, mu[int(i) - 1][latent - 1], sigma[int(i) - 1][latent - 1] ** 2)


def one_image(latent: int) -> Reading:
    """Read for the first image, and one of its latents."""
    return Reading(
        {
            "x": sp.S.One, "j": sp.Integer(latent), r"\sigma": sigma[0], "G": G,
            r"\hat \sigma": [best_width(row[k]) for k, row in enumerate(G)],
            r"q_\phi(z|x)": encoded(latent), "p(z)": lambda z: normal(z, sp.S.Zero, sp.S.One),
        }
    )  # fmt: skip


images = Reading(
    {
        "x": [sp.Integer(1), sp.Integer(2)], "N": sp.Integer(2), "j": sp.Integer(2),
        r"\mu": mu, r"\sigma": sigma,
        r"q_\phi(z|x)": encoded(2), "p(z)": lambda z: normal(z, sp.S.Zero, sp.S.One),
    }
)  # fmt: skip

BETWEEN = swaps(r"\mathrm{BC}(q_a, q_b)", r"\mathrm{TV}(q_a, q_b)")

CLAIMS = {
    "eq-best-guess": Claim(
        three_points,
        ranges=THREE,
        simplify=by_absolute_values,
        tight=[{"q1": lambda v: v["p1"] + 0.05, "q2": lambda v: v["p2"] - 0.05}],
        proof=no_event_tells_more_apart,
        equivalent=swaps(r"\mathrm{TV}(q_a, q_b)", r"\min\bigl(q_a(z), q_b(z)\bigr)"),
    ),
    "def-bhattacharyya": Claim(
        three_points, ranges=THREE, simplify=by_roots, equivalent=swaps(r"\mathrm{BC}(q_a, q_b)")
    ),
    "eq-guess-above": Claim(
        coins,
        ranges=COIN,
        tight=[{"a": lambda v: v["b"]}, {"a": lambda v: 1.0, "b": lambda v: 0.0}],
        proof=smaller_is_below_the_geometric_mean,
        equivalent=BETWEEN,
    ),
    "eq-guess-below": Claim(
        coins,
        ranges=COIN,
        tight=[{"b": lambda v: 1 - v["a"]}],
        proof=roots_are_a_distance,
        equivalent=BETWEEN,
    ),
    "eq-gaussian-bhattacharyya": Claim(
        two_normals, method="quadrature", equivalent=swaps(r"\mathrm{BC}(q_a, q_b)")
    ),
    "def-decoder-information": Claim(pictures, simplify=sp.factor),
    "eq-best-width": Claim(one_image(1)),
    "eq-rate-of-widths": Claim(images),
}  # fmt: skip
