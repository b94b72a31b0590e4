"""What the browser knows of tables and figures: every cell and claim of what has been rendered."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bregbench.site.packing import Texts
from bregbench.tables.load import known_files, read_file
from bregbench.tables.scoreboard import PAPERS
from bregbench.tables.verdicts import Verdict

#: columns of a rendered table that are numbers; all others are texts
NUMBERS = ("published", "margin", "mean", "sd", "n")
#: columns of a cell in the browser, in their order
CELL = (
    *("row", "column", "unit", "verdict", "reason", "selection", "epochs", "seeds"),
    *("device", "commit", "record", "command", "source", "data", "method", *NUMBERS),
)
_CLAIM = ("claim", "column", "above", "below", "verdict", "reason", "published")
#: columns without which a file is no rendered table
_NEEDED = {"row", "column", "verdict", "mean", "n"}

_WIDE = {"row", "table", "seeds", "record"}

Line = dict[str, str]
Spec = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """One table or figure.

    Attributes:
        name: of its folder.
        title: its heading.
        paper: its paper, by the first word of its name; `bench` for tables of ours.
        cells: one line per cell.
        claims: one line per claim.
    """

    name: str
    title: str
    paper: str
    cells: list[Line]
    claims: list[Line]


def read_tables(results: Path) -> list[Rendered]:
    """Everything that has been rendered or that has published numbers, by name."""
    folders = {path.parent.name: path.parent for path in sorted(results.glob("*/*.*"))}
    published = {path.stem: path for path in sorted((results / "published").glob("*.csv"))}
    names = sorted({*folders, *published} - {"published", "records"})
    found = [_read(results, name, published.get(name)) for name in names]
    return [table for table in found if table.cells]


def _read(results: Path, name: str, published: Path | None) -> Rendered:
    folder = results / name
    printed = {(line["row"], line["column"]): line for line in _lines(published)}
    cells = _cells(_lines(folder / f"{name}.csv"))
    if not cells:
        cells = [_not_run(line, name) for line in printed.values()]
    lacking = not cells or not all(cell.get("record") for cell in cells)
    spec = _spec(name) if lacking or not (folder / f"{name}.md").is_file() else {}
    for cell in cells:
        cell["source"] = printed.get((cell["row"], cell["column"]), {}).get("source", "")
        if not cell.get("record"):
            cell |= _planned(spec, cell["row"], cell["column"])
    first = name.partition("_")[0]
    return Rendered(
        name=name,
        title=_title(folder / f"{name}.md", spec, name),
        paper=first if first in PAPERS else "bench",
        cells=cells,
        claims=_lines(folder / f"{name}.claims.csv"),
    )


def _spec(name: str) -> Spec:
    """What the file of a table says, unchecked; nothing where there is none."""
    return read_file(name) if name in known_files() else {}


def _lines(path: Path | None) -> list[Line]:
    if path is None or not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _cells(lines: list[Line]) -> list[Line]:
    """One line per cell: as they are, or of a wide table, whose metrics are columns `family/name`."""
    if not lines or lines[0].keys() >= _NEEDED:
        return lines
    if not lines[0].keys() >= _WIDE:
        return []
    return [
        _wide_cell(line, column)
        for line in lines
        for column in line
        if "/" in column and line[column]
    ]


def _wide_cell(line: Line, column: str) -> Line:
    words = (line["row"], line.get("part", ""), f"({line['table'].replace('_', ' ')})")
    return {
        "row": " ".join(filter(None, words)),
        "column": column,
        "unit": "1",
        "mean": line[column],
        "n": str(len(line["seeds"].split())),
        "verdict": str(Verdict.UNPUBLISHED),
        **{key: line[key] for key in ("seeds", "record")},
    }


def _not_run(line: Line, name: str) -> Line:
    """The cell of a published number that no table has rendered."""
    command = {"command": f"bregbench reproduce table={name}"}
    why = {"n": "0", "verdict": str(Verdict.NOT_RUN), "reason": "not rendered yet"}
    return {**line, "published": line["value"], **why, **command}


def _planned(spec: Spec, row: str, column: str) -> Line:
    """Data set and method that a cell without a run would have, as far as its overrides name them."""
    rows, parts = spec.get("rows") or {}, spec.get("parts") or {}
    point = f"{row}@{column.rpartition('@')[2]}"
    known = rows.get(point) or rows.get(row) or {}
    part = max((name for name in parts if column.startswith(f"{name} ")), key=len, default="")
    chosen: Line = {}
    for override in [
        *(spec.get("common") or []),
        *parts.get(part, []),
        *(known.get("overrides") or []),
    ]:
        key, _, value = str(override).partition("=")
        if key in ("dataset", "method"):
            chosen["data" if key == "dataset" else key] = value
    return chosen


def _title(page: Path, spec: Spec, name: str) -> str:
    if page.is_file():
        return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    return spec.get("title", name)


def pack_tables(
    tables: list[Rendered], runs: dict[str, Line], texts: Texts
) -> list[dict[str, Any]]:
    """One mapping per table, as the browser reads it.

    Args:
        tables: what has been rendered.
        runs: data set and method of every record.
        texts: takes the texts that repeat.
    """
    return [
        {
            "name": table.name,
            "title": table.title,
            "paper": table.paper,
            "cells": [
                _pack(cell | runs.get(cell.get("record", ""), {}), texts) for cell in table.cells
            ],
            "claims": [[claim.get(key) or "" for key in _CLAIM] for claim in table.claims],
        }
        for table in tables
    ]


def _pack(cell: Line, texts: Texts) -> list[Any]:
    return [
        _number(cell.get(key)) if key in NUMBERS else texts.place(cell.get(key) or "")
        for key in CELL
    ]


def _number(text: str | None) -> float | int | None:
    if not text:
        return None
    value = float(text)
    return int(value) if value.is_integer() else value
