"""The table of known pre-tokens: right when threads share it, bounded, and new after a fork."""

import gc
import itertools
import json
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import bpe
import pytest
from bpe.engines.python import PythonEngine

pytest.importorskip("numba")
from bpe.fast import NumbaEncoder, pretoken_table


def vocabulary(seed, merges=3000):
    """Every byte, and tokens of random letters that merges form."""
    rng = random.Random(seed)
    tokens = [bytes([b]) for b in range(256)]
    known = set(tokens)
    pool = [bytes([b]) for b in b" etaoinshr"]
    while len(tokens) < 256 + merges:
        token = rng.choice(pool) + rng.choice(pool)
        if token not in known and len(token) <= 12:
            known.add(token)
            tokens.append(token)
            pool.append(token)
    return {token: i for i, token in enumerate(tokens)}


def text_of(seed, words):
    """Words of 1 to 40 letters, most of them new: short ones, long ones and ones with more than four ids."""
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("etaoinshr", k=rng.choice((1, 2, 3, 5, 8, 13, 20, 40)))) for _ in range(words))


@pytest.fixture
def small_tables(monkeypatch):
    """Tables that fill after some hundreds of pre-tokens, so that they are replaced all the time."""
    monkeypatch.setattr(pretoken_table, "SMALL_BITS", 10)
    monkeypatch.setattr(pretoken_table, "LARGE_BITS", 14)


@pytest.mark.parametrize("tables", ["as they are", "small"])
def test_threads_that_share_a_table_give_the_ids_of_the_python_engine(tables, request):
    if tables == "small":
        request.getfixturevalue("small_tables")
    ranks = vocabulary(1)
    encoder, reference = NumbaEncoder(ranks, "gpt2"), PythonEngine(ranks, "gpt2")
    texts = [text_of(seed, 400) for seed in range(40)]
    expected = [reference.encode(text) for text in texts]
    start = threading.Barrier(8)

    def work(worker):
        start.wait()
        order = random.Random(worker).choices(range(len(texts)), k=120)
        return [i for i in order if encoder.encode_to_list(texts[i].encode()) != expected[i]]

    with ThreadPoolExecutor(8) as threads:
        wrong = [i for found in threads.map(work, range(8)) for i in found]
    assert not wrong
    assert [encoder.encode_to_list(text.encode()) for text in texts] == expected


@pytest.mark.usefixtures("small_tables")
def test_a_call_that_fills_several_tables_goes_on_where_it_was():
    ranks = vocabulary(2)
    encoder, reference = NumbaEncoder(ranks, "gpt2"), PythonEngine(ranks, "gpt2")
    parts = [text_of(seed, 3000) for seed in range(6)]
    expected = [reference.encode(part) for part in parts]
    before = encoder._take_buffers().table
    assert [encoder.to_list(ids) for ids in encoder.encode_batch(parts)] == expected
    assert encoder._take_buffers().table is not before
    whole = "".join(parts)
    assert encoder.to_list(encoder.encode(whole.encode())) == reference.encode(whole)
    assert encoder.count(whole.encode()) == len(reference.encode(whole))


@pytest.mark.usefixtures("small_tables")
def test_given_pretokens_that_fill_several_tables():
    ranks = vocabulary(3)
    encoder, reference = NumbaEncoder(ranks, None), PythonEngine(ranks, None)
    words = [word.encode() for seed in range(5) for word in text_of(seed, 2000).split(" ") if word]
    data, ends, end = b"".join(words), [], 0
    for word in words:
        end += len(word)
        ends.append(end)
    assert encoder.to_list(encoder.encode_pretokens(data, ends)) == reference.encode_pretokens(words)


def test_a_table_grows_once_and_large_tables_are_few(monkeypatch):
    monkeypatch.setattr(pretoken_table, "SMALL_BITS", 10)
    monkeypatch.setattr(pretoken_table, "LARGE_BITS", 14)
    gc.collect()
    before = len(pretoken_table._large)
    encoders = [NumbaEncoder(vocabulary(4, 100), "gpt2") for _ in range(5)]
    text = text_of(5, 5000).encode()
    sizes = []
    for encoder in encoders:
        assert encoder._take_buffers().table.bits == 10
        encoder.encode(text)
        sizes.append(encoder._take_buffers().table.bits)
    assert sizes.count(14) == pretoken_table.MAX_LARGE - before
    assert sizes.count(10) == 5 - sizes.count(14)
    assert len({encoder.encode(text).tobytes() for encoder in encoders}) == 1
    del encoders, encoder
    gc.collect()
    assert len(pretoken_table._large) == before


def test_a_pretoken_of_zero_bytes_is_not_mistaken_for_an_empty_slot():
    ranks = vocabulary(6)
    encoder, reference = NumbaEncoder(ranks, None), PythonEngine(ranks, None)
    for _ in range(2):  # merged, then from the table
        for length in (*range(1, 20), 300):
            for tail in (b"", b"\1", b"et"):
                data = bytes(length) + tail
                assert encoder.encode_to_list(data) == reference.encode_pretokens([data])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_has_a_table_of_its_own():
    ranks = vocabulary(7)
    encoder, reference = NumbaEncoder(ranks, "gpt2"), PythonEngine(ranks, "gpt2")
    text = text_of(8, 300)
    encoder.encode(text.encode())
    table = encoder._take_buffers().table
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        same = encoder.encode_to_list(text.encode()) == reference.encode(text)
        os.write(write, bytes([same, encoder._take_buffers().table is table]))
        os._exit(0)
    os.waitpid(child, 0)
    assert list(os.read(read, 2)) == [True, False]
    assert encoder._take_buffers().table is table


MEMORY = """
import gc, json, random, sys, threading
from bpe import Tokenizer

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

tokenizers = [Tokenizer.load(sys.argv[1]) for _ in range(10)]
rng = random.Random(0)
words = ["".join(rng.choices("etaoinshrdlu", k=rng.randrange(1, 12))) for _ in range(30_000)]
start = threading.Barrier(80)

def work(tokenizer, seed):
    rng = random.Random(seed)
    start.wait()
    for _ in range(4):
        tokenizer.encode(" ".join(rng.choices(words, k=3000)))

threads = [threading.Thread(target=work, args=(t, 8 * i + k)) for i, t in enumerate(tokenizers) for k in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
peak = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1e3
in_use = resident()
del tokenizers, threads
gc.collect()
print(json.dumps({"peak": peak, "in use": in_use, "after": resident()}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ten_tokenizers_with_eight_threads_each_stay_below_400_mb(tmp_path):
    letters = [bytes([b]) for b in b" etaoinshr"]
    tokens = [bytes([b]) for b in range(256)]
    for length in range(2, 6):  # every string of up to four of these letters, and 39,000 of five
        tokens += [b"".join(parts) for parts in itertools.islice(itertools.product(letters, repeat=length), 39_000)]
    tokenizer = bpe.Tokenizer({token: i for i, token in enumerate(tokens)}, pattern="gpt2")
    assert tokenizer.engine == "numba"
    tokenizer.save(tmp_path / "t.json")
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "t.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["peak"] < 400, found
    assert found["after"] < found["in use"] - 60, found  # the tables of ten tokenizers
