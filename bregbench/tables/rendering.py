"""Tables as Markdown, LaTeX and a long CSV; all three say what is ours and what is published."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path
from typing import Any

from bregbench.foundations.files import write_text
from bregbench.tables.cells import Cell, FilledRow
from bregbench.tables.claims import judge_claim, published_difference
from bregbench.tables.grids import grids_of
from bregbench.tables.precisions import asks_auto, precisions_of
from bregbench.tables.spec import Table
from bregbench.tables.verdicts import LEAST_PAIRS, Verdict, mean_and_deviation, side

CSV_COLUMNS = (
    *("row", "column", "unit", "published", "margin", "mean", "sd", "n", "verdict", "reason"),
    *("selection", "epochs", "seeds", "device", "commit", "record", "command"),
)

_SIGN_FLIP = (
    "The verdict on a claim follows the 95 % t-interval of the paired differences. The p-value is that "
    f"of the exact sign-flip test, which cannot fall below 0.05 with fewer than {LEAST_PAIRS} seeds."
)


def write_table(table: Table, rows: list[FilledRow], folder: Path, *, verdicts: bool) -> list[Path]:
    """Write `<name>.md`, `.tex` and `.csv`, and `.claims.csv` where the paper claims orderings.

    Args:
        table: what the rows and columns are.
        rows: the filled rows.
        folder: where to put the files.
        verdicts: False for reduced runs, which are never compared.
    """
    texts = {
        "md": to_markdown(table, rows, verdicts=verdicts),
        "tex": to_latex(table, rows),
        "csv": to_csv(table, rows, verdicts=verdicts),
    }
    if verdicts and table.claims:
        texts["claims.csv"] = claims_to_csv(table, rows)
    paths = [folder / f"{table.name}.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    return paths


def to_markdown(table: Table, rows: list[FilledRow], *, verdicts: bool) -> str:
    """A table with ours, the published number in brackets and the verdict, and the commands below."""
    numbers = "Ours" if table.ours else "Ours (published)"
    lines = [f"# {table.title}", "", f"{numbers}, epoch: {table.selection}."]
    if not verdicts:
        lines[-1] += " Reduced runs, not comparable with the published numbers."
    for grid in grids_of(table, rows):
        lines += ["", f"**{grid.title}**"] if grid.title else []
        lines += ["", f"| {grid.corner} | " + " | ".join(grid.heads) + " |"]
        lines.append("|---" * (len(grid.heads) + 1) + "|")
        for label, line in grid.lines:
            cells = [_markdown_cell(cell, verdicts=verdicts) for cell in line]
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    if verdicts and table.claims:
        lines += ["", *_claims(table, rows)]
    lines += ["", *_remarks(table, rows, verdicts=verdicts)]
    return "\n".join(lines) + "\n"


def _claims(table: Table, rows: list[FilledRow]) -> list[str]:
    lines = ["| claim of the paper | verdict | smallest difference | published |", "|---" * 4 + "|"]
    tested = False
    for claim in table.claims:
        found = judge_claim(claim, rows)
        printed = published_difference(claim, rows)
        shown = "" if printed is None else f"{printed:+.2f}"
        lines.append(f"| {claim.text} | {found.verdict.value} | {found.reason} | {shown} |")
        tested |= "sign-flip" in found.reason
    return [*lines, "", _SIGN_FLIP] if tested else lines


def to_latex(table: Table, rows: list[FilledRow]) -> str:
    """A `tabular` a grid with booktabs rules: ours with deviation, the published number in brackets."""
    lines = [f"% {table.title}; {'ours' if table.ours else 'ours (published)'}"]
    for grid in grids_of(table, rows):
        head = " & ".join(_escape(name) for name in grid.heads)
        lines += [f"% {grid.title}"] if grid.title else []
        lines += [r"\begin{tabular}{l" + "r" * len(grid.heads) + "}", r"\toprule"]
        lines += [f"& {head} \\\\", r"\midrule"]
        for label, line in grid.lines:
            cells = " & ".join(_latex_cell(cell) for cell in line)
            lines.append(f"{_escape(label)} & {cells} \\\\")
        lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def to_csv(table: Table, rows: list[FilledRow], *, verdicts: bool) -> str:
    """One line per cell, with where its numbers come from."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        for cell in row.cells.values():
            source = _source(table, row, [cell.column])
            line: dict[str, Any] = {
                "row": row.label,
                "column": cell.column,
                "unit": cell.published.unit,
                "published": f"{cell.published.value:g}" if cell.published.given else "",
                "margin": f"{cell.published.margin:g}" if cell.published.given else "",
                "n": len(cell.values),
                "verdict": cell.judgement.verdict.value if verdicts else "",
                "reason": cell.judgement.reason if verdicts else "reduced run",
            }
            if cell.values:
                mean, deviation = mean_and_deviation(cell.values)
                line["mean"] = f"{mean:.6g}"
                line["sd"] = "" if deviation is None else f"{deviation:.6g}"
            writer.writerow(line | source)
    return text.getvalue()


