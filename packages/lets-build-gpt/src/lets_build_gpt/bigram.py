"""The first step of the staircase: the next character from the last one alone.

Twice. Counting gives the best such model in closed form: P(b | a) = count(ab) / count(a). A table of logits trained
by gradient descent reaches the same loss, because the cross-entropy of a bigram model depends on the text through
those counts only, and they minimise it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lets_build_gpt.generate import choose


def count_bigrams(ids: Int[Tensor, " tokens"], n_vocab: int) -> Int[Tensor, "n_vocab n_vocab"]:
    """How often each token (row) is followed by each (column)."""
    if len(ids) < 2:
        raise ValueError(f"ids: {len(ids)} tokens; a bigram needs two")
    return torch.bincount(ids[:-1] * n_vocab + ids[1:], minlength=n_vocab * n_vocab).view(n_vocab, n_vocab)


def counted_loss(counts: Int[Tensor, "n_vocab n_vocab"], logits: Float[Tensor, "n_vocab n_vocab"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of a table of logits over all the pairs counted, nats per token."""
    surprise = -torch.log_softmax(logits, dim=-1)
    return torch.where(counts > 0, counts * surprise, 0).sum() / counts.sum()  # a pair that never occurs costs nothing


class BigramModel(nn.Module):
    """One row of logits for each token: those of the token after it.

    model = BigramModel(n_vocab=65)
    model.loss(ids, targets); model.generate(ids, max_length=100)      # as the GPT's
    """

    def __init__(self, n_vocab: int) -> None:
        super().__init__()
        self.logits = nn.Embedding(n_vocab, n_vocab)
        nn.init.zeros_(self.logits.weight)  # every next token equally likely: a loss of ln(n_vocab)

    @classmethod
    def from_counts(cls, counts: Int[Tensor, "n_vocab n_vocab"], smoothing: float = 0.0) -> BigramModel:
        """The closed form; `smoothing` is added to every count, so that no pair is impossible."""
        model = cls(counts.shape[0])
        model.logits.weight = nn.Parameter(torch.log(counts + smoothing).nan_to_num(neginf=-1e4))
        return model

    def fit(self, counts: Int[Tensor, "n_vocab n_vocab"], steps: int = 1000, lr: float = 0.1) -> float:
        """Gradient descent (Adam) on the mean loss over all pairs at once; returns the last loss."""
        optimizer = torch.optim.Adam(self.parameters(), lr=lr)
        loss = torch.tensor(0.0)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = counted_loss(counts, self.logits.weight)
            loss.backward()
            optimizer.step()
        return loss.item()

    def forward(self, ids: Int[Tensor, "batch context"]) -> Float[Tensor, "batch context n_vocab"]:
        """Logits of the next token, from each token alone."""
        return self.logits(ids)

    def loss(self, ids: Int[Tensor, "batch context"], targets: Int[Tensor, "batch context"]) -> Float[Tensor, ""]:
        """Mean cross-entropy of targets, nats per token."""
        return F.cross_entropy(self(ids).flatten(0, 1), targets.flatten())

    @torch.no_grad()
    def generate(
        self, ids: Int[Tensor, "batch prompt"], max_length: int, generator: torch.Generator | None = None
    ) -> Int[Tensor, "batch max_length"]:
        """Continue each prompt until it has max_length tokens."""
        while ids.shape[1] < max_length:
            ids = torch.cat([ids, choose(self(ids[:, -1:])[:, -1], generator=generator)], dim=1)
        return ids
