"""Published figures trained again: runs that go on where they stopped, and ``results/NAME.json`` of them."""

import datetime
import json
import logging
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vaelib import __version__, presets
from vaelib.runs import CONFIG_FILE, METRICS_FILE, execute, write_json
from vaelib.units import squared_error_on_unit_range

log = logging.getLogger("vaelib")


def reproduce(
    name: str,
    plan: Sequence[tuple[str, int, dict[str, Any]]],
    *,
    runs: Path,
    results: Path,
    changed: Mapping[str, Any],
    progress: bool = True,
) -> Path:
    """Carry out what is missing of a plan, and write the results after each run.

    Parameters
    ----------
    name : str
        Of the preset.
    plan : sequence of (str, int, dict)
        Name of the run, seed, and all its settings.
    runs, results : Path
        Folders: a run's is ``runs/NAME-RUN-SEED``.
    changed : Mapping
        Settings that were not left as published.
    progress : bool
        Show bars.

    Returns
    -------
    Path
        ``results/NAME.json``. What it held of other runs and seeds is kept.
    """
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{name}.json"
    for run, seed, settings in plan:
        folder = runs / f"{name}-{run}-{seed}"
        if not (folder / METRICS_FILE).exists():
            log.info("%s, %s, seed %d: in %s", name, run, seed, folder)
            execute(settings, folder, resume=(folder / CONFIG_FILE).exists(), progress=progress)
        _add(path, name, run, seed, folder, changed)
    return path


def own_loss(loss: Mapping[str, float] | None, metrics: Mapping[str, Any], data_dim: int) -> float:
    r"""What the original would have reported of these metrics.

    .. math::

        w \frac{s^2}{D} \sum_d (x_d - \hat x_d)^2 + w_{\mathrm{KL}} \, \mathrm{KL},
        \qquad \text{or, without a loss of its own, distortion plus rate}

    Parameters
    ----------
    loss : Mapping, optional
        ``weight``, ``kl_weight`` and ``span`` s, as a preset has them.
    metrics : Mapping
        ``squared_error`` on [0, 1], ``distortion`` and ``rate`` in nats.
    data_dim : int
        D.

    References
    ----------
    Book: eq-change-of-range.
    """
    if loss is None:
        return float(metrics["distortion"] + metrics["rate"])
    error = squared_error_on_unit_range(metrics["squared_error"], span=1 / loss["span"]) / data_dim
    return loss["weight"] * error + loss["kl_weight"] * float(metrics["rate"])


def _add(path: Path, name: str, run: str, seed: int, folder: Path, changed: Mapping[str, Any]) -> None:
    """Enter a finished run, and take means and spreads anew over the seeds that are there."""
    preset = presets.named(name)
    content = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    settings = json.loads((folder / CONFIG_FILE).read_text())
    metrics = json.loads((folder / METRICS_FILE).read_text())
    data_dim = settings["side"] ** 2

    def with_loss(measured: Mapping[str, Any]) -> dict[str, Any]:
        return {**measured, "own_loss": own_loss(preset.loss, measured, data_dim)}

    kept = {"epochs", "seconds", "split", "best"}
    last = {key: value for key, value in metrics.items() if key not in kept}
    entry = {
        "seed": seed,
        "epochs": metrics["epochs"],
        "minutes": metrics["seconds"] / 60,
        "test_set": metrics["split"],
        "last": with_loss(last),
        "date": datetime.date.today().isoformat(),
        "changed": dict(changed),
    }
    if "best" in metrics:
        best = metrics["best"]
        entry["best"] = {
            "epoch": best["epoch"],
            "chosen_on": best["chosen_on"],
            "held_out": with_loss(best["held_out"]),
            "test": with_loss(best["test"]),
        }
    old = content["runs"].get(run, {"seeds": []})
    seeds = sorted([e for e in old["seeds"] if e["seed"] != seed] + [entry], key=lambda e: e["seed"])
    content["runs"][run] = {
        "settings": {
            key: value for key, value in settings.items() if key not in {"seed", "device", "folder", "vaelib"}
        },
        "seeds": seeds,
        "summary": {
            place: _summary([_at(e, place) for e in seeds])
            for place in ("last", "best.held_out", "best.test")
            if all(_at(e, place) for e in seeds)
        },
    }
    content |= {
        "about": f"{preset.source}: {preset.summary}. Trained by us.",
        "command": f"vaelib reproduce {name}",
        "unit": "nats per image; squared error summed over an image's pixels on [0, 1]; own_loss as the "
        "original reports it",
        "machine": {
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "cores": os.cpu_count(),
            "device": settings["device"],
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__.partition("+")[0],
            "vaelib": __version__,
        },
    }
    write_json(path, content)


def _at(entry: Mapping[str, Any], place: str) -> Any:
    for key in place.split("."):
        entry = entry.get(key) or {}
    return entry


def _summary(measured: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and, of two seeds or more, standard deviation of each number over the seeds."""
    names = ("elbo", "distortion", "rate", "squared_error", "own_loss")
    return {
        name: {
            "mean": statistics.fmean(each[name] for each in measured),
            **({"std": statistics.stdev(each[name] for each in measured)} if len(measured) > 1 else {}),
        }
        for name in names
        if all(each[name] is not None for each in measured)
    }
