"""OpenAI's GPT-2 files, `encoder.json` + `vocab.bpe`. Hugging Face's `vocab.json` + `merges.txt` are the same.

`encoder.json`: token in printable characters (bpe.byte_unicode) -> id. `vocab.bpe`: a line with its version, then one
merge per line, two tokens separated by a space. The files do not state their pattern, which is GPT-2's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpe._common.atomic import write_json, write_text
from bpe.byte_unicode import from_printable, to_printable
from bpe.errors import FormatError
from bpe.formats.base import Vocabulary, read_json, read_text
from bpe.vocabulary import check_merges, check_ranks

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

OPENAI = ("encoder.json", "vocab.bpe")
HUGGINGFACE = ("vocab.json", "merges.txt")
LOOKS_SPECIAL = re.compile(r"<[^<>]+>|\[[A-Z]+\d*\]")
"""Names of special tokens, which no merge forms: `<|endoftext|>`, `<s>`, `[PAD]`."""


def export(tokenizer: Tokenizer, folder: Path, names: tuple[str, str] = OPENAI) -> list[Path]:
    """Write the two files. Raises: FormatError unless the pattern is GPT-2's, which they imply."""
    if tokenizer.pipeline is not None:
        raise FormatError(
            f"{names[0]} and {names[1]} cannot express the added tokens, steps or template of {tokenizer!r}"
        )
    if tokenizer.pattern != "gpt2":
        raise FormatError(f"`pattern` must be gpt2 for {names[0]} and {names[1]}, got {tokenizer.pattern!r}")
    merges = "#version: 0.2\n" + "".join(line + "\n" for line in merge_lines(tokenizer))
    vocabulary = printable_vocabulary(tokenizer)
    paths = [folder / name for name in names]
    write_json(paths[0], vocabulary)
    write_text(paths[1], merges)
    return paths


def printable_vocabulary(tokenizer: Tokenizer) -> dict[str, int]:
    """Return token in printable characters -> id, in the order of ids; special tokens by their names."""
    vocabulary = {to_printable(token): i for token, i in tokenizer.ranks.items()}
    for name, i in tokenizer.special_tokens.items():
        if name in vocabulary:
            raise FormatError(f"the special token {name!r} is also how the token {from_printable(name)!r} is written")
        vocabulary[name] = i
    return dict(sorted(vocabulary.items(), key=lambda item: item[1]))


def merge_lines(tokenizer: Tokenizer) -> list[str]:
    """Return each merge as two tokens in printable characters with a space between them."""
    token_of = {i: to_printable(token) for token, i in tokenizer.ranks.items()}
    return [f"{token_of[a]} {token_of[b]}" for a, b in tokenizer.merges]


def read(vocabulary: Path, merges: Path) -> Vocabulary:
    """Read the two files."""
    lines = read_text(merges).split("\n")
    if lines and lines[0].startswith("#version"):
        lines = lines[1:]
    pairs = [tuple(line.split(" ")) for line in lines if line.strip()]
    ranks, special = from_printable_merges(read_json(vocabulary), pairs, LOOKS_SPECIAL.fullmatch, merges)
    return Vocabulary(ranks, "gpt2", special)


def ranks_in(vocabulary: Path, special_tokens: Mapping[str, int]) -> dict[bytes, int]:
    """Return the ranks in an encoder.json of known hash: its ids are the ranks, so the merges are not needed."""
    return {from_printable(token): i for token, i in read_json(vocabulary).items() if token not in special_tokens}


def from_printable_merges(
    vocabulary: Any, merges: Iterable[Any], is_special: Callable[[str], object], path: Path
) -> tuple[dict[bytes, int], dict[str, int]]:
    """Return ranks and special tokens, checked, from a printable vocabulary and pairs of printable tokens."""
    if not isinstance(vocabulary, dict) or not all(isinstance(i, int) for i in vocabulary.values()):
        raise FormatError(f"{path}: the vocabulary must map each token to an id")
    pairs: list[tuple[int, int]] = []
    formed: set[str] = set()
    for number, merge in enumerate(merges):
        if len(merge) != 2 or not all(isinstance(part, str) for part in merge):
            raise FormatError(f"{path}: merge {number} must be two tokens, got {merge!r}")
        a, b = merge
        for token in (a, b, a + b):
            if token not in vocabulary:
                raise FormatError(f"{path}: merge {number} names {token!r}, which is not in the vocabulary")
        formed.add(a + b)
        pairs.append((vocabulary[a], vocabulary[b]))
    ordinary: dict[bytes, int] = {}
    special: dict[str, int] = {}
    for token, i in vocabulary.items():
        if token in formed or len(token) == 1:
            try:
                ordinary[from_printable(token)] = i
            except ValueError as error:
                raise FormatError(f"{path}: {error}. Is this a byte-level vocabulary?") from None
        elif is_special(token):
            special[token] = i
        else:
            raise FormatError(f"{path}: no merge forms the token {token!r}. Is the list of merges complete?")
    _check(ordinary, special, pairs, path)
    return ordinary, special


def _check(ranks: Mapping[bytes, int], special: Mapping[str, int], pairs: list[tuple[int, int]], path: Path) -> None:
    try:
        check_ranks(ranks, special)
        if len(pairs) != len(ranks) - 256:
            raise FormatError(f"{len(pairs)} merges form {len(ranks) - 256} tokens; some merge repeats a token")
        check_merges(ranks, pairs)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
