"""Pictures to play with: in Jupyter with a kernel, and in the built book without one.

Each widget is an ``anywidget``: a Python class that holds data and state, and an ES module that computes and
draws. So a page keeps what it can do when no Python runs behind it.
"""

from vaelib.widgets.bayes import Bayes
from vaelib.widgets.beta_family import BetaFamily
from vaelib.widgets.draw_a_digit import DrawADigit
from vaelib.widgets.latent_pad import LatentPad
from vaelib.widgets.latent_traversal import LatentTraversal
from vaelib.widgets.the_gap import TheGap
from vaelib.widgets.training_replay import TrainingReplay
from vaelib.widgets.two_distributions import TwoDistributions
from vaelib.widgets.two_gradients import TwoGradients
from vaelib.widgets.units import UnitsCalculator
from vaelib.widgets.water_level import WaterLevel
from vaelib.widgets.weights import Weights, as_the_page_has_it

__all__ = [
    "Bayes",
    "BetaFamily",
    "DrawADigit",
    "LatentPad",
    "LatentTraversal",
    "TheGap",
    "TrainingReplay",
    "TwoDistributions",
    "TwoGradients",
    "UnitsCalculator",
    "WaterLevel",
    "Weights",
    "as_the_page_has_it",
]
