"""The whole Transformer of the paper and its backward pass, written as on paper, without any optimization.

Read this file first. The other modules compute the same, faster; tests compare both, forward and backward, in float64.

Every `f` returns its output and what `f_backward` needs; every `f_backward` takes the gradient of the output first.
Weights `w` and gradients `g` are dictionaries with the names of `Transformer.state_dict()`. Post-norm, as in the paper;
no final norm, and no dropout in the model (`dropout` shows what it would do).

Axes: batch, time (source or target), queries, keys, d_model, d_k = d_model / heads, d_ff, vocab.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from attention_numpy.module import Array

Weights = dict[str, Array]
Saved = Any  # what a forward pass returns for its backward pass

# ------------------------------------------------------------------------------------------------ parts of a layer


def softmax(x: Array) -> Array:
    """Return p_i = exp(x_i) / sum_j exp(x_j) over the last axis.   (section 3.2.1)"""
    e = np.exp(x - x.max(-1, keepdims=True))  # (…, keys): the maximum cancels, and prevents overflow
    p: Array = e / e.sum(-1, keepdims=True)  # (…, keys)
    return p


def softmax_backward(dp: Array, p: Array) -> Array:
    """Return dx = p * (dp - sum_j dp_j p_j)."""
    dx: Array = p * (dp - (dp * p).sum(-1, keepdims=True))  # (…, keys)
    return dx


def attention(q: Array, k: Array, v: Array, mask: Array) -> tuple[Array, Saved]:
    """Compute softmax(Q K^T / sqrt(d_k)) V of one head.   (Eq. 1)

    mask: boolean, broadcast to (batch, queries, keys), True = may attend.
    Raises: ValueError if a query may attend to nothing; the fast version returns zeros for it.
    """
    if not mask.any(-1).all():
        raise ValueError("`mask` must let every query attend to at least one key, got a row that is all False")
    scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])  # (batch, queries, keys)
    p = softmax(np.where(mask, scores, -np.inf))  # (batch, queries, keys)
    return p @ v, (q, k, v, p)  # (batch, queries, d_k)


def attention_backward(do: Array, saved: Saved) -> tuple[Array, Array, Array]:
    """Return dQ, dK, dV of one head. A masked key has p = 0, so its gradient is 0."""
    q, k, v, p = saved
    dv = p.swapaxes(1, 2) @ do  # (batch, keys, d_k)
    dp = do @ v.swapaxes(1, 2)  # (batch, queries, keys)
    ds = softmax_backward(dp, p) / np.sqrt(q.shape[-1])  # (batch, queries, keys)
    return ds @ k, ds.swapaxes(1, 2) @ q, dv  # (batch, queries, d_k), (batch, keys, d_k), (batch, keys, d_k)


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """Return y = x W^T + b. weight (d_out, d_in), bias (d_out,)."""
    y: Array = x @ weight.T + bias  # (batch, time, d_out)
    return y


def linear_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Return dx = dy W, dW = sum dy^T x, db = sum dy, summed over all positions of all sequences."""
    dx = dy @ weight  # (batch, time, d_in)
    dweight = (dy.swapaxes(1, 2) @ x).sum(0)  # (d_out, d_in)
    dbias = dy.sum((0, 1))  # (d_out,)
    return dx, dweight, dbias


def layer_norm(x: Array, gamma: Array, beta: Array, eps: float = 1e-5) -> tuple[Array, Saved]:
    """Return y = gamma * x_hat + beta, x_hat = (x - mean(x)) / sqrt(var(x) + eps).   (section 3.1; 1607.06450)"""
    mean = x.mean(-1, keepdims=True)  # (batch, time, 1)
    std = np.sqrt(x.var(-1, keepdims=True) + eps)  # (batch, time, 1)
    x_hat = (x - mean) / std  # (batch, time, d_model)
    return gamma * x_hat + beta, (x_hat, std, gamma)  # (batch, time, d_model)


def layer_norm_backward(dy: Array, saved: Saved) -> tuple[Array, Array, Array]:
    """Return dx, dgamma, dbeta. mean and std depend on x, too: each adds one mean to dx."""
    x_hat, std, gamma = saved
    d_x_hat = dy * gamma  # (batch, time, d_model)
    through_mean = d_x_hat.mean(-1, keepdims=True)  # (batch, time, 1)
    through_std = x_hat * (d_x_hat * x_hat).mean(-1, keepdims=True)  # (batch, time, d_model)
    dx = (d_x_hat - through_mean - through_std) / std  # (batch, time, d_model)
    return dx, (dy * x_hat).sum((0, 1)), dy.sum((0, 1))  # dgamma and dbeta: (d_model,)


