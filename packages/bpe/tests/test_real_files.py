"""`tokenizer.json` files of every kind that models use, built with `tokenizers`, whose ids are the oracle."""

import json
import pickle
import random
import unicodedata

import bpe
import pytest
from bpe.normalization import FORMS, normalize
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as HuggingFace

P, N = pre_tokenizers, normalizers
HANGUL_AND_HAN = [chr(c) for span in ((0xAC00, 0xD7A4), (0xF900, 0xFB00), (0x2F800, 0x2FA20)) for c in range(*span)]
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHINESE = "[一-龥぀-ゟ゠-ヿ]+"


def byte_level(space=False, regex=True):
    return P.ByteLevel(add_prefix_space=space, use_regex=regex)


def isolated(pattern):
    return P.Split(Regex(pattern), "isolated")


def template(single="<s> $A </s>"):
    return processors.TemplateProcessing(single=single, special_tokens=[("<s>", 1000), ("</s>", 1001)])


STEPS = {
    "GPT-2": (None, byte_level()),
    "Llama 3": (None, P.Sequence([isolated(QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|")), byte_level(regex=False)])),
    "Qwen": (N.NFC(), P.Sequence([isolated(QWEN), byte_level(regex=False)])),
    "GPT-NeoX": (N.NFC(), byte_level()),
    "NFKC": (N.NFKC(), byte_level()),
    "NFD": (N.NFD(), byte_level()),
    "NFKD": (N.NFKD(), byte_level()),
    "prepend": (N.Prepend("▁"), byte_level()),
    "sequence of normalizers": (N.Sequence([N.NFKD(), N.Prepend("_é"), N.Sequence([N.NFC()])]), byte_level()),
    "StarCoder": (None, P.Sequence([P.Digits(individual_digits=True), byte_level()])),
    "digits in groups": (None, P.Sequence([P.Digits(individual_digits=False), byte_level(space=True)])),
    "DeepSeek": (
        None,
        P.Sequence([isolated(r"\p{N}{1,3}"), isolated(CHINESE), isolated(DEEPSEEK), byte_level(regex=False)]),
    ),
    "RoBERTa": (None, byte_level(space=True)),
    "prefix space, no regex": (None, byte_level(space=True, regex=False)),
    "no regex": (None, byte_level(regex=False)),
    "split and regex": (None, P.Sequence([isolated(r"\p{Lu}"), byte_level()])),
    "removed and inverted": (None, P.Sequence([P.Split(Regex(QWEN), "removed", invert=True), byte_level(regex=False)])),
    "removed": (None, P.Sequence([P.Split(Regex(r"\s+"), "removed"), byte_level(regex=False)])),
    "merged with previous": (None, P.Sequence([P.Split(Regex(r"[.!?]"), "merged_with_previous"), byte_level()])),
    "merged with next": (None, P.Sequence([P.Split(" ", "merged_with_next"), byte_level(regex=False)])),
    "contiguous": (None, P.Sequence([P.Split(Regex(r"[a-z.]"), "contiguous"), byte_level(regex=False)])),
    "contiguous, inverted": (None, P.Sequence([P.Split("e", "contiguous", invert=True), byte_level(regex=False)])),
    "merged with next, inverted": (
        None,
        P.Sequence([P.Split(Regex("[aeiou]"), "merged_with_next", invert=True), byte_level()]),
    ),
    "words": (None, P.Sequence([isolated(r"\w+"), byte_level(regex=False)])),
    "not words": (None, P.Sequence([isolated(r"\W"), byte_level(regex=False)])),
    "decimal digits": (None, P.Sequence([isolated(r"\d\D"), byte_level(regex=False)])),
    "word edges": (None, P.Sequence([isolated(r"\b"), byte_level(regex=False)])),
    "not word edges": (None, P.Sequence([isolated(r"\B"), byte_level(regex=False)])),
    "line ends": (None, P.Sequence([isolated(r"$"), byte_level(regex=False)])),
    "line starts": (None, P.Sequence([isolated(r"^"), byte_level(regex=False)])),
    "start and end": (None, P.Sequence([isolated(r"\A.|.\z"), byte_level(regex=False)])),
    "empty matches": (None, P.Sequence([P.Split(Regex(r"x*"), "merged_with_previous"), byte_level(regex=False)])),
    "case ignored": (None, P.Sequence([isolated(r"(?i)the|'s|k"), byte_level(regex=False)])),
}  # fmt: skip

ADDED = {
    "none": [],
    "special": [AddedToken("<s>", special=True, normalized=False), AddedToken("</s>", special=True, normalized=False)],
    "not special": [AddedToken(name, normalized=False) for name in ("  ", "    ", "<x>")],
    "lstrip": [AddedToken("<mask>", special=True, lstrip=True), AddedToken("the", lstrip=True)],
    "rstrip": [AddedToken("<|end|>", special=True, rstrip=True, normalized=False), AddedToken(" ", rstrip=True)],
    "both": [AddedToken("é", lstrip=True, rstrip=True), AddedToken("\n", lstrip=True, normalized=False)],
    "single word": [AddedToken("the", single_word=True, normalized=False), AddedToken("_", single_word=True)],
    "normalized": [AddedToken("ﬁ"), AddedToken("e\u0301x"), AddedToken("日本", normalized=False), AddedToken("日")],
    "in the vocabulary": [
        AddedToken("he"),
        AddedToken("é"),
        AddedToken("Ġ", normalized=False),
        AddedToken("in", special=True),
    ],
    "overlapping": [
        AddedToken("ab", special=True),
        AddedToken("abc"),
        AddedToken("bc"),
        AddedToken("abcd", single_word=True),
    ],
}  # fmt: skip
WORDS = [
    "the", "the ", " the", "<s>", "</s>", "<mask>", "<|end|>", "  ", "é", "e\u0301x", "ﬁ", "日本", "ab", "abc", "abcd",
    "in", "he", "1", "23", "\n", "x", "_", "Ġ", ".", "A", "\u0301", "각", "²", "<x>",
]  # fmt: skip


@pytest.fixture(scope="module")
def samples(texts):
    """A hypothesis strategy: hostile text, and text in which added tokens meet."""
    return texts() | st.lists(st.sampled_from(WORDS), max_size=12).map("".join)


trained = {}  # seed -> tokenizer


def random_model(seed, topics, **options):
    """A BPE model: random merges over random ids of bytes."""
    generator = random.Random(seed)
    if seed not in trained:
        order = "gpt2" if seed % 2 else "raw"
        texts, ties = generator.sample(topics, 6), generator.choice(["first", "bytes"])
        trained[seed] = bpe.train_from_iterator(texts, vocab_size=700, ties=ties, byte_order=order, engine="python")
    ranks = trained[seed]
    vocabulary = {name: i for i, name in enumerate(ranks.pieces(range(700)))}
    merges = [tuple(ranks.pieces(pair)) for pair in ranks.merges]
    if options.pop("shuffled", False):  # RoBERTa's ids are not in the order of the merges
        ids = list(vocabulary.values())
        generator.shuffle(ids)
        vocabulary = dict(zip(vocabulary, ids, strict=True))
    return models.BPE(vocab=vocabulary, merges=merges, **options)


def build(folder, model, normalizer=None, pre_tokenizer=None, added=(), post_processor=None):
    """Write a tokenizer.json with `tokenizers`. Returns its tokenizer and the path."""
    live = HuggingFace(model)
    if normalizer is not None:
        live.normalizer = normalizer
    live.pre_tokenizer = pre_tokenizer or byte_level()
    live.add_tokens(list(added))
    if post_processor is not None:
        live.post_processor = post_processor
    folder.mkdir(exist_ok=True)
    live.save(str(folder / "tokenizer.json"))
    return HuggingFace.from_file(str(folder / "tokenizer.json")), folder / "tokenizer.json"


def check(live, tok, text):
    want = live.encode(text, add_special_tokens=False).ids
    assert tok.encode(text, allowed_special="all") == want
    assert tok.encode_with_template(text, allowed_special="all") == live.encode(text).ids
    assert tok.encode_batch([text, ""], allowed_special="all")[0] == want
    assert tok.encode_to_numpy(text, allowed_special="all").tolist() == want
    live.encode_special_tokens = True
    want = live.encode(text, add_special_tokens=False).ids
    live.encode_special_tokens = False
    assert tok.encode_ordinary(text) == want
    assert tok.encode(text, disallowed_special=()) == want
    assert tok.encode_up_to(text, 3) == want[:3]
    assert tok.count(text) == len(want)


EDGES = [
    f"a{space}{word}{space}b" for space in ("\x1c", " \x1f", "\u3000 ", "\x85") for word in ("the", "é", "<|end|>")
]

EDGES += ["", "\n", "one line\nand\n\nanother\n"]


def check_examples(live, tok, samples):
    for text in EDGES:
        check(live, tok, text)

    @settings(max_examples=25)
    @given(text=samples)
    def examples(text):
        check(live, tok, text)

    examples()


@pytest.mark.parametrize("name", STEPS)
def test_steps_around_bpe_give_the_ids_of_tokenizers(name, topics, tmp_path, engine, samples):
    normalizer, pre_tokenizer = STEPS[name]
    kinds = list(ADDED)
    for seed, kind in enumerate(["none", kinds[len(name) % len(kinds)], kinds[(7 * len(name) + 3) % len(kinds)]]):
        shuffled = seed == 2
        model = random_model(seed, topics, shuffled=shuffled)
        live, path = build(tmp_path / str(seed), model, normalizer, pre_tokenizer, ADDED[kind])
        tok = bpe.Tokenizer.load(path, engine=engine)
        assert tok.engine == engine

        check_examples(live, tok, samples)


@pytest.mark.parametrize("kind", ADDED)
def test_added_tokens_give_the_ids_of_tokenizers(kind, topics, tmp_path, engine, samples):
    for seed, steps in enumerate(["GPT-2", "GPT-NeoX", "RoBERTa", "sequence of normalizers", "Qwen"]):
        model = random_model(seed, topics, shuffled=seed % 2 == 1, ignore_merges=seed == 3)
        live, path = build(tmp_path / str(seed), model, *STEPS[steps], ADDED[kind])
        tok = bpe.Tokenizer.load(path, engine=engine)

        check_examples(live, tok, samples)


SPECIAL = [AddedToken(name, special=True, normalized=False) for name in ("<s>", "</s>")]
POST_PROCESSORS = {
    "none": None,
    "byte level": processors.ByteLevel(trim_offsets=False),
    "Llama 3": processors.Sequence(
        [processors.ByteLevel(), processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 700)])]
    ),
    "both ends": processors.TemplateProcessing(single="<s> <s> $A </s>", special_tokens=[("<s>", 700), ("</s>", 701)]),
    "RoBERTa": processors.RobertaProcessing(("</s>", 701), ("<s>", 700)),
    "BERT": processors.BertProcessing(("</s>", 701), ("<s>", 700)),
}


@pytest.mark.parametrize("kind", POST_PROCESSORS)
def test_templates_give_the_ids_of_tokenizers(kind, topics, tmp_path, engine, samples):
    live, path = build(tmp_path, random_model(1, topics), *STEPS["GPT-2"], SPECIAL, POST_PROCESSORS[kind])
    tok = bpe.Tokenizer.load(path, engine=engine)

    check_examples(live, tok, samples)
    added = len(tok.encode_with_template("a b")) - len(tok.encode("a b"))
    assert added == {"none": 0, "byte level": 0, "Llama 3": 1, "both ends": 3}.get(kind, 2)


@pytest.mark.parametrize("name", STEPS)
def test_saved_exported_and_pickled_tokenizers_give_the_same_ids(name, topics, tmp_path):
    normalizer, pre_tokenizer = STEPS[name]
    added = [*SPECIAL, *ADDED["not special"], *ADDED["in the vocabulary"], *ADDED["rstrip"]]
    post_processor = POST_PROCESSORS["RoBERTa"]
    model = random_model(len(name), topics, shuffled=len(name) % 2 == 0)
    live, path = build(tmp_path / "a", model, normalizer, pre_tokenizer, added, post_processor)
    (tmp_path / "a" / "tokenizer_config.json").write_text('{"model_max_length": 512}')
    tok = bpe.Tokenizer.load(path, engine="python").with_special_tokens(["<|new|>"])
    live.add_special_tokens([AddedToken("<|new|>", special=True, normalized=False)])
    tok.save(tmp_path / "native.json")
    files = tok.export(tmp_path / "b", "huggingface")
    for folder_format in ("openai", "tiktoken"):
        with pytest.raises(bpe.FormatError, match="cannot express the added tokens, steps or template"):
            tok.export(tmp_path / "c", folder_format)
    again = HuggingFace.from_file(str(files[0]))
    others = [
        bpe.Tokenizer.load(tmp_path / "native.json"),
        bpe.Tokenizer.load(tmp_path / "b"),
        pickle.loads(pickle.dumps(tok)),
    ]
    assert [other.model_max_length for other in [tok, *others]] == [512] * 4
    assert all(other.merges == tok.merges for other in others)
    text = "".join(TEXT for TEXT in ("The <|new|> Ġ é in  the\n<s> 12", topics[3][:2000], "日本 ﬁ e\u0301x  <|end|>  "))
    want = live.encode(text).ids
    assert again.encode(text).ids == want
    for other in [tok, *others]:
        assert other.encode_with_template(text, allowed_special="all") == want
        assert other.special_tokens == tok.special_tokens


def test_normal_forms_are_those_of_tokenizers():
    everything = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    moving = [c for c in everything if unicodedata.combining(c) or not unicodedata.is_normalized("NFKD", c)]
    some = {*random.Random(0).sample(moving, 1500), *random.Random(0).sample(everything, 1500)}
    for form in FORMS:
        live = getattr(N, form)()
        # the marks around it show whether a character moves, and all that a version of Unicode may have added are there
        around = [f"a\u0301{c}\u0327\u0301\u0334" for c in sorted(some | set(moving) - set(HANGUL_AND_HAN))]
        for text in ("".join(around[i : i + 64]) for i in range(0, len(around), 64)):
            assert normalize(form, text) == live.normalize_str(text)


def test_special_tokens_in_untrusted_text_are_refused_or_text(topics, tmp_path):
    added = [*SPECIAL, *ADDED["lstrip"], AddedToken("ﬁ", special=True, normalized=True)]
    _, path = build(tmp_path, random_model(3, topics), N.NFKC(), byte_level(), added)
    tok = bpe.Tokenizer.load(path, engine="python")
    for text, name in (("a  <mask>", "<mask>"), ("a<s>", "<s>"), ("ﬁ", "ﬁ"), ("fi", "ﬁ")):
        with pytest.raises(ValueError, match=f"must not hold the disallowed special token '{name}'"):
            tok.encode(text)
        with pytest.raises(ValueError, match="disallowed special token"):
            tok.encode_batch(["x", text])
        assert tok.special_tokens[name] not in tok.encode(text, disallowed_special=())
        assert tok.special_tokens[name] not in tok.encode(text, allowed_special={"</s>"}, disallowed_special=())
        assert tok.special_tokens[name] in tok.encode(text, allowed_special={name})
    assert tok.encode_parts([bpe.Trusted("<s>"), bpe.Untrusted("<s>")])[0] == tok.special_tokens["<s>"]
    assert tok.special_tokens["<s>"] not in tok.encode_parts([bpe.Untrusted("<s>")])
    assert tok.encode("a the b") == tok.encode("a   the b")  # not special: found in every text
    assert tok.added_tokens["the"] in tok.encode("a the b")


def test_offsets_are_those_of_the_text_or_refused(topics, tmp_path):
    _, path = build(tmp_path, random_model(3, topics), N.NFC(), byte_level(), [AddedToken("the")])
    tok = bpe.Tokenizer.load(path, engine="python")
    found = tok.encode_with_offsets("in the é")
    assert "".join("in the é"[a:b] for a, b in found.char_spans[:3]).startswith("in")
    assert found.byte_spans[-1][1] == len("in the é".encode())
    with pytest.raises(ValueError, match="must not be changed by the tokenizer's normalizers"):
        tok.encode_with_offsets("e\u0301")


def test_files_with_steps_are_encoded_as_a_whole(topics, tmp_path):
    _, path = build(tmp_path, random_model(3, topics), N.Prepend("_"), byte_level(), [AddedToken("e t", lstrip=True)])
    tok = bpe.Tokenizer.load(path, engine="python")
    text = topics[7][:5000]
    (tmp_path / "a.txt").write_bytes(text.encode())
    ids = [i for part in bpe.encode_file(tok, tmp_path / "a.txt", chunk_bytes=100) for i in part.tolist()]
    assert ids == tok.encode(text)


def test_line_ends_and_both_forms_of_merges(topics, tmp_path):
    live, path = build(tmp_path, random_model(3, topics), None, None, SPECIAL)
    content = json.loads(path.read_text(encoding="utf-8"))
    want = live.encode("the <s> end").ids
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in content["model"]["merges"]]
    for form in ([list(m) for m in merges], [" ".join(m) for m in merges]):
        content["model"]["merges"] = form
        path.write_bytes(json.dumps(content, indent=1).replace("\n", "\r\n").encode())
        assert bpe.Tokenizer.load(path).encode("the <s> end", allowed_special="all") == want
    tok = bpe.Tokenizer(bpe.Tokenizer.load(path).ranks)
    tok.export(tmp_path / "openai", "openai")
    file = tmp_path / "openai" / "vocab.bpe"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert bpe.Tokenizer.load(tmp_path / "openai").ranks == tok.ranks


