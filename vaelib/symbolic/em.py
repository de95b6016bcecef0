"""EM for a mixture of normals: the ELBO with a latent that has few values. Book: page 6.

Plain Python: the expectation over the latent is a sum, so that nothing is drawn and nothing approximated.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Mixture:
    r"""A mixture of normal distributions with one common deviation.

    .. math::

        p(z = k) = \pi_k, \qquad p(x \mid z = k) = \mathcal N(x; \mu_k, s^2)

    Parameters
    ----------
    weights : sequence of float
        :math:`\pi_k`, which sum to 1.
    means : sequence of float
        :math:`\mu_k`.
    deviation : float
        s, which no step changes.

    Raises
    ------
    ValueError
        If there are not as many weights as means, they do not sum to 1, or the deviation is not positive.
    """

    weights: Sequence[float]
    means: Sequence[float]
    deviation: float

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.means):
            raise ValueError(f"there are {len(self.weights)} weights for {len(self.means)} means")
        if min(self.weights) < 0 or not math.isclose(math.fsum(self.weights), 1, abs_tol=1e-12):
            raise ValueError(f"the weights {self.weights} must be at least 0 and sum to 1")
        if not self.deviation > 0:
            raise ValueError(f"deviation is {self.deviation}: it must be positive")

    def log_joint(self, x: float) -> list[float]:
        r"""Return :math:`\log p(x, z = k)` for each k, in nats; minus infinity for a weight of 0."""
        return [
            (math.log(weight) if weight else -math.inf)
            - (x - mean) ** 2 / (2 * self.deviation**2)
            - 0.5 * math.log(2 * math.pi * self.deviation**2)
            for weight, mean in zip(self.weights, self.means, strict=True)
        ]

    def log_evidence(self, data: Sequence[float]) -> float:
        r"""Return :math:`\sum_n \log p(x_n)`, in nats."""
        return math.fsum(_log_sum(self.log_joint(x)) for x in data)


Responsibilities = list[list[float]]


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(log - top) for log in logs))


def e_step(data: Sequence[float], model: Mixture) -> Responsibilities:
    r"""Close the gap: let q be the posterior of each data point.

    .. math::

        r_{n,k} = \frac{\pi_k \mathcal N(x_n; \mu_k, s^2)}{\sum_j \pi_j \mathcal N(x_n; \mu_j, s^2)}

    References
    ----------
    Book: eq-gibbs.
    """
    joints = [model.log_joint(x) for x in data]
    return [[math.exp(log - _log_sum(logs)) for log in logs] for logs in joints]


def m_step(data: Sequence[float], q: Responsibilities, deviation: float) -> Mixture:
    r"""Raise the bound: take the weights and means at which it is highest for the given q.

    .. math::

        \hat\pi_k = \frac{1}{N} \sum_{n=1}^{N} r_{n,k}, \qquad
        \hat\mu_k = \frac{\sum_{n=1}^{N} r_{n,k} x_n}{\sum_{n=1}^{N} r_{n,k}}

    Raises
    ------
    ValueError
        If a component is left without any data.

    References
    ----------
    Book: eq-m-step. Dempster, Laird and Rubin (1977).
    """
    totals = [math.fsum(row[k] for row in q) for k in range(len(q[0]))]
    if min(totals) == 0:
        raise ValueError(f"component {totals.index(0)} has lost all data: start its mean elsewhere")
    sums = [math.fsum(row[k] * x for row, x in zip(q, data, strict=True)) for k in range(len(totals))]
    means = [part / total for part, total in zip(sums, totals, strict=True)]
    return Mixture([total / math.fsum(totals) for total in totals], means, deviation)


def bound(data: Sequence[float], q: Responsibilities, model: Mixture) -> float:
    r"""Return the ELBO of all data points together, in nats.

    .. math::

        \mathcal L(q) = \sum_{n} \sum_k r_{n,k} \log \frac{p(x_n, z = k)}{r_{n,k}}

    References
    ----------
    Book: def-elbo.
    """
    return math.fsum(
        r * (log - math.log(r))
        for x, row in zip(data, q, strict=True)
        for r, log in zip(row, model.log_joint(x), strict=True)
        if r
    )


class HalfStep(NamedTuple):
    """Where EM stands after one of its half steps; numbers in nats."""

    step: str  # "E" or "M"
    model: Mixture
    bound: float
    log_evidence: float


def em(data: Sequence[float], model: Mixture, *, rounds: int) -> Iterator[HalfStep]:
    """Climb by turns in q and in the model; yield a line after every half step.

    Parameters
    ----------
    data : sequence of float
    model : Mixture
        Where to start.
    rounds : int
        How many E steps, each followed by an M step.

    References
    ----------
    Book: eq-em. Neal and Hinton (1998).
    """
    for _ in range(rounds):
        q = e_step(data, model)
        yield HalfStep("E", model, bound(data, q, model), model.log_evidence(data))
        model = m_step(data, q, model.deviation)
        yield HalfStep("M", model, bound(data, q, model), model.log_evidence(data))
