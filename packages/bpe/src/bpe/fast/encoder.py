"""The compiled encoder: tables in NumPy arrays, and kernels that fill and read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpe._common.errors import check_integer, invalid
from bpe.fast import pretoken_table
from bpe.fast import struct_layout as layout
from bpe.fast.aot import entry_point
from bpe.fast.buffers import Addresses, class_rows, zeroed_arrays
from bpe.fast.decoder import Decoder
from bpe.fast.pretoken_table import PretokenTable, least_bits
from bpe.fast.struct_layout import BATCH, BLOCK, PADDING, SHORT
from bpe.locks import building

Ids = NDArray[np.uint32]
SMALL_RESULT = 256  # bytes: for such short texts, creating Python ints is cheaper than a lookup in the table of ints
NO_BATCH = (1, None, None)  # the arguments of the kernel for one text: no ends of texts, no counts per text
CHUNK_BYTES = 1 << 20  # characters that a thread encodes in one call: about 10 ms of work, little to wait for
MAX_SHORT_TEXT = BLOCK  # bytes: the ids of such texts fit into an array that each thread owns
MAX_IDLE = 8  # buffers that a tokenizer keeps when no thread uses them, of less than a megabyte each
NO_WORDS = np.zeros(1, dtype=np.uint64)  # in place of a table


class UnsupportedVocabularyError(ValueError):
    """Raised for a vocabulary that the tables of the compiled engine cannot hold; the python engine can."""


class EncoderBuffers:
    """The memory of one working thread: buffers for one block, and where the table of known pre-tokens is."""

    def __init__(self, tables: EncoderTables) -> None:
        self.tables = tables
        self.table: PretokenTable | None = None
        self.state = np.zeros(layout.N_STATE, dtype=np.uint64)
        self.out = np.zeros(MAX_SHORT_TEXT, dtype=np.uint32)
        self.out_address: int = self.out.ctypes.data
        self.capacity = 0
        self.reserve(BLOCK)

    def reserve(self, capacity: int) -> None:
        """Allocate buffers for blocks, and so for single pre-tokens, of this many bytes."""
        n = capacity + 2 * PADDING
        u8, u32, u64 = np.uint8, np.uint32, np.uint64
        text, classes, starts, found, links = zeroed_arrays(*[(u8, n)] * 3, (u8, BATCH), (u8, 2 * SHORT))
        ends, ids, symbols, ranks, following, preceding, slots = zeroed_arrays(*[(u32, n)] * 6, (u32, BATCH))
        # heap: one entry per pair at the start and at most two per merge
        low, high, heap = zeroed_arrays(*[(u64, BATCH)] * 2, (u64, 3 * n))
        self.state[layout.CAPACITY] = self.capacity = capacity
        t = self.tables
        self.u8 = [t.class_of_block, t.class_of, text, classes, starts, links, NO_WORDS, found, t.unmerged, t.joinable]
        self.u32 = [ends, t.byte_ids, t.bigrams, symbols, ranks, following, preceding, NO_WORDS]
        self.u32 += [NO_WORDS, slots, t.unmerged_lengths, t.unmerged_ids, ids]
        self.u64 = [self.state, t.pairs, t.facts, heap, NO_WORDS, NO_WORDS, low, high]
        self.u64 += [t.token_low, t.token_high, t.token_id, NO_WORDS]
        self.attach(self.table)

    def attach(self, table: PretokenTable | None) -> None:
        """Use a table of known pre-tokens."""
        self.table = table
        if table is not None:
            self.u8[6], self.u32[7], self.u32[8] = table.arena, table.slots.view(np.uint32), table.pool
            self.u64[4], self.u64[5], self.u64[11] = table.slots, table.long_slots, table.filled
        self.addresses = Addresses(self.u8, self.u32, self.u64)  # the order that kernels/tables.py states
        self.arguments = self.addresses.arguments

    def reserve_more(self, largest: int) -> None:
        """Allocate buffers for blocks eight times as large, but not more than `largest` bytes."""
        self.reserve(min(8 * self.capacity, largest))

    def release(self) -> None:
        """Shrink the buffers to their usual size."""
        if self.capacity > BLOCK:
            self.reserve(BLOCK)


class EncoderTables:
    """What depends on the vocabulary only; shared by all threads, which read it."""

    def __init__(self, ranks: Mapping[bytes, int]) -> None:
        check_vocabulary(ranks)
        self.class_of_block, self.class_of = class_rows()
        self.joinable = np.zeros(1 << 16, dtype=np.uint8)
        self.byte_ids = np.zeros(256, dtype=np.uint32)
        self.bigrams = np.full(1 << 16, 0xFFFFFFFF, dtype=np.uint32)
        pair_bits = max(10, (2 * len(ranks)).bit_length())
        self.pairs = np.zeros(1 << pair_bits, dtype=np.uint64)
        self.facts = np.zeros(layout.N_FACTS, dtype=np.uint64)
        self.facts[layout.PAIR_BITS] = pair_bits
        self.unmerged, self.unmerged_lengths, self.unmerged_ids = (np.zeros(1, dtype=d) for d in ("u1", "u4", "u4"))
        self.token_low = self.token_high = self.token_id = np.zeros(1, dtype=np.uint64)

        tokens = sorted(ranks, key=len)
        ids = np.fromiter(map(ranks.__getitem__, tokens), dtype=np.uint32, count=len(tokens))
        lengths = np.fromiter(map(len, tokens), dtype=np.uint32, count=len(tokens))
        is_unmerged = self._fill(tokens, lengths, ids)
        self._store_unmerged(tokens, lengths, ids, is_unmerged)
        self._store_short_tokens(tokens, lengths, ids, is_unmerged)

    def _fill(self, tokens: list[bytes], lengths: NDArray[np.uint32], ids: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Fill the tables of merging. Returns 1 for each token that no merge forms, else 0."""
        is_unmerged = np.zeros(len(tokens), dtype=np.uint32)
        buffers = EncoderBuffers(self)
        buffers.reserve(max(BLOCK, int(lengths[-1])))
        arrays = lengths.ctypes.data, ids.ctypes.data, is_unmerged.ctypes.data
        entry_point("vocabulary")(*buffers.arguments, b"".join(tokens), len(tokens), *arrays)
        return is_unmerged

    def _store_unmerged(
        self,
        tokens: list[bytes],
        lengths: NDArray[np.uint32],
        ids: NDArray[np.uint32],
        is_unmerged: NDArray[np.uint32],
    ) -> None:
        """Store the long tokens that no merge forms; each table of known pre-tokens starts with them."""
        long = np.flatnonzero((is_unmerged == 1) & (lengths > 15))
        if len(long) > 1 << 14 or (lengths[long] > layout.LONGEST).any():
            raise UnsupportedVocabularyError(
                f"the vocabulary must not have many or very long tokens that no merge forms, got {len(long)}. "
                "Use engine='python'"
            )
        self.unmerged = np.frombuffer(b"".join(tokens[k] for k in long) + bytes(8), dtype=np.uint8)
        self.unmerged_lengths, self.unmerged_ids = np.append(lengths[long], 0), np.append(ids[long], 0)
        self.facts[layout.UNMERGED] = len(long)
        self.long_bytes = int(lengths[long].sum())
        self.facts[layout.SPLIT_UNJOINABLE] = not is_unmerged.any()

    def _store_short_tokens(
        self,
        tokens: list[bytes],
        lengths: NDArray[np.uint32],
        ids: NDArray[np.uint32],
        is_unmerged: NDArray[np.uint32],
    ) -> None:
        """Store the short tokens that each table of known pre-tokens starts with."""
        short = np.flatnonzero(lengths <= 15)
        # tokens that no merge forms must be in it; of a huge vocabulary, the others may wait until they occur
        order = np.lexsort((ids[short], -is_unmerged[short].astype(np.int64)))
        chosen = short[order][: 1 << (layout.LARGE_BITS - 1)]
        self.token_low, self.token_high = keys([tokens[k] for k in chosen])
        self.token_id = ids[chosen].astype(np.uint64)
        self.facts[layout.TOKENS] = len(chosen)
        self.least_bits = least_bits(len(chosen), int(self.facts[layout.UNMERGED]), self.long_bytes)


