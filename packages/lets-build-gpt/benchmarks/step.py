"""Time per training step at the `nanogpt-cpu` recipe, against nanoGPT's step and against heads in a Python loop.

Each side runs in a process of its own, as its users run it: ours with glibc told to keep freed memory (see
machine.py) and the type of products that `--dtype auto` chooses, the peers as they come, in float32. Further rows
give the peers what ours has. All sides take AdamW steps on the same batch; the last row is what Muon costs.

    python benchmarks/step.py            # writes results/step.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from dlpapers_shared.timing import Comparison, Seconds, write_record
from lets_build_gpt import Model, machine
from lets_build_gpt.config import TrainConfig
from lets_build_gpt.recipes import RECIPES
from lets_build_gpt.train import make_optimizers
from peers import LoopedHeadsBlock, NanoGPTBlock, PeerStep

FOLDER = Path(__file__).parent.parent
CONFIG = RECIPES["nanogpt-cpu"][0]
BATCH_SIZE = 12  # nanoGPT's
ROUNDS, STEPS = 9, 20


class OurStep:
    """The step that `lets_build_gpt.train` takes, on one batch."""

    def __init__(self, optimizer: str, dtype: str = "auto") -> None:
        torch.manual_seed(0)
        self.dtype = machine.choose_dtype(dtype, torch.device("cpu"))
        config = TrainConfig(optimizer=optimizer, activation=CONFIG.activation)
        self.model = Model.from_config(CONFIG.model(n_vocab=65))
        self.optimizers = make_optimizers(self.model, config, self.dtype)
        self.clipped = [p for group in self.optimizers[-1].param_groups for p in group["params"]]
        tokens = torch.randint(65, (BATCH_SIZE, CONFIG.context_length + 1))
        self.ids, self.targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def __call__(self) -> float:
        """One step; returns the loss."""
        with torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):
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
    "nanoGPT's step": lambda: PeerStep(NanoGPTBlock, BATCH_SIZE, CONFIG.context_length),
    "nanoGPT's step in bfloat16": lambda: PeerStep(NanoGPTBlock, BATCH_SIZE, CONFIG.context_length, torch.bfloat16),
    "heads in a Python loop": lambda: PeerStep(LoopedHeadsBlock, BATCH_SIZE, CONFIG.context_length),
}


def serve(side: str, tuned: bool, threads: int) -> None:
    """In a process of its own: for each line on stdin take STEPS steps and print their CPU and wall seconds."""
    if tuned:
        machine.keep_freed_memory()
    torch.set_num_threads(threads)
    step = SIDES[side]()
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(STEPS):
            step()
        print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]), flush=True)


def compare(sides: list[tuple[str, bool]], threads: int) -> Comparison:
    """Every side in turn, round after round; the first round is not kept."""
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
    names = [side + (", same allocator" if tuned else "") for side, tuned in sides[1:]]
    return Comparison(first, dict(zip(names, others, strict=True)))


def main() -> None:
    """Compare and record."""
    peers = ["nanoGPT's step", "heads in a Python loop"]
    dtype = machine.choose_dtype("auto", torch.device("cpu"))
    variants = ["ours in float32", "ours with Muon"]
    if dtype == torch.bfloat16:
        variants.insert(0, "nanoGPT's step in bfloat16")
    sides = [("ours", True), *((p, False) for p in peers), *((p, True) for p in [*peers, *variants])]
    rows = []
    for threads, clock in ((1, "cpu"), (2, "wall")):
        found = compare(sides, threads)
        for peer in found.peers:
            rows.append(
                {
                    "against": peer,
                    "threads": threads,
                    "clock": clock,
                    "ours, ms a step": 1e3 * found.seconds(clock=clock) / STEPS,
                    "theirs, ms a step": 1e3 * found.seconds(peer, clock) / STEPS,
                    "theirs / ours": found.ratio(peer, clock),
                }
            )
    write_record(
        FOLDER / "results" / "step.json",
        title="Time per training step at the nanogpt-cpu recipe, batch 12 x 64",
        command="python packages/lets-build-gpt/benchmarks/step.py",
        seed=0,
        rows=rows,
        distributions=["torch"],
        note=(
            f"Ours in {str(dtype).removeprefix('torch.')}, the peers in float32 where nothing else is said. "
            f"Median ratio of {ROUNDS} rounds of {STEPS} steps, the sides in turn, each in a process of its own."
        ),
    )


if __name__ == "__main__":
    if len(sys.argv) == 4:
        serve(sys.argv[1], sys.argv[2] == "1", int(sys.argv[3]))
    else:
        main()
