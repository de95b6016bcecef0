"""The linear VAE, which is probabilistic PCA and can be solved to the last digit. Book: page 9.

One letter means one thing here: W is the decoder, sigma the deviation of its noise, V the encoder and d its
variances, S the covariance of the data and lambda its eigenvalues.
"""

import functools
from collections.abc import Callable, Sequence

import sympy as sp

from vaelib.symbolic.claims import Claim, ClaimError, Point, is_zero
from vaelib.symbolic.gaussian_kl import integral_over_plane
from vaelib.symbolic.reading import Reading, Space, Value, normal

z = sp.Symbol("z", real=True)
sigma = sp.Symbol("sigma", positive=True)
level = sp.Symbol("a", positive=True)
eigenvalue = sp.Symbol("lambda", positive=True)
LINE = (-sp.oo, sp.oo)


# --- the model -------------------------------------------------------------------------------------------


def likelihood(x: sp.Matrix, latent: sp.Matrix, weight: sp.Matrix, deviation: Value = sigma) -> sp.Expr:
    r"""What the decoder says: independent normal noise around a linear map of the latent.

    .. math::

        p(x \mid z) = \prod_{d=1}^{D} \mathcal N\bigl(x_d; (W z)_d, \sigma^2\bigr)

    Parameters
    ----------
    x, latent : Matrix
        Columns with D and with J entries.
    weight : Matrix
        :math:`W`, with D rows and J columns.
    deviation : Expr
        :math:`\sigma`.
    """
    mean = weight * latent
    return sp.Mul(*(normal(a, m, deviation**2) for a, m in zip(x, mean, strict=True)))


def standard(latent: sp.Matrix) -> sp.Expr:
    r"""The prior, :math:`p(z) = \mathcal N(0, I)`."""
    return sp.Mul(*(normal(entry, sp.S.Zero, sp.S.One) for entry in latent))


def latents(count: int) -> sp.Matrix:
    """Return a column of that many latents."""
    return sp.Matrix(sp.symbols(f"z1:{count + 1}", real=True))


def integral(body: sp.Expr, variables: Sequence[sp.Symbol]) -> sp.Expr:
    """Integrate over the line, or over the plane, one variable after the other; nothing is solved yet."""
    for variable in variables:
        body = sp.Integral(body, (variable, *LINE))
    return body


def evidence_integral(x: sp.Matrix, weight: sp.Matrix, deviation: Value = sigma) -> sp.Expr:
    r"""The evidence by its definition.

    .. math::

        p(x) = \int p(x \mid z) \, p(z) \, dz

    References
    ----------
    Book: def-marginal.
    """
    latent = latents(weight.cols)
    return integral(likelihood(x, latent, weight, deviation) * standard(latent), list(latent))


def covariance(weight: sp.Matrix, deviation: Value = sigma) -> sp.Matrix:
    r"""The covariance that the model gives to the data, from the noise it is made of.

    .. math::

        \operatorname{Cov}[x_d, x_e] = \int \int x_d \, x_e \, p(z) \, p(\epsilon) \, dz \, d\epsilon,
        \qquad x = W z + \sigma \epsilon

    A product of independent standard normal numbers has the mean 1 if it is a square, else 0.

    References
    ----------
    Book: def-ppca-covariance.
    """
    noise = [*latents(weight.cols), *sp.symbols(f"e1:{weight.rows + 1}", real=True)]
    x = weight.row_join(deviation * sp.eye(weight.rows)) * sp.Matrix(noise)

    def mean(product: sp.Expr) -> sp.Expr:
        # Of a quadratic form: half of its second derivatives, where they are taken twice by one variable.
        return sp.Add(*(sp.diff(product, u, 2) / 2 for u in noise))

    return sp.Matrix(len(x), len(x), lambda i, k: sp.expand(mean(sp.expand(x[i] * x[k]))))


def log_evidence(x: sp.Matrix, weight: sp.Matrix, deviation: Value = sigma) -> sp.Expr:
    r"""The log-evidence of one image in closed form.

    .. math::

        \log p(x) = -\frac{1}{2} \bigl( D \log 2 \pi + \log |C| + x^\top C^{-1} x \bigr)

    References
    ----------
    Book: eq-ppca-evidence.
    """
    c = covariance(weight, deviation)
    return -(len(x) * sp.log(2 * sp.pi) + sp.log(c.det()) + (x.T * c.inv() * x)[0]) / 2


