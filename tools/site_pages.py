"""Write the pages that Sphinx reads: texts of the repository with changed links, and pages made from source."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import site_charts
import site_source
from site_tree import IMAGES, LINK, ROOT, Package, SiteError, link_path, outside_code, packages

SITE = ROOT / "docs" / "site"
COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
IMAGE = re.compile(r'<(?:img|source)[^>]*\s(?:src|srcset)="([^"\s]+)"')
LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".yml": "yaml", ".c": "c", ".h": "c", ".sh": "bash"}


def with_cards(readme: str, cards: str) -> str:
    """The README with the cards of the home page after its introduction; a label makes its learning path a target."""
    at = re.search(r"^(!\[|## )", readme, re.MULTILINE)
    path = re.search(r"^## .*\bpath\b.*$", readme, re.MULTILINE)
    if at is None or path is None:
        raise SiteError("README.md: the home page needs a section whose heading has the word `path`")
    label = "(a-path-through-the-packages)=\n"
    return readme[: at.start()] + cards + "\n" + readme[at.start() : path.start()] + label + readme[path.start() :]


def vocabulary() -> str:
    """The names of docs/vocabulary.toml with their meanings, as tables."""
    sections = tomllib.loads((ROOT / "docs" / "vocabulary.toml").read_text(encoding="utf-8"))
    lines = ["", "## Names of settings and options", ""]
    lines += ["Configuration fields have these names in every package; `d_model` is the option `--d-model`.", ""]
    for section, names in sections.items():
        lines += [f"### {section.replace('_', ' ').capitalize()}", "", "| name | meaning |", "|---|---|"]
        lines += [f"| `{name}` | {meaning.replace('|', chr(92) + '|')} |" for name, meaning in names.items()] + [""]
    return "\n".join(lines)


def notebook_title(path: Path) -> str:
    """The first heading of a notebook."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if found := re.search(r"^# (.+)$", "".join(cell["source"]), re.MULTILINE):
            return found[1] if cell["cell_type"] == "markdown" else path.stem
    return path.stem


