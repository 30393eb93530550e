"""Train the recipes and record what they reach: exact match on 2,000 inputs never seen, with seed and CPU-seconds.

`learning.py [RECIPE ...]`; all of them take ten minutes on one core.
"""

from __future__ import annotations

import sys
import tempfile
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


def record(recipe: str) -> None:
    """Train one recipe and write results/learning-RECIPE.json."""
    config, about = RECIPES[recipe]
    trainer = Trainer(config)
    with tempfile.TemporaryDirectory() as folder:
        metrics = trainer.run(
            Path(folder),
            eval_every=config.steps // 8,
            eval_count=2000,
            on_step=lambda m: print(recipe, m, flush=True) if "val_loss" in m else None,
        )
    target, limit = TARGETS[recipe]
    row = {
        "task": f"{recipe}: {about}",
        "parameters": len(trainer.model.parameters()),
        "steps": config.steps,
        "CPU-seconds": round(metrics["seconds"], 1),
        "exact match, 2,000 unseen": metrics["exact_match"],
        "target": f"{target:.1%} in {limit} s",
        "seed": config.seed,
        "command": f"attention-numpy train {recipe}",
    }
    write_record(
        RESULTS / f"learning-{recipe}.json",
        title=f"Learning: {about}",
        command=f"python benchmarks/learning.py {recipe}",
        seed=config.seed,
        rows=[row],
        distributions=["numpy"],
        note="CPU-seconds are those of training on one thread (data, forward, backward, update), evaluations apart.",
    )


def main() -> None:
    reuse_memory()
    for recipe in sys.argv[1:] or TARGETS:
        record(recipe)


if __name__ == "__main__":
    main()