def posterior_precision(weight: sp.Matrix, deviation: Value = sigma) -> sp.Matrix:
    r"""How sharply the posterior bends: minus the second derivatives of its logarithm, in units of the noise.

    .. math::

        M = -\sigma^2 \, \nabla_z^2 \log p(x, z)

    References
    ----------
    Book: def-posterior-precision.
    """
    latent, x = latents(weight.cols), sp.Matrix(sp.symbols(f"x1:{weight.rows + 1}", real=True))
    joint = sp.expand_log(sp.log(likelihood(x, latent, weight, deviation) * standard(latent)), force=True)
    return (-(deviation**2) * sp.hessian(joint, list(latent))).applyfunc(sp.expand)


# --- the encoder -----------------------------------------------------------------------------------------


def encoder(latent: sp.Matrix, mean: sp.Matrix, variances: Sequence[sp.Expr]) -> sp.Expr:
    r"""The approximate posterior, :math:`q(z) = \prod_j \mathcal N(z_j; \mu_j, d_j)`."""
    return sp.Mul(*(normal(a, m, d) for a, m, d in zip(latent, mean, variances, strict=True)))


def elbo(
    x: sp.Matrix, weight: sp.Matrix, mean: sp.Matrix, variances: Sequence[sp.Expr], deviation: Value = sigma
) -> sp.Expr:
    r"""The evidence lower bound of one image, its integrals solved.

    .. math::

        \mathcal L(x) = \int q(z) \log \frac{p(x \mid z) \, p(z)}{q(z)} \, dz,
        \qquad q = \mathcal N(\mu, \operatorname{diag} d)

    References
    ----------
    Book: def-elbo.
    """

    def integrand(latent: sp.Matrix) -> sp.Expr:
        q = encoder(latent, mean, variances)
        return q * sp.log(likelihood(x, latent, weight, deviation) * standard(latent) / q)

    return integral_over_plane(integrand, mean, sp.diag(*map(sp.sqrt, variances)))


def best_encoder(weight: sp.Matrix, deviation: Value = sigma) -> tuple[sp.Matrix, list[sp.Expr]]:
    r"""The linear encoder that leaves the smallest gap: where the ELBO's derivatives vanish.

    .. math::

        \nabla_\mu \mathcal L(x) = 0, \qquad \frac{\partial \mathcal L(x)}{\partial d_j} = 0

    Returns
    -------
    tuple
        The matrix :math:`V` with :math:`\mu = V x`, and the variances :math:`d_j`.

    References
    ----------
    Book: eq-linear-encoder.
    """
    count = weight.cols
    x = sp.Matrix(sp.symbols(f"x1:{weight.rows + 1}", real=True))
    mean, variances = sp.symbols(f"mu1:{count + 1}", real=True), sp.symbols(f"d1:{count + 1}", positive=True)
    bound = sp.expand(elbo(x, weight, sp.Matrix(mean), variances, deviation))
    slope = sp.Matrix([sp.diff(bound, m) for m in mean])  # linear in the mean and in x
    rows = -slope.jacobian(mean).inv() * slope.jacobian(x)
    widths = [sp.solve(sp.diff(bound, d), d)[0] for d in variances]
    return rows.applyfunc(sp.factor), [sp.factor(width) for width in widths]


# --- the best decoder ------------------------------------------------------------------------------------


def best_weight(
    directions: sp.Matrix, eigenvalues: Sequence[sp.Expr], rotation: sp.Matrix, deviation: Value = sigma
) -> sp.Matrix:
    r"""The decoder of maximum likelihood, column by column.

    .. math::

        W^\star = \sum_{j=1}^{J} \sqrt{\lambda_j - \sigma^2} \; u_j r_j^\top

    Parameters
    ----------
    directions : Matrix
        :math:`u_j` as columns: the first J eigenvectors of the data's covariance.
    eigenvalues : sequence of Expr
        :math:`\lambda_j`, above :math:`\sigma^2`.
    rotation : Matrix
        :math:`r_j^\top` as rows: any rotation of the latents.

    References
    ----------
    Book: def-ppca-weight.
    """
    terms = [
        sp.sqrt(value - deviation**2) * directions[:, j] * rotation[j, :]
        for j, value in enumerate(eigenvalues)
    ]
    return sum(terms[1:], terms[0])


