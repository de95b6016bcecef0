"""What several commands share: options, and the way from a RUN to its model, its images and a file."""

import errno
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args

import click

from vaelib.errors import CheckpointError
from vaelib.files import write_atomically
from vaelib.settings import DeviceName, Recipe

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from torch import Tensor

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
_folder_option = click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), default=None,
    help="Take the four IDX files, raw or .gz, from here if the cache has none.  [default: download]",
)  # fmt: skip
data_options = options(
    click.option(
        "--dataset", type=click.Choice(DATASETS), default="mnist", show_default=True, help="Which images."
    ),
    _folder_option,
)
images_options = options(
    click.option(
        "--dataset", type=click.Choice(DATASETS), default=None,
        help="Which images.  [default: those that RUN was trained on, else mnist]",
    ),
    _folder_option,
    click.option(
        "--split", type=click.Choice(["test", "train"]), default="test", show_default=True,
        help="Which of its images; of a run with --mixed, its own split.",
    ),
)  # fmt: skip
run_argument = click.argument("run", type=click.Path(path_type=Path), metavar="RUN")

# What a picture and a table may be written as. vaelib.figures.saving has the pictures', and loads Matplotlib.
PICTURES = (".png", ".svg", ".pdf")
NUMBERS = (".csv", ".npz")
FILMS = (".gif", ".mp4")


def examples(*lines: str) -> str:
    """What a command's help ends with."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def given(context: click.Context) -> list[str]:
    """The flags that were given by hand."""
    return [
        option.opts[-1]
        for option in context.command.params
        if context.get_parameter_source(option.name or "") is click.core.ParameterSource.COMMANDLINE
    ]


def endings(allowed: Sequence[str]) -> str:
    """Endings as one says them: ".png, .svg or .pdf"."""
    *most, last = allowed
    return f"{', '.join(most)} or {last}" if most else last


def out_option(
    name: str,
    what: str = "The picture to write,",
    allowed: Sequence[str] = PICTURES,
    *,
    several: bool = False,
) -> Callable[[Command], Command]:
    """Declare ``--out``: one file or several, each with one of the allowed endings, else ``name``."""

    def check(context: click.Context, _: click.Parameter, given: Any) -> Any:
        for path in given if several else [given]:
            if path is not None and path.suffix.lower() not in allowed:
                raise click.UsageError(f"--out {path}: `{context.command.name}` writes {endings(allowed)}")
        return given

    return click.option(
        "--out", type=click.Path(path_type=Path, dir_okay=False), multiple=several, callback=check,
        help=f"{what} {endings(allowed)}{'; may be repeated' if several else ''}."
        f"  [default: {name} beside the model]",
    )  # fmt: skip


def target(run: Path, out: Path | None, name: str) -> Path:
    """Where to write: ``out``, else ``name`` beside the model; OSError, before the work, if that cannot be.

    For a model that comes with vaelib, beside is where the user stands, and the file is named after it.
    """
    if out is None and is_pretrained(run):
        out = Path(f"{run}-{name}")
    path = out or (run if run.is_dir() else run.parent) / name
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    for wrong, reason in (
        (not folder.is_dir(), errno.ENOTDIR),
        (not os.access(folder, os.W_OK), errno.EACCES),
        (path.is_dir(), errno.EISDIR),
    ):
        if wrong:
            raise OSError(reason, os.strerror(reason), str(path if path.is_dir() else folder))
    return path


def is_pretrained(run: Path) -> bool:
    """Whether RUN names a model that comes with vaelib: nothing here is called so, and one there is."""
    if run.exists() or run.name != str(run):
        return False
    from vaelib import pretrained

    return str(run) in pretrained.names()


def open_run(run: Path, device: str, seed: int) -> "tuple[VAE, torch.Generator]":
    """The model of a run, on its device, and a generator there."""
    import torch

    from vaelib import checkpoints, pretrained
    from vaelib.devices import pick_device

    where = pick_device(device)
    if is_pretrained(run):
        model = pretrained.load_pretrained(str(run)).model
    elif run.exists():
        model = checkpoints.load(run).model
    else:
        raise CheckpointError(
            f"no checkpoint at {run}: train one with `vaelib train --out {run}`, or name a model that comes "
            f"with vaelib: {', '.join(pretrained.names())}"
        )
    if math.isqrt(model.settings["data_dim"]) ** 2 != model.settings["data_dim"]:
        raise CheckpointError(f"{run} is a model of {model.settings['data_dim']} numbers and not of pictures")
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise CheckpointError(f"{run}: its weights are not all numbers ({name}): its training went wrong")
    return model.to(where), torch.Generator(where).manual_seed(seed)


class Chosen(NamedTuple):
    """Images, and what they are called."""

    images: "Images"
    dataset: str
    split: str


def images_for(run: Path, model: "VAE", dataset: str | None, folder: Path | None, split: str) -> Chosen:
    """Images of the size that the model takes: the run's own data set, unless another is named."""
    from vaelib import data

    settings = _settings_of(run)
    own = settings.get("dataset", DATASETS[0])
    train, test = data.load(dataset or own, folder=folder)
    name = split
    if settings.get("mixed") and dataset in (None, own):
        mixed = data.parts(train, test, validation=settings["validation"], mixed=True, seed=settings["seed"])
        train, test, name = mixed.train, mixed.test, f"mixed {split}"
    return Chosen(framed_for(model, test if split == "test" else train), dataset or own, name)


