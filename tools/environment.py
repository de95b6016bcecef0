"""What requirements.lock asks for on this machine, and what is installed besides it.

``python tools/environment.py prune`` uninstalls what the lock no longer names: pip installs and never
removes, and a forgotten package could make a page pass here and fail for everyone else.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker, default_environment
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"

# Not in the lock, and right so: the installer that `venv` brings, and the project itself.
UNLOCKED = {"pip", "setuptools", "wheel", "vaelib"}

PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+?))?\s*\\?$")


@dataclass(frozen=True)
class Pin:
    """One entry of the lock."""

    name: str
    version: str
    marker: str | None
    hashes: tuple[str, ...]

    def applies(self, environment: dict[str, str] | None = None) -> bool:
        """Return whether the entry holds on the given platform, by default on this one."""
        return self.marker is None or Marker(self.marker).evaluate(environment or default_environment())


def read_lock(text: str) -> list[Pin]:
    """Return the lock's entries; raise ValueError at a line that is neither a pin, a hash nor a comment."""
    pins: list[Pin] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if stripped.startswith("--hash="):
            last = pins[-1]
            hashes = (*last.hashes, stripped.removeprefix("--hash=").rstrip("\\ "))
            pins[-1] = Pin(last.name, last.version, last.marker, hashes)
        elif match := PIN.match(stripped):
            pins.append(Pin(canonicalize_name(match["name"]), match["version"], match["marker"], ()))
        else:
            raise ValueError(f"requirements.lock, line {number}: neither a pin nor a hash: {stripped!r}")
    return pins


def superfluous(installed: set[str], pins: list[Pin]) -> list[str]:
    """Return the installed names that the lock does not ask for on this platform."""
    return sorted(installed - {pin.name for pin in pins if pin.applies()} - UNLOCKED)


def prune() -> None:
    """Uninstall from this interpreter's own virtual environment what the lock does not name."""
    if sys.prefix == sys.base_prefix:
        sys.exit("This is not a virtual environment; nothing is uninstalled from it.")
    installed = {canonicalize_name(found.metadata["Name"]) for found in metadata.distributions()}
    names = superfluous(installed, read_lock(LOCK.read_text(encoding="utf-8")))
    if names:
        print("No longer in the lock, so uninstalled:", ", ".join(names))
        subprocess.run([sys.executable, "-m", "pip", "uninstall", "--yes", "--quiet", *names], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["prune"], help="uninstall what the lock does not name")
    parser.parse_args()
    prune()
