"""Find wording that this project does not use, in every text and Python file that git tracks.

`wording.py` prints each finding as `file:line: phrase -> what to write` and exits with 1 if there is one.
`wording.toml` lists the phrases that have a standard term in the field, and British spellings.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
UNCHECKED = {"wording.toml", "constraints.txt"}
LISTED = tomllib.loads((ROOT / "tools" / "wording.toml").read_text(encoding="utf-8"))
PHRASES: dict[str, str] = LISTED["phrases"]
GROUPS = [f"(?P<p{i}>{'' if p[0] == ' ' else chr(92) + 'b'}{p})" for i, p in enumerate(PHRASES)]
PATTERN = re.compile("|".join([*GROUPS, f"(?P<british>{LISTED['british']['pattern']})"]), re.IGNORECASE)


def findings(path: Path) -> list[str]:
    """The phrases in one file, each with its line and what to write instead."""
    found = []
    advice = list(PHRASES.values())
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if "wording: quoted" in line:  # the words of a paper, of a data set, or of another library
            continue
        for match in PATTERN.finditer(line):
            index = next(i for i in range(len(advice) + 1) if match[f"p{i}" if i < len(advice) else "british"])
            instead = advice[index] if index < len(advice) else "American spelling"
            found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]!r} -> {instead}")
    return found


def main() -> int:
    """Print every finding; exit status 1 if there is one."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py", "*.md", "*.toml", "*.c"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [
        ROOT / name for name in listed.splitlines() if Path(name).name not in UNCHECKED and (ROOT / name).is_file()
    ]
    found = [finding for path in paths for finding in findings(path)]
    print("\n".join(found) or f"{len(paths)} files: no findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
