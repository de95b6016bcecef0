"""The training loop: whole epochs on tensors in memory, resumable to the bit."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from vaelib import checkpoints
from vaelib.data import Dataset, Images
from vaelib.errors import CheckpointError, TrainingError
from vaelib.evaluation import Evaluation, evaluate
from vaelib.files import write_atomically
from vaelib.history import Epoch, history_csv
from vaelib.models import VAE
from vaelib.objectives import ElboTerms
from vaelib.parallel import World, world
from vaelib.settings import Recipe
from vaelib.steps import (
    Optimizer,
    Step,
    drop_vanishing_moments,
    optimizer_for,
    products_in,
    set_learning_rate,
    step_for,
)

BEST_FILE = "best.safetensors"
CHECKPOINT_FILE = "checkpoint.safetensors"
HISTORY_FILE = "history.csv"

# Images that are gathered and made into numbers at once: few enough to stay in a cache.
_GATHERED = 1024
# Steps after which vanishing moments are looked for, before they can have become denormal, and terms are
# added up: thousands of small tensors would leave the memory between them in pieces.
_NOW_AND_THEN = 256


def learning_rate_at(step: float, total: float, warmup: float, recipe: Recipe) -> float:
    r"""Step size at the given step: a linear rise, then a half cosine down to 0, or level ground.

    .. math::

        \eta(t) = \eta_{\max} \min\!\left(1, \frac{t}{w}\right) \cdot
        \frac{1}{2}\left(1 + \cos\frac{\pi \max(0, t - w)}{T - w}\right)

    Parameters
    ----------
    step, total, warmup : float
        t, T and w; the steps count from 1, so that the first one moves.
    recipe : Recipe
        Without the cosine where its schedule is ``"constant"``.

    References
    ----------
    Book: def-schedule. Loshchilov and Hutter (2017), equation (5), without restarts.
    """
    rise = min(1.0, step / warmup) if warmup > 0 else 1.0
    if recipe.schedule == "constant" or total <= warmup:
        return recipe.learning_rate * rise
    fall = 0.5 * (1 + math.cos(math.pi * max(0.0, step - warmup) / (total - warmup)))
    return recipe.learning_rate * rise * fall


def beta_at(step: float, warmup: float, recipe: Recipe) -> float:
    r"""Weight of the KL term at the given step: a linear rise, then level ground.

    .. math::

        \beta(t) = \beta \min\!\left(1, \frac{t}{w}\right)

    Parameters
    ----------
    step, warmup : float
        t and w; the steps count from 1.
    recipe : Recipe

    References
    ----------
    Book: def-kl-warm-up. Sønderby et al. (2016), section 2.3; Bowman et al. (2016), section 3.1.
    """
    return recipe.beta * (min(1.0, step / warmup) if warmup > 0 else 1.0)


def fit(
    model: VAE,
    train: Dataset,
    recipe: Recipe | None = None,
    *,
    held_out: Images | None = None,
    keep_best: bool = True,
    folder: Path | None = None,
    resume: bool = False,
    progress: bool = True,
    on_step: Callable[[int, int, ElboTerms], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    before_saving: Callable[[list[Epoch]], None] | None = None,
) -> list[Epoch]:
    r"""Train a VAE in place by stochastic gradient ascent on the ELBO.

    .. math::

        \max_{\theta, \phi} \; \frac{1}{|B|} \sum_{i \in B}
        \left( \log p_\theta(x_i \mid z_i) - \beta \, \mathrm{KL}(q_\phi(z \mid x_i) \,\|\, p(z)) \right)

    Every image is seen once an epoch, in an order drawn anew; the last batch may be smaller, or, with
    ``recipe.drop_last``, is left out. The same
    model, images, recipe and device give the same weights, to the bit on a CPU with as many threads.

    Within a process group (``torchrun``; :func:`vaelib.parallel.joined`) each process takes its rows of every
    batch, and all together take the steps that one would, up to the rounding of sums. The first one measures,
    writes and calls ``on_epoch`` and ``before_saving``, and ``on_step`` with its own rows. ``folder`` must be
    one that all can read.

    Parameters
    ----------
    model : VAE
        Trained on the device where its parameters are.
    train : Images or Shards
        In memory, or read from disk as they are needed.
    recipe : Recipe, optional
        The default one if not given.
    held_out : Images, optional
        Measured after every epoch, with the same noise each time; needed for ``patience``. What it chooses
        is chosen on it: do not give the test set together with ``patience`` or ``keep_best``.
    keep_best : bool
        With held-out images and a folder, keep the weights that did best on them so far, too.
    folder : Path, optional
        After every epoch ``checkpoint.safetensors`` (all that a resumed run needs), ``model.safetensors``
        (the last weights, or with ``patience`` the best), ``best.safetensors`` and ``history.csv`` are
        replaced there, each in one step. Made if missing.
    resume : bool
        Go on from the checkpoint in ``folder``, to exactly where an uninterrupted run would have come.
    progress : bool
        Show a progress bar on standard error.
    on_step : callable, optional
        Called after each step with the epoch, the step in it, both from 1, and the step's detached terms.
    on_epoch : callable, optional
        Called with each new :class:`Epoch`.
    before_saving : callable, optional
        Called after each epoch with the history until then, before the checkpoint is written: what it
        records of the model is never behind what a resumed run goes on from. It must leave the model alone.

    Returns
    -------
    list of Epoch
        The history, resumed epochs included.

    Raises
    ------
    TrainingError
        If there are no images, ``patience`` has nothing to measure, the KL term is infinite and has a weight,
        or the objective stops being finite.
    CheckpointError
        If there is nothing to resume from, or it belongs to another run.

    References
    ----------
    Book: def-minibatch. Kingma and Welling (2014), algorithm 1.
    """
    recipe = recipe or Recipe()
    if len(train) == 0:
        raise TrainingError("there are no training images")
    if recipe.patience is not None and not held_out:
        raise TrainingError("patience needs held-out images to measure: give some, or leave it out")
    if resume and folder is None:
        raise TrainingError("resume needs the folder of the run")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)  # now, not after an epoch's work

    device = next(model.parameters()).device
    train = train.to(device)
    held_out = held_out.to(device) if held_out is not None else None
    optimizer = optimizer_for(model, recipe)
    generator = torch.Generator(device).manual_seed(recipe.seed)
    run = {"recipe": dataclasses.asdict(recipe), "train_images": len(train), "device": device.type}
    history: list[Epoch] = []
    best = _Best.of(model, epoch=0, objective=-math.inf)

    if resume and folder is not None:
        history, best = _restore(folder, model, optimizer, generator, run)
    steps = len(train) / recipe.batch_size
    steps = math.floor(steps) if recipe.drop_last else math.ceil(steps)
    if steps == 0:
        raise TrainingError(
            f"a batch of {recipe.batch_size} is more than the {len(train)} training images, and drop_last "
            "leaves out what is smaller: lower batch_size"
        )
    everyone = world()
    step = step_for(model, recipe, optimizer, everyone)
    seen = min(len(train), steps * recipe.batch_size)
    bar = tqdm(
        total=recipe.epochs * seen,
        initial=len(history) * seen,
        unit="img",
        unit_scale=True,
        disable=not (progress and everyone.leads),
    )
    loop = _Loop(step, train, recipe, optimizer, generator, model.latent_dim, steps, bar, everyone)
    with bar:
        for epoch in range(len(history) + 1, recipe.epochs + 1):
            if recipe.patience is not None and len(history) - best.epoch >= recipe.patience:
                break
            bar.set_description(f"epoch {epoch}/{recipe.epochs}", refresh=False)
            start = time.perf_counter()
            model.train()
            with products_in(recipe.precision, model):
                log_likelihood, kl = _train_epoch(loop, epoch, on_step if everyone.leads else None)
            seconds = time.perf_counter() - start
            # An infinite KL term that nobody pays for is a plain autoencoder's.
            if not math.isfinite(log_likelihood - kl if recipe.beta else log_likelihood):
                raise TrainingError(
                    f"the ELBO became {log_likelihood - kl} in epoch {epoch}: lower the learning rate "
                    f"(it was {recipe.learning_rate:g}) or lengthen the warm-up; a posterior that is a point "
                    "needs a KL weight of 0"
                )
            measured = _measured(model, held_out, recipe, everyone) if held_out is not None else None
            history.append(
                Epoch(
                    epoch=epoch,
                    train_elbo=log_likelihood - kl,
                    train_distortion=-log_likelihood,
                    train_rate=kl,
                    held_out_elbo=measured.elbo if measured else None,
                    held_out_distortion=measured.distortion if measured else None,
                    held_out_rate=measured.rate if measured else None,
                    learning_rate=float(optimizer.param_groups[0]["lr"]),
                    seconds=seconds,
                )
            )
            if measured is not None and (keep_best or recipe.patience is not None):
                objective = measured.weighted(recipe.beta)
                if objective > best.objective:
                    best = _Best.of(model, epoch=epoch, objective=objective)
            bar.set_postfix_str(f"ELBO {measured.elbo if measured else log_likelihood - kl:.2f} nats")
            if not everyone.leads:
                continue
            if before_saving is not None:
                before_saving(list(history))
            if folder is not None:
                _store(folder, model, optimizer, generator, run, history, best)
            if on_epoch is not None:
                on_epoch(history[-1])
    if recipe.patience is not None:
        model.load_state_dict(best.weights)
    model.eval()
    return history


class _Loop(NamedTuple):
    """What stays the same from epoch to epoch."""

    step: Step
    train: Dataset
    recipe: Recipe
    optimizer: Optimizer
    generator: torch.Generator
    latent_dim: int
    steps: int
    bar: "tqdm[Any]"
    world: World


def _train_epoch(
    loop: _Loop, epoch: int, on_step: Callable[[int, int, ElboTerms], None] | None
) -> tuple[float, float]:
    """Run one epoch; the mean log-likelihood and KL over its images, as they were met."""
    recipe, steps, generator = loop.recipe, loop.steps, loop.generator
    device = generator.device
    order = torch.randperm(len(loop.train), generator=generator, device=device)
    batches = torch.split(order, recipe.batch_size)[:steps]
    seen = sum(map(len, batches))
    noises = torch.split(
        torch.randn(seen, loop.latent_dim, generator=generator, device=device), recipe.batch_size
    )
    exact = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no more
    total = torch.zeros(2, dtype=exact, device=device)
    kept: list[ElboTerms] = []
    for number, (x, noise) in enumerate(zip(_gathered(loop, batches), noises, strict=True), start=1):
        images = len(noise)
        now = (epoch - 1) * steps + number
        if now % _NOW_AND_THEN == 0:
            drop_vanishing_moments(loop.optimizer)
            total, kept = _added(total, kept), []
        rate = learning_rate_at(now, recipe.epochs * steps, recipe.warmup_epochs * steps, recipe)
        set_learning_rate(loop.optimizer, rate)
        beta = beta_at(now, recipe.beta_warmup_epochs * steps, recipe)
        terms = loop.step(x, loop.world.share(noise), beta, images)
        # Kept on the device: reading a number after each step would make a GPU wait for it.
        kept.append(terms)
        loop.bar.update(images)
        if on_step is not None:
            on_step(epoch, number, terms)
    log_likelihood, kl = (loop.world.total(_added(total, kept)) / seen).tolist()
    return log_likelihood, kl


def _added(total: Tensor, terms: Sequence[ElboTerms]) -> Tensor:
    """Add the sums of log-likelihoods and of KL terms to those of the steps before."""
    if not terms:
        return total
    return total + torch.stack([torch.cat(each).sum(dtype=total.dtype) for each in zip(*terms, strict=True)])


def _gathered(loop: _Loop, batches: Sequence[Tensor]) -> Iterator[Tensor]:
    """A process's rows of each batch, (B, D) on [0, 1], gathered for some steps at a time."""
    at_once = max(1, _GATHERED // loop.recipe.batch_size)
    for first in range(0, len(batches), at_once):
        shares = [loop.world.share(batch) for batch in batches[first : first + at_once]]
        pixels = loop.train.take(torch.cat(shares)).to(loop.generator.device).floats()
        yield from torch.split(pixels, [len(share) for share in shares])


def _measured(model: VAE, images: Images, recipe: Recipe, everyone: World) -> Evaluation:
    """What the first process measures; all stop, and keep weights, by the same numbers."""
    found = None
    if everyone.leads:
        # The same noise after every epoch, so that epochs differ by their weights alone.
        fixed = torch.Generator(next(model.parameters()).device).manual_seed(recipe.seed)
        found = evaluate(model, images, generator=fixed)
    numbers = everyone.agreed(found, len(Evaluation._fields), next(model.parameters()).device)
    return Evaluation._make(numbers)._replace(images=len(images))


class _Best(NamedTuple):
    """The weights that did best on the held-out images so far, and after which epoch that was."""

    epoch: int
    objective: float
    weights: dict[str, Tensor]

    @classmethod
    def of(cls, model: VAE, *, epoch: int, objective: float) -> "_Best":
        return cls(epoch, objective, {name: t.detach().clone() for name, t in model.state_dict().items()})


def _store(
    folder: Path,
    model: VAE,
    optimizer: Optimizer,
    generator: torch.Generator,
    run: dict[str, Any],
    history: list[Epoch],
    best: _Best,
) -> None:
    """Write the run's state: the checkpoint last, since it is what a resumed run believes."""
    record = {**run, "epoch": history[-1]._asdict()}
    if best.epoch == len(history):
        checkpoints.save(folder / BEST_FILE, model, record=record)
    if run["recipe"]["patience"] is None or best.epoch == len(history):
        checkpoints.save(folder / checkpoints.MODEL_FILE, model, record=record)
    write_atomically(folder / HISTORY_FILE, history_csv(history).encode())
    moments = {
        f"optimizer.{index}.{name}": tensor
        for index, state in optimizer.state_dict()["state"].items()
        for name, tensor in state.items()
    }
    kept = {f"best.{name}": tensor for name, tensor in best.weights.items()} if best.epoch else {}
    checkpoints.save(
        folder / CHECKPOINT_FILE,
        model,
        record={
            **run,
            "history": [list(epoch) for epoch in history],
            "best_epoch": best.epoch,
            "best_objective": best.objective if math.isfinite(best.objective) else None,
        },
        extra={**moments, **kept, "generator": generator.get_state()},
    )


def _restore(
    folder: Path,
    model: VAE,
    optimizer: Optimizer,
    generator: torch.Generator,
    run: dict[str, Any],
) -> tuple[list[Epoch], _Best]:
    """Put model, optimiser and generator back to where the checkpoint left them."""
    path = folder / CHECKPOINT_FILE
    checkpoint = checkpoints.load(path)
    record = checkpoint.record
    if "history" not in record:
        raise CheckpointError(f"{path} holds a model but no state of training: it cannot be resumed")
    theirs = {**record["recipe"], "train_images": record["train_images"], "device": record["device"]}
    theirs |= checkpoint.model.settings
    ours = {**run["recipe"], "train_images": run["train_images"], "device": run["device"]} | model.settings
    different = [
        f"{name} was {theirs.get(name)}, now {ours.get(name)}"
        for name in sorted(theirs.keys() | ours.keys())
        if theirs.get(name) != ours.get(name)
    ]
    if different:
        raise CheckpointError(
            f"{path} belongs to another run: {'; '.join(different)}. "
            "Resume with the settings it began with, or start anew in another folder"
        )
    model.load_state_dict(checkpoint.model.state_dict())
    states: dict[int, dict[str, Tensor]] = {}
    best_weights: dict[str, Tensor] = {}
    for name, tensor in checkpoint.extra.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, moment = rest.partition(".")
            states.setdefault(int(index), {})[moment] = tensor
        elif kind == "best":
            best_weights[rest] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    generator.set_state(checkpoint.extra["generator"])
    objective = record["best_objective"]
    best = _Best(record["best_epoch"], -math.inf if objective is None else objective, best_weights)
    return [Epoch(*line) for line in record["history"]], best
