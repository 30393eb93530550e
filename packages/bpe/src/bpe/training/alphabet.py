"""Training options that limit the bytes that take part in merges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from bpe._common.errors import check_integer, invalid
from bpe.training.count import PretokenCounts


def check_alphabet(limit_alphabet: int | None, initial_alphabet: Iterable[bytes]) -> list[bytes]:
    """Return the initial alphabet as a list of single bytes. Raises: ValueError for bad values."""
    if limit_alphabet is not None:
        check_integer("limit_alphabet", limit_alphabet, 1)
    given: object = initial_alphabet
    if isinstance(given, str | bytes | bytearray):
        raise invalid("initial_alphabet", "be a list of single bytes, such as [b'a', b' ']", given)
    kept = list(initial_alphabet)
    elements: list[object] = list(kept)
    for byte in elements:
        if not isinstance(byte, bytes) or len(byte) != 1:
            raise invalid("initial_alphabet", "be a list of single bytes, such as [b'a', b' ']", byte)
    if kept and limit_alphabet is None:
        raise invalid(
            "initial_alphabet", "be given with limit_alphabet, because without it every byte takes part", kept
        )
    if limit_alphabet is not None and len(set(kept)) > limit_alphabet:
        raise invalid("limit_alphabet", f"be at least the {len(set(kept))} bytes of initial_alphabet", limit_alphabet)
    return kept


def with_alphabet(counts: PretokenCounts, limit_alphabet: int, initial_alphabet: list[bytes]) -> PretokenCounts:
    """Return the counts without the bytes that are not in the alphabet: the initial one, and the most frequent bytes.

    Of equally frequent bytes, the smaller one is kept.
    """
    frequency: Counter[int] = Counter()
    for pretoken, count in counts.counts.items():
        for byte in pretoken:
            frequency[byte] += count
    kept = {byte[0] for byte in initial_alphabet}
    for byte, _ in sorted(frequency.items(), key=lambda item: (-item[1], item[0])):
        if len(kept) >= limit_alphabet:
            break
        kept.add(byte)
    dropped = bytes(b for b in range(256) if b not in kept)
    found: dict[bytes, int] = {}
    for pretoken, count in counts.counts.items():
        if shorter := pretoken.translate(None, dropped):
            found[shorter] = found.get(shorter, 0) + count
    return PretokenCounts(counts.pattern, found, special_tokens=counts.special_tokens)
