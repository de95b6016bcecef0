"""What training costs, held against those that a reader could run instead: ``make bench``.

``python -m benchmarks.speed [PART]...`` measures the parts that are named, or all, and enters them into
``results/benchmark.json``. Epochs are timed in rounds, each contestant in a process of its own. A busy
machine is slow for all of them, so compare ratios, not seconds.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import torch
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from benchmarks.contestants import BATCH, CONTESTANTS, HIDDEN, LATENTS, PIXELS
from benchmarks.quick import SETTINGS
from vaelib import data, evaluation, results, shards, training
from vaelib.models import VAE, mlp_vae
from vaelib.runs import versions, write_json
from vaelib.settings import Recipe

ROOT = Path(__file__).resolve().parent.parent
RESULT = results.FOLDER / "benchmark.json"
ROUNDS = 9
FLOOR = "products alone, fp32"
SEEDS = range(1, 6)


# --- epochs, in rounds ------------------------------------------------------------------------------------


class Contestant:
    """A process that trains for an epoch when it is asked to."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contestants", name],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.answer()

    def answer(self) -> Any:
        """Wait for its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        return json.loads(line)

    def epoch(self) -> float:
        """Let it train, and give the seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write("epoch\n")
        self.process.stdin.flush()
        return float(self.answer())

    def peak(self) -> int:
        """End, and say how much memory was held at once."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        peak = int(self.answer())
        self.process.wait()
        return peak


def epochs() -> dict[str, Any]:
    contestants = {name: Contestant(name) for name in CONTESTANTS}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for each in contestants.values():
        each.epoch()  # compiles, and makes states
    for _ in tqdm(range(ROUNDS), unit="round"):
        for name, each in contestants.items():
            times[name].append(each.epoch())
    floor = times[FLOOR]
    return {
        name: {
            "seconds_minimum": round(min(found), 3),
            "seconds_median": round(statistics.median(found), 3),
            "ratio_of_minima": round(min(found) / min(floor), 3),
            "median_ratio": round(statistics.median(a / b for a, b in zip(found, floor, strict=True)), 3),
            "peak_megabytes": round(contestants[name].peak() / 1e6),
        }
        for name, found in times.items()
    }


# --- time to quality --------------------------------------------------------------------------------------


def quality() -> dict[str, Any]:
    published = -results.read("published")["giwoong"]["total"]
    own = tomllib.loads(SETTINGS.read_text())["epochs"]
    rows: dict[str, Any] = {"published": published, "schedules": {}}
    plans = {"the published network": ("relu", own), "with tanh units": ("tanh", 6)}
    for name, (activation, epochs) in plans.items():
        runs = []
        for seed in tqdm(SEEDS, unit="run", desc=name):
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.quick", str(seed), activation, str(epochs)],
                cwd=ROOT, check=True, capture_output=True, text=True,
            )  # fmt: skip
            runs.append({"seconds": round(time.perf_counter() - start, 2), "elbo": float(done.stdout)})
        rows["schedules"][name] = {
            "epochs": epochs,
            "median_seconds": statistics.median(run["seconds"] for run in runs),
            "median_elbo": statistics.median(run["elbo"] for run in runs),
            "runs": runs,
        }
    floor = Contestant(FLOOR)
    seconds = min(floor.epoch() for _ in range(ROUNDS))
    floor.peak()
    rows["products_seconds"] = round(seconds, 3)
    for found in rows["schedules"].values():
        found["in_epochs_of_products"] = round(found["median_seconds"] / seconds, 1)
    return rows


# --- precision --------------------------------------------------------------------------------------------


def precision() -> dict[str, Any]:
    """The bound after the book's recipe with rounded factors, less that with exact ones, seed by seed."""
    train, test = data.load_mnist(progress=False)
    pairs = []
    for seed in tqdm(SEEDS, unit="pair"):
        elbos = []
        for kind in ("fp32", "bf16"):
            model = mlp_vae(generator=torch.Generator().manual_seed(seed))
            training.fit(model, train, Recipe(precision=kind, seed=seed), progress=False)
            elbos.append(evaluation.evaluate(model, test, generator=torch.Generator().manual_seed(0)).elbo)
        pairs.append(elbos)
    differences = [low - full for full, low in pairs]
    quantile = 2.776  # of Student's t with four degrees of freedom, for 95 %
    return {
        "epochs": Recipe().epochs,
        "pairs": pairs,
        "mean_difference": statistics.fmean(differences),
        "interval_95": quantile * statistics.stdev(differences) / math.sqrt(len(differences)),
        "deviation_over_seeds_fp32": statistics.stdev(full for full, _ in pairs),
    }


