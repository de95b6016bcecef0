"""The KL divergence of normal distributions, from the integral that defines it. Book: page 7."""

import functools
import math
import random
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

        \log \frac{q(z)}{p(z)}, \qquad
        q = \mathcal N(\mu_q, \sigma_q^2), \quad p = \mathcal N(\mu_p, \sigma_p^2)

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

        \int q(z) \log \frac{q(z)}{p(z)} \, dz, \qquad
        q = \mathcal N(\mu_q, \sigma_q^2), \quad p = \mathcal N(\mu_p, \sigma_p^2)

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
    u = (_inverse(sp.ImmutableMatrix(factor)) * (point - mean)).applyfunc(sp.expand)
    return sp.Mul(*(normal(entry, sp.S.Zero, sp.S.One) for entry in u)) / factor.det()


@functools.lru_cache(maxsize=64)
def _inverse(matrix: sp.ImmutableMatrix) -> sp.ImmutableMatrix:
    return matrix.inv()


def integral_over_plane(function: Callable[[sp.Matrix], Value], mean: sp.Matrix, factor: sp.Matrix) -> Value:
    r"""Integrate a polynomial times the exponential of a quadratic form, as normal moments.

    .. math::

        \int f(z) \, dz = |L| \int f(\mu + L u) \, du

    Parameters
    ----------
    function : callable
        :math:`f`; logarithms of densities in it are expanded to polynomials. What is no polynomial times such
        an exponential is left as an integral.
    mean, factor : Matrix
        :math:`\mu` and :math:`L`, those of the density in :math:`f`: then only standard normal moments are
        left. With others the result is the same, and longer.
    """
    u = tuple(sp.symbols(f"u1:{len(mean) + 1}", real=True))
    value = function(mean + factor * sp.Matrix(u))
    if isinstance(value, sp.MatrixBase):  # each entry of it
        return value.applyfunc(lambda part: _integral_over_noise(part * factor.det(), u))
    return _integral_over_noise(value * factor.det(), u)


@functools.lru_cache(maxsize=1024)
def _integral_over_noise(body: sp.Expr, u: tuple[sp.Symbol, ...]) -> sp.Expr:
    terms = sp.Add.make_args(sp.expand_log(body, force=True))
    return sp.Add(*(_term_over_noise(term, u) for term in terms))


def _term_over_noise(term: sp.Expr, u: tuple[sp.Symbol, ...]) -> sp.Expr:
    factors = sp.Mul.make_args(term)
    exponent = sp.expand(sp.Add(*(part.args[0] for part in factors if isinstance(part, sp.exp))))
    rest = sp.expand(sp.Mul(*(part for part in factors if not isinstance(part, sp.exp))))
    if not (exponent.is_polynomial(*u) and rest.is_polynomial(*u)):
        return sp.Integral(term, *((symbol, -sp.oo, sp.oo) for symbol in reversed(u)))
    # Complete the square: around its peak the exponent is minus half the square of C^-1 (u - peak).
    at_zero = dict.fromkeys(u, 0)
    precision = -sp.hessian(exponent, u)
    slope = sp.Matrix([sp.diff(exponent, symbol).subs(at_zero) for symbol in u])
    if precision == sp.eye(len(u)):
        spread, peak = precision, slope
    else:
        spread = precision.inv().cholesky(hermitian=False)
        peak = precision.inv() * slope
    height = sp.exp(exponent.subs(at_zero) + (slope.T * peak)[0, 0] / 2)
    return height * spread.det() * sp.sqrt(2 * sp.pi) ** len(u) * _mean_of_polynomial(rest, u, peak, spread)


def _mean_of_polynomial(
    polynomial: sp.Expr, u: tuple[sp.Symbol, ...], mean: sp.Matrix, factor: sp.Matrix
) -> sp.Expr:
    """The mean of a polynomial in u = mean + factor t, where t is standard normal."""
    t = sp.symbols(f"t1:{len(u) + 1}", real=True)
    moved = dict(zip(u, mean + factor * sp.Matrix(t), strict=True))
    total = sp.S.Zero
    for powers, coefficient in _monomials(polynomial, u):
        monomial = sp.Mul(*(moved[symbol] ** power for symbol, power in zip(u, powers, strict=True)))
        for inner, weight in _monomials(sp.expand(monomial), t):
            total += coefficient * weight * math.prod(map(standard_moment, inner), start=sp.S.One)
    return total


def _monomials(polynomial: sp.Expr, u: Sequence[sp.Symbol]) -> list[tuple[tuple[int, ...], sp.Expr]]:
    """Powers and coefficients of an expanded polynomial."""
    found: dict[tuple[int, ...], sp.Expr] = {}
    for term in sp.Add.make_args(polynomial):
        coefficient, power = term.as_independent(*u, as_Add=False)
        at = power.as_powers_dict()
        powers = tuple(int(at.get(symbol, 0)) for symbol in u)
        found[powers] = found.get(powers, sp.S.Zero) + coefficient
    return list(found.items())


def plane(mean: sp.Matrix, factor: sp.Matrix) -> Space:
    """Where a vector with two coordinates lives, to be read as mean + factor times noise."""
    anywhere = sp.Matrix(sp.symbols(f"z1:{len(mean) + 1}", real=True))
    return Space(anywhere, lambda function: integral_over_plane(function, mean, factor))


means_q, means_p = (sp.Matrix(sp.symbols(f"mu_{name}1:3", real=True)) for name in "qp")


