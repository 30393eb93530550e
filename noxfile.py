"""The checks and tools of the repository, one nox session each. Packages are found, never listed.

`nox` runs every check that a change must pass. `nox -l` lists the sessions, grouped by tag:

    ci        every check of a change, the same as `nox` (quick: lint, types, tests)
    weekly    slow tests, mutants, lowest dependency versions
    make      what writes files: results, notebooks, vendored copies, a new package

`nox -s tests -- bpe` is the same as `nox -s "tests(bpe)"`.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 – before anything that 3.10 cannot import
    sys.exit(f"error: dlpapers needs Python 3.11 or newer, got {sys.version.split()[0]}")

import os
import re
import shutil
import subprocess
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import nox

ROOT = Path(__file__).parent
FOLDERS = {p.parent.name: p.parent for p in sorted(ROOT.glob("packages/*/pyproject.toml"))}
if (ROOT / "shared" / "pyproject.toml").exists():
    FOLDERS = {"shared": ROOT / "shared", **FOLDERS}
SKIPPED = ROOT / ".nox" / "skipped.txt"  # written by conftest.py, shown and removed by the last session
EACH = nox.parametrize("name", [nox.param(name, id=name) for name in FOLDERS])
NO_TESTS = 5  # pytest's exit status where no test is selected
CI, QUICK, WEEKLY, MAKE = ["ci"], ["ci", "quick"], ["weekly"], ["make"]

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each of the many commands compiles PyTorch's modules again

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.tags = CI
nox.options.error_on_missing_interpreters = True


def find_links_of_pip() -> str:
    """Where pip looks for wheels besides the index. uv does not read pip's settings, so they are passed on."""
    found = os.environ.get("PIP_FIND_LINKS", "")
    if not found:
        command = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        found = answer.stdout if answer.returncode == 0 else ""
    return ",".join(found.split())  # pip separates by spaces, uv by commas


if pip_links := find_links_of_pip():
    os.environ.setdefault("UV_FIND_LINKS", pip_links)
else:
    os.environ.setdefault("UV_TORCH_BACKEND", "cpu")  # the checks need no CUDA build of PyTorch


# ---------------------------------------------------------------------------------------------- helpers


