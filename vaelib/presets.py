"""What others have trained, as data: ``presets.toml`` beside this file. No PyTorch needed."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from vaelib.errors import SettingsError

FILE = Path(__file__).with_suffix(".toml")


class Run(NamedTuple):
    """One training of several, which differ by seed: the preset's settings, but for ``settings``."""

    name: str
    seeds: list[int]
    settings: Mapping[str, Any] = MappingProxyType({})


class Preset(NamedTuple):
    """A table of ``presets.toml``.

    ``settings`` are those of ``vaelib train``; ``loss`` is what the original reports, in units of its own
    (``weight``, ``kl_weight``, ``span``), or ``None`` for nats.
    """

    source: str
    url: str
    summary: str
    differences: list[str]
    settings: dict[str, Any]
    runs: list[Run]
    loss: dict[str, float] | None = None


def load() -> dict[str, Preset]:
    """All presets, by name."""
    tables = tomllib.loads(FILE.read_text())
    return {
        name: Preset(**{**table, "runs": [Run(**run) for run in table["runs"]]})
        for name, table in tables.items()
    }


def named(name: str) -> Preset:
    """The preset of that name.

    Raises
    ------
    SettingsError
        If there is none.
    """
    presets = load()
    if name not in presets:
        raise SettingsError(f"no preset {name!r}: there are {', '.join(presets)}")
    return presets[name]
