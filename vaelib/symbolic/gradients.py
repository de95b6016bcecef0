"""Two gradients of one expectation, what they cost in variance, and how many draws an image deserves. Book: page 8."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sympy as sp

from vaelib.symbolic.claims import Claim, ClaimError
from vaelib.symbolic.gaussian_kl import kl_closed_form
from vaelib.symbolic.reading import Reading, Value, normal

z, x = sp.symbols("z x", real=True)
mu = sp.Symbol("mu", real=True)
sigma, omega, phi = sp.symbols("sigma omega phi", positive=True)
epsilon = sp.Symbol("epsilon", real=True)

Function = Callable[[sp.Expr], sp.Expr]

# The standard example: a well-known exercise of Prince (2023), problem 17.4 onwards and notebook 17.2.
ORACLE: Function = lambda z: z**2 + sp.sin(z)  # noqa: E731


def standard_normal_mean(expression: sp.Expr) -> sp.Expr:
    r"""The mean of an expression over standard normal noise, in closed form.

    .. math::

        \mathbb E\bigl[\epsilon^n e^{a \epsilon}\bigr] = \frac{d^n}{d a^n} e^{a^2 / 2}

    Sines and cosines are written with exponentials first. SymPy can integrate most of what is asked here
    itself, but takes minutes for a cosine whose mean is not 0.

    Parameters
    ----------
    expression : sympy.Expr
        Sums of products of powers of ``epsilon`` with exponentials, sines and cosines that are linear in it.

    Raises
    ------
    ValueError
        If a term is none of these.

    References
    ----------
    Book: def-reparameterization.
    """
    a, total = sp.Dummy("a"), sp.S.Zero
    for term in sp.Add.make_args(sp.expand(sp.sympify(expression).rewrite(sp.exp))):
        term = sp.powsimp(term)
        rest, moving = term.as_independent(epsilon)
        power, rate = 0, sp.S.Zero
        for factor in sp.Mul.make_args(moving):
            base, exponent = factor.as_base_exp()
            linear = sp.Poly(exponent, epsilon) if base == sp.E and exponent.is_polynomial(epsilon) else None
            if base == epsilon and exponent.is_Integer and exponent > 0:
                power += int(exponent)
            elif linear is not None and linear.degree() == 1:
                rate += linear.coeff_monomial(epsilon)
                rest *= sp.exp(linear.coeff_monomial(1))
            elif factor != 1:
                raise ValueError(f"{factor} is no power of epsilon and no exponential that is linear in it")
        total += rest * sp.diff(sp.exp(a**2 / 2), a, power).subs(a, rate)
    return sp.simplify(sp.expand(total.rewrite(sp.cos)))


class Moments(NamedTuple):
    """What one draw of an estimator has on average, and how far it scatters."""

    mean: sp.Expr
    variance: sp.Expr


def moments(estimator: sp.Expr) -> Moments:
    """The mean and the variance of an expression in ``epsilon``, by :func:`standard_normal_mean`."""
    mean = standard_normal_mean(estimator)
    return Moments(mean, sp.factor(sp.simplify(standard_normal_mean(estimator**2) - mean**2)))


def score_estimator(f: Function, *, mean: sp.Expr = mu, deviation: sp.Expr = sigma, by: sp.Symbol = mu) -> sp.Expr:
    r"""One draw of the score-function gradient, as an expression in ``epsilon``.

    .. math::

        f(z) \, \nabla_\phi \log \mathcal N(z; \mu_\phi, \sigma_\phi^2), \qquad z = \mu_\phi + \sigma_\phi \epsilon

    Parameters
    ----------
    f : callable
        Maps z to a SymPy expression.
    mean, deviation : sympy.Expr
        :math:`\mu_\phi` and :math:`\sigma_\phi`.
    by : sympy.Symbol
        The parameter that the gradient is taken by.

    References
    ----------
    Book: eq-score-gradient.
    """
    log_density = -((z - mean) ** 2) / (2 * deviation**2) - sp.log(deviation)
    return sp.simplify((f(z) * sp.diff(log_density, by)).subs(z, mean + deviation * epsilon))


def pathwise_estimator(
    f: Function, *, mean: sp.Expr = mu, deviation: sp.Expr = sigma, by: sp.Symbol = mu
) -> sp.Expr:
    r"""One draw of the pathwise gradient, as an expression in ``epsilon``.

    .. math::

        \nabla_\phi f(\mu_\phi + \sigma_\phi \epsilon)

    Parameters
    ----------
    f, mean, deviation, by
        As for :func:`score_estimator`.

    References
    ----------
    Book: eq-pathwise-gradient.
    """
    return sp.diff(f(mean + deviation * epsilon), by)


# --- how many draws an image deserves --------------------------------------------------------------------


class Parts(NamedTuple):
    """The two parts of a variance: between images, and within an image, between its draws."""

    between: float
    within: float


def batch_variance(parts: Parts, images: int, draws: int, population: int | None = None) -> float:
    r"""The variance of a batch's mean, with several draws for each image.

    .. math::

        \frac{N - M}{N - 1} \, \frac{V_x}{M} + \frac{V_z}{M L}

    Parameters
    ----------
    parts : Parts
        :math:`V_x` and :math:`V_z`.
    images, draws : int
        M images in the batch and L draws for each.
    population : int, optional
        N, if the batch holds N's images without repetition; else the first factor is 1.

    Raises
    ------
    ValueError
        If the batch is empty, or larger than the population.

    References
    ----------
    Book: eq-batch-variance, eq-without-replacement.
    """
    if images < 1 or draws < 1 or (population is not None and images > population):
        raise ValueError(f"no batch has {images} images of {population} and {draws} draws for each")
    left = 1.0 if population is None else (population - images) / max(population - 1, 1)
    return left * parts.between / images + parts.within / (images * draws)


def best_draws(parts: Parts, image_cost: float, draw_cost: float) -> float:
    r"""How many draws for each image make the variance smallest at a given cost; round it to 1 at least.

    .. math::

        L^* = \sqrt{\frac{V_z \, c_x}{V_x \, c_z}}

    Parameters
    ----------
    parts : Parts
        :math:`V_x` and :math:`V_z`.
    image_cost, draw_cost : float
        :math:`c_x`, of an image however many draws it gets, and :math:`c_z`, of each draw.

    References
    ----------
    Book: eq-best-draws.
    """
    return math.sqrt(parts.within * image_cost / (parts.between * draw_cost))


@dataclass(frozen=True)
class LinearPopulation:
    r"""Images of one pixel each, a linear decoder and a linear encoder: a batch's gradient with nothing hidden.

    .. math::

        p(x \mid z) = \mathcal N(x; w z, s^2), \qquad q(z \mid x) = \mathcal N(z; a x, \sigma^2), \qquad
        g(x, z) = \frac{d}{dw} \log p(x \mid z) = \frac{(x - w z) \, z}{s^2}

    Parameters
    ----------
    images : sequence of float
        The whole population.
    w, s, a, sigma : float
        Of decoder and encoder.

    References
    ----------
    Book: eq-batch-variance.
    """

    images: Sequence[float]
    w: float = 1.0
    s: float = 1.0
    a: float = 0.5
    sigma: float = 0.7

    def gradient(self, x: float, z: float) -> float:
        """Return g(x, z)."""
        return (x - self.w * z) * z / self.s**2

    def draw(self, x: float, rng: random.Random) -> float:
        """Return g(x, z) for one z that is drawn from q(z | x)."""
        return self.gradient(x, self.a * x + self.sigma * rng.gauss(0, 1))

    def parts(self) -> Parts:
        r"""Both parts of the variance of one draw for a random image, exactly.

        With :math:`z = m + \sigma \epsilon` the gradient is a polynomial of second degree in the noise,
        :math:`b_0 + b_1 \epsilon + b_2 \epsilon^2`: its mean is :math:`b_0 + b_2` and its variance
        :math:`b_1^2 + 2 b_2^2`.
        """
        means, variances = [], []
        for x in self.images:
            m = self.a * x
            slope = self.sigma * (x - 2 * self.w * m) / self.s**2
            bend = -self.w * self.sigma**2 / self.s**2
            means.append((x - self.w * m) * m / self.s**2 + bend)
            variances.append(slope**2 + 2 * bend**2)
        count = len(self.images)
        mean = math.fsum(means) / count
        return Parts(
            between=math.fsum((value - mean) ** 2 for value in means) / count,
            within=math.fsum(variances) / count,
        )

    def batch(self, images: int, draws: int, rng: random.Random, *, replace: bool = False) -> float:
        """Draw a batch, and return the mean of its gradients."""
        chosen = rng.choices(self.images, k=images) if replace else rng.sample(self.images, images)
        return math.fsum(self.draw(x, rng) for x in chosen for _ in range(draws)) / (images * draws)


# --- how the page's equations are read and checked -------------------------------------------------------

standard = {r"\epsilon": epsilon, r"\mu": mu, r"\sigma": sigma, "z": z}

noise = Reading(
    {**standard, "z": mu + sigma * epsilon},
    laws={r"\epsilon": lambda at: normal(at, sp.S.Zero, sp.S.One)},
)

# A parameter that moves the mean and the deviation of q, from any point in any direction: the gradient is
# linear in the direction, so that a deviation which grows at rate 1 leaves nothing out. Functions f are told
# apart by their means, and those by the means of exponentials: e^{t z} for every t will do for f.
m, a, t = sp.symbols("m a t", real=True)


def exponential(at: sp.Expr) -> sp.Expr:
    return sp.exp(t * at)


def slope(at: sp.Expr) -> sp.Expr:
    return sp.diff(exponential(z), z).subs(z, at)


moved_normal = Reading(
    {
        r"\epsilon": epsilon, "z": z, r"\phi": phi, "f": exponential, "f'": slope,
        r"\mu_\phi": m + a * phi, r"\sigma_\phi": phi,
        r"q_\phi(z)": lambda at: normal(at, m + a * phi, phi**2),
    }
)  # fmt: skip

# Any distribution over three values, to first order in its parameter: logits h_k + r_k phi.
levels, rates, values = sp.symbols("h1:4", real=True), sp.symbols("r1:4", real=True), sp.symbols("f1:4", real=True)
weights = [sp.exp(h + r * phi) for h, r in zip(levels, rates, strict=True)]

moved_choice = Reading(
    {
        r"\phi": phi, "z": z,
        "f": lambda at: values[int(at)],
        r"q_\phi(z)": lambda at: weights[int(at)] / sp.Add(*weights),
    },
    domains={"z": [sp.Integer(k) for k in range(3)]},
)  # fmt: skip


def draw_choice(rng: random.Random, point: dict[str, float]) -> float:
    """One draw of the score-function gradient over three values."""
    weight = [math.exp(point[f"h{k}"] + point[f"r{k}"] * point["phi"]) for k in (1, 2, 3)]
    k = rng.choices((1, 2, 3), weight)[0]
    mean_rate = sum(w * point[f"r{j}"] for j, w in enumerate(weight, 1)) / sum(weight)
    return point[f"f{k}"] * (point[f"r{k}"] - mean_rate)
