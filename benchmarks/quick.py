"""Train by the quick recipe and measure the test set once: a process that ``benchmarks.speed`` times whole.

``python -m benchmarks.quick SEED ACTIVATION EPOCHS``; it loads nothing that it does not need.
"""

import sys
import tomllib
from pathlib import Path

import torch

from vaelib.data import load_mnist
from vaelib.evaluation import evaluate
from vaelib.models import mlp_vae, start_at_mean
from vaelib.settings import Recipe
from vaelib.training import fit

SETTINGS = Path(__file__).with_suffix(".toml")


def main(seed: int, activation: str, epochs: int) -> None:
    settings = tomllib.loads(SETTINGS.read_text())
    train, test = load_mnist(progress=False)
    model = mlp_vae(
        activation=activation,
        latent_gain=settings["latent_gain"],
        generator=torch.Generator().manual_seed(seed),
    )
    start_at_mean(model, train.floats().mean(0))
    names = ("batch_size", "learning_rate", "warmup_epochs", "precision")
    chosen = {name: settings[name] for name in names}
    fit(model, train, Recipe(**chosen, epochs=epochs, seed=seed), progress=False)
    print(evaluate(model, test, generator=torch.Generator().manual_seed(seed)).elbo)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
