"""Rendering a table or figure from records: its own files, and its section in README and docs."""

from __future__ import annotations

from pathlib import Path

from bregbench.figures.base import Figure
from bregbench.foundations.console import say
from bregbench.foundations.files import write_text
from bregbench.runs.workplace import Workplace
from bregbench.tables import scoreboard
from bregbench.tables.cells import fill
from bregbench.tables.published import read_published
from bregbench.tables.rendering import replace_section, to_markdown, write_table
from bregbench.tables.spec import Table


def render(table: Table, place: Workplace, *, reduced_from: str = "") -> None:
    """Write the files of a table or figure, and its section wherever a page has the markers.

    Args:
        table: what the rows and columns are.
        place: where published numbers and records lie; tables are written to its results.
        reduced_from: for a shortened table, the name of the full table: the files go to
            `results/reduced`, without verdicts, and no page changes. Empty for a full table.
    """
    published = {}
    if not table.ours:
        name = reduced_from or table.name
        published = read_published(place.published / f"{name}.csv")
    results = place.results
    folder = results / "reduced" / reduced_from if reduced_from else results / table.name
    if isinstance(table, Figure):
        rows, paths = table.render(published, place, folder=folder, verdicts=not reduced_from)
    else:
        rows = fill(table, published, place)
        paths = write_table(table, rows, folder, verdicts=not reduced_from)
    say(f"rendered: {', '.join(str(path) for path in paths)}")
    if rows and not reduced_from:
        body = to_markdown(table, rows, verdicts=True).partition("\n")[2]
        more = table.sections(rows) if isinstance(table, Figure) else {}
        sections = {**more, table.name: body, scoreboard.SECTION: scoreboard.to_markdown(results)}
        _update_pages(results.parent, sections)


def _update_pages(root: Path, sections: dict[str, str]) -> None:
    """Put sections between their markers in README.md and docs/."""
    for page in (root / "README.md", *sorted((root / "docs").rglob("*.md"))):
        text = page.read_text(encoding="utf-8") if page.is_file() else ""
        new = text
        for name, section in sections.items():
            new = replace_section(new, name, section)
        if new != text:
            write_text(page, new)
