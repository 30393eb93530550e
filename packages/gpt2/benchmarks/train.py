"""Time of a training step of GPT-2 124M on a CPU, batch 4 x 256, against nanoGPT and Hugging Face.

    python benchmarks/train.py [THREADS]            # writes results/train-THREADS.json

Ours: bfloat16 products, fused AdamW, freed memory kept (gpt2.allocator). nanoGPT as it runs on a CPU: float32, AdamW
not fused; and under bfloat16 autocast with the same allocator settings. Hugging Face: bfloat16 autocast, fused AdamW.
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
from gpt2.allocator import keep_freed_memory
from gpt2.optim import flops_per_token
from gpt2.settings import OptimConfig, TrainConfig
from gpt2.train import Trainer
from torch import Tensor, nn
from turns import in_turn, serve

FOLDER = Path(__file__).parent.parent
BATCH, TOKENS = 4, 256
SIDES = {
    "ours": "gpt2, bfloat16",
    "nanogpt-fp32": "nanoGPT, float32",
    "hf-bf16": "Hugging Face, bfloat16, fused AdamW",
    "nanogpt-bf16": "nanoGPT, bfloat16, same allocator",
}


def batch() -> tuple[Tensor, Tensor]:
    """Random tokens and the ones after them."""
    rows = torch.randint(50257, (BATCH, TOKENS + 1), generator=torch.Generator().manual_seed(0))
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def peer_step(model: nn.Module, loss: Callable[[], Tensor], fused: bool, bf16: bool) -> Callable[[], float]:
    """A step as nanoGPT's train.py and a plain Hugging Face loop take it."""
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
    """The step of a side."""
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
        # transformers shifts the labels itself, so it gets one token more and predicts as many
        rows = torch.cat([ids, targets[:, -1:]], dim=1)
        return peer_step(twin, lambda: twin(rows, labels=rows).loss, fused=True, bf16=True)
    from peers import NanoGPT

    peer = NanoGPT(model)
    return peer_step(peer, lambda: peer(ids, targets), fused=False, bf16=side == "nanogpt-bf16")


class _Unused:
    """The batches of a Trainer whose `step` alone is called."""

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    validation = batch


def make_peak() -> Callable[[], int]:
    """Products of 2048 x 2048 matrices in bfloat16, as many as returned."""
    a, b = (torch.randn(2048, 2048).bfloat16() for _ in range(2))

    def products() -> int:
        for _ in range(8):
            a @ b
        return 8

    return products


def main(threads: int) -> None:
    """Compare and record."""
    clock: Any = "cpu" if threads == 1 else "wall"
    found, answers = in_turn(__file__, [[side, str(threads)] for side in (*SIDES, "peak")])
    flops = flops_per_token(GPT2(GPT2Config.named("124M")), TOKENS) * BATCH * TOKENS
    peak = answers[-1] * 2 * 2048**3 / found.seconds(f"peak {threads}", clock)
    rows: list[dict[str, Any]] = []
    for side, name in SIDES.items():
        peer = None if side == "ours" else f"{side} {threads}"
        seconds = found.seconds(peer, clock)
        rows.append(
            {
                "side": name,
                "threads": threads,
                "s a step": seconds,
                "tokens/s": BATCH * TOKENS / seconds,
                "its time / ours": 1.0 if peer is None else found.ratio(peer, clock),
                "share of the bfloat16 peak": flops / seconds / peak,
            }
        )
    write_record(
        FOLDER / "results" / f"train-{threads}.json",
        title=f"Training step of GPT-2 124M, batch {BATCH} x {TOKENS}, threads: {threads}",
        command=f"python packages/gpt2/benchmarks/train.py {threads}",
        seed=0,
        rows=rows,
        distributions=["torch", "transformers"],
        note=(
            f"Medians of 5 rounds, the sides in turn, each in a process of its own; {clock} time. The peak is that of "
            f"2048 x 2048 products measured in the same rounds, {peak / 1e9:.0f} GFLOP/s; a step is {flops / 1e12:.3f} "
            "TFLOP (6 per weight and token, and attention)."
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
