"""What callers pass in: every type is handled exactly or refused with one clear error, alike on both engines."""

import itertools
import re

import bpe
import numpy as np
import pytest
from bpe.training import corpus
from hypothesis import given, settings
from hypothesis import strategies as st

INTEGER_DTYPES = ["i1", "u1", "<i2", ">i2", "<u2", ">u2", "<i4", ">u4", "<u4", "<i8", ">i8", "<u8", ">u8"]


def name_of_case(value):
    """The representation of a case without its address, so that every process gives the test the same name."""
    return re.sub(r" at 0x\w+", "", repr(value))


class Tensor:
    """A tensor of another library, such as torch: it has a shape, a dtype that prints as text, and `tolist`."""

    def __init__(self, values, dtype="torch.int64", shape=None):
        self.values, self.dtype = values, dtype
        self.shape = (len(values),) if shape is None else shape

    def tolist(self):
        return self.values


@pytest.fixture(scope="module")
def tok(make, engine):
    return make("gpt2", engine)


@given(ids=st.lists(st.integers(0, 127) | st.integers(0, 1502), max_size=20), data=st.data())
@settings(max_examples=100)
def test_ids_of_every_type_decode_alike(make, engine, ids, data):
    tok = make("gpt2", engine)
    expected = b"".join(tok.decode_single_token_bytes(i) for i in ids)
    dtype = data.draw(st.sampled_from([d for d in INTEGER_DTYPES if not ids or max(ids) <= np.iinfo(d).max]))
    array = np.array(ids, dtype)
    forms = [
        ids, tuple(ids), iter(ids), (i for i in ids), itertools.chain(ids),
        array, array.repeat(2)[::2], np.array(ids[::-1], dtype)[::-1], list(array), Tensor(ids), Tensor(ids, "int32"),
    ]  # fmt: skip
    for form in forms:
        assert tok.decode_bytes(form) == expected
    assert tok.decode(iter(ids)) == expected.decode("utf-8", "replace")
    assert tok.decode_tokens_bytes(iter(ids)) == tok.decode_tokens_bytes(array) == tok.decode_tokens_bytes(ids)
    assert tok.pieces(iter(ids)) == tok.pieces(array) == tok.pieces(ids)
    assert tok.decode_batch(iter([iter(ids), array])) == [expected.decode("utf-8", "replace")] * 2
    assert tok.decode_bytes_batch([array, ids]) == [expected] * 2


def test_ranges_and_special_ids(tok):
    assert tok.decode(range(97, 100)) == "abc"
    assert tok.decode(iter([97, 1500, 98])) == "a<|endoftext|>b"
    assert tok.decode(np.array([97, 1500, 98])) == "a<|endoftext|>b"
    assert tok.decode([]) == tok.decode(np.array([], np.int64)) == tok.decode(iter(())) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 3), np.int64), np.array(5), np.array([1.0]), np.array([True]), np.array(["a"]),
        np.array([1], object), Tensor([[1]], shape=(1, 1)), Tensor([1.0], "torch.float32"),
        Tensor([True], "torch.bool"),
        "97", b"ab", bytearray(b"ab"), {97, 98}, {97: 98}, 97, None, 1.5,
    ],
    ids=name_of_case,
)  # fmt: skip
def test_other_shapes_and_dtypes_of_ids_are_refused(tok, wrong):
    for call in (tok.decode, tok.decode_bytes, tok.decode_tokens_bytes, tok.decode_with_offsets, tok.pieces):
        with pytest.raises(ValueError, match=r"^`ids` must ") as error:
            call(wrong)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "make_texts", [list, tuple, iter, lambda texts: (t for t in texts), np.array], ids=name_of_case
)
def test_texts_of_every_iterable_are_encoded_alike(tok, make_texts):
    texts = ["the interpreter", "", "naïve", "end"]
    expected = [tok.encode(text) for text in texts]
    assert tok.encode_batch(make_texts(texts)) == expected
    assert tok.encode_ordinary_batch(make_texts(texts)) == expected
    assert [a.tolist() for a in tok.encode_batch_to_numpy(make_texts(texts))] == expected
    special = tok.encode_batch(make_texts(["a<|endoftext|>", "b"]), allowed_special="all")
    assert special == [[97, 1500], [98]]
    with pytest.raises(ValueError, match="disallowed special token"):
        tok.encode_batch(make_texts(["a<|endoftext|>", "b"]))


