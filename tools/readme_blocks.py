"""Find and run the fenced blocks of a README.

A comment on the line before a block says how it is checked:

    <!-- run -->                      in the package's own suite, within seconds
    <!-- run: slow -->                in `nox -s readme`
    <!-- run: slow, in a fresh clone -->   the same, at the root of a clone of this repository
    <!-- run: never, because ... -->  not at all, for the reason given

A block of sh or python without a mark is an error. The blocks of one README run in order in one folder,
so a later one may use a file that an earlier one wrote; a python block runs as a script of its own.
Everything runs with no network: the proxies point nowhere. Two READMEs run at a time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
LANGUAGES = {"sh": "sh", "bash": "sh", "shell": "sh", "console": "sh", "python": "python", "py": "python"}
FENCE = re.compile(
    r"(?:^<!--[ ]*run(?P<mark>[^>]*?)[ ]*-->[ ]*\n)?^```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
NO_NETWORK = {f"{s}_PROXY": "http://127.0.0.1:9" for s in ("HTTP", "HTTPS", "ALL")}
NO_NETWORK |= {key.lower(): value for key, value in NO_NETWORK.items()}


@dataclass(frozen=True)
class Block:
    """One fenced block: its file and line, how it is run, and its text."""

    file: Path
    line: int
    language: str
    mark: str
    code: str

    def __str__(self) -> str:
        return f"{self.file.parent.name}/{self.file.name}:{self.line}"


def blocks(readme: Path) -> list[Block]:
    """The sh and python blocks of a README, each with its mark; ValueError for one that has none."""
    text = readme.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        language = LANGUAGES.get(match["language"])
        if language is None:
            continue
        line = text.count("\n", 0, match.start("language")) + 1
        if match["mark"] is None:
            raise ValueError(f"{readme}:{line}: a {match['language']} block without a <!-- run --> mark")
        mark = match["mark"].removeprefix(":").strip()
        if mark not in ("", "slow", "slow, in a fresh clone") and not mark.startswith("never, because "):
            raise ValueError(f"{readme}:{line}: unknown mark <!-- run: {mark} -->")
        found.append(Block(readme, line, language, mark, match["code"]))
    return found


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one block in a folder, with this interpreter's scripts first on the path; raises when it fails."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONUTF8": "1"}
    if "clone" not in block.mark:  # what is run in a fresh clone installs, so it needs its index
        environment |= NO_NETWORK
    shell = ["bash", "-e", "-u", "-o", "pipefail", "-c", block.code]
    command = shell if block.language == "sh" else [sys.executable, "-c", block.code]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"{block} ended with {done.returncode}\n{block.code}\n{done.stdout}\n{done.stderr}")
    return done


def run_marked(readme: Path, folder: Path, *, slow: bool) -> list[Block]:
    """Run a README's blocks in order: the fast ones, and the slow ones too if asked; returns what ran."""
    ran = []
    for block in blocks(readme):
        if block.mark == "" or (slow and block.mark.startswith("slow")):
            where = folder
            if "clone" in block.mark:
                where = folder / f"clone-{block.line}"
                subprocess.run(["git", "clone", "--quiet", str(ROOT), str(where)], check=True)
            run(block, where)
            ran.append(block)
    return ran


def main(arguments: list[str]) -> int:
    """`readme_blocks.py [--slow] [README ...]`: run the marked blocks; without a README, of all of them."""
    slow = "--slow" in arguments
    chosen = [Path(a).resolve() for a in arguments if a != "--slow"]
    readmes = chosen or [
        p for pattern in ("*.md", "shared/*.md", "packages/*/*.md") for p in sorted(ROOT.glob(pattern))
    ]

    def check(readme: Path) -> None:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            ran = run_marked(readme, Path(folder), slow=slow)
        if ran:
            seconds = time.perf_counter() - start
            print(f"{readme.relative_to(ROOT)}: {len(ran)} blocks ran, {seconds:.0f} s", flush=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, readmes))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
