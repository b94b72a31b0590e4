"""What most tests share: one thread, small configs, commands called in this process, a small table."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from bregbench.runs.train import train
from bregbench.schema.compose import compose
from bregbench.schema.config import Config
from bregbench.tables.spec import Column, Row, Table
from bregbench.tables.verdicts import Better
from bregbench.training.trainer import Training
from tests.places import SHARED_DATA

PUBLISHED = """row,column,value,unit,margin,source
Dense,test/accuracy,90,%,20,made up
Dense,density/total,100,%,10,made up
Sparse,test/accuracy,90,%,20,made up
Sparse,density/total,1,%,0.1,made up
Sparse,train/accuracy,1,%,1,made up
Huge,test/accuracy,99,%,1,made up
Unknown,test/accuracy,99,%,1,made up
"""


@pytest.fixture(autouse=True)
def _one_thread_and_a_seed() -> None:
    """Small tensors are slower on many threads, and repeats are exact."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk at hundreds of checkpoints would take most of the time of these tests."""
    monkeypatch.setattr(os, "fsync", lambda number: None)


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., Config]:
    """Compose a config of a small run below the test's own folder; later overrides win."""

    def make(*overrides: str) -> Config:
        given = any(override.startswith("model") for override in overrides)
        return compose(
            "dataset=digits",
            *(() if given else ("model=mlp", "model.hidden=[16]")),
            "trainer.epochs=3",
            "trainer.device=cpu",
            "tracking=none",
            f"runs_dir={tmp_path / 'runs'}",
            *overrides,
        )

    return make


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Call a command in this process: (exit code, stdout, stderr)."""

    def run(module, *arguments: str) -> tuple[int, str, str]:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [module.__name__, *arguments])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as exit_:
            module.main()
        out, err = capsys.readouterr()
        code = exit_.value.code
        return (code if isinstance(code, int) else 0), out, err

    return run


@pytest.fixture
def train_killed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Train a run that is killed at one of its checkpoints, then again to its end."""

    class Killed(BaseException):
        pass

    def run(config: Config, *, saves: int) -> None:
        save, seen = Training.save, []

        def dying_save(self: Training) -> None:
            save(self)
            seen.append(self.position.steps)
            if len(seen) == saves:
                raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(Training, "save", dying_save)
            with pytest.raises(Killed):
                train(config)
        train(config)

    return run


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data sets are not in ../shared/data")
    return SHARED_DATA


@pytest.fixture
def small_table() -> Table:
    """A table of real runs on digits, with made-up published numbers."""
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
    """A folder of results that holds the published numbers of the small table."""
    folder = tmp_path / "results" / "published"
    folder.mkdir(parents=True)
    (folder / "small_table1.csv").write_text(PUBLISHED)
    return folder.parent


@pytest.fixture
def local(tmp_path: Path) -> tuple[str, ...]:
    return (f"runs_dir={tmp_path / 'runs'}", "trainer.device=cpu")