@pytest.mark.parametrize("wrong", ["abc", b"abc", {"a": 1}, None, 5], ids=name_of_case)
def test_one_text_is_not_a_batch(tok, wrong, engine):
    calls = [
        tok.encode_batch, tok.encode_ordinary_batch, tok.encode_batch_to_numpy,
        lambda t: bpe.train_from_iterator(t, vocab_size=300, engine=engine),
        lambda t: bpe.count_texts(t, "gpt2", compiled=engine == "numba"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises((ValueError, TypeError), match=r"`texts` must be|not iterable"):
            call(wrong)


@pytest.mark.parametrize("wrong", [b"abc", None, 5, ["a"], 1.5], ids=name_of_case)
def test_a_text_is_a_str(tok, wrong, engine):
    calls = [tok.encode, tok.encode_ordinary, tok.encode_to_numpy, tok.count, lambda t: tok.encode_up_to(t, 5)]
    calls += [lambda t: tok.encode_with_dropout(t, 0.1, None), tok.encode_with_offsets]
    for call in calls:
        with pytest.raises(ValueError, match=r"^`text` must be a str, got"):
            call(wrong)
    with pytest.raises(ValueError, match=r"^`texts\[1\]` must be a str, got"):
        tok.encode_batch(["ok", wrong])
    if wrong != ["a"]:  # training accepts batches of texts
        with pytest.raises(ValueError, match=r"^`texts\[1\]` must be a str or a list of str, got"):
            bpe.train_from_iterator(["ok", wrong], vocab_size=300, engine=engine)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True, None, float("nan")], ids=name_of_case)