def claims_to_csv(table: Table, rows: list[FilledRow]) -> str:
    """One line per claim."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("claim", "column", "above", "below", "verdict", "reason", "published"))
    for claim in table.claims:
        found = judge_claim(claim, rows)
        printed = published_difference(claim, rows)
        place = (claim.text, claim.column, claim.above, "; ".join(claim.below))
        shown = "" if printed is None else f"{printed:+.4g}"
        writer.writerow((*place, found.verdict.value, found.reason, shown))
    return text.getvalue()


def command(table: Table, row: str, part: str = "") -> str:
    """What regenerates a row, or one part of it."""
    selected = table.command or f"table={table.name}"
    quoted = [shlex.quote(f'rows=["{row}"]')]
    if part in table.details:
        quoted.append(shlex.quote(f'parts=["{part}"]'))
    return " ".join(["bregbench-reproduce", selected, *quoted])


def replace_section(text: str, name: str, body: str) -> str:
    """A document with the part between its markers for a table replaced; unchanged without markers."""
    begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
    if begin not in text or end not in text:
        return text
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{body.strip()}\n{end}{after}"


def _ours(cell: Cell) -> str:
    mean, deviation = mean_and_deviation(cell.values)
    digits = _digits(cell, mean)
    spread = "" if deviation is None else f" ± {deviation:.{digits}f}"
    return f"{mean:.{digits}f}{spread}"


def _digits(cell: Cell, mean: float) -> int:
    """As many decimals as the paper prints, and one at least; where nothing is printed, what is legible."""
    if cell.published.given:
        return max(1, len(f"{cell.published.value:.10g}".partition(".")[2]))
    counts = cell.published.unit == "1" and all(value.is_integer() for value in cell.values)
    if counts:
        return 0 if len(cell.values) == 1 else 1
    return 2 if abs(mean) < 100 else 0


def _markdown_cell(cell: Cell | None, *, verdicts: bool) -> str:
    if cell is None:
        return ""
    printed = f"({cell.published.value:.10g}) " if cell.published.given else ""
    if not cell.values:
        return f"{printed}{Verdict.NOT_RUN.value}"
    verdict = f"{cell.judgement.verdict.value} " if verdicts and printed else ""
    single = "(n=1)" if len(cell.values) == 1 else ""
    return f"{_ours(cell)} {printed}{verdict}{single}".strip()


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return ""
    printed = f" ({cell.published.value:.10g})" if cell.published.given else ""
    ours = _ours(cell).replace("±", r"$\pm$") if cell.values else "--"
    return f"{ours}{printed}"


def _escape(text: str) -> str:
    for sign in ("_", "%", "&", "#"):
        text = text.replace(sign, f"\\{sign}")
    return text


def _remarks(table: Table, rows: list[FilledRow], *, verdicts: bool) -> list[str]:
    lines = [f"- {remark}" for remark in table.remarks]
    if verdicts:
        lines += _moved(table, rows)
        lines += _reasons(table, rows)
    for row in rows:
        for part in table.used_parts():
            columns = [column for column in row.cells if table.part(column) == part]
            if not any(row.runs_of(column) for column in columns):
                continue
            source = _source(table, row, columns)
            name = f"{row.label}, {part}" if part else row.label
            lines.append(
                f"- {name}: seeds {source['seeds']}, {source['epochs']} epochs, "
                f"{source['device']}, commit {source['commit']}{_precisions(table, row, columns)}; "
                f"`{source['command']}`"
            )
    if any(not row.runs_of(column) for row in rows for column in row.cells):
        selected = table.command or f"table={table.name}"
        lines.append(f"- What was not run is trained by `bregbench-reproduce {selected}`")
    return lines


def _moved(table: Table, rows: list[FilledRow]) -> list[str]:
    """One line for each row whose columns have moved along a trade-off: that is one fact, not several."""
    lines: list[str] = []
    for row in rows:
        traded = {
            name: side(cell.values, cell.published)
            for name, cell in row.cells.items()
            if (known := table.column(name)) is not None and known.against
        }
        above = [table.header(name) for name, moved in traded.items() if moved > 0]
        below = [table.header(name) for name, moved in traded.items() if moved < 0]
        if above and below:
            lines.append(
                f"- {row.label} lies elsewhere on a trade-off: {', '.join(above)} above, "
                f"{', '.join(below)} below the published numbers"
            )
    return lines


def _reasons(table: Table, rows: list[FilledRow]) -> list[str]:
    """Why cells have their verdicts; cells with the same reason stand in one line."""
    reasons: dict[tuple[str, str], list[Cell]] = {}
    wide = 0
    for row in rows:
        for cell in row.cells.values():
            wide += cell.judgement.wide
            if cell.judgement.reason and not cell.judgement.wide:
                key = (cell.judgement.verdict.value, cell.judgement.reason)
                reasons.setdefault(key, []).append(cell)
    lines = [
        f"- {verdict}, {reason}: {_named(cells, rows)}"
        for (verdict, reason), cells in reasons.items()
    ]
    if wide:
        lines.append(
            f"- {Verdict.INCONCLUSIVE.value}, the 95 % interval of the mean reaches into the "
            f"margin and beyond it: {wide} cells; the intervals are in {table.name}.csv"
        )
    return lines


def _precisions(table: Table, row: FilledRow, columns: list[str]) -> str:
    """What the runs were computed in, of rows that leave that to the machine."""
    runs = {run.path: run for column in columns for run in row.runs_of(column).values()}
    part = table.part(columns[0])
    auto = any(asks_auto(table, label, part=part) for label in table.points_of(row.label))
    return f", {precisions_of(list(runs.values()))}" if auto else ""


def _named(cells: list[Cell], rows: list[FilledRow]) -> str:
    """Names of cells; a column or a row whose cells are all meant is named once."""
    meant = {(cell.row, cell.column) for cell in cells}
    having: dict[str, list[str]] = {}
    for row in rows:
        for column in row.cells:
            having.setdefault(column, []).append(row.label)
    whole = {
        column
        for column, labels in having.items()
        if len(labels) > 1 and all((label, column) in meant for label in labels)
    }
    if len(whole) == len(having):
        return "everything"
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        others = [column for column in row.cells if column not in whole]
        columns = [column for column in others if (row.label, column) in meant]
        if columns:
            some = tuple(columns) if len(columns) < len(others) else ()
            groups.setdefault(some, []).append(row.label)
    names = [f"all of {column}" for column in having if column in whole]
    for some, labels in groups.items():
        each = "each " if len(labels) > 1 else ""
        names.append(", ".join(labels) + (f" ({each}{', '.join(some)})" if some else ""))
    return "; ".join(names)


def _source(table: Table, row: FilledRow, columns: list[str]) -> dict[str, Any]:
    """Where the numbers of some of a row's cells come from, joined over their runs."""
    runs = {run.path: run for column in columns for run in row.runs_of(column).values()}
    label = table.row_of(row.label, columns[0]) if len(columns) == 1 else row.label
    (part,) = {table.part(column) for column in columns}
    if not runs:
        return {"selection": table.selection, "command": command(table, label, part)}
    summaries = [run.read_summary() for run in runs.values()]

    def joined(key: str) -> str:
        return " ".join(sorted({str(summary[key]) for summary in summaries}))

    return {
        "selection": table.selection,
        "epochs": joined("epochs"),
        "seeds": " ".join(str(seed) for seed in sorted({summary["seed"] for summary in summaries})),
        "device": joined("device_name"),
        "commit": joined("commit"),
        "record": f"{table.experiment or table.name}/{next(iter(runs.values())).name}",
        "command": command(table, label, part),
    }
