"""Solution of exercise 2: a query is used once, for the row of its own token; later tokens have their own queries."""

import math

import torch
from torch import Tensor


def attend_with_cache(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """No mask is needed: the cache holds no later token."""
    keys, values = torch.cat([keys, k], 1), torch.cat([values, v], 1)
    weights = torch.softmax(q @ keys.transpose(1, 2) / math.sqrt(q.shape[-1]), -1)
    return weights @ values, keys, values


def _without_itself(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    out = torch.softmax(q @ keys.transpose(1, 2) / math.sqrt(q.shape[-1]), -1) @ values
    return out, torch.cat([keys, k], 1), torch.cat([values, v], 1)


def _keys_as_values(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return attend_with_cache(q, k, k, keys, values)


WRONG = [{"attend_with_cache": _without_itself}, {"attend_with_cache": _keys_as_values}]
