"""The result as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bregbench.benchmark.rows import Row
from bregbench.foundations.files import write_json, write_text
from bregbench.foundations.provenance import commit, device_name

JSON_NAME, MARKDOWN_NAME = "optimizer_steps.json", "optimizer_steps.md"

PREAMBLE = """# Cost of an optimiser step

Measured on {cpu}, {threads} thread, torch {torch}, {date}, commit {commit}; {rounds} rounds in which all
sides take turns, process CPU time, medians of per-round ratios, random gradients. S is torch's fused SGD with
momentum, A its fused Adam, on the same parameters. Milliseconds are for orientation: they drift with the load
of the machine, ratios do not.

Regenerate with `make benchmark`.
"""


def environment(rounds: int) -> dict[str, Any]:
    """Where and how the numbers were measured; nothing that names a path or a person."""
    return {
        "torch": torch.__version__,
        "cpu": device_name(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit() or "unknown",
        "rounds": rounds,
    }


def write_report(rows: Sequence[Row], setting: dict[str, Any], folder: Path) -> None:
    """Write both files into the folder."""
    record = {"environment": setting, "rows": [row.as_dict() for row in rows]}
    write_json(folder / JSON_NAME, record)
    write_text(folder / MARKDOWN_NAME, render(rows, setting))


def render(rows: Sequence[Row], setting: dict[str, Any]) -> str:
    """Markdown: one table per section, in the order of the rows."""
    parts = [PREAMBLE.format(**setting)]
    for section in dict.fromkeys(row.section for row in rows):
        lines = ["| measured | ms | value | goal | verdict |", "|---|---:|---:|---:|---|"]
        lines += [render_row(row) for row in rows if row.section == section]
        parts.append(f"## {section}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def render_row(row: Row) -> str:
    """One line of the table."""
    milliseconds = "" if row.milliseconds is None else f"{row.milliseconds:.3g}"
    goal = "" if row.goal is None else f"{'=' if row.exact else '<='} {row.goal:g}"
    return f"| {row.what} | {milliseconds} | {row.value:.2f} {row.unit} | {goal} | {row.verdict} |"
