"""A loss as people write it, read as a decoder's deviation, as a beta, and in nats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import traitlets

from vaelib.widgets.core import Real, Widget, module


def positive(default: float, low: float, high: float) -> Real:
    """A number that a reader types, with as many decimals as a link may carry."""
    return Real(default, min=low, max=high).tag(sync=True, share=True, digits=9)


class UnitsCalculator(Widget):
    r"""A calculator from a weighted loss to the decoder that it stands for, and back.

    .. math::

        w \, (\text{mean or sum of squares}) + w' \, \mathrm{KL} \quad \Longrightarrow \quad
        \sigma = \frac{1}{s} \sqrt{\frac{D w'}{2 w}} \ \text{(without D for a sum)}, \qquad
        \beta = \frac{\sigma^2}{\sigma_\star^2}

    It computes in the browser what :mod:`vaelib.units` computes in Python.

    Parameters
    ----------
    presets : mapping of str to mapping, optional
        Losses that the reader can choose by a button: for each name the traits below that it sets. An error
        or a rate that it does not name is taken back.
    **values
        Any of the traits below.

    Attributes
    ----------
    weight, kl_weight : float
        w and w', in [1e-6, 1e6].
    reduction : {"mean", "sum"}
        What the loss does with the squares of one image.
    span : {1, 2}
        s, the length of the range of the pixels: 1 for [0, 1], 2 for [-1, 1].
    data_dim : int
        D, the number of pixels.
    error : float
        The squared error that was measured, reduced as the loss reduces it and on its range; 0 if none was.
    rate : float
        The KL term that was measured, in nats an image.

    Raises
    ------
    ValueError
        If a preset names no trait of these, or a value that the trait does not take.

    References
    ----------
    Book: eq-dial, eq-reduction, eq-calibrated. Rybkin, Daniilidis and Levine (2021).
    """

    _esm = module("units")
    presets = traitlets.Dict().tag(sync=True)
    weight = positive(1.0, 1e-6, 1e6)
    kl_weight = positive(1.0, 1e-6, 1e6)
    reduction = traitlets.Enum(["mean", "sum"], "mean").tag(sync=True, share=True)
    span = traitlets.Enum([1, 2], 1).tag(sync=True, share=True)
    data_dim = traitlets.Int(784, min=1, max=10_000_000).tag(sync=True, share=True)
    error = positive(0.0, 0, 1e8)
    rate = positive(0.0, 0, 1e6)

    def __init__(self, presets: Mapping[str, Mapping[str, Any]] | None = None, **values: Any) -> None:
        super().__init__(presets={name: dict(preset) for name, preset in (presets or {}).items()}, **values)
        for name, preset in self.presets.items():
            for trait, value in preset.items():
                try:
                    self.traits(share=True)[trait]._validate(self, value)
                except KeyError:
                    known = ", ".join(self.traits(share=True))
                    raise ValueError(f"preset {name!r} sets {trait}, which is none of {known}") from None
                except traitlets.TraitError as error:
                    raise ValueError(f"preset {name!r}: {error}") from error
