"""Checks that the implementations agree, and takes their times in turns."""

import random
import statistics
import time
from collections.abc import Collection, Sequence

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.implementation import Implementation

SECONDS = 2.0
ROUNDS = range(5, 100)


def check_agreement(sides: Sequence[Implementation], differs: Collection[str], tolerance: float) -> None:
    """Fails unless all give what the first one gives, but for rounding; those that differ at least the same shapes."""
    first, *others = sides
    expected = first.results(first.run())
    for side in others:
        actual = side.results(side.run())
        assert [a.shape for a in actual] == [e.shape for e in expected], side.name
        if side.name in differs:
            continue
        for number, (a, e) in enumerate(zip(actual, expected, strict=True)):
            atol = tolerance * np.max(np.abs(e), initial=0)
            np.testing.assert_allclose(a, e, rtol=0, atol=atol, err_msg=f"result {number} of {side.name}")


def medians(
    sides: Sequence[Implementation], benchmark: BenchmarkFixture, *, in_a_row: bool = False
) -> dict[str, float]:
    """The median time of each in milliseconds, all within about ``SECONDS``.

    Every round runs each implementation once, in an order that is drawn, so that whatever else the machine does
    meanwhile, and the threads that PyTorch leaves spinning, meet all of them alike. What takes more than a quarter of
    the time there is runs only once. With ``in_a_row`` each runs twice and the second time counts: as a training step
    follows its like, and not one that has just gone through gigabytes of other tables.
    """
    times = {side.name: [timed(side)] for side in sides}  # warm since `check_agreement`
    order = [side for side in sides if times[side.name][0] < SECONDS / 4]
    rounds, generator = ROUNDS.start, random.Random(0)
    if order:
        rounds = int(SECONDS / sum(times[side.name].pop() for side in order))

    def one_round() -> None:
        for side in order:
            if in_a_row:
                side.run()
            times[side.name].append(timed(side))
        generator.shuffle(order)

    benchmark.pedantic(one_round, rounds=min(max(rounds, ROUNDS.start), ROUNDS.stop))
    return {name: 1e3 * statistics.median(taken) for name, taken in times.items()}


def timed(side: Implementation) -> float:
    """The seconds of one run; freeing its results is not among them."""
    start = time.perf_counter()
    results = side.run()
    taken = time.perf_counter() - start
    del results
    return taken
