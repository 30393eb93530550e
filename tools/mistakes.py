"""The page MISTAKES.md of a package: its classic mistakes, from tests/mutants.py and tests/mistakes.toml.

`nox -s results` writes it. In a text, `<!-- mistakes: packages/bpe -->45<!-- end -->` is filled with their number.
"""

from __future__ import annotations

import re
from pathlib import Path

import mutation

COUNT = re.compile(r"(<!-- mistakes: (\S+) -->).*?(<!-- end -->)")


def page(folder: Path) -> str:
    """MISTAKES.md: each mistake, where it is made, the tests that detect it, and why people make it, if we say so."""
    mutants = mutation.listed(folder)
    source = next(p.parent for p in sorted((folder / "src").glob("*/__init__.py"))).relative_to(folder).as_posix()
    explained = any(m.why for m in mutants)
    columns = ["mistake", "in", "detected by", *(["why people make it"] if explained else [])]
    lines = [
        f"# {len(mutants)} classic mistakes, and the tests that detect them\n",
        "Each is one change to one file. The test suite fails for every one of them:",
        f'`nox -s "mutants({folder.name})"` applies them one at a time. [`tests/mutants.py`](tests/mutants.py) has the',
        "changed lines. Made by `nox -s results`.\n",
        "| " + " | ".join(columns) + " |",
        "|" + " --- |" * len(columns),
    ]
    for m in mutants:
        tests = ", ".join(detecting(test) for test in m.tests.split()) or "[the suite](tests)"
        why = m.why + (f" [Made in public]({m.link})." if m.link else "")
        cells = [m.mistake, f"[`{m.file}`]({source}/{m.file})", tests, *([why] if explained else [])]
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def detecting(test: str) -> str:
    """A test file, or one test of it, as a link to the file."""
    file, _, name = test.partition("::")
    return f"[`{name or file}`](tests/{file})"


def counted(text: str, root: Path) -> str:
    """A text with the number of mistakes at each mark."""
    return COUNT.sub(lambda found: f"{found[1]}{len(mutation.listed(root / found[2]))}{found[3]}", text)
