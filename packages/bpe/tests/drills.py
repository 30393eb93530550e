"""Probes for drills: what a mistake in this package may change. `tools/drill_probes.py` describes the results."""

import json
import random
import tempfile
from collections import Counter
from pathlib import Path

import bpe
import numpy as np
from bpe import token_file
from bpe.byte_unicode import bytes_to_unicode, from_printable, to_printable
from bpe.merge import _merge_with_heap, byte_pair_merge
from bpe.pretokenize import PATTERNS, Splitter
from bpe.training.count import PretokenCounts, count_texts
from bpe.training.merges import learn_merges

CORPUS = (
    "The dictionary stores a word and its count. A word is split into symbols, and the most frequent pair of symbols "
    "becomes a new symbol; the pair is merged in every word. naïve café, 日本語 text, 😀 and 12345 numbers. "
) * 2 + "aaaa bbbb aabb abab baba   two    spaces  here   " * 3
BYTES = {bytes([b]): b for b in range(256)}
HARD = ["Hello world's  end", "  two  spaces\n\n\tnow ", "DON'T don't 12345 a\u1c89b", "x\r\n  y //\n日本 語!"]
HARD += ["at the end \n  "]


def printable(tokens):
    return " ".join(to_printable(token) for token in tokens)


def small(pattern="gpt2", **options):
    return bpe.train_from_iterator([CORPUS], vocab_size=300, pattern=pattern, engine="python", **options)


def merges_of_a_small_corpus(seed):
    lines = []
    for ties in ("first", "ids", "bytes"):
        counts = count_texts([CORPUS], "gpt2").counts
        tokens = [bytes([b]) for b in range(256)]
        for a, b in learn_merges(counts, 40, ties):
            tokens.append(tokens[a] + tokens[b])
        for start in range(256, len(tokens), 10):
            lines.append(f"ties by {ties}, tokens {start} on: {printable(tokens[start : start + 10])}")
    tied = {b"zb": 2, b"ax": 2, b"az": 2, b"axb": 1, b"ab": 2}
    for ties in ("first", "ids", "bytes"):
        tokens = [bytes([b]) for b in range(256)]
        for a, b in learn_merges(tied, 6, ties):
            tokens.append(tokens[a] + tokens[b])
        lines.append(f"ties by {ties}, all pairs equally frequent: {printable(tokens[256:])}")
    rng = random.Random(2)
    for number in range(1, 7):
        words = {bytes(rng.choices(b"abc", k=rng.randrange(2, 9))): 1 for _ in range(6)}
        tokens = [bytes([b]) for b in range(256)]
        for a, b in learn_merges(words, 8, "first"):
            tokens.append(tokens[a] + tokens[b])
        lines.append(f"ties by first, corpus {number} of random words: {printable(tokens[256:])}")
    return {"kind": "text", "lines": lines}


def counts_of_pairs(seed):
    rows = {}
    for least in (1, 4, 12):
        rows[f"merges whose pair occurs at least {least} times"] = len(
            learn_merges({b"abab": 6, b"cd": 4, b"ef": 12, b"gh": 1}, 20, "first", least)
        )
    part = PretokenCounts("gpt2", {b"a": 3, b"b": 1})
    part.add(PretokenCounts("gpt2", {b"b": 2, b"c": 1, b"a": 3}))
    rows["counts of two parts of a corpus, 3 + 3 a, 1 + 2 b, 1 c"] = " ".join(
        f"{key.decode()}={value}" for key, value in part.counts.items()
    )
    few = bpe.train_from_iterator(["abab"], vocab_size=400, special_tokens=["<|end|>"], engine="python")
    rows["id of a special token after 2 possible merges of 143 wanted"] = few.special_tokens["<|end|>"]
    ranks = small(ties="ids").ranks
    rows["ids of a, space and é's first byte with ties by ids"] = f"{ranks[b'a']} {ranks[b' ']} {ranks[bytes([0xC3])]}"
    return {"kind": "numbers", "rows": rows}


def splits_into_pre_tokens(seed):
    lines = []
    for name in PATTERNS:
        split = Splitter(name)
        lines += [f"{name}, {text!r}: {'|'.join(split(text))!r}" for text in HARD]
    lines.append(f"own pattern \\d+, 'ab12cd': {'|'.join(Splitter(chr(92) + 'd+')('ab12cd'))!r}")
    return {"kind": "text", "lines": lines}


