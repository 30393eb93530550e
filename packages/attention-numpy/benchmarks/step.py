"""Time of one training step, ours and others' in turn: 1 thread by CPU time, 2 threads by wall time.

`step.py [THREADS ...]`, 1 and 2 by default; a minute each.

float32, batch 32, length 32; forward, backward, clipping, Adam. Freed memory is kept for all sides alike.
"""

from __future__ import annotations

import sys
from pathlib import Path

import peers
import torch
from attention_numpy.allocator import reuse_memory
from dlpapers_shared.timing import Clock, compare, write_record
from peers import FusedTransformer, Shape, TorchTransformer
from threadpoolctl import threadpool_limits

SMALL = Shape(d_model=128, n_layers=2, vocab=100, n_heads=4, d_ff=512)
UNDROPPED = Shape(d_model=128, n_layers=2, vocab=100, n_heads=4, d_ff=512, dropout=0.0)
LARGE = Shape(d_model=256, n_layers=4, vocab=1000, n_heads=8, d_ff=1024)
FUSED, CLASS = "PyTorch eager, fused attention and Adam", "torch.nn.Transformer + Adam"
GREEDY_STEPS = 40


def rows(threads: int, clock: Clock) -> list[dict[str, object]]:
    """All comparisons with so many threads."""
    torch.set_num_threads(threads)
    cases = [
        (
            "d128, 2+2 layers",
            peers.ours(SMALL),
            {
                FUSED: (peers.torch_step(SMALL, FusedTransformer, True), 0.70),
                CLASS: (peers.torch_step(SMALL, TorchTransformer, False), 0.65),
                "HIPS autograd, the same forward pass": (peers.autograd_step(SMALL), 0.30),
            },
            7,
        ),
        (
            "d128, 2+2 layers, dropout 0",
            peers.ours(UNDROPPED),
            {"the matrix products alone": (peers.matrix_products(UNDROPPED), 1.15)},
            15,
        ),
        (
            "d256, 4+4 layers, vocabulary 1,000",
            peers.ours(LARGE),
            {CLASS: (peers.torch_step(LARGE, TorchTransformer, False), 0.75)},
            5,
        ),
        (
            f"greedy decoding, 64 sources, {GREEDY_STEPS} steps",
            peers.our_greedy(SMALL, GREEDY_STEPS),
            {"PyTorch eager, cached, fused attention": (peers.torch_greedy(SMALL, GREEDY_STEPS), 1.0)},
            7,
        ),
    ]
    found: list[dict[str, object]] = []
    with threadpool_limits(threads, user_api="blas"):
        for what, ours, others, rounds in cases:
            times = compare(ours, {name: step for name, (step, _) in others.items()}, rounds=rounds, warmup=2)
            for name, (_, target) in others.items():
                found.append(
                    {
                        "what": what,
                        "against": name,
                        "threads": f"{threads}, {clock}",
                        "ours, ms": round(1000 * times.seconds(clock=clock), 1),
                        "theirs, ms": round(1000 * times.seconds(name, clock), 1),
                        "ours / theirs": round(1 / times.ratio(name, clock), 3),
                        "target": f"at most {target:.2f}",
                        "rounds": rounds,
                    }
                )
                print(found[-1], flush=True)
    return found


def record(threads: int, clock: Clock) -> None:
    """Measure with so many threads and write the results."""
    write_record(
        Path(__file__).parent.parent / "results" / f"speed-{threads}.json",
        title=f"Speed of a training step and of greedy decoding, threads: {threads}",
        command=f"python benchmarks/step.py {threads}",
        seed=0,
        rows=rows(threads, clock),
        distributions=["numpy", "torch", "autograd"],
        note="float32, batch 32, length 32, dropout 0.1, without padding; forward, backward, clipping, Adam; the sides "
        "take turns, each ratio is the median over the rounds. glibc keeps freed memory (allocator.py), for all sides.",
    )


def main() -> None:
    reuse_memory()
    for threads in map(int, sys.argv[1:] or ("1", "2")):
        record(threads, "cpu" if threads == 1 else "wall")


if __name__ == "__main__":
    main()
