"""Whole documents packed into rows, where windows of a stream of text begin and end anywhere.

Each document begins after an end-of-text token and nothing is predicted across its end, so the model learns beginnings
as beginnings. (It may still look back at the row's earlier documents, as GPT-2 does.) Longer ones than a row are cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch

from gpt2.data import IGNORE, Batch, TokenFiles

Row = list[tuple[int, int]]  # the pieces of a row: where each begins in the token files, and how many it predicts


class PackedDocuments:
    """`gpt2.data.Batches` of packed documents; every pass takes each once, in an order drawn anew."""

    def __init__(self, files: TokenFiles, context_length: int, seed: int = 0) -> None:
        eos = files.tokenizer().eos_id
        if eos is None:
            raise ValueError(f"{files.folder}: its tokenizer has no end-of-text token that would part documents")
        self.files, self.length, self.seed, self.eos = files, context_length, seed, eos
        offsets = np.concatenate([[0], files.ends[:-1]])
        parts = zip(files.shards, offsets, strict=True)
        ends = np.concatenate([np.flatnonzero(shard == eos) + offset + 1 for shard, offset in parts])
        ends = ends if len(ends) and ends[-1] == files.tokens else np.append(ends, files.tokens)
        starts = np.concatenate([[0], ends[:-1]])
        held_out = starts >= files.train_tokens  # a document belongs where it begins
        self.train = self._pieces(starts[~held_out], ends[~held_out])
        self.held = self._pieces(starts[held_out], ends[held_out])
        if not self.train:
            raise ValueError(f"{files.folder}: no document to train on")
        self.pack = lru_cache(2)(self._pack)  # of this pass and the next
        self.row_count = lru_cache(None)(lambda epoch: len(self.pack(epoch)))

    def _pieces(self, starts: np.ndarray, ends: np.ndarray) -> Row:
        """Documents as pieces that fit a row."""
        cuts = ((s, e) for start, end in zip(starts, ends, strict=True) for s, e in self._cut(int(start), int(end)))
        return [(start, end - start) for start, end in cuts]

    def _cut(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        for s in range(start, end, self.length):
            yield s, min(s + self.length, end)

    def _pack(self, epoch: int) -> list[Row]:
        """The rows of a pass: pieces in its order, a new row where the next piece does not fit."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.train))
        return self._rows([self.train[i] for i in order])

    def _rows(self, pieces: Row) -> list[Row]:
        rows: list[Row] = [[]]
        room = self.length
        for start, count in pieces:
            if count > room:
                rows.append([])
                room = self.length
            rows[-1].append((start, count))
            room -= count
        return rows

    def batch(self, step: int, size: int) -> Batch:
        """The rows of one step: a function of seed and step, whatever was asked for before."""
        first, epoch = step * size, 0
        while first >= self.row_count(epoch):
            first, epoch = first - self.row_count(epoch), epoch + 1
        chosen = self.pack(epoch)[first : first + size]
        while len(chosen) < size:
            epoch += 1
            chosen += self.pack(epoch)[: size - len(chosen)]
        return self._tensors(chosen)

    def validation(self, size: int) -> Iterator[Batch]:
        """The held-out documents in order."""
        rows = self._rows(self.held) if self.held else []
        for i in range(0, len(rows), size):
            yield self._tensors(rows[i : i + size])

    def _tensors(self, rows: list[Row]) -> Batch:
        ids = torch.full((len(rows), self.length), self.eos)
        targets = torch.full((len(rows), self.length), IGNORE)
        for number, row in enumerate(rows):
            column = 0
            for start, count in row:
                text = torch.from_numpy(self.files.read(start, count))
                where = slice(column, column + count)
                targets[number, where] = text
                ids[number, column + 1 : column + count] = text[:-1]
                if start and (before := int(self.files.read(start - 1, 1)[0])) != self.eos:
                    ids[number, column] = before  # the rest of a long document
                column += count
        return ids, targets
