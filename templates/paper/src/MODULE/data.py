"""Characters as training data: an embedded synthetic text, the tokenizer, and the examples of the model."""
# Replace: synthetic_text with a small synthetic version of your paper's data, and the tokenizer if it needs another.

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from MODULE._common.atomic import read_json_object, read_text, write_json
from MODULE._common.errors import invalid

NEWLINE = "\n"
_WORDS = (
    "the a one every", "small quick old happy quiet", "fox owl cat bear mouse", "sees hears follows likes",
    "the a one every", "red tall warm strange", "house river garden lamp",
)  # fmt: skip


def synthetic_text(lines: int = 2000, seed: int = 0) -> str:
    """Return random sentences of a seven-word grammar, one per line.

    >>> synthetic_text(1)
    'every happy fox follows every strange garden\\n'
    """
    generator = random.Random(seed)
    choices = [words.split() for words in _WORDS]
    return "".join(" ".join(map(generator.choice, choices)) + NEWLINE for _ in range(lines))


def load_text(path: Path | None) -> str:
    """Return the text of a UTF-8 file, of stdin for "-", or the embedded text for None."""
    if path is None:
        return synthetic_text()
    text = sys.stdin.read() if str(path) == "-" else read_text(path)
    return text if text.endswith(NEWLINE) else text + NEWLINE


def fingerprint(text: str) -> str:
    """Return the first 16 hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def split_lines(text: str, held_out: float) -> tuple[str, str]:
    """Split a text into training and validation lines; each part has at least one."""
    lines = text.splitlines(keepends=True)
    if len(lines) < 2:
        raise invalid("text", "have at least two lines, one of them for validation", text)
    cut = min(max(1, round(len(lines) * (1 - held_out))), len(lines) - 1)
    return "".join(lines[:cut]), "".join(lines[cut:])


class CharTokenizer:
    """A vocabulary of characters. Id 0 is the newline.

    >>> tokenizer = CharTokenizer.from_text("abba")
    >>> tokenizer.encode("ab"), tokenizer.decode([2, 1])
    ([1, 2], 'ba')
    """

    def __init__(self, characters: str) -> None:
        if not characters.startswith(NEWLINE) or len(set(characters)) < len(characters):
            raise invalid("characters", "be distinct and start with a newline", characters)
        self.characters = characters
        self._ids = {character: i for i, character in enumerate(characters)}

    @classmethod
    def from_text(cls, text: str) -> CharTokenizer:
        """Return the tokenizer of the characters of a text."""
        return cls(NEWLINE + "".join(sorted(set(text) - {NEWLINE})))

    @property
    def vocab_size(self) -> int:
        """Number of characters."""
        return len(self.characters)

    def encode(self, text: str) -> list[int]:
        """Return one id per character. Raises: ValueError for a character that is not in the vocabulary."""
        if unknown := sorted(set(text) - self._ids.keys()):
            raise invalid("text", "have only characters of the vocabulary", unknown[0])
        return [self._ids[character] for character in text]

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids."""
        return "".join(self.characters[i] for i in ids)

    def save(self, path: Path) -> None:
        """Write a JSON file."""
        write_json(path, {"characters": self.characters})

    @classmethod
    def load(cls, path: Path) -> CharTokenizer:
        """Read a JSON file. Raises: ValueError that names the file."""
        characters = read_json_object(path).get("characters")
        if not isinstance(characters, str):
            raise ValueError(f"{path}: not a tokenizer")
        return cls(characters)


def current_line(ids: Int64[Tensor, "batch time"]) -> Int64[Tensor, "batch time"]:
    """Replace what precedes the last newline of each row by newlines, because lines are independent."""
    later_newlines = (ids == 0).flip(1).cumsum(1).flip(1)
    return torch.where(later_newlines == 0, ids, 0)


def make_examples(ids: list[int], context_length: int) -> tuple[Int64[Tensor, "batch time"], Int64[Tensor, " batch"]]:
    """Return the context of every position of a text, and the id at that position.

    >>> contexts, targets = make_examples([3, 4, 0, 5], 2)
    >>> contexts.tolist(), targets.tolist()
    ([[0, 0], [0, 3], [3, 4], [0, 0]], [3, 4, 0, 5])
    """
    padded = torch.tensor([0] * context_length + ids)
    return current_line(padded.unfold(0, context_length, 1)[:-1]), torch.tensor(ids)
