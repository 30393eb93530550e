"""The two ways to write a vocabulary, merges and ranks, and what both have to satisfy.

Merges: pairs of ids in the order of training; merge k makes the next free id. Ranks: token -> id, where a lower
id is merged earlier (tiktoken's way; encoding needs no more). Ids are the lowest numbers that no special token takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, islice

from bpe.errors import FormatError
from bpe.merge import byte_pair_merge

RAW_BYTE_ORDER = bytes(range(256))
"""Byte b has the id b: the order of minbpe and of what is trained here, except with ties="ids"."""


def free_ids(taken: Iterable[int]) -> Iterator[int]:
    """0, 1, 2, … without the ids of special tokens."""
    used = frozenset(taken)
    return (i for i in count() if i not in used)


def check_ranks(ranks: Mapping[bytes, int], special_tokens: Mapping[str, int]) -> None:
    """FormatError for a vocabulary with which no text could be encoded, or not every id decoded to one token."""
    for i in (*ranks.values(), *special_tokens.values()):
        if type(i) is not int or not 0 <= i < 2**32:  # files bring anything: 1.0, true, "1"
            raise FormatError(f"tokens: {i!r} is no id; ids are whole numbers from 0 to 2^32 - 1")
    if b"" in ranks or "" in special_tokens:
        raise FormatError("tokens: an empty token")
    lacking = [b for b in range(256) if bytes([b]) not in ranks]
    if lacking:
        raise FormatError(f"tokens: byte {lacking[0]:#04x} has no id; byte-level BPE needs one for each of the 256")
    ids = [*ranks.values(), *special_tokens.values()]
    if len(set(ids)) != len(ids):
        seen: set[int] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise FormatError(f"tokens: two of them have the id {twice}")
    wanted = islice(free_ids(special_tokens.values()), len(ranks))
    for have, want in zip(sorted(ranks.values()), wanted, strict=True):
        if have != want:
            raise FormatError(f"tokens: no token has the id {want}, but one has {have}; ids must not have holes")


def merges_of(ranks: Mapping[bytes, int]) -> list[tuple[int, int]]:
    """The merges that make each token, by id; FormatError for a token that no merge of two others makes.

    A token is made of what it is split into when only tokens of a lower id may be merged.
    """
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            made_of = byte_pair_merge(token, ranks, below=rank)
            if len(made_of) != 2:
                raise FormatError(f"tokens: {token!r} (id {rank}) is not made by one merge of two earlier tokens")
            merges.append((ranks[made_of[0]], ranks[made_of[1]]))
    return merges


def ranks_of(merges: Iterable[tuple[int, int]], byte_order: bytes, taken: Sequence[int] = ()) -> dict[bytes, int]:
    """Token -> id from merges of ids; `byte_order` holds the bytes by id, `taken` the ids of special tokens.

    FormatError for a merge of an id that does not exist yet, or that makes a token which is there already.
    """
    if len(byte_order) != 256 or len(set(byte_order)) != 256:
        raise FormatError("byte_order: it has to hold each of the 256 bytes once")
    ids = free_ids(taken)
    token_of = {i: bytes([b]) for b, i in zip(byte_order, ids, strict=False)}
    ranks = {token: i for i, token in token_of.items()}
    for number, (a, b) in enumerate(merges):
        if a not in token_of or b not in token_of:
            missing = a if a not in token_of else b
            raise FormatError(f"merges: merge {number} names the id {missing}, which no earlier merge makes")
        token = token_of[a] + token_of[b]
        if token in ranks:
            raise FormatError(f"merges: merge {number} makes {token!r}, which is a token already")
        ranks[token] = i = next(ids)
        token_of[i] = token
    return ranks


def check_merges(ranks: Mapping[bytes, int], merges: Sequence[tuple[int, int]]) -> None:
    """FormatError unless the ranks alone give back these merges, in this order.

    They do for whatever was trained. A list put together by hand may hold a merge that can never happen because an
    earlier one takes its parts away; then merging by rank and by pair
    would differ, and no answer would be the right one.
    """
    for number, (have, want) in enumerate(zip(merges_of(ranks), merges, strict=True)):
        if have != want:
            raise FormatError(f"merges: merge {number} joins the ids {want}, which earlier merges prevent")
