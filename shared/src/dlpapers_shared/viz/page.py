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
from dlpapers_shared.viz.attention import as_weights
from dlpapers_shared.viz.style import WEIGHTS, Token, labels_for, visible

LARGEST = 20_000_000
"""Largest number of weights in a page: about 110 MB of HTML, which browsers still open."""


def attention_html(
    attn: Any,
    tokens: Sequence[Token] | None = None,
    path: str | Path = "attention.html",
    *,
    keys: Sequence[Token] | None = None,
    title: str = "Attention",
) -> Path:
    """Write a page with all layers and heads: point at a token to see what it attends to. Returns its path.

    attn, tokens, keys: see `attention_heatmap`. The page holds the weights in float32, needs no network and no other
    file, and is operated by mouse, touch or keyboard.
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
    content = {
        "layers": layers,
        "heads": heads,
        "queries": [visible(t) for t in queries],
        "keys": None if same else [visible(t) for t in attended],
        "colors": [to_hex(color) for color in WEIGHTS(np.linspace(0, 1, 256))],
        "weights": base64.b64encode(weights.astype("<f4").tobytes()).decode(),
    }
    # a script element has no escapes, but "</script" would end it: write no "<"
    data = json.dumps(content, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    template = resources.files("dlpapers_shared.viz").joinpath("page.html").read_text(encoding="utf-8")
    head, end = template.split("{{DATA}}")
    path = Path(path)
    write_text(path, head.replace("{{TITLE}}", html.escape(title)) + data + end)
    return path