class Pages:
    """The pages of the site, by the file of the repository that each is made from."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.written: set[Path] = set()
        self.packages = packages()
        self.of: dict[Path, str] = {}  # a file of the repository -> its page, without suffix
        self.listed: list[Path] = []  # files and folders that links name and that are no pages themselves
        self.problems: list[str] = []  # links of texts that lead nowhere
        self.tracked = set(self.files())

    def files(self) -> list[Path]:
        """The files of the repository, as git has them."""
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return [ROOT / line for line in listed.splitlines() if (ROOT / line).is_file()]

    def write(self, page: str, text: str | list[str]) -> None:
        """Write a page, unless it is there already as it should be."""
        path = self.out / page
        content = text if isinstance(text, str) else "\n".join(text) + "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
        self.written.add(path)

    def remove_others(self) -> None:
        """Delete what an earlier build wrote and this one did not; then all HTML, because Sphinx removes none."""
        stale = [path for path in self.out.rglob("*") if path.is_file() and path not in self.written]
        for path in stale:
            path.unlink()
        if stale:
            shutil.rmtree(self.out.parent / "html", ignore_errors=True)

    # -------------------------------------------------------------------------------------------- links

    def relative(self, page: str, target: str) -> str:
        """The relative path from one page to another."""
        return os.path.relpath(target, os.path.dirname(page) or ".").replace(os.sep, "/")

    def changed_links(self, document: Path, page: str, text: str) -> str:
        """A Markdown text of the repository with each link to a file made a link of the site."""

        def change(match: re.Match[str]) -> str:
            path = link_path(document, match["target"])
            if path is None:
                return match[0]
            if not path.exists():
                self.problems.append(f"{document.relative_to(ROOT)}: {match['target']} does not exist")
                return match["text"]
            anchor = match["target"].partition("#")[2]
            target = self.target(path)
            if target.endswith(".html"):  # made by viewcode: not a page that Sphinx knows by name
                return f'<a class="reference internal" href="{self.relative(page, target)}">{match["text"]}</a>'
            link = self.relative(page, target) + (f"#{anchor}" if anchor else "")
            return f"{match['mark']}[{match['text']}]({link}{match['title'] or ''})"

        def copy_image(match: re.Match[str]) -> str:
            if path := link_path(document, match[1]):
                self.target(path)
            return match[0]

        return outside_code(text, lambda part: IMAGE.sub(copy_image, LINK.sub(change, COMMENT.sub("", part))))

    def target(self, path: Path) -> str:
        """The page of a file or folder, with a suffix."""
        if path.is_dir():
            for name in ("README.md", "index.md"):
                if path / name in self.of:
                    return self.target(path / name)
        if path.name == "MISTAKES.md":  # the site has a page with the changed lines instead
            return (path.parent / "mistakes.rst").relative_to(ROOT).as_posix()
        if path in self.of:
            return self.of[path] + (path.suffix if path.suffix in (".ipynb", ".md") else ".rst")
        if path.suffix in IMAGES:
            copy = self.out / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            self.written.add(copy)
            return path.relative_to(ROOT).as_posix()
        for package in self.packages:
            module = package.modules.get(path)
            if module is not None and module.public and module in package.documented:
                return f"_modules/{module.name.replace('.', '/')}.html"
        if path not in self.listed:
            self.listed.append(path)
        return self.source_page(path) + ".md"

    def source_page(self, path: Path) -> str:
        """The page that shows a file or a folder as it is."""
        return f"files/{path.relative_to(ROOT).as_posix()}"

    def write_listed(self) -> None:
        """Write the pages of files and folders that links name; a folder adds the files in it."""
        for path in self.listed:  # it grows meanwhile
            page, name = self.source_page(path), path.relative_to(ROOT).as_posix()
            lines = ["---", "orphan: true", "---", f"# `{name}`", ""]
            if path.is_dir():
                inside = [p for p in sorted(self.tracked) if p.parent == path]
                folders = sorted(
                    {p.relative_to(path).parts[0] for p in self.tracked if path in p.parents} - {p.name for p in inside}
                )
                for entry in [*(path / folder for folder in folders), *inside]:
                    shown = entry.name + ("/" if entry.is_dir() else "")
                    if entry.suffix in IMAGES:
                        continue
                    target = self.target(entry)
                    link = self.relative(page, target)
                    raw = target.endswith(".html")
                    lines.append(f'- <a href="{link}"><code>{shown}</code></a>' if raw else f"- [`{shown}`]({link})")
            else:
                text = path.read_text(encoding="utf-8", errors="replace").rstrip("\n")
                fence = "`" * max(3, 1 + max((len(m) for m in re.findall(r"`+", text)), default=0))
                language = LANGUAGES.get(path.suffix, "markdown" if path.suffix == ".md" else "text")
                lines += [f"{fence}{language}", *text.splitlines(), fence]
            self.write(f"{page}.md", lines)

    # -------------------------------------------------------------------------------------------- texts

    def find_texts(self) -> None:
        """Give a page to each text and notebook of the repository."""
        for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "tools" / "README.md"]:
            self.of[path] = path.relative_to(ROOT).with_suffix("").as_posix()
        for path in SITE.glob("pages/*.md"):
            self.of[path] = path.stem
        for package in self.packages:
            for pattern in ("*.md", "notebooks/*.ipynb"):
                for path in package.folder.glob(pattern):
                    self.of[path] = path.relative_to(ROOT).with_suffix("").as_posix()
        for path, page in self.of.items():
            if path.name == "README.md":
                self.of[path] = page.removesuffix("README") + "index"
        pages = self.tracked - {path for path in self.tracked if path.name == "MISTAKES.md"}
        self.of = {path: page for path, page in self.of.items() if path in pages}
        for package in self.packages:
            for name in package.teaching.get("annotated", []):
                package.module(name)  # an error if it does not exist
                # links in texts lead to the annotated page of a teaching module
                self.of[package.module(name).path] = (
                    f"{package.folder.relative_to(ROOT)}/annotated/{name.replace('/', '-')}"
                )

    def write_texts(self) -> None:
        """Write every text and notebook, with its links changed."""
        for path, page in self.of.items():
            if path.suffix == ".md":
                text = path.read_text(encoding="utf-8")
                if path == ROOT / "README.md":
                    text = with_cards(text, (SITE / "home.md").read_text(encoding="utf-8"))
                self.write(f"{page}.md", self.changed_links(path, page, text) + self.appended(path))
            elif path.suffix == ".ipynb":
                notebook = json.loads(path.read_text(encoding="utf-8"))
                for cell in notebook["cells"]:
                    if cell["cell_type"] == "markdown":
                        cell["source"] = self.changed_links(path, page, "".join(cell["source"]))
                self.write(f"{page}.ipynb", json.dumps(notebook, ensure_ascii=False))

    def appended(self, path: Path) -> str:
        """What the site adds below a text: the contents of a package, the figures of its results."""
        for package in self.packages:
            if path == package.folder / "README.md":
                return self.toctree(self.contents(package))
            if path == package.folder / "RESULTS.md":
                figures = sorted(
                    p for p in self.tracked if p.parent == package.folder / "results" and p.suffix in IMAGES
                )
                for figure in figures:
                    self.target(figure)
                lines = [f"![{f.stem.replace('-', ' ')}](results/{f.name})\n" for f in figures]
                lines += site_charts.charts(package.folder)
                return "\n## Figures\n\n" + "\n".join(lines) + "\n" if lines else ""
        if path == SITE / "pages" / "glossary.md":
            return vocabulary()
        return self.home() if path == ROOT / "README.md" else ""

    def toctree(self, entries: list[tuple[str, str]] | list[str], caption: str = "") -> str:
        """A hidden table of contents, which the sidebar shows."""
        lines = [entry if isinstance(entry, str) else f"{entry[0]} <{entry[1]}>" for entry in entries]
        options = ":hidden:\n" + (f":caption: {caption}\n" if caption else "")
        return f"\n```{{toctree}}\n{options}\n" + "\n".join(lines) + "\n```\n"

    def contents(self, package: Package) -> list[tuple[str, str]]:
        """The pages of a package, relative to its README."""
        folder = package.folder
        found = []
        for path in sorted(folder.glob("notebooks/*.ipynb")):
            if path in self.of:
                found.append((f"Notebook: {notebook_title(path)}", f"notebooks/{path.stem}"))
        if package.teaching.get("annotated"):
            found.append(("Annotated source", "annotated/index"))
        if package.teaching.get("twins"):
            found.append(("Textbook and fast", "twins"))
        if (folder / "tests" / "mutants.py").exists():
            found.append(("Classic mistakes", "mistakes"))
        found.append(("API reference", "api/index"))
        for name, title in (("RESULTS.md", "Results"), ("CHANGELOG.md", "Changelog")):
            if folder / name in self.of:
                found.append((title, name.removesuffix(".md")))
        return found

    def home(self) -> str:
        """The contents of the whole site."""
        out = self.toctree([f"{p.folder.relative_to(ROOT)}/index" for p in self.packages], "Packages")
        out += self.toctree(["contents", *sorted(self.of[p] for p in self.of if p.parent == SITE / "pages")], "Learn")
        rest = [p for p in self.of if p.suffix == ".md" and p.parent in (ROOT, ROOT / "docs", ROOT / "tools")]
        return out + self.toctree([self.of[p] for p in rest if p != ROOT / "README.md"], "Project")

    def write_contents(self) -> None:
        """Write the page that lists all pages by kind; its labels are what the cards of the home page lead to."""
        kinds: dict[str, list[str]] = {}
        for package in self.packages:
            base = package.folder.relative_to(ROOT).as_posix()
            for title, page in self.contents(package):
                kind = "Notebooks" if title.startswith("Notebook: ") else title
                lines = kinds.setdefault(kind, [])
                if kind == "Annotated source":
                    modules = [package.module(name) for name in package.teaching["annotated"]]
                    links = [f"[`{m.path.relative_to(package.source)}`]({self.of[m.path]}.rst)" for m in modules]
                    lines.append(f"- [{package.name}]({base}/{page}.rst): {', '.join(links)}")
                elif kind == "Notebooks":
                    lines.append(f"- {package.name}: [](/{base}/{page})")
                else:
                    suffix = "md" if page.isupper() else "rst"
                    lines.append(f"- [{package.name}]({base}/{page}.{suffix})")
        out = ["# All pages by kind", ""]
        labels = {"Results": "results-and-figures"}
        for kind, lines in kinds.items():
            out += [f"({labels.get(kind, kind.lower().replace(' ', '-'))})=", f"## {kind}", "", *lines, ""]
        self.write("contents.md", out)

    # -------------------------------------------------------------------------------------------- source

    def write_source_pages(self) -> None:
        """Write the pages of each package that are made from its source."""
        for package in self.packages:
            base = package.folder.relative_to(ROOT).as_posix()
            annotated = [package.module(name) for name in package.teaching.get("annotated", [])]
            for module in annotated:
                page = self.of[module.path]
                links = [f":py:mod:`API reference <{module.name}>`", f"``{module.path.relative_to(ROOT)}``"]
                self.write(f"{page}.rst", site_source.annotated_page(package, module, links))
            if annotated:
                out = site_source.heading(f"{package.name}: annotated source")
                out += ["Each module as it is: its text on the left, its code on the right.", ""]
                out += [".. toctree::", "   :maxdepth: 1", ""]
                out += [f"   {self.relative(f'{base}/annotated/index', self.of[m.path])}" for m in annotated]
                self.write(f"{base}/annotated/index.rst", out)
            if package.teaching.get("twins"):
                self.write(f"{base}/twins.rst", site_source.twins_page(package))
            if (package.folder / "tests" / "mutants.py").exists():
                self.write(f"{base}/mistakes.rst", site_source.mistakes_page(package, self.problems))
            self.write(f"{base}/api/index.rst", site_source.api_index(package))
            for name, modules in site_source.api_groups(package).items():
                self.write(f"{base}/api/{name}.rst", site_source.api_page(package, name, modules))


def write_all(out: Path) -> list[str]:
    """Write every page of the site into a folder, and return what is wrong with the links of texts."""
    pages = Pages(out)
    pages.find_texts()
    pages.write_texts()
    pages.write_contents()
    pages.write_source_pages()
    pages.write_listed()
    pages.remove_others()
    return pages.problems
