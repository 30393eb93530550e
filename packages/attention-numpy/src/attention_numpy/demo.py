"""What `attention-numpy demo` shows: numbers to translate before and after training."""

from __future__ import annotations

EXAMPLES = ("forty two", "three hundred sixty five", "nine hundred eighty seven thousand six hundred fifty four")
CROSSING = "three hundred forty two thousand five hundred sixty one"  # tens and units cross twice in its figure
SHOWN_WORDS = 8


def shortened(text: str) -> str:
    """Return the first words of a text, because an untrained model does not end its output.

    >>> shortened("null " * 60)
    'null null null null null null null null …'
    """
    words = text.split()
    return " ".join(words[:SHOWN_WORDS]) + (" …" if len(words) > SHOWN_WORDS else "")
