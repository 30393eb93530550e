"""Files of text, vocabularies, dates, translators."""

import gzip
import random
from datetime import date

import pytest
import torch
from transformer_torch import Transformer, TransformerConfig, Translator
from transformer_torch.corpus import Corpus, named_corpus, read_lines, read_parallel
from transformer_torch.dates import FORMS, date_corpus, date_pairs, is_held_out, write
from transformer_torch.files import write_json, write_tensors
from transformer_torch.recipes import DataConfig
from transformer_torch.score import score_lines
from transformer_torch.vocab import UNKNOWN, SubwordVocabulary, SymbolVocabulary, build_vocabulary, load_vocabulary


def files(folder, **texts):
    for name, text in texts.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return [folder / name for name in texts]


def test_two_files_a_table_and_gzip_are_the_same_corpus(tmp_path):
    src, tgt, table = files(
        tmp_path,
        src="ein Hund\r\nzwei\u2028Hunde\n",
        tgt="a dog\ntwo dogs",
        t="ein Hund\ta dog\nzwei\u2028Hunde\ttwo dogs\n",
    )
    packed = tmp_path / "src.gz"
    packed.write_bytes(gzip.compress(src.read_bytes()))
    for corpus in (read_parallel(src, tgt), read_parallel(packed, tgt), read_parallel(table, None)):
        assert corpus.src == ["ein Hund", "zwei\u2028Hunde"]
        assert corpus.tgt == ["a dog", "two dogs"]


@pytest.mark.parametrize(
    ("src", "tgt", "message"),
    [
        ("a\nb\n", "a\n", "2 lines of source, 1 of target"),
        ("", "", "empty"),
        ("a\n\nc\n", "a\nb\nc\n", "line 2 of the source is empty"),
        ("a\nb\n", "a\n \n", "line 2 of the target is empty"),
        (b"a\xff\n", "a\n", "not UTF-8"),
    ],
)
def test_bad_text_is_named(tmp_path, src, tgt, message):
    with pytest.raises(ValueError, match=message):
        read_parallel(*files(tmp_path, src=src, tgt=tgt))


def test_broken_files_are_named(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"a line\n" * 99)[:-9])
    with pytest.raises(ValueError, match="not a whole gzip"):
        read_lines(tmp_path / "x.gz")
    (table,) = files(tmp_path, t="a\tb\nc\n")
    with pytest.raises(ValueError, match="line 2 has 1 columns"):
        read_parallel(table, None)
    with pytest.raises(ValueError, match="multi30k-de-fr"):
        named_corpus("multi30k-de-fr", "train")


def test_pairs_get_begin_and_end_and_long_ones_are_named():
    corpus = Corpus(["ab"], ["ba"], "these")
    vocabulary = SymbolVocabulary.build(["ab"], "")
    assert corpus.encoded(vocabulary, 3) == [([4, 5, 2], [1, 5, 4, 2])]
    with pytest.raises(ValueError, match="these: line 1 has 3 tokens; this model has 2"):
        corpus.encoded(vocabulary, 2)


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_a_vocabulary_gives_back_its_lines_and_survives_its_file(tmp_path, kind):
    lines = ["der Hund läuft", "der Hund"]
    vocabulary = build_vocabulary(kind, lines, 100)
    vocabulary.save(tmp_path)
    loaded = load_vocabulary(tmp_path)
    for line in lines:
        assert loaded.decode(loaded.encode(line)) == line
        assert loaded.encode(line) == vocabulary.encode(line)
        assert min(loaded.encode(line)) >= 4
    assert UNKNOWN in loaded.encode("der Katze")
    assert loaded.decode([1, *loaded.encode("der"), 2, 0]) == "der"
    assert len(loaded) == len(vocabulary)


def test_a_small_word_vocabulary_keeps_the_frequent_words():
    vocabulary = build_vocabulary("words", ["b b b a a c"], 6)
    assert len(vocabulary) == 6
    assert vocabulary.encode("a b c") == [5, 4, UNKNOWN]
    with pytest.raises(ValueError, match="vocab_size"):
        build_vocabulary("words", ["a"], 4)


class Bytes:
    """What `bpe` is asked for, with nothing merged."""

    n_vocab = 256

    def encode_ordinary(self, text):
        return list(text.encode())

    def encode_with_dropout(self, text, dropout, generator):
        return [i for i in text.encode() if generator.random() >= dropout]

    def decode(self, ids):
        return bytes(ids).decode(errors="replace")


