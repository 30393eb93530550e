# Vendored: edit shared/vendored/progress.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""Progress on stderr: a bar on a terminal, one line every 30 seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """A context manager that counts `total` units of work.

    shown=False prints nothing, for processes other than the first.
    """

    def __init__(self, total: int | None, *, unit: str = "step", initial: int = 0, shown: bool = True) -> None:
        self.total, self.unit, self.count, self.shown = total, unit, initial, shown
        self._bar: Any = None
        self._printed = time.monotonic()
        if shown and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, initial=initial, unit=unit, unit_scale=unit == "B", dynamic_ncols=True, file=sys.stderr
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, count: int, **values: object) -> None:
        """Set the number of units done so far; `values` are shown beside it, such as loss="3.21"."""
        if self._bar is not None:
            self._bar.update(count - self._bar.n)
            if values:
                self._bar.set_postfix({key: str(value) for key, value in values.items()}, refresh=False)
        elif self.shown and time.monotonic() - self._printed >= SECONDS_BETWEEN_LINES:
            self._printed = time.monotonic()
            done = f"{count:,}" if self.total is None else f"{count:,} of {self.total:,}"
            unit = self.unit if done == "1" else f"{self.unit}s"
            self.message(f"{done} {unit}  " + "  ".join(f"{key} {value}" for key, value in values.items()))
        self.count = count

    def message(self, text: str) -> None:
        """Print a line on stderr without breaking the bar."""
        if not self.shown:
            return
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            sys.stderr.write(text.rstrip() + "\n")
            sys.stderr.flush()