def cholesky_factor(name: str) -> sp.Matrix:
    """A lower triangular matrix of symbols with a positive diagonal."""
    (first, last), below = sp.symbols(f"{name}11 {name}22", positive=True), sp.Symbol(f"{name}21", real=True)
    return sp.Matrix([[first, 0], [below, last]])


factor_q, factor_p = cholesky_factor("l"), cholesky_factor("m")


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
    """Return a numerator that is zero if the expression is; determinants in logarithms are factored."""
    apart = expression.replace(
        lambda e: isinstance(e, sp.log), lambda e: sp.expand_log(sp.log(sp.factor(e.args[0])), force=True)
    )
    return sp.expand(sp.numer(sp.together(apart)))


between_two = Reading(
    {
        r"\mu_q": mu_q, r"\mu_p": mu_p, r"\sigma_q": sigma_q, r"\sigma_p": sigma_p, "z": z,
        "q": lambda z: normal(z, mu_q, sigma_q**2),
        "p": lambda z: normal(z, mu_p, sigma_p**2),
    }
)  # fmt: skip

# Four distributions on three values, with nothing said about their probabilities.
CHANCES = {name: sp.symbols(f"{name}1:3", positive=True) for name in ("a", "b", "c", "d")}


def chance(name: str) -> Callable[[Value], sp.Expr]:
    """Return one of four distributions on 1, 2 and 3; the last probability is what the others leave."""
    first, second = CHANCES[name]
    return lambda value: [first, second, 1 - first - second][int(value) - 1]


THREE = [sp.Integer(k) for k in (1, 2, 3)]
q_1, p_1, q_2, p_2 = chance("a"), chance("c"), chance("b"), chance("d")
independent = Reading(
    {
        "q_1": q_1, "q_2": q_2, "p_1": p_1, "p_2": p_2,
        "q": lambda a, b: q_1(a) * q_2(b),
        "p": lambda a, b: p_1(a) * p_2(b),
    },
    domains={"z_1": THREE, "z_2": THREE},
)  # fmt: skip


def q_of_vectors(point: sp.Matrix) -> sp.Expr:
    """A normal vector's density, with any mean and covariance."""
    return normal_vector(point, means_q, factor_q)


def p_of_vectors(point: sp.Matrix) -> sp.Expr:
    """Another one's."""
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


def diagonal(means: Sequence[sp.Expr], deviations: Sequence[sp.Expr]) -> Callable[[sp.Matrix], sp.Expr]:
    """Return the density of a normal vector with independent coordinates."""
    return lambda point: sp.Mul(
        *(normal(a, m, s**2) for a, m, s in zip(point, means, deviations, strict=True))
    )


def plane_of(means: Sequence[sp.Expr], deviations: Sequence[sp.Expr]) -> Space:
    """The plane, as a vector with these means and deviations sees it."""
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
prior_and_encoder = Reading(encoder_and_prior.names, domains={"z": plane_of([sp.S.Zero] * 2, [sp.S.One] * 2)})
one_latent = Reading(
    {
        r"\mu": mu, "v": log_var, "x": sp.Symbol("x"), "z": z,
        r"q_\phi(z|x)": lambda z, x: normal(z, mu, sp.exp(log_var)),
        "p(z)": lambda z: normal(z, sp.S.Zero, sp.S.One),
    }
)  # fmt: skip


def drawn_log_ratio(rng: random.Random, means: Sequence[float], deviations: Sequence[float]) -> float:
    """The log of q over the prior at a draw from q, summed over the latents."""
    total = 0.0
    for mean, deviation in zip(means, deviations, strict=True):
        draw = rng.gauss(mean, deviation)
        total += draw**2 / 2 - ((draw - mean) / deviation) ** 2 / 2 - math.log(deviation)
    return total


ENCODER_AND_PRIOR = Claim(
    encoder_and_prior,
    draws=lambda rng, at: drawn_log_ratio(rng, (at["mu1"], at["mu2"]), (at["sigma1"], at["sigma2"])),
)

CLAIMS = {
    "eq-gaussian-log-ratio": Claim(between_two),
    "eq-gaussian-moments": Claim(between_two),
    "eq-gaussian-kl-1d": Claim(
        between_two,
        # In units of p's deviation, and from p's mean: there p is the standard normal distribution.
        draws=lambda rng, at: drawn_log_ratio(
            rng, [(at["mu_q"] - at["mu_p"]) / at["sigma_p"]], [at["sigma_q"] / at["sigma_p"]]
        ),
    ),
    "eq-kl-additivity": Claim(
        independent, ranges={name.name: (0.1, 0.45) for names in CHANCES.values() for name in names}
    ),
    "eq-gaussian-kl-diagonal": Claim(between_diagonals),
    "def-normal-vector": Claim(
        one_vector,
        equivalent={
            r"the arguments of \mathcal N(z; \mu, \Sigma) swap": "z and mu enter as a squared difference"
        },
    ),
    "eq-quadratic-form": Claim(one_vector),
    "eq-gaussian-kl-full": Claim(between_vectors, simplify=tidy),
    "eq-gaussian-kl": ENCODER_AND_PRIOR,
    "eq-gaussian-kl-gradient": Claim(one_latent),
    "eq-gaussian-kl-reverse": Claim(prior_and_encoder),
    "eq-gaussian-kl-log-variance": Claim(by_log_vars),
    "eq-tangent-gap": Claim(Reading({"v": log_var})),
}
