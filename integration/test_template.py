"""A new paper begins with one command, and its tests are green with no list edited."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def copy(tmp_path):
    """The tracked files of the house, without what the packages hold (it is not needed, and slow to build)."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if not name.startswith("packages/") and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def nox(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [sys.executable, "-m", "nox", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_new_paper_is_green_at_once(copy):
    begun = nox(copy, "-s", "new", "--", "vit", "An Image is Worth 16x16 Words", "2020", "2010.11929")
    assert begun.returncode == 0, begun.stderr
    tested = nox(copy, "-s", "tests(vit)")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "passed" in tested.stdout
    assert "skipped" not in tested.stdout  # the proof of isolation ran too
    linted = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "packages/vit"], cwd=copy, capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["Vit", "Title", "2020", "2010.11929"], "name"),
        (["vit", "Title", "20", "2010.11929"], "year"),
        (["vit", "Title", "2020", "hep-th/9"], "arxiv"),
        (["vit", 'A "title"', "2020", "2010.11929"], "title"),
        (["vit"], "usage"),
    ],
)
def test_a_paper_that_makes_no_sense_is_refused(copy, arguments, named):
    command = [sys.executable, "tools/new_paper.py", *arguments]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert named in done.stderr
    assert not (copy / "packages").exists() or not list((copy / "packages").iterdir())
