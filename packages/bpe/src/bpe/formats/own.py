"""The own format: one JSON file that holds all that a tokenizer is.

    {"format": "dlpapers-bpe", "version": 1, "pattern": "gpt2", "byte_order": "raw" or "gpt2" or 256 numbers,
     "special_tokens": {"<|endoftext|>": 1023}, "merges": [[101, 32], ...]}

The bytes in `byte_order`, then the merges, have the ids 0, 1, 2, … that the special tokens do not take.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpe.byte_letters import GPT2_BYTE_ORDER
from bpe.errors import FormatError
from bpe.formats.files import write_text
from bpe.vocabulary import RAW_BYTE_ORDER, check_merges, ranks_of

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

FORMAT, VERSION = "dlpapers-bpe", 1
_ORDERS = {"raw": RAW_BYTE_ORDER, "gpt2": GPT2_BYTE_ORDER}
_KEYS = {"format", "version", "pattern", "byte_order", "special_tokens", "merges"}


def byte_order_of(tokenizer: Tokenizer) -> bytes:
    """The bytes by id; FormatError if they do not come before all other tokens, as merges need it."""
    first = sorted(tokenizer.ranks, key=tokenizer.ranks.__getitem__)[:256]
    if any(len(token) != 1 for token in first):
        raise FormatError("tokens: longer ones have lower ids than single bytes; only `tiktoken` files can hold that")
    return b"".join(first)


def save(tokenizer: Tokenizer, path: Path) -> None:
    """Write one file; FormatError, and no file, for a vocabulary that merges cannot express."""
    import json

    order = byte_order_of(tokenizer)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "pattern": tokenizer.pattern,
        "byte_order": next((name for name, known in _ORDERS.items() if known == order), list(order)),
        "special_tokens": dict(tokenizer.special_tokens),
    }
    merges = json.dumps(tokenizer.merges, separators=(",", ":")).replace("],[", "],\n[")
    write_text(path, json.dumps(head, ensure_ascii=False, indent=1)[:-2] + f',\n "merges": {merges}\n}}\n')


def parse(found: dict[str, Any], path: Path) -> tuple[dict[bytes, int], str | None, dict[str, int]]:
    """Ranks, pattern and special tokens of a file's content."""
    if found.get("version") != VERSION:
        raise FormatError(f"{path}: version {found.get('version')!r}; this package reads version {VERSION}")
    if set(found) != _KEYS:
        raise FormatError(f"{path}: it should have the keys {sorted(_KEYS)} and has {sorted(found)}")
    pattern, order, special, merges = (found[k] for k in ("pattern", "byte_order", "special_tokens", "merges"))
    if not (pattern is None or isinstance(pattern, str)):
        raise FormatError(f"{path}: pattern: {pattern!r} is neither a text nor null")
    if not isinstance(special, dict) or not all(_is_id(i) for i in special.values()):
        raise FormatError(f"{path}: special_tokens: it has to give an id to each name")
    if isinstance(order, list) and len(order) == 256 and all(_is_id(b) and b < 256 for b in order):
        order_bytes = bytes(order)
    elif isinstance(order, str) and order in _ORDERS:
        order_bytes = _ORDERS[order]
    else:
        raise FormatError(f'{path}: byte_order: neither "raw" nor "gpt2" nor 256 numbers')
    if not isinstance(merges, list) or not all(
        isinstance(m, list) and len(m) == 2 and _is_id(m[0]) and _is_id(m[1]) for m in merges
    ):
        raise FormatError(f"{path}: merges: they have to be pairs of ids")
    pairs = [(m[0], m[1]) for m in merges]
    try:
        ranks = ranks_of(pairs, order_bytes, list(special.values()))
        check_merges(ranks, pairs)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    return ranks, pattern, special


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32
