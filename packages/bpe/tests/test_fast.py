"""The compiled engine: its blocks, tables and caches."""

import os
import random
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import tiktoken
from bpe import fast
from bpe.fast import struct_layout as layout
from hypothesis import given, settings
from hypothesis import strategies as st

BYTES = {bytes([b]): b for b in range(256)}
PATTERNS = ["gpt2", "cl100k", "o200k"]


@pytest.fixture(scope="module")
def encoders(trained):
    return {pattern: fast.NumbaEncoder(trained[pattern], pattern) for pattern in (*PATTERNS, None)}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_text_of_every_length_around_a_block(pattern, encoders, oracle, topics):
    text = "".join(topics)
    rare = random.Random(0)
    theirs = oracle(pattern)
    for n in (*range(layout.BLOCK - 3, layout.BLOCK + 4), 2 * layout.BLOCK + 1, 100_000):
        for mixed in ("", "é日😀\u3000\n.\n"):
            letters = list(text[:n])
            for c in mixed:
                letters[rare.randrange(n)] = c
            piece = "".join(letters)
            assert encoders[pattern].encode(piece.encode()).tolist() == theirs.encode_ordinary(piece)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    "unit", ["a", "!", "\n", "。", "。\n", "日\n", "a\u3000", "1", "\u00a0", " \n", "!\n", "x'S", "\r\n a"]
)
def test_block_boundaries_do_not_change_the_split(pattern, unit, encoders, oracle):
    for filler in ("", "b", " "):
        text = filler + unit * (40_000 // len(unit.encode()))
        if unit in "!\n" and pattern == "gpt2":
            text = text[:20_000]  # tiktoken takes quadratic time
        ids = encoders[pattern].encode(text.encode())
        assert encoders[pattern].decode(ids) == text.encode()
        ends = encoders[pattern].split(text.encode()).tolist()
        small = text[:400]
        assert encoders[pattern].encode(small.encode()).tolist() == oracle(pattern).encode_ordinary(small)
        assert ends[-1] == len(text.encode())
        assert (
            len(set(np.diff(ends[20:-20]).tolist()) - set(np.diff(ends[20:200]).tolist())) == 0
        )  # the same lengths as at the start


@pytest.mark.parametrize("length", [1, 7, 8, 9, 14, 15, 16, 17, 23, 63, 64, 65, 66, 255, 256, 257, 300])
def test_pretokens_of_every_length_have_the_ids_of_tiktoken(length, trained, encoders, oracle):
    draw = random.Random(length)
    text = " ".join("".join(draw.choices("etaoinshr", k=length)) for _ in range(300))
    for _ in range(2):  # first merged, then from the cache
        assert encoders["gpt2"].encode(text.encode()).tolist() == oracle("gpt2").encode_ordinary(text)


def test_a_full_cache_is_emptied_and_refilled(trained, oracle):
    encoder = fast.NumbaEncoder(trained["gpt2"], "gpt2")
    draw = random.Random(0)
    words = [" " + "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=12)) for _ in range(200_000)]
    theirs = oracle("gpt2")
    sample = "".join(words[:2000])
    expected = theirs.encode_ordinary(sample)
    for k in range(6):  # six times 200,000 new pre-tokens do not fit
        fresh = "".join(words).replace("a", "abcdef"[k])
        assert encoder.decode(encoder.encode(fresh.encode())) == fresh.encode()
        assert encoder.encode(sample.encode()).tolist() == expected
    long = "".join(" " + "".join(draw.choices("abc", k=40)) for _ in range(80_000))
    assert encoder.decode(encoder.encode(long.encode())) == long.encode()
    assert encoder.encode(sample.encode()).tolist() == expected


@pytest.mark.parametrize("token", ["xyz", "12345678901234567890", "日本語日本語日本語", " " * 40])
def test_a_token_that_no_merge_forms(token):
    ranks = BYTES | {token.encode(): 256}
    encoder = fast.NumbaEncoder(ranks, "gpt2")
    theirs = tiktoken.Encoding("x", pat_str=r"[^|]+|\|", mergeable_ranks=ranks, special_tokens={})
    for text in (token, token + "|", "|" + token, token * 2, token[:-1], token + "|" + token[1:] + "|" + token):
        pieces = [p.encode() for p in text.replace("|", "\0|\0").split("\0") if p]
        ids = encoder.encode_pretokens(text.encode(), np.cumsum([len(p) for p in pieces]))
        assert ids.tolist() == theirs.encode_ordinary(text)
        assert encoder.decode(ids) == text.encode()


def test_ids_may_have_holes():
    ranks = BYTES | {b"ab": 1000, b"abc": 2_000_000, b"bc": 3000}
    encoder = fast.NumbaEncoder(ranks, "gpt2")
    assert encoder.encode(b"abc bc ab").tolist() == [2_000_000, 32, 3000, 32, 1000]
    assert encoder.decode([2_000_000, 32, 3000]) == b"abc bc"
    for unknown in (256, 999, 2_000_001, -1, 2**32, 2**70):
        with pytest.raises(KeyError, match=str(unknown)):
            encoder.decode([97, unknown])
    with pytest.raises(KeyError, match="-5"):
        encoder.decode(np.array([97, -5]))


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ({k: v for k, v in BYTES.items() if v != 65}, "every single byte"),
        (BYTES | {b"ab": 2**21}, "ids must be from 0"),
        (BYTES | {b"ab": -1}, "ids must be from 0"),
        (BYTES | {b"x" * 300: 256}, "that no merge forms"),
    ],
)
def test_unsupported_vocabularies_are_refused(ranks, message):
    with pytest.raises(ValueError, match=message):
        fast.NumbaEncoder(ranks, "gpt2")


