"""The Transformer: Figure 1. Shapes: batch, source and target (positions), d_model, vocab."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from transformer_torch.attention import Record, causal_mask
from transformer_torch.config import TransformerConfig
from transformer_torch.dropout import dropout
from transformer_torch.layers import DecoderLayer, EncoderLayer, LayerNorm
from transformer_torch.positional import LearnedPositions, SinusoidalPositions


class Transformer(nn.Module):
    """Encoder and decoder over one shared matrix for source, target and output (section 3.4).

    >>> model = Transformer(TransformerConfig(vocab_size=11, d_model=8, n_heads=2, n_layers=1, d_ff=16)).eval()
    >>> model(torch.tensor([[5, 6, 7]]), torch.tensor([[1, 7]])).shape
    torch.Size([1, 2, 11])
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        # without padding_idx: torch would keep row 0 at zero, yet as an output vector it is a row like any other
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=config.d_model**-0.5)
        table = SinusoidalPositions if config.positions == "sinusoidal" else LearnedPositions
        self.positions = table(config.max_length, config.d_model)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.n_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.n_layers))
        self.encoder_norm = LayerNorm(config.d_model) if config.has_final_norm else nn.Identity()
        self.decoder_norm = LayerNorm(config.d_model) if config.has_final_norm else nn.Identity()

    def embed(self, ids: Int[Tensor, "batch n"], first: int = 0) -> Float[Tensor, "batch n d_model"]:
        """Embeddings times sqrt(d_model), plus positions, dropped out — sections 3.4, 3.5 and 5.4.

        first: the position of the first id, above 0 when decoding goes on.
        """
        n = ids.size(1)
        if first + n > self.config.max_length:
            raise ValueError(
                f"ids: a sequence of {first + n} tokens; this model has {self.config.max_length} positions"
            )
        x = self.embedding(ids) * math.sqrt(self.config.d_model)
        x = x + self.positions(first, n, x)
        if torch.is_autocast_enabled(x.device.type):
            # the residual stream, too, in the short type: half the memory to move (LayerNorm computes in fp32 inside)
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return dropout(x, self.config.dropout, self.training)

    def encode(
        self, src: Int[Tensor, "batch source"], record: Record | None = None
    ) -> tuple[Float[Tensor, "batch source d_model"], Bool[Tensor, "batch 1 1 source"] | None]:
        """The encoder's output, and where the source is not padding (None: nowhere is padding)."""
        tokens = src != self.config.pad_id
        mask = None if bool(tokens.all()) else tokens[:, None, None, :]
        x = self.embed(src)
        for number, layer in enumerate(self.encoder):
            x = layer(x, mask, record, f"encoder.{number}")
        return self.encoder_norm(x), mask

    def decode(
        self,
        tgt: Int[Tensor, "batch target"],
        memory: Float[Tensor, "batch source d_model"],
        memory_mask: Bool[Tensor, "batch 1 1 source"] | None,
        record: Record | None = None,
    ) -> Float[Tensor, "batch target d_model"]:
        """The decoder's output. Padding stands at the end of a target, so the causal mask alone hides it."""
        x = self.embed(tgt)
        causal = causal_mask(tgt.size(1), tgt.device)
        for number, layer in enumerate(self.decoder):
            x = layer(x, memory, causal, memory_mask, record, f"decoder.{number}")
        out: Tensor = self.decoder_norm(x)
        return out

    def project(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch vocab"]:
        """Logits: the embedding matrix again, transposed (section 3.4)."""
        return F.linear(x, self.embedding.weight)

    def forward(
        self, src: Int[Tensor, "batch source"], tgt: Int[Tensor, "batch target"], record: Record | None = None
    ) -> Float[Tensor, "batch target vocab"]:
        """Logits of the token after each target position.

        tgt begins with the begin-of-sentence id and goes without its last token: "shifted right" in Figure 1.
        record: an empty dictionary, to be filled with the attention weights (`decoder.0.cross`, ...).
        """
        memory, memory_mask = self.encode(src, record)
        return self.project(self.decode(tgt, memory, memory_mask, record))

    @classmethod
    def from_torch(
        cls, nn_transformer: nn.Transformer, embedding: nn.Embedding | Tensor, pad_id: int = 0, max_length: int = 512
    ) -> Transformer:
        """A model with the weights of a torch.nn.Transformer and of its embedding; see `convert.from_torch`."""
        from transformer_torch.convert import from_torch

        return from_torch(nn_transformer, embedding, pad_id, max_length)

    def to_torch(self) -> nn.Transformer:
        """A torch.nn.Transformer with the same weights; see `convert.to_torch`."""
        from transformer_torch.convert import to_torch

        return to_torch(self)

    @property
    def n_parameters(self) -> int:
        """Numbers that are trained; the shared matrix counts once."""
        return sum(p.numel() for p in self.parameters())
