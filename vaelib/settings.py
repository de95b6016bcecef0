"""What can be chosen, and what is chosen unless you say otherwise: plain data, no PyTorch needed."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from vaelib.errors import TrainingError

Activation = Literal["relu", "tanh"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Grid = Literal["gaussian", "linear"]
Likelihood = Literal["bernoulli", "gaussian"]
Schedule = Literal["cosine", "constant"]


@dataclass(frozen=True)
class Recipe:
    """How to train: everything that, with the model and the data, decides the result.

    Parameters
    ----------
    epochs : int
        Passes over the training images.
    batch_size : int
        Images in a step. The loss is a mean over them, so it does not change meaning with their number.
    learning_rate : float
        Adam's step size at its highest.
    schedule : {"cosine", "constant"}
        Whether the step size falls to 0 along a half cosine or stays; see
        :func:`vaelib.training.learning_rate_at`.
    warmup_epochs : float
        The step size first rises from 0 over this many epochs.
    beta : float
        Weight of the KL term; 1 is the ELBO.
    patience : int, optional
        Stop when this many epochs in a row have not improved on the best held-out objective, and go back
        to the best weights. Without it every epoch is run and the last weights are kept.
    seed : int
        Of the order of the images and of the noise.

    Raises
    ------
    TrainingError
        If a value makes no sense.
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 5e-3
    schedule: Schedule = "cosine"
    warmup_epochs: float = 1.0
    beta: float = 1.0
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what could not train."""
        checks = {
            "epochs must be at least 1": self.epochs >= 1,
            "batch_size must be at least 1": self.batch_size >= 1,
            "learning_rate must be a positive number": 0 < self.learning_rate < math.inf,
            f"schedule must be one of {', '.join(get_args(Schedule))}": self.schedule in get_args(Schedule),
            "warmup_epochs must not be negative": 0 <= self.warmup_epochs < math.inf,
            "beta must not be negative": 0 <= self.beta < math.inf,
            "patience must be at least 1": self.patience is None or self.patience >= 1,
        }
        for message, holds in checks.items():
            if not holds:
                raise TrainingError(f"{message}: it is {getattr(self, message.split()[0])}")
