# Vendored: edit shared/vendored/metrics.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""The metrics file of a run: one JSON object per line, the same keys in every package."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from .atomic import write_text

# `tokens` are those processed so far; times are of training alone, summed over resumed sessions
METRIC_KEYS = (
    "step", "tokens", "loss", "val_loss", "lr", "grad_norm", "wall_seconds", "cpu_seconds", "tokens_per_second",
)  # fmt: skip


class Clock:
    """Wall and CPU seconds since it was made or resumed, plus those of earlier sessions."""

    def __init__(self, wall_seconds: float = 0.0, cpu_seconds: float = 0.0) -> None:
        self._wall = time.perf_counter() - wall_seconds
        self._cpu = time.process_time() - cpu_seconds

    def read(self) -> dict[str, float]:
        """Return {"wall_seconds": …, "cpu_seconds": …}."""
        return {
            "wall_seconds": round(time.perf_counter() - self._wall, 3),
            "cpu_seconds": round(time.process_time() - self._cpu, 3),
        }


class MetricsWriter:
    """Appends lines to `metrics.jsonl`.

    extra: keys of this package beside METRIC_KEYS, such as "exact_match".
    """

    def __init__(self, path: Path, extra: tuple[str, ...] = ()) -> None:
        self.path, self.keys = path, (*METRIC_KEYS, *extra)

    def write(self, **values: Any) -> dict[str, Any]:
        """Append one line and return it. None is left out.

        Raises: ValueError for a key that is not known, and for NaN or infinity, which JSON does not have.
        """
        line = {key: values[key] for key in self.keys if values.get(key) is not None}
        if unknown := values.keys() - set(self.keys):
            raise ValueError(f"`metrics` must have only the keys {', '.join(self.keys)}, got {min(unknown)!r}")
        for key, value in line.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"`{key}` must be finite, got {value}")
        with self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
        return line

    def truncate(self, step: int) -> None:
        """Drop the lines after `step`, and a last line that an interruption cut short."""
        kept = [line for line in read_metrics(self.path) if line["step"] <= step] if self.path.exists() else []
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics file; a last line that was cut short is left out.

    Raises: ValueError that names file and line if another line is not a JSON object with a `step`.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
            if not isinstance(value, dict) or not isinstance(value.get("step"), int):
                raise ValueError("no `step`")
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}:{number}: not a line of metrics ({error})") from None
        found.append(value)
    return found
