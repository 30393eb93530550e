"""Options of training that Hugging Face's `BpeTrainer` has, and inputs: JSON lines, compressed files, batches."""

import gzip
import json
import random
import sys

import bpe
import pytest
from bpe.byte_unicode import from_printable
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

ByteLevel = pre_tokenizers.ByteLevel


def hugging_face(texts, vocab_size, **options):
    """The tokens that `BpeTrainer` learns, in the order of their ids, without single bytes."""
    live = Tokenizer(models.BPE())
    live.pre_tokenizer = ByteLevel(add_prefix_space=False)
    options = {"initial_alphabet": ByteLevel.alphabet(), **options}
    live.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, **options))
    vocabulary = live.get_vocab()
    return [from_printable(token) for token in sorted(vocabulary, key=vocabulary.get) if len(token) > 1]


def merged(tok):
    return [token for token in sorted(tok.ranks, key=tok.ranks.get) if len(token) > 1]


@pytest.mark.parametrize("longest", [2, 3, 5, 8])
def test_max_token_length_gives_the_tokens_of_hugging_face(longest, engine):
    @settings(max_examples=40)
    @given(words=st.lists(st.text("abc ", max_size=12), min_size=1, max_size=30))
    def examples(words):
        texts = [" ".join(words), "aaaa abcabc"]
        tok = bpe.train_from_iterator(texts, vocab_size=300, ties="ids", max_token_length=longest, engine=engine)
        assert merged(tok) == hugging_face(texts, 300, max_token_length=longest + 1)  # theirs is exclusive
        assert max(map(len, tok.ranks)) <= longest

    examples()


def test_max_token_length_gives_the_tokens_of_hugging_face_on_documentation(topics, engine):
    texts = topics[:10]
    tok = bpe.train_from_iterator(texts, vocab_size=700, ties="ids", max_token_length=4, engine=engine)
    assert merged(tok) == hugging_face(texts, 700, max_token_length=5)
    one = bpe.train_from_iterator(texts, vocab_size=700, max_token_length=1, engine=engine)
    assert one.n_vocab == 256


@pytest.mark.parametrize("ties", ["first", "ids", "bytes"])
@pytest.mark.parametrize("longest", [2, 3, 7, None])
def test_both_trainers_agree_on_the_longest_token(ties, longest, topics):
    texts = [topics[3], "aaaaaaaaaaaa abababab bcbcbc" * 3]
    options = {"vocab_size": 420, "ties": ties, "max_token_length": longest}
    a, b = (bpe.train_from_iterator(texts, engine=engine, **options) for engine in ("python", "numba"))
    assert a.merges == b.merges


@pytest.mark.parametrize("limit", [5, 20, 40])
def test_limit_alphabet_gives_the_tokens_of_hugging_face(limit, engine):
    generator = random.Random(limit)
    letters = "".join(chr(97 + i % 26) * (i + 2) ** 2 for i in range(26))  # each letter has another frequency
    words = ["".join(generator.sample(letters, 6)) for _ in range(300)]
    texts = [" ".join(words)] + [chr(97 + i) * (7 * i + 1) for i in range(26)]
    frequency = {byte: "".join(texts).count(byte) for byte in set("".join(texts))}
    if len(set(frequency.values())) < len(frequency):  # ties are arbitrary there
        texts += [byte * i for i, byte in enumerate(sorted(frequency), start=40)]
    tok = bpe.train_from_iterator(texts, vocab_size=300, ties="ids", limit_alphabet=limit, engine=engine)
    want = hugging_face(texts, 44 + min(limit, 27), limit_alphabet=limit, initial_alphabet=[])
    assert merged(tok)[: len(want)] == want
    assert len(set(b"".join(merged(tok)))) <= limit
    assert tok.decode(tok.encode("zebra é")) == "zebra é"


