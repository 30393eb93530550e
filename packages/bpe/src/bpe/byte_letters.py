"""Bytes written as letters: the `Ġ` convention of GPT-2's files (`bytes_to_unicode` in its encoder.py).

`encoder.json`, `vocab.bpe`, Hugging Face's files and every picture of tokens have to write down tokens that are
any bytes: half a character, a space, a zero. GPT-2 gives each of the 256 bytes one visible letter. The 188 bytes
that Latin-1 shows as a visible letter stay that letter; the other 68 (control characters, the space, 0x7f to
0xa0, the soft hyphen) take the letters from U+0100 on, in order. The space, 0x20, is the 33rd of these: U+0120, `Ġ`.
"""

from __future__ import annotations

VISIBLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
"""The bytes that stay themselves. GPT-2 gives them the ids 0 to 187, and the others 188 to 255."""

GPT2_BYTE_ORDER = bytes([*VISIBLE, *(b for b in range(256) if b not in set(VISIBLE))])
"""The byte that has id i, for i below 256, in GPT-2's vocabulary and in those that Hugging Face trains."""


def bytes_to_unicode() -> dict[int, str]:
    """Byte -> its letter, as in GPT-2's code.

    >>> bytes_to_unicode()[32], bytes_to_unicode()[10], bytes_to_unicode()[65]
    ('Ġ', 'Ċ', 'A')
    """
    stays = len(VISIBLE)
    return {b: chr(b) if i < stays else chr(0x100 + i - stays) for i, b in enumerate(GPT2_BYTE_ORDER)}


_LETTERS = bytes_to_unicode()
_BYTES = {letter: b for b, letter in _LETTERS.items()}


def to_letters(data: bytes) -> str:
    """Write bytes as letters; `from_letters` is the inverse.

    >>> to_letters(" naïve".encode())
    'ĠnaÃ¯ve'
    """
    return data.decode("latin-1").translate(_LETTERS)


def from_letters(letters: str) -> bytes:
    """The bytes that letters stand for; ValueError for a character that is no byte's letter.

    >>> from_letters("Ġthe")
    b' the'
    """
    try:
        return bytes([_BYTES[letter] for letter in letters])
    except KeyError as error:
        raise ValueError(f"{letters!r}: {error.args[0]!r} is not the letter of any byte") from None
