"""Time of a training step: this model against the same layers of torch.nn and AdamW of torch.optim, interleaved.

`nox -s "bench({{NAME}})"` runs it; it writes results/step.json.
"""
# Replace: the baseline with what a user would otherwise choose.

from pathlib import Path

import torch
from dlpapers_shared.timing import compare, write_record
from MODULE import Model, ModelConfig, cross_entropy
from MODULE.optim import AdamW

FOLDER = Path(__file__).parent.parent
BATCH, VOCAB, CALLS, ROUNDS = 128, 27, 200, 11


def steps(model, loss_of, update):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(VOCAB, (BATCH, ModelConfig().context_length), generator=generator)
    targets = torch.randint(VOCAB, (BATCH,), generator=generator)

    def call():
        for number in range(1, CALLS + 1):
            model.zero_grad()
            loss_of(model(ids), targets).backward()
            update(number)

    return call


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = ModelConfig()
    modules = [
        torch.nn.Embedding(VOCAB, config.d_model),
        torch.nn.Flatten(),
        torch.nn.Linear(config.context_length * config.d_model, config.d_ff),
        torch.nn.Tanh(),
        torch.nn.Linear(config.d_ff, VOCAB),
    ]
    baseline, ours = torch.nn.Sequential(*modules), Model(config, VOCAB)
    optimizer, adamw = torch.optim.AdamW(baseline.parameters(), lr=1e-3), AdamW(ours, weight_decay=0.01)
    their_steps = steps(baseline, torch.nn.functional.cross_entropy, lambda number: optimizer.step())
    our_steps = steps(ours, cross_entropy, lambda number: adamw.step(number, 1e-3))
    found = compare(our_steps, {"torch": their_steps}, rounds=ROUNDS)
    row = {"model": "base", "batch size": BATCH, "baseline": "torch.nn, torch.optim", **found.columns("torch")}
    write_record(
        FOLDER / "results" / "step.json",
        title="Training step (forward, backward, AdamW): speedup over torch.nn and torch.optim",
        command="python packages/{{NAME}}/benchmarks/step.py",
        seed=0,
        rows=[row],
        distributions=["torch"],
        note=f"One thread, float32, CPU time, median of {ROUNDS} interleaved rounds of {CALLS} steps each.",
    )


if __name__ == "__main__":
    main()
