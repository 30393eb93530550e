"""Downloads from a real server that serves well, badly or not at all."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from dlpapers_shared import data
from dlpapers_shared.data import DataError


def kept(here):
    """Every file in the cache, half ones too."""
    return [p for p in here["cache"].rglob("*") if p.is_file()]


def test_a_file_is_downloaded_once_and_kept_in_the_cache(here, register, server, body, capfd):
    register("x/a.bin", body, f"{server.address}/good")
    first, second = data.fetch("x/a.bin"), data.fetch("x/a.bin")
    assert first == second == here["cache"] / "x" / "a.bin"
    assert first.read_bytes() == body
    assert server.requests == ["/good"]
    assert kept(here) == [first]
    assert capfd.readouterr() == ("", "")  # no bar, no log where there is no terminal


def test_a_spoilt_file_in_the_cache_is_fetched_again(here, register, server, body):
    register("a.bin", body, f"{server.address}/good")
    (here["cache"] / "a.bin").write_bytes(body[:-1] + b"?")
    assert data.fetch("a.bin").read_bytes() == body


def test_the_bytes_are_asked_for_as_they_are_registered(here, register, server, body):
    register("a.bin", body, f"{server.address}/good")
    data.fetch("a.bin")
    assert server.encodings == ["identity"]  # no compressed form of them


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("nowhere", "the server answered 404 .*/nowhere"),
        ("truncate", "could not be read: .*102400"),
        ("short", "sent 102,400 bytes of 204,800"),
        ("corrupt", "has not the registered sha256"),
        ("stall", "/stall sent nothing for 0.3 s"),
        ("silent", "/silent sent nothing for 0.3 s"),
    ],
)
@pytest.mark.parametrize("spoilt", [False, True], ids=["empty cache", "spoilt cache"])
def test_what_goes_wrong_is_one_clear_error_and_leaves_nothing(
    here, register, server, body, monkeypatch, how, says, spoilt
):
    if how in ("stall", "silent"):
        monkeypatch.setattr(data, "STALL", 0.3)
    register("x/a.bin", body, f"{server.address}/{how}")
    if spoilt:
        (here["cache"] / "x").mkdir()
        (here["cache"] / "x" / "a.bin").write_bytes(b"spoilt")
    with pytest.raises(DataError, match=says) as caught:
        data.fetch("x/a.bin")
    assert str(caught.value).startswith("x/a.bin: ")
    assert str(here["cache"] / "x" / "a.bin") in str(caught.value)  # where to put it by hand
    assert "\n" not in str(caught.value)
    assert [p.read_bytes() for p in kept(here)] == ([b"spoilt"] if spoilt else [])


def test_a_short_file_is_noticed_though_its_size_is_not_registered(here, register, server, body):
    register("a.bin", body, f"{server.address}/short", bytes=None)
    with pytest.raises(DataError, match="has not the registered sha256"):
        data.fetch("a.bin")
    assert kept(here) == []


def test_nobody_there(here, register, body):
    register("a.bin", body, "http://127.0.0.1:9/a.bin")
    with pytest.raises(DataError, match=r"could not be read: .*refused"):
        data.fetch("a.bin")
    assert kept(here) == []


def test_a_cache_that_cannot_be_written_is_named(here, register, server, body):
    (here["cache"] / "x").write_bytes(b"a file where a folder is needed")
    register("x/a.bin", body, f"{server.address}/good")
    with pytest.raises(DataError, match=r"cannot be kept in .*cache"):
        data.fetch("x/a.bin")


# ------------------------------------------------------------------- the same through the command line

PROGRAM = textwrap.dedent(
    """
    import signal
    import sys
    from pathlib import Path
    from dlpapers_shared import __main__, data

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background hands on "ignore"
    _, cache, url, size, sha256 = sys.argv
    entry = data.Entry("x/a.bin", url, sha256, int(size), "L", "C", "A")
    data.registry = lambda: {"x/a.bin": entry}
    data.cache_dir = lambda: Path(cache)
    data.STALL = 3600.0
    sys.argv = ["dlpapers-data", "fetch", "x/a.bin"]
    __main__.main()
    """
)


def start(here, entry, **options):
    arguments = [str(here["cache"]), entry.url, str(entry.bytes), entry.sha256]
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **{"stderr": subprocess.PIPE} | options)


def test_the_path_is_printed(here, register, server, body):
    program = start(here, register("x/a.bin", body, f"{server.address}/good"))
    assert program.communicate(timeout=600) == (f"{here['cache'] / 'x' / 'a.bin'}\n", "")
    assert program.returncode == 0


def test_a_failure_is_one_line_and_exit_status_2(here, register, server, body):
    program = start(here, register("x/a.bin", body, f"{server.address}/corrupt"))
    out, err = program.communicate(timeout=600)
    assert (program.returncode, out) == (2, "")
    assert err.startswith("error: x/a.bin: ")
    assert err.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no Ctrl-C to one process")
def test_ctrl_c_in_a_download_leaves_no_half_file(here, register, server, body):
    program = start(here, register("x/a.bin", body, f"{server.address}/stall"))
    while not any(p.stat().st_size for p in kept(here)):  # half a file is there under a temporary name
        assert program.poll() is None
        time.sleep(0.02)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=600)
    assert (program.returncode, out) == (130, "")
    assert err == "error: interrupted; no part of the file was kept\n"
    assert kept(here) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_on_a_terminal_a_bar_shows_how_far_it_is(here, register, server, body):
    import termios

    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    program = start(here, register("x/a.bin", body, f"{server.address}/good"), stderr=theirs)
    program.communicate(timeout=600)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert program.returncode == 0
    assert "x/a.bin: 100%" in shown
    assert "205k/205k" in shown
