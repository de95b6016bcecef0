"""Published figures beside ours, in units that can be compared: what the book's tables and points show.

All numbers come from ``results/``: ``published.json`` as others printed them, ``NAME.json`` as
``vaelib reproduce NAME`` wrote them. What has not been run yet is a column that says so.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from vaelib import presets, results
from vaelib.units import (
    beta_of_weight,
    change_of_range,
    gaussian_nll,
    minus_elbo_of_loss,
    sigma_of_weight,
    squared_error_bound,
    squared_error_on_unit_range,
)

# What the files call the images that a figure stands on, and what a reader does.
IMAGES = {"test": "test set", "validation": "held out", "test of the mixed images": "mixed test set"}
NOT_YET = "not run yet"
NOT_PRINTED = "none"
NOTHING_CHOSEN = "none: the last"

Rows = list[list[str]]


class Spread(NamedTuple):
    """A mean over seeds and its standard deviation, which a single seed does not have."""

    mean: float
    std: float | None = None

    def text(self, decimals: int) -> str:
        """``1.23 ± 0.04``, or ``1.23`` of one seed."""
        spread = "" if self.std is None else f" ± {self.std:.{decimals}f}"
        return _signed(self.mean, decimals) + spread


class Terms(NamedTuple):
    """What a model reaches on some images, each a mean over them.

    ``own_loss`` is the original's, in its own units; ``rate`` is in nats; ``squared_error`` is summed over
    the pixels of an image, on [0, 1].
    """

    own_loss: Spread
    rate: Spread
    squared_error: Spread


@dataclass(frozen=True)
class Column:
    """One training, or several that differ by seed, or what somebody published of theirs.

    Parameters
    ----------
    name : str
        ``"published"``, or a preset's run.
    printed : str
        The published figure to the letter, where it was printed as one number.
    terms : Terms, optional
        On the images that the published figure stands on; ``None`` where nothing was printed or run.
    images, chosen_on : str
        Those images, and those that the epoch was chosen on; as the result files call them.
    count : int, optional
        How many images.
    epochs : tuple of int
        After which the weights were taken, for each seed.
    of_epochs : int, optional
        How many a run may have.
    minutes : Spread, optional
        Of training.
    seeds, planned : int
        How many seeds there are, and how many there will be.
    changed : tuple of str
        Settings that are not the preset's.
    own_test : Terms, optional
        On MNIST's own test set with weights that were not chosen on it; ``None`` where there are no such.
    at_most : bool
        Whether the squared error is only bounded from above.
    """

    name: str
    printed: str = ""
    terms: Terms | None = None
    images: str = ""
    chosen_on: str = ""
    count: int | None = None
    epochs: tuple[int, ...] = ()
    of_epochs: int | None = None
    minutes: Spread | None = None
    seeds: int = 0
    planned: int = 1
    changed: tuple[str, ...] = ()
    own_test: Terms | None = None
    at_most: bool = False


class Converted(NamedTuple):
    """A published figure in other units: nats, and squared errors summed over pixels on [0, 1].

    ``price`` is what a squared error of 1 costs in nats: for coins the least that it can. ``floor`` is what a
    perfect decoder costs on [0, 1], ``above_floor`` the rest, rate included, and ``minus_elbo`` their sum.
    ``sigma``, ``beta``, and ``on_symmetric`` for minus the ELBO on [-1, 1], are those of a Gaussian decoder:
    coins have none.
    """

    price: float
    rate: float
    squared_error: float
    floor: float
    above_floor: float
    minus_elbo: float
    sigma: float | None = None
    beta: float | None = None
    on_symmetric: float | None = None


def converted(name: str, *, floor: float) -> Converted | None:
    r"""Bring what a repository printed to units that can be compared.

    .. math::

        T = w \cdot \text{squared error} + \kappa \, \mathrm{KL}
        \quad \longmapsto \quad
        \sigma, \; \frac{1}{2 \sigma^2}, \; \sum_{d=1}^{D} (x_d - \hat x_d)^2, \; \mathrm{KL}, \;
        \frac{T}{\kappa} + \frac{D}{2} \log 2 \pi \sigma^2

    Parameters
    ----------
    name : str
        Of a preset whose figure stands in ``results/published.json``.
    floor : float
        The mean entropy of the pixels that a cross-entropy was measured on, from
        :func:`vaelib.units.entropy_floor`; a squared error does not need it.

    Returns
    -------
    Converted or None
        Nothing where nothing was printed.

    Raises
    ------
    SettingsError
        If there is no such preset.

    References
    ----------
    Book: eq-one-loss, eq-exchange-rate, eq-density-floor, eq-coin-price.
    """
    preset, entry = presets.named(name), results.read("published")[name]
    if "distortion" in entry:
        return Converted(
            price=2.0,
            rate=entry["rate"],
            squared_error=squared_error_bound(entry["distortion"], floor),
            floor=floor,
            above_floor=entry["total"] - floor,
            minus_elbo=entry["total"],
        )
    if "error" not in entry:
        return None
    assert preset.loss is not None
    data_dim = preset.settings.get("side", 28) ** 2
    weight, kl_weight, span = (preset.loss[key] for key in ("weight", "kl_weight", "span"))
    rate = entry["rate"] if "rate" in entry else entry["weighted_rate"] / kl_weight
    total = entry.get("total", weight * entry["error"] + kl_weight * rate)
    squared_error = squared_error_on_unit_range(entry["error"] * data_dim, span=span)
    sigma = sigma_of_weight(weight / kl_weight, data_dim=data_dim, reduction="mean", span=span)
    minus_elbo = minus_elbo_of_loss(
        total, weight=weight, kl_weight=kl_weight, data_dim=data_dim, reduction="mean", span=span
    )
    return Converted(
        price=1 / (2 * sigma**2),
        rate=rate,
        squared_error=squared_error,
        floor=gaussian_nll(0.0, sigma, data_dim),
        above_floor=total / kl_weight,
        minus_elbo=minus_elbo,
        sigma=sigma,
        beta=beta_of_weight(
            weight / kl_weight, squared_error=squared_error, data_dim=data_dim, reduction="mean", span=span
        ),
        on_symmetric=change_of_range(minus_elbo, data_dim=data_dim, span=2),
    )


def columns(name: str, *, floor: float, folder: Path | None = None) -> list[Column]:
    """What was published of a repository, and each of its preset's runs, in the preset's order.

    Parameters
    ----------
    name : str
        Of a preset.
    floor : float
        As in :func:`converted`.
    folder : Path, optional
        Where ``NAME.json`` is looked for: the repository's ``results/`` where nothing is said.

    Returns
    -------
    list of Column
        A run that the file does not have yet, or without the file every run, is a column without terms.
    """
    path = (folder or results.FOLDER) / f"{name}.json"
    runs = json.loads(path.read_text())["runs"] if path.is_file() else {}
    entry = results.read("published")[name]
    return [
        _published(name, entry, floor),
        *(
            _measured(run.name, runs[run.name], entry["place"], len(run.seeds))
            if run.name in runs
            else Column(run.name, planned=len(run.seeds))
            for run in presets.named(name).runs
        ),
    ]


def _published(name: str, entry: Mapping[str, Any], floor: float) -> Column:
    found, terms = converted(name, floor=floor), None
    if found is not None:
        loss = presets.named(name).loss
        own_loss = found.minus_elbo if loss is None else loss["kl_weight"] * found.above_floor
        terms = Terms(Spread(own_loss), Spread(found.rate), Spread(found.squared_error))
    epochs = entry["epochs"]
    return Column(
        "published",
        printed=str(entry.get("total", "")),
        terms=terms,
        images=entry["images"],
        chosen_on=entry["epoch_chosen_on"],
        count=entry.get("count"),
        epochs=() if epochs is None else (epochs,),
        of_epochs=entry.get("of_epochs", epochs),
        seeds=1 if terms else 0,
        at_most="distortion" in entry,
    )


def _measured(name: str, run: Mapping[str, Any], place: str, planned: int) -> Column:
    seeds, settings = run["seeds"], run["settings"]
    best = place.startswith("best")
    images = {
        "best.held_out": seeds[0].get("best", {}).get("chosen_on", ""),
        "best.test": "test",
        "last": seeds[0]["test_set"],
    }[place]
    on_test = "test" if settings["select_on"] == "test" else "validation"
    return Column(
        name,
        terms=_terms(run, place),
        images=images,
        chosen_on=on_test if best or settings["patience"] is not None else "",
        count=_at(seeds[0], place)["images"],
        epochs=tuple(each["best"]["epoch"] if best else each["epochs"] for each in seeds),
        of_epochs=settings["epochs"],
        minutes=_spread([each["minutes"] for each in seeds]),
        seeds=len(seeds),
        planned=max(planned, len(seeds)),
        changed=tuple(sorted({key for each in seeds for key in each["changed"]})),
        own_test=_terms(run, unchosen) if (unchosen := _unchosen(settings, place)) else None,
    )


def _unchosen(settings: Mapping[str, Any], place: str) -> str | None:
    """Where a run says what it reaches on MNIST's own test set, neither trained nor chosen on it."""
    if settings["mixed"] or (settings["select_on"] == "test" and settings["patience"] is not None):
        return None
    return "best.test" if place == "best.held_out" else "last"


