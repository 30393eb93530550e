"""From scratch in 20 CPU-minutes: a GPT-2 on tiny shakespeare, its tokenizer too. Needs the package bpe.

python benchmarks/learning.py          # writes results/learning.json and learning-steps.json; one thread
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from dlpapers_shared.data import read_text, split
from dlpapers_shared.timing import write_record
from gpt2 import GPT2, GPT2Config
from gpt2.allocator import keep_freed_memory
from gpt2.data import TokenFiles, Windows
from gpt2.evaluate import evaluate_text
from gpt2.prepare import prepare
from gpt2.settings import OptimConfig, TrainConfig
from gpt2.train import Trainer

FOLDER = Path(__file__).parent.parent
VOCABULARY, STEPS, SEED = 1024, 1320, 1337
SHAPE = {"context_length": 128, "d_model": 256, "n_heads": 4, "n_layers": 6, "dropout": 0.2}
TRAIN = TrainConfig(
    steps=STEPS,
    batch_size=32,
    optim=OptimConfig(optimizer="muon", lr=5e-3, warmup=60, schedule="linear", final_lr=0.0),
    eval_every=STEPS // 6,
    log_every=10,
    seed=SEED,
)


def train_tokenizer(text: str, path: Path) -> None:
    """Byte-level BPE as in section 2.2, of the training text alone."""
    import bpe

    bpe.train_from_iterator([text], vocab_size=VOCABULARY, special_tokens=["<|endoftext|>"]).save(path)


def main() -> None:
    """Tokenizer, token files, training, evaluation; one thread."""
    keep_freed_memory()
    torch.set_num_threads(1)
    text, held_out = split(read_text("text/tinyshakespeare.txt"), 0.9)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        train_tokenizer(text, folder / "bpe.json")
        (folder / "train.txt").write_text(text, encoding="utf-8")
        prepare([folder / "train.txt"], folder / "data", str(folder / "bpe.json"), held_out=0.02)
        files = TokenFiles(folder / "data")
        tokenizer = files.tokenizer()
        torch.manual_seed(SEED)
        model = GPT2(GPT2Config(vocab_size=tokenizer.n_vocab, eos_id=tokenizer.eos_id, **SHAPE))
        data = Windows(files, model.config.context_length, SEED)
        began = time.process_time()
        on_the_way: list[dict[str, Any]] = []

        def on_log(entry: dict[str, Any]) -> None:
            if "val_loss" in entry:
                on_the_way.append(entry)
                print(entry, file=sys.stderr, flush=True)

        trainer = Trainer(model, data, TRAIN, folder / "run", on_log=on_log)
        trainer.run()
        seconds = time.process_time() - began
        model.eval()
        with torch.no_grad(), trainer.autocast():
            found = evaluate_text(model, tokenizer, held_out, stride=64)
    rows: list[dict[str, Any]] = [
        {
            "parameters": model.parameter_count(),
            "training tokens": STEPS * TRAIN.batch_size * model.config.context_length,
            "steps": STEPS,
            "CPU-seconds": round(seconds),
            "products in": str(trainer.dtype).removeprefix("torch."),
            "loss per token": found["loss_per_token"],
            "loss per byte": found["loss_per_byte"],
        }
    ]
    write_record(
        FOLDER / "results" / "learning.json",
        title="GPT-2 from scratch on tiny shakespeare, with a byte-level BPE of its own",
        command="python packages/gpt2/benchmarks/learning.py",
        seed=SEED,
        rows=rows,
        distributions=["torch"],
        note=(
            f"The last 10% of the text, which neither tokenizer nor model has seen; {VOCABULARY} tokens; stride 64, so "
            "that each token is predicted from 64 to 127 before it. CPU-seconds of the training, validations included, "
            "on one thread."
        ),
    )
    record_steps(on_the_way)
    print(rows[0])


def record_steps(entries: list[dict[str, Any]]) -> None:
    """The losses on the way, for those who watch a run of their own."""
    write_record(
        FOLDER / "results" / "learning-steps.json",
        title="Losses on the way of that training",
        command="python packages/gpt2/benchmarks/learning.py",
        seed=SEED,
        rows=[{"step": e["step"], "its batch": e["loss"], "validation": e["val_loss"]} for e in entries],
        distributions=["torch"],
        note="Nats per token; the validation is the last 2% of the training text, not the held-out text of the result.",
    )


if __name__ == "__main__":
    main()
