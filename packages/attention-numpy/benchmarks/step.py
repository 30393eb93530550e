"""Time a training step and greedy decoding against baselines, interleaved: 1 thread by CPU time, 2 by wall time.

`step.py [THREADS ...]`, 1 and 2 by default; about a minute each.

float32, batch 32, length 32; a step is forward, backward, clipping, Adam. Freed memory is kept for both sides.
"""

from __future__ import annotations

import sys
from pathlib import Path

import baselines
import torch
from attention_numpy._common.malloc import keep_freed_memory
from baselines import FusedTransformer, Shape, TorchTransformer
from dlpapers_shared.timing import Clock, compare, write_record
from threadpoolctl import threadpool_limits

SMALL = Shape(d_model=128, n_layers=2, vocab=100, n_heads=4, d_ff=512)
UNDROPPED = Shape(d_model=128, n_layers=2, vocab=100, n_heads=4, d_ff=512, dropout=0.0)
LARGE = Shape(d_model=256, n_layers=4, vocab=1000, n_heads=8, d_ff=1024)
FUSED, CLASS = "PyTorch eager, fused attention and Adam", "torch.nn.Transformer and Adam"
GREEDY_STEPS = 40


def rows(threads: int, clock: Clock) -> list[dict[str, object]]:
    """Return all comparisons on a number of threads."""
    torch.set_num_threads(threads)
    cases = [
        (
            "training step, d128, 2+2 layers",
            baselines.ours(SMALL),
            {
                FUSED: baselines.torch_step(SMALL, FusedTransformer, True),
                CLASS: baselines.torch_step(SMALL, TorchTransformer, False),
                "HIPS autograd, same forward pass": baselines.autograd_step(SMALL),
            },
            7,
        ),
        (
            "training step, d128, 2+2 layers, dropout 0",
            baselines.ours(UNDROPPED),
            {"the matmuls alone": baselines.matmuls(UNDROPPED)},
            15,
        ),
        (
            "training step, d256, 4+4 layers, vocabulary 1,000",
            baselines.ours(LARGE),
            {CLASS: baselines.torch_step(LARGE, TorchTransformer, False)},
            5,
        ),
        (
            f"greedy decoding, 64 sources, {GREEDY_STEPS} tokens",
            baselines.our_greedy(SMALL, GREEDY_STEPS),
            {"PyTorch eager, KV cache, fused attention": baselines.torch_greedy(SMALL, GREEDY_STEPS)},
            7,
        ),
    ]
    found: list[dict[str, object]] = []
    with threadpool_limits(threads, user_api="blas"):
        for what, ours, others, rounds in cases:
            times = compare(ours, others, rounds=rounds, warmup=2)
            for name in others:
                found.append(
                    {
                        "what": what,
                        "baseline": name,
                        "threads": threads,
                        "clock": clock,
                        "ours, ms": round(1000 * times.seconds(clock=clock), 1),
                        "baseline, ms": round(1000 * times.seconds(name, clock), 1),
                        "speedup": round(times.speedup(name, clock), 3),
                        "rounds": rounds,
                    }
                )
                print(found[-1], flush=True)
    return found


def record(threads: int, clock: Clock) -> None:
    """Measure on a number of threads and write the result."""
    write_record(
        Path(__file__).parent.parent / "results" / f"speed-{threads}.json",
        title=f"Speed of a training step and of greedy decoding on {threads} thread{'s' * (threads > 1)}",
        command=f"python benchmarks/step.py {threads}",
        seed=0,
        rows=rows(threads, clock),
        distributions=["numpy", "torch", "autograd"],
        dtype="float32",
        note="Speedup: time of the baseline divided by the time of this package, median over interleaved rounds. "
        "Batch 32, length 32, dropout 0.1 where not stated otherwise, no padding; a training step is forward, "
        "backward, clipping and Adam. glibc malloc keeps freed memory for both.",
    )


def main() -> None:
    keep_freed_memory()
    for threads in map(int, sys.argv[1:] or ("1", "2")):
        record(threads, "cpu" if threads == 1 else "wall")


if __name__ == "__main__":
    main()
