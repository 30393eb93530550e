"""The interface of tiktoken: `import bpe.compat.tiktoken as tiktoken` runs code that is written for tiktoken.

Names, arguments, results and kinds of exceptions are those of tiktoken 0.14. Not implemented: `encode_with_unstable`,
plugins (`tiktoken_ext`), and vocabularies in which a byte is no token.

>>> ranks = {bytes([b]): b for b in range(256)}
>>> enc = Encoding("bytes", pat_str=r"\\w+|\\W", mergeable_ranks=ranks, special_tokens={"<|end|>": 256})
>>> enc.encode("hi<|end|>", allowed_special="all"), enc.n_vocab, enc.name
([104, 105, 256], 257, 'bytes')
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Literal

from bpe import hub, special
from bpe._common.errors import invalid
from bpe.compat.models import MODEL_PREFIX_TO_ENCODING, MODEL_TO_ENCODING, encoding_name_for_model
from bpe.engines.choice import make_engine
from bpe.engines.python import merged_ids
from bpe.pretokenize import PATTERNS, Splitter, check_pattern
from bpe.tokenizer import Tokenizer
from bpe.vocabulary import check_ranks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__version__ = "0.14.0"
"""The version of tiktoken whose interface this is."""

__all__ = [
    "MODEL_PREFIX_TO_ENCODING", "MODEL_TO_ENCODING", "Encoding", "encoding_for_model", "encoding_name_for_model",
    "get_encoding", "list_encoding_names",
]  # fmt: skip

AllowedSpecial = Literal["all"] | AbstractSet[str]
DisallowedSpecial = Literal["all"] | Collection[str]
NONE: frozenset[str] = frozenset()

_EOT, _FIM = "<|endoftext|>", ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
_HARMONY = {
    "<|startoftext|>": 199998, _EOT: 199999, "<|return|>": 200002, "<|constrain|>": 200003, "<|channel|>": 200005,
    "<|start|>": 200006, "<|end|>": 200007, "<|message|>": 200008, "<|call|>": 200012,
}  # fmt: skip
_RESERVED = [200000, 200001, 200004, 200009, 200010, 200011, *range(200013, 201088)]
_DERIVED: dict[str, tuple[str, dict[str, int]]] = {
    "p50k_edit": ("p50k_base", {_EOT: 50256} | {name: 50281 + i for i, name in enumerate(_FIM)}),
    "o200k_harmony": (
        "o200k_base",
        {"<|endofprompt|>": 200018} | _HARMONY | {f"<|reserved_{i}|>": i for i in _RESERVED},
    ),
}
"""Name -> the vocabulary whose ranks it has, and its own special tokens."""

_NAMES = ("gpt2", "r50k_base", "p50k_base", "p50k_edit", "cl100k_base", "o200k_base", "o200k_harmony")
_encodings: dict[str, Encoding] = {}
_lock = threading.RLock()


class Encoding:
    """A vocabulary with its pattern and special tokens, and the methods of tiktoken's `Encoding`."""

    def __init__(
        self,
        name: str,
        *,
        pat_str: str,
        mergeable_ranks: dict[bytes, int],
        special_tokens: dict[str, int],
        explicit_n_vocab: int | None = None,
    ) -> None:
        """Build an encoding. Several special tokens may share an id; it then decodes to the first.

        explicit_n_vocab: the number of ids, checked. Raises: ValueError for a vocabulary that cannot encode every text.
        """
        for argument, value in (("mergeable_ranks", mergeable_ranks), ("special_tokens", special_tokens)):
            if not isinstance(value, Mapping):
                raise invalid(argument, "be a mapping from token to id", value)
        special.check_names(special_tokens)
        first = {i: token for token, i in reversed(special_tokens.items())}
        check_ranks(mergeable_ranks, {token: i for i, token in first.items()})
        tokenizer = object.__new__(Tokenizer)
        pattern = check_pattern(pat_str)
        tokenizer._set(dict(mergeable_ranks), pattern, special_tokens, "auto")
        if pattern not in PATTERNS:
            split = _Matches(pattern)
            tokenizer.__dict__.update(_engine=make_engine("auto", mergeable_ranks, pattern, split), _splitter=split)
        self._fill(name, pat_str, mergeable_ranks, special_tokens, tokenizer)
        count = len(mergeable_ranks) + len(special_tokens)
        if explicit_n_vocab is not None and not count == self.n_vocab == explicit_n_vocab:
            raise AssertionError(f"`explicit_n_vocab` must be the number of ids, {count}, got {explicit_n_vocab}")

    def _fill(
        self,
        name: str,
        pat_str: str,
        mergeable_ranks: dict[bytes, int],
        special_tokens: dict[str, int],
        tokenizer: Tokenizer,
    ) -> None:
        self.name = name
        self._pat_str = pat_str
        self._mergeable_ranks = mergeable_ranks
        self._special_tokens = special_tokens
        self._tokenizer = tokenizer
        self.max_token_value = tokenizer.max_token_value
        tokenizer.__dict__["_token_of"] = {i: token for token, i in mergeable_ranks.items()} | {
            i: token.encode() for token, i in reversed(special_tokens.items())
        }

    def __repr__(self) -> str:
        """Return a one-line summary."""
        return f"<Encoding {self.name!r}>"

    # -------------------------------------------------------------------------------------- encoding

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of a text in which nothing is a special token."""
        return self._tokenizer.encode_ordinary(text)

    def encode(
        self, text: str, *, allowed_special: AllowedSpecial = NONE, disallowed_special: DisallowedSpecial = "all"
    ) -> list[int]:
        """Return the ids of a text. Raises: ValueError if it holds a disallowed special token."""
        return self._tokenizer.encode(text, allowed_special=allowed_special, disallowed_special=disallowed_special)

    def encode_to_numpy(
        self, text: str, *, allowed_special: AllowedSpecial = NONE, disallowed_special: DisallowedSpecial = "all"
    ) -> NDArray[np.uint32]:
        """Return the ids of a text as a uint32 array."""
        return self._tokenizer.encode_to_numpy(
            text, allowed_special=allowed_special, disallowed_special=disallowed_special
        )

    def encode_ordinary_batch(self, text: list[str], *, num_threads: int = 8) -> list[list[int]]:
        """Return the ids of each text, in which nothing is a special token."""
        return self._tokenizer.encode_ordinary_batch(text, num_threads=num_threads)

    def encode_batch(
        self,
        text: list[str],
        *,
        num_threads: int = 8,
        allowed_special: AllowedSpecial = NONE,
        disallowed_special: DisallowedSpecial = "all",
    ) -> list[list[int]]:
        """Return the ids of each text. Raises: ValueError if one holds a disallowed special token."""
        return self._tokenizer.encode_batch(
            text, num_threads=num_threads, allowed_special=allowed_special, disallowed_special=disallowed_special
        )

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """Return the id of one token, special or ordinary. Raises: KeyError if it is not one token."""
        return self._tokenizer.encode_single_token(text_or_bytes)

    # -------------------------------------------------------------------------------------- decoding

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of ids. Raises: KeyError for an unknown id."""
        return self._tokenizer.decode_bytes(tokens)

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        """Return the text of ids. errors: as for `bytes.decode`."""
        return self._tokenizer.decode(tokens, errors)

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Return the bytes of one id. Raises: KeyError for an unknown id."""
        return self._tokenizer.decode_single_token_bytes(token)

    def decode_tokens_bytes(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of each id."""
        return self._tokenizer.decode_tokens_bytes(tokens)

    def decode_with_offsets(self, tokens: Sequence[int]) -> tuple[str, list[int]]:
        """Return the text, and for each id the character at which it starts."""
        return self._tokenizer.decode_with_offsets(tokens)

    def decode_batch(
        self, batch: Sequence[Sequence[int]], *, errors: str = "replace", num_threads: int = 8
    ) -> list[str]:
        """Return the text of each list of ids."""
        return self._tokenizer.decode_batch(batch, errors=errors, num_threads=num_threads)

    def decode_bytes_batch(self, batch: Sequence[Sequence[int]], *, num_threads: int = 8) -> list[bytes]:
        """Return the bytes of each list of ids."""
        return self._tokenizer.decode_bytes_batch(batch, num_threads=num_threads)

    # --------------------------------------------------------------------------------- the vocabulary

    def token_byte_values(self) -> list[bytes]:
        """Return the bytes of every ordinary token, sorted."""
        return self._tokenizer.token_byte_values()

    @property
    def eot_token(self) -> int:
        """The id of `<|endoftext|>`. Raises: KeyError if there is none."""
        return self._tokenizer.eot_token

    @property
    def special_tokens_set(self) -> set[str]:
        """The names of the special tokens."""
        return set(self._special_tokens)

    def is_special_token(self, token: int) -> bool:
        """Return whether an id belongs to a special token."""
        return self._tokenizer.is_special_token(token)

    @property
    def n_vocab(self) -> int:
        """The highest id plus one."""
        return self.max_token_value + 1

    # ---------------------------------------------------------- what tiktoken's own tests and users call

    def _encode_single_piece(self, text_or_bytes: str | bytes) -> list[int]:
        """Return the ids of one pre-token."""
        piece = text_or_bytes.encode() if isinstance(text_or_bytes, str) else text_or_bytes
        return list(merged_ids(piece, self._mergeable_ranks)) if piece else []

    def _encode_only_native_bpe(self, text: str) -> list[int]:
        """Return the ids of a text; tiktoken splits it in Python here."""
        return self.encode_ordinary(text)

    def _encode_bytes(self, text: bytes) -> list[int]:
        """Return the ids of any bytes, as tiktoken does.

        Where they are not UTF-8, the last pre-token before, or the spaces that it begins with, and all that follows
        are encoded as one pre-token.
        """
        try:
            return self.encode_ordinary(text.decode())
        except UnicodeDecodeError as error:
            before, after = text[: error.start].decode(), text[error.start :]
        pretokens = self._tokenizer._splitter(before)
        ids = self._encode_single_pieces(pretokens)
        last = len(self._encode_single_piece(pretokens[-1])) if pretokens else 0
        if last and self._is_space(ids[-last]):
            while last < len(ids) and self._is_space(ids[-last - 1]):
                last += 1
        stable, unstable = ids[: len(ids) - last], ids[len(ids) - last :]
        return stable + self._encode_single_piece(self.decode_bytes(unstable) + after)

    def _encode_single_pieces(self, pretokens: list[str]) -> list[int]:
        return [i for pretoken in pretokens for i in self._encode_single_piece(pretoken)]

    def _is_space(self, token: int) -> bool:
        return not self._tokenizer.decode_single_token_bytes(token).strip(b" \n\t")

    def __getstate__(self) -> object:
        """Pickle a published encoding by its name."""
        if _encodings.get(self.name) is self:
            return self.name
        return self.name, self._pat_str, self._mergeable_ranks, self._special_tokens

    def __setstate__(self, state: Any) -> None:
        """Build the encoding again."""
        if isinstance(state, str):
            self.__dict__ = get_encoding(state).__dict__
            return
        name, pat_str, ranks, names = state
        self.__init__(name, pat_str=pat_str, mergeable_ranks=ranks, special_tokens=names)  # type: ignore[misc]


