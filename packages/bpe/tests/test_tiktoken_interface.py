"""`bpe.compat.tiktoken` against tiktoken itself: the same calls, results, attributes and kinds of exceptions."""

import inspect
import itertools
import pickle

import bpe.compat.tiktoken as ours
import numpy as np
import pytest
import tiktoken
import tiktoken.model
from hypothesis import given, settings
from hypothesis import strategies as st

PATTERNS = ["gpt2", "cl100k", "o200k", r"\w+", r"\p{L}+|\d", r"(?i)the|\b\w", r"\s+$|\S+|\s"]


@pytest.fixture(scope="module")
def pairs(trained, tiktoken_pattern):
    """Pattern -> our encoding and tiktoken's, of one vocabulary."""

    def both(pattern):
        text = tiktoken_pattern(pattern) if pattern in ("gpt2", "cl100k", "o200k") else pattern
        special = {"<|endoftext|>": 1500, "<|im_start|>": 1501, "日": 1510}
        ranks = trained.get(pattern, trained["gpt2"])
        arguments = {"pat_str": text, "mergeable_ranks": ranks, "special_tokens": special}
        return ours.Encoding("x", **arguments), tiktoken.Encoding("x", **arguments)

    return {pattern: both(pattern) for pattern in PATTERNS}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_method_gives_the_result_of_tiktoken(pattern, pairs, texts):
    a, b = pairs[pattern]

    @settings(max_examples=60)
    @given(text=texts())
    def examples(text):
        ids = b.encode(text, allowed_special="all")
        assert a.encode(text, allowed_special="all") == ids
        assert a.encode(text, disallowed_special=()) == b.encode(text, disallowed_special=())
        assert a.encode_ordinary(text) == b.encode_ordinary(text)
        assert a.encode_to_numpy(text, allowed_special="all").tolist() == ids
        assert a.encode_batch([text, ""], allowed_special="all") == b.encode_batch([text, ""], allowed_special="all")
        assert a.encode_ordinary_batch(text=[text]) == b.encode_ordinary_batch(text=[text])
        assert a.decode(tokens=ids) == b.decode(tokens=ids)
        assert a.decode_bytes(tokens=ids) == b.decode_bytes(tokens=ids)
        assert a.decode_tokens_bytes(tokens=ids) == b.decode_tokens_bytes(tokens=ids)
        assert a.decode_batch([ids], errors="ignore") == b.decode_batch([ids], errors="ignore")
        assert a.decode_bytes_batch([ids]) == b.decode_bytes_batch([ids])
        assert a.decode_with_offsets(ids) == b.decode_with_offsets(ids)
        assert a._encode_single_piece(text) == (b._encode_single_piece(text) if text else [])
        refused = [_refuses(lambda e=e: e.encode(text)) for e in (a, b)]
        assert refused[0] == refused[1]

    examples()


def _refuses(call):
    try:
        call()
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("pattern", PATTERNS)
def test_broken_utf8_is_encoded_as_in_tiktoken(pattern, pairs, texts):
    a, b = pairs[pattern]

    @settings(max_examples=100)
    @given(start=texts(4), broken=st.binary(max_size=6), end=texts(2))
    def examples(start, broken, end):
        data = start.encode() + broken + end.encode()
        assert a._encode_bytes(data) == b._encode_bytes(data)

    examples()
    for spaces in map("".join, itertools.product("\n \t", repeat=5)):  # several pre-tokens of spaces
        for data in (f"end{spaces}".encode() + b"\xe6", spaces.encode() + b"\x80 x"):
            assert a._encode_bytes(data) == b._encode_bytes(data)


def test_attributes_and_signatures_are_those_of_tiktoken(pairs):
    a, b = pairs["gpt2"]
    for name in ("name", "n_vocab", "max_token_value", "eot_token", "special_tokens_set"):
        assert getattr(a, name) == getattr(b, name)
    assert repr(a) == repr(b) == "<Encoding 'x'>"
    assert (a._pat_str, a._mergeable_ranks, a._special_tokens) == (b._pat_str, b._mergeable_ranks, b._special_tokens)
    assert a.token_byte_values() == b.token_byte_values()
    assert [a.is_special_token(i) for i in (0, 1500, 1505)] == [b.is_special_token(i) for i in (0, 1500, 1505)]
    public = [name for name in vars(tiktoken.Encoding) if not name.startswith("_")]
    assert [name for name in public if not hasattr(a, name)] == ["encode_with_unstable"]
    for name in public:
        if callable(getattr(ours.Encoding, name, None)):
            mine, theirs = (inspect.signature(getattr(e, name)).parameters for e in (ours.Encoding, tiktoken.Encoding))
            assert [(p.name, p.kind) for p in mine.values()] == [(p.name, p.kind) for p in theirs.values()]
    names = [name for name in dir(tiktoken) if not name.startswith("_") and callable(getattr(tiktoken, name))]
    assert set(names) <= set(ours.__all__)
    assert ours.__version__ == tiktoken.__version__


