"""Inputs that are pipes, stdin or compressed; outputs that must not destroy anything."""

import bz2
import gzip
import importlib.util
import json
import os
import subprocess
import sys

import bpe
import numpy as np
import pytest
from bpe.training import corpus

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")


def shell(line, cwd):
    """Run a line of shell in which `bpe` is the command line of this interpreter."""
    line = f'bpe() {{ "{sys.executable}" -m bpe "$@"; }}\n{line}'
    done = subprocess.run(["bash", "-c", line], capture_output=True, cwd=cwd, check=False)
    assert b"Traceback" not in done.stderr
    return done


def assert_refused(line, cwd, match):
    before = {p.name: p.read_bytes() for p in cwd.iterdir() if p.is_file()}
    done = shell(line, cwd)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count(b"\n") == 1
    assert match in done.stderr.decode()
    assert {p.name: p.read_bytes() for p in cwd.iterdir() if p.is_file()} == before


@pytest.fixture
def folder(tmp_path, topics):
    """A folder with a text, its gzip file, a tokenizer, and another text."""
    text = "\n".join(topics[:4]) + " naïve 日本語\r\n"
    (tmp_path / "a.txt").write_bytes(text.encode())
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
    bpe.train([tmp_path / "a.txt"], vocab_size=400, special_tokens=["<|endoftext|>"], engine="python").save(
        tmp_path / "t.json"
    )
    (tmp_path / "notes.txt").write_text("precious")
    return tmp_path


@POSIX
def test_text_from_pipes_stdin_and_gzip_trains_the_same_tokenizer(folder):
    options = '--vocab-size 400 --special-tokens "<|endoftext|>" --engine python'
    lines = {
        "a": f"cat a.txt | bpe train /dev/stdin --out a.json {options}",
        "b": f"bpe train <(cat a.txt) --out b.json {options}",
        "c": f"bpe train - --out c.json {options} < a.txt",
        "d": f"bpe train a.txt.gz --out d.json {options}",
        "e": f"cat a.txt.gz | bpe train - --out - {options} > e.json",
        "f": f"bpe train a.txt --out /dev/stdout {options} > f.json; sed -i '/ ids, /d' f.json",
        "g": f"bpe count - --special-tokens '<|endoftext|>' --out - < a.txt > g.counts"
        f" && bpe train --counts g.counts --out g.json {options}",
    }
    done = shell(" && ".join(f"({line})" for line in lines.values()), folder)
    assert done.returncode == 0, done.stderr
    expected = (folder / "t.json").read_bytes()
    assert [name for name in lines if (folder / f"{name}.json").read_bytes() != expected] == []


@POSIX
def test_encode_and_decode_in_a_pipeline(folder):
    line = "bpe encode - --tokenizer t.json < a.txt | bpe decode - --tokenizer t.json | cmp - a.txt"
    assert shell(line, folder).returncode == 0
    line = "cat a.txt.gz | bpe encode /dev/stdin --tokenizer t.json --out a.bin && bpe decode a.bin --tokenizer t.json"
    assert shell(line, folder).stdout.endswith((folder / "a.txt").read_bytes())
    assert shell("printf 'the end' | bpe inspect - --tokenizer t.json --html - | head -1", folder).stdout == (
        b"<!doctype html>\n"
    )


@pytest.mark.parametrize(("pattern", "size"), [("gpt2", 7), ("gpt2", 5000), ("o200k", 100), (None, 9), (r"\w+|\W", 9)])
def test_streams_and_files_are_cut_alike_into_their_text(folder, pattern, size):
    names = ["<| a b |>"]
    data = (folder / "a.txt").read_bytes() + b" word <| a b |> more" * 50
    (folder / "b.txt").write_bytes(data)
    (folder / "b.gz").write_bytes(gzip.compress(data))
    for name in ("b.txt", "b.gz"):
        parts = list(corpus.chunks(folder / name, pattern, names, size))
        assert b"".join(part.read().encode() for part in parts) == data
        whole = bpe.count_texts([data.decode()], pattern, names)
        total = bpe.PretokenCounts(pattern, special_tokens=names)
        for part in parts:
            total.add(bpe.count_texts([part.read()], pattern, names))
        assert total == whole


@POSIX
def test_a_stream_is_counted_by_several_workers(folder):
    line = "bpe count a.txt a.txt.gz --out one.counts && cat a.txt | bpe count - a.txt --workers 2 --out two.counts"
    assert shell(line, folder).returncode == 0
    assert (folder / "one.counts").read_bytes() == (folder / "two.counts").read_bytes()


