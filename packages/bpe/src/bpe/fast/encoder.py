"""The compiled encoder: tables in NumPy arrays, kernels that fill and read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpe.fast import layout
from bpe.fast.decoder import Decoder
from bpe.fast.layout import BATCH, BLOCK, PADDING, SHORT
from bpe.fast.machine import entry_point
from bpe.fast.memory import Addresses, class_rows, zeroed_words

Ids = NDArray[np.uint32]
FEW = 256  # texts up to this many bytes have their integers made anew
ALONE = (1, None, None)  # one document: what the kernel is told of documents
TASK = 1 << 20  # characters that a thread encodes in one call
SMALL = BLOCK  # texts up to this many bytes leave their ids in a thread's own array


class Scratch:
    """The memory of one thread at work: what it remembers of earlier text, and room for one block."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.cache = zeroed_words(4 << layout.CACHE_BITS)
        self.long_cache = zeroed_words(4 << layout.LONG_BITS)
        self.arena = np.zeros(layout.ARENA + PADDING, dtype=np.uint8)
        self.pool = np.zeros(layout.POOL + PADDING, dtype=np.uint32)
        self.state = np.zeros(layout.N_STATE, dtype=np.uint64)
        self.out = np.zeros(SMALL, dtype=np.uint32)
        self.out_address: int = self.out.ctypes.data
        self.capacity = 0
        self.reserve(BLOCK)

    def reserve(self, capacity: int) -> None:
        """Room for blocks, and so for single pieces, of this many bytes."""
        n = capacity + 2 * PADDING
        text, classes, starts = (np.zeros(n, dtype=np.uint8) for _ in range(3))
        found, links = np.zeros(BATCH, dtype=np.uint8), np.zeros(2 * SHORT, dtype=np.uint8)
        ends, ids, symbols, ranks, following, preceding = (np.zeros(n, dtype=np.uint32) for _ in range(6))
        slots = np.zeros(BATCH, dtype=np.uint32)
        low, high = np.zeros(BATCH, dtype=np.uint64), np.zeros(BATCH, dtype=np.uint64)
        heap = np.zeros(3 * n, dtype=np.uint64)  # one entry per pair at the start and at most two per merge
        self.state[layout.CAPACITY] = self.capacity = capacity
        s = self.shared
        self.addresses = Addresses(
            [s.class_of_block, s.class_of, text, classes, starts, links, self.arena, found, s.odd_bytes, s.joined],
            [
                *(ends, s.byte_ids, s.bigrams, symbols, ranks, following, preceding),
                *(self.cache.view(np.uint32), self.pool, slots, s.odd_lengths, s.odd_ids, ids),
            ],
            [
                *(self.state, s.pairs, s.facts, heap, self.cache, self.long_cache, low, high),
                *(s.token_low, s.token_high, s.token_id),
            ],
        )  # the order that kernels/memory.py states
        self.arguments = self.addresses.arguments

    def reserve_more(self, largest: int) -> None:
        """Room for blocks eight times as large, where one of `largest` bytes is the largest there can be."""
        self.reserve(min(8 * self.capacity, largest))

    def release(self) -> None:
        """Back to the usual room."""
        if self.capacity > BLOCK:
            self.reserve(BLOCK)


class Shared:
    """What depends on the vocabulary and the pattern only; read by all threads."""

    def __init__(self, ranks: Mapping[bytes, int]) -> None:
        check_vocabulary(ranks)
        self.class_of_block, self.class_of = class_rows()
        self.joined = np.zeros(1 << 16, dtype=np.uint8)
        self.byte_ids = np.zeros(256, dtype=np.uint32)
        self.bigrams = np.full(1 << 16, 0xFFFFFFFF, dtype=np.uint32)
        pair_bits = max(10, (2 * len(ranks)).bit_length())
        self.pairs = np.zeros(1 << pair_bits, dtype=np.uint64)
        self.facts = np.zeros(layout.N_FACTS, dtype=np.uint64)
        self.facts[layout.PAIR_BITS] = pair_bits
        self.odd_bytes, self.odd_lengths, self.odd_ids = (np.zeros(1, dtype=d) for d in ("u1", "u4", "u4"))
        self.token_low = self.token_high = self.token_id = np.zeros(1, dtype=np.uint64)

        tokens = sorted(ranks, key=len)
        ids = np.fromiter(map(ranks.__getitem__, tokens), dtype=np.uint32, count=len(tokens))
        lengths = np.fromiter(map(len, tokens), dtype=np.uint32, count=len(tokens))
        odd = np.zeros(len(tokens), dtype=np.uint32)
        scratch = Scratch(self)
        scratch.reserve(max(BLOCK, int(lengths[-1])))
        entry_point("vocabulary")(
            *scratch.arguments, b"".join(tokens), len(tokens), lengths.ctypes.data, ids.ctypes.data, odd.ctypes.data
        )
        long_odd = np.flatnonzero((odd == 1) & (lengths > 15))
        if len(long_odd) > 1 << (layout.LONG_BITS - 2) or (lengths[long_odd] > layout.LONGEST).any():
            raise ValueError(
                "vocabulary: it has too many or too long tokens that no merge makes for the compiled engine"
            )
        self.odd_bytes = np.frombuffer(b"".join(tokens[k] for k in long_odd) + bytes(8), dtype=np.uint8)
        self.odd_lengths, self.odd_ids = np.append(lengths[long_odd], 0), np.append(ids[long_odd], 0)
        self.facts[layout.ODD] = len(long_odd)
        self.facts[layout.DIVIDE] = not odd.any()
        short = np.flatnonzero(lengths <= 15)
        # those first that merging does not make; of a huge vocabulary the others may wait until they are met
        chosen = short[np.lexsort((ids[short], -odd[short].astype(np.int64)))][: 1 << (layout.CACHE_BITS - 1)]
        self.token_low, self.token_high = keys([tokens[k] for k in chosen])
        self.token_id = ids[chosen].astype(np.uint64)
        self.facts[layout.TOKENS] = len(chosen)


