"""Settings for all tests; and at the end of a run, which of the notebooks' cells took longest."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

SLOWEST = 10

# Where tests run side by side, each process keeps to one core: PyTorch's threads, and those of the notebooks'
# kernels, which inherit this, would otherwise wait for one another most of the time.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

# No deadline: how long an example takes says something about the machine and nothing about the property.
# CI runs the same examples every time, so that a red run can be run again; elsewhere they vary.
settings.register_profile("project", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("project")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # noqa: ARG001 (pytest's signature)
    report = yield
    if report.when == "call" and hasattr(item, "cell"):  # nbval's items carry the notebook's cell
        source = item.cell.source.strip()
        report.user_properties.append(("first line", source.splitlines()[0] if source else ""))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [r for kind in ("passed", "failed", "xfailed") for r in terminalreporter.stats.get(kind, [])]
    cells = [
        (r.duration, r.nodeid, dict(r.user_properties)) for r in reports if hasattr(r, "user_properties")
    ]
    slowest = sorted(
        (cell for cell in cells if "first line" in cell[2]), reverse=True, key=lambda cell: cell[0]
    )
    if slowest:
        terminalreporter.section(f"slowest {SLOWEST} notebook cells")
        for seconds, name, about in slowest[:SLOWEST]:
            terminalreporter.write_line(f"{seconds:7.2f}s  {name}  {about['first line'][:60]}")
