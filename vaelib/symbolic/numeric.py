"""One quantity computed in several ways, side by side: what the "Verify it yourself" cells are made of.

Pure Python and mpmath, so that they run wherever the derivations do.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import mpmath

ENOUGH = 4.5  # standard errors: a right formula is further off once in 150,000 seeds


class Estimate(NamedTuple):
    """A mean of draws and its standard error."""

    value: float
    standard_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """Where the expectation lies with 95 % confidence, if the draws have a finite variance."""
        return self.value - 1.96 * self.standard_error, self.value + 1.96 * self.standard_error


def quadrature(
    function: Callable[[float], float],
    low: float = -math.inf,
    high: float = math.inf,
    *,
    centre: float = 0.0,
    width: float = 1.0,
) -> float:
    r"""Integrate with mpmath.

    .. math::

        \int_a^b f(z) \, dz

    Parameters
    ----------
    function : callable
        Takes and returns an mpmath number; use mpmath's functions in it.
    low, high : float
        The ends, which may be infinite.
    centre, width : float
        Where the integrand lives and how wide it is: there the range is cut.
    """
    cuts = [centre + k * width for k in (-12, -6, -3, -1, 0, 1, 3, 6, 12)]
    with mpmath.workdps(25):
        return float(mpmath.quad(function, [low, *(cut for cut in cuts if low < cut < high), high]))


def monte_carlo(draw: Callable[[random.Random], float], *, draws: int = 20_000, seed: int = 0) -> Estimate:
    r"""Estimate an expectation by the mean of draws.

    .. math::

        \bar f = \frac{1}{N} \sum_{i=1}^{N} f_i, \qquad
        \mathrm{SE}^2 = \frac{1}{N (N - 1)} \sum_{i=1}^{N} (f_i - \bar f)^2

    Parameters
    ----------
    draw : callable
        Gives one number, made with the generator that it is handed.
    draws : int
        N, at least 2.
    seed : int
        Of the generator.

    Raises
    ------
    ValueError
        If there are fewer than two draws, whose spread would say nothing.
    """
    if draws < 2:
        raise ValueError(f"draws is {draws}: the standard error needs at least 2")
    rng = random.Random(seed)
    values = [draw(rng) for _ in range(draws)]
    mean = math.fsum(values) / draws
    variance = math.fsum((value - mean) ** 2 for value in values) / (draws - 1)
    return Estimate(mean, math.sqrt(variance / draws))


@dataclass(frozen=True)
class SideBySide:
    """One quantity, computed in several ways; a notebook shows it as a table.

    Parameters
    ----------
    formula : float
        What the closed form gives.
    exact : mapping
        Other computations that should give the same number, by name.
    drawn : mapping
        Estimates of it, by name.
    tolerance : float
        Of the exact ones, relative to ``1 + abs(formula)``.
    """

    formula: float
    exact: dict[str, float]
    drawn: dict[str, Estimate]
    tolerance: float = 1e-9

    @property
    def agrees(self) -> bool:
        """Whether all computations say the same, draws within 4.5 standard errors."""
        room = self.tolerance * (1 + abs(self.formula))
        return all(abs(value - self.formula) <= room for value in self.exact.values()) and all(
            abs(estimate.value - self.formula) <= ENOUGH * estimate.standard_error + room
            for estimate in self.drawn.values()
        )

    def also(
        self, exact: Mapping[str, float] | None = None, drawn: Mapping[str, Estimate] | None = None
    ) -> "SideBySide":
        """Put further computations of the same quantity beside these.

        Parameters
        ----------
        exact : mapping, optional
            Computations that should give the same number, by name.
        drawn : mapping, optional
            Estimates of it, by name.

        Returns
        -------
        SideBySide
            A longer table; this one stays as it is.

        Raises
        ------
        ValueError
            If a name stands in the table already: the older number would be lost, and with it a disagreement.
        """
        exact, drawn = exact or {}, drawn or {}
        twice = sorted((self.exact.keys() & exact.keys()) | (self.drawn.keys() & drawn.keys()))
        if twice:
            raise ValueError(f"already in the table: {', '.join(twice)}; give the new row another name")
        return replace(self, exact={**self.exact, **exact}, drawn={**self.drawn, **drawn})

    def _repr_markdown_(self) -> str:
        lines = [
            "| computed by | value | off by |",
            "|---|---|---|",
            f"| the formula | {self.formula:.6f} | |",
        ]
        lines += [
            f"| {name} | {value:.6f} | {value - self.formula:.0e} |" for name, value in self.exact.items()
        ]
        for name, estimate in self.drawn.items():
            low, high = estimate.interval
            error = estimate.standard_error
            # Draws that are all the same differ by rounding, which is no measure of anything.
            spread = error > 1e-12 * (1 + abs(estimate.value))
            off = f"{(estimate.value - self.formula) / error:+.1f} standard errors" if spread else "no spread"
            lines.append(f"| {name} | {estimate.value:.4f}, 95 %: {low:.4f} to {high:.4f} | {off} |")
        return "\n".join(lines)
