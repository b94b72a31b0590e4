"""A small table of real runs on digits, with made-up published numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bregbench.tables.spec import Column, Row, Table
from bregbench.tables.verdicts import Better

PUBLISHED = """row,column,value,unit,margin,source
Dense,test/accuracy,90,%,20,made up
Dense,density/total,100,%,10,made up
Sparse,test/accuracy,90,%,20,made up
Sparse,density/total,1,%,0.1,made up
Sparse,train/accuracy,1,%,1,made up
Huge,test/accuracy,99,%,1,made up
Unknown,test/accuracy,99,%,1,made up
"""


@pytest.fixture
def small_table() -> Table:
    common = ["dataset=digits", "model=mlp", "model.hidden=[8]", "trainer.epochs=2"]
    return Table(
        name="small_table1",
        title="A small table",
        seeds=[0, 1],
        common=common,
        columns={
            "test/accuracy": Column(Better.higher, beside=["density/total"], header="Test"),
            "density/total": Column(Better.lower),
            "train/accuracy": Column(Better.higher),
        },
        rows={
            "Dense": Row(["method=sgd", "trainer.batch_size=16"]),
            "Sparse": Row(["method=linbreg", "method.lam=10"], steered=["density/total"]),
            "Huge": Row(["method=sgd"], not_run="needs a larger machine"),
        },
    )


@pytest.fixture
def results_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / "published"
    folder.mkdir(parents=True)
    (folder / "small_table1.csv").write_text(PUBLISHED)
    return folder.parent


@pytest.fixture
def local(tmp_path: Path) -> tuple[str, ...]:
    return (f"runs_dir={tmp_path / 'runs'}", "trainer.device=cpu")
