import doctest
import importlib
import os
import subprocess
import sys

import pytest
from dlpapers_shared import __main__, data

MODULES = ["__main__", "data", "viz.style"]


def run(*arguments, **environment):
    command = [sys.executable, "-m", "dlpapers_shared", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_list_shows_every_file_with_its_licence(tmp_path):
    done = run("list", DLPAPERS_DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()[1:]}
    assert list(rows) == list(data.registry())
    assert "1.1 MB" in rows["text/tinyshakespeare.txt"]
    assert "CC BY-SA 3.0" in rows["lm-eval/wiki.train.raw"]


def test_list_of_a_name_tells_all_that_is_known():
    done = run("list", "lm-eval/wiki.train.raw")
    entry = data.entry("lm-eval/wiki.train.raw")
    for text in (entry.url, entry.sha256, entry.licence, entry.citation, entry.about, entry.archive):
        assert text in done.stdout


def test_fetch_prints_where_the_file_is(data_file):
    path = data_file("text/names.txt")
    done = run("fetch", "text/names.txt", DLPAPERS_DATA_DIR=str(path.parent.parent))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}\n", "")


@pytest.mark.parametrize("verb", ["list", "fetch"])
def test_an_unknown_name_is_one_line_and_exit_status_2(verb):
    done = run(verb, "text/tinyshakespear.txt")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: name: 'text/tinyshakespear.txt' is not in the registry; did you mean")
    assert done.stderr.count("\n") == 1


def test_an_unknown_command_ends_with_2():
    assert run("nonsense").returncode == 2


def test_verify_finds_the_spoilt_file(here, register, capsys):
    register("a.txt", b"a")
    register("b.txt", b"b")
    (here["data"] / "a.txt").write_bytes(b"a")
    (here["cache"] / "b.txt").write_bytes(b"b")
    __main__.Verify()()
    assert capsys.readouterr().out.splitlines()[-1] == "2 files are here, 0 of them wrong"
    (here["cache"] / "a.txt").write_bytes(b"?")  # shadowed by the right one, and still reported
    with pytest.raises(SystemExit, match="1"):
        __main__.Verify()()
    out = capsys.readouterr().out
    assert f"WRONG {here['cache'] / 'a.txt'}\n" in out
    assert "3 files are here, 1 of them wrong" in out


@pytest.mark.skipif(sys.platform == "win32", reason="no pipe of this kind on Windows")
def test_a_reader_that_leaves_early_is_no_error():
    command = f"'{sys.executable}' -m dlpapers_shared list | head -n 1 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_imports_nothing_slow():
    code = "import sys; sys.argv = ['dlpapers-data', '--help']\n"
    code += "try:\n import dlpapers_shared.__main__ as m; m.main()\nexcept SystemExit: pass\n"
    code += "print(sorted({'pooch', 'requests', 'matplotlib', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_right(name):
    result = doctest.testmod(importlib.import_module(f"dlpapers_shared.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
