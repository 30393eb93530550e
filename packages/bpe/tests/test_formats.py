"""Every format in both directions, read by the libraries it belongs to; damaged, unsupported and hostile files."""

import base64
import gzip
import hashlib
import json
import os
import shutil

import bpe
import pytest
import tiktoken
import tiktoken.load
from bpe import hub
from bpe.byte_unicode import to_printable
from bpe.formats import openai
from bpe.formats import tiktoken as tiktoken_format
from bpe.pretokenize import PATTERNS
from hypothesis import given, settings
from tokenizers import Tokenizer as HuggingFace

SAMPLE = "Hello world,  it's 2024!\n\n\tnaïve 日本語 😀 the interpreter's end "


@pytest.fixture(scope="module")
def toks(topics):
    """Tokenizers of every kind: each pattern, none, a custom one, GPT-2's byte order, special ids in between."""
    few = topics[:6]
    made = {
        str(pattern): bpe.train_from_iterator(
            few, vocab_size=600, pattern=pattern, special_tokens=["<|endoftext|>", "<|im_start|>"], engine="python"
        )
        for pattern in ("gpt2", "cl100k", "o200k", None, r"\w+|[^\w]")
    }
    made["ids"] = bpe.train_from_iterator(few, vocab_size=600, ties="ids", engine="python")
    special = {"<|endoftext|>": 300, "<s>": 0}
    shifted = sorted(made["gpt2"].ranks, key=made["gpt2"].ranks.get)
    free = (i for i in range(10_000) if i not in special.values())
    made["between"] = bpe.Tokenizer(dict(zip(shifted, free, strict=False)), special_tokens=special, engine="python")
    return made


KINDS = ["gpt2", "cl100k", "o200k", "None", r"\w+|[^\w]", "ids", "between"]


def same(a, b):
    """Whether two tokenizers are equal."""
    return (a.ranks, a.special_tokens, a.pattern) == (b.ranks, b.special_tokens, b.pattern)


@pytest.mark.parametrize("kind", KINDS)
def test_the_native_format_round_trips(kind, toks, tmp_path):
    tok = toks[kind]
    tok.save(tmp_path / "new" / "t.json")
    again = bpe.Tokenizer.load(tmp_path / "new" / "t.json")
    assert same(again, tok)
    assert again.merges == tok.merges
    assert os.listdir(tmp_path / "new") == ["t.json"]


@pytest.mark.parametrize("kind", KINDS)
def test_hugging_face_loads_exported_files_and_gives_the_same_ids(kind, toks, tmp_path, topics):
    tok = toks[kind]
    files = tok.export(tmp_path, "huggingface")
    assert all(f.parent == tmp_path and f.exists() for f in files)
    live = HuggingFace.from_file(str(tmp_path / "tokenizer.json"))
    for text in (SAMPLE, topics[40], "", " ", "\n \n"):
        assert live.encode(text).ids == tok.encode(text)
        assert live.decode(tok.encode(text), skip_special_tokens=False) == text
    if tok.special_tokens:
        text = "a<|endoftext|> b"
        assert live.encode(text).ids == tok.encode(text, allowed_special="all")
    for path in (tmp_path / "tokenizer.json", tmp_path):
        again = bpe.Tokenizer.load(path)
        assert (again.ranks, again.special_tokens) == (tok.ranks, tok.special_tokens)
        assert again.pattern == tok.pattern or tok.pattern == r"\w+|[^\w]"  # `\w` means something else there
        assert again.encode_ordinary(SAMPLE + "x²\u200d") == tok.encode_ordinary(SAMPLE + "x²\u200d")
        assert live.encode(SAMPLE + "x²\u200d").ids == tok.encode_ordinary(SAMPLE + "x²\u200d")


