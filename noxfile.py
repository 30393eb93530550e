"""Everything that can be checked or made here, one session each. Packages are found, never listed.

`nox` runs what a contributor needs: lint, types, tests (one package at a time, alone in its environment),
integration. `nox -l` lists the rest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
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

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests", "integration", "skipped"]
nox.options.error_on_missing_interpreters = True


def find_links_of_pip() -> str:
    """Where pip looks for wheels beside the index. uv does not read pip's settings, so they are handed on."""
    found = os.environ.get("PIP_FIND_LINKS", "")
    if not found:
        command = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        found = answer.stdout if answer.returncode == 0 else ""
    return ",".join(found.split())  # pip separates by spaces, uv by commas


if pip_links := find_links_of_pip():
    os.environ.setdefault("UV_FIND_LINKS", pip_links)


# ---------------------------------------------------------------------------------------------- helpers


def project(folder: Path) -> dict[str, Any]:
    """The parsed pyproject.toml of a folder."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def group(folder: Path, name: str) -> list[str]:
    """The requirements of a dependency group of one pyproject.toml; none if it has no such group."""
    table = project(folder)
    if name not in table.get("dependency-groups", {}):
        return []
    return list(nox.project.dependency_groups(table, name))


def requirements(name: str) -> list[str]:
    """What a group needs anywhere in the house: at the root and in every package."""
    return [r for folder in (ROOT, *FOLDERS.values()) for r in group(folder, name)]


def module(folder: Path) -> str:
    """The import name of a package: the one folder below src."""
    return next(p.name for p in (folder / "src").iterdir() if (p / "__init__.py").exists())


def install(session: nox.Session, *what: str | Path) -> None:
    """Install with the pinned versions. Folders are built afresh, whatever a cache may hold."""
    fresh = ["--refresh-package=" + str(project(f)["project"]["name"]) for f in FOLDERS.values()]
    options = fresh if session.venv_backend == "uv" else []
    session.install(*options, "-c", str(ROOT / "constraints.txt"), *map(str, what))


def shapes_enforced(folder: Path) -> list[str]:
    """The option that has pytest check every shape annotation, for packages that use jaxtyping."""
    needs = " ".join(project(folder)["project"].get("dependencies", []))
    return [f"--jaxtyping-packages={module(folder)},beartype.beartype"] if "jaxtyping" in needs else []


def run_tests(session: nox.Session, name: str, *options: str) -> None:
    """One package's suite in an environment that holds nothing else of ours."""
    folder = FOLDERS[name]
    install(session, folder, *group(ROOT, "test"), *group(folder, "test"))
    command = ["pytest", str(folder / "tests"), *shapes_enforced(folder), *options, *session.posargs]
    session.run(*command, env={"DLPAPERS_ALONE": "1", "DLPAPERS_SKIPPED": str(SKIPPED)})


# ------------------------------------------------------------------------------------ the default sessions


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: check and format."""
    install(session, *group(ROOT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, package by package."""
    install(session, *FOLDERS.values(), *requirements("types"), *requirements("test"))
    for folder in FOLDERS.values():
        session.run("mypy", str(folder / "src"))
    session.run("mypy", "tools", "noxfile.py", "conftest.py")


@nox.session
@EACH
def tests(session: nox.Session, name: str) -> None:
    """The fast tests of one package, nothing else of ours installed."""
    run_tests(session, name)


@nox.session
def integration(session: nox.Session) -> None:
    """Tests of what lies between packages: equal numbers, chains of commands, the template, references, results."""
    install(session, *FOLDERS.values(), *requirements("test"), *group(ROOT, "lint"))
    session.run("pytest", "integration", *session.posargs, env={"DLPAPERS_SKIPPED": str(SKIPPED)})


@nox.session(venv_backend="none")
def skipped(session: nox.Session) -> None:
    """What the test sessions before this one skipped, and why."""
    reasons = Counter(SKIPPED.read_text(encoding="utf-8").splitlines() if SKIPPED.exists() else [])
    SKIPPED.unlink(missing_ok=True)
    session.log(f"{reasons.total()} tests skipped")
    for reason, times in sorted(reasons.items()):
        session.log(f"{times} x {reason}")


# ----------------------------------------------------------------------------------------- on request


