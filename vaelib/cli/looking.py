"""``vaelib sample | reconstruct | encode | manifold | animate``: what a trained model does, as pictures."""

import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from vaelib.cli.options import (
    FILMS,
    NUMBERS,
    PICTURES,
    Finite,
    bar,
    choice,
    device_option,
    draws_of,
    encoded,
    examples,
    framed_for,
    given,
    images_for,
    images_options,
    open_run,
    out_option,
    refuse_dims,
    run_argument,
    seed_option,
    target,
    write,
    write_figure,
)
from vaelib.errors import CheckpointError
from vaelib.settings import Grid

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from torch import Tensor

    from vaelib.data import Images
    from vaelib.models import VAE

# How long a film rests on its first and on its last frame, so that its beginning can be told from its end.
REST = 1.5
# Where the linear grid ends, unless it is said.
REACH = 3.0


@click.command(
    epilog=examples(
        "vaelib sample runs/first --count 25 --temperature 0.8",
        "vaelib sample plane --seed 7 --out samples.svg",
    )
)
@run_argument
@click.option("--count", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Pictures.")
@click.option(
    "--temperature",
    type=Finite(0),
    default=1.0,
    show_default=True,
    help="Scale of the prior's deviation: below 1 more typical, above 1 stranger.",
)
@seed_option
@device_option
@out_option("samples.png")
def sample(run: Path, count: int, temperature: float, seed: int, device: str, out: Path | None) -> None:
    """Draw latents from the prior and decode them.

    What is shown is the decoder's mean image, not a sample of the pixels.
    """
    path = target(run, out, "samples.png")
    model, generator = open_run(run, device, seed)
    from vaelib import evaluation, figures

    z = model.sample_prior(count, generator=generator, temperature=temperature)
    pictures = evaluation.decode(model, z, progress=bar("picture", evaluation.BATCH))
    write_figure(figures.sheet(pictures, columns=min(count, max(10, math.isqrt(count)))), path)


# --- reconstruct ----------------------------------------------------------------------------------------


@click.command(
    epilog=examples(
        "vaelib reconstruct runs/first --worst --count 20",
        "vaelib reconstruct runs/first --best --digit 7",
        "vaelib reconstruct plane --index 8 --index 115",
        "vaelib reconstruct plane --image my-digit.jpg",
    )
)
@run_argument
@images_options
@click.option("--count", type=click.IntRange(1, 100), default=10, show_default=True, help="How many images.")
@click.option(
    "--digit", type=click.IntRange(0, 9), default=None, help="Only images of this class.  [default: any]"
)
@click.option("--best", is_flag=True, help="Those with the highest ELBO of all, instead of the first ones.")
@click.option("--worst", is_flag=True, help="Those with the lowest ELBO of all, instead of the first ones.")
@click.option(
    "--index",
    "indices",
    type=click.IntRange(0),
    multiple=True,
    help="The image with this number, counted from 0; may be repeated.  [default: none]",
)
@click.option(
    "--image",
    "files",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    multiple=True,
    help="A picture of your own, PNG, JPEG or what else Pillow reads; may be repeated. What is drawn on it "
    "is laid out as MNIST's digits are: 20 pixels high or wide, centred by its mass.  [default: none]",
)
@click.option(
    "--invert",
    type=click.Choice(["auto", "yes", "no"]),
    default="auto",
    show_default=True,
    help="Whether --image has dark ink on light paper; auto looks whether its edge is light.",
)
@seed_option
@device_option
@out_option("reconstructions.png")
@click.pass_context
def reconstruct(
    context: click.Context, /, run: Path, dataset: str | None, folder: Path | None, split: str, count: int,
    digit: int | None, best: bool, worst: bool, indices: tuple[int, ...], files: tuple[Path, ...],
    invert: str, seed: int, device: str, out: Path | None,
) -> None:  # fmt: skip
    """Show images above what the model makes of them, with the ELBO of each in nats.

    One latent is drawn for each image. The ELBO of a plain autoencoder is minus infinity: there the
    log-likelihood is shown, and ranked by.
    """
    _refuse_two_choices(context)
    path = target(run, out, "reconstructions.png")
    own = _own_images(files, invert)  # before the model: a file that is no picture is said at once
    model, generator = open_run(run, device, seed)
    names: list[str] | None = None
    if own is not None:
        shown, names = framed_for(model, own), [_short(file, place) for place, file in enumerate(files, 1)]
        pairs = _decoded(model, shown, generator)
    else:
        images, _, name = images_for(run, model, dataset, folder, split)
        if indices and max(indices) >= len(images):
            raise click.UsageError(f"--index {max(indices)}: the {name} images end at {len(images) - 1}")
        numbers = list(indices) or [
            number for number, label in enumerate(images.labels.tolist()) if digit in (None, label)
        ]
        if best or worst:
            pairs, numbers = _ranked(model, images, numbers, generator, count, highest_first=best)
        else:
            numbers = numbers if indices else numbers[:count]
            pairs = _decoded(model, images[numbers], generator)
        shown = images[numbers]
        if best or worst or indices or digit is not None:
            names = [f"#{number}" for number in numbers]
    from vaelib import figures

    figure = figures.reconstructions(
        shown.floats(), pairs.pictures, elbo=pairs.scores, score=pairs.name, names=names
    )
    write_figure(figure, path)


def _refuse_two_choices(context: click.Context) -> None:
    """Refuse options that choose the images in two ways."""
    flags = given(context)
    apart = {
        "--image": {
            "--index", "--best", "--worst", "--digit", "--count", "--split", "--dataset", "--folder"
        },
        "--index": {"--best", "--worst", "--digit", "--count"},
        "--best": {"--worst"},
    }  # fmt: skip
    for one, others in apart.items():
        for other in flags if one in flags else ():
            if other in others:
                raise click.UsageError(f"{one} and {other} choose the images in two ways: give one of them")
    if "--invert" in flags and "--image" not in flags:
        raise click.UsageError("--invert is about a picture of your own: give it with --image")


def _own_images(files: Sequence[Path], invert: Any) -> "Images | None":
    if not files:
        return None
    import torch

    from vaelib import own_images
    from vaelib.data import Images

    return Images(own_images.read(files, invert=invert), torch.zeros(len(files), dtype=torch.int64))


def _short(file: Path, place: int) -> str:
    """What a file is called above its picture, or its place where the font may lack a letter."""
    if not file.stem.isprintable() or max(file.stem) > "ÿ":
        return f"file {place}"
    return file.stem if len(file.stem) <= 9 else f"{file.stem[:8]}…"


class _Pairs(NamedTuple):
    """What became of images: pictures (K, D), a score for each, (K,) in nats, and what the score is."""

    pictures: "Tensor"
    scores: "Tensor"
    name: str


def _decoded(model: "VAE", images: "Images", generator: "torch.Generator") -> _Pairs:
    from vaelib.evaluation import reconstruct

    made = reconstruct(model, images, generator=generator)
    name, scores = made.score
    return _Pairs(made.mean_image, scores, name)


def _ranked(
    model: "VAE", images: "Images", numbers: Sequence[int], generator: "torch.Generator", count: int, *,
    highest_first: bool,
) -> tuple[_Pairs, list[int]]:  # fmt: skip
    """The best or the worst of many, each with the very draw that it is ranked by, and their numbers."""
    import torch

    from vaelib.evaluation import BATCH

    all_numbers = torch.tensor(numbers)
    pictures, scores, kept = torch.empty(0, images.pixels.shape[1]), torch.empty(0), all_numbers[:0]
    name = ""
    for start in bar("image", BATCH)(range(0, len(numbers), BATCH)):
        here = all_numbers[start : start + BATCH]
        made = _decoded(model, images[here], generator)
        name = made.name
        pictures, scores = torch.cat([pictures, made.pictures]), torch.cat([scores, made.scores])
        kept = torch.cat([kept, here])
        order = scores.sort(descending=highest_first, stable=True).indices[:count]
        pictures, scores, kept = pictures[order], scores[order], kept[order]
    return _Pairs(pictures, scores, name), kept.tolist()


# --- encode ---------------------------------------------------------------------------------------------

PCA = "pca"


class _EncodeCommand(click.Command):
    """Takes ``--dims pca`` for ``--dims pca pca``: an option has one number of values."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Say the one word twice."""
        words = [word for arg in args for word in (["--dims", PCA] if arg == f"--dims={PCA}" else [arg])]
        twice = [
            (word, PCA) if word == PCA and before == "--dims" else (word,)
            for before, word in zip(["", *words], words, strict=False)
        ]
        return super().parse_args(ctx, [word for pair in twice for word in pair])


class _LatentOrPca(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.2 on
    name = "latent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Give "pca" or a number from 1 on."""
        return value if value == PCA else click.IntRange(1).convert(value, param, ctx)


@click.command(
    cls=_EncodeCommand,
    epilog=examples(
        "vaelib encode runs/first --target std",
        "vaelib encode runs/first --dims pca --out means.svg --out means.csv",
        "vaelib encode plane --target sample --seed 1 --out latents.npz",
    ),
)
@run_argument
@images_options
@click.option(
    "--target",
    "what",
    type=click.Choice(["mean", "std", "sample"]),
    default="mean",
    show_default=True,
    help="The mean of q(z|x), its standard deviation, or a draw from it.",
)
@click.option(
    "--dims",
    type=_LatentOrPca(),
    nargs=2,
    default=None,
    metavar="I J | pca",
    help="Which two latents to draw, counted from 1, or the plane in which the means scatter most, with the "
    "share of their variance along each axis.  [default: the two with the largest KL]",
)
@seed_option
@device_option
@out_option(
    "latent-TARGET.png", "A picture of two latents, or all as numbers:", (*PICTURES, *NUMBERS), several=True
)
def encode(
    run: Path, dataset: str | None, folder: Path | None, split: str, what: str,
    dims: "tuple[Any, Any] | None", seed: int, device: str, out: tuple[Path, ...],
) -> None:  # fmt: skip
    """Show where the encoder puts every image, or how sure it is of it.

    Numbers are those of all latents, in the order of the images. A .csv has a line for each: its label and
    the target; an .npz the arrays `labels`, `mean` and `std`, and `sample` if that is the target.
    """
    paths = [target(run, each, f"latent-{what}.png") for each in out or [None]]
    if dims and dims[0] != dims[1] and PCA in dims:
        raise click.UsageError(f"--dims {dims[0]} {dims[1]}: say two latents, or pca alone")
    model, _ = open_run(run, device, seed)
    drawing = any(path.suffix.lower() in PICTURES for path in paths)
    if drawing and model.latent_dim < 2:
        raise click.UsageError(
            f"{run} has 1 latent, and a picture shows 2: see `vaelib qq`, or write numbers, --out latent.csv"
        )
    if dims and PCA not in dims:
        refuse_dims(model, dims)
    images = images_for(run, model, dataset, folder, split).images
    mean, log_var = encoded(run, model, images)
    points = {
        "mean": lambda: mean,
        "std": lambda: (0.5 * log_var).exp(),
        "sample": lambda: draws_of(mean, log_var, seed),
    }[what]()
    for path in paths:
        kind = path.suffix.lower()
        if kind == ".csv":
            write(path, _as_csv(points, images.labels, what))
        elif kind == ".npz":
            arrays = {"labels": images.labels, "mean": mean, "std": (0.5 * log_var).exp(), what: points}
            write(path, _as_npz(arrays))
        else:
            write_figure(_latents(mean, log_var, points, images.labels, what, dims), path)


def _latents(
    mean: "Tensor", log_var: "Tensor", points: "Tensor", labels: "Tensor", what: str, dims: Any
) -> "Figure":
    """Two latents of every image; or what they are along the two axes along which the means scatter most."""
    from vaelib import figures, latent

    name = {"mean": "mean", "std": "standard deviation", "sample": "sample"}[what]
    if dims is None or PCA not in dims:
        dims = dims or _most_used(mean, log_var)
        chosen = points[:, [dims[0] - 1, dims[1] - 1]]
        return _scatter(figures.latent_scatter(chosen, labels, name=name, dims=dims), what)
    try:
        plane = latent.principal_plane(mean)
    except ValueError as error:
        raise click.UsageError(f"--dims pca: {error}") from error
    names = figures.principal_names(plane.explained)
    if what == "std":
        along = (log_var.double().exp() @ plane.directions.square().mT).sqrt()
        name = "deviation along principal component"
        names = f"{name} 1 of the means", f"{name} 2 of the means"
    else:
        along = (points.double() - plane.centre) @ plane.directions.mT
    return _scatter(figures.latent_scatter(along, labels, name=name, axes_names=names), what)


def _scatter(figure: "Figure", what: str) -> "Figure":
    """A latent is as long across as up, where latents are drawn."""
    if what == "sample":
        figure.axes[0].set_aspect("equal")
    return figure


def _most_used(mean: "Tensor", log_var: "Tensor") -> tuple[int, int]:
    """The two latents with the largest KL, in order, counted from 1."""
    from vaelib.divergences import gaussian_kl

    rates = gaussian_kl(mean[..., None], log_var[..., None]).mean(0)
    first, second = sorted(rates.sort(descending=True, stable=True).indices[:2].tolist())
    return first + 1, second + 1


def _as_csv(points: "Tensor", labels: "Tensor", what: str) -> bytes:
    lines = [",".join(["label", *(f"{what}_{index}" for index in range(1, points.shape[1] + 1))])]
    for row in bar("row")(range(len(points))):
        lines.append(",".join([str(int(labels[row])), *(f"{value:.9g}" for value in points[row].tolist())]))
    return ("\n".join(lines) + "\n").encode()


def _as_npz(arrays: "dict[str, Tensor]") -> bytes:
    import numpy as np

    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **{name: tensor.numpy() for name, tensor in arrays.items()})
    return content.getvalue()


# --- manifold -------------------------------------------------------------------------------------------


@click.command(
    epilog=examples(
        "vaelib manifold runs/first",
        "vaelib manifold runs/first --latent-min -4 --latent-max 4 --cells 32",
        "vaelib manifold plane --out manifold.pdf",
    )
)
@run_argument
@click.option("--cells", type=click.IntRange(1, 200), default=20, show_default=True, help="Pictures a side.")
@click.option(
    "--grid",
    type=choice(Grid),
    default="gaussian",
    show_default=True,
    help="Cells of equal prior probability, or of equal size from --latent-min to --latent-max.",
)
@click.option(
    "--latent-min",
    type=Finite(-100, 100),
    default=-REACH,
    show_default=True,
    help="Where the linear grid begins, along both axes; given, the grid is linear.",
)
@click.option(
    "--latent-max",
    type=Finite(-100, 100),
    default=REACH,
    show_default=True,
    help="Where the linear grid ends, along both axes; given, the grid is linear.",
)
@click.option(
    "--dims",
    type=click.IntRange(1),
    nargs=2,
    metavar="I J",
    default=(1, 2),
    show_default=True,
    help="Which two latents vary, across and up, counted from 1. All others are held at 0.",
)
@device_option
@out_option("manifold.png")
@click.pass_context
def manifold(
    context: click.Context, /, run: Path, cells: int, grid: Grid, latent_min: float, latent_max: float,
    dims: tuple[int, int], device: str, out: Path | None,
) -> None:  # fmt: skip
    """Decode a grid over a plane of latents, all of it at once."""
    flags = given(context)
    for flag in ("--latent-min", "--latent-max"):
        if flag not in flags:
            continue
        if "--grid" in flags and grid == "gaussian":
            raise click.UsageError(
                f"{flag} says nothing to --grid gaussian, which goes as far as the prior: leave one out"
            )
        grid = "linear"
    if latent_min >= latent_max:
        raise click.UsageError(f"--latent-min {latent_min:g} is not below --latent-max {latent_max:g}")
    path = target(run, out, "manifold.png")
    model, _ = open_run(run, device, 0)
    if model.latent_dim < 2:
        raise click.UsageError(f"{run} has 1 latent, and a manifold is a picture of 2: see `vaelib sample`")
    refuse_dims(model, dims)
    from vaelib import evaluation, figures

    def place(plane: "Tensor") -> "Tensor":
        z = plane.new_zeros(len(plane), model.latent_dim)
        z[:, [dims[0] - 1, dims[1] - 1]] = plane
        return evaluation.decode(model, z, progress=bar("picture", evaluation.BATCH))

    others = model.latent_dim - 2
    figure = figures.manifold(
        place,
        cells=cells,
        grid=grid,
        span=(latent_max - latent_min) / 2,
        centre=(latent_max + latent_min) / 2,
        dims=dims,
        note={0: "", 1: "the third latent at 0"}.get(others, f"the other {others} latents at 0"),
    )
    write_figure(figure, path)


# --- animate --------------------------------------------------------------------------------------------


@click.command(
    epilog=examples(
        "vaelib train --snapshots --out runs/film",
        "vaelib animate runs/film",
        "vaelib animate runs/film --fps 8 --out training.mp4",
    )
)
@run_argument
@click.option(
    "--fps",
    type=Finite(0.1, 50),
    default=4.0,
    show_default=True,
    help=f"Epochs in a second; the first and the last frame stay for {REST} s.",
)
@click.option(
    "--dims",
    type=click.IntRange(1),
    nargs=2,
    metavar="I J",
    default=None,
    help="Which two latents to draw, counted from 1.  [default: the two with the largest KL at the end]",
)
@out_option("training.gif", 'The film to write; MP4 needs the extra "video":', FILMS)
def animate(run: Path, fps: float, dims: tuple[int, int] | None, out: Path | None) -> None:
    """Replay the training of RUN as a film, from before the first epoch to the last.

    Latents, reconstructions and curves move together. The run must have been trained with --snapshots.
    """
    from vaelib import movies

    path = target(run, out, "training.gif")
    kind = path.suffix.lower()
    if kind == ".mp4":
        movies.encoder()  # now, not after the drawing

    from vaelib import snapshots

    taken = snapshots.load(run if run.is_dir() or not run.exists() else run.parent)
    latents = taken.means.shape[-1]
    if latents < 2 or max(dims or (1, 2)) > latents:
        asked = f"--dims {dims[0]} {dims[1]}" if dims else str(run)
        raise click.UsageError(f"{asked}: this run has {latents} latent(s), and the film draws two")
    if taken.epochs == 0:
        raise CheckpointError(f"{run} has no finished epoch: go on with `vaelib train --out {run} --resume`")

    from tqdm import tqdm

    from vaelib import figures

    across, up = dims or taken.plane()
    replay = figures.Replay(
        taken.means[..., [across - 1, up - 1]],
        taken.labels,
        taken.shown,
        taken.originals / 255,
        taken.reconstructions / 255,
        taken.history,
        elbo=taken.held_out_elbo,
        dims=(across, up),
        note="" if latents == 2 else _which(across, up, latents, by_rate=dims is None),
        held_out_name=taken.held_out_name,
        scale=1 if kind == ".gif" else 2,  # a film may fill a screen, and compresses well
    )
    last = taken.epochs
    rest = max(REST, 1 / fps)
    seconds = [rest, *[1 / fps] * (last - 1), rest]
    frames = map(replay.frame, tqdm(range(last + 1), unit="frame", disable=not sys.stderr.isatty()))
    if kind == ".gif":
        film = movies.gif(frames, seconds, palette_from=[replay.frame(0), replay.frame(last)])
    else:
        film = movies.mp4(frames, [max(1, round(fps * time)) for time in seconds], fps, size=replay.size)
    write(path, film)


def _which(across: int, up: int, latents: int, *, by_rate: bool) -> str:
    """Name the two latents that a film shows, in Matplotlib's mathematics."""
    pair = f"$z_{{{across}}}$ and $z_{{{up}}}$"
    if by_rate:
        return f"Shown are {pair}, the two of {latents} latents with the largest KL after the last epoch."
    return f"Shown are {pair} of {latents} latents."