def _terms(run: Mapping[str, Any], place: str) -> Terms | None:
    summary = run["summary"].get(place)
    if summary is None:
        return None
    return Terms(*(Spread(summary[key]["mean"], summary[key].get("std")) for key in Terms._fields))


def _at(seed: Mapping[str, Any], place: str) -> Any:
    for key in place.split("."):
        seed = seed[key]
    return seed


def _spread(numbers: Sequence[float]) -> Spread:
    mean = math.fsum(numbers) / len(numbers)
    if len(numbers) == 1:
        return Spread(mean)
    return Spread(mean, math.sqrt(math.fsum((n - mean) ** 2 for n in numbers) / (len(numbers) - 1)))


# --- rows ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """A repository's columns as the rows of a table, a column for each training.

    Parameters
    ----------
    columns : sequence of Column
        The published one first.
    decimals : int
        Of the original's own loss.
    unit : str
        What that loss is called.
    """

    columns: Sequence[Column]
    decimals: int = 2
    unit: str = "its loss"
    published: Column = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "published", self.columns[0])

    def rows(self) -> Rows:
        """Header and rows; a row in which nobody has anything to say is left out, and so is a column.

        That is the published one where nothing was printed; a run that has not been made says so.
        """
        lines = {
            self.unit: self._loss,
            "verdict": self.verdict,
            "rate, nats": lambda column: column.terms.rate.text(2) if column.terms else "",
            "squared error": squared_error_text,
            "stands on": images_text,
            "epoch chosen on": chosen_text,
            "epoch": epochs_text,
            "minutes": lambda column: (
                column.minutes.text(0 if column.minutes.mean >= 10 else 1) if column.minutes else ""
            ),
            "seeds": seeds_text,
            "MNIST's test set, not chosen on": self._own_test,
        }
        shown = [column for column in self.columns if column is not self.published or column.terms]
        found = [[name, *(line(column) for column in shown)] for name, line in lines.items()]
        return [["", *(column_name(column) for column in shown)]] + [row for row in found if any(row[1:])]

    def verdict(self, column: Column) -> str:
        """Say how a run's loss lies to the published one, if both stand on the same kind of images."""
        if column is self.published or column.terms is None or self.published.terms is None:
            return ""
        if column.images != self.published.images:
            return "other images"
        ours, theirs = column.terms.own_loss, self.published.terms.own_loss
        gap = round(ours.mean - theirs.mean, self.decimals)
        if gap == 0:
            return "equal"
        size = f"{abs(gap):.{self.decimals}f}"
        within = ", within the spread" if ours.std is not None and abs(gap) <= ours.std else ""
        return (f"falls short by {size}" if gap > 0 else f"better by {size}") + within

    def _loss(self, column: Column) -> str:
        if column.terms is None:
            return NOT_YET
        if column.printed:
            return column.printed
        return column.terms.own_loss.text(self.decimals)

    def _own_test(self, column: Column) -> str:
        if column.own_test is not None:
            return column.own_test.own_loss.text(self.decimals)
        return "" if column.terms is None or column is self.published else "none"


