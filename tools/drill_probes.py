"""Run a package's probes, `tests/drills.py`, on the copy of its source that PYTHONPATH names; print one JSON object.

    drill_probes.py PATH/TO/tests/drills.py SEED

A probe is a function of a seed, listed in `PROBES`, that returns one of

    {"kind": "curve", "x": [steps], "y": [losses]}             shown beside the band of healthy runs
    {"kind": "numbers", "rows": {label: number or text}}       shown beside the healthy values
    {"kind": "gradients", "rows": {name: [analytic, numeric]}} shown where the two differ
    {"kind": "map", "rows": [[0 to 1]]}                        shown as shades beside the healthy map
    {"kind": "text", "lines": [text]}                          shown beside the healthy text

An exception is a symptom like any other, and so is a probe that takes more than CPU_SECONDS.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

CPU_SECONDS = 20


def module_at(path: Path) -> Any:
    """Import a file as a module."""
    spec = importlib.util.spec_from_file_location("drills", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(path: str, seed: str, *only: str) -> None:
    """Run the probes and print what they found."""
    found: dict[str, Any] = {}
    warnings.simplefilter("ignore")
    try:
        module = module_at(Path(path))
    except Exception as error:
        print(json.dumps({"import of the package": raised(error)}))
        return
    for name, probe in module.PROBES.items():
        if not only or name in only:
            try:
                limit(CPU_SECONDS)
                found[name] = probe(int(seed))
            except Exception as error:
                found[name] = raised(error)
            finally:
                limit(0)
    print(json.dumps(found))


def limit(seconds: int) -> None:
    """Raise TimeoutError after some seconds of CPU time, where the system has such timers; 0 ends the limit.

    CPU time, because a busy machine must not look like a mistake.
    """
    if hasattr(signal, "SIGPROF"):
        signal.signal(signal.SIGPROF, out_of_time)
        signal.setitimer(signal.ITIMER_PROF, seconds)


def out_of_time(number: int, frame: Any) -> None:
    """End a probe that does not end by itself."""
    raise TimeoutError(f"no result within {CPU_SECONDS} CPU-seconds")


def raised(error: Exception) -> dict[str, Any]:
    """Return an exception as the result of a probe: its type and the first line of its text."""
    text = str(error).strip().splitlines()
    return {"kind": "error", "text": f"{type(error).__name__}: {text[0] if text else ''}"}


if __name__ == "__main__":
    main(*sys.argv[1:])
