"""`bpe demo`: a tokenizer trained on the documentation inside every Python interpreter (`pydoc_data.topics`)."""

from __future__ import annotations

from collections.abc import Iterator

from bpe.engines.base import EngineName
from bpe.engines.choice import choose_engine
from bpe.tokenizer import Tokenizer
from bpe.training.api import train_from_counts
from bpe.training.count import count_texts
from bpe.visualize import terminal_tokens


def documentation() -> list[str]:
    """Return the texts behind `help("if")` and the other topics, about 0.7 MB."""
    from pydoc_data.topics import topics

    return [topics[name] for name in sorted(topics)]


def demo(vocab_size: int, engine: EngineName, text: str, *, color: bool = False) -> Iterator[str]:
    """Train, and yield what happens line by line."""
    texts = documentation()
    size = sum(len(t.encode()) for t in texts)
    yield f"Corpus: {len(texts)} topics of Python's documentation, {size:,} bytes."
    counts = count_texts(texts, "gpt2", compiled=choose_engine(engine, kernel="count") == "numba")
    pretokens = sum(counts.counts.values())
    yield f"GPT-2's pattern splits it into {pretokens:,} pre-tokens, {len(counts):,} of them distinct."
    tokenizer = train_from_counts(counts, vocab_size=vocab_size, engine=engine)
    printable = {i: tokenizer.pieces([i])[0] for i in range(tokenizer.n_vocab)}
    number = len(tokenizer.merges)
    yield f"The {tokenizer.engine} engine learned {number:,} merges. First and last (Ġ is a space, Ċ a line feed):"
    for k in (*range(min(8, number)), *range(max(8, number - 4), number)):
        a, b = tokenizer.merges[k]
        yield f"  merge {k:>5}: {printable[a]} + {printable[b]} -> {printable[256 + k]}"
    longest = sorted(tokenizer.ranks, key=len, reverse=True)[:6]
    yield "Longest tokens: " + "  ".join(tokenizer.pieces([tokenizer.ranks[token] for token in longest]))
    yield "Compression, in bytes per token, by vocabulary size:"
    for ids in sorted({256, 320, 512, vocab_size}):
        if ids <= vocab_size:
            yield f"  {ids:>6,} ids: {size / _count(tokenizer, texts, ids):.2f}"
    yield "A text as tokens:"
    yield "  " + terminal_tokens(tokenizer, text, color=color)
    yield "Next: train on your own text with `bpe train FILE --vocab-size 4096`, then `bpe inspect --help`."


def _count(tokenizer: Tokenizer, texts: list[str], ids: int) -> int:
    """Return the number of tokens of the texts with only the first `ids` ids of the vocabulary."""
    merges = tokenizer.merges[: max(0, ids - 256)]
    smaller = Tokenizer.from_merges(merges, pattern=tokenizer.pattern, engine="python")
    return sum(map(smaller.count, texts))
