"""Marginals, maximum likelihood as a KL divergence, and the gradient of log p(x). Book: page 2."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import sympy as sp

from vaelib.symbolic import divergence
from vaelib.symbolic.bayes import Table
from vaelib.symbolic.claims import Claim, ClaimError, Point
from vaelib.symbolic.reading import Reading, Value, normal

mu, theta = sp.symbols("mu theta", real=True)
sigma = sp.Symbol("sigma", positive=True)
mean, variance = sp.Symbol("m", real=True), sp.Symbol("v", positive=True)  # of the data


# --- a normal distribution fitted to data ----------------------------------------------------------------


def expected_log_likelihood(
    mu: Value = mu, sigma: Value = sigma, mean: Value = mean, variance: Value = variance
) -> Value:
    r"""What a normal model says of data on average: of the data only mean and variance matter.

    .. math::

        \mathbb E_{p_{\mathrm{data}}(x)}[\log \mathcal N(x; \mu, \sigma^2)] =
        -\frac{1}{2} \log (2 \pi \sigma^2) - \frac{\hat\sigma^2 + (\bar x - \mu)^2}{2 \sigma^2}

    Parameters
    ----------
    mu, sigma : number or expression
        The model's mean and standard deviation.
    mean, variance : number or expression
        Those of the data, :math:`\bar x` and :math:`\hat\sigma^2`.

    References
    ----------
    Book: eq-normal-fit.
    """
    return -sp.log(2 * sp.pi * sigma**2) / 2 - (variance + (mean - mu) ** 2) / (2 * sigma**2)


def best_log_likelihood(variance: Value = variance) -> Value:
    r"""The most that any normal model can reach, which is where its moments are the data's.

    .. math::

        -\frac{1}{2} \log (2 \pi e \hat\sigma^2)

    References
    ----------
    Book: eq-normal-fit.
    """
    return -sp.log(2 * sp.pi * sp.E * variance) / 2


def moments(points: Sequence[Value], chances: Sequence[Value]) -> tuple[Value, Value]:
    r"""Mean and variance of finitely many values.

    .. math::

        \bar x = \sum_i p(x_i) \, x_i, \qquad \hat\sigma^2 = \sum_i p(x_i) \, (x_i - \bar x)^2

    Parameters
    ----------
    points, chances : sequence
        The values, and the probability of each; for a data set 1/N.

    References
    ----------
    Book: def-data-moments.

    Examples
    --------
    >>> moments([1, 2, 6], [sp.Rational(1, 3)] * 3)
    (3, 14/3)
    """
    centre = sum(chance * point for chance, point in zip(chances, points, strict=True))
    return centre, sum(chance * (point - centre) ** 2 for chance, point in zip(chances, points, strict=True))


# --- a mixture, in numbers -------------------------------------------------------------------------------


@dataclass(frozen=True)
class NormalMixture:
    r"""A normal distribution for each value of a latent that takes finitely many.

    .. math::

        p_\theta(x) = \sum_{z=1}^{K} p(z) \, \mathcal N(x; \mu_z, \sigma_z^2)

    Parameters
    ----------
    chances : sequence of float
        p(z), which add up to 1.
    means, deviations : sequence of float
        :math:`\mu_z` and :math:`\sigma_z`.

    Raises
    ------
    ValueError
        If these are not as many as those, the chances do not add up to 1, or a deviation is not positive.

    References
    ----------
    Book: eq-mixture.
    """

    chances: Sequence[float]
    means: Sequence[float]
    deviations: Sequence[float]

    def __post_init__(self) -> None:
        if not len(self.chances) == len(self.means) == len(self.deviations):
            raise ValueError("a mixture wants as many chances as means and deviations")
        if not math.isclose(sum(self.chances), 1) or min(self.chances) < 0:
            raise ValueError(f"the chances {list(self.chances)} are no distribution")
        if min(self.deviations) <= 0:
            raise ValueError("a deviation is not positive")

    def log_joint(self, x: float) -> list[float]:
        r""":math:`\log p_\theta(x, z)` for each z."""
        parts = zip(self.chances, self.means, self.deviations, strict=True)
        return [
            (math.log(chance) if chance > 0 else -math.inf)
            - ((x - mean) / deviation) ** 2 / 2
            - math.log(math.sqrt(2 * math.pi) * deviation)
            for chance, mean, deviation in parts
        ]

    def log_density(self, x: float) -> float:
        r""":math:`\log p_\theta(x)`, also far out: the largest term is taken out of the sum first."""
        logs = self.log_joint(x)
        return max(logs) + math.log(math.fsum(math.exp(each - max(logs)) for each in logs))

    def density(self, x: float) -> float:
        r""":math:`p_\theta(x)`; 0 where it is too small for a float."""
        return math.exp(self.log_density(x))

    def posterior(self, x: float) -> list[float]:
        r""":math:`p_\theta(z \mid x)` for each z."""
        whole = self.log_density(x)
        return [math.exp(each - whole) for each in self.log_joint(x)]

    def slope(self, x: float) -> float:
        r"""The derivative of :math:`\log p_\theta(x)` in x."""
        pulls = zip(self.posterior(x), self.means, self.deviations, strict=True)
        return math.fsum(chance * (mean - x) / deviation**2 for chance, mean, deviation in pulls)

    def moments(self) -> tuple[float, float]:
        """Mean and variance."""
        mean = math.fsum(chance * m for chance, m in zip(self.chances, self.means, strict=True))
        parts = zip(self.chances, self.means, self.deviations, strict=True)
        return mean, math.fsum(chance * (s**2 + (m - mean) ** 2) for chance, m, s in parts)

    def draw(self, rng: random.Random) -> float:
        """Draw z, then x."""
        (z,) = rng.choices(range(len(self.chances)), self.chances)
        return rng.gauss(self.means[z], self.deviations[z])


def reverse_fit(data: NormalMixture, mean: float, deviation: float) -> tuple[float, float]:
    r"""The normal distribution that minimises the *other* KL divergence, near a first guess.

    .. math::

        \operatorname*{arg\,min}_{\mu, \sigma} \;
        \mathrm{KL}\bigl(\mathcal N(\mu, \sigma^2) \,\|\, p_{\mathrm{data}}\bigr)

    It is not maximum likelihood: it asks the model to go only where there are data, not to go everywhere
    that there are. There may be several minima, one at each bump.

    Parameters
    ----------
    data : NormalMixture
    mean, deviation : float
        The first guess.

    Returns
    -------
    tuple of float
        Mean and deviation, where the divergence has no slope.

    References
    ----------
    Book: eq-likelihood-is-kl.
    """
    fit = divergence.reverse_fit(data, divergence.Bump(mean, deviation))
    return fit.mean, fit.deviation


# --- how the page's equations are read and checked -------------------------------------------------------

# Two latents, three images: all that the model says, and all that the data say, is free.
table = Table([sp.symbols(f"a{k}_1:4", positive=True) for k in (1, 2)])
shares = sp.symbols("d1:4", positive=True)
DATA_SET = (0, 2, 2, 1, 2)  # five images, of which one occurs three times


def p_data(x: int) -> Value:
    """The data's distribution: any there is."""
    return shares[x] / sp.Add(*shares)


