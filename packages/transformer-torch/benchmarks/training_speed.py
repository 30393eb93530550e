"""Compare training with torch.nn.Transformer and Hugging Face's Marian: one thread, interleaved rounds.

d_model 256, 3 + 3 layers, 8 heads, d_ff 1,024, vocabulary 8,000. The baselines run in float32, their default; ours in
the dtype that `--dtype auto` selects, and in float32. All have the same batches and the same malloc settings.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from dlpapers_shared.timing import compare, write_record
from torch import Tensor, nn
from transformer_torch import TrainConfig, Trainer, Transformer, TransformerConfig, sinusoids
from transformer_torch._common.device import pick_dtype
from transformer_torch._common.malloc import keep_freed_memory
from transformer_torch.config import Dtype
from transformer_torch.data.batching import Pair, pad, token_batches
from transformers import MarianMTModel

FOLDER = Path(__file__).parent.parent
sys.path.insert(0, str(FOLDER / "tests"))
from helpers_marian import EOS, PAD, marian_config  # noqa: E402

VOCAB, D_MODEL, HEADS, LAYERS, D_FF, DROPOUT = 8000, 256, 8, 3, 1024, 0.1
N_BATCHES = 3


class TorchTransformer(nn.Module):
    """The model as a user of torch.nn.Transformer writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, D_MODEL)
        self.transformer = nn.Transformer(D_MODEL, HEADS, LAYERS, LAYERS, D_FF, DROPOUT, batch_first=True)
        self.output = nn.Linear(D_MODEL, VOCAB, bias=False)
        self.output.weight = self.embedding.weight
        self.register_buffer("positions", sinusoids(256, D_MODEL).float())

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        """Return logits."""
        x, y = (
            F.dropout(self.embedding(ids) * math.sqrt(D_MODEL) + self.positions[: ids.size(1)], DROPOUT, self.training)
            for ids in (src, tgt)
        )
        padding = src == PAD
        causal = torch.ones(tgt.size(1), tgt.size(1), dtype=torch.bool).triu(1)
        out = self.transformer(
            x, y, tgt_mask=causal, src_key_padding_mask=padding, memory_key_padding_mask=padding, tgt_is_causal=True
        )
        logits: Tensor = self.output(out)
        return logits


def pairs() -> list[Pair]:
    """Return random ids in sentences about as long as those of Multi30k."""
    rng = random.Random(0)

    def words() -> list[int]:
        return [rng.randrange(4, VOCAB) for _ in range(max(3, round(rng.gauss(13, 4))))]

    return [([*words(), EOS], [1, *words(), EOS]) for _ in range(2000)]


def training() -> list[dict[str, object]]:
    """Measure tokens per second of a training step: forward, backward, Adam."""
    data = pairs()
    batches = token_batches(data, 4096, random.Random(0))[:N_BATCHES]
    tensors = [tuple(pad([data[i][side] for i in batch]) for side in (0, 1)) for batch in batches]
    torch.manual_seed(0)

    def ours(dtype: Dtype) -> Callable[[], None]:
        model = Transformer(TransformerConfig(VOCAB, D_MODEL, HEADS, LAYERS, D_FF, DROPOUT))
        trainer = Trainer(model, TrainConfig(device="cpu", dtype=dtype), data)

        def run() -> None:
            for batch in batches:
                trainer.step([batch])

        return run

    theirs = TorchTransformer().train()
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9)
    loss = nn.CrossEntropyLoss(ignore_index=PAD, label_smoothing=0.1)

    def torch_nn() -> None:
        for src, tgt in tensors:
            adam.zero_grad()
            loss(theirs(src, tgt[:, :-1]).flatten(0, 1), tgt[:, 1:].flatten()).backward()
            adam.step()

    config = marian_config(VOCAB, D_MODEL, HEADS, LAYERS, D_FF)
    config.dropout, config._attn_implementation = DROPOUT, "sdpa"
    marian = MarianMTModel(config).train()
    marian_adam = torch.optim.Adam(marian.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9)

    def hugging_face() -> None:
        for src, tgt in tensors:
            marian_adam.zero_grad()
            out = marian(input_ids=src, attention_mask=(src != PAD).long(), decoder_input_ids=tgt[:, :-1])
            loss(out.logits.flatten(0, 1), tgt[:, 1:].flatten()).backward()
            marian_adam.step()

    baselines = {"torch.nn.Transformer, float32": torch_nn, "Hugging Face Marian, float32": hugging_face}
    n = sum(int((src != PAD).sum() + (tgt[:, 1:] != PAD).sum()) for src, tgt in tensors)
    auto: Dtype = "bfloat16" if pick_dtype("auto", torch.device("cpu")) == torch.bfloat16 else "float32"
    rows: list[dict[str, object]] = []
    for dtype in dict.fromkeys((auto, "float32")):
        found = compare(ours(dtype), baselines, rounds=5, warmup=1)
        for baseline in baselines:
            rows.append(
                {
                    "our dtype": dtype,
                    "baseline": baseline,
                    "ours (tokens/s)": n / found.seconds(),
                    "baseline (tokens/s)": n / found.seconds(baseline),
                    "speedup ×": found.ratio(baseline),
                }
            )
    return rows


if __name__ == "__main__":
    keep_freed_memory()
    torch.set_num_threads(1)
    rows = training()
    for line in rows:
        print(line)
    write_record(
        FOLDER / "results" / "speed-training.json",
        title="Training throughput on a CPU, one thread",
        command='nox -s "bench(transformer-torch)" -- training_speed',
        seed=0,
        rows=rows,
        distributions=["torch", "transformers"],
        note="CPU seconds, five interleaved rounds, median speedup. d_model 256, 3 + 3 layers, 8 heads, d_ff 1,024, "
        "vocabulary 8,000; batches of 4,096 positions; forward, backward and Adam. The baselines run in float32, their "
        "default; ours in the dtype that `--dtype auto` selects, and in float32. All have the same malloc settings.",
    )
