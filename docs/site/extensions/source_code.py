"""Docstrings for autodoc, names that mean the nearest object, Mermaid diagrams, a short sidebar."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from site_docstrings import to_rst
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.util.docutils import SphinxDirective


class Python(PythonDomain):
    """The Python domain, where a short name means the object of the package that the text is in."""

    def find_obj(self, env: Any, modname: Any, classname: Any, name: str, type: Any, searchmode: int = 0) -> Any:
        """The objects of this name; of several, those of the same module, or of the same package."""
        found = super().find_obj(env, modname, classname, name, type, searchmode)
        if not found:  # a public name of a package is documented in the module that defines it
            aliases, package = env.config.public_names, (modname or "").partition(".")[0]
            if full := aliases.get(name) or aliases.get(f"{package}.{name}"):
                found = super().find_obj(env, None, None, full, type, searchmode)
        if len(found) > 1:
            package = (modname or "").partition(".")[0] + "."
            for near in (f"{modname}.", package):
                if same := [match for match in found if match[0].startswith(near)]:
                    return same[:1]
            return []
        return found


class Mermaid(SphinxDirective):
    """A Mermaid diagram: the page holds its text, and a script of the site draws it."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The text, as Mermaid expects it."""
        text = nodes.Text("\n".join(self.content)).astext()
        escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        return [nodes.raw("", f'<pre class="mermaid">{escaped}</pre>', format="html")]


def add_scripts(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Load Mermaid on the pages that have a diagram, and on no other."""
    if doctree is not None and any('class="mermaid"' in raw.astext() for raw in doctree.findall(nodes.raw)):
        for script in ("mermaid/mermaid.tiny.js", "diagrams.js"):
            app.add_js_file(script, loading_method="defer")


def shorten_sidebar(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Let the sidebar hold the branch of this page only: the whole tree on every page would double the build time."""
    if toctree := context.get("toctree"):
        context["toctree"] = lambda **options: toctree(**{**options, "collapse": True})


def convert(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Give autodoc a docstring as reStructuredText."""
    # the empty comment keeps napoleon from reading `Name: text` in the docstring of an attribute as a type
    lines[:] = ["..", "", *to_rst(lines)] if what in ("attribute", "data", "property") else to_rst(lines)
    if tex := app.config.equations.get(name):
        end = lines.index("") if "" in lines else len(lines)
        lines[end:end] = ["", ".. math::", "", *("   " + line for line in tex.strip().splitlines()), ""]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx. Docstrings are converted before napoleon reads their sections."""
    app.add_config_value("equations", {}, "env")
    app.add_config_value("public_names", {}, "env")
    app.add_domain(Python, override=True)
    app.add_directive("mermaid", Mermaid)
    app.connect("autodoc-process-docstring", convert, priority=400)
    app.connect("html-page-context", add_scripts)
    app.connect("html-page-context", shorten_sidebar, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
