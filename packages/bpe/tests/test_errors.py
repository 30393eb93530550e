"""Hostile input: naughty strings, broken UTF-8, long runs, a megabyte without a space, bad types, random text."""

import json
import random

import bpe
import pytest
import tiktoken
from bpe.merge import byte_pair_merge
from hypothesis import given, settings
from hypothesis import strategies as st

PATTERNS = ["gpt2", "cl100k", "o200k"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_big_list_of_naughty_strings(pattern, make, engine, oracle, data_file):
    strings = json.loads(data_file("unicode/blns.json").read_text(encoding="utf-8"))
    assert len(strings) >= 500
    tok, live = make(pattern, engine), oracle(pattern)
    for text in [*strings, "\n".join(strings)]:
        assert tok.encode_ordinary(text) == live.encode_ordinary(text)
        assert tok.decode(tok.encode_ordinary(text)) == text


def utf8_tests(path):
    """The cases of utf8tests.txt: bytes, and their text when decoded with replacement."""
    for line in path.read_text(encoding="ascii").splitlines():
        if not line or line.startswith("#"):
            continue
        _, kind, value, *expected = map(str.strip, line.split(":", 4))
        if kind == "valid":
            value = ":".join([value, *expected])
            yield value.encode(), value
        elif kind == "valid hex":
            yield bytes.fromhex(value), bytes.fromhex(value).decode()
        elif expected[-1]:
            yield bytes.fromhex(value), bytes.fromhex(expected[-1]).decode()


def test_broken_utf_8_round_trips_and_decodes_with_replacement(make, engine, data_file):
    tok = make("gpt2", engine)
    cases = list(utf8_tests(data_file("unicode/utf8tests.txt")))
    assert len(cases) >= 220
    for data, expected in cases:
        ids = tok.encode_bytes(data)
        assert tok.decode_bytes(ids) == data
        assert tok.decode(ids) == expected
    everything = data_file("unicode/utf8tests.bin").read_bytes()
    assert tok.decode_bytes(tok.encode_bytes(everything)) == everything


RUNS = [
    " ",
    "\n",
    "\t ",
    "a",
    "7",
    "!",
    "é",
    "日",
    "\u0301",
    "'s",
    "ab",
    "😀",
    "\x00",
    "<|",
    " \n",
    "\u3000",
    "A",
    "aB",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_long_runs_have_the_ids_of_tiktoken(pattern, make, engine, oracle):
    tok, live = make(pattern, engine), oracle(pattern)
    for run in RUNS:
        for end in ("", "x", " "):
            text = run * 3000 + end
            assert tok.encode_ordinary(text) == live.encode_ordinary(text), (run, end)


@pytest.mark.parametrize("run", ["a", "ab c", " ", "7", "!?", "日", "\n"])
def test_a_megabyte_of_one_character_round_trips(run, make, engine):
    """O(n log n); quadratic time would be hours."""
    tok = make("gpt2", engine)
    text = run * (1_000_000 // len(run.encode()))
    ids = tok.encode_to_numpy(text)
    assert tok.decode(ids) == text
    assert tok.count(text) == len(ids)


def test_a_megabyte_in_one_pre_token_has_the_right_ids(make, engine, oracle):
    rng = random.Random(0)
    text = "".join(rng.choices("abcdeorstn", k=1_000_000))
    assert make("gpt2", engine).encode_ordinary(text) == oracle("gpt2").encode_ordinary(text)


def test_merging_takes_n_log_n_lookups():
    """Counted in lookups, not in seconds."""

    class Counting(dict):
        asked = 0

        def get(self, key, default=None):
            Counting.asked += 1
            return super().get(key, default)

    rng = random.Random(0)
    ranks = Counting({bytes([b]): b for b in range(256)} | {b"ab": 256, b"ba": 257, b"abab": 258, b"baba": 259})
    work = []
    for n in (20_000, 80_000):
        Counting.asked = 0
        byte_pair_merge(bytes(rng.choices(b"ab", k=n)), ranks)
        work.append(Counting.asked)
    assert work[1] < 6 * work[0]


ANYTHING = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS)
def test_20000_random_texts_and_10000_byte_strings(pattern, make, engine, oracle, texts):
    """Over three patterns and two engines: 120,000 texts and 60,000 byte strings."""
    tok, live = make(pattern, engine), oracle(pattern)

    @given(texts(40) | ANYTHING)
    @settings(max_examples=20_000)
    def check(text):
        ids = live.encode_ordinary(text)
        assert tok.encode_ordinary(text) == ids
        assert tok.decode(ids) == text

    @given(st.binary(max_size=80))
    @settings(max_examples=10_000)
    def check_bytes(data):
        assert tok.decode_bytes(tok.encode_bytes(data)) == data

    check()
    check_bytes()


@pytest.mark.slow
def test_100000_hostile_strings_with_the_vocabulary_of_gpt2(engine, data_file):
    """Fragments joined at random, and characters of all planes."""
    data_file("tokenizer/encoder.json")
    tok, live = bpe.get_encoding("gpt2", engine=engine), tiktoken.get_encoding("gpt2")
    rng = random.Random(5)
    pool = [*RUNS, "the", " the", "1", "\r\n", "'ll", "ß", "½", "한국"]
    planes = [(0, 0x7F), (0, 0x7FF), (0x800, 0xD7FF), (0xE000, 0x10FFFF)]
    for _ in range(100):
        batch = []
        for _ in range(1000):
            if rng.random() < 0.7:
                batch.append("".join(rng.choices(pool, k=rng.randint(0, 30))))
            else:
                batch.append("".join(chr(rng.randint(*rng.choice(planes))) for _ in range(rng.randint(0, 100))))
        assert tok.encode_ordinary_batch(batch, num_threads=1) == [live.encode_ordinary(text) for text in batch]
