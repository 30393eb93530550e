"""The attention explorer: one self-contained HTML page that shows every layer and head interactively."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from dlpapers_shared._common.atomic import write_text
from dlpapers_shared._common.errors import invalid
from dlpapers_shared.viz.attention import as_weights
from dlpapers_shared.viz.style import WEIGHTS, WEIGHTS_DARK, Array, Token, array, labels_for, visible

LARGEST = 20_000_000
"""Largest number of weights in a page: about 110 MB of HTML, which browsers still open."""

INLINE = 20_000_000
"""Largest page, in characters, that a notebook displays inline; of a larger one it states the path."""

NEXT = 10
"""Number of most probable next tokens in a page."""


class Page(type(Path())):  # type: ignore[misc]
    """The path of a page; a notebook displays the page itself."""

    def _repr_html_(self) -> str | None:
        if not self.is_file():
            return None
        text = self.read_text(encoding="utf-8")
        if len(text) > INLINE:
            return f"<p>{html.escape(str(self))}: too large to display here. Open it in a browser.</p>"
        style = "width: 100%; height: 760px; border: 1px solid #d5d5de"
        return f'<iframe srcdoc="{html.escape(text)}" title="Attention" style="{style}"></iframe>'


def attention_html(
    attn: Any,
    tokens: Sequence[Token] | None = None,
    path: str | Path = "attention.html",
    *,
    keys: Sequence[Token] | None = None,
    title: str = "Attention",
    logits: Any = None,
    vocabulary: Sequence[Token] | None = None,
) -> Page:
    """Write a page with all layers and heads: point at a token to see what it attends to, or what attends to it.

    attn, tokens, keys: see `attention_heatmap`. logits: (queries, vocab_size); the page then shows the most probable
        next tokens after each query. vocabulary: the token of each id; by default the ids.
    Returns its path, which a notebook displays as the page. The page holds the weights in float32, needs no network
    and no other file, and is operated by mouse, touch or keyboard.
    Raises: ValueError for weights that are not attention, and for too many of them.
    """
    weights = as_weights(attn)
    layers, heads, n_queries, n_keys = weights.shape
    if weights.size > LARGEST:
        fix = "Leave out layers or tokens"
        raise ValueError(f"`attn` must have at most {LARGEST:,} weights, got {weights.size:,}. {fix}")
    queries = labels_for(tokens, n_queries, "tokens")
    same = keys is None and n_queries == n_keys
    attended = queries if same else labels_for(keys, n_keys, "keys")
    colors = {"light": WEIGHTS, "dark": WEIGHTS_DARK}
    content = {
        "layers": layers,
        "heads": heads,
        "queries": [visible(t) for t in queries],
        "keys": None if same else [visible(t) for t in attended],
        "colors": {name: [to_hex(c) for c in scale(np.linspace(0, 1, 256))] for name, scale in colors.items()},
        "next": None if logits is None else next_tokens(logits, n_queries, vocabulary),
    }
    # a script element has no escapes, but "</script" would end it: write no "<"
    parts = {
        "TITLE": html.escape(title),
        "STYLE": _resource("page.css"),
        "DATA": json.dumps(content, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c"),
        "WEIGHTS": base64.b64encode(weights.astype("<f4").tobytes()).decode(),
        "SCRIPT": _resource("page.js"),
    }
    pieces = _resource("page.html").split("{{")
    page = pieces[0] + "".join(parts[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces[1:]))
    write_text(path, page)
    return Page(path)


def next_tokens(logits: Any, n_queries: int, vocabulary: Sequence[Token] | None) -> list[list[tuple[str, float]]]:
    """Return the most probable next tokens after each query with their probabilities, softmax(logits)."""
    values: Array = array(logits, "logits")
    if values.ndim != 2 or len(values) != n_queries:
        raise invalid("logits", f"have shape ({n_queries}, vocab_size)", values.shape)
    names = labels_for(vocabulary, values.shape[1], "vocabulary")
    probs = np.exp(values - values.max(-1, keepdims=True))
    probs /= probs.sum(-1, keepdims=True)
    order = np.argsort(-probs, axis=-1, kind="stable")[:, :NEXT]
    return [[(visible(names[i]), float(row[i])) for i in best] for row, best in zip(probs, order, strict=True)]


def _resource(name: str) -> str:
    return resources.files("dlpapers_shared.viz").joinpath(name).read_text(encoding="utf-8")