@pytest.mark.parametrize("kind", ["gpt2", "cl100k", "None"])
def test_transformers_loads_exported_files(kind, toks, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import AutoTokenizer, GPT2Tokenizer

    tok = toks[kind]
    tok.export(tmp_path, "huggingface")
    live = AutoTokenizer.from_pretrained(tmp_path)
    assert live(SAMPLE)["input_ids"] == tok.encode(SAMPLE)
    assert live.decode(tok.encode(SAMPLE)) == SAMPLE
    assert live.eos_token_id == tok.eot_token
    if kind == "gpt2":
        older = GPT2Tokenizer(vocab=str(tmp_path / "vocab.json"), merges=str(tmp_path / "merges.txt"))
        assert older(SAMPLE)["input_ids"] == tok.encode(SAMPLE)


def test_vocab_json_and_merges_txt(toks, tmp_path):
    tok = toks["gpt2"]
    tok.export(tmp_path, "huggingface")
    (tmp_path / "tokenizer.json").unlink()
    for path in (tmp_path, tmp_path / "vocab.json", tmp_path / "merges.txt"):
        assert same(bpe.Tokenizer.load(path), tok)


@pytest.mark.parametrize("kind", ["gpt2", "ids", "between"])
def test_openai_files_round_trip(kind, toks, tmp_path):
    toks[kind].export(tmp_path, "openai")
    for path in (tmp_path, tmp_path / "encoder.json", tmp_path / "vocab.bpe"):
        assert same(bpe.Tokenizer.load(path), toks[kind])
    if kind == "ids":  # tiktoken assumes GPT-2's order of bytes
        files = str(tmp_path / "vocab.bpe"), str(tmp_path / "encoder.json")
        assert tiktoken.load.data_gym_to_mergeable_bpe_ranks(*files) == toks[kind].ranks


def test_formats_that_imply_a_pattern_refuse_another(toks, tmp_path):
    for kind in ("cl100k", "None"):
        with pytest.raises(bpe.FormatError, match="`pattern` must be gpt2"):
            toks[kind].export(tmp_path / "x", "openai")
    assert not (tmp_path / "x").exists()
    with pytest.raises(ValueError, match="`format` must be one of"):
        toks["gpt2"].export(tmp_path, "pickle")


@pytest.mark.parametrize("kind", KINDS)
def test_tiktoken_loads_exported_files(kind, toks, tmp_path):
    tok = toks[kind]
    path, beside = tok.export(tmp_path, "tiktoken")
    aside = json.loads(beside.read_text(encoding="utf-8"))
    ranks = tiktoken.load.load_tiktoken_bpe(str(path))
    assert ranks == tok.ranks
    if aside["pat_str"] is not None:
        live = tiktoken.Encoding("x", mergeable_ranks=ranks, **aside)
        assert live.encode(SAMPLE) == tok.encode(SAMPLE)
    assert same(bpe.Tokenizer.load(path), tok)
    assert same(bpe.Tokenizer.load(tmp_path), tok)
    beside.unlink()
    with pytest.raises(bpe.FormatError, match="does not state its pattern"):
        bpe.Tokenizer.load(path)
    if kind != "between":
        again = bpe.Tokenizer.load(path, pattern=tok.pattern, special_tokens=tok.special_tokens)
        assert same(again, tok)
        assert again.merges == tok.merges


def test_merges_are_recovered_from_ranks(toks):
    for kind in KINDS:
        tok = toks[kind]
        byte_order = b"".join(sorted(tok.ranks, key=tok.ranks.get)[:256])
        again = bpe.Tokenizer.from_merges(
            tok.merges, byte_order=byte_order, pattern=tok.pattern, special_tokens=tok.special_tokens
        )
        assert same(again, tok)


def test_r50k_and_p50k_are_derived_from_gpt2_files(data_file, tmp_path, monkeypatch):
    encoder = data_file("tokenizer/encoder.json")
    shutil.copy(encoder, tmp_path / "encoder.json")
    shutil.copy(data_file("tokenizer/vocab.bpe"), tmp_path / "vocab.bpe")
    tok = bpe.Tokenizer.load(tmp_path)
    assert same(tok, bpe.get_encoding("gpt2"))
    tok.export(tmp_path, "tiktoken")
    digest = hashlib.sha256((tmp_path / "tokenizer.tiktoken").read_bytes()).hexdigest()
    assert digest == "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"
    (tmp_path / "tokenizer.tiktoken.json").unlink()
    assert same(bpe.Tokenizer.load(tmp_path / "tokenizer.tiktoken"), tok)  # recognized by its hash
    monkeypatch.setenv("DLPAPERS_DATA_DIR", str(encoder.parent.parent))
    assert bpe.get_encoding("r50k_base").ranks == tok.ranks
    p50k = bpe.get_encoding("p50k_base")
    text = tiktoken_format.to_text(p50k.ranks)
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"
    )
    assert p50k.n_vocab == 50281
    assert p50k.encode("x" + " " * 20 + "y<|endoftext|>", allowed_special="all") == [87, 50274, 331, 50256]
    assert p50k.decode([87, 50274, 50256]) == "x" + " " * 19 + "<|endoftext|>"


