"""Rules of the whole repository: packages are complete, texts name what exists, numbers come from recorded files."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import readme_blocks
import tables
import vendor
import wording

ROOT = Path(__file__).parent.parent
PACKAGES = [p.parent for p in [ROOT / "shared" / "pyproject.toml", *sorted(ROOT.glob("packages/*/pyproject.toml"))]]
READMES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(p / "README.md" for p in PACKAGES)]
TEXTS = [*READMES, ROOT / "ARCHITECTURE.md", ROOT / "tools" / "README.md", *sorted(ROOT.glob("docs/*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s#]+)(#[\w-]+)?\)")
REFERENCE = re.compile(r"`([\w/.-]+\.py):([\w.]+)`")

each_package = pytest.mark.parametrize("folder", PACKAGES, ids=lambda p: p.name)
each_readme = pytest.mark.parametrize("readme", READMES, ids=lambda p: str(p.relative_to(ROOT)))
each_text = pytest.mark.parametrize("text", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def source(folder):
    return next((folder / "src").glob("*/__init__.py")).parent


def tracked():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def defined_names(path):
    """Functions, classes, methods (as Class.method) and module-level names of a Python file."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
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
def test_a_package_is_complete(folder):
    module = source(folder)
    names = ["README.md", "CHANGELOG.md", "LICENSE", "tests/test_package.py"]
    names += [f"src/{module.name}/{name}" for name in ("py.typed", "cli.py", "__main__.py", "_common/__init__.py")]
    for name in names:
        assert (folder / name).exists(), name
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@each_package
def test_metadata_is_complete(folder):
    metadata = project(folder)["project"]
    assert metadata["requires-python"] == ">=3.11"
    assert metadata["license"] == "MIT"
    assert metadata["license-files"] == ["LICENSE"]
    assert metadata["keywords"]
    assert any(c.startswith("Programming Language :: Python :: 3.14") for c in metadata["classifiers"])
    for need in metadata["dependencies"]:
        if need.startswith("torch"):
            assert re.fullmatch(r"torch>=[\d.]+,<[\d.]+", need)


@each_package
def test_a_package_names_no_other_package_in_its_metadata(folder):
    metadata = project(folder)["project"]
    extras = metadata.get("optional-dependencies", {}).values()
    needs = [*metadata.get("dependencies", []), *(need for extra in extras for need in extra)]
    others = {p.name for p in PACKAGES} | {project(p)["project"]["name"] for p in PACKAGES}
    assert not {re.split(r"[^\w-]", need)[0].lower() for need in needs} & others
    assert not [need for need in needs if "@" in need]


@each_package
def test_version_and_changelog_agree(folder):
    version = project(folder)["project"]["version"]
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", (folder / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == version


@each_package
def test_configuration_imports_neither_torch_nor_numpy(folder):
    for path in source(folder).glob("config.py"):
        imported = {
            (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not {name.split(".")[0] for name in imported} & {"torch", "numpy"}


@each_package
def test_library_code_neither_prints_nor_exits(folder):
    allowed = {"cli.py", "__main__.py"}
    for path in source(folder).rglob("*.py"):
        if path.name in allowed or "_common" in path.parts or "commands" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in {"print", "sys.exit", "exit", "os._exit"}, f"{path}:{node.lineno}"


@each_package
def test_public_signatures_name_their_parameters(folder):
    for path in source(folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name in {"generate", "from_pretrained", "save_pretrained"}:
                assert node.args.kwarg is None, f"{path}:{node.lineno}"


@each_text
def test_every_relative_link_leads_somewhere(text):
    for target, _ in LINK.findall(text.read_text(encoding="utf-8")):
        if not re.match(r"https?://|mailto:", target):
            assert (text.parent / target).exists(), target


@each_text
def test_no_link_names_a_line_number(text):
    assert not re.search(r"\]\([^)]*#L\d+\)", text.read_text(encoding="utf-8"))


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


@each_readme
def test_the_first_code_block_is_near_the_top(readme):
    if readme.name == "README.md" and readme.parent != ROOT:
        lines = readme.read_text(encoding="utf-8").splitlines()
        assert any(line.startswith("```") for line in lines[:25])


def test_tables_and_numbers_are_those_of_the_recorded_files():
    assert tables.main(["--check"]) == 0


def test_vendored_copies_are_identical_to_their_source():
    assert vendor.differences() == []


def test_no_package_has_a_version_of_a_vendored_file_of_its_own():
    names = {p.name for p in vendor.SOURCE.glob("*.py")} - {"__init__.py", "cli.py", "errors.py"}
    own = {
        path.relative_to(ROOT).as_posix()
        for folder in PACKAGES
        for path in source(folder).rglob("*.py")
        if path.name in names and "_common" not in path.parts
    }
    assert own == set()


def test_wording_has_no_findings(capsys):
    assert wording.main() == 0, capsys.readouterr().out


def test_the_root_readme_names_every_package():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for folder in PACKAGES:
        assert f"({folder.relative_to(ROOT).as_posix()}" in text


def test_tools_readme_names_every_tool():
    text = (ROOT / "tools" / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "tools").glob("*.py"):
        assert f"`{path.name}`" in text, path.name


def test_contributing_names_every_session():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sessions = re.findall(r"^@nox\.session.*?^def (\w+)", (ROOT / "noxfile.py").read_text("utf-8"), re.DOTALL | re.M)
    assert len(sessions) > 10
    for name in sessions:
        assert re.search(rf"`nox -s \"?{name.removesuffix('_alone')}\b", text) or name == "skipped", name


def test_constraints_are_versions_and_nothing_else():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 20
    for line in lines:
        assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.!]+( ; .+)?", line), line


def test_pre_commit_uses_the_pinned_ruff():
    (pinned,) = re.findall(r"^ruff==([\d.]+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"ruff==([\d.]+)", hooks)) == {pinned}


def test_pre_commit_leaves_the_template_alone():
    """pre-commit passes explicit paths, for which ruff would read the template's pyproject.toml."""
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"^exclude: (\S+)", hooks, re.MULTILINE)
    names = [p.relative_to(ROOT).as_posix() for p in tracked()]
    assert {name for name in names if re.search(pattern, name)} == {n for n in names if n.startswith("templates/")}


def test_no_text_names_a_package_index_or_a_place_on_one_machine():
    index = re.compile(r"--(?:extra-)?index-url[ =]\S|(?<![\w.])/(?:home|Users)/\w+/|files\.python" + "hosted")
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".yml", ".txt", ".json", ".ipynb", ".cff", ""}:
            assert not index.search(path.read_text(encoding="utf-8")), path
