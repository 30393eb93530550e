"""Text as characters: the vocabulary of a text, and its division into training and held-out parts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attention_numpy._common.atomic import read_text
from attention_numpy.layers import Rng
from attention_numpy.module import Array


class CharTokenizer:
    """One id per character.

    >>> CharTokenizer("abc").encode("cab")
    [2, 0, 1]
    """

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = list(characters)
        self.ids = {c: i for i, c in enumerate(self.characters)}
        if len(self.ids) != len(self.characters) or any(len(c) != 1 for c in self.characters):
            raise ValueError("`characters` must be different single characters")

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text. Raises: ValueError for a character outside the vocabulary."""
        for character in text:
            if character not in self.ids:
                raise ValueError(f"`text` must consist of characters of the training text, got {character!r}")
        return [self.ids[c] for c in text]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        return "".join(self.characters[i] for i in ids)

    def to_json(self) -> dict[str, object]:
        """Return what tokenizer.json holds."""
        return {"kind": "characters", "characters": self.characters}


class TextFile:
    """The ids of a text file; its last tenth is held out.

    Raises: ValueError if the file is missing, not UTF-8, or too short for one sequence in each part.
    """

    def __init__(self, path: Path, context_length: int) -> None:
        try:
            text = read_text(path)
        except FileNotFoundError:
            raise ValueError(f"{path}: not found") from None
        self.tokenizer = CharTokenizer(sorted(set(text)))
        self.context_length = context_length
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        ids = np.array(self.tokenizer.encode(text), dtype=np.intp)
        split = len(ids) * 9 // 10
        self.train, self.held_out = ids[:split], ids[split:]
        if min(len(self.train), len(self.held_out)) <= context_length:
            raise ValueError(
                f"{path}: must have more than {10 * context_length + 10:,} characters for "
                f"`context_length` = {context_length}, got {len(ids):,}"
            )

    def batch(self, rng: Rng, batch_size: int) -> tuple[Array, Array]:
        """Sample windows of the training part: inputs and, shifted by one, targets, (batch, time) each."""
        starts = rng.integers(0, len(self.train) - self.context_length, batch_size)
        windows = self.train[starts[:, None] + np.arange(self.context_length + 1)]
        return windows[:, :-1], windows[:, 1:]

    def held_out_windows(self, count: int) -> Array:
        """Return at most `count` consecutive windows of the held-out part, (windows, time + 1)."""
        count = max(1, min(count, (len(self.held_out) - 1) // self.context_length))
        starts = np.arange(count) * self.context_length
        windows: Array = self.held_out[starts[:, None] + np.arange(self.context_length + 1)]
        return windows
