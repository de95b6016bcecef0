"""``vaelib sample | reconstruct | encode | manifold | animate``: what a trained model does, as pictures."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaelib.cli.options import (
    Finite,
    beside,
    choice,
    data_options,
    device_option,
    images_for,
    open_run,
    picture_option,
    run_argument,
    seed_option,
    split_option,
    write,
    write_figure,
)
from vaelib.errors import CheckpointError
from vaelib.settings import Grid

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from vaelib.data import Images
    from vaelib.models import VAE

# How long a film rests on its first and on its last frame, so that its beginning can be told from its end.
REST = 1.5


@click.command()
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
@picture_option("samples.png")
def sample(run: Path, count: int, temperature: float, seed: int, device: str, out: Path | None) -> None:
    """Draw latents from the prior and decode them.

    What is shown is the decoder's mean image, not a sample of the pixels.
    """
    model, generator = open_run(run, device, seed)
    from vaelib import figures
    from vaelib.evaluation import decode

    z = model.sample_prior(count, generator=generator, temperature=temperature)
    write_figure(
        figures.sheet(decode(model, z), columns=min(count, max(10, math.isqrt(count)))),
        out or beside(run, "samples.png"),
    )


@click.command()
@run_argument
@data_options
@split_option
@click.option(
    "--count", type=click.IntRange(1, 100), default=10, show_default=True, help="How many, from the first."
)
@seed_option
@device_option
@picture_option("reconstructions.png")
def reconstruct(
    run: Path,
    dataset: str,
    folder: Path | None,
    split: str,
    count: int,
    seed: int,
    device: str,
    out: Path | None,
) -> None:
    """Show images above what the model makes of them, with the ELBO of each in nats."""
    model, generator = open_run(run, device, seed)
    images = images_for(model, dataset, folder, split)
    write_figure(
        _reconstructions(model, images[:count], generator), out or beside(run, "reconstructions.png")
    )


@click.command()
@run_argument
@data_options
@split_option
@click.option(
    "--what",
    type=click.Choice(["mean", "std"]),
    default="mean",
    show_default=True,
    help="The mean of q(z|x) or its standard deviation.",
)
@click.option(
    "--dims",
    type=click.IntRange(1),
    nargs=2,
    default=(1, 2),
    show_default=True,
    help="Which two latents to draw, counted from 1.",
)
@device_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="A picture (.png, .svg, .pdf), or all latents as numbers (.csv).  [default: latent-WHAT.png beside "
    "the model]",
)
def encode(
    run: Path, dataset: str, folder: Path | None, split: str, what: str, dims: tuple[int, int], device: str,
    out: Path | None,
) -> None:  # fmt: skip
    """Show where the encoder puts every image, or how sure it is of it."""
    model, _ = open_run(run, device, 0)
    target = out or beside(run, f"latent-{what}.png")
    if max(dims) > model.latent_dim and target.suffix != ".csv":
        raise click.UsageError(
            f"--dims {dims[0]} {dims[1]}: this model has {model.latent_dim} latent(s). A picture shows two; "
            "write the numbers instead with --out latent.csv"
        )
    images = images_for(model, dataset, folder, split)
    from vaelib import evaluation, figures

    mean, log_var = evaluation.encode(model, images)
    points = mean if what == "mean" else (0.5 * log_var).exp()
    if target.suffix == ".csv":
        header = ",".join(["label", *(f"{what}_{index + 1}" for index in range(model.latent_dim))])
        rows = (
            f"{label},{','.join(f'{value:.9g}' for value in row)}"
            for label, row in zip(images.labels.tolist(), points.tolist(), strict=True)
        )
        write(target, ("\n".join([header, *rows]) + "\n").encode())
        return
    name = {"mean": "mean", "std": "standard deviation"}[what]
    plane = points[:, [dims[0] - 1, dims[1] - 1]]
    write_figure(figures.latent_scatter(plane, images.labels, name=name, dims=dims), target)


@click.command()
@run_argument
@click.option("--cells", type=click.IntRange(1, 200), default=20, show_default=True, help="Pictures a side.")
@click.option(
    "--grid",
    type=choice(Grid),
    default="gaussian",
    show_default=True,
    help="Cells of equal prior probability, or of equal size.",
)
@click.option(
    "--span",
    type=Finite(0, min_open=True),
    default=3.0,
    show_default=True,
    help="Half the width of the linear grid.",
)
@device_option
@picture_option("manifold.png")
def manifold(run: Path, cells: int, grid: Grid, span: float, device: str, out: Path | None) -> None:
    """Decode a grid over the latent plane of a model with two latents."""
    model, _ = open_run(run, device, 0)
    if model.latent_dim != 2:
        raise click.UsageError(
            f"{run} has {model.latent_dim} latents and a manifold is a picture of 2: "
            "see `vaelib sample`, or train with --latent-dim 2"
        )
    write_figure(_manifold(model, cells, grid, span), out or beside(run, "manifold.png"))


@click.command()
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
    default=None,
    help="Which two latents to draw, counted from 1.  [default: the two with the largest KL at the end]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help='The film to write, .gif, or .mp4 with the extra "video".  [default: training.gif beside the model]',
)
def animate(run: Path, fps: float, dims: tuple[int, int] | None, out: Path | None) -> None:
    """Replay the training of RUN as a film, from before the first epoch to the last.

    Latents, reconstructions and curves move together. The run must have been trained with --snapshots.
    """
    from vaelib import movies

    target = out or beside(run, "training.gif")
    kind = target.suffix.lower()
    if kind not in (".gif", ".mp4"):
        raise click.UsageError(f"{target}: a film is written as .gif or .mp4")
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
    write(target, film)


def _reconstructions(model: "VAE", images: "Images", generator: "torch.Generator") -> "Figure":
    from vaelib import figures
    from vaelib.evaluation import reconstruct

    result = reconstruct(model, images, generator=generator)
    return figures.reconstructions(images.floats().cpu(), result.mean_image, elbo=result.terms.elbo)


def _manifold(model: "VAE", cells: int, grid: Grid, span: float) -> "Figure":
    from vaelib import figures
    from vaelib.evaluation import decode

    return figures.manifold(lambda z: decode(model, z), cells=cells, grid=grid, span=span)