@nox.session
@EACH
def slow(session: nox.Session, name: str) -> None:
    """The tests of one package that are marked slow."""
    run_tests(session, name, "-m", "slow")


@nox.session
@EACH
def mutants(session: nox.Session, name: str) -> None:
    """Apply each fault of tests/mutants.py to a copy of the package: its suite has to fail every time."""
    folder = FOLDERS[name]
    if not (folder / "tests" / "mutants.py").exists():
        session.skip(f"{name} lists no mutants")
    install(session, folder, *group(ROOT, "test"), *group(folder, "test"))
    session.run("python", "tools/mutation.py", str(folder), *session.posargs)


@nox.session
def notebooks(session: nox.Session) -> None:
    """Execute every notebook from its .py, with no network; `-- NAME` for some, `-- --write` to keep the outputs."""
    install(session, *FOLDERS.values(), *requirements("notebooks"))
    session.run("python", "tools/notebooks.py", *session.posargs)


@nox.session
def readme(session: nox.Session) -> None:
    """Run the README blocks that are marked slow: long ones and the demos."""
    install(session, *FOLDERS.values(), *requirements("test"))
    session.run("python", "tools/readme_blocks.py", "--slow", *session.posargs)


@nox.session(name="install", venv_backend="none")
def install_alone(session: nox.Session) -> None:
    """Install each package alone in every way a user might, and run its README there with no network."""
    session.run(sys.executable, "tools/install_alone.py", *FOLDERS, *session.posargs)


@nox.session
@EACH
def bench(session: nox.Session, name: str) -> None:
    """Run one package's benchmarks; they write results/*.json. `-- PART` runs those whose name holds PART."""
    folder = FOLDERS[name]
    scripts = [s for s in sorted(folder.glob("benchmarks/*.py")) if all(p in s.stem for p in session.posargs)]
    install(session, *FOLDERS.values(), *group(ROOT, "bench"), *group(folder, "bench"))
    for script in scripts:
        session.run("python", str(script))


@nox.session
def results(session: nox.Session) -> None:
    """Write RESULTS.md, the READMEs' tables and links to lines, and the root README's picture."""
    install(session, FOLDERS["shared"])
    session.run("python", "tools/tables.py", *session.posargs)
    session.run("python", "tools/picture.py")
    session.run("python", "tools/line_links.py")


@nox.session(venv_backend="none")
def links(session: nox.Session) -> None:
    """Ask every external address that the texts and the data registry name. Needs a network."""
    session.run(sys.executable, "tools/links.py")


@nox.session
@EACH
def minimums(session: nox.Session, name: str) -> None:
    """The fast tests with the lowest versions that are declared, torch excepted."""
    folder = FOLDERS[name]
    if session.venv_backend != "uv":
        session.skip("only uv resolves to lowest versions")
    session.install(*group(ROOT, "test"), *group(folder, "test"), "-c", "constraints.txt")
    lowest = [r for r in project(folder)["project"].get("dependencies", []) if not r.startswith("torch")]
    session.install(str(folder))
    if lowest:
        session.install("--resolution=lowest-direct", *lowest)
    session.run("pytest", str(folder / "tests"), *shapes_enforced(folder), env={"DLPAPERS_ALONE": "1"})


@nox.session
def lock(session: nox.Session) -> None:
    """Write constraints.txt: the versions that everything here is tested with, and no address."""
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
            continue  # torch's wheels name the versions of these themselves
        # torch==2.13.0+cpu is how one index names torch 2.13.0; it then stands here twice, split by markers
        requirement, _, marker = re.sub(r"\+\w+", "", line).partition(" ; ")
        pinned[requirement] = "" if requirement in pinned else marker
    lines = [f"{requirement} ; {marker}" if marker else requirement for requirement, marker in pinned.items()]
    (ROOT / "constraints.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@nox.session(venv_backend="none")
def new(session: nox.Session) -> None:
    """Begin a paper: `nox -s new -- vit "An Image is Worth 16x16 Words" 2020 2010.11929`."""
    session.run(sys.executable, "tools/new_paper.py", *session.posargs)


@nox.session
@EACH
def build(session: nox.Session, name: str) -> None:
    """Wheel and sdist of one package, in its dist/."""
    install(session, "build")
    out = FOLDERS[name] / "dist"
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(out), str(FOLDERS[name]))
