"""The reader draws a digit; encoder and decoder answer."""

from __future__ import annotations

from typing import Any

import torch
import traitlets

from vaelib.data import Images
from vaelib.evaluation import encode, evaluate
from vaelib.figures import DIGITS
from vaelib.models import VAE
from vaelib.widgets.core import Text, Widget, module
from vaelib.widgets.latent_pad import halves
from vaelib.widgets.weights import Weights, check_latents, half

DRAWS = 8
NEAREST = 1000


class DrawADigit(Widget):
    r"""A sheet to draw on, and what a VAE says of the drawing.

    .. math::

        -\frac{1}{L} \sum_{l=1}^{L} \log p_\theta(x \mid z_l), \qquad
        \mathrm{KL}(q_\phi(z \mid x) \,\|\, p(z)), \qquad z_l = \mu_\phi(x) + \sigma_\phi(x) \odot \epsilon_l

    Distortion and rate in nats, with the same L = 8 draws of noise for every drawing, so that the numbers
    move with the pen and not by chance. The drawing is scaled and centred as MNIST's digits are.

    Parameters
    ----------
    model : VAE
        With two latents.
    images : Images
        Their means are the dots; the first 1,000 are those among which the nearest is sought, and the
        examples; over all of them the usual distortion, rate and ELBO are measured.
    span : float
        The plane's half-width.
    seed : int
        Of the noise.
    **values
        Any of the traits below.

    Attributes
    ----------
    strokes : str
        The drawing: two letters for each point on a 64 by 64 sheet, a full stop between strokes.
    example : int
        The position of a test image that is shown instead; -1 for the drawing.
    noise : list of list of float
        :math:`\epsilon`.

    References
    ----------
    Book: eq-elbo, def-sgvb. Kingma and Welling (2014), equation (7).
    """

    _esm = module("draw_a_digit")
    encoder = half()
    decoder = half()
    images = traitlets.Bytes().tag(sync=True)
    classes = traitlets.Bytes().tag(sync=True)
    points = traitlets.Bytes().tag(sync=True)
    labels = traitlets.Bytes().tag(sync=True)
    colours = traitlets.List(list(DIGITS)).tag(sync=True)
    noise: traitlets.List[list[float]] = traitlets.List().tag(sync=True)
    usual: traitlets.List[float] = traitlets.List().tag(sync=True)
    span = traitlets.Float(4.0).tag(sync=True)
    strokes = Text().tag(sync=True, share=True, pattern=r"(([\w-]{2})+(\.|$)){0,200}")
    example = traitlets.Int(-1, min=-1, max=NEAREST - 1).tag(sync=True, share=True)

    def __init__(
        self, model: VAE, images: Images, *, span: float = 4.0, seed: int = 0, **values: Any
    ) -> None:
        check_latents(model, 2)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(DRAWS, 2, generator=generator)
        usual = evaluate(model, images, generator=generator)
        near = images[:NEAREST]
        super().__init__(
            encoder=Weights(model, "encoder"),
            decoder=Weights(model, "decoder"),
            images=near.pixels.numpy().tobytes(),
            classes=bytes(near.labels.tolist()),
            points=halves(encode(model, images)[0]),
            labels=bytes(images.labels.tolist()),
            noise=noise.tolist(),
            usual=[usual.distortion, usual.rate, usual.elbo],
            span=span,
            **values,
        )
