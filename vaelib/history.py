"""The record of a training run, a line an epoch."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple


class Epoch(NamedTuple):
    """One line of the history; nats for each image.

    The ``train_`` numbers are means over the epoch, while the weights still move; the ``held_out_`` ones
    are measured at its end, and ``None`` where there are no held-out images. All are with a KL weight of
    1 whatever ``beta`` was trained with, so that they compare. ``learning_rate`` is that of the epoch's
    last step; ``seconds`` counts training alone.
    """

    epoch: int
    train_elbo: float
    train_distortion: float
    train_rate: float
    held_out_elbo: float | None
    held_out_distortion: float | None
    held_out_rate: float | None
    learning_rate: float
    seconds: float


def history_csv(history: Sequence[Epoch]) -> str:
    """The history as CSV, a header and a line an epoch; an absent number is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Epoch._fields)
    writer.writerows(history)
    return text.getvalue()
