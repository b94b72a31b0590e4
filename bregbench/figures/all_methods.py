"""All methods in one figure: accuracy, density and Lipschitz bounds of the rows of several tables."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from bregbench.figures.axes import label_beside, show_bulk_of_points
from bregbench.figures.base import Figure, Printed
from bregbench.figures.labels import proper_name
from bregbench.figures.plotting import figure_to, logarithmic
from bregbench.foundations.console import say
from bregbench.foundations.files import write_text
from bregbench.runs.load import read_config
from bregbench.runs.workplace import Workplace
from bregbench.tables.cells import FilledRow, finished_runs, metric_of
from bregbench.tables.load import load_rows

#: what every point needs
METRICS = ("test/accuracy", "density/total", "lipschitz/lower", "lipschitz/upper")
CSV_COLUMNS = ("data", "table", "row", "part", "seeds", *METRICS, "record")


@dataclass
class Methods(Figure):
    """Rows of other tables by accuracy, density and Lipschitz bounds.

    Attributes:
        sources: the tables whose rows are shown, and which of them; empty for all.
    """

    kind: ClassVar[str] = "methods"
    sources: dict[str, list[str]] = field(default_factory=dict)

    def render(
        self,
        published: Printed,
        place: Workplace,
        *,
        folder: Path,
        verdicts: bool,
    ) -> tuple[list[FilledRow], list[Path]]:
        """Gather the rows from their own tables, write the list of them and draw."""
        return [], render_methods(self, gather(self, place), folder)


@dataclass(frozen=True)
class Point:
    """A row of a table: means over the seeds whose records have all of `METRICS`, as fractions."""

    data: str
    table: str
    row: str
    part: str
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    record: str

    @property
    def label(self) -> str:
        """What stands beside the number of the point."""
        paper, _, number = self.table.partition("_")
        part = f", {self.part}" if self.part else ""
        return f"{self.row}{part} ({paper} {number})"


@dataclass(frozen=True)
class Gathered:
    """Points, and why other rows are none, by reason."""

    points: list[Point]
    left_out: dict[str, list[str]]


def gather(figure: Methods, place: Workplace) -> Gathered:
    """The points of a figure from the records of the tables that it names.

    Args:
        figure: whose sources are read.
        place: where records and finished runs are looked for.
    """
    points: list[Point] = []
    left_out: dict[str, list[str]] = {}
    seen: set[Path] = set()
    for source, wanted in figure.sources.items():
        table = load_rows(source)
        for label in wanted or table.rows:
            for part in table.used_parts():
                name = f"{source}: {label}" + (f", {part}" if part else "")
                if table.not_run(label, part):
                    continue
                runs = finished_runs(table, label, place, part=part)
                found: dict[int, tuple[float, ...]] = {}
                for seed, run in runs.items():
                    read = [
                        metric_of(
                            run,
                            metric,
                            variant=table.rows[label].variant,
                            selection=table.selection,
                        )
                        for metric in METRICS
                    ]
                    values = [value for value in read if value is not None]
                    if len(values) == len(METRICS):
                        found[seed] = tuple(values)
                if not found:
                    why = "bounds were not measured" if runs else "no record"
                    left_out.setdefault(why, []).append(name)
                    continue
                first = runs[next(iter(found))]
                if first.path in seen:  # the same run stands in two tables
                    continue
                seen.add(first.path)
                means = tuple(
                    math.fsum(column) / len(found) for column in zip(*found.values(), strict=True)
                )
                data = read_config(first).data.kind
                record = f"{table.experiment or table.name}/{first.name}"
                points.append(Point(data, source, label, part, tuple(found), means, record))
    points.sort(key=lambda point: point.data)  # stable: tables and rows stay in their order
    return Gathered(points, left_out)


def render_methods(figure: Methods, gathered: Gathered, folder: Path) -> list[Path]:
    """Write `<name>.csv`, `.md`, `.png` and `.pdf`; pictures only where there is a point."""
    for reason, rows in gathered.left_out.items():
        say(f"note: {figure.name} leaves out {len(rows)} rows ({reason})")
    texts = {"csv": to_csv(gathered.points), "md": to_markdown(figure, gathered)}
    paths = [folder / f"{figure.name}.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    if gathered.points:
        pictures = [folder / f"{figure.name}.{ending}" for ending in ("png", "pdf")]
        for path in pictures:
            draw_methods(gathered.points, output=path)
        paths += pictures
    return paths


def to_csv(points: Sequence[Point]) -> str:
    """One line per point."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for point in points:
        seeds = " ".join(str(seed) for seed in point.seeds)
        numbers = [f"{value:.6g}" for value in point.values]
        writer.writerow(
            (point.data, point.table, point.row, point.part, seeds, *numbers, point.record)
        )
    return text.getvalue()


def to_markdown(figure: Methods, gathered: Gathered) -> str:
    """The points by the numbers that they have in the picture, and what was left out."""
    head = "| no. | data | row | Test [%] | N_total [%] | Lip lower | Lip upper | seeds |"
    lines = [f"# {figure.title}", "", head, "|---" * 8 + "|"]
    for number, point in enumerate(gathered.points, start=1):
        accuracy, density, lower, upper = point.values
        seeds = " ".join(str(seed) for seed in point.seeds)
        lines.append(
            f"| {number} | {point.data} | {point.label} | {100 * accuracy:.1f} | "
            f"{100 * density:.1f} | {lower:.3g} | {upper:.3g} | {seeds} |"
        )
    lines += ["", *(f"- {remark}" for remark in figure.remarks)]
    for reason, rows in gathered.left_out.items():
        lines.append(f"- Left out, {reason}: {'; '.join(rows)}")
    return "\n".join(lines) + "\n"


#: the horizontal axes: position in `METRICS`, factor, name
AXES = ((1, 100.0, "density [%]"), (3, 1.0, "Lipschitz constant, upper bound"))


def draw_methods(points: Sequence[Point], *, output: Path) -> None:
    """Two panels for each data set: accuracy over density, and over the upper Lipschitz bound.

    The points that no other one beats in both metrics of a panel (the Pareto front) are joined and
    named; the others are grey.

    Args:
        points: sorted by data set; at least one.
        output: image file.
    """
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(point.data, []).append(point)
    with figure_to(output, width=11, height=3.9 * len(groups)) as figure:
        grid = figure.subplots(len(groups), len(AXES), squeeze=False)
        for row, (data, inside) in zip(grid, groups.items(), strict=True):
            for axes, (metric, factor, name) in zip(row, AXES, strict=True):
                costs = [factor * point.values[metric] for point in inside]
                accuracies = [100 * point.values[0] for point in inside]
                front = pareto_front(costs, accuracies)
                axes.plot(costs, accuracies, "o", color="0.75", ms=4, zorder=1)
                ends = [costs[i] for i in front], [accuracies[i] for i in front]
                axes.plot(*ends, "o-", color="C0", ms=5, lw=1, drawstyle="steps-post")
                show_bulk_of_points(axes, accuracies)
                axes.set(
                    title=f"{proper_name(data)}: {len(inside)} rows",
                    xlabel=name,
                    ylabel="test accuracy [%]",
                )
                logarithmic(axes, x=True)
                labels = [(costs[i], accuracies[i], inside[i].label) for i in front]
                label_beside(axes, labels)


def pareto_front(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Positions of the points that no other one beats, by rising cost (lower cost, higher gain)."""
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -gains[i]))
    front: list[int] = []
    for i in order:
        if not front or gains[i] > gains[front[-1]]:
            front.append(i)
    return front