def check_vocabulary(ranks: Mapping[bytes, int]) -> None:
    """ValueError unless every byte is a token and the ids fit."""
    missing = [b for b in range(256) if bytes([b]) not in ranks]
    if missing:
        raise ValueError(f"vocabulary: every single byte has to be a token, {bytes(missing[:1])!r} is not")
    largest = max(ranks.values())
    if min(ranks.values()) < 0 or largest >= (1 << layout.ID_BITS) - 1:
        raise ValueError(f"vocabulary: ids have to lie in 0..{(1 << layout.ID_BITS) - 2}, one is {largest}")


def keys(tokens: list[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The two words of each token's key in the cache: its bytes, and its length in the last of 16."""
    padded = b"".join(t.ljust(15, b"\0") + bytes([len(t)]) for t in tokens)
    words = np.frombuffer(padded, dtype="<u8").reshape(-1, 2)
    return words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)


def together(texts: Sequence[str], limit: int) -> Iterator[Sequence[str]]:
    """Neighbouring texts in groups, each of which is full when it has `limit` characters."""
    first = size = 0
    for after, text in enumerate(texts, start=1):
        size += len(text)
        if size >= limit:
            yield texts[first:after]
            first, size = after, 0
    if first < len(texts):
        yield texts[first:]


class NumbaEncoder:
    """Ordinary text to ids and back, for one vocabulary and one pattern. May be used from several threads at once.

    ranks: token -> id, which is also its rank. pattern: "gpt2", "cl100k", "o200k" or None for no split at all.
    Text is given as UTF-8; that it is valid is the caller's part. Without a pattern and for given pieces any bytes do.
    """

    def __init__(self, ranks: Mapping[bytes, int], pattern: str | None = "gpt2") -> None:
        if pattern is not None and pattern not in layout.PATTERNS:
            raise ValueError(f"pattern: {pattern!r}, accepted are {', '.join(layout.PATTERNS)} and None")
        self.pattern = pattern
        self._encode = entry_point("encode")
        self._shared = Shared(ranks)
        self._kind = layout.GIVEN if pattern is None else layout.PATTERNS[pattern]
        self._idle: list[Scratch] = []
        self._decoder = Decoder(ranks)
        self._ranks = ranks

    @contextmanager
    def _scratch(self) -> Iterator[Scratch]:
        """A scratch that no other thread uses meanwhile."""
        try:
            scratch = self._idle.pop()
        except IndexError:
            scratch = Scratch(self._shared)
        try:
            yield scratch
        finally:
            self._idle.append(scratch)

    def encode(self, data: bytes) -> Ids:
        """Ids of a text."""
        return self._encode_ends(data, None if self.pattern else np.array([len(data)], dtype=np.uint64))

    def encode_to_list(self, data: bytes) -> list[int]:
        """Ids of a text as Python integers. For one that is no more than a block nothing is allocated but the list."""
        n = len(data)
        if n > SMALL or not self.pattern:
            return self.to_list(self.encode(data))
        try:
            scratch = self._idle.pop()
        except IndexError:
            scratch = Scratch(self._shared)
        count = self._encode(*scratch.arguments, data, n, self._kind, 1, None, scratch.out_address, *ALONE)
        ids: list[int] = scratch.out[:count].tolist() if n <= FEW else self.to_list(scratch.out[:count])
        self._idle.append(scratch)
        return ids

    def to_list(self, ids: Ids) -> list[int]:
        """Ids as Python integers. The integers are there already: making new ones takes longer than all of encoding."""
        found: list[int] = self._integers.take(ids).tolist()
        return found

    @cached_property
    def _integers(self) -> NDArray[np.object_]:
        return np.arange(max(self._ranks.values()) + 1).astype(object)

    def encode_pieces(self, data: bytes, ends: Sequence[int] | NDArray[np.integer[Any]]) -> Ids:
        """Ids of a text that you split: its pieces end at `ends` (in bytes, ascending, the last one at the end)."""
        places = np.array(ends, dtype=np.int64).reshape(-1)
        if len(places) and (places[0] <= 0 or (np.diff(places) <= 0).any()):
            raise ValueError("ends: they have to ascend from above 0, every piece having at least one byte")
        if (int(places[-1]) if len(places) else 0) != len(data):
            raise ValueError(f"ends: the last one has to be the number of bytes, {len(data)}")
        return self._encode_ends(data, places.astype(np.uint64))

    def encode_batch(self, texts: Sequence[str], num_threads: int = 1) -> list[Ids]:
        """Ids of each text. Threads run at once: the kernels need no interpreter."""
        if num_threads < 1:
            raise ValueError(f"num_threads: {num_threads} is below 1")
        limit = min(TASK, sum(map(len, texts)) // (4 * num_threads) + 1)  # enough tasks to even the load
        tasks = list(together(texts, limit))
        if num_threads == 1 or len(tasks) == 1:
            return [ids for task in tasks for ids in self._encode_documents(task)]
        with ThreadPoolExecutor(num_threads) as threads:
            return [ids for done in threads.map(self._encode_documents, tasks) for ids in done]

    def _encode_documents(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text, by one call of the kernel; they lie in one array."""
        if len(texts) == 1:
            return [self.encode(texts[0].encode())]
        parts = [text.encode() for text in texts]
        lengths = np.fromiter(map(len, parts), dtype=np.uint64, count=len(texts))
        ends, counts = np.cumsum(lengths), np.zeros(len(texts), dtype=np.uint64)
        pieces = None if self.pattern else ends[lengths > 0]
        documents = len(texts), ends.ctypes.data, counts.ctypes.data
        with self._scratch() as scratch:
            out, count = self._run(scratch, b"".join(parts), True, pieces, documents)
            ids = out[:count].copy()
        stops = np.cumsum(counts).tolist()
        return [ids[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]

    def count(self, data: bytes) -> int:
        """Number of ids of a text, which are not kept."""
        with self._scratch() as scratch:
            ends = None if self.pattern else np.array([len(data)], dtype=np.uint64)
            return self._run(scratch, data, False, ends)[1]

    def split(self, data: bytes) -> NDArray[np.uint64]:
        """Where the pieces that the pattern makes of a text end, in bytes."""
        if not self.pattern:
            return np.array([len(data)] if data else [], dtype=np.uint64)
        ends = np.empty(len(data) + 1, dtype=np.uint64)
        with self._scratch() as scratch:
            while True:
                number = entry_point("split")(*scratch.arguments, data, len(data), self._kind, ends.ctypes.data)
                if number >= 0:
                    break
                scratch.reserve_more(len(data))
            scratch.release()
        return ends[:number]

    def decode(self, ids: Iterable[int] | Ids) -> bytes:
        """The bytes of ids; KeyError for one that no token has."""
        return self._decoder.decode(ids)

    def _encode_ends(self, data: bytes, ends: NDArray[np.uint64] | None) -> Ids:
        with self._scratch() as scratch:
            out, count = self._run(scratch, data, True, ends)
            return out[:count].copy() if out is scratch.out else out[:count]

    def _run(
        self,
        scratch: Scratch,
        data: bytes,
        keep: bool,
        ends: NDArray[np.uint64] | None,
        documents: tuple[int, int | None, int | None] = ALONE,
    ) -> tuple[Ids, int]:
        """Encode, with more scratch memory as often as a piece needs it; where the ids are and how many."""
        n = len(data)
        given = None if ends is None else ends.ctypes.data
        kind = self._kind if ends is None else layout.GIVEN
        while True:
            out = scratch.out if n <= SMALL or not keep else np.empty(n, dtype=np.uint32)  # ids never outnumber bytes
            count: int = self._encode(*scratch.arguments, data, n, kind, keep, given, out.ctypes.data, *documents)
            if count >= 0:
                break
            scratch.reserve_more(n)
        scratch.release()
        return out, count
