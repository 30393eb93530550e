"""From ids back to text: all at once, token by token, with offsets, and as a stream."""

from __future__ import annotations

import codecs
import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from bpe._common.errors import check_integer, invalid, is_integer
from bpe.arguments import check_ids
from bpe.byte_unicode import to_printable
from bpe.engines.base import Engine
from bpe.errors import UnknownTokenError
from bpe.lazy import lazy_property

if TYPE_CHECKING:
    from bpe.arguments import IdSequence


class Decoding:
    """The decoding half of a tokenizer. Names and meanings are those of tiktoken's `Encoding`.

    Ids may be lists, tuples, ranges, iterators, or one-dimensional arrays and tensors of any integer dtype.
    """

    ranks: dict[bytes, int]
    """Ordinary token -> id. A lower id is merged earlier."""
    special_tokens: dict[str, int]
    """Special token -> id."""
    added_tokens: dict[str, int]
    """Added token -> id, those that are not special: found in every text (see `bpe.added_tokens`)."""
    _engine: Engine

    @lazy_property
    def _token_of(self) -> dict[int, bytes]:
        ordinary = {i: token for token, i in self.ranks.items()}
        names = {**self.special_tokens, **self.added_tokens}
        return {i: name.encode() for name, i in names.items()} | ordinary

    def decode_bytes(self, ids: IdSequence) -> bytes:
        """Return the bytes of ids. Raises: UnknownTokenError for an id that is not in the vocabulary."""
        ids = check_ids(ids)
        try:
            return self._engine.decode(ids)
        except (KeyError, TypeError):  # a special token, an unknown id, or something that is not an integer
            return b"".join(self.decode_tokens_bytes(ids))

    def decode(self, ids: IdSequence, errors: str = "replace") -> str:
        """Return the text of ids.

        errors: what to do with bytes that are not UTF-8, as for `bytes.decode`; ids may end inside a character.
        """
        return self.decode_bytes(ids).decode("utf-8", errors=errors)

    def decode_tokens_bytes(self, ids: IdSequence) -> list[bytes]:
        """Return the bytes of each id."""
        numbers = _integers(ids)
        try:
            return list(map(self._token_of.__getitem__, numbers))
        except KeyError as error:
            position = numbers.index(error.args[0])
            raise self._unknown(f"ids[{position}]", error.args[0]) from None

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Return the bytes of one id, special or ordinary. Raises: UnknownTokenError for an unknown one."""
        if not is_integer(token):
            raise invalid("token", "be an integer", token)
        try:
            return self._token_of[token]
        except KeyError:
            raise self._unknown("token", token) from None

    def _unknown(self, name: str, token: object) -> UnknownTokenError:
        below = max(self._token_of) + 1
        return UnknownTokenError(f"`{name}` must be an id of this vocabulary, which are below {below}, got {token}")

    def decode_with_offsets(self, ids: IdSequence) -> tuple[str, list[int]]:
        """Return the text, and for each id the character at which it starts.

        An id that starts inside a character gets the offset of that character.
        """
        tokens = self.decode_tokens_bytes(ids)
        text = b"".join(tokens).decode("utf-8", errors="strict")
        offsets, length = [], 0
        for token in tokens:
            offsets.append(max(0, length - (0x80 <= token[0] < 0xC0)))
            length += sum(not 0x80 <= b < 0xC0 for b in token)
        return text, offsets

    def decode_batch(self, batch: Iterable[IdSequence], *, errors: str = "replace", num_threads: int = 8) -> list[str]:
        """Return the text of each sequence of ids. `num_threads` exists for tiktoken's signature and has no effect."""
        check_integer("num_threads", num_threads, 1)
        return [self.decode(ids, errors) for ids in _rows(batch)]

    def decode_bytes_batch(self, batch: Iterable[IdSequence], *, num_threads: int = 8) -> list[bytes]:
        """Return the bytes of each sequence of ids. `num_threads` has no effect."""
        check_integer("num_threads", num_threads, 1)
        return [self.decode_bytes(ids) for ids in _rows(batch)]

    def token_byte_values(self) -> list[bytes]:
        """Return the bytes of every ordinary token, sorted, as tiktoken does."""
        return sorted(self.ranks)

    def pieces(self, ids: IdSequence) -> list[str]:
        """Return each token in printable characters: `Ġ` for a space, `Ċ` for a line feed (`bpe.byte_unicode`)."""
        special = {i: name for name, i in self.special_tokens.items()}
        numbers = _integers(ids)
        tokens = zip(numbers, self.decode_tokens_bytes(numbers), strict=True)
        return [special.get(i) or to_printable(token) for i, token in tokens]

    def stream_decoder(self, errors: str = "replace") -> StreamDecoder:
        """Return a decoder for ids that arrive one at a time."""
        return StreamDecoder(self, errors)


class StreamDecoder:
    """Decode ids as they arrive, such as from a model that generates; a character waits until its bytes are complete.

    The texts that `push` and `finish` return concatenate to what `decode` returns for all ids.
    """

    def __init__(self, tokenizer: Decoding, errors: str = "replace") -> None:
        """Start a stream. errors: as for `bytes.decode`."""
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors)

    def push(self, *ids: int) -> str:
        """Add ids and return the text that is complete now."""
        data = self._tokenizer.decode_bytes(ids)
        before = self._decoder.getstate()
        try:
            return self._decoder.decode(data)
        except UnicodeDecodeError:
            self._decoder.setstate(before)  # with errors="strict", the stream accepts other ids afterward
            raise

    def finish(self) -> str:
        """End the stream and return what is left: nothing, or U+FFFD for a cut character. Then reset."""
        try:
            return self._decoder.decode(b"", final=True)
        finally:
            self._decoder.reset()


def _rows(batch: Iterable[IdSequence]) -> Iterable[IdSequence]:
    if isinstance(batch, str | bytes | Mapping):
        raise invalid("batch", "be a list of sequences of integers", batch)
    return batch


def _integers(ids: IdSequence) -> list[int]:
    """Return ids as a list of ints. Raises: ValueError that names the first element that is not an integer."""
    found = check_ids(ids)
    if hasattr(found, "tolist"):
        return found.tolist()
    try:
        return list(map(operator.index, found))
    except TypeError:
        position, value = next((i, x) for i, x in enumerate(found) if not _is_index(x))
        raise invalid(f"ids[{position}]", "be an integer", value) from None


def _is_index(value: object) -> bool:
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True
