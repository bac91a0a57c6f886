"""Kills an experiment five times at moments drawn at random, lets it end, and prints what came of it as JSON.

All runs are forks of this process, so that what they import is loaded once.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
from shared import checkpoint
from shared.experiment import Experiment

STEPS, TRAININGS = 10, ("first", "second")
checkpoint.LEAST_SECONDS, checkpoint.SHARE = 0.0, float("inf")  # a checkpoint after each step
optimizer = optax.adam(0.1)


@jax.jit
def step_of(state, key):
    x, memory, mean = state
    gradient = jax.grad(lambda x: jnp.sum((x - jax.random.normal(key, x.shape)) ** 2))(x)
    updates, memory = optimizer.update(gradient, memory)
    return optax.apply_updates(x, updates), memory, 0.9 * mean + 0.1 * jnp.mean(x)


def train(arguments):
    """Two trainings, the second of which begins where the first ends."""
    with Experiment.from_command_line(
        arguments, description="", steps=STEPS, seed_of="noise", output="x.png"
    ) as experiment:
        x, began, losses = jnp.zeros((50, 40)), [], []
        for name in TRAININGS:
            training = experiment.resume((x, optimizer.init(x), jnp.zeros(())), name=name)
            began.append(training.steps)
            for step in experiment.training(training):
                training.state = step_of(training.state, jax.random.fold_in(jax.random.key(0), step))
                training.losses.append(float(training.state[2]))
            x = training.state[0]
            losses += training.losses
        digest = hashlib.sha256(np.asarray(x).tobytes()).hexdigest()
        Path("result.json").write_text(json.dumps([digest, losses, began]))


def start(arguments):
    """Begins a run in a process of its own."""
    process = os.fork()
    if not process:
        code = 1
        try:
            os.dup2(os.open("shown.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 1)
            train(arguments)
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    return process


def seen(folder, step, saving):
    """Whether a step, counted over both trainings, or a later one has been saved, or is being saved."""
    for place, name in enumerate(TRAININGS):
        for path in (folder / name).glob("*"):
            number, _, rest = path.name.partition(".")
            if number.isdigit() and bool(rest) == saving and place * STEPS + int(number) >= step:
                return True
    return False


def main():
    folder, draw = Path("saved"), random.Random(int(sys.argv[1]))
    _, status = os.waitpid(start([]), 0)
    results, killed = [json.loads(Path("result.json").read_text())], 0
    moments = sorted(draw.sample(range(2, 2 * STEPS - 4), 5))
    arguments = ["--checkpoint", str(folder)]
    unfinished = 0
    for number, step in enumerate(moments):
        process = start(arguments)
        while not seen(folder, step, saving=number % 2 == 0):
            if os.waitpid(process, os.WNOHANG)[0]:
                raise RuntimeError("it ended before it could be killed")
        time.sleep(draw.uniform(0, 0.005))
        os.kill(process, signal.SIGKILL)
        killed += os.waitpid(process, 0)[1] == signal.SIGKILL
        unfinished += any("tmp" in path.name for name in TRAININGS for path in (folder / name).glob("*"))
    _, again = os.waitpid(start(arguments), 0)
    results.append(json.loads(Path("result.json").read_text()))
    print(json.dumps({"status": [status, again], "killed": killed, "unfinished": unfinished, "moments": moments}))
    print(json.dumps(results))


if __name__ == "__main__":
    assert orbax.checkpoint
    main()
