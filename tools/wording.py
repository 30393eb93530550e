"""Find wording that this project does not use, in every text and Python file that git tracks.

`wording.py` prints each finding as `file:line: phrase -> what to write` and exits with 1 if there is one. The list
holds phrases that have a standard term in the field, and British spellings.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PHRASES = {
    r"is no number": "NaN, or: is not finite",
    r"ha(?:s|ve) to be": "must be",
    r"goes on(?: with)?\b|go on with": "continues, resumes",
    r"likeliest": "most probable, argmax",
    r"of the house|\bone house": "of this repository",
    r"strangers?\b(?:'s)?": "unrelated",
    r"half files?": "partial file",
    r"with nothing given": "without a dataset",
    r"(?:were|is|are) drawn(?! (?:in|on|as|beside|from the figure))": "sampled",
    r"not reached|missed are|the aims? (?:was|were)|a slower day": "(state the number)",
    r"matrix products?": "matrix multiplication, matmul",
    r"products? (?:are|is) computed": "matmuls run in",
    r" met, ": "must be …, got …",
    r"is none of|is no (?:file|folder|text|matrix|probability)": "must be …, got …",
    r"in turn": "interleaved, one after the other",
    r"passed over": "skipped, ignored",
    r"would not do": "does not work",
    r"no more(?! than)\b": "no longer",
    r"number formats?|number types?": "dtype, precision",
    r"put down|breaks? off|broke off": "stores, is interrupted",
    r"from nothing": "from scratch",
    r"thereof|anew\b|ever after": "(leave out)",
    r"knows no\b": "does not support",
    r"the interpreter's lock": "the GIL",
    r"both ways": "in both directions",
    r"stands in\b|stand in\b": "is in, is defined in",
    r"speaks of": "refers to",
    r"kin\b": "similar models",
}
BRITISH = (
    r"(?:normalis|initialis|orthogonalis|tokenis|organis|recognis|optimis|utilis|serialis|generalis|summaris|visualis|"
    r"penalis|quantis|vectoris|parallelis|specialis|minimis|maximis)(?:e|ed|es|er|ing|ation)\w*"
    r"|colour\w*|\bgrey\w*|\blicences?\b|\bbehaviour\w*|\bfavour\w*|\bneighbour\w*|\bcentre[sd]?\b|\blabell(?:ed|ing)\b"
    r"|\bmodell(?:ed|ing)\b|\bcancell(?:ed|ing)\b|\banalys(?:e|ed|es|ing)\b|\bcatalogue\w*|\bmisspelt\b|\blearnt\b"
)
PATTERN = re.compile(
    "|".join(f"(?P<p{i}>\\b{p})" if p[0] != " " else f"(?P<p{i}>{p})" for i, p in enumerate(PHRASES))
    + f"|(?P<british>{BRITISH})",
    re.I,
)
ALLOWED = {"wording.py", "constraints.txt"}  # this list itself


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
    paths = [ROOT / name for name in listed.splitlines() if Path(name).name not in ALLOWED and (ROOT / name).is_file()]
    found = [finding for path in paths for finding in findings(path)]
    print("\n".join(found) or f"{len(paths)} files: no findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
