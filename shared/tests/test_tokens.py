"""Next-token bars, and byte-pair merges against the procedure of the paper."""

import numpy as np
import pytest
from dlpapers_shared import viz
from dlpapers_shared.viz.tokens import merged
from hypothesis import given, settings
from hypothesis import strategies as st


def test_bars_are_the_most_probable_tokens_in_order(render, texts):
    figure = render(viz.next_token_bars([0.1, 0.4, 0.2, 0.1, 0.2], ["a", " b", "\n", "$d$", "e"], top=3, title="T"))
    (axis,) = figure.axes
    np.testing.assert_allclose([bar.get_width() for bar in axis.patches], [40, 20, 20])
    assert texts(axis.get_yticklabels()) == ["␣b", "⏎", "e"]
    assert [t for t in texts(axis.texts) if t] == ["40.0 %", "20.0 %", "20.0 %", "2 other tokens: 20.0 %"]


def test_other_tokens_do_not_set_the_scale(render, texts):
    (axis,) = render(viz.next_token_bars([0.06, *([0.94 / 999] * 999)], top=1)).axes
    assert axis.get_xlim()[1] < 10
    assert texts(axis.texts)[-1] == "999 other tokens: 94.0 %"


def test_all_tokens_are_shown_by_their_ids_without_names(render, texts):
    (axis,) = render(viz.next_token_bars([0.0004, 0.9996, 0.0])).axes
    assert texts(axis.get_yticklabels()) == ["1", "0", "2"]
    assert [t for t in texts(axis.texts) if t] == ["100.0 %", "< 0.1 %", "0.0 %"]


@pytest.mark.parametrize(
    ("probs", "options", "says"),
    [
        ([2.0, -1.0], {}, "softmax"),
        ([0.5, 0.4], {}, "got sum 0.9"),
        ([[1.0]], {}, r"must have shape .*got \(1, 1\)"),
        ([1.0], {"tokens": "ab"}, "`tokens` must hold one token for each of 1 positions, got 2"),
        ([1.0], {"top": 1.5}, "`top` must be an integer"),
        ([1.0], {"top": 0}, "`top` must be an integer of at least 1, got 0"),
    ],
)
def test_values_that_are_not_probabilities_are_an_error(probs, options, says):
    with pytest.raises(ValueError, match=says):
        viz.next_token_bars(probs, **options)


def by_scanning(token, merges):
    """Byte-pair encoding as in the paper: apply every merge in the order of training, left to right."""
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
    """Merges that a trainer can produce: each joins symbols that exist by then."""
    known, merges = ["a", "b", "c"], []
    for _ in range(draw(st.integers(1, 8))):
        pair = draw(st.tuples(st.sampled_from(known), st.sampled_from(known)))
        if pair[0] + pair[1] not in known:
            merges.append(pair)
            known.append(pair[0] + pair[1])
    return merges


@settings(deadline=None)
@given(learned(), st.text("abc", min_size=1, max_size=24))
def test_merges_match_byte_pair_encoding(merges, token):
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
def test_tree_shows_every_symbol_every_merge_and_its_rank(render, texts, merges):
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


def test_bytes_that_are_not_utf8_are_shown_as_escapes(render, texts):
    (axis,) = render(viz.merge_tree("é", [(b"\xc3", b"\xa9")])).axes
    assert set(texts(axis.texts)) == {"\\xc3", "\\xa9", "é", "merge 0"}


def test_empty_token_and_token_of_another_type_are_an_error():
    with pytest.raises(ValueError, match="`token` must not be empty"):
        viz.merge_tree("", MERGES)
    with pytest.raises(ValueError, match="`merges` must join bytes"):
        viz.merge_tree(b"think", MERGES)
