"""The textbook engine in pure Python: split with `regex`, look each pre-token up, merge those that are new."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bpe.merge import byte_pair_merge
from bpe.pretokenize import Splitter

if TYPE_CHECKING:
    from bpe.engines.base import Ids

MAX_CACHED_PRETOKENS = 1 << 18
"""Size at which the cache of pre-tokens is emptied: a few dozen megabytes."""


class _Cache(dict[str, tuple[int, ...]]):
    """Pre-token -> ids. A pre-token is merged when it is looked up for the first time."""

    def __init__(self, ranks: Mapping[bytes, int], size: int) -> None:
        super().__init__()
        self.ranks, self.size = ranks, size

    def __missing__(self, pretoken: str) -> tuple[int, ...]:
        ids = merged_ids(pretoken.encode(), self.ranks)
        if len(self) >= self.size:
            self.clear()
        self[pretoken] = ids
        return ids


def merged_ids(pretoken: bytes, ranks: Mapping[bytes, int]) -> tuple[int, ...]:
    """Return the ids of one pre-token: its own id if it is a token, else those of the tokens that merging forms."""
    whole = ranks.get(pretoken)
    return (whole,) if whole is not None else tuple(ranks[token] for token in byte_pair_merge(pretoken, ranks))


class PythonEngine:
    """Split with `regex`, look each pre-token up, merge those that are new."""

    name: Literal["python"] = "python"

    def __init__(
        self, ranks: Mapping[bytes, int], pattern: str | None, split: Callable[[str], list[str]] | None = None
    ) -> None:
        """Build the engine. ranks: token -> id, where a lower id is merged earlier. split: instead of the pattern."""
        self.ranks = ranks
        self.split = Splitter(pattern) if split is None else split
        self._ids_of = _Cache(ranks, MAX_CACHED_PRETOKENS)
        self._bytes_of = {i: token for token, i in ranks.items()}

    def encode(self, text: str) -> list[int]:
        """Return the ids of an ordinary text."""
        return list(chain.from_iterable(map(self._ids_of.__getitem__, self.split(text))))

    def encode_array(self, text: str) -> Ids:
        """Return the ids of an ordinary text as an array."""
        return np.array(self.encode(text), np.uint32)

    def encode_pretokens(self, pretokens: Sequence[bytes]) -> list[int]:
        """Return the ids of pre-tokens that are already split; they may be any bytes."""
        return [i for pretoken in pretokens for i in merged_ids(pretoken, self.ranks)]

    def encode_batch(self, texts: Sequence[str], num_threads: int) -> list[list[int]]:
        """Return the ids of each text. Threads help only in a Python without the GIL."""
        if num_threads == 1:
            return [self.encode(text) for text in texts]
        with ThreadPoolExecutor(num_threads) as threads:
            return list(threads.map(self.encode, texts))

    def encode_arrays(self, texts: Sequence[str], num_threads: int) -> list[Ids]:
        """Return the ids of each text as an array."""
        return [np.array(ids, np.uint32) for ids in self.encode_batch(texts, num_threads)]

    def count(self, text: str) -> int:
        """Return the number of ids of a text, without a list of them."""
        return sum(map(len, map(self._ids_of.__getitem__, self.split(text))))

    def decode(self, ids: Iterable[int] | NDArray[np.integer[Any]]) -> bytes:
        """Return the bytes of ordinary ids. Raises: KeyError for another id, TypeError for what is not an integer."""
        numbers = ids.tolist() if isinstance(ids, np.ndarray) else map(operator.index, ids)
        return b"".join(map(self._bytes_of.__getitem__, numbers))
