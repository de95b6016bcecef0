"""Trained models that come with the package, each with the settings and the metrics that it reproduces."""

from pathlib import Path

from vaelib.checkpoints import Checkpoint, load
from vaelib.errors import CheckpointError

FOLDER = Path(__file__).parent / "weights"


def names() -> list[str]:
    """Return the names of the trained models, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def load_pretrained(name: str) -> Checkpoint:
    """Load a trained model that comes with the package.

    The weights are stored in half precision, and computed with in single precision; the metrics in the
    record were measured after that rounding.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    Checkpoint
        ``model``, and ``record`` with ``"recipe"``, ``"data"``, ``"command"``, ``"date"``, ``"versions"`` and
        ``"test"``: ELBO, distortion, rate and standard error on the test set, in nats, and the squared error,
        one draw with ``"seed"``. Published models have ``"held_out"``, too: the same of the images that their
        epoch was chosen on, and ``"own_loss"``, what the original reports.

    Raises
    ------
    CheckpointError
        If there is none of that name.
    """
    if name not in names():
        raise CheckpointError(f"no trained model {name!r} comes with vaelib: there are {', '.join(names())}")
    return load(FOLDER / f"{name}.safetensors")