def test_exported_gpt2_files_equal_the_published_ones(data_file, tmp_path):
    encoder, vocab = (data_file(f"tokenizer/{name}") for name in ("encoder.json", "vocab.bpe"))
    bpe.get_encoding("gpt2").export(tmp_path, "openai")
    assert json.loads((tmp_path / "encoder.json").read_text()) == json.loads(encoder.read_text())
    assert (tmp_path / "vocab.bpe").read_bytes() == vocab.read_bytes()


def test_published_files_are_searched_for_and_checked(data_file, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "_encodings", {})
    source = data_file("tokenizer/cl100k_base.tiktoken")
    monkeypatch.setenv("DLPAPERS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    for proxy in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / source.name).write_bytes(source.read_bytes()[:-9])  # the right name, cut off
    with pytest.raises(OSError, match="its download failed"):
        bpe.get_encoding("cl100k_base")
    (tmp_path / "cache").mkdir()
    shutil.copy(source, tmp_path / "cache" / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4")
    assert bpe.get_encoding("cl100k_base").n_vocab == 100277
    with pytest.raises(ValueError, match=r"`name` must be one of gpt2, .*, got 'gpt5'"):
        bpe.get_encoding("gpt5")


# ----------------------------------------------------------------------------- damaged, wrong, hostile


def damage(content, **changes):
    """Return a JSON text with some keys changed."""
    return json.dumps(json.loads(content) | changes)


def refusal(path, match):
    """Return the one-line error for a file."""
    with pytest.raises(bpe.FormatError, match=match) as error:
        bpe.Tokenizer.load(path)
    assert "\n" not in str(error.value)
    return str(error.value)


OWN = [
    (lambda c: c[:200], "not a valid JSON file"),
    (lambda c: "", "not"),
    (lambda c: "[1, 2]", "not a tokenizer"),
    (lambda c: '{"a": "b"}', "not a tokenizer"),
    (lambda c: "[" * 100_000, "not a valid JSON file"),
    (lambda c: damage(c, version=2), "must have the keys"),
    (lambda c: damage(c, version="1"), "`version` must be 1, 2 or 3, got '1'"),
    (lambda c: damage(c, extra=1), "must have the keys"),
    (lambda c: damage(c, pattern=7), "pattern"),
    (lambda c: damage(c, pattern="("), "must be a valid regular expression"),
    (lambda c: damage(c, byte_order="other"), "byte_order"),
    (lambda c: damage(c, byte_order=[0] * 256), "each of the 256 bytes once"),
    (lambda c: damage(c, byte_order=list(range(255))), "byte_order"),
    (lambda c: damage(c, merges={"a": 1}), "merges"),
    (lambda c: damage(c, merges=[[97, 98, 99]]), "pairs of ids"),
    (lambda c: damage(c, merges=[[97, 1e9]]), "pairs of ids"),
    (lambda c: damage(c, merges=[[97, True]]), "pairs of ids"),
    (lambda c: damage(c, merges=[[97, 5000]]), "must join existing ids, got 5000"),
    (lambda c: damage(c, merges=[[97, 256]]), "must join existing ids, got 256"),
    (lambda c: damage(c, merges=[[97, 98], [97, 98]]), "exists already"),
    (lambda c: damage(c, merges=[[97, 98], [98, 99], [256, 99], [97, 257]]), "exists already"),
    (
        lambda c: damage(c, merges=[[97, 98], [98, 99], [97, 257]]),
        "which earlier merges prevent|is not one merge of two",
    ),
    (lambda c: damage(c, special_tokens={"<a>": -1}), "special_tokens"),
    (lambda c: damage(c, special_tokens={"<a>": "1"}), "special_tokens"),
    (lambda c: damage(c, special_tokens={"<a>": 9000, "<b>": 9000}), "two tokens with the id 9000"),
    (lambda c: damage(c, special_tokens={"": 9000}), "empty token"),
    (lambda c: c.replace('"pattern"', '"version"'), "occurs twice"),
]


@pytest.mark.parametrize("number", range(len(OWN)))
def test_a_damaged_native_file_is_one_clear_error(number, toks, tmp_path):
    change, match = OWN[number]
    path = tmp_path / "t.json"
    toks["gpt2"].save(path)
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert path.name in refusal(path, match)


def model(content, **changes):
    found = json.loads(content)
    found["model"] |= changes
    return json.dumps(found)


def vocabulary(content, change):
    found = json.loads(content)
    change(found["model"]["vocab"])
    return json.dumps(found)


def added(i, content):
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized", "special"], False)
    return {"id": i, "content": content, **flags}


HF = [
    (lambda c: c[:-300], "not a valid JSON file"),
    (lambda c: model(c, type="WordPiece"), "`model.type` must be BPE, got 'WordPiece'"),
    (lambda c: model(c, surprise=1), "`model.surprise` is an unknown key"),
    (lambda c: damage(c, surprise=1), "`surprise` is an unknown key"),
    (lambda c: damage(c, truncation={"max_length": 5}), "`truncation` must be null"),
    (lambda c: damage(c, padding={"strategy": "BatchLongest"}), "`padding` must be null"),
    (
        lambda c: damage(c, post_processor={"type": "Other"}),
        "`post_processor` must be ByteLevel or a template, got Other",
    ),
    (lambda c: damage(c, added_tokens=[added(3, "é")]), "has two ids"),
    (lambda c: damage(c, added_tokens=[{"id": 598, "content": "<|endoftext|>"}]), "must be true or false, got None"),
    (lambda c: model(c, end_of_word_suffix="</w>"), "end_of_word_suffix"),
    (lambda c: model(c, vocab=[1]), "vocab"),
    (lambda c: model(c, merges=["a"]), "must be two tokens"),
    (lambda c: model(c, merges=[["a", 1]]), "must be two tokens"),
    (lambda c: model(c, merges=[7]), "must be two tokens"),
    (lambda c: model(c, merges=["zzz q"]), "names 'zzz', which is not in the vocabulary"),
    (lambda c: model(c, merges=json.loads(c)["model"]["merges"][:-5]), "no merge forms the token"),
    (lambda c: model(c, merges=json.loads(c)["model"]["merges"][::-1]), "can never be formed, because earlier merges"),
    (
        lambda c: model(c, merges=[*json.loads(c)["model"]["merges"], json.loads(c)["model"]["merges"][0]]),
        "forms 'Ġa' again, after merges of other tokens",
    ),
    (lambda c: vocabulary(c, lambda v: v.pop("a")), "not in the vocabulary|got none for"),
    (lambda c: vocabulary(c, lambda v: v.pop("ÿ")), "got none for byte 0xff"),
    (lambda c: vocabulary(c, lambda v: v.update(a=v["b"])), "two tokens with the id"),
    (lambda c: vocabulary(c, lambda v: v.update({"<|endoftext|>": 9999})), "has two ids"),
    (lambda c: vocabulary(c, lambda v: v.update(a="x")), "every id must be an integer"),
    (lambda c: vocabulary(c, lambda v: v.update({"語": 598})), "no merge forms the token '語'"),
    (lambda c: damage(c, normalizer={"type": "Lowercase"}), "normalizer"),
    (lambda c: damage(c, pre_tokenizer={"type": "Whitespace"}), "pre_tokenizer"),
    (lambda c: damage(c, pre_tokenizer=None), "pre_tokenizer"),
    (lambda c: damage(c, pre_tokenizer={"type": "ByteLevel", "add_prefix_space": None}), "pre_tokenizer"),
    (lambda c: damage(c, added_tokens=[added(598, "<x>")]), "has the id 598, but `tokenizers` gives it 600"),
    (lambda c: damage(c, added_tokens="x"), "added_tokens"),
]


@pytest.mark.parametrize("number", range(len(HF)))
def test_a_damaged_or_unsupported_tokenizer_json_is_one_clear_error(number, toks, tmp_path):
    change, match = HF[number]
    toks["gpt2"].export(tmp_path, "huggingface")
    path = tmp_path / "tokenizer.json"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert path.name in refusal(path, match)


LINES = [
    (lambda t: t + "!!!! 600\n", "line 599 must be a token in base 64"),
    (lambda t: t + "YQ==\n", "line 599"),
    (lambda t: t + "YQ== x\n", "line 599"),
    (lambda t: t + "YQ== 600\n", "repeats the token b'a'"),
    (lambda t: t + base64.b64encode(b"zzzz").decode() + " 3\n", "two tokens with the id 3"),
    (lambda t: t + base64.b64encode(b"zzzz").decode() + " -3\n", "every id must be an integer"),
    (lambda t: t.split("\n", 1)[1], "got none for byte 0x00"),
    (lambda t: "", "got none for byte 0x00"),
]


@pytest.mark.parametrize("number", range(len(LINES)))
def test_a_damaged_tiktoken_file_is_one_clear_error(number, toks, tmp_path):
    change, match = LINES[number]
    path, _ = toks["gpt2"].export(tmp_path, "tiktoken")
    path.write_text(change(path.read_text()))
    assert path.name in refusal(path, match)


def test_other_files_are_one_clear_error(toks, tmp_path):
    binary = tmp_path / "model.safetensors"
    binary.write_bytes(gzip.compress(b"weights" * 99))
    assert binary.name in refusal(binary, "line 1 must be a token")
    (tmp_path / "latin.json").write_bytes(b'{"caf\xe9": 1}')
    assert "latin.json" in refusal(tmp_path / "latin.json", "not UTF-8 \\(byte 5")
    assert tmp_path.name in refusal(tmp_path, "must be a folder with")
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    assert "vocab.json" in refusal(tmp_path / "vocab.json", "must have its merges .* beside it")
    with pytest.raises(FileNotFoundError):
        bpe.Tokenizer.load(tmp_path / "nothing.json")


def test_a_stated_pattern_cannot_be_replaced(toks, tmp_path):
    toks["gpt2"].save(tmp_path / "t.json")
    with pytest.raises(bpe.FormatError, match="states the pattern 'gpt2', not 'cl100k'"):
        bpe.Tokenizer.load(tmp_path / "t.json", pattern="cl100k")


UNMERGED = {b".:.:": 600, b"qqqzzz": 601, b"\xff\x00\xfe": 602, "日本語日本語日本語".encode(): 603}


@pytest.mark.parametrize(
    "more", [UNMERGED, {b"th ": 70000}, {b"abc": 5000, b"xyz": 4000}], ids=["unmerged", "far", "holes"]
)
def test_a_vocabulary_that_merges_cannot_express_is_saved_and_exported(more, engine, toks, tmp_path):
    """Llama 3 has such tokens: a pre-token that is a token gets its id, though no merge forms it."""
    special = {"<|endoftext|>": 80000}
    tok = bpe.Tokenizer(toks["gpt2"].ranks | more, special_tokens=special, engine=engine)
    live = tiktoken.Encoding("x", pat_str=PATTERNS["gpt2"], mergeable_ranks=tok.ranks, special_tokens=special)
    texts = [SAMPLE, ".:.:", "a .:.:", "qqqzzz", "日本語日本語日本語", "abc xyz", "th  th"]
    expected = [live.encode(text) for text in texts]
    assert [tok.encode(text) for text in texts] == expected
    tok.save(tmp_path / "t.json")
    again = bpe.Tokenizer.load(tmp_path / "t.json", engine=engine)
    assert same(again, tok)
    assert [again.encode(text) for text in texts] == expected
    tok.export(tmp_path / "tiktoken", "tiktoken")
    assert same(bpe.Tokenizer.load(tmp_path / "tiktoken"), tok)
    tok.export(tmp_path / "huggingface", "huggingface")
    huggingface = HuggingFace.from_file(str(tmp_path / "huggingface" / "tokenizer.json"))
    assert [huggingface.encode(text).ids for text in texts] == expected
    assert same(bpe.Tokenizer.load(tmp_path / "huggingface" / "tokenizer.json"), tok)


def test_exported_tokenizers_agree_with_hugging_face_on_random_text(toks, tmp_path, texts):
    """On ASCII, which is the same in all Unicode versions."""
    for kind in ("gpt2", "cl100k", "o200k"):
        toks[kind].export(tmp_path / kind, "huggingface")
    live = {k: HuggingFace.from_file(str(tmp_path / k / "tokenizer.json")) for k in ("gpt2", "cl100k", "o200k")}

    @given(texts(20))
    @settings(max_examples=200)
    def check(text):
        text = "".join(c for c in text if "\t" <= c <= "~" and c not in "\x1c\x1d\x1e\x1f")
        for kind, other in live.items():
            assert other.encode(text).ids == toks[kind].encode(text, allowed_special="all")

    check()


LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
EXTRA = {b".:.:": 598, "日本語日本語".encode(): 599}


def converted(ranks):
    """The merges that transformers' TikTokenConverter writes: all pairs of tokens that form a token, by its rank."""
    merges = []
    for token, rank in ranks.items():
        pairs = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
        merges += [(rank, ranks[a], ranks[b], to_printable(a), to_printable(b)) for a, b in pairs]
    return [[a, b] for *_, a, b in sorted(merges)]


@pytest.fixture(scope="module")
def llama3_like(toks, tmp_path_factory):
    """A file like Llama 3's: converted from ranks, with `ignore_merges`, a Split, and a template."""
    ranks = toks["gpt2"].ranks | EXTRA
    special = {"<|begin_of_text|>": 600, "<|end_of_text|>": 601, "<|eot_id|>": 602}
    added = [{"id": i, "content": name, "special": True, "normalized": False, "lstrip": False, "rstrip": False,
              "single_word": False} for name, i in special.items()]  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False}
    start = {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}
    template = {
        "type": "TemplateProcessing",
        "single": [start, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [start, {"Sequence": {"id": "A", "type_id": 0}}, start, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [600],
                                                 "tokens": ["<|begin_of_text|>"]}},
    }  # fmt: skip
    content = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": {"type": "Sequence", "processors": [byte_level, template]},
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
            "vocab": {to_printable(token): i for token, i in ranks.items()}, "merges": converted(ranks),
        },
    }  # fmt: skip
    path = tmp_path_factory.mktemp("llama3") / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_file_with_several_merges_per_token_has_the_ids_of_tokenizers(llama3_like, engine, texts):
    """As Llama 3, Mistral Nemo and gpt-oss on the hub, which were converted from `.tiktoken`."""
    live = HuggingFace.from_file(str(llama3_like))
    tok = bpe.Tokenizer.load(llama3_like, engine=engine)
    content = json.loads(llama3_like.read_text(encoding="utf-8"))
    assert len(content["model"]["merges"]) > sum(len(token) > 1 for token in tok.ranks)
    samples = [SAMPLE, ".:.:", "日本語日本語", "a<|eot_id|>b", "It'S 12345\r\n\r\n x", "  \n  a", ""]
    for text in samples:
        assert tok.encode(text, allowed_special="all") == live.encode(text, add_special_tokens=False).ids

    @given(texts(20))
    @settings(max_examples=150)
    def check(text):
        text = "".join(c for c in text if ord(c) < 0x2000)  # of which all versions of Unicode agree
        assert tok.encode(text, allowed_special="all") == live.encode(text, add_special_tokens=False).ids

    check()
    tok.save(llama3_like.with_name("native.json"))
    assert same(bpe.Tokenizer.load(llama3_like.with_name("native.json")), tok)


