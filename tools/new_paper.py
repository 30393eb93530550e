"""Begin a package from templates/paper: `new_paper.py NAME "TITLE" YEAR ARXIV`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "templates" / "paper"


def create(name: str, title: str, year: str, arxiv: str) -> Path:
    """Copy the template to packages/NAME with its placeholders filled in; ValueError for what does not fit."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise ValueError(f"name: {name!r} is not lower-case words joined by hyphens, as in lets-build-gpt")
    if not re.fullmatch(r"\d{4}", year):
        raise ValueError(f"year: {year!r} is not a year of four digits")
    if not re.fullmatch(r"\d{4}\.\d{4,5}", arxiv):
        raise ValueError(f"arxiv: {arxiv!r} is not an arXiv number such as 1706.03762")
    if re.search(r"[\"\\\n]", title):
        raise ValueError(f"title: {title!r} holds a quotation mark, a backslash or a line break")
    folder = ROOT / "packages" / name
    if folder.exists():
        raise ValueError(f"name: packages/{name} exists already")
    values = {"NAME": name, "MODULE": name.replace("-", "_"), "TITLE": title, "YEAR": year, "ARXIV": arxiv}
    for source in sorted(p for p in TEMPLATE.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        target = folder / str(source.relative_to(TEMPLATE)).replace("MODULE", values["MODULE"])
        text = source.read_text(encoding="utf-8")
        for key, value in values.items():
            text = text.replace("{{" + key + "}}", value)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return folder


def main(arguments: list[str]) -> int:
    """Create the package and say what to do next."""
    if len(arguments) != 4:
        print('usage: nox -s new -- NAME "TITLE" YEAR ARXIV', file=sys.stderr)
        return 2
    try:
        folder = create(*arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f'{folder.relative_to(ROOT)} is begun. Next: nox -s "tests({folder.name})", then CONTRIBUTING.md')
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