@pytest.mark.parametrize(
    "call",
    [
        lambda e: e.decode([5000]),
        lambda e: e.decode_single_token_bytes(1505),
        lambda e: e.encode_single_token("no such token"),
        lambda e: (ours if isinstance(e, ours.Encoding) else tiktoken).encoding_for_model("gpt-9"),
    ],
)  # fmt: skip
def test_unknown_tokens_and_models_are_key_errors(call, pairs):
    for encoding in pairs["gpt2"]:
        with pytest.raises(KeyError):
            call(encoding)


def test_names_of_models_and_encodings_are_those_of_tiktoken():
    assert ours.MODEL_TO_ENCODING == tiktoken.model.MODEL_TO_ENCODING
    assert ours.MODEL_PREFIX_TO_ENCODING == tiktoken.model.MODEL_PREFIX_TO_ENCODING
    for model in ("gpt-4o-mini", "gpt-5-nano", "ft:gpt-4o:x", "ft:gpt-4:x", "gpt-oss-20b", "o1-preview", "gpt-4.5-x"):
        assert ours.encoding_name_for_model(model) == tiktoken.encoding_name_for_model(model)
    assert sorted(ours.list_encoding_names()) == sorted(tiktoken.list_encoding_names())
    for name in ("gpt9", 7, None):
        with pytest.raises(ValueError, match="`encoding_name` must be one of gpt2"):
            ours.get_encoding(name)


def test_derived_encodings_have_the_special_tokens_of_tiktoken(monkeypatch):
    from tiktoken_ext import openai_public

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: {})
    for name, (base, special) in ours._DERIVED.items():
        published = getattr(openai_public, name)()
        assert special == published["special_tokens"]
        assert getattr(openai_public, base)()["pat_str"] == published["pat_str"]


def test_special_tokens_may_share_an_id(trained):
    special = {"<|a|>": 1600, "<|b|>": 1600}
    enc = ours.Encoding("x", pat_str=r"\S+|\s", mergeable_ranks=trained["gpt2"], special_tokens=special)
    assert enc.encode("<|a|><|b|>", allowed_special="all") == [1600, 1600]
    assert enc.decode([1600]) == "<|a|>"
    with pytest.raises(ValueError, match="two tokens with the id 300"):
        ours.Encoding("x", pat_str=r"\S+", mergeable_ranks=trained["gpt2"], special_tokens={"<|a|>": 300})
    with pytest.raises(AssertionError):
        ours.Encoding("x", pat_str=r"\S", mergeable_ranks=trained["gpt2"], special_tokens={}, explicit_n_vocab=9)


def test_encodings_are_pickled(pairs):
    a = pairs[r"\w+"][0]
    again = pickle.loads(pickle.dumps(a))
    assert again.encode("the end!") == a.encode("the end!")
    assert again._special_tokens == a._special_tokens


def test_published_encodings_are_extended_as_the_readme_of_tiktoken_shows(data_file):
    data_file("tokenizer/cl100k_base.tiktoken")
    base = ours.get_encoding("cl100k_base")
    assert base is ours.get_encoding("cl100k_base")
    assert pickle.loads(pickle.dumps(base)).__dict__ is base.__dict__
    enc = ours.Encoding(
        name="cl100k_im",
        pat_str=base._pat_str,
        mergeable_ranks=base._mergeable_ranks,
        special_tokens={**base._special_tokens, "<|im_start|>": 100264, "<|im_end|>": 100265},
    )
    assert enc.encode("<|im_start|>hello", allowed_special="all") == [100264, 15339]
    assert enc.encode_to_numpy("hello").dtype == np.uint32
    edit = ours.encoding_for_model("text-davinci-edit-001")
    assert (edit.name, edit.n_vocab) == ("p50k_edit", 50284)
    assert edit.encode("<|fim_middle|>    x", allowed_special="all") == [50282, 50258, 2124]
