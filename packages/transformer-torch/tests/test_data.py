"""Text files, tokenizers, dates, translators."""

import gzip
import io
import os
import random
from datetime import date

import pytest
import torch
from transformer_torch import Transformer, TransformerConfig, Translator
from transformer_torch._common.atomic import write_json
from transformer_torch._common.tensors import write_tensors
from transformer_torch.data.corpus import Corpus, load_dataset, read_lines, read_parallel
from transformer_torch.data.dates import FORMS, date_corpus, date_pairs, is_held_out, write
from transformer_torch.data.tokenizer import UNK_ID, SubwordTokenizer, SymbolTokenizer, build_tokenizer, load_tokenizer
from transformer_torch.evaluation.bleu import score_lines
from transformer_torch.inference.stream import line_blocks
from transformer_torch.recipes import DataConfig


def files(folder, **texts):
    for name, text in texts.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return [folder / name for name in texts]


def test_two_files_a_table_and_gzip_are_the_same_corpus(tmp_path):
    src, tgt, table = files(
        tmp_path,
        src="\ufeffein Hund\r\nzwei\u2028Hunde\n",
        tgt="a dog\ntwo dogs",
        t="ein Hund\ta dog\nzwei\u2028Hunde\ttwo dogs\n",
    )
    packed = tmp_path / "src.GZ"
    packed.write_bytes(gzip.compress(src.read_bytes()))
    for corpus in (read_parallel(src, tgt), read_parallel(packed, tgt), read_parallel(table, None)):
        assert corpus.src == ["ein Hund", "zwei\u2028Hunde"]
        assert corpus.tgt == ["a dog", "two dogs"]


@pytest.mark.parametrize(
    ("src", "tgt", "message"),
    [
        ("a\nb\n", "a\n", "must have as many lines, got 2 and 1"),
        ("", "", "no lines"),
        (b"a\xff\n", "a\n", r"src: not UTF-8 \(byte 1\)"),
        ("a\n".encode("utf-16"), "a\n", "not UTF-8"),
    ],
)
def test_bad_text_is_named(tmp_path, src, tgt, message):
    with pytest.raises(ValueError, match=message):
        read_parallel(*files(tmp_path, src=src, tgt=tgt))


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"a line\n" * 99)[:-9])
    with pytest.raises(ValueError, match="not a complete gzip"):
        read_lines(tmp_path / "x.gz")
    (table,) = files(tmp_path, t="a\tb\nc\n")
    with pytest.raises(ValueError, match=r"t:2: must have 2 columns.*got 1. For two files, add --tgt"):
        read_parallel(table, None)
    with pytest.raises(ValueError, match="`data` must be one of multi30k-de-en, multi30k-en-de, got 'multi30k-de-fr'"):
        load_dataset("multi30k-de-fr", "train")


def test_pairs_get_begin_and_end_and_unusable_ones_are_skipped_with_a_count():
    corpus = Corpus(["ab", "", "aaaa", "b"], ["ba", "b", "b", " "], "these")
    tokenizer, said = SymbolTokenizer.build(["ab"], ""), []
    assert corpus.encode(tokenizer, 3, said.append) == [([4, 5, 2], [1, 5, 4, 2])]
    assert said == [
        "these: skipped 2 of 4 pairs with a blank side",
        "these: skipped 1 of 4 pairs longer than 3 tokens (--max-length)",
    ]
    assert corpus.cleaned().src == ["ab", "aaaa"]
    with pytest.raises(ValueError, match="these: no pair has text on both sides and at most 2 tokens"):
        corpus.encode(tokenizer, 2)


def test_held_out_pairs_are_a_twentieth_and_not_in_training():
    corpus = Corpus([f"s{i}" for i in range(100)], [f"t{i}" for i in range(100)])
    train, valid = corpus.held_out()
    assert (len(train), len(valid)) == (95, 5)
    assert not set(train.src) & set(valid.src)
    assert all(t == s.replace("s", "t") for s, t in zip(valid.src, valid.tgt, strict=True))
    assert corpus.held_out() == (train, valid)
    with pytest.raises(ValueError, match="at least 2 lines"):
        Corpus(["a"], ["b"]).held_out()


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_a_tokenizer_round_trips_its_lines_and_its_file(tmp_path, kind):
    lines = ["der Hund läuft", "der Hund"]
    tokenizer = build_tokenizer(kind, lines, 100)
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    for line in lines:
        assert loaded.decode(loaded.encode(line)) == line
        assert loaded.encode(line) == tokenizer.encode(line)
        assert min(loaded.encode(line)) >= 4
    assert UNK_ID in loaded.encode("der Katze")
    assert loaded.decode([1, *loaded.encode("der"), 2, 0]) == "der"
    assert len(loaded) == len(tokenizer)


