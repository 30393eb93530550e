"""The documentation site: docstrings, links, and pages made from source. `nox -s site` builds and visits all of it."""

import json
import re
import subprocess
import sys
import textwrap

import pytest
import site_charts
import site_check
import site_links
import site_pages
import site_source
import site_tree
from site_docstrings import to_rst
from site_tree import ROOT, Module, SiteError

PACKAGES = site_tree.packages()
each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.name)


def rst(docstring):
    return "\n".join(to_rst(docstring)).strip()


# ------------------------------------------------------------------------------------------------ docstrings


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Return 2 * x, or h_ | y.", r"Return 2 \* x, or h\_ \| y."),
        ("See `Tokenizer` and `n + 1`.", "See :py:obj:`Tokenizer` and :code:`n + 1`."),
        ("A lone ` stays.", r"A lone \` stays."),
        ("With g = y:\n    d = g * 2\nAfter.", "With g = y:\n\n.. code-block:: none\n\n       d = g * 2\n\nAfter."),
        ("First line.\nRaises: ValueError if x.", "First line.\n\n**Raises:** ValueError if x."),
        ("First line.\nsize, top_k: numbers.", "First line.\n\n``size, top_k``: numbers."),
        ("Text.\n\n>>> f(a_ * 2)\n3", "Text.\n\n>>> f(a_ * 2)\n3"),
        ("y = x\n    dx = 1\nz = 2\nThen.", ".. code-block:: none\n\n   y = x\n       dx = 1\n\nz = 2\nThen."),
        ("Encoder and decoder: both.", "Encoder and decoder: both."),
        ("- one * two\n- three", "- one \\* two\n- three"),
    ],
)  # fmt: skip
def test_docstring_becomes_restructuredtext(docstring, expected):
    assert rst(docstring) == expected


def test_sections_of_a_docstring_keep_their_names():
    text = "Split.\n\nArgs:\n    piece: the bytes of `x`.\n        More of it.\n    rank: 2 * 3."
    lines = site_source.docstring(text)
    assert any("piece" in line and ":py:obj:`x`" in line for line in lines)
    assert any(r"2 \* 3" in line for line in lines)


# ------------------------------------------------------------------------------------------------ source


def module(tmp_path, text):
    path = tmp_path / "m.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return Module("p.m", path)


def test_parts_of_a_module_hold_every_line_of_its_code_once(tmp_path):
    text = '''
        """Module."""

        import math

        # why two
        SIZE = 2
        """Documented."""


        def f(x):
            """Double."""
            return x * SIZE


        class Small:
            """A field."""

            x: int = 1
    '''
    parts = list(site_source.parts_of(module(tmp_path, text)))
    assert [p.title for p in parts] == ["", "f", "Small"]
    assert [p.text for p in parts] == ["Module.", "Double.", "A field."]
    assert parts[0].code == 'import math\n\n# why two\nSIZE = 2\n"""Documented."""'
    assert parts[1].code == "def f(x):\n    return x * SIZE"


@each_package
def test_annotated_modules_show_all_of_their_code(package):
    for name in package.teaching.get("annotated", []):
        source = package.module(name)
        shown = "\n".join(part.code for part in site_source.parts_of(source))
        for title, node in site_tree.definitions(source.tree):
            assert f" {node.name}" in shown, title


@each_package
def test_teaching_toml_names_what_exists(package):
    for name in package.teaching.get("annotated", []):
        package.module(name)
    for twin in package.teaching.get("twins", []):
        for name in [*twin["textbook"], *twin["fast"]]:
            package.find(name)
        assert site_source.measured(package, twin) or "measured" not in twin
    assert len(site_source.equations(package)) == len(package.teaching.get("equations", {}))


@each_package
def test_names_in_texts_of_twins_occur_in_the_source(package):
    source = "".join(m.path.read_text(encoding="utf-8") for m in package.modules.values())
    for twin in package.teaching.get("twins", []):
        for name in re.findall(r"`([\w.]+)`", twin["text"]):
            assert all(part in source for part in name.split(".")), name


def test_a_speedup_that_is_not_recorded_is_an_error():
    bpe = next(p for p in PACKAGES if p.name == "bpe")
    with pytest.raises(SiteError, match=r"results/long\.json has no number in a row 'nothing'"):
        site_source.measured(bpe, {"speedup": ["long.json", "nothing", "MB/s"]})


def test_a_name_that_does_not_exist_is_an_error():
    with pytest.raises(SiteError, match=r"teaching\.toml: .* has no module nothing"):
        PACKAGES[0].find("nothing:f")
    known = next(iter(PACKAGES[0].teaching["annotated"]))
    with pytest.raises(SiteError, match=r"teaching\.toml: .* has no nothing"):
        PACKAGES[0].find(f"{known}:nothing")