finite = Reading(
    {
        "x": 0, "z": 0,
        "p(z)": table.prior, r"p_\theta(x|z)": table.likelihood, r"p_\theta(z|x)": table.posterior,
        r"p_\theta(x,z)": table.joint, r"p_\theta": table.evidence,
        r"p_\mathrm{data}": p_data,
    },
    domains={"z": [0, 1], "x": [0, 1, 2]},
    latent="x",
)  # fmt: skip

data_set = Reading(
    {
        "x": DATA_SET, "N": sp.Integer(len(DATA_SET)), r"p_\theta": table.evidence,
        r"\widehat p": lambda x: sp.Rational(DATA_SET.count(x), len(DATA_SET)),
    },
    domains={"x": sorted(set(DATA_SET))},
)  # fmt: skip

# A model of two images and two latents whose every entry moves with theta. An exponential has any value and
# any logarithmic slope at a point, so this is as general as a first derivative can tell.
moving = Table(
    [
        [a * sp.exp(b * theta) for a, b in zip(sp.symbols(f"a{k}_1:3", positive=True), slopes, strict=True)]
        for k, slopes in enumerate([sp.symbols("b1:3", real=True), sp.symbols("b3:5", real=True)], start=1)
    ]
)
weights = sp.symbols("d1:3", positive=True)
learning = Reading(
    {
        r"\theta": theta, "x": 0, "z": 0,
        r"p_\theta(x,z)": moving.joint, r"p_\theta(z|x)": moving.posterior, r"p_\theta": moving.evidence,
        r"p_\theta(x|z)": moving.likelihood,
        r"p_\mathrm{data}": lambda x: weights[x] / sp.Add(*weights),
    },
    domains={"x": [0, 1], "z": [0, 1]},
    latent="x",
)  # fmt: skip

