"""The frame of the examples: their command line, bar of progress, Ctrl-C and picture."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from shared.experiment import Experiment

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples")])}


def experiment_of(*arguments):
    return Experiment.from_command_line(arguments, description="Tests.", steps=3, seed_of="nothing", output="x.png")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder of its own for what is saved by default."""
    monkeypatch.chdir(tmp_path)


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--steps", "0"], "argument --steps: must be a whole number from 1 to 2147483647, got '0'"),
            (["--steps", "-1"], "argument --steps: must be a whole number from 1 to 2147483647, got '-1'"),
            (["--steps", "2147483648"], "argument --steps: must be a whole number from 1 to 2147483647"),
            (["--seed", "one"], "argument --seed: must be a whole number from 0 to 4294967295, got 'one'"),
            (["--seed", "-1"], "argument --seed: must be a whole number from 0 to 4294967295, got '-1'"),
            (["--seed", "9" * 20], "argument --seed: must be a whole number from 0 to 4294967295, got '9999"),
            (["--colour"], "unrecognized arguments: --colour"),
            (["--output", "picture.txt"], "argument --output: must end in one of"),
            (["--output", "picture"], "argument --output: must end in one of"),
            (["--output", "nowhere/x.png"], "cannot write 'nowhere/x.png': No such file or directory"),
            (["--output", "n" * 300 + ".png"], "File name too long"),
            (["--output", "kept.png/x.png"], "cannot write 'kept.png/x.png': Not a directory"),
            (["--output", "folder.png", "--force"], "cannot write 'folder.png': Is a directory"),
            (["--output", "kept.png"], "'kept.png' exists; --force overwrites a file"),
            (["--output", "locked/x.png"], "cannot write 'locked/x.png': Permission denied"),
        ],
    )
    def test_a_wrong_argument_gets_one_line(self, arguments, message, monkeypatch, capsys):
        Path("kept.png").write_text("mine")
        Path("folder.png").mkdir()
        plain_open = Path.open

        def open_unless_locked(path, *arguments, **options):  # The superuser may write anywhere.
            if path.parent.name == "locked":
                raise PermissionError(13, "Permission denied")
            return plain_open(path, *arguments, **options)

        monkeypatch.setattr(Path, "open", open_unless_locked)
        with pytest.raises(SystemExit, match="2"), experiment_of(*arguments):
            pytest.fail("began")
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert Path("kept.png").read_text() == "mine"

    def test_a_format_that_needs_another_program_is_tried(self, monkeypatch, capsys):
        def fail(*arguments, **options):
            raise RuntimeError("'xelatex' not found\nInstall it.")

        monkeypatch.setattr(Figure, "savefig", fail)
        with pytest.raises(SystemExit, match="2"), experiment_of("--output", "x.pgf"):
            pytest.fail("began")
        assert "cannot draw 'x.pgf': 'xelatex' not found (see --help)\n" in capsys.readouterr().err

    def test_the_check_leaves_things_as_they_were(self):
        Path("old.png").write_text("old")
        for arguments in ([], ["--output", "old.png", "--force"], ["--seed", "4294967295", "--steps", "2147483647"]):
            with experiment_of(*arguments):
                assert [path.name for path in Path().iterdir()] == ["old.png"]
        assert Path("old.png").read_text() == "old"


class TestTraining:
    def test_counts_the_steps_and_saves_a_picture(self, capsys):
        with experiment_of() as experiment:
            assert list(experiment.training(experiment.resume(()))) == [0, 1, 2]
            experiment.save(Figure())
        assert Path("x.png").read_bytes().startswith(b"\x89PNG")
        assert capsys.readouterr().out.endswith("saved x.png\n")

    def test_a_log_gets_few_lines(self, capsys):
        with experiment_of("--steps", "3000") as experiment:
            for step in experiment.training(experiment.resume(())):
                experiment.show(loss=step)
        lines = capsys.readouterr().out.splitlines()
        assert len([line for line in lines if line.strip()]) == 2
        assert "100%" in lines[-2]
        assert "loss=2999" in lines[-2]
        assert max(map(len, lines)) < 100


class TestInterruption:
    def test_the_step_that_is_being_made_is_the_last(self, capsys):
        steps = []

        def train_and_save():
            with experiment_of("--steps", "9") as experiment:
                for step in experiment.training(experiment.resume(())):
                    if step == 2:
                        signal.raise_signal(signal.SIGINT)
                    steps.append(step)
                experiment.save(Figure())

        with pytest.raises(SystemExit, match="130"):
            train_and_save()
        assert steps == [0, 1, 2]
        assert Path("x.png").exists()
        assert "interrupted after 3 steps" in capsys.readouterr().err

    def test_after_training_the_picture_is_saved(self):
        def train_and_save():
            with experiment_of() as experiment:
                list(experiment.training(experiment.resume(())))
                signal.raise_signal(signal.SIGINT)
                experiment.save(Figure())

        with pytest.raises(SystemExit, match="130"):
            train_and_save()
        assert Path("x.png").exists()

    def test_without_anything_to_save_it_leaves_at_once(self):
        cases = [["before"], ["first"], ["second", "after"], ["second", "at exit"]]
        program = f"""
import atexit, os, signal, sys
from shared.experiment import Experiment
def now(moment):
    print(moment, flush=True)
    if moment in moments:
        signal.raise_signal(signal.SIGINT)
for moments in {cases}:  # each in a process of its own
    if process := os.fork():
        print("status", os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
        continue
    atexit.register(now, "at exit")
    arguments = ["--steps", "9"]
    with Experiment.from_command_line(arguments, description="", steps=1, seed_of="", output="x.png") as experiment:
        now("before")
        for step in experiment.training(experiment.resume(())):
            now(["first", "second", "third"][step])
        now("after")
"""
        done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0
        assert done.stderr.count("\ninterrupted\n") == 4
        assert "Traceback" not in done.stderr
        lines = done.stdout.splitlines()
        ends = [place for place, line in enumerate(lines) if line == "status 130"]
        assert [lines[place - 1] for place in ends] == [moments[-1] for moments in cases]
        assert not Path("x.png").exists()

    def test_from_a_terminal_what_was_learned_is_saved(self):
        pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
        terminal, its_end = pty.openpty()
        termios.tcsetwinsize(its_end, (24, 100))  # The bar leaves out what does not fit.
        program = """
import time
from matplotlib.figure import Figure
from shared.experiment import Experiment
with Experiment.from_command_line(None, description="", steps=1, seed_of="", output="x.png") as experiment:
    for step in experiment.training(experiment.resume(())):
        time.sleep(0.01)
        experiment.show(loss=step)
    experiment.save(Figure())
"""
        command = [sys.executable, "-c", program, "--steps", "1000000", "--output", "part.png"]
        with subprocess.Popen(command, env=ENVIRONMENT, stdout=its_end, stderr=subprocess.PIPE, text=True) as process:
            os.close(its_end)
            shown = b""
            while b"loss=" not in shown:
                shown += os.read(terminal, 4096)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        os.close(terminal)
        assert process.returncode == 130
        assert error.startswith("interrupted after")
        assert error.count("\n") == 1
        assert Path("part.png").read_bytes().startswith(b"\x89PNG")