@each_package
def test_every_mistake_is_shown_as_a_line_of_its_file(package):
    if not (package.folder / "tests" / "mutants.py").exists():
        pytest.skip(f"{package.name} lists no mutants")
    problems = []
    page = "\n".join(site_source.mistakes_page(package, problems))
    assert not problems
    assert page.count(".. code-block:: diff") == len(site_source.mutation.listed(package.folder))


def test_a_mistake_is_shown_with_its_whole_line():
    assert site_source.whole_lines("a\n    if x > 1:\nb", "> 1", ">= 1") == ["- if x > 1:", "+ if x >= 1:"]
    assert site_source.whole_lines("a\nb c\nd", "b c\nd", "b c\ne") == ["  b c", "- d", "+ e"]


# ------------------------------------------------------------------------------------------------ links


def test_links_of_texts_lead_to_pages(tmp_path):
    pages = site_pages.Pages(tmp_path)
    pages.find_texts()
    readme = ROOT / "README.md"
    text = "[a](docs/design.md#x) [b](CONTRIBUTING.md) [c](https://x.y) [d](#here)\n"
    text += "```\n[e](docs/design.md)\n```\n[f](.ci/run)\n"
    changed = pages.changed_links(readme, pages.of[readme], text)
    assert "[a](docs/design.md#x) [b](CONTRIBUTING.md) [c](https://x.y) [d](#here)" in changed
    assert "[e](docs/design.md)" in changed
    assert "[f](files/.ci/run.md)" in changed
    assert pages.problems == []


def test_the_home_page_is_the_readme_with_cards():
    readme = "# x\n\nText.\n\n![f](f.png)\n\n## Install\n\n## A path through it\n"
    page = site_pages.with_cards(readme, "CARDS\n")
    assert page.index("Text.") < page.index("CARDS") < page.index("![f]")
    assert "(a-path-through-the-packages)=\n## A path through it" in page
    with pytest.raises(SiteError, match="the word `path`"):
        site_pages.with_cards("# x\n## y\n", "CARDS")


def test_a_link_that_leads_nowhere_is_a_problem(tmp_path):
    pages = site_pages.Pages(tmp_path)
    assert pages.changed_links(ROOT / "README.md", "index", "[gone](gone.md)") == "gone"
    assert pages.problems == ["README.md: gone.md does not exist"]


def test_broken_links_of_html_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#x">1</a><a href="b.html#y">2</a><a href="c.html">3</a>')
    (tmp_path / "b.html").write_text('<p id="x"></p><img src="https://x.y/z.png"><a href="https://x.y">4</a>')
    assert site_links.problems(tmp_path) == [
        "a.html: b.html#y names no element",
        "a.html: c.html leads to no file",
        "b.html: loads https://x.y/z.png",
    ]


# ------------------------------------------------------------------------------------------------ charts


def test_a_chart_shows_every_value_of_a_run(tmp_path):
    (tmp_path / "results").mkdir()
    rows = [{"step": 10 * n, "tokens": n, "loss": 3 - n / 3} for n in range(5)]
    (tmp_path / "results" / "run.json").write_text(json.dumps({"title": "A <run>", "rows": rows}))
    (svg,) = [part for part in site_charts.charts(tmp_path) if part.startswith("<svg")]
    assert svg.count("L") == 4
    assert "A &lt;run&gt;" in svg
    assert ">loss</text>" in svg
    assert ">tokens</text>" not in svg


def test_ticks_are_round_numbers_within_the_limits():
    assert site_charts.ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert site_charts.ticks(1.42, 1.93) == [1.5, 1.6, 1.7, 1.8, 1.9]


# ------------------------------------------------------------------------------------------------ browser


def test_the_check_finds_what_a_page_does_wrong(tmp_path):
    if site_check.installed() is None:
        pytest.skip("no Chromium installed")
    (tmp_path / "index.html").write_text('<script>console.error("bad")</script><p style="width: 900px">wide</p>')
    hits = '<div id="search-results"><ul class="search"><li><a href="merge.html">loss</a></li></ul></div>'
    (tmp_path / "search.html").write_text(hits + '<img src="http://127.0.0.1:9/x.png">')
    command = [sys.executable, str(ROOT / "tools" / "site_check.py"), "--site", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "index.html: console: bad" in done.stderr
    assert "pixels wide on a phone" in done.stderr
    assert "search.html: request to http://127.0.0.1:9/x.png" in done.stderr
    assert json.loads(done.stdout)["faults"] >= 3
