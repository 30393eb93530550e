"""The keys and values of the tokens already seen, so that a new token costs one row of attention."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class KeyValueCache:
    """Room for the keys and values of up to `capacity` tokens in every attention layer of one model.

    A causal model never changes the keys and values of a token when later ones arrive: they may be kept.
    `length` tokens are held; the model advances it once all its layers have appended.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._held: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def append(
        self, layer: nn.Module, k: Float[Tensor, "batch h new d_k"], v: Float[Tensor, "batch h new d_k"]
    ) -> tuple[Float[Tensor, "batch h keys d_k"], Float[Tensor, "batch h keys d_k"]]:
        """Keep the new keys and values of one layer; returns all that it has, the new ones last."""
        if layer not in self._held:
            shape = (*k.shape[:2], self.capacity, k.shape[3])
            self._held[layer] = (k.new_empty(shape), v.new_empty(shape))
        keys, values = self._held[layer]
        end = self.length + k.shape[2]
        keys[:, :, self.length : end] = k
        values[:, :, self.length : end] = v
        return keys[:, :, :end], values[:, :, :end]

    def clear(self) -> None:
        """Forget the tokens, keep the room."""
        self.length = 0
