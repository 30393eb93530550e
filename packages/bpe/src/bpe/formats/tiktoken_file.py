"""The `.tiktoken` format: a line for each token, its bytes in base 64 and its rank, which is its id.

Such a file states neither pattern nor special tokens; `export` writes them into a JSON file beside it, and for
OpenAI's own files they are known by the file's hash.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bpe.errors import FormatError
from bpe.formats.files import read_json, write_json, write_text
from bpe.patterns import PATTERNS
from bpe.published import BY_HASH

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

NAME = "tokenizer.tiktoken"


def to_text(ranks: Mapping[bytes, int]) -> str:
    """The content of a `.tiktoken` file."""
    by_id = sorted(ranks.items(), key=lambda item: item[1])
    return "".join(f"{base64.b64encode(token).decode()} {i}\n" for token, i in by_id)


def parse(data: bytes, path: Path) -> dict[bytes, int]:
    """Token -> id from such a content."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            encoded, rank = line.split()
            token = base64.b64decode(encoded, validate=True)
            ranks_id = int(rank)
        except (ValueError, binascii.Error):
            raise FormatError(f"{path}: line {number} is not a token in base 64 and its rank") from None
        if token in ranks:
            raise FormatError(f"{path}: line {number} repeats the token {token!r}")
        ranks[token] = ranks_id
    return ranks


def export(tokenizer: Tokenizer, folder: Path) -> list[Path]:
    """Write the file, and pattern and special tokens beside it."""
    pattern = tokenizer.pattern
    aside = {
        "pat_str": PATTERNS.get(pattern, pattern) if pattern else None,
        "special_tokens": dict(tokenizer.special_tokens),
    }
    file = write_text(folder / NAME, to_text(tokenizer.ranks))
    return [file, write_json(_beside(file), aside, indent=1)]


def read(path: Path) -> tuple[dict[bytes, int], str | None, dict[str, int], bool]:
    """Ranks, pattern, special tokens, and whether these two are known (by hash, or by the file beside)."""
    data = path.read_bytes()
    ranks = parse(data, path)
    if published := BY_HASH.get(hashlib.sha256(data).hexdigest()):
        return ranks, published.pattern, dict(published.special_tokens), True
    if not _beside(path).exists():
        return ranks, None, {}, False
    aside = read_json(_beside(path))
    if not isinstance(aside, dict) or set(aside) != {"pat_str", "special_tokens"}:
        raise FormatError(f"{_beside(path)}: it has to hold pat_str and special_tokens")
    pattern, special = aside["pat_str"], aside["special_tokens"]
    if not (pattern is None or isinstance(pattern, str)) or not isinstance(special, dict):
        raise FormatError(f"{_beside(path)}: pat_str has to be a text or null, special_tokens names with ids")
    return ranks, pattern, special, True


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".json")