def project(folder: Path) -> dict[str, Any]:
    """The parsed pyproject.toml of a folder."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def group(folder: Path, name: str) -> list[str]:
    """The requirements of a dependency group of one pyproject.toml; empty if it has no such group."""
    table = project(folder)
    if name not in table.get("dependency-groups", {}):
        return []
    return list(nox.project.dependency_groups(table, name))


def requirements(name: str) -> list[str]:
    """The requirements of a group, at the root and in every package."""
    return [r for folder in (ROOT, *FOLDERS.values()) for r in group(folder, name)]


def module(folder: Path) -> str:
    """The import name of a package: the one folder below src."""
    return next(p.name for p in (folder / "src").iterdir() if (p / "__init__.py").exists())


def install(session: nox.Session, *what: str | Path) -> None:
    """Install with the pinned versions. Folders are rebuilt, whatever a cache holds."""
    fresh = ["--refresh-package=" + str(project(f)["project"]["name"]) for f in FOLDERS.values()]
    options = fresh if session.venv_backend == "uv" else []
    session.install(*options, "-c", str(ROOT / "constraints.txt"), *map(str, what))


def shapes_enforced(folder: Path) -> list[str]:
    """The pytest option that checks shape annotations, for packages that use jaxtyping.

    Modules without tensors are left out: configuration classes check the types of their fields themselves.
    """
    if "jaxtyping" not in " ".join(project(folder)["project"].get("dependencies", [])):
        return []
    without_tensors = {"__init__", "__main__", "__pycache__", "_common", "cli", "commands", "config", "py", "recipes"}
    parts = sorted({p.stem for p in (folder / "src" / module(folder)).iterdir()} - without_tensors)
    return ["--jaxtyping-packages=" + ",".join([*(f"{module(folder)}.{part}" for part in parts), "beartype.beartype"])]


def run_tests(session: nox.Session, name: str, *, slow: bool = False) -> None:
    """Run one package's suite in an environment with no other package of this repository.

    slow=True runs the slow tests, of which a package may have none. They compile models, which the check of shape
    annotations would prevent.
    """
    only = [a for a in session.posargs if a in FOLDERS]
    if only and name not in only:
        session.skip(f"only {', '.join(only)}")
    folder = FOLDERS[name]
    install(session, folder, *group(ROOT, "test"), *group(folder, "test"))
    rest = [a for a in session.posargs if a not in FOLDERS]
    workers = ["-n", "2", "--dist", "loadfile"]  # two test files at a time
    selected = ["-m", "slow"] if slow else shapes_enforced(folder)
    command = ["pytest", str(folder / "tests"), *workers, *selected, *rest]
    fine = [0, NO_TESTS] if slow else [0]
    session.run(*command, env={"DLPAPERS_ALONE": "1", "DLPAPERS_SKIPPED": str(SKIPPED)}, success_codes=fine)


# ------------------------------------------------------------------------------- ci: every check of a change


@nox.session(tags=QUICK)
def lint(session: nox.Session) -> None:
    """10 s: Ruff check and format, wording of texts, vendored copies."""
    install(session, *group(ROOT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "tools/wording.py")
    session.run("python", "tools/vendor.py", "--check")


@nox.session(tags=QUICK)
def types(session: nox.Session) -> None:
    """2 min: Mypy strict, package by package."""
    install(session, *FOLDERS.values(), *requirements("types"), *requirements("test"))
    for folder in FOLDERS.values():
        session.run("mypy", str(folder / "src"))
    session.run("mypy", "tools", "noxfile.py", "conftest.py")


@nox.session(tags=QUICK)
@EACH
def tests(session: nox.Session, name: str) -> None:
    """2 min: The fast tests of one package, alone in its environment."""
    run_tests(session, name)


@nox.session(tags=CI)
def integration(session: nox.Session) -> None:
    """5 min: Equal numbers across packages, chains of commands, the template, links, results, vocabulary."""
    install(session, *FOLDERS.values(), *requirements("test"), *group(ROOT, "lint"), *group(ROOT, "types"))
    session.run(
        "pytest",
        "integration",
        "-n",
        "2",
        "--dist",
        "loadfile",
        *session.posargs,
        env={"DLPAPERS_SKIPPED": str(SKIPPED)},
    )


@nox.session(tags=CI)
def notebooks(session: nox.Session) -> None:
    """5 min: Execute every notebook with no network; `-- NAME` for some, `-- --write` keeps the outputs."""
    install(session, *FOLDERS.values(), *requirements("notebooks"))
    session.run("python", "tools/notebooks.py", *session.posargs)


@nox.session(tags=CI)
def readme(session: nox.Session) -> None:
    """8 min: Run the README blocks that are marked slow: demos and long commands."""
    install(session, *FOLDERS.values(), *requirements("test"))
    session.run("python", "tools/readme_blocks.py", "--slow", *session.posargs)


@nox.session(tags=CI)
def site(session: nox.Session) -> None:
    """3 min: Build the documentation site in build/site, visit every page in Chromium; `-- --fresh` for all pages."""
    install(session, *FOLDERS.values(), *requirements("notebooks"), *group(ROOT, "site"))
    session.run("python", "tools/site_build.py", *session.posargs)
    session.run("python", "tools/site_check.py")


@nox.session(name="install", venv_backend="none", tags=CI)
def install_alone(session: nox.Session) -> None:
    """10 min: Install each package alone in every way a user might, and run its README with no network."""
    session.run(sys.executable, "tools/install_alone.py", *(session.posargs or FOLDERS))


@nox.session(venv_backend="none", tags=QUICK)
def skipped(session: nox.Session) -> None:
    """List the tests that earlier sessions skipped, and why."""
    reasons = Counter(SKIPPED.read_text(encoding="utf-8").splitlines() if SKIPPED.exists() else [])
    SKIPPED.unlink(missing_ok=True)
    session.log(f"{reasons.total()} tests skipped")
    for reason, times in sorted(reasons.items()):
        session.log(f"{times} x {reason}")


# -------------------------------------------------------------------------- weekly: too slow for every change


@nox.session(tags=WEEKLY)
@EACH
def slow(session: nox.Session, name: str) -> None:
    """10 min: The tests of one package that are marked slow."""
    run_tests(session, name, slow=True)


@nox.session(tags=WEEKLY)
@EACH
def mutants(session: nox.Session, name: str) -> None:
    """20 min: Apply each mistake of tests/mutants.py to a copy; the suite must fail every time."""
    folder = FOLDERS[name]
    if not (folder / "tests" / "mutants.py").exists():
        session.skip(f"{name} lists no mutants")
    install(session, folder, *group(ROOT, "test"), *group(folder, "test"))
    session.run("python", "tools/mutation.py", str(folder), *session.posargs)


@nox.session(tags=WEEKLY)
@EACH
def minimums(session: nox.Session, name: str) -> None:
    """3 min: The fast tests with the lowest versions that one package declares, torch excepted."""
    folder = FOLDERS[name]
    if session.venv_backend != "uv":
        session.skip("only uv resolves to lowest versions")
    session.install(*group(ROOT, "test"), *group(folder, "test"), "-c", "constraints.txt")
    lowest = [r for r in project(folder)["project"].get("dependencies", []) if not r.startswith("torch")]
    session.install(str(folder))
    if lowest:
        session.install("--resolution=lowest-direct", *lowest)
    session.run("pytest", str(folder / "tests"), *shapes_enforced(folder), env={"DLPAPERS_ALONE": "1"})


# ------------------------------------------------------------------------------------- make: what writes files


@nox.session(tags=MAKE)
def dev(session: nox.Session) -> None:
    """2 min: An environment for an editor in .nox/dev: all packages editable, all tools, the CPU build of PyTorch."""
    folders = [part for folder in FOLDERS.values() for part in ("-e", str(folder))]
    needs = [r for name in ("dev", "test", "types", "notebooks") for r in requirements(name)]
    session.install("-c", str(ROOT / "constraints.txt"), *folders, *needs)


@nox.session(tags=MAKE, reuse_venv=True)
@EACH
def learn(session: nox.Session, name: str) -> None:
    """Build a package yourself in learn/NAME, stage by stage; `-- --hint`, `--stage N`, `--solution N`, `--reset N`."""
    teach(session, name, "learn.py", "stages.toml")


@nox.session(tags=MAKE, reuse_venv=True)
@EACH
def drill(session: nox.Session, name: str) -> None:
    """Find a planted mistake from its symptoms, in drills/NAME; `-- --check`, `--hint`, `--reveal`, `--level N`."""
    teach(session, name, "drill.py", "drills.py")


def teach(session: nox.Session, name: str, tool: str, declared: str) -> None:
    """Run a tool for learners in an environment that is made once, so that later calls need no network."""
    folder = FOLDERS[name]
    chosen = [a for a in session.posargs if a in FOLDERS]
    if chosen and name not in chosen:
        session.skip(f"only {', '.join(chosen)}")
    if not (folder / "tests" / declared).exists():
        session.skip(f"{name} has no {declared}")
    needs = [*group(ROOT, "test"), *group(folder, "test")]
    made_from = "\n".join([*needs, (folder / "pyproject.toml").read_text(encoding="utf-8")])
    ready = Path(session.create_tmp()) / "installed.txt"
    if not (ready.exists() and ready.read_text(encoding="utf-8") == made_from):
        session.env["UV_COMPILE_BYTECODE"] = "1"  # the tools write none, because a learner's files change by the second
        install(session, folder, *needs)
        ready.write_text(made_from, encoding="utf-8")
    rest = [a for a in session.posargs if a not in FOLDERS]
    session.run("python", f"tools/{tool}", name, *rest, success_codes=[0, 1], env={"OMP_NUM_THREADS": "1"})


@nox.session(tags=MAKE)
@EACH
def bench(session: nox.Session, name: str) -> None:
    """Run one package's benchmarks, which write results/*.json; `-- PART` for those whose name holds PART."""
    folder = FOLDERS[name]
    scripts = [s for s in sorted(folder.glob("benchmarks/*.py")) if all(p in s.stem for p in session.posargs)]
    install(session, *FOLDERS.values(), *group(ROOT, "bench"), *group(folder, "bench"))
    for script in scripts:
        session.run("python", str(script))