def test_added_tokens_that_tokenizers_would_renumber_are_refused(llama3_like, tmp_path):
    content = json.loads(llama3_like.read_text(encoding="utf-8"))
    content["added_tokens"][0]["id"] = 700
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    live = HuggingFace.from_file(str(tmp_path / "tokenizer.json"))
    assert live.token_to_id("<|begin_of_text|>") == 600
    refusal(tmp_path / "tokenizer.json", "has the id 700, but `tokenizers` gives it 600")


def test_a_converted_file_that_lacks_a_merge_is_refused(llama3_like, tmp_path):
    content = json.loads(llama3_like.read_text(encoding="utf-8"))
    del content["model"]["merges"][5]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    assert "tokenizer.json" in refusal(tmp_path / "tokenizer.json", "must have the merge|no merge forms")


def test_unused_unk_token_and_byte_fallback_do_not_change_ids(toks, tmp_path):
    toks["gpt2"].export(tmp_path, "huggingface")
    path = tmp_path / "tokenizer.json"
    path.write_text(model(path.read_text(encoding="utf-8"), byte_fallback=True, unk_token="<|endoftext|>"), "utf-8")
    live, tok = HuggingFace.from_file(str(path)), bpe.Tokenizer.load(path)
    assert same(tok, toks["gpt2"])
    assert tok.encode(SAMPLE) == live.encode(SAMPLE).ids


