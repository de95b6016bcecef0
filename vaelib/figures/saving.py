"""Figures as files."""

import io
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from vaelib.errors import SettingsError
from vaelib.files import write_atomically

# No date and no random names inside, so that the same figure gives the same bytes.
_UNDATED = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def kind_of(path: Path) -> str:
    """What a picture is written as, by its ending.

    Raises
    ------
    SettingsError
        If it is none of .png, .svg and .pdf.
    """
    kind = path.suffix.lstrip(".").lower()
    if kind not in _UNDATED:
        raise SettingsError(f"{path}: a picture is written as .png, .svg or .pdf")
    return kind


def save(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all, on white: pictures that leave the book stand on paper.

    Raises
    ------
    SettingsError
        If the ending is none of .png, .svg and .pdf.
    """
    kind, content = kind_of(path), io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "vaelib"}):
        figure.savefig(content, format=kind, dpi=200, facecolor="white", metadata=_UNDATED[kind])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())
