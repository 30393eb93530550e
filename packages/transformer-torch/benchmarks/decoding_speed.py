"""Translating beside Hugging Face's generate and CTranslate2: one thread, taken in turn.

The peers are in float32; ours is in float32 and, where the CPU computes it, with its weights in bfloat16.

d_model 256, 3 + 3 layers, 8 heads, d_ff 1,024, vocabulary 8,000, trained on Multi30k for 450 updates (four minutes;
kept in runs/speed), so that sentences end as sentences do. The first 128 sentences of test_2016_flickr, sorted by
length, 64 at a time, the same batches for all. Outputs are compared.
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
from transformer_torch.allocator import keep_memory
from transformer_torch.batching import pad
from transformer_torch.config import TrainConfig
from transformer_torch.corpus import named_corpus
from transformer_torch.device import cpu_bfloat16_speed
from transformer_torch.recipes import RECIPES
from transformer_torch.run import train
from transformer_torch.vocab import BOS, EOS, PAD
from transformers import MarianMTModel

FOLDER = Path(__file__).parent.parent
sys.path[:0] = [str(FOLDER / "tests"), str(FOLDER / "benchmarks")]
from ctranslate2_model import convert, tokens_of  # noqa: E402
from marian_oracle import copy_to_marian, marian_config  # noqa: E402

DATA, SENTENCES, BATCH = "multi30k-de-en", 128, 64
RUN = Path("runs") / "speed"


def trained() -> Translator:
    """The model, trained (or trained to the end) if it is not there yet."""
    recipe = RECIPES["small"][1]
    settings = TrainConfig(steps=450, max_tokens=4096, warmup=300, decay=300, valid_every=150)
    recipe = replace(recipe, data=replace(recipe.data, data=DATA), train=settings)
    return train(recipe, RUN, resume=(RUN / "state.safetensors").exists())


def row(
    what: str, dtype: str, peer: str, found: object, outputs: tuple[list[list[int]], list[list[int]]]
) -> dict[str, object]:
    """One line of the table."""
    ours, theirs = SENTENCES / found.seconds(), SENTENCES / found.seconds(peer)  # type: ignore[attr-defined]
    # each side has a limit of its own for sentences that find no end: up to 50 tokens all go on
    same = sum(a[:50] == b[:50] for a, b in zip(*outputs, strict=True))
    return {
        "what": f"{what}, sentences a second",
        "our weights": dtype,
        "peer": peer,
        "ours": ours,
        "theirs": theirs,
        "ratio": found.ratio(peer),  # type: ignore[attr-defined]
        "same output": f"{same} of {SENTENCES}",
    }


def main() -> list[dict[str, object]]:
    """Greedy and beam 4, beside both peers, by the length rule that each of them has."""
    translator = trained()
    model = translator.model
    sources = sorted(
        (translator.encode(line) for line in named_corpus(DATA, "test_2016_flickr").src[:SENTENCES]), key=len
    )
    batches = [pad(sources[i : i + BATCH]) for i in range(0, SENTENCES, BATCH)]

    c = model.config
    config = marian_config(c.vocab_size, c.d_model, c.n_heads, c.n_layers, c.d_ff, max_length=c.max_length)
    config._attn_implementation, config.decoder_start_token_id = "sdpa", BOS
    marian = MarianMTModel(config).eval()
    with torch.no_grad():
        copy_to_marian(model, marian)

    def generate(beams: int) -> list[list[int]]:
        outputs: list[list[int]] = []
        for src in batches:
            options = {"num_beams": beams, "do_sample": False, "max_length": src.size(1) + 51, "early_stopping": False}
            found = marian.generate(src, attention_mask=(src != PAD).long(), **options)
            outputs += [[t for t in ids[1:].tolist() if t not in (PAD, EOS)] for ids in found]
        return outputs

    short = copy.deepcopy(model).bfloat16()

    def ours(beams: int, alpha: float = 1.0, model: Transformer = model) -> list[list[int]]:
        if beams == 1:
            return [ids for src in batches for ids in greedy_decode(model, src, BOS, EOS)]
        pools = (beam_search(model, src, BOS, EOS, beams, alpha, "power") for src in batches)
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
        for what, dtype, mine, theirs, peer in (
            ("greedy", plain, lambda: ours(1), lambda: generate(1), hf),
            ("greedy", brain, lambda: ours(1, model=short), lambda: generate(1), hf),
            ("beam 4", plain, lambda: ours(4), lambda: generate(4), hf),
            ("beam 4", brain, lambda: ours(4, model=short), lambda: generate(4), hf),
            ("greedy", plain, lambda: ours(1), lambda: ctranslate2(1), c2),
            ("beam 4, no length penalty", plain, lambda: ours(4, 0.0), lambda: ctranslate2(4), c2),
        ):
            if dtype == brain and cpu_bfloat16_speed() == 0:
                continue
            found = compare(mine, {peer: theirs}, rounds=5, warmup=1)
            rows.append(row(what, dtype, peer, found, (mine(), theirs())))
            print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    keep_memory()
    torch.set_num_threads(1)
    write_record(
        FOLDER / "results" / "speed-decoding.json",
        title="Speed of translating on a CPU, one thread",
        command='nox -s "bench(transformer-torch)" -- decoding_speed',
        seed=0,
        rows=main(),
        distributions=["torch", "transformers", "ctranslate2"],
        note="CPU seconds, five rounds in turn, median ratio; peers in float32. d_model 256, 3 + 3 layers, 8 heads, "
        "vocabulary 8,000, trained for 450 updates; 128 sentences of test_2016_flickr sorted by length, 64 at a time.",
    )
