"""OpenAI's GPT-2 files, `encoder.json` + `vocab.bpe`; Hugging Face's `vocab.json` + `merges.txt` are the same.

`encoder.json`: token in letters (bpe.byte_letters) -> id. `vocab.bpe`: a line with its version, then a merge in
each line, two tokens in letters. The pattern is GPT-2's; the files do not say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpe.byte_letters import from_letters, to_letters
from bpe.errors import FormatError
from bpe.formats.files import read_json, read_text, write_json, write_text
from bpe.vocabulary import check_merges, check_ranks

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

OPENAI = ("encoder.json", "vocab.bpe")
HUGGINGFACE = ("vocab.json", "merges.txt")
LOOKS_SPECIAL = re.compile(r"<[^<>]+>|\[[A-Z]+\d*\]")
"""What may be in the vocabulary without being made by a merge: `<|endoftext|>`, `<s>`, `[PAD]`."""


def export(tokenizer: Tokenizer, folder: Path, names: tuple[str, str] = OPENAI) -> list[Path]:
    """Write the two files; FormatError for a tokenizer whose pattern is not GPT-2's, which they imply."""
    if tokenizer.pattern != "gpt2":
        raise FormatError(f"pattern: {names[0]} and {names[1]} imply the pattern gpt2, and it is {tokenizer.pattern!r}")
    merges = "#version: 0.2\n" + "".join(line + "\n" for line in merge_lines(tokenizer))
    return [write_json(folder / names[0], letters_vocabulary(tokenizer)), write_text(folder / names[1], merges)]


def letters_vocabulary(tokenizer: Tokenizer) -> dict[str, int]:
    """Token in letters -> id, in order of ids; special tokens by their names."""
    vocabulary = {to_letters(token): i for token, i in tokenizer.ranks.items()}
    for name, i in tokenizer.special_tokens.items():
        if name in vocabulary:
            raise FormatError(f"special_tokens: {name!r} is also how the token {from_letters(name)!r} is written")
        vocabulary[name] = i
    return dict(sorted(vocabulary.items(), key=lambda item: item[1]))


def merge_lines(tokenizer: Tokenizer) -> list[str]:
    """Each merge as two tokens in letters with a space between."""
    token_of = {i: to_letters(token) for token, i in tokenizer.ranks.items()}
    return [f"{token_of[a]} {token_of[b]}" for a, b in tokenizer.merges]


def read(vocabulary: Path, merges: Path) -> tuple[dict[bytes, int], dict[str, int]]:
    """Ranks and special tokens of the two files."""
    lines = read_text(merges).split("\n")
    if lines and lines[0].startswith("#version"):
        lines = lines[1:]
    pairs = [tuple(line.split(" ")) for line in lines if line.strip()]
    return from_letters_and_merges(read_json(vocabulary), pairs, LOOKS_SPECIAL.fullmatch, merges)


def ranks_in(vocabulary: Path, special_tokens: Mapping[str, int]) -> dict[bytes, int]:
    """Ranks of an encoder.json that is known to be sound: its ids are the ranks, so the merges need no reading."""
    return {from_letters(token): i for token, i in read_json(vocabulary).items() if token not in special_tokens}


def from_letters_and_merges(
    vocabulary: Any, merges: Iterable[Any], is_special: Any, path: Path
) -> tuple[dict[bytes, int], dict[str, int]]:
    """Ranks and special tokens, checked, from a vocabulary in letters and pairs of tokens in letters."""
    if not isinstance(vocabulary, dict) or not all(isinstance(i, int) for i in vocabulary.values()):
        raise FormatError(f"{path}: the vocabulary has to give an id to each token")
    pairs: list[tuple[int, int]] = []
    made: set[str] = set()
    for number, merge in enumerate(merges):
        if len(merge) != 2 or not all(isinstance(part, str) for part in merge):
            raise FormatError(f"{path}: merge {number} is not two tokens")
        a, b = merge
        for token in (a, b, a + b):
            if token not in vocabulary:
                raise FormatError(f"{path}: merge {number} names {token!r}, which is not in the vocabulary")
        made.add(a + b)
        pairs.append((vocabulary[a], vocabulary[b]))
    ordinary: dict[bytes, int] = {}
    special: dict[str, int] = {}
    for token, i in vocabulary.items():
        if token in made or len(token) == 1:
            try:
                ordinary[from_letters(token)] = i
            except ValueError as error:
                raise FormatError(f"{path}: {error}; is this a byte-level vocabulary?") from None
        elif is_special(token):
            special[token] = i
        else:
            raise FormatError(f"{path}: no merge makes the token {token!r}; is the list of merges cut off?")
    _check(ordinary, special, pairs, path)
    return ordinary, special


def _check(ranks: Mapping[bytes, int], special: Mapping[str, int], pairs: list[tuple[int, int]], path: Path) -> None:
    try:
        check_ranks(ranks, special)
        if len(pairs) != len(ranks) - 256:
            raise FormatError(f"merges: {len(pairs)} of them for {len(ranks) - 256} tokens; one makes a token again")
        check_merges(ranks, pairs)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