def test_bad_arguments_are_named(encoders):
    with pytest.raises(ValueError, match="pattern"):
        fast.NumbaEncoder(BYTES, "gpt3")
    with pytest.raises(ValueError, match="pattern"):
        fast.PretokenCounter("gpt3")
    for ends in ([1, 1, 3], [0, 3], [2], [4], [], [-1, 3]):
        with pytest.raises(ValueError, match="ends"):
            encoders["gpt2"].encode_pretokens(b"abc", ends)
    with pytest.raises(ValueError, match="num_threads"):
        encoders["gpt2"].encode_batch(["a"], 0)
    with pytest.raises(ValueError, match="ties"):
        fast.train({b"ab": 1}, 1, "last")


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=30))
@settings(max_examples=100)
def test_given_pretokens_are_encoded_one_by_one(encoders, pieces):
    ends = np.cumsum([len(p) for p in pieces]).astype(np.int64) if pieces else []
    plain = encoders[None]
    expected = [i for p in pieces for i in plain.encode(p).tolist()]
    assert plain.encode_pretokens(b"".join(pieces), ends).tolist() == expected


def test_large_given_pretokens(encoders):
    plain = encoders[None]
    pieces = [b"ab" * 30_000, b"c", b"d" * layout.BLOCK, b"e" * (layout.BLOCK + 1), b"f"]
    ids = plain.encode_pretokens(b"".join(pieces), np.cumsum([len(p) for p in pieces]))
    assert ids.tolist() == [i for p in pieces for i in plain.encode(p).tolist()]


@pytest.mark.parametrize("pattern", [*PATTERNS, None])
def test_all_encode_methods_give_the_same_ids(pattern, encoders, topics):
    encoder = encoders[pattern]
    documents = ["", "hel", "lo", *topics[:40], "", "a", "日本" * 9000]  # "hello" is one pre-token, here it is two
    texts = [document.encode() for document in documents]
    each = [encoder.encode(t).tolist() for t in texts]
    assert [encoder.encode_to_list(t) for t in texts] == each
    assert [encoder.count(t) for t in texts] == list(map(len, each))
    for threads in (1, 2, 5):
        assert [ids.tolist() for ids in encoder.encode_batch(documents, threads)] == each
    assert [encoder.encode_pretokens(t, encoder.split(t)).tolist() for t in texts] == each
    assert [encoder.decode(ids) for ids in each] == [encoder.decode(np.array(ids)) for ids in each] == texts


@pytest.mark.parametrize("pattern", PATTERNS)
def test_counts_equal_those_of_the_split(pattern, encoders, topics):
    counter = fast.PretokenCounter(pattern)
    expected = Counter()
    rare = " ".join(str(k) for k in range(60_000)) + " " + " ".join("x" * (k % 90) + str(k) for k in range(3000))
    for text in (*topics, rare, "日本" * 9000, "", topics[0]):
        data = text.encode()
        ends = encoders[pattern].split(data).tolist()
        expected.update(data[i:j] for i, j in zip([0, *ends], ends, strict=False))
        counter.add(data)
    assert list(counter.counts().items()) == list(expected.items())  # also the same order


def test_training_from_a_counter_equals_training_from_its_counts(topics):
    counter = fast.PretokenCounter("gpt2")
    counter.add("\n".join(topics).encode())
    done = []
    merges = fast.train(counter, 1000, "first", progress=done.append)
    assert merges == fast.train(counter.counts(), 1000, "first")
    assert len(merges) == 1000
    assert done == [256, 512, 768, 1000]


def run(code, **environment):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})


def test_neither_import_nor_use_imports_numba(encoders):
    code = """
import sys, bpe
assert not {"numba", "llvmlite"} & set(sys.modules), "imported at once"
from bpe.fast import NumbaEncoder
print(NumbaEncoder({bytes([b]): b for b in range(256)}, "gpt2").encode(b"hi").tolist(), "numba" in sys.modules)
"""
    assert run(code).stdout == "[104, 105] False\n"


@pytest.mark.slow
def test_a_damaged_or_unwritable_cache_folder(tmp_path):
    code = "from bpe.fast.aot import entry_point; print(bool(entry_point('decode')))"
    (tmp_path / "tmp").mkdir()
    elsewhere = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}  # both without kernels
    first = run(code, NUMBA_CACHE_DIR=str(tmp_path), **elsewhere)
    assert first.stderr == "compiling the encoder for this machine; this happens once and takes some seconds\n"
    again = run(code, NUMBA_CACHE_DIR=str(tmp_path), **elsewhere)
    assert (again.stdout, again.stderr) == ("True\n", "")
    (kept,) = tmp_path.rglob("*.o")
    kept.write_bytes(kept.read_bytes()[:-9])
    assert run(code, NUMBA_CACHE_DIR=str(tmp_path), **elsewhere).stderr == first.stderr
    nowhere = tmp_path / "file"
    nowhere.write_text("no folder can be made here")
    assert run(code, NUMBA_CACHE_DIR=str(nowhere), **elsewhere).stdout == "True\n"
