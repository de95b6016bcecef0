"""Equations held against the code that implements them: the page's formula and PyTorch at the same points.

``make ledger`` evaluates the last side of each of these equations, as the page prints it, and compares it
with what is given here for the same values. Both compute in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from vaelib import divergences

# A few hundred roundings of float64 at most, or the panels of the formula's own quadrature.
RELATIVE = 1e-9

Values = Mapping[str, float]


def row(*entries: float) -> torch.Tensor:
    """Return one sample's parameters."""
    return torch.tensor([entries], dtype=torch.float64)


def log_var(*deviations: float) -> torch.Tensor:
    return 2 * row(*deviations).log()


AGAINST_TORCH: dict[str, Callable[[Values], float]] = {
    "eq-gaussian-kl": lambda v: divergences.gaussian_kl(
        row(v["mu1"], v["mu2"]), log_var(v["sigma1"], v["sigma2"])
    ).item(),
}
