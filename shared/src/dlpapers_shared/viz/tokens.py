"""The next token's probabilities, and how byte-pair merges build a token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dlpapers_shared.viz.style import GREY, PALETTE, Figure, Token, array, drawn, labels_for

Merges = Sequence[tuple[Token, Token]] | Mapping[tuple[Token, Token], int]


def next_token_bars(
    probs: Any,
    tokens: Sequence[Token] | None = None,
    *,
    top: int = 10,
    title: str | None = None,
) -> Figure:
    """The most probable next tokens as bars with their percentages, and what all others have together.

    probs: (vocab_size,), not negative, summing to 1. tokens: one for each, their numbers when none are given.
    Of equally probable tokens the one with the lower number comes first.
    """
    values = array(probs, "probs")
    if values.ndim != 1:
        raise ValueError(f"probs: shape {values.shape}; (vocab_size,) is needed")
    if values.min() < 0 or abs(values.sum() - 1) > 1e-3:
        raise ValueError(f"probs: they sum to {values.sum():g} and the least is {values.min():g}; logits?")
    if top < 1:
        raise ValueError(f"top: {top}; at least 1 is needed")
    names = labels_for(tokens, len(values), "tokens")
    order = np.argsort(-values, kind="stable")[:top]
    bars = values[order]
    labels = drawn([names[i] for i in order], limit=20)
    rest = len(values) - len(order)
    if rest:
        bars, labels = np.append(bars, values.sum() - bars.sum()), [*labels, f"{rest:,} others"]
    figure = Figure(figsize=(6.4, 0.6 + 0.3 * len(bars)), layout="constrained")
    axis = figure.subplots()
    colors = [PALETTE[0]] * len(order) + ["#b8b8b8"] * (rest > 0)
    drawn_bars = axis.barh(range(len(bars)), bars * 100, color=colors, height=0.72)
    axis.bar_label(drawn_bars, [f"{p:.1%}" if p >= 0.001 or p <= 0 else "<0.1%" for p in bars], padding=4)
    axis.set_yticks(range(len(bars)), labels, size=12, parse_math=False)
    axis.invert_yaxis()
    axis.set_xlim(0, bars.max() * 115)  # room for the figures
    axis.set_xlabel("probability of being next, %")
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    if title:
        axis.set_title(title, parse_math=False)
    return figure


@dataclass(frozen=True)
class Node:
    """A piece of the token: a symbol that it began with, or two pieces and the rank of the merge that joined them."""

    text: Token
    rank: int | None = None
    parts: tuple[Node, ...] = ()

    @property
    def height(self) -> int:
        """How many merges lie above each other in it."""
        return 1 + max(part.height for part in self.parts) if self.parts else 0


def merged(token: Token, merges: Merges) -> list[Node]:
    """Byte-pair encoding of a token, keeping how each piece came about   — 1508.07909, section 3.2.

    The pair of neighbours with the lowest rank is joined wherever it occurs, until no pair is listed. Merges of
    bytes begin with single bytes (a str is taken in UTF-8), merges of str with characters.
    """
    ranks = dict(merges) if isinstance(merges, Mapping) else {pair: rank for rank, pair in enumerate(merges)}
    of_bytes = any(isinstance(left, bytes) for left, _ in ranks)
    if of_bytes and isinstance(token, str):
        token = token.encode()
    if isinstance(token, bytes) and not of_bytes:
        raise ValueError("merges: they join str, but the token is bytes")
    pieces = [Node(token[i : i + 1]) for i in range(len(token))]
    while True:
        neighbours = [(left.text, right.text) for left, right in pairwise(pieces)]
        pair = min((p for p in neighbours if p in ranks), key=ranks.__getitem__, default=None)
        if pair is None:
            return pieces
        joined: list[Node] = []
        for piece in pieces:
            if joined and (joined[-1].text, piece.text) == pair:
                joined[-1] = Node(pair[0] + pair[1], ranks[pair], (joined[-1], piece))  # type: ignore[operator]
            else:
                joined.append(piece)
        pieces = joined


def merge_tree(token: Token, merges: Merges, *, title: str | None = None) -> Figure:
    """How byte-pair merges build a token: its first symbols at the bottom, each merge above with its rank.

    merges: pairs of str or of bytes, in the order in which they were learned (or a mapping from pair to rank);
        the rank of the first is 0. What no merge joins stays apart.
    """
    if not token:
        raise ValueError("token: it is empty")
    pieces = merged(token, merges)
    leaves = [leaf for piece in pieces for leaf in _leaves(piece)]
    spacing = max(0.5, *(0.2 + 0.1 * len(text) for text in drawn([leaf.text for leaf in leaves])))
    height = max(piece.height for piece in pieces)
    figure = Figure(figsize=(max(3.0, 0.6 + spacing * len(leaves)), 0.9 + 0.75 * height), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(-0.6, len(leaves) - 0.4), ylim=(-0.45, height + 0.6))
    axis.set_axis_off()
    first = 0
    for piece in pieces:
        _draw(axis, piece, first)
        first += sum(1 for _ in _leaves(piece))
    if title:
        axis.set_title(title, parse_math=False)
    return figure


def _leaves(node: Node) -> Iterator[Node]:
    if not node.parts:
        yield node
    for part in node.parts:
        yield from _leaves(part)


def _draw(axis: Axes, node: Node, first: int) -> float:
    """Draw a piece whose leftmost symbol stands at x = first; returns the x of its own box."""
    if not node.parts:
        x = float(first)
    else:
        left, right = node.parts
        ends = [_draw(axis, left, first), _draw(axis, right, first + sum(1 for _ in _leaves(left)))]
        x = sum(ends) / 2
        for end, part in zip(ends, node.parts, strict=True):
            axis.plot([x, end], [node.height, part.height], color=GREY, linewidth=1, zorder=1)
        behind = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none"}
        axis.text(
            x, node.height + 0.32, f"merge {node.rank}", size=8, color=GREY, ha="center", va="center", bbox=behind
        )
    edge = PALETTE[0] if node.parts else GREY
    box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": edge}
    (text,) = drawn([node.text], limit=40)
    axis.text(x, node.height, text, size=10, ha="center", va="center", bbox=box, parse_math=False, zorder=2)
    return x
