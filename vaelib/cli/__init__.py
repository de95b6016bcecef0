"""The command line. Commands import PyTorch when called, so that help and mistakes answer at once."""

import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from vaelib import __version__
from vaelib.cli import looking, measuring, training
from vaelib.errors import SettingsError, VaelibError


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code; what goes wrong is said in one line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        cli.main(args=arguments, prog_name="vaelib", standalone_mode=False)
    except click.ClickException as error:
        _fail(" ".join(error.format_message().split()), 2)
    except SettingsError as error:
        _fail(str(error), 2)
    except VaelibError as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        # The reader of our output has gone (`vaelib ... | head`). Python would complain once more on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"cannot use {error.filename or 'a file'}: {error.strerror or error}", 1)
    except (KeyboardInterrupt, click.Abort):  # click makes the one into the other, a RuntimeError
        _fail("interrupted", 130)
    except (MemoryError, RuntimeError) as error:
        # PyTorch has no class for a CPU that runs out of memory. Any other RuntimeError is our bug: show it.
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        _fail("not enough memory: ask for a smaller model, batch or picture", 1)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"vaelib: {message}", err=True)
    sys.exit(code)


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="RUN is a folder that `train` wrote, a checkpoint file, or the name of a model that comes with "
    "vaelib, such as plane. Exit codes: 0 done, 1 could not be done, 2 asked for wrongly, 130 interrupted.",
)
@click.version_option(__version__, prog_name="vaelib")
@click.pass_context
def cli(context: click.Context) -> None:
    """Train a variational autoencoder and look inside it.

    \b
    Begin with
      vaelib train --out runs/first          about a minute on two cores
      vaelib manifold runs/first             what it draws over its latent plane
      vaelib evaluate runs/first             what it is worth, in nats
    """  # noqa: D301 (click reads the \\b: keep these lines as they are)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (
    training.train,
    training.presets,
    training.reproduce,
    measuring.evaluate,
    measuring.qq,
    looking.reconstruct,
    looking.encode,
    looking.manifold,
    looking.sample,
    looking.animate,
    measuring.data,
    measuring.shard,
):
    cli.add_command(_command)