def test_numbers_are_checked(tok, wrong, engine, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("some text")
    named = {
        "num_threads": [
            lambda: tok.encode_batch(["a"], num_threads=wrong),
            lambda: tok.encode_ordinary_batch(["a"], num_threads=wrong),
            lambda: tok.encode_batch_to_numpy(["a"], num_threads=wrong),
            lambda: tok.decode_batch([[97]], num_threads=wrong),
            lambda: bpe.encode_file(tok, path, num_threads=wrong),
        ],
        "size": [lambda: corpus.spans(path, "gpt2", size=wrong)] if wrong is not None else [],
        "chunk_bytes": [lambda: bpe.encode_file(tok, path, chunk_bytes=wrong)] if wrong is not None else [],
        "workers": [lambda: bpe.count_files([path], "gpt2", workers=wrong)],
        "min_frequency": [lambda: bpe.train([path], vocab_size=300, min_frequency=wrong, engine=engine)],
        "vocab_size": [lambda: bpe.train([path], vocab_size=wrong, engine=engine)],
    }
    for name, calls in named.items():
        for call in calls:
            with pytest.raises(ValueError, match=f"^`{name}` must be an integer of at least"):
                call()


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan"), "0.5", None], ids=name_of_case)
def test_dropout_is_checked(tok, wrong):
    with pytest.raises(ValueError, match=r"^`dropout` must be in"):
        tok.encode_with_dropout("a", wrong, None)


def test_a_single_path_is_not_a_list_of_files(engine, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("some text")
    for one in (str(path), path):
        with pytest.raises(ValueError, match=r"^`files` must be a list of paths"):
            bpe.train(one, vocab_size=300, engine=engine)
        with pytest.raises(ValueError, match=r"^`files` must be a list of paths"):
            bpe.count_files(one, "gpt2")


def test_an_empty_corpus_is_an_error(engine, tmp_path):
    for texts in ([], [""], ["", ""]):
        with pytest.raises(ValueError, match="the corpus must hold text"):
            bpe.train_from_iterator(texts, vocab_size=300, engine=engine)
    (tmp_path / "empty.txt").write_text("")
    for workers in (1, 2):
        with pytest.raises(ValueError, match="the corpus must hold text"):
            bpe.train([tmp_path / "empty.txt"], vocab_size=300, workers=workers, engine=engine)


def test_a_special_token_that_exists_keeps_its_id(tok):
    more = tok.with_special_tokens(["<|user|>", "<|endoftext|>"])
    assert more.eot_token == tok.eot_token == 1500
    assert more.special_tokens["<|user|>"] == 1503
    assert more.decode([1500, 1503]) == "<|endoftext|><|user|>"
    assert tok.with_special_tokens({"<|endoftext|>": 1500}).special_tokens == tok.special_tokens
    with pytest.raises(ValueError, match="must keep its id 1500, got 9"):
        tok.with_special_tokens({"<|endoftext|>": 9})
    for wrong in ("<a>", ["<a>", "<a>"], [""], [5], {5: 1600}):
        with pytest.raises(ValueError, match=r"^`special_tokens` must"):
            tok.with_special_tokens(wrong)


def test_training_refuses_ids_of_special_tokens(engine):
    with pytest.raises(ValueError, match=r"^`special_tokens` must be a list of names, because they get the last ids"):
        bpe.train_from_iterator(["abab"], vocab_size=300, special_tokens={"<a>": 5}, engine=engine)


def test_counts_with_other_special_tokens_do_not_add_up():
    one, other = bpe.count_texts(["a<x>b"], "gpt2", ["<x>"]), bpe.count_texts(["a<x>b"], "gpt2")
    with pytest.raises(ValueError, match=r"^`special_tokens` of counts must be equal"):
        one.add(other)


def test_a_subclass_stays_one(engine):
    class Mine(bpe.Tokenizer):
        pass

    import pickle

    tok = Mine({bytes([b]): b for b in range(256)}, engine=engine)
    assert type(tok.with_special_tokens(["<a>"])) is Mine
    assert type(tok).__name__ == "Mine"
    plain = bpe.Tokenizer(tok.ranks, engine=engine)
    assert type(pickle.loads(pickle.dumps(plain))) is bpe.Tokenizer


def test_a_tokenizer_is_immutable(tok):
    for name in ("pattern", "ranks", "special_tokens", "engine"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(tok, name, None)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("gpt2", "gpt2"), ("GPT2", "gpt2"), ("r50k_base", "gpt2"), ("p50k_base", "gpt2"), ("cl100k_base", "cl100k"),
        ("gpt-4", "cl100k"), ("gpt4", "cl100k"), ("o200k_base", "o200k"), ("o200k_harmony", "o200k"), (None, None),
    ],
)  # fmt: skip
def test_published_names_are_patterns(name, pattern, engine):
    tok = bpe.train_from_iterator(["it's 2024 now"] * 3, vocab_size=260, pattern=name, engine=engine)
    assert tok.pattern == pattern
    assert bpe.count_texts(["it's 2024"], name) == bpe.count_texts(["it's 2024"], pattern)


@pytest.mark.parametrize("wrong", ["gpt3", "llama", "cl100", "o200k-base", "hello", "a", "5", 7, b"gpt2", "("])
def test_other_names_are_no_patterns(wrong, engine):
    calls = [
        lambda: bpe.train_from_iterator(["some text"], vocab_size=260, pattern=wrong, engine=engine),
        lambda: bpe.Tokenizer({bytes([b]): b for b in range(256)}, pattern=wrong, engine=engine),
        lambda: bpe.count_texts(["some text"], wrong),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^`pattern` must be"):
            call()


def test_a_stream_can_continue_after_an_error(make, engine):
    tok = make("gpt2", engine)
    stream = tok.stream_decoder("strict")
    with pytest.raises(UnicodeDecodeError):
        stream.push(0xFF)
    assert stream.push(97) == "a"
    assert stream.push(*"é".encode()) == "é"
    assert stream.push(0xC3) == ""
    with pytest.raises(UnicodeDecodeError):
        stream.finish()
    assert stream.push(98) == "b"