def test_damaged_and_unsupported_compression_is_one_error(folder):
    packed = (folder / "a.txt.gz").read_bytes()
    (folder / "cut.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match=r"cut\.gz: damaged compressed file"):
        bpe.count_files([folder / "cut.gz"], "gpt2")
    (folder / "a.bz2").write_bytes(bz2.compress(b"text"))
    with pytest.raises(ValueError, match=r"a\.bz2: byte \d+ is not UTF-8"):
        bpe.count_files([folder / "a.bz2"], "gpt2")


def test_zstandard_is_read_or_its_package_is_named(folder):
    (folder / "a.zst").write_bytes(bytes.fromhex("28b52ffd2000"))
    if importlib.util.find_spec("zstandard") or importlib.util.find_spec("compression"):
        pytest.skip("a reader of Zstandard is installed")
    with pytest.raises(ImportError, match=r"reading .zst files needs zstandard. Install it: pip install zstandard"):
        bpe.count_files([folder / "a.zst"], "gpt2")


@POSIX
def test_outputs_never_replace_inputs_tokenizers_or_other_files(folder):
    (folder / "text.bin").write_text("a text whose name ends in .bin")
    (folder / "b.txt").write_text("some text")
    (folder / "hf.json").write_text('{"model": {"type": "BPE"}}')
    cases = [
        ("bpe encode text.bin --tokenizer t.json", "must not be an input"),
        ("bpe encode a.txt --tokenizer t.json --out t", "t.json: `out` must not be an input"),
        ("bpe encode a.txt --tokenizer t.json --out t.json", "must not be an input"),
        ("bpe encode a.txt --tokenizer t.json --out notes.txt", "exists and is not a token file"),
        ("bpe train a.txt --out a.txt", "must not be an input"),
        ("bpe train a.txt --out notes.txt", "exists and is not a native tokenizer"),
        ("bpe train a.txt --out hf.json", "exists and is not a native tokenizer"),
        ("bpe train a.txt --out ./b.txt", "exists and is not a native tokenizer"),
        ("bpe count a.txt --out notes.txt", "exists and is not a file of counts"),
        ("bpe count a.txt --out a.txt", "must not be an input"),
        ("bpe inspect a.txt --tokenizer t.json --html notes.txt", "exists and is not an HTML page"),
        ("bpe inspect a.txt --tokenizer t.json --html a.txt", "must not be an input"),
        ("bpe convert t.json --to native --out t.json", "must not be an input"),
        ("bpe convert t.json --to native --out notes.txt", "exists and is not a native tokenizer"),
        ("bpe train a.txt --out .", "Is a directory"),
    ]
    for line, match in cases:
        assert_refused(line, folder, match)


@POSIX
def test_outputs_of_the_same_kind_are_replaced_and_links_followed(folder):
    shell("bpe encode a.txt --tokenizer t.json --out a.bin && bpe count a.txt --out a.counts", folder)
    os.symlink("real.json", folder / "link.json")
    (folder / "real.json").write_bytes((folder / "t.json").read_bytes())
    (folder / "real.json").chmod(0o600)
    line = (
        "bpe train a.txt --vocab-size 300 --out link.json && bpe encode a.txt --tokenizer t.json --out a.bin"
        " && bpe count a.txt --out a.counts && bpe decode a.bin --tokenizer t.json --out again.txt"
        " && bpe decode a.bin --tokenizer t.json --out again.txt"
    )
    done = shell(line, folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "link.json").is_symlink()
    assert json.loads((folder / "real.json").read_text())["merges"]
    assert bpe.Tokenizer.load(folder / "real.json").n_vocab == 300
    assert (folder / "real.json").stat().st_mode & 0o777 == 0o600
    assert (folder / "again.txt").read_bytes() == (folder / "a.txt").read_bytes()


@POSIX
def test_devices_are_written_through(folder):
    line = (
        "bpe train a.txt --out /dev/null && bpe encode a.txt --tokenizer t.json --out /dev/null"
        " && bpe count a.txt --out /dev/null && bpe inspect a.txt --tokenizer t.json --html /dev/null > /dev/null"
        " && bpe decode <(printf 'a\\0') --tokenizer t.json --out /dev/null && test -c /dev/null"
    )
    done = shell(line, folder)
    assert done.returncode == 0, done.stderr
    assert not os.path.exists("/dev/null.json")


@POSIX
def test_decode_refuses_the_ids_of_another_tokenizer(folder):
    shell("bpe encode a.txt --tokenizer t.json --out a.bin && bpe train a.txt --vocab-size 400 --out u.json", folder)
    assert_refused("bpe decode a.bin --tokenizer u.json", folder, "written with another tokenizer")
    ids = np.fromfile(folder / "a.bin", "<u2")
    ids[:-1].tofile(folder / "a.bin")
    assert_refused("bpe decode a.bin --tokenizer t.json", folder, "must hold")


@POSIX
def test_special_options_and_empty_corpora_are_explained(folder):
    (folder / "empty.txt").write_text("")
    assert_refused('bpe train --special-tokens "<|endoftext|>" a.txt', folder, "must come before --special-tokens")
    assert_refused("bpe train empty.txt --out x.json", folder, "the corpus must hold text")
    assert_refused("bpe train empty.txt --workers 2 --out x.json", folder, "the corpus must hold text")
    assert_refused("bpe train a.txt --pattern cl100k_bass --out x.json", folder, "`pattern` must be one of")
    done = shell("bpe train a.txt --vocab-size 1000000 --out x.json", folder)
    assert b"no pair is left to merge" in done.stdout


def test_inspect_prints_no_raw_control_characters(folder):
    done = subprocess.run(
        [sys.executable, "-m", "bpe", "inspect", "--tokenizer", "t.json", "--text", "a\x1b]0;x\x07\rb|\u202ec\tt\ne"],
        capture_output=True, cwd=folder, check=True, encoding="utf-8",
    )  # fmt: skip
    shown = done.stdout.replace("\n", "").replace("\t", "")
    assert shown.isprintable()
    assert r"\x1b" in done.stdout
    assert r"\|" in done.stdout


def test_inspect_steps_prints_each_merge(folder):
    done = subprocess.run(
        [sys.executable, "-m", "bpe", "inspect", "--tokenizer", "t.json", "--steps", " the"],
        capture_output=True, cwd=folder, check=True, encoding="utf-8",
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0] == "Ġ t h e"
    assert lines[-1] == "Ġthe"
