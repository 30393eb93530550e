"""The next token, and byte-pair merges against the paper's plain procedure."""

import numpy as np
import pytest
from dlpapers_shared import viz
from dlpapers_shared.viz.tokens import merged
from hypothesis import given, settings
from hypothesis import strategies as st


def test_the_bars_are_the_most_probable_tokens_in_order(render, texts):
    figure = render(viz.next_token_bars([0.1, 0.4, 0.2, 0.1, 0.2], ["a", " b", "\n", "$d$", "e"], top=3, title="T"))
    (axis,) = figure.axes
    np.testing.assert_allclose([bar.get_width() for bar in axis.patches], [40, 20, 20, 20])
    assert texts(axis.get_yticklabels()) == ["␣b", "⏎", "e", "2 others"]
    assert [t for t in texts(axis.texts) if t] == ["40.0%", "20.0%", "20.0%", "20.0%"]


def test_few_tokens_leave_no_others_and_numbers_stand_for_names(render, texts):
    (axis,) = render(viz.next_token_bars([0.0004, 0.9996, 0.0])).axes
    assert texts(axis.get_yticklabels()) == ["1", "0", "2"]
    assert [t for t in texts(axis.texts) if t] == ["100.0%", "<0.1%", "0.0%"]


@pytest.mark.parametrize(
    ("probs", "options", "says"),
    [
        ([2.0, -1.0], {}, "logits?"),
        ([0.5, 0.4], {}, "sum to 0.9"),
        ([[1.0]], {}, r"shape \(1, 1\)"),
        ([1.0], {"tokens": "ab"}, "tokens: 2 tokens for 1 positions"),
        ([1.0], {"top": 0}, "top: 0"),
    ],
)
def test_what_are_no_probabilities_is_an_error(probs, options, says):
    with pytest.raises(ValueError, match=says):
        viz.next_token_bars(probs, **options)


def by_scanning(token, merges):
    """Byte-pair encoding as one reads it in the paper: apply every merge in order of learning, left to right."""
    pieces = list(token)
    for left, right in merges:
        i = 0
        while i < len(pieces) - 1:
            if (pieces[i], pieces[i + 1]) == (left, right):
                pieces[i : i + 2] = [left + right]
            i += 1
    return pieces


@st.composite
def learned(draw):
    """Merges as a trainer could have learned them: each joins pieces that exist by then."""
    known, merges = ["a", "b", "c"], []
    for _ in range(draw(st.integers(1, 8))):
        pair = draw(st.tuples(st.sampled_from(known), st.sampled_from(known)))
        if pair[0] + pair[1] not in known:
            merges.append(pair)
            known.append(pair[0] + pair[1])
    return merges


@settings(deadline=None)
@given(learned(), st.text("abc", min_size=1, max_size=24))
def test_a_token_is_merged_as_byte_pair_encoding_does(merges, token):
    pieces = merged(token, merges)
    assert [piece.text for piece in pieces] == by_scanning(token, merges)

    def check(node):
        if node.parts:
            pair = tuple(part.text for part in node.parts)
            assert merges[node.rank] == pair
            assert "".join(pair) == node.text
            assert all(part.rank is None or part.rank < node.rank for part in node.parts)
            for part in node.parts:
                check(part)
        else:
            assert len(node.text) == 1

    for piece in pieces:
        check(piece)


MERGES = [("t", "h"), ("i", "n"), ("th", "in"), ("thin", "k")]


@pytest.mark.parametrize(
    "merges", [MERGES, {pair: rank for rank, pair in enumerate(MERGES)}, [(a.encode(), b.encode()) for a, b in MERGES]]
)
def test_the_tree_shows_every_symbol_every_merge_and_its_rank(render, texts, merges):
    (axis,) = render(viz.merge_tree("think!", merges, title="T")).axes
    assert sorted(texts(axis.texts)) == sorted(
        ["t", "h", "i", "n", "k", "!", "th", "in", "thin", "think", "merge 0", "merge 1", "merge 2", "merge 3"]
    )
    assert len(axis.lines) == 2 * len(MERGES)
    places = {t.get_text(): t.get_position() for t in axis.texts}
    assert places["t"] == (0, 0)
    assert places["!"] == (5, 0)
    assert places["th"] == (0.5, 1)
    assert places["thin"] == (1.5, 2)


def test_bytes_that_are_no_text_can_be_drawn(render, texts):
    (axis,) = render(viz.merge_tree("é", [(b"\xc3", b"\xa9")])).axes
    assert set(texts(axis.texts)) == {"\\xc3", "\\xa9", "é", "merge 0"}


def test_a_token_that_fits_no_merges_is_an_error():
    with pytest.raises(ValueError, match="token"):
        viz.merge_tree("", MERGES)
    with pytest.raises(ValueError, match="merges: they join str"):
        viz.merge_tree(b"think", MERGES)
