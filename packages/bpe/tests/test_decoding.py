"""Decoding: bytes, text, offsets, printable tokens, streams, and unknown ids."""

import pickle
import random

import bpe
import numpy as np
import pytest
import tiktoken
from bpe.byte_unicode import from_printable, to_printable
from bpe.merge import byte_pair_merge, merge_with_dropout
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HuggingFace

IDS = st.lists(st.integers(0, 1501), max_size=40)


def test_any_ids_decode_as_in_tiktoken(make, oracle, engine):
    tok, live = make("gpt2", engine), oracle("gpt2")

    @given(IDS)
    def check(ids):
        data = live.decode_bytes(ids)
        assert tok.decode_bytes(ids) == tok.decode_bytes(np.array(ids, np.uint32)) == data
        assert tok.decode(ids) == live.decode(ids)
        assert tok.decode_tokens_bytes(ids) == live.decode_tokens_bytes(ids)
        assert tok.decode_batch([ids, ids[:3]]) == live.decode_batch([ids, ids[:3]])
        assert tok.decode_bytes_batch([ids]) == [data]
        assert tok.decode_single_token_bytes(ids[0] if ids else 0) == live.decode_single_token_bytes(
            ids[0] if ids else 0
        )
        try:
            expected = live.decode_with_offsets(ids)
        except UnicodeDecodeError:
            with pytest.raises(UnicodeDecodeError):
                tok.decode(ids, errors="strict")
        else:
            assert tok.decode_with_offsets(ids) == expected

    check()
    check.hypothesis.inner_test(list("aé😀".encode()))  # one id per byte: tokens start inside characters


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", None])
def test_any_bytes_round_trip(pattern, make, engine):
    tok = make(pattern, engine)
    broken = st.lists(st.sampled_from([b"\xe6\x97", b"\xa5", b" a", b"\xff", b"'s\n"])).map(b"".join)

    @given(st.binary(max_size=60) | broken)
    @settings(max_examples=60)
    def check(data):
        ids = tok.encode_bytes(data)
        assert tok.decode_bytes(ids) == data
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return
        assert ids == tok.encode_ordinary(text)

    check()


@pytest.mark.parametrize("wrong", [1503, -1, 2**31, 2**32, 2**63, 2**70])
def test_an_unknown_id_is_a_clear_error(make, engine, wrong):
    tok = make("gpt2", engine)
    with pytest.raises(
        bpe.UnknownTokenError, match=r"^`ids\[1\]` must be an id of this vocabulary, which are below 1503, got"
    ):
        tok.decode([97, wrong])
    with pytest.raises(KeyError):
        tok.decode_bytes([wrong])
    with pytest.raises(ValueError, match="below 1503"):
        tok.decode_single_token_bytes(wrong)


