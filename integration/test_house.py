"""What has to hold across the house: texts name what exists, numbers come from files, packages name no sibling."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import line_links
import pytest
import readme_blocks
import tables

ROOT = Path(__file__).parent.parent
PACKAGES = [p.parent for p in [ROOT / "shared" / "pyproject.toml", *sorted(ROOT.glob("packages/*/pyproject.toml"))]]
READMES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(p / "README.md" for p in PACKAGES)]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s#]+)(#[\w-]+)?\)")
REFERENCE = re.compile(r"`([\w/.-]+\.py):([\w.]+)`")

each_package = pytest.mark.parametrize("folder", PACKAGES, ids=lambda p: p.name)
each_readme = pytest.mark.parametrize("readme", READMES, ids=lambda p: str(p.relative_to(ROOT)))


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def tracked():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def defined_names(source):
    """Functions, classes, methods (as Class.method) and module-level names of a Python file."""
    names = set()
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{child.name}" for child in node.body if isinstance(child, ast.FunctionDef)}
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names |= {t.id for t in targets if isinstance(t, ast.Name)}
    return names


@each_package
def test_a_package_is_whole(folder):
    module = next((folder / "src").glob("*/__init__.py")).parent
    for name in ("README.md", "CHANGELOG.md", "tests/test_house.py", f"src/{module.name}/py.typed"):
        assert (folder / name).exists(), name
    assert project(folder)["project"]["requires-python"] == ">=3.11,<3.14"


@each_package
def test_a_package_names_no_sibling_in_its_metadata(folder):
    metadata = project(folder)["project"]
    extras = metadata.get("optional-dependencies", {}).values()
    needs = [*metadata.get("dependencies", []), *(need for extra in extras for need in extra)]
    siblings = {p.name for p in PACKAGES} | {project(p)["project"]["name"] for p in PACKAGES}
    assert not {re.split(r"[^\w-]", need)[0].lower() for need in needs} & siblings
    assert not [need for need in needs if "@" in need]


@each_package
def test_version_and_changelog_agree(folder):
    version = project(folder)["project"]["version"]
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", (folder / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version


@each_readme
def test_every_relative_link_leads_somewhere(readme):
    for target, _ in LINK.findall(readme.read_text(encoding="utf-8")):
        if not re.match(r"https?://|mailto:", target):
            assert (readme.parent / target).exists(), target


@each_readme
def test_every_link_to_a_line_meets_what_it_names(readme):
    text = readme.read_text(encoding="utf-8")
    assert line_links.rewritten(text, readme.parent) == text


@each_readme
def test_every_file_and_function_named_exists(readme):
    module = next(iter((readme.parent / "src").glob("*/__init__.py")), readme).parent
    for name, function in REFERENCE.findall(readme.read_text(encoding="utf-8")):
        found = [p for p in (readme.parent / name, module / name) if p.exists()]
        assert found, f"{name} is neither below {readme.parent} nor below {module}"
        assert function in defined_names(found[0]), f"{name}:{function}"


@each_readme
def test_every_block_says_how_it_is_checked(readme):
    assert len(readme_blocks.blocks(readme)) > 0


def test_tables_and_numbers_are_those_of_the_recorded_files():
    assert tables.main(["--check"]) == 0


def test_the_root_readme_names_every_package():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for folder in PACKAGES:
        assert f"({folder.relative_to(ROOT).as_posix()}" in text


def test_constraints_hold_versions_and_nothing_else():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 20
    for line in lines:
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.!]+( ; .+)?", line), line


def test_no_text_names_a_package_index_or_a_place_on_one_machine():
    index = re.compile(r"--(?:extra-)?index-url[ =]\S|(?<![\w.])/(?:home|Users)/\w+/|files\.python" + "hosted")
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".yml", ".txt", ".json", ".ipynb", ".cff", ""}:
            assert not index.search(path.read_text(encoding="utf-8")), path
