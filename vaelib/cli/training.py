"""``vaelib train | presets | reproduce``."""

import difflib
import json
import math
import os
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from vaelib import presets as published
from vaelib.cli.options import (
    RECIPE,
    Command,
    Finite,
    choice,
    data_options,
    device_option,
    options,
    seed_option,
)
from vaelib.errors import CheckpointError, SettingsError
from vaelib.settings import (
    Activation,
    Architecture,
    Head,
    Likelihood,
    OptimizerName,
    Posterior,
    Precision,
    Schedule,
)

CONFIG_FILE = "config.json"
# Of the command, not of the run: no preset or file may choose them.
_NOT_SETTINGS = {"out", "resume", "preset", "config"}

# What `torchrun` tells the processes that it starts: the first one leads, and after a failure it starts anew.
_LEADS = os.environ.get("RANK", "0") == "0"
_RESTARTED = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def _or_none(kind: click.ParamType[Any]) -> Callable[[Any], Any]:
    """A type, or ``none`` to take back what a preset has set."""

    def convert(value: Any) -> Any:
        return None if value == "none" else kind.convert(value, None, None)

    convert.__name__ = f"{kind.name} or none"
    return convert


def _widths(value: Any) -> list[int]:
    """Widths of layers, ``32,64,64``; in a file also as a list."""
    try:
        widths = [int(part) for part in (value.split(",") if isinstance(value, str) else value)]
    except (TypeError, ValueError) as error:
        raise click.BadParameter(f"{value!r} is not a list of widths such as 32,64,64.") from error
    if not widths or min(widths) < 1:
        raise click.BadParameter(f"{value!r}: a layer needs at least one channel.")
    return widths


def _setting(*names: str, **more: Any) -> Callable[[Command], Command]:
    """Declare an option that shows its default."""
    return click.option(*names, show_default=True, **more)


def _of_recipe(name: str, kind: Any, words: str, **more: Any) -> Callable[[Command], Command]:
    """Declare an option that is a field of the recipe, with the recipe's own default."""
    flag = "--" + name.replace("_", "-")
    return _setting(flag, type=kind, default=getattr(RECIPE, name), help=words, **more)


def _use_preset(context: click.Context, _: click.Parameter, name: str | None) -> str | None:
    """Let a preset speak where neither a flag nor a file does."""
    if name is not None:
        context.default_map = {**published.named(name).settings, **(context.default_map or {})}
    return name


