"""The key/value cache: generation computes one row of attention per new token instead of all rows."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn


class KVCache:
    """Buffers for the keys and values of up to `capacity` tokens in every attention layer of one model.

    In a causal model, later tokens never change the keys and values of earlier ones, so these can be stored.
    `length` is the number of tokens stored. The model advances it once all of its layers have appended.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._buffers: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def append(
        self, layer: nn.Module, k: Float[Tensor, "batch heads new d_k"], v: Float[Tensor, "batch heads new d_k"]
    ) -> tuple[Float[Tensor, "batch heads keys d_k"], Float[Tensor, "batch heads keys d_k"]]:
        """Store new keys and values of one layer. Return all that are stored, the new ones last."""
        if layer not in self._buffers:
            shape = (*k.shape[:2], self.capacity, k.shape[3])
            self._buffers[layer] = (k.new_empty(shape), v.new_empty(shape))
        keys, values = self._buffers[layer]
        end = self.length + k.shape[2]
        keys[:, :, self.length : end] = k
        values[:, :, self.length : end] = v
        return keys[:, :, :end], values[:, :, :end]

    def reorder(self, rows: Int[Tensor, " new_batch"]) -> None:
        """Replace the batch by its rows `rows`: row i of the new batch continues row `rows[i]` of the old one."""
        self._buffers = {layer: (k[rows], v[rows]) for layer, (k, v) in self._buffers.items()}

    def reset(self) -> None:
        """Drop all tokens and keep the buffers."""
        self.length = 0
