"""What the built pages cost their readers, row by row, as a file of results."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser


def keep(
    path: Path, rows: Mapping[str, Mapping[str, Any]], browser: Browser, *, about: str, **how: str
) -> None:
    """Write rows into a file of results, with how they were measured, and print them."""
    measured = {
        **how,
        "versions": {"chromium": browser.version, "python": platform.python_version()},
        "date": datetime.date.today().isoformat(),
        "cores": os.cpu_count(),
        "rows": rows,
    }
    path.write_text(json.dumps({"about": about, path.stem: measured}, indent=2) + "\n", encoding="utf-8")
    for name, row in rows.items():
        print(name, *(f"{key} {value}" for key, value in row.items()), sep="  ")
