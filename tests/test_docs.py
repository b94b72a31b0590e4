"""Code that a page shows runs as it is printed, and links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bregbench.schema.groups import GROUPS
from tests.places import ROOT

DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("*.md"))]
BLOCKS = [
    pytest.param(block, said, id=f"{path.stem}-{number}")
    for path, said in (
        (DOCS / "rivals.md", "0.weight  64x20"),
        (DOCS / "start.md", ""),
        (ROOT / "README.md", ""),
    )
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL))
]
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and MyST give to the headings of a page."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("block", "said"), BLOCKS)
def test_blocks_run(block, said, capsys):
    exec(compile(block, "block", "exec"), {})
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name}: {link}"
        assert not anchor or path.suffix != ".md" or anchor in anchors(path), link


def test_every_section_of_the_results_is_in_their_contents():
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    headings = re.findall(r"^###? (.*)$", page, re.MULTILINE)
    listed = re.findall(r"^ *- \[(.*)\]\(#", page, re.MULTILINE)
    assert ["Contents", *listed] == headings


def test_every_page_is_in_the_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^[\w/-]+$", index, re.MULTILINE))
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")}
    assert {page for page in pages if not page.startswith("api/")} - {"index"} <= listed
    assert listed <= pages


def test_every_rival_is_on_its_page():
    page = (DOCS / "rivals.md").read_text()
    for kind in GROUPS["method"]:
        if kind.__module__.startswith("bregbench.papers.rivals"):
            assert f"`{kind.kind}`" in page
