"""The native format: one JSON file that holds everything a tokenizer consists of.

    {"format": "dlpapers-bpe", "version": 1, "pattern": "gpt2", "byte_order": "raw" or "gpt2" or 256 numbers,
     "special_tokens": {"<|endoftext|>": 1023}, "merges": [[101, 32], ...]}

The bytes of `byte_order`, then the merges, have the ids 0, 1, 2, … that the special tokens do not take. Version 2 holds
vocabularies that merges cannot express, such as Llama 3's, as pairs of token (in printable characters) and id:

    {"format": "dlpapers-bpe", "version": 2, "pattern": "…", "special_tokens": {…}, "tokens": [["Ġthe", 262], ...]}

Version 3 holds tokenizers with normalizers, several splits, a template or added tokens that are not special. It has the
content of a `tokenizer.json`, because such tokenizers come from there:

    {"format": "dlpapers-bpe", "version": 3, "huggingface": {"model": …, "normalizer": …, …}}

Each version may have `model_max_length`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpe._common.atomic import write_json, write_text
from bpe.byte_unicode import GPT2_BYTE_ORDER, from_printable, to_printable
from bpe.errors import FormatError
from bpe.formats import huggingface
from bpe.formats.base import Vocabulary
from bpe.vocabulary import RAW_BYTE_ORDER, check_merges, has_holes, is_id, ranks_of

if TYPE_CHECKING:
    from bpe.tokenizer import Tokenizer

FORMAT = "dlpapers-bpe"
_ORDERS = {"raw": RAW_BYTE_ORDER, "gpt2": GPT2_BYTE_ORDER}
_KEYS = {
    1: {"format", "version", "pattern", "byte_order", "special_tokens", "merges"},
    2: {"format", "version", "pattern", "special_tokens", "tokens"},
    3: {"format", "version", "huggingface"},
}
_LENGTH = "model_max_length"  # an optional key


def save(tokenizer: Tokenizer, path: Path) -> None:
    """Write one file: merges where they express the vocabulary, else all tokens; or the content of a tokenizer.json."""
    if tokenizer.pipeline is not None:
        content = huggingface.content_of(tokenizer)
        limit = {} if tokenizer.model_max_length is None else {_LENGTH: tokenizer.model_max_length}
        write_json(path, {"format": FORMAT, "version": 3, **limit, "huggingface": content})
        return
    head: dict[str, Any] = {
        "format": FORMAT,
        "version": 1,
        "pattern": tokenizer.pattern,
        "special_tokens": dict(tokenizer.special_tokens),
    }
    if tokenizer.model_max_length is not None:
        head[_LENGTH] = tokenizer.model_max_length
    order = sorted(tokenizer.ranks, key=tokenizer.ranks.__getitem__)[:256]
    try:
        if any(len(token) != 1 for token in order) or has_holes(tokenizer.ranks, tokenizer.special_tokens):
            raise FormatError("the ids are not those of 256 bytes and then merges")
        key, rows = "merges", json.dumps(tokenizer.merges, separators=(",", ":"))
        byte_order = b"".join(order)
        head["byte_order"] = next((name for name, known in _ORDERS.items() if known == byte_order), list(byte_order))
    except FormatError:
        head["version"] = 2
        by_id = sorted(tokenizer.ranks.items(), key=lambda item: item[1])
        tokens = [[to_printable(token), i] for token, i in by_id]
        key, rows = "tokens", json.dumps(tokens, ensure_ascii=False, separators=(",", ":"))
    start = json.dumps(head, ensure_ascii=False, indent=1)[:-2]
    write_text(path, f'{start},\n "{key}": ' + rows.replace("],[", "],\n[") + "\n}\n")


def parse(content: dict[str, Any], path: Path) -> Vocabulary:
    """Return the vocabulary of a file's content. path: named in errors."""
    version = content.get("version")
    if version not in _KEYS or type(version) is not int:
        raise FormatError(f"{path}: `version` must be 1, 2 or 3, got {version!r}")
    if set(content) - {_LENGTH} != _KEYS[version]:
        raise FormatError(f"{path}: must have the keys {sorted(_KEYS[version])}, got {sorted(content)}")
    limit = content.get(_LENGTH)
    if limit is not None and (type(limit) is not int or limit < 1):
        raise FormatError(f"{path}: `{_LENGTH}` must be an integer of at least 1, got {limit!r}")
    if version == 3:
        inner = content["huggingface"]
        if not isinstance(inner, dict) or not isinstance(inner.get("model"), dict):
            raise FormatError(f"{path}: `huggingface` must be the content of a tokenizer.json")
        found = huggingface.parse(inner, path)
        found.model_max_length = limit
        return found
    pattern, special = content["pattern"], content["special_tokens"]
    if not (pattern is None or isinstance(pattern, str)):
        raise FormatError(f"{path}: `pattern` must be a string or null, got {pattern!r}")
    if not isinstance(special, dict) or not all(map(is_id, special.values())):
        raise FormatError(f"{path}: `special_tokens` must map names to ids")
    try:
        ranks = _from_merges(content, special) if version == 1 else _from_tokens(content["tokens"])
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None
    return Vocabulary(ranks, pattern, special, model_max_length=limit)


def _from_merges(content: dict[str, Any], special: dict[str, int]) -> dict[bytes, int]:
    order, merges = content["byte_order"], content["merges"]
    if isinstance(order, list) and len(order) == 256 and all(is_id(b) and b < 256 for b in order):
        byte_order = bytes(order)
    elif isinstance(order, str) and order in _ORDERS:
        byte_order = _ORDERS[order]
    else:
        raise FormatError('`byte_order` must be "raw", "gpt2" or 256 numbers')
    if not isinstance(merges, list) or not all(
        isinstance(m, list) and len(m) == 2 and is_id(m[0]) and is_id(m[1]) for m in merges
    ):
        raise FormatError("`merges` must be pairs of ids")
    pairs = [(m[0], m[1]) for m in merges]
    ranks = ranks_of(pairs, byte_order, list(special.values()))
    check_merges(ranks, pairs)
    return ranks


def _from_tokens(tokens: Any) -> dict[bytes, int]:
    if not isinstance(tokens, list) or not all(
        isinstance(t, list) and len(t) == 2 and isinstance(t[0], str) and is_id(t[1]) for t in tokens
    ):
        raise FormatError("`tokens` must be pairs of token and id")
    try:
        ranks = {from_printable(token): i for token, i in tokens}
    except ValueError as error:
        raise FormatError(str(error)) from None
    if len(ranks) != len(tokens):
        raise FormatError("`tokens` must hold each token once")
    return ranks
