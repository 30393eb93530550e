"""Time a training step of a GPT with nanoGPT's CPU settings: this package, nanoGPT, and heads in a Python loop.

Each side runs in its own process with the default settings of its users: this package with malloc told to keep freed
memory and the dtype that `--dtype auto` chooses, the baselines in float32. Further rows give the baselines the same
malloc settings and dtype. All sides take AdamW steps on one batch; the last row shows the cost of Muon.

python benchmarks/step.py            # writes results/step.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from baselines import BaselineStep, LoopedHeadsBlock, NanoGPTBlock
from dlpapers_shared.timing import Comparison, Seconds, write_record
from lets_build_gpt import Model, ModelConfig, OptimConfig
from lets_build_gpt._common.device import autocast, dtype_name, pick_dtype
from lets_build_gpt._common.malloc import keep_freed_memory
from lets_build_gpt.optim import make_optimizers

FOLDER = Path(__file__).parent.parent
MODEL = ModelConfig(64, 128, 4, 4, activation="gelu", bias=False, tie_embeddings=True)
OPTIM = OptimConfig(weight_decay=0.01)
CPU = torch.device("cpu")
BATCH_SIZE = 12
ROUNDS, STEPS = 9, 20


class OurStep:
    """The step of `lets_build_gpt.train.Trainer` on one batch."""

    def __init__(self, optimizer: Literal["adamw", "muon"], dtype: str = "auto") -> None:
        torch.manual_seed(0)
        self.dtype = pick_dtype(dtype, CPU)
        self.model = Model.from_config(MODEL)
        self.optimizers = make_optimizers(self.model, replace(OPTIM, optimizer=optimizer), self.dtype)
        self.clipped = [p for group in self.optimizers[-1].param_groups for p in group["params"]]
        tokens = torch.randint(65, (BATCH_SIZE, MODEL.context_length + 1))
        self.ids, self.targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def __call__(self) -> float:
        """Take one step and return the loss."""
        with autocast(CPU, self.dtype):
            loss = self.model.loss(self.ids, self.targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.clipped, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.model.zero_grad()
        return loss.item()


SIDES: dict[str, Callable[[], Callable[[], float]]] = {
    "ours": lambda: OurStep("adamw"),
    "ours in float32": lambda: OurStep("adamw", "float32"),
    "ours with Muon": lambda: OurStep("muon"),
    "nanoGPT": lambda: BaselineStep(NanoGPTBlock, BATCH_SIZE, MODEL.context_length),
    "nanoGPT in bfloat16": lambda: BaselineStep(NanoGPTBlock, BATCH_SIZE, MODEL.context_length, torch.bfloat16),
    "heads in a Python loop": lambda: BaselineStep(LoopedHeadsBlock, BATCH_SIZE, MODEL.context_length),
}


def serve(side: str, tuned: bool, threads: int) -> None:
    """Take STEPS steps for each line on stdin and print their CPU and wall seconds."""
    if tuned:
        keep_freed_memory()
    torch.set_num_threads(threads)
    step = SIDES[side]()
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(STEPS):
            step()
        print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]), flush=True)


def compare(sides: list[tuple[str, bool]], threads: int) -> Comparison:
    """Time every side in interleaved rounds. The first round is dropped."""
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, side, str(int(tuned)), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for side, tuned in sides
    ]

    def ask(process: subprocess.Popen[str]) -> Seconds:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        return Seconds(*json.loads(process.stdout.readline()))

    taken = [[ask(process) for process in processes] for _ in range(ROUNDS + 1)][1:]
    for process in processes:
        process.communicate()
    first, *others = (list(column) for column in zip(*taken, strict=True))
    names = [side + (", same malloc settings" if tuned else "") for side, tuned in sides[1:]]
    return Comparison(first, dict(zip(names, others, strict=True)))


def main() -> None:
    """Compare all sides and write the record."""
    baselines = ["nanoGPT", "heads in a Python loop"]
    dtype = pick_dtype("auto", CPU)
    variants = ["ours in float32", "ours with Muon"]
    if dtype == torch.bfloat16:
        variants.insert(0, "nanoGPT in bfloat16")
    sides = [("ours", True), *((p, False) for p in baselines), *((p, True) for p in [*baselines, *variants])]
    rows = []
    for threads, clock in ((1, "cpu"), (2, "wall")):
        found = compare(sides, threads)
        for baseline in found.peers:
            rows.append(
                {
                    "baseline": baseline,
                    "threads": threads,
                    "clock": clock,
                    "ms per step": 1e3 * found.seconds(clock=clock) / STEPS,
                    "baseline, ms per step": 1e3 * found.seconds(baseline, clock) / STEPS,
                    "speedup": found.ratio(baseline, clock),
                }
            )
    write_record(
        FOLDER / "results" / "step.json",
        title="Time per training step of a GPT with nanoGPT's CPU settings, batch 12 x 64",
        command="python packages/lets-build-gpt/benchmarks/step.py",
        seed=0,
        rows=rows,
        distributions=["torch"],
        note=(
            f"This package in {dtype_name(dtype)}, the baselines in float32 unless stated otherwise. Median of "
            f"{ROUNDS} interleaved rounds of {STEPS} steps, each side in its own process. Speedup: over the baseline; "
            "above 1 this package is faster."
        ),
    )


if __name__ == "__main__":
    if len(sys.argv) == 4:
        serve(sys.argv[1], sys.argv[2] == "1", int(sys.argv[3]))
    else:
        main()
