"""Training and decoding beside torch.nn.Transformer and Hugging Face's Marian: one thread, float32, taken in turn.

d_model 256, 3 + 3 layers, 8 heads, d_ff 1,024, vocabulary 8,000. Every side has the same batches, and the
allocator's setting (`keep_memory`) holds for the whole process, so for the peers too.
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from dlpapers_shared.timing import Comparison, compare, write_record
from torch import Tensor, nn
from transformer_torch import (
    TrainConfig,
    Trainer,
    Transformer,
    TransformerConfig,
    beam_search,
    greedy_decode,
    sinusoids,
)
from transformer_torch.allocator import keep_memory
from transformer_torch.batching import Pair, pad, token_batches
from transformers import MarianMTModel

FOLDER = Path(__file__).parent.parent
sys.path.insert(0, str(FOLDER / "tests"))
from marian_oracle import EOS, PAD, copy_to_marian, marian_config  # noqa: E402

VOCAB, D_MODEL, HEADS, LAYERS, D_FF, DROPOUT = 8000, 256, 8, 3, 1024, 0.1
N_BATCHES, SENTENCES, LENGTH = 4, 64, 14


class TorchTransformer(nn.Module):
    """What a user of torch.nn.Transformer writes."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, D_MODEL)
        self.transformer = nn.Transformer(D_MODEL, HEADS, LAYERS, LAYERS, D_FF, DROPOUT, batch_first=True)
        self.output = nn.Linear(D_MODEL, VOCAB, bias=False)
        self.output.weight = self.embedding.weight
        self.register_buffer("positions", sinusoids(256, D_MODEL).float())

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        """Logits."""
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
    """Random ids in sentences about as long as those of Multi30k."""
    rng = random.Random(0)

    def words() -> list[int]:
        return [rng.randrange(4, VOCAB) for _ in range(max(3, round(rng.gauss(13, 4))))]

    return [([*words(), EOS], [1, *words(), EOS]) for _ in range(2000)]


def row(what: str, n: int, found: Comparison, peer: str) -> dict[str, object]:
    """One line of the table: n units of work, a second of CPU time."""
    ours, theirs = n / found.seconds(), n / found.seconds(peer)
    return {"what": what, "peer": peer, "ours": ours, "theirs": theirs, "ratio": found.ratio(peer)}


def training() -> list[dict[str, object]]:
    """Tokens a second of a whole step: forward, backward, Adam."""
    data = pairs()
    batches = token_batches(data, 2048, random.Random(0))[:N_BATCHES]
    tensors = [tuple(pad([data[i][side] for i in batch]) for side in (0, 1)) for batch in batches]
    torch.manual_seed(0)
    trainer = Trainer(
        Transformer(TransformerConfig(VOCAB, D_MODEL, HEADS, LAYERS, D_FF, DROPOUT)),
        TrainConfig(device="cpu", dtype="float32"),
        data,
    )

    def ours() -> None:
        for batch in batches:
            trainer.update([batch])

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

    peers = {"torch.nn.Transformer": torch_nn, "Hugging Face Marian": hugging_face}
    found = compare(ours, peers, rounds=5, warmup=1)
    n = sum(int((src != PAD).sum() + (tgt[:, 1:] != PAD).sum()) for src, tgt in tensors)
    return [row("training, tokens a second", n, found, peer) for peer in peers]


def decoding() -> list[dict[str, object]]:
    """Sentences a second; the outputs are checked to be the same."""
    torch.manual_seed(0)
    ours = Transformer(TransformerConfig(VOCAB, D_MODEL, HEADS, LAYERS, D_FF, 0.0)).eval()
    config = marian_config(VOCAB, D_MODEL, HEADS, LAYERS, D_FF, max_length=512)
    config._attn_implementation = "sdpa"
    theirs = MarianMTModel(config).eval()
    with torch.no_grad():
        # ends are improbable, so that every sentence has its whole length on both sides
        ours.embedding.weight[EOS] = 0
        copy_to_marian(ours, theirs)
    src = torch.randint(4, VOCAB, (SENTENCES, LENGTH), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(src)
    rows: list[dict[str, object]] = []
    for beam in (1, 4):

        def search(beam: int = beam) -> list[list[int]]:
            if beam == 1:
                return greedy_decode(ours, src, PAD, EOS, extra=6)
            return [pool[0][0] for pool in beam_search(ours, src, PAD, EOS, beam, 1.0, "power", extra=6)]

        def generate(beam: int = beam) -> list[list[int]]:
            options = {"num_beams": beam, "do_sample": False, "max_length": LENGTH + 7, "early_stopping": False}
            out = theirs.generate(src, attention_mask=mask, **options)
            return [[t for t in row[1:].tolist() if t not in (PAD, EOS)] for row in out]

        same = sum(a == b for a, b in zip(search(), generate(), strict=True))
        found = compare(search, {"Hugging Face generate": generate}, rounds=5, warmup=1)
        what = f"{'greedy' if beam == 1 else 'beam 4'}, sentences a second"
        peer = "Hugging Face generate"
        rows.append(row(what, SENTENCES, found, peer) | {"same output": f"{same} of {SENTENCES}"})
    return rows


if __name__ == "__main__":
    keep_memory()
    torch.set_num_threads(1)
    rows = training() + decoding()
    for line in rows:
        print(line)
    write_record(
        FOLDER / "results" / "speed.json",
        title="Speed on a CPU, one thread, float32",
        command='nox -s "bench(transformer-torch)" -- speed',
        seed=0,
        rows=rows,
        distributions=["torch", "transformers"],
        note="CPU seconds, five rounds in turn, median ratio. d_model 256, 3 + 3 layers, vocabulary 8,000; batches of "
        "2,048 positions; 64 sentences of 14 tokens to 20. Not in bfloat16: its products fail on this virtual CPU.",
    )
