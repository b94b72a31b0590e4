"""Tables as Markdown, LaTeX and CSV, with our numbers and the published ones."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from bregbench.foundations.files import write_text
from bregbench.tables.cells import Cell, FilledRow
from bregbench.tables.claims import judge_claim, published_difference
from bregbench.tables.grids import grids_of
from bregbench.tables.remarks import remarks_of, source_of
from bregbench.tables.spec import Table
from bregbench.tables.verdicts import LEAST_PAIRS, Verdict, mean_and_deviation

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
    """A table with our numbers, the published ones in brackets and verdicts, and remarks below."""
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
    lines += ["", *remarks_of(table, rows, verdicts=verdicts)]
    return "\n".join(lines) + "\n"


def _claims(table: Table, rows: list[FilledRow]) -> list[str]:
    lines = ["| claim of the paper | verdict | smallest difference | published |", "|---" * 4 + "|"]
    tested = False
    for claim in table.claims:
        found = judge_claim(claim, rows)
        printed = published_difference(claim, rows)
        shown = "" if printed is None else f"{printed:+.2f}"
        lines.append(f"| {claim.text} | {found.verdict} | {found.reason} | {shown} |")
        tested |= "sign-flip" in found.reason
    return [*lines, "", _SIGN_FLIP] if tested else lines


def to_latex(table: Table, rows: list[FilledRow]) -> str:
    """One `tabular` per grid with booktabs rules: our mean ± deviation, the published number in brackets."""
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
    """One line per cell, with the source of its numbers."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        for cell in row.cells.values():
            source = source_of(table, row, [cell.column])
            line: dict[str, Any] = {
                "row": row.label,
                "column": cell.column,
                "unit": cell.published.unit,
                "published": f"{cell.published.value:g}" if cell.published.given else "",
                "margin": f"{cell.published.margin:g}" if cell.published.given else "",
                "n": len(cell.values),
                "verdict": cell.judgement.verdict if verdicts else "",
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
        writer.writerow((*place, found.verdict, found.reason, shown))
    return text.getvalue()


def replace_section(text: str, name: str, body: str) -> str:
    """A document with a new text between the markers of a section; unchanged without markers."""
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
    """Decimals: as many as the paper prints, at least one; without a published number, two at most."""
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
        return f"{printed}{Verdict.NOT_RUN}"
    verdict = f"{cell.judgement.verdict} " if verdicts and printed else ""
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
