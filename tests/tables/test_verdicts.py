"""Every case of the verdict engine."""

from __future__ import annotations

import pytest
from scipy import stats

from bregbench.storage.directory import RunDirectory
from bregbench.tables.cells import Cell, FilledRow
from bregbench.tables.claims import judge_claim, published_difference
from bregbench.tables.published import UNITS, Published
from bregbench.tables.rendering import to_markdown
from bregbench.tables.spec import Claim, Column, Table
from bregbench.tables.verdicts import (
    LEAST_PAIRS,
    Better,
    Circumstances,
    Judgement,
    Verdict,
    holds,
    interval,
    judge,
    sign_flip,
)

ACCURACY = Published(89.2, "%", 1.0, "Table 1")
DENSITY = Published(1.9, "%", 0.19, "Table 1")


def verdict(values, published=ACCURACY, better=Better.higher, **options) -> Verdict:
    return judge(values, published, Circumstances(better=better, **options)).verdict


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
    found = judge([89.2], ACCURACY, Circumstances(better=Better.higher, unmatched=("N_total",)))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "N_total" in found.reason


def test_number_that_could_not_be_otherwise_is_no_evidence():
    dense = Published(100, "%", 10, "Table 1")
    assert verdict([100.0], dense, constructed=True) is Verdict.BY_CONSTRUCTION
    # It still fails where the construction went wrong.
    assert verdict([50.0], dense, constructed=True) is Verdict.FAIL


def test_better_is_what_costs_nothing_elsewhere():
    assert verdict([1.0], DENSITY, Better.lower) is Verdict.BETTER
    found = judge([1.0], DENSITY, Circumstances(better=Better.lower, lost=("Test",)))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "Test" in found.reason
    # What is lost elsewhere excuses nothing here.
    assert verdict([3.0], DENSITY, Better.lower, lost=("Test",)) is Verdict.FAIL
    assert verdict([1.9], DENSITY, Better.lower, lost=("Test",)) is Verdict.PASS


@pytest.mark.parametrize(
    ("value", "better", "expected"),
    [
        (88.2, Better.higher, True),
        (88.1, Better.higher, False),
        (95.0, Better.higher, True),
        (95.0, Better.lower, False),
        (80.0, Better.lower, True),
        (95.0, Better.neither, False),
        (80.0, Better.neither, False),
    ],
)
def test_number_holds_unless_it_is_worse_by_more_than_its_margin(value, better, expected):
    assert holds([value], ACCURACY, better) is expected
    assert not holds([], ACCURACY, better)
    assert holds([value], Published.nothing("%"), better)


def test_sign_flip_test_counts_signs():
    # All of one sign: only the observed signs and their opposite reach the sum.
    for count in (1, 2, 5, 6, 10):
        assert sign_flip([1.0 + 0.1 * i for i in range(count)]) == 2 / 2**count
    assert sign_flip([1.0, -1.0]) == 1.0
    # 3 + 2 - 1 = 4: reached by +++ (6), ++- (4) and their opposites.
    assert sign_flip([3.0, 2.0, -1.0]) == 0.5
    assert sign_flip([0.0] * 8) == 1.0


def test_sign_flip_test_can_reject_from_six_seeds_on():
    assert 2 / 2 ** (LEAST_PAIRS - 1) > 0.05 > 2 / 2**LEAST_PAIRS
    with pytest.raises(ValueError, match="21 differences"):
        sign_flip([1.0] * 21)


def test_nothing_is_not_run_with_its_reason():
    found = judge([], ACCURACY, Circumstances(missing="needs CUDA"))
    assert found == Judgement(Verdict.NOT_RUN, "needs CUDA")


def test_doubtful_published_number_is_not_judged():
    doubtful = Published(89.2, "%", 1.0, "Figure 2; excluded: outlier")
    assert verdict([89.2], doubtful) is Verdict.INCONCLUSIVE


