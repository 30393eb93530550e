"""Baselines of the training step: the same model in PyTorch, twice, in HIPS autograd, and its matmuls alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from attention_numpy import (
    Adam,
    Transformer,
    TransformerConfig,
    causal_mask,
    clip_gradients,
    cross_entropy,
    sinusoid,
)
from torch import Tensor, nn
from torch.nn import functional as F

Step = Callable[[], object]
LR, BETAS, EPS, SMOOTHING = 1e-4, (0.9, 0.98), 1e-9, 0.1


@dataclass(frozen=True)
class Shape:
    """A model and a batch: float32, no padding."""

    d_model: int
    n_layers: int
    vocab: int
    n_heads: int
    d_ff: int
    dropout: float = 0.1
    batch: int = 32
    length: int = 32

    def ids(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return source, target inputs, targets."""
        rng = np.random.default_rng(0)
        src = rng.integers(1, self.vocab, (self.batch, self.length))
        tgt = rng.integers(1, self.vocab, (self.batch, self.length + 1))
        return src, np.ascontiguousarray(tgt[:, :-1]), np.ascontiguousarray(tgt[:, 1:])


def ours(s: Shape) -> Step:
    """Return a training step of this package: forward, backward, clipping, Adam."""
    config = TransformerConfig(s.vocab, s.vocab, s.d_model, s.n_heads, s.n_layers, s.d_ff, s.dropout, final_norm=True)
    model = Transformer(config, seed=0)
    parameters = model.parameters()
    optimizer = Adam(parameters, LR, betas=BETAS, eps=EPS)
    src, tgt, targets = s.ids()

    def step() -> float:
        optimizer.zero_grad()
        loss, dlogits = cross_entropy(model(src, tgt), targets, label_smoothing=SMOOTHING, ignore_index=0)
        model.backward(dlogits)
        clip_gradients(parameters, 1.0)
        optimizer.step()
        return loss

    return step


def our_greedy(s: Shape, length: int) -> Step:
    """Return greedy decoding of 64 sources, `length` tokens each: the end-of-sequence id is never the argmax."""
    model = Transformer(
        TransformerConfig(s.vocab, s.vocab, s.d_model, s.n_heads, s.n_layers, s.d_ff, s.dropout, final_norm=True)
    )
    model.generator.bias.data[2] = -1e9
    src = np.random.default_rng(0).integers(3, s.vocab, (64, s.length))
    return lambda: model.generate(src, max_new_tokens=length)


def torch_greedy(s: Shape, length: int) -> Step:
    """Return the same in torch, with preallocated caches."""
    model = FusedTransformer(s).eval()
    src = torch.tensor(np.random.default_rng(0).integers(3, s.vocab, (64, s.length)))
    return lambda: model.greedy(src, 1, length)


class Embedded(nn.Module):
    """Embeddings, positional encoding and output map, around a core that subclasses supply."""

    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.scale = math.sqrt(s.d_model)
        self.src, self.tgt = nn.Embedding(s.vocab, s.d_model), nn.Embedding(s.vocab, s.d_model)
        self.dropout, self.out = nn.Dropout(s.dropout), nn.Linear(s.d_model, s.vocab)
        self.register_buffer("table", torch.tensor(sinusoid(512, s.d_model), dtype=torch.float32))

    def embed(self, embedding: nn.Embedding, ids: Tensor) -> Tensor:
        """Return scaled embeddings plus positions, after dropout."""
        return self.dropout(embedding(ids) * self.scale + self.table[: ids.shape[1]])


class TorchTransformer(Embedded):
    """torch.nn.Transformer as its documentation uses it."""

    def __init__(self, s: Shape) -> None:
        super().__init__(s)
        self.core = nn.Transformer(s.d_model, s.n_heads, s.n_layers, s.n_layers, s.d_ff, s.dropout, batch_first=True)
        self.register_buffer("causal", nn.Transformer.generate_square_subsequent_mask(s.length))

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        """Return the logits."""
        h = self.core(self.embed(self.src, src), self.embed(self.tgt, tgt), tgt_mask=self.causal, tgt_is_causal=True)
        return self.out(h)


