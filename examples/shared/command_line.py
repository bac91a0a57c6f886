"""The command line of an example: how long to train, from which seed, and where to save checkpoints and the picture."""

import argparse
import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from matplotlib.figure import Figure

from shared.checkpoint import Checkpoints

MOST_STEPS = 2**31 - 1  # which optimisers count in 32 bits
LARGEST_SEED = 2**32 - 1  # of NumPy, JAX and scikit-learn alike


class OneLineParser(argparse.ArgumentParser):
    """A parser that answers a wrong argument with one line."""

    def error(self, message: str) -> NoReturn:
        """Prints the message and leaves."""
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def whole_number(least: int, most: int, text: str) -> int:
    """Parses an integer from ``least`` to ``most``."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, got {text!r}")
    return number


def new_picture(text: str) -> Path:
    """Parses the path of a picture, of a format that can be drawn here."""
    path = Path(text)
    trial, written = Figure(figsize=(1, 1)), path.suffix[1:].lower()
    formats = sorted(trial.canvas.get_supported_filetypes())
    if written not in formats:
        raise argparse.ArgumentTypeError(f"must end in one of {', '.join(formats)}, got {text!r}")
    trial.text(0, 0, "some formats need other programs for text")
    try:
        trial.savefig(io.BytesIO(), format=written)
    except (OSError, RuntimeError) as error:
        raise argparse.ArgumentTypeError(f"cannot draw {text!r}: {str(error).splitlines()[0]}") from error
    return path


def check_place(path: Path, *, force: bool) -> str | None:
    """Says why there can be no file ``path``, if so. Leaves no file behind, and one that is there as it is."""
    try:
        if path.exists():
            if not force:
                return f"{str(path)!r} exists; --force overwrites a file"
            path.open("ab").close()
        else:
            path.open("xb").close()
            path.unlink()
    except OSError as error:
        return f"cannot write {str(path)!r}: {error.strerror}"
    return None


def parse_arguments(
    arguments: Sequence[str] | None, *, description: str, steps: int, seed_of: str, output: str
) -> argparse.Namespace:
    """Parses and checks ``--steps``, ``--seed``, ``--output``, ``--force`` and ``--checkpoint``.

    Args:
        arguments: The words of the command line; those of the process if None.
        description: Of which the first paragraph is shown in the help.
        steps: The default.
        seed_of: What the seed decides.
        output: The default, the name of the example with a suffix.

    Returns:
        The values by name; of ``checkpoint`` the ``Checkpoints``, or None.
    """
    parser = OneLineParser(description=description.split("\n\n")[0])
    parser.add_argument(
        "--steps",
        type=functools.partial(whole_number, 1, MOST_STEPS),
        default=steps,
        help="steps of training (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=functools.partial(whole_number, 0, LARGEST_SEED),
        default=0,
        help=f"of {seed_of} (default: %(default)s)",
    )
    parser.add_argument("--output", type=new_picture, default=output, help="the picture to save (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="overwrite the output if it exists")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="save the training there, and go on from what is saved there"
    )
    options = parser.parse_args(arguments)
    checkpoints = None
    if options.checkpoint:
        checkpoints = Checkpoints(options.checkpoint, Path(output).stem, steps=options.steps, seed=options.seed)
        problem = checkpoints.problem()
        if problem:
            parser.error(f"argument --checkpoint: {problem}")
    drawn_before = checkpoints is not None and checkpoints.drew(options.output)
    problem = check_place(options.output, force=options.force or drawn_before)
    if problem:
        parser.error(f"argument --output: {problem}")
    problem = checkpoints.begin() if checkpoints else None
    if problem:
        parser.error(f"argument --checkpoint: {problem}")
    options.checkpoint = checkpoints
    return options
