"""Numbers as a widget prints them, held to what they should be: right to the last place that is shown."""

from __future__ import annotations

import re

RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"


def read_number(words: str) -> tuple[float, float]:
    """A printed number, such as −1,234.5 or 4.0·10⁻⁸, and half a unit of its last place."""
    match = re.fullmatch(r"(−?)([\d,]+)(?:\.(\d+))?(?:·10(⁻?)([⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", words)
    assert match, f"no number: {words!r}"
    sign, whole, decimals, less, raised = match.groups()
    power = int("".join(str(RAISED.index(digit)) for digit in raised or "⁰"))
    scale = 10.0 ** (-power if less else power)
    size = float(f"{whole.replace(',', '')}.{decimals or 0}") * scale
    return -size if sign else size, 0.5 * 10.0 ** -len(decimals or "") * scale


def says(words: str, wanted: float) -> bool:
    """Whether the words are this number, rounded."""
    found, half = read_number(words)
    return abs(found - wanted) <= 1.001 * half + 1e-9 * abs(wanted)
