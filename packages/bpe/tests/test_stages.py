"""Small checks of single functions, in the order of the learning track (`stages.toml`)."""

import random
from collections import Counter
from itertools import pairwise

import pytest
import tiktoken
from bpe import byte_unicode, special
from bpe.decoding import StreamDecoder
from bpe.engines.python import PythonEngine, merged_ids
from bpe.errors import FormatError
from bpe.formats.tiktoken import parse, to_text
from bpe.merge import _merge_with_heap, byte_pair_merge, merge_with_dropout
from bpe.pretokenize import PATTERNS, Splitter, safe_cut_text
from bpe.token_file import dtype_for, fingerprint
from bpe.tokenizer import Tokenizer
from bpe.training.count import PretokenCounts, count_texts
from bpe.training.merges import _Corpus, _tie_key, learn_merges
from bpe.vocabulary import RAW_BYTE_ORDER, free_ids, merges_of, ranks_of

WORDS = {b"abab": 3, b"aab": 2, b"": 9, b"c": 1, b"caba": 5}
BYTES = {bytes([b]): b for b in range(256)}
RANKS = BYTES | {b"ab": 256, b"abab": 257, b"aa": 258, b" a": 259, b" ab": 260}


def pairs_of(symbols_and_counts):
    """Pair -> count, counted from scratch."""
    found = Counter()
    for symbols, count in symbols_and_counts:
        for pair in pairwise(symbols):
            found[pair] += count
    return dict(found)


def sequences_of(corpus):
    """The symbols of each pre-token of a corpus, with its count."""
    found = []
    for i, symbol in enumerate(corpus.symbol):
        if symbol >= 0 and corpus.before[i] < 0:
            symbols, at = [], i
            while at >= 0:
                symbols.append(corpus.symbol[at])
                at = corpus.after[at]
            found.append((symbols, corpus.weight[i]))
    return found


# ------------------------------------------------------------------------------------------ pairs of a corpus


def test_each_pair_is_counted_with_the_frequency_of_its_word():
    corpus = _Corpus(WORDS)
    assert dict(corpus.count_of) == pairs_of((list(word), count) for word, count in WORDS.items())


def test_positions_of_a_pair_are_those_of_its_first_byte():
    corpus = _Corpus({b"abab": 1, b"cab": 1})
    assert list(corpus.positions[ord("a"), ord("b")]) == [0, 2, 5]
    assert (ord("b"), ord("c")) not in corpus.positions, "a pair must not span two pre-tokens"


def test_symbols_are_linked_within_their_pre_token():
    corpus = _Corpus({b"ab": 1, b"cd": 7})
    assert (corpus.before, corpus.after) == ([-1, 0, -1, 2], [1, -1, 3, -1])
    assert corpus.weight == [1, 1, 7, 7]


def test_a_pair_is_at_a_position_where_its_two_symbols_are():
    corpus = _Corpus({b"abab": 1})
    pair = (ord("a"), ord("b"))
    assert [corpus.is_at(pair, i) for i in range(4)] == [True, False, True, False]
    corpus.symbol[0] = 300
    assert [corpus.is_at(pair, i) for i in range(4)] == [False, False, True, False]


def test_the_first_position_is_the_first_that_still_holds_the_pair():
    corpus = _Corpus({b"abab": 1})
    assert corpus.first_position((ord("a"), ord("b"))) == 0
    corpus.symbol[0] = 300
    assert corpus.first_position((ord("a"), ord("b"))) == 2


def test_a_merge_joins_the_pair_wherever_it_occurs_from_left_to_right():
    corpus = _Corpus({b"aaa": 1, b"baab": 2})
    corpus.merge((ord("a"), ord("a")))
    assert sequences_of(corpus) == [([256, 97], 1), ([98, 256, 98], 2)]
    assert corpus.tokens[256] == b"aa"


def test_a_merge_returns_the_pairs_that_it_creates():
    corpus = _Corpus({b"caba": 1})
    assert corpus.merge((ord("a"), ord("b"))) == {(ord("c"), 256), (256, ord("a"))}


