"""Time implementations interleaved (A B C A B C …), each in its own process, one call of each per round."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from dlpapers_shared.timing import Comparison, Seconds


def serve(make: Callable[[], Callable[[], Any]]) -> None:
    """Serve one implementation: make it, call it for each line on stdin, print CPU time, wall time, and its result."""
    call = make()
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        answer = call()
        print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall, answer]), flush=True)


def interleaved(script: str, sides: list[list[str]], rounds: int = 5) -> tuple[Comparison, list[Any]]:
    """Start `script` once for the arguments of each implementation; the first is ours. Return times and last results.

    A warm-up round comes first.
    """
    processes = []
    for side in sides:  # one after the other, because loading takes twice the memory of a model
        process = subprocess.Popen(
            [sys.executable, script, *side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{' '.join(side)} did not start")
        processes.append(process)
    taken: list[list[tuple[Seconds, Any]]] = [[_ask(p) for p in processes] for _ in range(rounds + 1)][1:]
    for process in processes:
        process.communicate()
    ours, *others = ([seconds for seconds, _ in column] for column in zip(*taken, strict=True))
    baselines = {" ".join(side): times for side, times in zip(sides[1:], others, strict=True)}
    return Comparison(ours, baselines), [answer for _, answer in taken[-1]]


def _ask(process: subprocess.Popen[str]) -> tuple[Seconds, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    cpu, wall, answer = json.loads(process.stdout.readline())
    return Seconds(cpu, wall), answer
