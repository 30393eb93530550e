"""The file formats, in both directions. `load` recognizes a format by the content of the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bpe._common.errors import check_choice
from bpe.errors import FormatError
from bpe.formats import huggingface, native, openai, tiktoken
from bpe.formats.base import Vocabulary, read_json
from bpe.pretokenize import check_pattern
from bpe.vocabulary import check_ranks

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

_FOLDER = "a tokenizer.json, vocab.json + merges.txt, encoder.json + vocab.bpe, or one .tiktoken file"


def export(tokenizer: Tokenizer, folder: Path, format: str) -> list[Path]:
    """Write the files of another format into a folder and return their paths."""
    formats = {"huggingface": huggingface.export, "openai": openai.export, "tiktoken": tiktoken.export}
    check_choice("format", format, formats)
    return formats[format](tokenizer, folder)


def load(
    path: Path,
    *,
    pattern: str | Literal["as stated"] | None = "as stated",
    special_tokens: Mapping[str, int] | None = None,
) -> Vocabulary:
    """Read a tokenizer of any format from a file or a folder.

    pattern: for files that do not state theirs. special_tokens: added to those that the file states.
    Raises: FormatError that names the file.
    """
    found = _read(_file_of(path))
    if pattern == "as stated":
        if not found.states_pattern:
            raise FormatError(
                f"{path}: the file does not state its pattern. Pass `pattern`: a name, a regular expression or None"
            )
    elif found.states_pattern and check_pattern(pattern) != found.pattern:
        raise FormatError(f"{path}: states the pattern {found.pattern!r}, not {pattern!r}")
    else:
        found.pattern = pattern
    try:
        if found.pipeline is None:
            found.special_tokens |= special_tokens or {}
            check_ranks(found.ranks, found.special_tokens)
        elif special_tokens:
            found.pipeline = found.pipeline.with_special_tokens(special_tokens)
            found.special_tokens |= special_tokens
            huggingface.check_ids(found.ranks, found.pipeline)
        found.pattern = check_pattern(found.pattern)
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from None
    return found


def _file_of(path: Path) -> Path:
    """Return the file to start with: the path itself, or the best one in a folder."""
    if not path.is_dir():
        return path
    for name in (huggingface.NAME, openai.HUGGINGFACE[0], openai.OPENAI[0]):
        if (path / name).exists():
            return path / name
    files = sorted(path.glob("*.tiktoken"))
    if len(files) != 1:
        raise FormatError(f"{path}: must be a folder with {_FOLDER}; it has none of them, or several .tiktoken files")
    return files[0]


def _read(path: Path) -> Vocabulary:
    """Read a file and those that belong to it."""
    if path.name in (openai.OPENAI[1], openai.HUGGINGFACE[1]):  # the merges were named: take the vocabulary beside them
        vocabulary_of = dict([openai.OPENAI[::-1], openai.HUGGINGFACE[::-1]])
        path = path.with_name(vocabulary_of[path.name])
    if path.suffix != ".json":
        with path.open("rb") as file:
            start = file.read(64).lstrip()[:1]
        if start != b"{":
            return tiktoken.read(path)
    content: Any = read_json(path)
    if isinstance(content, dict) and content.get("format") == native.FORMAT:
        return native.parse(content, path)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        return huggingface.parse(content, path)
    if isinstance(content, dict) and content and all(isinstance(i, int) for i in content.values()):
        for merges in (openai.OPENAI[1], openai.HUGGINGFACE[1]):
            if path.with_name(merges).exists():
                return openai.read(path, path.with_name(merges))
        raise FormatError(f"{path}: a vocabulary must have its merges (vocab.bpe or merges.txt) beside it")
    raise FormatError(f"{path}: not a tokenizer; must be in the native format, or {_FOLDER}")
