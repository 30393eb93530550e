# Vendored: edit shared/vendored/interrupt.py and run `nox -s vendor`. Packages install alone, so each has a copy.
"""Stop a training run between two steps on Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class TrainingInterrupted(KeyboardInterrupt):
    """Raised by a command after an interrupted run has saved its checkpoint. The message says how to resume."""


@contextmanager
def defer_sigint() -> Iterator[Callable[[], bool]]:
    """Hold back Ctrl-C and SIGTERM: yield a function that returns whether one has arrived.

    A training loop asks it between two steps, saves, and ends. A second signal interrupts at once, as usual. Outside
    the main thread, which alone receives signals, the function always returns False.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    arrived = threading.Event()
    previous: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if arrived.is_set():
            raise KeyboardInterrupt
        arrived.set()

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, note)
        yield arrived.is_set
    finally:
        for installed, handler in previous.items():
            signal.signal(installed, handler if handler is not None else signal.SIG_DFL)
