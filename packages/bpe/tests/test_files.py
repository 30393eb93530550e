"""Files larger than memory: cut only where the ids do not change."""

import json
import re

import bpe
import numpy as np
import pytest
from bpe import token_file
from bpe.pretokenize import Splitter, safe_cut, safe_cut_text
from bpe.training import corpus
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_every_safe_cut_keeps_the_split(pattern, texts):
    split = Splitter(pattern)

    @given(texts(), st.integers(0, 60))
    @settings(max_examples=300)
    def check(text, stop):
        data = text.encode()
        place = safe_cut(data, 1, min(stop, len(data)))
        if place >= 0:
            assert split(data[:place].decode()) + split(data[place:].decode()) == split(text)
        place = safe_cut_text(text, 1, min(stop, len(text)))
        if place >= 0:
            assert split(text[:place]) + split(text[place:]) == split(text)

    check()


def test_the_last_safe_cut_is_found():
    assert safe_cut(b"ab cd  ef ", 1, 9) == 5
    assert safe_cut(b"ab cd  ef ", 1, 10) == 9
    assert safe_cut("é x".encode(), 1, 9) == 2
    assert safe_cut("\u3000 x".encode(), 1, 9) == safe_cut(b"\x1c x", 0, 9) == safe_cut(b"  x", 0, 9) == -1
    assert safe_cut_text("ab cd  ef", 1, 9) == 5
    assert safe_cut_text("\u3000 \x1c x", 1, 9) == -1


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", None])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_a_file_in_chunks_has_the_ids_of_its_text(pattern, num_threads, make, engine, tmp_path, topics):
    tok = make(pattern, engine)
    text = "\n".join(topics[3:14]) + " 日本語 naïve" * 50 + "x" * 5000 + "   "
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode())
    parts = list(bpe.encode_file(tok, path, chunk_bytes=1000, num_threads=num_threads))
    assert len(parts) == 1 if pattern is None else len(parts) > 20
    assert np.concatenate(parts).tolist() == tok.encode_ordinary(text)


def test_special_tokens_are_not_cut_through(make, engine, tmp_path):
    tok = make("gpt2", engine).with_special_tokens({"<| a b |>": 2000})
    text = "word <| a b |> " * 200
    path = tmp_path / "a.txt"
    path.write_text(text)
    for chunk in range(20, 60):
        parts = list(bpe.encode_file(tok, path, chunk_bytes=chunk, allowed_special="all"))
        assert len(parts) > 10
        assert np.concatenate(parts).tolist() == tok.encode(text, allowed_special="all")
    with pytest.raises(
        ValueError, match=re.escape(f"{path}, after byte 0: `text` must not hold the disallowed special token")
    ):
        list(bpe.encode_file(tok, path, chunk_bytes=40))


def test_a_file_that_is_not_utf8_is_refused_with_the_offset(make, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"good text " * 300 + b"caf\xe9 " + b"good text " * 300)
    with pytest.raises(ValueError, match=r"a\.txt: byte 3003 is not UTF-8") as error:
        list(bpe.encode_file(make("gpt2", "python"), path, chunk_bytes=500))
    assert str(error.value).count("a.txt") == 1


def test_spans_cover_the_file(tmp_path):
    path = tmp_path / "a.txt"
    for content in (b"", b"x", b" ", b"ab " * 1000, b"a" * 3000, b"a" * 1500 + b" b" * 900):
        path.write_bytes(content)
        found = corpus.spans(path, "gpt2", size=700)
        assert b"".join(content[s.start : s.stop] for s in found) == content
        assert all(len(s) for s in found)


@pytest.mark.parametrize(("n_vocab", "dtype"), [(257, "<u2"), (65536, "<u2"), (65537, "<u4"), (200019, "<u4")])
def test_ids_are_uint16_while_they_fit(n_vocab, dtype):
    assert token_file.dtype_for(n_vocab).str == dtype


def test_a_token_file_has_a_description(make, engine, tmp_path):
    (tmp_path / "a.txt").write_text("the statement " * 90)
    for special, dtype in (({}, "<u2"), ({"<far>": 70000}, "<u4")):
        tok = make("gpt2", engine).with_special_tokens(special)
        about = token_file.write_ids(tok, tmp_path / "a.txt", tmp_path / "a.bin", chunk_bytes=100)
        assert about == json.loads((tmp_path / "a.bin.json").read_text())
        ids = token_file.read_ids(tmp_path / "a.bin", tok)
        assert (about["dtype"], about["tokens"], about["source"]) == (dtype, len(ids), "a.txt")
        assert ids.dtype.str == dtype
        assert tok.decode(np.asarray(ids)) == "the statement " * 90
    (tmp_path / "odd.bin").write_bytes(b"abc")
    with pytest.raises(ValueError, match="must be a multiple of 2 bytes"):
        token_file.read_ids(tmp_path / "odd.bin", make("gpt2", engine))
    (tmp_path / "empty.bin").write_bytes(b"")
    assert len(token_file.read_ids(tmp_path / "empty.bin", make("gpt2", engine))) == 0


def test_a_failed_encoding_leaves_no_file(make, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="byte 0 is not UTF-8"):
        token_file.write_ids(make("gpt2", "python"), tmp_path / "a.txt", tmp_path / "a.bin")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_encode_up_to_reads_only_the_start_of_a_long_text(make, engine):
    """`encode_up_to` must not look at what it does not need."""
    tok = make("gpt2", engine)
    text = "the statement is " * 2000
    encoded = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe.Tokenizer, "encode_ordinary", lambda self, t: encoded.append(t) or self._engine.encode(t))
        assert tok.encode_up_to(text, 12) == tok._engine.encode("the statement is " * 10)[:12]
    assert sum(map(len, encoded)) < 1000
    assert tok.encode_up_to(text, 10**6) == tok.encode_ordinary(text)
    assert tok.encode_up_to("a" * 5000, 3) == tok.encode_ordinary("a" * 5000)[:3]
    assert tok.encode_up_to("abc", 0) == []
    with pytest.raises(ValueError, match="limit"):
        tok.encode_up_to("abc", -1)
