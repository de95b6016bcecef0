"""A recorded training run, scrubbed through by hand: latents, reconstructions and curves move together."""

from __future__ import annotations

from typing import Any

import torch
import traitlets
from torch import Tensor

from vaelib.figures import DIGITS
from vaelib.snapshots import Snapshots
from vaelib.widgets.core import Widget, module

# Dots that can be drawn at every step of a slider, and bytes that a page can carry.
DOTS = 1500
BYTES = 150_000
# Epochs, of any run: the last of this one is the limit that counts.
MOST = 1_000_000

CURVES = tuple(
    f"{images}_{name}" for name in ("elbo", "distortion", "rate") for images in ("train", "held_out")
)


class TrainingReplay(Widget):
    r"""What one run looked like before training and after each of its E epochs.

    .. math::

        \mu_\phi(x_i) = \mathbb E[q_\phi(z \mid x_i)], \qquad
        \mathbb E[x \mid z = \mu_\phi(x_i)], \qquad
        \mathcal L = -(\text{distortion} + \text{rate})

    On a plane of two latents each followed image is a dot at its mean, and ten images are shown above what
    the decoder makes of their means; the curves are the run's history. All of it is recorded, nothing is
    computed anew, with one exception: between two epochs the dots are drawn on straight lines from one to
    the other, and the page says so.

    Parameters
    ----------
    snapshots : Snapshots
        Of a run of at least one epoch: recorded by :class:`vaelib.snapshots.Recorder`, or read by
        :func:`vaelib.snapshots.load`. At most 1,500 of its images become dots, fewer where the run is so
        long that they would take more than 150 kB; those that are shown are always among them.
    dims : tuple of int, optional
        Which two latents span the plane, counted from 1; by default those with the largest rates at the end.
    **values
        Any of the traits below.

    Attributes
    ----------
    epoch : float
        From 0, before training, to E, where it starts.
    digit : int
        The class whose dots stand out, or -1 for all.
    speed : {0.5, 1.0, 2.0, 4.0}
        Epochs a second while it plays.
    means, labels : bytes
        Pairs in half precision, moment by moment, and a class for each.
    originals, reconstructions : bytes
        Grey values, 784 for each image.
    curves : dict of list of float
        Nats for each of the E epochs, under the names of the history's fields.
    steps : list of float
        The step size at the end of each epoch.
    limits : list of float
        The sides of the plane, left, right, low and high, the same for all moments.

    Raises
    ------
    ValueError
        If there is no epoch, or there are no two such latents, or a number is not finite.

    References
    ----------
    Book: eq-training-elbo, def-minibatch, def-schedule.
    """

    _esm = module("training_replay")
    means = traitlets.Bytes().tag(sync=True)
    labels = traitlets.Bytes().tag(sync=True)
    originals = traitlets.Bytes().tag(sync=True)
    reconstructions = traitlets.Bytes().tag(sync=True)
    curves = traitlets.Dict().tag(sync=True)
    steps: traitlets.List[float] = traitlets.List(traitlets.Float()).tag(sync=True)
    elbo_before = traitlets.Float().tag(sync=True)
    held_out_name = traitlets.Unicode().tag(sync=True)
    dims: traitlets.List[int] = traitlets.List(traitlets.Int()).tag(sync=True)
    limits: traitlets.List[float] = traitlets.List(traitlets.Float()).tag(sync=True)
    colours = traitlets.List(list(DIGITS)).tag(sync=True)
    epoch = traitlets.Float(min=0, max=MOST).tag(sync=True, share=True)
    digit = traitlets.Int(-1, min=-1, max=9).tag(sync=True, share=True)
    speed = traitlets.Enum([0.5, 1.0, 2.0, 4.0], 2.0).tag(sync=True, share=True)

    def __init__(self, snapshots: Snapshots, *, dims: tuple[int, int] | None = None, **values: Any) -> None:
        epochs = snapshots.epochs
        if epochs == 0:
            raise ValueError("there is no epoch to replay")
        latents = snapshots.means.shape[2]
        dims = dims or snapshots.plane()
        if len(set(dims)) != 2 or not all(1 <= dim <= latents for dim in dims):
            raise ValueError(f"dims {dims}: two different latents of 1 to {latents}")
        chosen = followed(snapshots)
        plane = snapshots.means[:, chosen][:, :, [dim - 1 for dim in dims]]
        curves = {name: [getattr(line, name) for line in snapshots.history] for name in CURVES}
        curves = {name: line for name, line in curves.items() if None not in line}
        if not torch.isfinite(torch.tensor([*curves.values()])).all() or not plane.half().isfinite().all():
            raise ValueError("a replay shows finite numbers, and this run has others")
        values.setdefault("epoch", epochs)
        super().__init__(
            means=plane.half().numpy().tobytes(),
            labels=snapshots.labels[chosen].numpy().tobytes(),
            originals=snapshots.originals.numpy().tobytes(),
            reconstructions=snapshots.reconstructions.numpy().tobytes(),
            curves=curves,
            steps=[line.learning_rate for line in snapshots.history],
            elbo_before=snapshots.elbo_before,
            held_out_name=snapshots.held_out_name,
            dims=list(dims),
            limits=window(plane),
            **values,
        )
        self._schema = self._schema | {"epoch": self._schema["epoch"] | {"max": epochs}}

    @traitlets.validate("epoch")
    def _within_the_run(self, proposal: Any) -> Any:
        epochs = len(self.steps)
        if not proposal["value"] <= epochs:  # NaN is not, either
            raise traitlets.TraitError(f"epoch {proposal['value']}: the run has {epochs}")
        return proposal["value"]


def followed(snapshots: Snapshots) -> Tensor:
    """Which images become dots: those that are shown, in their order, and then the first of the others."""
    room = min(DOTS, BYTES // (4 * (snapshots.epochs + 1)))
    shown = snapshots.shown
    rest = torch.arange(snapshots.labels.numel())
    rest = rest[~torch.isin(rest, shown)]
    return torch.cat([shown, rest])[: max(room, shown.numel())]


def window(points: Tensor) -> list[float]:
    """The sides of a square that holds all points (..., 2) and the prior's circle of three deviations."""
    low, high = (points.flatten(0, -2).amin(0).clamp(max=-3), points.flatten(0, -2).amax(0).clamp(min=3))
    middle, half = (low + high) / 2, 0.53 * float((high - low).max())
    return [round(float(side), 3) for m in middle for side in (m - half, m + half)]
