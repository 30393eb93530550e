"""From ids back to text: whole, piece by piece, with offsets, and as a stream."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bpe.byte_letters import to_letters
from bpe.engine import Engine
from bpe.errors import UnknownTokenError

IdSequence = Sequence[int] | NDArray[np.integer]


class Decoding:
    """The half of a tokenizer that decodes. Names and meanings are those of tiktoken's `Encoding`."""

    ranks: Mapping[bytes, int]
    """Ordinary token -> id; a lower id is merged earlier."""
    special_tokens: Mapping[str, int]
    """Special token -> id."""
    _engine: Engine

    @cached_property
    def _token_of(self) -> dict[int, bytes]:
        ordinary = {i: token for token, i in self.ranks.items()}
        return ordinary | {i: name.encode() for name, i in self.special_tokens.items()}

    def decode_bytes(self, ids: IdSequence) -> bytes:
        """The bytes of some ids; UnknownTokenError for an id that is not in the vocabulary."""
        try:
            return self._engine.decode(ids)
        except KeyError:  # a special token, or an unknown id
            return b"".join(self.decode_tokens_bytes(ids))

    def decode(self, ids: IdSequence, errors: str = "replace") -> str:
        """The text of some ids. Ids may end inside a character: `errors="strict"` raises then, `"replace"` marks it."""
        return self.decode_bytes(ids).decode("utf-8", errors=errors)

    def decode_tokens_bytes(self, ids: IdSequence) -> list[bytes]:
        """The bytes of each id."""
        plain = ids.tolist() if isinstance(ids, np.ndarray) else ids
        try:
            return list(map(self._token_of.__getitem__, plain))
        except KeyError as error:
            place = list(plain).index(error.args[0])
            raise UnknownTokenError(self._unknown(error.args[0]) + f" (position {place})") from None

    def decode_single_token_bytes(self, token: int) -> bytes:
        """The bytes of one id, special ones too; UnknownTokenError for an unknown one."""
        try:
            return self._token_of[token]
        except KeyError:
            raise UnknownTokenError(self._unknown(token)) from None

    def _unknown(self, token: object) -> str:
        return f"ids: {token} is not in the vocabulary, whose ids are below {max(self._token_of) + 1}"

    def decode_with_offsets(self, ids: IdSequence) -> tuple[str, list[int]]:
        """The text, and for each id the character at which it begins (the one it is a part of, if it begins inside)."""
        tokens = self.decode_tokens_bytes(ids)
        text = b"".join(tokens).decode("utf-8", errors="strict")
        offsets, length = [], 0
        for token in tokens:
            offsets.append(max(0, length - (0x80 <= token[0] < 0xC0)))
            length += sum(not 0x80 <= b < 0xC0 for b in token)
        return text, offsets

    def decode_batch(self, batch: Iterable[IdSequence], *, errors: str = "replace", num_threads: int = 8) -> list[str]:
        """The text of each sequence of ids. `num_threads` is tiktoken's and has no effect."""
        return [self.decode(ids, errors) for ids in batch]

    def decode_bytes_batch(self, batch: Iterable[IdSequence], *, num_threads: int = 8) -> list[bytes]:
        """The bytes of each sequence of ids."""
        return [self.decode_bytes(ids) for ids in batch]

    def token_byte_values(self) -> list[bytes]:
        """The bytes of every ordinary token, sorted, as tiktoken gives them."""
        return sorted(self.ranks)

    def pieces(self, ids: IdSequence) -> list[str]:
        """Each token as readable letters: `Ġ` for a space, `Ċ` for a line's end (`bpe.byte_letters`)."""
        special = {i: name for name, i in self.special_tokens.items()}
        plain = ids.tolist() if isinstance(ids, np.ndarray) else ids
        return [special.get(i) or to_letters(self.decode_single_token_bytes(i)) for i in plain]

    def stream_decoder(self, errors: str = "replace") -> StreamDecoder:
        """A decoder for ids that come one at a time."""
        return StreamDecoder(self, errors)


class StreamDecoder:
    """Text as ids arrive, as from a model that generates; a character is held back until all its bytes are there.

    The texts that `push` and `finish` return are together what `decode` gives for all ids.
    """

    def __init__(self, tokenizer: Decoding, errors: str = "replace") -> None:
        """`errors`: as for `bytes.decode`."""
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors)

    def push(self, *ids: int) -> str:
        """The text that is certain now."""
        return self._decoder.decode(self._tokenizer.decode_bytes(ids))

    def finish(self) -> str:
        """What is left: nothing, or the mark of a character that was cut off. The decoder can be used again."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