@pytest.mark.parametrize("wrong", [1.5, 97.0, "a", "", None, b"a", [97], np.float64(97), np.True_])
def test_what_is_not_an_integer_is_a_clear_error(make, engine, wrong):
    tok = make("gpt2", engine)
    calls = [
        tok.decode,
        tok.decode_bytes,
        tok.decode_tokens_bytes,
        tok.pieces,
        lambda ids: tok.stream_decoder().push(*ids),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^`ids\[1\]` must be an integer, got"):
            call([97, wrong])
    for call in (tok.decode_single_token_bytes, tok.is_special_token):
        with pytest.raises(ValueError, match=r"^`token` must be an integer, got"):
            call(wrong)


def test_a_stream_returns_complete_characters_only(make, engine):
    tok = make("gpt2", engine)
    text = "naïve 日本 😀 end"
    stream = tok.stream_decoder()
    ids = tok.encode_bytes(b"".join(bytes([b]) for b in text.encode()))
    bytes_only = [tok.encode_single_token(bytes([b])) for b in text.encode()]
    for feed in (ids, bytes_only):
        out = [stream.push(i) for i in feed]
        assert "".join(out) + stream.finish() == text
        assert "\ufffd" not in "".join(out)
    assert [stream.push(i) for i in bytes_only[:4]] == ["n", "a", "", "ï"]
    assert stream.push(*bytes_only[7:9]) == ""
    assert stream.finish() == "\ufffd"
    assert stream.push(bytes_only[0]) == "n"


def test_streams_equal_decode_for_any_ids(make):
    tok = make("gpt2", "python")

    @given(IDS)
    def check(ids):
        stream = tok.stream_decoder()
        assert "".join([stream.push(i) for i in ids]) + stream.finish() == tok.decode(ids)

    check()


def test_offsets_equal_those_of_hugging_face(make, engine, tmp_path, texts):
    tok = make("gpt2", engine)
    tok.export(tmp_path, "huggingface")
    live = HuggingFace.from_file(str(tmp_path / "tokenizer.json"))

    @given(texts(12))
    @settings(max_examples=150)
    def check(text):
        ours = tok.encode_with_offsets(text, allowed_special="all")
        data = text.encode()
        tokens = tok.decode_tokens_bytes(ours.ids)
        assert [data[a:b] for a, b in ours.byte_spans] == tokens
        assert all(token in text[a:b].encode() for token, (a, b) in zip(tokens, ours.char_spans, strict=True))
        theirs = live.encode(text)
        if theirs.ids == ours.ids:  # its regular expressions use another Unicode version
            assert ours.char_spans == theirs.offsets

    check()
    assert tok.encode_with_offsets("é語", disallowed_special=()).char_spans[0][0] == 0


def test_pieces_are_printable(make):
    tok = make("gpt2", "python")
    assert tok.pieces(tok.encode(" the\n<|endoftext|>", allowed_special="all")) == ["Ġthe", "Ċ", "<|endoftext|>"]


def test_printable_bytes_equal_those_of_gpt2_and_round_trip():
    letters = bpe.bytes_to_unicode()
    assert len(set(letters.values())) == 256
    assert [letters[b] for b in b" \n\t\x00\x7f\xa0\xadA!\xff"] == list("ĠĊĉĀġłŃA!ÿ")
    everything = bytes(range(256))
    assert from_printable(to_printable(everything)) == everything
    with pytest.raises(ValueError, match="does not stand for a byte"):
        from_printable("語")


SURROGATES = ["ab\udc80c", "\ud83d\udc4d", "\ud83d", "a\ude00\ud83d", "\ud83d\ud83d\udc4d", "the \ud83d\udc4d end"]


@pytest.mark.parametrize("text", SURROGATES)
def test_surrogates_are_encoded_as_in_tiktoken(make, oracle, engine, text):
    tok, live = make("gpt2", engine), oracle("gpt2")
    ids = live.encode(text)
    assert tok.encode(text) == tok.encode_ordinary(text) == live.encode_ordinary(text) == ids
    assert tok.encode_to_numpy(text).tolist() == ids
    assert tok.encode_batch(["a", text]) == [[97], ids]
    assert tok.encode_ordinary_batch([text], num_threads=2) == live.encode_ordinary_batch([text])
    assert [a.tolist() for a in tok.encode_batch_to_numpy([text, "a"])] == [ids, [97]]
    assert tok.encode_up_to(text, 99) == ids
    assert tok.count(text) == len(ids)
    assert tok.encode_with_dropout(text, 0.0, random.Random(0)) == ids
    assert tok.encode("<|endoftext|>" + text, allowed_special="all") == [1500, *ids]
    found = tok.encode_with_offsets(text)
    assert found.ids == ids
    assert found.char_spans[-1][1] == len(text)
    assert all(0 <= a < b <= len(text) for a, b in found.char_spans)
    covered = {k for a, b in found.char_spans for k in range(a, b)}
    assert covered == set(range(len(text)))


def test_pickling_keeps_everything(make, engine):
    tok = make("cl100k", engine)
    again = pickle.loads(pickle.dumps(tok))
    assert (again.ranks, again.pattern, again.special_tokens, again.engine) == (
        tok.ranks, tok.pattern, tok.special_tokens, engine,
    )  # fmt: skip
    assert again.encode("same ids") == tok.encode("same ids")


def test_heap_and_scan_give_the_same_merges(make):
    ranks = make(None, "python").ranks

    @given(st.text("the an in= \n日", min_size=1, max_size=120).map(str.encode))
    def check(piece):
        from bpe.merge import _merge_with_heap

        assert _merge_with_heap(piece, ranks, float("inf")) == byte_pair_merge(piece, ranks)

    check()


def test_of_equal_pairs_the_leftmost_is_merged_first():
    ranks = {bytes([b]): b for b in range(256)} | {b"aa": 256, b"ab": 257}
    theirs = tiktoken.Encoding("x", pat_str=r"(?s).+", mergeable_ranks=ranks, special_tokens={})
    for word, expected in ((b"aaa", [b"aa", b"a"]), (b"aaab", [b"aa", b"ab"]), (b"baaaaa", [b"b", b"aa", b"aa", b"a"])):
        assert byte_pair_merge(word, ranks) == expected
        assert theirs.decode_tokens_bytes(theirs.encode_ordinary(word.decode())) == expected


def test_dropout_0_merges_all_and_dropout_1_merges_nothing(make):
    ranks = make("gpt2", "python").ranks

    @given(st.binary(min_size=1, max_size=80), st.integers(0, 99))
    def check(piece, seed):
        assert merge_with_dropout(piece, ranks, 0.0, random.Random(seed)) == byte_pair_merge(piece, ranks)
        assert merge_with_dropout(piece, ranks, 1.0, random.Random(seed)) == [bytes([b]) for b in piece]
        assert b"".join(merge_with_dropout(piece, ranks, 0.3, np.random.default_rng(seed))) == piece

    check()


P, Q = 0.4, 0.6  # the probabilities to drop and to keep a merge


@pytest.mark.parametrize(
    ("word", "merges", "expected"),
    [
        (b"abc", (b"ab", b"bc", b"abc"), {"a b c": P * P, "ab c": Q * P, "a bc": P * Q * P, "abc": Q * Q + P * Q * Q}),
        # a merge that was dropped in one step may be kept in the next one
        (b"abcd", (b"ab", b"cd"), {"a b c d": P * P, "ab c d": Q * P, "a b cd": P * Q * P, "ab cd": Q * Q + P * Q * Q}),
    ],
)
def test_dropout_samples_each_split_with_the_probability_of_algorithm_1(word, merges, expected):
    """The probabilities of 1910.13267, algorithm 1, computed by hand."""
    ranks = {bytes([b]): b for b in range(256)} | {token: 256 + i for i, token in enumerate(merges)}
    n, rng, seen = 20000, random.Random(1), {}
    for _ in range(n):
        split = b" ".join(merge_with_dropout(word, ranks, P, rng)).decode()
        seen[split] = seen.get(split, 0) + 1
    assert sum(expected.values()) == pytest.approx(1)
    assert seen.keys() == expected.keys()
    for split, share in expected.items():
        assert abs(seen[split] - n * share) < 5 * (n * share * (1 - share)) ** 0.5


def test_dropout_on_a_text_round_trips(make, engine):
    tok = make("gpt2", engine)
    text = "the interpreter and the statement"
    assert tok.encode_with_dropout(text, 0.0, random.Random(0)) == tok.encode(text)
    drawn = {tuple(tok.encode_with_dropout(text, 0.5, random.Random(seed))) for seed in range(20)}
    assert len(drawn) > 10
    assert {tok.decode(ids) for ids in drawn} == {text}
    assert tok.encode_with_dropout(text, 0.5, random.Random(3)) == tok.encode_with_dropout(text, 0.5, random.Random(3))
    with pytest.raises(ValueError, match="dropout"):
        tok.encode_with_dropout(text, 1.5, random.Random(0))
