"""Averaging checkpoints: section 6.1. Nearby ones: the mean of far ones is worse than either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from transformer_torch.files import read_tensors


def mean_of(weights: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor, summed in float64; ValueError if they are not of the same model."""
    if not weights:
        raise ValueError("weights: none to average")
    first = weights[0]
    for number, other in enumerate(weights[1:], 2):
        if other.keys() != first.keys() or any(other[k].shape != first[k].shape for k in first):
            raise ValueError(f"weights: number {number} is of another model than number 1")
    return {
        name: torch.stack([w[name].double() for w in weights]).mean(0).to(tensor.dtype)
        for name, tensor in first.items()
    }


def average_files(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of the weights in several `model.safetensors`."""
    return mean_of([read_tensors(path)[0] for path in paths])
