"""Tables for GPUs name what a CPU can do instead, and that table judges the same claims."""

from __future__ import annotations

from pathlib import Path

import pytest

from bregbench.cli import reproduce
from bregbench.figures.specs import load_table
from tests.places import ROOT


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "configs/table").glob("*.yaml")))
def test_a_table_named_as_a_substitute_is_there_and_needs_no_cuda(name: str) -> None:
    text = (ROOT / "configs/table" / f"{name}.yaml").read_text()
    if "on_cpu:" not in text:
        return
    small = load_table(load_table(name).on_cpu)
    assert not small.cuda
    assert small.ours


def test_the_small_table_has_the_rows_and_claims_of_table_3_and_both_starts() -> None:
    full, small = load_table("bregman_table3"), load_table("bregman_table3_small")
    assert set(full.rows) <= set(small.rows)
    cured = {row for row in small.rows if row.endswith(", balanced start")}
    assert {row.removesuffix(", balanced start") for row in cured} == {
        row for row in full.rows if "Breg" in row
    }
    claims = {(c.column, c.above, *c.below, c.margin) for c in small.claims}
    assert {(c.column, c.above, *c.below, c.margin) for c in full.claims} <= claims
    seeds = small.config("LinBreg", 0), small.config("LinBreg, balanced start", 0)
    assert [config.method.start.balanced for config in seeds] == [False, True]  # pyright: ignore


def test_without_a_gpu_one_line_says_what_is_needed_and_what_can_be_done(
    call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    published = tmp_path / "published"
    published.mkdir()
    name = "bregman_table3.csv"
    (published / name).write_text((ROOT / "results/published" / name).read_text())
    code, _, error = call(reproduce, "table=bregman_table3", "seeds=[0]", f"results_dir={tmp_path}")
    assert code == 1
    lines = [line for line in error.splitlines() if "error" in line]
    assert len(lines) == 1
    assert "want CUDA" in lines[0]
    assert "make reproduce-bregman-table3-small" in lines[0]