def filled(folder, label: str, **columns: list[float]) -> FilledRow:
    cells = {
        name: Cell(label, name, Published.nothing("1"), values, Judgement(Verdict.UNPUBLISHED))
        for name, values in columns.items()
    }
    count = len(next(iter(columns.values())))
    return FilledRow(label, cells, {seed: RunDirectory(folder) for seed in range(count)})


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
    claim = Claim("A lies above B", "m", above="A", below=["B"])
    rows = [filled(tmp_path, "A", m=above), filled(tmp_path, "B", m=below)]
    assert judge_claim(claim, rows).verdict is verdict


@pytest.mark.parametrize(
    ("above", "below", "verdict"),
    [
        ([97.0, 97.1, 97.2], [97.3, 97.4, 97.5], Verdict.PASS),  # three tenths lost
        ([96.8], [97.3], Verdict.PASS),  # half a point
        ([96.0, 96.1, 96.2], [97.3, 97.4, 97.5], Verdict.FAIL),
        ([96.8, 97.0, 97.2], [97.3, 97.2, 97.9], Verdict.INCONCLUSIVE),
    ],
)
def test_claim_may_allow_a_loss(tmp_path, above, below, verdict):
    claim = Claim("A loses at most half a point", "m", above="A", below=["B"], margin=0.5)
    rows = [filled(tmp_path, "A", m=above), filled(tmp_path, "B", m=below)]
    assert judge_claim(claim, rows).verdict is verdict


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        ([97.2, 97.2, 97.1], Verdict.PASS),
        ([99.0, 99.1, 99.2], Verdict.FAIL),
        ([95.0, 95.1, 95.2], Verdict.FAIL),
        ([96.0, 97.0, 98.5], Verdict.INCONCLUSIVE),
    ],
)
def test_claim_of_equality_is_judged_on_both_sides(tmp_path, other, verdict):
    claim = Claim("A equals B", "m", above="A", below=["B"], margin=0.5, equal=True)
    rows = [filled(tmp_path, "A", m=[97.0, 97.1, 97.2]), filled(tmp_path, "B", m=other)]
    assert judge_claim(claim, rows).verdict is verdict


def test_claim_may_compare_a_row_with_itself_at_another_epoch(tmp_path):
    row = filled(tmp_path, "A", early=[1.0, 1.1], late=[10.0, 10.5])
    rises = Claim("the density rises", "late", above="A", below=["A"], other="early")
    falls = Claim("the density falls", "early", above="A", below=["A"], other="late")
    assert judge_claim(rises, [row]).verdict is Verdict.PASS
    assert judge_claim(falls, [row]).verdict is Verdict.FAIL


def test_published_numbers_are_compared_as_the_claim_compares_ours(tmp_path):
    def row(label: str, value: float) -> FilledRow:
        cell = Cell(label, "m", Published(value, "1", 1, "p"), [], Judgement(Verdict.NOT_RUN))
        return FilledRow(label, {"m": cell}, {})

    rows = [row("A", 5.0), row("B", 4.0), row("C", 7.0), filled(tmp_path, "D", m=[1.0])]
    assert published_difference(Claim("", "m", "A", ["B", "C"]), rows) == -2.0
    assert published_difference(Claim("", "m", "A", ["B", "D"]), rows) == 1.0
    assert published_difference(Claim("", "m", "A", ["B", "C"], margin=1, equal=True), rows) == -2.0
    assert published_difference(Claim("", "m", "D", ["A"]), rows) is None


def test_reason_of_a_claim_says_what_few_seeds_can_say(tmp_path):
    claim = Claim("A lies above B", "m", above="A", below=["B"])
    few = [filled(tmp_path, "A", m=[2.0] * 3), filled(tmp_path, "B", m=[1.0, 1.1, 1.2])]
    many = [filled(tmp_path, "A", m=[2.0] * 6), filled(tmp_path, "B", m=[1.0, 1.1] * 3)]
    assert judge_claim(claim, few).reason.endswith("(n=3; sign-flip p=0.25)")
    assert judge_claim(claim, many).reason.endswith("(n=6; sign-flip p=0.031)")


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
