"""Train the recipes and record what they reach: exact match on 2,000 inputs never seen, with seed and CPU-seconds.

`learning.py [RECIPE ...]`; all of them take seven minutes on one core.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from attention_numpy.allocator import reuse_memory
from attention_numpy.recipes import RECIPES
from attention_numpy.training import Trainer
from dlpapers_shared.timing import write_record

RESULTS = Path(__file__).parent.parent / "results"
TARGETS = {  # exact match, CPU-seconds
    "number-words": (1.0, 60),
    "reverse": (0.995, 60),
    "sort": (0.995, 60),
    "addition": (1.0, 90),
    "addition-5": (0.998, 240),
}


def measure(recipe: str, **options: float) -> dict[str, object]:
    """Train a recipe, with options of it changed; a row of the table."""
    config = replace(RECIPES[recipe][0], **options)
    trainer = Trainer(config)
    with tempfile.TemporaryDirectory() as folder:
        metrics = trainer.run(
            Path(folder),
            eval_every=config.steps // 8,
            eval_count=2000,
            on_step=lambda m: print(recipe, m, flush=True) if "val_loss" in m else None,
        )
    target, limit = TARGETS[recipe]
    flags = "".join(f" --{name} {value:g}" for name, value in options.items())
    return {
        "task": f"{recipe}: {RECIPES[recipe][1]}",
        "parameters": len(trainer.model.parameters()),
        "steps": config.steps,
        "CPU-seconds": round(metrics["seconds"], 1),
        "exact match, 2,000 unseen": metrics["exact_match"],
        "target": "" if options else f"{target:.1%} in {limit} s",
        "seed": config.seed,
        "command": f"attention-numpy train {recipe}{flags}",
    }


def record(recipe: str) -> None:
    """Write results/learning-RECIPE.json."""
    rows = [measure(recipe)]
    if recipe == "addition-5":
        rows.append(measure(recipe, sparse=0.0))  # what the zeros among its digits are worth
    write_record(
        RESULTS / f"learning-{recipe}.json",
        title=f"Learning: {RECIPES[recipe][1]}",
        command=f"python benchmarks/learning.py {recipe}",
        seed=RECIPES[recipe][0].seed,
        rows=rows,
        distributions=["numpy"],
        note="CPU-seconds are those of training on one thread (data, forward, backward, update), evaluations apart.",
    )


def main() -> None:
    reuse_memory()
    for recipe in sys.argv[1:] or TARGETS:
        record(recipe)


if __name__ == "__main__":
    main()
