"""Code that a page shows runs as it is printed."""

from __future__ import annotations

import re

import pytest

from bregbench.schema.groups import GROUPS
from tests.places import ROOT

DOCS = ROOT / "docs"
BLOCKS = [
    pytest.param(block, id=f"{path.stem}-{number}")
    for path in [DOCS / "rivals.md"]
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_run(block, capsys):
    exec(compile(block, "block", "exec"), {})
    assert "0.weight  64x20" in capsys.readouterr().out


def test_every_rival_is_on_its_page():
    page = (DOCS / "rivals.md").read_text()
    for kind in GROUPS["method"]:
        if kind.__module__.startswith("bregbench.papers.rivals"):
            assert f"`{kind.kind}`" in page