@pytest.mark.parametrize("seed", range(20))
def test_counts_after_merges_equal_those_of_counting_again(seed):
    rng = random.Random(seed)
    corpus = _Corpus({bytes(rng.choices(b"abc", k=rng.randrange(9))): rng.randrange(1, 5) for _ in range(8)})
    for _ in range(6):
        left = [pair for pair, count in corpus.count_of.items() if count > 0]
        if left:
            corpus.merge(rng.choice(left))
        assert {p: c for p, c in corpus.count_of.items() if c} == pairs_of(sequences_of(corpus))


def test_three_merges_of_the_example_in_the_docstring():
    assert learn_merges({b"aaabdaaabac": 1}, 3) == [(97, 97), (256, 97), (257, 98)]


def test_ties_by_bytes_take_the_greatest_pair_and_a_prefix_is_smaller():
    corpus = _Corpus({b"ab": 1})
    corpus.tokens += [b"ab", b"a"]
    key = _tie_key("bytes", corpus)
    greatest_first = sorted([(256, 98), (97, 98), (98, 97)], key=key)
    assert greatest_first == [(98, 97), (256, 98), (97, 98)]


# ------------------------------------------------------------------------------------------- merging a pre-token


def test_a_pre_token_is_merged_in_the_order_of_ranks():
    assert byte_pair_merge(b"abab!", RANKS) == [b"abab", b"!"]
    assert byte_pair_merge(b"aab", RANKS) == [b"a", b"ab"], "ab has a lower rank than aa, so it is merged first"


def test_only_ranks_below_the_limit_are_merged():
    assert byte_pair_merge(b"abab", RANKS, below=257) == [b"ab", b"ab"]
    assert byte_pair_merge(b"abab", RANKS, below=256) == [b"a", b"b", b"a", b"b"]


def test_short_and_empty_pre_tokens_are_merged_too():
    assert byte_pair_merge(b"", RANKS) == []
    assert byte_pair_merge(b"x", RANKS) == [b"x"]


@pytest.mark.parametrize("seed", range(20))
def test_tokens_of_random_words_equal_tiktokens(seed):
    rng = random.Random(seed)
    words = {bytes(rng.choices(b"abc", k=6)): 1 for _ in range(20)}
    ranks = dict(BYTES)
    for word in words:  # a vocabulary that merges can form: every prefix of some words
        for stop in range(2, rng.randrange(3, 7)):
            ranks.setdefault(word[:stop], len(ranks))
    theirs = tiktoken.Encoding("x", pat_str=r"(?s).+", mergeable_ranks=ranks, special_tokens={})
    for _ in range(30):
        word = bytes(rng.choices(b"abc", k=rng.randrange(2, 40)))
        if word not in ranks:
            assert byte_pair_merge(word, ranks) == theirs.decode_tokens_bytes(theirs.encode_ordinary(word.decode()))


@pytest.mark.parametrize("seed", range(20))
def test_the_heap_gives_the_same_tokens_as_the_scan(seed):
    word = bytes(random.Random(seed).choices(b"ab ", k=60))
    assert _merge_with_heap(word, RANKS, float("inf")) == byte_pair_merge(word, RANKS)


def test_a_long_pre_token_is_merged_with_the_heap():
    assert byte_pair_merge(b"ab" * 5000, RANKS) == [b"abab"] * 2500


def test_dropout_of_0_merges_all_and_of_1_nothing():
    for dropout, wanted in ((0.0, [b"abab", b"!"]), (1.0, [b"a", b"b", b"a", b"b", b"!"])):
        assert merge_with_dropout(b"abab!", RANKS, dropout, random.Random(0)) == wanted


def test_a_dropped_merge_may_be_kept_in_a_later_step():
    """In abb, ab or bb may go first; with half of the merges dropped, each split has a positive probability."""
    ranks = BYTES | {b"bb": 256, b"ab": 257, b"abb": 258}
    rng = random.Random(0)
    splits = {tuple(merge_with_dropout(b"abb", ranks, 0.5, rng)) for _ in range(300)}
    assert splits == {(b"a", b"b", b"b"), (b"a", b"bb"), (b"ab", b"b"), (b"abb",)}


# -------------------------------------------------------------------------------------------------- vocabulary


def test_merges_and_ranks_are_two_ways_to_write_one_vocabulary():
    merges = [(97, 98), (256, 256), (32, 256)]
    ranks = ranks_of(merges, RAW_BYTE_ORDER)
    assert {token: i for token, i in ranks.items() if i > 255} == {b"ab": 256, b"abab": 257, b" ab": 258}
    assert merges_of(ranks) == merges


