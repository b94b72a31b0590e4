"""Orderings that a paper reads off its table, judged on differences seed by seed."""

from __future__ import annotations

from bregbench.tables.cells import FilledRow
from bregbench.tables.spec import Claim
from bregbench.tables.verdicts import Judgement, Verdict, interval, mean_and_deviation


def judge_claim(claim: Claim, rows: list[FilledRow]) -> Judgement:
    """Whether a row lies above others.

    With two common seeds or more the 95 % t-interval of the mean difference decides, with one the
    difference itself. The claim passes where every difference does; the reason tells the smallest.

    Args:
        claim: the claim.
        rows: the filled rows.
    """
    values = {row.label: _by_seed(row, claim.column) for row in rows}
    differences = {
        label: [
            value - values.get(label, {})[seed]
            for seed, value in values.get(claim.above, {}).items()
            if seed in values.get(label, {})
        ]
        for label in claim.below
    }
    if not all(differences.values()):
        lacking = [label for label, found in differences.items() if not found]
        return Judgement(Verdict.NOT_RUN, f"no common seeds with {', '.join(lacking)}")
    label, smallest = min(differences.items(), key=lambda item: mean_and_deviation(item[1])[0])
    bounds = [interval(found) for found in differences.values()]
    count = min(len(found) for found in differences.values())
    reason = f"{mean_and_deviation(smallest)[0]:+.2f} to {label} (n={count})"
    if all(low > 0 for low, _ in bounds):
        return Judgement(Verdict.PASS, reason)
    if any(high <= 0 for _, high in bounds):
        return Judgement(Verdict.FAIL, reason)
    return Judgement(Verdict.INCONCLUSIVE, reason)


def _by_seed(row: FilledRow, column: str) -> dict[int, float]:
    cell = row.cells.get(column)
    runs = row.runs_of(column)
    if cell is None or len(cell.values) != len(runs):
        return {}
    return dict(zip(runs, cell.values, strict=True))
