"""Time per training step of GPT-2 124M on a CPU, batch 4 x 256, against nanoGPT and Hugging Face.

    python benchmarks/train.py [THREADS]            # writes results/train-THREADS.json

Ours: bfloat16 matmuls, fused AdamW, freed memory kept (gpt2._common.malloc). nanoGPT as it runs on a CPU: float32,
AdamW not fused; and under bfloat16 autocast with the same malloc settings. Hugging Face: bfloat16 autocast, fused
AdamW.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from dlpapers_shared.timing import write_record
from gpt2 import GPT2, GPT2Config
from gpt2._common.malloc import keep_freed_memory
from gpt2.config import OptimConfig, TrainConfig
from gpt2.training.throughput import flops_per_token
from gpt2.training.trainer import Trainer
from interleave import interleaved, serve
from torch import Tensor, nn

FOLDER = Path(__file__).parent.parent
BATCH, TOKENS = 4, 256
IMPLEMENTATIONS = {
    "ours": "gpt2, bfloat16",
    "nanogpt-fp32": "nanoGPT, float32",
    "hf-bf16": "Hugging Face, bfloat16, fused AdamW",
    "nanogpt-bf16": "nanoGPT, bfloat16, same allocator",
}


def batch() -> tuple[Tensor, Tensor]:
    """Return random tokens and the ones after them."""
    rows = torch.randint(50257, (BATCH, TOKENS + 1), generator=torch.Generator().manual_seed(0))
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def baseline_step(model: nn.Module, loss: Callable[[], Tensor], fused: bool, bf16: bool) -> Callable[[], float]:
    """Return a step as in nanoGPT's train.py and in a plain Hugging Face loop."""
    model.train()
    groups = [[p for p in model.parameters() if (p.dim() >= 2) == matrix] for matrix in (True, False)]
    settings = [{"params": groups[0], "weight_decay": 0.1}, {"params": groups[1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(settings, lr=1e-4, betas=(0.9, 0.95), fused=fused)

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(value.detach())

    return step


def make(side: str) -> Callable[[], Any]:
    """Return the step of one implementation."""
    if side in ("ours", "nanogpt-bf16"):
        keep_freed_memory()
    torch.manual_seed(0)
    ids, targets = batch()
    model = GPT2(GPT2Config.named("124M", dropout=0.0))
    if side == "ours":
        config = TrainConfig(steps=10**6, optim=OptimConfig(lr=1e-4), dtype="bfloat16")
        trainer = Trainer(model, _Unused(), config, tempfile.gettempdir())
        return lambda: trainer.step(ids, targets, 1e-4)[0]
    if side == "hf-bf16":
        from transformers import GPT2LMHeadModel

        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            twin = GPT2LMHeadModel.from_pretrained(folder)
        del model
        # transformers shifts the labels itself, so it gets one more token and predicts equally many
        rows = torch.cat([ids, targets[:, -1:]], dim=1)
        return baseline_step(twin, lambda: twin(rows, labels=rows).loss, fused=True, bf16=True)
    from baselines import NanoGPT

    baseline = NanoGPT(model)
    return baseline_step(baseline, lambda: baseline(ids, targets), fused=False, bf16=side == "nanogpt-bf16")


class _Unused:
    """Placeholder for the data of a Trainer of which only `step` is called."""

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        raise AssertionError

    validation = batch

    def settings(self) -> dict[str, Any]:
        raise AssertionError


def make_peak() -> Callable[[], int]:
    """Return a function that multiplies 2048 x 2048 matrices in bfloat16 and returns how many times."""
    a, b = (torch.randn(2048, 2048).bfloat16() for _ in range(2))

    def matmuls() -> int:
        for _ in range(8):
            a @ b
        return 8

    return matmuls


def main(threads: int) -> None:
    """Compare and record."""
    clock: Any = "cpu" if threads == 1 else "wall"
    found, answers = interleaved(__file__, [[side, str(threads)] for side in (*IMPLEMENTATIONS, "peak")])
    flops = flops_per_token(GPT2(GPT2Config.named("124M")), TOKENS) * BATCH * TOKENS
    peak = answers[-1] * 2 * 2048**3 / found.seconds(f"peak {threads}", clock)
    rows: list[dict[str, Any]] = []
    for side, name in IMPLEMENTATIONS.items():
        baseline = None if side == "ours" else f"{side} {threads}"
        seconds = found.seconds(baseline, clock)
        rows.append(
            {
                "implementation": name,
                "threads": threads,
                "s per step": seconds,
                "tokens/s": BATCH * TOKENS / seconds,
                "gpt2 speedup ×": 1.0 if baseline is None else found.ratio(baseline, clock),
                "share of bfloat16 peak": flops / seconds / peak,
            }
        )
    write_record(
        FOLDER / "results" / f"train-{threads}.json",
        title=f"Training step of GPT-2 124M, batch {BATCH} x {TOKENS}, {threads} thread{'s' * (threads > 1)}",
        command=f"python packages/gpt2/benchmarks/train.py {threads}",
        seed=0,
        rows=rows,
        distributions=["torch", "transformers"],
        note=(
            f"Medians of 5 rounds, interleaved, each implementation in its own process; {clock} time. The peak is "
            f"measured with 2048 x 2048 matmuls in the same rounds, {peak / 1e9:.0f} GFLOP/s; a step is "
            f"{flops / 1e12:.3f} TFLOP (6 per weight and token, and attention)."
        ),
    )
    for row in rows:
        print(row)


if __name__ == "__main__":
    threads = int(sys.argv[-1]) if len(sys.argv) > 1 else 1
    torch.set_num_threads(threads)
    if len(sys.argv) == 3:
        serve(make_peak if sys.argv[1] == "peak" else lambda: make(sys.argv[1]))
    else:
        main(threads)
