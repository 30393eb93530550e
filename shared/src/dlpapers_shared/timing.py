"""Two sides timed in turn, A B A B …, and the record of what was measured.

A machine that grows slower while it measures (heat, neighbours) slows whichever side happens to run. So the
sides take turns, each round compares times that were taken next to each other, and the median over the
rounds is the result. CPU time counts all threads of this process; it does not see child processes.

    result = compare(lambda: mine(text), {"tiktoken": lambda: theirs(text)})
    result.ratio("tiktoken")   # above 1: mine took less CPU time
"""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, Literal

from dlpapers_shared.files import replacing

Clock = Literal["cpu", "wall"]


@dataclass(frozen=True)
class Seconds:
    """What one call took: CPU time of all threads of this process, and wall-clock time."""

    cpu: float
    wall: float

    def on(self, clock: Clock) -> float:
        """The time on one of the two clocks; ValueError for any other name."""
        if clock not in ("cpu", "wall"):
            raise ValueError(f"clock: {clock!r} is neither 'cpu' nor 'wall'")
        return self.cpu if clock == "cpu" else self.wall


@dataclass(frozen=True)
class Comparison:
    """The times of every round: `ours[i]` and `peers[name][i]` were taken next to each other."""

    ours: list[Seconds]
    peers: dict[str, list[Seconds]]

    def ratios(self, peer: str, clock: Clock = "cpu") -> list[float]:
        """Of each round, the peer's time over ours: above 1, we were faster. ValueError for an unknown peer."""
        return [theirs.on(clock) / ours.on(clock) for ours, theirs in zip(self.ours, self.of(peer), strict=True)]

    def ratio(self, peer: str, clock: Clock = "cpu") -> float:
        """The median of `ratios`."""
        return median(self.ratios(peer, clock))

    def seconds(self, peer: str | None = None, clock: Clock = "cpu") -> float:
        """The median time of a peer, or of our side when none is named."""
        return median(times.on(clock) for times in (self.ours if peer is None else self.of(peer)))

    def of(self, peer: str) -> list[Seconds]:
        """The times of one peer; ValueError for a name that was not timed."""
        if peer not in self.peers:
            raise ValueError(f"peer: {peer!r} was not timed; there is {', '.join(self.peers)}")
        return self.peers[peer]


def timed(call: Callable[[], object]) -> Seconds:
    """Run a call once. Rubbish of earlier calls is collected before, so that no side pays for the other's."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Seconds(time.process_time() - cpu, time.perf_counter() - wall)


def compare(
    ours: Callable[[], object],
    peers: Mapping[str, Callable[[], object]],
    rounds: int = 5,
    warmup: int = 1,
) -> Comparison:
    """Run ours, each peer, ours, each peer …: `warmup` rounds that are not kept, then `rounds` that are.

    A call should take a millisecond or more; for less, put a loop into it. ValueError for no peer, no round,
    or a call that is too short for the clock.
    """
    if not peers:
        raise ValueError("peers: there is nothing to compare with")
    if rounds < 1 or warmup < 0:
        raise ValueError(f"rounds, warmup: {rounds}, {warmup}; at least 1 and 0 are needed")
    sides = [ours, *peers.values()]
    for _ in range(warmup):
        for call in sides:
            timed(call)
    taken = [[timed(call) for call in sides] for _ in range(rounds)]
    if any(min(seconds.cpu, seconds.wall) <= 0 for row in taken for seconds in row):
        raise ValueError("a call took no time that the clock can show; put a loop into it")
    first, *others = (list(column) for column in zip(*taken, strict=True))
    return Comparison(first, dict(zip(peers, others, strict=True)))


def environment(*distributions: str) -> dict[str, Any]:
    """Where and when: versions of Python and of the named distributions, CPU model, usable cores, date (UTC).

    ValueError names a distribution that is not installed.
    """
    versions = {"python": platform.python_version()}
    for name in distributions:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise ValueError(f"distributions: {name} is not installed") from None
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return {"versions": versions, "cpu": cpu_model(), "cores": usable, "date": datetime.now(UTC).date().isoformat()}


def cpu_model() -> str:
    """The processor's name as its maker writes it, or at least its architecture."""
    name = ""
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    elif sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return name or platform.processor() or platform.machine()


def write_record(
    path: str | Path,
    *,
    title: str,
    command: str,
    seed: int | Sequence[int],
    rows: Sequence[Mapping[str, Any]],
    distributions: Sequence[str] = (),
    note: str | None = None,
) -> None:
    """Write a result as JSON: how it was made, where (`environment`), and its rows, whose keys are columns.

    Several seeds are written as `seeds`. Scalars of NumPy and torch are written as numbers. ValueError for no
    rows, or for a value that is not finite; the file then stays as it was.
    """
    if not rows:
        raise ValueError("rows: there is nothing to record")
    seeds = {"seed": seed} if isinstance(seed, int) else {"seeds": list(seed)}
    found = {"title": title, "command": command, **seeds, **environment(*distributions), "rows": list(rows)}
    if note is not None:
        found["note"] = note
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False, default=lambda scalar: scalar.item())
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
