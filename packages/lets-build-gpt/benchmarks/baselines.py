"""Baselines of the step benchmark, with the default settings of their users and the architecture of the recipe."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NanoGPTBlock(nn.Module):
    """A block as nanoGPT computes it: fused projections, scaled_dot_product_attention, GELU, no biases."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.ln_1 = nn.LayerNorm(d_model, bias=False)
        self.c_attn = nn.Linear(d_model, 3 * d_model, bias=False)
        self.attn_proj = nn.Linear(d_model, d_model, bias=False)
        self.ln_2 = nn.LayerNorm(d_model, bias=False)
        self.c_fc = nn.Linear(d_model, 4 * d_model, bias=False)
        self.mlp_proj = nn.Linear(4 * d_model, d_model, bias=False)

    def attend(self, x: Tensor) -> Tensor:
        """Causal attention with PyTorch's fused kernel."""
        batch, time, d_model = x.shape
        q, k, v = (t.view(batch, time, self.n_heads, -1).transpose(1, 2) for t in self.c_attn(x).split(d_model, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2).contiguous().view(batch, time, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream after both branches."""
        x = x + self.attn_proj(self.attend(self.ln_1(x)))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x))))


class LoopedHeadsBlock(NanoGPTBlock):
    """The same with one projection per head and a Python loop over the heads, as tutorials write it."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__(d_model, n_heads)
        del self.c_attn
        d_k = d_model // n_heads
        self.heads = nn.ModuleList(
            nn.ModuleDict({name: nn.Linear(d_model, d_k, bias=False) for name in ("query", "key", "value")})
            for _ in range(n_heads)
        )

    def attend(self, x: Tensor) -> Tensor:
        """Compute one head after the other."""
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        out = []
        for head in self.heads:
            q, k, v = head["query"](x), head["key"](x), head["value"](x)
            scores = (q @ k.transpose(-2, -1) / math.sqrt(k.shape[-1])).masked_fill(future, -math.inf)
            out.append(torch.softmax(scores, dim=-1) @ v)
        return torch.cat(out, dim=-1)


class Baseline(nn.Module):
    """A GPT made of either block. Token embedding and head share one matrix."""

    def __init__(
        self, block: type[NanoGPTBlock], context_length: int, d_model: int, n_heads: int, n_layers: int, vocab_size: int
    ):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, d_model)
        self.wpe = nn.Embedding(context_length, d_model)
        self.blocks = nn.ModuleList(block(d_model, n_heads) for _ in range(n_layers))
        self.ln_f = nn.LayerNorm(d_model, bias=False)
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)
        self.lm_head.weight = self.wte.weight

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.lm_head(self.ln_f(x)).flatten(0, 1), targets.flatten())


class BaselineStep:
    """The training step of nanoGPT's train.py on a CPU: float32 (or another dtype), AdamW, clipping at 1."""

    def __init__(
        self, block: type[NanoGPTBlock], batch_size: int, context_length: int, dtype: torch.dtype = torch.float32
    ) -> None:
        torch.manual_seed(0)
        self.dtype = dtype
        self.model = Baseline(block, context_length, d_model=128, n_heads=4, n_layers=4, vocab_size=65)
        matrices = [p for p in self.model.parameters() if p.dim() >= 2]
        gains = [p for p in self.model.parameters() if p.dim() < 2]
        groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
        tokens = torch.randint(65, (batch_size, context_length + 1))
        self.ids, self.targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def __call__(self) -> float:
        """Take one step and return the loss."""
        with torch.autocast("cpu", self.dtype, enabled=self.dtype != torch.float32):
            loss = self.model.loss(self.ids, self.targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()
