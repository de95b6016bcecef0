"""Pages are executed ahead of their reading, and are then what MyST-NB would have made of them."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_cache import get_cache
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sphinx.cmd.build import build_main

from tools import notebooks

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))
import ahead

EXTENSIONS = Path(ahead.__file__).parent

# Each waits for the other: alone, it would wait in vain and fail.
MEET = """from pathlib import Path
import time
Path("{mine}").touch()
end = time.monotonic() + 60
while not Path("{other}").exists():
    assert time.monotonic() < end
    time.sleep(0.01)
print("{mine}")"""


def write(folder: Path, **pages: str) -> list[Path]:
    contents = "\n".join(name for name in pages if name != "index")
    for name, code in pages.items():
        text = f"# {name}" + (f"\n\n```{{toctree}}\n{contents}\n```" if name == "index" else "")
        cells = [new_markdown_cell(text, id="text"), new_code_cell(code, id="code")]
        notebook = new_notebook(cells=cells, metadata=nbformat.from_dict(notebooks.METADATA))
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return [folder / f"{name}.ipynb" for name in pages]


def build(folder: Path, monkeypatch: pytest.MonkeyPatch, extensions: str = "myst_nb,ahead") -> int:
    monkeypatch.syspath_prepend(EXTENSIONS)
    settings = {"extensions": extensions, "nb_execution_mode": "cache", "exclude_patterns": "_build"}
    options = [part for name, value in settings.items() for part in ("-D", f"{name}={value}")]
    return build_main(
        ["-C", "-q", "-W", "--keep-going", *options, str(folder), str(folder / "_build" / "html")]
    )


def outputs(folder: Path) -> dict[str, str]:
    """Return what is stored of each page, by its code."""
    cache = get_cache(folder / "_build" / ".jupyter_cache")
    stored = [cache.get_cache_bundle(record.pk).nb.cells[-1] for record in cache.list_cache_records()]
    return {cell.source: nbformat.v4.writes(new_notebook(cells=[cell])) for cell in stored}


def test_two_pages_are_executed_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, index=MEET.format(mine="a", other="b"), second=MEET.format(mine="b", other="a"))
    assert build(tmp_path, monkeypatch) == 0
    assert len(outputs(tmp_path)) == 2


def test_pages_are_as_myst_nb_makes_them_and_a_failing_one_fails_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for extensions in ("myst_nb,ahead", "myst_nb"):
        folder = tmp_path / str(len(extensions))
        folder.mkdir()
        write(folder, index="print(1)\n2", second="import this", third="assert False, 'as it should'")
        assert build(folder, monkeypatch, extensions) == 1
        html = {
            path.name: path.read_text(encoding="utf-8") for path in (folder / "_build/html").glob("*.html")
        }
        assert "as it should" in html["third.html"]
        found[extensions] = outputs(folder), html["index.html"], html["second.html"]
    assert found["myst_nb,ahead"] == found["myst_nb"]
    assert len(found["myst_nb"][0]) == 2


def test_what_is_in_the_cache_is_not_executed_again(tmp_path: Path) -> None:
    pages = write(tmp_path, one="print(1)", two="print(2)")
    cache = tmp_path / "cache"
    assert ahead.stale(cache, pages) == pages
    assert ahead.execute(cache, pages[0], 60)
    assert ahead.stale(cache, pages) == [pages[1]]
    write(tmp_path, one="print(3)")
    assert ahead.stale(cache, pages) == pages
