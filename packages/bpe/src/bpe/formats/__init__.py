"""The file formats, both ways; `load` tells them apart by what is in the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bpe.errors import FormatError
from bpe.formats import huggingface, openai, own, tiktoken_file
from bpe.formats.files import read_json
from bpe.patterns import Splitter
from bpe.vocabulary import check_ranks

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

_EITHER = "a tokenizer.json, vocab.json + merges.txt, encoder.json + vocab.bpe, or one .tiktoken file"


def export(tokenizer: Tokenizer, folder: Path, format: str) -> list[Path]:
    """Write another format's files into a folder; returns them."""
    formats = {"huggingface": huggingface.export, "openai": openai.export, "tiktoken": tiktoken_file.export}
    if format not in formats:
        raise ValueError(f"format: {format!r} is not one of {', '.join(formats)}")
    return formats[format](tokenizer, folder)


def load(
    path: Path,
    *,
    engine: Literal["auto", "python", "numba"] = "auto",
    pattern: str | Literal["as stated"] | None = "as stated",
    special_tokens: Mapping[str, int] | None = None,
) -> Tokenizer:
    """A tokenizer from a file or a folder of any format.

    `pattern` and `special_tokens` are for files that do not state theirs; special tokens come on top of stated ones.
    """
    from bpe.tokenizer import Tokenizer

    ranks, stated, special, states_pattern = _read(_file_of(path))
    if pattern == "as stated" and not states_pattern:
        raise FormatError(
            f"{path}: the file does not state its pattern; give pattern= (a name, a regular expression or None)"
        )
    if states_pattern and pattern not in ("as stated", stated):
        raise FormatError(f"{path}: it states the pattern {stated!r}, not {pattern!r}")
    chosen = stated if pattern == "as stated" else pattern
    special |= special_tokens or {}
    try:
        check_ranks(ranks, special)
        Splitter(chosen)
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from None
    return Tokenizer(ranks, pattern=chosen, special_tokens=special, engine=engine)


def _file_of(path: Path) -> Path:
    """The file to begin with: the path itself, or the best one in a folder."""
    if not path.is_dir():
        return path
    for name in (huggingface.NAME, openai.HUGGINGFACE[0], openai.OPENAI[0]):
        if (path / name).exists():
            return path / name
    files = sorted(path.glob("*.tiktoken"))
    if len(files) != 1:
        raise FormatError(f"{path}: a folder with {_EITHER} is wanted; it has none of them, or several .tiktoken files")
    return files[0]


def _read(path: Path) -> tuple[dict[bytes, int], str | None, dict[str, int], bool]:
    """Ranks, pattern, special tokens of a file (and its companion), and whether pattern and specials are stated."""
    if path.name in (openai.OPENAI[1], openai.HUGGINGFACE[1]):  # the merges were named: take the vocabulary beside
        pairs = dict([openai.OPENAI[::-1], openai.HUGGINGFACE[::-1]])
        path = path.with_name(pairs[path.name])
    if path.suffix != ".json":
        with path.open("rb") as file:
            begins = file.read(64).lstrip()[:1]
        if begins != b"{":
            return tiktoken_file.read(path)
    found: Any = read_json(path)
    if isinstance(found, dict) and found.get("format") == own.FORMAT:
        return *own.parse(found, path), True
    if isinstance(found, dict) and isinstance(found.get("model"), dict):
        return *huggingface.parse(found, path), True
    if isinstance(found, dict) and found and all(isinstance(i, int) for i in found.values()):
        for merges in (openai.OPENAI[1], openai.HUGGINGFACE[1]):
            if path.with_name(merges).exists():
                ranks, special = openai.read(path, path.with_name(merges))
                return ranks, "gpt2", special, True
        raise FormatError(f"{path}: a vocabulary whose merges (vocab.bpe or merges.txt) are not beside it")
    raise FormatError(f"{path}: no tokenizer; wanted is the own format, {_EITHER}")
