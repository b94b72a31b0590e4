"""Orderings that a paper states for its table, judged by paired differences of equal seeds."""

from __future__ import annotations

from bregbench.tables.cells import FilledRow
from bregbench.tables.spec import Claim
from bregbench.tables.verdicts import Judgement, Verdict, interval, mean_and_deviation, sign_flip


def judge_claim(claim: Claim, rows: list[FilledRow]) -> Judgement:
    """Judge whether a row lies above others, or equals them up to a margin.

    With two common seeds or more the 95 % t-interval of the mean difference decides, with one seed the
    difference itself. The claim passes if all differences pass. The reason gives the difference that is
    nearest to failing, with the p-value of the exact sign-flip test if there are several seeds.

    Args:
        claim: the claim.
        rows: the filled rows.
    """
    values = {row.label: row for row in rows}
    above = _by_seed(values.get(claim.above), claim.column)
    below = {
        label: _by_seed(values.get(label), claim.other or claim.column) for label in claim.below
    }
    differences = {
        label: [value - found[seed] for seed, value in above.items() if seed in found]
        for label, found in below.items()
    }
    lacking = [label for label, found in differences.items() if not found]
    if lacking:
        return Judgement(Verdict.NOT_RUN, f"no common seeds with {', '.join(lacking)}")
    bounds = [interval(found) for found in differences.values()]
    label, critical = max(differences.items(), key=lambda item: _nearness(claim, item[1]))
    reason = f"{mean_and_deviation(critical)[0]:+.2f} to {label} ({_evidence(critical)})"
    if all(_holds(claim, low, high) for low, high in bounds):
        return Judgement(Verdict.PASS, reason)
    if any(_fails(claim, low, high) for low, high in bounds):
        return Judgement(Verdict.FAIL, reason)
    return Judgement(Verdict.INCONCLUSIVE, reason)


def published_difference(claim: Claim, rows: list[FilledRow]) -> float | None:
    """The difference between the published numbers that is nearest to failing the claim, if both exist."""
    cells = {row.label: row.cells for row in rows}
    above = cells.get(claim.above, {}).get(claim.column)
    below = [cells.get(label, {}).get(claim.other or claim.column) for label in claim.below]
    if above is None or not above.published.given:
        return None
    found = [
        above.published.value - cell.published.value
        for cell in below
        if cell is not None and cell.published.given
    ]
    return max(found, key=lambda value: _nearness(claim, [value]), default=None)


def _nearness(claim: Claim, differences: list[float]) -> float:
    """How near differences are to failing the claim: a larger value is nearer."""
    mean = mean_and_deviation(differences)[0]
    return abs(mean) if claim.equal else -mean


def _holds(claim: Claim, low: float, high: float) -> bool:
    if claim.equal:
        return -claim.margin <= low and high <= claim.margin
    return low > -claim.margin or (claim.margin > 0 and low >= -claim.margin)


def _fails(claim: Claim, low: float, high: float) -> bool:
    if claim.equal:
        return low > claim.margin or high < -claim.margin
    return high < -claim.margin or (claim.margin == 0 and high <= 0)


def _evidence(differences: list[float]) -> str:
    """Number of seeds and p-value of the sign-flip test, as text."""
    count = len(differences)
    if count == 1:
        return "n=1"
    return f"n={count}; sign-flip p={sign_flip(differences):.2g}"


def _by_seed(row: FilledRow | None, column: str) -> dict[int, float]:
    if row is None:
        return {}
    cell = row.cells.get(column)
    runs = row.runs_of(column)
    if cell is None or len(cell.values) != len(runs):
        return {}
    return dict(zip(runs, cell.values, strict=True))