def test_a_pattern_in_ascii_does_not_depend_on_the_installed_unicode_version():
    from bpe.pretokenize import Splitter, corrector_of

    assert corrector_of(LLAMA3) is not None
    assert corrector_of(r"é+") is None
    split, gpt2 = Splitter(r"\p{L}+|\p{N}+|[^\p{L}\p{N}]+"), Splitter("gpt2")
    newer = "".join(map(chr, [0x88F, 0xC5C, 0x16EA0, 0x11DB0, 0xA7CE, 0x10940]))  # letters since Unicode 17
    for c in newer:
        assert split(f"a{c}b") == ["a", c, "b"] if gpt2(f"a{c}b") == ["a", c, "b"] else [f"a{c}b"]
        for pattern in (r"\w+", r"\p{Lu}?\p{L}+", r"\b.+?\b"):
            assert Splitter(pattern)(f"a{c}b") == (["a", c, "b"] if gpt2(f"a{c}b") == ["a", c, "b"] else [f"a{c}b"])


def test_special_tokens_that_equal_a_printable_byte_cannot_be_exported(toks, tmp_path):
    tok = toks["gpt2"].with_special_tokens({"Ġ": 700})
    with pytest.raises(bpe.FormatError, match="is also how the token"):
        openai.printable_vocabulary(tok)
