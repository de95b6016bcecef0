"""What the training page repeats, and what it adds: the objective, the schedule, the grid. Book: page 11."""

from collections.abc import Sequence

import sympy as sp

from vaelib.symbolic import elbo, gaussian_kl, losses
from vaelib.symbolic.claims import Claim
from vaelib.symbolic.gaussian_kl import kl_closed_form, kl_of_coordinates
from vaelib.symbolic.reading import Density, Reading, normal

PIXELS = sp.Integer(3)

x = sp.symbols("x1:4", real=True)
z = sp.Matrix(sp.symbols("z1:3", real=True))
mu, noise = sp.Matrix(sp.symbols("mu1:3", real=True)), sp.Matrix(sp.symbols("epsilon1:3", real=True))
sigma = sp.Matrix(sp.symbols("sigma1:3", positive=True))
pixel = sp.symbols("pi1:4", positive=True)  # the probabilities, each below 1
beta = sp.Symbol("beta", positive=True)
VALUES = [sp.Integer(k) for k in (1, 2, 3)]


def multivariate_normal(point: sp.Matrix, mean: sp.Matrix, covariance: sp.Matrix) -> sp.Expr:
    r"""The normal density of a vector.

    .. math::

        |2 \pi \Sigma|^{-\frac{1}{2}} e^{-\frac{1}{2} (z - \mu)^\top \Sigma^{-1} (z - \mu)}

    References
    ----------
    Book: def-vae.
    """
    off = point - mean * sp.ones(len(point), 1) if isinstance(mean, sp.Expr) else point - mean
    return sp.exp(-(off.T * covariance.inv() * off)[0, 0] / 2) / sp.sqrt((2 * sp.pi * covariance).det())


def product_of_normals(
    points: Sequence[sp.Expr], means: Sequence[sp.Expr], deviations: Sequence[sp.Expr]
) -> sp.Expr:
    """The density of independent normal numbers."""
    return sp.Mul(*(normal(a, m, s**2) for a, m, s in zip(points, means, deviations, strict=True)))


# --- one image after the other -----------------------------------------------------------------------------

# log p(x_i | z_k) for three images and three latents, so that it matters which latent belongs to an image.
log_likelihoods = sp.Matrix(3, 3, sp.symbols("t1:10", real=True))
mus_of, sigmas_of = sp.symbols("mu1:4", real=True), sp.symbols("sigma1:4", positive=True)


def objective() -> sp.Expr:
    """The mean of the weighted terms of three images, as ``ElboTerms.weighted`` has them."""
    terms = zip(log_likelihoods.diagonal(), mus_of, sigmas_of, strict=True)
    return sp.Add(*(t - beta * kl_closed_form(m, s, sp.S.Zero, sp.S.One) for t, m, s in terms)) / 3


def encoder_of(_: object, i: sp.Integer) -> list[tuple[sp.Expr, sp.Expr]]:
    """q(z | x_i), by its mean and deviation."""
    return [(mus_of[int(i) - 1], sigmas_of[int(i) - 1])]


PRIOR = [(sp.S.Zero, sp.S.One)]
t, total, warmup, peak = sp.symbols("t T w eta_max", positive=True)
i, cells = sp.symbols("i n", positive=True)


def schedule() -> sp.Expr:
    """The two parts of the schedule one after the other: a straight rise, then half a cosine."""
    fall = peak * sp.cos(sp.pi * (t - warmup) / (total - warmup) / 2) ** 2
    return sp.Piecewise((peak * t / warmup, t <= warmup), (fall, True))


def grid_point() -> sp.Expr:
    r"""The value below which a standard normal number falls with probability (i + 1/2)/n."""
    return sp.sqrt(2) * sp.erfinv((2 * i + 1) / cells - 1)


