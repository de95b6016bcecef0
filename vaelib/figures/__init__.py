"""The book's pictures, one function each. They take numbers and give a Matplotlib figure, and train nothing.

Figures are built without ``pyplot``: no global state, nothing to close. Backgrounds are transparent and
lines mid-grey, so that one picture serves light and dark pages.
"""

from vaelib.figures.curves import Line, Panel, loss_curves, plot
from vaelib.figures.images import manifold, reconstructions, sheet, tile
from vaelib.figures.latents import latent_distances, latent_scatter, principal_names, qq, strips
from vaelib.figures.maps import class_pairs, confusion, latent_values
from vaelib.figures.replay import Replay
from vaelib.figures.shapes import FeatureMap, feature_maps, shapes
from vaelib.figures.style import (
    DATA,
    DIGITS,
    DISTORTION,
    ELBO,
    INK,
    LATENT,
    PHI,
    RATE,
    THETA,
    Picture,
)

__all__ = [
    "DATA",
    "DIGITS",
    "DISTORTION",
    "ELBO",
    "INK",
    "LATENT",
    "PHI",
    "RATE",
    "THETA",
    "FeatureMap",
    "Line",
    "Panel",
    "Picture",
    "Replay",
    "class_pairs",
    "confusion",
    "feature_maps",
    "latent_distances",
    "latent_scatter",
    "latent_values",
    "loss_curves",
    "manifold",
    "plot",
    "principal_names",
    "qq",
    "reconstructions",
    "shapes",
    "sheet",
    "strips",
    "tile",
]
