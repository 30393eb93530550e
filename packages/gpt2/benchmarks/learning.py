"""From scratch in 20 CPU-minutes: the recipe `shakespeare-bpe`, its tokenizer included. Needs the package bpe.

python benchmarks/learning.py          # writes results/learning.json and learning-steps.json; one thread
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from dlpapers_shared.timing import write_record
from gpt2 import GPT2
from gpt2._common.malloc import keep_freed_memory
from gpt2.data.corpora import recipe_text, write_recipe_data
from gpt2.data.token_file import TokenFiles, Windows
from gpt2.evaluation.perplexity import evaluate_text
from gpt2.recipes import SHAKESPEARE_BPE
from gpt2.training.trainer import Trainer

FOLDER = Path(__file__).parent.parent
SEED = SHAKESPEARE_BPE.train.seed


def main() -> None:
    """Train tokenizer and model, and evaluate; one thread."""
    keep_freed_memory()
    torch.set_num_threads(1)
    recipe = SHAKESPEARE_BPE
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = TokenFiles(write_recipe_data(recipe.data, folder / "data"))
        tokenizer = files.tokenizer()
        torch.manual_seed(SEED)
        model = GPT2(recipe.model)
        data = Windows(files, recipe.model.context_length, SEED)
        started = time.process_time()
        evaluations: list[dict[str, Any]] = []

        def on_log(line: dict[str, Any]) -> None:
            if "val_loss" in line:
                evaluations.append(line)
                print(line, file=sys.stderr, flush=True)

        trainer = Trainer(model, data, recipe.train, folder / "run", on_log=on_log)
        trainer.fit()
        seconds = time.process_time() - started
        model.eval()
        with torch.no_grad(), trainer.autocast():
            results = evaluate_text(model, tokenizer, recipe_text(recipe.data)[1], stride=64)
    rows: list[dict[str, Any]] = [
        {
            "parameters": model.num_parameters(),
            "training tokens": recipe.train.steps * recipe.train.batch_size * recipe.model.context_length,
            "steps": recipe.train.steps,
            "CPU-seconds": round(seconds),
            "dtype": trainer.config.dtype,
            "loss per token": results["loss_per_token"],
            "loss per byte": results["loss_per_byte"],
        }
    ]
    write_record(
        FOLDER / "results" / "learning.json",
        title="GPT-2 from scratch on tiny shakespeare, with its own byte-level BPE",
        command="python packages/gpt2/benchmarks/learning.py",
        seed=SEED,
        rows=rows,
        distributions=["torch"],
        note=(
            "Test text: the last 10 % of tiny shakespeare, used by neither tokenizer nor training. Vocabulary of 1,024 "
            "tokens; stride 64, so each token is predicted from 64 to 127 tokens before it. CPU-seconds of training "
            "and evaluations on one thread."
        ),
    )
    record_steps(evaluations)
    print(rows[0])


def record_steps(entries: list[dict[str, Any]]) -> None:
    """Record the losses during training, for comparison with your own run."""
    write_record(
        FOLDER / "results" / "learning-steps.json",
        title="Losses during training on tiny shakespeare",
        command="python packages/gpt2/benchmarks/learning.py",
        seed=SEED,
        rows=[{"step": e["step"], "training batch": e["loss"], "validation": e["val_loss"]} for e in entries],
        distributions=["torch"],
        note="Nats per token. Validation uses the last 2 % of the training text, not the test text.",
    )


if __name__ == "__main__":
    main()
