"""Whole documents packed into rows; plain windows instead start and end anywhere in the text.

Each document starts after an end-of-text token, and nothing is predicted across its end, so the model learns how
documents start. It may still attend to earlier documents of its row, as GPT-2 does. Longer documents are cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from gpt2._common.errors import invalid
from gpt2.data.token_file import IGNORE, Batch, TokenFiles

Row = list[tuple[int, int]]  # the parts of a row: the start of each in the token files, and its number of targets


class PackedDocuments:
    """Batches of packed documents; each pass takes every document once, shuffled for each pass.

    Raises: ValueError if the tokenizer has no end-of-text token, or no document is left to train on.
    """

    def __init__(self, files: TokenFiles, context_length: int, seed: int = 0) -> None:
        eos = files.tokenizer().eos_id
        if eos is None:
            raise invalid("order", "be random or epochs for a tokenizer without an end-of-text token", "documents")
        self.files, self.length, self.seed, self.eos = files, context_length, seed, eos
        offsets = np.concatenate([[0], files.ends[:-1]])
        parts = zip(files.shards, offsets, strict=True)
        ends = np.concatenate([np.flatnonzero(shard == eos) + offset + 1 for shard, offset in parts])
        ends = ends if len(ends) and ends[-1] == files.tokens else np.append(ends, files.tokens)
        starts = np.concatenate([[0], ends[:-1]])
        held_out = starts >= files.train_tokens  # a document belongs to the part in which it starts
        self.train = self._parts(starts[~held_out], ends[~held_out])
        self.held = self._parts(starts[held_out], ends[held_out])
        if not self.train:
            raise ValueError(f"{files.folder}: has no training document")
        self.pack = lru_cache(2)(self._pack)  # this pass and the next
        self.row_count = lru_cache(None)(lambda epoch: len(self.pack(epoch)))

    def _parts(self, starts: np.ndarray, ends: np.ndarray) -> Row:
        """Return documents as parts that fit a row."""
        cuts = ((s, e) for start, end in zip(starts, ends, strict=True) for s, e in self._cut(int(start), int(end)))
        return [(start, end - start) for start, end in cuts]

    def _cut(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        for s in range(start, end, self.length):
            yield s, min(s + self.length, end)

    def _pack(self, epoch: int) -> list[Row]:
        """Return the rows of a pass: parts in its order, a new row where the next part does not fit."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.train))
        return self._rows([self.train[i] for i in order])

    def _rows(self, parts: Row) -> list[Row]:
        rows: list[Row] = [[]]
        room = self.length
        for start, count in parts:
            if count > room:
                rows.append([])
                room = self.length
            rows[-1].append((start, count))
            room -= count
        return rows

    def batch(self, step: int, size: int) -> Batch:
        """Return the rows of one step, which depend on the seed and the step alone."""
        first, epoch = step * size, 0
        while first >= self.row_count(epoch):
            first, epoch = first - self.row_count(epoch), epoch + 1
        chosen = self.pack(epoch)[first : first + size]
        while len(chosen) < size:
            epoch += 1
            chosen += self.pack(epoch)[: size - len(chosen)]
        return self._tensors(chosen)

    def validation(self, size: int) -> Iterator[Batch]:
        """Yield the held-out documents in order."""
        rows = self._rows(self.held) if self.held else []
        for i in range(0, len(rows), size):
            yield self._tensors(rows[i : i + size])

    def settings(self) -> dict[str, Any]:
        """Return what shapes the batches."""
        return {**self.files.settings(), "order": "documents"}

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
