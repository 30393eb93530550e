"""The oracle: torch.nn.Transformer with the same weights, and torch's autograd."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

torch.set_num_threads(1)


def relative(ours, theirs, floor=1e-300):
    """The largest difference, in units of the largest true value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max(initial=0) / max(np.abs(theirs).max(initial=0), floor))


class TorchTransformer:
    """The same model in torch, float64: logits, loss, gradients by our names."""

    def __init__(self, model):
        from attention_numpy import sinusoid

        c = self.config = model.config
        state = {name: torch.tensor(value.astype(np.float64)) for name, value in model.state_dict().items()}
        self.table = lambda n: torch.tensor(sinusoid(n, c.d_model))
        shape = (c.d_model, c.n_heads, c.d_ff)
        options = {"dropout": 0.0, "batch_first": True, "norm_first": c.norm == "pre", "dtype": torch.float64}
        layer = torch.nn.TransformerEncoderLayer(*shape, **options)
        norm = torch.nn.LayerNorm(c.d_model, dtype=torch.float64)
        encoder = torch.nn.TransformerEncoder(layer, c.n_layers, norm, enable_nested_tensor=False)
        depth = (c.n_layers, c.n_layers)
        self.core = torch.nn.Transformer(*shape[:2], *depth, c.d_ff, custom_encoder=encoder, **options)
        if not c.has_final_norm:
            self.core.encoder.norm = self.core.decoder.norm = None
        own = {"src_embed.weight", "tgt_embed.weight", "generator.weight", "generator.bias"}
        self.core.load_state_dict({name: value for name, value in state.items() if name not in own})
        self.leaves = {name: state[name].clone().requires_grad_() for name in own}
        if c.tie_embeddings:
            for name in ("tgt_embed.weight", "generator.weight"):
                self.leaves[name] = self.leaves["src_embed.weight"]

    def logits(self, src, tgt):
        src, tgt = torch.tensor(src), torch.tensor(tgt)
        scale, pad = self.config.d_model**0.5, self.config.pad
        n, m = tgt.shape[1], src.shape[1]
        memory = self.core.encoder(
            F.embedding(src, self.leaves["src_embed.weight"]) * scale + self.table(m), src_key_padding_mask=src == pad
        )
        h = self.core.decoder(
            F.embedding(tgt, self.leaves["tgt_embed.weight"]) * scale + self.table(n),
            memory,
            tgt_mask=torch.triu(torch.ones(n, n, dtype=torch.bool), 1),
            tgt_key_padding_mask=tgt == pad,
            memory_key_padding_mask=src == pad,
        )
        return F.linear(h, self.leaves["generator.weight"], self.leaves["generator.bias"])

    def loss_and_gradients(self, src, tgt, targets, label_smoothing):
        logits = self.logits(src, tgt)
        loss = F.cross_entropy(
            logits.flatten(0, 1),
            torch.tensor(targets).flatten(),
            ignore_index=self.config.pad,
            label_smoothing=label_smoothing,
        )
        loss.backward()
        gradients = {name: p.grad.numpy() for name, p in self.core.named_parameters()}
        gradients |= {name: leaf.grad.numpy() for name, leaf in self.leaves.items()}
        return logits.detach().numpy(), loss.item(), gradients


@pytest.fixture(scope="session")
def oracle():
    return TorchTransformer


@pytest.fixture(scope="session")
def relative_error():
    return relative
