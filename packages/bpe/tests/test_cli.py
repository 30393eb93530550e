"""The command line in a separate process, and what it refuses."""

import json
import os
import re
import subprocess
import sys

import bpe
import numpy as np
import pytest


def run(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "bpe", *map(str, arguments)],
        capture_output=True,
        cwd=cwd,
        env={**os.environ, "PYTHONUTF8": "1", **environment},
        check=False,
    )


def good(*arguments, cwd=None, **environment):
    done = run(*arguments, cwd=cwd, **environment)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture(scope="module")
def place(tmp_path_factory, topics):
    """A folder with a.txt, b.txt and a tokenizer trained on a.txt."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "a.txt").write_bytes(("\n".join(topics[:4]) + " naïve 日本語\r\n").encode())
    (folder / "b.txt").write_bytes(topics[5].encode())
    special = ("--special-tokens", "<|endoftext|>")
    said = good("train", "a.txt", "--vocab-size", 512, "--out", "t.json", *special, "--engine", "python", cwd=folder)
    assert said == "t.json: 512 ids, 255 merges\n"
    return folder


def test_train_encode_and_decode_round_trip(place, engine):
    said = good("encode", "a.txt", "--tokenizer", "t.json", "--out", "a.bin", "--engine", engine, cwd=place)
    tok = bpe.Tokenizer.load(place / "t.json", engine="python")
    expected = tok.encode((place / "a.txt").read_bytes().decode())
    assert np.fromfile(place / "a.bin", "<u2").tolist() == expected
    assert f"{len(expected):,} ids" in said
    assert json.loads((place / "a.bin.json").read_text())["tokens"] == len(expected)
    decoded = run("decode", "a.bin", "--tokenizer", "t.json", "--engine", engine, cwd=place)
    assert decoded.stdout == (place / "a.txt").read_bytes()
    assert decoded.stderr == b""
    good("decode", "a.bin", "--tokenizer", "t.json", "--out", "again.txt", "--engine", engine, cwd=place)
    assert (place / "again.txt").read_bytes() == (place / "a.txt").read_bytes()


def test_special_tokens_in_a_file_are_refused_allowed_or_text(place):
    (place / "s.txt").write_text("a<|endoftext|>")
    refused = run("encode", "s.txt", "--tokenizer", "t.json", cwd=place)
    assert refused.returncode == 2
    assert b"special token '<|endoftext|>'" in refused.stderr
    assert not (place / "s.bin").exists()
    lengths = {}
    for how in ("allow", "text"):
        good("encode", "s.txt", "--tokenizer", "t.json", "--special", how, cwd=place)
        lengths[how] = np.fromfile(place / "s.bin", "<u2").tolist()
    assert lengths["allow"] == [97, 511]
    assert len(lengths["text"]) > 3


def test_counting_in_parts_trains_the_same_tokenizer(place):
    good("train", "a.txt", "b.txt", "--vocab-size", 400, "--out", "whole.json", "--workers", 2, cwd=place)
    for name in ("a", "b"):
        said = good("count", f"{name}.txt", "--out", f"{name}.counts", cwd=place)
        assert "pre-tokens" in said
    good("train", "--counts", "a.counts", "b.counts", "--vocab-size", 400, "--out", "parts.json", cwd=place)
    assert (place / "parts.json").read_bytes() == (place / "whole.json").read_bytes()


def test_inspect_prints_tokens_and_writes_a_page(place):
    said = good("inspect", "--tokenizer", "t.json", "--text", "the <b>\n", "--html", "page.html", cwd=place)
    assert said.replace("|", "") == "the <b>\n\n"
    page = (place / "page.html").read_text(encoding="utf-8")
    assert "&lt;" in page
    assert "<b>\n" not in page
    assert page.count("<span") == said.count("|") + 1
    good("inspect", "b.txt", "--tokenizer", "t.json", cwd=place)


def test_colors_end_before_each_line_feed():
    from bpe.visualize import terminal_tokens

    tok = bpe.train_from_iterator(["a\n\nb"], vocab_size=257, engine="python")
    painted = terminal_tokens(tok, "a\n\nb", color=True)
    for line in painted.split("\n"):
        assert re.findall(r"\x1b\[[^m]*m", line)[-1] == "\x1b[0m"
    assert re.sub(r"\x1b\[[^m]*m", "", painted) == "a\n\nb"
    assert terminal_tokens(tok, "a\n\nb", color=False).replace("|", "") == "a\n\nb"


def test_convert_round_trips_between_all_formats(place):
    for to in ("huggingface", "openai", "tiktoken"):
        files = good("convert", "t.json", "--to", to, "--out", f"as-{to}", cwd=place).split()
        assert files
        back = good("convert", f"as-{to}", "--to", "native", "--out", "back.json", cwd=place)
        assert back == "back.json\n"
        assert (place / "back.json").read_bytes() == (place / "t.json").read_bytes()
    (place / "as-tiktoken" / "tokenizer.tiktoken.json").unlink()
    done = run("convert", "as-tiktoken", "--to", "native", "--out", "x.json", cwd=place)
    assert b"does not state its pattern" in done.stderr
    good("convert", "as-tiktoken", "--to", "native", "--out", "x.json", "--pattern", "gpt2", cwd=place)


def test_demo_prints_each_step(engine):
    said = good("demo", "--vocab-size", 400, "--engine", engine)
    for part in ("merge     0", "Longest tokens", "bytes per token", "256 ids: 1.00", engine):
        assert part in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "nothing.txt"], "nothing.txt"),
        (["train"], "files"),
        (["train", "a.txt", "--counts", "a.counts"], "files"),
        (["train", "a.txt", "--vocab-size", "10"], "vocab_size"),
        (["train", "a.txt", "--pattern", "("], "pattern"),
        (["train", "a.txt", "--workers", "0"], "workers"),
        (["train", "latin1.txt"], "byte 3 is not UTF-8"),
        (["train", "--counts", "a.txt"], "a.txt"),
        (["encode", "a.txt", "--tokenizer", "nothing.json"], "nothing.json"),
        (["encode", "nothing.txt", "--tokenizer", "t.json"], "nothing.txt"),
        (["encode", "a.txt", "--tokenizer", "a.txt"], "a.txt"),
        (["encode", "a.txt", "--tokenizer", "t.json", "--num-threads", "0"], "num_threads"),
        (["encode", "latin1.txt", "--tokenizer", "t.json"], "byte 3 is not UTF-8"),
        (["decode", "odd.bin", "--tokenizer", "t.json"], "odd.bin"),
        (
            ["decode", "far.bin", "--tokenizer", "t.json"],
            "must be an id of this vocabulary, which are below 512, got 65535",
        ),
        (["inspect", "--tokenizer", "t.json"], "file"),
        (["convert", "nothing.json", "--to", "native", "--out", "x"], "nothing.json"),
        (["demo", "--vocab-size", "3"], "vocab_size"),
    ],
)
def test_bad_input_is_one_error_line_and_status_2(place, arguments, named):
    (place / "latin1.txt").write_bytes(b"caf\xe9")
    (place / "odd.bin").write_bytes(b"abc")
    (place / "far.bin").write_bytes(b"\xff\xff")
    before = sorted(p.name for p in place.iterdir())
    done = run(*arguments, cwd=place)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 2, done.stderr.decode()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert named in lines[0]
    assert sorted(p.name for p in place.iterdir()) == before


def test_a_closed_pipe_is_not_an_error(place):
    done = subprocess.run(
        f"{sys.executable} -m bpe demo --vocab-size 300 --engine python | head -1",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("Corpus:")
    assert done.stderr == ""


def test_check_compares_a_tokenizer_json_with_tokenizers(place, monkeypatch):
    good("convert", "t.json", "--to", "huggingface", "--out", "hf", cwd=place)
    said = good("check", "hf", "--text", "a.txt", "--engine", "python", cwd=place)
    assert re.fullmatch(r"hf.tokenizer.json: [\d,]+ lines, [\d,]+ ids, no difference; [\d.]+x the speed .*\n", said)
    for file, text, match in (
        ("t.json", "a.txt", "`tokenizers` cannot read it"),
        ("hf", "missing.txt", "missing.txt"),
        ("hf", os.devnull, "the text must not be empty"),
    ):
        done = run("check", file, "--text", text, cwd=place)
        assert done.returncode == 2
        assert re.search(match, done.stderr.decode())
        assert done.stderr.count(b"\n") == 1

    from bpe import compare

    other = bpe.Tokenizer.load(place / "t.json", engine="python")
    swapped = dict(other.ranks)
    swapped[b"a"], swapped[b"b"] = swapped[b"b"], swapped[b"a"]
    monkeypatch.setattr(compare.Tokenizer, "load", lambda *_, **__: bpe.Tokenizer(swapped, engine="python"))
    with pytest.raises(ValueError, match=r"a.txt, line \d+: id \d+ differs, got \[.*\], `tokenizers` has \["):
        compare.compare_with_tokenizers(place / "hf", place / "a.txt")
