"""The Transformer (Figure 1). Axes: batch, source and target (positions), d_model, vocab.

Sub-modules have this project's names (self_attn, cross_attn, ffn, norm_self); PyTorch's are in torch_convert.py.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_torch.attention import Intermediates, causal_mask
from transformer_torch.config import TransformerConfig
from transformer_torch.inference.cache import KVCache
from transformer_torch.layers import DecoderLayer, EncoderLayer, LayerNorm, dropout
from transformer_torch.positional import LearnedPositions, SinusoidalPositions


class Transformer(nn.Module):
    """Encoder and decoder that share one embedding matrix for source, target and output (section 3.4).

    >>> model = Transformer(TransformerConfig(vocab_size=11, d_model=8, n_heads=2, n_layers=1, d_ff=16)).eval()
    >>> model(torch.tensor([[5, 6, 7]]), torch.tensor([[1, 7]])).shape
    torch.Size([1, 2, 11])
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        # without padding_idx: PyTorch would keep that row at zero, but as an output vector it is a row like any other
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=config.d_model**-0.5)
        table = SinusoidalPositions if config.positions == "sinusoidal" else LearnedPositions
        self.positions = table(config.max_length, config.d_model)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.n_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.n_layers))
        norms = [self._final_norm(config) for _ in range(2)]
        self.encoder_norm, self.decoder_norm = norms
        self.output_weight: Tensor | None = None  # the embedding matrix in another memory layout, set for decoding

    @staticmethod
    def _final_norm(config: TransformerConfig) -> nn.Module:
        return LayerNorm(config.d_model, config.layer_norm_eps) if config.has_final_norm else nn.Identity()

    def embed(self, ids: Int[Tensor, "batch time"], first: int = 0) -> Float[Tensor, "batch time d_model"]:
        """Return embeddings times sqrt(d_model), plus positions, after dropout (sections 3.4, 3.5 and 5.4).

        first: position of the first id, above 0 in cached decoding.
        """
        x = self.embedding(ids) * math.sqrt(self.config.d_model)
        x = x + self.positions(first, ids.size(1))
        device = x.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            # the residual stream in low precision, too: half the memory traffic (LayerNorm computes in float32 inside)
            x = x.to(torch.get_autocast_dtype(device))
        return dropout(x, self.config.dropout, self.training)

    def encode(
        self, src: Int[Tensor, "batch source"], intermediates: Intermediates | None = None
    ) -> tuple[Float[Tensor, "batch source d_model"], Bool[Tensor, "batch 1 1 source"]]:
        """Return the encoder's output, and a mask that is False at padding of the source."""
        mask = (src != self.config.pad_id)[:, None, None, :]
        x = self.embed(src)
        for number, layer in enumerate(self.encoder):
            x = layer(x, mask, intermediates, f"encoder.{number}")
        return self.encoder_norm(x), mask

    def decode(
        self,
        tgt: Int[Tensor, "batch target"],
        memory: Float[Tensor, "batch source d_model"],
        memory_mask: Bool[Tensor, "batch 1 1 source"] | None,
        intermediates: Intermediates | None = None,
    ) -> Float[Tensor, "batch target d_model"]:
        """Return the decoder's output. Padding is at the end of a target, so the causal mask alone hides it."""
        x = self.embed(tgt)
        causal = causal_mask(tgt.size(1), tgt.device)
        for number, layer in enumerate(self.decoder):
            x = layer(x, memory, causal, memory_mask, None, intermediates, f"decoder.{number}")
        out: Tensor = self.decoder_norm(x)
        return out

    def start_cache(
        self,
        memory: Float[Tensor, "sentences source d_model"],
        memory_mask: Bool[Tensor, "sentences 1 1 source"] | None,
    ) -> KVCache:
        """Return an empty cache for decoding, with each layer's keys and values of the memory."""
        return KVCache([layer.cross_attn.project_kv(memory) for layer in self.decoder], memory_mask)  # type: ignore[union-attr, operator]

    def decode_cached(self, tgt: Int[Tensor, "rows new"], cache: KVCache) -> Float[Tensor, "rows new d_model"]:
        """Return what `decode` returns for new positions after those in the cache, and add them to the cache.

        The rows of one sentence follow one another: their number is a multiple of the number of sentences.
        """
        earlier, new = cache.length, tgt.size(1)
        x = self.embed(tgt, earlier)
        causal = causal_mask(new, tgt.device, earlier) if new > 1 else None  # the newest position attends to all
        for number, layer in enumerate(self.decoder):
            x = layer(x, cache.memory[number], causal, cache.memory_mask, cache.appender(number))
        cache.length += new
        out: Tensor = self.decoder_norm(x)
        return out

    def project(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Return logits: the embedding matrix again, transposed (section 3.4)."""
        return F.linear(x, self.embedding.weight if self.output_weight is None else self.output_weight)

    def forward(
        self, src: Int[Tensor, "batch source"], tgt: Int[Tensor, "batch target"], return_intermediates: bool = False
    ) -> Float[Tensor, "batch target vocab"] | tuple[Float[Tensor, "batch target vocab"], Intermediates]:
        """Return the logits of the token after each target position.

        tgt starts with the begin-of-sentence id and lacks the last token: "shifted right" in Figure 1.
        return_intermediates: also return all attention weights, such as "decoder.0.cross_attn" of shape
        (batch, heads, target, source).
        """
        intermediates: Intermediates | None = {} if return_intermediates else None
        memory, memory_mask = self.encode(src, intermediates)
        logits = self.project(self.decode(tgt, memory, memory_mask, intermediates))
        return logits if intermediates is None else (logits, intermediates)

    @classmethod
    def from_torch(
        cls, nn_transformer: nn.Transformer, embedding: nn.Embedding | Tensor, pad_id: int = 0, max_length: int = 512
    ) -> Transformer:
        """Return a model with the weights of a torch.nn.Transformer; see `pretrained.torch_convert.from_torch`."""
        from transformer_torch.pretrained.torch_convert import from_torch

        return from_torch(nn_transformer, embedding, pad_id, max_length)

    def to_torch(self) -> nn.Transformer:
        """Return a torch.nn.Transformer with the same weights; see `pretrained.torch_convert.to_torch`."""
        from transformer_torch.pretrained.torch_convert import to_torch

        return to_torch(self)

    def num_parameters(self) -> int:
        """Return the number of trained numbers; the shared matrix counts once."""
        return sum(p.numel() for p in self.parameters())