def turn(angle: Value) -> sp.Matrix:
    """Return the rotation of a plane by an angle."""
    return sp.Matrix([[sp.cos(angle), -sp.sin(angle)], [sp.sin(angle), sp.cos(angle)]])


def direction_evidence(level: Value = level, eigenvalue: Value = eigenvalue) -> sp.Expr:
    r"""What one direction adds to the mean log-evidence, if the decoder spends the squared length a on it.

    .. math::

        -\frac{1}{2} \left( \log 2 \pi + \log (a + \sigma^2) + \frac{\lambda}{a + \sigma^2} \right)

    References
    ----------
    Book: eq-water-level.
    """
    total = level + sigma**2
    return -(sp.log(2 * sp.pi) + sp.log(total) + eigenvalue / total) / 2


def best_variance(eigenvalues: Sequence[sp.Expr], latent_dim: int) -> sp.Expr:
    r"""The noise variance of maximum likelihood: where the evidence of the discarded directions is flat.

    .. math::

        \frac{\partial}{\partial v} \sum_{j=J+1}^{D} \left( \log v + \frac{\lambda_j}{v} \right) = 0

    References
    ----------
    Book: eq-best-variance.
    """
    v = sp.Symbol("v", positive=True)
    cost = sp.Add(*(sp.log(v) + value / v for value in eigenvalues[latent_dim:]))
    [best] = sp.solve(sp.diff(cost, v), v)
    return best


# --- how the page's equations are read and checked -------------------------------------------------------


def real(*names: str) -> list[sp.Symbol]:
    """Return real symbols with these names."""
    return [sp.Symbol(name, real=True) for name in names]


def tidy(expression: sp.Expr) -> sp.Expr:
    """Return a numerator that is zero if the expression is; what stands in logarithms is factored first."""
    apart = expression.replace(
        lambda e: isinstance(e, sp.log), lambda e: sp.expand_log(sp.log(sp.factor(e.args[0])), force=True)
    )
    return sp.expand(sp.numer(sp.together(apart)))


def second_moments(images: Sequence[sp.Matrix]) -> sp.Matrix:
    """Return the mean of x x^T over images."""
    return sum((x * x.T for x in images), sp.zeros(len(images[0]))) / len(images)


# Any three pixels and two latents.
weight_3_2 = sp.Matrix(3, 2, real("w11", "w12", "w21", "w22", "w31", "w32"))
three_by_two = Reading(
    {
        "W": weight_3_2, r"\sigma": sigma, "C": covariance(weight_3_2), "M": posterior_precision(weight_3_2),
        "I": sp.eye(3),
    }
)  # fmt: skip
two_latents = Reading({**three_by_two.names, "I": sp.eye(2)})

# Two pixels, one latent: integrals over a line.
column = sp.Matrix(real("w1", "w2"))
IMAGES = [sp.Matrix([1, sp.Rational(-1, 2)]), sp.Matrix([sp.Rational(1, 3), 2])]
one_latent = {
    "W": column, "N": sp.Integer(2), "D": sp.Integer(2), r"\sigma": sigma, "z": z,
    "C": covariance(column), "M": posterior_precision(column),
    "p(x|z)": lambda x, z: likelihood(x, sp.Matrix([z]), column),
    "p(z)": lambda z: normal(z, sp.S.Zero, sp.S.One),
    "p(x)": lambda x: evidence_integral(x, column),
}  # fmt: skip
on_images = Reading({**one_latent, "x": IMAGES, "S": second_moments(IMAGES)})
on_one_image = Reading(
    {
        **one_latent, "x": sp.Matrix(real("x1", "x2")),
        "p(z|x)": lambda z, x: likelihood(x, sp.Matrix([z]), column)
        * normal(z, sp.S.Zero, sp.S.One) / evidence_integral(x, column),
    }
)  # fmt: skip

# Three pixels, two latents: integrals over a plane. Numbers stand where symbols would only take time.
w1, w2, v1, v2 = real("w1", "w2", "v1", "v2")
half, third = sp.Rational(1, 2), sp.Rational(1, 3)
weight = sp.Matrix([[w1, half], [-third, w2], [1, -half]])
rows = sp.Matrix([[v1, -half, third], [third, v2, 1]])
variances = sp.symbols("d1:3", positive=True)


