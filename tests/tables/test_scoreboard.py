"""The scoreboard counts what the rendered tables say."""

from __future__ import annotations

from pathlib import Path

from bregbench.tables.scoreboard import SECTION, scores, to_markdown
from tests.places import ROOT

RENDERED = """row,column,published,n,verdict
a,x,1,1,PASS
a,y,1,3,FAIL
b,x,1,3,BY CONSTRUCTION
b,y,1,0,NOT RUN
b,extra,,3,-
"""
CLAIMS = """claim,column,above,below,verdict,reason
a lies above b,x,a,b,PASS,
not in the paper: b above c,x,b,c,FAIL,
"""


def make(folder: Path) -> Path:
    (folder / "published").mkdir()
    for name in ("clip_table1", "clip_table9", "other"):
        (folder / "published" / f"{name}.csv").write_text("row,column\na,x\na,y\n")
    (folder / "clip_table1").mkdir()
    (folder / "clip_table1" / "clip_table1.csv").write_text(RENDERED)
    (folder / "clip_table1" / "clip_table1.claims.csv").write_text(CLAIMS)
    return folder


def test_published_numbers_are_counted_by_verdict_and_seeds(tmp_path):
    found = scores(make(tmp_path))
    assert set(found) == {"clip_table1", "clip_table9"}
    one = found["clip_table1"]
    assert one.cells == {"PASS": 1, "FAIL": 1, "BY CONSTRUCTION": 1, "NOT RUN": 1}
    assert one.seeds == {1: 1, 3: 2}
    assert one.claims == {"PASS": 1}  # claims of ours are no claims of the paper


def test_table_that_was_never_rendered_counts_as_not_run(tmp_path):
    assert scores(make(tmp_path))["clip_table9"].cells == {"NOT RUN": 2}


def test_papers_add_up_their_tables(tmp_path):
    text = to_markdown(make(tmp_path))
    assert "| CLIP | 1 | 0 | 0 | 0 | 1 | 1 | 3 | 1 (1), 3 (2) | 1 | 0 | 0 | 0 |" in text
    assert "| clip_table9 | 0 | 0 | 0 | 0 | 0 | 0 | 2 |  | 0 | 0 | 0 | 0 |" in text


def test_committed_scoreboard_is_that_of_the_committed_tables():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    body = page.partition(f"<!-- {SECTION} -->\n")[2].partition(f"\n<!-- end {SECTION} -->")[0]
    assert body == to_markdown(ROOT / "results")
