"""Characters as tokens: the vocabulary is the sorted set of those that the training text uses."""

from __future__ import annotations

import json
import os
from pathlib import Path


class CharTokenizer:
    """One id for each character of `characters`, in their order.

    tokenizer = CharTokenizer.from_text("hello")
    tokenizer.decode(tokenizer.encode("hell"))       # "hell"
    """

    def __init__(self, characters: str) -> None:
        if not characters:
            raise ValueError("characters: empty; a vocabulary needs at least one")
        if len(set(characters)) != len(characters):
            raise ValueError("characters: some occur twice")
        self.characters = characters
        self._id = {character: i for i, character in enumerate(characters)}

    @classmethod
    def from_text(cls, text: str) -> CharTokenizer:
        """The vocabulary of a text: its distinct characters, sorted."""
        if not text:
            raise ValueError("text: empty; a vocabulary needs at least one character")
        return cls("".join(sorted(set(text))))

    @property
    def n_vocab(self) -> int:
        """Number of distinct tokens."""
        return len(self.characters)

    def start(self) -> str:
        """A character to begin a sample with: the line break where there is one."""
        return "\n" if "\n" in self._id else self.characters[0]

    def encode(self, text: str) -> list[int]:
        """The id of each character; ValueError names those that the vocabulary lacks."""
        try:
            return [self._id[character] for character in text]
        except KeyError:
            unknown = sorted(set(text) - set(self.characters))
            raise ValueError(
                f"text: {''.join(unknown[:10])!r} not in the vocabulary of {self.n_vocab} characters"
            ) from None

    def decode(self, ids: list[int]) -> str:
        """The characters of the ids; ValueError for an id outside the vocabulary."""
        for i in ids:
            if not 0 <= i < self.n_vocab:
                raise ValueError(f"ids: {i}; this vocabulary has 0 to {self.n_vocab - 1}")
        return "".join(self.characters[i] for i in ids)

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON, under a temporary name first."""
        path = Path(path)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps({"characters": self.characters}), encoding="utf-8")
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: str | Path) -> CharTokenizer:
        """Read what save wrote; ValueError where it is not that."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(content["characters"])
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: no character vocabulary ({error!r})") from error