def framed_for(model: "VAE", images: "Images") -> "Images":
    """Lay images in the middle of paper of the model's size, where that is another one than theirs."""
    side = math.isqrt(model.settings["data_dim"])
    return images if side**2 == images.pixels.shape[1] else images.framed(side)


def _settings_of(run: Path) -> dict[str, Any]:
    """What a run was trained with; nothing, if RUN is no run folder and lies in none."""
    path = (run if run.is_dir() else run.parent) / "config.json"
    if is_pretrained(run) or not path.exists():
        return {}
    try:
        settings = json.loads(path.read_text())
        settings["dataset"], settings["validation"], settings["seed"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r}): say --dataset, away from it") from error
    return dict(settings)


def refuse_dims(model: "VAE", dims: Sequence[int]) -> None:
    """Refuse latents that the model has not, and one of them against itself."""
    if max(dims) > model.latent_dim:
        raise click.UsageError(f"--dims {dims[0]} {dims[1]}: this model has {model.latent_dim} latents")
    if dims[0] == dims[1]:
        raise click.UsageError(f"--dims {dims[0]} {dims[1]}: say two different latents")


def encoded(run: Path, model: "VAE", images: "Images") -> "tuple[Tensor, Tensor]":
    """Mean and log-variance of q(z | x) for every image; CheckpointError where they are no numbers."""
    from vaelib import evaluation

    mean, log_var = evaluation.encode(model, images, progress=bar("image", evaluation.BATCH))
    if not mean.isfinite().all() or not (log_var < math.inf).all():
        raise CheckpointError(f"{run}: where it puts some images is not a number: its training went wrong")
    return mean, log_var


def draws_of(mean: "Tensor", log_var: "Tensor", seed: int) -> "Tensor":
    """One draw from q(z | x) for each image, in float64, the same on every device."""
    import torch

    from vaelib.aggregate import draw

    return draw(mean, log_var, torch.Generator().manual_seed(seed))


def bar(unit: str, scale: int = 1) -> "Callable[[Sequence[int]], Iterable[int]]":
    """Show how far a loop is, on a terminal and if it takes more than a second."""
    from tqdm import tqdm

    def watched(steps: Sequence[int]) -> Iterable[int]:
        return tqdm(steps, unit=unit, unit_scale=scale, delay=1, leave=False, disable=not sys.stderr.isatty())

    return watched


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say on a terminal what is being waited for, where nothing can be counted, and take it back."""
    if sys.stderr.isatty():
        click.echo(f"{what} ...", nl=False, err=True)
    yield
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)


def write_figure(figure: "Figure", path: Path) -> None:
    """Write a picture and say where."""
    from vaelib.figures.saving import save

    with waiting(f"drawing {path.name}"):
        save(figure, path)
    click.echo(path)


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    click.echo(path)
