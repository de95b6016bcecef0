"""The KL divergence of normal distributions, from the integral that defines it. Book: page 7."""

import functools
import math
from collections.abc import Callable, Sequence

import sympy as sp

from vaelib.symbolic.claims import Claim
from vaelib.symbolic.reading import Reading, Space, Value, normal

z = sp.Symbol("z", real=True)
mu, mu_p, mu_q = sp.symbols("mu mu_p mu_q", real=True)
sigma, sigma_p, sigma_q = sp.symbols("sigma sigma_p sigma_q", positive=True)
log_var = sp.Symbol("v", real=True)
noise = sp.Symbol("u", real=True)


# --- one dimension: the integral, and what it comes to ---------------------------------------------------


def log_ratio(
    mean_q: sp.Expr = mu_q, sigma_q: sp.Expr = sigma_q, mean_p: sp.Expr = mu_p, sigma_p: sp.Expr = sigma_p
) -> sp.Expr:
    r"""How much more probable z is under q than under p, in nats.

    .. math::

        \log \frac{q(z)}{p(z)}, \qquad q = \mathcal N(\mu_q, \sigma_q^2), \quad p = \mathcal N(\mu_p, \sigma_p^2)

    References
    ----------
    Book: eq-gaussian-log-ratio.
    """
    q, p = normal(z, mean_q, sigma_q**2), normal(z, mean_p, sigma_p**2)
    return sp.expand_log(sp.log(q / p), force=True)


def kl_integral(
    mean_q: sp.Expr = mu_q, sigma_q: sp.Expr = sigma_q, mean_p: sp.Expr = mu_p, sigma_p: sp.Expr = sigma_p
) -> sp.Integral:
    r"""The definition, with nothing solved yet.

    .. math::

        \int q(z) \log \frac{q(z)}{p(z)} \, dz, \qquad q = \mathcal N(\mu_q, \sigma_q^2), \quad p = \mathcal N(\mu_p, \sigma_p^2)

    References
    ----------
    Book: def-kl.
    """
    ratio = log_ratio(mean_q, sigma_q, mean_p, sigma_p)
    return sp.Integral(normal(z, mean_q, sigma_q**2) * ratio, (z, -sp.oo, sp.oo))


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


# --- more dimensions: a normal vector is a matrix times independent standard normal numbers ----------------


@functools.cache
def standard_moment(k: int) -> sp.Expr:
    r"""The k-th moment of a standard normal number, by SymPy's integration.

    .. math::

        \int u^k \, \mathcal N(u; 0, 1) \, du
    """
    return sp.integrate(noise**k * normal(noise, sp.S.Zero, sp.S.One), (noise, -sp.oo, sp.oo))


def normal_vector(point: sp.Matrix, mean: sp.Matrix, factor: sp.Matrix) -> sp.Expr:
    r"""The density of a normal vector, by change of variables from independent standard normal numbers.

    .. math::

        \frac{1}{|L|} \prod_{j=1}^{J} \mathcal N(u_j; 0, 1), \qquad z = \mu + L u

    Parameters
    ----------
    point : Matrix
        :math:`z`, a column.
    mean : Matrix
        :math:`\mu`, a column.
    factor : Matrix
        :math:`L`, lower triangular with a positive diagonal; the covariance is :math:`L L^\top`.

    References
    ----------
    Book: def-normal-vector.
    """
    u = (factor.inv() * (point - mean)).applyfunc(sp.expand)
    return sp.Mul(*(normal(entry, sp.S.Zero, sp.S.One) for entry in u)) / factor.det()


