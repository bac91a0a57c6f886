"""What the tests of all examples need."""

import re
import shutil
import signal
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from matplotlib.figure import Figure
from shared.checkpoint import Checkpoints, Progress


@pytest.fixture(autouse=True)
def handler_of_interruptions():
    """Puts back what Ctrl-C does: an interrupted example, which is about to end, does not."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


def saved(folder: Path) -> dict[str, list[np.ndarray]]:
    """The arrays of the last checkpoint of each training, which is taken away."""
    found = {}
    for training in sorted(path for path in folder.iterdir() if path.is_dir()):
        with ocp.CheckpointManager(training) as manager:
            before, step = manager.all_steps()
            assert 0 < before < step
            arguments = ocp.args.Composite(state=ocp.args.StandardRestore())
            found[training.name] = [np.asarray(array) for array in manager.restore(step, args=arguments).state]
        shutil.rmtree(training / str(step))
    return found


@pytest.fixture
def run_and_resume(tmp_path, monkeypatch, capsys):
    """Runs an example, takes its last checkpoints away as if it had been killed before, and resumes it.

    Both must print the same figures, which are returned, and save the same arrays and a picture, empty the second time.
    """

    def run(example: ModuleType, *arguments: str) -> str:
        save = Checkpoints.save

        def save_some(self: Checkpoints, progress: Progress, *, now: bool = False) -> float:
            return save(self, progress, now=now or progress.steps % 13 == 1)

        monkeypatch.setattr(Checkpoints, "save", save_some)
        output, folder = tmp_path / "picture.png", tmp_path / "checkpoints"
        printed, arrays = [], []
        for _ in range(2):  # The picture of the first run does not stand in the way of the second.
            with jax.numpy_dtype_promotion("standard"):  # as optax needs it
                example.main([*arguments, "--output", str(output), "--checkpoint", str(folder)])
            assert output.read_bytes().startswith(b"\x89PNG")
            lines = [line for line in capsys.readouterr().out.splitlines() if "%|" not in line]  # without the bars
            printed.append(re.sub(r"\d+ s of training|time per image.*", "", "\n".join(lines)))
            arrays.append(saved(folder))
            monkeypatch.setattr(example, "draw", lambda *arguments: Figure())
        assert printed[0] == printed[1]
        jax.tree.map(np.testing.assert_array_equal, *arrays)
        return printed[0]

    return run
