"""Train the models that the book's pages carry: ``make weights``, a few minutes for each on two cores.

Each is trained on all 60,000 images with its seed, rounded to half precision, measured on the test set as it
then is, and written to ``vaelib/weights/NAME.safetensors`` with the settings, the recipe and the metrics.
"""

from __future__ import annotations

import argparse
import datetime
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from vaelib import __version__
from vaelib.checkpoints import save
from vaelib.data import load_mnist
from vaelib.evaluation import evaluate
from vaelib.models import VAE, mlp_vae
from vaelib.pretrained import FOLDER
from vaelib.settings import Recipe
from vaelib.training import fit

BETAS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Plan:
    """What to train: the network's widths, and how."""

    hidden_dim: int
    latent_dim: int
    recipe: Recipe


# The plane: two latents, for the widgets that show them. The family: 24, at several weights of the KL
# term; the one at weight 1 is also the model whose units are traversed.
PLANS = {"plane": Plan(320, 2, Recipe(epochs=30))} | {
    f"family-beta-{beta:g}": Plan(200, 24, Recipe(epochs=16, learning_rate=2e-3, beta=beta)) for beta in BETAS
}


def halve(model: VAE) -> VAE:
    """Round every weight to half precision, in place: what the file holds is what is measured."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(tensor.to(torch.float16))
    return model


def train(name: str, folder: Path = FOLDER) -> Path:
    """Train and write one model; return its file."""
    plan = PLANS[name]
    images, test = load_mnist()
    model = mlp_vae(
        hidden_dim=plan.hidden_dim,
        latent_dim=plan.latent_dim,
        generator=torch.Generator().manual_seed(plan.recipe.seed),
    )
    fit(model, images, plan.recipe)
    halve(model.eval())
    seed = 0
    result = evaluate(model, test, generator=torch.Generator().manual_seed(seed))
    record = {
        "data": "MNIST, 60,000 training images in [0, 1]",
        "recipe": asdict(plan.recipe),
        "test": {**result._asdict(), "seed": seed},
        "command": f"python tools/weights.py {name}",
        "date": datetime.date.today().isoformat(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__.partition("+")[0],
            "vaelib": __version__,
        },
    }
    path = folder / f"{name}.safetensors"
    model.half()
    save(path, model, record=record)
    print(f"{name}: test ELBO {result.elbo:.2f} nats, {path.stat().st_size // 1024} KiB")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*PLANS, []], help="which (default: all)")
    for name in parser.parse_args().names or PLANS:
        train(name)


if __name__ == "__main__":
    main()
