"""Figures of attention, training, tokens and activation functions, and an interactive attention explorer.

Every function except `attention_html` returns a matplotlib Figure made without pyplot: it needs no display,
`figure.savefig("x.png")` writes it, and a notebook displays it. Torch tensors are accepted.
"""

from dlpapers_shared.viz.activations import activations
from dlpapers_shared.viz.attention import attention_heatmap
from dlpapers_shared.viz.loss import loss_curves
from dlpapers_shared.viz.page import attention_html
from dlpapers_shared.viz.positions import positional_encoding
from dlpapers_shared.viz.style import LOOK, theme
from dlpapers_shared.viz.tokens import merge_tree, next_token_bars

__all__ = [
    "attention_heatmap",
    "attention_html",
    "loss_curves",
    "positional_encoding",
    "activations",
    "next_token_bars",
    "merge_tree",
    "LOOK",
    "theme",
]
