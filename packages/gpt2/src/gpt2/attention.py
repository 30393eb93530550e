"""Causal attention, softmax(Q K^T / sqrt(d_k)) V, in the four ways that the model chooses from.

`explicit` spells the formula out and returns the weights; `fused` is torch's kernel; `products` is for training on a
CPU, where `causal` prefers it; `sliding_window` costs tokens * window instead of tokens squared. Where they mean the
same they are tested equal.
Masks are boolean, True = may attend; a query with nothing to attend to yields zeros.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def causal_mask(queries: int, keys: int, window: int | None, device: torch.device) -> Bool[Tensor, "queries keys"]:
    """Key j for query i: not later than it, and with a window among the last `window` (itself included).

    The last query stands at the last key, so with fewer queries than keys the first ones are the past.
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
    """The formula as it is written, and the weights (before dropout). Without a mask: causal."""
    if mask is None:
        mask = causal_mask(q.shape[2], k.shape[2], None, q.device)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    # the least finite number instead of -inf: a row with no key at all gives no NaN, forward or backward
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
    """The same through `scaled_dot_product_attention`, which never holds the (queries, keys) weights."""
    causal = mask is None and q.shape[2] > 1  # a single query, the last token, sees every key
    if causal and q.shape[2] != k.shape[2]:
        mask, causal = causal_mask(q.shape[2], k.shape[2], None, q.device)[None, None], False
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=causal)


def products(
    q: Float[Tensor, "batch heads tokens d_k"],
    k: Float[Tensor, "batch heads tokens d_k"],
    v: Float[Tensor, "batch heads tokens d_k"],
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads tokens d_k"]:
    """The same as two batched matrix products, scaling and mask inside the first; the weights are kept for backward."""
    batch, tokens = q.shape[0], q.shape[2]
    q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    mask = torch.full((tokens, tokens), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
    scores = torch.baddbmm(mask.expand(len(q), -1, -1), q, k.mT, alpha=1 / math.sqrt(q.shape[-1]))
    return (F.dropout(scores.softmax(-1), dropout) @ v).unflatten(0, (batch, -1))


# Up to so many tokens `products` trains faster than torch's kernel does on a CPU: its backward pass takes 2 to 4 times
# as long in bfloat16 (128 to 512 tokens), 1.2 times in float32 (128 to 256). Longer texts would take too much memory.
PRODUCTS_UP_TO = {torch.bfloat16: 512, torch.float32: 256}


def causal(
    q: Float[Tensor, "batch heads tokens d_k"],
    k: Float[Tensor, "batch heads tokens d_k"],
    v: Float[Tensor, "batch heads tokens d_k"],
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads tokens d_k"]:
    """Whichever is faster for these: `fused` or `products`."""
    training_on_cpu = q.requires_grad and q.device.type == "cpu"
    if training_on_cpu and q.shape[2] <= PRODUCTS_UP_TO.get(q.dtype, 0):
        return products(q, k, v, dropout)
    return fused(q, k, v, None, dropout)


def sliding_window(
    q: Float[Tensor, "batch heads tokens d_k"],
    k: Float[Tensor, "batch heads tokens d_k"],
    v: Float[Tensor, "batch heads tokens d_k"],
    window: int,
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads tokens d_k"]:
    """Each query attends to the last `window` tokens, itself included.

    Queries are taken in blocks of `window`; all that a block may see lies in its own block of keys and the one
    before, so the work is tokens * 2 window. The text is padded at its end, where nothing real looks.
    """
    batch, _, tokens, _ = q.shape
    if tokens <= window:
        return causal(q, k, v, dropout)
    blocks = -(-tokens // window)
    q, k, v = (F.pad(x, (0, 0, 0, blocks * window - tokens)).unflatten(2, (blocks, window)) for x in (q, k, v))
    # (batch, heads, blocks, 2 window, d_k): the block before (zeros before the first) and the block itself
    k, v = (torch.cat([F.pad(x, (0, 0, 0, 0, 1, 0))[:, :, :-1], x], dim=3) for x in (k, v))
    mask = causal_mask(window, 2 * window, window, q.device).repeat(blocks, 1, 1)
    mask[0, :, :window] = False  # there is nothing before the first block
    # every block of every text is a batch entry of its own for the kernel
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v))
    y = fused(q, k, v, mask.repeat(batch, 1, 1)[:, None], dropout)
    return y.unflatten(0, (batch, blocks)).transpose(1, 2).flatten(2, 3)[:, :, :tokens]
