"""When the classes part: how far digits overlap on the latent plane, epoch by epoch of one training run.

    vaelib train --out runs/film --epochs 15 --validation 0 --snapshots
    python -m benchmarks.film runs/film

The run is that of the book's training page. Its snapshots hold the means of the same test images before the
first epoch and after each; here their nearest neighbours are asked which digit they are, all ten classes and
some pairs alone. ``results/film.json`` has a number for each moment.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import Any

from vaelib import overlap, snapshots
from vaelib.results import FOLDER
from vaelib.runs import versions, write_json

RESULT = FOLDER / "film.json"
COMMAND = (
    "vaelib train --out runs/film --epochs 15 --validation 0 --snapshots; python -m benchmarks.film runs/film"
)
UNIT = (
    "shares of wrong guesses by 15 nearest neighbours on the latent plane, of all ten digits and of pairs "
    "alone; step is how far a mean moves in an epoch, in units of z; a number for each moment, the first "
    "before training (steps begin with the first epoch)"
)
PAIRS = ((4, 9), (3, 5), (0, 1))


def measured(taken: snapshots.Snapshots) -> dict[str, Any]:
    """What the film shows, as numbers."""
    labels = taken.labels.long()
    errors = [(overlap.guesses(means, labels) != labels).double().mean().item() for means in taken.means]
    return {
        "images": len(labels),
        "error": errors,
        "pairs": {
            f"{a} and {b}": [overlap.pair_error(means, labels, a, b) for means in taken.means]
            for a, b in PAIRS
        },
        "step": (taken.means[1:] - taken.means[:-1]).norm(dim=2).mean(1).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="what `vaelib train --snapshots` wrote")
    parser.add_argument("--out", type=Path, default=RESULT, help=f"[default: {RESULT.name} in results/]")
    arguments = parser.parse_args()
    config = arguments.run / "config.json"
    if not config.is_file():
        parser.error(f"{arguments.run} is no run: give the folder that `vaelib train --snapshots` wrote")
    settings = json.loads(config.read_text(encoding="utf-8"))
    entry = {
        "unit": UNIT,
        "command": COMMAND,
        "seed": settings["seed"],
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        **measured(snapshots.load(arguments.run)),
    }
    write_json(
        arguments.out, {"about": "How digits part on the latent plane while a VAE trains.", "plane": entry}
    )
    print(arguments.out)


if __name__ == "__main__":
    main()
