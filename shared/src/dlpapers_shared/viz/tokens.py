"""Probabilities of the next token, and the tree of byte-pair merges that build a token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dlpapers_shared._common.errors import check_integer, invalid
from dlpapers_shared.viz.style import Figure, Token, array, current, font_labels, labels_for, set_title, with_look

Merges = Sequence[tuple[Token, Token]] | Mapping[tuple[Token, Token], int]


@with_look
def next_token_bars(
    probs: Any,
    tokens: Sequence[Token] | None = None,
    *,
    top: int = 10,
    title: str | None = None,
) -> Figure:
    """Draw the `top` most probable next tokens as bars, and state the probability of all other tokens together.

    probs: (vocab_size,), not negative, with sum 1. tokens: one per probability; by default their ids. Equally probable
    tokens are in the order of their ids. The scale ends at the most probable token, whatever the others sum to.
    """
    values = array(probs, "probs")
    if values.ndim != 1:
        raise ValueError(f"`probs` must have shape (vocab_size,), got {values.shape}")
    if values.min() < 0 or abs(values.sum() - 1) > 1e-3:
        found = f"sum {values.sum():g} and minimum {values.min():g}"
        raise ValueError(f"`probs` must not be negative and must sum to 1, got {found}. Apply softmax to logits first")
    check_integer("top", top, 1)
    names = labels_for(tokens, len(values), "tokens")
    order = np.argsort(-values, kind="stable")[:top]
    bars = values[order]
    labels = font_labels([names[i] for i in order], limit=20)
    rest = len(values) - len(order)
    figure = Figure(figsize=(6.4, 1.1 + 0.3 * len(bars)), layout="constrained")
    axis = figure.subplots()
    drawn = axis.barh(range(len(bars)), bars * 100, color=current().palette[0], height=0.72)
    axis.bar_label(drawn, [percent(p) for p in bars], padding=4)
    axis.set_yticks(range(len(bars)), labels, size=11, parse_math=False)
    axis.invert_yaxis()
    axis.set_xlim(0, (bars.max() or 1) * 115)  # space for the labels
    axis.set_xlabel("probability of the next token, %")
    if rest:
        note = f"{rest:,} other token{'s' if rest > 1 else ''}: {percent(max(0.0, values.sum() - bars.sum()))}"
        axis.text(1, 0.02, note, transform=axis.transAxes, ha="right", va="bottom", color=current().gray)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    set_title(figure, axis, title)
    return figure


def percent(p: float) -> str:
    """Format a probability.

    >>> percent(0.4), percent(0.0004), percent(0.0)
    ('40.0 %', '< 0.1 %', '0.0 %')
    """
    return f"{p:.1%}".replace("%", " %") if p >= 0.001 or p <= 0 else "< 0.1 %"


@dataclass(frozen=True)
class Node:
    """A symbol of the initial token, or two nodes and the rank of the merge that joined them."""

    text: Token
    rank: int | None = None
    parts: tuple[Node, ...] = ()

    @property
    def height(self) -> int:
        """The largest number of merges above each other."""
        return 1 + max(part.height for part in self.parts) if self.parts else 0


def merged(token: Token, merges: Merges) -> list[Node]:
    """Encode a token with byte-pair merges and return the tree of each part.   (1508.07909, section 3.2)

    The adjacent pair with the lowest rank is merged wherever it occurs, until no pair is listed. Merges of bytes start
    from single bytes (a str is encoded in UTF-8), merges of str from characters.
    """
    ranks = dict(merges) if isinstance(merges, Mapping) else {pair: rank for rank, pair in enumerate(merges)}
    of_bytes = any(isinstance(left, bytes) for left, _ in ranks)
    if of_bytes and isinstance(token, str):
        token = token.encode()
    if isinstance(token, bytes) and not of_bytes:
        raise invalid("merges", "join bytes, like the token", "pairs of str")
    pieces = [Node(token[i : i + 1]) for i in range(len(token))]
    while True:
        adjacent = [(left.text, right.text) for left, right in pairwise(pieces)]
        pair = min((p for p in adjacent if p in ranks), key=ranks.__getitem__, default=None)
        if pair is None:
            return pieces
        joined: list[Node] = []
        for piece in pieces:
            if joined and (joined[-1].text, piece.text) == pair:
                joined[-1] = Node(pair[0] + pair[1], ranks[pair], (joined[-1], piece))  # type: ignore[operator]
            else:
                joined.append(piece)
        pieces = joined


@with_look
def merge_tree(token: Token, merges: Merges, *, title: str | None = None) -> Figure:
    """Draw how byte-pair merges build a token: its symbols at the bottom, above them each merge with its rank.

    merges: pairs of str or of bytes in the order of training, or a mapping from pair to rank. The first has rank 0.
        Parts that no merge joins are side by side.
    """
    if not token:
        raise invalid("token", "not be empty", token)
    pieces = merged(token, merges)
    leaves = [leaf for piece in pieces for leaf in _leaves(piece)]
    spacing = max(0.5, *(0.2 + 0.1 * len(text) for text in font_labels([leaf.text for leaf in leaves])))
    height = max(piece.height for piece in pieces)
    figure = Figure(figsize=(max(3.0, 0.6 + spacing * len(leaves)), 0.9 + 0.75 * height), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(-0.6, len(leaves) - 0.4), ylim=(-0.45, height + 0.6))
    axis.set_axis_off()
    first = 0
    for piece in pieces:
        _draw(axis, piece, first)
        first += sum(1 for _ in _leaves(piece))
    set_title(figure, axis, title)
    return figure


def _leaves(node: Node) -> Iterator[Node]:
    if not node.parts:
        yield node
    for part in node.parts:
        yield from _leaves(part)


def _draw(axis: Axes, node: Node, first: int) -> float:
    """Draw a node whose leftmost symbol is at x = first; return the x of its own box."""
    if not node.parts:
        x = float(first)
    else:
        left, right = node.parts
        ends = [_draw(axis, left, first), _draw(axis, right, first + sum(1 for _ in _leaves(left)))]
        x = sum(ends) / 2
        for end, part in zip(ends, node.parts, strict=True):
            axis.plot([x, end], [node.height, part.height], color=current().gray, linewidth=1, zorder=1)
        behind = {"boxstyle": "square,pad=0.15", "facecolor": current().paper, "edgecolor": "none"}
        style: dict[str, Any] = {"size": 8, "color": current().gray, "ha": "center", "va": "center", "bbox": behind}
        axis.text(x, node.height + 0.32, f"merge {node.rank}", **style)
    edge = current().palette[0] if node.parts else current().gray
    box = {"boxstyle": "round,pad=0.3", "facecolor": current().paper, "edgecolor": edge}
    (text,) = font_labels([node.text], limit=40)
    axis.text(x, node.height, text, size=10, ha="center", va="center", bbox=box, parse_math=False, zorder=2)
    return x
