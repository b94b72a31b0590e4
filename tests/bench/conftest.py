"""Small configs and finished runs for the tests of the bench."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from bregbench.runs.train import train
from bregbench.schema.compose import compose
from bregbench.schema.config import Config
from bregbench.training.trainer import Training

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


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
