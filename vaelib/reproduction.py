"""Published figures trained again: runs that go on where they stopped, and ``results/NAME.json`` of them."""

import csv
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
from filelock import FileLock

from vaelib import presets
from vaelib.evaluation import Evaluation
from vaelib.runs import CONFIG_FILE, METRICS_FILE, execute, versions, write_json
from vaelib.training import HISTORY_FILE
from vaelib.units import squared_error_on_unit_range

log = logging.getLogger("vaelib")

_NOT_OF_THE_RUN = {"seed", "device", "folder", "vaelib", "tag", "snapshots", "tensorboard", "log_interval"}


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
    settings = json.loads((folder / CONFIG_FILE).read_text())
    entry = _entry(preset, folder, settings)
    entry["command"] = f"vaelib reproduce {name} --only {run} --seed {seed}"
    entry["changed"] = dict(changed)
    # Two processes may each have finished a run: neither must lose the other's.
    with FileLock(folder.parent / f"{name}.lock"):
        old = json.loads(path.read_text())["runs"] if path.exists() else {}
        others = [each for each in old.get(run, {"seeds": []})["seeds"] if each["seed"] != seed]
        seeds = sorted([*others, entry], key=lambda each: each["seed"])
        entered = {
            "settings": {key: value for key, value in settings.items() if key not in _NOT_OF_THE_RUN},
            "summary": {
                place: _summary([_at(each, place) for each in seeds])
                for place in ("last", "best.held_out", "best.test")
                if all(_at(each, place) for each in seeds)
            },
            "seeds": seeds,
        }
        content = {
            "about": f"{preset.source}: {preset.summary}. Trained by us.",
            "unit": "nats per image; squared_error is summed over an image's pixels on [0, 1]; own_loss is "
            "what the original reports; minutes are those of training alone, on a machine with other work "
            "too",
            "runs": {**old, run: entered},
        }
        write_json(path, content)


def _entry(preset: presets.Preset, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What ``results/NAME.json`` says of one finished run."""
    metrics = json.loads((folder / METRICS_FILE).read_text())

    def with_loss(measured: Mapping[str, Any]) -> dict[str, Any]:
        return {**measured, "own_loss": own_loss(preset.loss, measured, settings["side"] ** 2)}

    entry = {
        "seed": settings["seed"],
        "epochs": metrics["epochs"],
        "minutes": metrics["seconds"] / 60,
        "test_set": metrics["split"],
        "last": with_loss({name: metrics[name] for name in Evaluation._fields}),
    }
    if "best" in metrics:
        best = metrics["best"]
        entry["best"] = {
            "epoch": best["epoch"],
            "chosen_on": best["chosen_on"],
            "held_out": with_loss(best["held_out"]),
            "test": with_loss(best["test"]),
        }
    with (folder / HISTORY_FILE).open(newline="") as file:
        lines = list(csv.DictReader(file))
    entry["curve"] = {
        name: [round(float(line[name]), 3) for line in lines] for name in ("train_elbo", "held_out_elbo")
    }
    entry["date"] = datetime.date.fromtimestamp((folder / METRICS_FILE).stat().st_mtime).isoformat()
    entry["machine"] = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": settings["device"],
    }
    entry["versions"] = versions()
    return entry


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
