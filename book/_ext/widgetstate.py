"""Prepare the widgets' state in the built pages for ``host.js``, which runs them without a kernel.

MyST-NB stores the state of every widget that a page made, with its bytes, in the page itself. Here what no
widget of ours needs is dropped (layouts, styles, sliders that wait for a kernel), and bytes of some size are
moved to scripts named after their digest: pages that show the same model share it, a browser keeps it, and it
is not loaded before a widget asks for it. Scripts, because a page opened from a file may load nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

STATE = re.compile(
    r'(<script type="application/vnd\.jupyter\.widget-state\+json">)(.*?)(</script>)', re.DOTALL
)
# Fewer bytes cost less in the page than a request does.
LARGE = 8 * 1024


def kept(state: dict[str, Any]) -> dict[str, Any]:
    """Return the models that anywidgets need: they and what their traits name, without Jupyter's own."""
    found: dict[str, Any] = {}
    wanted = [name for name, model in state.items() if model["model_module"] == "anywidget"]
    while wanted:
        name = wanted.pop()
        if name in found or name not in state:
            continue
        model = json.loads(json.dumps(state[name]))
        if model["model_module"] == "anywidget":
            for name_of_jupyters_own in ("layout", "tabbable", "tooltip"):
                model["state"].pop(name_of_jupyters_own, None)
        found[name] = model
        wanted += re.findall(r"IPY_MODEL_(\w+)", json.dumps(model["state"]))
    return found


def lift(html: str, folder: Path) -> str:
    """Return a page whose widgets' state is pruned and whose large bytes are files in ``folder``."""

    def prune(match: re.Match[str]) -> str:
        content = json.loads(match[2])
        content["state"] = kept(content["state"])
        for model in content["state"].values():
            for buffer in model.get("buffers", []):
                if "data" in buffer and len(buffer["data"]) * 3 // 4 >= LARGE:
                    buffer["lifted"] = store(base64.b64decode(buffer.pop("data")), folder)
        # "<" as an escape, so that no text in the state can close the script.
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        return f"{match[1]}{text}{match[3]}" if content["state"] else ""

    return STATE.sub(prune, html)


def store(data: bytes, folder: Path) -> str:
    """Write bytes as a script that hands them to the host, once for each content, and return their name."""
    name = hashlib.sha256(data).hexdigest()[:20]
    path = folder / f"{name}.js"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(f'vaebookBytes("{name}","{base64.b64encode(data).decode()}");\n', encoding="utf-8")
    return name


def lift_all(app: Sphinx, exception: Exception | None) -> None:
    """Prepare every page, and drop the bytes that no page names any more."""
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    folder = out / "_static" / "models"
    named: set[str] = set()
    for path in sorted(out.glob("**/*.html")):
        html = path.read_text(encoding="utf-8")
        lifted = lift(html, folder)
        if lifted != html:
            path.write_text(lifted, encoding="utf-8")
        named |= set(re.findall(r'"lifted":\s?"(\w+)"', lifted))
    for path in folder.glob("*.js"):
        if path.stem not in named:
            path.unlink()


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", lift_all, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
