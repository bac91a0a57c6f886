"""The checkpoints of the examples: nothing is lost when one is killed, and nobody's files are touched."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest
from matplotlib.figure import Figure
from shared import checkpoint
from shared.experiment import Experiment

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder of its own for what is saved by default."""
    monkeypatch.chdir(tmp_path)


def experiment_of(*arguments, output="x.png"):
    return Experiment.from_command_line(arguments, description="Tests.", steps=3, seed_of="nothing", output=output)


def train(experiment, state: float | list[float] = 0.0, *, interrupt_at=None):
    """Counts steps in the state and in the losses; returns those that were made."""
    training = experiment.resume({"count": jnp.asarray(state)})
    made = []
    for step in experiment.training(training):
        training.state = {"count": training.state["count"] + 1}
        training.losses.append(float(step))
        made.append(step)
        if step == interrupt_at:
            signal.raise_signal(signal.SIGINT)
    assert float(jnp.sum(training.state["count"])) == training.steps == len(training.losses)
    return made


def files():
    """What is in the folder of the test, and when it was last changed."""
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in Path().rglob("*")}


def test_a_training_killed_five_times_ends_as_if_it_had_not_been():
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE.parents[1] / "examples")]),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", HERE / "killed.py", "0"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    facts, (expected, found) = map(json.loads, done.stdout.splitlines())
    assert facts["status"] == [0, 0]
    assert facts["killed"] == 5
    assert facts["unfinished"] > 0  # It was killed while it saved, too.
    assert found[:2] == expected[:2]
    assert expected[2] == [0, 0]
    assert sum(found[2]) >= facts["moments"][-1] - 1  # It went on, and did not begin again.
    assert "tmp" not in "".join(map(str, files()))


class TestInterruption:
    def test_goes_on_and_draws_over_its_own_picture(self):
        arguments = ("--steps", "9", "--checkpoint", "saved")

        def interrupted():
            with experiment_of(*arguments) as experiment:
                assert train(experiment, interrupt_at=4) == [0, 1, 2, 3, 4]
                experiment.save(Figure())

        with pytest.raises(SystemExit, match="130"):
            interrupted()
        half = Path("x.png").read_bytes()[:100]
        Path("x.png").write_bytes(half)  # as it is left by a program that is killed while it draws
        with experiment_of(*arguments) as experiment:
            assert train(experiment) == [5, 6, 7, 8]
            experiment.save(Figure())
        with experiment_of(*arguments) as experiment:
            assert train(experiment) == []

    @pytest.mark.parametrize("mine", [b"mine", None])
    def test_a_picture_of_somebody_is_kept(self, mine, capsys):
        arguments = ("--checkpoint", "saved")
        with experiment_of(*arguments) as experiment:
            train(experiment)
            experiment.save(Figure())
        mine = mine or Path("x.png").read_bytes()
        Path("y.png").write_bytes(mine)
        if mine == b"mine":
            Path("x.png").write_bytes(mine)
        for name in ("x.png", "y.png") if mine == b"mine" else ("y.png",):
            with pytest.raises(SystemExit, match="2"), experiment_of(*arguments, "--output", name):
                pytest.fail("began")
            assert f"{name}' exists; --force overwrites a file" in capsys.readouterr().err
            assert Path(name).read_bytes() == mine


class TestRefusal:
    def test_of_another_experiment_or_version(self, monkeypatch, capsys):
        with experiment_of("--checkpoint", "saved") as experiment:
            train(experiment)
        before = files()

        def refuses(message, *arguments, output="x.png"):
            with pytest.raises(SystemExit, match="2"), experiment_of(*arguments, output=output):
                pytest.fail("began")
            error = capsys.readouterr().err
            assert "argument --checkpoint" in error
            assert "saved' is of another experiment: " + message in error
            assert error.count("\n") == 1
            assert files() == before

        refuses("steps 3, not 4", "--checkpoint", "saved", "--steps", "4")
        refuses("seed 0, not 1", "--checkpoint", "saved", "--seed", "1")
        refuses("example x, not y", "--checkpoint", "saved", output="y.png")
        versions = checkpoint.versions()
        monkeypatch.setattr(checkpoint, "versions", lambda: {**versions, "jax": "0.1"})
        refuses(f"jax {versions['jax']}, not 0.1", "--checkpoint", "saved")
        monkeypatch.undo()

    def test_of_a_state_of_another_shape(self, capsys):
        with experiment_of("--checkpoint", "saved") as experiment:
            train(experiment)
        before = files()
        with experiment_of("--checkpoint", "saved") as experiment:
            with pytest.raises(SystemExit) as left:
                train(experiment, [0.0, 0.0])  # pyright: ignore[reportArgumentType]
            assert str(left.value).endswith("saved' are of another version of this example")
        assert files() == before

    @pytest.mark.parametrize(
        ("place", "content", "message"),
        [
            ("mine/notes.txt", "mine", "holds other files than checkpoints"),
            ("mine/experiment.json", "mine", "holds other files than checkpoints"),
            ("mine/experiment.json", "[1]", "holds other files than checkpoints"),
            ("mine", "a file", "Not a directory"),
        ],
    )
    def test_of_what_is_somebody_elses(self, place, content, message, capsys):
        Path(place).parent.mkdir(exist_ok=True)
        Path(place).write_text(content)
        before = files()
        with pytest.raises(SystemExit, match="2"), experiment_of("--checkpoint", "mine"):
            pytest.fail("began")
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert files() == before