# --- where an epoch's time goes ---------------------------------------------------------------------------

KINDS = {
    "products": ("mm", "addmm", "addmv"),
    "optimiser": ("_fused_adam_", "_foreach_add_"),
    "gathering": ("index_select", "randperm", "cat", "div_", "_to_copy", "to", "normal_", "randn"),
}


def shares(kind: str = "fp32") -> dict[str, float]:
    """Seconds of an epoch by what they are spent on, as PyTorch's profiler sees it."""
    train, _ = data.load_mnist(progress=False)
    model = mlp_vae(activation="relu", generator=torch.Generator().manual_seed(0))
    training.fit(model, train, Recipe(epochs=1, precision=kind), progress=False)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        [line] = training.fit(model, train, Recipe(epochs=1, precision=kind), progress=False)
    found = dict.fromkeys([*KINDS, "elementwise"], 0.0)
    for row in seen.key_averages():
        if row.key.startswith("aten::"):
            name = row.key.removeprefix("aten::")
            place = next((kind for kind, names in KINDS.items() if name in names), "elementwise")
            found[place] += row.self_cpu_time_total * 1e-6
    found["Python and the rest"] = line.seconds - sum(found.values())
    return {name: round(seconds / line.seconds, 4) for name, seconds in found.items()}


def weights_of(model: VAE) -> int:
    """How many numbers a model learns."""
    return sum(parameter.numel() for parameter in model.parameters())


def breakdown() -> dict[str, Any]:
    """Shares of a profiled epoch, and the rates from which the floor is reckoned."""
    flop = 5 * 2 * 60_000 * PIXELS * HIDDEN
    rates = {}
    for name in (FLOOR, "products alone, bf16"):
        contestant = Contestant(name)
        rates[name] = flop / min(contestant.epoch() for _ in range(5))
        contestant.peak()
    numbers = weights_of(mlp_vae())
    return {
        "shares": {"fp32": shares("fp32"), "bf16": shares("bf16")},
        "flop_of_an_epoch": flop,
        "flop_per_second": {name: round(rate) for name, rate in rates.items()},
        "parameters": numbers,
        "bytes_of_the_optimiser": 7 * 4 * numbers * math.ceil(60_000 / BATCH),
    }


# --- how the cost grows -----------------------------------------------------------------------------------


def seconds_of(model: VAE, train: data.Dataset, recipe: Recipe) -> float:
    """The quicker of two epochs, after one that warms up."""
    return min(line.seconds for line in training.fit(model, train, recipe, progress=False)[1:])


def growth() -> dict[str, Any]:
    train, _ = data.load_mnist(progress=False)
    usual = {"images": 60_000, "batch": BATCH, "hidden": HIDDEN, "latents": LATENTS}
    plans = {
        "images": [7_500, 15_000, 30_000, 60_000],
        "batch": [32, 64, 128, 256, 512, 1024, 2048],
        "hidden": [100, 200, 400, 800, 1600],
        "latents": [2, 8, 32, 128],
    }
    found: dict[str, Any] = {}
    for name, values in plans.items():
        rows = []
        for value in tqdm(values, desc=name):
            chosen = {**usual, name: value}
            model = mlp_vae(hidden_dim=chosen["hidden"], latent_dim=chosen["latents"], activation="relu")
            recipe = Recipe(epochs=3, batch_size=chosen["batch"])
            rows.append([value, round(seconds_of(model, train[: chosen["images"]], recipe), 3)])
        found[name] = rows
    return found


