"""The checkpoints of an example: a folder from which a training that was killed goes on as if nothing had happened.

Each training of an example has a folder of its own in there, written by orbax, in which a checkpoint appears as a whole
or not at all. ``experiment.json`` says whose folder it is: another experiment, or anybody's files, are left alone.
"""

import base64
import dataclasses
import importlib.metadata
import json
import logging
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

LEAST_SECONDS = 1.0  # between two checkpoints
SHARE = 0.02  # of the time, at most, is spent on saving
KEPT = 2  # checkpoints of a training
OWNER, UNFINISHED, PICTURE = "experiment.json", "experiment.json.part", "picture.json"
PACKAGES = ("jax", "jaxlib", "jnnops", "numpy", "optax")  # of which another version may give other numbers


@dataclasses.dataclass
class Progress:
    """How far a training is: what is saved, and what it goes on from."""

    state: Any  # a tree of arrays; keys of random numbers are folded from the step instead
    steps: int = 0  # that are made
    seconds: float = 0.0  # that they took
    losses: list[float] = dataclasses.field(default_factory=list)
    times: list[float] = dataclasses.field(default_factory=list)  # of the losses, if they are not those of all steps
    name: str = "training"


def versions() -> dict[str, str]:
    """Of what decides the numbers."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def shapes_of(state: Any) -> list[list[Any]]:
    """The path, shape and dtype of each array, as JSON has them."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [[jax.tree_util.keystr(path), list(jnp.shape(leaf)), str(jnp.result_type(leaf))] for path, leaf in leaves]


def write_whole(path: Path, values: Any) -> None:
    """Writes a file of JSON, which is there as a whole or not at all."""
    part = path.with_name(UNFINISHED)
    part.write_text(json.dumps(values))
    os.replace(part, path)


class Checkpoints:
    """The folder of an experiment's checkpoints."""

    def __init__(self, folder: Path, example: str, **options: int) -> None:
        self.folder = folder.absolute()
        self._owner = {"example": example, **options, **versions()}
        self._managers: dict[str, Any] = {}
        self._saved_at, self._cost = time.perf_counter(), 0.0

    def problem(self) -> str | None:
        """Says why this experiment cannot use the folder, if so; changes nothing."""
        shown = repr(str(self.folder))
        try:
            names = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
            if not names - {UNFINISHED}:
                return None
            if OWNER not in names:
                return f"{shown} holds other files than checkpoints"
            found = json.loads((self.folder / OWNER).read_text())
            differences = [
                f"{name} {found.get(name)}, not {value}"
                for name, value in self._owner.items()
                if found.get(name) != value
            ]
        except OSError as error:
            return f"cannot read {shown}: {error.strerror}"
        except (ValueError, AttributeError):
            return f"{shown} holds other files than checkpoints"
        return f"{shown} is of another experiment: {'; '.join(differences)}" if differences else None

    def begin(self) -> str | None:
        """Makes the folder, or says why it cannot be made."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / OWNER).exists():
                write_whole(self.folder / OWNER, self._owner)
        except OSError as error:
            return f"cannot write {str(self.folder)!r}: {error.strerror}"
        return None

    def manager(self, name: str) -> Any:
        """Orbax's manager of the checkpoints of one training."""
        if name not in self._managers:
            import orbax.checkpoint as ocp  # here, since examples without checkpoints begin sooner without it

            logging.getLogger("absl").setLevel(logging.ERROR)
            options = ocp.CheckpointManagerOptions(
                max_to_keep=KEPT, create=True, cleanup_tmp_directories=True, enable_async_checkpointing=False
            )
            self._managers[name] = ocp.CheckpointManager(self.folder / name, options=options)
        return self._managers[name]

    def restore(self, progress: Progress) -> Progress:
        """Returns the last progress that was saved, or else the one given, which has not begun."""
        import orbax.checkpoint as ocp

        manager = self.manager(progress.name)
        step = manager.latest_step()
        if step is None:
            return progress
        record = manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore())).record
        if record.pop("shapes") != shapes_of(progress.state):
            sys.exit(f"error: the checkpoints in {str(self.folder)!r} are of another version of this example")
        leaves, tree = jax.tree.flatten(progress.state)
        like = [jnp.asarray(leaf) for leaf in leaves]
        leaves = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like))).state
        return Progress(jax.tree.unflatten(tree, leaves), **record)

    def save(self, progress: Progress, *, now: bool = False) -> float:
        """Saves the progress if it is time to, or ``now``; returns the seconds that it took."""
        start = time.perf_counter()
        if not progress.steps or (not now and start - self._saved_at < max(LEAST_SECONDS, self._cost / SHARE)):
            return 0.0
        import orbax.checkpoint as ocp

        manager = self.manager(progress.name)
        if manager.latest_step() != progress.steps:
            record = {field.name: getattr(progress, field.name) for field in dataclasses.fields(progress)}
            state = [jnp.asarray(leaf) for leaf in jax.tree.leaves(record.pop("state"))]
            record["shapes"] = shapes_of(progress.state)
            arguments = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
            manager.save(progress.steps, args=arguments, force=True)
        self._saved_at = time.perf_counter()
        self._cost = self._saved_at - start
        return self._cost

    def drew(self, picture: Path) -> bool:
        """Whether the file is the picture that this experiment has drawn there before, or the beginning of it."""
        try:
            path, drawn = json.loads((self.folder / PICTURE).read_text())
            return path == str(picture.absolute()) and base64.b64decode(drawn).startswith(picture.read_bytes())
        except (OSError, ValueError):
            return False

    def draw(self, picture: Path, content: bytes) -> None:
        """Notes what the experiment is about to write."""
        write_whole(self.folder / PICTURE, [str(picture.absolute()), base64.b64encode(content).decode()])