def test_a_small_word_vocabulary_keeps_the_frequent_words():
    tokenizer = build_tokenizer("words", ["b b b a a c"], 6)
    assert len(tokenizer) == 6
    assert tokenizer.encode("a b c") == [5, 4, UNK_ID]
    with pytest.raises(ValueError, match="vocab_size"):
        build_tokenizer("words", ["a"], 4)


class Bytes:
    """The part of a `bpe` tokenizer that is used, without merges."""

    n_vocab = 256

    def encode_ordinary(self, text):
        return list(text.encode())

    def encode_with_dropout(self, text, dropout, generator):
        return [i for i in text.encode() if generator.random() >= dropout]

    def decode(self, ids):
        return bytes(ids).decode(errors="replace")


def test_subword_ids_follow_the_four_special_tokens():
    tokenizer = SubwordTokenizer(Bytes())
    assert len(tokenizer) == 260
    assert tokenizer.encode("é") == [4 + 32, 4 + 195, 4 + 169]
    assert tokenizer.decode([1, *tokenizer.encode("ein Hund läuft"), 2, 0]) == "ein Hund läuft"
    assert tokenizer.tokens([1, 4 + 65]) == ["<s>", "A"]
    with pytest.raises(ValueError, match="`vocab_size` must be an integer of at least 260, got 200"):
        SubwordTokenizer.build(["a"], 200)


def test_bpe_dropout_splits_words_differently_in_each_epoch():
    tokenizer, corpus = SubwordTokenizer(Bytes()), Corpus(["ein Hund läuft", "a" * 40], ["a dog runs", "b"])
    first, second, again = (corpus.sample(tokenizer, 30, 0.5, seed) for seed in ("7 0", "7 1", "7 0"))
    assert first == again != second
    assert all(src[-1] == tgt[-1] == 2 and tgt[0] == 1 for src, tgt in first)
    # without dropout it is the usual split
    assert corpus.sample(tokenizer, 60, 0.0, "7 0") == corpus.encode(tokenizer, 60)
    with pytest.raises(ValueError, match="bpe_dropout"):
        SymbolTokenizer.build(["a"], "").sample("a", 0.1, random.Random(0))
    with pytest.raises(ValueError, match=r"`bpe_dropout` must be 0 with `vocab` = 'words', got 0.1"):
        DataConfig(vocab="words", bpe_dropout=0.1)


def test_dates_are_written_as_people_write_them():
    day = date(2021, 3, 4)
    found = {language: [write(day, language, form).text for form in forms] for language, forms in FORMS.items()}
    assert found["de"] == [
        "4. März 2021",
        "Donnerstag, 4. März 2021",
        "Donnerstag, den 4. März 2021",
        "4.3.2021",
        "04.03.2021",
    ]
    assert {"March 4, 2021", "4 Mar 2021", "3/4/2021"} <= set(found["en"])
    assert found["ja"] == ["2021年3月4日", "2021年03月04日"]
    assert "el 4 de marzo de 2021" in found["es"]


def test_alignment_joins_equal_digits_and_held_out_days_are_disjoint():
    seen = [{p.iso for p in date_pairs(2000, held_out=held_out)} for held_out in (False, True)]
    assert not seen[0] & seen[1]
    assert all(is_held_out(date.fromisoformat(iso)) for iso in seen[1])
    for pair in date_pairs(500):
        assert set(pair.alignment) >= {0, 1, 2, 3, 9}
        assert len(set(pair.alignment.values())) == len(pair.alignment)
        assert all(pair.iso[i] == pair.text[j] and pair.iso[i].isdigit() for i, j in pair.alignment.items())


def tiny_run(folder):
    torch.manual_seed(0)
    corpus = date_corpus(50)
    tokenizer = build_tokenizer("characters", corpus.src + corpus.tgt, 0)
    tokenizer.save(folder)
    config = TransformerConfig(len(tokenizer), 16, 2, 1, 32, max_length=40)
    model = Transformer(config).eval()
    write_json(folder / "config.json", {"data": {}, "model": config.to_dict(), "train": {}})
    write_tensors(folder / "model.safetensors", model.state_dict())
    return corpus, model, tokenizer


