"""One self-contained page on which every head's attention can be pointed at."""

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

from dlpapers_shared.files import replacing
from dlpapers_shared.viz.attention import as_weights
from dlpapers_shared.viz.style import WEIGHTS, Token, labels_for, visible

LARGEST = 20_000_000
"""Weights that a page may hold: about 110 MB, which browsers still open."""


def attention_html(
    attn: Any,
    tokens: Sequence[Token] | None = None,
    path: str | Path = "attention.html",
    *,
    keys: Sequence[Token] | None = None,
    title: str = "Attention",
) -> Path:
    """Write one page with all layers and heads: point at a token to see where it looks. Returns its path.

    attn, tokens, keys: as `attention_heatmap` takes them. The page holds the weights in float32, needs no network
    and no other file, and is worked by mouse, touch or keyboard. ValueError for what it cannot show.
    """
    weights = as_weights(attn)
    layers, heads, n_queries, n_keys = weights.shape
    if weights.size > LARGEST:
        raise ValueError(f"attn: {weights.size:,} weights are more than the {LARGEST:,} a page can hold; cut it")
    queries = labels_for(tokens, n_queries, "tokens")
    same = keys is None and n_queries == n_keys
    looked_at = queries if same else labels_for(keys, n_keys, "keys")
    content = {
        "layers": layers,
        "heads": heads,
        "queries": [visible(t) for t in queries],
        "keys": None if same else [visible(t) for t in looked_at],
        "colors": [to_hex(color) for color in WEIGHTS(np.linspace(0, 1, 256))],
        "weights": base64.b64encode(weights.astype("<f4").tobytes()).decode(),
    }
    # inside a script nothing is unescaped, but "</script" would end it: no "<" is left
    data = json.dumps(content, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    template = resources.files("dlpapers_shared.viz").joinpath("page.html").read_text(encoding="utf-8")
    head, end = template.split("{{DATA}}")
    path = Path(path)
    with replacing(path) as temporary:
        temporary.write_text(head.replace("{{TITLE}}", html.escape(title)) + data + end, encoding="utf-8")
    return path
