"""Figures of attention, training, tokens and activations; and one page to point at.

Every function but `attention_html` returns a matplotlib Figure that was made without pyplot: nothing is shown
or kept open, no screen is needed, `figure.savefig("x.png")` writes it, and a notebook shows it as it is. Tensors
of torch are taken as they are. Colours keep their order of lightness, in grey print too (see `style`).
"""

from dlpapers_shared.viz.attention import attention_heatmap
from dlpapers_shared.viz.functions import activations
from dlpapers_shared.viz.page import attention_html
from dlpapers_shared.viz.positions import positional_encoding
from dlpapers_shared.viz.tokens import merge_tree, next_token_bars
from dlpapers_shared.viz.training import loss_curves

__all__ = [
    "attention_heatmap",
    "attention_html",
    "loss_curves",
    "positional_encoding",
    "activations",
    "next_token_bars",
    "merge_tree",
]
