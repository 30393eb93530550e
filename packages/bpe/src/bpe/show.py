"""Tokens made visible: colours in a terminal, an HTML page."""

from __future__ import annotations

import html

from bpe.tokenizer import Tokenizer

_BACKGROUNDS = (153, 222, 157, 218, 189)  # of the 256 colours of terminals
_COLOURS = ("#cfe8ff", "#ffe2b0", "#c9f2d0", "#ffd0dc", "#ddd6ff")

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
{colours}
</style>
<p><b>{tokens:,}</b> tokens, <b>{characters:,}</b> characters, <b>{bytes:,}</b> bytes: {ratio:.2f} bytes per token.
Point at a token for its id and bytes.</p>
<main>{pieces}</main>
</html>
"""


def visible(token: bytes) -> str:
    """A token as it can be shown: its text where it is text, else its bytes as `\\x..`."""
    return token.decode("utf-8", "backslashreplace")


def terminal_pieces(tokenizer: Tokenizer, text: str, *, colour: bool) -> str:
    """A text with its tokens coloured in turn; without colours, with `|` between them."""
    tokens = tokenizer.decode_tokens_bytes(tokenizer.encode(text, allowed_special="all"))
    if not colour:
        return "|".join(map(visible, tokens))
    parts = []
    for i, token in enumerate(tokens):
        paint = f"\x1b[30;48;5;{_BACKGROUNDS[i % len(_BACKGROUNDS)]}m"
        # a colour that runs over a line's end would paint the rest of the line
        parts.append("\x1b[0m\n".join(paint + line if line else "" for line in visible(token).split("\n")) + "\x1b[0m")
    return "".join(parts)


def html_page(tokenizer: Tokenizer, text: str, title: str = "Tokens") -> str:
    """A page that stands alone: each token coloured, its id and bytes shown when pointed at."""
    ids = tokenizer.encode(text, allowed_special="all")
    spans = []
    for i, (token_id, token) in enumerate(zip(ids, tokenizer.decode_tokens_bytes(ids), strict=True)):
        kind = "special" if tokenizer.is_special_token(token_id) else f"c{i % len(_COLOURS)}"
        shown = html.escape(visible(token)).replace("\n", "↵\n")
        spans.append(f'<span class="{kind}" title="{token_id}: {html.escape(repr(token))}">{shown}</span>')
    size = len(text.encode())
    return _PAGE.format(
        title=html.escape(title),
        colours="\n".join(f".c{i} {{ background: {colour} }}" for i, colour in enumerate(_COLOURS)),
        tokens=len(ids),
        characters=len(text),
        bytes=size,
        ratio=size / max(1, len(ids)),
        pieces="".join(spans),
    )
