"""The evidence lower bound for few latent values, for the linear model, and cut in pieces. Book: page 6."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import sympy as sp

from vaelib.symbolic.claims import Claim, ClaimError, Point, is_zero
from vaelib.symbolic.reading import Functional, Reading, Value, normal

# --- a latent of three values, all else left open ---------------------------------------------------------

joint = sp.symbols("a1:4", positive=True)  # p(x, z) for the x at hand and each value of z


def distribution(letter: str) -> list[sp.Expr]:
    """Return three probabilities, two of them free symbols."""
    first, second = sp.symbols(f"{letter}1:3", positive=True)
    return [first, second, 1 - first - second]


q, prior = distribution("q"), distribution("p")
likelihood = sp.symbols("l1:4", positive=True)  # p(x | z)


def finite_elbo(joint: Sequence[sp.Expr], q: Sequence[sp.Expr]) -> sp.Expr:
    r"""The bound for a latent of few values.

    .. math::

        \mathcal L(q) = \sum_k q_k \log \frac{p(x, z_k)}{q_k}

    References
    ----------
    Book: def-elbo.
    """
    return sp.Add(*(weight * sp.log(a / weight) for a, weight in zip(joint, q, strict=True)))


def finite_kl(q: Sequence[sp.Expr], p: Sequence[sp.Expr]) -> sp.Expr:
    r"""The divergence of two distributions over few values.

    .. math::

        \mathrm{KL}(q \,\|\, p) = \sum_k q_k \log \frac{q_k}{p_k}

    References
    ----------
    Book: def-kl.
    """
    return sp.Add(*(weight * sp.log(weight / other) for weight, other in zip(q, p, strict=True)))


@functools.cache
def best_q(joint: tuple[sp.Expr, ...]) -> tuple[sp.Expr, ...]:
    r"""The distribution at which the bound is highest, by a Lagrange multiplier.

    .. math::

        \frac{\partial}{\partial q_k} \Bigl(\mathcal L(q) - \lambda \sum_j q_j\Bigr) = 0, \quad \sum_j q_j = 1

    The bound is concave in q, so that a point without slope is its top.

    References
    ----------
    Book: eq-gibbs.
    """
    free = sp.symbols(f"q1:{len(joint) + 1}", positive=True)
    multiplier, scale = sp.Symbol("lambda", real=True), sp.Symbol("scale", positive=True)
    slopes = [sp.diff(finite_elbo(joint, free), symbol) - multiplier for symbol in free]
    # Each slope holds one q alone; what they share is exp(-1 - lambda), fixed by the sum.
    shares = [
        sp.solve(slope, symbol)[0].subs(multiplier, -1 - sp.log(scale))
        for slope, symbol in zip(slopes, free, strict=True)
    ]
    (found,) = sp.solve(sp.Add(*shares) - 1, scale)
    return tuple(sp.simplify(share.subs(scale, found)) for share in shares)


def at_most_zero(difference: sp.Expr, q: Sequence[sp.Expr], p: Sequence[sp.Expr]) -> None:
    r"""Prove that an expression is at most 0, by showing that it is :math:`-\mathrm{KL}(q \,\|\, p)`.

    Where both sum to 1, the divergence is a sum of terms that cannot be negative:

    .. math::

        \mathrm{KL}(q \,\|\, p) = \sum_k q_k \left( \frac{p_k}{q_k} - 1 - \log \frac{p_k}{q_k} \right),
        \qquad t - 1 - \log t \ge 0

    Raises
    ------
    ClaimError
        If SymPy does not find one of the steps to hold.
    """
    t = sp.Symbol("t", positive=True)
    term = t - 1 - sp.log(t)
    convex = sp.diff(term, t, 2).is_positive
    if not (convex and sp.solve(sp.diff(term, t), t) == [1] and term.subs(t, 1) == 0):
        raise ClaimError("t - 1 - log t is not least at 1, where it is 0")
    terms = sp.Add(*(a * term.subs(t, b / a) for a, b in zip(q, p, strict=True)))
    if not is_zero(difference + terms):
        raise ClaimError(f"SymPy is left with {difference + terms}, which should vanish")


# --- the linear model with normal noise -------------------------------------------------------------------

x, z, b, w, mu = sp.symbols("x z b w mu", real=True)
s, sigma = sp.symbols("s sigma", positive=True)
LINE = (z, -sp.oo, sp.oo)


def linear_joint(x: Value = x, z: Value = z) -> sp.Expr:
    r"""The joint density of the linear model, :math:`\mathcal N(x; w z + b, s^2) \, \mathcal N(z; 0, 1)`."""
    return normal(x, w * z + b, s**2) * normal(z, sp.S.Zero, sp.S.One)


@functools.cache
def linear_posterior() -> tuple[sp.Expr, sp.Expr]:
    r"""Mean and variance of the linear model's posterior, by completing the square.

    The logarithm of the joint is quadratic in z, so that the posterior is normal. Such a density has its
    mean where its logarithm is level, and its variance is minus one over the logarithm's second derivative.

    .. math::

        \frac{\partial}{\partial z} \log p(x, z) \Big|_{z = \nu} = 0, \qquad
        \tau^2 = - \left( \frac{\partial^2}{\partial z^2} \log p(x, z) \right)^{-1}

    References
    ----------
    Book: eq-linear-posterior.
    """
    log_joint = sp.expand_log(sp.log(linear_joint()), force=True)
    (mean,) = sp.solve(sp.diff(log_joint, z), z)
    return mean, sp.factor(-1 / sp.diff(log_joint, z, 2))


@functools.cache
def linear_evidence() -> sp.Expr:
    r"""The evidence of the linear model, integrated by SymPy.

    The square completed, what is left to integrate is a normal density:

    .. math::

        p(x) = \int p(x, z) \, dz
        = \frac{p(x, z)}{\mathcal N(z; \nu, \tau^2)} \int \mathcal N(z; \nu, \tau^2) \, dz

    References
    ----------
    Book: eq-linear-posterior.

    Raises
    ------
    ClaimError
        If the fraction depends on z after all.
    """
    fraction = linear_joint() / normal(z, *linear_posterior())
    slope = sp.diff(sp.expand_log(sp.log(fraction), force=True), z)
    if sp.simplify(slope) != 0:
        raise ClaimError(f"the square is not complete: the logarithm of the fraction has the slope {slope}")
    still = sp.simplify(fraction.subs(z, 0))  # anywhere will do
    return still * sp.integrate(normal(z, mu, sigma**2), LINE, conds="none")


@functools.cache
def linear_elbo() -> sp.Expr:
    r"""The bound of the linear model for :math:`q = \mathcal N(\mu, \sigma^2)`, integrated by SymPy.

    .. math::

        \mathcal L(q) = \int q(z) \log \frac{\mathcal N(x; w z + b, s^2) \, \mathcal N(z; 0, 1)}{q(z)} \, dz

    The logarithm is quadratic in z; each power of z is integrated by itself.

    References
    ----------
    Book: def-elbo, eq-linear-elbo.
    """
    density = normal(z, mu, sigma**2)
    ratio = sp.expand_log(sp.log(linear_joint() / density), force=True)
    powers = sp.Poly(sp.expand(ratio), z).all_coeffs()[::-1]
    moments = [sp.integrate(z**k * density, LINE, conds="none") for k in range(len(powers))]
    return sp.Add(*(power * moment for power, moment in zip(powers, moments, strict=True)))


# --- data points and their mixture ------------------------------------------------------------------------


def mutual_information(rows: Sequence[Sequence[sp.Expr]]) -> sp.Expr:
    r"""How much the latent says about which data point it came from, from the joint distribution of both.

    .. math::

        \mathrm I(n; z) = \sum_{n} \sum_z p(n, z) \log \frac{p(n, z)}{p(n) \, p(z)},
        \qquad p(n, z) = \frac{1}{N} q(z \mid x_n)

    Parameters
    ----------
    rows : sequence of sequences
        q(z | x_n) of each data point, for every value of z.

    References
    ----------
    Book: def-index-information.
    """
    count = len(rows)
    both = [[share / count for share in row] for row in rows]
    latent = [sp.Add(*column) for column in zip(*both, strict=True)]
    return sp.Add(
        *(
            share * sp.log(count * share / total)
            for row in both
            for share, total in zip(row, latent, strict=True)
        )
    )


# Two data points, two components: how much of each data point belongs to which, and the first one's weight.
points = sp.symbols("x1:3", real=True)
r1, r2, weight = sp.symbols("r1 r2 weight", positive=True)
responsibilities = [[r1, 1 - r1], [r2, 1 - r2]]


def mixture_elbo(
    data: Sequence[sp.Expr],
    q: Sequence[Sequence[sp.Expr]],
    weights: Sequence[sp.Expr],
    means: Sequence[sp.Expr],
) -> sp.Expr:
    r"""The bound of all data points under a mixture of normal distributions with the deviation s.

    .. math::

        \mathcal L(q) = \sum_{n} \sum_k r_{n,k} \log \frac{\pi_k \, \mathcal N(x_n; \mu_k, s^2)}{r_{n,k}}

    References
    ----------
    Book: def-elbo.
    """
    return sp.Add(
        *(
            finite_elbo(
                [weight * normal(x, mean, s**2) for weight, mean in zip(weights, means, strict=True)], row
            )
            for x, row in zip(data, q, strict=True)
        )
    )


@functools.cache
def mixture_m_step() -> tuple[list[sp.Expr], list[sp.Expr]]:
    r"""Weights and means at which the bound of two data points and two components is level, solved by SymPy.

    References
    ----------
    Book: eq-m-step.
    """
    means = sp.symbols("mu1:3", real=True)
    bound = mixture_elbo(points, responsibilities, [weight, 1 - weight], means)
    bound = sp.expand_log(bound, force=True)
    (found,) = sp.solve(sp.diff(bound, weight), weight)
    return [found, 1 - found], [sp.solve(sp.diff(bound, mean), mean)[0] for mean in means]


# --- how the page's equations are read and checked -------------------------------------------------------

VALUES = [sp.Integer(k) for k in (1, 2, 3)]


def table(entries: Sequence[sp.Expr]) -> Callable[..., Value]:
    """Return a function of the latent, what else it is given aside."""
    return lambda z, *_: entries[int(z) - 1]


def tidy(expression: sp.Expr) -> sp.Expr:
    """Simplify where sums stand in logarithms: they are factored first, so that like meets like."""
    factored = expression.replace(sp.log, lambda a: sp.expand_log(sp.log(sp.factor(a)), force=True))
    return sp.simplify(sp.expand(factored))


def share(entries: Sequence[sp.Expr]) -> list[sp.Expr]:
    """Divide by the sum: Bayes' theorem for few values."""
    return [entry / sp.Add(*entries) for entry in entries]