def integral_over_plane(
    function: Callable[[sp.Matrix], sp.Expr], mean: sp.Matrix, factor: sp.Matrix
) -> sp.Expr:
    r"""Integrate a polynomial times the exponential of a quadratic form, one normal moment after the other.

    .. math::

        \int f(z) \, dz = |L| \int f(\mu + L u) \, du

    Parameters
    ----------
    function : callable
        :math:`f`; logarithms of densities in it are expanded to polynomials. What is no polynomial times such
        an exponential is left as an integral.
    mean, factor : Matrix
        :math:`\mu` and :math:`L`: any will do, and those of the density in :math:`f` make it quick.
    """
    u = sp.Matrix(sp.symbols(f"u1:{len(mean) + 1}", real=True))
    body = sp.expand_log(function(mean + factor * u), force=True) * factor.det()
    for entry in u:
        body = _over_line(body, entry)
    return body


@functools.lru_cache(maxsize=1024)
def _over_line(body: sp.Expr, u: sp.Symbol) -> sp.Expr:
    """Integrate over u from minus to plus infinity."""
    return sp.Add(*(_term_over_line(term, u) for term in sp.Add.make_args(body)))


def _term_over_line(term: sp.Expr, u: sp.Symbol) -> sp.Expr:
    exponent, rest = sp.S.Zero, sp.S.One
    for part in sp.Mul.make_args(term):
        if isinstance(part, sp.exp):
            exponent += part.args[0]
        else:
            rest *= part
    exponent, rest = sp.expand(exponent), sp.expand(rest)
    quadratic = rest.is_polynomial(u) and exponent.is_polynomial(u) and sp.degree(exponent, u) == 2
    if not quadratic:
        return sp.Integral(term, (u, -sp.oo, sp.oo))
    # -a u^2 + b u + c, the density of a normal number around b / 2a but for a factor
    minus_a, b, c = (exponent.coeff(u, k) for k in (2, 1, 0))
    centre, width = -b / (2 * minus_a), 1 / sp.sqrt(-2 * minus_a)
    total = sp.S.Zero
    for (power,), coefficient in sp.Poly(rest, u).terms():
        total += coefficient * sum(
            math.comb(power, k) * centre ** (power - k) * width**k * standard_moment(k)
            for k in range(power + 1)
        )
    return total * sp.exp(c - b**2 / (4 * minus_a)) * width * sp.sqrt(2 * sp.pi)


def plane(mean: sp.Matrix, factor: sp.Matrix) -> Space:
    """Where a vector with two coordinates lives, to be read as mean + factor times noise."""
    anywhere = sp.Matrix(sp.symbols(f"z1:{len(mean) + 1}", real=True))
    return Space(anywhere, lambda function: integral_over_plane(function, mean, factor))


means_q, means_p = (sp.Matrix(sp.symbols(f"mu_{name}1:3", real=True)) for name in "qp")
_q, _p = (sp.symbols(f"{name}11 {name}21 {name}22", positive=True) for name in "lm")
factor_q, factor_p = (sp.Matrix([[f[0], 0], [f[1], f[2]]]) for f in (_q, _p))


def kl_of_vectors(
    mean_q: sp.Matrix = means_q,
    factor_q: sp.Matrix = factor_q,
    mean_p: sp.Matrix = means_p,
    factor_p: sp.Matrix = factor_p,
) -> sp.Expr:
    r"""The KL divergence between two normal vectors, moment by moment from the definition.

    .. math::

        \int q(z) \log \frac{q(z)}{p(z)} \, dz, \qquad z = \mu_q + L_q u

    The log-ratio is a polynomial in :math:`u`, and every moment is an integral that SymPy solves.

    References
    ----------
    Book: eq-gaussian-kl-full.
    """

    def integrand(point: sp.Matrix) -> sp.Expr:
        q, p = normal_vector(point, mean_q, factor_q), normal_vector(point, mean_p, factor_p)
        return q * sp.log(q / p)

    return integral_over_plane(integrand, mean_q, factor_q)


# A distribution with independent coordinates, as the mean and the deviation of each.
Coordinates = Sequence[tuple[sp.Expr, sp.Expr]]


def kl_of_coordinates(q: Coordinates, p: Coordinates) -> sp.Expr:
    """The KL of independent coordinates: an unsolved integral for each (book: eq-kl-additivity)."""
    return sp.Add(*(kl_integral(*one, *other) for one, other in zip(q, p, strict=True)))


