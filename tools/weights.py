"""Make the models that come with the package: ``make weights``.

Those of the widgets are trained here, a few minutes for each on two cores; the published ones are taken from
the runs of ``vaelib reproduce``, which take hours. Each is rounded to half precision, measured on the test
set as it then is, and written to ``vaelib/weights/NAME.safetensors`` with settings, recipe and metrics.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vaelib import presets
from vaelib.checkpoints import load, save
from vaelib.cli.training import resolve
from vaelib.data import Images, load_mnist
from vaelib.evaluation import evaluate
from vaelib.models import VAE, mlp_vae
from vaelib.pretrained import FOLDER
from vaelib.reproduction import own_loss
from vaelib.runs import prepare, versions
from vaelib.settings import Recipe
from vaelib.training import BEST_FILE, fit

RUNS = Path("runs/reproduce")
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
# Of each preset the run whose first seed is taken: our recipe, and MNIST's own test set where it matters.
TAKEN = {"giwoong": "ours", "kimrass": "ours", "juyoung": "mnist", "woogyeong": "ours", "paper": "20"}


def halve(model: VAE) -> VAE:
    """Round every weight to half precision, in place: what the file holds is what is measured."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(tensor.to(torch.float16))
    return model


def train(name: str) -> tuple[VAE, dict[str, Any]]:
    """Train one model of the widgets."""
    plan = PLANS[name]
    model = mlp_vae(
        hidden_dim=plan.hidden_dim,
        latent_dim=plan.latent_dim,
        generator=torch.Generator().manual_seed(plan.recipe.seed),
    )
    fit(model, load_mnist()[0], plan.recipe)
    return model, {"data": "MNIST, 60,000 training images in [0, 1]", "recipe": asdict(plan.recipe)}


def take(name: str, runs: Path = RUNS) -> tuple[VAE, dict[str, Any]]:
    """Take a published model from the run that reproduced it: the best epoch, where one was chosen."""
    preset, (run,) = presets.named(name), [r for r in presets.named(name).runs if r.name == TAKEN[name]]
    seed = run.seeds[0]
    folder = runs / f"{name}-{run.name}-{seed}"
    file = folder / BEST_FILE if (folder / BEST_FILE).exists() else folder / "model.safetensors"
    if not (folder / "metrics.json").exists():
        sys.exit(f"no finished run in {folder}: vaelib reproduce {name} --only {run.name} --seed {seed}")
    found = load(file)
    settings = resolve(name, {**run.settings, "seed": seed, "device": "cpu"})
    ready = prepare(settings)
    halved = halve(found.model)
    record = {
        "data": f"MNIST, {len(ready.train):,} training images in [0, 1]",
        "recipe": found.record["recipe"],
        "epoch": found.record["epoch"]["epoch"],
        "from": f"vaelib reproduce {name} --only {run.name} --seed {seed}",
        "source": preset.source,
    }
    if ready.selecting:
        measured = measure(halved, ready.held_out, settings["seed"])
        record["held_out"] = {
            **measured,
            "chosen_on": ready.held_out_name,
            "own_loss": own_loss(preset.loss, measured, settings["side"] ** 2),
        }
    return halved, record


def measure(model: VAE, images: Images, seed: int) -> dict[str, Any]:
    """An evaluation with the seed of its draws."""
    result = evaluate(model, images, generator=torch.Generator().manual_seed(seed))
    return {**result._asdict(), "seed": seed}


def write(name: str, folder: Path = FOLDER) -> Path:
    """Make and write one model; return its file."""
    model, record = train(name) if name in PLANS else take(name)
    halve(model.eval())
    side = 32 if model.settings["data_dim"] == 1024 else 28
    record |= {
        "test": measure(model, load_mnist()[1].framed(side), 0),
        "command": f"python tools/weights.py {name}",
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
    }
    path = folder / f"{name}.safetensors"
    model.half()
    save(path, model, record=record)
    print(f"{name}: test ELBO {record['test']['elbo']:.2f} nats, {path.stat().st_size // 1024} KiB")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [*PLANS, *TAKEN]
    parser.add_argument("names", nargs="*", choices=[*known, []], help="which (default: all)")
    for name in parser.parse_args().names or known:
        write(name)


if __name__ == "__main__":
    main()
