"""Train a Multi30k recipe, score test_2016_flickr, and record the result.

python benchmarks/multi30k.py multi30k-30min multi30k-en-de   # recipe and direction; writes results/multi30k-*.json

The length alpha is selected by BLEU on the validation set. An interrupted run resumes from its last checkpoint when the
command is repeated, and its CPU time is added.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from dlpapers_shared.timing import write_record
from sacrebleu import BLEU, CHRF
from transformer_torch.data.corpus import load_dataset
from transformer_torch.recipes import RECIPES
from transformer_torch.training.run import train
from transformer_torch.training.trainer import Metrics

FOLDER = Path(__file__).parent.parent
TEST = "test_2016_flickr"
ALPHAS = (1.0, 1.4, 1.8, 2.2, 2.6)


def curve(run: Path) -> list[dict[str, int | float]]:
    """Return the evaluations of a run."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [
        {"step": line["step"], "tokens": line["tokens"], "validation loss": line["val_loss"]}
        for line in lines
        if "val_loss" in line
    ]


def main(name: str = "multi30k-30min", data: str = "multi30k-de-en") -> None:
    """Train, select alpha, translate the test set, score, record."""
    torch.set_num_threads(1)
    recipe = RECIPES[name]
    recipe = replace(recipe, data=replace(recipe.data, data=data))
    direction = data.removeprefix("multi30k-")
    run = Path("runs") / f"{name}-{direction}"
    spent = run / "cpu-seconds"  # up to the last checkpoint, earlier processes included
    resume = (run / "training_state.safetensors").exists()
    before = float(spent.read_text()) if resume else 0.0

    def report(metrics: Metrics) -> None:
        if "val_loss" in metrics:
            spent.write_text(str(before + time.process_time()))
            print(json.dumps(metrics | {"core-minutes": (before + time.process_time()) / 60}), flush=True)

    translator = train(recipe, run, resume=True, report=report)
    valid, test, bleu = load_dataset(data, "val"), load_dataset(data, TEST), BLEU()
    tried = {
        alpha: bleu.corpus_score(translator.translate(valid.src, beam_size=4, length_alpha=alpha), [valid.tgt]).score
        for alpha in ALPHAS
    }
    print(tried, flush=True)
    alpha = max(tried, key=lambda alpha: tried[alpha])
    start = time.process_time()
    hypotheses = translator.translate(test.src, beam_size=4, length_alpha=alpha)
    translating = time.process_time() - start
    minutes = (before + time.process_time()) / 60
    score = bleu.corpus_score(hypotheses, [test.tgt])
    rows = [
        {
            "recipe": name,
            "direction": direction,
            "sacreBLEU": score.score,
            "brevity penalty": score.bp,
            "chrF": CHRF().corpus_score(hypotheses, [test.tgt]).score,
            "length alpha": alpha,
            "validation BLEU": tried[alpha],
            "core-minutes": minutes,
            "translation, s": translating,
            "parameters": translator.model.num_parameters(),
        }
    ]
    origin = {
        "command": f"python packages/transformer-torch/benchmarks/multi30k.py {name} {data}",
        "seed": recipe.train.seed,
        "distributions": ["torch", "sacrebleu"],
    }
    write_record(
        FOLDER / "results" / f"curve-{name}-{direction}.json",
        title=f"Multi30k {direction}, {name}: validation loss during training",
        rows=curve(run),
        **origin,
    )
    write_record(
        FOLDER / "results" / f"{name}-{direction}.json",
        title=f"Multi30k {direction}, {name}",
        rows=rows,
        **origin,
        note=f"{TEST}, beam 4, the length alpha of {', '.join(map(str, ALPHAS))} with the highest validation BLEU; "
        f"{bleu.get_signature()}. One thread, bfloat16. Core-minutes are the CPU time of all steps: vocabulary, "
        "training, validation, the choice of the length alpha, translation.",
    )
    print(rows)
    (run / f"{TEST}.{direction[-2:]}").write_text("\n".join(hypotheses) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
