"""Printable stand-ins for bytes: the `Ġ` convention of GPT-2 (`bytes_to_unicode` in its encoder.py).

Tokens are arbitrary bytes: half a character, a space, a zero. Text files such as `encoder.json` cannot hold all of
them, so GPT-2 maps each of the 256 bytes to one printable Unicode character. The 188 bytes that are printable in
Latin-1 keep their character. The other 68 (control characters, the space, 0x7f to 0xa0, the soft hyphen) get the
characters from U+0100 on, in order. The space, 0x20, is the 33rd of them: U+0120, `Ġ`.
"""

from __future__ import annotations

PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
"""The bytes that keep their character. In GPT-2 they have ids 0 to 187, and the other bytes 188 to 255."""

GPT2_BYTE_ORDER = bytes([*PRINTABLE, *(b for b in range(256) if b not in set(PRINTABLE))])
"""The byte with id i, for i below 256, in GPT-2's vocabulary and in those that Hugging Face trains."""


def bytes_to_unicode() -> dict[int, str]:
    """Return the mapping from byte to printable character of GPT-2.

    >>> bytes_to_unicode()[32], bytes_to_unicode()[10], bytes_to_unicode()[65]
    ('Ġ', 'Ċ', 'A')
    """
    kept = len(PRINTABLE)
    return {b: chr(b) if i < kept else chr(0x100 + i - kept) for i, b in enumerate(GPT2_BYTE_ORDER)}


_CHARACTER_OF = bytes_to_unicode()
_BYTE_OF = {character: b for b, character in _CHARACTER_OF.items()}


def to_printable(data: bytes) -> str:
    """Write each byte as its printable character. `from_printable` is the inverse.

    >>> to_printable(" naïve".encode())
    'ĠnaÃ¯ve'
    """
    return data.decode("latin-1").translate(_CHARACTER_OF)


def from_printable(text: str) -> bytes:
    """Return the bytes that printable characters stand for. Raises: ValueError for a character that is no stand-in.

    >>> from_printable("Ġthe")
    b' the'
    """
    try:
        return bytes([_BYTE_OF[character] for character in text])
    except KeyError as error:
        raise ValueError(f"{text!r}: the character {error.args[0]!r} does not stand for a byte") from None
