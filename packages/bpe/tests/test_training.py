"""Merges equal those of minbpe, Hugging Face, subword-nmt and the paper's algorithm; counts add up."""

import io
import json
import random
from itertools import pairwise

import bpe
import pytest
from bpe import byte_unicode
from bpe.training import corpus, merges
from bpe.training.count import HEADER
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HuggingFace
from tokenizers import models, pre_tokenizers, trainers


def algorithm_1(words, num_merges, ties):
    """1508.07909, algorithm 1: recount everything for each merge."""
    tokens = [bytes([b]) for b in range(256)]
    sequences = [(list(word), count) for word, count in words.items()]
    merges = []
    while len(merges) < num_merges:
        pairs = {}
        for symbols, count in sequences:
            for pair in pairwise(symbols):
                pairs[pair] = pairs.get(pair, 0) + count
        if not pairs:
            break
        tied = [pair for pair, count in pairs.items() if count == max(pairs.values())]  # in the order of the corpus
        if ties == "first":
            best = tied[0]
        elif ties == "ids":
            best = min(tied)
        else:
            best = max(tied, key=lambda pair: (tokens[pair[0]], tokens[pair[1]]))
        for symbols, _ in sequences:
            i = 0
            while i < len(symbols) - 1:
                if (symbols[i], symbols[i + 1]) == best:
                    symbols[i : i + 2] = [len(tokens)]
                i += 1
        tokens.append(tokens[best[0]] + tokens[best[1]])
        merges.append(best)
    return merges


@pytest.fixture
def learner(engine):
    """The function that learns merges, of each engine."""
    if engine == "python":
        return merges.learn_merges
    from bpe import fast

    return fast.train


WORDS = st.dictionaries(
    st.text("abc", max_size=14).map(str.encode) | st.binary(max_size=6), st.integers(1, 5) | st.just(2**40), max_size=9
)


@pytest.mark.parametrize("ties", ["first", "ids", "bytes"])
def test_algorithm_1_of_the_paper(learner, ties):
    @given(WORDS, st.integers(0, 30))
    @settings(max_examples=300)
    def check(words, num_merges):
        assert learner(words, num_merges, ties) == algorithm_1(words, num_merges, ties)

    check()


def test_tie_breaking_rules_differ(learner):
    words = {b"zb": 1, b"ax": 1, b"az": 1}
    assert learner(words, 1, "first") == [(ord("z"), ord("b"))]
    assert learner(words, 1, "ids") == [(ord("a"), ord("x"))]
    assert learner({b"ax": 1, b"az": 1}, 1, "bytes") == [(ord("a"), ord("z"))]


def test_training_ends_at_min_frequency_or_without_pairs(learner):
    words = {b"abab": 3, b"cd": 2, b"e": 9}
    assert learner(words, 10, "first", 6) == [(97, 98)]
    assert learner(words, 10, "first", 3) == [(97, 98), (256, 256)]
    assert learner(words, 10) == [(97, 98), (256, 256), (99, 100)]
    assert learner({}, 10) == learner({b"": 3}, 10) == learner(words, 0) == []


def test_counts_above_32_bits(learner):
    assert learner({b"ab": 2**33, b"cd": 2**33 + 1, b"ce": 2**62}, 3) == [(99, 101), (99, 100), (97, 98)]


