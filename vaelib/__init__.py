"""Variational autoencoders, small and tested: the companion module of the book.

Import the room you need, ``from vaelib import data, models, training``: importing the package itself
loads nothing, so that ``vaelib --help`` is quick and the rooms that need no PyTorch work without it.

All losses are in nats, one number for each image, shape ``(B,)``; the mean is taken once, last.
"""

__version__ = "0.1.0"
