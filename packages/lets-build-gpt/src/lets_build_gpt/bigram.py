"""The bigram model: predict the next character from the last one alone.

It is built twice. Counting gives the best bigram model in closed form: P(b | a) = count(a b) / count(a). A table of
logits trained by gradient descent reaches the same loss, because the cross-entropy of a bigram model depends on the
text through these counts only, and the counted probabilities minimize it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lets_build_gpt._common.errors import check_integer, invalid
from lets_build_gpt.data import split
from lets_build_gpt.generate import sample_next
from lets_build_gpt.tokenizer import CharTokenizer

MAX_TRAINED_VOCAB = 1000  # above it, a thousand optimizer steps on the table of vocab² logits take minutes


def count_bigrams(ids: Int[Tensor, " tokens"], vocab_size: int) -> Int[Tensor, "vocab vocab"]:
    """Return how often each token (row) is followed by each token (column). Raises: ValueError for fewer than two."""
    if len(ids) < 2:
        raise invalid("ids", "have at least two tokens", len(ids))
    return torch.bincount(ids[:-1] * vocab_size + ids[1:], minlength=vocab_size * vocab_size).view(
        vocab_size, vocab_size
    )


def counted_loss(counts: Int[Tensor, "vocab vocab"], logits: Float[Tensor, "vocab vocab"]) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of a table of logits over all counted pairs, in nats per token."""
    nll = -torch.log_softmax(logits, dim=-1)
    return torch.where(counts > 0, counts * nll, 0).sum() / counts.sum()  # 0 * inf would be NaN


class BigramModel(nn.Module):
    """A table with one row of logits per token: those of the token that follows it.

    `loss` and `generate` have the signature of the GPT's.
    """

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        check_integer("vocab_size", vocab_size, 1)
        self.logits = nn.Embedding(vocab_size, vocab_size)
        nn.init.zeros_(self.logits.weight)  # every next token equally probable: a loss of ln(vocab_size)

    @classmethod
    def from_counts(cls, counts: Int[Tensor, "vocab vocab"], smoothing: float = 0.0) -> BigramModel:
        """Return the model in closed form. `smoothing` is added to every count, so that no pair is impossible."""
        model = cls(counts.shape[0])
        model.logits.weight = nn.Parameter(torch.log(counts + smoothing).nan_to_num(neginf=-1e4))
        return model

    def fit(self, counts: Int[Tensor, "vocab vocab"], steps: int = 1000, lr: float = 0.1) -> list[float]:
        """Minimize the mean loss over all pairs at once with Adam. Return the loss before each step."""
        optimizer = torch.optim.Adam(self.parameters(), lr=lr)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = counted_loss(counts, self.logits.weight)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    def forward(self, ids: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocab"]:
        """Return the logits of the next token, from each token alone."""
        return self.logits(ids)

    def loss(self, ids: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
        """Return the mean cross-entropy of the targets, in nats per token."""
        return F.cross_entropy(self(ids).flatten(0, 1), targets.flatten())

    @torch.no_grad()
    def generate(
        self, start: Int[Tensor, "batch prompt"], max_length: int, generator: torch.Generator | None = None
    ) -> Int[Tensor, "batch max_length"]:
        """Continue each prompt until it has `max_length` tokens, the prompt included."""
        ids = start
        while ids.shape[1] < max_length:
            ids = torch.cat([ids, sample_next(self(ids[:, -1:])[:, -1], generator=generator)], dim=1)
        return ids


@dataclass(frozen=True)
class BigramResult:
    """Losses in nats per character, and a sample of the counted model.

    counted, trained: on the training split (trained is None for more than 1,000 distinct characters).
    validation: of the counts plus 1.
    """

    counted: float
    trained: float | None
    validation: float
    sample: str


def fit_bigrams(text: str, max_length: int = 200, seed: int = 1337, *, train: bool = True) -> BigramResult:
    """Count and train a bigram model on the training split of a text.

    max_length: characters of the sample. train: False skips gradient descent.
    Raises: ValueError if a split has fewer than two characters.
    """
    check_integer("max_length", max_length, 1)
    train_text, val_text = split(text)
    if len(val_text) < 2:
        raise ValueError(f"`text` must have at least 11 characters, so that both splits hold a pair, got {len(text)}")
    tokenizer = CharTokenizer.from_text(text)
    counts, val_counts = (
        count_bigrams(torch.tensor(tokenizer.encode(part)), tokenizer.vocab_size) for part in (train_text, val_text)
    )
    counted = counted_loss(counts, BigramModel.from_counts(counts).logits.weight).item()
    smoothed = BigramModel.from_counts(counts, smoothing=1.0)
    validation = counted_loss(val_counts, smoothed.logits.weight).item()
    trained = None
    if train and tokenizer.vocab_size <= MAX_TRAINED_VOCAB:
        trained = BigramModel(tokenizer.vocab_size).fit(counts)[-1]
    start = torch.tensor([tokenizer.encode(tokenizer.start)])
    ids = smoothed.generate(start, max_length, generator=torch.Generator().manual_seed(seed))
    return BigramResult(counted, trained, validation, tokenizer.decode(ids[0].tolist()))