@functools.lru_cache(maxsize=1024)
def _over_plane(body: sp.Expr) -> sp.Expr:
    latent = latents(2)
    return integral_over_plane(
        lambda u: body.subs(dict(zip(latent, u, strict=True))), sp.zeros(2, 1), sp.eye(2)
    )


def over_plane(function: Callable[[sp.Matrix], Value]) -> Value:
    """Integrate over the plane, and only once what many mutants leave as it is."""
    return _over_plane(function(latents(2)))


decoder = {
    "W": weight, "D": sp.Integer(3), "J": sp.Integer(2), "N": sp.Integer(2), r"\sigma": sigma,
    "I": sp.eye(3), "M": posterior_precision(weight), "d": variances, "V": rows,
    "diag": lambda entries: sp.diag(*entries),
    "p(x|z)": lambda x, z: likelihood(x, z, weight), "p(z)": standard,
}  # fmt: skip
LARGER = [sp.Matrix([1, -half, 2]), sp.Matrix([third, 2, -1])]
any_encoder = Reading(
    {
        **decoder, "x": LARGER, "S": second_moments(LARGER),
        "q(z|x)": lambda z, x: encoder(z, rows * x, variances),
    },
    domains={"z": Space(latents(2), over_plane)},
)  # fmt: skip

# Two of these pixels are enough for the gap, whatever the guess.
small, image, guess = weight[:2, :], IMAGES[0], sp.Matrix(real("mu1", "mu2"))
evidence_of_image = sp.exp(log_evidence(image, small))
best_rows, best_widths = best_encoder(small)
decoder_of_two = {
    **decoder, "W": small, "w": [small[:, 0], small[:, 1]], "M": posterior_precision(small), "x": image,
    "V^*": best_rows, "d^*": best_widths, "j": sp.Integer(2),
}  # fmt: skip
any_guess = Reading(
    {
        **decoder_of_two,
        "q(z|x)": lambda z, x: encoder(z, guess, variances),
        "p(z|x)": lambda z, x: likelihood(x, z, small) * standard(z) / evidence_of_image,
    },
    domains={"z": Space(latents(2), over_plane)},
)  # fmt: skip
best_guess = Reading(decoder_of_two)


@functools.cache
def gap_is_bounded() -> sp.Expr:
    r"""Prove the bound: the gap exceeds it by squares and by terms :math:`t - 1 - \log t \ge 0`."""
    precision, latent = posterior_precision(small), latents(2)
    q = encoder(latent, guess, variances)
    posterior = likelihood(image, latent, small) * standard(latent) / evidence_of_image
    gap = _over_plane(q * sp.log(q / posterior))
    bound = sp.log(precision[0, 0] * precision[1, 1] / precision.det()) / 2
    off = guess - precision.inv() * small.T * image
    squares = (off.T * precision * off)[0] / (2 * sigma**2)
    ratios = [precision[j, j] * variances[j] / sigma**2 for j in range(2)]
    never_negative = squares + sum(t - 1 - sp.log(t) for t in ratios) / 2
    if not is_zero(gap - bound - never_negative, tidy):
        raise ClaimError("eq-diagonal-gap: the gap is not the bound and what cannot be negative")
    return never_negative


def at(value: sp.Expr) -> Callable[[Point], float]:
    """Return a value as a function of its symbols' names."""
    return lambda point: float(value.subs({symbol: point[symbol.name] for symbol in value.free_symbols}))


best_mean = best_rows * image
NO_GAP_BUT_THIS = {
    "mu1": at(best_mean[0]), "mu2": at(best_mean[1]), "d1": at(best_widths[0]), "d2": at(best_widths[1]),
}  # fmt: skip


# Five pixels, so that no two dimensions are alike; the two largest eigenvalues above the noise, eigenvectors
# and a rotation that are fractions.
l1, l2, *_ = eigenvalues = sp.symbols("lambda1:6", positive=True)
EIGENVECTORS = sp.eye(5) - sp.Rational(2, 5) * sp.ones(5, 5)  # a mirror: orthogonal, and of fractions
ROTATION = sp.Matrix([[3, -4], [4, 3]]) / 5
W_STAR = best_weight(EIGENVECTORS[:, :2], eigenvalues[:2], ROTATION)
at_best = Reading(
    {
        "W^*": W_STAR, "U_J": EIGENVECTORS[:, :2], r"\Lambda_J": sp.diag(l1, l2), "R": ROTATION,
        "I": sp.eye(2),
        "S": EIGENVECTORS * sp.diag(*eigenvalues) * EIGENVECTORS.T, r"\lambda": eigenvalues,
        "C": (W_STAR * W_STAR.T + sigma**2 * sp.eye(5)).applyfunc(sp.expand), r"\sigma": sigma,
        r"\sigma_\star": sp.sqrt(best_variance(eigenvalues, 2)), "D": sp.Integer(5), "J": sp.Integer(2),
    }
)  # fmt: skip
ABOVE = {
    "lambda1": (3.0, 4.0),
    "lambda2": (2.0, 2.9),
    "lambda3": (0.5, 0.9),
    "lambda4": (0.3, 0.4),
    "lambda5": (0.1, 0.2),
    "sigma": (0.5, 1.3),
}

