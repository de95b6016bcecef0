"""The divergences against oracles that share no code: SymPy, mpmath, torch.distributions, SciPy, draws."""

import math
from collections.abc import Callable
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.special
import sympy
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mpmath import mpf
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, MultivariateNormal, Normal, Uniform, kl_divergence

from vaelib.divergences import (
    Estimate,
    bernoulli_kl,
    categorical_kl,
    diagonal_gaussian_kl,
    diagonal_gaussian_wasserstein2,
    estimate_jensen_shannon,
    estimate_kl,
    estimate_total_variation,
    full_gaussian_kl,
    full_gaussian_wasserstein2,
    gaussian_kl,
    gaussian_total_variation,
    jensen_shannon,
    kl_by_quadrature,
    quadrature,
    reverse_gaussian_kl,
    total_variation_by_quadrature,
    uniform_total_variation,
)

# Every float32 number is an mpmath number: both sides of a comparison start from the same parameters.
means = st.floats(-10, 10, width=32)
log_vars = st.floats(-40, 40, width=32)
log_vars_to_prior = st.floats(-50, 50, width=32)
seeds = st.integers(0, 2**31)
EPS32, EPS64 = (torch.finfo(dtype).eps for dtype in (torch.float32, torch.float64))


def rows(
    *strategies: st.SearchStrategy[float], max_size: int = 8
) -> st.SearchStrategy[list[tuple[float, ...]]]:
    """One tuple of parameters for each of up to ``max_size`` dimensions."""
    return st.lists(st.tuples(*strategies), min_size=1, max_size=max_size)