# The latent has three values, and p(x, z) is any three positive numbers.
generic = Reading(
    {
        "x": sp.Symbol("x"), "z": VALUES[1],  # any of the three, where nothing sums over it
        "p(x,z)": lambda x, z: table(joint)(z),
        "p(x)": sp.Add(*joint),
        "p(z|x)": table(share(joint)),
        "q": table(q),
        "q^*": lambda z: table(best_q(joint))(z),
        r"\hat q": table(distribution("h")),
        r"q_\phi": table(distribution("f")),
        r"\mathcal L": Functional(lambda total, q: finite_elbo(joint, [q(k) for k in VALUES])),
    },
    domains={"z": VALUES},
)  # fmt: skip

# The same with the joint taken apart: p(x, z) = p(x | z) p(z).
apart = [a * b for a, b in zip(likelihood, prior, strict=True)]
taken_apart = Reading(
    {
        "x": sp.Symbol("x"), "z": VALUES[1],  # any of the three, where nothing sums over it
        "p(x,z)": lambda x, z: table(apart)(z),
        "p(x|z)": lambda x, z: table(likelihood)(z),
        "p(z)": table(prior),
        "p(x)": sp.Add(*apart),
        "p(z|x)": table(share(apart)),
        "q": table(q),
        r"\mathcal L": Functional(lambda total, q: finite_elbo(apart, [q(k) for k in VALUES])),
        r"p_\theta(x)": sp.Add(*apart),
        r"p_\theta(x|z)": lambda x, z: table(likelihood)(z),
        r"q_\phi(z|x)": table(q),
        r"\mathcal L(x)": finite_elbo(apart, q),
    },
    domains={"z": VALUES},
)  # fmt: skip

