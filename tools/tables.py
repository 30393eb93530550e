"""Write the tables of RESULTS.md and of the READMEs from the recorded files below results/.

A recorded file is JSON: title, command, seed (or seeds), versions, cpu, cores, date, and `rows`, a list of
objects whose keys are the columns; a `note` is optional. In a text,

    <!-- results: packages/bpe/results/speed.json -->
    <!-- end of results -->

is filled with the table of that file (several paths: one table with the rows of all; a trailing
`columns: A, B` selects columns), and

    <!-- result: packages/bpe/results/speed.json 0 ratio -->12.1<!-- end -->

with one value: row 0, column `ratio`. RESULTS.md and MISTAKES.md of a package are written in full. `--check` writes
nothing and exits with 1 if a text differs from what the files say.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import mistakes

ROOT = Path(__file__).parent.parent
TABLE = re.compile(r"(<!-- results: (.+?) -->\n).*?(<!-- end of results -->)", re.DOTALL)
VALUE = re.compile(r"(<!-- result: (\S+) (\d+) (.+?) -->).*?(<!-- end -->)")


def shown(value: Any) -> str:
    """A value as a table shows it: numbers to four significant digits, thousands grouped."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(shown(v) for v in value)
    return str(value)


def table(rows: list[dict[str, Any]], columns: list[str] | None = None) -> str:
    """Rows as a Markdown table. Columns in the order in which the rows first name them."""
    names = columns or list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(shown(row.get(n)) for n in names) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def record(path: str) -> dict[str, Any]:
    """A recorded file; ValueError if it does not say how it came about."""
    found: dict[str, Any] = json.loads((ROOT / path).read_text(encoding="utf-8"))
    lacking = {"title", "command", "versions", "cpu", "cores", "rows"} - set(found)
    if lacking or not ({"seed", "seeds"} & set(found)):
        raise ValueError(f"{path} does not state {', '.join(sorted(lacking)) or 'its seed'}")
    return found


def filled(text: str) -> str:
    """A text with every marked table and value made from its file."""

    def make_table(match: re.Match[str]) -> str:
        paths, _, chosen = match[2].partition(" columns: ")
        rows = [row for path in paths.split() for row in record(path)["rows"]]
        return match[1] + table(rows, chosen.split(", ") if chosen else None) + match[3]

    def make_value(match: re.Match[str]) -> str:
        return match[1] + shown(record(match[2])["rows"][int(match[3])][match[4]]) + match[5]

    return mistakes.counted(VALUE.sub(make_value, TABLE.sub(make_table, text)), ROOT)


def results_page(folder: Path) -> str:
    """RESULTS.md of a package: every recorded file with its table and how it was made."""
    parts = [f"# Results of {folder.name}\n", "Made by `nox -s results` from the files in `results/`.\n"]
    for path in sorted(folder.glob("results/*.json")):
        found = record(str(path.relative_to(ROOT)))
        seeds = found.get("seeds", found.get("seed"))
        versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
        parts.append(f"## {found['title']}\n\n{table(found['rows'])}")
        parts.append(
            f"`{found['command']}`  \nseed {shown(seeds)}; {versions}; {found['cores']} cores of {found['cpu']}; "
            f"[{path.name}](results/{path.name})\n"
        )
        if "note" in found:
            parts.append(f"{found['note']}\n")
    return "\n".join(parts)


def wanted() -> dict[Path, str]:
    """Every text that the recorded files determine, as it should be."""
    texts = [ROOT / "README.md", *ROOT.glob("packages/*/README.md"), ROOT / "shared" / "README.md"]
    pages = {p: filled(p.read_text(encoding="utf-8")) for p in texts if p.exists()}
    for folder in sorted({p.parent.parent for p in ROOT.glob("packages/*/results/*.json")}):
        pages[folder / "RESULTS.md"] = results_page(folder)
    for path in sorted(ROOT.glob("packages/*/tests/mutants.py")):
        pages[path.parent.parent / "MISTAKES.md"] = mistakes.page(path.parent.parent)
    return pages


def main(arguments: list[str]) -> int:
    """Write (or with --check compare) every text."""
    stale = []
    for path, text in wanted().items():
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old != text:
            stale.append(path.relative_to(ROOT))
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path} {'differs from its results' if '--check' in arguments else 'written'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
