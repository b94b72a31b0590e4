"""Sphinx: the Markdown of this folder and the docstrings of all packages as one site (`make docs`)."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

project = "bregbench"
author = "The bregbench authors"
project_copyright = author
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "bregbench"
html_static_path: list[str] = []
templates_path: list[str] = []
exclude_patterns = ["build", "pictures"]
nitpicky = False
# Docstrings write code between single backticks.
default_role = "code"

myst_enable_extensions = ["colon_fence", "deflist"]
# The anchors of GitHub, so that links work here and there.
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_ivar = True
napoleon_use_rtype = False

#: a link to a Markdown file, without an anchor
_LINK = re.compile(r"(?<!!)\[([^\]`]+)\]\(([^)#:]+\.md)\)")
#: signs that docstrings mean as they are, and reStructuredText as markup
_MARKUP = re.compile(r"(?<![\\`*])([*|])(?![`])|(?<=\w)(_)(?![\w`])")


def escape_markup(
    app: object, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Keep products, absolute values and trailing underscores of docstrings as they are."""
    for k, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        parts = re.split(r"(`[^`]*`)", line)
        parts[::2] = [_MARKUP.sub(lambda m: "\\" + m[0], part) for part in parts[::2]]
        lines[k] = "".join(parts)


def redirect_links(app: object, docname: str, source: list[str]) -> None:
    """Let Markdown outside of this folder be downloaded; GitHub shows the same links as pages."""
    here = (DOCS / docname).parent

    def redirected(match: re.Match[str]) -> str:
        text, target = match.groups()
        path = (here / target).resolve()
        if path.is_relative_to(DOCS) or not path.is_file():
            return match[0]
        return f"{{download}}`{text} <{target}>`"

    source[0] = _LINK.sub(redirected, source[0])


def setup(app: Any) -> None:
    """Connect the hooks, that of docstrings before napoleon's, which makes markup of its own."""
    app.connect("source-read", redirect_links)
    app.connect("autodoc-process-docstring", escape_markup, priority=100)
