"""The two engines behind one interface: `PythonEngine`, the textbook, here; `CompiledEngine` in engine_compiled.py.

An engine turns ordinary text into ids. It knows nothing of special tokens, files or users.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bpe.merge import byte_pair_merge
from bpe.patterns import Splitter

Ids = NDArray[np.uint32]
EngineName = Literal["auto", "python", "numba"]

CACHED_PRETOKENS = 1 << 18
"""How many pre-tokens the python engine remembers; then it forgets them all and begins anew."""


class Engine(Protocol):
    """What a tokenizer asks of an engine. `text` has no lone surrogates, except those of `split_bytes`."""

    @property
    def name(self) -> Literal["python", "numba"]:
        """Which one it is."""

    def encode(self, text: str) -> list[int]:
        """Ids of an ordinary text."""

    def encode_array(self, text: str) -> Ids:
        """The same as an array."""

    def encode_pieces(self, pieces: Sequence[bytes]) -> list[int]:
        """Ids of pre-tokens that are split already; any bytes."""

    def encode_batch(self, texts: Sequence[str], num_threads: int) -> list[list[int]]:
        """Ids of many texts."""

    def encode_arrays(self, texts: Sequence[str], num_threads: int) -> list[Ids]:
        """The same as arrays."""

    def count(self, text: str) -> int:
        """How many ids a text has."""

    def decode(self, ids: Iterable[int]) -> bytes:
        """The bytes of ordinary ids; KeyError for another id."""


class _Cache(dict[str, tuple[int, ...]]):
    """Pre-token -> ids; what is asked for the first time is merged. Bounded."""

    def __init__(self, ranks: Mapping[bytes, int], size: int) -> None:
        super().__init__()
        self.ranks, self.size = ranks, size

    def __missing__(self, piece: str) -> tuple[int, ...]:
        ids = merged_ids(piece.encode(), self.ranks)
        if len(self) >= self.size:
            self.clear()
        self[piece] = ids
        return ids


def merged_ids(piece: bytes, ranks: Mapping[bytes, int]) -> tuple[int, ...]:
    """Ids of one pre-token: its own id if it is a token, else those of the tokens it is merged to."""
    whole = ranks.get(piece)
    return (whole,) if whole is not None else tuple(ranks[token] for token in byte_pair_merge(piece, ranks))


class PythonEngine:
    """Split by `regex`, look each pre-token up, merge those that are new."""

    name: Literal["python"] = "python"

    def __init__(self, ranks: Mapping[bytes, int], pattern: str | None) -> None:
        """`ranks`: token -> id, where a lower id is merged earlier."""
        self.ranks = ranks
        self.split = Splitter(pattern)
        self._ids_of = _Cache(ranks, CACHED_PRETOKENS)
        self._bytes_of = {i: token for token, i in ranks.items()}

    def encode(self, text: str) -> list[int]:
        """Ids of an ordinary text."""
        return list(chain.from_iterable(map(self._ids_of.__getitem__, self.split(text))))

    def encode_array(self, text: str) -> Ids:
        """The same as an array."""
        return np.array(self.encode(text), np.uint32)

    def encode_pieces(self, pieces: Sequence[bytes]) -> list[int]:
        """Ids of pre-tokens that are split already; any bytes."""
        return [i for piece in pieces for i in merged_ids(piece, self.ranks)]

    def encode_batch(self, texts: Sequence[str], num_threads: int) -> list[list[int]]:
        """Ids of many texts. The interpreter runs one thread at a time: threads help only where it does not."""
        if num_threads == 1:
            return [self.encode(text) for text in texts]
        with ThreadPoolExecutor(num_threads) as threads:
            return list(threads.map(self.encode, texts))

    def encode_arrays(self, texts: Sequence[str], num_threads: int) -> list[Ids]:
        """The same as arrays."""
        return [np.array(ids, np.uint32) for ids in self.encode_batch(texts, num_threads)]

    def count(self, text: str) -> int:
        """How many ids a text has; no list of them is built."""
        return sum(map(len, map(self._ids_of.__getitem__, self.split(text))))

    def decode(self, ids: Iterable[int]) -> bytes:
        """The bytes of ordinary ids; KeyError for another id."""
        return b"".join(map(self._bytes_of.__getitem__, ids))


def choose_engine(engine: str) -> Literal["python", "numba"]:
    """The engine that a name stands for (auto: numba where it is installed); ValueError if it cannot run."""
    if engine not in ("auto", "python", "numba"):
        raise ValueError(f"engine: {engine!r} is not one of auto, python, numba")
    installed = engine != "python" and compiled_available()
    if engine == "numba" and not installed:
        raise ValueError("engine: numba is not installed; it comes with pip install './packages/bpe[fast]'")
    return "numba" if installed else "python"


def make_engine(engine: Literal["python", "numba"], ranks: Mapping[bytes, int], pattern: str | None) -> Engine:
    """Build the engine."""
    if engine == "python":
        return PythonEngine(ranks, pattern)
    from bpe.engine_compiled import CompiledEngine

    return CompiledEngine(ranks, pattern)


def compiled_available() -> bool:
    """Whether numba can be imported; it is not imported for that."""
    return importlib.util.find_spec("numba") is not None
