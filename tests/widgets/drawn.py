"""What a chart shows, read back from its own axes and marks as a reader with a ruler would."""

from __future__ import annotations

import math
import re

from tests.widgets.conftest import Played

Point = tuple[float, float]


def number(text: str) -> float:
    """The number on a tick."""
    return float(text.replace("−", "-"))


class Chart:
    """The index-th chart with axes of a widget, as it stands now.

    ``dx`` and ``dy`` are how far a mark may be from its place in the units of the axes: pixels are written
    with two decimals, and so are the ticks that the scale is read from. ``per_pixel`` is the scale across.
    On an axis named in ``log`` the numbers on the ticks are turned into their logarithms to base 10.
    """

    def __init__(self, played: Played, index: int = 0, *, log: str = "") -> None:
        charts = played.page.locator(".vw svg.vw-chart:has(g.vw-axes)")
        self.svg = charts.nth(index)
        ticks = self.svg.evaluate(
            """svg => [...svg.querySelectorAll('.vw-axes text:not(.vw-name)')].map(t =>
                [t.getAttribute('text-anchor'), +t.getAttribute('x'), +t.getAttribute('y'), t.textContent])"""
        )
        across = [(x, number(text)) for anchor, x, _, text in ticks if anchor == "middle"]
        upwards = [(y - 4, number(text)) for anchor, _, y, text in ticks if anchor == "end"]
        self._x, self._y = (
            scale([(at, math.log10(value)) for at, value in ticks_] if axis in log else ticks_)
            for axis, ticks_ in (("x", across), ("y", upwards))
        )
        self.per_pixel = abs(self._x[1])
        self.dx, self.dy = self.per_pixel / 50, abs(self._y[1]) / 50
        self._marks: dict[str, dict[str, str]] = self.svg.evaluate(
            """svg => Object.fromEntries([...svg.querySelectorAll('[data-mark]')].map(mark => [
                mark.dataset.mark, Object.fromEntries([...mark.attributes].map(a => [a.name, a.value]))]))"""
        )

    def x(self, px: float) -> float:
        return self._x[0] + self._x[1] * px

    def y(self, py: float) -> float:
        return self._y[0] + self._y[1] * py

    def has(self, mark: str) -> bool:
        return mark in self._marks

    def marks(self, prefix: str) -> list[str]:
        return [name for name in self._marks if name.startswith(prefix)]

    def attribute(self, mark: str, name: str) -> str:
        return self._marks[mark][name]

    def path(self, mark: str) -> list[Point]:
        """The corners of a curve or an area."""
        pairs = re.findall(r"[ML](\S+) ([^MLZ]+)", self._marks[mark]["d"])
        return [(self.x(float(x)), self.y(float(y))) for x, y in pairs]

    def line(self, mark: str) -> tuple[Point, Point]:
        x0, y0, x1, y1 = (float(self._marks[mark][name]) for name in ("x1", "y1", "x2", "y2"))
        return (self.x(x0), self.y(y0)), (self.x(x1), self.y(y1))

    def bar(self, mark: str) -> tuple[Point, Point]:
        """The lower left corner and the upper right one."""
        x, y, width, height = (float(self._marks[mark][name]) for name in ("x", "y", "width", "height"))
        return (self.x(x), self.y(y + height)), (self.x(x + width), self.y(y))

    def boxes(self, mark: str) -> list[tuple[Point, Point]]:
        """The boxes of a mark of many, each by its lower left corner and its upper right one."""
        found = []
        for text in re.findall(r"M([^MZ]+)Z", self._marks[mark]["d"]):
            x0, y0, x1, y1 = (float(number) for number in re.findall(r"-?[\d.]+", text)[:4])
            found.append(((self.x(x0), self.y(max(y0, y1))), (self.x(x1), self.y(min(y0, y1)))))
        return found

    def at(self, mark: str) -> Point:
        """Where a handle stands."""
        x, y = re.findall(r"[-\d.]+", self._marks[mark]["transform"])
        return self.x(float(x)), self.y(float(y))


def scale(ticks: list[Point]) -> Point:
    """Offset and factor from pixels to units, from the two ticks that are furthest apart."""
    if not ticks:  # rows of bars have no numbers upwards
        return 0.0, 0.0
    (p0, v0), (p1, v1) = min(ticks), max(ticks)
    factor = (v1 - v0) / (p1 - p0)
    return v0 - factor * p0, factor
