"""`bpe demo`: a tokenizer from the documentation that every Python interpreter carries (`pydoc_data.topics`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from bpe.counts import count_texts
from bpe.engine import choose_engine
from bpe.show import terminal_pieces
from bpe.tokenizer import Tokenizer
from bpe.training import train_from_counts


def documentation() -> list[str]:
    """The texts behind `help("if")` and its like, about 0.7 MB."""
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)]


def demo(
    vocab_size: int, engine: Literal["auto", "python", "numba"], text: str, *, colour: bool = False
) -> Iterator[str]:
    """Train, and tell of it line by line."""
    texts = documentation()
    size = sum(len(t.encode()) for t in texts)
    yield f"Corpus: {len(texts)} topics of Python's documentation, {size:,} bytes."
    counts = count_texts(texts, "gpt2", compiled=choose_engine(engine) == "numba")
    cut = sum(counts.counts.values())
    yield f"The pattern of GPT-2 cuts it into {cut:,} pre-tokens, {len(counts.counts):,} distinct."
    tokenizer = train_from_counts(counts, vocab_size=vocab_size, engine=engine)
    pieces = {i: tokenizer.pieces([i])[0] for i in range(tokenizer.n_vocab)}
    yield f"{len(tokenizer.merges):,} merges were learned by the engine {tokenizer.engine}. The first and the last:"
    for shown in (
        range(min(8, len(tokenizer.merges))),
        range(max(8, len(tokenizer.merges) - 4), len(tokenizer.merges)),
    ):
        for k in shown:
            a, b = tokenizer.merges[k]
            yield f"  merge {k:>5}: {pieces[a]} + {pieces[b]} -> {pieces[256 + k]}"
    longest = sorted(tokenizer.ranks, key=len, reverse=True)[:6]
    yield "The longest tokens: " + "  ".join(tokenizer.pieces([tokenizer.ranks[token] for token in longest]))
    yield "Compression, in bytes per token, when only so many ids are used:"
    for used in sorted({256, 320, 512, vocab_size}):
        if used <= vocab_size:
            yield f"  {used:>6,} ids: {size / _tokens(tokenizer, texts, used):.2f}"
    yield "A text in pieces:"
    yield "  " + terminal_pieces(tokenizer, text, colour=colour)


def _tokens(tokenizer: Tokenizer, texts: list[str], used: int) -> int:
    """How many ids the texts have for the vocabulary cut off after `used` ids."""
    merges = tokenizer.merges[: max(0, used - 256)]
    smaller = Tokenizer.from_merges(merges, pattern=tokenizer.pattern, engine="python")
    return sum(map(smaller.count, texts))