def _use_config(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Let a file speak where no flag does."""
    if path is None:
        return None
    try:
        text = path.read_text()
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        content = dict(content)
    except (ValueError, TypeError) as error:
        raise click.UsageError(f"--config {path}: neither TOML nor JSON settings ({error})") from error
    content.pop("vaelib", None)
    preset = content.pop("preset", None)
    known = {parameter.name for parameter in context.command.params} - _NOT_SETTINGS
    for key in content:
        name = key.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, sorted(filter(None, known)), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"--config {path}: no setting {key!r}{hint}")
    if preset is not None:
        context.default_map = {**published.named(preset).settings, **(context.default_map or {})}
    given = {key.replace("-", "_"): value for key, value in content.items() if value is not None}
    context.default_map = {**(context.default_map or {}), **given}
    return path


_settings = options(
    click.option(
        "--preset", type=click.Choice(list(published.load())), default=None, is_eager=True,
        callback=_use_preset,
        help="Begin with the settings of a published model: see `vaelib presets`.  [default: none]",
    ),
    click.option(
        "--config", type=click.Path(path_type=Path, dir_okay=False, exists=True), default=None, is_eager=True,
        callback=_use_config,
        help="Read settings from a TOML file, or from the config.json of a run; keys are the flags here. "
        "Flags go before the file, and the file before the preset.  [default: none]",
    ),
    click.option(
        "--tag", multiple=True,
        help="Words to find the run by, kept in its config.json; may be repeated.  [default: none]",
    ),
    data_options,
    click.option(
        "--shards", type=click.Path(file_okay=False), default=None,
        help="Train on the images that `vaelib shard` wrote in this folder, read as they are needed; the "
        "test set stays that of --dataset.  [default: the data set's own]",
    ),
    _setting(
        "--validation", type=click.IntRange(0), default=5000,
        help="Training images to hold out for the curves and for choosing the best epoch. With 0 all are "
        "trained on and the curves show the test set.",
    ),
    _setting(
        "--mixed/--not-mixed", default=False,
        help="Mix training and test images and split them anew: for comparison with those who did. The test "
        "set is then another one than MNIST's.",
    ),
    _setting(
        "--select-on", type=click.Choice(["validation", "test"]), default="validation",
        help="What the best epoch is chosen on. `test` leaks: it is here to compare with those who did.",
    ),
    _setting(
        "--side", type=click.IntRange(28), default=28,
        help="Lay the images in the middle of paper of so many pixels a side.",
    ),
    _setting("--architecture", type=choice(Architecture), default="mlp", help="Of both networks."),
    _setting("--hidden-dim", type=click.IntRange(1), default=400, help="Hidden units of an MLP."),
    _setting("--latent-dim", type=click.IntRange(1), default=2, help="Latents."),
    _setting(
        "--activation", type=choice(Activation), default="tanh",
        help="Of the hidden layers; the paper used tanh.",
    ),
    _setting(
        "--latent-gain", type=Finite(0, min_open=True), default=3.0,
        help="How much wider than PyTorch's an MLP decoder's first layer starts; wide, tanh units bend "
        "sooner.",
    ),
    click.option(
        "--init-std", type=_or_none(Finite(0, min_open=True)), default=None,
        help="Start an MLP's weights from a normal distribution of this deviation."
        "  [default: PyTorch's start]",
    ),
    _setting(
        "--mean-start/--no-mean-start", default=False,
        help="Let an MLP decoder begin with the mean training image, whatever z.",
    ),
    _setting(
        "--encoder-channels", type=_widths, default=[32, 64, 64, 64],
        help="Widths of the encoder's convolutions, each of which halves the side.",
    ),
    _setting(
        "--decoder-channels", type=_widths, default=[64, 64, 32, 32],
        help="Widths of the decoder's transposed convolutions.",
    ),
    _setting(
        "--batch-norm/--no-batch-norm", default=True,
        help="Normalize over the batch between convolutions.",
    ),
    _setting(
        "--head", type=choice(Head), default="linear",
        help="How the smallest picture becomes latents: a linear layer, or one more convolution.",
    ),
    _setting(
        "--posterior", type=choice(Posterior), default="normal",
        help="What q(z|x) is: a normal distribution, a point (a plain autoencoder; with --beta 0), or the "
        "prior (a decoder alone).",
    ),
    _setting(
        "--likelihood", type=choice(Likelihood), default="bernoulli",
        help="What the decoder says of a pixel; the Gaussian's one variance is learned, unless --sigma, "
        "--recon-weight or --pixel-variance says otherwise.",
    ),
    click.option(
        "--sigma", type=_or_none(Finite(0, min_open=True)), default=None,
        help="Hold the Gaussian decoder's deviation, on [0, 1], at this.  [default: learned]",
    ),
    click.option(
        "--recon-weight", type=_or_none(Finite(0, min_open=True)), default=None,
        help="The same said otherwise: the weight of a squared error, its mean over pixels on [-1, 1], "
        "beside a KL term of weight 1.  [default: none]",
    ),
    _setting(
        "--pixel-variance/--one-variance", default=False,
        help="Let the Gaussian decoder give a variance for each pixel, as in the paper's appendix C.2.",
    ),
    _of_recipe("epochs", click.IntRange(1), "Passes over the training images."),
    _of_recipe("batch_size", click.IntRange(1), "Images in a step."),
    _setting(
        "--drop-last/--keep-last", default=RECIPE.drop_last,
        help="Leave out an epoch's last, smaller batch, of the validation images too.",
    ),
    _of_recipe("optimizer", choice(OptimizerName), "Adam, AdamW, or the paper's Adagrad."),
    _of_recipe("learning_rate", Finite(0, min_open=True), "The optimiser's step size at its highest."),
    _of_recipe("weight_decay", Finite(0), "AdamW's decay, or the weight of half the squared weights."),
    _of_recipe(
        "schedule", choice(Schedule), "Whether the step size falls to 0 along a half cosine or stays."
    ),
    _of_recipe("warmup_epochs", Finite(0), "Epochs over which the step size first rises from 0."),
    _of_recipe("beta", Finite(0), "Weight of the KL term; 1 is the ELBO."),
    _of_recipe("beta_warmup_epochs", Finite(0), "Epochs over which that weight first rises from 0."),
    _of_recipe("free_bits", Finite(0), "Nats that each latent may say at no price."),
    _of_recipe(
        "precision", choice(Precision), "Of the networks' products; bf16 is quicker where CPU or GPU has it."
    ),
    click.option(
        "--patience", type=_or_none(click.IntRange(1)), default=RECIPE.patience,
        help="Stop after so many epochs without a new best validation objective, and keep the best weights."
        "  [default: run all epochs]",
    ),
    _setting(
        "--snapshots/--no-snapshots", default=False,
        help="Keep what `animate` replays: after each epoch, the means of 2,000 held-out images and the "
        "reconstructions of ten.",
    ),
    click.option(
        "--log-interval", type=_or_none(click.IntRange(1)), default=None,
        help="Say the loss after every so many steps, in train.log at least.  [default: each epoch alone]",
    ),
    _setting(
        "--tensorboard/--no-tensorboard", default=False,
        help='Write the curves for TensorBoard too; needs the extra "tensorboard".',
    ),
    seed_option,
    device_option,
)  # fmt: skip


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="The run folder: config.json, history.csv, checkpoints, metrics.json and pictures."
    "  [default: runs/PRESET, or runs/mlp]",
)
@click.option("--resume", is_flag=True, help="Go on where the run in --out was stopped, with its settings.")
@_settings
@click.pass_context
def train(
    context: click.Context, /, out: Path | None, resume: bool, config: Path | None, **settings: Any
) -> None:
    """Train a VAE and write a run folder.

    Every epoch replaces the checkpoint in one step, so a run may be interrupted at any time and continued
    to the same result with --resume. model.safetensors has the last weights (with --patience the best),
    best.safetensors those that did best on the held-out images.

    Several processes, on one machine or many, take the same steps together:

    \b
      torchrun --nproc-per-node 2 -m vaelib train --out RUN

    If one of them fails, all end; go on with --resume and as many as you like.
    """  # noqa: D301 (click reads the \\b)
    del config  # has spoken through the defaults
    out = out or Path("runs") / (settings["preset"] or "mlp")
    resume = resume or (_RESTARTED and (out / CONFIG_FILE).exists())
    if resume:
        settings = _saved_settings(context, out, settings)
    elif _LEADS and (out / CONFIG_FILE).exists():
        raise click.UsageError(
            f"{out} already holds a run: continue it with --resume, or choose another --out"
        )
    settings["tag"] = list(settings["tag"])
    _refuse_unused(context, settings)

    from vaelib.runs import execute

    try:
        metrics = execute(settings, out, resume=resume, progress=sys.stderr.isatty())
    except KeyboardInterrupt:
        click.echo(f"vaelib: interrupted; go on with `vaelib train --out {out} --resume`", err=True)
        sys.exit(130)
    if not _LEADS:
        return
    elbo, spread = metrics["elbo"], metrics["standard_error"]
    bound = f"{elbo:.2f} ± {spread:.2f} nats" if math.isfinite(elbo) else "none, since q is a point"
    click.echo(
        f"test ELBO {bound} (distortion {metrics['distortion']:.2f}, rate {metrics['rate']:.2f}); "
        f"epochs: {metrics['epochs']}"
    )
    click.echo(f"the run is in {out}")


def _refuse_unused(context: click.Context, settings: Mapping[str, Any]) -> None:
    """Refuse a flag that the architecture would ignore."""
    theirs = {
        "mlp": (
            "hidden_dim",
            "activation",
            "latent_gain",
            "init_std",
            "mean_start",
            "posterior",
            "pixel_variance",
        ),
        "conv": ("encoder_channels", "decoder_channels", "batch_norm", "head"),
    }
    for architecture, names in theirs.items():
        for name in names if architecture != settings["architecture"] else ():
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
                flag = "--" + name.replace("_", "-")
                raise click.UsageError(
                    f"{flag} says nothing to --architecture {settings['architecture']}: leave it out, or "
                    f"take --architecture {architecture}"
                )


def _saved_settings(context: click.Context, out: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The settings that the run in ``out`` began with, held against those now given by hand."""
    path = out / CONFIG_FILE
    if not path.exists():
        raise CheckpointError(f"nothing to resume in {out}: it has no {CONFIG_FILE}")
    # A run from before a setting existed was trained with what is now its default.
    defaults = {parameter.name: parameter.default for parameter in context.command.params}
    try:
        saved = json.loads(path.read_text())
        saved["seed"], saved["epochs"]
        saved = {name: saved.get(name, defaults[name]) for name in given}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged or of another version ({error!r}): start anew") from error
    saved["folder"] = Path(saved["folder"]) if saved["folder"] else None
    for name, value in given.items():
        by_hand = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if by_hand and (list(value) if isinstance(value, tuple) else value) != saved[name]:
            flag = "--" + name.replace("_", "-")
            raise click.UsageError(
                f"{flag} {value}: the run in {out} began with {saved[name]}. Resume without {flag}, "
                "or start anew in another --out"
            )
    return saved


@click.command()
@click.argument("name", required=False, type=click.Choice(list(published.load())))
def presets(name: str | None) -> None:
    """List the published models that `train --preset` and `reproduce` know.

    With NAME, all its settings, as a TOML file that `train --config` takes.
    """
    if name is None:
        for each, preset in published.load().items():
            click.echo(f"{each:10} {preset.summary}")
            click.echo(f"{'':10} {preset.source}, {preset.url}")
            for difference in preset.differences:
                click.echo(f"{'':10} - {difference}")
        return
    preset = published.named(name)
    click.echo(f"# {preset.summary}\n# {preset.source}, {preset.url}")
    for difference in preset.differences:
        click.echo(f"# - {difference}")
    for key, value in preset.settings.items():
        click.echo(f"{key} = {json.dumps(value)}")


def resolve(preset: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a training: the preset's, but for the overrides, and the defaults for the rest."""
    with train.make_context(
        "train", [], default_map={**published.named(preset).settings, **overrides}
    ) as context:
        settings = {name: value for name, value in context.params.items() if name not in _NOT_SETTINGS}
    unknown = overrides.keys() - settings.keys()
    if unknown:
        raise SettingsError(f"no setting {', '.join(sorted(unknown))}")
    return {**settings, "preset": preset, "tag": list(settings["tag"])}


@click.command()
@click.argument("name", type=click.Choice(list(published.load())))
@click.option(
    "--only", multiple=True, help="Which of the preset's runs; may be repeated.  [default: all of them]"
)
@click.option(
    "--seed",
    "seeds",
    multiple=True,
    type=click.IntRange(0),
    help="Which seeds.  [default: all of the preset's]",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs/reproduce"),
    show_default=True,
    help="Where the run folders are.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Where NAME.json is written.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, as `epochs=2` to try the command; the result says so.  [default: none]",
)
@device_option
def reproduce(
    name: str, only: tuple[str, ...], seeds: tuple[int, ...], runs: Path, results: Path,
    overrides: tuple[str, ...], device: str,
) -> None:  # fmt: skip
    """Train a published model at its published length, and ours beside it, and write results/NAME.json.

    Hours for the convolutional ones. It may be stopped at any time: called again, it goes on where it was.
    Finished runs are kept and only read.
    """
    preset = published.named(name)
    unknown = set(only) - {run.name for run in preset.runs}
    if unknown:
        known = ", ".join(run.name for run in preset.runs)
        raise click.UsageError(f"--only {unknown.pop()}: {name} has the runs {known}")
    changed = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise click.UsageError(f"--set {override}: say KEY=VALUE, as in --set epochs=2")
        changed[key.replace("-", "_")] = value

    plan = [
        (run.name, seed, resolve(name, {**run.settings, **changed, "seed": seed, "device": device}))
        for run in preset.runs
        if not only or run.name in only
        for seed in (seeds or run.seeds)
    ]

    from vaelib.reproduction import reproduce as carry_out

    try:
        path = carry_out(
            name, plan, runs=runs, results=results, changed=changed, progress=sys.stderr.isatty()
        )
    except KeyboardInterrupt:
        click.echo("vaelib: interrupted; the same command goes on", err=True)
        sys.exit(130)
    click.echo(path)
