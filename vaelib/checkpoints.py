"""Models on disk: one safetensors file, its settings as JSON in the header. Loading one runs no code.

One file rather than a pair, because two files cannot be replaced in one step: weights and the record that
explains them are always from the same moment.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from vaelib import __version__
from vaelib.errors import CheckpointError
from vaelib.files import write_atomically
from vaelib.models import VAE, build

FORMAT = 1
MODEL_FILE = "model.safetensors"

_WEIGHTS, _EXTRA = "model.", "extra."


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Parameters
    ----------
    model : VAE
        On the CPU.
    record : dict
        The JSON that was saved beside the weights.
    extra : dict of Tensor
        The tensors that were saved beside the weights, on the CPU.
    """

    model: VAE
    record: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Tensor] = field(default_factory=dict)


def save(
    path: Path,
    model: VAE,
    *,
    record: Mapping[str, Any] | None = None,
    extra: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a model, and what belongs with it, whole or not at all.

    Parameters
    ----------
    path : Path
    model : VAE
        On any device; the file does not remember which.
    record : Mapping, optional
        Anything that JSON can hold.
    extra : Mapping of Tensor, optional
        Optimiser and generator states, for instance.
    """
    tensors = {_WEIGHTS + name: tensor for name, tensor in model.state_dict().items()}
    tensors |= {_EXTRA + name: tensor for name, tensor in (extra or {}).items()}
    header = {
        "format": FORMAT,
        "vaelib": __version__,
        "model": model.settings,
        "record": dict(record or {}),
    }
    content = safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        metadata={"vaelib": json.dumps(header)},
    )
    write_atomically(path, content)


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read the metadata and the tensors of a safetensors file, on the CPU.

    Raises
    ------
    CheckpointError
        If the file is damaged or of another kind.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return file.metadata() or {}, tensors
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file, and nothing else is opened here, "
            f"pickles least of all ({error})"
        ) from error


def load(path: Path) -> Checkpoint:
    """Read a checkpoint that :func:`save` wrote.

    Parameters
    ----------
    path : Path
        The file, or a run folder, whose ``model.safetensors`` is meant then.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is damaged, or something else than vaelib wrote it.
    """
    if path.is_dir():
        path = path / MODEL_FILE
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}: train one with `vaelib train --out RUN`")
    metadata, tensors = read_tensors(path)
    if "vaelib" not in metadata:
        raise CheckpointError(f"{path} was not written by vaelib: its header has no entry 'vaelib'")
    try:
        header = json.loads(metadata["vaelib"])
        written, author, settings, record = (header[key] for key in ("format", "vaelib", "model", "record"))
        newer = written > FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the header of {path} is damaged ({error!r})") from error
    if newer:
        raise CheckpointError(
            f"{path} has format {written}, written by vaelib {author}; this is vaelib {__version__}, "
            f"which reads up to {FORMAT}: upgrade it"
        )
    weights = {name[len(_WEIGHTS) :]: t for name, t in tensors.items() if name.startswith(_WEIGHTS)}
    extra = {name[len(_EXTRA) :]: t for name, t in tensors.items() if name.startswith(_EXTRA)}
    try:
        model = build(settings)
        model.load_state_dict(weights)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"the weights in {path} do not fit their settings: {reason}") from error
    return Checkpoint(model, record, extra)