def ids_of_words(seed):
    ranks = BYTES | {b"aa": 256, b"ab": 257, b"abab": 258, b"aaa": 259, b"xyz": 260}
    lines = [f"{word!r}: {printable(byte_pair_merge(word, ranks))}" for word in (b"aaa", b"aaab", b"baaaaa", b"ababab")]
    word = bytes(random.Random(1).choices(b"ab", k=40))
    lines.append(f"40 random letters, scan: {printable(byte_pair_merge(word, ranks))}")
    lines.append(f"40 random letters, heap: {printable(_merge_with_heap(word, ranks, float('inf')))}")
    tok = bpe.Tokenizer(ranks, pattern=None, engine="python")
    lines.append(f"'xyz', a token that no merge forms: {printable(tok.decode_tokens_bytes(tok.encode('xyz')))}")
    try:
        lines.append(f"merges of a small vocabulary: {small().merges[:8]}")
    except ValueError as error:
        lines.append(f"merges of a small vocabulary: {error}")
    return {"kind": "text", "lines": lines}


def dropout(seed):
    rows, rng = {}, random.Random(0)
    for word, more in (("abb", {b"bb": 256, b"ab": 257, b"abb": 258}), ("abcd", {b"ab": 256, b"cd": 257})):
        tok = bpe.Tokenizer(BYTES | more, pattern=None, engine="python")
        found = Counter()
        for _ in range(400):
            found[printable(tok.decode_tokens_bytes(tok.encode_with_dropout(word, 0.5, rng)))] += 1
        rows |= {f"400 samples of {word} with dropout 0.5: {split}": found[split] for split in sorted(found)}
    return {"kind": "numbers", "rows": rows}


def special_tokens(seed):
    tok = bpe.Tokenizer(BYTES, special_tokens={"<|a|>": 300, "<|a|>b": 301}, engine="python")
    lines = []
    for options in ({}, {"allowed_special": "all"}, {"disallowed_special": ()}):
        try:
            found = str(tok.encode("x<|a|>b", **options))
        except ValueError as error:
            found = f"ValueError: {str(error)[:60]} …"
        lines.append(f"encode('x<|a|>b', {options}): {found}")
    lines.append(f"untrusted '<|a|>': {tok.encode_parts([bpe.Untrusted('<|a|>')])}")
    return {"kind": "text", "lines": lines}


def decoding(seed):
    tok = bpe.Tokenizer(BYTES, engine="python")
    ids = list("né日!".encode())
    stream = tok.stream_decoder()
    every = bytes(range(256))
    stand_ins = bytes_to_unicode()
    lines = [
        f"ids of 'né日!' decoded one by one: {[stream.push(i) for i in ids]} then {stream.finish()!r}",
        f"characters at which the tokens start: {tok.decode_with_offsets(ids)[1]}",
        f"printable stand-ins of bytes 0xAC to 0xAF: {[stand_ins[b] for b in range(0xAC, 0xB0)]}",
    ]
    try:
        lines.append(f"all bytes come back from their stand-ins: {from_printable(to_printable(every)) == every}")
    except ValueError as error:
        lines.append(f"all bytes come back from their stand-ins: {error}")
    return {"kind": "text", "lines": lines}


def files(seed):
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        for label, text in (
            ("with runs of spaces", "a   b  c \n d    e" * 30),
            ("with a special token that holds spaces", "word <| a b |> " * 60),
        ):
            tok = small().with_special_tokens({"<| a b |>": 500})
            path.write_text(text)
            whole = tok.encode(text, allowed_special="all")
            same = 0
            for size in range(20, 60):
                parts = [*bpe.encode_file(tok, path, chunk_bytes=size, allowed_special="all")]
                same += np.concatenate(parts).tolist() == whole
            rows[f"file {label}: chunk sizes of 40 with the ids of the whole text"] = same
        text = "a   b  c \n d    e " * 40
        rows["first ids up to a limit, limits of 60 that agree"] = sum(
            tok.encode_up_to(text * 20, n) == tok.encode_ordinary(text * 20)[:n] for n in range(200, 260)
        )
        tok = bpe.Tokenizer(BYTES, special_tokens={"<far>": 70000}, engine="python")
        path.write_text("a<far>b")
        token_file.write_ids(tok, path, Path(folder) / "ids.bin", allowed_special="all")
        rows["ids of 'a<far>b' after a token file (id 70000)"] = str(
            token_file.read_ids(Path(folder) / "ids.bin", tok).tolist()
        )
        [exported, *_] = [p for p in small().export(folder, "huggingface") if p.name == "tokenizer.json"]
        content = json.loads(exported.read_text())
        rows["pre-tokenizer of the exported tokenizer.json splits text"] = json.dumps(content["pre_tokenizer"]).count(
            '"use_regex": true'
        ) + json.dumps(content["pre_tokenizer"]).count("Split")
    return {"kind": "numbers", "rows": rows}


PROBES = {
    "merges of a small corpus": merges_of_a_small_corpus,
    "counts and ids": counts_of_pairs,
    "splits into pre-tokens": splits_into_pre_tokens,
    "tokens of single words": ids_of_words,
    "BPE dropout": dropout,
    "special tokens in a text": special_tokens,
    "decoding": decoding,
    "files": files,
}