class FusedAttention(nn.Module):
    """Multi-head attention with one matmul for q, k, v and torch's fused scaled_dot_product_attention."""

    def __init__(self, s: Shape, cross: bool) -> None:
        super().__init__()
        self.n_heads, self.p, self.cross = s.n_heads, s.dropout, cross
        self.first = nn.Linear(s.d_model, s.d_model if cross else 3 * s.d_model)
        self.memory = nn.Linear(s.d_model, 2 * s.d_model) if cross else None
        self.last = nn.Linear(s.d_model, s.d_model)

    def heads(self, x: Tensor, count: int) -> tuple[Tensor, ...]:
        """Split (batch, time, count * d_model) into `count` tensors (batch, heads, time, d_k)."""
        batch, n, width = x.shape
        return x.view(batch, n, count, self.n_heads, width // count // self.n_heads).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x: Tensor, memory: Tensor | None = None, causal: bool = False) -> Tensor:
        """Map (batch, time, d_model) to the same shape."""
        if self.memory is None:
            q, k, v = self.heads(self.first(x), 3)
        else:
            (q,), (k, v) = self.heads(self.first(x), 1), self.heads(self.memory(memory), 2)
        p = self.p if self.training else 0.0
        o = F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=p)
        return self.last(o.transpose(1, 2).reshape(x.shape))

    def step(self, x: Tensor, k: Tensor, v: Tensor, position: int) -> Tensor:
        """Attend from one new position to a preallocated cache; for cross-attention k and v are complete."""
        if self.memory is None:
            q, k_new, v_new = self.heads(self.first(x), 3)
            k[:, :, position : position + 1], v[:, :, position : position + 1] = k_new, v_new
            k, v = k[:, :, : position + 1], v[:, :, : position + 1]
        else:
            (q,) = self.heads(self.first(x), 1)
        return self.last(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))


