"""Time per decoded token of GPT-2 124M on a CPU, greedy, against Hugging Face, CTranslate2, and nanoGPT.

    python benchmarks/decode.py BATCH [THREADS]            # writes results/decode-BATCH-THREADS.json

Random weights, a prompt of 32 tokens, 128 new ones (64 in a batch). Each token reads every matrix once, so each time is
also given as a share of the read bandwidth that was measured in the same rounds.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from baselines import NanoGPT, write_for_ctranslate2
from dlpapers_shared.timing import write_record
from gpt2 import GPT2, GPT2Config
from gpt2.inference.quantize import Decoder
from interleave import interleaved, serve

FOLDER = Path(__file__).parent.parent
PROMPT = 32
IMPLEMENTATIONS = {  # name, bytes of a weight
    "float32": ("gpt2, float32", 4),
    "hf": ("Hugging Face generate, float32", 4),
    "ct2-float32": ("CTranslate2, float32", 4),
    "float32-compiled": ("gpt2, float32, compiled", 4),
    "float16": ("gpt2, float16", 2),
    "float16-compiled": ("gpt2, float16, compiled", 2),
    "int8": ("gpt2, int8", 1),
    "int8-compiled": ("gpt2, int8, compiled", 1),
    "ct2-int8": ("CTranslate2, int8", 1),
    "nanogpt": ("nanoGPT, float32, no cache", 4),
}
BANDWIDTH_BYTES = 2**29
NANOGPT_NEW = 16


def new_tokens(batch: int) -> int:
    """Return the number of new tokens of each text."""
    return 128 if batch == 1 else 64


def make(side: str, batch: int, threads: int, folder: Path) -> Callable[[], Any]:
    """Return a function that generates with one implementation and returns the new tokens."""
    new = new_tokens(batch)
    ids = torch.randint(50257, (batch, PROMPT), generator=torch.Generator().manual_seed(5))
    if side == "bandwidth":
        block = torch.ones(BANDWIDTH_BYTES // 4)
        return lambda: float(block.sum())
    if side == "hf":
        from transformers import GPT2LMHeadModel

        twin = GPT2LMHeadModel.from_pretrained(folder).eval()
        options = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": 50256}
        mask = torch.ones_like(ids)
        return lambda: twin.generate(ids, attention_mask=mask, **options)[:, PROMPT:].tolist()
    if side.startswith("ct2"):
        import ctranslate2

        kind = side.removeprefix("ct2-")
        generator = ctranslate2.Generator(str(folder / "ct2"), compute_type=kind, intra_threads=threads)
        prompts = [[f"t{i}" for i in row] for row in ids.tolist()]
        limits = {"max_length": new, "min_length": new, "beam_size": 1, "sampling_topk": 1}

        def generate() -> Any:
            found = generator.generate_batch(prompts, include_prompt_in_result=False, end_token=[], **limits)
            return [[int(token[1:]) for token in row.sequences[0]] for row in found]

        return generate
    model = GPT2.from_pretrained(folder)
    if side == "nanogpt":
        baseline = NanoGPT(model).eval()
        middle = PROMPT + new // 2 - NANOGPT_NEW // 2  # its time grows with the text, and the middle is the mean
        text = torch.randint(50257, (batch, middle))
        return lambda: baseline.generate(text, NANOGPT_NEW).tolist()
    weights, _, compiled = side.partition("-")
    small = Decoder(model, weights, compiled=bool(compiled))  # type: ignore[arg-type]
    del model
    return lambda: small.generate(ids, new, temperature=0.0)[:, PROMPT:].tolist()


def main(batch: int, threads: int) -> None:
    """Compare and record."""
    clock: Any = "cpu" if threads == 1 else "wall"
    chosen = [side for side in IMPLEMENTATIONS if batch == 1 or side != "nanogpt"]
    with tempfile.TemporaryDirectory() as temporary:
        torch.manual_seed(0)
        model = GPT2(GPT2Config.named("124M"))
        model.save_pretrained(temporary)
        write_for_ctranslate2(Path(temporary), Path(temporary) / "ct2")
        weights = sum(p.numel() for p in model.h.parameters()) + model.wte.weight.numel()
        del model
        arguments = [str(batch), str(threads), temporary]
        found, answers = interleaved(__file__, [[side, *arguments] for side in (*chosen, "bandwidth")], rounds=5)

    def named(side: str) -> str:
        return " ".join([side, *arguments])

    new = new_tokens(batch)

    def times(side: str) -> list[float]:
        """Return seconds per token in each round."""
        taken = found.ours if side == chosen[0] else found.of(named(side))
        return [t.on(clock) / (NANOGPT_NEW if side == "nanogpt" else new) for t in taken]

    def speedup(side: str, baseline: str) -> float:
        return median(theirs / its for theirs, its in zip(times(baseline), times(side), strict=True))

    bandwidth = BANDWIDTH_BYTES / found.seconds(named("bandwidth"), clock)
    rows: list[dict[str, Any]] = []
    for side, tokens in zip(chosen, answers, strict=False):
        name, size = IMPLEMENTATIONS[side]
        ct2 = f"ct2-{side.partition('-')[0]}"
        pairs = [(a, b) for x, y in zip(tokens, answers[0], strict=True) for a, b in zip(x, y, strict=False)]
        rows.append(
            {
                "implementation": name,
                "ms per token": 1e3 * median(times(side)),
                "× Hugging Face": speedup(side, "hf"),
                "× CTranslate2 (same dtype)": speedup(side, ct2) if ct2 in chosen else None,
                "share of read bandwidth": weights * size / median(times(side)) / bandwidth,
                "same tokens as float32": None if side == "nanogpt" else sum(a == b for a, b in pairs) / len(pairs),
            }
        )
    write_record(
        FOLDER / "results" / f"decode-{batch}-{threads}.json",
        title=f"Decoding with GPT-2 124M, batch {batch}, {threads} thread{'s' * (threads > 1)}",
        command=f"python packages/gpt2/benchmarks/decode.py {batch} {threads}",
        seed=0,
        rows=rows,
        distributions=["torch", "transformers", "ctranslate2"],
        note=(
            f"Prompt {PROMPT}, {new} new tokens, greedy; medians of 5 rounds, interleaved, each implementation in its "
            f"own process; {clock} time, the prompt included; a token is one of each text in the batch. "
            f"nanoGPT: {NANOGPT_NEW} tokens in the middle of the text. "
            f"Read bandwidth: a sum over {BANDWIDTH_BYTES >> 20} MiB in the same rounds, "
            f"{bandwidth / 1e9:.1f} GB/s."
        ),
    )
    for row in rows:
        print(row)


if __name__ == "__main__":
    if len(sys.argv) == 5:
        torch.set_num_threads(int(sys.argv[3]))
        serve(lambda: make(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
    else:
        main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
