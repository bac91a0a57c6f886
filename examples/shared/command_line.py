"""The command line of an example: how long to train, from which seed, and where to save the picture."""

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import matplotlib.pyplot as plt


class OneLineParser(argparse.ArgumentParser):
    """A parser that answers a wrong argument with one line."""

    def error(self, message: str) -> NoReturn:
        """Prints the message and leaves."""
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def whole_number(least: int, text: str) -> int:
    """Parses an integer that is at least ``least``."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, got {text!r}")
    return number


def parse_arguments(
    arguments: Sequence[str] | None, *, description: str, steps: int, seed_of: str, output: Path
) -> argparse.Namespace:
    """Parses and checks ``--steps``, ``--seed``, ``--output`` and ``--force``.

    Args:
        arguments: The words of the command line; those of the process if None.
        description: Of which the first paragraph is shown in the help.
        steps: The default.
        seed_of: What the seed decides.
        output: The default.

    Returns:
        The values by name.
    """
    parser = OneLineParser(description=description.split("\n\n")[0])
    parser.add_argument(
        "--steps",
        type=functools.partial(whole_number, 1),
        default=steps,
        help="steps of training (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=functools.partial(whole_number, 0), default=0, help=f"of {seed_of} (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=output, help="the picture to save (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="overwrite the output if it exists")
    options = parser.parse_args(arguments)
    formats = sorted(plt.figure().canvas.get_supported_filetypes())
    plt.close()
    if options.output.suffix[1:].lower() not in formats:
        parser.error(f"argument --output: must end in one of {', '.join(formats)}, got {str(options.output)!r}")
    if not options.output.parent.is_dir():
        parser.error(f"argument --output: the folder {str(options.output.parent)!r} does not exist")
    if options.output.is_dir() or (options.output.exists() and not options.force):
        parser.error(f"argument --output: {str(options.output)!r} exists; --force overwrites a file")
    return options