class FusedLayer(nn.Module):
    """An encoder or decoder layer, post-norm."""

    def __init__(self, s: Shape, decoder: bool) -> None:
        super().__init__()
        self.decoder = decoder
        self.self_attention = FusedAttention(s, cross=False)
        self.cross_attention = FusedAttention(s, cross=True) if decoder else None
        self.norms = nn.ModuleList(nn.LayerNorm(s.d_model) for _ in range(3 if decoder else 2))
        self.wide, self.narrow = nn.Linear(s.d_model, s.d_ff), nn.Linear(s.d_ff, s.d_model)
        self.dropout = nn.Dropout(s.dropout)

    def feed_forward(self, x: Tensor) -> Tensor:
        """Run the last sub-layer."""
        return self.norms[-1](x + self.dropout(self.narrow(self.dropout(F.relu(self.wide(x))))))

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Map (batch, time, d_model) to the same shape."""
        x = self.norms[0](x + self.dropout(self.self_attention(x, causal=self.decoder)))
        if self.cross_attention is not None:
            x = self.norms[1](x + self.dropout(self.cross_attention(x, memory)))
        return self.feed_forward(x)


class FusedTransformer(Embedded):
    """The fastest eager form that we know."""

    def __init__(self, s: Shape) -> None:
        super().__init__(s)
        self.encoder = nn.ModuleList(FusedLayer(s, False) for _ in range(s.n_layers))
        self.decoder = nn.ModuleList(FusedLayer(s, True) for _ in range(s.n_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(s.d_model) for _ in range(2))

    def encode(self, src: Tensor) -> Tensor:
        """Return the memory."""
        x = self.embed(self.src, src)
        for layer in self.encoder:
            x = layer(x)
        return self.norms[0](x)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        """Return the logits."""
        memory, x = self.encode(src), self.embed(self.tgt, tgt)
        for layer in self.decoder:
            x = layer(x, memory)
        return self.out(self.norms[1](x))

    @torch.inference_mode()
    def greedy(self, src: Tensor, bos: int, length: int) -> Tensor:
        """Return `length` ids per source, with preallocated caches."""
        memory = self.encode(src)
        first = self.decoder[0].self_attention
        shape = (len(src), first.n_heads, length, memory.shape[-1] // first.n_heads)
        own = [(torch.empty(shape), torch.empty(shape)) for _ in self.decoder]
        cross = [a.heads(a.memory(memory), 2) for a in (layer.cross_attention for layer in self.decoder)]
        ids, found = torch.full((len(src), 1), bos), []
        for position in range(length):
            x = self.tgt(ids) * self.scale + self.table[position]
            for layer, (k, v), (mk, mv) in zip(self.decoder, own, cross, strict=True):
                x = layer.norms[0](x + layer.self_attention.step(x, k, v, position))
                x = layer.norms[1](x + layer.cross_attention.step(x, mk, mv, position))
                x = layer.feed_forward(x)
            ids = self.out(self.norms[1](x))[:, -1].argmax(-1, keepdim=True)
            found.append(ids)
        return torch.cat(found, 1)


def torch_step(s: Shape, kind: type[Embedded], fused_adam: bool) -> Step:
    """Return the same step in torch, eager."""
    model = kind(s).train()
    optimizer = torch.optim.Adam(model.parameters(), LR, betas=BETAS, eps=EPS, fused=fused_adam or None)
    src, tgt, targets = map(torch.tensor, s.ids())

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        logits = model(src, tgt).flatten(0, 1)
        loss = F.cross_entropy(logits, targets.flatten(), label_smoothing=SMOOTHING, ignore_index=0)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def matmuls(s: Shape) -> Step:
    """Return the matmuls of the step alone, into preallocated memory: a lower bound of its time."""
    todo: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    d, n, d_k = s.d_model, s.batch * s.length, s.d_model // s.n_heads

    def matmul(*shapes: tuple[int, ...]) -> None:
        a, b = (np.ones(shape, np.float32) for shape in shapes)
        todo.append((a, b, a @ b))

    def linear(d_in: int, d_out: int) -> None:
        matmul((n, d_in), (d_in, d_out))  # y
        matmul((d_in, n), (n, d_out))  # the gradient of the weight
        matmul((n, d_out), (d_out, d_in))  # the gradient of x

    def attention() -> None:
        heads, t = (s.batch, s.n_heads), s.length
        matmul((*heads, t, d_k), (*heads, d_k, t))  # Q K^T
        matmul((*heads, t, d_k), (*heads, d_k, t))  # dO V^T
        for _ in range(4):  # P V, dV, dQ, dK
            matmul((*heads, t, t), (*heads, t, d_k))

    for layer in range(2 * s.n_layers):
        for cross in range(1 if layer < s.n_layers else 2):
            for widths in ((d, 2 * d), (d, d)) if cross else ((d, 3 * d),):
                linear(*widths)
            linear(d, d)
            attention()
        linear(d, s.d_ff)
        linear(s.d_ff, d)
    linear(d, s.vocab)

    def step() -> None:
        for a, b, out in todo:
            np.matmul(a, b, out=out)

    return step


def autograd_step(s: Shape) -> Step:
    """Return the same forward pass differentiated by HIPS autograd, with this package's Adam; float32."""
    import autograd
    import autograd.numpy as anp

    config = TransformerConfig(s.vocab, s.vocab, s.d_model, s.n_heads, s.n_layers, s.d_ff, s.dropout, final_norm=True)
    model = Transformer(config, seed=0)
    parameters = model.parameters()
    optimizer = Adam(parameters, LR, betas=BETAS, eps=EPS)
    src, tgt, targets = s.ids()
    table = sinusoid(s.length, s.d_model).astype(np.float32)
    rng = np.random.default_rng(0)
    scale, d_k = np.float32(math.sqrt(s.d_model)), s.d_model // s.n_heads
    forbidden = np.where(causal_mask(s.length), np.float32(0), np.float32(-np.inf))

    def dropout(x):
        if s.dropout == 0:
            return x
        return x * ((rng.random(x.shape, np.float32) >= s.dropout) * np.float32(1 / (1 - s.dropout)))

    def linear(x, weight, bias):
        return anp.reshape(anp.dot(anp.reshape(x, (-1, x.shape[-1])), weight.T) + bias, (*x.shape[:-1], -1))

    def norm(x, w, name):
        centered = x - anp.mean(x, -1, keepdims=True)
        variance = anp.mean(centered * centered, -1, keepdims=True)
        return centered / anp.sqrt(variance + np.float32(1e-5)) * w[name + ".weight"] + w[name + ".bias"]

    def attention(x, memory, w, name, mask):
        weight, bias = w[name + ".in_proj_weight"], w[name + ".in_proj_bias"]
        d = s.d_model
        if memory is None:
            projected = linear(x, weight, bias)
            parts = [projected[:, :, i * d : (i + 1) * d] for i in range(3)]
        else:
            both = linear(memory, weight[d:], bias[d:])
            parts = [linear(x, weight[:d], bias[:d]), both[:, :, :d], both[:, :, d:]]
        q, k, v = (anp.transpose(anp.reshape(p, (s.batch, -1, s.n_heads, d_k)), (0, 2, 1, 3)) for p in parts)
        scores = anp.matmul(q, anp.swapaxes(k, -1, -2)) * np.float32(1 / math.sqrt(d_k))
        scores = scores if mask is None else scores + mask
        e = anp.exp(scores - anp.max(scores, -1, keepdims=True))
        p = dropout(e / anp.sum(e, -1, keepdims=True))
        o = anp.reshape(anp.transpose(anp.matmul(p, v), (0, 2, 1, 3)), x.shape)
        return linear(o, w[name + ".out_proj.weight"], w[name + ".out_proj.bias"])

    def feed_forward(x, w, name):
        h = dropout(anp.maximum(linear(x, w[name + ".linear1.weight"], w[name + ".linear1.bias"]), np.float32(0)))
        return linear(h, w[name + ".linear2.weight"], w[name + ".linear2.bias"])

    def loss(w):
        x = dropout(w["src_embed.weight"][src] * scale + table)
        for i in range(s.n_layers):
            name = f"encoder.layers.{i}"
            x = norm(x + dropout(attention(x, None, w, name + ".self_attn", None)), w, name + ".norm1")
            x = norm(x + dropout(feed_forward(x, w, name)), w, name + ".norm2")
        memory = norm(x, w, "encoder.norm")
        x = dropout(w["tgt_embed.weight"][tgt] * scale + table)
        for i in range(s.n_layers):
            name = f"decoder.layers.{i}"
            x = norm(x + dropout(attention(x, None, w, name + ".self_attn", forbidden)), w, name + ".norm1")
            x = norm(x + dropout(attention(x, memory, w, name + ".multihead_attn", None)), w, name + ".norm2")
            x = norm(x + dropout(feed_forward(x, w, name)), w, name + ".norm3")
        z = linear(norm(x, w, "decoder.norm"), w["generator.weight"], w["generator.bias"])
        z = anp.reshape(z, (-1, s.vocab))
        top = anp.max(z, -1, keepdims=True)
        logp = z - top - anp.log(anp.sum(anp.exp(z - top), -1, keepdims=True))
        chosen = logp[np.arange(len(z)), targets.reshape(-1)]
        hard, soft = np.float32(1 - SMOOTHING), np.float32(SMOOTHING)
        return -anp.mean(hard * chosen + soft * anp.mean(logp, -1))

    value_and_gradients = autograd.value_and_grad(loss)

    def step() -> float:
        value, gradients = value_and_gradients({name: p.data for name, p in parameters.named.items()})
        for name, parameter in parameters.named.items():
            parameter.grad[...] = gradients[name]
        clip_gradients(parameters, 1.0)
        optimizer.step()
        return float(value)

    return step
