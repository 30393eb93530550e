"""Time of a training step: this model against the same layers of torch.nn, interleaved.

`nox -s "bench({{NAME}})"` runs it; it writes results/step.json.
"""
# Replace: the baseline with what a user would otherwise choose.

from pathlib import Path

import torch
from dlpapers_shared.timing import compare, write_record
from {{MODULE}} import Model, ModelConfig, cross_entropy

FOLDER = Path(__file__).parent.parent
BATCH, VOCAB, CALLS, ROUNDS = 128, 27, 200, 11


def steps(model, loss_of):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(VOCAB, (BATCH, ModelConfig().context_length), generator=generator)
    targets = torch.randint(VOCAB, (BATCH,), generator=generator)

    def call():
        for _ in range(CALLS):
            optimizer.zero_grad()
            loss_of(model(ids), targets).backward()
            optimizer.step()

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
    baseline = steps(torch.nn.Sequential(*modules), torch.nn.functional.cross_entropy)
    found = compare(steps(Model(config, VOCAB), cross_entropy), {"torch.nn": baseline}, rounds=ROUNDS)
    row = {"model": "base", "batch size": BATCH, "baseline": "torch.nn", **found.columns("torch.nn")}
    write_record(
        FOLDER / "results" / "step.json",
        title="Training step (forward, backward, AdamW): speedup over the same layers of torch.nn",
        command="python packages/{{NAME}}/benchmarks/step.py",
        seed=0,
        rows=[row],
        distributions=["torch"],
        note=f"One thread, float32, CPU time, median of {ROUNDS} interleaved rounds of {CALLS} steps each.",
    )


if __name__ == "__main__":
    main()
