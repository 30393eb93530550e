"""Batches of sentence pairs of similar length, filled up to a number of tokens (section 5.1)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from transformer_torch._common.errors import check_integer

Pair = tuple[list[int], list[int]]  # ids of source and target


def pad(sequences: Sequence[Sequence[int]], pad_id: int = 0) -> Int[Tensor, "batch longest"]:
    """Return sequences as one matrix, padded at their ends."""
    longest = max(map(len, sequences))
    return torch.tensor([[*s, *[pad_id] * (longest - len(s))] for s in sequences], dtype=torch.long).view(-1, longest)


def token_batches(pairs: Sequence[Pair], batch_tokens: int, rng: random.Random) -> list[list[int]]:
    """Return indices of pairs in batches of at most `batch_tokens` positions: source, target and padding together.

    Pairs are sorted by the lengths of target and source, pairs of equal lengths in random order, divided into
    batches, and the batches shuffled: little padding, and another grouping in each epoch. A pair longer than the
    limit is a batch of its own.
    """
    check_integer("batch_tokens", batch_tokens, 1)
    order = list(range(len(pairs)))
    rng.shuffle(order)
    order.sort(key=lambda i: (len(pairs[i][1]), len(pairs[i][0])))
    batches: list[list[int]] = []
    batch: list[int] = []
    longest_src = longest_tgt = 0
    for i in order:
        src, tgt = max(longest_src, len(pairs[i][0])), max(longest_tgt, len(pairs[i][1]))
        if batch and (src + tgt) * (len(batch) + 1) > batch_tokens:
            batches.append(batch)
            batch, src, tgt = [], len(pairs[i][0]), len(pairs[i][1])
        batch.append(i)
        longest_src, longest_tgt = src, tgt
    if batch:
        batches.append(batch)
    rng.shuffle(batches)
    return batches


def padding_efficiency(pairs: Sequence[Pair], batches: Sequence[Sequence[int]]) -> float:
    """Return the fraction of the positions in these batches that hold tokens instead of padding."""
    tokens = sum(len(pairs[i][side]) for batch in batches for i in batch for side in (0, 1))
    positions = sum(len(batch) * max(len(pairs[i][side]) for i in batch) for batch in batches for side in (0, 1))
    return tokens / positions
