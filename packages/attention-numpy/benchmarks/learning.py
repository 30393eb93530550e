"""Train the recipes and record their exact match on 2,000 held-out inputs, with seed and CPU-seconds.

`learning.py [RECIPE ...]`; all of them take about seven minutes on one core. Run it with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from attention_numpy import RECIPES, Trainer
from attention_numpy._common.malloc import keep_freed_memory
from dlpapers_shared.timing import write_record

RESULTS = Path(__file__).parent.parent / "results"
RECORDED = ("number-words", "reverse", "sort", "addition", "addition-5")
EVAL_COUNT = 2000


def measure(name: str, **data_options: float) -> dict[str, object]:
    """Train a recipe, with options of its data changed; return a row of the table."""
    recipe = RECIPES[name]
    train = replace(recipe.train, eval_every=recipe.train.steps // 8, eval_count=EVAL_COUNT)
    trainer = Trainer(recipe.model, train, replace(recipe.data, **data_options))

    def show(metrics: dict[str, Any]) -> None:
        if "val_loss" in metrics:
            print(name, metrics, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        metrics = trainer.fit(Path(folder) / "run", on_step=show)
    flags = "".join(f" --{option} {value:g}" for option, value in data_options.items())
    return {
        "task": recipe.description.removesuffix(".") + flags,
        "parameters": trainer.model.num_parameters(),
        "steps": train.steps,
        "CPU-seconds": round(metrics["cpu_seconds"], 1),
        "exact match, %": round(100 * metrics["exact_match"], 4),
        "seed": train.seed,
        "command": f"attention-numpy train {name}{flags}",
    }


def record(name: str) -> None:
    """Write results/learning-RECIPE.json."""
    rows = [measure(name)]
    if name == "addition-5":
        rows.append(measure(name, sparse=0.0))  # without zeros among the digits
    write_record(
        RESULTS / f"learning-{name}.json",
        title=f"Learning: {RECIPES[name].description.removesuffix('.')}",
        command=f"python benchmarks/learning.py {name}",
        seed=RECIPES[name].train.seed,
        rows=rows,
        distributions=["numpy"],
        dtype="float32",
        note=f"Exact match: percentage of {EVAL_COUNT:,} held-out inputs whose output is correct in every symbol. "
        "CPU-seconds are those of training (data, forward, backward, optimizer), without evaluations.",
    )


def main() -> None:
    keep_freed_memory()
    for name in sys.argv[1:] or RECORDED:
        record(name)


if __name__ == "__main__":
    main()
