"""What can be chosen, and what is chosen unless you say otherwise: plain data, no PyTorch needed."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from vaelib.errors import TrainingError

Activation = Literal["relu", "tanh"]
Architecture = Literal["mlp", "conv"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Grid = Literal["gaussian", "linear"]
Head = Literal["linear", "convolution"]
Likelihood = Literal["bernoulli", "gaussian"]
OptimizerName = Literal["adam", "adamw", "adagrad"]
Posterior = Literal["normal", "point", "prior"]
Precision = Literal["fp32", "bf16"]
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
    drop_last : bool
        Leave out an epoch's last batch where it is smaller than the others.
    optimizer : {"adam", "adamw", "adagrad"}
        Adam as Kingma and Ba have it, with the weight decay apart, or the paper's Adagrad.
    learning_rate : float
        The optimiser's step size at its highest.
    weight_decay : float
        AdamW's decay in units of the step size; with the others the weight of half the squared weights,
        added to the loss: 1 / N is a standard normal prior over the weights, given N training images.
    schedule : {"cosine", "constant"}
        Whether the step size falls to 0 along a half cosine or stays; see
        :func:`vaelib.training.learning_rate_at`.
    warmup_epochs : float
        The step size first rises from 0 over this many epochs.
    beta : float
        Weight of the KL term; 1 is the ELBO.
    beta_warmup_epochs : float
        That weight first rises from 0 over this many epochs.
    free_bits : float
        Nats that each latent may say of each image at no price: below, its KL term has no gradient.
    precision : {"fp32", "bf16"}
        Of the products in the networks; weights, likelihood and KL term are kept in 32 bits.
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
    drop_last: bool = False
    optimizer: OptimizerName = "adam"
    learning_rate: float = 5e-3
    weight_decay: float = 0.0
    schedule: Schedule = "cosine"
    warmup_epochs: float = 1.0
    beta: float = 1.0
    beta_warmup_epochs: float = 0.0
    free_bits: float = 0.0
    precision: Precision = "fp32"
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what could not train."""
        for name in ("epochs", "batch_size"):
            self._hold(name, "must be at least 1", getattr(self, name) >= 1)
        self._hold("learning_rate", "must be a positive number", 0 < self.learning_rate < math.inf)
        for name in ("weight_decay", "warmup_epochs", "beta", "beta_warmup_epochs", "free_bits"):
            self._hold(name, "must not be negative", 0 <= getattr(self, name) < math.inf)
        for name, literal in (
            ("optimizer", OptimizerName),
            ("schedule", Schedule),
            ("precision", Precision),
        ):
            known = get_args(literal)
            self._hold(name, f"must be one of {', '.join(known)}", getattr(self, name) in known)
        self._hold("patience", "must be at least 1", self.patience is None or self.patience >= 1)

    def _hold(self, name: str, message: str, holds: bool) -> None:
        if not holds:
            raise TrainingError(f"{name} {message}: it is {getattr(self, name)}")