SMALL = {f"{letter}{k}": (0.1, 0.45) for letter in "qpfhcd" for k in (1, 2)}


def at_posterior(weights: Callable[[Point], list[float]]) -> dict[str, Callable[[Point], float]]:
    """Where the bound is the evidence: q is the posterior."""

    def nth(k: int) -> Callable[[Point], float]:
        return lambda v: weights(v)[k] / sum(weights(v))

    return {"q1": nth(0), "q2": nth(1)}


closed = at_posterior(lambda v: [v[f"a{k}"] for k in (1, 2, 3)])
closed_apart = at_posterior(
    lambda v: [v["l1"] * v["p1"], v["l2"] * v["p2"], v["l3"] * (1 - v["p1"] - v["p2"])]
)


def gibbs(joint: Sequence[sp.Expr] = joint) -> sp.Expr:
    """Prove that no q has a bound above the evidence, and return what is missing."""
    exceeds = finite_elbo(joint, q) - sp.log(sp.Add(*joint))
    at_most_zero(exceeds, q, share(joint))
    return -exceeds


linear_names = {"x": x, "z": z, "b": b, "w": w, "s": s, r"\mu": mu, r"\sigma": sigma}
# As eq-linear-posterior has them.
nu, tau = w * (x - b) / (w**2 + s**2), s / sp.sqrt(w**2 + s**2)
density_q = normal(z, mu, sigma**2)