gradient = Reading({"W": column, "C": covariance(column), "S": second_moments(IMAGES)})

one_direction = Reading({"a": level, r"\lambda": eigenvalue, r"\sigma": sigma})

# One unit of the best model: four images of two pixels, with the covariance that two directions give them.
DIRECTIONS = [sp.Matrix([3, 4]) / 5, sp.Matrix([-4, 3]) / 5]
SPREAD = [
    sign * sp.sqrt(2 * value) * u for value, u in zip((l1, l2), DIRECTIONS, strict=True) for sign in (1, -1)
]
length = sp.sqrt(sp.Max(l1 - sigma**2, 0))
COLUMN = length * DIRECTIONS[0]
one_unit = Reading(
    {
        "j": sp.Integer(1), "N": sp.Integer(4), "x": SPREAD, "u": DIRECTIONS, "w": [COLUMN], r"\sigma": sigma,
        r"\lambda": (l1, l2),
        "p(z)": lambda z: normal(z, sp.S.Zero, sp.S.One),
        "q(z|x)": lambda z, x: normal(
            z, (COLUMN.T * x)[0] / (length**2 + sigma**2), sigma**2 / (length**2 + sigma**2)
        ),
    }
)  # fmt: skip

angle = sp.Symbol("rho", real=True)
turned = best_weight(EIGENVECTORS[:, :2], (l1, l2), turn(angle))
rotated = Reading(
    {
        "w": [turned[:, 0], turned[:, 1]], "M": turned.T * turned + sigma**2 * sp.eye(2), "J": sp.Integer(2),
        r"\lambda": (l1, l2), r"\sigma": sigma, r"\rho": angle,
    }
)  # fmt: skip


def tidy_angle(expression: sp.Expr) -> sp.Expr:
    """Tidy with one sine for the angle: its double and its cosine are written with that."""
    single = sp.expand_trig(expression).subs(sp.cos(angle), sp.Symbol("c"))
    return tidy(sp.expand(single).subs(sp.Symbol("c"), sp.sqrt(1 - sp.sin(angle) ** 2)))


SWAP = r"the arguments of \mathcal N\bigl(z;\; M^{-1} W^\top x,\; \sigma^2 M^{-1}\bigr) swap"
CLAIMS = {
    "def-ppca-covariance": Claim(three_by_two),
    "eq-ppca-evidence": Claim(on_images),
    "def-posterior-precision": Claim(two_latents),
    "eq-ppca-posterior": Claim(
        on_one_image, equivalent={SWAP: "a normal density only asks how far its point is from its mean"}
    ),
    "eq-linear-terms": Claim(any_encoder),
    "eq-linear-encoder": Claim(best_guess),
    "eq-diagonal-gap": Claim(any_guess, tight=[NO_GAP_BUT_THIS], proof=gap_is_bounded),
    "eq-ppca-gradient": Claim(gradient),
    "def-ppca-weight": Claim(at_best, ranges=ABOVE),
    "eq-ppca-stationary": Claim(at_best, ranges=ABOVE),
    "eq-water-level": Claim(one_direction),
    # First a unit above the water, sigma^2, and below sigma; then one below sigma^2 and above sigma^3.
    "eq-water-filling": Claim(
        one_unit, method="quadrature", ranges={"lambda1": (0.5, 0.29, 0.9), "sigma": (0.58, 0.62)}
    ),
    "eq-rotation-gap": Claim(rotated, ranges=ABOVE, simplify=tidy_angle),
    "eq-ppca-profile": Claim(at_best, ranges=ABOVE, simplify=tidy),
    "eq-best-variance": Claim(at_best),
}