def comparison(name: str, *runs: str, floor: float, folder: Path | None = None) -> Comparison:
    """Return a repository's figures, published and ours, as a table.

    Parameters
    ----------
    name, floor, folder
        As in :func:`columns`.
    *runs : str
        Which of the preset's runs; all of them where none is named.

    Raises
    ------
    ValueError
        If the preset has no such run.
    """
    found = columns(name, floor=floor, folder=folder)
    known = {column.name: column for column in found}
    if unknown := [run for run in runs if run not in known]:
        raise ValueError(f"{name} has no run {', '.join(unknown)}: there are {', '.join(known)}")
    if runs:
        found = [known[run] for run in ("published", *runs)]
    loss = presets.named(name).loss
    if loss is None:
        return Comparison(found, unit="−ELBO, nats")
    parts = ("" if loss[key] == 1 else f"{loss[key]:g} " for key in ("weight", "kl_weight"))
    unit = "{}MSE + {}KL".format(*parts)
    return Comparison(found, decimals=2 if loss["kl_weight"] == 1 else 5, unit=unit)


def column_name(column: Column) -> str:
    """Return a run's name, and what was changed in it."""
    return column.name + (f" (changed: {', '.join(column.changed)})" if column.changed else "")


def squared_error_text(column: Column) -> str:
    """Return the squared error, or its bound."""
    if column.terms is None:
        return ""
    return ("at most " if column.at_most else "") + column.terms.squared_error.text(2)


