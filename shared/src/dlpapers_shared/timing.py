"""Interleaved benchmarks (A B A B …) and the record of a measurement: results, command, versions and environment.

Each round times our code and its baselines next to each other, because a machine that slows down during the benchmark
then slows all of them alike. A result is the median over the rounds of the speedup, with its minimum and maximum.

    result = compare(lambda: ours(text), {"tiktoken": lambda: theirs(text)})
    result.speedup("tiktoken")   # > 1: our code took less CPU time
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from dlpapers_shared._common.atomic import write_json
from dlpapers_shared._common.errors import check_choice, check_integer, invalid
from dlpapers_shared.machine import cpu_model, environment

__all__ = ["Clock", "Comparison", "Seconds", "compare", "cpu_model", "environment", "timed", "write_record"]

Clock = Literal["cpu", "wall"]


@dataclass(frozen=True)
class Seconds:
    """Duration of one call: CPU seconds of all threads of this process (child processes excluded), wall seconds."""

    cpu: float
    wall: float

    def on(self, clock: Clock) -> float:
        """Return the time on one of the two clocks. Raises: ValueError for another name."""
        check_choice("clock", clock, ("cpu", "wall"))
        return self.cpu if clock == "cpu" else self.wall


@dataclass(frozen=True)
class Comparison:
    """The times of every round: `ours[i]` and `baselines[name][i]` were measured next to each other."""

    ours: list[Seconds]
    baselines: dict[str, list[Seconds]]

    @property
    def peers(self) -> dict[str, list[Seconds]]:
        """The times of the baselines."""
        return self.baselines

    def speedups(self, baseline: str, clock: Clock = "cpu") -> list[float]:
        """Return, for each round, the time of the baseline over ours: > 1 if our code is faster."""
        return [theirs.on(clock) / ours.on(clock) for ours, theirs in zip(self.ours, self.of(baseline), strict=True)]

    def speedup(self, baseline: str, clock: Clock = "cpu") -> float:
        """Return the median of `speedups`."""
        return median(self.speedups(baseline, clock))

    def columns(self, baseline: str, clock: Clock = "cpu", digits: int = 3) -> dict[str, float]:
        """Return the columns of a result: the median speedup, its minimum and maximum over the rounds.

        The numbers are rounded to `digits` significant digits.
        """
        found = self.speedups(baseline, clock)
        values = {"speedup": median(found), "min": min(found), "max": max(found)}
        return {name: float(f"{value:.{digits}g}") for name, value in values.items()}

    def ratios(self, baseline: str, clock: Clock = "cpu") -> list[float]:
        """Return `speedups(baseline, clock)`."""
        return self.speedups(baseline, clock)

    def ratio(self, baseline: str, clock: Clock = "cpu") -> float:
        """Return `speedup(baseline, clock)`."""
        return self.speedup(baseline, clock)

    def seconds(self, baseline: str | None = None, clock: Clock = "cpu") -> float:
        """Return the median time of a baseline, or of our code if none is named."""
        return median(times.on(clock) for times in (self.ours if baseline is None else self.of(baseline)))

    def of(self, baseline: str) -> list[Seconds]:
        """Return the times of one baseline. Raises: ValueError for a name that was not timed."""
        check_choice("baseline", baseline, self.baselines)
        return self.baselines[baseline]


def timed(call: Callable[[], object]) -> Seconds:
    """Run a call once, after `gc.collect()`, so that garbage from one side is not charged to the other."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Seconds(time.process_time() - cpu, time.perf_counter() - wall)


def compare(
    ours: Callable[[], object],
    baselines: Mapping[str, Callable[[], object]],
    rounds: int = 5,
    warmup: int = 1,
) -> Comparison:
    """Time our code and its baselines, interleaved: `warmup` rounds that are discarded, then `rounds` that count.

    A call should take at least a millisecond; put a loop into a shorter one.
    Raises: ValueError if there is no baseline or no round, or if a call is too short for the clock.
    """
    if not baselines:
        raise invalid("baselines", "name at least one call", dict(baselines))
    check_integer("rounds", rounds, 1)
    check_integer("warmup", warmup, 0)
    sides = [ours, *baselines.values()]
    for _ in range(warmup):
        for call in sides:
            timed(call)
    taken = [[timed(call) for call in sides] for _ in range(rounds)]
    if any(min(seconds.cpu, seconds.wall) <= 0 for row in taken for seconds in row):
        raise ValueError("a call took less time than the clock can measure. Put a loop into it")
    first, *others = (list(column) for column in zip(*taken, strict=True))
    return Comparison(first, dict(zip(baselines, others, strict=True)))


def write_record(
    path: str | Path,
    *,
    title: str,
    command: str,
    seed: int | Sequence[int],
    rows: Sequence[Mapping[str, Any]],
    distributions: Sequence[str] = (),
    dtype: str | None = None,
    note: str | None = None,
) -> None:
    """Write a result as JSON: the command that reproduces it, the environment, and rows whose keys are columns.

    distributions: packages whose versions are recorded. dtype: the dtype of the computation, such as "float32".
    Several seeds are written as `seeds`. Scalars of NumPy and torch are written as numbers.
    Raises: ValueError if there are no rows or a value is not finite; the file then stays as it was.
    """
    if not rows:
        raise invalid("rows", "hold at least one row", list(rows))
    seeds = {"seed": seed} if isinstance(seed, int) else {"seeds": list(seed)}
    plain = json.loads(json.dumps(list(rows), ensure_ascii=False, default=lambda scalar: scalar.item()))
    found = {"title": title, "command": command, **seeds, **environment(*distributions)}
    found |= {"dtype": dtype} if dtype is not None else {}
    found |= {"rows": plain}
    found |= {"note": note} if note is not None else {}
    write_json(path, found)
