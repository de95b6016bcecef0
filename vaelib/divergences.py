"""How far one distribution is from another, in nats: closed forms, quadrature in one dimension, and draws.

A closed form takes parameters of shape (..., J), or whatever broadcasts to it, sums over the latents and
keeps the rest: one number for each image. q comes first everywhere, as in KL(q || p).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LogDensity = Callable[[Tensor], Tensor]
"""Maps points to the log of a density there, in nats."""


# --- Closed forms: diagonal normal distributions --------------------------------------------------------


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    r"""KL divergence from a diagonal normal distribution to the standard normal one.

    .. math::

        \mathrm{KL}\bigl(\mathcal N(\mu, \operatorname{diag} \sigma^2) \,\|\, \mathcal N(0, I)\bigr)
        = \frac{1}{2} \sum_{j=1}^{J} \left( \mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2 \right)

    Parameters
    ----------
    mean : Tensor, shape (..., J)
        :math:`\mu`.
    log_var : Tensor, shape (..., J)
        :math:`\log \sigma^2`: the logarithm of the variance, not of the standard deviation.

    Returns
    -------
    Tensor, shape (...)
        Nats, never negative, and 0 only at ``mean = 0, log_var = 0``.

    References
    ----------
    Book: eq-gaussian-kl. Kingma and Welling (2014), appendix B.

    Examples
    --------
    >>> gaussian_kl(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
    tensor([0.5000])
    """
    # expm1(v) - v rather than exp(v) - 1 - v: near v = 0 the latter cancels to noise of either sign.
    return 0.5 * (mean.square() + torch.expm1(log_var) - log_var).sum(-1)


def diagonal_gaussian_kl(mean_q: Tensor, log_var_q: Tensor, mean_p: Tensor, log_var_p: Tensor) -> Tensor:
    r"""KL divergence between two diagonal normal distributions.

    .. math::

        \mathrm{KL}(q \,\|\, p) = \frac{1}{2} \sum_{j=1}^{J} \left( e^{d_j} - 1 - d_j
        + \frac{(\mu_{q,j} - \mu_{p,j})^2}{\sigma_{p,j}^2} \right),
        \qquad d_j = \log \sigma_{q,j}^2 - \log \sigma_{p,j}^2

    In float32 it is finite, and so are its gradients, for log-variances from -40 to 40 on both sides; and it
    keeps its relative precision where q and p are all but equal.

    Parameters
    ----------
    mean_q, log_var_q : Tensor, shape (..., J)
        Of q.
    mean_p, log_var_p : Tensor, shape (..., J)
        Of p; shape (J,) for one p that is compared with every q.

    Returns
    -------
    Tensor, shape (...)
        Nats, never negative.

    References
    ----------
    Book: eq-gaussian-kl-diagonal. Kullback (1959), chapter 9, for the full covariance.

    Examples
    --------
    >>> zero = torch.zeros(1, 1)
    >>> diagonal_gaussian_kl(zero, zero, torch.ones(1, 1), zero)
    tensor([0.5000])
    """
    # Scaled before it is squared: the square of a small difference would underflow, that of a large one
    # overflow, where their ratio to the variance does neither.
    shift = (mean_q - mean_p) * torch.exp(-0.5 * log_var_p)
    return 0.5 * (_exp_minus_tangent(log_var_q - log_var_p) + shift.square()).sum(-1)


def reverse_gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    r"""KL divergence from the standard normal distribution to a diagonal one: the wrong way round for a VAE.

    .. math::

        \mathrm{KL}\bigl(\mathcal N(0, I) \,\|\, \mathcal N(\mu, \operatorname{diag} \sigma^2)\bigr)
        = \frac{1}{2} \sum_{j=1}^{J} \left( \frac{1 + \mu_j^2}{\sigma_j^2} - 1 + \log \sigma_j^2 \right)

    Parameters
    ----------
    mean, log_var : Tensor, shape (..., J)
        As in :func:`gaussian_kl`.

    Returns
    -------
    Tensor, shape (...)
        Nats, never negative. It grows like :math:`1 / \sigma^2` as q narrows, where :func:`gaussian_kl`
        grows like :math:`\log 1 / \sigma`.

    References
    ----------
    Book: eq-gaussian-kl-reverse.

    Examples
    --------
    >>> reverse_gaussian_kl(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
    tensor([0.5000])
    """
    prior = mean.new_zeros(())
    return diagonal_gaussian_kl(prior, prior, mean, log_var)


def diagonal_gaussian_wasserstein2(
    mean_q: Tensor, log_var_q: Tensor, mean_p: Tensor, log_var_p: Tensor
) -> Tensor:
    r"""Squared 2-Wasserstein distance between two diagonal normal distributions.

    .. math::

        W_2^2(q, p) = \sum_{j=1}^{J} (\mu_{q,j} - \mu_{p,j})^2 + (\sigma_{q,j} - \sigma_{p,j})^2

    Parameters
    ----------
    mean_q, log_var_q, mean_p, log_var_p : Tensor, shape (..., J)
        As in :func:`diagonal_gaussian_kl`.

    Returns
    -------
    Tensor, shape (...)
        The square of the distance: in squared units of z, not in nats.

    References
    ----------
    Book: eq-gaussian-w2. Peyré and Cuturi (2019), remark 2.31.
    """
    # sigma_q - sigma_p as a product: the difference would cancel where the two are all but equal.
    spread = 2 * torch.exp((log_var_q + log_var_p) / 4) * torch.sinh((log_var_q - log_var_p) / 4)
    return ((mean_q - mean_p).square() + spread.square()).sum(-1)


# --- Closed forms: normal distributions with full covariances -------------------------------------------


def full_gaussian_kl(mean_q: Tensor, covariance_q: Tensor, mean_p: Tensor, covariance_p: Tensor) -> Tensor:
    r"""KL divergence between two normal distributions with full covariances.

    .. math::

        \mathrm{KL}(q \,\|\, p) = \frac{1}{2} \left( \operatorname{tr}(\Sigma_p^{-1} \Sigma_q) - J
        + \log \frac{|\Sigma_p|}{|\Sigma_q|}
        + (\mu_q - \mu_p)^\top \Sigma_p^{-1} (\mu_q - \mu_p) \right)

    From the Cholesky factors :math:`\Sigma = L L^\top` and :math:`M = L_p^{-1} L_q`, as a sum of terms that
    cannot be negative: :math:`M_{jj}^2 - 1 - \log M_{jj}^2`, the squares of M below its diagonal, and those
    of :math:`L_p^{-1} (\mu_q - \mu_p)`. Its relative error grows like the machine epsilon times the
    condition number of the covariances, as that of the answer itself does when a covariance is rounded.

    Parameters
    ----------
    mean_q, mean_p : Tensor, shape (..., J)
    covariance_q, covariance_p : Tensor, shape (..., J, J)
        Symmetric and positive definite. Leading dimensions broadcast.

    Returns
    -------
    Tensor, shape (...)
        Nats, never negative.

    Raises
    ------
    ValueError
        If shapes do not fit, or a covariance is not symmetric or not positive definite.

    References
    ----------
    Book: eq-gaussian-kl-full. Kullback (1959), chapter 9.
    """
    factor_q, factor_p = cholesky_factors(mean_q, covariance_q, mean_p, covariance_p)
    relative = torch.linalg.solve_triangular(factor_p, factor_q, upper=False)
    shift = torch.linalg.solve_triangular(factor_p, (mean_q - mean_p).unsqueeze(-1), upper=False)
    # The diagonal of a product of triangular matrices is the product of their diagonals.
    ratio = factor_q.diagonal(dim1=-2, dim2=-1) / factor_p.diagonal(dim1=-2, dim2=-1)
    stretch = _exp_minus_tangent(2 * ratio.log()).sum(-1)
    kl: Tensor = 0.5 * (stretch + relative.tril(-1).square().sum((-2, -1)) + shift.square().sum((-2, -1)))
    return kl


def full_gaussian_wasserstein2(
    mean_q: Tensor, covariance_q: Tensor, mean_p: Tensor, covariance_p: Tensor
) -> Tensor:
    r"""Squared 2-Wasserstein distance between two normal distributions with full covariances.

    .. math::

        W_2^2(q, p) = \|\mu_q - \mu_p\|^2 + \operatorname{tr} \left( \Sigma_q + \Sigma_p
        - 2 \bigl( \Sigma_p^{1/2} \Sigma_q \Sigma_p^{1/2} \bigr)^{1/2} \right)

    The trace is computed as :math:`\min_R \|L_q - L_p R\|_F^2` over the orthogonal matrices R, which equals
    it for any factors with :math:`\Sigma = L L^\top` and is solved by one singular value decomposition.
    Thus nothing cancels near q = p; and since R is at its best, the gradient is that of the norm with R
    held fixed, so that equal eigenvalues, those of N(0, I) for one, do no harm to it.

    Parameters
    ----------
    mean_q, covariance_q, mean_p, covariance_p : Tensor
        As in :func:`full_gaussian_kl`.

    Returns
    -------
    Tensor, shape (...)
        The square of the distance: in squared units of z, not in nats. It may be differentiated once;
        a second derivative would miss how R moves.

    Raises
    ------
    ValueError
        If shapes do not fit, or a covariance is not symmetric or not positive definite.

    References
    ----------
    Book: eq-gaussian-w2-full. Peyré and Cuturi (2019), remark 2.31; Bhatia, Jain and Lim (2019), theorem 1.
    """
    factor_q, factor_p = cholesky_factors(mean_q, covariance_q, mean_p, covariance_p)
    with torch.no_grad():
        u, _, v_transposed = torch.linalg.svd(factor_p.mT @ factor_q)
        rotation = u @ v_transposed
    spread: Tensor = (factor_q - factor_p @ rotation).square().sum((-2, -1))
    return (mean_q - mean_p).square().sum(-1) + spread


# --- Closed forms: coins and dice -----------------------------------------------------------------------


def bernoulli_kl(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    r"""KL divergence between two vectors of independent Bernoulli distributions.

    .. math::

        \mathrm{KL}(q \,\|\, p) = \sum_{d=1}^{D} \pi_{q,d} \log \frac{\pi_{q,d}}{\pi_{p,d}}
        + (1 - \pi_{q,d}) \log \frac{1 - \pi_{q,d}}{1 - \pi_{p,d}}, \qquad \pi = \frac{1}{1 + e^{-\ell}}

    Computed from the logits, so that it stays finite where a probability rounds to 0 or 1.

    Parameters
    ----------
    logits_q, logits_p : Tensor, shape (..., D)
        :math:`\ell` of q and of p; finite.

    Returns
    -------
    Tensor, shape (...)
        Nats, never negative.

    References
    ----------
    Book: eq-bernoulli-kl.

    Examples
    --------
    >>> bernoulli_kl(torch.tensor([[1000.0]]), torch.tensor([[0.0]])) / math.log(2)
    tensor([1.])
    """
    ones = _relative_entropy(F.logsigmoid(logits_q), F.logsigmoid(logits_p))
    zeros = _relative_entropy(F.logsigmoid(-logits_q), F.logsigmoid(-logits_p))
    return (ones + zeros).sum(-1)


def categorical_kl(logits_q: Tensor, logits_p: Tensor) -> Tensor:
    r"""KL divergence between two categorical distributions.

    .. math::

        \mathrm{KL}(q \,\|\, p) = \sum_{c=1}^{C} \pi_{q,c} \log \frac{\pi_{q,c}}{\pi_{p,c}},
        \qquad \pi_c = \frac{e^{\ell_c}}{\sum_{c'} e^{\ell_{c'}}}

    Computed from the logits, so that it stays finite where a probability rounds to 0.

    Parameters
    ----------
    logits_q, logits_p : Tensor, shape (..., C)
        :math:`\ell` of q and of p; finite. The last dimension holds the classes of one distribution.

    Returns
    -------
    Tensor, shape (...)
        Nats, never negative.

    References
    ----------
    Book: eq-categorical-kl.

    Examples
    --------
    >>> categorical_kl(torch.tensor([[1000.0, 0.0, 0.0]]), torch.zeros(1, 3)) / math.log(3)
    tensor([1.])
    """
    return _relative_entropy(F.log_softmax(logits_q, dim=-1), F.log_softmax(logits_p, dim=-1)).sum(-1)


# --- Closed forms: total variation in one dimension -----------------------------------------------------


def gaussian_total_variation(mean_q: Tensor, log_var_q: Tensor, mean_p: Tensor, log_var_p: Tensor) -> Tensor:
    r"""Total variation distance between normal distributions on the line, element by element.

    .. math::

        \mathrm{TV}(q, p) = \frac{1}{2} \int |q(z) - p(z)| \, dz
        = \bigl[ \Phi_q(z) - \Phi_p(z) \bigr]_{z_-}^{z_+},

    with :math:`z_\pm` the points where the densities cross and the narrower one called q. If the variances
    are equal there is one such point, and the distance is :math:`2 \Phi(|\mu_q - \mu_p| / 2 \sigma) - 1`.

    Parameters
    ----------
    mean_q, log_var_q, mean_p, log_var_p : Tensor, shape (...)
        Every element is a pair of distributions of its own. There is no closed form in more dimensions.

    Returns
    -------
    Tensor, shape (...)
        Between 0 and 1, right to a few machine epsilons; not in nats. It may be differentiated once, and
        where q = p, a kink, its gradient is 0.

    References
    ----------
    Book: eq-gaussian-tv.

    Examples
    --------
    >>> zero = torch.zeros(1)
    >>> gaussian_total_variation(zero, zero, torch.full((1,), 2.0), zero)  # 2 Phi(1) - 1
    tensor([0.6827])
    """
    swap = log_var_q > log_var_p
    mean_n, log_var_n = torch.where(swap, mean_p, mean_q), torch.where(swap, log_var_p, log_var_q)
    mean_w, log_var_w = torch.where(swap, mean_q, mean_p), torch.where(swap, log_var_q, log_var_p)
    deviation_n, deviation_w = torch.exp(0.5 * log_var_n), torch.exp(0.5 * log_var_w)
    # How the narrow (n) and the wide (w) one see the two crossings, in deviations from their means.
    with torch.no_grad():
        log_ratio = 0.5 * (log_var_n - log_var_w)
        r, gap = torch.exp(log_ratio), -torch.expm1(2 * log_ratio)  # gap = 1 - r^2
        # Beyond a thousand wide deviations the distance is 1 in any precision, and b^2 stays finite.
        b = ((mean_n - mean_w).abs() / deviation_w).clamp(max=1e3)
        root = torch.hypot(b, torch.sqrt(gap) * torch.sqrt(-2 * log_ratio))
        # The quadratic's lower solution is rewritten so that nothing cancels; the upper one goes to infinity
        # as the variances become equal, where 50 deviations leave nothing of either distribution.
        crossings = (
            (b * r + root) / gap,
            (b + r * root) / gap,
            (2 * log_ratio - b.square()) / (b * r + root),
            (b.square() + 2 * r.square() * log_ratio) / (b + r * root),
        )
        upper_n, upper_w, lower_n, lower_w = (
            torch.where(root > 0, crossing, 0).clamp(-50, 50) for crossing in crossings
        )
        # Mirrored, so that the narrow mean was never below the wide one.
        sign = torch.where(mean_n < mean_w, -1, 1)

    def mass_below(at: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        # The crossing stands still while the parameters move: there q = p, so its own motion adds nothing.
        moving = (sign * (mean.detach() - mean) + deviation.detach() * at) / deviation
        return 0.5 * torch.erf(moving * math.sqrt(0.5))

    upper = mass_below(upper_n, mean_n, deviation_n) - mass_below(upper_w, mean_w, deviation_w)
    lower = mass_below(lower_n, mean_n, deviation_n) - mass_below(lower_w, mean_w, deviation_w)
    return upper - lower


def uniform_total_variation(low_q: Tensor, high_q: Tensor, low_p: Tensor, high_p: Tensor) -> Tensor:
    r"""Total variation distance between uniform distributions on two intervals, element by element.

    .. math::

        \mathrm{TV}(q, p) = 1 - \frac{|I_q \cap I_p|}{\max(|I_q|, |I_p|)}

    Parameters
    ----------
    low_q, high_q, low_p, high_p : Tensor, shape (...)
        The ends of :math:`I_q` and :math:`I_p`.

    Returns
    -------
    Tensor, shape (...)
        Between 0 and 1; 1, and flat, once the intervals are disjoint.

    Raises
    ------
    ValueError
        If an interval is empty.

    References
    ----------
    Book: eq-uniform-tv.

    Examples
    --------
    >>> low, high = torch.zeros(1), torch.ones(1)
    >>> uniform_total_variation(low, high, low + 0.25, high + 0.25)
    tensor([0.2500])
    """
    for name, low, high in (("q", low_q, high_q), ("p", low_p, high_p)):
        if not (low < high).all():
            raise ValueError(f"low_{name} is not below high_{name} everywhere: each interval needs a length")
    overlap = (torch.minimum(high_q, high_p) - torch.maximum(low_q, low_p)).clamp(min=0)
    return 1 - overlap / torch.maximum(high_q - low_q, high_p - low_p)


# --- Quadrature: any two densities on an interval -------------------------------------------------------

_PANEL_NODES, _PANEL_WEIGHTS = np.polynomial.legendre.leggauss(16)


def quadrature(
    integrand: Callable[[Tensor], Tensor], low: float, high: float, *, points: int = 4096
) -> Tensor:
    r"""Integral over an interval by composite Gauss-Legendre quadrature in float64.

    .. math::

        \int_a^b f(z) \, dz \approx \sum_i w_i f(z_i)

    Panels of equal width with 16 points each: exact for polynomials of degree 31, and right to rounding for
    a function that is smooth on the scale of a panel. A kink within a panel leaves an error of the order of
    its width squared, a step one of the order of its width.

    Parameters
    ----------
    integrand : callable
        Maps points, shape (points,), to values of the same shape. Gradients flow through it.
    low, high : float
        The ends of the interval; finite.
    points : int
        How many; rounded up to a multiple of 16.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        If the interval is empty or infinite, or there is no point.

    Examples
    --------
    >>> round(quadrature(torch.sin, 0, math.pi).item(), 12)
    2.0
    """
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"from {low} to {high} is no finite interval: choose ends that hold all of the mass")
    if points < 1:
        raise ValueError(f"points is {points}: quadrature needs at least one")
    panels = math.ceil(points / len(_PANEL_NODES))
    half = (high - low) / (2 * panels)
    centres = low + half * (2 * torch.arange(panels, dtype=torch.float64) + 1)
    z = centres[:, None] + half * torch.from_numpy(_PANEL_NODES)
    weights = half * torch.from_numpy(_PANEL_WEIGHTS)
    return (integrand(z.flatten()).reshape(z.shape) * weights).sum()


def kl_by_quadrature(
    log_q: LogDensity, log_p: LogDensity, low: float, high: float, *, points: int = 4096
) -> Tensor:
    r"""KL divergence between two densities on an interval, from its definition.

    .. math::

        \mathrm{KL}(q \,\|\, p) = \int q(z) \log \frac{q(z)}{p(z)} \, dz

    Parameters
    ----------
    log_q, log_p : callable
        Map points, shape (points,) in float64, to log-densities; minus infinity where there is no mass.
    low, high, points
        As in :func:`quadrature`. What lies outside the interval is left out.

    Returns
    -------
    Tensor, shape ()
        Nats; infinite if p has no density at a point where q has some.

    References
    ----------
    Book: def-kl. Kullback and Leibler (1951), section 2.
    """

    def integrand(z: Tensor) -> Tensor:
        q, log_ratio = _mass_and_log_ratio(log_q(z), log_p(z))
        return -q * log_ratio

    return quadrature(integrand, low, high, points=points)


def total_variation_by_quadrature(
    log_q: LogDensity, log_p: LogDensity, low: float, high: float, *, points: int = 4096
) -> Tensor:
    r"""Total variation distance between two densities on an interval, from its definition.

    .. math::

        \mathrm{TV}(q, p) = \frac{1}{2} \int |q(z) - p(z)| \, dz

    Parameters
    ----------
    log_q, log_p, low, high, points
        As in :func:`kl_by_quadrature`.

    Returns
    -------
    Tensor, shape ()
        Between 0 and 1; not in nats. The kinks where the densities cross leave an error of the order of the
        square of a panel's width.

    References
    ----------
    Book: def-tv.
    """
    return quadrature(lambda z: 0.5 * (log_q(z).exp() - log_p(z).exp()).abs(), low, high, points=points)


def jensen_shannon(
    log_q: LogDensity, log_p: LogDensity, low: float, high: float, *, points: int = 4096
) -> Tensor:
    r"""Jensen-Shannon divergence between two densities on an interval, by quadrature.

    .. math::

        \mathrm{JS}(q, p) = \frac{1}{2} \mathrm{KL}(q \,\|\, m) + \frac{1}{2} \mathrm{KL}(p \,\|\, m),
        \qquad m = \frac{q + p}{2}

    It has no closed form for normal distributions.

    Parameters
    ----------
    log_q, log_p, low, high, points
        As in :func:`kl_by_quadrature`.

    Returns
    -------
    Tensor, shape ()
        Nats, between 0 and log 2, and the same with q and p exchanged.

    References
    ----------
    Book: def-js. Lin (1991), section IV.

    Examples
    --------
    >>> def normal(mean):
    ...     return torch.distributions.Normal(mean, 1.0).log_prob
    >>> round(jensen_shannon(normal(0.0), normal(30.0), -10, 40).item() / math.log(2), 12)
    1.0
    """

    def integrand(z: Tensor) -> Tensor:
        at_q, at_p = log_q(z), log_p(z)
        sides = (_mass_and_log_ratio(at_q, at_p), _mass_and_log_ratio(at_p, at_q))
        first, second = (mass * _log_excess_over_mixture(log_ratio) for mass, log_ratio in sides)
        return 0.5 * (first + second)

    return quadrature(integrand, low, high, points=points)


# --- Estimates from draws: any two densities ------------------------------------------------------------


class Estimate(NamedTuple):
    """A mean over draws, and how far it may be off: its standard error, the deviation of that mean."""

    value: Tensor
    standard_error: Tensor


def estimate_kl(log_q: LogDensity, log_p: LogDensity, draws_from_q: Tensor) -> Estimate:
    r"""Estimate a KL divergence from draws.

    .. math::

        \widehat{\mathrm{KL}} = \frac{1}{N} \sum_{i=1}^{N} \log \frac{q(z_i)}{p(z_i)}, \qquad z_i \sim q

    Unbiased, so that it may fall below 0 where the divergence is small. The standard error means something
    if the log-ratio has a variance under q, as it has between normal distributions; where the tails of p
    are so light that the variance, or the divergence itself, is infinite, it does not say so.

    Parameters
    ----------
    log_q, log_p : callable
        Map draws to log-densities, shape (N, ...).
    draws_from_q : Tensor, shape (N, ...)
        At least two.

    Returns
    -------
    Estimate
        Nats; the mean over the first dimension, so of shape (...) without it.

    Raises
    ------
    ValueError
        If there are fewer than two draws.

    References
    ----------
    Book: def-kl.
    """
    return _mean(log_q(draws_from_q) - log_p(draws_from_q))


def estimate_jensen_shannon(
    log_q: LogDensity, log_p: LogDensity, draws_from_q: Tensor, draws_from_p: Tensor
) -> Estimate:
    r"""Estimate a Jensen-Shannon divergence from draws.

    .. math::

        \widehat{\mathrm{JS}} = \frac{1}{2 N} \sum_{i=1}^{N} \log \frac{q(z_i)}{m(z_i)}
        + \frac{1}{2 N'} \sum_{i=1}^{N'} \log \frac{p(z'_i)}{m(z'_i)}, \qquad z_i \sim q,\ z'_i \sim p

    with :math:`m = (q + p) / 2`. Unbiased, so that it may fall outside [0, log 2]. Its variance is finite
    whatever q and p are: no term exceeds log 2, and :math:`\log^2 (1 + p / q)`, which bounds the other
    side, is below p / q, whose mean under q is at most 1.

    Parameters
    ----------
    log_q, log_p : callable
        Map draws to log-densities, shape (N, ...).
    draws_from_q, draws_from_p : Tensor, shape (N, ...)
        At least two of each, independent; they need not be equally many.

    Returns
    -------
    Estimate
        Nats; the mean over the first dimension, so of shape (...) without it.

    Raises
    ------
    ValueError
        If there are fewer than two draws from either.

    References
    ----------
    Book: def-js. Lin (1991), section IV.
    """
    sides = []
    for log_own, log_other, draws in ((log_q, log_p, draws_from_q), (log_p, log_q, draws_from_p)):
        sides.append(_mean(_log_excess_over_mixture(log_other(draws) - log_own(draws))))
    of_q, of_p = sides
    return Estimate(
        0.5 * (of_q.value + of_p.value), 0.5 * torch.hypot(of_q.standard_error, of_p.standard_error)
    )


def estimate_total_variation(log_q: LogDensity, log_p: LogDensity, draws_from_q: Tensor) -> Estimate:
    r"""Estimate a total variation distance from draws.

    .. math::

        \widehat{\mathrm{TV}} = \frac{1}{N} \sum_{i=1}^{N} \max \left( 0, 1 - \frac{p(z_i)}{q(z_i)} \right),
        \qquad z_i \sim q

    Unbiased, and of finite variance whatever q and p are, since every term lies between 0 and 1. Draws from
    either side will do: exchange the two.

    Parameters
    ----------
    log_q, log_p : callable
        Map draws to log-densities, shape (N, ...).
    draws_from_q : Tensor, shape (N, ...)
        At least two.

    Returns
    -------
    Estimate
        Between 0 and 1, not in nats; the mean over the first dimension, so of shape (...) without it.

    Raises
    ------
    ValueError
        If there are fewer than two draws.

    References
    ----------
    Book: def-tv.
    """
    # Clamped before the exponential, which could overflow where p is far above q and the term is 0 anyway.
    log_ratio = (log_p(draws_from_q) - log_q(draws_from_q)).clamp(max=0)
    return _mean(-torch.expm1(log_ratio))


# --- What the above share -------------------------------------------------------------------------------


def _exp_minus_tangent(x: Tensor) -> Tensor:
    """Return exp(x) - 1 - x, how far exp lies above its tangent at 0: never negative, and nothing cancels."""
    near = x.clamp(-0.125, 0.125)  # a power of 2: at the end of its range clamp would give no gradient
    series = torch.ones_like(x)
    for k in range(11, 2, -1):  # what is left out, 2 / (8^10 12!), is less than float64 can tell
        series = 1 + near / k * series
    return torch.where(x.abs() < 0.125, 0.5 * near.square() * series, torch.expm1(x) - x)


def _relative_entropy(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Return q log(q / p) + p - q: never negative, and what it adds to KL sums to 0 over all classes.

    With d = log(p / q) it is q (exp(d) - 1 - d), which keeps its precision where q and p are all but equal.
    """
    d, q = log_p - log_q, log_q.exp()
    # Far from equality exp(d) may overflow where q underflows; their product is p.
    return torch.where(d.abs() < 1, q * _exp_minus_tangent(d.clamp(-1, 1)), log_p.exp() - q - q * d)


def _mass_and_log_ratio(log_q: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor]:
    """Return q and log(p / q), the latter 0 where q is 0: no gradient shall meet infinity less infinity."""
    q = log_q.exp()
    return q, torch.where(q > 0, log_p - log_q, 0)


def _log_excess_over_mixture(log_ratio: Tensor) -> Tensor:
    """Return log(q / m), where m = (q + p) / 2, from log(p / q)."""
    return math.log(2) - torch.logaddexp(log_ratio, torch.zeros_like(log_ratio))


def _mean(terms: Tensor) -> Estimate:
    """Mean over the first dimension and its standard error."""
    if len(terms) < 2:
        raise ValueError(f"{len(terms)} draw(s): a standard error needs at least two")
    return Estimate(terms.mean(0), terms.std(0) / math.sqrt(len(terms)))


def cholesky_factors(
    mean_q: Tensor, covariance_q: Tensor, mean_p: Tensor, covariance_p: Tensor
) -> tuple[Tensor, Tensor]:
    """Lower triangular L with L L^T = covariance, of q and of p; ValueError where there is none."""
    size = mean_q.shape[-1]
    if mean_p.shape[-1] != size:
        raise ValueError(f"mean_q has {size} elements, mean_p has {mean_p.shape[-1]}: they must agree")
    return _cholesky("covariance_q", covariance_q, size), _cholesky("covariance_p", covariance_p, size)


def _cholesky(name: str, covariance: Tensor, size: int) -> Tensor:
    if covariance.shape[-2:] != (size, size):
        raise ValueError(
            f"{name} has shape {tuple(covariance.shape)}: means of {size} elements need (..., {size}, {size})"
        )
    with torch.no_grad():
        asymmetry = (covariance - covariance.mT).abs().amax((-2, -1))
        # Half of the digits: rounding leaves far less, a factor or a mistake far more.
        allowed = math.sqrt(torch.finfo(covariance.dtype).eps) * covariance.abs().amax((-2, -1))
    if (asymmetry > allowed).any():
        raise ValueError(
            f"{_first(name, asymmetry > allowed)} is not symmetric: if it is a factor L, pass L @ L.mT"
        )
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if failed.any():
        raise ValueError(
            f"{_first(name, failed > 0)} is not positive definite, or too nearly singular for "
            f"{covariance.dtype}: pass a covariance, in float64 if need be, or add to its diagonal"
        )
    return factor


def _first(name: str, wrong: Tensor) -> str:
    """Name the first of a batch of matrices that is wrong."""
    index = wrong.nonzero()[0].tolist()
    return f"{name}{index}" if index else name
