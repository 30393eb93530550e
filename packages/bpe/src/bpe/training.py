"""Training a tokenizer: count pre-tokens, learn merges, number the tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from bpe import special
from bpe.byte_letters import GPT2_BYTE_ORDER
from bpe.counts import PretokenCounts, count_files, count_texts, with_ids
from bpe.engine import choose_engine
from bpe.learn import Ties, learn_merges
from bpe.tokenizer import Tokenizer
from bpe.vocabulary import RAW_BYTE_ORDER

EngineName = Literal["auto", "python", "numba"]
Progress = Callable[[str, int, int], None]
"""Called with "count" or "merge", how much is done, and of how much (bytes, merges)."""


def train(
    files: Iterable[str | Path],
    *,
    vocab_size: int,
    pattern: str | None = "gpt2",
    ties: Ties = "first",
    special_tokens: Sequence[str] = (),
    min_frequency: int = 1,
    byte_order: Literal["raw", "gpt2"] | None = None,
    workers: int = 1,
    engine: EngineName = "auto",
    progress: Progress | None = None,
) -> Tokenizer:
    """Train on UTF-8 files of any size.

    Args:
        files: read in this order; nothing reaches over a file's end.
        vocab_size: of the tokenizer: 256 bytes, merges and special tokens together. Fewer if the pairs run out.
        pattern: `gpt2`, `cl100k`, `o200k`, a regular expression, or None.
        ties: which of several most frequent pairs is merged, because trainers differ: `first` (as minbpe), `ids` (as
            Hugging Face), `bytes` (as subword-nmt); see `bpe.learn`.
        special_tokens: names; they get the last ids, and are cut out of the texts.
        min_frequency: pairs that are rarer are not merged.
        byte_order: which byte has which id: `raw`, the byte's value, or `gpt2`, the order of GPT-2 and Hugging Face. By
            default `gpt2` with ties="ids", where the order decides ties, else `raw`. (rustbpe: ties="ids" with `raw`.)
        workers: processes that count.
        engine: for training, and of the tokenizer that is returned.
        progress: see `Progress`.
    """
    _check(vocab_size, special_tokens, min_frequency)
    counting = None if progress is None else lambda done, total: progress("count", done, total)
    compiled = choose_engine(engine) == "numba"
    counts = count_files(files, pattern, special_tokens, workers=workers, compiled=compiled, progress=counting)
    return train_from_counts(
        counts, vocab_size=vocab_size, ties=ties, special_tokens=special_tokens, min_frequency=min_frequency,
        byte_order=byte_order, engine=engine, progress=progress,
    )  # fmt: skip


def train_from_iterator(
    texts: Iterable[str],
    *,
    vocab_size: int,
    pattern: str | None = "gpt2",
    ties: Ties = "first",
    special_tokens: Sequence[str] = (),
    min_frequency: int = 1,
    byte_order: Literal["raw", "gpt2"] | None = None,
    engine: EngineName = "auto",
    progress: Progress | None = None,
) -> Tokenizer:
    """Train on texts as they come; only their pre-token counts are kept. Arguments as for `train`.

    >>> tok = train_from_iterator(["aaabdaaabac"], vocab_size=259, pattern=None, engine="python")
    >>> tok.encode("aaabdaaabac")
    [258, 100, 258, 97, 99]
    """
    _check(vocab_size, special_tokens, min_frequency)
    if isinstance(texts, str):
        raise ValueError("texts: one string was given; give a list or an iterator of strings")
    counts = count_texts(texts, pattern, special_tokens, compiled=choose_engine(engine) == "numba")
    return train_from_counts(
        counts, vocab_size=vocab_size, ties=ties, special_tokens=special_tokens, min_frequency=min_frequency,
        byte_order=byte_order, engine=engine, progress=progress,
    )  # fmt: skip


def train_from_counts(
    counts: PretokenCounts,
    *,
    vocab_size: int,
    ties: Ties = "first",
    special_tokens: Sequence[str] = (),
    min_frequency: int = 1,
    byte_order: Literal["raw", "gpt2"] | None = None,
    engine: EngineName = "auto",
    progress: Progress | None = None,
) -> Tokenizer:
    """Train on counts that were made before (`bpe.count_files`, `bpe count`). Arguments as for `train`."""
    _check(vocab_size, special_tokens, min_frequency)
    order = _byte_order(byte_order, ties)
    num_merges = vocab_size - 256 - len(special_tokens)
    merging = None if progress is None else lambda done: progress("merge", done, num_merges)
    id_of = bytes.maketrans(order, RAW_BYTE_ORDER)  # byte -> its id
    words = (
        with_ids(counts, id_of) if ties == "ids" else counts
    )  # the rule looks at ids: they have to be the final ones
    if choose_engine(engine) == "numba":
        from bpe import fast

        merges = fast.train(words.arrays or words.counts, num_merges, ties, min_frequency, merging)
    else:
        merges = learn_merges(words.counts, num_merges, ties, min_frequency, merging)
    if ties != "ids":
        merges = [(id_of[a] if a < 256 else a, id_of[b] if b < 256 else b) for a, b in merges]
    ids = special.numbered(special_tokens, 256 + len(merges))
    return Tokenizer.from_merges(merges, byte_order=order, pattern=counts.pattern, special_tokens=ids, engine=engine)


def _byte_order(name: str | None, ties: str) -> bytes:
    if name not in ("raw", "gpt2", None):
        raise ValueError(f"byte_order: {name!r} is neither raw nor gpt2")
    return GPT2_BYTE_ORDER if name == "gpt2" or (name is None and ties == "ids") else RAW_BYTE_ORDER


def _check(vocab_size: int, special_tokens: Sequence[str], min_frequency: int) -> None:
    special.numbered(special_tokens, 256)
    if vocab_size < 256 + len(special_tokens):
        raise ValueError(
            f"vocab_size: {vocab_size} is too small; 256 bytes and {len(special_tokens)} special tokens need room"
        )
    if min_frequency < 1:
        raise ValueError(f"min_frequency: {min_frequency} is below 1")
