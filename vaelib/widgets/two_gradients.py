"""One gradient of an expectation, estimated in two ways from the same draws."""

from __future__ import annotations

import traitlets

from vaelib.widgets.core import Real, Widget, module


class TwoGradients(Widget):
    r"""Histograms of the score-function and of the pathwise gradient, and the variance of both.

    .. math::

        \frac{\partial}{\partial \mu} \mathbb E_{\mathcal N(z; \mu, \sigma^2)}[f(z)]
        = \mathbb E\left[(f(z) - c) \, \frac{\epsilon}{\sigma}\right]
        = \mathbb E\bigl[f'(z)\bigr], \qquad z = \mu + \sigma \epsilon, \quad \epsilon \sim \mathcal N(0, 1)

    An estimate is the mean of L draws; both estimators see the same noise.

    Parameters
    ----------
    **values
        Any of the traits below.

    Attributes
    ----------
    f : {"square", "sine", "wave"}
        :math:`z^2`, :math:`z^2 + \sin z` or :math:`\cos \omega z`.
    frequency : float
        :math:`\omega`, in [0.2, 6].
    mean : float
        :math:`\mu`, in [-3, 3].
    deviation : float
        :math:`\sigma`, in [0.05, 2].
    baseline : {"none", "mean", "best"}
        The constant c: 0, the mean of f, or the one that leaves the least variance.
    draws : int
        How many draws have been taken, up to 20,000.
    per_estimate : int
        L, how many draws an estimate averages.
    seed : int
        Names the noise, the same for every reader.

    References
    ----------
    Book: eq-score-gradient, eq-pathwise-gradient. Mohamed, Rosca, Figurnov and Mnih (2020).
    """

    _esm = module("two_gradients")
    f = traitlets.Enum(["square", "sine", "wave"], "square").tag(sync=True, share=True)
    frequency = Real(5.0, min=0.2, max=6).tag(sync=True, share=True)
    mean = Real(1.0, min=-3, max=3).tag(sync=True, share=True)
    deviation = Real(1.0, min=0.05, max=2).tag(sync=True, share=True)
    baseline = traitlets.Enum(["none", "mean", "best"], "none").tag(sync=True, share=True)
    draws = traitlets.Int(1000, min=1, max=20_000).tag(sync=True, share=True)
    per_estimate = traitlets.Int(1, min=1, max=100).tag(sync=True, share=True)
    seed = traitlets.Int(0, min=0, max=9999).tag(sync=True, share=True)
