import doctest
import importlib
import pkgutil
import re
from importlib.metadata import version
from pathlib import Path

import alone
import gpt2
import pytest
import readme_blocks
import torch
from gpt2 import GPT2, GPT2Config
from gpt2.model import SIZES

FOLDER = Path(__file__).parent.parent


@pytest.mark.skipif(not alone.expected_alone(), reason="only `nox -s tests` makes an environment for one package")
def test_nothing_else_of_ours_is_installed():
    assert alone.siblings_in_sight("dlpapers-gpt2") == []


def test_the_changelog_names_this_version():
    assert f"## {version('dlpapers-gpt2')}" in (FOLDER / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_does_what_it_says(tmp_path):
    assert readme_blocks.run_marked(FOLDER / "README.md", tmp_path, slow=False)


def test_the_examples_in_the_docstrings():
    names = [m.name for m in pkgutil.iter_modules(gpt2.__path__) if m.name != "__main__"]
    results = [doctest.testmod(importlib.import_module(f"gpt2.{name}")) for name in names]
    assert sum(r.attempted for r in results) >= 10
    assert sum(r.failed for r in results) == 0


def test_the_readmes_table_of_memory_is_that_of_the_sizes():
    rows = re.findall(r"^\| (\w+M) \|(.*)\|$", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [size for size, _ in rows] == list(SIZES)
    for size, row in rows:
        with torch.device("meta"):
            count = GPT2(GPT2Config.named(size)).parameter_count()
        told = [float(cell.replace(",", "")) for cell in row.split("|")]
        assert told == pytest.approx([count, 16 * count / 2**30, 4 * count / 2**30, count / 2**30], rel=0.05)
        assert told[0] == count


def test_the_model_is_one_file_of_at_most_350_lines():
    assert len((FOLDER / "src/gpt2/model.py").read_text(encoding="utf-8").splitlines()) <= 350
