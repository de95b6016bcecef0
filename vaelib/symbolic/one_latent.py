"""Models with one latent, small enough to integrate: the evidence, the true posterior, the best normal q.

Everything here is quadrature in plain Python: nothing is drawn. The integrands are smooth and vanish at both
ends, and for such the trapezoidal rule is exact to rounding once its step is small enough. Book: page 6.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# Standard normal noise and its weights: beyond 9 deviations less than 1e-18 of it is left.
STEP = 1 / 8
NOISE = [(k * STEP, STEP * math.exp(-((k * STEP) ** 2) / 2) / math.sqrt(2 * math.pi)) for k in range(-72, 73)]
# Where the posterior may live, and how finely it is looked at: as finely as it takes two grids to agree.
REACH, CELLS, AGREE = 12, (64, 128, 256, 512, 1024, 2048, 4096), 1e-11
# Of the search for the best q: below this slope the ELBO is at its top to the last digit.
SLOPE, SEARCH = 1e-9, 2000


class Normal(NamedTuple):
    """A normal distribution of one latent, by mean and standard deviation."""

    mean: float
    deviation: float

    def log_density(self, z: float) -> float:
        """Return the log-density at a point, in nats."""
        scaled = (z - self.mean) / self.deviation
        return -0.5 * (scaled * scaled + math.log(2 * math.pi)) - math.log(self.deviation)

    def density(self, z: float) -> float:
        """Return the density at a point."""
        return math.exp(self.log_density(z))

    def expectation(self, function: Callable[[float], float]) -> float:
        """Return the mean of a smooth function of the latent, by quadrature."""
        return math.fsum(weight * function(self.mean + self.deviation * noise) for noise, weight in NOISE)


PRIOR = Normal(0.0, 1.0)


def rate(q: Normal) -> float:
    r"""What q says about the latent that the prior did not, in nats.

    .. math::

        \mathrm{KL}\bigl(\mathcal N(\mu, \sigma^2) \,\|\, \mathcal N(0, 1)\bigr)
        = \frac{1}{2} \bigl( \mu^2 + \sigma^2 - 1 - \log \sigma^2 \bigr)

    References
    ----------
    Book: eq-gaussian-kl.
    """
    return 0.5 * (q.mean**2 + q.deviation**2 - 1) - math.log(q.deviation)


@dataclass(frozen=True)
class OneLatent:
    r"""One data point under a decoder of any shape, with one latent and normal noise.

    .. math::

        p(z) = \mathcal N(0, 1), \qquad p(x \mid z) = \prod_{d=1}^{D} \mathcal N(x_d; f_d(z), s^2)

    Parameters
    ----------
    decoder : callable
        f: takes a number, returns D of them. It must be smooth.
    x : sequence of float
        The D numbers that are observed.
    variance : float
        :math:`s^2`, of the noise.

    Raises
    ------
    ValueError
        If the variance is not positive, or the decoder gives another number of values than ``x`` has.
    """

    decoder: Callable[[float], Sequence[float]]
    x: Sequence[float]
    variance: float

    def __post_init__(self) -> None:
        if not 0 < self.variance < math.inf:
            raise ValueError(f"variance is {self.variance}: it must be a positive number")
        given = len(self.decoder(0.0))
        if given != len(self.x):
            raise ValueError(f"the decoder gives {given} values, and x has {len(self.x)}")

    def log_likelihood(self, z: float) -> float:
        r"""Return :math:`\log p(x \mid z)`, in nats."""
        squared = sum((x - mean) ** 2 for x, mean in zip(self.x, self.decoder(z), strict=True))
        return -0.5 * (squared / self.variance + len(self.x) * math.log(2 * math.pi * self.variance))

    def log_joint(self, z: float) -> float:
        r"""Return :math:`\log p(x, z)`, in nats."""
        return PRIOR.log_density(z) + self.log_likelihood(z)

    @functools.cached_property
    def _table(self) -> tuple[float, list[tuple[float, float]]]:
        """The log-evidence, and points over the line with the posterior's probability around each."""
        for cells in CELLS:
            points = [k / cells for k in range(-REACH * cells, REACH * cells + 1)]
            logs = [self.log_joint(z) for z in points]
            top = max(logs)
            masses = [math.exp(log - top) for log in logs]
            fine, coarse = math.fsum(masses), 2 * math.fsum(masses[::2])
            if abs(fine - coarse) <= AGREE * fine:
                log_evidence = top + math.log(fine / cells)
                return log_evidence, [(z, mass / fine) for z, mass in zip(points, masses, strict=True)]
        raise ValueError(
            f"the posterior is too narrow for points {1 / CELLS[-1]} apart, or the decoder is not smooth: "
            f"take a variance larger than {self.variance}"
        )

    @property
    def log_evidence(self) -> float:
        r"""The log-evidence :math:`\log p(x)` in nats, by quadrature over the latent.

        Raises
        ------
        ValueError
            If the posterior is so narrow that even the finest two grids disagree on it.
        """
        return self._table[0]

    def posterior(self, z: float) -> float:
        r"""Return the density of the true posterior, :math:`p(x, z) / p(x)`."""
        return math.exp(self.log_joint(z) - self.log_evidence)

    @property
    def posterior_moments(self) -> Normal:
        """Mean and standard deviation of the true posterior, which need not be normal."""
        mean = math.fsum(mass * z for z, mass in self._table[1])
        variance = math.fsum(mass * (z - mean) ** 2 for z, mass in self._table[1])
        return Normal(mean, math.sqrt(variance))

    def distortion(self, q: Normal) -> float:
        r"""Return :math:`-\mathbb E_{q(z)}[\log p(x \mid z)]`, in nats."""
        return -q.expectation(self.log_likelihood)

    def elbo(self, q: Normal) -> float:
        r"""Return the evidence lower bound of a normal q, in nats.

        .. math::

            \mathcal L(q) = \mathbb E_{q(z)}[\log p(x \mid z)] - \mathrm{KL}\bigl(q(z) \,\|\, p(z)\bigr)

        References
        ----------
        Book: eq-elbo-splits.
        """
        return -self.distortion(q) - rate(q)

    def gap(self, q: Normal) -> float:
        r"""Return what the bound lacks, :math:`\log p(x) - \mathcal L(q)`, in nats (book: eq-identity)."""
        return self.log_evidence - self.elbo(q)

    def slopes(self, q: Normal) -> tuple[float, float]:
        r"""Return the ELBO's derivatives in the mean and in the logarithm of the deviation.

        .. math::

            \frac{\partial \mathcal L}{\partial \mu} = \frac{1}{\sigma} \mathbb E[\epsilon \log p(x, z)],
            \frac{\partial \mathcal L}{\partial \log \sigma} = \mathbb E[(\epsilon^2 - 1) \log p(x, z)] + 1,
            \qquad z = \mu + \sigma \epsilon

        The decoder's own derivative is not needed: that of q's density is.
        """
        values = [(noise, weight * self.log_joint(q.mean + q.deviation * noise)) for noise, weight in NOISE]
        in_mean = math.fsum(noise * value for noise, value in values) / q.deviation
        return in_mean, math.fsum((noise * noise - 1) * value for noise, value in values) + 1

    def best_normal(self, start: Normal = PRIOR) -> Normal:
        """Climb from ``start`` to a normal q that no small change makes better.

        A posterior with several modes has several of them: which one is found depends on the start. (A start
        that is exactly between two of them may end on the ridge there.)
        Steps follow the natural gradient, the slopes measured in units of q's own width, which for a normal
        posterior arrives at once; a step that would lose is halved.

        Raises
        ------
        RuntimeError
            If the climb does not arrive.
        """
        q, value, slopes, size = start, self.elbo(start), self.slopes(start), 1.0
        for _ in range(SEARCH):
            steepness = _steepness(q, slopes)
            if steepness < SLOPE:
                return q
            stretch = max(-1.0, min(1.0, size * slopes[1] / 2))
            there = Normal(q.mean + size * q.deviation**2 * slopes[0], q.deviation * math.exp(stretch))
            height, tilt = self.elbo(there), self.slopes(there)
            # Near the top all heights are the same but for rounding: there a step has to level the ground.
            room = 1e-12 * (1 + abs(value))
            if height > value + room or (height > value - room and _steepness(there, tilt) < steepness):
                q, value, slopes, size = there, height, tilt, min(1.0, 1.5 * size)
            else:
                size /= 2
        raise RuntimeError(f"no best normal q was found from {start}: the last was {q}")


