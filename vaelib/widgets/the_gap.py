"""Evidence, bound and what lies between them, with one latent."""

from __future__ import annotations

import traitlets

from vaelib.widgets.core import Real, Widget, module


class TheGap(Widget):
    r"""A normal q that is dragged over the true posterior of a decoder with one latent.

    .. math::

        \log p(x) = \mathcal L(q) + \mathrm{KL}\bigl(q(z) \,\|\, p(z \mid x)\bigr), \qquad
        \mathcal L_k = \mathbb E\left[ \log \frac{1}{k} \sum_{i=1}^{k} \frac{p(x, z_i)}{q(z_i)} \right],
        \quad z_i \sim q

    The models are the page's: :math:`z \sim \mathcal N(0, 1)`, :math:`x \sim \mathcal N(f(z), 1/20)`, with
    :math:`f(z) = 2 z` ("straight") or :math:`\tanh 2 z` ("bent") and x = 1/2 observed, or :math:`f(z) = z^2`
    ("two-humped") and x = 1. All is quadrature, even the bound of k draws: nothing is drawn at random.

    Parameters
    ----------
    **values
        Any of the traits below.

    Attributes
    ----------
    decoder : {"straight", "bent", "two-humped"}
    mean, deviation : float
        Of q, in [-2, 2] and [0.02, 1.25].
    k : int
        How many draws of q the importance-weighted bound takes, 1 to 1024; with one it is the ELBO.
    compare : bool
        Whether the best normal q and the one with the posterior's own mean and deviation are shown as well.

    References
    ----------
    Book: eq-identity, def-iwae. Burda, Grosse and Salakhutdinov (2016), for the bound of k draws.
    """

    _esm = module("the_gap")
    decoder = traitlets.Enum(["straight", "bent", "two-humped"], "bent").tag(sync=True, share=True)
    mean = Real(0.0, min=-2, max=2).tag(sync=True, share=True)
    deviation = Real(0.3, min=0.02, max=1.25).tag(sync=True, share=True)
    k = traitlets.Int(1, min=1, max=1024).tag(sync=True, share=True)
    compare = traitlets.Bool(False).tag(sync=True, share=True)
