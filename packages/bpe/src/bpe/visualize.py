"""Show tokens: colors in a terminal, an HTML page."""

from __future__ import annotations

import html
import unicodedata
from itertools import pairwise

from bpe.byte_unicode import to_printable
from bpe.tokenizer import Tokenizer

_BACKGROUNDS = (153, 222, 157, 218, 189)  # of the 256 terminal colors
_COLORS = ("#cfe8ff", "#ffe2b0", "#c9f2d0", "#ffd0dc", "#ddd6ff")
_BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/2.1 ui-monospace, Menlo, Consolas, monospace; color: #1a1a1a; background: #fff }}
body {{ margin: 2rem auto; max-width: 60rem; padding: 0 1rem }}
p {{ font: 15px/1.5 system-ui, sans-serif; color: #444 }}
main {{ white-space: pre-wrap; overflow-wrap: anywhere }}
span {{ border-radius: 3px; padding: 2px 0; cursor: default }}
span.special {{ outline: 2px solid #b00020; background: #fff }}
{colors}
</style>
<p><b>{tokens:,}</b> tokens, <b>{characters:,}</b> characters, <b>{bytes:,}</b> bytes: {ratio:.2f} bytes per token.
Point at a token to see its id and its bytes.</p>
<main>{pieces}</main>
</html>
"""


def visible(token: bytes) -> str:
    r"""Return a token as it can be printed: text as text, control characters and other bytes as `\x..` or `\u....`.

    Line feeds and tabs stay. Other control characters could change the state of a terminal.

    >>> visible(b"a\n\x1b[1m\xff")
    'a\n\\x1b[1m\\xff'
    """
    text = token.decode("utf-8", "backslashreplace")
    return "".join(_escaped(c) if _is_control(c) else c for c in text)


def _is_control(character: str) -> bool:
    return (unicodedata.category(character) == "Cc" and character not in "\n\t") or character in _BIDIRECTIONAL


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def terminal_tokens(tokenizer: Tokenizer, text: str, *, color: bool) -> str:
    r"""Return a text with its tokens on alternating background colors; without color, separated by `|`.

    Without color, a `|` of the text is written as `\|`.
    """
    tokens = tokenizer.decode_tokens_bytes(tokenizer.encode(text, allowed_special="all"))
    if not color:
        return "|".join(visible(token).replace("|", r"\|") for token in tokens)
    parts = []
    for i, token in enumerate(tokens):
        paint = f"\x1b[30;48;5;{_BACKGROUNDS[i % len(_BACKGROUNDS)]}m"
        # end the color before each line feed: otherwise a terminal paints the rest of the line
        lines = (paint + line if line else "" for line in visible(token).split("\n"))
        parts.append("\x1b[0m\n".join(lines) + "\x1b[0m")
    return "".join(parts)


def html_page(tokenizer: Tokenizer, text: str, title: str = "Tokens") -> str:
    """Return a self-contained page: every token colored, with its id and bytes as a tooltip."""
    ids = tokenizer.encode(text, allowed_special="all")
    spans = []
    for i, (token_id, token) in enumerate(zip(ids, tokenizer.decode_tokens_bytes(ids), strict=True)):
        kind = "special" if tokenizer.is_special_token(token_id) else f"c{i % len(_COLORS)}"
        shown = html.escape(visible(token)).replace("\n", "↵\n")
        spans.append(f'<span class="{kind}" title="{token_id}: {html.escape(repr(token))}">{shown}</span>')
    size = len(text.encode("utf-8", "replace"))
    return _PAGE.format(
        title=html.escape(title),
        colors="\n".join(f".c{i} {{ background: {color} }}" for i, color in enumerate(_COLORS)),
        tokens=len(ids),
        characters=len(text),
        bytes=size,
        ratio=size / max(1, len(ids)),
        pieces="".join(spans),
    )


def merge_steps(tokenizer: Tokenizer, word: str) -> list[list[str]]:
    """Return the tokens of one pre-token after each merge, in printable characters, from bytes to the result.

    >>> import bpe
    >>> tok = bpe.train_from_iterator(["low lower"], vocab_size=258, engine="python")
    >>> merge_steps(tok, "low")
    [['l', 'o', 'w'], ['lo', 'w'], ['low']]
    """
    parts = [bytes([b]) for b in word.encode()]
    steps = [parts]
    while True:
        pairs = [(tokenizer.ranks.get(a + b), i) for i, (a, b) in enumerate(pairwise(parts))]
        ranked = [(rank, i) for rank, i in pairs if rank is not None]
        if not ranked:
            break
        _, i = min(ranked)
        parts = [*parts[:i], parts[i] + parts[i + 1], *parts[i + 2 :]]
        steps.append(parts)
    return [[to_printable(part) for part in step] for step in steps]
