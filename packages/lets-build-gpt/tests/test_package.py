from importlib.metadata import version
from pathlib import Path

import alone
import pytest
import readme_blocks

FOLDER = Path(__file__).parent.parent


@pytest.mark.skipif(not alone.expected_alone(), reason="only `nox -s tests` makes an environment for one package")
def test_nothing_else_of_ours_is_installed():
    assert alone.siblings_in_sight("dlpapers-lets-build-gpt") == []


def test_the_changelog_names_this_version():
    assert f"## {version('dlpapers-lets-build-gpt')}" in (FOLDER / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_does_what_it_says(tmp_path):
    assert readme_blocks.run_marked(FOLDER / "README.md", tmp_path, slow=False)
