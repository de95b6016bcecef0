"""Variational autoencoders, small and tested: the companion module of the book.

Import the room you need, ``from vaelib import data, models, training``: importing the package itself
loads nothing, so that ``vaelib --help`` is quick and the rooms that need no PyTorch work without it.

All losses are in nats, one number for each image, shape ``(B,)``; the mean is taken once, last.
"""

TYPE_CHECKING = False  # as typing has it, which would be the only import
if TYPE_CHECKING:
    from vaelib.pretrained import load_pretrained as load_pretrained

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """``vaelib.load_pretrained``, which needs PyTorch, is imported when it is asked for."""
    if name == "load_pretrained":
        from vaelib.pretrained import load_pretrained

        return load_pretrained
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
