"""Create a package from templates/paper: `new_paper.py NAME "TITLE" YEAR [ARXIV-ID or https://…]`.

The template is a complete small package: code, tests of all kinds, notebook, benchmark. Its texts hold placeholders
such as {{NAME}} and MODULE. Nothing is written unless every argument is valid.
"""

from __future__ import annotations

import importlib.util
import json
import keyword
import re
import shutil
import sys
import unicodedata
from pathlib import Path

import mistakes
import tables
import vendor
import wording

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "templates" / "paper"
VENDORED = (
    "atomic", "cli", "device", "interrupt", "malloc", "metrics", "optional", "progress", "run_folder", "tensors",
)  # fmt: skip
MAX_NAME, MAX_TITLE, LINE = 30, 300, 120  # every line of the template fits into LINE with a name of MAX_NAME characters
# {{NAME}} in texts and strings; in Python code bare words, so that the template is valid Python
PLACEHOLDER = re.compile(r"\{\{([A-Z_]+)\}\}|(\bMODULE\b|\bYEAR\b|\bURL\b|^    title=TITLE,)", re.MULTILINE)
ARXIV = re.compile(r"(?:arXiv:)?((?:[0-9]{4}\.[0-9]{4,5}|[a-z]+(?:-[a-z]+)*(?:\.[A-Z]{2})?/[0-9]{7})(?:v[0-9]+)?)")


def check_name(name: str) -> str:
    """Return the module name of a package. Raises: ValueError if it cannot be the name of a new package."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > MAX_NAME:
        rule = f"be lower-case words joined by hyphens, at most {MAX_NAME} characters, such as lets-build-gpt"
        raise ValueError(f"`name` must {rule}, got {name!r}")
    module = name.replace("-", "_")
    taken = ""
    if keyword.iskeyword(module) or keyword.issoftkeyword(module):
        taken = "a keyword of Python"
    elif module in sys.stdlib_module_names:
        taken = "a module of Python's standard library"
    elif name == "shared" or (ROOT / "packages" / name).exists() or list(ROOT.glob(f"packages/*/src/{module}")):
        taken = "a package of this repository"
    elif importlib.util.find_spec(module) is not None:
        taken = "the name of a module that is already importable"
    elif name in re.split(r"[=\[\n].*\n?", (ROOT / "constraints.txt").read_text(encoding="utf-8")):
        taken = "the name of a package that this repository depends on"
    if taken:
        raise ValueError(f"`name` must be free, got {name!r}, which is {taken}")
    return module


def check_title(title: str) -> str:
    """Return the title with single spaces. Raises: ValueError if it cannot be stored as one line of text."""
    title = " ".join(title.split())
    if not title or len(title) > MAX_TITLE or not title.isprintable() or "\\" in title:
        rule = f"be 1 to {MAX_TITLE} printable characters without a backslash (write symbols in Unicode)"
        raise ValueError(f"`title` must {rule}, got {title!r}")
    return title


def check_address(where: str) -> str:
    """Return the address of a paper, given that or an arXiv id. Raises: ValueError if it is neither."""
    if found := ARXIV.fullmatch(where):
        return f"https://arxiv.org/abs/{found[1]}"
    if re.fullmatch(r"https?://[!#-;=?-\[\]_a-z~]+", where) and len(where) < 90:
        return where
    raise ValueError(
        f"`arxiv` must be an arXiv id such as 1706.03762 or cs/0112017, or an address that starts with https://, "
        f"got {where!r}"
    )


def label(url: str) -> str:
    """The text of a link to a paper: its arXiv id, or the host of the address."""
    host, _, path = url.partition("://")[2].partition("/")
    return f"arXiv:{path.removeprefix('abs/')}" if host == "arxiv.org" else host


def python_string(text: str) -> str:
    """A string literal with the quotation marks that `ruff format` prefers."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + text.replace(quote, "\\" + quote) + quote