def test_free_ids_leave_out_those_of_special_tokens():
    ids = free_ids([1, 3])
    assert [next(ids) for _ in range(3)] == [0, 2, 4]
    assert ranks_of([(97, 98)], RAW_BYTE_ORDER, [256])[b"ab"] == 257


@pytest.mark.parametrize("merges", [[(97, 300)], [(97, 98), (97, 98)]])
def test_a_merge_of_an_unknown_id_or_of_a_token_twice_is_refused(merges):
    with pytest.raises(FormatError, match="merge"):
        ranks_of(merges, RAW_BYTE_ORDER)


# -------------------------------------------------------------------------------------------------- pre-tokens


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pre_tokens_concatenate_to_the_text(pattern):
    text = "Hello world's  end\n\n日本 naïve 12345 — ok"
    assert "".join(Splitter(pattern)(text)) == text


def test_the_example_of_the_docstring_is_split_as_in_gpt2():
    assert Splitter("gpt2")("Hello world's  end") == ["Hello", " world", "'s", " ", " end"]


def test_without_a_pattern_a_text_is_one_pre_token():
    assert Splitter(None)("a b") == ["a b"]
    assert Splitter(None)("") == []


def test_text_that_a_regular_expression_does_not_match_is_kept():
    assert Splitter(r"\d+")("ab12cd") == ["ab", "12", "cd"]


def test_a_letter_of_unicode_16_is_a_letter_whatever_regex_is_installed():
    assert Splitter("gpt2")("a\u1c89b") == ["a\u1c89b"]


def test_a_text_is_cut_before_a_space_that_follows_no_space():
    assert safe_cut_text("a b  c", 0, 6) == 3
    assert safe_cut_text("a b  c", 0, 3) == 1
    assert safe_cut_text("ab", 0, 2) == -1


# ------------------------------------------------------------------------------------- counting, engine, training


def test_pre_tokens_are_counted_in_the_order_of_first_occurrence():
    counts = count_texts(["b a b", "a"], "gpt2")
    assert list(counts.counts.items()) == [(b"b", 1), (b" a", 1), (b" b", 1), (b"a", 1)]


def test_special_tokens_are_cut_out_of_what_is_counted():
    assert count_texts(["ab<|x|>ab"], None, ["<|x|>"]).counts == {b"ab": 2}


def test_counts_of_two_parts_add_up_and_keep_their_order():
    counts = PretokenCounts("gpt2", {b"a": 1, b"b": 2})
    counts.add(PretokenCounts("gpt2", {b"c": 5, b"b": 3}))
    assert list(counts.counts.items()) == [(b"a", 1), (b"b", 5), (b"c", 5)]


def test_counts_with_other_settings_are_not_added():
    with pytest.raises(ValueError, match="`pattern`"):
        PretokenCounts("gpt2").add(PretokenCounts("cl100k"))


def test_a_pre_token_that_is_a_token_has_its_own_id():
    assert merged_ids(b"ab", RANKS) == (256,)
    assert merged_ids(b"abx", RANKS) == (256, ord("x"))
    odd = BYTES | {b"xyz": 256}  # no merge forms it
    assert merged_ids(b"xyz", odd) == (256,)


def test_the_engine_encodes_counts_and_decodes():
    engine = PythonEngine(RANKS, "gpt2")
    ids = engine.encode("ab ab abab")
    assert ids == [256, 260, ord(" "), 257]
    assert engine.count("ab ab abab") == 4
    assert engine.decode(ids) == b"ab ab abab"
    with pytest.raises(KeyError):
        engine.decode([999])


def test_the_engine_merges_each_pre_token_once():
    engine = PythonEngine(RANKS, "gpt2")
    engine.encode("ab ab ab")
    assert sorted(engine._ids_of) == [" ab", "ab"]


# -------------------------------------------------------------------------------- special tokens and decoding


NAMES = frozenset({"<|a|>", "<|a|>b"})


def test_of_two_special_tokens_at_one_position_the_longer_is_found():
    assert special.finder(NAMES).search("x<|a|>b").group() == "<|a|>b"
    assert special.finder(frozenset()).search("anything") is None


