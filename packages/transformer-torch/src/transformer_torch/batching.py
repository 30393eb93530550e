"""Batches of sentence pairs of about the same length, filled up to a number of tokens: section 5.1."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

Pair = tuple[list[int], list[int]]  # ids of source and target


def pad(sequences: Sequence[Sequence[int]], pad_id: int = 0) -> Int[Tensor, "batch longest"]:
    """Sequences as one matrix, padded at their ends."""
    longest = max(map(len, sequences))
    return torch.tensor([[*s, *[pad_id] * (longest - len(s))] for s in sequences], dtype=torch.long).view(-1, longest)


def token_batches(pairs: Sequence[Pair], max_tokens: int, rng: random.Random) -> list[list[int]]:
    """Indices of pairs, in batches of at most `max_tokens` positions, source and target and padding together.

    Pairs are sorted by the lengths of target and source, pairs of equal lengths in random order, cut into batches,
    and the batches shuffled: little padding, and another grouping in each epoch. A pair longer than the budget is a
    batch by itself.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens: {max_tokens} is not a positive number of tokens")
    order = list(range(len(pairs)))
    rng.shuffle(order)
    order.sort(key=lambda i: (len(pairs[i][1]), len(pairs[i][0])))
    batches: list[list[int]] = []
    batch: list[int] = []
    longest_src = longest_tgt = 0
    for i in order:
        src, tgt = max(longest_src, len(pairs[i][0])), max(longest_tgt, len(pairs[i][1]))
        if batch and (src + tgt) * (len(batch) + 1) > max_tokens:
            batches.append(batch)
            batch, src, tgt = [], len(pairs[i][0]), len(pairs[i][1])
        batch.append(i)
        longest_src, longest_tgt = src, tgt
    if batch:
        batches.append(batch)
    rng.shuffle(batches)
    return batches


def padding_efficiency(pairs: Sequence[Pair], batches: Sequence[Sequence[int]]) -> float:
    """Which part of the positions in these batches holds tokens, not padding."""
    tokens = sum(len(pairs[i][side]) for batch in batches for i in batch for side in (0, 1))
    positions = sum(len(batch) * max(len(pairs[i][side]) for i in batch) for batch in batches for side in (0, 1))
    return tokens / positions