def check_vocabulary(ranks: Mapping[bytes, int]) -> None:
    """Raise ValueError unless every byte is a token and the ids fit into the tables."""
    missing = [b for b in range(256) if bytes([b]) not in ranks]
    if missing:
        raise ValueError(f"every single byte must be a token, got none for {bytes(missing[:1])!r}")
    most = (1 << layout.ID_BITS) - 2
    wrong = [i for i in (min(ranks.values()), max(ranks.values())) if not 0 <= i <= most]
    if wrong:
        raise UnsupportedVocabularyError(
            f"ids must be from 0 to {most} for the compiled engine, got {wrong[0]}. Use engine='python'"
        )


def keys(tokens: list[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the two words of each token's key in the table: 15 bytes of text, and the length in the 16th."""
    words = np.zeros((len(tokens), 2), dtype="<u8")
    padded = words.data.cast("B")
    for number, token in enumerate(tokens):
        padded[16 * number : 16 * number + len(token)] = token
        padded[16 * number + 15] = len(token)
    return words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)


_integers = np.zeros(0, dtype=object)


def integers(size: int) -> NDArray[np.object_]:
    """Return Python ints from 0 to at least `size` - 1, which all tokenizers share."""
    global _integers
    if len(_integers) < size:
        with building:
            if len(_integers) < size:
                _integers = np.arange(size).astype(object)
    return _integers


def group_texts(texts: Sequence[str], limit: int) -> Iterator[Sequence[str]]:
    """Yield adjacent texts in groups; a group is complete when it has `limit` characters."""
    first = size = 0
    for after, text in enumerate(texts, start=1):
        size += len(text)
        if size >= limit:
            yield texts[first:after]
            first, size = after, 0
    if first < len(texts):
        yield texts[first:]


class NumbaEncoder:
    """Ordinary text to ids and back, for one vocabulary and one pattern. Safe for use from several threads.

    ranks: token -> id, which is also its rank. pattern: "gpt2", "cl100k", "o200k", or None for no split.
    Text is given as UTF-8; the caller ensures that it is valid. Without a pattern, and for given pre-tokens, any bytes
    are valid.
    """

    def __init__(self, ranks: Mapping[bytes, int], pattern: str | None = "gpt2") -> None:
        if pattern is not None and pattern not in layout.PATTERNS:
            raise invalid("pattern", f"be one of {', '.join(layout.PATTERNS)} or None", pattern)
        self.pattern = pattern
        self._encode = entry_point("encode")
        self._tables = EncoderTables(ranks)
        self._kind = layout.GIVEN_ENDS if pattern is None else layout.PATTERNS[pattern]
        self._idle: list[EncoderBuffers] = []
        self._table: PretokenTable | None = None
        self._decoder = Decoder(ranks)
        self._size = max(ranks.values()) + 1

    def _take_buffers(self) -> EncoderBuffers:
        """Return buffers that no other thread uses, with the current table."""
        table = self._table
        if table is None or not table.usable:
            table = self._replace_table(table)
        try:
            buffers = self._idle.pop()
        except IndexError:
            buffers = EncoderBuffers(self._tables)
        if buffers.table is not table:
            buffers.attach(table)
        return buffers

    def _give_back(self, buffers: EncoderBuffers) -> None:
        """Keep buffers for the next call; not after an exception, and not many: idle memory is given back."""
        if len(self._idle) < MAX_IDLE and buffers.table is self._table:
            self._idle.append(buffers)

    @contextmanager
    def _buffers(self) -> Iterator[EncoderBuffers]:
        buffers = self._take_buffers()
        yield buffers
        self._give_back(buffers)

    def _replace_table(self, old: PretokenTable | None) -> PretokenTable:
        """Return a table with room; that of another thread if it was faster.

        It holds the tokens, and if it is larger, the short pre-tokens of the old one.
        """
        with building:
            table = self._table
            if table is None or table is old or not table.usable:
                least = self._tables.least_bits
                full = table is not None and table.usable
                table = PretokenTable(pretoken_table.bits_after(table, least) if table and full else least)
                first = EncoderBuffers(self._tables)
                first.attach(table)
                self._encode(*first.arguments, b"", 0, self._kind, 0, None, first.out_address, *NO_BATCH)
                if old is not None and old.usable and table.bits > old.bits:
                    entry_point("copy_table")(*first.arguments, old.slots.ctypes.data, 1 << old.bits)
                self._table = table
                self._idle.clear()  # their memory includes the old table
            return table

    def encode(self, data: bytes) -> Ids:
        """Return the ids of a text."""
        return self._encode_ends(data, None if self.pattern else np.array([len(data)], dtype=np.uint64))

    def encode_to_list(self, data: bytes) -> list[int]:
        """Return the ids of a text as a list of ints. For a text of one block, only the list is allocated."""
        n = len(data)
        if n > MAX_SHORT_TEXT or not self.pattern:
            return self.to_list(self.encode(data))
        buffers = self._take_buffers()  # without the context manager, which takes as long as encoding a short text
        count = self._encode(*buffers.arguments, data, n, self._kind, 1, None, buffers.out_address, *NO_BATCH)
        while count < 0:  # the table is nearly full
            buffers.attach(self._replace_table(buffers.table))
            count = self._encode(*buffers.arguments, data, n, self._kind, 1, None, buffers.out_address, *NO_BATCH)
        ids: list[int] = buffers.out[:count].tolist() if n <= SMALL_RESULT else self.to_list(buffers.out[:count])
        self._give_back(buffers)
        return ids

    def to_list(self, ids: Ids) -> list[int]:
        """Return ids as a list of ints.

        Uses a table of preallocated Python ints, because creating new ones would cost more than the encoding itself.
        """
        found: list[int] = integers(self._size).take(ids).tolist()
        return found

    def encode_pretokens(self, data: bytes, ends: Sequence[int] | NDArray[np.integer[Any]]) -> Ids:
        """Return the ids of a text that is already split into pre-tokens.

        ends: where each pre-token ends, in bytes, ascending; the last end is the length of the text.
        """
        offsets = np.array(ends, dtype=np.int64).reshape(-1)
        if len(offsets) and (offsets[0] <= 0 or (np.diff(offsets) <= 0).any()):
            raise ValueError("`ends` must ascend from above 0: every pre-token has at least one byte")
        if (int(offsets[-1]) if len(offsets) else 0) != len(data):
            raise ValueError(f"`ends` must end with the number of bytes, {len(data)}")
        return self._encode_ends(data, offsets.astype(np.uint64))

    def encode_batch(self, texts: Sequence[str], num_threads: int = 1) -> list[Ids]:
        """Return the ids of each text. Threads run in parallel, because the kernels release the GIL."""
        check_integer("num_threads", num_threads, 1)
        limit = min(CHUNK_BYTES, sum(map(len, texts)) // (4 * num_threads) + 1)  # several groups per thread
        groups = list(group_texts(texts, limit))
        if num_threads == 1 or len(groups) == 1:
            return [ids for group in groups for ids in self._encode_group(group)]
        with ThreadPoolExecutor(num_threads) as threads:
            return [ids for done in threads.map(self._encode_group, groups) for ids in done]

    def _encode_group(self, texts: Sequence[str]) -> list[Ids]:
        """Return the ids of each text from one call of the kernel; they are views of one array."""
        if len(texts) == 1:
            return [self.encode(texts[0].encode())]
        parts = [text.encode() for text in texts]
        lengths = np.fromiter(map(len, parts), dtype=np.uint64, count=len(texts))
        ends, counts = np.cumsum(lengths), np.zeros(len(texts), dtype=np.uint64)
        pretoken_ends = None if self.pattern else ends[lengths > 0]
        batch = len(texts), ends.ctypes.data, counts.ctypes.data
        with self._buffers() as buffers:
            out, count = self._run(buffers, b"".join(parts), True, pretoken_ends, batch)
            ids = out[:count].copy()
        return [ids[start:stop] for start, stop in pairwise([0, *np.cumsum(counts).tolist()])]

    def count(self, data: bytes) -> int:
        """Return the number of ids of a text; the ids are not stored."""
        with self._buffers() as buffers:
            ends = None if self.pattern else np.array([len(data)], dtype=np.uint64)
            return self._run(buffers, data, False, ends)[1]

    def split(self, data: bytes) -> NDArray[np.uint64]:
        """Return where the pre-tokens of a text end, in bytes."""
        if not self.pattern:
            return np.array([len(data)] if data else [], dtype=np.uint64)
        ends = np.empty(len(data) + 1, dtype=np.uint64)
        with self._buffers() as buffers:
            while True:
                number = entry_point("split")(*buffers.arguments, data, len(data), self._kind, ends.ctypes.data)
                if number >= 0:
                    break
                buffers.reserve_more(len(data))
            buffers.release()
        return ends[:number]

    def decode(self, ids: Iterable[int] | Ids) -> bytes:
        """Return the bytes of ids. Raises: KeyError for an id without a token."""
        return self._decoder.decode(ids)

    def _encode_ends(self, data: bytes, ends: NDArray[np.uint64] | None) -> Ids:
        with self._buffers() as buffers:
            out, count = self._run(buffers, data, True, ends)
            return out[:count].copy() if out is buffers.out else out[:count]

    def _run(
        self,
        buffers: EncoderBuffers,
        data: bytes,
        keep: bool,
        ends: NDArray[np.uint64] | None,
        batch: tuple[int, int | None, int | None] = NO_BATCH,
    ) -> tuple[Ids, int]:
        """Encode, with larger buffers or a new table as often as needed. Returns the array of ids and their number."""
        n = len(data)
        given_ends = None if ends is None else ends.ctypes.data
        kind = self._kind if ends is None else layout.GIVEN_ENDS
        # there are at most as many ids as bytes
        out = buffers.out if n <= MAX_SHORT_TEXT or not keep else np.empty(n, dtype=np.uint32)
        arguments = data, n, kind, keep, given_ends, out.ctypes.data, *batch
        while True:
            count: int = self._encode(*buffers.arguments, *arguments)
            if count >= 0:
                break
            if count == layout.NEEDS_TABLE:
                buffers.attach(self._replace_table(buffers.table))
            else:
                buffers.reserve_more(n)
        buffers.release()
        return out, count
