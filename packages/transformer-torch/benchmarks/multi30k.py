"""Carry out a Multi30k recipe, score test_2016_flickr, and record it.

python benchmarks/multi30k.py multi30k-30min multi30k-en-de   # recipe and direction; writes results/multi30k-*.json

The length penalty's alpha is chosen by the BLEU of the validation set. A run that was cut off goes on from its last
checkpoint when the command is given again, its CPU time too.
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
from transformer_torch.corpus import named_corpus
from transformer_torch.recipes import RECIPES
from transformer_torch.run import train
from transformer_torch.train import Metrics

FOLDER = Path(__file__).parent.parent
TEST = "test_2016_flickr"
ALPHAS = (1.0, 1.4, 1.8, 2.2, 2.6)


def curve(run: Path) -> list[dict[str, int | float]]:
    """The validations of a run."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [
        {"update": line["step"], "tokens": line["tokens"], "validation loss": line["val_loss"]}
        for line in lines
        if "val_loss" in line
    ]


def main(name: str = "multi30k-30min", data: str = "multi30k-de-en") -> None:
    """Train, choose alpha, translate the test set, score, record."""
    torch.set_num_threads(1)
    recipe = RECIPES[name][1]
    recipe = replace(recipe, data=replace(recipe.data, data=data))
    direction = data.removeprefix("multi30k-")
    run = Path("runs") / f"{name}-{direction}"
    spent = run / "cpu-seconds"  # up to the last checkpoint, in earlier processes too
    resume = (run / "state.safetensors").exists()
    before = float(spent.read_text()) if resume else 0.0

    def report(metrics: Metrics) -> None:
        if "val_loss" in metrics:
            spent.write_text(str(before + time.process_time()))
            print(json.dumps(metrics | {"core-minutes": (before + time.process_time()) / 60}), flush=True)

    translator = train(recipe, run, resume, report)
    valid, test, bleu = named_corpus(data, "val"), named_corpus(data, TEST), BLEU()
    tried = {
        alpha: bleu.corpus_score(translator.translate(valid.src, beam=4, alpha=alpha), [valid.tgt]).score
        for alpha in ALPHAS
    }
    print(tried, flush=True)
    alpha = max(tried, key=lambda alpha: tried[alpha])
    start = time.process_time()
    hypotheses = translator.translate(test.src, beam=4, alpha=alpha)
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
            "alpha": alpha,
            "validation BLEU": tried[alpha],
            "core-minutes": minutes,
            "seconds of translating": translating,
            "parameters": translator.model.n_parameters,
        }
    ]
    origin = {
        "command": f"python packages/transformer-torch/benchmarks/multi30k.py {name} {data}",
        "seed": recipe.train.seed,
        "distributions": ["torch", "sacrebleu"],
    }
    write_record(
        FOLDER / "results" / f"curve-{name}-{direction}.json",
        title=f"Multi30k {direction}, {name}: what to expect while it runs",
        rows=curve(run),
        **origin,
    )
    write_record(
        FOLDER / "results" / f"{name}-{direction}.json",
        title=f"Multi30k {direction}, {name}",
        rows=rows,
        **origin,
        note=f"{TEST}, beam 4, the alpha of {', '.join(map(str, ALPHAS))} with the highest BLEU of the validation set; "
        f"{bleu.get_signature()}. One thread, bfloat16. CPU time of everything: vocabulary, training, validation, the "
        "choice of alpha, translating.",
    )
    print(rows)
    (run / f"{TEST}.{direction[-2:]}").write_text("\n".join(hypotheses) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
