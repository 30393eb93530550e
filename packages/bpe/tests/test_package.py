import doctest
import importlib
import pkgutil
from importlib.metadata import version
from pathlib import Path

import alone
import bpe
import pytest
import readme_blocks

FOLDER = Path(__file__).parent.parent


@pytest.mark.skipif(not alone.expected_alone(), reason="only `nox -s tests` makes an environment for one package")
def test_nothing_else_of_ours_is_installed():
    assert alone.siblings_in_sight("dlpapers-bpe") == []


def test_the_changelog_names_this_version():
    assert f"## {version('dlpapers-bpe')}" in (FOLDER / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_does_what_it_says(tmp_path):
    assert readme_blocks.run_marked(FOLDER / "README.md", tmp_path, slow=False)


def test_the_examples_in_the_docstrings_are_true():
    names = [
        m.name
        for m in pkgutil.walk_packages(bpe.__path__, "bpe.")
        if ".kernels" not in m.name and "__main__" not in m.name
    ]
    results = [doctest.testmod(importlib.import_module(name)) for name in ["bpe", *names]]
    assert sum(r.failed for r in results) == 0
    assert sum(r.attempted for r in results) >= 15


def test_every_public_name_is_there():
    assert all(getattr(bpe, name) is not None for name in bpe.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        _ = bpe.trane
