"""Baselines of the benchmarks. nanoGPT's model is written here with the same architecture."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from gpt2 import GPT2
from torch import Tensor, nn


class NanoGPTBlock(nn.Module):
    """A block as in nanoGPT: nn.Linear, scaled_dot_product_attention, nn.GELU."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.ln_1, self.ln_2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.c_attn, self.attn_proj = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.c_fc, self.mlp_proj = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Add both branches to the residual stream."""
        batch, tokens, d_model = x.shape
        parts = self.c_attn(self.ln_1(x)).split(d_model, dim=2)
        q, k, v = (t.view(batch, tokens, self.n_heads, -1).transpose(1, 2) for t in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_proj(y.transpose(1, 2).contiguous().view(batch, tokens, d_model))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class NanoGPT(nn.Module):
    """nanoGPT's model with the weights of a GPT2."""

    def __init__(self, model: GPT2) -> None:
        super().__init__()
        c, state = model.config, model.state_dict()
        self.wte, self.wpe = nn.Embedding(c.vocab_size, c.d_model), nn.Embedding(c.context_length, c.d_model)
        self.h = nn.ModuleList(NanoGPTBlock(c.d_model, c.n_heads) for _ in range(c.n_layers))
        self.ln_f = nn.LayerNorm(c.d_model)
        self.lm_head = nn.Linear(c.d_model, c.vocab_size, bias=False)
        self.lm_head.weight = self.wte.weight
        names = {"attn.c_attn": "c_attn", "attn.c_proj": "attn_proj", "mlp.c_fc": "c_fc", "mlp.c_proj": "mlp_proj"}
        for old, new in names.items():
            for name in [n for n in state if old in n]:
                tensor = state.pop(name)
                state[name.replace(old, new)] = tensor.T.contiguous() if tensor.dim() == 2 else tensor
        self.load_state_dict(state)

    def forward(self, ids: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the loss; without targets the logits of the last token."""
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.h:
            x = block(x)
        x = self.ln_f(x)
        if targets is None:
            logits: Tensor = self.lm_head(x[:, [-1]])
            return logits
        return F.cross_entropy(self.lm_head(x).view(-1, self.lm_head.out_features), targets.reshape(-1))

    @torch.no_grad()
    def generate(self, ids: Tensor, new_tokens: int) -> Tensor:
        """Return greedy text; all tokens are recomputed for each new one, because nanoGPT has no cache."""
        for _ in range(new_tokens):
            ids = torch.cat([ids, self(ids)[:, -1].argmax(-1, keepdim=True)], dim=1)
        return ids


def write_for_ctranslate2(folder: Path, out: Path) -> None:
    """Convert a Hugging Face folder without a tokenizer: token i is called ti."""
    from ctranslate2.converters.transformers import GPT2Loader
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder)
    spec = GPT2Loader().get_model_spec(model)
    spec.register_vocabulary([f"t{i}" for i in range(model.config.vocab_size)])
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = "t50256"
    spec.validate()
    spec.optimize(quantization=None)
    out.mkdir()
    spec.save(str(out))
