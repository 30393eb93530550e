"""Train every step from the bigram model to the GPT of the recipe on tiny shakespeare, and record its validation loss.

python benchmarks/steps.py                # one training at a time; a row that is recorded already is skipped
python benchmarks/steps.py --seeds 1      # the first seed only
python benchmarks/steps.py --choose "+ RoPE" muon_lr=0.03     # loss on the end of the training split; records nothing

All rows have nanoGPT's CPU budget: 1,536,000 training tokens, at most 0.84 M parameters, context 64.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlpapers_shared.timing import write_record
from lets_build_gpt import Model, ModelConfig, OptimConfig, TrainConfig, load_text
from lets_build_gpt._common.malloc import keep_freed_memory
from lets_build_gpt.bigram import fit_bigrams
from lets_build_gpt.config import steps_for
from lets_build_gpt.data import split
from lets_build_gpt.run import train

RESULT = Path(__file__).parent.parent / "results" / "steps.json"
SEEDS = (1337, 1338, 1339)
NOT_KEPT = " (not kept)"
TOKENS, BATCH_SIZE = 1_536_000, 12
ADAMW = {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 0.01}
MUON = {"optimizer": "muon", "lr": 4e-3, "weight_decay": 0.01}
START = ModelConfig(
    64, 128, n_heads=1, n_layers=1, activation="gelu", bias=False, tie_embeddings=True,
    attention="mean", d_ff=0, residual=False, norm_type="none",
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """A row of the table: its name, what it changes, and whether the following rows keep the change."""

    name: str
    change: dict[str, Any]
    kept: bool = True


STEPS = (
    Step("mean of the past", {}),
    Step("one head", {"attention": "softmax"}),
    Step("four heads", {"n_heads": 4}),
    Step("+ feed-forward", {"d_ff": None}),
    Step("+ residual connections", {"residual": True}),
    Step("+ LayerNorm", {"norm_type": "layer"}),
    Step("+ depth (four blocks)", {"n_layers": 4}),
    Step("+ dropout 0.1", {"dropout": 0.1}, kept=False),
    Step("AdamW to Muon", MUON),
    Step("+ RoPE", {"positions": "rope"}),
    Step("+ QK-norm", {"qk_norm": True}),
    Step("+ value embeddings", {"value_embeddings": True}),
    Step("+ x0 skip", {"x0_skip": True}),
    Step("+ zero-initialized projections", {"zero_init": True}),
    Step("+ logit soft cap", {"logit_cap": 15.0}),
    Step("LayerNorm to RMSNorm", {"norm_type": "rms"}, kept=False),
    Step("GELU to SwiGLU", {"activation": "swiglu"}, kept=False),
)


def settings(name: str, **more: Any) -> tuple[ModelConfig, OptimConfig]:
    """Return the model and the optimizers of a row; `more` changes single settings."""
    kept: dict[str, Any] = dict(ADAMW)
    for step in STEPS:
        if step.name == name:
            values = kept | step.change | more
            optim = {field.name for field in dataclasses.fields(OptimConfig)}
            model = replace(START, **{key: value for key, value in values.items() if key not in optim})
            return model, OptimConfig(**{key: value for key, value in values.items() if key in optim})
        if step.kept:
            kept |= step.change
    raise ValueError(f"no step {name!r}; the steps are {', '.join(step.name for step in STEPS)}")


def train_once(name: str, seed: int, text: str, **more: Any) -> float:
    """Train a row once, on one thread in float32, and return the loss of the whole validation split of `text`."""
    model, optim = settings(name, **more)
    steps = steps_for(TOKENS, BATCH_SIZE, model.context_length)
    config = TrainConfig(BATCH_SIZE, steps, eval_every=steps, sample_tokens=0, seed=seed)
    config = replace(config, device="cpu", dtype="float32", num_threads=1)
    with tempfile.TemporaryDirectory() as temporary:
        result = train(model, optim, config, text, Path(temporary) / "run")
    assert result.val_loss is not None
    return result.val_loss


def recorded() -> dict[tuple[str, int], float]:
    """Return the losses recorded so far, by row and seed."""
    if not RESULT.exists():
        return {}
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    found = {(row["step"].removesuffix(NOT_KEPT), seed): row.get(f"seed {seed}") for row in rows for seed in SEEDS}
    return {key: loss for key, loss in found.items() if loss is not None}


def write(losses: dict[tuple[str, int], float], bigram: float) -> None:
    """Write the table: for each row, the mean over its seeds, their standard deviation and how many they are."""
    rows: list[dict[str, Any]] = [
        {"step": "bigram (counts + 1)", "parameters": 65 * 65, "validation loss": bigram, "std": None, "seeds": None}
    ]
    for step in STEPS:
        values = [losses[step.name, seed] for seed in SEEDS if (step.name, seed) in losses]
        if values:
            row = {
                "step": step.name + ("" if step.kept else NOT_KEPT),
                "parameters": Model.from_config(settings(step.name)[0]).num_parameters(),
                "validation loss": statistics.mean(values),
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "seeds": len(values),
            }
            rows.append(row | {f"seed {seed}": losses.get((step.name, seed)) for seed in SEEDS})
    write_record(
        RESULT,
        title="From the bigram model to the GPT of the recipe: validation loss of each step, tiny shakespeare",
        command="python packages/lets-build-gpt/benchmarks/steps.py",
        seed=sorted({seed for _, seed in losses}),
        rows=rows,
        distributions=["torch"],
        dtype="float32",
        note=(
            "Nats per character over the whole validation split (the last 10 %), in float32, in adjacent windows of 64 "
            "characters. Each row adds its change to the previous row that is kept. All rows but the first train on "
            f"{TOKENS:,} tokens in batches of {BATCH_SIZE} x 64. The bigram model is counted, not trained. Settings "
            "were chosen on the last 10 % of the training split."
        ),
    )


def choose(name: str, changes: list[str], text: str) -> None:
    """Print the loss of a row with other settings, trained and scored on the training split alone."""
    more = {}
    for change in changes:
        key, _, value = change.partition("=")
        try:
            more[key] = json.loads(value)
        except ValueError:
            more[key] = value
    print(f"{name} {' '.join(changes)}: {train_once(name, SEEDS[0], split(text)[0], **more):.4f}")


def main() -> None:
    """Train what is not recorded yet. The record is rewritten after each training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="train the first N seeds")
    parser.add_argument("--only", nargs="+", default=[s.name for s in STEPS], metavar="STEP", help="train these rows")
    parser.add_argument("--choose", nargs="+", metavar=("STEP", "SETTING=VALUE"), help="try other settings of a row")
    arguments = parser.parse_args()
    keep_freed_memory()
    text = load_text("shakespeare")
    if arguments.choose:
        choose(arguments.choose[0], arguments.choose[1:], text)
        return
    bigram = fit_bigrams(text, train=False).validation
    losses = recorded()
    for seed in SEEDS[: arguments.seeds]:
        for step in STEPS:
            if step.name in arguments.only and (step.name, seed) not in losses:
                losses[step.name, seed] = train_once(step.name, seed, text)
                write(losses, bigram)
                print(f"{step.name}, seed {seed}: {losses[step.name, seed]:.4f}", flush=True)


if __name__ == "__main__":
    main()
