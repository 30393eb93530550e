"""The commands list, fetch and verify, run as a user runs them."""

import os
import subprocess
import sys

import pytest
from dlpapers_shared import cli, data


def run(*arguments, **environment):
    command = [sys.executable, "-m", "dlpapers_shared", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_list_shows_every_file_with_its_license(tmp_path):
    done = run("list", DLPAPERS_DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
    assert list(rows) == list(data.registry())
    assert "1.1 MB" in rows["text/tinyshakespeare.txt"]
    assert "CC BY-SA 3.0" in rows["lm-eval/wiki.train.raw"]


def test_list_of_a_name_or_a_folder_shows_all_that_is_known():
    done = run("list", "lm-eval/wiki.train.raw")
    entry = data.entry("lm-eval/wiki.train.raw")
    for text in (entry.url, entry.sha256, entry.license, entry.citation, entry.about, entry.archive):
        assert text in done.stdout
    assert run("list", "mt").stdout.count("  sha256 ") == 18


def test_fetch_prints_the_path_of_each_file(data_file):
    folder = data_file("text/names.txt").parent.parent
    done = run("fetch", "unicode/blns.txt", "unicode", "text/names.txt", DLPAPERS_DATA_DIR=str(folder))
    names = [
        "unicode/blns.txt",
        "unicode/blns.json",
        "unicode/utf8tests.txt",
        "unicode/utf8tests.bin",
        "text/names.txt",
    ]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(folder / name) for name in names]


@pytest.mark.parametrize("verb", ["list", "fetch", "verify"])
def test_unknown_name_is_one_error_line_with_the_nearest_name(verb):
    done = run(verb, "text/tinyshakespear.txt")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: `name` must be in the registry, got 'text/tinyshakespear.txt'. Did you mean")
    assert done.stderr.count("\n") == 1


def test_fetch_needs_a_name():
    done = run("fetch")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("command", [["list"], ["verify"], ["fetch", "text/names.txt"]])
def test_data_folder_that_does_not_exist_is_an_error(command, tmp_path):
    done = run(*command, DLPAPERS_DATA_DIR=str(tmp_path / "typo"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: `DLPAPERS_DATA_DIR` must be a folder, got ")


def test_verify_reports_a_corrupt_file(here, register, capsys):
    register("a.txt", b"a")
    register("b.txt", b"b")
    (here["data"] / "a.txt").write_bytes(b"a")
    (here["cache"] / "b.txt").write_bytes(b"b")
    cli.Verify()()
    assert capsys.readouterr().out.splitlines()[-1] == "2 files are on this machine, 0 of them wrong"
    (here["cache"] / "a.txt").write_bytes(b"?")  # hidden by the correct one, but still reported
    with pytest.raises(SystemExit, match="1"):
        cli.Verify()()
    out = capsys.readouterr().out
    assert f"WRONG {here['cache'] / 'a.txt'}\n" in out
    assert "3 files are on this machine, 1 of them wrong" in out
    cli.Verify(("b.txt",))()
    assert capsys.readouterr().out.splitlines()[-1] == "1 files are on this machine, 0 of them wrong"


@pytest.mark.skipif(sys.platform == "win32", reason="no pipe of this kind on Windows")
def test_closed_pipe_is_silent():
    command = f"'{sys.executable}' -m dlpapers_shared list | head -n 1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_imports_nothing_slow():
    code = "import sys; sys.argv = ['dlpapers-data', '--help']\n"
    code += "try:\n import dlpapers_shared.__main__ as m; m.main()\nexcept SystemExit: pass\n"
    code += "print(sorted({'pooch', 'requests', 'matplotlib', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