# --- how the page's equations are read and checked -------------------------------------------------------


def tidy(expression: sp.Expr) -> sp.Expr:
    """Simplify, with the logarithm of each determinant as a sum."""
    apart = expression.replace(
        lambda e: isinstance(e, sp.log), lambda e: sp.expand_log(sp.log(sp.factor(e.args[0])), force=True)
    )
    return sp.cancel(sp.expand(apart))


between_two = Reading(
    {
        r"\mu_q": mu_q, r"\mu_p": mu_p, r"\sigma_q": sigma_q, r"\sigma_p": sigma_p, "z": z,
        "q": lambda z: normal(z, mu_q, sigma_q**2),
        "p": lambda z: normal(z, mu_p, sigma_p**2),
    }
)  # fmt: skip

# Two distributions of a coin, and two of a die with three sides, with nothing said about the probabilities.
CHANCES = {name: sp.symbols(f"{name}1:4", positive=True) for name in ("a", "b", "c", "d")}


def chance(name: str) -> Callable[[Value], sp.Expr]:
    """Return one of four distributions on three values at most, its last probability what the others leave."""

    def at(value: Value) -> sp.Expr:
        free = CHANCES[name][: 1 if name in "ac" else 2]
        return [*free, 1 - sp.Add(*free)][int(value)]

    return at


q_1, p_1, q_2, p_2 = chance("a"), chance("c"), chance("b"), chance("d")
independent = Reading(
    {
        "q_1": q_1, "q_2": q_2, "p_1": p_1, "p_2": p_2,
        "q": lambda a, b: q_1(a) * q_2(b),
        "p": lambda a, b: p_1(a) * p_2(b),
    },
    domains={"z_1": [sp.S.Zero, sp.S.One], "z_2": [sp.S.Zero, sp.S.One, sp.Integer(2)]},
)  # fmt: skip


def q_of_vectors(point: sp.Matrix) -> sp.Expr:
    return normal_vector(point, means_q, factor_q)


def p_of_vectors(point: sp.Matrix) -> sp.Expr:
    return normal_vector(point, means_p, factor_p)


between_vectors = Reading(
    {
        r"\mu_q": means_q, r"\mu_p": means_p, "J": sp.Integer(2), "q": q_of_vectors, "p": p_of_vectors,
        r"\Sigma_q": factor_q * factor_q.T, r"\Sigma_p": factor_p * factor_p.T,
    },
    domains={"z": plane(means_q, factor_q)},
)  # fmt: skip
one_vector = Reading(
    {
        r"\mu": means_q, r"\Sigma": factor_q * factor_q.T, "J": sp.Integer(2), "q": q_of_vectors,
        r"\mathcal N(;,)": lambda point, mean, _: normal_vector(point, mean, factor_q),
        "A": sp.Matrix([sp.symbols("a11:13", real=True), sp.symbols("a21:23", real=True)]),
        "m": means_p, "z": sp.Matrix(sp.symbols("z1:3", real=True)),
    },
    domains={"z": plane(means_q, factor_q)},
)  # fmt: skip

mus, sigmas = sp.symbols("mu1:3", real=True), sp.symbols("sigma1:3", positive=True)
log_vars = sp.symbols("v1:3", real=True)
other_mus, other_sigmas = sp.symbols("m1:3", real=True), sp.symbols("s1:3", positive=True)
other_log_vars = sp.symbols("w1:3", real=True)


def diagonal(
    means: Sequence[sp.Expr], deviations: Sequence[sp.Expr]
) -> Callable[[sp.Matrix], sp.Expr]:
    """Return the density of a normal vector with independent coordinates."""
    return lambda point: sp.Mul(
        *(normal(a, m, s**2) for a, m, s in zip(point, means, deviations, strict=True))
    )


def plane_of(means: Sequence[sp.Expr], deviations: Sequence[sp.Expr]) -> Space:
    return plane(sp.Matrix(means), sp.diag(*deviations))