REFUSED = [
    (
        lambda c: c.update(
            post_processor={
                "type": "Sequence",
                "processors": [{"type": "BertProcessing", "sep": ["<s>", 700], "cls": ["</s>", 701]}] * 2,
            }
        ),
        "must hold one template, got several",
    ),
    (lambda c: c.update(normalizer={"type": "Lowercase"}), "`normalizer` must consist of .*, got Lowercase"),
    (lambda c: c.update(normalizer={"type": "NFC", "x": 1}), "`normalizer.x` is an unknown key"),
    (lambda c: c.update(normalizer={"type": "Sequence", "normalizers": 3}), "`normalizer.normalizers` must be a list"),
    (lambda c: c.update(pre_tokenizer={"type": "Metaspace"}), "must be Split or Digits steps .*, got Metaspace"),
    (lambda c: c.update(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": 1}), "must be true or false, got 1"),
    (lambda c: c.update(pre_tokenizer={"type": "ByteLevel", "new": 1}), "`pre_tokenizer.new` is an unknown key"),
    (lambda c: c.update(pre_tokenizer={"type": "Sequence", "pretokenizers": []}), "got none"),
    (lambda c: c.update(version="2.0"), "`version` must be '1.0', got '2.0'"),
    (lambda c: c["added_tokens"][0].update(x=1), "`added_tokens.*x` is an unknown key"),
    (lambda c: c["added_tokens"][0].update(lstrip=None), "must be true or false"),
    (lambda c: c["added_tokens"].append(c["added_tokens"][0]), "must differ and not be empty"),
    (lambda c: c["added_tokens"][0].update(id=5), "has the id 5, but `tokenizers` gives it 700"),
    (lambda c: c.update(model={"type": "Unigram", "vocab": []}), "SentencePiece's unigram model"),
    (lambda c: c["model"]["vocab"].update({"<0x00>": 702}), "SentencePiece with byte fallback"),
    (lambda c: c.update(model={"type": "WordLevel", "vocab": {}}), "must be BPE, got 'WordLevel'"),
    (
        lambda c: c.update(post_processor={"type": "TemplateProcessing", "single": [], "special_tokens": {}}),
        "must hold the sequence A once",
    ),
    (lambda c: c.update(post_processor={"type": "BertProcessing", "sep": ["x", 1]}), "`post_processor.cls` must be"),
    (
        lambda c: c.update(post_processor={"type": "BertProcessing", "sep": ["x", 1], "cls": ["y", 900]}),
        "must add ids of the vocabulary, got 900",
    ),
    (
        lambda c: c.update(
            pre_tokenizer={
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": r"[[:alpha:]]"}, "behavior": "Isolated", "invert": False},
                    {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
                ],
            }
        ),
        r"`pattern` must not hold '\[:alpha:",
    ),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_unknown_parts_are_refused_by_name(number, topics, tmp_path):
    change, match = REFUSED[number]
    _, path = build(tmp_path, random_model(3, topics), None, None, SPECIAL)
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(bpe.FormatError, match=match) as error:
        bpe.Tokenizer.load(path)
    assert "\n" not in str(error.value)
    assert "tokenizer.json" in str(error.value)
