"""The `.tiktoken` format: one line per token, its bytes in base 64 and its rank, which is its id.

Such a file states neither pattern nor special tokens. `export` writes them into a JSON file beside it; OpenAI's own
files are recognized by their SHA-256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bpe._common.atomic import write_json, write_text
from bpe.errors import FormatError
from bpe.formats.base import Vocabulary, read_json
from bpe.formats.known_files import BY_HASH
from bpe.pretokenize import PATTERNS

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

NAME = "tokenizer.tiktoken"


def to_text(ranks: Mapping[bytes, int]) -> str:
    """Return the content of a `.tiktoken` file."""
    by_id = sorted(ranks.items(), key=lambda item: item[1])
    return "".join(f"{base64.b64encode(token).decode()} {i}\n" for token, i in by_id)


def parse(data: bytes, path: Path) -> dict[bytes, int]:
    """Return token -> id from the content of a `.tiktoken` file. path: named in errors."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            encoded, rank = line.split()
            token = base64.b64decode(encoded, validate=True)
            ranks_id = int(rank)
        except (ValueError, binascii.Error):
            raise FormatError(f"{path}: line {number} must be a token in base 64 and its rank") from None
        if token in ranks:
            raise FormatError(f"{path}: line {number} repeats the token {token!r}")
        ranks[token] = ranks_id
    return ranks


def export(tokenizer: Tokenizer, folder: Path) -> list[Path]:
    """Write tokenizer.tiktoken, and tokenizer.tiktoken.json with the pattern and the special tokens."""
    pattern = tokenizer.pattern
    if tokenizer.pipeline is not None:
        raise FormatError(f"a .tiktoken file cannot express the added tokens, steps or template of {tokenizer!r}")
    settings = {
        "pat_str": PATTERNS.get(pattern, pattern) if pattern else None,
        "special_tokens": dict(tokenizer.special_tokens),
    }
    file = folder / NAME
    write_text(file, to_text(tokenizer.ranks))
    write_json(_settings_of(file), settings)
    return [file, _settings_of(file)]


def read(path: Path) -> Vocabulary:
    """Read a file. The pattern is known by the file's hash or from the JSON file beside it."""
    data = path.read_bytes()
    ranks = parse(data, path)
    if published := BY_HASH.get(hashlib.sha256(data).hexdigest()):
        return Vocabulary(ranks, published.pattern, dict(published.special_tokens))
    beside = _settings_of(path)
    if not beside.exists():
        return Vocabulary(ranks, None, states_pattern=False)
    settings = read_json(beside)
    if not isinstance(settings, dict) or set(settings) != {"pat_str", "special_tokens"}:
        raise FormatError(f"{beside}: must hold `pat_str` and `special_tokens`")
    pattern, special = settings["pat_str"], settings["special_tokens"]
    if not (pattern is None or isinstance(pattern, str)):
        raise FormatError(f"{beside}: `pat_str` must be a string or null, got {pattern!r}")
    if not isinstance(special, dict):
        raise FormatError(f"{beside}: `special_tokens` must map names to ids, got {special!r}")
    return Vocabulary(ranks, pattern, special)


def _settings_of(path: Path) -> Path:
    return path.with_name(path.name + ".json")