class _Matches(Splitter):
    """Split as tiktoken does: what the pattern does not match is omitted."""

    def __call__(self, text: str) -> list[str]:
        """Return the matches."""
        matched = text if self._corrected is None else self._corrected(text)
        assert self._pattern is not None
        return [text[m.start() : m.end()] for m in self._pattern.finditer(matched) if m.group()]


def get_encoding(encoding_name: str) -> Encoding:
    """Return a published encoding by name, always the same object. Raises: ValueError for an unknown name."""
    if encoding_name not in _NAMES:
        raise invalid("encoding_name", f"be one of {', '.join(_NAMES)}", encoding_name)
    with _lock:
        if encoding_name not in _encodings:
            derived = _DERIVED.get(encoding_name)
            tokenizer = hub.get_encoding(encoding_name if derived is None else derived[0])
            other = object.__new__(Tokenizer)  # shares the vocabulary and the engine
            names = dict(tokenizer.special_tokens) if derived is None else derived[1]
            other._set(tokenizer.ranks, tokenizer.pattern, names, "auto")
            other.__dict__.update(_engine=tokenizer._engine, engine=tokenizer.engine)
            encoding = object.__new__(Encoding)
            encoding._fill(encoding_name, PATTERNS[str(tokenizer.pattern)], tokenizer.ranks, names, other)
            _encodings[encoding_name] = encoding
        return _encodings[encoding_name]


def encoding_for_model(model_name: str) -> Encoding:
    """Return the encoding of a model. Raises: KeyError for an unknown model."""
    return get_encoding(encoding_name_for_model(model_name))


def list_encoding_names() -> list[str]:
    """Return the names that `get_encoding` accepts."""
    return list(_NAMES)
