"""What the widgets share: one ES module from a few files, and traits that a link can carry."""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anywidget
import traitlets

HERE = Path(__file__).parent
IMPORT = re.compile(r"^import\s*\{[^}]*\}\s*from\s*\"\./([\w./-]+)\";\n", re.MULTILINE)


@cache
def module(name: str) -> str:
    """Return one self-contained ES module: the widget's own file, after the files of ``lib`` that it imports.

    Jupyter hands a widget's module to the browser as text, and text cannot import its neighbours. So the
    files stand in one scope, each once, and after those that it needs; no two may declare the same name.

    Parameters
    ----------
    name : str
        Of the file beside this one, without its suffix.
    """
    files: dict[Path, str] = {}

    def gather(path: Path) -> None:
        source = path.read_text(encoding="utf-8")
        for neighbour in IMPORT.findall(source):
            other = (path.parent / neighbour).resolve()
            if other not in files:
                gather(other)
        files[path] = IMPORT.sub("", source)

    gather((HERE / f"{name}.js").resolve())
    *library, own = files.values()
    return "\n".join([re.sub(r"^export ", "", text, flags=re.MULTILINE) for text in library] + [own])


STYLE = (HERE / "widgets.css").read_text(encoding="utf-8")


class Real(traitlets.Float[float, Any]):
    """A finite number within its limits: a plain ``Float`` lets NaN pass any, and JSON cannot carry it."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the value, or raise ``TraitError``."""
        value = super().validate(obj, value)
        if not math.isfinite(value):
            self.error(obj, value)
        return value


class Text(traitlets.Unicode[str, Any]):
    """A text of which all follows the regular expression in its tag ``pattern``, in Python as in a link."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the value, or raise ``TraitError``."""
        value = super().validate(obj, value)
        if not re.fullmatch(self.metadata["pattern"], value, re.ASCII):
            self.error(obj, value)
        return value


class Widget(anywidget.AnyWidget):
    """A picture that is played with: its traits are its state, and its ES module does all the computing.

    A trait tagged ``share=True`` is a choice of the reader: a link to the page carries it, and "Reset" puts
    it back. Its type says which values a link may ask for, and nothing else is taken from one.

    Parameters
    ----------
    key : str
        The widget's name in links; give each its own where a page shows two of one kind.
    """

    _css = STYLE
    key = traitlets.Unicode().tag(sync=True)
    _schema = traitlets.Dict().tag(sync=True)
    _initial = traitlets.Dict().tag(sync=True)

    def __init__(self, **values: Any) -> None:
        values.setdefault("key", re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower())
        super().__init__(**values)
        shared = self.traits(share=True)
        self._schema = {name: allowed(trait) for name, trait in shared.items()}
        self._initial = {name: getattr(self, name) for name in shared}

    @property
    def link(self) -> str:
        """The part of an address that brings a page of the book to this widget's present state: ``#...``."""
        pairs = [
            f"{name}={spell(getattr(self, name), self._schema[name].get('digits', 4))}"
            for name, first in self._initial.items()
            if getattr(self, name) != first
        ]
        return f"#{self.key}?{'&'.join(pairs)}"


def allowed(trait: traitlets.TraitType[Any, Any]) -> dict[str, Any]:
    """Say for JavaScript which values a trait may take from a link."""
    match trait:
        case traitlets.Bool():
            return {"type": "boolean"}
        case traitlets.Enum():
            return {"type": "choice", "of": list(trait.values or [])}
        case traitlets.Int() | traitlets.Float():
            whole = isinstance(trait, traitlets.Int)
            number = {"type": "number", "whole": whole, "min": trait.min, "max": trait.max}
            return number | {"digits": digits} if (digits := trait.metadata.get("digits")) else number
        case traitlets.List():
            entry = allowed(trait._trait)
            return entry | {"type": "numbers", "least": trait._minlen, "most": trait._maxlen}
        case traitlets.Unicode():
            return {"type": "text", "pattern": trait.metadata["pattern"]}
    raise TypeError(f"a link cannot carry a {type(trait).__name__}")


def spell(value: Any, digits: int = 4) -> str:
    """Write a trait's value as a link does, numbers to so many decimals (the trait's tag ``digits``)."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return ",".join(spell(entry, digits) for entry in value)
    if isinstance(value, float):
        return f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return quote(str(value))
