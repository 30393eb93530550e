"""Special tokens: the rules of tiktoken, and untrusted text."""

import bpe
import pytest
from bpe import Trusted, Untrusted
from hypothesis import given
from hypothesis import strategies as st

EOT, START, LONGER = "<|endoftext|>", "<|im_start|>", "<|im_start|>x"
HOLDING = st.lists(st.sampled_from([EOT, START, "<|", "|>", "endoftext", "a", " ", "x", "\n"]), max_size=12).map(
    "".join
)


def outcome(encode, text, **how):
    """Return ids, or the name of the error."""
    try:
        return list(encode(text, **how))
    except ValueError:
        return "ValueError"


@pytest.fixture
def tok(make, engine):
    special = {EOT: 1500, START: 1501}
    return bpe.Tokenizer(make("gpt2", engine).ranks, special_tokens=special, engine=engine)


CHOICES = st.sampled_from(["all", frozenset(), frozenset([EOT]), frozenset([START])])


def test_allowed_and_disallowed_mean_the_same_as_in_tiktoken(tok, oracle):
    live = oracle("gpt2")

    @given(HOLDING, CHOICES, CHOICES)
    def check(text, allowed, disallowed):
        how = {"allowed_special": allowed, "disallowed_special": disallowed}
        expected = outcome(live.encode, text, **how)
        assert outcome(tok.encode, text, **how) == expected
        assert outcome(tok.encode_to_numpy, text, **how) == expected
        assert outcome(lambda t, **h: tok.encode_batch([t, "a"], **h)[0], text, **how) == expected
        if expected != "ValueError":
            assert tok.decode(expected) == text == live.decode(expected)

    check()


def test_an_unexpected_special_token_is_an_error_with_a_fix(tok):
    with pytest.raises(
        ValueError, match=r"'<\|endoftext\|>', got it at character 3.*allowed_special.*disallowed_special=\(\)"
    ):
        tok.encode("hi " + EOT)
    assert tok.encode("hi", disallowed_special={"something else"}) == tok.encode_ordinary("hi")
    with pytest.raises(ValueError, match="something else"):
        tok.encode("something else", disallowed_special={"something else"})


def test_the_longest_special_token_is_found_first(make, engine):
    tok = make("gpt2", engine)
    assert tok.encode(LONGER + START, allowed_special="all") == [1502, 1501]
    assert tok.encode(LONGER, allowed_special={START}, disallowed_special=()) == [1501, ord("x")]


def test_untrusted_text_never_becomes_a_special_token(make, engine):
    tok = make("gpt2", engine)

    @given(HOLDING)
    def check(text):
        ids = tok.encode_parts([Trusted(START + "user\n"), Untrusted(text), Trusted(EOT)])
        assert [i for i in ids if tok.is_special_token(i)] == [1501, 1500]
        assert tok.decode(ids) == START + "user\n" + text + EOT
        assert ids[-1] == 1500

    check()
    with pytest.raises(ValueError, match="must hold only Trusted and Untrusted"):
        tok.encode_parts(["a"])


def test_special_tokens_can_be_added(make, engine):
    tok = make("gpt2", engine)
    more = tok.with_special_tokens(["<|pad|>", "<|sep|>"])
    assert more.special_tokens == {**tok.special_tokens, "<|pad|>": 1503, "<|sep|>": 1504}
    assert more.encode("a<|sep|>", allowed_special="all") == [ord("a"), 1504]
    assert more.n_vocab == 1505
    assert "<|pad|>" not in tok.special_tokens_set
    assert tok.with_special_tokens({"<far>": 9999}).decode([9999, 97]) == "<far>a"
    for taken in ({"<new>": 97}, {"<new>": 1500}, {"": 3000}, {"<new>": -1}, {"<new>": 2**32}):
        with pytest.raises(ValueError, match=r"id|token"):
            tok.with_special_tokens(taken)


def test_encode_single_token_equals_tiktoken(make, oracle):
    tok, live = make("gpt2", "python"), oracle("gpt2")
    for token in (b"a", b" the", "the", EOT, b"\xff"):
        assert tok.encode_single_token(token) == live.encode_single_token(token)
    for unknown in ("no such token", b"\xff\xff"):
        with pytest.raises(KeyError, match="must be one token"):
            tok.encode_single_token(unknown)
        with pytest.raises(KeyError):
            live.encode_single_token(unknown)
    assert tok.eot_token == live.eot_token == 1500
    assert tok.is_special_token(1500)
    assert not tok.is_special_token(97)
    with pytest.raises(KeyError, match="eot_token"):
        _ = bpe.Tokenizer(tok.ranks, engine="python").eot_token
