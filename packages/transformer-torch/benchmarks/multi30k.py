"""Carry out Multi30k recipes, score test_2016_flickr, and record it.

python benchmarks/multi30k.py multi30k-30min multi30k-en-de   # recipe and direction; writes results/multi30k-*.json
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


def progress(metrics: Metrics) -> None:
    """A line for each validation."""
    if "val_loss" in metrics:
        print(json.dumps(metrics | {"CPU-minutes": time.process_time() / 60}), flush=True)


def main(name: str, data: str = "multi30k-de-en") -> None:
    """Train, translate the test set, score, record."""
    torch.set_num_threads(1)
    recipe = RECIPES[name][1]
    recipe = replace(recipe, data=replace(recipe.data, data=data))
    direction = data.removeprefix("multi30k-")
    translator = train(recipe, Path("runs") / f"{name}-{direction}", report=progress)
    trained = time.process_time()
    test = named_corpus(data, TEST)
    hypotheses = translator.translate(test.src, beam=4, alpha=0.6)
    minutes, translating = time.process_time() / 60, time.process_time() - trained
    bleu, chrf = BLEU(), CHRF()
    score = bleu.corpus_score(hypotheses, [test.tgt])
    rows = [
        {
            "recipe": name,
            "direction": direction,
            "sacreBLEU": score.score,
            "brevity penalty": score.bp,
            "chrF": chrf.corpus_score(hypotheses, [test.tgt]).score,
            "core-minutes, all": minutes,
            "of them translating, seconds": translating,
            "parameters": translator.model.n_parameters,
        }
    ]
    write_record(
        FOLDER / "results" / f"{name}-{direction}.json",
        title=f"Multi30k {direction}, {name}",
        command=f"python packages/transformer-torch/benchmarks/multi30k.py {name} {data}",
        seed=recipe.train.seed,
        rows=rows,
        distributions=["torch", "sacrebleu"],
        note=f"{TEST}, beam 4, alpha 0.6; {bleu.get_signature()}. Trained on one thread in bfloat16. CPU time of the "
        "whole process: vocabulary, training, validation, translating. Settings were chosen on the validation set.",
    )
    print(rows)
    (Path("runs") / f"{name}-{direction}" / f"{TEST}.{direction[-2:]}").write_text("\n".join(hypotheses) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
