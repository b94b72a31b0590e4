"""The runs of the campaign: one of each kind, small, and what makes two of them the same."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from bregbench.foundations.files import read_tensors
from bregbench.measures.cost import TIMES
from bregbench.runs.train import run_directory
from bregbench.schema.compose import compose
from bregbench.schema.config import Config
from bregbench.storage.directory import RunDirectory

#: one of each kind of state that a checkpoint has to hold
SUBJECTS = {
    "SGD, plateau": ("method=sgd", "trainer/schedule=plateau"),
    "Adam, cosine": ("method=adam", "trainer/schedule=cosine"),
    "AMSGrad": ("method=amsgrad",),
    "proximal gradient": ("method=prox_sgd",),
    "LinBreg": ("method=linbreg", "trainer.snapshots=[0,1,2]"),
    "LinBreg, every step saved": ("method=linbreg_momentum", "trainer.checkpoint_minutes=1e-9"),
    "AdaBreg to a density": ("method=adabreg", "method.target_density=0.1"),
    "DessiLBI": ("method=dessilbi", "trainer.snapshots=[1]"),
    "lifted": ("method=lifted", "model.activation=relu"),
    "CLIP": ("method=adam", "objective=clip"),
    "adversarial": ("method=adam", "objective=adversarial"),
    "iterative pruning": ("method=sgd", "phases=iterative_pruning"),
    "convolutions": ("method=adabreg", "model=cnn", "model.channels=[8]"),
    "denoising": ("method=linbreg", "task=denoise", "model=mlp_autoencoder"),
}
_EPOCHS = 3


def config_of(name: str, runs_dir: Path) -> Config:
    """The config of a subject, with its runs in a folder."""
    overrides = SUBJECTS[name]
    hidden = () if any(o.startswith("model=") for o in overrides) else ("model.hidden=[16]",)
    config = compose(
        *("dataset=digits", "data.limit=600", "trainer.batch_size=32", "trainer.device=cpu"),
        *(*hidden, *overrides, "evaluators=[accuracy,density]", "tracking=none"),
        f"runs_dir={runs_dir}",
    )
    if config.phases:
        for phase in config.phases.values():
            phase.epochs = 1
        return config
    return replace(config, trainer=_with_epochs(config))


def _with_epochs(config: Config) -> Any:
    trainer = copy.copy(config.trainer)
    trainer.epochs = _EPOCHS
    return trainer


def moved(config: Config, runs_dir: Path) -> Config:
    """The same run in another folder, which is emptied."""
    shutil.rmtree(runs_dir, ignore_errors=True)
    return replace(config, runs_dir=str(runs_dir))


def same(config: Config, whole: RunDirectory) -> str:
    """How a finished run differs from one that was left alone; empty where it does not."""
    run = run_directory(config)
    if _rows(run) != _rows(whole):
        return "metrics differ"
    if _final(run) != _final(whole):
        return "the final evaluation differs"
    snapshots = [p.name for p in sorted(whole.snapshots.glob("*"))]
    if snapshots != [p.name for p in sorted(run.snapshots.glob("*"))]:
        return "snapshots differ"
    for path in ("weights.pt", "best.pt"):
        if not _equal(read_tensors(run.path / path), read_tensors(whole.path / path)):
            return f"{path} differs"
    for name in snapshots:
        if (run.snapshots / name).read_bytes() != (whole.snapshots / name).read_bytes():
            return f"{name} differs"
    return ""


def _rows(run: RunDirectory) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in run.read_metrics()]


def _final(run: RunDirectory) -> dict[str, Any]:
    found = run.read_summary()["final"]
    for selections in found.values():
        for metrics in selections.values():
            for name in TIMES:
                metrics.pop(name, None)
    return found


def _equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    names = first.keys() == second.keys()
    return names and all(bool((first[name] == second[name]).all()) for name in first)
