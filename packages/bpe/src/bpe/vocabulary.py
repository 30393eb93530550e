"""Two ways to write a vocabulary, merges and ranks, and the conditions on both.

Merges: pairs of ids in the order of training; merge k creates the next free id. Ranks: token -> id, where a lower id
is merged earlier (as in tiktoken; encoding needs nothing else). Special tokens may take ids in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count

from bpe.errors import FormatError
from bpe.merge import byte_pair_merge

RAW_BYTE_ORDER = bytes(range(256))
"""Byte b has id b: the order of minbpe, and of tokenizers trained here except with ties="ids"."""

MAX_ID = 2**32 - 1
"""The largest id: ids are stored in 32 bits."""


def free_ids(taken: Iterable[int]) -> Iterator[int]:
    """Yield 0, 1, 2, … without the ids of special tokens."""
    used = frozenset(taken)
    return (i for i in count() if i not in used)


def is_id(value: object) -> bool:
    """Return whether a value read from a file can be an id: files hold 1.0, true and "1", too."""
    return type(value) is int and 0 <= value <= MAX_ID


def check_ranks(ranks: Mapping[bytes, int], special_tokens: Mapping[str, int]) -> None:
    """Raise FormatError unless every text can be encoded and every id decodes to one token."""
    ids = [*ranks.values(), *special_tokens.values()]
    for i in ids:
        if not is_id(i):
            raise FormatError(f"every id must be an integer from 0 to 2^32 - 1, got {i!r}")
    if b"" in ranks or "" in special_tokens:
        raise FormatError("a token must not be empty, got an empty token")
    missing = [b for b in range(256) if bytes([b]) not in ranks]
    if missing:
        raise FormatError(f"each of the 256 bytes must have an id, got none for byte {missing[0]:#04x}")
    if len(set(ids)) != len(ids):
        raise FormatError(f"every token must have an id of its own, got two tokens with the id {_repeated(ids)}")


def has_holes(ranks: Mapping[bytes, int], special_tokens: Mapping[str, int]) -> bool:
    """Return whether ordinary ids are other than 0, 1, 2, … without those of special tokens."""
    expected = free_ids(special_tokens.values())
    return any(have != want for have, want in zip(sorted(ranks.values()), expected, strict=False))


def _repeated(ids: Sequence[int]) -> int:
    seen: set[int] = set()
    for i in ids:
        if i in seen:
            return i
        seen.add(i)
    raise ValueError("no id is repeated")


def merges_of(ranks: Mapping[bytes, int]) -> list[tuple[int, int]]:
    """Return the pair of ids that forms each token, in the order of ids.

    A token's parts are its tokens when only tokens with a lower id may be formed.
    Raises: FormatError for a token that no merge of two earlier tokens forms.
    """
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            parts = byte_pair_merge(token, ranks, below=rank)
            if len(parts) != 2:
                raise FormatError(f"the token {token!r} (id {rank}) is not one merge of two earlier tokens")
            merges.append((ranks[parts[0]], ranks[parts[1]]))
    return merges


def ranks_of(merges: Iterable[tuple[int, int]], byte_order: bytes, taken: Sequence[int] = ()) -> dict[bytes, int]:
    """Return token -> id from merges of ids.

    byte_order: the 256 bytes in the order of their ids. taken: the ids of special tokens.
    Raises: FormatError for a merge of an id that does not exist yet, or one that repeats a token.
    """
    if len(byte_order) != 256 or len(set(byte_order)) != 256:
        raise FormatError("`byte_order` must hold each of the 256 bytes once")
    ids = free_ids(taken)
    token_of = {i: bytes([b]) for b, i in zip(byte_order, ids, strict=False)}
    ranks = {token: i for i, token in token_of.items()}
    for number, (a, b) in enumerate(merges):
        if a not in token_of or b not in token_of:
            missing = a if a not in token_of else b
            raise FormatError(f"merge {number} must join existing ids, got {missing}, which no earlier merge creates")
        token = token_of[a] + token_of[b]
        if token in ranks:
            raise FormatError(f"merge {number} must create a new token, got {token!r}, which exists already")
        ranks[token] = i = next(ids)
        token_of[i] = token
    return ranks


def check_merges(ranks: Mapping[bytes, int], merges: Sequence[tuple[int, int]]) -> None:
    """Raise FormatError unless the ranks alone reproduce these merges in this order.

    Trained merges always satisfy this. A list written by hand may hold a merge that can never happen, because an
    earlier one consumes its parts. Merging by rank and merging by pair would then give different ids, so such a list
    is rejected.
    """
    for number, (have, want) in enumerate(zip(merges_of(ranks), merges, strict=True)):
        if have != want:
            raise FormatError(f"merge {number} joins the ids {want}, which earlier merges prevent")
