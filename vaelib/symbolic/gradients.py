"""Two gradients of one expectation, and how many draws an image deserves. Book: page 8."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import sympy as sp

from vaelib.symbolic.claims import Claim, ClaimError
from vaelib.symbolic.gaussian_kl import kl_closed_form
from vaelib.symbolic.reading import Reading, ReadingError, Value, normal

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
    real, _ = sp.expand(total).as_real_imag()
    return sp.simplify(real)


class Moments(NamedTuple):
    """What one draw of an estimator has on average, and how far it scatters."""

    mean: sp.Expr
    variance: sp.Expr


def moments(estimator: sp.Expr) -> Moments:
    """The mean and the variance of an expression in ``epsilon``, by :func:`standard_normal_mean`."""
    mean = standard_normal_mean(estimator)
    return Moments(mean, sp.factor(sp.simplify(standard_normal_mean(estimator**2) - mean**2)))


def score_estimator(
    f: Function, *, mean: sp.Expr = mu, deviation: sp.Expr = sigma, by: sp.Symbol = mu
) -> sp.Expr:
    r"""One draw of the score-function gradient, as an expression in ``epsilon``.

    .. math::

        f(z) \, \nabla_\phi \log \mathcal N(z; \mu_\phi, \sigma_\phi^2),
        \qquad z = \mu_\phi + \sigma_\phi \epsilon

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
    """Return what stands for f."""
    return sp.exp(t * at)


def slope(at: sp.Expr) -> sp.Expr:
    """Return the derivative of what stands for f."""
    return sp.diff(exponential(z), z).subs(z, at)


moved_normal = Reading(
    {
        r"\epsilon": epsilon, "z": z, r"\phi": phi, "f": exponential, "f'": slope,
        r"\mu_\phi": m + a * phi, r"\sigma_\phi": phi,
        r"q_\phi(z)": lambda at: normal(at, m + a * phi, phi**2),
    }
)  # fmt: skip


def draw_slope(rng: random.Random, point: Mapping[str, float]) -> float:
    """One draw of the pathwise gradient of an exponential's mean."""
    noise = rng.gauss(0, 1)
    at = point["m"] + point["a"] * point["phi"] + point["phi"] * noise
    return point["t"] * math.exp(point["t"] * at) * (point["a"] + noise)


# Any distribution over three values, to first order in its parameter: logits h_k + r_k phi.
levels, rates, values = (
    sp.symbols("h1:4", real=True),
    sp.symbols("r1:4", real=True),
    sp.symbols("f1:4", real=True),
)
weights = [sp.exp(h + r * phi) for h, r in zip(levels, rates, strict=True)]

moved_choice = Reading(
    {
        r"\phi": phi, "z": z,
        "f": lambda at: values[int(at)],
        r"q_\phi(z)": lambda at: weights[int(at)] / sp.Add(*weights),
    },
    domains={"z": [sp.Integer(k) for k in range(3)]},
)  # fmt: skip


def draw_choice(rng: random.Random, point: Mapping[str, float]) -> float:
    """One draw of the score-function gradient over three values."""
    weight = [math.exp(point[f"h{k}"] + point[f"r{k}"] * point["phi"]) for k in (1, 2, 3)]
    k = rng.choices((1, 2, 3), weight)[0]
    mean_rate = sum(w * point[f"r{j}"] for j, w in enumerate(weight, 1)) / sum(weight)
    return point[f"f{k}"] * (point[f"r{k}"] - mean_rate)


# One pixel, one latent, p(x | z) = N(z, 1): the smallest model in which the estimators differ.
log_likelihood = -((x - z) ** 2) / 2 - sp.log(2 * sp.pi) / 2
log_prior = -(z**2) / 2 - sp.log(2 * sp.pi) / 2
log_q = -((z - mu) ** 2) / (2 * sigma**2) - sp.log(2 * sp.pi * sigma**2) / 2
drawn = sp.symbols("z1:3", real=True)


def mean_over_draws(term: sp.Expr, draws: Sequence[sp.Symbol] = drawn) -> sp.Expr:
    """Put each draw in the place of z, and take the mean."""
    return sp.Add(*(term.subs(z, draw) for draw in draws)) / len(draws)


def sgvb_with_sampled_kl(_: Value = x) -> sp.Expr:
    """The first estimator of Kingma and Welling (2014) for the smallest model. Book: def-sgvb-sampled."""
    return mean_over_draws(log_likelihood + log_prior - log_q)


def sgvb(_: Value = x) -> sp.Expr:
    """The second estimator of Kingma and Welling (2014) for the smallest model. Book: def-sgvb."""
    return mean_over_draws(log_likelihood) - kl_closed_form(mu, sigma, sp.S.Zero, sp.S.One)