def test_progress_counts_up(learner):
    seen = []
    learner({bytes([i, j]): 1 for i in range(30) for j in range(30)}, 500, "first", 1, seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 500


def test_merges_equal_those_of_minbpe(engine, golden_file, data_file):
    golden = json.loads(golden_file("bpe_train_minbpe_512.json").read_text())
    text = data_file("text/taylorswift.txt").read_bytes().decode()
    for key, pattern in (("basic", None), ("regex_gpt2", "gpt2")):
        tok = bpe.train_from_iterator([text], vocab_size=512, pattern=pattern, ties="first", engine=engine)
        assert tok.merges == [tuple(merge) for merge in golden[key]["merges"]]


def test_the_wikipedia_example(engine):
    tok = bpe.train_from_iterator(["aaabdaaabac"], vocab_size=259, pattern=None, engine=engine)
    assert tok.merges == [(97, 97), (256, 97), (257, 98)]
    assert tok.encode("aaabdaaabac") == [258, 100, 258, 97, 99]


def hugging_face(iterator, vocab_size, **options):
    """Return the vocabulary of Hugging Face's trainer: bytes -> id."""
    tokenizer = HuggingFace(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False, **options)
    tokenizer.train_from_iterator(iterator, trainer)
    return {byte_unicode.from_printable(token): i for token, i in tokenizer.get_vocab().items()}


def test_vocabulary_equals_hugging_face_on_tiny_shakespeare(engine, data_file):
    path = data_file("text/tinyshakespeare.txt")
    tok = bpe.train([path], vocab_size=1024, ties="ids", engine=engine)
    assert tok.ranks == hugging_face([path.read_text(encoding="utf-8")], 1024)


def test_vocabulary_equals_hugging_face_on_python_documentation(engine, topics):
    tok = bpe.train_from_iterator(topics, vocab_size=3000, ties="ids", engine=engine)
    assert tok.ranks == hugging_face(topics, 3000)
    rare = bpe.train_from_iterator(topics, vocab_size=30000, ties="ids", min_frequency=4, engine=engine)
    assert rare.ranks == hugging_face(topics, 30000, min_frequency=4)


def test_merges_equal_those_of_subword_nmt(engine):
    """subword-nmt marks the last character of a word. A character that only ends words makes the mark harmless."""
    from subword_nmt.learn_bpe import learn_bpe

    rng = random.Random(0)
    for _ in range(40):
        words = ["".join(rng.choices("abcde", k=rng.randint(1, 7))) + "." for _ in range(60)]
        out = io.StringIO()
        learn_bpe(io.StringIO(" ".join(words)), out, 25, min_frequency=2)
        theirs = [tuple(line.replace("</w>", "").split()) for line in out.getvalue().split("\n")[1:] if line]
        tok = bpe.train_from_iterator(words, vocab_size=281, pattern=None, ties="bytes", min_frequency=2, engine=engine)
        ours = [tuple(map(bytes.decode, tok.decode_tokens_bytes(merge))) for merge in tok.merges]
        assert ours == theirs


def test_byte_order_changes_ids_but_not_merges():
    raw = bpe.train_from_iterator(["low lower lowest"] * 2, vocab_size=262, engine="python")
    gpt2 = bpe.train_from_iterator(["low lower lowest"] * 2, vocab_size=262, byte_order="gpt2", engine="python")
    assert raw.encode_single_token(b"a") == 97
    assert gpt2.encode_single_token(b"!") == 0
    assert gpt2.encode_single_token(b"a") == 64
    assert [raw.decode_tokens_bytes(m) for m in raw.merges] == [gpt2.decode_tokens_bytes(m) for m in gpt2.merges]


def test_engines_and_numbers_of_workers_agree(tmp_path, topics, monkeypatch):
    files = []
    for i in range(2):
        files.append(tmp_path / f"{i}.txt")
        files[-1].write_text("\n".join(topics[10 * i : 10 * i + 10]), encoding="utf-8")
    monkeypatch.setattr(corpus, "CHUNK_BYTES", 50_000)
    options = {"vocab_size": 700, "special_tokens": ["<|a b|>"]}
    toks = [bpe.train(files, engine=e, workers=w, **options) for e in ("python", "numba") for w in (1, 2)]
    assert {tuple(t.merges) for t in toks} == {tuple(toks[0].merges)}
    assert len(toks[0].merges) == 700 - 256 - 1
    assert [t.engine for t in toks] == ["python", "python", "numba", "numba"]


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", None, r"\w+|\W"])
def test_compiled_counts_equal_textbook_counts(pattern, topics, texts):
    @given(st.lists(texts(), max_size=4))
    @settings(max_examples=60)
    def check(drawn):
        both = [bpe.count_texts(drawn, pattern, ["<|endoftext|>"], compiled=c) for c in (False, True)]
        assert list(both[0].counts.items()) == list(both[1].counts.items())

    check()
    both = [bpe.count_texts(topics, pattern, compiled=c) for c in (False, True)]
    assert list(both[0].counts.items()) == list(both[1].counts.items())


def test_counts_of_parts_add_up(tmp_path, topics):
    whole = bpe.count_texts(topics, "gpt2")
    total = bpe.PretokenCounts("gpt2")
    for i in range(0, len(topics), 13):
        bpe.count_texts(topics[i : i + 13], "gpt2").save(tmp_path / "part")
        total.add(bpe.PretokenCounts.load(tmp_path / "part"))
    assert list(total.counts.items()) == list(whole.counts.items())
    with pytest.raises(ValueError, match="`pattern` of counts must be equal"):
        total.add(bpe.PretokenCounts("cl100k"))


@given(
    st.dictionaries(st.binary(min_size=1, max_size=9), st.integers(1, 2**62)),
    st.sampled_from([None, "gpt2", "o200k", r"\w+|\W", '\n"é']),
)
def test_counts_round_trip_through_their_file(tmp_path_factory, words, pattern):
    path = tmp_path_factory.mktemp("counts") / "counts"
    before = bpe.PretokenCounts(pattern, words)
    before.save(path)
    assert list(bpe.PretokenCounts.load(path).counts.items()) == list(words.items())
    assert bpe.PretokenCounts.load(path) == before


GPT2 = HEADER + '{"pattern": "gpt2", "special_tokens": []}\n'


@pytest.mark.parametrize(
    "content",
    [
        "", "1 a\n", HEADER, GPT2 + "1 a", GPT2 + "0 a\n", GPT2 + "1 a\n2 a\n", GPT2 + "1 a b\n", GPT2 + "x a\n",
        GPT2 + "1 語\n", HEADER + "(\n", HEADER + "3\n1 a\n", HEADER + '{"pattern": "gpt2"}\n1 a\n',
    ],
)  # fmt: skip
def test_damaged_counts_are_refused(tmp_path, content):
    (tmp_path / "counts").write_text(content, encoding="utf-8")
    with pytest.raises(bpe.FormatError):
        bpe.PretokenCounts.load(tmp_path / "counts")


def test_texts_are_read_one_at_a_time_and_pretokens_never_span_two(engine):
    held = 0

    def stream():
        nonlocal held
        for _ in range(500):
            held += 1
            yield "ab"

    tok = bpe.train_from_iterator(stream(), vocab_size=300, engine=engine)
    assert held == 500
    assert tok.merges == [(97, 98)]


def test_special_tokens_are_cut_out_of_the_texts(engine, tmp_path):
    text = "abc<|endoftext|>abc <|endoftext|>"
    tok = bpe.train_from_iterator([text] * 3, vocab_size=400, special_tokens=["<|endoftext|>", "<pad>"], engine=engine)
    assert tok.special_tokens == {"<|endoftext|>": 256 + len(tok.merges), "<pad>": 257 + len(tok.merges)}
    assert b"abc" in tok.ranks
    assert not any(b"<" in token for token in tok.ranks if len(token) > 1)
    (tmp_path / "a.txt").write_text(text * 3, encoding="utf-8")
    assert (
        bpe.train([tmp_path / "a.txt"], vocab_size=400, special_tokens=["<|endoftext|>"], engine=engine).merges
        == tok.merges
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"vocab_size": 255}, "vocab_size"),
        ({"vocab_size": 256, "special_tokens": ["<a>"]}, "vocab_size"),
        ({"vocab_size": 300, "special_tokens": ["<a>", "<a>"]}, "special_tokens"),
        ({"vocab_size": 300, "special_tokens": "<a>"}, "special_tokens"),
        ({"vocab_size": 300, "ties": "last"}, "ties"),
        ({"vocab_size": 300, "min_frequency": 0}, "min_frequency"),
        ({"vocab_size": 300, "pattern": "("}, "pattern"),
        ({"vocab_size": 300, "engine": "rust"}, "engine"),
        ({"vocab_size": 300, "byte_order": "big"}, "byte_order"),
    ],
)
def test_bad_options_are_named(options, named):
    with pytest.raises(ValueError, match=f"^`{named}` must "):
        bpe.train_from_iterator(["some text"], **options)


