"""Prior times likelihood over evidence, and the evidence as an area."""

from __future__ import annotations

import traitlets

from vaelib.widgets.core import Real, Widget, module


def choice(default: float, low: float, high: float) -> traitlets.Float[float, float]:
    """A number that the reader moves within limits."""
    return Real(default, min=low, max=high).tag(sync=True, share=True)


class Bayes(Widget):
    r"""A normal prior, a likelihood with normal noise, their product, and the area that makes it a posterior.

    .. math::

        p(z \mid x) = \frac{p(x \mid z) \, p(z)}{p(x)}, \qquad
        p(x) = \int p(x \mid z) \, p(z) \, dz \approx h \sum_{i=1}^{k} p(x \mid z_i) \, p(z_i)

    with :math:`z \sim \mathcal N(m, s^2)` and :math:`x \sim \mathcal N(z, \sigma^2)` ("straight") or
    :math:`x \sim \mathcal N(z^2, \sigma^2)` ("squares"). The k rectangles stand side by side from
    :math:`m - 6 s` to :math:`m + 6 s`, each as high as the product above its middle.

    Parameters
    ----------
    **values
        Any of the traits below.

    Attributes
    ----------
    decoder : {"straight", "squares"}
    x : float
        What is seen, in [-3, 3].
    mean, deviation : float
        Of the prior: m in [-1.5, 1.5] and s in [0.3, 3].
    noise : float
        Standard deviation of the likelihood, :math:`\sigma` in [0.1, 1.5].
    points : int
        How many rectangles, k, 1 to 300.

    References
    ----------
    Book: eq-bayes, eq-evidence, eq-conjugate, def-grid.
    """

    _esm = module("bayes")
    decoder = traitlets.Enum(["straight", "squares"], "straight").tag(sync=True, share=True)
    x = choice(1.0, -3, 3)
    mean = choice(0.0, -1.5, 1.5)
    deviation = choice(1.0, 0.3, 3)
    noise = choice(0.5, 0.1, 1.5)
    points = traitlets.Int(10, min=1, max=300).tag(sync=True, share=True)
