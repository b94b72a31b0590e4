"""The typed config of a run: every key."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from bregbench.data import (
    DatasetConfig,
)
from bregbench.evaluators import EvaluatorConfig
from bregbench.foundations.errors import BenchError, require
from bregbench.foundations.identity import chosen, config_hash, fill_chosen, local
from bregbench.methods import MethodConfig
from bregbench.models import ModelConfig
from bregbench.objectives import ObjectiveConfig
from bregbench.phases.base import Phase, PhaseConfig
from bregbench.schema.check import check_tree, walk
from bregbench.schema.composing import check_composition
from bregbench.schema.selecting import check_selection
from bregbench.schema.trainer import Precision, TrainerConfig
from bregbench.storage.layout import RunName, check_experiment
from bregbench.storage.tracking import TrackingConfig
from bregbench.tasks.base import TaskConfig


@dataclass
class Config:
    """Everything that describes a run.

    Attributes:
        data: the data set (chosen by `dataset=`).
        task: the task: inputs, targets, loss and scores.
        model: the architecture.
        method: the training method.
        objective: the objective that back-propagation differentiates.
        phases: consecutive parts of the run; empty means one phase from `method` and `trainer`.
        trainer: length, batch size, schedule, precision, machine.
        seed: of all random streams.
        evaluators: what is measured at the end, on the test split.
        tracking: where the run is mirrored.
        runs_dir: where run directories are kept.
        experiment_name: the folder in it.
        method_name: what the run's name calls the method; empty for its kind. `bregbench train` sets it to
            the chosen option, since several options, such as `adam` and `amsgrad`, are of one kind.
    """

    data: DatasetConfig = MISSING
    task: TaskConfig = MISSING
    model: ModelConfig = MISSING
    method: MethodConfig = MISSING
    objective: ObjectiveConfig = MISSING
    phases: dict[str, PhaseConfig] = field(default_factory=dict)
    trainer: TrainerConfig = chosen(TrainerConfig)
    seed: int = local(0)
    evaluators: dict[str, EvaluatorConfig] = local(default_factory=dict)
    tracking: TrackingConfig = local(MISSING)
    runs_dir: str = local("runs")
    experiment_name: str = local("default")
    method_name: str = local("")

    def __post_init__(self) -> None:
        fill_chosen(self)

    @property
    def name(self) -> str:
        """What the run is, for people: data set, architecture and method."""
        parts = [self.data.kind, self.model.kind, self.method_name or self.method.kind]
        if self.objective.kind != "plain":
            parts.append(self.objective.kind)
        phases = self.phases.values()
        parts += dict.fromkeys(p.objective.kind for p in phases if p.objective is not None)
        parts += dict.fromkeys(p.begin.kind for p in phases if p.begin is not None)
        return "-".join(parts)

    @property
    def hashed_name(self) -> str:
        """The name with the hash of everything that changes the result."""
        return f"{self.name}-{config_hash(self.settled())}"

    @property
    def run_name(self) -> RunName:
        """The address of the run, below the folder of all runs or of all records."""
        digits = config_hash(self.settled())
        return RunName(self.experiment_name, self.name, digits, self.seed)

    def fingerprints(self) -> dict[str, str | None]:
        """Digests of contents that enter the hash, by key; summaries keep them, as contents may be absent."""
        asked = {key: getattr(node, "fingerprint", None) for key, node in walk(self, "")}
        found = {key: ask() for key, ask in asked.items() if ask is not None}
        read = {"data"} if self.data.path is not None else set[str]()
        return {key: digest for key, digest in found.items() if digest is not None or key in read}

    def sources(self) -> dict[str, str]:
        """Digests of the files with the user's own functions, by key; no part of the hash."""
        asked = {key: getattr(node, "source_digest", None) for key, node in walk(self, "")}
        found = {key: ask() for key, ask in asked.items() if ask is not None}
        return {key: digest for key, digest in found.items() if digest is not None}

    def hash_with(self, fingerprints: dict[str, str | None]) -> str:
        """The hash, with the digests that a summary has kept, so that no contents are read."""
        known = {id(node): key for key, node in walk(self, "") if key in fingerprints}

        def fingerprint(node: Any) -> str | None:
            key = known.get(id(node))
            return node.fingerprint() if key is None else fingerprints[key]

        return config_hash(self, contents=fingerprint)

    def settled(self) -> Config:
        """The config with a precision other than `auto`, as runs compute with."""
        if self.trainer.precision is not Precision.auto:
            return self
        return dataclasses.replace(self, trainer=dataclasses.replace(self.trainer))

    def run_phases(self) -> list[Phase]:
        """The phases in order; a config without phases gives one phase called `train`."""
        method, objective, schedule = self.method, self.objective, self.trainer.schedule
        if not self.phases:
            return [Phase("train", self.trainer.epochs, method, objective, schedule)]
        return [
            Phase(
                name if p.repeat == 1 else f"{name}{number}",
                p.epochs,
                p.method or method,
                p.objective or objective,
                p.schedule or schedule,
                p.begin,
                group=name,
                number=number,
                repeat=p.repeat,
            )
            for name, p in sorted(self.phases.items(), key=lambda item: item[1].order)
            for number in range(1, p.repeat + 1)
        ]

    def check(self) -> None:
        """Check all values that can be checked before data is read.

        Raises:
            BenchError: a value is out of range.
        """
        check_tree(self, "")
        check_selection(self.trainer.select_on, self.task)
        for phase in self.run_phases():
            check_composition(self.trainer, self.task, phase)
        orders = [phase.order for phase in self.phases.values()]
        if len(set(orders)) < len(orders):
            given = ", ".join(f"phases.{name}.order={p.order}" for name, p in self.phases.items())
            raise BenchError(f"the order of the phases is open: {given}; give each a different one")
        if self.phases and self.trainer.epochs != TrainerConfig().epochs:
            raise BenchError(
                f"trainer.epochs={self.trainer.epochs} has no meaning with phases: give "
                f"{', '.join(f'phases.{name}.epochs' for name in self.phases)}"
            )
        if not 0 <= self.seed < 2**31:
            raise BenchError(f"seed={self.seed} is out of range: seed must be in 0..{2**31 - 1}")
        for key in ("runs_dir", "experiment_name"):
            if not getattr(self, key).strip():
                raise BenchError(f"{key} is empty: give a folder name")
        check_experiment(self.experiment_name)
        words = re.fullmatch(r"\w*", self.method_name) is not None
        require(words, "method_name", self.method_name, "letters, digits and underscores")

    def check_order(self) -> None:
        """Check that each phase can follow the phases before it; called when a run begins.

        Raises:
            BenchError: a phase begins with a result, such as weights of an epoch, that no phase before it
                leaves.
        """
        last: MethodConfig | None = None
        epochs = 0
        for part in self.run_phases():
            if part.begin is not None:
                part.begin.check_order(part.name, last)
                late = [epoch for epoch in part.begin.rewinds() if epoch > epochs]
                require(
                    not late,
                    f"phases.{part.name}.begin.rewind",
                    late[0] if late else None,
                    f"an epoch of the {epochs} before this phase",
                )
            last = part.method
            epochs += part.epochs
