"""Key/value cache: the keys and values of the positions decoded so far, so that each step computes one position."""

from __future__ import annotations

import numpy as np

from attention_numpy.module import Array

INITIAL_LENGTH = 16


class KVCache:
    """Keys and values of one attention layer, (batch, heads, time, d_k) each, in buffers that double when full."""

    def __init__(self, k: Array, v: Array) -> None:
        """Start with the keys and values of some positions: none for self-attention, all of a memory."""
        self._k, self._v, self.length = k, v, k.shape[2]

    @property
    def k(self) -> Array:
        """Keys so far."""
        return self._k[:, :, : self.length]

    @property
    def v(self) -> Array:
        """Values so far."""
        return self._v[:, :, : self.length]

    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Store the key and value of one position, (batch, heads, 1, d_k); return all so far."""
        if self.length == self._k.shape[2]:
            self._k, self._v = _doubled(self._k), _doubled(self._v)
        self._k[:, :, self.length : self.length + 1] = k
        self._v[:, :, self.length : self.length + 1] = v
        self.length += 1
        return self.k, self.v

    def reorder(self, rows: Array) -> None:
        """Continue with these sequences of the batch, in this order; a row may occur twice (beam search)."""
        self._k, self._v = self._k[rows], self._v[rows]

    def reset(self) -> None:
        """Forget all positions; the buffers are kept."""
        self.length = 0


def _doubled(buffer: Array) -> Array:
    shape = list(buffer.shape)
    shape[2] = max(INITIAL_LENGTH, 2 * shape[2])
    grown = np.empty(shape, buffer.dtype)
    grown[:, :, : buffer.shape[2]] = buffer
    return grown
