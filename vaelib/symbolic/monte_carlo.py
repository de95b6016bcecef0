"""Means of draws: their errors, weights with and without a variance, and a bound. Book: page 4."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import sympy as sp

from vaelib.symbolic.claims import Claim, ClaimError
from vaelib.symbolic.reading import Reading, normal

z = sp.Symbol("z", real=True)
mu = sp.Symbol("mu", real=True)
sigma_p, sigma_q = sp.symbols("sigma_p sigma_q", positive=True)
k = sp.Symbol("k", positive=True)
evidence = sp.Symbol("p_x", positive=True)


def squared_weight(
    mean: sp.Expr = mu, deviation_p: sp.Expr = sigma_p, deviation_q: sp.Expr = sigma_q
) -> tuple[sp.Expr, sp.Expr]:
    r"""Say how :math:`p^2 / q` of two normal densities falls off or grows, and what its integral is.

    .. math::

        \frac{p(z)^2}{q(z)} \propto e^{-a z^2 + \dots}, \qquad
        \int \frac{p(z)^2}{q(z)} dz = \frac{\sigma_q^2}{\sigma_p \sqrt{2 \sigma_q^2 - \sigma_p^2}}
        \exp \frac{\mu^2}{2 \sigma_q^2 - \sigma_p^2}
        \quad \text{if } a > 0

    with :math:`p = \mathcal N(\mu, \sigma_p^2)` and :math:`q = \mathcal N(0, \sigma_q^2)`. The square in the
    exponent is completed; where a is negative or 0 there is no integral, and the weight has no variance.

    Parameters
    ----------
    mean : sympy.Expr
        Of p, counted from the mean of q.
    deviation_p, deviation_q : sympy.Expr

    Returns
    -------
    tuple of sympy.Expr
        The rate a, and the integral.

    References
    ----------
    Book: eq-normal-weights.
    """
    p, q = normal(z, mean, deviation_p**2), normal(z, sp.S.Zero, deviation_q**2)
    exponent = sp.Poly(sp.expand(sp.expand_log(sp.log(p**2 / q), force=True)), z)
    square, slope, constant = exponent.all_coeffs()
    rate = sp.together(-square)
    integral = sp.sqrt(sp.pi / rate) * sp.exp(constant + slope**2 / (4 * rate))
    return rate, sp.simplify(integral)


def finite_bound(draws: int, joint: Sequence[sp.Expr], guess: Sequence[sp.Expr]) -> sp.Expr:
    r"""The importance-weighted bound where z has finitely many values: a sum over how often each is drawn.

    .. math::

        \mathcal L_k(x) = \sum_{n_1 + \dots + n_S = k} \frac{k!}{n_1! \cdots n_S!}
        \prod_s q_s^{n_s} \, \log \left( \frac{1}{k} \sum_s n_s \frac{p_s}{q_s} \right)

    Parameters
    ----------
    draws : int
        k.
    joint, guess : sequence of sympy.Expr
        :math:`p_s = p(x, z_s)` and :math:`q_s = q(z_s \mid x)`.

    References
    ----------
    Book: def-iwae.
    """
    total = sp.S.Zero
    for drawn in itertools.combinations_with_replacement(range(len(joint)), draws):
        counts = Counter(drawn)
        chance = sp.Integer(math.factorial(draws))
        for value, count in counts.items():
            chance *= guess[value] ** count / math.factorial(count)
        mean = sp.Add(*(count * joint[value] / guess[value] for value, count in counts.items())) / draws
        total += chance * sp.log(mean)
    return total


def exponential_bound(draws: sp.Expr = k) -> sp.Expr:
    r"""The bound in closed form, for the one model of this page that has it for every k.

    .. math::

        \mathcal L_k(x) = \log p(x) + \psi(k) - \log k

    with :math:`q(z \mid x) = e^{-z}` and :math:`p(x, z) = p(x) \, z e^{-z}` for z > 0. The weight is
    :math:`p(x) z`, and the sum of k exponentially distributed numbers has a gamma distribution.

    Parameters
    ----------
    draws : sympy.Expr
        k.

    References
    ----------
    Book: eq-exponential-bound.
    """
    return sp.log(evidence) + sp.digamma(draws) - sp.log(draws)


# --- how the page's equations are read and checked -------------------------------------------------------

# Three places, and a function that is free at each of them.
PLACES = (sp.S.Zero, sp.S.One, sp.Integer(3))
CHANCES = (sp.Rational(1, 2), sp.Rational(1, 3), sp.Rational(1, 6))
f_0, f_1, f_2 = sp.symbols("f0:3", real=True)
N = 3


def some_function(at: sp.Expr) -> sp.Expr:
    """Return a function that may take any three values at the three places."""
    return f_0 + f_1 * at + f_2 * at**2


def mean_of(values: Sequence[sp.Expr]) -> sp.Expr:
    """Return the mean. Book: def-monte-carlo."""
    return sp.Add(*values) / len(values)


def squared_error_of(values: Sequence[sp.Expr]) -> sp.Expr:
    """Return the squared standard error of the mean. Book: eq-standard-error."""
    mean, count = mean_of(values), len(values)
    return sp.Add(*((value - mean) ** 2 for value in values)) / (count * (count - 1))


def law_of(
    statistic: Callable[[Sequence[sp.Expr]], sp.Expr], function: Callable[[sp.Expr], sp.Expr]
) -> dict[sp.Expr, sp.Expr]:
    """List what a statistic of N independent draws may be, with its probability."""
    law: Counter[sp.Expr] = Counter()
    for drawn in itertools.product(range(len(PLACES)), repeat=N):
        chance = math.prod((CHANCES[place] for place in drawn), start=sp.S.One)
        law[sp.expand(statistic([function(PLACES[place]) for place in sorted(drawn)]))] += chance
    return dict(law)


drawn_places = sp.symbols("z1:4", real=True)
one_draw = {
    "f": some_function, "z": drawn_places, "N": sp.Integer(N),
    "q(z)": lambda at: CHANCES[PLACES.index(at)],
}  # fmt: skip


def drawn_often(
    name: str, law: Mapping[sp.Expr, sp.Expr], root: Callable[[sp.Expr], sp.Expr] = lambda value: value
) -> Reading:
    """Read an expectation without a subscript as the sum over all that N draws may give."""
    law = {root(value): chance for value, chance in law.items()}
    return Reading(
        {
            **one_draw, "q": lambda value: law[value],
            r"\bar f": mean_of([some_function(at) for at in drawn_places]),
            "SE": sp.sqrt(squared_error_of([some_function(at) for at in drawn_places])),
        },
        domains={name: list(law), "z": list(PLACES)},
        latent=name,
    )  # fmt: skip


# The same with three free positive values, for logarithms.
levels = sp.symbols("f1:4", positive=True)


def positive_function(at: sp.Expr) -> sp.Expr:
    """Return a function that may take any three positive values at the three places."""
    return levels[PLACES.index(at)]


positive_law = law_of(mean_of, positive_function)
positive_values = Reading(
    {"q(z)": one_draw["q(z)"], "f": positive_function, "q": lambda value: positive_law[value]},
    domains={r"\bar f": list(positive_law), "z": list(PLACES)},
    latent=r"\bar f",
)


def prove_log_of_mean() -> sp.Expr:
    """Show that the logarithm of a mean is too low on average, and return by how much."""
    mean = sum(chance * level for chance, level in zip(CHANCES, levels, strict=True))
    return gap_from_tangent({value / mean: chance for value, chance in positive_law.items()})


def gap_from_tangent(law: Mapping[sp.Expr, sp.Expr]) -> sp.Expr:
    """Return the mean of t - 1 - log t: never negative, and the mean of -log t where t has the mean 1.

    ``law`` gives each value of t, which has to be positive, its chance.
    """
    t = sp.Symbol("t", positive=True)
    gap = t - 1 - sp.log(t)  # 0 at its one stationary point, and bending up
    if sp.solve(sp.diff(gap, t), t) != [1] or gap.subs(t, 1) != 0 or not sp.diff(gap, t, 2).is_positive:
        raise ClaimError("log t is not below t - 1")
    if sp.simplify(sum(value * chance for value, chance in law.items()) - 1) != 0:
        raise ClaimError("t does not have the mean 1")
    return sp.Add(*(chance * gap.subs(t, value) for value, chance in law.items()))


# An image x, and a latent with two values or three.
x = sp.Symbol("x", real=True)
joint = sp.symbols("a1:4", positive=True)
odds = sp.symbols("b1:4", positive=True)
guess = [odd / sp.Add(*odds) for odd in odds]
INDICES = [sp.Integer(index) for index in range(3)]

three_values = Reading(
    {
        "x": x, "z": z,
        r"p_\theta(x,z)": lambda x, z: joint[int(z)],
        r"p_\theta(x)": sp.Add(*joint),
        r"p_\theta(z|x)": lambda z, x: joint[int(z)] / sp.Add(*joint),
        r"q_\phi(z|x)": lambda z, x: guess[int(z)],
        "w": lambda z: joint[int(z)] / guess[int(z)],
    },
    domains={"z": INDICES},
)  # fmt: skip

chance = sp.Symbol("u", positive=True)  # q of the first of two values
pair, pair_guess = joint[:2], (chance, 1 - chance)
bounds = [finite_bound(draws, pair, pair_guess) for draws in (1, 2, 3)]

two_values = {
    "x": x, "k": sp.Integer(3), r"\mathcal L_k(x)": bounds[2],
    "w": lambda z: pair[int(z)] / pair_guess[int(z)],
}  # fmt: skip
three_draws = list(itertools.product((sp.S.Zero, sp.S.One), repeat=3))
all_draws = Reading(
    {**two_values, "q": lambda draws: math.prod((pair_guess[int(one)] for one in draws), start=sp.S.One)},
    domains={"z": three_draws},
)
ordered = Reading(
    {
        "x": x, "z": z,
        r"p_\theta(x,z)": lambda x, z: pair[int(z)],
        r"q_\phi(z|x)": lambda z, x: pair_guess[int(z)],
        r"\mathcal L_1(x)": bounds[0], r"\mathcal L_k(x)": bounds[1], r"\mathcal L_k+1(x)": bounds[2],
        r"p_\theta(x)": sp.Add(*pair),
    },
    domains={"z": [sp.S.Zero, sp.S.One]},
)  # fmt: skip


def prove_order(draws: int = 2) -> sp.Expr:
    """Show that a draw more does not lower the bound, and return by how much it raises it.

    The mean of k + 1 weights is also the mean of the k + 1 means that leave one of them out. Divided by the
    former, these have the mean 1, so the mean of their logarithms is at most 0; and each of them is a mean
    of k independent weights, whose logarithm has the mean L_k.
    """
    law: Counter[sp.Expr] = Counter()
    for drawn in itertools.product((0, 1), repeat=draws + 1):
        chance = math.prod((pair_guess[value] for value in drawn), start=sp.S.One)
        weights = [pair[value] / pair_guess[value] for value in drawn]
        for left_out in range(draws + 1):
            others = mean_of(weights[:left_out] + weights[left_out + 1 :])
            law[others / mean_of(weights)] += chance / (draws + 1)
    return gap_from_tangent(law)


def prove_below_evidence(draws: int = 2) -> sp.Expr:
    """Show that the bound is one, and return how far below the evidence it is."""
    law: Counter[sp.Expr] = Counter()
    for drawn in itertools.product((0, 1), repeat=draws):
        chance = math.prod((pair_guess[value] for value in drawn), start=sp.S.One)
        law[mean_of([pair[value] / pair_guess[value] for value in drawn]) / sp.Add(*pair)] += chance
    return gap_from_tangent(law)


# Where q is the posterior.
at_posterior: Mapping[str, Callable[[Mapping[str, float]], float]] = {
    "u": lambda v: v["a1"] / (v["a1"] + v["a2"])
}

y = sp.Symbol("z", positive=True)


def bound_by_integral(draws: int) -> sp.Integral:
    """The bound for the exponential weights, unsolved: over the sum of z, which has a gamma distribution."""
    law = y ** (draws - 1) * sp.exp(-y) / sp.gamma(draws)
    return sp.Integral(law * sp.log(evidence * y / draws), (y, 0, sp.oo))


exponential = {
    "x": x, "z": y, r"p_\theta(x)": evidence, r"\gamma": sp.EulerGamma,
    "w": lambda z: evidence * z,
    r"q_\phi(z|x)": lambda z, x: sp.exp(-z),
}  # fmt: skip
on_half_line = {"z": (sp.S.Zero, sp.oo)}


def prove_exponential_bound() -> None:
    """Show the bound for every k, where quadrature sees one: a logarithm is a power, differentiated."""
    power = sp.Symbol("a", positive=True)
    mean_log = sp.diff(sp.gamma(power), power) / sp.gamma(power)  # of a sum of k draws, at a = k
    if sp.simplify(mean_log - sp.digamma(power)) != 0:
        raise ClaimError(f"the mean of the logarithm is {mean_log}")
    # psi(1) = -gamma and psi(k + 1) = psi(k) + 1 / k: harmonic numbers.
    step = sp.expand_func(sp.digamma(power + 1)) - sp.digamma(power)
    if sp.digamma(1) != -sp.EulerGamma or sp.simplify(step - 1 / power) != 0:
        raise ClaimError("psi is no harmonic number")


# Three weights that move with a parameter, each at a rate of its own.
theta = sp.Symbol("theta", real=True)
log_weights = [
    start + rate * theta
    for start, rate in zip(sp.symbols("c1:4", real=True), sp.symbols("d1:4", real=True), strict=True)
]
moving = [sp.exp(log_weight) for log_weight in log_weights]
moving_weights = Reading(
    {
        r"\theta": theta, "k": sp.Integer(3), "i": sp.S.One, "w": moving,
        r"\widetilde w": [weight / sp.Add(*moving) for weight in moving],
    }
)  # fmt: skip

# A q that is wide enough: 2 sigma_q^2 - sigma_p^2 is a positive number, called g.
room = sp.Symbol("g", positive=True)
wide = Reading(
    {
        "z": z, r"\mu": mu, r"\sigma_p": sigma_p, r"\sigma_q": sp.sqrt((sigma_p**2 + room) / 2),
        "p(z)": lambda at: normal(at, mu, sigma_p**2),
        "q(z)": lambda at: normal(at, sp.S.Zero, (sigma_p**2 + room) / 2),
    }
)  # fmt: skip


def roots_together(expression: sp.Expr) -> sp.Expr:
    """Simplify, with what stands under each root factored."""
    factored = sp.unpolarify(expression).replace(
        lambda part: part.is_Pow and not part.exp.is_Integer, lambda part: sp.factor(part.base) ** part.exp
    )
    return sp.simplify(sp.powdenest(factored))


def draw_weight(rng: random.Random, point: Mapping[str, float]) -> float:
    """One weight of a z that is drawn from some q."""
    chances = (0.5, 0.3, 0.2)
    index = rng.choices(range(3), chances)[0]
    return point[f"a{index + 1}"] / chances[index]


# One pixel, one latent, p(x | z) = N(z, 1).
sigma = sp.Symbol("sigma", positive=True)


def log_weight(at: sp.Expr) -> sp.Expr:
    """Return the logarithm of the weight in the smallest model, multiplied out. Book: def-weight."""
    return (
        -((x - at) ** 2) / 2
        - at**2 / 2
        + (at - mu) ** 2 / (2 * sigma**2)
        + sp.log(sigma)
        - sp.log(2 * sp.pi) / 2
    )


smallest = Reading(
    {
        "x": x, "z": z,
        r"p_\theta(x,z)": lambda x, z: normal(x, z, sp.S.One) * normal(z, sp.S.Zero, sp.S.One),
        r"q_\phi(z|x)": lambda z, x: normal(z, mu, sigma**2),
        "w": lambda at: sp.exp(log_weight(at)),
    }
)  # fmt: skip


CLAIMS = {
    "def-monte-carlo": Claim(
        Reading({**one_draw, r"\bar f": mean_of([some_function(at) for at in drawn_places])})
    ),
    "eq-monte-carlo": Claim(drawn_often(r"\bar f", law_of(mean_of, some_function))),
    "eq-standard-error": Claim(drawn_often("SE", law_of(squared_error_of, some_function), sp.sqrt)),
    "eq-log-of-mean": Claim(
        positive_values,
        tight=[{"f1": lambda v: v["f3"], "f2": lambda v: v["f3"]}],
        proof=prove_log_of_mean,
    ),
    "def-weight": Claim(smallest),
    "eq-evidence-as-mean": Claim(three_values, draws=draw_weight),
    "eq-weight-variance": Claim(three_values),
    "eq-normal-weights": Claim(
        wide,
        # Far out 1 / q must not exceed what a float can hold.
        ranges={"sigma_p": (1.0, 1.4), "g": (1.6, 3.0)},
        simplify=roots_together,
    ),
    "def-iwae": Claim(all_draws, ranges={"u": (0.2, 0.8)}),
    "eq-iwae": Claim(ordered, ranges={"u": (0.2, 0.8)}, tight=[at_posterior], proof=prove_order),
    "eq-iwae-below": Claim(
        ordered, ranges={"u": (0.2, 0.8)}, tight=[at_posterior], proof=prove_below_evidence
    ),
    "eq-exponential-bound": Claim(
        Reading({**exponential, "k": sp.Integer(4), r"\mathcal L_k(x)": bound_by_integral(4)}),
        method="quadrature",
        proof=prove_exponential_bound,
    ),
    "eq-iwae-gap": Claim(
        Reading({**exponential, "k": k, r"\mathcal L_k(x)": exponential_bound()}, domains=on_half_line)
    ),
    "eq-iwae-gradient": Claim(moving_weights),
    "eq-undetached": Claim(moving_weights),
}  # fmt: skip
