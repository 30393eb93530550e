"""The registry, where files are found, zips, and reading."""

import gzip
import json
import re
from pathlib import PurePosixPath

import pytest
from dlpapers_shared import data
from dlpapers_shared.data import DataError
from hypothesis import example, given, settings
from hypothesis import strategies as st

# ------------------------------------------------------------------------------------- the registry


def test_every_entry_is_complete():
    entries = data.registry()
    assert len(entries) == 45  # 42 files and the 3 members of a zip
    for name, entry in entries.items():
        assert entry.name == name
        assert ".." not in PurePosixPath(name).parts
        assert not PurePosixPath(name).is_absolute()
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        assert re.fullmatch(r"https://[^/ ]+/\S+", entry.url)
        assert entry.bytes is None or entry.bytes > 0
        assert all(len(text) > 2 for text in (entry.license, entry.citation, entry.about))
    assert len({entry.sha256 for entry in entries.values()}) == len(entries)


def test_registry_matches_the_manifest_of_the_data_folder(data_file):
    listed = json.loads(data_file("../manifest.json").read_text(encoding="utf-8"))["files"]
    wanted = {}
    for file in (f for f in listed if f["kind"] in ("download", "remote")):
        size = file.get("upstream_bytes", file["bytes"])
        wanted[file["path"]] = (file["url"], file["sha256"], size)
        folder = PurePosixPath(file["path"]).parent
        wanted |= {str(folder / m): (file["url"], sha, None) for m, sha in file.get("members", {}).items()}
    assert {name: (e.url, e.repacked or e.sha256, e.bytes) for name, e in data.registry().items()} == wanted


def test_fashion_mnist_is_accepted_in_debians_and_in_the_upstream_packing(data_file, tmp_path):
    name = "vision/fashion-mnist/t10k-labels-idx1-ubyte.gz"
    entry = data.entry(name)
    packed = data_file(name).read_bytes()
    assert data.is_registered(data_file(name), entry)
    with gzip.open(data_file(name)) as file:
        content = file.read()
    assert (int.from_bytes(content[:4], "big"), int.from_bytes(content[4:8], "big")) == (2049, 10_000)
    # the upstream file has its name in the header, and another date
    upstream = b"\x1f\x8b\x08\x08" + (1504176627).to_bytes(4, "little") + packed[8:10]
    upstream += PurePosixPath(name).stem.encode() + b"\0" + packed[10:]
    (tmp_path / "upstream.gz").write_bytes(upstream)
    assert len(upstream) == entry.bytes
    assert data.is_registered(tmp_path / "upstream.gz", entry)


def test_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(DataError, match=r"got 'tinyshakespeare'. Did you mean 'text/tinyshakespeare.txt'\?"):
        data.fetch("tinyshakespeare")
    with pytest.raises(DataError, match="`dlpapers-data list` shows them"):
        data.fetch("§")


def test_selection_is_names_and_folders_without_duplicates(register):
    for name in ("a/x", "a/b/y", "ab/z"):
        register(name, name.encode())
    assert data.names(["ab/z", "a", "a/x", "a/b/"]) == ["ab/z", "a/x", "a/b/y"]
    assert data.names([]) == []
    with pytest.raises(DataError, match="got 'c'"):
        data.names(["a", "c"])


# ---------------------------------------------------------------------------------- where files are found


def test_data_folder_comes_first_and_is_checked(here, register):
    register("a.txt", b"right")
    for folder in here.values():
        (folder / "a.txt").write_bytes(b"right")
    assert data.fetch("a.txt") == here["data"] / "a.txt"
    (here["data"] / "a.txt").write_bytes(b"wrong")
    with pytest.raises(DataError, match=r"data.a\.txt: its sha256 is not the registered one"):
        data.fetch("a.txt")
    (here["data"] / "a.txt").unlink()
    assert data.fetch("a.txt") == here["cache"] / "a.txt"


def test_without_the_variable_only_the_cache_is_searched(here, register, monkeypatch):
    register("a.txt", b"right")
    (here["cache"] / "a.txt").write_bytes(b"right")
    monkeypatch.delenv("DLPAPERS_DATA_DIR")
    assert data.fetch("a.txt") == here["cache"] / "a.txt"
    monkeypatch.delenv("DLPAPERS_CACHE_DIR")
    assert data.cache_dir().name == "dlpapers"


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_variable_that_names_no_folder_is_an_error(here, register, monkeypatch, tmp_path, kind):
    register("a.txt", b"right")
    (here["cache"] / "a.txt").write_bytes(b"right")
    if kind == "file":
        (tmp_path / "typo").write_text("")
    monkeypatch.setenv("DLPAPERS_DATA_DIR", str(tmp_path / "typo"))
    with pytest.raises(DataError, match="`DLPAPERS_DATA_DIR` must be a folder"):
        data.fetch("a.txt")