def columns(parameters: list[tuple[float, ...]], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return list(torch.tensor(parameters, dtype=torch.float64).to(dtype).unbind(-1))


def as_batch(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def between(low: float, high: float, *shape: int, seed: int) -> Tensor:
    """Draw numbers of which every fifth lies at an end of the range, in float64."""
    generator = seeded(seed)
    u = torch.rand(shape, generator=generator, dtype=torch.float64)
    ends = torch.rand(shape, generator=generator) < 0.2
    return low + (high - low) * torch.where(ends, u.round(), u)


def value_and_gradients(function: Callable[..., Tensor], *arguments: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Evaluate, differentiate the sum, and hold everything to be finite."""
    leaves = [argument.clone().requires_grad_() for argument in arguments]
    value = function(*leaves)
    value.sum().backward()
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    assert len(gradients) == len(leaves)
    assert all(tensor.isfinite().all() for tensor in (value, *gradients))
    return value.detach(), gradients


def assert_near(ours: Tensor, exact: list[mpf], tolerance: float, scale: list[mpf] | None = None) -> None:
    """Compare element by element, relative to ``scale``, which is the exact value unless given."""
    for our, true, size in zip(ours.flatten().tolist(), exact, scale or exact, strict=True):
        # 1e-36 is where float32 ends.
        assert abs(our - true) <= tolerance * abs(size) + 1e-36, (our, true)


# --- To the standard normal distribution ----------------------------------------------------------------
def test_kl_is_the_integral_that_defines_it() -> None:
    z, m = sympy.symbols("z m", real=True)
    s = sympy.symbols("s", positive=True)
    q = sympy.exp(-((z - m) ** 2) / (2 * s**2)) / sympy.sqrt(2 * sympy.pi * s**2)
    log_ratio = -((z - m) ** 2) / (2 * s**2) - sympy.log(s) + z**2 / 2
    integral = sympy.integrate(sympy.expand(q * log_ratio), (z, -sympy.oo, sympy.oo))
    at = {m: sympy.Rational(3, 4), s: sympy.Rational(2, 5)}
    ours = gaussian_kl(as_batch(0.75), as_batch(2 * math.log(0.4))).item()
    # One rounding of float64 in the last of a few operations of size 1.
    assert ours == pytest.approx(float(integral.subs(at).evalf(30)), abs=1e-14)


@pytest.mark.parametrize(("m", "lv"), [(0.0, 0.0), (1.5, -3.0), (-2.0, 1.0), (0.1, 0.01), (0.0, -6.0)])
def test_kl_matches_quadrature(m: float, lv: float) -> None:
    with mpmath.workdps(30):
        mean, sigma = mpf(m), mpmath.exp(mpf(lv) / 2)

        def integrand(z: mpf) -> mpf:
            q = mpmath.npdf(z, mean, sigma)
            return q * (mpmath.log(q) - mpmath.log(mpmath.npdf(z, 0, 1)))

        # 12 deviations leave out less than 1e-30 of q.
        expected = mpmath.quad(integrand, [mean + k * sigma for k in (-12, -6, -3, 0, 3, 6, 12)])
    assert gaussian_kl(as_batch(m), as_batch(lv)).item() == pytest.approx(float(expected), abs=1e-13)


@given(st.lists(st.tuples(means, log_vars), min_size=1, max_size=20))
def test_kl_matches_torch_distributions(parameters: list[tuple[float, float]]) -> None:
    mean = as_batch(*(m for m, _ in parameters))
    log_var = as_batch(*(v for _, v in parameters))
    expected = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(torch.zeros(()), 1.0)).sum(-1)
    # Both sum up to 20 terms of up to e^20/2 in float64.
    torch.testing.assert_close(gaussian_kl(mean, log_var), expected, rtol=1e-12, atol=1e-12)


def test_kl_matches_the_mean_log_ratio_of_draws() -> None:
    generator = torch.Generator().manual_seed(7)
    mean, log_var = as_batch(1.0, -0.5), as_batch(-1.0, 0.7)
    q, p = Normal(mean, (log_var / 2).exp()), Normal(torch.zeros(()), 1.0)
    z = mean + (log_var / 2).exp() * torch.randn(200_000, 2, generator=generator, dtype=torch.float64)
    ratios = (q.log_prob(z) - p.log_prob(z)).sum(-1)
    z_score = (ratios.mean() - gaussian_kl(mean, log_var)) / (ratios.std() / math.sqrt(len(ratios)))
    # A right formula fails this once in 15,000 seeds; the seed is fixed.
    assert abs(z_score.item()) < 4


@given(st.lists(st.tuples(means, log_vars), min_size=1, max_size=8))
def test_kl_is_never_negative_and_zero_only_at_the_prior(parameters: list[tuple[float, float]]) -> None:
    kl = gaussian_kl(as_batch(*(m for m, _ in parameters)), as_batch(*(v for _, v in parameters))).item()
    assert kl >= 0
    # Below 1e-7 a square or expm1(v) - v underflows to the rounding of the larger term.
    if any(abs(m) > 1e-7 or abs(v) > 1e-7 for m, v in parameters):
        assert kl > 0
    assert gaussian_kl(torch.zeros(1, 3), torch.zeros(1, 3)).item() == 0


@pytest.mark.parametrize("log_var", [1e-3, -1e-3, 3e-4, -3e-4])
def test_kl_keeps_its_size_near_the_prior_in_float32(log_var: float) -> None:
    with mpmath.workdps(40):
        exact = float((mpmath.expm1(log_var) - mpf(log_var)) / 2)
    ours = gaussian_kl(torch.zeros(1, 1), torch.tensor([[log_var]])).item()
    # expm1(v) - v = v^2/2 from terms of size v: a relative error of about 2 eps / v, 8e-4 at v = 3e-4.
    # exp(v) - 1 - v would be off by eps / v^2, more than 0.5 here.
    assert ours == pytest.approx(exact, rel=2e-3)


@given(means, log_vars)
def test_kl_gradient_is_mean_and_half_expm1(m: float, lv: float) -> None:
    mean, log_var = as_batch(m).requires_grad_(), as_batch(lv).requires_grad_()
    gaussian_kl(mean, log_var).sum().backward()
    assert mean.grad is not None
    assert log_var.grad is not None
    assert mean.grad.item() == pytest.approx(m, rel=1e-14)
    # The gradient is formed as exp(v)/2 - 1/2, so its absolute error is that of exp(v).
    assert log_var.grad.item() == pytest.approx(math.expm1(lv) / 2, rel=1e-13, abs=1e-15)


def test_kl_adds_over_latents_and_keeps_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_var = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64).unbind(0)
    alone = [gaussian_kl(mean[:, [j]], log_var[:, [j]]) for j in range(3)]
    kl = gaussian_kl(mean, log_var)
    assert kl.shape == (5,)
    torch.testing.assert_close(kl, torch.stack(alone).sum(0))


@given(rows(means, log_vars_to_prior))
def test_kl_to_the_prior_holds_in_float32_up_to_log_variances_of_50(
    parameters: list[tuple[float, ...]],
) -> None:
    kl, (by_mean, by_log_var) = value_and_gradients(gaussian_kl, *columns(parameters))
    with mpmath.workdps(60):
        exact = sum((mpf(m) ** 2 + mpmath.exp(v) - 1 - mpf(v)) / 2 for m, v in parameters)
        # A few roundings of terms that are at most 3 times the result, save where all |v| are below 1: there
        # they are of size v, and the error is that of expm1(v), 1e-7.
        assert_near(kl, [exact], 2e-6, [exact + mpf(0.1)])
        assert_near(by_mean, [mpf(m) for m, _ in parameters], EPS32)
        assert_near(
            by_log_var,
            [mpmath.expm1(v) / 2 for _, v in parameters],
            4 * EPS32,
            [mpmath.exp(v) + 1 for _, v in parameters],
        )


@given(st.integers(9, 100), seeds)
def test_kl_to_the_prior_matches_torch_distributions_in_many_dimensions(dim: int, seed: int) -> None:
    mean, log_var = between(-10, 10, 3, dim, seed=seed), between(-50, 50, 3, dim, seed=seed + 1)
    kl, _ = value_and_gradients(gaussian_kl, mean, log_var)
    expected = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(torch.zeros(()), 1.0)).sum(-1)
    # exp(v) of v = 50, once from v and once from v / 2: 50 roundings of v.
    torch.testing.assert_close(kl, expected, rtol=1e-13, atol=0)


@given(rows(means, log_vars_to_prior))
def test_reverse_kl_matches_mpmath_in_float32(parameters: list[tuple[float, ...]]) -> None:
    kl, (by_mean, by_log_var) = value_and_gradients(reverse_gaussian_kl, *columns(parameters))
    with mpmath.workdps(60):
        precision = [mpmath.exp(-mpf(v)) for _, v in parameters]
        exact = sum(
            ((1 + mpf(m) ** 2) * w - 1 + v) / 2 for (m, v), w in zip(parameters, precision, strict=True)
        )
        # exp(v / 2), squared, multiplies the rounding of v / 2 by up to 50.
        assert_near(kl, [exact], 50 * EPS32)
        assert_near(by_mean, [m * w for (m, _), w in zip(parameters, precision, strict=True)], 50 * EPS32)
        largest = [(1 + mpf(m) ** 2) * w + 1 for (m, _), w in zip(parameters, precision, strict=True)]
        slope = [(1 - (1 + mpf(m) ** 2) * w) / 2 for (m, _), w in zip(parameters, precision, strict=True)]
        assert_near(by_log_var, slope, 50 * EPS32, largest)


@given(st.integers(9, 100), seeds)
def test_reverse_kl_matches_torch_distributions_in_many_dimensions(dim: int, seed: int) -> None:
    mean, log_var = between(-10, 10, 3, dim, seed=seed), between(-50, 50, 3, dim, seed=seed + 1)
    kl, _ = value_and_gradients(reverse_gaussian_kl, mean, log_var)
    expected = kl_divergence(Normal(torch.zeros(()), 1.0), Normal(mean, (log_var / 2).exp())).sum(-1)
    torch.testing.assert_close(kl, expected, rtol=1e-13, atol=0)


# --- Between diagonal normal distributions --------------------------------------------------------------


@given(rows(means, log_vars, means, log_vars))
def test_diagonal_kl_matches_mpmath_in_float32(parameters: list[tuple[float, ...]]) -> None:
    kl, gradients = value_and_gradients(diagonal_gaussian_kl, *columns(parameters))
    exact, scale = mpf(0), []
    slopes: list[list[mpf]] = [[], [], [], []]
    with mpmath.workdps(60):
        for mean_q, log_var_q, mean_p, log_var_p in parameters:
            precision = mpmath.exp(-mpf(log_var_p))
            ratio = mpmath.exp(log_var_q) * precision
            shift = mpf(mean_q) - mean_p
            exact += (ratio - 1 - mpf(log_var_q) + log_var_p + shift**2 * precision) / 2
            for slope, value in zip(
                slopes,
                (
                    shift * precision,
                    (ratio - 1) / 2,
                    -shift * precision,
                    (1 - ratio - shift**2 * precision) / 2,
                ),
                strict=True,
            ):
                slope.append(value)
            scale.append(ratio + 1 + shift**2 * precision)
        # The difference of two log-variances of 40 is rounded by 40 eps, and exp multiplies by e that much.
        # Nothing absolute is allowed for: no term is negative, and none cancels.
        assert_near(kl, [exact], 80 * EPS32)
        for gradient, slope, sizes in zip(gradients, slopes, [None, scale, None, scale], strict=True):
            assert_near(gradient, slope, 80 * EPS32, sizes)


@given(st.integers(9, 100), seeds)
def test_diagonal_kl_matches_torch_distributions_in_many_dimensions(dim: int, seed: int) -> None:
    mean_q, mean_p = between(-10, 10, 2, 3, dim, seed=seed)
    log_var_q, log_var_p = between(-40, 40, 2, 3, dim, seed=seed + 1)
    kl, _ = value_and_gradients(diagonal_gaussian_kl, mean_q, log_var_q, mean_p, log_var_p)
    q, p = Normal(mean_q, (log_var_q / 2).exp()), Normal(mean_p, (log_var_p / 2).exp())
    # As in float32 above; the oracle loses as much.
    torch.testing.assert_close(kl, kl_divergence(q, p).sum(-1), rtol=200 * EPS64, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(
    mean=means,
    log_var=log_vars,
    shift=st.floats(2**-22, 2**-3),
    stretch=st.floats(2**-22, 2**-3),
    sign=st.sampled_from([-1, 1]),
)
@example(mean=0.0, log_var=0.0, shift=2**-22, stretch=0.1249, sign=1)  # where the series is at its worst
def test_diagonal_kl_of_nearly_equal_distributions_keeps_its_digits(
    dtype: torch.dtype, mean: float, log_var: float, shift: float, stretch: float, sign: int
) -> None:
    # The shift in deviations. A naive ratio - 1 - log(ratio) would be off by eps / stretch^2, up to 10^5.
    deviation = math.exp(log_var / 2)
    parameters = columns([(mean, log_var, mean + sign * shift * deviation, log_var - sign * stretch)], dtype)
    kl, _ = value_and_gradients(diagonal_gaussian_kl, *parameters)
    mean_q, log_var_q, mean_p, log_var_p = (mpf(tensor.item()) for tensor in parameters)
    with mpmath.workdps(60):
        d = log_var_q - log_var_p
        exact = (mpmath.expm1(d) - d + (mean_q - mean_p) ** 2 * mpmath.exp(-log_var_p)) / 2
        # Differences of neighbours are exact. What remains is the rounding of exp(-v / 2), squared, and of
        # exp(d) - 1 - d at d = 1 / 8, where the terms are 16 times their difference.
        assert_near(kl, [exact], (20 + abs(log_var)) * torch.finfo(dtype).eps)


@given(rows(means, log_vars))
def test_kl_of_a_distribution_to_itself_is_zero_and_so_is_its_gradient(
    parameters: list[tuple[float, ...]],
) -> None:
    mean, log_var = columns(parameters)
    kl, gradients = value_and_gradients(diagonal_gaussian_kl, mean, log_var, mean, log_var)
    assert kl.item() == 0
    assert not any(gradient.any() for gradient in gradients)


def test_diagonal_kl_is_the_integral_that_defines_it() -> None:
    with mpmath.workdps(30):
        mean_q, sigma_q, mean_p, sigma_p = mpf(1), mpf("0.3"), mpf("-0.5"), mpf(2)

        def integrand(z: mpf) -> mpf:
            q = mpmath.npdf(z, mean_q, sigma_q)
            return q * mpmath.log(q / mpmath.npdf(z, mean_p, sigma_p))

        # 12 deviations leave out less than 1e-30 of q.
        expected = mpmath.quad(integrand, [mean_q + k * sigma_q for k in (-12, -6, -3, 0, 3, 6, 12)])
    ours = diagonal_gaussian_kl(
        as_batch(1.0), as_batch(2 * math.log(0.3)), as_batch(-0.5), as_batch(2 * math.log(2))
    )
    assert ours.item() == pytest.approx(float(expected), rel=1e-14, abs=0)


def test_one_p_may_be_compared_with_many_q() -> None:
    mean, log_var = torch.randn(2, 5, 3, generator=seeded(0), dtype=torch.float64).unbind(0)
    zero = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(diagonal_gaussian_kl(mean, log_var, zero, zero), gaussian_kl(mean, log_var))
    torch.testing.assert_close(
        diagonal_gaussian_kl(zero, zero, mean, log_var), reverse_gaussian_kl(mean, log_var)
    )


# --- Full covariances -----------------------------------------------------------------------------------


def covariance(dim: int, condition: float, dtype: torch.dtype, seed: int) -> Tensor:
    """Draw a covariance in random axes; its eigenvalues reach from condition^-1/2 to condition^1/2."""
    generator = seeded(seed)
    axes, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    exponents = torch.rand(dim, generator=generator, dtype=torch.float64) - 0.5
    exponents[0], exponents[-1] = -0.5, 0.5
    drawn = ((axes * condition**exponents) @ axes.T).to(dtype)
    return (drawn + drawn.T) / 2


PRECISIONS = pytest.mark.parametrize(
    ("dtype", "condition"),
    [(torch.float32, 1.0), (torch.float32, 1e4), (torch.float64, 1e4), (torch.float64, 1e10)],
    ids=lambda value: str(value),
)


def full_parameters(dim: int, condition: float, dtype: torch.dtype, seed: int) -> list[Tensor]:
    mean_q, mean_p = between(-3, 3, 2, dim, seed=seed).to(dtype)
    covariances = [covariance(dim, condition, dtype, seed + k) for k in (1, 2)]
    return [mean_q, covariances[0], mean_p, covariances[1]]


def exactly(tensor: Tensor) -> mpmath.matrix:
    return mpmath.matrix(tensor.double().tolist())


def entries(matrix: mpmath.matrix) -> list[mpf]:
    return list(matrix)


@PRECISIONS
@settings(max_examples=25)
@given(dim=st.integers(1, 8), seed=seeds)
def test_full_kl_and_its_gradient_match_mpmath(
    dtype: torch.dtype, condition: float, dim: int, seed: int
) -> None:
    parameters = full_parameters(dim, condition, dtype, seed)
    kl, (by_mean_q, by_covariance_q, by_mean_p, by_covariance_p) = value_and_gradients(
        full_gaussian_kl, *parameters
    )
    with mpmath.workdps(60):
        mean_q, cov_q, mean_p, cov_p = (exactly(tensor) for tensor in parameters)
        shift, inverse_q, inverse_p = mean_q - mean_p, cov_q**-1, cov_p**-1
        product = inverse_p * cov_q
        trace = sum(product[j, j] for j in range(dim))
        log_determinants = mpmath.log(mpmath.det(cov_p) / mpmath.det(cov_q))
        exact = (trace - dim + log_determinants + (shift.T * inverse_p * shift)[0]) / 2
        # To round a covariance by eps is to move its smallest eigenvalue by eps times its largest, that is
        # by eps * condition of itself, and the KL with it. No algorithm that is given rounded matrices can
        # do better; this one stays below 0.4 of that unit, its gradients below 0.8.
        unit = torch.finfo(dtype).eps * condition + 10 * torch.finfo(dtype).eps
        assert_near(kl, [exact], 2 * unit, [exact + dim])
        by_mean = inverse_p * shift
        for gradient, sign in ((by_mean_q, 1), (by_mean_p, -1)):
            assert_near(gradient, entries(sign * by_mean), 4 * unit, [mpmath.norm(by_mean)] * dim)
        slope_q = (inverse_p - inverse_q) / 2
        slope_p = (inverse_p - inverse_p * cov_q * inverse_p - by_mean * by_mean.T) / 2
        for gradient, slope in ((by_covariance_q, slope_q), (by_covariance_p, slope_p)):
            size = mpmath.mnorm(inverse_p, "f") + mpmath.mnorm(inverse_q, "f") + mpmath.mnorm(slope, "f")
            assert_near(gradient, entries(slope), 4 * unit, [size] * dim**2)


@PRECISIONS
@settings(max_examples=25)
@given(dim=st.integers(9, 100), seed=seeds)
def test_full_kl_matches_scipy_and_torch_distributions_in_many_dimensions(
    dtype: torch.dtype, condition: float, dim: int, seed: int
) -> None:
    parameters = full_parameters(dim, condition, dtype, seed)
    kl, _ = value_and_gradients(full_gaussian_kl, *parameters)
    mean_q, cov_q, mean_p, cov_p = (tensor.double().numpy() for tensor in parameters)
    shift = mean_q - mean_p
    trace = np.trace(scipy.linalg.solve(cov_p, cov_q))
    log_determinants = np.linalg.slogdet(cov_p)[1] - np.linalg.slogdet(cov_q)[1]
    expected = trace - dim + log_determinants + shift @ scipy.linalg.solve(cov_p, shift)
    # Units as above, for both sides.
    tolerance = 4 * torch.finfo(dtype).eps * condition + 100 * torch.finfo(dtype).eps
    assert kl.item() == pytest.approx(expected / 2, rel=tolerance, abs=tolerance * dim)
    oracle = kl_divergence(
        *(MultivariateNormal(m.double(), c.double()) for m, c in (parameters[:2], parameters[2:]))
    )
    assert kl.item() == pytest.approx(oracle.item(), rel=tolerance, abs=tolerance * dim)


@given(st.integers(1, 20), seeds)
def test_full_kl_of_nearly_equal_distributions_keeps_its_digits(dim: int, seed: int) -> None:
    cov = covariance(dim, 10.0, torch.float64, seed)
    mean = torch.zeros(dim, dtype=torch.float64)
    d = 2.0**-20
    exact = dim * (d - math.log1p(d)) / 2  # about dim d^2 / 4, 2e-13
    # Twice the rounding of the matrices, 10 eps, against d. A trace minus dim minus a log-determinant would
    # be off by eps against d^2, and often negative.
    kl = full_gaussian_kl(mean, cov * (1 + d), mean, cov).item()
    assert kl == pytest.approx(exact, rel=1e-7, abs=0)


@given(rows(means, st.floats(-9, 9), means, st.floats(-9, 9)))
def test_full_divergences_of_diagonal_covariances_are_the_diagonal_ones(
    parameters: list[tuple[float, ...]],
) -> None:
    mean_q, log_var_q, mean_p, log_var_p = columns(parameters, torch.float64)
    full = mean_q, log_var_q.exp().diag(), mean_p, log_var_p.exp().diag()
    diagonal = mean_q, log_var_q, mean_p, log_var_p
    torch.testing.assert_close(
        full_gaussian_kl(*full), diagonal_gaussian_kl(*diagonal), rtol=1e-13, atol=1e-13
    )
    torch.testing.assert_close(
        full_gaussian_wasserstein2(*full), diagonal_gaussian_wasserstein2(*diagonal), rtol=1e-13, atol=1e-11
    )


@pytest.mark.parametrize("function", [full_gaussian_kl, full_gaussian_wasserstein2])
def test_full_divergences_of_a_batch_are_those_of_its_members(function: Callable[..., Tensor]) -> None:
    batch = [full_parameters(3, 10.0, torch.float64, seed) for seed in (0, 10, 20)]
    mean_q, cov_q = (torch.stack([member[k] for member in batch]) for k in (0, 1))
    mean_p, cov_p = batch[0][2:]
    together = function(mean_q, cov_q, mean_p, cov_p)
    alone = [function(member[0], member[1], mean_p, cov_p) for member in batch]
    assert together.shape == (3,)
    torch.testing.assert_close(together, torch.stack(alone))
    assert function(mean_q[:0], cov_q[:0], mean_p, cov_p).shape == (0,)


@pytest.mark.parametrize("function", [full_gaussian_kl, full_gaussian_wasserstein2])
def test_a_matrix_that_is_no_covariance_is_named(function: Callable[..., Tensor]) -> None:
    mean, good = torch.zeros(2, 2), torch.eye(2).expand(2, 2, 2)
    flat, tilted = good.clone(), good.clone()
    flat[1, 0, 0] = 0
    tilted[1, 0, 1] = 0.1
    for wrong, said in ((flat, "is not positive definite"), (tilted, "is not symmetric")):
        with pytest.raises(ValueError, match=rf"covariance_q\[1\] {said}"):
            function(mean, wrong, mean, good)
        with pytest.raises(ValueError, match=rf"covariance_p\[1\] {said}"):
            function(mean, good, mean, wrong)
        with pytest.raises(ValueError, match=f"covariance_p {said}"):
            function(mean[0], good[0], mean[0], wrong[1])
    with pytest.raises(ValueError, match=r"covariance_p has shape \(2, 3, 3\): means of 2 elements"):
        function(mean, good, mean, torch.eye(3).expand(2, 3, 3))
    with pytest.raises(ValueError, match="mean_q has 2 elements, mean_p has 3"):
        function(mean, good, torch.zeros(3), good)
    with pytest.raises(ValueError, match="covariance_q is not positive definite"):
        function(mean[0], torch.full((2, 2), math.nan), mean[0], good[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_asymmetry_of_rounding_is_forgiven(dtype: torch.dtype) -> None:
    cov = covariance(3, 10.0, dtype, 0)
    rounded = cov.clone()
    rounded[0, 2] += 8 * torch.finfo(dtype).eps
    mean = torch.zeros(3, dtype=dtype)
    assert not torch.equal(rounded, rounded.mT)
    for function in (full_gaussian_kl, full_gaussian_wasserstein2):
        assert function(mean, rounded, mean, cov).item() == pytest.approx(0, abs=1e-6)


# --- Wasserstein ----------------------------------------------------------------------------------------


@given(rows(means, log_vars, means, log_vars))
def test_diagonal_wasserstein2_matches_mpmath_in_float32(parameters: list[tuple[float, ...]]) -> None:
    distance, gradients = value_and_gradients(diagonal_gaussian_wasserstein2, *columns(parameters))
    exact = mpf(0)
    slopes: list[list[mpf]] = [[], [], [], []]
    sizes: list[mpf] = []
    with mpmath.workdps(60):
        for mean_q, log_var_q, mean_p, log_var_p in parameters:
            sigma_q, sigma_p = mpmath.exp(mpf(log_var_q) / 2), mpmath.exp(mpf(log_var_p) / 2)
            shift, spread = mpf(mean_q) - mean_p, sigma_q - sigma_p
            exact += shift**2 + spread**2
            for slope, value in zip(
                slopes, (2 * shift, spread * sigma_q, -2 * shift, -spread * sigma_p), strict=True
            ):
                slope.append(value)
            sizes.append(abs(spread) * (sigma_q + sigma_p))
        # Two exponentials of a quarter of 80, each times a rounding of that much, and squared.
        assert_near(distance, [exact], 80 * EPS32)
        for gradient, slope, size in zip(gradients, slopes, [None, sizes, None, sizes], strict=True):
            assert_near(gradient, slope, 80 * EPS32, size)


def test_diagonal_wasserstein2_is_the_integral_over_quantiles_that_defines_it() -> None:
    # On the line the best plan moves quantile to quantile.
    def squared_distance(u: float) -> float:
        quantile = scipy.special.ndtri(u)
        return float((1 + 0.3 * quantile - (-0.5 + 2 * quantile)) ** 2)

    expected, _ = scipy.integrate.quad(squared_distance, 0, 1, epsabs=1e-10)
    ours = diagonal_gaussian_wasserstein2(
        as_batch(1.0), as_batch(2 * math.log(0.3)), as_batch(-0.5), as_batch(2 * math.log(2))
    )
    assert ours.item() == pytest.approx(expected, rel=1e-8)


def square_root(matrix: mpmath.matrix) -> mpmath.matrix:
    eigenvalues, axes = mpmath.eigsy(matrix)
    return axes * mpmath.diag([mpmath.sqrt(value) for value in eigenvalues]) * axes.T


@PRECISIONS
@settings(max_examples=15)
@given(dim=st.integers(1, 8), seed=seeds)
def test_full_wasserstein2_and_its_gradient_match_mpmath(
    dtype: torch.dtype, condition: float, dim: int, seed: int
) -> None:
    parameters = full_parameters(dim, condition, dtype, seed)
    distance, (by_mean_q, by_covariance_q, by_mean_p, by_covariance_p) = value_and_gradients(
        full_gaussian_wasserstein2, *parameters
    )
    with mpmath.workdps(40):
        mean_q, cov_q, mean_p, cov_p = (exactly(tensor) for tensor in parameters)
        root_p = square_root(cov_p)
        middle = square_root(root_p * cov_q * root_p)
        trace = sum(cov_q[j, j] + cov_p[j, j] - 2 * middle[j, j] for j in range(dim))
        shift = mean_q - mean_p
        exact = trace + (shift.T * shift)[0]
        # The map that carries q to p, and the one that carries p to q: the gradient is I minus the map.
        forth = root_p * middle**-1 * root_p
        back = forth**-1
        # The slope of the square root is what a rounding of the covariance meets: sqrt(condition).
        unit = torch.finfo(dtype).eps * (math.sqrt(condition) + 10)
        size = sum(cov_q[j, j] + cov_p[j, j] for j in range(dim))
        assert_near(distance, [exact], unit, [exact + size])
        for gradient, sign in ((by_mean_q, 2), (by_mean_p, -2)):
            assert_near(gradient, entries(sign * shift), torch.finfo(dtype).eps)
        for gradient, carry in ((by_covariance_q, forth), (by_covariance_p, back)):
            slope = mpmath.eye(dim) - carry
            loss = torch.finfo(dtype).eps * condition + 10 * torch.finfo(dtype).eps
            assert_near(gradient, entries(slope), 4 * loss, [mpmath.mnorm(carry, "f") + 1] * dim**2)


@PRECISIONS
@settings(max_examples=15)
@given(dim=st.integers(9, 100), seed=seeds)
def test_full_wasserstein2_matches_matrix_square_roots_in_many_dimensions(
    dtype: torch.dtype, condition: float, dim: int, seed: int
) -> None:
    parameters = full_parameters(dim, condition, dtype, seed)
    distance, _ = value_and_gradients(full_gaussian_wasserstein2, *parameters)
    mean_q, cov_q, mean_p, cov_p = (tensor.double().numpy() for tensor in parameters)
    # The eigenvalues of cov_q cov_p are those of the symmetric product, and need no square root of a matrix.
    eigenvalues = scipy.linalg.eigvals(cov_q @ cov_p).real.clip(min=0)
    size = np.trace(cov_q) + np.trace(cov_p)
    expected = size - 2 * np.sqrt(eigenvalues).sum() + ((mean_q - mean_p) ** 2).sum()
    # The oracle loses half of its digits at eigenvalues that are small beside condition.
    tolerance = torch.finfo(dtype).eps * (math.sqrt(condition) + 10) + math.sqrt(EPS64)
    assert distance.item() == pytest.approx(expected, abs=tolerance * size)


@given(st.integers(1, 8), seeds)
def test_full_wasserstein2_keeps_its_digits_and_its_gradient_near_equality(dim: int, seed: int) -> None:
    cov = covariance(dim, 10.0, torch.float64, seed)
    mean = torch.zeros(dim, dtype=torch.float64)
    d = 2.0**-20
    distance, (_, by_covariance_q, _, _) = value_and_gradients(
        full_gaussian_wasserstein2, mean, cov * (1 + d) ** 2, mean, cov
    )
    # The root of the covariance grows by the factor 1 + d. tr(A + B - 2 sqrt(AB)) would be off by eps / d^2.
    assert distance.item() == pytest.approx(d**2 * cov.trace().item(), rel=1e-7, abs=0)
    expected = torch.eye(dim, dtype=torch.float64) * (1 - 1 / (1 + d))
    torch.testing.assert_close(by_covariance_q, expected, rtol=0, atol=1e-13)
    distance, gradients = value_and_gradients(full_gaussian_wasserstein2, mean, cov, mean, cov)
    assert 0 <= distance.item() < 1e-26  # the rounding of the factors, squared
    assert all(gradient.abs().max() < 1e-13 for gradient in gradients)


@pytest.mark.parametrize("function", [full_gaussian_kl, full_gaussian_wasserstein2])
def test_equal_eigenvalues_do_no_harm_to_the_gradient(function: Callable[..., Tensor]) -> None:
    # The derivative of an eigenvector divides by the difference of eigenvalues, here 0.
    identity = torch.eye(4, dtype=torch.float64)
    zero = torch.zeros(4, dtype=torch.float64)
    _, (_, by_q, _, by_p) = value_and_gradients(function, zero, 4 * identity, zero, identity)
    slopes = {full_gaussian_kl: (3 / 8, -3 / 2), full_gaussian_wasserstein2: (1 / 2, -1)}[function]
    torch.testing.assert_close(by_q, slopes[0] * identity)
    torch.testing.assert_close(by_p, slopes[1] * identity)


# --- Coins and dice -------------------------------------------------------------------------------------

logits = st.floats(-60, 60, width=32)


@given(rows(logits, logits))
def test_bernoulli_kl_matches_mpmath_in_float32(parameters: list[tuple[float, ...]]) -> None:
    kl, (by_q, by_p) = value_and_gradients(bernoulli_kl, *columns(parameters))
    exact, slopes_q, slopes_p, sizes_q, sizes_p = mpf(0), [], [], [], []
    with mpmath.workdps(80):
        for logit_q, logit_p in parameters:
            one_q, one_p = (1 / (1 + mpmath.exp(-mpf(logit))) for logit in (logit_q, logit_p))
            zero_q, zero_p = 1 - one_q, 1 - one_p
            exact += one_q * mpmath.log(one_q / one_p) + zero_q * mpmath.log(zero_q / zero_p)
            slopes_q.append(one_q * zero_q * (mpf(logit_q) - logit_p))
            slopes_p.append(one_p - one_q)
            sizes_q.append(one_q * zero_q * (abs(logit_q) + abs(logit_p) + 1))
            sizes_p.append(one_q + one_p)
        # Logarithms of probabilities down to e^-60 are rounded by 60 eps / 2, which exp makes relative. Near
        # equality the log-ratios are off by eps, and so is the root of a KL that is their mean square.
        assert_near(kl, [exact], 60 * EPS32, [exact + mpmath.sqrt(exact) / 10 + EPS32])
        assert_near(by_q, slopes_q, 100 * EPS32, sizes_q)
        assert_near(by_p, slopes_p, 100 * EPS32, sizes_p)


@given(rows(logits, logits).filter(lambda rows: len(rows) > 1))
def test_categorical_kl_matches_mpmath_in_float32(parameters: list[tuple[float, ...]]) -> None:
    kl, (by_q, by_p) = value_and_gradients(categorical_kl, *columns(parameters))
    with mpmath.workdps(80):
        probabilities = []
        for column in zip(*parameters, strict=True):
            weights = [mpmath.exp(logit) for logit in column]
            probabilities.append([weight / sum(weights) for weight in weights])
        pairs = list(zip(*probabilities, strict=True))
        ratios = [mpmath.log(q / p) for q, p in pairs]
        exact = sum(q * ratio for (q, _), ratio in zip(pairs, ratios, strict=True))
        # As above, but the normalizers, of size up to 60, shift all of the log-ratios by their rounding.
        assert_near(kl, [exact], 120 * EPS32, [exact + mpmath.sqrt(exact) + 120 * EPS32])
        slopes = [q * (ratio - exact) for (q, _), ratio in zip(pairs, ratios, strict=True)]
        assert_near(by_q, slopes, 300 * EPS32, [mpf(1)] * len(slopes))
        assert_near(by_p, [p - q for q, p in pairs], 200 * EPS32, [mpf(1)] * len(slopes))


@given(st.integers(2, 100), seeds)
def test_discrete_kl_matches_torch_distributions_in_many_dimensions(dim: int, seed: int) -> None:
    logits_q, logits_p = between(-30, 30, 2, 3, dim, seed=seed)
    ours, _ = value_and_gradients(bernoulli_kl, logits_q, logits_p)
    q, p = (scipy.special.expit([either, -either]) for either in (logits_q, logits_p))
    np.testing.assert_allclose(
        ours.numpy(), scipy.special.rel_entr(q, p).sum((0, -1)), rtol=1e-13, atol=1e-13
    )
    expected = kl_divergence(Bernoulli(logits=logits_q), Bernoulli(logits=logits_p)).sum(-1)
    # This oracle forms 1 - p, which at logits of 30 leaves 3 digits of p; its logarithm is off by 1e-3 / 30.
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-13)
    ours, _ = value_and_gradients(categorical_kl, logits_q, logits_p)
    expected = kl_divergence(Categorical(logits=logits_q), Categorical(logits=logits_p))
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-13)
    q, p = (torch.softmax(either, -1).numpy() for either in (logits_q, logits_p))
    np.testing.assert_allclose(ours.numpy(), scipy.special.rel_entr(q, p).sum(-1), rtol=1e-12, atol=1e-13)


@given(st.integers(1, 9), seeds)
def test_a_coin_is_a_die_with_two_faces(coins: int, seed: int) -> None:
    logits_q, logits_p = 5 * torch.randn(2, coins, generator=seeded(seed), dtype=torch.float64)
    faces = [torch.stack([either, torch.zeros_like(either)], -1) for either in (logits_q, logits_p)]
    torch.testing.assert_close(bernoulli_kl(logits_q, logits_p), categorical_kl(*faces).sum())


@pytest.mark.parametrize("large", [100.0, 1e4, 1e30])
def test_discrete_kl_is_finite_where_probabilities_round_to_0_and_1(large: float) -> None:
    # Certain q: 0 log 0 is 0, and what is left is -log p of the certain outcome. Certain p: not quite.
    certain, even = torch.tensor([[large, -large]]), torch.zeros(1, 2)
    kl, _ = value_and_gradients(bernoulli_kl, certain, even)
    assert kl.item() == pytest.approx(2 * math.log(2))
    kl, _ = value_and_gradients(bernoulli_kl, even, certain)
    assert kl.item() == pytest.approx(large - 2 * math.log(2))
    kl, (by_q, by_p) = value_and_gradients(bernoulli_kl, certain, -certain)
    assert kl.item() == pytest.approx(2 * large)
    assert by_q.abs().max() < 1e-30
    assert torch.equal(by_p, torch.tensor([[-1.0, 1.0]]))
    kl, _ = value_and_gradients(categorical_kl, certain, even)
    assert kl.item() == pytest.approx(math.log(2))
    kl, _ = value_and_gradients(categorical_kl, even, certain)
    assert kl.item() == pytest.approx(large - math.log(2))
    kl, _ = value_and_gradients(categorical_kl, certain, -certain)
    assert kl.item() == pytest.approx(2 * large)
    for function in (bernoulli_kl, categorical_kl):
        kl, gradients = value_and_gradients(function, certain, certain)
        assert kl.item() == 0
        assert not any(gradient.any() for gradient in gradients)


@given(st.floats(-20, 20, width=32), st.floats(2**-18, 2**-3))
def test_bernoulli_kl_of_nearly_equal_coins_keeps_its_digits_in_float32(logit: float, shift: float) -> None:
    pair = columns([(logit, logit + shift)])
    kl, _ = value_and_gradients(bernoulli_kl, *pair)
    with mpmath.workdps(60):
        one_q, one_p = (1 / (1 + mpmath.exp(-mpf(tensor.item()))) for tensor in pair)
        exact = one_q * mpmath.log(one_q / one_p) + (1 - one_q) * mpmath.log((1 - one_q) / (1 - one_p))
        # The larger log-probability, near 20, is known to 20 eps / 2, beside a shift of 2^-18 or of float32's
        # spacing there: the rarer outcome's term is lost where it matters least.
        step = abs(pair[1].item() - pair[0].item())
        if step > 0:
            assert_near(kl, [exact], 4 * EPS32 * (1 + max(1.0, abs(logit)) / step))
        else:
            assert kl.item() == 0


# --- Total variation ------------------------------------------------------------------------------------


def exact_total_variation(mean_q: mpf, log_var_q: mpf, mean_p: mpf, log_var_p: mpf) -> mpf:
    """Integrate |q - p| / 2 between the roots of log q - log p, a plain quadratic, with digits to spare."""
    var_q, var_p = mpmath.exp(log_var_q), mpmath.exp(log_var_p)
    a = (1 / var_p - 1 / var_q) / 2
    b = mean_q / var_q - mean_p / var_p
    c = (mean_p**2 / var_p - mean_q**2 / var_q + log_var_p - log_var_q) / 2
    if a == 0:
        crossings = [-c / b] if b else []
    else:
        root = mpmath.sqrt(b**2 - 4 * a * c)
        crossings = [(-b - root) / (2 * a), (-b + root) / (2 * a)]
    excess = [
        mpmath.ncdf(z, mean_q, mpmath.sqrt(var_q)) - mpmath.ncdf(z, mean_p, mpmath.sqrt(var_p))
        for z in crossings
    ]
    return abs(excess[-1] - (excess[0] if len(excess) == 2 else 0)) if excess else mpf(0)


def assert_total_variation_is_exact(*parameters: float) -> None:
    # In mpmath with 80 digits, for of variances that differ by a factor e^80 nothing is left in 30.
    tensors = columns([parameters])
    tv, gradients = value_and_gradients(gaussian_total_variation, *tensors)
    with mpmath.workdps(120):
        at = [mpf(tensor.item()) for tensor in tensors]
        exact = exact_total_variation(*at)
        # Four values of erf, each of a crossing known to some eps, where the density is at most 0.4.
        assert abs(tv.item() - exact) <= 8 * EPS32
        narrow = mpmath.exp(-min(at[1], at[3]) / 2)
        if at[0] == at[2] and at[1] == at[3]:
            assert not any(gradient.any() for gradient in gradients)  # at the kink
        if max(abs(at[0] - at[2]), abs(at[1] - at[3])) < 1e-36:
            return  # where float32 ends
        for k, gradient in enumerate(gradients):
            slope = mpmath.diff(
                lambda t, k=k: exact_total_variation(*at[:k], t, *at[k + 1 :]), at[k], h=mpf(10) ** -40
            )
            # The slopes are densities at the crossings: of size 1 / deviation by means, 1 by log-variances.
            assert abs(gradient.item() - slope) <= 32 * EPS32 * (narrow if k in (0, 2) else 1)


@settings(max_examples=50)
@given(means, log_vars, means, log_vars)
@example(0.0, 0.0, 0.0, 2.0**-100)  # squared, the difference is below what float32 can hold
def test_gaussian_total_variation_and_its_gradient_match_mpmath(
    mean_q: float, log_var_q: float, mean_p: float, log_var_p: float
) -> None:
    assert_total_variation_is_exact(mean_q, log_var_q, mean_p, log_var_p)


@settings(max_examples=50)
@given(means, st.floats(-3, 3), st.floats(-4, 4), st.floats(-1, 1), st.integers(0, 30))
def test_gaussian_total_variation_holds_as_the_variances_become_equal(
    mean: float, log_var: float, shift: float, stretch: float, power: int
) -> None:
    assert_total_variation_is_exact(mean, log_var, mean + shift, log_var + stretch * 2.0**-power)


@pytest.mark.parametrize("shift", [-6.0, -1.0, 0.0, 0.25, 3.0, 50.0])
def test_total_variation_of_equal_variances_is_the_textbook_one(shift: float) -> None:
    sigma = 0.7
    ours = gaussian_total_variation(
        as_batch(1.0), as_batch(2 * math.log(sigma)), as_batch(1.0 + shift), as_batch(2 * math.log(sigma))
    )
    expected = 2 * scipy.special.ndtr(abs(shift) / (2 * sigma)) - 1
    assert ours.item() == pytest.approx(expected, abs=4 * EPS64)


@given(
    st.lists(st.integers(-8, 8), min_size=2, max_size=2, unique=True).map(sorted),
    st.lists(st.integers(-8, 8), min_size=2, max_size=2, unique=True).map(sorted),
)
def test_uniform_total_variation_is_the_integral_that_defines_it(q: list[int], p: list[int]) -> None:
    # Both densities are constant between whole numbers, so the integral is a sum of fractions.
    def density(interval: list[int], cell: int) -> Fraction:
        low, high = interval
        return Fraction(int(low <= cell < high), high - low)

    exact = sum(abs(density(q, cell) - density(p, cell)) for cell in range(-8, 8)) / 2
    ends = [torch.tensor(end / 4) for end in (*q, *p)]
    tv, _ = value_and_gradients(uniform_total_variation, *ends)
    assert tv.item() == pytest.approx(float(exact), abs=4 * EPS32)
    if q[1] <= p[0] or p[1] <= q[0]:
        assert tv.item() == 1


def test_uniform_total_variation_refuses_an_empty_interval() -> None:
    low, high = torch.zeros(2), torch.tensor([1.0, 0.0])
    with pytest.raises(ValueError, match="low_p is not below high_p"):
        uniform_total_variation(low, low + 1, low, high)
    with pytest.raises(ValueError, match="low_q is not below high_q"):
        uniform_total_variation(low, high, low, low + 1)


# --- Quadrature -----------------------------------------------------------------------------------------


@given(st.integers(0, 31), st.integers(1, 100))
def test_quadrature_is_exact_for_polynomials_of_degree_31(degree: int, points: int) -> None:
    # 2.5^32 / 32 from 16 or more terms, none of which cancels on one side of 0.
    ours = quadrature(lambda z: z**degree, 0.5, 2.5, points=points).item()
    assert ours == pytest.approx((2.5 ** (degree + 1) - 0.5 ** (degree + 1)) / (degree + 1), rel=1e-13, abs=0)


def test_quadrature_spends_the_points_that_it_is_given() -> None:
    spent = []

    def integrand(z: Tensor) -> Tensor:
        spent.append(z.shape)
        return torch.ones_like(z)

    for points in (1, 16, 17):
        assert quadrature(integrand, -1, 2, points=points).item() == pytest.approx(3)
    assert spent == [(16,), (16,), (32,)]


@pytest.mark.parametrize(("low", "high"), [(0, 0), (1, 0), (0, math.inf), (-math.inf, 0), (math.nan, 1)])
def test_quadrature_refuses_an_interval_that_it_cannot_divide(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="no finite interval"):
        quadrature(torch.sin, low, high)
    with pytest.raises(ValueError, match="points is 0"):
        quadrature(torch.sin, 0, 1, points=0)


narrow_log_vars = st.floats(-4, 2)


def on_the_line(mean: float | Tensor, log_var: float | Tensor) -> Normal:
    return Normal(
        torch.as_tensor(mean, dtype=torch.float64), torch.as_tensor(log_var / 2, dtype=torch.float64).exp()
    )


@settings(max_examples=30)
@given(means, narrow_log_vars, means, narrow_log_vars)
def test_quadrature_agrees_with_closed_forms_and_scipy(
    mean_q: float, log_var_q: float, mean_p: float, log_var_p: float
) -> None:
    q, p = on_the_line(mean_q, log_var_q), on_the_line(mean_p, log_var_p)
    tensors = columns([(mean_q, log_var_q, mean_p, log_var_p)], torch.float64)
    # 50 is 14 of the widest deviations from the farthest mean; the narrowest is 5 panels wide.
    kl = kl_by_quadrature(q.log_prob, p.log_prob, -50, 50).item()
    assert kl == pytest.approx(diagonal_gaussian_kl(*tensors).item(), rel=1e-12, abs=1e-13)
    # A kink in a panel of width 100 / 256 costs up to its square times the slope, at most 2, over 16^2.
    tv = total_variation_by_quadrature(q.log_prob, p.log_prob, -50, 50).item()
    assert tv == pytest.approx(gaussian_total_variation(*tensors).item(), abs=2e-3)
    js = jensen_shannon(q.log_prob, p.log_prob, -50, 50).item()
    assert jensen_shannon(p.log_prob, q.log_prob, -50, 50).item() == pytest.approx(js, abs=1e-15)
    assert -1e-15 <= js <= math.log(2) + 1e-14

    def integrand(z: float) -> float:
        logs = [-0.5 * ((z - m) ** 2 / math.exp(v) + v + math.log(2 * math.pi)) for m, v in sides]
        middle = np.logaddexp(*logs) - math.log(2)
        return float(sum(math.exp(log) * (log - middle) for log in logs)) / 2

    sides = [(mean_q, log_var_q), (mean_p, log_var_p)]
    points = [m + k * math.exp(v / 2) for m, v in sides for k in (-4, 0, 4)]
    expected, _ = scipy.integrate.quad(integrand, -50, 50, points=points, epsabs=1e-10, limit=200)
    assert js == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("shift", "log_var"), [(0.5, 0.0), (2.0, -1.0), (6.0, 0.0), (1e-3, 1e-3)])
def test_jensen_shannon_and_its_gradient_match_mpmath(shift: float, log_var: float) -> None:
    mean, log_variance = (
        torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (shift, log_var)
    )
    p = on_the_line(0.0, 0.0)
    js = jensen_shannon(lambda z: on_the_line(mean, log_variance).log_prob(z), p.log_prob, -20, 20)
    js.backward()

    def exact(m: mpf, v: mpf) -> mpf:
        def integrand(z: mpf) -> mpf:
            at_q, at_p = mpmath.npdf(z, m, mpmath.exp(v / 2)), mpmath.npdf(z, 0, 1)
            middle = (at_q + at_p) / 2
            return (at_q * mpmath.log(at_q / middle) + at_p * mpmath.log(at_p / middle)) / 2

        return mpmath.quad(integrand, range(-20, 21, 4))

    with mpmath.workdps(20):
        h = mpf(10) ** -6
        assert js.item() == pytest.approx(float(exact(mpf(shift), mpf(log_var))), rel=1e-9, abs=1e-15)
        slopes = [
            (exact(shift + h, mpf(log_var)) - exact(shift - h, mpf(log_var))) / (2 * h),
            (exact(mpf(shift), log_var + h) - exact(mpf(shift), log_var - h)) / (2 * h),
        ]
    # A central difference: its truncation is of order h^2.
    assert mean.grad is not None
    assert log_variance.grad is not None
    assert mean.grad.item() == pytest.approx(float(slopes[0]), rel=1e-9, abs=1e-11)
    assert log_variance.grad.item() == pytest.approx(float(slopes[1]), rel=1e-9, abs=1e-11)


def test_disjoint_uniforms_have_an_infinite_kl_a_full_tv_and_a_js_of_log_2() -> None:
    def uniform(low: float) -> Callable[[Tensor], Tensor]:
        return Uniform(low, low + 1.0, validate_args=False).log_prob

    # 1600 points are 100 panels of width 0.05: the ends of the intervals lie between panels.
    q, near, far = uniform(0.0), uniform(0.5), uniform(2.0)
    options = {"low": -1.0, "high": 4.0, "points": 1600}
    assert kl_by_quadrature(q, far, **options).item() == math.inf
    assert total_variation_by_quadrature(q, far, **options).item() == pytest.approx(1)
    assert jensen_shannon(q, far, **options).item() == pytest.approx(math.log(2))
    assert jensen_shannon(q, near, **options).item() == pytest.approx(math.log(2) / 2)
    assert kl_by_quadrature(q, q, **options).item() == 0


def test_gradients_by_quadrature_are_finite_where_densities_vanish() -> None:
    width = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)

    def uniform(z: Tensor) -> Tensor:
        return ((z > 0) & (z < 1)).double().log() - width.log()

    # Both vanish below -1 and above 3, one of them between that and the other's ends.
    p = Uniform(-1.0, 3.0, validate_args=False).log_prob
    for divergence in (kl_by_quadrature, jensen_shannon):
        divergence(uniform, p, -2, 4, points=960).backward()
        assert width.grad is not None
        assert width.grad.isfinite()
    # By KL alone: the derivative of (1 / width) log(4 / width) at 1; the mass outside of 1 counts as well.
    width.grad = None
    kl_by_quadrature(uniform, p, -2, 4, points=960).backward()
    assert width.grad.item() == pytest.approx(-math.log(4) - 1)


# --- Estimates ------------------------------------------------------------------------------------------

COUNT = 100_000


def log_prob(distribution: Normal) -> Callable[[Tensor], Tensor]:
    return lambda z: distribution.log_prob(z).sum(-1)


def assert_hits(estimate: Estimate, truth: Tensor | float) -> None:
    z_scores = (estimate.value - truth) / estimate.standard_error
    # A right estimator fails this once in 15,000 seeds for each number; the seeds are fixed.
    assert z_scores.abs().max() < 4
    assert (estimate.standard_error > 0).all()


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("log_var", [-2.0, 0.0, 1.5])
def test_estimates_hit_the_exact_divergences(dim: int, log_var: float) -> None:
    mean_q, log_var_q = (
        torch.full((dim,), 0.8, dtype=torch.float64),
        torch.full((dim,), log_var, dtype=torch.float64),
    )
    zero = torch.zeros(dim, dtype=torch.float64)
    q, p = Normal(mean_q, (log_var_q / 2).exp()), Normal(zero, 1.0)
    noise_q, noise_p = torch.randn(2, COUNT, dim, generator=seeded(3), dtype=torch.float64)
    draws_q, draws_p = mean_q + q.scale * noise_q, noise_p
    assert_hits(estimate_kl(log_prob(q), log_prob(p), draws_q), gaussian_kl(mean_q, log_var_q))
    assert_hits(estimate_kl(log_prob(p), log_prob(q), draws_p), reverse_gaussian_kl(mean_q, log_var_q))
    tv = estimate_total_variation(log_prob(q), log_prob(p), draws_q)
    js = estimate_jensen_shannon(log_prob(q), log_prob(p), draws_q, draws_p[: COUNT // 2])
    if dim == 1:
        assert_hits(tv, gaussian_total_variation(mean_q, log_var_q, zero, zero).item())
        assert_hits(js, jensen_shannon(q.log_prob, p.log_prob, -25, 25))
    else:
        # No closed form: from the other side, with other draws, the same.
        other = estimate_total_variation(log_prob(p), log_prob(q), draws_p)
        assert abs(tv.value - other.value) < 4 * torch.hypot(tv.standard_error, other.standard_error)
        other = estimate_jensen_shannon(log_prob(p), log_prob(q), noise_q, mean_q + q.scale * noise_p)
        assert abs(js.value - other.value) < 4 * torch.hypot(js.standard_error, other.standard_error)


def test_standard_errors_are_the_deviations_of_repeated_estimates() -> None:
    q, p = Normal(torch.tensor([0.8]), torch.tensor([0.6])), Normal(torch.zeros(1), 1.0)
    # 2000 estimates at once, each from 100 draws of its own: the second dimension is kept.
    noise_q, noise_p = torch.randn(2, 100, 2000, 1, generator=seeded(5))
    draws_q = 0.8 + 0.6 * noise_q
    for estimate in (
        estimate_kl(log_prob(q), log_prob(p), draws_q),
        estimate_total_variation(log_prob(q), log_prob(p), draws_q),
        estimate_jensen_shannon(log_prob(q), log_prob(p), draws_q, noise_p[:50]),
    ):
        assert estimate.value.shape == estimate.standard_error.shape == (2000,)
        # The deviation of 2000 numbers is known to 1 / sqrt(4000), 1.6 %, for normal ones; five times that.
        typical = estimate.standard_error.square().mean().sqrt().item()
        assert estimate.value.std().item() == pytest.approx(typical, rel=0.08)


def test_estimates_do_not_overflow_where_the_densities_are_far_apart() -> None:
    q, p = Normal(torch.zeros(1), 1.0), Normal(torch.full((1,), 300.0), 1.0)
    draws = torch.randn(10, 1, generator=seeded(0))
    assert estimate_total_variation(log_prob(q), log_prob(p), draws).value.item() == 1
    assert estimate_total_variation(log_prob(q), log_prob(p), draws + 300).value.item() == 0
    js = estimate_jensen_shannon(log_prob(q), log_prob(p), draws, draws + 300)
    assert js.value.item() == pytest.approx(math.log(2))
    assert js.standard_error.item() == pytest.approx(0, abs=1e-4)


def test_one_draw_has_no_standard_error() -> None:
    log_density, draw = Normal(0.0, 1.0).log_prob, torch.zeros(1)
    for estimate in (estimate_kl, estimate_total_variation):
        with pytest.raises(ValueError, match=r"1 draw\(s\): a standard error needs at least two"):
            estimate(log_density, log_density, draw)
    with pytest.raises(ValueError, match="at least two"):
        estimate_jensen_shannon(log_density, log_density, torch.zeros(2), draw)
