"""A run: from settings to a trained model, its metrics and its pictures, all in one folder.

The way is one: settings -> images and model -> ``fit`` -> ``metrics.json`` and pictures. Whoever wants a run
(``vaelib train``, ``vaelib reproduce``) says its settings and nothing else.
"""

import inspect
import json
import logging
import math
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure

from vaelib import __version__, data, evaluation, figures, parallel, snapshots
from vaelib.checkpoints import load
from vaelib.data import Dataset, Images
from vaelib.devices import pick_device
from vaelib.errors import CheckpointError, SettingsError, VaelibError
from vaelib.figures.saving import save
from vaelib.files import write_atomically
from vaelib.history import Epoch
from vaelib.models import VAE, conv_vae, mlp_vae, start_at_mean
from vaelib.objectives import ElboTerms
from vaelib.settings import Recipe
from vaelib.shards import Shards
from vaelib.training import BEST_FILE, CHECKPOINT_FILE, fit
from vaelib.units import sigma_of_weight

CONFIG_FILE = "config.json"
METRICS_FILE = "metrics.json"
LOG_FILE = "train.log"

BUILDERS: dict[str, Callable[..., VAE]] = {"mlp": mlp_vae, "conv": conv_vae}

log = logging.getLogger("vaelib.run")


class Prepared(NamedTuple):
    """All that ``fit`` wants, and the images that are reported on."""

    model: VAE
    train: Dataset
    held_out: Images
    test: Images
    held_out_name: str
    test_name: str
    selecting: bool
    recipe: Recipe


def model_settings(architecture: str) -> set[str]:
    """Names of the settings that this architecture's builder takes."""
    return set(inspect.signature(BUILDERS[architecture]).parameters) - {"data_dim", "generator"}


