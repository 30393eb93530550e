"""Sphinx settings. `tools/site_build.py` writes the pages that Sphinx reads, and starts it; see docs/site/README.md."""

import os
import sys
import tomllib
from pathlib import Path

ROOT = Path(os.environ["DLPAPERS_SITE_ROOT"])
ASSETS = Path(os.environ["DLPAPERS_SITE_ASSETS"])
sys.path[:0] = [str(ROOT / "docs" / "site" / "extensions"), str(ROOT / "tools")]

import site_source
import site_tree

project = "dlpapers"
author = copyright = "the dlpapers authors"
html_title = "dlpapers"
root_doc = "index"
exclude_patterns = ["**/*.txt"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "katex",
    "source_code",
]
suppress_warnings = ["config.cache"]

# notebooks are executed and asserted by `nox -s notebooks`; the site shows the outputs that are stored in them
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "html_image", "deflist"]
myst_fence_as_directive = ["mermaid"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_class_signature = "mixed"
autodoc_type_aliases = {name: name for package in site_tree.packages(ROOT) for name in package.aliases}
equations = {name: tex for package in site_tree.packages(ROOT) for name, tex in site_source.equations(package).items()}
public_names = {
    f"{package.source.name}.{name}": f"{module.name}.{name}"
    for package in site_tree.packages(ROOT)
    for name, module, _ in site_source.public_names(package)
}
add_module_names = False
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
napoleon_use_rtype = False
napoleon_use_ivar = True
default_role = "py:obj"
viewcode_line_numbers = True
viewcode_follow_imported_members = False
toc_object_entries_show_parents = "hide"

katex_js = str(ASSETS / "katex" / "katex.min.js")
html_math_renderer = "katex"

html_theme = "furo"
html_static_path = [str(ROOT / "docs" / "site" / "static"), str(ASSETS / "served")]
html_css_files = ["katex/katex.min.css", "site.css"]
html_show_sphinx = False
html_show_sourcelink = False
html_copy_source = False
html_show_search_summary = False  # a browser does not let a page read another from file://
html_use_index = True
html_domain_indices = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
copybutton_exclude = ".linenos, .gp, .go"
html_theme_options = {
    "navigation_with_keys": True,
    "top_of_page_buttons": [],
    "light_css_variables": {
        "color-brand-primary": "#0a4b78",
        "color-brand-content": "#0b5cad",
        "color-code-background": "#f5f7f9",
        "font-stack": "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif",
        "font-stack--monospace": "ui-monospace, 'SFMono-Regular', Menlo, Consolas, 'DejaVu Sans Mono', monospace",
    },
    "dark_css_variables": {"color-brand-primary": "#8ec7ff", "color-brand-content": "#7ab8ff"},
}
version = release = tomllib.loads((ROOT / "shared" / "pyproject.toml").read_text("utf-8"))["project"]["version"]
