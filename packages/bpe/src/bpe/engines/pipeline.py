"""An engine for tokenizers with added tokens, normalizers or several pre-tokenizers: then another engine."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bpe.engines.base import Engine
from bpe.pipeline import Pipeline

if TYPE_CHECKING:
    from bpe.engines.base import Ids

NO_NAMES: frozenset[str] = frozenset()


class PipelineEngine:
    """Find added tokens, normalize the text between them, and encode it with the inner engine.

    The inner engine splits with the pre-tokenizers of the pipeline, and its ids are ranks. ids: token -> id.
    """

    def __init__(self, inner: Engine, pipeline: Pipeline, ids: Mapping[bytes, int]) -> None:
        """Build the engine."""
        self.inner, self.pipeline = inner, pipeline
        self._id_of_rank: list[int] | None = None
        if pipeline.merge_order is not None:
            ranks = pipeline.merge_order
            self._id_of_rank = [0] * (max(ranks.values()) + 1)
            for token, rank in ranks.items():
                self._id_of_rank[rank] = ids[token]
        self._token_of = {i: token for token, i in ids.items()}

    @property
    def name(self) -> Literal["python", "numba"]:
        """The name of the inner engine."""
        return self.inner.name

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; added tokens are found, but not special ones."""
        return self.encode_allowed(text, NO_NAMES)

    def encode_allowed(self, text: str, allowed: AbstractSet[str]) -> list[int]:
        """Return the ids of a text. allowed: the special tokens that are found."""
        text.encode()  # raises UnicodeEncodeError for surrogates before a step changes them
        ids: list[int] = []
        for segment in self.pipeline.segments(text, allowed):
            if isinstance(segment, int):
                ids.append(segment)
            else:
                ids += self._ids_of(self.inner.encode(segment))
        return ids

    def _ids_of(self, ranks: list[int]) -> list[int]:
        return ranks if self._id_of_rank is None else list(map(self._id_of_rank.__getitem__, ranks))

    def encode_array(self, text: str) -> Ids:
        """Return the ids of a text as an array."""
        return np.array(self.encode(text), np.uint32)

    def encode_pretokens(self, pretokens: Sequence[bytes]) -> list[int]:
        """Return the ids of pre-tokens that are already split."""
        return self._ids_of(self.inner.encode_pretokens(pretokens))

    def encode_batch(self, texts: Sequence[str], num_threads: int) -> list[list[int]]:
        """Return the ids of each text. The steps before merging are Python code, so threads would not help."""
        return [self.encode(text) for text in texts]

    def encode_arrays(self, texts: Sequence[str], num_threads: int) -> list[Ids]:
        """Return the ids of each text as an array."""
        return [self.encode_array(text) for text in texts]

    def count(self, text: str) -> int:
        """Return the number of ids of a text."""
        return len(self.encode(text))

    def decode(self, ids: Iterable[int] | NDArray[np.integer[Any]]) -> bytes:
        """Return the bytes of ordinary ids. Raises: KeyError for another id, TypeError for what is not an integer."""
        numbers = ids.tolist() if isinstance(ids, np.ndarray) else map(operator.index, ids)
        return b"".join(map(self._token_of.__getitem__, numbers))