def prepare(settings: Mapping[str, Any]) -> Prepared:
    """Get the images and make the untrained model that settings describe.

    Raises
    ------
    VaelibError
        If they contradict each other, or ask for what is not there.
    """
    recipe = Recipe(**{name: settings[name] for name in asdict(Recipe())})
    choosing_on_test = settings["select_on"] == "test"
    if choosing_on_test and (settings["validation"] or settings["mixed"]):
        raise SettingsError(
            "--select-on test trains on all training images and chooses on the test set: give it with "
            "--validation 0 and without --mixed"
        )
    if recipe.patience is not None and settings["validation"] == 0 and not choosing_on_test:
        raise SettingsError(
            "--patience would choose the epoch on the test set: hold images out with --validation, or say "
            "--select-on test and report it"
        )
    if settings["shards"] and (settings["validation"] or settings["mixed"]):
        raise SettingsError("--shards are all trained on: give --validation 0, and not --mixed")
    images, test = data.load(settings["dataset"], folder=settings["folder"])
    if not settings["mixed"] and settings["validation"] >= len(images):
        raise SettingsError(f"--validation {settings['validation']} leaves none of {len(images)} to train on")
    parts = data.parts(
        images, test, validation=settings["validation"], mixed=settings["mixed"], seed=recipe.seed
    )
    parts = data.Parts(*(part.framed(settings["side"]) for part in parts))
    train: Dataset = parts.train
    if settings["shards"]:
        train = shards = Shards(Path(settings["shards"]))
        if shards.data_dim != settings["side"] ** 2:
            raise SettingsError(f"--shards are of {shards.data_dim} pixels, --side says {settings['side']}²")
    held_out, held_out_name = parts.test, "test"
    if settings["validation"]:
        held_out, held_out_name = parts.validation, "validation"
        if recipe.drop_last:
            held_out = held_out[: len(held_out) // recipe.batch_size * recipe.batch_size]
    model = _model(settings, recipe.seed)
    if settings["mean_start"]:
        try:
            start_at_mean(model, parts.train.floats().mean(0))
        except ValueError as error:
            raise SettingsError(f"--mean-start: {error}") from error
    return Prepared(
        model.to(pick_device(settings["device"])),
        train,
        held_out,
        parts.test,
        held_out_name,
        "test of the mixed images" if settings["mixed"] else "test",
        selecting=choosing_on_test or settings["validation"] > 0,
        recipe=recipe,
    )


def _model(settings: Mapping[str, Any], seed: int) -> VAE:
    data_dim = settings["side"] ** 2
    chosen = {name: settings[name] for name in model_settings(settings["architecture"])}
    if settings["recon_weight"] is not None:
        if settings["sigma"] is not None:
            raise SettingsError("--recon-weight stands for a --sigma: give one of them")
        chosen["sigma"] = sigma_of_weight(
            settings["recon_weight"], data_dim=data_dim, reduction="mean", span=2
        )
    generator = torch.Generator().manual_seed(seed)
    try:
        return BUILDERS[settings["architecture"]](**chosen, data_dim=data_dim, generator=generator)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def execute(
    settings: Mapping[str, Any], out: Path, *, resume: bool = False, progress: bool = True
) -> dict[str, Any]:
    """Train what settings describe in the folder ``out``, measure it, draw its pictures; return the metrics.

    Parameters
    ----------
    settings : Mapping
        Those of ``vaelib train``, every one of them.
    out : Path
        Becomes a run only once nothing asked for has turned out to be impossible.
    resume : bool
        Go on where the run in ``out`` was stopped.
    progress : bool
        A bar on standard error; without one a line for each epoch.

    Under ``torchrun`` the processes train together; the first one does all else, the others return nothing.

    Raises
    ------
    VaelibError
        If the settings contradict each other, or the training fails.
    """
    with parallel.joined() as world:
        return _execute(settings, out, resume, progress) if world.leads else _follow(settings, out, resume)


def _follow(settings: Mapping[str, Any], out: Path, resume: bool) -> dict[str, Any]:
    """Take this process's part in the training that another one leads; there is nothing to return."""
    ready = prepare(settings)
    fit(
        ready.model,
        ready.train,
        ready.recipe,
        held_out=ready.held_out,
        keep_best=ready.selecting,
        folder=out,
        resume=_resuming(out, resume),
        progress=False,
    )
    return {}


def _resuming(out: Path, resume: bool) -> bool:
    """Whether there is something to go on from: no epoch may have been finished before."""
    return resume and (out / CHECKPOINT_FILE).exists()


def _execute(settings: Mapping[str, Any], out: Path, resume: bool, progress: bool) -> dict[str, Any]:
    ready = prepare(settings)
    model, recipe, device = ready.model, ready.recipe, next(ready.model.parameters()).device
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        write_json(out / CONFIG_FILE, {"vaelib": __version__, **settings})
    with ExitStack() as stack:
        stack.enter_context(_logged(out / LOG_FILE, quiet=progress))
        resuming = _resuming(out, resume)
        if resume and not resuming:
            log.info("no epoch was finished before: starting at the first")
        if settings["select_on"] == "test":
            log.info("the best epoch is chosen on the test set, as the original did: its figure leaks")
        elif settings["mixed"]:
            log.info("training and test images are mixed and split anew: this test set is not MNIST's")
        keep = None
        if settings["snapshots"]:
            keep = _keep_snapshots(out, ready, resuming)
        each_epoch: list[Callable[[Epoch], None]] = [_say_epoch]
        if settings["tensorboard"]:
            each_epoch.append(stack.enter_context(_tensorboard(out)))
        history = fit(
            model,
            ready.train,
            recipe,
            held_out=ready.held_out,
            keep_best=ready.selecting,
            folder=out,
            resume=resuming,
            progress=progress,
            on_step=_say_steps(settings["log_interval"], recipe),
            on_epoch=lambda epoch: _call(each_epoch, epoch),
            before_saving=keep,
        )
        log.info("measuring on the test set and drawing the pictures")
        metrics = _measure(out, ready, history)
        write_json(out / METRICS_FILE, metrics)
        _draw(out, model, history, ready.test, recipe.seed, ready.held_out_name, device)
    return metrics


def _call(all_of: list[Callable[[Epoch], None]], epoch: Epoch) -> None:
    for each in all_of:
        each(epoch)


def measured(model: VAE, images: Images, seed: int) -> dict[str, Any]:
    """An evaluation as JSON has it; the draws are the seed's."""
    generator = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    return evaluation.evaluate(model, images, generator=generator)._asdict()


def _measure(out: Path, ready: Prepared, history: list[Epoch]) -> dict[str, Any]:
    """Of the weights in ``model.safetensors`` on the test set; and of the best ones, where there are any."""
    seed, device = ready.recipe.seed, next(ready.model.parameters()).device
    metrics = {
        "split": ready.test_name,
        "epochs": len(history),
        "seconds": sum(line.seconds for line in history),
        **measured(ready.model, ready.test, seed),
    }
    if ready.selecting and (out / BEST_FILE).exists():
        best = load(out / BEST_FILE)
        model = best.model.to(device)
        metrics["best"] = {
            "epoch": best.record["epoch"]["epoch"],
            "chosen_on": ready.held_out_name,
            "held_out": measured(model, ready.held_out, seed),
            "test": measured(model, ready.test, seed),
        }
    return metrics


@contextmanager
def _logged(path: Path, *, quiet: bool) -> Iterator[None]:
    """Write what is said into a file as well, with the time; or only there, beside a progress bar."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    before, log.propagate = log.propagate, not quiet
    try:
        yield
    finally:
        log.propagate = before
        log.removeHandler(handler)
        handler.close()


def _say_epoch(epoch: Epoch) -> None:
    held_out = "" if epoch.held_out_elbo is None else f", held out {epoch.held_out_elbo:.2f}"
    log.info(
        "epoch %d: training ELBO %.2f%s nats, %.1f s", epoch.epoch, epoch.train_elbo, held_out, epoch.seconds
    )


def _say_steps(interval: int | None, recipe: Recipe) -> Callable[[int, int, ElboTerms], None] | None:
    """Say the objective of every so many steps; reading it makes a GPU wait, so only then."""
    if interval is None:
        return None

    def say(epoch: int, step: int, terms: ElboTerms) -> None:
        if step % interval == 0:
            log.info(
                "epoch %d, step %d: loss %.2f nats", epoch, step, -terms.weighted(recipe.beta).mean().item()
            )

    return say


@contextmanager
def _tensorboard(out: Path) -> Iterator[Callable[[Epoch], None]]:
    """Write each epoch's line as scalars that TensorBoard, and what imports its files, can read."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise VaelibError(
            '--tensorboard needs the extra "tensorboard": pip install "vaelib[tensorboard]"'
        ) from error
    writer = SummaryWriter(out / "tensorboard")

    def add(epoch: Epoch) -> None:
        for name, value in epoch._asdict().items():
            if value is not None and name != "epoch":
                kind, _, term = name.rpartition("_")
                writer.add_scalar(f"{term}/{kind}" if kind else name, value, epoch.epoch)
        writer.flush()

    try:
        yield add
    finally:
        writer.close()