def from_log_vars(values: Sequence[sp.Expr]) -> list[sp.Expr]:
    """Deviations from log-variances."""
    return [sp.exp(v / 2) for v in values]


q_of_two, p_of_two = diagonal(mus, sigmas), diagonal(other_mus, other_sigmas)
between_diagonals = Reading(
    {
        "q": q_of_two, "p": p_of_two, "J": sp.Integer(2),
        r"\mu": {q_of_two: mus, p_of_two: other_mus},
        r"\sigma": {q_of_two: sigmas, p_of_two: other_sigmas},
    },
    domains={"z": plane_of(mus, sigmas)},
)  # fmt: skip
q_by_log_var = diagonal(mus, from_log_vars(log_vars))
p_by_log_var = diagonal(other_mus, from_log_vars(other_log_vars))
by_log_vars = Reading(
    {
        "q": q_by_log_var, "p": p_by_log_var, "J": sp.Integer(2),
        r"\mu": {q_by_log_var: mus, p_by_log_var: other_mus},
        "v": {q_by_log_var: log_vars, p_by_log_var: other_log_vars},
        "d": [a - b for a, b in zip(log_vars, other_log_vars, strict=True)],
    },
    domains={"z": plane_of(mus, from_log_vars(log_vars))},
)  # fmt: skip

PRIOR = diagonal([sp.S.Zero] * 2, [sp.S.One] * 2)
encoder_and_prior = Reading(
    {
        r"\mu": mus, r"\sigma": sigmas, "J": sp.Integer(2), "x": sp.Symbol("x"),
        r"q_\phi(z|x)": lambda z, x: diagonal(mus, sigmas)(z),
        "p(z)": PRIOR,
    },
    domains={"z": plane_of(mus, sigmas)},
)  # fmt: skip
prior_and_encoder = Reading(
    encoder_and_prior.names, domains={"z": plane_of([sp.S.Zero] * 2, [sp.S.One] * 2)}
)
one_latent = Reading(
    {
        r"\mu": mu, "v": log_var, "x": sp.Symbol("x"), "z": z,
        r"q_\phi(z|x)": lambda z, x: normal(z, mu, sp.exp(log_var)),
        "p(z)": lambda z: normal(z, sp.S.Zero, sp.S.One),
    }
)  # fmt: skip

CHANCE_RANGES = {name.name: (0.1, 0.45) for names in CHANCES.values() for name in names}
ENCODER_AND_PRIOR = Claim(encoder_and_prior)

CLAIMS = {
    "eq-gaussian-log-ratio": Claim(between_two),
    "eq-gaussian-moments": Claim(between_two),
    "eq-gaussian-kl-1d": Claim(
        between_two, draws=lambda rng, at: _drawn_log_ratio(rng.gauss(at["mu_q"], at["sigma_q"]), at)
    ),
    "eq-kl-additivity": Claim(independent, ranges=CHANCE_RANGES),
    "eq-gaussian-kl-diagonal": Claim(between_diagonals),
    "def-normal-vector": Claim(one_vector),
    "eq-quadratic-form": Claim(one_vector),
    "eq-gaussian-kl-full": Claim(between_vectors, simplify=tidy),
    "eq-gaussian-kl": ENCODER_AND_PRIOR,
    "eq-gaussian-kl-gradient": Claim(one_latent),
    "eq-gaussian-kl-reverse": Claim(prior_and_encoder),
    "eq-gaussian-kl-log-variance": Claim(by_log_vars),
    "eq-tangent-gap": Claim(Reading({"v": log_var})),
}


def _drawn_log_ratio(value: float, at: dict[str, float]) -> float:
    off_q, off_p = (value - at["mu_q"]) / at["sigma_q"], (value - at["mu_p"]) / at["sigma_p"]
    return math.log(at["sigma_p"] / at["sigma_q"]) - off_q**2 / 2 + off_p**2 / 2
