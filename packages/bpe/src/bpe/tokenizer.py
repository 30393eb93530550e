"""The tokenizer: ids for text and text for ids, with the names and meanings of tiktoken's `Encoding`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bpe import special
from bpe.decoding import Decoding
from bpe.engine import Engine, Ids, choose_engine, make_engine
from bpe.errors import UnknownTokenError, encodable, surrogate_error
from bpe.merge import Generator, merge_with_dropout
from bpe.patterns import PATTERNS, Splitter, name_of, safe_cut_text
from bpe.special import Trusted, Untrusted
from bpe.vocabulary import check_ranks, merges_of, ranks_of

Special = Literal["all"] | AbstractSet[str]
Disallowed = Literal["all"] | Collection[str]
NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Encoded:
    """Ids of a text and where each comes from; all of length n."""

    ids: list[int]
    byte_spans: list[tuple[int, int]]
    """Start and end of each id in the text's UTF-8."""
    char_spans: list[tuple[int, int]]
    """Start and end in characters; an id that holds a part of a character spans the whole character."""


class Tokenizer(Decoding):
    """Byte-level BPE over a vocabulary. It does not change; `with_special_tokens` gives another one.

    >>> ranks = {bytes([b]): b for b in range(256)} | {b"he": 256, b"llo": 258, b"lo": 257, b"hello": 259}
    >>> tok = Tokenizer(ranks, pattern="gpt2", special_tokens={"<|endoftext|>": 260}, engine="python")
    >>> tok.encode("hello<|endoftext|>", allowed_special="all"), tok.decode([259, 260])
    ([259, 260], 'hello<|endoftext|>')
    """

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        *,
        pattern: str | None = "gpt2",
        special_tokens: Mapping[str, int] | None = None,
        engine: Literal["auto", "python", "numba"] = "auto",
    ) -> None:
        """A tokenizer.

        Args:
            ranks: token -> id, a lower id is merged earlier; each single byte has to be there, ids have no holes.
            pattern: `gpt2`, `cl100k`, `o200k`, a regular expression, or None for no split before merging.
            special_tokens: name -> id.
            engine: `python`, `numba`, or `auto`: numba where it is installed.
        """
        self.special_tokens = dict(special_tokens or {})
        check_ranks(ranks, self.special_tokens)
        self.ranks = dict(ranks)
        self.pattern = name_of(pattern) or pattern
        self.engine = choose_engine(engine)
        """The engine that runs: `python` or `numba`."""
        Splitter(self.pattern)  # raises for what is no regular expression
        self._prepare()

    @cached_property
    def _engine(self) -> Engine:  # type: ignore[override]
        return make_engine(self.engine, self.ranks, self.pattern)

    def _prepare(self) -> None:
        self.special_tokens_set = set(self.special_tokens)
        self._any_special = special.finder(frozenset(self.special_tokens)) if self.special_tokens else None

    @classmethod
    def from_merges(
        cls, merges: Iterable[tuple[int, int]], *, byte_order: bytes = bytes(range(256)), **options: Any
    ) -> Tokenizer:
        """A tokenizer from pairs of ids in the order of training; ids skip those of `special_tokens`."""
        taken = list((options.get("special_tokens") or {}).values())
        return cls(ranks_of(merges, byte_order, taken), **options)

    @classmethod
    def load(cls, path: str | Path, *, engine: Literal["auto", "python", "numba"] = "auto", **hints: Any) -> Tokenizer:
        """Read any of the formats, from a file or a folder; see `bpe.formats`.

        A `.tiktoken` file states neither pattern nor special tokens: give `pattern=` and `special_tokens=` with it.
        """
        from bpe.formats import load

        return load(Path(path), engine=engine, **hints)

    def save(self, path: str | Path) -> None:
        """Write the own format, one `.json` file."""
        from bpe.formats import own

        own.save(self, Path(path))

    def export(self, folder: str | Path, format: Literal["huggingface", "openai", "tiktoken"]) -> list[Path]:
        """Write another format's files into a folder; returns them."""
        from bpe.formats import export

        return export(self, Path(folder), format)

    def with_special_tokens(self, special_tokens: Mapping[str, int] | Sequence[str]) -> Tokenizer:
        """The same tokenizer with more special tokens; mere names get the next ids."""
        more = special.numbered(special_tokens, self.n_vocab)
        both = {**self.special_tokens, **more}
        check_ranks(self.ranks, both)
        other = object.__new__(Tokenizer)
        other.ranks, other.pattern, other.special_tokens = self.ranks, self.pattern, both
        other.engine, other._engine = self.engine, self._engine
        other._prepare()
        return other

    # ------------------------------------------------------------------------------------ encoding

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of a text in which nothing is a special token.

        >>> Tokenizer({bytes([b]): b for b in range(256)}, engine="python").encode_ordinary("hé")
        [104, 195, 169]
        """
        try:
            return self._engine.encode(text)
        except UnicodeEncodeError:
            raise surrogate_error(text) from None

    def encode(
        self, text: str, *, allowed_special: Special = NONE, disallowed_special: Disallowed = "all"
    ) -> list[int]:
        """Ids of a text; ValueError if it holds a special token that is not allowed.

        Args:
            text: any `str` without lone surrogates.
            allowed_special: special tokens that become their id, or "all".
            disallowed_special: special tokens that are an error ("all": those not allowed); others are ordinary text.
        """
        if self._any_special is None or (
            not allowed_special and disallowed_special == "all" and not self._any_special.search(text)
        ):
            return self.encode_ordinary(text)
        allowed = special.allowed_in(text, self.special_tokens_set, allowed_special, disallowed_special)
        if not allowed:
            return self.encode_ordinary(text)
        ids: list[int] = []
        for part, is_special in special.parts(text, allowed):
            if is_special:
                ids.append(self.special_tokens[part])
            else:
                ids += self.encode_ordinary(part)
        return ids

    def encode_to_numpy(
        self, text: str, *, allowed_special: Special = NONE, disallowed_special: Disallowed = "all"
    ) -> Ids:
        """Like `encode`, as a uint32 array."""
        return self.encode_batch_to_numpy(
            [text], num_threads=1, allowed_special=allowed_special, disallowed_special=disallowed_special
        )[0]

    def encode_ordinary_batch(self, texts: Sequence[str], *, num_threads: int = 8) -> list[list[int]]:
        """`encode_ordinary` of each text."""
        try:
            return self._engine.encode_batch(texts, num_threads)
        except UnicodeEncodeError:
            raise next(surrogate_error(text) for text in texts if not encodable(text)) from None

    def encode_batch(
        self,
        texts: Sequence[str],
        *,
        num_threads: int = 8,
        allowed_special: Special = NONE,
        disallowed_special: Disallowed = "all",
    ) -> list[list[int]]:
        """`encode` of each text."""
        if self._any_holds_special(texts, allowed_special, disallowed_special):
            return [self.encode(text, allowed_special=allowed_special, disallowed_special=()) for text in texts]
        return self.encode_ordinary_batch(texts, num_threads=num_threads)

    def encode_batch_to_numpy(
        self,
        texts: Sequence[str],
        *,
        num_threads: int = 8,
        allowed_special: Special = NONE,
        disallowed_special: Disallowed = "all",
    ) -> list[Ids]:
        """`encode_to_numpy` of each text."""
        if self._any_holds_special(texts, allowed_special, disallowed_special):
            lists = (self.encode(text, allowed_special=allowed_special, disallowed_special=()) for text in texts)
            return [np.array(ids, np.uint32) for ids in lists]
        try:
            return self._engine.encode_arrays(texts, num_threads)
        except UnicodeEncodeError:
            raise next(surrogate_error(text) for text in texts if not encodable(text)) from None

    def _any_holds_special(self, texts: Sequence[str], allowed_special: Special, disallowed: Disallowed) -> bool:
        """Whether an allowed special token is in a text; ValueError if a disallowed one is."""
        found = False
        for text in texts:
            allowed = special.allowed_in(text, self.special_tokens_set, allowed_special, disallowed)
            found = found or bool(allowed and special.finder(allowed).search(text))
        return found

    def encode_parts(self, parts: Iterable[Trusted | Untrusted]) -> list[int]:
        """Ids of a prompt put together of parts: only what the program wrote can hold special tokens.

        Each part is encoded by itself, so no token reaches from one into the next.
        """
        ids: list[int] = []
        for part in parts:
            if isinstance(part, Trusted):
                ids += self.encode(part.text, allowed_special="all")
            elif isinstance(part, Untrusted):
                ids += self.encode_ordinary(part.text)
            else:
                raise ValueError(f"parts: {part!r} is neither Trusted nor Untrusted")
        return ids

    def encode_bytes(self, data: bytes) -> list[int]:
        """Ids of any bytes, UTF-8 or not; bytes that are no UTF-8 count as signs for the pattern."""
        try:
            return self._engine.encode(data.decode())
        except UnicodeDecodeError:
            pieces = self._splitter(data.decode("utf-8", "surrogateescape"))
            return self._engine.encode_pieces([piece.encode("utf-8", "surrogateescape") for piece in pieces])

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """The id of what is one token, special ones too; UnknownTokenError if it is none."""
        token = text_or_bytes.encode() if isinstance(text_or_bytes, str) else text_or_bytes
        found = self.ranks.get(token, self.special_tokens.get(token.decode("utf-8", "replace")))
        if found is None:
            raise UnknownTokenError(f"text_or_bytes: {text_or_bytes!r} is not a token of the vocabulary")
        return found

    def encode_with_offsets(
        self, text: str, *, allowed_special: Special = NONE, disallowed_special: Disallowed = "all"
    ) -> Encoded:
        """Ids with the span of bytes and of characters that each covers."""
        ids = self.encode(text, allowed_special=allowed_special, disallowed_special=disallowed_special)
        data = np.frombuffer(text.encode(), np.uint8)
        ends = np.cumsum([len(token) for token in self.decode_tokens_bytes(ids)], dtype=np.int64)
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64) if ids else ends
        character = np.cumsum((data & 0xC0) != 0x80) - 1  # of each byte
        first, last = character[starts], character[ends - 1] + 1
        return Encoded(ids, _spans(starts, ends), _spans(first, last))

    def count(self, text: str) -> int:
        """How many ids `encode_ordinary` gives, without building them."""
        try:
            return self._engine.count(text)
        except UnicodeEncodeError:
            raise surrogate_error(text) from None

    def encode_up_to(self, text: str, limit: int) -> list[int]:
        """The first `limit` ids of `encode_ordinary(text)`; the text after them is not encoded."""
        if limit < 0:
            raise ValueError(f"limit: {limit} is negative")
        if self.pattern not in PATTERNS:  # where another pattern could be cut is not known
            return self.encode_ordinary(text)[:limit]
        ids: list[int] = []
        start = 0
        while start < len(text) and len(ids) < limit:
            step = max(256, 6 * (limit - len(ids)))  # characters; an id holds about four of them
            stop = safe_cut_text(text, start + 1, start + step) if start + step < len(text) else len(text)
            while stop < 0:
                step *= 2
                stop = safe_cut_text(text, start + 1, start + step) if start + step < len(text) else len(text)
            ids += self.encode_ordinary(text[start:stop])
            start = stop
        return ids[:limit]

    def encode_with_dropout(self, text: str, dropout: float, generator: Generator) -> list[int]:
        """BPE-dropout (1910.13267): each merge is left out with probability `dropout`; for training, not for use.

        `generator`: `random.Random(seed)` or `numpy.random.default_rng(seed)`.
        """
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout: {dropout} is not between 0 and 1")
        if not encodable(text):
            raise surrogate_error(text)
        words = (piece.encode() for piece in self._splitter(text))
        return [self.ranks[t] for word in words for t in merge_with_dropout(word, self.ranks, dropout, generator)]

    # ------------------------------------------------------------------------------- the vocabulary

    @cached_property
    def _splitter(self) -> Splitter:
        return Splitter(self.pattern)

    @cached_property
    def n_vocab(self) -> int:
        """One more than the highest id."""
        return max(max(self.ranks.values()), *self.special_tokens.values(), 0) + 1

    @property
    def max_token_value(self) -> int:
        """The highest id."""
        return self.n_vocab - 1

    @property
    def eot_token(self) -> int:
        """The id of `<|endoftext|>`; UnknownTokenError if this vocabulary has none."""
        if "<|endoftext|>" not in self.special_tokens:
            raise UnknownTokenError("eot_token: <|endoftext|> is not among the special tokens of this tokenizer")
        return self.special_tokens["<|endoftext|>"]

    def is_special_token(self, token: int) -> bool:
        """Whether an id is a special token's."""
        return token in self.special_tokens.values()

    @cached_property
    def merges(self) -> list[tuple[int, int]]:
        """The pair of ids that makes each token, in order of ids."""
        return merges_of(self.ranks)

    def __repr__(self) -> str:
        """What it is, in one line."""
        return f"<bpe.Tokenizer: {self.n_vocab:,} ids, pattern {self.pattern!r}, engine {self.engine}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what it is made of, for worker processes."""
        return _unpickled, (self.ranks, self.pattern, self.special_tokens, self.engine)


def _unpickled(ranks: dict[bytes, int], pattern: str | None, special_tokens: dict[str, int], engine: str) -> Tokenizer:
    return Tokenizer(ranks, pattern=pattern, special_tokens=special_tokens, engine=engine)  # type: ignore[arg-type]


def _spans(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[tuple[int, int]]:
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