# One image; what the model says of others does not matter to its gradient.
terms = [
    a * sp.exp(b * theta)
    for a, b in zip(sp.symbols("a1:4", positive=True), sp.symbols("b1:4", real=True), strict=True)
]
one_image = Reading(
    {
        r"\theta": theta, "x": 0, "z": 0,
        r"p_\theta(x,z)": lambda x, z: terms[z], r"p_\theta(x)": lambda x: sp.Add(*terms),
        r"p_\theta(z|x)": lambda z, x: terms[z] / sp.Add(*terms),
    },
    domains={"z": [0, 1, 2]},
)  # fmt: skip

mus, sigmas = sp.symbols("mu1:3", real=True), sp.symbols("sigma1:3", positive=True)
chances = sp.symbols("c1:3", positive=True)
x = sp.Symbol("x", real=True)


def _chance(z: int) -> Value:
    return chances[int(z) - 1] / sp.Add(*chances)


def _bump(x: Value, z: int) -> Value:
    return normal(x, mus[int(z) - 1], sigmas[int(z) - 1] ** 2)


def _mixture(x: Value) -> Value:
    return sp.Add(*(_bump(x, z) * _chance(z) for z in (1, 2)))


two_bumps = Reading(
    {
        "x": x, "z": sp.Integer(1), "K": sp.Integer(2), r"\mu": mus, r"\sigma": sigmas,
        "p(z)": _chance, r"p_\theta(x|z)": _bump, r"p_\theta(x)": _mixture,
        r"p_\theta(z|x)": lambda z, x: _bump(x, z) * _chance(z) / _mixture(x),
    }
)  # fmt: skip

points = sp.symbols("x1:4", real=True)
chance_of = dict(zip(points, (share / sp.Add(*shares) for share in shares), strict=True))
data_mean, data_variance = moments(points, list(chance_of.values()))
three_points = Reading(
    {
        r"\mu": mu, r"\sigma": sigma, r"p_\mathrm{data}": lambda x: chance_of[x],
        r"\bar x": data_mean, r"\hat \sigma": sp.sqrt(data_variance),
    },
    domains={"x": list(points)},
)  # fmt: skip


def _numbers(point: Point) -> tuple[float, float]:
    total = sum(point[f"d{k}"] for k in (1, 2, 3))
    found = moments([point[f"x{k}"] for k in (1, 2, 3)], [point[f"d{k}"] / total for k in (1, 2, 3)])
    return float(found[0]), math.sqrt(float(found[1]))


def prove_normal_fit() -> None:
    r"""Prove that no normal model exceeds the bound: what is missing is a square and :math:`t - 1 - \log t`.

    Raises
    ------
    ClaimError
        If SymPy cannot follow.
    """
    t = sp.Symbol("t", positive=True)  # the data's variance over the model's
    missing = best_log_likelihood(t * sigma**2) - expected_log_likelihood(variance=t * sigma**2)
    convex = t - 1 - sp.log(t)
    square = (mean - mu) ** 2 / (2 * sigma**2)
    if sp.simplify(sp.expand_log(missing - convex / 2 - square, force=True)) != 0:
        raise ClaimError("the gap is not what it should be")
    bends_up = sp.diff(convex, t, 2).is_positive
    if not bends_up or sp.solve(sp.diff(convex, t), t) != [1] or convex.subs(t, 1) != 0:
        raise ClaimError("t - 1 - log t should have its only minimum, 0, at 1")


def _draw_likelihood(rng: random.Random, point: Point) -> float:
    """The likelihood at a draw of z, whose mean is the marginal."""
    (z,) = rng.choices((1, 2), (point["c1"], point["c2"]))
    off = (point["x"] - point[f"mu{z}"]) / point[f"sigma{z}"]
    return math.exp(-off * off / 2) / (math.sqrt(2 * math.pi) * point[f"sigma{z}"])


SYMMETRIC = "a normal density sees only the square of the distance, so point and mean may change places"

CLAIMS: dict[str, Claim] = {
    "def-joint": Claim(finite),
    "def-marginal": Claim(finite),
    "eq-mixture": Claim(
        two_bumps,
        draws=_draw_likelihood,
        equivalent={r"the arguments of \mathcal N(x; \mu_z, \sigma_z^2) swap": SYMMETRIC},
    ),
    "eq-empirical": Claim(data_set),
    "eq-likelihood-is-kl": Claim(finite),
    "eq-kl-gradient": Claim(learning),
    "def-data-moments": Claim(three_points),
    "eq-normal-fit": Claim(
        three_points,
        tight=[{"mu": lambda v: _numbers(v)[0], "sigma": lambda v: _numbers(v)[1]}],
        proof=prove_normal_fit,
        simplify=sp.factor,
        equivalent={r"the arguments of \mathcal N(x; \mu, \sigma^2) swap": SYMMETRIC},
    ),
    "eq-fisher": Claim(one_image),
    "eq-mixture-gradient": Claim(two_bumps),
}