@nox.session(tags=MAKE)
@EACH
def pretrain(session: nox.Session, name: str) -> None:
    """Train the models that one package ships again, by the recorded recipe and seed."""
    script = FOLDERS[name] / "scripts" / "pretrain.py"
    if not script.exists():
        session.skip(f"{name} ships no model")
    install(session, FOLDERS["shared"], FOLDERS[name], *group(FOLDERS[name], "test"))
    session.run("python", str(script), *[a for a in session.posargs if a not in FOLDERS])


@nox.session(tags=MAKE)
def results(session: nox.Session) -> None:
    """Write RESULTS.md, the tables in READMEs, and the figure of the root README from results/*.json."""
    install(session, FOLDERS["shared"])
    session.run("python", "tools/tables.py", *session.posargs)
    session.run("python", "tools/picture.py")


@nox.session(venv_backend="none", tags=MAKE)
def vendor(session: nox.Session) -> None:
    """Copy shared/vendored/ into every package that uses them."""
    session.run(sys.executable, "tools/vendor.py", *session.posargs)


@nox.session(tags=MAKE)
def lock(session: nox.Session) -> None:
    """Write constraints.txt, the versions that everything is tested with."""
    session.install("uv")
    sources = [str(f / "pyproject.toml") for f in FOLDERS.values()]
    groups = ["--all-extras", "--group", "pyproject.toml:dev"]
    for folder in FOLDERS.values():
        for name in project(folder).get("dependency-groups", {}):
            groups += ["--group", f"{folder.relative_to(ROOT)}/pyproject.toml:{name}"]
    options = [
        "--no-header",
        "--no-annotate",
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--python-version=3.11",
    ]
    command = ["uv", "pip", "compile", "--universal", "--upgrade", "--quiet", *options, *groups, *sources]
    versions = session.run(*command, silent=True)
    assert isinstance(versions, str)
    pinned = {}
    for line in versions.splitlines():
        if re.match(r"cuda-|nvidia-|triton", line):
            continue  # torch's wheels pin the versions of these themselves
        # torch==2.13.0+cpu is how one index names torch 2.13.0; it is then listed twice, split by markers
        requirement, _, marker = re.sub(r"\+\w+", "", line).partition(" ; ")
        pinned[requirement] = "" if requirement in pinned else marker
    lines = [f"{requirement} ; {marker}" if marker else requirement for requirement, marker in pinned.items()]
    (ROOT / "constraints.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@nox.session(venv_backend="none", tags=MAKE)
def new(session: nox.Session) -> None:
    """Start a package for a paper: `-- NAME "TITLE" YEAR [ARXIV or ADDRESS]`."""
    session.run(sys.executable, "tools/new_paper.py", *session.posargs)


@nox.session(tags=MAKE)
@EACH
def build(session: nox.Session, name: str) -> None:
    """The wheel and the sdist of one package, in its dist/."""
    install(session, "build")
    out = FOLDERS[name] / "dist"
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(out), str(FOLDERS[name]))
