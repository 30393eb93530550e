"""What several commands do: train with a progress bar, draw the figures of a run, read lines of text."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from attention_numpy._common.cli import command_line, say

if TYPE_CHECKING:
    from attention_numpy.checkpoint import Run
    from attention_numpy.train import Metrics, Trainer

PROG = "attention-numpy"


def summary(metrics: Metrics) -> str:
    """Return one line about an evaluated step."""
    match = f", exact match {metrics['exact_match']:.2%}" if "exact_match" in metrics else ""
    times = f", {metrics['cpu_seconds']:.1f} CPU-seconds" if "cpu_seconds" in metrics else ""
    step = f"step {metrics['step']}: " if "step" in metrics else ""
    return f"{step}held-out loss {metrics['val_loss']:.4f}{match}{times}"


def fit(trainer: Trainer, out: Path, overwrite: bool) -> Metrics:
    """Train to the last step with a progress bar. Raises: TrainingInterrupted after Ctrl-C or SIGTERM."""
    from attention_numpy._common.interrupt import TrainingInterrupted, defer_sigint
    from attention_numpy._common.progress import Progress

    steps = trainer.config.train.steps
    with defer_sigint() as should_stop, Progress(steps, initial=trainer.step_number) as bar:

        def on_step(metrics: Metrics) -> None:
            bar.update(metrics["step"], loss=f"{metrics['loss']:.3f}")
            if "val_loss" in metrics and metrics["step"] < steps:
                bar.message(summary(metrics))

        metrics = trainer.fit(out, overwrite=overwrite, should_stop=should_stop, on_step=on_step)
    if trainer.step_number < steps:
        raise TrainingInterrupted(
            f"interrupted at step {trainer.step_number}; continue with: {command_line(PROG, '--resume')}"
        )
    return metrics


def draw(loaded: Run, out: Path, text: str | None) -> None:
    """Draw the figures of a run, and say where they are, or how to get them."""
    from attention_numpy._common.errors import MissingDependencyError
    from attention_numpy.plots import plot_run

    try:
        for path in plot_run(loaded, out, text):
            say(f"wrote {path}")
    except MissingDependencyError as error:
        say(f"no figures: {error}")


def lines_of(words: tuple[str, ...]) -> Iterator[str]:
    """Yield the words as one line of text, or each line of stdin for `-` or nothing."""
    if words in ((), ("-",)):
        for line in sys.stdin:
            yield line.rstrip("\n")
    else:
        yield " ".join(words)