def test_file_of_the_registered_size_is_still_hashed(here, register):
    entry = register("a.txt", b"right")
    path = here["data"] / "a.txt"
    path.write_bytes(b"wrong")
    assert not data.is_registered(path, entry)
    path.write_bytes(b"right")
    assert data.is_registered(path, entry)


def test_members_of_a_zip_are_extracted_by_their_own_names(here, register, zipped):
    archive = zipped({"folder/a.raw": b"one", "folder/b.raw": b"two"})
    register("x/ab.zip", archive)
    register("x/b.raw", b"two", archive="x/ab.zip", bytes=None)
    (here["data"] / "x").mkdir()
    (here["data"] / "x" / "ab.zip").write_bytes(archive)
    path = data.fetch("x/b.raw")
    assert path == here["cache"] / "x" / "b.raw"
    assert path.read_bytes() == b"two"
    (here["data"] / "x" / "ab.zip").unlink()
    assert data.fetch("x/b.raw") == path  # the zip is not needed again


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"f/b.raw": b"2"}, "is not the registered one"),
        ({}, "has 0 files of that name"),
        ({"b.raw": b"", "f/b.raw": b""}, "has 2 files of that name"),
        (None, "cannot be read"),
    ],
)
def test_zip_without_the_right_member_leaves_nothing(here, register, zipped, members, says):
    archive = b"not a zip" if members is None else zipped(members)
    register("ab.zip", archive)
    register("b.raw", b"two", archive="ab.zip", bytes=None)
    (here["data"] / "ab.zip").write_bytes(archive)
    with pytest.raises(DataError, match=says):
        data.fetch("b.raw")
    assert list(here["cache"].iterdir()) == []


def test_member_that_cannot_be_stored_is_a_data_error(here, register, zipped):
    archive = zipped({"b.raw": b"two"})
    register("x/ab.zip", archive)
    register("x/b.raw", b"two", archive="x/ab.zip", bytes=None)
    (here["data"] / "x").mkdir()
    (here["data"] / "x" / "ab.zip").write_bytes(archive)
    (here["cache"] / "x").write_bytes(b"a file where a folder is needed")
    with pytest.raises(DataError, match=r"x/b\.raw: cannot be stored in .*cache"):
        data.fetch("x/b.raw")


# ------------------------------------------------------------------------------------------ reading


def test_text_is_read_with_its_line_ends(here, register):
    text = "two lines\r\nand a sign: σ\n"
    for name, body in {"a.txt": text.encode(), "a.txt.gz": gzip.compress(text.encode())}.items():
        register(name, body)
        (here["data"] / name).write_bytes(body)
        assert data.read_text(name) == text


@pytest.mark.parametrize(
    ("name", "body", "says"),
    [
        ("a.bin", b"ab\xff", r"a\.bin: not UTF-8 \(byte 2\)"),
        ("a.gz", gzip.compress(b"a text that is cut off", mtime=0)[:-9], r"a\.gz: cannot be read"),
        ("a.gz", b"not gzip at all", r"a\.gz: cannot be read"),
        ("a.gz", gzip.compress(b"a" * 50, mtime=0)[:12] + b"\xff" * 20, r"a\.gz: cannot be read"),
        ("a.gz", gzip.compress(b"\xff", mtime=0), r"a\.gz: not UTF-8"),
    ],
)
def test_file_that_is_not_text_is_a_data_error(here, register, name, body, says):
    register(name, body)
    (here["data"] / name).write_bytes(body)
    with pytest.raises(DataError, match=says):
        data.read_text(name)


def test_tiny_shakespeare_has_the_usual_split(data_file):
    data_file("text/tinyshakespeare.txt")
    train, validation = data.split(data.read_text("text/tinyshakespeare.txt"), 0.9)
    assert (len(train), len(validation)) == (1_003_854, 111_540)
    assert train.startswith("First Citizen:")


def test_compressed_corpus_is_read_whole(data_file):
    data_file("mt/val.de.gz")
    assert len(data.read_text("mt/val.de.gz").splitlines()) == 1014


@settings(deadline=None)
@given(st.lists(st.integers(), min_size=1, max_size=300), st.integers(1, 99))
@example(list(range(100)), 29)  # 100 * 0.29 is 28.999999999999996
def test_split_is_exact_for_whole_percentages(items, percent):
    first, rest = data.split(items, percent / 100)
    assert first + rest == items
    assert len(first) == len(items) * percent // 100


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 90, float("nan"), "0.5", None, True])
def test_fraction_outside_0_and_1_is_an_error(fraction):
    with pytest.raises(ValueError, match="`fraction` must be in"):
        data.split("abc", fraction)
