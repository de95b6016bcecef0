"""Published numbers, ours and others', as the book reads them: committed JSON, never typed into a page."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "results"


def read(name: str) -> dict[str, Any]:
    """Read ``results/NAME.json`` of the repository that this package is installed from.

    Parameters
    ----------
    name : str
        Without the ending: ``"published"``.

    Raises
    ------
    FileNotFoundError
        If there is no such result, or the package was installed without its repository.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"no result {path}: results come with the book's repository, where `pip install -e .` finds them"
        )
    content: dict[str, Any] = json.loads(path.read_text())
    return content
