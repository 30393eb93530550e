"""A new paper starts with one command: the package passes every check at once, for any title, with no list to edit."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import new_paper
import pytest
import wording

ROOT = Path(__file__).parent.parent
LONGEST = "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift"
WITHOUT_ARXIV = ("ImageNet Classification with Deep Convolutional Neural Networks", "2012")
PYTHON = [sys.executable]


def call(*command, cwd, **more):
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "DLPAPERS_ALONE")} | more
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def passes(*command, cwd, **more):
    done = call(*command, cwd=cwd, **more)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The tracked files of the repository, without the packages."""
    folder = tmp_path_factory.mktemp("repository")
    for name in passes("git", "ls-files", cwd=ROOT).splitlines():
        if not name.startswith("packages/") and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def new(copy):
    """`new(name, title, …)` creates a package in the copy."""

    def create(*arguments):
        done = call(*PYTHON, "tools/new_paper.py", *arguments, cwd=copy)
        assert done.returncode == 0, done.stderr
        return copy / "packages" / arguments[0]

    return create


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A virtual environment that also sees what is installed here, so that nothing is downloaded again."""
    folder = tmp_path_factory.mktemp("environment")
    passes(*PYTHON, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    own = passes(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    (Path(own) / "parent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def assert_style(copy, folder):
    passes(*PYTHON, "-m", "ruff", "check", folder, cwd=copy)
    passes(*PYTHON, "-m", "ruff", "format", "--check", folder, cwd=copy)
    for path in (p for p in folder.rglob("*") if p.suffix in {".py", ".md", ".toml"} and "_common" not in p.parts):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert "wording: quoted" in line or not wording.PATTERN.search(line), f"{path}: {line}"


def assert_types(copy, folder):
    passes(*PYTHON, "-m", "mypy", "--cache-dir", ROOT / ".mypy_cache", folder / "src", cwd=copy)


def install(copy, folder, python):
    uv = [python.parent / "uv"] if (python.parent / "uv").exists() else [*PYTHON, "-m", "uv"]
    passes(*uv, "pip", "install", "-q", "--python", python, "--no-deps", "-e", folder, cwd=copy)


def suite(copy, folder, python, *more):
    module = folder.name.replace("-", "_")
    shapes = f"--jaxtyping-packages={module},beartype.beartype"
    return passes(python, "-m", "pytest", "-q", folder / "tests", shapes, *more, cwd=copy, OMP_NUM_THREADS="1")


def test_the_longest_title_passes_tests_lint_types_and_mutants(copy, new, environment):
    folder = new("batch-norm", LONGEST, "2015", "1502.03167")
    assert_style(copy, folder)
    install(copy, folder, environment)
    with ThreadPoolExecutor(2) as pool:  # two processes at a time
        passed = pool.submit(suite, copy, folder, environment)
        types = pool.submit(assert_types, copy, folder)
        mutants = pool.submit(passes, environment, "tools/mutation.py", folder, cwd=copy, OMP_NUM_THREADS="1")
    assert "passed" in passed.result()
    types.result()
    assert "SURVIVED" not in mutants.result()
    assert "7 of 7 mutants killed" in mutants.result()
    rules = ["integration/test_repository.py", "integration/test_vocabulary.py", "-k", "batch-norm"]
    assert "passed" in passes(environment, "-m", "pytest", "-q", *rules, cwd=copy)


def test_a_paper_without_an_arxiv_id_passes_tests_lint_and_types(copy, new, environment):
    folder = new("alexnet", *WITHOUT_ARXIV)
    assert_style(copy, folder)
    assert_types(copy, folder)
    install(copy, folder, environment)
    fast = [f"--ignore={folder / 'tests' / name}" for name in ("test_runs.py", "test_training.py")]
    assert "passed" in suite(copy, folder, environment, *fast)
    assert "None" not in (folder / "README.md").read_text(encoding="utf-8")


def test_a_new_package_is_listed_in_the_manifest_and_in_the_root_readme(copy, new):
    folder = new("listed", "Listed", "2024")
    manifest = (copy / "shared" / "vendored" / "manifest.toml").read_text(encoding="utf-8")
    packages = list(tomllib.loads(manifest))
    assert packages[0] == "shared"
    assert packages[1:] == sorted(packages[1:])
    assert "listed" in packages
    readme = (copy / "README.md").read_text(encoding="utf-8")
    assert "| [listed](packages/listed/README.md) | *Listed* (2024) | `listed demo` |" in readme
    for name in (
        "LICENSE",
        "RESULTS.md",
        "MISTAKES.md",
        "CHANGELOG.md",
        "notebooks/1-listed.py",
        "src/listed/py.typed",
    ):
        assert (folder / name).is_file(), name
    assert not [p for p in folder.rglob("*") if "MODULE" in p.name or "NAME" in p.name]


@pytest.mark.parametrize(
    ("name", "title", "year", "where"),
    [
        (
            "bert",
            "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
            "2018",
            "1810.04805",
        ),
        (
            "vision-transformer",
            "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
            "2020",
            "2010.11929v2",
        ),
        (
            "zz",
            "Schrödinger's “Cat” and the \"Dog\": It's a 'Test' of [Quotes] | <Tags> & *Stars* #1",
            "1935",
            "cs/0112017",
        ),
        (
            "a-very-long-name-for-a-package",
            " ".join(["'Modelling' \"Labelling\""] * 12),  # wording: quoted
            "2001",
            "https://a.org/b?c=1",
        ),
        ("t5", "模型" * 60, "2019", "hep-th/9901001"),
        ("x", "X", "1943", "arXiv:1706.03762"),
    ],
)
def test_any_title_name_and_address_pass_lint(copy, new, name, title, year, where):
    folder = new(name, title, year, where)
    assert_style(copy, folder)
    module = name.replace("-", "_")
    code = f"from {module}.paper import PAPER; print(PAPER.title); print(PAPER.url)"
    stdout = passes(*PYTHON, "-c", code, cwd=copy, PYTHONPATH=str(folder / "src"), PYTHONUTF8="1")
    assert stdout.splitlines() == [title, new_paper.check_address(where)]
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["description"] == f"{title} ({year}), from scratch"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["Vit", "Title", "2020", "2010.11929"], "`name`"),
        (["vit-", "Title", "2020"], "`name`"),
        (["v" * 31, "Title", "2020"], "`name`"),
        (["class", "Title", "2020"], "a keyword"),
        (["match", "Title", "2020"], "a keyword"),
        (["json", "Title", "2020"], "standard library"),
        (["torch", "Title", "2020"], "already importable"),
        (["tables", "Title", "2020"], "already importable"),
        (["jupyterlab", "Title", "2020"], "depends on"),
        (["shared", "Title", "2020"], "a package of this repository"),
        (["new-one", "Title", "20"], "`year`"),
        (["new-one", "Title", "٢٠٢٠"], "`year`"),
        (["new-one", "Title", "2020", "hep-th/9"], "`arxiv`"),
        (["new-one", "Title", "2020", "ftp://a.org"], "`arxiv`"),
        (["new-one", "Title", "2020", 'https://a.org/"b'], "`arxiv`"),
        (["new-one", "A \\LaTeX{} title", "2020", "2010.11929"], "`title`"),
        (["new-one", " ", "2020", "2010.11929"], "`title`"),
        (["new-one", "T" * 301, "2020", "2010.11929"], "`title`"),
        (["new-one"], "usage"),
    ],
)
def test_bad_arguments_are_one_line_and_nothing_is_written(copy, arguments, named):
    before = {p: p.stat().st_mtime_ns for p in copy.rglob("*") if "__pycache__" not in p.parts}
    done = call(*PYTHON, "tools/new_paper.py", *arguments, cwd=copy, PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 2
    assert named in done.stderr
    assert done.stderr.count("\n") == 1
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("*") if "__pycache__" not in p.parts} == before


def test_an_error_while_writing_leaves_every_file_as_it_was(copy, new, monkeypatch):
    folder = new("taken", "Taken", "2024")
    done = call(*PYTHON, "tools/new_paper.py", "taken", "Taken again", "2024", cwd=copy)
    assert "a package of this repository" in done.stderr
    assert folder.is_dir()
    monkeypatch.setattr(new_paper, "ROOT", copy)
    monkeypatch.setattr(new_paper.tables, "ROOT", copy)
    monkeypatch.setattr(new_paper.vendor, "SOURCE", copy / "shared" / "vendored")
    monkeypatch.setattr(new_paper.tables, "results_page", lambda folder: 1 / 0)
    listed = [copy / "README.md", copy / "shared" / "vendored" / "manifest.toml"]
    before = [p.read_bytes() for p in listed]
    with pytest.raises(ZeroDivisionError):
        new_paper.create("broken", "Broken", "2024")
    assert not (copy / "packages" / "broken").exists()
    assert [p.read_bytes() for p in listed] == before