def test_a_translation_does_not_depend_on_its_batch_and_order_is_kept(tmp_path):
    corpus, model, tokenizer = tiny_run(tmp_path)
    translator = Translator.load(tmp_path)
    lines = [*corpus.src[:9], "", corpus.src[0]]
    for beam in (1, 3):
        together = translator.translate(lines, beam_size=beam)
        assert together == [translator.translate([line], beam_size=beam)[0] for line in lines]
        blocks = (lines[i : i + 2] for i in range(0, len(lines), 2))
        assert together == [line for block in translator.stream(blocks, beam) for line in block]
        assert together == Translator(model, tokenizer).translate(lines, beam_size=beam, batch_size=3)
        assert together[9] == ""
    pool = translator.nbest(lines[:1], beam_size=3)[0]
    assert pool[0][0] == translator.translate(lines[:1], beam_size=3)[0]
    assert 1 < len(pool) <= 3


def test_a_translator_returns_the_attention_of_a_line(tmp_path):
    corpus, *_ = tiny_run(tmp_path)
    source, target, weights = Translator.load(tmp_path).attention(corpus.src[0], corpus.tgt[0])
    assert "".join(source) == corpus.src[0] + "</s>"
    assert "".join(target) == corpus.tgt[0] + "</s>"
    assert weights["decoder.0.cross_attn"].shape == (2, len(target), len(source))


def test_parts_of_different_runs_and_damaged_files_are_refused(tmp_path):
    _, model, _ = tiny_run(tmp_path)
    with pytest.raises(ValueError, match="different runs"):
        Translator(model, SymbolTokenizer.build(["abc"], ""))
    with pytest.raises(ValueError, match=r"Is .* a run folder"):
        Translator.load(tmp_path / "nowhere")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a valid safetensors"):
        Translator.load(tmp_path)


def test_nbest_texts_differ_and_lists_are_filled(tmp_path):
    """Every third id has the same text here, so a beam of 4 finds fewer than 4 texts for some lines."""
    corpus, model, tokenizer = tiny_run(tmp_path)
    tokenizer.symbols = ["abc"[i % 3] for i in range(len(tokenizer.symbols))]
    translator = Translator(model, tokenizer)
    short = [len(pool) for pool in translator.nbest(corpus.src[:6], beam_size=4)]
    pools = translator.nbest(corpus.src[:6], beam_size=4, at_least=4)
    assert sum(short) < 24
    assert [len(pool) for pool in pools] == [4] * 6
    assert all(len({text for text, _ in pool}) == 4 for pool in pools)


def test_a_long_line_is_truncated_and_reported(tmp_path):
    corpus, *_ = tiny_run(tmp_path)
    translator, told = Translator.load(tmp_path), []
    long = corpus.src[0][:1] * 60
    lines = ["", corpus.src[1], long]
    found = translator.translate(lines, 1, truncated=lambda *about: told.append(about))
    assert told == [(2, 61, 40)]
    assert found == translator.translate(["", corpus.src[1], long[:39]], 1)
    assert translator.translate([long], 1, max_source_tokens=100) != [found[2]]
    assert len(translator.encode(long, 10)) == 10


def test_lines_are_read_as_they_arrive():
    """One line at a time from a slow pipe; all that is there from a fast one; only a line feed ends a line."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "r", encoding="utf-8") as stream, os.fdopen(writer, "wb", buffering=0) as pipe:
        blocks = line_blocks(stream, 2)
        pipe.write(b"\xef\xbb\xbfone\r\n")
        assert next(blocks) == ["one"]
        pipe.write("a\u2028b\rc\n\nthree\nfo".encode())
        assert next(blocks) == ["a\u2028b\rc", ""]
        assert next(blocks) == ["three"]
        pipe.write(b"ur")
        pipe.close()
        assert list(blocks) == [["four"]]
    assert list(line_blocks(io.StringIO("a\nb\nc"), 2)) == [["a", "b"], ["c"]]


def test_scores_carry_their_signatures():
    lines = ["Ein Hund läuft über die Wiese .", "Zwei Kinder spielen im Sand ."]
    bleu, chrf = score_lines(lines, lines)
    assert bleu.startswith("BLEU = 100.00")
    assert "tok:13a" in bleu
    assert "case:mixed" in bleu
    assert chrf.startswith("chrF2 = 100.00")
    with pytest.raises(ValueError, match="as many lines as the reference, 2, got 1"):
        score_lines(lines[:1], lines)