def _steepness(q: Normal, slopes: tuple[float, float]) -> float:
    """How far from level: the larger slope, in units of q's own width."""
    return max(abs(slopes[0]) * q.deviation, abs(slopes[1]))


class Surgery(NamedTuple):
    """A mean rate and its two parts, in nats."""

    rate: float
    marginal: float
    information: float


def surgery(encoded: Sequence[Normal]) -> Surgery:
    r"""Cut the mean rate of N data points into what their mixture pays and what tells them apart.

    .. math::

        \frac{1}{N} \sum_{n=1}^{N} \mathrm{KL}\bigl(q(z \mid x_n) \,\|\, p(z)\bigr)
        = \mathrm{KL}\bigl(q(z) \,\|\, p(z)\bigr) + \mathrm I(n; z)

    Parameters
    ----------
    encoded : sequence of Normal
        q(z | x_n) of each data point.

    Returns
    -------
    Surgery
        Three numbers, each computed from its own definition.

    References
    ----------
    Book: eq-surgery. Hoffman and Johnson (2016).
    """
    count = len(encoded)

    def log_mixture(z: float) -> float:
        logs = [q.log_density(z) for q in encoded]
        top = max(logs)
        return top + math.log(math.fsum(math.exp(log - top) for log in logs) / count)

    mixed = [[log_mixture(q.mean + q.deviation * noise) for noise, _ in NOISE] for q in encoded]
    marginal = information = 0.0
    for q, logs in zip(encoded, mixed, strict=True):
        for (noise, weight), log in zip(NOISE, logs, strict=True):
            z = q.mean + q.deviation * noise
            marginal += weight * (log - PRIOR.log_density(z)) / count
            information += weight * (q.log_density(z) - log) / count
    return Surgery(math.fsum(map(rate, encoded)) / count, marginal, information)
