"""The frame of an example: its command line, its training under a bar of progress, Ctrl-C, checkpoints and a picture.

Ctrl-C ends the training after the step that is being made. What has been learned until then is measured and drawn as
if it were the whole. Before the first step is done there is nothing to draw, and a second Ctrl-C does not wait for the
drawing: the example leaves. In all cases it ends with the status of an interrupted program.

With ``--checkpoint`` the training is saved now and then, at its end and on Ctrl-C, and goes on from there.
"""

import contextlib
import dataclasses
import io
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from matplotlib.figure import Figure
from tqdm import tqdm

from shared.checkpoint import Checkpoints, Progress
from shared.command_line import parse_arguments

INTERRUPTED = 128 + signal.SIGINT  # the status with which shells report a program that Ctrl-C has ended
BAR = "{l_bar}{bar}{r_bar}"
TERMINAL_SECONDS, LOG_SECONDS = 0.1, 10.0  # between two bars, which are lines of their own in a log


@dataclasses.dataclass
class Experiment:
    """What the command line asks for, and how far its training is."""

    steps: int  # to make
    seed: int
    output: Path
    checkpoints: Checkpoints | None = None
    steps_made: int = 0  # in all trainings
    interrupted: bool = False
    _bar: tqdm = dataclasses.field(default_factory=lambda: tqdm(disable=True))

    @classmethod
    @contextlib.contextmanager
    def from_command_line(
        cls, arguments: Sequence[str] | None, *, description: str | None, steps: int, seed_of: str, output: str
    ) -> Iterator["Experiment"]:
        """Begins an experiment, and ends it in an orderly way if it is interrupted.

        Args:
            arguments: The words of the command line; those of the process if None.
            description: Of which the first paragraph is shown in the help.
            steps: The default of ``--steps``.
            seed_of: What the seed decides.
            output: The default of ``--output``, the name of the example with a suffix.
        """
        options = parse_arguments(arguments, description=description or "", steps=steps, seed_of=seed_of, output=output)
        experiment = cls(options.steps, options.seed, options.output, options.checkpoint)
        previous = signal.signal(signal.SIGINT, experiment._interrupt)
        try:
            yield experiment
        finally:
            if not experiment.interrupted:  # Otherwise Ctrl-C leaves at once while Python ends, too.
                signal.signal(signal.SIGINT, previous)
        if experiment.interrupted:
            sys.exit(INTERRUPTED)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Answers Ctrl-C without an exception.

        In the middle of a step one would lose the state, whose arrays are given to the step; and one that is raised in
        a callback of JAX or of the garbage collector is printed and forgotten.
        """
        if not self.interrupted and self.steps_made:
            self.interrupted = True
            return
        with contextlib.suppress(RuntimeError, OSError):  # It may be printing just now, or into a pipe that is closed.
            print("\ninterrupted", file=sys.stderr, flush=True)
            sys.stdout.flush()
        os._exit(INTERRUPTED)

    def resume(self, state: Any, *, name: str = "training") -> Progress:
        """Begins a training, or goes on with it where its last checkpoint was.

        Args:
            state: Before the first step: a tree of arrays, everything that a step changes.
            name: Of this training, if the example has several.
        """
        progress = Progress(state, name=name)
        if self.checkpoints:
            progress = self.checkpoints.restore(progress)
        self.steps_made += progress.steps
        return progress

    def training(self, progress: Progress, *, steps: int | None = None) -> Iterator[int]:
        """Counts the steps of training while they are made, fewer than asked for if Ctrl-C is pressed.

        Args:
            progress: Whose ``state`` each step replaces.
            steps: In all; those of the command line if None.
        """
        steps = self.steps if steps is None else steps
        with self.bar(steps, name=progress.name, done=progress.steps):
            start = time.perf_counter() - progress.seconds
            for step in range(progress.steps, steps):
                if self.interrupted:
                    break
                yield step
                progress.seconds = time.perf_counter() - start
                progress.steps += 1
                self.step_made()
                start += self.keep(progress)
            self.keep(progress, now=True)

    def keep(self, progress: Progress, *, now: bool = False) -> float:
        """Saves a checkpoint if it is time to, or ``now``; returns the seconds that it took."""
        return self.checkpoints.save(progress, now=now) if self.checkpoints else 0.0

    @contextlib.contextmanager
    def bar(self, total: float, *, name: str = "", form: str = BAR, done: float = 0) -> Iterator[None]:
        """Shows a bar of progress, for a training that counts its steps itself: it calls ``step_made``.

        Args:
            total: The progress at the end, in steps or another unit.
            name: Of this training, if the example has several.
            form: What tqdm writes, its ``bar_format``.
            done: The progress at the beginning.
        """
        terminal = sys.stdout.isatty()
        with tqdm(
            total=total,
            initial=done,
            desc=name,
            unit="step",
            file=sys.stdout,
            mininterval=TERMINAL_SECONDS if terminal else LOG_SECONDS,
            bar_format=form if terminal else form + "\n",
        ) as self._bar:
            yield
        if self.interrupted:
            message = f"interrupted after {self.steps_made:,} steps: Ctrl-C again leaves without a picture"
            print(message, file=sys.stderr)

    def step_made(self, progress: float = 1) -> None:
        """Moves the bar on."""
        self.steps_made += 1
        self._bar.update(progress)

    def show(self, **values: str | int) -> None:
        """Shows values beside the bar when it is drawn next."""
        self._bar.set_postfix(values, refresh=False)

    def save(self, picture: Figure) -> None:
        """Saves the picture that the command line asks for."""
        picture.tight_layout()
        content = io.BytesIO()
        picture.savefig(content, format=self.output.suffix[1:].lower(), dpi=120)
        if self.checkpoints:
            self.checkpoints.draw(self.output, content.getvalue())
        self.output.write_bytes(content.getvalue())
        print(f"saved {self.output}")