linear = Reading(
    {
        **linear_names,
        "p(x)": lambda x: sp.Integral(linear_joint(x), LINE),
        "p(z|x)": lambda z, x: linear_joint(x, z) / sp.Integral(linear_joint(x), LINE),
    }
)
linear_bound = Reading(
    {**linear_names, r"\mathcal L(q)": sp.Integral(density_q * sp.log(linear_joint() / density_q), LINE)}
)
# Evidence and bound as SymPy integrated them, each from its definition.
linear_gap = Reading(
    {
        **linear_names,
        r"\nu": nu, r"\tau": tau, "q": sp.Symbol("q"),
        "p(x)": lambda x: linear_evidence(),
        r"\mathcal L": lambda q: linear_elbo(),
    }
)  # fmt: skip

# Two data points, and the distribution of three latent values that each is given.
rows = [distribution("c"), distribution("d")]
mixed = [(a + b) / 2 for a, b in zip(*rows, strict=True)]
surgery = Reading(
    {
        "N": sp.Integer(2), "x": VALUES[:2],
        "p(z)": table(prior),
        r"q_\phi(z|x)": lambda z, n: table(rows[int(n) - 1])(z),
        r"q_\phi(z)": table(mixed),
        "q(n|z)": lambda n, z: table(rows[int(n) - 1])(z) / (2 * table(mixed)(z)),
        "I(n;z)": mutual_information(rows),
    },
    domains={"z": VALUES, "n": VALUES[:2]},
)  # fmt: skip


def at_most_log_n() -> None:
    """Prove that no latent says more about two data points than which one it is."""
    t = sp.Symbol("t", positive=True)
    if not (sp.log(1 + t) / (1 + t)).is_positive:  # -u log u for u = 1 / (1 + t), which is any u below 1
        raise ClaimError("a term of the entropy might be negative")


# Where the bound on the information is reached: each data point has a value of the latent to itself, but for
# a rounding that keeps logarithms finite.
told_apart: dict[str, Callable[[Point], float]] = {
    "c1": lambda v: 1 - 2e-12, "c2": lambda v: 1e-12, "d1": lambda v: 1e-12, "d2": lambda v: 1 - 2e-12,
}  # fmt: skip

# Two data points again, and a latent on the line.
mus, sigmas = sp.symbols("mu1:3", real=True), sp.symbols("sigma1:3", positive=True)


def encoded(z: Value, n: Value) -> Value:
    """The density that the n-th data point is given."""
    return normal(z, mus[int(n) - 1], sigmas[int(n) - 1] ** 2)


aggregate = Reading(
    {
        "N": sp.Integer(2), "x": VALUES[:2], "z": z, r"\mu": mus, r"\sigma": sigmas,
        r"\bar \mu": sp.Add(*mus) / 2,
        r"q_\phi(z|x)": encoded,
        r"q_\phi(z)": lambda z: sp.Add(*(encoded(z, n) for n in VALUES[:2])) / 2,
    }
)  # fmt: skip


class Later(Mapping[int, Value]):
    """Entries that are worked out when one is looked up, so that an import need not wait for them."""

    def __init__(self, entries: Callable[[], Sequence[Value]]) -> None:
        self.entries = entries

    def __getitem__(self, index: int) -> Value:
        """Count from 1, as formulas do."""
        return self.entries()[int(index) - 1]

    def __iter__(self) -> Iterator[int]:
        """Yield the indices."""
        return iter(range(1, len(self) + 1))

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self.entries())


