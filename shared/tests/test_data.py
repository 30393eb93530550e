import gzip
import json
import re
from pathlib import PurePosixPath

import pytest
from dlpapers_shared import data
from dlpapers_shared.data import DataError
from hypothesis import given, settings
from hypothesis import strategies as st

# ------------------------------------------------------------------------------------- the registry


def test_every_entry_says_what_a_user_has_to_know():
    entries = data.registry()
    assert len(entries) == 41  # 38 files and the 3 members of a zip
    for name, entry in entries.items():
        assert entry.name == name
        assert ".." not in PurePosixPath(name).parts
        assert not PurePosixPath(name).is_absolute()
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        assert re.fullmatch(r"https://[^/ ]+/\S+", entry.url)
        assert entry.bytes is None or entry.bytes > 0
        assert all(len(text) > 2 for text in (entry.licence, entry.citation, entry.about))
    assert len({entry.sha256 for entry in entries.values()}) == len(entries)


def test_the_registry_is_what_was_checked_by_hand(data_file):
    """The list beside the data names every file to fetch, and its fixtures are not among them."""
    listed = json.loads(data_file("../manifest.json").read_text(encoding="utf-8"))["files"]
    wanted = {}
    for file in (f for f in listed if f["kind"] in ("download", "remote")):
        wanted[file["path"]] = (file["url"], file["sha256"], file["bytes"])
        folder = PurePosixPath(file["path"]).parent
        wanted |= {str(folder / m): (file["url"], sha, None) for m, sha in file.get("members", {}).items()}
    assert {name: (e.url, e.sha256, e.bytes) for name, e in data.registry().items()} == wanted


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(DataError, match=r"'tinyshakespeare' is not in the registry; .*'text/tinyshakespeare.txt'\?"):
        data.fetch("tinyshakespeare")
    with pytest.raises(DataError, match="`dlpapers-data list` shows what is"):
        data.fetch("§")


# ---------------------------------------------------------------------------------- where files are found


def test_the_named_folder_comes_first_and_is_checked(here, register):
    register("a.txt", b"right")
    for folder in here.values():
        (folder / "a.txt").write_bytes(b"right")
    assert data.fetch("a.txt") == here["data"] / "a.txt"
    (here["data"] / "a.txt").write_bytes(b"wrong")
    with pytest.raises(DataError, match=r"data.a\.txt is not the registered a\.txt"):
        data.fetch("a.txt")
    (here["data"] / "a.txt").unlink()
    assert data.fetch("a.txt") == here["cache"] / "a.txt"


def test_without_the_variable_the_cache_is_what_there_is(here, register, monkeypatch):
    register("a.txt", b"right")
    (here["cache"] / "a.txt").write_bytes(b"right")
    monkeypatch.delenv("DLPAPERS_DATA_DIR")
    assert data.fetch("a.txt") == here["cache"] / "a.txt"


def test_a_file_of_the_registered_size_is_still_hashed(here, register):
    entry = register("a.txt", b"right")
    path = here["data"] / "a.txt"
    path.write_bytes(b"wrong")
    assert not data.is_registered(path, entry)
    path.write_bytes(b"right")
    assert data.is_registered(path, entry)


def test_members_of_a_zip_are_taken_out_by_their_own_names(here, register, zipped):
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
        ({"f/b.raw": b"2"}, "has not the registered sha256"),
        ({}, "holds 0 files"),
        ({"b.raw": b"", "f/b.raw": b""}, "holds 2 files"),
    ],
)
def test_a_zip_without_the_right_member_leaves_nothing(here, register, zipped, members, says):
    archive = zipped(members)
    register("ab.zip", archive)
    register("b.raw", b"two", archive="ab.zip", bytes=None)
    (here["data"] / "ab.zip").write_bytes(archive)
    with pytest.raises(DataError, match=says):
        data.fetch("b.raw")
    assert list(here["cache"].iterdir()) == []


# ------------------------------------------------------------------------------------------ reading


def test_text_is_read_as_it_is(here, register):
    text = "two lines\r\nand a sign: σ\n"
    for name, body in {"a.txt": text.encode(), "a.txt.gz": gzip.compress(text.encode())}.items():
        register(name, body)
        (here["data"] / name).write_bytes(body)
        assert data.read_text(name) == text


def test_what_is_no_text_is_named(here, register):
    register("a.bin", b"\xff")
    (here["data"] / "a.bin").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"a\.bin is not UTF-8 text"):
        data.read_text("a.bin")


def test_tiny_shakespeare_splits_as_everyone_splits_it(data_file):
    data_file("text/tinyshakespeare.txt")
    train, validation = data.split(data.read_text("text/tinyshakespeare.txt"), 0.9)
    assert (len(train), len(validation)) == (1_003_854, 111_540)
    assert train.startswith("First Citizen:")


def test_a_compressed_corpus_is_read_whole(data_file):
    data_file("mt/val.de.gz")
    assert len(data.read_text("mt/val.de.gz").splitlines()) == 1014


@settings(deadline=None)
@given(st.lists(st.integers(), min_size=1, max_size=300), st.integers(1, 99))
def test_a_split_loses_nothing_and_is_exact_in_percent(items, percent):
    first, rest = data.split(items, percent / 100)
    assert first + rest == items
    assert len(first) == len(items) * percent // 100


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 90, float("nan")])
def test_a_fraction_outside_0_and_1_is_an_error(fraction):
    with pytest.raises(ValueError, match="fraction"):
        data.split("abc", fraction)