# --- evaluation -------------------------------------------------------------------------------------------


def measuring() -> dict[str, Any]:
    _, test = data.load_mnist(progress=False)
    model = mlp_vae(activation="relu", generator=torch.Generator().manual_seed(0))
    found = []
    for _ in range(7):
        start = time.perf_counter()
        evaluation.evaluate(model, test, generator=torch.Generator().manual_seed(0))
        found.append(time.perf_counter() - start)
    peaks, seconds = [], 0.0
    for draws in (100, 5_000):
        start = time.perf_counter()
        evaluation.importance_weighted(
            model, test, draws=draws, generator=torch.Generator().manual_seed(0),
            progress=partial(tqdm, desc=f"{draws} draws"),
        )  # fmt: skip
        seconds = time.perf_counter() - start
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)
    return {
        "test_bound_seconds": round(statistics.median(found), 3),
        "importance_draws": 5_000,
        "importance_seconds": round(seconds, 1),
        "peak_megabytes_at_100_draws": round(peaks[0]),
        "peak_megabytes_at_5000_draws": round(peaks[1]),
    }


# --- startup and pages ------------------------------------------------------------------------------------


def startup() -> dict[str, Any]:
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "import vaelib.training": [sys.executable, "-c", "import vaelib.training"],
        "import pythae.models": [sys.executable, "-c", "import pythae.models"],
        "import jax": [sys.executable, "-c", "import jax.numpy"],
        "vaelib --help": [sys.executable, "-m", "vaelib", "--help"],
        "vaelib train --help": [sys.executable, "-m", "vaelib", "train", "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(6):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
            times[name].append(time.perf_counter() - start)
    return {name: round(statistics.median(found[1:]), 3) for name, found in times.items()}


def pages() -> dict[str, Any]:
    """Seconds that the last build of the book took to run each page, as it noted them."""
    from jupyter_cache import get_cache

    [folder] = (ROOT / "_build" / ".jupyter_cache").glob("*/")
    records = get_cache(str(folder)).list_cache_records()
    return {
        Path(record.uri).stem: round(record.data["execution_seconds"], 1)
        for record in sorted(records, key=lambda record: record.uri)
    }


# --- past one machine -------------------------------------------------------------------------------------

DISK = """
import resource, sys, torch
from pathlib import Path
from vaelib import data, shards, training
from vaelib.models import mlp_vae
from vaelib.settings import Recipe
train = shards.Shards(Path(sys.argv[1]))
if sys.argv[2] == "memory":
    train = train.take(torch.arange(len(train)))
[line] = training.fit(mlp_vae(activation="relu"), train, Recipe(epochs=1, batch_size=256), progress=False)
print(line.seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def disk() -> dict[str, Any]:
    """Ten times MNIST, from files and from memory."""
    train, _ = data.load_mnist(progress=False)
    found: dict[str, Any] = {"images": 10 * len(train), "megabytes": round(10 * train.pixels.numel() / 1e6)}
    with tempfile.TemporaryDirectory() as folder:
        shards.write(Path(folder), (shards.shifted(train, copy) for copy in range(10)))
        for place in ("disk", "memory"):
            done = subprocess.run(
                [sys.executable, "-c", DISK, folder, place], check=True, capture_output=True, text=True
            )
            seconds, peak = map(float, done.stdout.split())
            found[place] = {"seconds": round(seconds, 2), "peak_megabytes": round(peak / 1e6)}
    return found


def work(batch: int) -> None:
    """What each process of :func:`processes` does."""
    import torch.distributed as dist

    from vaelib.parallel import joined

    torch.set_num_threads(1)
    with joined() as here:
        train, _ = data.load_mnist(progress=False)
        model = mlp_vae(activation="relu", generator=torch.Generator().manual_seed(0))
        seconds = seconds_of(model, train, Recipe(epochs=3, batch_size=batch))
        numbers = torch.zeros(weights_of(model))
        reductions = []
        for _ in range(30 if here.size > 1 else 0):
            start = time.perf_counter()
            dist.all_reduce(numbers)
            reductions.append(time.perf_counter() - start)
        if here.leads:
            print(json.dumps([seconds, statistics.median(reductions) if reductions else None]))


def processes() -> dict[str, Any]:
    """Processes of one thread each on the cores of one machine."""
    rows = []
    for batch in tqdm((128, 512, 2048), unit="batch"):
        row: dict[str, Any] = {"batch": batch}
        for count in (1, 2):
            done = subprocess.run(
                [
                    sys.executable, "-m", "torch.distributed.run", "--standalone",
                    "--nproc-per-node", str(count), "-m", "benchmarks.speed", "--worker", str(batch),
                ],
                cwd=ROOT, check=True, capture_output=True, text=True,
            )  # fmt: skip
            seconds, reduction = json.loads(done.stdout.splitlines()[-1])
            row[f"seconds_{count}"] = round(seconds, 3)
        row["all_reduce_seconds"] = round(reduction, 5)
        rows.append(row)
    return {"parameters": weights_of(mlp_vae()), "rows": rows}


# --- a GPU ------------------------------------------------------------------------------------------------


def gpu() -> dict[str, Any]:
    """A hundred epochs with the images on the device; nothing where there is none."""
    if not torch.cuda.is_available():
        return {"measured": False}
    train, _ = data.load_mnist(progress=False)
    model = mlp_vae(activation="relu").cuda()
    training.fit(model, train, Recipe(epochs=2), progress=False)
    torch.cuda.synchronize()
    start = time.perf_counter()
    training.fit(model, train, Recipe(epochs=100), progress=False)
    torch.cuda.synchronize()
    return {
        "measured": True,
        "device": torch.cuda.get_device_name(),
        "seconds_100_epochs": round(time.perf_counter() - start, 2),
    }


# --- all of it --------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "epochs": epochs,
    "quality": quality,
    "breakdown": breakdown,
    "growth": growth,
    "measuring": measuring,
    "startup": startup,
    "pages": pages,
    "disk": disk,
    "processes": processes,
    "gpu": gpu,
    "precision": precision,
}


def peers() -> dict[str, str]:
    """Versions of those that are raced against."""
    return {name: metadata.version(name) for name in ("jax", "pythae", "torchvision")}


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice([*PARTS]), metavar="[PART]...")
@click.option("--worker", type=int, hidden=True, help="Be one of several processes, with this batch.")
def main(parts: tuple[str, ...], worker: int | None) -> None:
    if worker is not None:
        work(worker)
        return
    names = parts or tuple(PARTS)
    record = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    record["about"] = "Seconds of training the 784-400-2-400-784 VAE on MNIST: ours, and those of others."
    for name in names:
        print(f"{name} ...", file=sys.stderr)
        before = os.getloadavg()[0]
        record[name] = {
            "unit": "seconds, and times as long as the matrix products alone",
            "command": f"python -m benchmarks.speed {name}",
            "seed": 0,
            "versions": versions() | (peers() if name == "epochs" else {}),
            "date": datetime.date.today().isoformat(),
            "machine": {
                "cores": os.cpu_count(),
                "processor": platform.machine(),
                "instructions": torch.backends.cpu.get_cpu_capability(),
                "load_before": round(before, 2),
            },
            "found": PARTS[name](),
        }
        write_json(RESULT, record)
        print(json.dumps(record[name]["found"], indent=1))
    for name, row in record["epochs"]["found"].items() if "epochs" in names else ():
        print(f"{name:24s} {row['seconds_minimum']:7.3f} s  {row['ratio_of_minima']:6.2f} x the products")


if __name__ == "__main__":
    main()
