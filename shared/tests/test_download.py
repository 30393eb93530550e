"""Downloads from a real server that works, fails, stops in the middle, or does not answer."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from dlpapers_shared import data, download
from dlpapers_shared.data import DataError

RECEIVED = 1 << 16
"""Bytes that are stored of the 102,400 that a broken download sends: whole chunks."""


def stored(here):
    """Every file in the cache, unfinished ones too."""
    return [p for p in here["cache"].rglob("*") if p.is_file()]


def test_file_is_downloaded_once_and_stored_in_the_cache(here, register, server, body, capfd):
    register("x/a.bin", body, f"{server.address}/good")
    first, second = data.fetch("x/a.bin"), data.fetch("x/a.bin")
    assert first == second == here["cache"] / "x" / "a.bin"
    assert first.read_bytes() == body
    assert server.requests == ["/good"]
    assert stored(here) == [first]
    assert [p.name for p in here["cache"].iterdir()] == ["x"]
    assert capfd.readouterr() == ("", "")  # no bar and no log without a terminal


def test_corrupt_file_in_the_cache_is_downloaded_again(here, register, server, body):
    register("a.bin", body, f"{server.address}/good")
    (here["cache"] / "a.bin").write_bytes(body[:-1] + b"?")
    assert data.fetch("a.bin").read_bytes() == body


def test_server_is_asked_for_the_uncompressed_bytes(here, register, server, body):
    register("a.bin", body, f"{server.address}/good")
    data.fetch("a.bin")
    assert server.encodings == ["identity"]


# ------------------------------------------------------------------------------------------ retries


def test_busy_server_is_asked_again(here, register, server, body):
    register("a.bin", body, f"{server.address}/busy-once")
    assert data.fetch("a.bin").read_bytes() == body
    assert len(server.requests) == 2


def test_broken_download_continues_where_it_stopped(here, register, server, body):
    register("a.bin", body, f"{server.address}/break")
    assert data.fetch("a.bin").read_bytes() == body
    assert server.ranges == [None, f"bytes={RECEIVED}-"]
    assert [p.name for p in here["cache"].iterdir()] == ["a.bin"]


def test_download_continues_as_long_as_it_makes_progress(here, register, server, body, monkeypatch):
    monkeypatch.setattr(download, "RETRY_SECONDS", (0.0,))
    register("a.bin", body, f"{server.address}/drip")
    assert data.fetch("a.bin").read_bytes() == body
    assert len(server.requests) == 4  # of 64 KiB each: more than two attempts


def test_server_that_ignores_ranges_sends_the_whole_file(here, register, server, body):
    register("a.bin", body, f"{server.address}/norange")
    assert data.fetch("a.bin").read_bytes() == body


def test_partial_file_of_other_content_is_downloaded_from_the_start(here, register, server, body):
    entry = register("a.bin", body, f"{server.address}/stall")
    partial = here["cache"] / download.PARTIAL / entry.sha256
    partial.parent.mkdir()
    partial.write_bytes(b"?" * 1000)
    server.over.set()
    assert data.fetch("a.bin").read_bytes() == body
    assert server.ranges == ["bytes=1000-", None, f"bytes={RECEIVED}-"]


def test_attempts_are_limited(here, register, server, body):
    register("a.bin", body, f"{server.address}/busy")
    with pytest.raises(DataError, match="the server answered 503"):
        data.fetch("a.bin")
    assert len(server.requests) == 3
    assert list(here["cache"].iterdir()) == []


def test_missing_file_is_not_asked_for_again(here, register, server, body):
    register("a.bin", body, f"{server.address}/nowhere")
    with pytest.raises(DataError, match="the server answered 404"):
        data.fetch("a.bin")
    assert len(server.requests) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks on Windows")
def test_concurrent_fetches_download_once(here, register, server, body):
    register("x/a.bin", body, f"{server.address}/slow-start")
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(data.fetch, ["x/a.bin"] * 4))
    assert {path.read_bytes() for path in paths} == {body}
    assert server.requests == ["/slow-start"]
    assert [p.name for p in here["cache"].iterdir()] == ["x"]


# ------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("nowhere", "the server answered 404 .*/nowhere"),
        ("truncate", "could not be read .*102400"),
        ("short", "sent 102,400 bytes, expected 204,800"),
        ("corrupt", "is not the registered one"),
        ("stall", "/stall sent nothing for 0.3 s"),
        ("silent", "/silent sent nothing for 0.3 s"),
    ],
)
@pytest.mark.parametrize("corrupt", [False, True], ids=["empty cache", "corrupt cache"])
def test_each_failure_is_one_error_line_and_leaves_no_wrong_file(
    here, register, server, body, monkeypatch, how, says, corrupt
):
    monkeypatch.setattr(download, "RETRY_SECONDS", ())
    if how in ("stall", "silent"):
        monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    entry = register("x/a.bin", body, f"{server.address}/{how}")
    if corrupt:
        (here["cache"] / "x").mkdir()
        (here["cache"] / "x" / "a.bin").write_bytes(b"corrupt")
    with pytest.raises(DataError, match=says) as caught:
        data.fetch("x/a.bin")
    assert str(caught.value).startswith("x/a.bin: ")
    assert str(here["cache"] / "x" / "a.bin") in str(caught.value)  # where to save it by hand
    assert "\n" not in str(caught.value)
    partial = here["cache"] / download.PARTIAL / entry.sha256
    if how in ("truncate", "stall"):  # what was received continues later
        assert partial.read_bytes() == body[:RECEIVED]
        partial.unlink()
    assert [p.read_bytes() for p in stored(here)] == ([b"corrupt"] if corrupt else [])


def test_short_file_is_detected_without_a_registered_size(here, register, server, body):
    register("a.bin", body, f"{server.address}/short", bytes=None)
    with pytest.raises(DataError, match="is not the registered one"):
        data.fetch("a.bin")
    assert stored(here) == []


def test_address_without_a_server(here, register, body, monkeypatch):
    monkeypatch.setattr(download, "RETRY_SECONDS", (0.0,))
    register("a.bin", body, "http://127.0.0.1:9/a.bin")
    with pytest.raises(DataError, match=r"could not be read .*refused"):
        data.fetch("a.bin")
    assert list(here["cache"].iterdir()) == []


def test_cache_that_is_a_dangling_link_is_a_data_error(here, register, server, body, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    monkeypatch.setenv("DLPAPERS_CACHE_DIR", str(tmp_path / "link"))
    register("x/a.bin", body, f"{server.address}/good")
    with pytest.raises(DataError, match=r"cannot be stored in .*link"):
        data.fetch("x/a.bin")


@pytest.mark.parametrize("blocked", ["x", "x/a.bin/folder", ".partial"])
def test_cache_that_cannot_be_written_is_a_data_error(here, register, server, body, blocked):
    path = here["cache"] / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a file where a folder is needed, or a folder where a file is needed")
    register("x/a.bin", body, f"{server.address}/good")
    with pytest.raises(DataError, match=r"cannot be stored in .*cache|is a folder"):
        data.fetch("x/a.bin")


# ------------------------------------------------------------------- the same through the command line

PROGRAM = textwrap.dedent(
    """
    import signal
    import sys
    from dlpapers_shared import cli, data, download

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background inherits "ignore"
    _, url, size, sha256 = sys.argv
    entry = data.Entry("x/a.bin", url, sha256, int(size), "L", "C", "A")
    data.registry = lambda: {"x/a.bin": entry}
    download.STALL_SECONDS = 3600.0
    download.RETRY_SECONDS = ()
    sys.argv = ["dlpapers-data", "fetch", "x/a.bin"]
    cli.main()
    """
)


def start(entry, **options):
    command = [sys.executable, "-c", PROGRAM, entry.url, str(entry.bytes), entry.sha256]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **{"stderr": subprocess.PIPE} | options)


def test_path_is_printed(here, register, server, body):
    program = start(register("x/a.bin", body, f"{server.address}/good"))
    assert program.communicate(timeout=600) == (f"{here['cache'] / 'x' / 'a.bin'}\n", "")
    assert program.returncode == 0


def test_failure_is_one_error_line_and_status_2(here, register, server, body):
    program = start(register("x/a.bin", body, f"{server.address}/corrupt"))
    out, err = program.communicate(timeout=600)
    assert (program.returncode, out) == (2, "")
    assert err.startswith("error: x/a.bin: ")
    assert err.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no Ctrl-C to one process")
def test_interrupted_download_continues_with_the_next_call(here, register, server, body):
    entry = register("x/a.bin", body, f"{server.address}/stall")
    program = start(entry)
    while not any(p.stat().st_size for p in stored(here)):  # half of the file has arrived
        assert program.poll() is None
        time.sleep(0.02)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=600)
    assert (program.returncode, out) == (130, "")
    assert err == "interrupted. Repeat the command to continue the download\n"
    assert not (here["cache"] / "x" / "a.bin").exists()
    server.over.set()
    assert data.fetch("x/a.bin").read_bytes() == body
    assert server.ranges == [None, f"bytes={RECEIVED}-"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_terminal_shows_a_progress_bar(here, register, server, body):
    import termios

    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    program = start(register("x/a.bin", body, f"{server.address}/good"), stderr=theirs)
    program.communicate(timeout=600)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert program.returncode == 0
    assert "x/a.bin: 100%" in shown
    assert "205k/205k" in shown
