"""A digit decoded under the pointer as it moves over the latent plane."""

from __future__ import annotations

from typing import Any

import torch
import traitlets

from vaelib.data import Images
from vaelib.evaluation import encode
from vaelib.figures import DIGITS
from vaelib.models import VAE
from vaelib.widgets.core import Real, Widget, module
from vaelib.widgets.weights import Weights, check_latents, half


def halves(numbers: torch.Tensor) -> bytes:
    """Numbers in half precision, as bytes."""
    return numbers.to(torch.float16).contiguous().numpy().tobytes()


def place(default: tuple[float, float], span: float = 6.0) -> traitlets.List[float]:
    """A point on the plane, as a trait that a link may carry."""
    entry = Real(min=-span, max=span)
    return traitlets.List(entry, list(default), minlen=2, maxlen=2).tag(sync=True, share=True)


class LatentPad(Widget):
    r"""A plane over two latents, with the image decoded under the pointer.

    .. math::

        \mathbb E[x \mid z], \qquad z \in [-s, s]^2

    In the mode "path" it decodes along the way between two points: a chord, or an arc that keeps its distance
    from the origin between those of its ends,

    .. math::

        z(t) = \frac{\sin((1 - t) \omega)}{\sin \omega} a + \frac{\sin(t \omega)}{\sin \omega} b, \qquad
        \omega = \angle(a, b)

    Parameters
    ----------
    model : VAE
        With two latents.
    images : Images, optional
        Their means are the dots, coloured by class.
    span : float
        The plane's half-width s.
    **values
        Any of the traits below.

    Attributes
    ----------
    z : list of float
        Where the point is; set it, and the picture moves.
    held : bool
        Whether the point stays when the pointer passes.
    mode : {"point", "path"}
    way : {"straight", "spherical"}
    start, end : list of float
        The path's ends.
    t : float
        How far along the path, in [0, 1].

    References
    ----------
    Book: def-manifold. White (2016), "Sampling generative networks", for the arc.
    """

    _esm = module("latent_pad")
    decoder = half()
    points = traitlets.Bytes().tag(sync=True)
    labels = traitlets.Bytes().tag(sync=True)
    colours = traitlets.List(list(DIGITS)).tag(sync=True)
    span = traitlets.Float(4.0).tag(sync=True)
    z = place((0.0, 0.0))
    held = traitlets.Bool(False).tag(sync=True, share=True)
    mode = traitlets.Enum(["point", "path"], "point").tag(sync=True, share=True)
    way = traitlets.Enum(["straight", "spherical"], "straight").tag(sync=True, share=True)
    start = place((-2.0, 0.5))
    end = place((1.5, 1.5))
    t = Real(0.5, min=0, max=1).tag(sync=True, share=True)

    def __init__(
        self,
        model: VAE,
        images: Images | None = None,
        *,
        span: float = 4.0,
        **values: Any,
    ) -> None:
        check_latents(model, 2)
        if images is not None:
            values |= {"points": halves(encode(model, images)[0]), "labels": bytes(images.labels.tolist())}
        super().__init__(decoder=Weights(model, "decoder"), span=span, **values)
