"""Every case of the verdict engine."""

from __future__ import annotations

import pytest
from scipy import stats

from bregbench.run_dir import RunDirectory
from bregbench.tables.cells import Cell, FilledRow
from bregbench.tables.claims import judge_claim
from bregbench.tables.published import UNITS, Published
from bregbench.tables.rendering import to_markdown
from bregbench.tables.spec import Claim, Column, Table
from bregbench.tables.verdicts import Better, Judgement, Verdict, interval, judge

ACCURACY = Published(89.2, "%", 1.0, "Table 1")
DENSITY = Published(1.9, "%", 0.19, "Table 1")


def verdict(values, published=ACCURACY, better=Better.higher, **options) -> Verdict:
    return judge(values, published, better=better, **options).verdict


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (89.2, Verdict.PASS),
        (90.2, Verdict.PASS),  # on the margin
        (88.2, Verdict.PASS),
        (90.21, Verdict.BETTER),
        (88.19, Verdict.FAIL),
    ],
)
def test_one_seed_is_judged_by_its_value(value, expected):
    assert verdict([value]) is expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([89.1, 89.2, 89.3], Verdict.PASS),
        ([91.0, 91.1, 91.2], Verdict.BETTER),
        ([85.0, 85.1, 85.2], Verdict.FAIL),
        ([88.0, 89.2, 90.4], Verdict.INCONCLUSIVE),  # the interval is wider than the margin
        ([90.0, 90.2, 90.4], Verdict.INCONCLUSIVE),  # it straddles the margin
    ],
)
def test_several_seeds_are_judged_by_their_interval(values, expected):
    assert verdict(values) is expected


def test_interval_is_the_textbook_one():
    values = [1.0, 2.0, 4.0]
    expected = stats.t.interval(0.95, 2, loc=7 / 3, scale=stats.sem(values))
    assert interval(values) == pytest.approx(expected)


def test_better_side_depends_on_the_metric():
    low, high = [1.0], [3.0]
    assert verdict(low, DENSITY, Better.lower) is Verdict.BETTER
    assert verdict(high, DENSITY, Better.lower) is Verdict.FAIL
    assert verdict(low, DENSITY, Better.neither) is Verdict.FAIL
    assert verdict(high, DENSITY, Better.neither) is Verdict.FAIL


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.9, Verdict.MATCHED), (2.09, Verdict.MATCHED), (2.1, Verdict.INCONCLUSIVE)],
)
def test_steered_value_is_matched_and_never_passes(value, expected):
    assert verdict([value], DENSITY, steered=True) is expected


def test_accuracy_without_its_density_is_not_judged():
    found = judge([89.2], ACCURACY, better=Better.higher, density_matched=False)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "density" in found.reason


def test_nothing_is_not_run_with_its_reason():
    assert judge([], ACCURACY, missing="needs CUDA") == Judgement(Verdict.NOT_RUN, "needs CUDA")


def test_doubtful_published_number_is_not_judged():
    doubtful = Published(89.2, "%", 1.0, "Figure 2; excluded: outlier")
    assert verdict([89.2], doubtful) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("above", "below", "verdict"),
    [
        ([5.0], [4.0], Verdict.PASS),
        ([4.0], [4.0], Verdict.FAIL),
        # Seed by seed the difference is the same, however much seeds differ.
        ([5.0, 15.0, 25.0], [4.0, 14.1, 23.9], Verdict.PASS),
        ([5.0, 15.0, 25.0], [4.0, 16.0, 24.0], Verdict.INCONCLUSIVE),
        ([4.0, 14.1, 23.9], [5.0, 15.0, 25.0], Verdict.FAIL),
        ([], [1.0], Verdict.NOT_RUN),
    ],
)
def test_claims_are_judged_seed_by_seed(tmp_path, above, below, verdict):
    def row(label: str, values: list[float]) -> FilledRow:
        cell = Cell(label, "m", Published.nothing("1"), values, Judgement(Verdict.UNPUBLISHED))
        runs = {seed: RunDirectory(tmp_path) for seed in range(len(values))}
        return FilledRow(label, {"m": cell}, runs)

    claim = Claim("A lies above B", "m", above="A", below=["B"])
    assert judge_claim(claim, [row("A", above), row("B", below)]).verdict is verdict


@pytest.mark.parametrize(
    ("unit", "values", "shown"),
    [
        ("1", [39.0], "39"),
        ("1", [39.0, 40.0], "39.5 ± 0.7"),
        ("1", [39.25], "39.25"),
        ("1", [139.25], "139"),
        ("%", [0.39], "39.00"),  # a share, which happens to be round
    ],
)
def test_counts_have_no_decimals(unit, values, shown):
    scaled = [value * UNITS[unit] for value in values]
    cell = Cell("a", "m", Published.nothing(unit), scaled, Judgement(Verdict.UNPUBLISHED))
    row = FilledRow("a", {"m": cell}, {})
    table = Table(name="t", title="T", ours=True, seeds=[0], columns={"m": Column(unit=unit)})
    text = to_markdown(table, [row], verdicts=True)
    single = "(n=1) " if len(values) == 1 else ""
    assert f"| a | {shown} {single}|" in text