m_step = Reading(
    {
        "N": sp.Integer(2), "k": sp.Integer(2), "x": points, "r": responsibilities,
        r"\hat \pi": Later(lambda: mixture_m_step()[0]), r"\hat \mu": Later(lambda: mixture_m_step()[1]),
    }
)  # fmt: skip

# EM on the weights alone: p(x_n | z) is any positive number. The new weights are those of eq-m-step.
fixed = [sp.symbols("l11 l12", positive=True), sp.symbols("l21 l22", positive=True)]
old = [weight, 1 - weight]
posteriors = [share([a * b for a, b in zip(old, row, strict=True)]) for row in fixed]
new = [sp.Add(*column) / 2 for column in zip(*posteriors, strict=True)]


def evidence_of(weights: Sequence[sp.Expr]) -> sp.Expr:
    """The probability of both data points."""
    return sp.Mul(*(sp.Add(*(a * b for a, b in zip(weights, row, strict=True))) for row in fixed))


def bound_of(weights: Sequence[sp.Expr]) -> sp.Expr:
    """The bound of both data points, with q their posteriors under the old weights."""
    joints = [[a * b for a, b in zip(weights, row, strict=True)] for row in fixed]
    return sp.Add(*(finite_elbo(*pair) for pair in zip(joints, posteriors, strict=True)))


climb = Reading(
    {
        "x": sp.Symbol("x"), "q": sp.Symbol("q"),
        r"\theta": sp.Symbol("old"), r"\hat \theta": sp.Symbol("new"),
        r"p_\theta(x)": evidence_of(old), r"p_\hat\theta(x)": evidence_of(new),
        r"\mathcal L(q,\theta)": bound_of(old), r"\mathcal L(q,\hat \theta)": bound_of(new),
    }
)  # fmt: skip


def em_climbs() -> None:
    """Prove both steps: the M step gains a KL of new and old weights, and no bound exceeds its evidence."""
    q = responsibilities
    gained = [(q[0][k] + q[1][k]) / 2 for k in (0, 1)]  # the new weights
    loss = sp.Add(*(row[k] * sp.log(old[k] / gained[k]) for row in q for k in (0, 1)))
    at_most_zero(loss / 2, gained, old)
    gibbs()


CLAIMS = {
    "def-elbo": Claim(generic, ranges=SMALL),
    "eq-elbo-jensen": Claim(generic, ranges=SMALL, tight=[closed], proof=gibbs),
    "eq-identity": Claim(generic, ranges=SMALL),
    "eq-gibbs": Claim(generic, ranges=SMALL, tight=[closed], proof=gibbs),
    "eq-elbo-splits": Claim(taken_apart, ranges=SMALL),
    "eq-elbo": Claim(taken_apart, ranges=SMALL, tight=[closed_apart], proof=lambda: gibbs(apart)),
    "eq-gaps": Claim(generic, ranges=SMALL),
    "eq-linear-posterior": Claim(
        linear,
        equivalent={
            rf"the arguments of {density} swap": "only the distance of point and mean counts"
            for density in (
                r"\mathcal N(x; b, w^2 + s^2)",
                r"\mathcal N\left( z; \frac{w (x - b)}{w^2 + s^2}, \frac{s^2}{w^2 + s^2} \right)",
            )
        },
    ),
    "eq-linear-elbo": Claim(linear_bound),
    "eq-linear-gap": Claim(linear_gap),
    "eq-m-step": Claim(m_step, ranges={"r1": (0.1, 0.9), "r2": (0.1, 0.9)}),
    "eq-em": Claim(
        climb,
        ranges={"weight": (0.1, 0.9)},
        tight=[{"l11": lambda v: v["l12"], "l21": lambda v: v["l22"]}],
        proof=em_climbs,
    ),
    "def-aggregate": Claim(aggregate),
    "eq-aggregate-variance": Claim(aggregate),
    "def-index-information": Claim(surgery, ranges=SMALL, simplify=tidy),
    "eq-surgery": Claim(surgery, ranges=SMALL, simplify=tidy),
    "eq-information-bound": Claim(
        surgery, ranges=SMALL, simplify=tidy, tight=[told_apart], proof=at_most_log_n
    ),
}
