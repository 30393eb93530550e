import doctest
import importlib
import pkgutil
from importlib.metadata import version
from pathlib import Path

import alone
import gpt2
import pytest
import readme_blocks

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


def test_the_model_is_one_file_of_at_most_350_lines():
    assert len((FOLDER / "src/gpt2/model.py").read_text(encoding="utf-8").splitlines()) <= 350
