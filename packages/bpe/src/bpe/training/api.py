"""Train a tokenizer: count pre-tokens, learn merges, assign ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

from bpe import fast, special
from bpe._common.errors import check_choice, check_integer, invalid
from bpe.byte_unicode import GPT2_BYTE_ORDER
from bpe.engines.base import EngineName
from bpe.engines.choice import choose_engine
from bpe.tokenizer import Tokenizer
from bpe.training.alphabet import check_alphabet, with_alphabet
from bpe.training.count import PretokenCounts, count_files, count_texts, with_ids
from bpe.training.merges import TIES, Ties, learn_merges
from bpe.vocabulary import RAW_BYTE_ORDER

Progress = Callable[[str, int, int | None], None]
"""Called with "count" or "merge", the amount done and its total (bytes or merges; None if unknown)."""

ByteOrder = Literal["raw", "gpt2"]
BYTES = 256


def train(
    files: Iterable[str | Path],
    *,
    vocab_size: int,
    pattern: str | None = "gpt2",
    ties: Ties = "first",
    special_tokens: Sequence[str] = (),
    min_frequency: int = 1,
    byte_order: ByteOrder | None = None,
    max_token_length: int | None = None,
    limit_alphabet: int | None = None,
    initial_alphabet: Iterable[bytes] = (),
    workers: int = 1,
    jsonl_field: str = "text",
    engine: EngineName = "auto",
    progress: Progress | None = None,
) -> Tokenizer:
    """Train on UTF-8 files of any size.

    Args:
        files: read in this order; no pre-token spans two files. Also .gz, .zst, pipes, and "-" for stdin. Of .jsonl
            files (also .jsonl.gz and .jsonl.zst), each line is a JSON object whose `jsonl_field` is a text.
        jsonl_field: the key of the text in .jsonl files.
        vocab_size: number of ids: 256 bytes, merges and special tokens. Fewer if no pair is left to merge.
        pattern: `gpt2`, `cl100k`, `o200k`, a regular expression, or None for no split into pre-tokens.
        ties: tie-breaking rule for equally frequent pairs: `first` (minbpe), `ids` (Hugging Face), `bytes`
            (subword-nmt); see `bpe.training.merges`.
        special_tokens: names. They get the last ids and are cut out of the texts.
        min_frequency: pairs that occur less often are not merged.
        byte_order: ids of the bytes: `raw`, the value of the byte, or `gpt2`, the order of GPT-2 and Hugging Face. The
            default is `gpt2` with ties="ids", where the order decides ties, else `raw`. (rustbpe: "ids" with `raw`.)
        max_token_length: longest token in bytes that a merge may form. (Hugging Face's trainer stops one byte earlier.)
        limit_alphabet: only this many distinct bytes, the most frequent ones, take part in merges. Training skips the
            others, as Hugging Face's `BpeTrainer` does; each still has its own id.
        initial_alphabet: bytes that take part in any case.
        workers: number of processes that count.
        engine: for training, and of the tokenizer that is returned.
        progress: see `Progress`.

    Raises: ValueError if an argument is invalid or the files hold no text.
    """
    names = _check(vocab_size, ties, special_tokens, min_frequency, byte_order, max_token_length)
    initial_alphabet = check_alphabet(limit_alphabet, initial_alphabet)
    counting = None if progress is None else lambda done, total: progress("count", done, total)
    compiled = choose_engine(engine, kernel="count") == "numba"
    counts = count_files(
        files, pattern, names, workers=workers, compiled=compiled, progress=counting, jsonl_field=jsonl_field
    )
    return train_from_counts(
        counts, vocab_size=vocab_size, ties=ties, special_tokens=names, min_frequency=min_frequency,
        byte_order=byte_order, max_token_length=max_token_length, limit_alphabet=limit_alphabet,
        initial_alphabet=initial_alphabet, engine=engine, progress=progress,
    )  # fmt: skip


def train_from_iterator(
    texts: Iterable[str | Sequence[str]],
    *,
    vocab_size: int,
    pattern: str | None = "gpt2",
    ties: Ties = "first",
    special_tokens: Sequence[str] = (),
    min_frequency: int = 1,
    byte_order: ByteOrder | None = None,
    max_token_length: int | None = None,
    limit_alphabet: int | None = None,
    initial_alphabet: Iterable[bytes] = (),
    engine: EngineName = "auto",
    progress: Progress | None = None,
) -> Tokenizer:
    """Train on texts from an iterator, or on batches of texts: lists of str. Arguments as in `train`.

    Only the counts of pre-tokens are kept in memory.

    >>> tok = train_from_iterator(["aaabdaaabac"], vocab_size=259, pattern=None, engine="python")
    >>> tok.encode("aaabdaaabac")
    [258, 100, 258, 97, 99]
    """
    names = _check(vocab_size, ties, special_tokens, min_frequency, byte_order, max_token_length)
    initial_alphabet = check_alphabet(limit_alphabet, initial_alphabet)
    counts = count_texts(texts, pattern, names, compiled=choose_engine(engine, kernel="count") == "numba")
    return train_from_counts(
        counts, vocab_size=vocab_size, ties=ties, special_tokens=names, min_frequency=min_frequency,
        byte_order=byte_order, max_token_length=max_token_length, limit_alphabet=limit_alphabet,
        initial_alphabet=initial_alphabet, engine=engine, progress=progress,
    )  # fmt: skip


def train_from_counts(
    counts: PretokenCounts,
    *,
    vocab_size: int,
    ties: Ties = "first",
    special_tokens: Sequence[str] = (),
    min_frequency: int = 1,
    byte_order: ByteOrder | None = None,
    max_token_length: int | None = None,
    limit_alphabet: int | None = None,
    initial_alphabet: Iterable[bytes] = (),
    engine: EngineName = "auto",
    progress: Progress | None = None,
) -> Tokenizer:
    """Train on saved counts (`bpe.count_files`, `bpe count`). Arguments as in `train`."""
    names = _check(vocab_size, ties, special_tokens, min_frequency, byte_order, max_token_length)
    kept = check_alphabet(limit_alphabet, initial_alphabet)
    if not isinstance(counts, PretokenCounts):
        raise invalid("counts", "be PretokenCounts", counts)
    if not len(counts):
        raise ValueError("the corpus must hold text, got none")
    if limit_alphabet is not None:
        counts = with_alphabet(counts, limit_alphabet, kept)
    order = _byte_order(byte_order, ties)
    num_merges = vocab_size - BYTES - len(names)
    merging = None if progress is None else lambda done: progress("merge", done, num_merges)
    id_of = bytes.maketrans(order, RAW_BYTE_ORDER)  # byte -> its id
    words = with_ids(counts, id_of) if ties == "ids" else counts  # this rule compares ids, so they must be final
    if choose_engine(engine, kernel="train") == "numba":
        merges = fast.train(words.arrays or words.counts, num_merges, ties, min_frequency, merging, max_token_length)
    else:
        merges = learn_merges(words.counts, num_merges, ties, min_frequency, merging, max_token_length)
    if ties != "ids":
        merges = [(id_of[a] if a < BYTES else a, id_of[b] if b < BYTES else b) for a, b in merges]
    ids = special.assign_ids(names, BYTES + len(merges))
    return Tokenizer.from_merges(merges, byte_order=order, pattern=counts.pattern, special_tokens=ids, engine=engine)


def _byte_order(name: str | None, ties: str) -> bytes:
    return GPT2_BYTE_ORDER if name == "gpt2" or (name is None and ties == "ids") else RAW_BYTE_ORDER


def _check(
    vocab_size: int,
    ties: str,
    special_tokens: Sequence[str],
    min_frequency: int,
    byte_order: str | None,
    max_token_length: int | None,
) -> list[str]:
    """Raise ValueError for bad arguments before the corpus is read. Returns the names of the special tokens."""
    if hasattr(special_tokens, "keys"):  # training assigns the ids, so a mapping's would be lost
        raise invalid("special_tokens", "be a list of names, because they get the last ids", dict(special_tokens))
    names = special.check_names(special_tokens)
    check_integer("vocab_size", vocab_size, BYTES + len(names))
    check_choice("ties", ties, TIES)
    check_integer("min_frequency", min_frequency, 1)
    if max_token_length is not None:
        check_integer("max_token_length", max_token_length, 1)
    if byte_order is not None:
        check_choice("byte_order", byte_order, ("raw", "gpt2"))
    return names
