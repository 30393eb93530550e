"""Train a recipe on tiny shakespeare with three seeds and record its validation loss.

python benchmarks/trainings.py cpu-3min          # writes results/train-cpu-3min.json; with no name, all three
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from dlpapers_shared.timing import write_record
from lets_build_gpt.config import TrainConfig
from lets_build_gpt.recipes import RECIPES
from lets_build_gpt.storage import load_model
from lets_build_gpt.train import train

FOLDER = Path(__file__).parent.parent
SEEDS = (1337, 1338, 1339)
OTHERS = {
    "nanogpt-cpu": "nanoGPT states 1.88",
    "cpu-3min": "",
    "cpu-15min": "nanoGPT's GPU model, 10.6 M parameters: 1.4697",
}


def record(name: str) -> None:
    """Three trainings of a recipe, one thread each."""
    rows, losses = [], []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            config: TrainConfig = replace(RECIPES[name][0], text="shakespeare", out=folder, seed=seed, threads=1)
            result = train(config)
            parameters = load_model(folder).n_parameters
        assert result.val_loss is not None
        losses.append(result.val_loss)
        rows.append(
            {
                "recipe": name,
                "seed": str(seed),
                "parameters": parameters,
                "training tokens": config.steps * config.batch_size * config.context_length,
                "CPU-seconds": round(result.cpu_seconds),
                "validation loss": result.val_loss,
                "others": "",
            }
        )
        print(rows[-1], flush=True)
    mean = {"seed": "mean", "validation loss": statistics.mean(losses), "others": OTHERS[name]}
    mean["CPU-seconds"] = round(statistics.mean(row["CPU-seconds"] for row in rows))
    write_record(
        FOLDER / "results" / f"train-{name}.json",
        title=f"lets-build-gpt train {name}, tiny shakespeare",
        command=f"python packages/lets-build-gpt/benchmarks/trainings.py {name}",
        seed=SEEDS,
        rows=[*rows, {**rows[-1], **mean}],
        distributions=["torch"],
        note=(
            "Nats per character over the whole validation split (the last 10%), in non-overlapping windows of the "
            "recipe's context. CPU-seconds are those of the whole run on one thread, evaluations included. "
            "Settings were chosen on the last 10% of the training split."
        ),
    )


if __name__ == "__main__":
    for chosen in sys.argv[1:] or OTHERS:
        record(chosen)
