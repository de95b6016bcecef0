"""The aggregate posterior q(z), the mixture of all q(z | x), held against the prior N(0, I).

Everything is computed from the ``mean`` and ``log_var`` of q(z | x) for N images and from one draw for each
image, all of shape (N, J) and on the CPU, in float64 whatever is given; no model is needed. Distances of
single latents are in units of z; what is said of all latents together is in nats.

Look at q(z) through draws and not through means: those lack the width of each q(z | x). A log-variance of
minus infinity, a q(z | x) that is a point, is an autoencoder's: it can be drawn from, and its KL is infinite.
"""

import csv
import io
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vaelib.divergences import gaussian_kl, quadrature

# Burda, Grosse and Salakhutdinov's: a unit whose mean varies less than this over the data says nothing of it.
ACTIVE = 0.01
# Points whose densities under all N components are held at a time: few, so that N may be large, and enough
# for a matrix product to be fast.
ROWS = 128
# What rounding may cost a log-density, in nats, before it is computed without products.
ROUNDING = 1e-4
# A normal latent's distance lies above its level once in twenty times.
LEVEL = 0.05
# That level for sqrt(N) W1, by simulation: 2.138 with N = 300 (300,000 times; standard error 0.002), 2.150
# with N = 3,000 (100,000 times; 0.006), and 2.09 with N = 10.
WASSERSTEIN_LEVEL = 2.14


class LatentReport(NamedTuple):
    """What each of J latents does, over ``images`` images; tensors of shape (J,), float64.

    ``wasserstein`` and ``kolmogorov_smirnov`` say how far its aggregate posterior is from N(0, 1), ``kl`` the
    nats for each image that it costs, ``variance_of_means`` how far its mean moves over the images, and
    ``active`` whether that is far enough to count.
    """

    wasserstein: Tensor
    kolmogorov_smirnov: Tensor
    kl: Tensor
    variance_of_means: Tensor
    active: Tensor
    images: int


class SamplingNoise(NamedTuple):
    """What a perfect latent would show: the distances of N true draws of N(0, 1) from N(0, 1).

    Their means, and the levels that they exceed once in twenty times: of 64 perfect latents, three.
    """

    wasserstein: float
    wasserstein_level: float
    kolmogorov_smirnov: float
    kolmogorov_smirnov_level: float


class Surgery(NamedTuple):
    """The mean rate, cut in two: ``rate = marginal_kl + mutual_information``. Nats for each image.

    ``rate`` is exact. ``standard_error`` is that of the other two, which share one estimate; ``log_count`` is
    what the mutual information cannot exceed.
    """

    rate: float
    mutual_information: float
    marginal_kl: float
    log_count: float
    standard_error: float


# --- Draws ----------------------------------------------------------------------------------------------