def test_the_initial_alphabet_is_kept(engine):
    texts = ["aaaa aaaa bbbb cc", "dd"] * 3
    tok = bpe.train_from_iterator(texts, vocab_size=270, limit_alphabet=2, initial_alphabet=[b"d"], engine=engine)
    assert set(b"".join(merged(tok))) == set(b"da")
    want = hugging_face(texts, 270, limit_alphabet=2, initial_alphabet=["d"])
    assert set(merged(tok)) == set(want)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_token_length": 0}, "`max_token_length` must be an integer of at least 1, got 0"),
        ({"max_token_length": 2.5}, "`max_token_length` must be an integer"),
        ({"limit_alphabet": 0}, "`limit_alphabet` must be an integer of at least 1"),
        ({"limit_alphabet": 1, "initial_alphabet": [b"a", b"b"]}, "`limit_alphabet` must be at least the 2 bytes"),
        ({"limit_alphabet": 9, "initial_alphabet": b"ab"}, "must be a list of single bytes"),
        ({"limit_alphabet": 9, "initial_alphabet": [b"ab"]}, "must be a list of single bytes"),
        ({"limit_alphabet": 9, "initial_alphabet": ["a"]}, "must be a list of single bytes"),
        ({"initial_alphabet": [b"a"]}, "must be given with limit_alphabet"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        bpe.train_from_iterator(iter(["never read"]), vocab_size=300, **options)


def test_batches_of_texts_count_as_their_texts(engine, topics):
    texts = topics[:9]
    batches = [texts[:4], tuple(texts[4:8]), texts[8], []]
    tok = bpe.train_from_iterator(iter(batches), vocab_size=400, engine=engine)
    assert tok.merges == bpe.train_from_iterator(texts, vocab_size=400, engine=engine).merges
    for bad, match in (
        (["a", 1], r"`texts\[1\]` must be a str or a list of str"),
        ([["a", b"b"]], r"`texts\[0\]\[1\]`"),
    ):
        with pytest.raises(ValueError, match=match):
            bpe.train_from_iterator(bad, vocab_size=300)


def compressed(data, suffix):
    if suffix == ".gz":
        return gzip.compress(data)
    if suffix == ".zst":
        if sys.version_info >= (3, 14):
            from compression import zstd

            return zstd.compress(data)
        return pytest.importorskip("zstandard").ZstdCompressor().compress(data)
    return data


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("workers", [1, 2])
def test_json_lines_are_read_as_their_texts(suffix, workers, topics, tmp_path):
    texts = [*topics[:5], "", "naïve 日本\n\u2028 <s>"]  # the last line has no line feed
    lines = [json.dumps({"id": i, "body": text}, ensure_ascii=i % 2 == 0) for i, text in enumerate(texts)]
    lines.insert(2, "")
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(compressed("\n".join(lines).encode(), suffix))
    counts = bpe.count_files([path], "gpt2", ["<s>"], workers=workers, jsonl_field="body")
    assert counts == bpe.count_texts(texts, "gpt2", ["<s>"])
    tok = bpe.train([path], vocab_size=400, jsonl_field="body", engine="python")
    assert tok.merges == bpe.train_from_iterator(texts, vocab_size=400, engine="python").merges


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_text_is_read_as_the_text(suffix, topics, tmp_path):
    text = "".join(topics[:4])
    plain, packed = tmp_path / "a.txt", tmp_path / f"a.txt{suffix}"
    plain.write_bytes(text.encode())
    packed.write_bytes(compressed(text.encode(), suffix))
    a, b = (bpe.train([path], vocab_size=400, engine="python") for path in (plain, packed))
    assert a.merges == b.merges
    ids = [[i for part in bpe.encode_file(a, path, chunk_bytes=999) for i in part.tolist()] for path in (plain, packed)]
    assert ids == [a.encode(text)] * 2
    packed.write_bytes(packed.read_bytes()[:-50])
    with pytest.raises(ValueError, match=f"{packed.name}: damaged compressed file|ended before|is not UTF-8"):
        bpe.train([packed], vocab_size=400, engine="python")


@pytest.mark.parametrize(
    ("line", "match"),
    [
        (b'{"text": "a"', "line 2 must be a JSON object in UTF-8"),
        (b'{"body": "a"}', "line 2 must be a JSON object with a text as 'text'"),
        (b'{"text": 3}', "line 2 must be a JSON object with a text as 'text'"),
        (b'["text"]', "line 2 must be a JSON object with a text"),
        (b'{"text": "\xff"}', "line 2 must be a JSON object in UTF-8"),
        (b"[" * 100_000, "line 2 must be a JSON object in UTF-8"),
    ],
)
def test_a_bad_line_is_named(line, match, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + line + b"\n")
    with pytest.raises(ValueError, match=match) as error:
        bpe.train([path], vocab_size=300, engine="python")
    assert "\n" not in str(error.value)