def _keep_snapshots(out: Path, ready: Prepared, resume: bool) -> Callable[[list[Epoch]], None]:
    """Take the snapshot before training, or read those taken, and give what is to be called after epochs."""
    path = out / snapshots.SNAPSHOTS_FILE
    if resume and not path.exists():
        raise CheckpointError(
            f"{path} is gone, but {out} began with --snapshots: start anew in another --out"
        )
    if resume:
        kept = snapshots.load(path)
    else:
        kept = snapshots.begin(
            ready.model, ready.held_out, seed=ready.recipe.seed, held_out_name=ready.held_out_name
        )
        snapshots.save(path, kept)

    def keep(history: list[Epoch]) -> None:
        nonlocal kept
        kept = snapshots.after_epoch(kept, ready.model, ready.held_out, history)
        snapshots.save(path, kept)

    return keep


def _draw(
    out: Path, model: VAE, history: list[Epoch], test: Images, seed: int, held_out_name: str, device: Any
) -> None:
    """Draw the pictures of a finished run."""
    generator = torch.Generator(device).manual_seed(seed)
    mean, log_var = evaluation.encode(model, test)
    z = model.sample_prior(100, generator=generator)
    shown = test[:10]
    made = evaluation.reconstruct(model, shown, generator=generator)
    score, values = made.score
    drawn: dict[str, Figure] = {
        "losses.png": figures.loss_curves(history, held_out_name=held_out_name),
        "reconstructions.png": figures.reconstructions(
            shown.floats(), made.mean_image, elbo=values, score=score
        ),
        "samples.png": figures.sheet(evaluation.decode(model, z)),
    }
    if model.latent_dim >= 2:
        drawn["latent-mean.png"] = figures.latent_scatter(mean[:, :2], test.labels)
        deviation = (0.5 * log_var[:, :2]).exp()
        drawn["latent-std.png"] = figures.latent_scatter(deviation, test.labels, name="standard deviation")
    if model.latent_dim == 2:
        drawn["manifold.png"] = figures.manifold(lambda z: evaluation.decode(model, z))
    for name, figure in drawn.items():
        save(figure, out / name)


def versions() -> dict[str, str]:
    """What computed a result: the versions that stand beside it in its file."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__.partition("+")[0],
        "vaelib": __version__,
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all; a number that is not finite becomes null, for JSON has none."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    write_atomically(path, (json.dumps(plain(content), indent=2, default=str) + "\n").encode())