def dropout(x: Array, keep: Array, p: float) -> Array:
    """Return x * keep / (1 - p), keep boolean. The backward pass is the same function of dy.   (section 5.4)"""
    y: Array = x * keep / (1 - p)  # the shape of x
    return y


def embed(ids: Array, weight: Array) -> Array:
    """Return sqrt(d_model) * W[ids] + PE.   (sections 3.4 and 3.5) ids (batch, time), weight (vocab, d_model)."""
    time, d_model = ids.shape[1], weight.shape[1]
    x: Array = weight[ids] * np.sqrt(d_model) + positions(time, d_model)  # (batch, time, d_model)
    return x


def embed_backward(dx: Array, ids: Array, dweight: Array) -> None:
    """Add sqrt(d_model) * dx to the rows of dW that were looked up. A repeated id adds up."""
    for b in range(ids.shape[0]):
        for t in range(ids.shape[1]):
            dweight[ids[b, t]] += np.sqrt(dx.shape[-1]) * dx[b, t]  # (d_model,)


def positions(time: int, d_model: int) -> Array:
    """Return PE(pos, 2i) = sin(pos / 10000^(2i / d_model)), PE(pos, 2i + 1) = cos of the same.   (section 3.5)"""
    pe = np.zeros((time, d_model))
    for pos in range(time):
        for i in range(d_model):
            angle = pos / 10000 ** (i // 2 * 2 / d_model)
            pe[pos, i] = np.sin(angle) if i % 2 == 0 else np.cos(angle)
    return pe  # (time, d_model)


# --------------------------------------------------------------------------------------------------- sub-layers


def multi_head(w: Weights, name: str, n_heads: int, x: Array, memory: Array, mask: Array) -> tuple[Array, Saved]:
    """Compute Concat(head_1 .. head_h) W^O. Queries come from x, keys and values from memory.   (section 3.2.2)"""
    d_model, heads, saved = x.shape[-1], [], []
    for rows in head_rows(d_model, n_heads):
        q, k, v = (
            linear(source, w[f"{name}.in_proj_weight"][part + rows], w[f"{name}.in_proj_bias"][part + rows])
            for source, part in ((x, 0), (memory, d_model), (memory, 2 * d_model))
        )  # (batch, queries, d_k), (batch, keys, d_k), (batch, keys, d_k)
        head, kept = attention(q, k, v, mask)  # (batch, queries, d_k)
        heads.append(head)
        saved.append(kept)
    joined = np.concatenate(heads, -1)  # (batch, queries, d_model)
    y = linear(joined, w[f"{name}.out_proj.weight"], w[f"{name}.out_proj.bias"])  # (batch, queries, d_model)
    return y, (x, memory, joined, saved)


def multi_head_backward(dy: Array, w: Weights, g: Weights, name: str, saved: Saved) -> tuple[Array, Array]:
    """Return dx and dmemory. Every head reads x and memory, so the gradients of all heads add up."""
    x, memory, joined, heads = saved
    d_model = x.shape[-1]
    djoined, dweight, dbias = linear_backward(dy, joined, w[f"{name}.out_proj.weight"])  # (batch, queries, d_model)
    add(g, f"{name}.out_proj", dweight, dbias)
    dx, dmemory = np.zeros_like(x), np.zeros_like(memory)
    for rows, kept in zip(head_rows(d_model, len(heads)), heads, strict=True):
        dq, dk, dv = attention_backward(djoined[..., rows], kept)  # (batch, queries or keys, d_k)
        for d, source, dsource, part in (
            (dq, x, dx, 0),
            (dk, memory, dmemory, d_model),
            (dv, memory, dmemory, 2 * d_model),
        ):
            da, dweight, dbias = linear_backward(d, source, w[f"{name}.in_proj_weight"][part + rows])
            dsource += da  # (batch, queries or keys, d_model)
            g[f"{name}.in_proj_weight"][part + rows] += dweight  # (d_k, d_model)
            g[f"{name}.in_proj_bias"][part + rows] += dbias  # (d_k,)
    return dx, dmemory


def head_rows(d_model: int, n_heads: int) -> list[Array]:
    """Return for each head the rows of W^Q that are its own, as ids. W^K and W^V follow below W^Q in one matrix."""
    return list(np.arange(d_model).reshape(n_heads, d_model // n_heads))  # each (d_k,)


def feed_forward(w: Weights, name: str, x: Array) -> tuple[Array, Saved]:
    """Compute max(0, x W_1 + b_1) W_2 + b_2.   (section 3.3, Eq. 2)"""
    h = linear(x, w[f"{name}.linear1.weight"], w[f"{name}.linear1.bias"])  # (batch, time, d_ff)
    a = np.maximum(0, h)  # (batch, time, d_ff)
    return linear(a, w[f"{name}.linear2.weight"], w[f"{name}.linear2.bias"]), (x, h, a)  # (batch, time, d_model)


def feed_forward_backward(dy: Array, w: Weights, g: Weights, name: str, saved: Saved) -> Array:
    """Return dx. The ReLU passes the gradient where its input was positive."""
    x, h, a = saved
    da, dweight, dbias = linear_backward(dy, a, w[f"{name}.linear2.weight"])  # (batch, time, d_ff)
    add(g, f"{name}.linear2", dweight, dbias)
    dx, dweight, dbias = linear_backward(da * (h > 0), x, w[f"{name}.linear1.weight"])  # (batch, time, d_model)
    add(g, f"{name}.linear1", dweight, dbias)
    return dx


def add(g: Weights, name: str, dweight: Array, dbias: Array) -> None:
    """Add to the gradients of a layer."""
    g[f"{name}.weight"] += dweight
    g[f"{name}.bias"] += dbias


def add_and_norm(w: Weights, name: str, x: Array, y: Array) -> tuple[Array, Saved]:
    """Return LayerNorm(x + Sublayer(x)), y being the output of the sub-layer.   (section 3.1)"""
    return layer_norm(x + y, w[f"{name}.weight"], w[f"{name}.bias"])  # (batch, time, d_model)


def add_and_norm_backward(dy: Array, g: Weights, name: str, saved: Saved) -> Array:
    """Return the gradient of the sum x + y: that of x and that of y."""
    dsum, dgamma, dbeta = layer_norm_backward(dy, saved)  # (batch, time, d_model)
    add(g, name, dgamma, dbeta)
    return dsum


# ------------------------------------------------------------------------------------- encoder and decoder, Figure 1


def encoder_layer(w: Weights, name: str, n_heads: int, x: Array, mask: Array) -> tuple[Array, Saved]:
    """Self-attention, then the feed-forward network. x, y (batch, source, d_model)."""
    y, s1 = multi_head(w, f"{name}.self_attn", n_heads, x, x, mask)
    x, n1 = add_and_norm(w, f"{name}.norm1", x, y)
    y, s2 = feed_forward(w, name, x)
    x, n2 = add_and_norm(w, f"{name}.norm2", x, y)
    return x, (s1, n1, s2, n2)


def encoder_layer_backward(dy: Array, w: Weights, g: Weights, name: str, saved: Saved) -> Array:
    """Return dx. Each sum of the residual connections sends its gradient to both of its terms."""
    s1, n1, s2, n2 = saved
    dsum = add_and_norm_backward(dy, g, f"{name}.norm2", n2)
    dx = dsum + feed_forward_backward(dsum, w, g, name, s2)
    dsum = add_and_norm_backward(dx, g, f"{name}.norm1", n1)
    dquery, dkeys = multi_head_backward(dsum, w, g, f"{name}.self_attn", s1)
    dx = dsum + dquery + dkeys  # x was query, key and value
    return dx


def decoder_layer(
    w: Weights, name: str, n_heads: int, x: Array, memory: Array, mask: Array, memory_mask: Array
) -> tuple[Array, Saved]:
    """Causal self-attention, cross-attention, feed-forward. x, y (batch, target, d_model)."""
    y, s1 = multi_head(w, f"{name}.self_attn", n_heads, x, x, mask)
    x, n1 = add_and_norm(w, f"{name}.norm1", x, y)
    y, s2 = multi_head(w, f"{name}.multihead_attn", n_heads, x, memory, memory_mask)
    x, n2 = add_and_norm(w, f"{name}.norm2", x, y)
    y, s3 = feed_forward(w, name, x)
    x, n3 = add_and_norm(w, f"{name}.norm3", x, y)
    return x, (s1, n1, s2, n2, s3, n3)


def decoder_layer_backward(dy: Array, w: Weights, g: Weights, name: str, saved: Saved) -> tuple[Array, Array]:
    """Return dx and dmemory."""
    s1, n1, s2, n2, s3, n3 = saved
    dsum = add_and_norm_backward(dy, g, f"{name}.norm3", n3)
    dx = dsum + feed_forward_backward(dsum, w, g, name, s3)
    dsum = add_and_norm_backward(dx, g, f"{name}.norm2", n2)
    dquery, dmemory = multi_head_backward(dsum, w, g, f"{name}.multihead_attn", s2)
    dx = dsum + dquery
    dsum = add_and_norm_backward(dx, g, f"{name}.norm1", n1)
    dquery, dkeys = multi_head_backward(dsum, w, g, f"{name}.self_attn", s1)
    dx = dsum + dquery + dkeys
    return dx, dmemory


def transformer(
    w: Weights, n_heads: int, n_layers: int, src: Array, tgt: Array, pad_id: int = 0
) -> tuple[Array, Saved]:
    """Return the logits, (batch, target, vocab), of ids src (batch, source) and tgt (batch, target)."""
    source_mask = (src != pad_id)[:, None, :]  # (batch, 1, source): padding is no key
    causal = np.tril(np.ones((tgt.shape[1], tgt.shape[1]), bool))  # (target, target): no key to the right
    target_mask = causal & (tgt != pad_id)[:, None, :]  # (batch, target, target)
    memory, saved_encoder = embed(src, w["src_embed.weight"]), []  # (batch, source, d_model)
    for i in range(n_layers):
        memory, saved = encoder_layer(w, f"encoder.layers.{i}", n_heads, memory, source_mask)
        saved_encoder.append(saved)
    x, saved_decoder = embed(tgt, w["tgt_embed.weight"]), []  # (batch, target, d_model)
    for i in range(n_layers):
        x, saved = decoder_layer(w, f"decoder.layers.{i}", n_heads, x, memory, target_mask, source_mask)
        saved_decoder.append(saved)
    logits = linear(x, w["generator.weight"], w["generator.bias"])  # (batch, target, vocab)
    return logits, (src, tgt, memory, x, saved_encoder, saved_decoder)


def transformer_backward(dlogits: Array, w: Weights, saved: Saved) -> Weights:
    """Return the gradient of every weight, by its name: the forward pass in reverse order."""
    src, tgt, memory, x, saved_encoder, saved_decoder = saved
    g = {name: np.zeros_like(value) for name, value in w.items()}
    dx, dweight, dbias = linear_backward(dlogits, x, w["generator.weight"])  # (batch, target, d_model)
    add(g, "generator", dweight, dbias)
    dmemory = np.zeros_like(memory)  # (batch, source, d_model): every decoder layer adds to it
    for i in reversed(range(len(saved_decoder))):
        dx, dm = decoder_layer_backward(dx, w, g, f"decoder.layers.{i}", saved_decoder[i])
        dmemory += dm
    embed_backward(dx, tgt, g["tgt_embed.weight"])
    for i in reversed(range(len(saved_encoder))):
        dmemory = encoder_layer_backward(dmemory, w, g, f"encoder.layers.{i}", saved_encoder[i])
    embed_backward(dmemory, src, g["src_embed.weight"])
    return g


def cross_entropy(logits: Array, targets: Array, eps: float = 0.0, pad_id: int = 0) -> tuple[float, Array]:
    """Return the label-smoothed loss -mean(sum_c q_c log p_c) and its gradient (p - q) / count.   (section 5.4)

    Targets equal to pad_id are not counted. Raises: ValueError if there is no other; the fast version returns 0.
    """
    if not (targets != pad_id).any():
        raise ValueError(f"`targets` must hold an id other than `pad_id` = {pad_id}, got padding only")
    vocab, counted = logits.shape[-1], targets != pad_id  # (batch, target)
    q = (1 - eps) * np.eye(vocab)[targets] + eps / vocab  # (batch, target, vocab)
    p = softmax(logits)  # (batch, target, vocab)
    losses = -(q * np.log(p)).sum(-1)  # (batch, target)
    dlogits: Array = (p - q) * counted[..., None] / counted.sum()  # (batch, target, vocab)
    return float(losses[counted].mean()), dlogits
