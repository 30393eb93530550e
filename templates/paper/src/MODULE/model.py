"""The model: an n-gram language model with one hidden layer, as in Bengio et al. (2003)."""
# Replace: this file with the model of your paper; cite its equations in the docstrings.
# Parameter names are our own: no published weights are loaded.

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from MODULE.config import ModelConfig, SamplingConfig


class Model(nn.Module):
    """Predict the next character from the previous ones: logits = U tanh(H x + d) + b, x = concatenated embeddings.

    Shapes: embedding (vocab, d_model), H (d_ff, time * d_model), U (vocab, d_ff).
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        n_inputs = config.context_length * config.d_model
        self.embedding = nn.Parameter(torch.randn(vocab_size, config.d_model))
        self.hidden_weight = nn.Parameter(torch.randn(config.d_ff, n_inputs) / n_inputs**0.5)
        self.hidden_bias = nn.Parameter(torch.zeros(config.d_ff))
        # zero: every character is equally probable at the start, so the first loss is log(vocab)
        self.output_weight = nn.Parameter(torch.zeros(vocab_size, config.d_ff))
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, ids: Int64[Tensor, "batch time"]) -> Float[Tensor, "batch vocab"]:
        """Return the logits of the character that follows each context of `context_length` ids."""
        x = self.embedding[ids].flatten(1)
        hidden = torch.tanh(x @ self.hidden_weight.T + self.hidden_bias)
        hidden = F.dropout(hidden, self.config.dropout, self.training)
        return hidden @ self.output_weight.T + self.output_bias

    def num_parameters(self) -> int:
        """Return the number of trainable scalars."""
        return sum(p.numel() for p in self.parameters())

    def generate(
        self, ids: list[int], sampling: SamplingConfig | None = None, generator: torch.Generator | None = None
    ) -> list[int]:
        """Return the ids that continue `ids`; see generate.py."""
        from MODULE.generate import generate

        return generate(self, ids, sampling or SamplingConfig(), generator)