def test_one_string_is_not_an_iterator_of_texts():
    with pytest.raises(ValueError, match=r"^`texts` must be a list"):
        bpe.train_from_iterator("text", vocab_size=300)


def test_text_that_is_not_utf8_is_refused(engine, tmp_path):
    with pytest.raises(ValueError, match=r"U\+D800"):
        bpe.train_from_iterator(["ok", "a\ud800"], vocab_size=300, engine=engine)
    (tmp_path / "latin1.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(ValueError, match="byte 3 is not UTF-8"):
        bpe.train([tmp_path / "latin1.txt"], vocab_size=300, engine=engine)


@pytest.mark.slow
def test_vocabulary_equals_hugging_face_on_20_mb(engine):
    """32,768 ids on 20 MB of Python code from the standard library and the installed packages."""
    import sysconfig
    from pathlib import Path

    text, size = [], 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        try:
            text.append(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, OSError):
            continue
        size += len(text[-1])
        if size > 20_000_000:
            break
    assert size > 20_000_000
    tok = bpe.train_from_iterator(text, vocab_size=32768, ties="ids", engine=engine)
    assert tok.ranks == hugging_face(text, 32768)


@pytest.mark.filterwarnings("ignore:::distributed", "ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_a_dask_cluster_gives_the_counts_of_one_machine(tmp_path, topics):
    import importlib.util
    from pathlib import Path

    from dask.distributed import Client, LocalCluster

    path = Path(__file__).parent.parent / "examples" / "count_on_dask.py"
    spec = importlib.util.spec_from_file_location("count_on_dask", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    (tmp_path / "a.txt").write_text("\n".join(topics[:9]), encoding="utf-8")
    (tmp_path / "b.txt").write_text(topics[9], encoding="utf-8")
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        counts = example.count_on(client, files, "gpt2", size=20_000)
    assert list(counts.counts.items()) == list(bpe.count_files(files, "gpt2").counts.items())
