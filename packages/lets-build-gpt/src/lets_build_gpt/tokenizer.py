"""A character tokenizer: the vocabulary is the sorted set of the characters of a text."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lets_build_gpt._common.atomic import read_json_object, write_json
from lets_build_gpt._common.errors import invalid


class CharTokenizer:
    """Map each character of `characters` to its index and back.

    Raises: ValueError if `characters` is empty or holds a character twice.

    >>> tokenizer = CharTokenizer.from_text("hello")
    >>> tokenizer.encode("hell")
    [1, 0, 2, 2]
    >>> tokenizer.decode([1, 0, 2, 2])
    'hell'
    """

    def __init__(self, characters: str) -> None:
        if not characters:
            raise invalid("characters", "have at least one character", characters)
        if len(set(characters)) != len(characters):
            raise invalid("characters", "hold no character twice", characters)
        self.characters = characters
        self._id = {character: i for i, character in enumerate(characters)}

    @classmethod
    def from_text(cls, text: str) -> CharTokenizer:
        """Return the tokenizer of a text's distinct characters, sorted. Raises: ValueError if the text is empty."""
        if not text:
            raise invalid("text", "have at least one character", text)
        return cls("".join(sorted(set(text))))

    @property
    def vocab_size(self) -> int:
        """Number of distinct characters."""
        return len(self.characters)

    @property
    def start(self) -> str:
        """A character to start a sample with: a line break if the vocabulary has one."""
        return "\n" if "\n" in self._id else self.characters[0]

    def encode(self, text: str) -> list[int]:
        """Return the id of each character. Raises: ValueError that names unknown characters."""
        try:
            return [self._id[character] for character in text]
        except KeyError:
            unknown = "".join(sorted(set(text) - set(self.characters))[:10])
            raise invalid("text", f"use only the {self.vocab_size} characters of the training text", unknown) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of the ids. Raises: ValueError for an id outside the vocabulary."""
        found = []
        for i in ids:
            if not 0 <= i < self.vocab_size:
                raise invalid("ids", f"be from 0 to {self.vocab_size - 1}", i)
            found.append(self.characters[i])
        return "".join(found)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as JSON, atomically."""
        write_json(path, {"characters": self.characters})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CharTokenizer:
        """Read a file that `save` wrote. Raises: ValueError that names the file if it is anything else."""
        path = Path(path)
        characters = read_json_object(path).get("characters")
        if not isinstance(characters, str):
            raise ValueError(f"{path}: not a character tokenizer (`characters` must be a string)")
        try:
            return cls(characters)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
