"""Ids equal tiktoken's: on golden files, corpora, every code point, and random text."""

import gzip
import hashlib
import json
import unicodedata
from itertools import pairwise

import bpe
import pytest
import regex
import tiktoken
from bpe.pretokenize import PATTERNS, Splitter, name_of
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = {"gpt2": "gpt2", "cl100k": "cl100k_base"}


@pytest.fixture(scope="module")
def published(data_file):
    """`published("cl100k", "python")`: a published tokenizer, if its file is available."""
    made = {}

    def get(pattern, engine):
        data_file("tokenizer/encoder.json" if pattern == "gpt2" else "tokenizer/cl100k_base.tiktoken")
        if (pattern, engine) not in made:
            made[pattern, engine] = bpe.get_encoding(NAMES[pattern], engine=engine)
        return made[pattern, engine]

    return get


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k"])
def test_golden_strings(pattern, engine, published, golden_file):
    tok = published(pattern, engine)
    with gzip.open(golden_file("bpe_ids_a.jsonl.gz"), "rt", encoding="utf-8") as lines:
        cases = [json.loads(line) for line in lines]
    assert len(cases) == 1561
    assert [c["text"] for c in cases if tok.encode_ordinary(c["text"]) != c[pattern]] == []
    assert [c["text"] for c in cases if tok.decode(c[pattern]) != c["text"]] == []
    assert tok.encode_ordinary_batch([c["text"] for c in cases], num_threads=2) == [c[pattern] for c in cases]


def test_corpus_fingerprints(engine, published, golden_file, data_file):
    seen = 0
    for case in json.loads(golden_file("bpe_corpus_fingerprints_a.json").read_text())["files"]:
        path = data_file(case["file"])
        tok = published("gpt2" if case["encoding"] == "gpt2" else "cl100k", engine)
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
        ids = tok.encode_to_numpy(text, disallowed_special=())
        assert (len(text), len(ids)) == (case["chars"], case["tokens"])
        assert hashlib.sha256(ids.astype(case["dtype"]).tobytes()).hexdigest() == case["sha256"], case["file"]
        assert ids[:8].tolist() == case["first"]
        seen += 1
    assert seen >= 9


def test_published_pairs(engine, published, golden_file):
    golden = json.loads(golden_file("gpt2_bpe_published.json").read_text(encoding="utf-8"))
    tok = published("gpt2", engine)
    assert len(golden["cases"]) >= 30
    for case in golden["cases"]:
        how = {"allowed_special": "all"} if case["allow_special"] else {"disallowed_special": ()}
        assert tok.encode(case["text"], **how) == case["ids"]
        assert tok.decode(case["ids"]) == case["text"]


def test_each_id_of_gpt2_is_the_token_of_tiktoken(engine, published):
    ours, theirs = published("gpt2", engine), tiktoken.get_encoding("gpt2")
    assert ours.n_vocab == theirs.n_vocab == 50257
    assert ours.eot_token == theirs.eot_token
    assert ours.special_tokens_set == theirs.special_tokens_set
    assert ours.token_byte_values() == theirs.token_byte_values()
    everything = list(range(50257))
    assert ours.decode_tokens_bytes(everything) == theirs.decode_tokens_bytes(everything)
    assert ours.decode_bytes(everything) == theirs.decode_bytes(everything)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_trained_ranks_give_the_ids_of_tiktoken(pattern, engine, make, oracle, texts):
    tok, live = make(pattern, engine), oracle(pattern)

    @given(texts())
    @settings(max_examples=400)
    def check(text):
        ids = live.encode_ordinary(text)
        assert tok.encode_ordinary(text) == ids
        assert tok.encode_to_numpy(text, disallowed_special=()).tolist() == ids
        assert tok.count(text) == len(ids)
        assert tok.encode_up_to(text, 5) == ids[:5]
        assert tok.decode(ids) == text

    check()


def test_without_a_pattern_a_text_is_one_pretoken(engine, make, oracle, texts):
    tok, live = make(None, engine), oracle(None)

    @given(texts())
    def check(text):
        assert tok.encode_ordinary(text) == live.encode_ordinary(text)

    check()


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_batches_equal_single_texts(pattern, engine, make, oracle, topics):
    tok, live = make(pattern, engine), oracle(pattern)
    documents = [t[:3000] for t in topics] + ["", "a", "é"]
    expected = [live.encode_ordinary(t) for t in documents]
    assert tok.encode_ordinary_batch(documents, num_threads=3) == expected
    assert tok.encode_batch(documents, num_threads=2) == expected
    assert [a.tolist() for a in tok.encode_batch_to_numpy(documents, num_threads=2)] == expected


