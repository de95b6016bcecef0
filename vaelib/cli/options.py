"""What several commands share: options, and the way from a RUN to its model, its images and a file."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from vaelib.files import write_atomically
from vaelib.settings import DeviceName, Recipe

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from vaelib.data import Images
    from vaelib.models import VAE

Command = TypeVar("Command", bound=Callable[..., Any])

DATASETS = ("mnist", "fashion-mnist")
RECIPE = Recipe()


def choice(literal: Any) -> click.Choice[str]:
    """The values of a Literal."""
    return click.Choice(list(get_args(literal)))


class Finite(click.FloatRange):
    """A range that ``nan`` and ``inf``, which are floats too, do not slip through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is not finite."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


def options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Join options that several commands share."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


device_option = click.option(
    "--device", type=choice(DeviceName), default="auto", show_default=True,
    help="Where to compute; auto takes a GPU if there is one.",
)  # fmt: skip
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=RECIPE.seed, show_default=True,
    help="Of everything drawn at random. The same seed gives the same file.",
)  # fmt: skip
data_options = options(
    click.option(
        "--dataset", type=click.Choice(DATASETS), default="mnist", show_default=True, help="Which images."
    ),
    click.option(
        "--folder", type=click.Path(path_type=Path, file_okay=False), default=None,
        help="Take the four IDX files, raw or .gz, from here if the cache has none.  [default: download]",
    ),
)  # fmt: skip
split_option = click.option(
    "--split", type=click.Choice(["test", "train"]), default="test", show_default=True,
    help="Which of its images.",
)  # fmt: skip
run_argument = click.argument("run", type=click.Path(path_type=Path), metavar="RUN")


def picture_option(name: str) -> Callable[[Command], Command]:
    """Declare ``--out`` for a picture that is otherwise written beside the model."""
    return click.option(
        "--out", type=click.Path(path_type=Path, dir_okay=False), default=None,
        help=f"The picture to write, .png, .svg or .pdf.  [default: {name} beside the model]",
    )  # fmt: skip


def open_run(run: Path, device: str, seed: int) -> "tuple[VAE, torch.Generator]":
    """The model of a run, on its device, and a generator there."""
    import torch

    from vaelib.checkpoints import load
    from vaelib.devices import pick_device

    where = pick_device(device)
    return load(run).model.to(where), torch.Generator(where).manual_seed(seed)


def images_for(model: "VAE", dataset: str, folder: Path | None, split: str) -> "Images":
    """Images of the size that the model takes."""
    from vaelib.data import load

    train, test = load(dataset, folder=folder)
    images = test if split == "test" else train
    side = math.isqrt(model.settings["data_dim"])
    return images if side**2 == images.pixels.shape[1] else images.framed(side)


def beside(run: Path, name: str) -> Path:
    """Where a file of this name lies beside the model."""
    return (run if run.is_dir() else run.parent) / name


def write_figure(figure: "Figure", path: Path) -> None:
    """Write a picture and say where."""
    from vaelib.figures.saving import save

    save(figure, path)
    click.echo(path)


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    click.echo(path)
