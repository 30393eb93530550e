"""Formulas become HTML at build time: one call of KaTeX renders every formula, so that a page needs no script."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util import logging

Formula = tuple[str, bool]  # TeX, and whether it is displayed on a line of its own

RENDER = """
const katex = require(process.argv[1]);
const answers = JSON.parse(require("fs").readFileSync(0)).map(([tex, displayMode]) => {
  try { return {html: katex.renderToString(tex, {displayMode, output: "htmlAndMathml", strict: "error"})} }
  catch (error) { return {error: error.message} }
});
process.stdout.write(JSON.stringify(answers));
"""
logger = logging.getLogger(__name__)


def formula(node: nodes.math | nodes.math_block) -> Formula:
    """The TeX of a node; several lines that `\\\\` or `&` divide are aligned."""
    tex, display = node.astext().strip(), isinstance(node, nodes.math_block)
    if display and ("\\\\" in tex or "&" in tex) and "\\begin{" not in tex:
        tex = f"\\begin{{aligned}}{tex}\\end{{aligned}}"
    return tex, display


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Note the formulas of one page."""
    found = [(formula(n), n.line) for n in doctree.findall() if isinstance(n, (nodes.math, nodes.math_block))]
    formulas_of(app.env)[app.env.docname] = found


def formulas_of(env: BuildEnvironment) -> dict[str, list[tuple[Formula, int | None]]]:
    """The formulas of every page; they are kept with the environment, for the next build."""
    if not hasattr(env, "katex_formulas"):
        env.katex_formulas = {}  # type: ignore[attr-defined]
    return env.katex_formulas


def merge(app: Sphinx, env: BuildEnvironment, docnames: list[str], other: BuildEnvironment) -> None:
    """Take over what another process has read."""
    formulas_of(env).update({name: found for name, found in formulas_of(other).items() if name in docnames})


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Drop the formulas of a page that is read again."""
    formulas_of(env).pop(docname, None)


def render(app: Sphinx, env: BuildEnvironment) -> None:
    """Render every formula; one that KaTeX cannot read is a warning, at its line."""
    wanted = sorted({found for page in formulas_of(env).values() for found, _ in page})
    command = ["node", "-e", RENDER, str(Path(app.config.katex_js).resolve())]
    try:
        done = subprocess.run(command, input=json.dumps(wanted), capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise ExtensionError(
            "KaTeX needs Node.js (`node`). Install it, for example with apt-get install nodejs npm"
        ) from error
    except subprocess.CalledProcessError as error:
        raise ExtensionError(f"KaTeX failed: {error.stderr}") from error
    answers = dict(zip(wanted, json.loads(done.stdout), strict=True))
    for docname, found in formulas_of(env).items():
        for (tex, display), line in found:
            if problem := answers[tex, display].get("error"):
                logger.warning("%s: %s", problem, tex, location=(docname, line))
    app.katex_html = {key: a.get("html", "") for key, a in answers.items()}  # type: ignore[attr-defined]


def visit_math(translator: Any, node: nodes.math) -> None:
    """Write an inline formula."""
    translator.body.append(translator.builder.app.katex_html[formula(node)])
    raise nodes.SkipNode


def visit_math_block(translator: Any, node: nodes.math_block) -> None:
    """Write a displayed formula."""
    html = translator.builder.app.katex_html[formula(node)]
    translator.body.append(translator.starttag(node, "div", CLASS="math-display") + html + "</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_config_value("katex_js", "", "env")
    app.add_html_math_renderer("katex", (visit_math, None), (visit_math_block, None))
    app.connect("doctree-read", collect)
    app.connect("env-merge-info", merge)
    app.connect("env-purge-doc", forget)
    app.connect("env-updated", render)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "env_version": 1}
