"""Compare translation with Hugging Face generate and CTranslate2: one thread, interleaved rounds.

The baselines are in float32; ours is in float32 and, where the CPU supports it, with weights in bfloat16.

d_model 256, 3 + 3 layers, 8 heads, d_ff 1,024, vocabulary 8,000, trained on Multi30k for 450 steps (four minutes, into
runs/speed), so that sentences end as real ones do. The first 128 sentences of test_2016_flickr, sorted by length,
64 in a batch, the same batches for all. Outputs are compared.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from dlpapers_shared.timing import compare, write_record
from transformer_torch import Transformer, Translator, beam_search, greedy_decode
from transformer_torch._common.device import bf16_speedup
from transformer_torch._common.malloc import keep_freed_memory
from transformer_torch.config import TrainConfig
from transformer_torch.data.batching import pad
from transformer_torch.data.corpus import load_dataset
from transformer_torch.data.tokenizer import BOS_ID, EOS_ID, PAD_ID
from transformer_torch.recipes import RECIPES, DataConfig
from transformer_torch.training.run import train
from transformers import MarianMTModel

FOLDER = Path(__file__).parent.parent
sys.path[:0] = [str(FOLDER / "tests"), str(FOLDER / "benchmarks")]
from ctranslate2_model import convert, tokens_of  # noqa: E402
from helpers_marian import copy_to_marian, marian_config  # noqa: E402

DATA, SENTENCES, BATCH = "multi30k-de-en", 128, 64
RUN = Path("runs") / "speed"


def trained() -> Translator:
    """Return the model, trained first if runs/speed does not hold it."""
    settings = TrainConfig(steps=450, batch_tokens=4096, warmup_steps=300, decay_steps=300, eval_every=150)
    recipe = replace(RECIPES["small"], data=DataConfig(data=DATA), train=settings)
    return train(recipe, RUN, resume=True)


def row(
    search: str, dtype: str, baseline: str, found: object, outputs: tuple[list[list[int]], list[list[int]]]
) -> dict[str, object]:
    """Return one row of the table."""
    ours, theirs = SENTENCES / found.seconds(), SENTENCES / found.seconds(baseline)  # type: ignore[attr-defined]
    # the maximum lengths differ, so outputs without an end token are compared up to 50 tokens
    same = sum(a[:50] == b[:50] for a, b in zip(*outputs, strict=True))
    return {
        "search": search,
        "our dtype": dtype,
        "baseline": baseline,
        "ours (sentences/s)": ours,
        "baseline (sentences/s)": theirs,
        "speedup ×": found.ratio(baseline),  # type: ignore[attr-defined]
        "equal outputs": f"{same} of {SENTENCES}",
    }


def main() -> list[dict[str, object]]:
    """Measure greedy decoding and beam search with both baselines, each with the length norm that the baseline has."""
    translator = trained()
    model = translator.model
    sources = sorted(
        (translator.encode(line) for line in load_dataset(DATA, "test_2016_flickr").src[:SENTENCES]), key=len
    )
    batches = [pad(sources[i : i + BATCH]) for i in range(0, SENTENCES, BATCH)]

    c = model.config
    config = marian_config(c.vocab_size, c.d_model, c.n_heads, c.n_layers, c.d_ff, max_length=c.max_length)
    config._attn_implementation, config.decoder_start_token_id = "sdpa", BOS_ID
    marian = MarianMTModel(config).eval()
    with torch.no_grad():
        copy_to_marian(model, marian)

    def generate(beams: int) -> list[list[int]]:
        outputs: list[list[int]] = []
        for src in batches:
            options = {"num_beams": beams, "do_sample": False, "max_length": src.size(1) + 51, "early_stopping": False}
            found = marian.generate(src, attention_mask=(src != PAD_ID).long(), **options)
            outputs += [[t for t in ids[1:].tolist() if t not in (PAD_ID, EOS_ID)] for ids in found]
        return outputs

    short = copy.deepcopy(model).bfloat16()

    def ours(beams: int, alpha: float = 1.0, model: Transformer = model) -> list[list[int]]:
        if beams == 1:
            return [ids for src in batches for ids in greedy_decode(model, src, BOS_ID, EOS_ID)]
        pools = (beam_search(model, src, BOS_ID, EOS_ID, beams, alpha, "power") for src in batches)
        return [pool[0][0] for found in pools for pool in found]

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        engine = convert(model, Path(folder) / "model")
        texts = [tokens_of(ids) for ids in sources]

        def ctranslate2(beams: int) -> list[list[int]]:
            options = {"beam_size": beams, "length_penalty": 0, "max_batch_size": BATCH, "max_decoding_length": 100}
            return [[int(t) for t in r.hypotheses[0]] for r in engine.translate_batch(texts, **options)]

        hf, c2 = "Hugging Face generate", "CTranslate2"
        plain, brain = "float32", "bfloat16"
        for search, dtype, mine, theirs, baseline in (
            ("greedy", plain, lambda: ours(1), lambda: generate(1), hf),
            ("greedy", brain, lambda: ours(1, model=short), lambda: generate(1), hf),
            ("beam 4", plain, lambda: ours(4), lambda: generate(4), hf),
            ("beam 4", brain, lambda: ours(4, model=short), lambda: generate(4), hf),
            ("greedy", plain, lambda: ours(1), lambda: ctranslate2(1), c2),
            ("beam 4, no length penalty", plain, lambda: ours(4, 0.0), lambda: ctranslate2(4), c2),
        ):
            if dtype == brain and bf16_speedup() is None:
                continue
            found = compare(mine, {baseline: theirs}, rounds=5, warmup=1)
            rows.append(row(search, dtype, baseline, found, (mine(), theirs())))
            print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    keep_freed_memory()
    torch.set_num_threads(1)
    write_record(
        FOLDER / "results" / "speed-decoding.json",
        title="Translation throughput on a CPU, one thread",
        command='nox -s "bench(transformer-torch)" -- decoding_speed',
        seed=0,
        rows=main(),
        distributions=["torch", "transformers", "ctranslate2"],
        note="CPU seconds, five interleaved rounds, median speedup; baselines in float32. d_model 256, 3 + 3 layers, "
        "8 heads, d_ff 1,024, vocabulary 8,000, trained for 450 steps; 128 sentences of test_2016_flickr sorted by "
        "length, 64 in a batch. Outputs are compared up to 50 tokens.",
    )
