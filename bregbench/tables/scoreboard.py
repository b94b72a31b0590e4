"""Counts of verdicts on the published numbers of each paper, from the rendered tables."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from bregbench.tables.verdicts import Verdict

#: name of the part of a page that holds the scoreboard
SECTION = "scoreboard"

#: the papers by the first word of the names of their tables and figures
PAPERS = {
    "bregman": "Bregman learning framework",
    "dessilbi": "DessiLBI",
    "lifted": "Lifted Bregman training",
    "clip": "CLIP",
    "fno": "Fourier neural operators",
}

_CELLS = (
    *(Verdict.PASS, Verdict.BETTER, Verdict.MATCHED, Verdict.INCONCLUSIVE),
    *(Verdict.FAIL, Verdict.BY_CONSTRUCTION, Verdict.NOT_RUN),
)
_CLAIMS = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL, Verdict.NOT_RUN)


@dataclass
class Score:
    """Counts of one paper, or of one of its tables.

    Attributes:
        cells: published numbers by verdict.
        claims: orderings that the paper states, by verdict.
        seeds: published numbers with runs, by the number of seeds.
    """

    cells: Counter[str] = field(default_factory=Counter)
    claims: Counter[str] = field(default_factory=Counter)
    seeds: Counter[int] = field(default_factory=Counter)

    def __add__(self, other: Score) -> Score:
        return Score(self.cells + other.cells, self.claims + other.claims, self.seeds + other.seeds)


def scores(results_dir: Path) -> dict[str, Score]:
    """The score of every table and figure that has published numbers, by its name.

    The numbers of a table that is not rendered yet count as not run.

    Args:
        results_dir: folder with `published/<name>.csv` and, for rendered tables, `<name>/<name>.csv`.
    """
    return {
        path.stem: _score(results_dir / path.stem, path)
        for path in sorted((results_dir / "published").glob("*.csv"))
        if path.stem.partition("_")[0] in PAPERS
    }


def to_markdown(results_dir: Path) -> str:
    """The counts by paper, and by table and figure below."""
    found = scores(results_dir)
    total: dict[str, Score] = {}
    for name, score in found.items():
        paper = PAPERS[name.partition("_")[0]]
        total[paper] = total.get(paper, Score()) + score
    everything = sum(total.values(), Score())
    return "\n".join(
        [
            *_lines("paper", {**total, "all": everything}),
            "",
            "<details><summary>By table and figure</summary>",
            "",
            *_lines("table or figure", found),
            "",
            "</details>",
        ]
    )


def _score(folder: Path, published: Path) -> Score:
    rendered = folder / f"{folder.name}.csv"
    if not rendered.is_file():
        return Score(Counter({Verdict.NOT_RUN: len(_read(published))}))
    score = Score()
    for line in _read(rendered):
        if line["published"]:
            score.cells[line["verdict"]] += 1
            if line["n"] != "0":
                score.seeds[int(line["n"])] += 1
    claims = folder / f"{folder.name}.claims.csv"
    score.claims.update(line["verdict"] for line in _read(claims) if not _ours(line["claim"]))
    return score


def _ours(claim: str) -> bool:
    return claim.startswith("not in the paper")


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _lines(head: str, found: dict[str, Score]) -> list[str]:
    heads = [head, *(v for v in _CELLS), "seeds (numbers)"]
    heads += [f"claims {v}" for v in _CLAIMS]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, score in found.items():
        seeds = ", ".join(f"{n} ({count})" for n, count in sorted(score.seeds.items()))
        cells = [str(score.cells[verdict]) for verdict in _CELLS]
        claims = [str(score.claims[verdict]) for verdict in _CLAIMS]
        lines.append("| " + " | ".join([name, *cells, seeds, *claims]) + " |")
    return lines