def test_a_custom_pattern(engine, trained, texts):
    pattern = r"\p{Han}|\w+|[^\w\s]+|\s"  # matches every character, so tiktoken loses none
    tok = bpe.Tokenizer(trained["gpt2"], pattern=pattern, engine=engine)
    live = tiktoken.Encoding("own", pat_str=pattern, mergeable_ranks=trained["gpt2"], special_tokens={})

    @given(st.text(st.sampled_from("aé日 1'!\n\t_語ß"), max_size=40))
    def check(text):
        assert tok.encode_ordinary(text) == live.encode_ordinary(text)
        assert tok.count(text) == len(live.encode_ordinary(text))
        assert tok.encode_up_to(text, 3) == live.encode_ordinary(text)[:3]

    check()


def test_text_that_a_pattern_does_not_match_is_kept(engine, trained):
    """tiktoken loses such text; here it forms pre-tokens of its own."""
    tok = bpe.Tokenizer(trained["gpt2"], pattern=r"(a)(b)|", engine=engine)
    assert tok.decode(tok.encode("xxababyy")) == "xxababyy"
    assert Splitter(r"(a)(b)|")("xxababyy") == ["xx", "ab", "ab", "yy"]


def test_every_spelling_of_a_pattern_is_recognized(patterns):
    for name, theirs in patterns.items():
        assert name_of(theirs) == name_of(PATTERNS[name]) == name_of(name) == name
    assert name_of(r"\w+") is None


def splits(tiktoken_pattern, expected):
    """Return how tiktoken splits texts, which it does not expose.

    It encodes a pre-token that is a token as one id, and merges neighbors that together are a token. So each expected
    pre-token becomes a token, and each two neighbors, too: the tokens equal the expected pre-tokens only if tiktoken
    splits as expected."""
    tokens = {bytes([b]) for b in range(256)}
    for pieces in expected:
        tokens.update(pieces)
        tokens.update(a + b for a, b in pairwise(pieces))
    ranks = {t: i for i, t in enumerate(sorted(tokens, key=lambda t: (len(t) > 1, t)))}
    live = tiktoken.Encoding("splits", pat_str=tiktoken_pattern, mergeable_ranks=ranks, special_tokens={})
    return [live.decode_tokens_bytes(live.encode_ordinary(b"".join(pieces).decode())) for pieces in expected]


CONTEXTS = ["{0}", "a{0}b", " {0}", "{0} ", "1{0}2", "'{0}", "!{0}\n", "A{0}{0}a"]
IN_ALL_CONTEXTS = "{0}a{0}b {0} 1{0}2'{0} !{0}\nA{0}{0}a {0}"


def check_code_points(pattern, theirs, points):
    split = Splitter(pattern)
    for start in range(0, len(points), 4096):
        texts = [IN_ALL_CONTEXTS.format(chr(c)) for c in points[start : start + 4096]]
        expected = [[piece.encode() for piece in split(text)] for text in texts]
        found = splits(theirs, expected)
        assert [(f, e) for f, e in zip(found, expected, strict=True) if f != e] == []


ALL_POINTS = [*range(0xD800), *range(0xE000, 0x110000)]


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_splits_of_code_points_whose_class_depends_on_the_unicode_version(pattern, patterns):
    newer = regex.compile(r"[\p{L}\p{N}\p{M}]")
    differing = [c for c in ALL_POINTS if bool(newer.match(chr(c))) != (unicodedata.category(chr(c))[0] in "LNM")]
    sample = [
        *range(0x180),
        *range(0x2000, 0x2070),
        0x3000,
        *differing[:600],
        *differing[-200:],
        *range(0x500, 0x110000, 3001),
    ]
    check_code_points(pattern, patterns[pattern], [c for c in sample if not 0xD800 <= c < 0xE000])


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_splits_of_every_code_point(pattern, patterns):
    check_code_points(pattern, patterns[pattern], ALL_POINTS)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_ids_of_every_code_point(pattern, engine, make, oracle):
    tok, live = make(pattern, engine), oracle(pattern)
    for context in CONTEXTS:
        for start in range(0, len(ALL_POINTS), 4096):
            lines = [context.format(chr(c)) for c in ALL_POINTS[start : start + 4096]]
            assert tok.encode_ordinary_batch(lines, num_threads=1) == [live.encode_ordinary(line) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k"])
def test_published_ids_of_every_code_point(pattern, engine, published):
    tok, live = published(pattern, engine), tiktoken.get_encoding(NAMES[pattern])
    for context in CONTEXTS:
        for start in range(0, len(ALL_POINTS), 4096):
            lines = [context.format(chr(c)) for c in ALL_POINTS[start : start + 4096]]
            assert tok.encode_ordinary_batch(lines, num_threads=1) == [live.encode_ordinary(line) for line in lines]