def width(text: str) -> int:
    """Columns of a text on a terminal, as the linter counts them."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def title_lines(title: str, mark: str) -> str:
    """The argument `title=` of paper.py, in as many lines as `ruff format` gives it."""
    line = f"    title={python_string(title)},"
    if width(line) <= LINE:
        return line + mark
    limit = 70 if width(title) == len(title) else 35
    pieces = re.findall(rf".{{1,{limit - 1}}}(?: |$)|.{{{limit}}}", title)  # whole words where they fit
    return "\n".join(["    title=(", *(f"        {python_string(piece)}{mark}" for piece in pieces), "    ),"])


def sorted_imports(text: str) -> str:
    """The same Python file with each block of imports in the linter's order, which depends on the module's name."""
    statement = r"(?:import [^\n]+|from \S+ import (?:\([^)]*\)[^\n]*|[^\n(]+))\n"

    def in_order(block: re.Match[str]) -> str:
        statements = re.findall(rf"[ ]*{statement}", block[0])
        return "".join(sorted(statements, key=lambda s: (s.split()[0] == "from", s.split()[1])))

    return re.sub(rf"^([ ]*)(?!from __future__){statement}(?:\1{statement})+", in_order, text, flags=re.MULTILINE)


def contents(name: str, title: str, year: str, where: str | None) -> dict[Path, bytes]:
    """Every file of the new package: its path below the package folder, and its content."""
    module, title = check_name(name), check_title(title)
    if not re.fullmatch(r"(1[89]|20)[0-9]{2}", year):
        raise ValueError(f"`year` must be four digits, such as 2017, got {year!r}")
    url = check_address(where) if where is not None else None
    quoted = wording.PATTERN.search(title) is not None  # the title of a paper is not ours to reword
    plain = re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", title)
    values = {
        "NAME": name,
        "MODULE": module,
        "YEAR": year,
        "DESCRIPTION_TOML": json.dumps(f"{title} ({year}), from scratch", ensure_ascii=False),
        "QUOTED_TOML": " # wording: quoted" if quoted else "",
        "    title=TITLE,": title_lines(title, "  # wording: quoted" if quoted else ""),
        "URL": python_string(url) if url else "None",
        "PAPER_MARKDOWN": f"*{plain}* ({year}" + (f", [{label(url)}]({url}))" if url else ")"),
        "QUOTED_MARKDOWN": " <!-- wording: quoted -->" if quoted else "",
    }
    found = {Path("LICENSE"): (ROOT / "LICENSE").read_bytes()}
    for source in sorted(p for p in TEMPLATE.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        path = Path(source.relative_to(TEMPLATE).as_posix().replace("MODULE", module).replace("NAME", name))
        text = PLACEHOLDER.sub(lambda m: values[m[1] or m[2]], source.read_text(encoding="utf-8"))
        found[path] = (sorted_imports(text) if path.suffix == ".py" else text).encode()
    for vendored in (*vendor.ALWAYS, *VENDORED):
        path = Path("src") / module / "_common" / f"{vendored}.py"
        found[path] = (vendor.SOURCE / f"{vendored}.py").read_bytes()
    return found


def row_added(readme: str, name: str, paper: str) -> str:
    """The root README with one more row in its table of packages: the first table that links to packages/*."""
    rows = list(re.finditer(r"^\|.*\]\(packages/[\w-]+/README\.md\).*\|\n", readme, re.MULTILINE))
    last = None
    for row in rows:
        if last is not None and row.start() != last.end():
            break
        last = row
    if last is None:
        return readme
    columns = len(re.findall(r"(?<!\\)\|", last[0])) - 1
    cells = [f"[{name}](packages/{name}/README.md)", paper, f"`{name} demo`", *[""] * columns][:columns]
    return readme[: last.end()] + "| " + " | ".join(cells) + " |\n" + readme[last.end() :]


def create(name: str, title: str, year: str, where: str | None = None) -> Path:
    """Create packages/NAME and list it in the manifest of vendored files and in the root README.

    Raises: ValueError for an argument that is not valid. After any error, every file is as it was.
    """
    files = contents(name, title, year, where)
    folder, manifest, readme = ROOT / "packages" / name, vendor.SOURCE / "manifest.toml", ROOT / "README.md"
    before = {path: path.read_bytes() for path in (manifest, readme)}
    try:
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        text = tables.filled((folder / "README.md").read_text(encoding="utf-8"))
        (folder / "README.md").write_text(text, encoding="utf-8")
        (folder / "RESULTS.md").write_text(tables.results_page(folder), encoding="utf-8")
        (folder / "MISTAKES.md").write_text(mistakes.page(folder), encoding="utf-8")
        lines = [*before[manifest].decode().splitlines(keepends=True), f"{name} = {json.dumps(VENDORED)}\n"]
        lines.sort(key=lambda line: (not line.startswith("#"), not line.startswith("shared "), line))
        manifest.write_text("".join(lines), encoding="utf-8")
        paper = re.search(r"^A from-scratch .*? implementation of (.*)\.( <!--.*-->|)$", text, re.MULTILINE)
        assert paper is not None
        readme.write_text(row_added(before[readme].decode(), name, paper[1] + paper[2]), encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        for path, content in before.items():
            path.write_bytes(content)
        raise
    return folder


def main(arguments: list[str]) -> int:
    """Create the package and print what to do next."""
    if len(arguments) not in (3, 4):
        print('usage: nox -s new -- NAME "TITLE" YEAR [ARXIV-ID or https://…]', file=sys.stderr)
        return 2
    try:
        folder = create(*arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f'{folder.relative_to(ROOT)} created. Next: nox -s "tests({folder.name})", then CONTRIBUTING.md')
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
