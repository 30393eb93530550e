"""From text to ids: all at once, in batches, with offsets, up to a limit, from trusted and untrusted parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import numpy as np

from bpe import special
from bpe._common.errors import check_fraction, check_integer, invalid
from bpe.arguments import check_texts, not_a_text, repair_surrogates, repaired
from bpe.engines.base import Engine
from bpe.engines.pipeline import PipelineEngine
from bpe.errors import UnknownTokenError
from bpe.lazy import lazy_property
from bpe.merge import Generator, merge_with_dropout
from bpe.offsets import Encoded, offsets_of
from bpe.pretokenize import PATTERNS, Splitter, safe_cut_text
from bpe.special import AllowedSpecial, DisallowedSpecial, Trusted, Untrusted

if TYPE_CHECKING:
    import re

    from bpe.engines.base import Ids
    from bpe.pipeline import Pipeline

NO_SPECIAL: frozenset[str] = frozenset()


class Encoding:
    """The encoding half of a tokenizer. Names and meanings are those of tiktoken's `Encoding`.

    Surrogates are encoded as in tiktoken: a pair is the character that it stands for, a lone one is U+FFFD.
    """

    ranks: dict[bytes, int]
    special_tokens: dict[str, int]
    special_tokens_set: AbstractSet[str]
    added_tokens: dict[str, int]
    pattern: str | None
    pipeline: Pipeline | None
    _engine: Engine
    _any_special: re.Pattern[str] | None

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of a text in which nothing is a special token.

        >>> from bpe import Tokenizer
        >>> Tokenizer({bytes([b]): b for b in range(256)}, engine="python").encode_ordinary("hé")
        [104, 195, 169]
        """
        try:
            return self._engine.encode(text)
        except UnicodeEncodeError:
            return self._engine.encode(repair_surrogates(text))
        except (AttributeError, TypeError):
            if isinstance(text, str):
                raise
            raise not_a_text(text) from None

    def encode(
        self,
        text: str,
        *,
        allowed_special: AllowedSpecial = NO_SPECIAL,
        disallowed_special: DisallowedSpecial = "all",
    ) -> list[int]:
        """Return the ids of a text.

        Args:
            text: any str.
            allowed_special: special tokens that become their id, or "all".
            disallowed_special: special tokens that raise ValueError; "all" means those that are not allowed. Special
                tokens in neither set are encoded as ordinary text.

        Raises: ValueError if the text holds a disallowed special token.
        """
        if not isinstance(text, str):
            raise not_a_text(text)
        if self._steps is not None:
            return self._encode_in_steps(text, allowed_special, disallowed_special)
        if self._any_special is None or (
            not allowed_special and disallowed_special == "all" and not self._any_special.search(text)
        ):
            return self.encode_ordinary(text)
        allowed = special.allowed_in(text, self.special_tokens_set, allowed_special, disallowed_special)
        if not allowed:
            return self.encode_ordinary(text)
        ids: list[int] = []
        for part, is_special in special.split_at(text, allowed):
            if is_special:
                ids.append(self.special_tokens[part])
            else:
                ids += self.encode_ordinary(part)
        return ids

    def encode_with_template(
        self,
        text: str,
        *,
        allowed_special: AllowedSpecial = NO_SPECIAL,
        disallowed_special: DisallowedSpecial = "all",
    ) -> list[int]:
        """Return the ids of a text with those that the file's template adds, such as a start and an end token.

        Equal to `tokenizers` with `add_special_tokens=True`. A tokenizer without a template adds nothing.
        """
        ids = self.encode(text, allowed_special=allowed_special, disallowed_special=disallowed_special)
        return ids if self.pipeline is None else self.pipeline.with_template(ids)

    @property
    def _steps(self) -> Pipeline | None:
        """The pipeline, if it changes how texts are encoded."""
        return None if self.pipeline is None or self.pipeline.is_plain else self.pipeline

    def _encode_in_steps(
        self, text: str, allowed_special: AllowedSpecial, disallowed_special: DisallowedSpecial
    ) -> list[int]:
        """Return the ids of a text with the pipeline, which also finds the special tokens."""
        steps, engine = self._steps, self._engine
        assert steps is not None
        assert isinstance(engine, PipelineEngine)
        text = repaired(text)
        allowed, disallowed = special.names_in_use(self.special_tokens_set, allowed_special, disallowed_special)
        if disallowed:
            for name, _ in steps.special_in(text):
                if name in disallowed:
                    raise special.not_allowed(name, text.find(name))
            special.allowed_in(text, NO_SPECIAL, NO_SPECIAL, disallowed - self.special_tokens_set)
        return engine.encode_allowed(text, allowed)

    def encode_to_numpy(
        self,
        text: str,
        *,
        allowed_special: AllowedSpecial = NO_SPECIAL,
        disallowed_special: DisallowedSpecial = "all",
    ) -> Ids:
        """Return the ids of a text as a uint32 array."""
        if not isinstance(text, str):
            raise not_a_text(text)
        return self.encode_batch_to_numpy(
            [text], num_threads=1, allowed_special=allowed_special, disallowed_special=disallowed_special
        )[0]

    def encode_ordinary_batch(self, texts: Iterable[str], *, num_threads: int = 8) -> list[list[int]]:
        """Return the ids of each text, in which nothing is a special token."""
        texts = check_texts(texts)
        check_integer("num_threads", num_threads, 1)
        try:
            return self._engine.encode_batch(texts, num_threads)
        except UnicodeEncodeError:
            return self._engine.encode_batch(list(map(repair_surrogates, texts)), num_threads)

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        num_threads: int = 8,
        allowed_special: AllowedSpecial = NO_SPECIAL,
        disallowed_special: DisallowedSpecial = "all",
    ) -> list[list[int]]:
        """Return the ids of each text; special tokens as in `encode`."""
        texts = check_texts(texts)
        if self._any_holds_special(texts, allowed_special, disallowed_special):
            check_integer("num_threads", num_threads, 1)
            return [self.encode(text, allowed_special=allowed_special, disallowed_special=()) for text in texts]
        return self.encode_ordinary_batch(texts, num_threads=num_threads)

    def encode_batch_to_numpy(
        self,
        texts: Iterable[str],
        *,
        num_threads: int = 8,
        allowed_special: AllowedSpecial = NO_SPECIAL,
        disallowed_special: DisallowedSpecial = "all",
    ) -> list[Ids]:
        """Return the ids of each text as a uint32 array."""
        texts = check_texts(texts)
        check_integer("num_threads", num_threads, 1)
        if self._any_holds_special(texts, allowed_special, disallowed_special):
            lists = (self.encode(text, allowed_special=allowed_special, disallowed_special=()) for text in texts)
            return [np.array(ids, np.uint32) for ids in lists]
        try:
            return self._engine.encode_arrays(texts, num_threads)
        except UnicodeEncodeError:
            return self._engine.encode_arrays(list(map(repair_surrogates, texts)), num_threads)

    def _any_holds_special(
        self, texts: Sequence[str], allowed_special: AllowedSpecial, disallowed_special: DisallowedSpecial
    ) -> bool:
        """Return whether an allowed special token is in a text. Raises: ValueError if a disallowed one is."""
        if self._steps is not None:  # `encode` finds them, after these texts were checked
            for text in texts:
                self._encode_in_steps(text, allowed_special, disallowed_special)
            return True
        found = False
        for text in texts:
            allowed = special.allowed_in(text, self.special_tokens_set, allowed_special, disallowed_special)
            found = found or bool(allowed and special.finder(allowed).search(text))
        return found

    def encode_parts(self, parts: Iterable[Trusted | Untrusted]) -> list[int]:
        """Return the ids of a prompt made of parts; only trusted parts can hold special tokens.

        Each part is encoded on its own, so no token spans two parts.
        """
        ids: list[int] = []
        for part in parts:
            if isinstance(part, Trusted):
                ids += self.encode(part.text, allowed_special="all")
            elif isinstance(part, Untrusted):
                ids += self.encode_ordinary(part.text)
            else:
                raise invalid("parts", "hold only Trusted and Untrusted", part)
        return ids

    def encode_bytes(self, data: bytes) -> list[int]:
        """Return the ids of any bytes. For the pattern, bytes that are not UTF-8 count as punctuation."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise invalid("data", "be bytes", data)
        data = bytes(data)
        try:
            return self._engine.encode(data.decode())
        except UnicodeDecodeError:
            if self._steps is not None:
                raise invalid("data", "be UTF-8 for a tokenizer with normalizers or added tokens", data) from None
            pretokens = self._splitter(data.decode("utf-8", "surrogateescape"))
            return self._engine.encode_pretokens([p.encode("utf-8", "surrogateescape") for p in pretokens])

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """Return the id of a text or bytes that are one token, special or ordinary.

        Raises: UnknownTokenError if they are not.
        """
        if not isinstance(text_or_bytes, str | bytes):
            raise invalid("text_or_bytes", "be str or bytes", text_or_bytes)
        is_text = isinstance(text_or_bytes, str)
        token = text_or_bytes.encode("utf-8", "surrogatepass") if isinstance(text_or_bytes, str) else text_or_bytes
        name = text_or_bytes if is_text else token.decode("utf-8", "replace")
        names = {**self.added_tokens, **self.special_tokens}
        found = self.ranks.get(token, names.get(str(name)))
        if found is None:
            raise UnknownTokenError(f"`text_or_bytes` must be one token of the vocabulary, got {text_or_bytes!r}")
        return found

    def encode_with_offsets(
        self,
        text: str,
        *,
        allowed_special: AllowedSpecial = NO_SPECIAL,
        disallowed_special: DisallowedSpecial = "all",
    ) -> Encoded:
        """Return ids with the span of bytes and of characters that each covers."""
        ids = self.encode(text, allowed_special=allowed_special, disallowed_special=disallowed_special)
        tokens: list[bytes] = self.decode_tokens_bytes(ids)  # type: ignore[attr-defined]
        if self._steps is not None and b"".join(tokens) != repaired(text).encode():
            raise ValueError("`text` must not be changed by the tokenizer's normalizers for offsets, got one that is")
        return offsets_of(text, ids, tokens)

    def count(self, text: str) -> int:
        """Return the number of ids of `encode_ordinary(text)`, without building them."""
        try:
            return self._engine.count(text)
        except UnicodeEncodeError:
            return self._engine.count(repair_surrogates(text))
        except (AttributeError, TypeError):
            if isinstance(text, str):
                raise
            raise not_a_text(text) from None

    def encode_up_to(self, text: str, limit: int) -> list[int]:
        """Return the first `limit` ids of `encode_ordinary(text)`; the text after them is not encoded."""
        if not isinstance(text, str):
            raise not_a_text(text)
        check_integer("limit", limit, 0)
        if self.chunk_pattern not in PATTERNS:  # where another pattern can be cut is unknown
            return self.encode_ordinary(text)[:limit]
        ids: list[int] = []
        start = 0
        while start < len(text) and len(ids) < limit:
            step = max(256, 6 * (limit - len(ids)))  # characters; an id covers about four
            stop = self._cut_after(text, start, step)
            while stop < 0:
                step *= 2
                stop = self._cut_after(text, start, step)
            ids += self.encode_ordinary(text[start:stop])
            start = stop
        return ids[:limit]

    @property
    def chunk_pattern(self) -> str | None:
        """The pattern that says where a long text can be cut; None if nothing but the whole text gives the same ids."""
        return self.pattern if self._steps is None else None

    @staticmethod
    def _cut_after(text: str, start: int, step: int) -> int:
        return safe_cut_text(text, start + 1, start + step) if start + step < len(text) else len(text)

    def encode_with_dropout(self, text: str, dropout: float, generator: Generator) -> list[int]:
        """Return ids with BPE-dropout (1910.13267): each merge is dropped with probability `dropout`.

        Use it for training, not for inference. generator: `random.Random(seed)` or `numpy.random.default_rng(seed)`.
        """
        if not isinstance(text, str):
            raise not_a_text(text)
        check_fraction("dropout", dropout, one=True)
        if self._steps is not None:
            raise ValueError("`encode_with_dropout` must be used with a tokenizer without normalizers and added tokens")
        pretokens = self._splitter(repaired(text))
        words = (pretoken.encode() for pretoken in pretokens)
        return [self.ranks[t] for word in words for t in merge_with_dropout(word, self.ranks, dropout, generator)]

    @lazy_property
    def _splitter(self) -> Splitter:
        return Splitter(self.pattern)
