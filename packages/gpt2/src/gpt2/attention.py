"""Causal attention, softmax(Q K^T / sqrt(d_k)) V, in four equivalent implementations.

`explicit` is the formula and returns the weights. `fused` is PyTorch's kernel. `matmul_backend` trains faster on a CPU,
where `causal` selects it. `sliding_window` costs time * window instead of time squared. Tests compare all of them.
Masks are boolean, True = may attend; a query that may attend to nothing yields zeros.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def causal_mask(queries: int, keys: int, window: int | None, device: torch.device) -> Bool[Tensor, "queries keys"]:
    """Return which keys each query may attend to: earlier ones and its own, with a window the last `window` of them.

    The last query belongs to the last key, so with fewer queries than keys the first keys are the past.
    """
    query = torch.arange(keys - queries, keys, device=device)[:, None]
    key = torch.arange(keys, device=device)[None]
    mask = key <= query
    return mask if window is None else mask & (key > query - window)


def explicit(
    q: Float[Tensor, "batch heads queries d_k"],
    k: Float[Tensor, "batch heads keys d_k"],
    v: Float[Tensor, "batch heads keys d_k"],
    mask: Bool[Tensor, "#batch #heads queries keys"] | None = None,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "batch heads queries d_k"], Float[Tensor, "batch heads queries keys"]]:
    """Return the attention output and the weights before dropout, as the formula states. Without a mask: causal."""
    if mask is None:
        mask = causal_mask(q.shape[2], k.shape[2], None, q.device)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    # the lowest finite number instead of -inf, so that a row with no key at all gives no NaN, forward or backward
    weights = torch.softmax(scores.masked_fill(~mask, torch.finfo(scores.dtype).min), dim=-1)
    weights = weights.masked_fill(~mask, 0.0)
    return F.dropout(weights, dropout) @ v, weights


def fused(
    q: Float[Tensor, "batch heads queries d_k"],
    k: Float[Tensor, "batch heads keys d_k"],
    v: Float[Tensor, "batch heads keys d_k"],
    mask: Bool[Tensor, "#batch #heads queries keys"] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads queries d_k"]:
    """Compute attention with `scaled_dot_product_attention`, which never stores the (queries, keys) weights."""
    causal = mask is None and q.shape[2] > 1  # a single query, the last token, attends to every key
    if causal and q.shape[2] != k.shape[2]:
        mask, causal = causal_mask(q.shape[2], k.shape[2], None, q.device)[None, None], False
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)


def matmul_backend(
    q: Float[Tensor, "batch heads time d_k"],
    k: Float[Tensor, "batch heads time d_k"],
    v: Float[Tensor, "batch heads time d_k"],
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads time d_k"]:
    """Compute attention as two batched matmuls; scaling and mask are part of the first, the weights are saved."""
    batch, time = q.shape[0], q.shape[2]
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    mask = torch.full((time, time), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
    scores = torch.baddbmm(mask.expand(len(q), -1, -1), q, k.mT, alpha=1 / math.sqrt(q.shape[-1]))
    return (F.dropout(scores.softmax(-1), dropout) @ v).unflatten(0, (batch, -1))


# Up to this many tokens `matmul_backend` trains faster than PyTorch's kernel on a CPU. The kernel's backward pass takes
# 2 to 4 times as long in bfloat16 (128 to 512 tokens) and 1.2 times in float32 (128 to 256). Longer texts need too much
# memory for the weights.
MATMUL_MAX_TIME = {torch.bfloat16: 512, torch.float32: 256}


def causal(
    q: Float[Tensor, "batch heads time d_k"],
    k: Float[Tensor, "batch heads time d_k"],
    v: Float[Tensor, "batch heads time d_k"],
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads time d_k"]:
    """Compute causal attention with the faster of `fused` and `matmul_backend`."""
    training_on_cpu = q.requires_grad and q.device.type == "cpu"
    if training_on_cpu and q.shape[2] <= MATMUL_MAX_TIME.get(q.dtype, 0):
        return matmul_backend(q, k, v, dropout)
    return fused(q, k, v, None, dropout)


def sliding_window(
    q: Float[Tensor, "batch heads time d_k"],
    k: Float[Tensor, "batch heads time d_k"],
    v: Float[Tensor, "batch heads time d_k"],
    window: int,
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads time d_k"]:
    """Compute attention of each query to the last `window` tokens, itself included.

    Queries are taken in chunks of `window`. The keys of a chunk lie in the same chunk and the one before, so the work
    is time * 2 window. The text is padded at its end, where no real query attends.
    """
    batch, _, time, _ = q.shape
    if time <= window:
        return causal(q, k, v, dropout)
    chunks = -(-time // window)
    q, k, v = (F.pad(x, (0, 0, 0, chunks * window - time)).unflatten(2, (chunks, window)) for x in (q, k, v))
    # (batch, heads, chunks, 2 window, d_k): the previous chunk (zeros before the first) and the chunk itself
    k, v = (torch.cat([F.pad(x, (0, 0, 0, 0, 1, 0))[:, :, :-1], x], dim=3) for x in (k, v))
    mask = causal_mask(window, 2 * window, window, q.device).repeat(chunks, 1, 1)
    mask[0, :, :window] = False  # nothing precedes the first chunk
    # each chunk of each text is one batch entry for the kernel
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v))
    y = fused(q, k, v, mask.repeat(batch, 1, 1)[:, None], dropout)
    return y.unflatten(0, (batch, chunks)).transpose(1, 2).flatten(2, 3)[:, :, :time]
