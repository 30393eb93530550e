"""Tensors that FSDP has split over the processes (DTensor) and whole ones, in one way of speaking.

torch.distributed.tensor takes seconds to import, so it is asked for only where a split tensor was met.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor on every process; what was not split is returned as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def split_like(pattern: Any, tensor: Tensor) -> Tensor:
    """A whole tensor, the same on every process, split as `pattern` is; each keeps its own part, nothing is sent."""
    if not hasattr(pattern, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, pattern.device_mesh, pattern.placements, src_data_rank=None)