smallest = {
    **standard, "x": x,
    r"p_\theta(x|z)": lambda x, z: normal(x, z, sp.S.One),
    r"p_\theta(x,z)": lambda x, z: normal(x, z, sp.S.One) * normal(z, sp.S.Zero, sp.S.One),
    "p(z)": lambda z: normal(z, sp.S.Zero, sp.S.One),
    r"q_\phi(z|x)": lambda z, x: normal(z, mu, sigma**2),
}  # fmt: skip

two_draws = Reading(
    {
        **smallest, "z": drawn, "L": sp.Integer(len(drawn)),
        r"\widetilde \mathcal L": sgvb, r"\widetilde \mathcal L_A": sgvb_with_sampled_kl,
    },
    domains={"z": (-sp.oo, sp.oo)},
)  # fmt: skip
one_noise = Reading({**smallest, "z": mu + sigma * epsilon})

# A population of images, each with a coin for its latent: everything about its gradients can be listed.
coins = [sp.Rational(*pair) for pair in ((1, 3), (3, 4), (2, 5), (1, 5), (5, 8))]  # q(1 | x)


def gradients_of(images: int) -> list[tuple[sp.Symbol, sp.Symbol]]:
    """Symbols g(x, 0) and g(x, 1) for each image."""
    return [sp.symbols(f"g{k}0 g{k}1", real=True) for k in range(images)]


def symbolic_parts(images: int) -> tuple[sp.Expr, sp.Expr]:
    """The variance of the images' means, and the mean of their variances, over uniformly chosen images."""
    means = [(1 - coin) * g0 + coin * g1 for coin, (g0, g1) in zip(coins, gradients_of(images), strict=False)]
    variances = [
        coin * (1 - coin) * (g1 - g0) ** 2
        for coin, (g0, g1) in zip(coins, gradients_of(images), strict=False)
    ]
    mean = sp.Add(*means) / images
    return sp.Add(*((each - mean) ** 2 for each in means)) / images, sp.Add(*variances) / images


def batch_law(population: int, images: int, draws: int, *, replace: bool) -> dict[sp.Expr, sp.Expr]:
    """Every value that the mean of a batch may take, with its probability, by listing all batches."""
    batches = list(
        itertools.product(range(population), repeat=images)
        if replace
        else itertools.combinations(range(population), images)
    )
    law: Counter[tuple[tuple[int, int], ...]] = Counter()
    for batch in batches:
        for ones in itertools.product(range(draws + 1), repeat=images):  # how many coins of each image show 1
            chance = sp.Rational(1, len(batches))
            for image, count in zip(batch, ones, strict=True):
                chance *= (
                    math.comb(draws, count) * coins[image] ** count * (1 - coins[image]) ** (draws - count)
                )
            law[tuple(sorted(zip(batch, ones, strict=True)))] += chance
    # Other batches may come to the same mean, so that chances add up.
    g = gradients_of(population)
    chances: Counter[sp.Expr] = Counter()
    for outcome, chance in law.items():
        total = sp.Add(*((draws - n) * g[i][0] + n * g[i][1] for i, n in outcome))
        chances[total / (images * draws)] += chance
    return dict(chances)


def batches(population: int, images: int, draws: int, *, replace: bool) -> Reading:
    """Read the variance of a batch's mean as a sum over every batch that could be drawn."""
    law = batch_law(population, images, draws, replace=replace)
    between, within = symbolic_parts(population)
    return Reading(
        {
            "q": lambda value: law[value],
            "V_x": between, "V_z": within,
            "N": sp.Integer(population), "M": sp.Integer(images), "L": sp.Integer(draws),
        },
        domains={r"\widehat g": list(law)},
        latent=r"\widehat g",
    )  # fmt: skip


def side_of_coin(latent: sp.Expr) -> int:
    """Return a latent that is 0 or 1 as a number."""
    if latent not in {0, 1}:
        raise ReadingError(f"a coin does not show {latent}")
    return int(latent)


def one_image(population: int) -> Reading:
    """Read expectations over one random image and one draw of its latent as sums."""
    g = gradients_of(population)
    between, within = symbolic_parts(population)
    return Reading(
        {
            "V_x": between, "V_z": within, "x": x, "z": z,
            r"\hat p(x)": lambda x: sp.Rational(1, population),
            r"q_\phi(z|x)": lambda z, x: coins[int(x)] if z == 1 else 1 - coins[int(x)],
            "g": lambda x, z: g[int(x)][side_of_coin(z)],
        },
        domains={
            "x": [sp.Integer(k) for k in range(population)],
            "z": [sp.Integer(0), sp.Integer(1)],
        },
    )  # fmt: skip


images_drawn = sp.symbols("x1:3", real=True)
latents_drawn = [sp.symbols("z11 z12 z13", real=True), sp.symbols("z21 z22 z23", real=True)]


def some_gradient(x: sp.Expr, z: sp.Expr) -> sp.Expr:
    """A gradient that tells every image and every latent apart."""
    return x**2 * z + sp.sin(z)


def batch_mean() -> sp.Expr:
    """The mean over two images with three draws each. Book: def-batch-mean."""
    terms = [some_gradient(x, z) for x, zs in zip(images_drawn, latents_drawn, strict=True) for z in zs]
    return sp.Add(*terms) / len(terms)