def images_text(column: Column) -> str:
    """Return what the figure was measured on, and on how many images."""
    if column.terms is None:
        return ""
    count = "" if column.count is None else f", {column.count:,}"
    return IMAGES[column.images] + count


def chosen_text(column: Column) -> str:
    """Return the images that decided which epoch's weights were kept."""
    if column.terms is None:
        return ""
    return IMAGES[column.chosen_on] if column.chosen_on else NOTHING_CHOSEN


def epochs_text(column: Column) -> str:
    """Return after how many epochs, of how many."""
    if not column.epochs:
        return ""
    low, high = min(column.epochs), max(column.epochs)
    taken = str(low) if low == high else f"{low} to {high}"
    whole = column.of_epochs is None or (low == high == column.of_epochs)
    return taken if whole else f"{taken} of {column.of_epochs}"


def seeds_text(column: Column) -> str:
    """Return the number of seeds, and of how many that are to come."""
    if not column.seeds:
        return ""
    if column.seeds < column.planned:
        return f"{column.seeds} of {column.planned} so far"
    return "one seed" if column.seeds == 1 else str(column.seeds)


def printed(names: Iterable[str]) -> Rows:
    """Return what was published, to the letter, and on which images it was measured and chosen.

    Parameters
    ----------
    names : iterable of str
        Of presets.
    """
    rows = [["", "printed", "stands on", "chosen on"]]
    for name in names:
        entry = results.read("published")[name]
        terms = [str(entry[key]) for key in ("distortion", "error", "weighted_rate", "rate") if key in entry]
        text = f"{entry['total']} = {' + '.join(terms)}" if "total" in entry else " and ".join(terms)
        count = f", {entry['count']:,}" if "count" in entry else ""
        chosen = entry["epoch_chosen_on"]
        rows.append(
            [
                name,
                text or NOT_PRINTED,
                IMAGES[entry["images"]] + count,
                IMAGES[chosen] if chosen else NOTHING_CHOSEN,
            ]
        )
    return rows


def conversions(names: Iterable[str], *, floor: float) -> Rows:
    """Return published figures in other units, a column for each repository that printed any.

    Parameters
    ----------
    names : iterable of str
        Of presets.
    floor : float
        As in :func:`converted`.
    """
    found = {name: one for name in names if (one := converted(name, floor=floor)) is not None}
    each = list(found.values())
    return [
        ["", *found],
        ["σ", *("coins" if c.sigma is None else f"{c.sigma:.3f}" for c in each)],
        [
            "nats for a squared error of 1",
            *(("at least " if c.sigma is None else "") + f"{c.price:.2f}" for c in each),
        ],
        ["rate, nats", *(f"{c.rate:.2f}" for c in each)],
        [
            "squared error",
            *(("at most " if c.sigma is None else "") + f"{c.squared_error:.2f}" for c in each),
        ],
        ["β beside the best σ", *("" if c.beta is None else f"{c.beta:.1f}" for c in each)],
        ["the floor, nats", *(_signed(c.floor, 1) for c in each)],
        ["above it, nats", *(_signed(c.above_floor, 1) for c in each)],
        ["−ELBO, nats, [0, 1]", *(_signed(c.minus_elbo, 1) for c in each)],
        [
            "−ELBO, nats, [−1, 1]",
            *("no density" if c.on_symmetric is None else _signed(c.on_symmetric, 1) for c in each),
        ],
    ]


def overview(found: Mapping[str, Sequence[Column]]) -> Rows:
    """Return rate and squared error, on which all can be compared, of what was published and of all runs.

    Parameters
    ----------
    found : Mapping
        Columns by repository, from :func:`columns`. A run is shown on MNIST's own test set where it has
        weights that were not chosen there, and else on the images of the published figure.
    """
    rows = [["", "rate, nats", "squared error", "images"]]
    for name, trained in found.items():
        for column in trained:
            who = f"{name}, {column_name(column)}"
            if column.terms is None:
                empty = NOT_PRINTED if column.name == "published" else NOT_YET
                rows.append([who, empty, "", ""])
            elif column.own_test is not None:
                _, rate, error = column.own_test
                rows.append([who, rate.text(2), error.text(2), IMAGES["test"]])
            else:
                rate_there = column.terms.rate.text(2)
                rows.append([who, rate_there, squared_error_text(column), IMAGES[column.images]])
    return rows


def markdown(rows: Rows) -> str:
    """Return rows, the header first, as a table that Jupyter and MyST can show."""
    head, *body = rows
    ruler = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ruler, *body)) + "\n"


def _signed(number: float, decimals: int) -> str:
    """A number with a minus that is one, and no minus before a zero."""
    text = f"{number:.{decimals}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")
