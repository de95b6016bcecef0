"""The training loop: whole epochs on tensors in memory, resumable to the bit."""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from vaelib import checkpoints
from vaelib.data import Images
from vaelib.errors import CheckpointError, TrainingError
from vaelib.evaluation import evaluate
from vaelib.files import write_atomically
from vaelib.history import Epoch, history_csv
from vaelib.models import VAE
from vaelib.objectives import ElboTerms, floored_kl, terms_of
from vaelib.settings import Recipe

BEST_FILE = "best.safetensors"
CHECKPOINT_FILE = "checkpoint.safetensors"
HISTORY_FILE = "history.csv"


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


def optimizer_for(model: VAE, recipe: Recipe) -> torch.optim.Optimizer:
    """Make the optimiser that a recipe names, fused where PyTorch can."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = trained[0].device.type != "mps"
    if recipe.optimizer == "adagrad":
        return torch.optim.Adagrad(
            trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused
        )
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused)


def fit(
    model: VAE,
    train: Images,
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

    Parameters
    ----------
    model : VAE
        Trained on the device where its parameters are.
    train : Images
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
    seen = min(len(train), steps * recipe.batch_size)
    bar = tqdm(
        total=recipe.epochs * seen,
        initial=len(history) * seen,
        unit="img",
        unit_scale=True,
        disable=not progress,
    )
    with bar:
        for epoch in range(len(history) + 1, recipe.epochs + 1):
            if recipe.patience is not None and len(history) - best.epoch >= recipe.patience:
                break
            bar.set_description(f"epoch {epoch}/{recipe.epochs}", refresh=False)
            start = time.perf_counter()
            log_likelihood, kl = _train_epoch(
                model, train, recipe, optimizer, generator, epoch, steps, bar, on_step
            )
            seconds = time.perf_counter() - start
            # An infinite KL term that nobody pays for is a plain autoencoder's.
            if not math.isfinite(log_likelihood - kl if recipe.beta else log_likelihood):
                raise TrainingError(
                    f"the ELBO became {log_likelihood - kl} in epoch {epoch}: lower the learning rate "
                    f"(it was {recipe.learning_rate:g}) or lengthen the warm-up; a posterior that is a point "
                    "needs a KL weight of 0"
                )
            measured = None
            if held_out is not None:
                # The same noise after every epoch, so that epochs differ by their weights alone.
                fixed = torch.Generator(device).manual_seed(recipe.seed)
                measured = evaluate(model, held_out, generator=fixed)
            history.append(
                Epoch(
                    epoch=epoch,
                    train_elbo=log_likelihood - kl,
                    train_distortion=-log_likelihood,
                    train_rate=kl,
                    held_out_elbo=measured.elbo if measured else None,
                    held_out_distortion=measured.distortion if measured else None,
                    held_out_rate=measured.rate if measured else None,
                    learning_rate=optimizer.param_groups[0]["lr"],
                    seconds=seconds,
                )
            )
            if measured is not None and (keep_best or recipe.patience is not None):
                objective = measured.weighted(recipe.beta)
                if objective > best.objective:
                    best = _Best.of(model, epoch=epoch, objective=objective)
            if before_saving is not None:
                before_saving(list(history))
            if folder is not None:
                _store(folder, model, optimizer, generator, run, history, best)
            bar.set_postfix_str(f"ELBO {measured.elbo if measured else log_likelihood - kl:.2f} nats")
            if on_epoch is not None:
                on_epoch(history[-1])
    if recipe.patience is not None:
        model.load_state_dict(best.weights)
    model.eval()
    return history


def _train_epoch(
    model: VAE,
    train: Images,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    epoch: int,
    steps: int,
    bar: "tqdm[Any]",
    on_step: Callable[[int, int, ElboTerms], None] | None,
) -> tuple[float, float]:
    """Run one epoch; the mean log-likelihood and KL over its images, as they were met."""
    model.train()
    device = train.pixels.device
    shuffled = train[torch.randperm(len(train), generator=generator, device=device)]
    sums, seen = [], 0
    for step in range(1, steps + 1):
        now = (epoch - 1) * steps + step
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(now, recipe.epochs * steps, recipe.warmup_epochs * steps, recipe)
        beta = beta_at(now, recipe.beta_warmup_epochs * steps, recipe)
        x = shuffled[(step - 1) * recipe.batch_size : step * recipe.batch_size].floats()
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            mean, log_var = model.encode(x)
            noise = torch.randn(mean.shape, generator=generator, device=device)
            terms = terms_of(model, x, mean, log_var, noise)
        priced = terms
        if recipe.free_bits > 0:
            priced = terms._replace(kl=floored_kl(mean, log_var, recipe.free_bits))
        loss = -priced.weighted(beta).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        # Kept on the device: reading a number after each step would make a GPU wait for it.
        terms = ElboTerms(*(term.detach() for term in terms))
        sums.append(torch.stack([term.sum() for term in terms]))
        seen += len(x)
        bar.update(len(x))
        if on_step is not None:
            on_step(epoch, step, terms)
    log_likelihood, kl = (torch.stack(sums).cpu().double().sum(0) / seen).tolist()
    return log_likelihood, kl


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
    optimizer: torch.optim.Optimizer,
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
    optimizer: torch.optim.Optimizer,
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
