"""The eigenvalues of data as a landscape, and the noise of a linear VAE as the water that floods it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets
from torch import Tensor

from vaelib.widgets.core import Real, Widget, module


class WaterLevel(Widget):
    r"""What the best linear VAE does with each direction of the data, for any noise variance of its decoder.

    .. math::

        \mathrm{rate}_j = \frac{1}{2} \log \frac{\lambda_j}{\sigma^2}, \quad \mathrm{error}_j = \sigma^2 \quad
        \text{if } \lambda_j > \sigma^2 \text{ and } j \le J, \text{ else } 0 \text{ and } \lambda_j,

    .. math::

        \mathrm{distortion} = \frac{D}{2} \log 2 \pi \sigma^2
        + \frac{1}{2 \sigma^2} \sum_{j=1}^{D} \mathrm{error}_j, \qquad
        \frac{1}{N} \sum_{i=1}^{N} \log p(x_i) = - \sum_{j=1}^{J} \mathrm{rate}_j - \mathrm{distortion}

    Parameters
    ----------
    eigenvalues : Tensor or sequence of float, shape (D,)
        :math:`\lambda` of the data's covariance, all D of them, the largest first; none negative.
    **values
        Any of the traits below.

    Attributes
    ----------
    variance : float
        :math:`\sigma^2`, the water level, within [0.001, 1000].
    latent_dim : int
        J, how many latents there are.
    unit : int
        The direction that is looked at, from 1.
    bars : int
        How many directions are drawn.
    axis : {"log", "linear"}
        Of the variances.

    Raises
    ------
    ValueError
        If the eigenvalues are no such list.

    References
    ----------
    Book: eq-water-filling, eq-ppca-profile. Tipping and Bishop (1999); Lucas et al. (2019).
    """

    _esm = module("water_level")
    spectrum = traitlets.Bytes().tag(sync=True)
    variance = Real(1.0, min=1e-3, max=1e3).tag(sync=True, share=True)
    latent_dim = traitlets.Int(20, min=1, max=100_000).tag(sync=True, share=True)
    unit = traitlets.Int(1, min=1, max=100_000).tag(sync=True, share=True)
    bars = traitlets.Int(40, min=1, max=100_000).tag(sync=True, share=True)
    axis = traitlets.Enum(["log", "linear"], "log").tag(sync=True, share=True)

    def __init__(self, eigenvalues: Tensor | Sequence[float], **values: Any) -> None:
        numbers = np.asarray(eigenvalues, dtype=np.float64)
        if numbers.ndim != 1 or len(numbers) < 2:
            raise ValueError(f"eigenvalues have shape {numbers.shape}: a list of two or more is needed")
        if not (np.isfinite(numbers).all() and (numbers >= 0).all() and numbers[0] > 0):
            raise ValueError("eigenvalues of a covariance are finite and never negative, and not all are 0")
        if (np.diff(numbers) > 0).any():
            raise ValueError(
                "eigenvalues come with the largest first, as vaelib.linear.spectrum returns them"
            )
        super().__init__(spectrum=numbers.tobytes(), **values)
