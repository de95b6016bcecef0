"""What the build does for the pages' Python: which cells, what is fetched, and what if it cannot be had."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.live import need_live
from tools.browser import HTML
from tools.ledger import equations

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))
import live

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "book" / "_live" / "package-lock.json"
BUILT = HTML / "_static" / "live"


def test_packages_are_locked_by_hash_and_by_no_address() -> None:
    packages = json.loads(LOCK.read_text(encoding="utf-8"))["packages"]
    assert "node_modules/pyodide" in packages
    for name, package in packages.items():
        assert "resolved" not in package
        assert not name or package["integrity"].startswith("sha512-"), name


def test_a_registry_that_cannot_be_reached_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Port 9 takes nothing, and the cache is a new one.
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(live.Unavailable, match=r"npm: .*ECONNREFUSED") as told:
        live.install(tmp_path / "live")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "live" / "installed").exists()


def test_a_package_that_is_not_what_was_locked_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    locked = json.loads(LOCK.read_text(encoding="utf-8"))
    locked["packages"]["node_modules/crelt"]["integrity"] = f"sha512-{'A' * 86}=="
    (here / "package-lock.json").write_text(json.dumps(locked), encoding="utf-8")
    (here / "package.json").write_bytes((LOCK.parent / "package.json").read_bytes())
    monkeypatch.setattr(live, "HERE", here)
    with pytest.raises(live.Unavailable, match="EINTEGRITY"):
        live.install(tmp_path / "live")


def test_without_npm_the_book_is_built_without_buttons_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nowhere(_: Path) -> None:
        raise live.Unavailable("npm: no way there")

    said: list[str] = []
    monkeypatch.setattr(live, "install", nowhere)
    monkeypatch.setattr(live.logger, "info", lambda text, *parts: said.append(text % parts))
    config = SimpleNamespace(live_ready=False)
    app = SimpleNamespace(outdir=str(tmp_path / "html"), srcdir=str(tmp_path), config=config)
    live.begin(app, config)
    assert said == ["live: npm: no way there; the book is built without its Run buttons"]
    assert config.live_ready is False
    live.mark_cells(app, None, "book/01-bayes")  # neither needs the page
    live.add_script(app, "book/01-bayes", "", {}, None)
    live.finish(app, None)
    assert not (tmp_path / "html").exists()


@pytest.mark.parametrize(
    "name", ["math", "sympy.stats", "mpmath", "vaelib", "vaelib.symbolic.bayes", "vaelib.units"]
)
def test_what_the_page_has_can_be_imported(name: str) -> None:
    assert live.importable(name)


@pytest.mark.parametrize(
    "name", ["torch", "numpy", "vaelib.models", "vaelib.figures", "vaelib.unitsx", "IPython"]
)
def test_what_the_page_has_not_cannot(name: str) -> None:
    assert not live.importable(name)


def test_a_part_is_packed_again_when_and_only_when_it_changed(tmp_path: Path) -> None:
    for name in ("book/_live", "vaelib/symbolic"):
        (tmp_path / name).mkdir(parents=True)
    kernel, topic = tmp_path / "book/_live/kernel.py", tmp_path / "vaelib/symbolic/bayes.py"
    kernel.write_text("a")
    topic.write_text("a")
    keys = {part: live.key_of(part, tmp_path) for part in live.PARTS}
    topic.touch()
    assert {part: live.key_of(part, tmp_path) for part in live.PARTS} == keys
    topic.write_text("b")
    assert live.key_of("packages", tmp_path) == keys["packages"]
    assert live.key_of("book", tmp_path) != keys["book"]
    (tmp_path / "book/_live/package-lock.json").write_text("{}")
    assert live.key_of("packages", tmp_path) != keys["packages"]


def test_every_page_of_part_one_has_cells_and_a_button_for_each_equation() -> None:
    need_live()
    pages = {path.name: path.read_text(encoding="utf-8") for path in HTML.glob("book/*.html")}
    with_cells = {name for name, html in pages.items() if '"cell live' in html}
    assert with_cells == {name for name in pages if name[:2].isdigit() and name < "11"}
    assert with_cells == {name for name, html in pages.items() if "cells.js" in html}
    found, _ = equations()
    for name in with_cells:
        labels = sum(equation.page == Path(name).stem for equation in found)
        assert pages[name].count('class="ledger-line"') == labels


def test_policy_of_pages_without_cells_is_as_strict_as_ever() -> None:
    need_live()
    for path in HTML.glob("book/*.html"):
        html = path.read_text(encoding="utf-8")
        assert ("wasm-unsafe-eval" in html) == ("cells.js" in html), path.name


def test_licences_of_all_that_is_published_stand_beside_it() -> None:
    need_live()
    text = (BUILT / "LICENSES.txt").read_text(encoding="utf-8")
    for name in (
        "pyodide 314.0.7",
        "sympy",
        "mpmath",
        "@codemirror/view",
        "@lezer/python",
        "fzstd",
        "Python 3.14",
    ):
        assert f"\n{name}" in text, name
    assert "License: MPL-2.0" in text  # Pyodide's
    assert "github.com/pyodide/pyodide" in text  # whose licence wants it said where its source is
    assert "esbuild" not in text  # a tool, and not published


def test_what_every_page_loads_is_short() -> None:
    """That pays for the buttons: no page weighs more with them than it did without."""
    need_live()
    for name in live.SHORTENED:
        text = (HTML / "_static" / name).read_text(encoding="utf-8")
        assert len(text) > 100 * text.count("\n"), f"{name} is not shortened, or has another name by now"
