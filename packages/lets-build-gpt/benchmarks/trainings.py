"""Train a recipe on tiny shakespeare with three seeds and record its validation loss.

python benchmarks/trainings.py cpu-3min          # writes results/train-cpu-3min.json; without a name, all three
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlpapers_shared.timing import write_record
from lets_build_gpt import load_run, load_text
from lets_build_gpt._common.malloc import keep_freed_memory
from lets_build_gpt._common.metrics import read_metrics
from lets_build_gpt.recipes import RECIPES
from lets_build_gpt.run import train

FOLDER = Path(__file__).parent.parent
SEEDS = (1337, 1338, 1339)
CPU_RECIPES = ("nanogpt-cpu", "cpu-3min", "cpu-15min")


def on_track(runs: list[list[dict[str, float]]]) -> list[dict[str, float]]:
    """Return the range of training losses over the seeds at some steps: means over 3 % of the run, ± 0.03."""
    rows = []
    last = runs[0][-1]["step"]
    for part in (0.05, 0.1, 0.25, 0.5, 0.75, 0.97):
        near = [[line["loss"] for line in run if abs(line["step"] / last - part) <= 0.015] for run in runs]
        means = [statistics.mean(losses) for losses in near]
        row = {"step": round(part * last), "loss at least": min(means) - 0.03, "loss at most": max(means) + 0.03}
        rows.append(row)
    return rows


def train_once(name: str, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train a recipe once on one thread. Return its row in the table and its lines of metrics that have a loss."""
    recipe = RECIPES[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        config = replace(recipe.train, seed=seed, num_threads=1, device="cpu", sample_tokens=0)
        result = train(recipe.model, recipe.optim, config, load_text("shakespeare"), folder)
        model, _ = load_run(folder)
        row = {
            "recipe": name,
            "seed": str(seed),
            "parameters": model.num_parameters(),
            "training tokens": config.steps * config.batch_size * recipe.model.context_length,
            "CPU-seconds": round(result.cpu_seconds),
            "validation loss": result.val_loss,
        }
        return row, [line for line in read_metrics(folder / "metrics.jsonl") if "loss" in line]


def record(name: str, seeds: list[int], rows: list[dict[str, Any]], runs: list[list[dict[str, float]]]) -> None:
    """Write the table of the seeds so far with their mean, and the ranges of the training loss."""
    mean: dict[str, Any] = {**rows[0], "seed": "mean"}
    mean["CPU-seconds"] = round(statistics.mean(row["CPU-seconds"] for row in rows))
    mean["validation loss"] = statistics.mean(row["validation loss"] for row in rows)
    command = f"python packages/lets-build-gpt/benchmarks/trainings.py {name}"
    write_record(
        FOLDER / "results" / f"train-{name}.json",
        title=f"lets-build-gpt train {name}, tiny shakespeare",
        command=command,
        seed=seeds,
        rows=[*rows, mean],
        distributions=["torch"],
        note=(
            "Nats per character over the whole validation split (the last 10 %), in adjacent windows of the "
            "recipe's context, in float32. CPU-seconds are those of the whole run on one thread, evaluations "
            "included. Settings were chosen on the last 10 % of the training split."
        ),
    )
    write_record(
        FOLDER / "results" / f"on-track-{name}.json",
        title=f"Training loss during lets-build-gpt train {name}, tiny shakespeare",
        command=command,
        seed=seeds,
        rows=on_track(runs),
        distributions=["torch"],
    )


def main(names: list[str]) -> None:
    """Train every recipe with every seed. The record is rewritten after each run."""
    keep_freed_memory()
    for name in names:
        rows, runs = [], []
        for number, seed in enumerate(SEEDS, start=1):
            row, metrics = train_once(name, seed)
            rows.append(row)
            runs.append(metrics)
            record(name, list(SEEDS[:number]), rows, runs)
            print(row, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(CPU_RECIPES))
