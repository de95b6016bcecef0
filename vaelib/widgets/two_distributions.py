"""Two normal or two uniform distributions drawn apart, with what six distances say and how they pull."""

from __future__ import annotations

import traitlets

from vaelib.widgets.core import Real, Widget, module


def mean(default: float) -> traitlets.Float[float, float]:
    """Where a distribution is, as a trait that a link may carry."""
    return Real(default, min=-4, max=4).tag(sync=True, share=True)


def width() -> traitlets.Float[float, float]:
    """How wide a distribution is, as a trait that a link may carry."""
    return Real(1.0, min=0.1, max=3).tag(sync=True, share=True)


class TwoDistributions(Widget):
    r"""Two distributions on a line, what six distances say of them, and how each changes with the separation.

    .. math::

        \mathrm{KL}(q \,\|\, p), \quad \mathrm{KL}(p \,\|\, q), \quad \mathrm{JS}(q, p), \quad
        \mathrm{TV}(q, p), \quad W_1(q, p), \quad W_2(q, p), \qquad
        \frac{\partial}{\partial \delta}, \quad \delta = |\mu_q - \mu_p|

    All by formula, but for Jensen-Shannon between normal distributions, which has none and is integrated.
    Slopes are those of moving further apart, so that a kink, as total variation has one at equal
    distributions, has a slope too; that of an infinite value is none.

    Parameters
    ----------
    **values
        Any of the traits below.

    Attributes
    ----------
    family : {"normal", "uniform"}
    mean_q, mean_p : float
        In units of z, within [-4, 4].
    width_q, width_p : float
        The deviation of a normal distribution, the length of a uniform one's interval; within [0.1, 3].
    shown : {"kl", "reverse", "js", "tv", "w1", "w2"}
        Which distance the chart of the separation draws.

    References
    ----------
    Book: eq-pull, eq-uniform-shift. Arjovsky et al. (2017), "Wasserstein GAN", example 1.
    """

    _esm = module("two_distributions")
    family = traitlets.Enum(["normal", "uniform"], "normal").tag(sync=True, share=True)
    mean_q = mean(2.0)
    width_q = width()
    mean_p = mean(0.0)
    width_p = width()
    shown = traitlets.Enum(["kl", "reverse", "js", "tv", "w1", "w2"], "kl").tag(sync=True, share=True)