def draw(mean: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
    r"""Draw once from the aggregate posterior for each image: one latent from each of its components.

    .. math::

        z_n \sim q(z \mid x_n), \qquad n = 1, \dots, N

    Each component is drawn from exactly once, so that these draws follow
    :math:`q(z) = \frac{1}{N} \sum_n q(z \mid x_n)` a little more closely than independent ones would.

    Parameters
    ----------
    mean, log_var : Tensor, shape (N, J)
        Of q(z | x).
    generator : torch.Generator, optional
        On the CPU.

    Returns
    -------
    Tensor, shape (N, J)
        In float64: where a mean is large, float32 would round a narrow q(z | x) away.

    Raises
    ------
    ValueError
        If the shapes do not fit or a number is not finite.

    References
    ----------
    Book: def-aggregate.
    """
    mean, log_var = _tables(mean=mean, log_var=log_var)
    return torch.normal(mean, torch.exp(0.5 * log_var), generator=generator)


# --- One latent at a time -------------------------------------------------------------------------------


def wasserstein_to_normal(draws: Tensor) -> Tensor:
    r"""1-Wasserstein distance of each latent's draws from the standard normal distribution.

    .. math::

        W_1 = \sum_{i=1}^{N} \int_{(i-1)/N}^{i/N} \bigl| z_{(i)} - \Phi^{-1}(u) \bigr| \, du,
        \qquad z_{(1)} \le \dots \le z_{(N)}

    Exact: with :math:`a_i = \Phi^{-1}(i / N)`, and :math:`c_i` the point nearest to :math:`z_{(i)}` between
    :math:`a_{i-1}` and :math:`a_i`, each piece is

    .. math::

        z_{(i)} \Bigl( 2 \Phi(c_i) - \frac{i - 1}{N} - \frac{i}{N} \Bigr)
        + 2 \varphi(c_i) - \varphi(a_{i-1}) - \varphi(a_i).

    A latent that is :math:`\mathcal N(m, 1)` is at the distance :math:`|m|`, one that is
    :math:`\mathcal N(0, s^2)` at :math:`|s - 1| \sqrt{2 / \pi}`, up to :func:`sampling_noise`.

    Parameters
    ----------
    draws : Tensor, shape (N, J)

    Returns
    -------
    Tensor, shape (J,)
        Float64, in units of z: the average way from a draw to where a normal distribution would have it.

    Raises
    ------
    ValueError
        If there is no draw or one is not finite.

    References
    ----------
    Book: def-wasserstein, eq-w1-area.

    Examples
    --------
    >>> wasserstein_to_normal(torch.zeros(1, 1)) / math.sqrt(2 / math.pi)
    tensor([1.], dtype=torch.float64)
    """
    (z,) = _tables(draws=draws)
    z = z.sort(0).values
    levels = _levels(z)
    edges = torch.special.ndtri(levels)
    low, high = levels[:-1], levels[1:]
    nearest = z.clamp(edges[:-1], edges[1:])
    above_and_below = z * (2 * torch.special.ndtr(nearest) - low - high)
    pieces: Tensor = above_and_below + 2 * _density(nearest) - _density(edges[:-1]) - _density(edges[1:])
    return pieces.sum(0)


def kolmogorov_smirnov(draws: Tensor) -> Tensor:
    r"""Kolmogorov-Smirnov distance of each latent's draws from the standard normal distribution.

    .. math::

        D = \sup_z \bigl| F_N(z) - \Phi(z) \bigr|
        = \max_i \max \Bigl( \frac{i}{N} - \Phi(z_{(i)}),\; \Phi(z_{(i)}) - \frac{i - 1}{N} \Bigr)

    The largest difference between the share of draws below a point and that of the prior. Unlike
    :func:`wasserstein_to_normal` it asks how many draws are misplaced and not how far.

    Parameters
    ----------
    draws : Tensor, shape (N, J)

    Returns
    -------
    Tensor, shape (J,)
        Float64, between 1 / 2N and 1.

    Raises
    ------
    ValueError
        If there is no draw or one is not finite.

    References
    ----------
    Kolmogorov (1933).

    Examples
    --------
    >>> kolmogorov_smirnov(torch.zeros(1, 1))
    tensor([0.5000], dtype=torch.float64)
    """
    (z,) = _tables(draws=draws)
    below = torch.special.ndtr(z.sort(0).values)
    levels = _levels(z)
    return torch.maximum(levels[1:] - below, below - levels[:-1]).amax(0)


def kl_of_latents(mean: Tensor, log_var: Tensor) -> Tensor:
    r"""Mean KL of each latent: the share of the rate that it costs.

    .. math::

        \frac{1}{N} \sum_{n=1}^{N} \mathrm{KL}\bigl(q(z_j \mid x_n) \,\|\, \mathcal N(0, 1)\bigr)

    Parameters
    ----------
    mean, log_var : Tensor, shape (N, J)
        Of q(z | x).

    Returns
    -------
    Tensor, shape (J,)
        Nats for each image, in float64; they add up to the rate.

    Raises
    ------
    ValueError
        If the shapes do not fit or a number is not finite.

    References
    ----------
    Book: eq-gaussian-kl, eq-kl-additivity.
    """
    mean, log_var = _tables(mean=mean, log_var=log_var)
    return gaussian_kl(mean[..., None], log_var[..., None]).mean(0)


def variance_of_means(mean: Tensor) -> Tensor:
    r"""How far the mean of each latent moves over the images: what its q(z) has beyond the width of q(z | x).

    .. math::

        \frac{1}{N} \sum_{n=1}^{N} (\mu_{n,j} - \bar\mu_j)^2

    Parameters
    ----------
    mean : Tensor, shape (N, J)
        Of q(z | x).

    Returns
    -------
    Tensor, shape (J,)
        Float64, in squared units of z.

    Raises
    ------
    ValueError
        If there is no image or a number is not finite.

    References
    ----------
    Book: eq-aggregate-variance, whose second term this is.
    """
    (mean,) = _tables(mean=mean)
    return mean.var(0, correction=0)


def active_units(mean: Tensor, threshold: float = ACTIVE) -> Tensor:
    r"""Which latents are active: those whose mean moves over the images.

    .. math::

        \operatorname{Var}_x \mathbb E_{q(z \mid x)}[z_j] > 0.01

    Parameters
    ----------
    mean : Tensor, shape (N, J)
        Of q(z | x).
    threshold : float
        In squared units of z. Trained units seldom lie near it.

    Returns
    -------
    Tensor, shape (J,)
        Booleans.

    Raises
    ------
    ValueError
        If there is no image or a number is not finite.

    References
    ----------
    Burda, Grosse and Salakhutdinov (2016), section 5.3.
    """
    return variance_of_means(mean) > threshold


def report(mean: Tensor, log_var: Tensor, draws: Tensor) -> LatentReport:
    """Everything above, for each latent.

    Parameters
    ----------
    mean, log_var : Tensor, shape (N, J)
        Of q(z | x).
    draws : Tensor, shape (N, J)
        What :func:`draw` gives.

    Raises
    ------
    ValueError
        If the shapes do not fit or a number is not finite.
    """
    mean, log_var, draws = _tables(mean=mean, log_var=log_var, draws=draws)
    return LatentReport(
        wasserstein_to_normal(draws),
        kolmogorov_smirnov(draws),
        kl_of_latents(mean, log_var),
        variance_of_means(mean),
        active_units(mean),
        len(mean),
    )


def report_csv(latents: LatentReport) -> str:
    """The report as CSV, a header and a line a latent, counted from 1; ``active`` is 1 or 0."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("latent", *LatentReport._fields[:-1]))
    *numbers, active = (column.tolist() for column in latents[:-1])
    for index, (*row, is_active) in enumerate(zip(*numbers, active, strict=True), start=1):
        writer.writerow((index, *row, int(is_active)))
    return text.getvalue()


# --- How much of a distance is chance -------------------------------------------------------------------


def sampling_noise(count: int) -> SamplingNoise:
    r"""How far true draws of N(0, 1) are from N(0, 1): what a latent's distance is to be held against.

    .. math::

        \mathbb E[W_1] = \int \mathbb E \bigl| F_N(z) - \Phi(z) \bigr| \, dz
        = \frac{2}{N} \int k \binom{N}{k} \Phi^k (1 - \Phi)^{N - k + 1} \, dz,
        \qquad k = \lfloor N \Phi(z) \rfloor + 1

    since :math:`N F_N(z)` is binomial, whose mean absolute deviation De Moivre knew. It is near
    :math:`1.29 / \sqrt N`. The level, near :math:`2.14 / \sqrt N`, has no closed form and was simulated.
    The Kolmogorov-Smirnov distance has the mean :math:`\sqrt{\pi / 2} \log 2 / N'` and the level
    :math:`\sqrt{\log (2 / 0.05) / 2} / N' = 1.358 / N'`, with Stephens's
    :math:`N' = \sqrt N + 0.12 + 0.11 / \sqrt N`: to 1.1 % and 0.3 % from 2 draws on.

    Parameters
    ----------
    count : int
        The number N of draws.

    Returns
    -------
    SamplingNoise

    Raises
    ------
    ValueError
        If there is no draw.

    References
    ----------
    Book: eq-w1-area. Diaconis and Zabell (1991), for De Moivre's formula; Stephens (1970).

    Examples
    --------
    >>> round(sampling_noise(1).wasserstein, 12) == round(2 / math.sqrt(math.pi), 12)  # E|X - Y|
    True
    """
    if count < 1:
        raise ValueError(f"count is {count}: noise needs at least one draw")
    number = torch.tensor(float(count), dtype=torch.float64)

    def mean_deviation(z: Tensor) -> Tensor:
        log_below, log_above = torch.special.log_ndtr(z), torch.special.log_ndtr(-z)
        k = torch.floor(number * log_below.exp()) + 1
        log_binomial = torch.lgamma(number + 1) - torch.lgamma(k + 1) - torch.lgamma(number - k + 1)
        return 2 * torch.exp(k.log() + log_binomial + k * log_below + (number - k + 1) * log_above) / number

    # Symmetric in z; beyond 10 deviations less than 1e-24 is left. The integrand has a kink at every k.
    wasserstein = 2 * quadrature(mean_deviation, -10, 0, points=2**14).item()
    root = math.sqrt(count)
    stephens = root + 0.12 + 0.11 / root
    return SamplingNoise(
        wasserstein=wasserstein,
        wasserstein_level=WASSERSTEIN_LEVEL / root,
        kolmogorov_smirnov=math.sqrt(math.pi / 2) * math.log(2) / stephens,
        kolmogorov_smirnov_level=math.sqrt(-math.log(LEVEL / 2) / 2) / stephens,
    )


# --- All latents together -------------------------------------------------------------------------------


def mutual_information(mean: Tensor, log_var: Tensor, draws: Tensor) -> Surgery:
    r"""Cut the mean rate into what the latents say about the image and what their mixture pays: ELBO surgery.

    .. math::

        \frac{1}{N} \sum_{n=1}^{N} \mathrm{KL}\bigl(q(z \mid x_n) \,\|\, p(z)\bigr)
        = \mathrm{KL}\bigl(q(z) \,\|\, p(z)\bigr) + \mathrm I(n; z), \qquad
        \widehat{\mathrm I} = \frac{1}{N} \sum_{n=1}^{N}
        \log \frac{q(z_n \mid x_n)}{\frac{1}{N} \sum_m q(z_n \mid x_m)}

    Unbiased for the N images given, for which :math:`0 \le \mathrm I \le \log N`. The estimate keeps the
    upper bound draw by draw; near 0 it may fall below by its noise. **An estimate near log N says how many
    images were given, and nothing of the model**: the marginal KL is then rate - log N, whatever it is in
    truth.

    The time grows with N squared, the memory with N: 10,000 images of 64 latents take some seconds. Squares
    are expanded, so that all densities come from one matrix product, each off by up to about
    :math:`\epsilon \sum_j (|z_j| + |\mu_j|)^2 / \sigma_j^2` nats. In float64 that is below 1e-10 for the
    book's models; float32, with half a billion times the error, would do for them and not for a sharper
    encoder. Where it might exceed 1e-4 even so, with means far out or widths next to nothing, differences
    are taken one by one, forty times slower.

    Parameters
    ----------
    mean, log_var : Tensor, shape (N, J)
        Of q(z | x).
    draws : Tensor, shape (N, J)
        One from each q(z | x), in the order of the images: what :func:`draw` gives.

    Returns
    -------
    Surgery
        Floats. The standard error is the deviation of the logarithms over the root of N, ``nan`` for a single
        image; it holds the images to be drawn too, so that for given ones it errs to the safe side.

    Raises
    ------
    ValueError
        If the shapes do not fit, a number is not finite, or a q(z | x) is a point.

    References
    ----------
    Book: def-index-information, eq-surgery, eq-information-bound. Hoffman and Johnson (2016).
    """
    mean, log_var, z = _tables(mean=mean, log_var=log_var, draws=draws)
    if not log_var.isfinite().all():
        raise ValueError(
            "log_var is -inf: a q(z | x) that is a point has an infinite rate, which cannot be cut"
        )
    count = len(mean)
    # log(2 pi) J / 2 is left out here and below: it is the same everywhere.
    own = -0.5 * (((z - mean) * torch.exp(-0.5 * log_var)).square() + log_var).sum(-1)
    log_densities = _log_densities(mean, log_var, z)
    parts = []
    for rows in torch.split(torch.arange(count), ROWS):
        logs = log_densities(z[rows])
        logs[torch.arange(len(rows)), rows] = own[rows]  # to the last digit, and never more than the whole
        parts.append(own[rows] - torch.logsumexp(logs, -1))
    terms = torch.cat(parts) + math.log(count)
    rate = gaussian_kl(mean, log_var).mean().item()
    information = terms.mean().item()
    return Surgery(
        rate=rate,
        mutual_information=information,
        marginal_kl=rate - information,
        log_count=math.log(count),
        standard_error=terms.std().item() / math.sqrt(count) if count > 1 else math.nan,
    )


def _log_densities(mean: Tensor, log_var: Tensor, draws: Tensor) -> Callable[[Tensor], Tensor]:
    """What maps points (R, J) to log-densities under all components, (R, N), but for log(2 pi) J / 2."""
    precision = torch.exp(-log_var)
    reach = ((draws.abs().amax(0) + mean.abs()).square() * precision).sum(-1).max()
    if torch.finfo(torch.float64).eps * reach < ROUNDING:  # neither inf nor nan is
        constant = -0.5 * (mean.square() * precision + log_var).sum(-1)
        weights = torch.cat([-0.5 * precision, mean * precision, constant[:, None]], -1).T.contiguous()

        def by_products(z: Tensor) -> Tensor:
            return torch.cat([z.square(), z, torch.ones_like(z[:, :1])], -1) @ weights

        return by_products

    def by_differences(z: Tensor) -> Tensor:
        logs = -0.5 * log_var.sum(-1).repeat(len(z), 1)
        for here, centre, scale in zip(z.T, mean.T, torch.exp(-0.5 * log_var).T, strict=True):
            logs -= 0.5 * ((here[:, None] - centre) * scale).square()
        return logs

    return by_differences


# --- What the above share -------------------------------------------------------------------------------


def _tables(**tables: Tensor) -> list[Tensor]:
    """Give tables of one shape (N, J) as float64; ValueError where one is none or not finite."""
    (first, shape), *_ = ((name, tuple(table.shape)) for name, table in tables.items())
    for name, table in tables.items():
        if table.ndim != 2 or table.numel() == 0:
            raise ValueError(
                f"{name} has shape {tuple(table.shape)}: give (N, J), a row for each image and a column for "
                "each latent, at least one of both"
            )
        if tuple(table.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(table.shape)}, {first} has {shape}: they must agree")
        wrong = (~table.isfinite() & ((table != -math.inf) | (name != "log_var"))).nonzero()
        if len(wrong):
            row, column = wrong[0].tolist()
            raise ValueError(
                f"{name}[{row}, {column}] is {table[row, column].item()}: look for the image or the weights "
                "that it comes from"
            )
    return [table.detach().double() for table in tables.values()]


def _levels(draws: Tensor) -> Tensor:
    """0, 1/N, ..., 1: the shares of draws at which the quantile function steps, shape (N + 1, 1)."""
    return torch.arange(len(draws) + 1, dtype=torch.float64)[:, None] / len(draws)


def _density(z: Tensor) -> Tensor:
    """The standard normal density."""
    return torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