def test_subwords_stand_after_the_four_signs():
    vocabulary = SubwordVocabulary(Bytes())
    assert len(vocabulary) == 260
    assert vocabulary.encode("é") == [4 + 32, 4 + 195, 4 + 169]
    assert vocabulary.decode([1, *vocabulary.encode("ein Hund läuft"), 2, 0]) == "ein Hund läuft"
    assert vocabulary.pieces([1, 4 + 65]) == ["<s>", "A"]
    with pytest.raises(ValueError, match="vocab_size: 200"):
        SubwordVocabulary.build(["a"], 200)


def test_bpe_dropout_splits_each_epoch_in_its_own_way():
    vocabulary, corpus = SubwordVocabulary(Bytes()), Corpus(["ein Hund läuft", "a" * 40], ["a dog runs", "b"])
    first, second, again = (corpus.sampled(vocabulary, 30, 0.5, seed) for seed in ("7 0", "7 1", "7 0"))
    assert first == again != second
    assert all(src[-1] == tgt[-1] == 2 and tgt[0] == 1 for src, tgt in first)
    # with nothing left out it is the usual split, even where the other kind would not fit the model
    assert corpus.sampled(vocabulary, 60, 0.0, "7 0") == corpus.encoded(vocabulary, 60)
    assert corpus.sampled(vocabulary, 5, 0.0, "7 0") == corpus.encoded(vocabulary, 60)
    with pytest.raises(ValueError, match="bpe_dropout"):
        SymbolVocabulary.build(["a"], "").sample("a", 0.1, random.Random(0))
    with pytest.raises(ValueError, match=r"bpe_dropout: 0.1 with vocab=words"):
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


def test_the_alignment_joins_equal_digits_and_held_out_days_are_apart():
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
    vocabulary = build_vocabulary("characters", corpus.src + corpus.tgt, 0)
    vocabulary.save(folder)
    config = TransformerConfig(len(vocabulary), 16, 2, 1, 32, max_length=40)
    model = Transformer(config).eval()
    write_json(folder / "config.json", {"data": {}, "model": config.to_dict(), "train": {}})
    write_tensors(folder / "model.safetensors", model.state_dict())
    return corpus, model, vocabulary


def test_a_translator_keeps_the_order_and_does_not_depend_on_company(tmp_path):
    corpus, model, vocabulary = tiny_run(tmp_path)
    translator = Translator.load(tmp_path)
    lines = [*corpus.src[:9], "", corpus.src[0]]
    for beam in (1, 3):
        together = translator.translate(lines, beam=beam)
        assert together == [translator.translate([line], beam=beam)[0] for line in lines]
        assert together == list(translator.stream(iter(lines), beam, chunk=2))
        assert together == Translator(model, vocabulary).translate(lines, beam=beam, batch_size=3)
        assert together[9] == ""
    pool = translator.nbest(lines[:1], beam=3)[0]
    assert pool[0][0] == translator.translate(lines[:1], beam=3)[0]
    assert 1 < len(pool) <= 3


def test_a_translator_gives_the_attention_of_a_line(tmp_path):
    corpus, *_ = tiny_run(tmp_path)
    source, target, weights = Translator.load(tmp_path).attention(corpus.src[0], corpus.tgt[0])
    assert "".join(source) == corpus.src[0] + "</s>"
    assert "".join(target) == corpus.tgt[0] + "</s>"
    assert weights["decoder.0.cross"].shape == (2, len(target), len(source))


def test_what_does_not_belong_together_is_refused(tmp_path):
    corpus, model, _ = tiny_run(tmp_path)
    with pytest.raises(ValueError, match="different runs"):
        Translator(model, SymbolVocabulary.build(["abc"], ""))
    with pytest.raises(ValueError, match="41 tokens"):
        Translator.load(tmp_path).translate([corpus.src[0][:1] * 40])
    with pytest.raises(ValueError, match="the folder of a run"):
        Translator.load(tmp_path / "nowhere")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a whole safetensors"):
        Translator.load(tmp_path)


def test_scores_carry_their_signatures():
    lines = ["Ein Hund läuft über die Wiese .", "Zwei Kinder spielen im Sand ."]
    bleu, chrf = score_lines(lines, lines)
    assert bleu.startswith("BLEU = 100.00")
    assert "tok:13a" in bleu
    assert "case:mixed" in bleu
    assert chrf.startswith("chrF2 = 100.00")
    with pytest.raises(ValueError, match="1 lines"):
        score_lines(lines[:1], lines)