CLAIMS = {
    "def-vae": Claim(
        Reading(
            {
                "z": z, "x": x, "D": PIXELS, r"\pi": pixel, r"\mu": mu, r"\sigma": sigma,
                r"\sigma^2": sigma.applyfunc(lambda s: s**2), "diag": lambda v: sp.diag(*v),
                "I": sp.eye(2), r"\mathcal N(;,)": multivariate_normal,
                "p(z)": lambda z: product_of_normals(z, [0, 0], [1, 1]),
                r"p_\theta(x|z)": lambda x, z: sp.exp(
                    sp.expand_log(sp.log(losses.bernoulli(x, pixel)), force=True)
                ),
                r"q_\phi(z|x)": lambda z, x: product_of_normals(z, mu, sigma),
            }
        ),
        ranges={f"pi{d}": (0.1, 0.9) for d in (1, 2, 3)},
        simplify=lambda difference: sp.simplify(difference.rewrite(sp.exp)),
        equivalent={
            r"the arguments of \mathcal N\bigl(z; \mu, \operatorname{diag}(\sigma^2)\bigr) swap": (
                "a normal density sees only the distance between point and mean"
            )
        },
    ),
    # Displayed on their own pages as well, and checked there in the same way.
    "eq-training-elbo": elbo.CLAIMS["eq-elbo"],
    "eq-bound-in-a-minute": elbo.CLAIMS["eq-elbo"],
    "eq-training-bernoulli": losses.CLAIMS["eq-bernoulli"],
    "eq-training-gaussian": losses.CLAIMS["eq-gaussian"],
    "eq-training-kl": gaussian_kl.CLAIMS["eq-gaussian-kl"],
    "eq-training-draw": Claim(
        Reading(
            {
                r"\mu": mu, r"\sigma": sigma, r"\epsilon": noise, "I": sp.eye(2),
                "z": sp.Matrix([m + sp.sqrt(s**2) * e for m, s, e in zip(mu, sigma, noise, strict=True)]),
                r"\mathcal N(,)": lambda m, c: Density(lambda at: multivariate_normal(at, m, c), size=2),
            },
            laws={r"\epsilon": Density(lambda point: product_of_normals(point, [0, 0], [1, 1]), size=2)},
        )
    ),
    "eq-training-estimate": Claim(
        Reading(
            {
                "x": sp.Symbol("x"), "z": sp.Symbol("z"), r"p_\theta(x|z)": sp.exp(log_likelihoods[0]),
                r"q_\phi(z|x)": encoder_of(None, sp.S.One), "p(z)": PRIOR, "KL": kl_of_coordinates,
                r"\widetilde \mathcal L(x)": (
                    log_likelihoods[0] - kl_closed_form(mus_of[0], sigmas_of[0], sp.S.Zero, sp.S.One)
                ),
            }
        )
    ),
    "def-minibatch": Claim(
        Reading(
            {
                "B": VALUES, "x": VALUES, "z": VALUES, r"\beta": beta, "p(z)": PRIOR, "KL": kl_of_coordinates,
                r"p_\theta(x|z)": lambda x, z: sp.exp(log_likelihoods[int(x) - 1, int(z) - 1]),
                r"q_\phi(z|x)": encoder_of, r"\mathcal J_\beta(\theta,\phi)": objective(),
            }
        )
    ),
    "def-schedule": Claim(
        Reading({r"\eta": lambda _: schedule(), r"\eta_\max": peak, "t": t, "T": total, "w": warmup}),
        method="quadrature",
        ranges={"t": (0.5, 2.5, 1.5), "w": (1.0, 1.2), "T": (3.0, 3.5)},
        equivalent={
            r"the arguments of \min\!\left(1, \frac{t}{w}\right) swap": "a minimum knows no order",
            r"the arguments of \max(0, t - w) swap": "a maximum knows no order",
        },
    ),
    "def-manifold": Claim(
        Reading({"t": lambda _: grid_point(), "t_i": grid_point(), "i": i, "n": cells}),
        ranges={"i": (1.0, 6.0), "n": (8.0, 9.0)},
    ),
}  # fmt: skip