listed = Reading(
    {
        r"\widehat g": batch_mean(), "g": some_gradient, "x": images_drawn, "z": latents_drawn,
        "M": sp.Integer(2), "L": sp.Integer(3),
    }
)  # fmt: skip

V_x, V_z, c_x, c_z, L = sp.symbols("V_x V_z c_x c_z L", positive=True)


def cost_times_variance(draws: sp.Expr = L) -> sp.Expr:
    r"""What a batch costs, times its variance: :math:`(c_x + L c_z) (V_x + V_z / L)`, whatever M is."""
    return (c_x + draws * c_z) * (V_x + V_z / draws)


def optimal_draws() -> sp.Expr:
    """Where the derivative of :func:`cost_times_variance` is 0. Book: eq-best-draws."""
    (stationary,) = sp.solve(sp.diff(cost_times_variance(), L), L)
    return stationary


def prove_best_draws() -> sp.Expr:
    """Show that cost times variance exceeds its smallest value by a square, and return the square."""
    smallest_value = (sp.sqrt(c_x * V_x) + sp.sqrt(c_z * V_z)) ** 2
    square = (sp.sqrt(L * c_z * V_x) - sp.sqrt(c_x * V_z / L)) ** 2
    if sp.simplify(sp.expand(cost_times_variance() - smallest_value - square)) != 0:
        raise ClaimError("cost times variance is not its smallest value and a square")
    return square


costs = Reading(
    {"V_x": V_x, "V_z": V_z, "c_x": c_x, "c_z": c_z, "L": L, "L^*": optimal_draws()}
)  # fmt: skip


def pushed_forward(at: sp.Expr) -> sp.Expr:
    """The density of mu + sigma epsilon: solve for the noise, and divide by how far it was stretched."""
    place = mu + sigma * epsilon
    (origin,) = sp.solve(sp.Eq(place, at), epsilon)
    return normal(origin, sp.S.Zero, sp.S.One) / sp.Abs(sp.diff(place, epsilon))


def prove_cosine_variances() -> None:
    """Show both variances for every frequency, where quadrature sees two: SymPy's own integrals take long."""
    decay = sp.exp(-2 * omega**2)
    for estimator, variance in (
        (score_estimator, (1 + (1 - 4 * omega**2) * decay) / 2),
        (pathwise_estimator, omega**2 * (1 - decay) / 2),
    ):
        one = {"mean": mu, "deviation": sp.S.One}
        found = moments(estimator(lambda z: sp.cos(omega * z), **one).subs(mu, 0)).variance
        if sp.simplify(found - variance) != 0:
            raise ClaimError(f"the variance is {found}, not {variance}")


real_phi = sp.Symbol("phi", real=True)

CLAIMS = {
    "def-reparameterization": Claim(noise),
    "eq-draw-law": Claim(Reading(standard, laws={"z": pushed_forward})),
    "eq-score-gradient": Claim(moved_choice, draws=draw_choice),
    "eq-pathwise-gradient": Claim(
        moved_normal,
        ranges={"t": (-0.8, 0.8)},
        draws=draw_slope,
        equivalent={r"the sign before \sigma_\phi \epsilon flips": "the noise is as likely as its negative"},
    ),
    "eq-normal-score": Claim(
        Reading(standard),
        equivalent={r"the arguments of \mathcal N(z; \mu, \sigma^2) swap": "only (z - mu)^2 stands in it"},
    ),
    "eq-square-variances": Claim(
        noise, equivalent={"0 becomes 1": "the variance of 2 z does not change where the noise is shifted"}
    ),
    "eq-cosine-variances": Claim(
        Reading({**standard, r"\omega": omega}),
        method="quadrature",
        proof=prove_cosine_variances,
        equivalent={r"the minus before \omega \sin(\omega \epsilon) is lost": "a variance forgets signs"},
    ),
    "eq-oracle": Claim(
        Reading({**standard, r"\phi": real_phi}), method="quadrature", ranges={"phi": (-0.9, 0.7)}
    ),
    "def-sgvb-sampled": Claim(two_draws),
    "def-sgvb": Claim(two_draws),
    "eq-sgvb-variances": Claim(one_noise),
    "eq-wrong-deviation": Claim(Reading(smallest)),
    "def-batch-mean": Claim(listed),
    "eq-total-variance": Claim(one_image(3)),
    "eq-batch-variance": Claim(batches(3, 2, 3, replace=True)),
    "eq-without-replacement": Claim(batches(5, 2, 3, replace=False)),
    "eq-best-draws": Claim(
        costs,
        tight=[{"L": lambda v: math.sqrt(v["V_z"] * v["c_x"] / (v["V_x"] * v["c_z"]))}],
        proof=prove_best_draws,
    ),
    "eq-one-more-draw": Claim(costs, ranges={"L": (1.0, 6.0)}),
}
