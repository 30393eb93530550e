"""Install each package alone, in every way a user might, and run its README there without a network.

The ways: the folder with pip; its wheel and its sdist with uv; `git+file://` with uv. Each gets a new environment, in
which no other package of this repository may be importable. With more than one name, the packages are also installed
together, from folders and editable. `install_alone.py NAME ...`, in an environment that has uv.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

from alone import ROOT

CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
import alone
seen = alone.siblings_in_sight(sys.argv[2])
sys.exit(f"importable beside it: {seen}" if seen else 0)
"""


def call(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a command; its output is shown only when it fails."""
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")


def new_environment(folder: Path) -> Path:
    """An empty virtual environment with pip; returns its python."""
    call(sys.executable, "-m", "venv", folder)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


def uv() -> str:
    """The uv beside this interpreter or on the path."""
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.exists() else (shutil.which("uv") or "uv")


def folder_of(name: str) -> Path:
    """The folder of a package."""
    return ROOT / "shared" if name == "shared" else ROOT / "packages" / name


def check(name: str, workplace: Path) -> None:
    """Check every way for one package."""
    folder = folder_of(name)
    distribution = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
    module = next(p.parent.name for p in sorted(folder.glob("src/*/__init__.py")))
    constraints = ROOT / "constraints.txt"
    built = workplace / "dist"
    call(uv(), "build", "--out-dir", built, folder)
    (wheel,) = built.glob("*.whl")
    (sdist,) = built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened, tarfile.open(sdist) as unpacked:
        for archive, names in ((wheel, opened.namelist()), (sdist, unpacked.getnames())):
            if not any(n.endswith("/LICENSE") for n in names):
                raise SystemExit(f"{archive.name}: has no license text")
    ways: dict[str, list[str | Path]] = {
        "folder, by pip": ["PYTHON", "-m", "pip", "install", "-c", constraints, folder],
        "wheel, by uv": [uv(), "pip", "install", "--python", "PYTHON", "-c", constraints, wheel],
        "sdist, by uv": [uv(), "pip", "install", "--python", "PYTHON", "-c", constraints, sdist],
        "git, by uv": [uv(), "pip", "install", "--python", "PYTHON", "-c", constraints,
                       f"{distribution} @ git+{ROOT.as_uri()}#subdirectory={folder.relative_to(ROOT).as_posix()}"],
    }  # fmt: skip
    for number, (way, command) in enumerate(ways.items()):
        python = new_environment(workplace / str(number))
        call(*(python if part == "PYTHON" else part for part in command))
        call(python, "-c", CHECK, ROOT / "tools", distribution, cwd=workplace)
        call(python, "-m", module, "--version", cwd=workplace)
        if number == len(ways) - 1:  # the files are the same in every way, so once is enough
            call(python, ROOT / "tools" / "readme_blocks.py", folder / "README.md", cwd=workplace)
        shutil.rmtree(workplace / str(number))
        print(f"{name}: {way}: installs alone and starts", flush=True)
    print(f"{name}: the README runs with no network", flush=True)


def check_together(names: list[str], workplace: Path) -> None:
    """Install all packages in one environment: requirements agree, each can be imported, edits are seen."""
    folders = [folder_of(name) for name in names]
    modules = [next(p.parent for p in sorted(f.glob("src/*/__init__.py"))) for f in folders]
    for number, (way, option) in enumerate({"from folders": [], "from folders, editable": ["-e"]}.items()):
        python = new_environment(workplace / f"together-{number}")
        what: list[str | Path] = []
        for folder in folders:
            what += [*option, folder]
        call(uv(), "pip", "install", "--python", python, "-c", ROOT / "constraints.txt", *what)
        call(uv(), "pip", "check", "--python", python)
        for module in modules:
            place = module if option else workplace
            found = f"assert {module.name}.__file__.startswith({str(place)!r}), {module.name}.__file__"
            call(python, "-c", f"import {module.name}; {found}", cwd=workplace)
        shutil.rmtree(workplace / f"together-{number}")
        print(f"together, {way}: {', '.join(names)}", flush=True)


def main(names: list[str]) -> int:
    """Check each named package, then all of them together."""
    for name in names:
        with tempfile.TemporaryDirectory() as workplace:
            check(name, Path(workplace))
    if len(names) > 1:
        with tempfile.TemporaryDirectory() as workplace:
            check_together(names, Path(workplace).resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