def test_a_text_is_split_at_special_tokens_and_empty_parts_are_left_out():
    parts = list(special.split_at("<|a|>xy<|a|>b", NAMES))
    assert parts == [("<|a|>", True), ("xy", False), ("<|a|>b", True)]


def test_a_special_token_in_a_text_is_refused_unless_it_is_allowed():
    assert special.allowed_in("x", NAMES, frozenset(), "all") == frozenset()
    assert special.allowed_in("<|a|>", NAMES, "all", "all") == NAMES
    assert special.allowed_in("<|a|>", NAMES, frozenset(), ()) == frozenset()
    with pytest.raises(ValueError, match="disallowed special token"):
        special.allowed_in("<|a|>", NAMES, frozenset(), "all")


def test_names_without_ids_are_numbered_from_the_first_free_one():
    assert special.assign_ids(["<|x|>", "<|y|>"], 300) == {"<|x|>": 300, "<|y|>": 301}
    assert special.assign_ids({"<|x|>": 7}, 300) == {"<|x|>": 7}


def test_a_tokenizer_turns_allowed_special_tokens_into_their_ids():
    tok = Tokenizer(RANKS, special_tokens={"<|end|>": 300}, engine="python")
    assert tok.encode("ab<|end|>ab", allowed_special="all") == [256, 300, 256]
    assert 300 not in tok.encode("ab<|end|>", disallowed_special=())
    with pytest.raises(ValueError, match="disallowed special token"):
        tok.encode("ab<|end|>")


def test_bytes_are_printable_and_come_back():
    every = bytes(range(256))
    assert byte_unicode.to_printable(b" na\xc3\xafve") == "ĠnaÃ¯ve"
    assert byte_unicode.from_printable(byte_unicode.to_printable(every)) == every
    with pytest.raises(ValueError, match="does not stand for a byte"):
        byte_unicode.from_printable("日")


def test_ids_decode_to_bytes_and_an_unknown_one_is_named():
    tok = Tokenizer(RANKS, special_tokens={"<|end|>": 300}, engine="python")
    assert tok.decode_tokens_bytes([256, 300]) == [b"ab", b"<|end|>"]
    with pytest.raises(ValueError, match=r"ids\[1\]"):
        tok.decode_tokens_bytes([256, 999])


def test_offsets_of_tokens_inside_a_character_are_those_of_the_character():
    tok = Tokenizer(BYTES, engine="python")
    assert tok.decode_with_offsets(list("aé日".encode())) == ("aé日", [0, 1, 1, 2, 2, 2])


def test_a_stream_waits_until_a_character_is_complete():
    tok = Tokenizer(BYTES, engine="python")
    stream = StreamDecoder(tok)
    assert [stream.push(b) for b in "é!".encode()] == ["", "é", "!"]
    assert stream.push("日".encode()[0]) == ""
    assert stream.finish() == "\ufffd"
    assert stream.push(ord("a")) == "a", "after finish, the stream must be as new"


# --------------------------------------------------------------------------------------------------------- files


def test_a_tiktoken_file_holds_one_token_per_line_in_base_64():
    text = to_text({b"ab": 1, b"a": 0})
    assert text == "YQ== 0\nYWI= 1\n"
    assert parse(text.encode(), "x.tiktoken") == {b"a": 0, b"ab": 1}


@pytest.mark.parametrize("line", [b"YQ==", b"YQ== x", b"!! 3", b"YQ== 0\nYQ== 1"])
def test_a_damaged_tiktoken_file_names_the_line(line):
    with pytest.raises(FormatError, match="line"):
        parse(line, "x.tiktoken")


def test_ids_take_two_bytes_while_they_fit():
    assert [dtype_for(n).str for n in (256, 65536, 65537)] == ["<u2", "<u2", "<u4"]


def test_a_fingerprint_tells_vocabularies_apart():
    toks = [Tokenizer(RANKS, engine="python"), Tokenizer(RANKS, pattern=None, engine="python")]
    toks += [Tokenizer(RANKS, special_tokens={"<|x|>": 300}, engine="python"), Tokenizer(BYTES, engine="python")]
    prints = {fingerprint(tok) for tok in toks}
    assert len(prints) == 4
    assert all(len(p) == 16 and set(p) <= set("0123456789abcdef") for p in prints)
    assert fingerprint(Tokenizer(RANKS, engine="python")) == fingerprint(toks[0])
