"""A training run to be replayed: where the encoder put the same images after each epoch, and what came back.

One file holds the whole replay, its loss curves too, and nothing in it depends on the clock: the same run
writes the same bytes, whether or not it was stopped in between.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from vaelib import __version__
from vaelib.checkpoints import read_tensors
from vaelib.data import Images
from vaelib.divergences import gaussian_kl
from vaelib.errors import CheckpointError, TrainingError
from vaelib.evaluation import decode, encode, evaluate
from vaelib.files import write_atomically
from vaelib.history import Epoch
from vaelib.models import VAE

FORMAT = 1
SNAPSHOTS_FILE = "snapshots.safetensors"
# Enough points to see ten clouds part, few enough to draw at every step of a slider.
FOLLOWED = 2000

_TENSORS = ("labels", "means", "rates", "shown", "originals", "reconstructions")


@dataclass(frozen=True, eq=False)
class Snapshots:
    r"""What one run looked like before training and after each of its E epochs.

    N held-out images are followed, always the same, and K of them are decoded as well.
    The first index of ``means``, ``rates`` and ``reconstructions`` is the epoch, 0 before training.

    Parameters
    ----------
    labels : Tensor (N,), uint8
        Class of each followed image, 0 to 9.
    means : Tensor (E + 1, N, J), float32
        :math:`\mathbb E[q(z \mid x)]` of each followed image.
    rates : Tensor (E + 1, J), float32
        :math:`\mathrm{KL}(q(z_j \mid x) \,\|\, p(z_j))` in nats, the mean over the followed images. Their sum
        over j is the rate; a latent near 0 is not used.
    shown : Tensor (K,), int64
        Which of the followed images are decoded: the first of each class, in the order of the classes.
    originals : Tensor (K, D), uint8
        Those images, 0 (paper) to 255 (ink).
    reconstructions : Tensor (E + 1, K, D), uint8
        :math:`\mathbb E[x \mid z]` at the mean of :math:`q(z \mid x)`, not at a draw from it, in the same
        grey values.
    history : tuple of Epoch
        The E lines of ``history.csv``. Their ``seconds`` are 0: they tell of the machine, not of the run.
    elbo_before : float
        ELBO of all held-out images before training, in nats; the history has it after each epoch.
    held_out_name : str
        What the held-out images are: ``"validation"`` or ``"test"`` in the command line's runs.

    Raises
    ------
    CheckpointError
        If a shape or a dtype is another.
    """

    labels: Tensor
    means: Tensor
    rates: Tensor
    shown: Tensor
    originals: Tensor
    reconstructions: Tensor
    history: tuple[Epoch, ...]
    elbo_before: float
    held_out_name: str = "held out"

    def __post_init__(self) -> None:
        moments, count, pictures = len(self.history) + 1, self.labels.numel(), self.shown.numel()
        latents = self.rates.shape[-1] if self.rates.ndim else 0
        pixels = self.reconstructions.shape[-1] if self.reconstructions.ndim else 0
        for name, shape, dtype in (
            ("labels", (count,), torch.uint8),
            ("means", (moments, count, latents), torch.float32),
            ("rates", (moments, latents), torch.float32),
            ("shown", (pictures,), torch.int64),
            ("originals", (pictures, pixels), torch.uint8),
            ("reconstructions", (moments, pictures, pixels), torch.uint8),
        ):
            tensor: Tensor = getattr(self, name)
            if tuple(tensor.shape) != shape or tensor.dtype != dtype:
                raise CheckpointError(
                    f"snapshots of {moments - 1} epochs: {name} must be {dtype} of shape {shape}, "
                    f"not {tensor.dtype} of shape {tuple(tensor.shape)}"
                )

    @property
    def epochs(self) -> int:
        """How many epochs of training there are, E."""
        return len(self.history)

    @property
    def held_out_elbo(self) -> tuple[float | None, ...]:
        """ELBO of the held-out images at each of the E + 1 moments, in nats."""
        return (self.elbo_before, *(line.held_out_elbo for line in self.history))

    def plane(self) -> tuple[int, int]:
        """The two latents to look at, counted from 1: those with the largest rates at the end, in order.

        Raises
        ------
        ValueError
            If there are not two.
        """
        latents = self.rates.shape[-1]
        if latents < 2:
            raise ValueError(f"a plane shows 2 latents, this run has {latents}")
        first, second = sorted(self.rates[-1].sort(descending=True, stable=True).indices[:2].tolist())
        return first + 1, second + 1


def begin(model: VAE, held_out: Images, *, seed: int, held_out_name: str = "held out") -> Snapshots:
    """Take the first snapshot, before training.

    Parameters
    ----------
    model : VAE
        Neither it nor any generator but one made here is touched: the training stays as it was.
    held_out : Images
        At least one; the first 2,000 are followed.
    seed : int
        That of the recipe, so that the ELBO is measured with the noise that :func:`vaelib.training.fit`
        measures with.
    held_out_name : str
        What these images are called.

    Raises
    ------
    TrainingError
        If there are no images.
    """
    if len(held_out) == 0:
        raise TrainingError("snapshots need held-out images to follow: there are none")
    followed = _followed(held_out)
    classes = sorted(set(followed.labels.tolist()))
    shown = torch.tensor([int((followed.labels == digit).nonzero()[0]) for digit in classes])
    means, rates, reconstructions = _look(model, followed, shown)
    noise = torch.Generator(next(model.parameters()).device).manual_seed(seed)
    return Snapshots(
        labels=followed.labels.to(torch.uint8),
        means=means,
        rates=rates,
        shown=shown,
        originals=followed.pixels[shown].contiguous(),
        reconstructions=reconstructions,
        history=(),
        elbo_before=evaluate(model, held_out, generator=noise).elbo,
        held_out_name=held_out_name,
    )


def after_epoch(snapshots: Snapshots, model: VAE, held_out: Images, history: Sequence[Epoch]) -> Snapshots:
    """Add the snapshot of the epoch that has just ended.

    Parameters
    ----------
    snapshots : Snapshots
        Of the epochs before, at least: what they hold beyond those is dropped, since a run that was stopped
        between its snapshot and its checkpoint repeats that epoch.
    model : VAE
    held_out : Images
        Those that the snapshots began with.
    history : sequence of Epoch
        Of the run until now, the epoch that has just ended last.

    Raises
    ------
    CheckpointError
        If the snapshots are of another run.
    """
    followed = _followed(held_out)
    before, lines = len(history), tuple(line._replace(seconds=0.0) for line in history)
    if not (
        snapshots.history[: before - 1] == lines[:-1]
        and torch.equal(snapshots.labels, followed.labels.to(torch.uint8))
        and torch.equal(snapshots.originals, followed.pixels[snapshots.shown])
    ):
        raise CheckpointError(
            f"the snapshots in {SNAPSHOTS_FILE} are not those of this run's first {before - 1} epoch(s): "
            "start anew in another folder"
        )
    means, rates, reconstructions = _look(model, followed, snapshots.shown)
    return replace(
        snapshots,
        means=torch.cat([snapshots.means[:before], means]),
        rates=torch.cat([snapshots.rates[:before], rates]),
        reconstructions=torch.cat([snapshots.reconstructions[:before], reconstructions]),
        history=lines,
    )


class Recorder:
    """Take snapshots of a run as it goes: ``fit(..., before_saving=Recorder(model, held_out, seed=...))``.

    Parameters
    ----------
    model, held_out, seed, held_out_name
        As for :func:`begin`, which is called at once: make the recorder before the training.

    Attributes
    ----------
    snapshots : Snapshots
        Until the epoch that has just ended.
    """

    def __init__(self, model: VAE, held_out: Images, *, seed: int, held_out_name: str = "held out") -> None:
        self._model, self._held_out = model, held_out
        self.snapshots = begin(model, held_out, seed=seed, held_out_name=held_out_name)

    def __call__(self, history: Sequence[Epoch]) -> None:
        """Add the snapshot of the epoch that has just ended."""
        self.snapshots = after_epoch(self.snapshots, self._model, self._held_out, history)


def save(path: Path, snapshots: Snapshots) -> None:
    """Write snapshots, whole or not at all."""
    header = {
        "format": FORMAT,
        "vaelib": __version__,
        "fields": Epoch._fields,
        "history": snapshots.history,
        "elbo_before": snapshots.elbo_before,
        "held_out_name": snapshots.held_out_name,
    }
    tensors = {name: getattr(snapshots, name).contiguous() for name in _TENSORS}
    write_atomically(path, safetensors.torch.save(tensors, metadata={"snapshots": json.dumps(header)}))


def load(path: Path) -> Snapshots:
    """Read snapshots that :func:`save` wrote.

    Parameters
    ----------
    path : Path
        The file, or a run folder, whose ``snapshots.safetensors`` is meant then.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is damaged, or holds something else.
    """
    if path.is_dir():
        path = path / SNAPSHOTS_FILE
    if not path.is_file():
        raise CheckpointError(f"no snapshots at {path}: train with `vaelib train --snapshots`")
    metadata, tensors = read_tensors(path)
    if "snapshots" not in metadata:
        raise CheckpointError(
            f"{path} holds no snapshots: `vaelib train --snapshots` writes a file that does"
        )
    try:
        header = json.loads(metadata["snapshots"])
        written, author = header["format"], header["vaelib"]
        newer = written > FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the header of {path} is damaged ({error!r})") from error
    if newer:
        raise CheckpointError(
            f"{path} has format {written}, written by vaelib {author}; this is vaelib {__version__}, "
            f"which reads up to {FORMAT}: upgrade it"
        )
    try:
        return Snapshots(
            **{name: tensors[name] for name in _TENSORS},
            history=tuple(
                Epoch(**dict(zip(header["fields"], line, strict=True))) for line in header["history"]
            ),
            elbo_before=header["elbo_before"],
            held_out_name=header["held_out_name"],
        )
    except (ValueError, KeyError, TypeError, CheckpointError) as error:
        reason = error if isinstance(error, CheckpointError) else repr(error)
        raise CheckpointError(f"{path} is damaged: {reason}") from error


def _followed(held_out: Images) -> Images:
    return held_out[:FOLLOWED].to("cpu")


def _look(model: VAE, followed: Images, shown: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means (1, N, J), rates (1, J) and reconstructions (1, K, D) as the model has them now."""
    mean, log_var = encode(model, followed)
    # gaussian_kl sums over the last axis: give each latent one of its own.
    rates = gaussian_kl(mean[..., None], log_var[..., None]).mean(0)
    # A Gaussian decoder's mean may lie outside [0, 1].
    picture = (decode(model, mean[shown]).clamp(0, 1) * 255).round().to(torch.uint8)
    return mean[None], rates[None], picture[None]
