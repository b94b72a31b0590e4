"""The typed config of a run: every key, and which dataclasses each group may hold.

Hydra composes YAML files and command-line overrides into these dataclasses (a misspelt key or a value of
the wrong type fails there); `to_config` turns the result into plain objects once, and nothing behind it
sees a `DictConfig`.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from bregbench.checks import require
from bregbench.data import (
    Arrays,
    Cifar10,
    Cifar100,
    DatasetConfig,
    Digits,
    FashionMnist,
    GapFunction,
    ImageFolder,
    ImageNet,
    Mnist,
    Svhn,
)
from bregbench.errors import BenchError
from bregbench.evaluators import EVALUATORS, EvaluatorConfig
from bregbench.identity import chosen, config_hash, fill_chosen, local
from bregbench.methods import METHODS, MethodConfig
from bregbench.methods.lifted_solvers import SOLVERS
from bregbench.models import (
    AlexNet,
    Cnn,
    CnnCircular,
    Fno,
    Lenet5,
    Mlp,
    MlpAutoencoder,
    ModelConfig,
    Resnet18,
    ResnetCifar,
    SpectralResnet18,
    Vgg16,
)
from bregbench.objectives import OBJECTIVES, ObjectiveConfig
from bregbench.phases import Phase, PhaseConfig
from bregbench.schedules import SCHEDULES
from bregbench.selecting import check_selection
from bregbench.tasks import TASKS, TaskConfig
from bregbench.tracking import TRACKERS, TrackingConfig
from bregbench.trainer_config import Precision, TrainerConfig
from bregbench.transforms import TRANSFORMS


@dataclass
class Config:
    """Everything that describes a run.

    Attributes:
        data: the data set (chosen by `dataset=`).
        task: what the network is asked to do.
        model: the architecture.
        method: how it is trained.
        objective: what is differentiated.
        phases: consecutive parts of the run; empty means one, from `method` and `trainer`.
        trainer: length, batch size, schedule, precision, machine.
        seed: of all random streams.
        evaluators: what is measured at the end, on the test split.
        tracking: where the run is mirrored.
        runs_dir: where run directories are kept.
        experiment_name: the folder in it.
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

    def __post_init__(self) -> None:
        fill_chosen(self)

    @property
    def name(self) -> str:
        """What the run is, for people: data set, architecture and method."""
        parts = [self.data.kind, self.model.kind, self.method.kind]
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

    def settled(self) -> Config:
        """The config with the precision that is computed in, where somebody has set it to `auto` since."""
        if self.trainer.precision is not Precision.auto:
            return self
        return dataclasses.replace(self, trainer=dataclasses.replace(self.trainer))

    def run_phases(self) -> list[Phase]:
        """The phases in order; without any, one called `train`."""
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
        """Refuse what can be refused before data is read.

        Raises:
            BenchError: a value is out of range.
        """
        self.trainer.check()
        self.task.check()
        check_selection(self.trainer.select_on, self.task)
        for name, phase in self.phases.items():
            phase.check(name)
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

    def check_order(self) -> None:
        """Refuse phases that cannot follow each other; when a run begins, not when files compose.

        Raises:
            BenchError: a phase begins with something that the ones before do not leave, or a value of
                its method or schedule is out of range.
        """
        last: MethodConfig | None = None
        epochs = 0
        for part in self.run_phases():
            try:
                part.method.check()
                part.schedule.check()
            except BenchError as error:
                raise BenchError(
                    f"phase {part.name}: {error}" if self.phases else str(error)
                ) from None
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


#: Which dataclasses a polymorphic group may hold; the schema of `method=linbreg` is registered as
#: `method/schema/linbreg`, and configs/method/linbreg.yaml builds on it.
GROUPS: dict[str, tuple[type, ...]] = {
    "dataset": (
        Digits,
        Mnist,
        FashionMnist,
        Cifar10,
        Cifar100,
        Svhn,
        Arrays,
        ImageFolder,
        ImageNet,
        GapFunction,
    ),
    "task": TASKS,
    "model": (
        *(Mlp, MlpAutoencoder, Cnn, Resnet18, Lenet5, CnnCircular, Fno, SpectralResnet18),
        *(ResnetCifar, Vgg16, AlexNet),
    ),
    "method": METHODS,
    "method/solver": SOLVERS,
    "objective": OBJECTIVES,
    "trainer/schedule": SCHEDULES,
    "transform": TRANSFORMS,
    "evaluators": EVALUATORS,
    "tracking": TRACKERS,
}


def register_schemas() -> None:
    """Make the dataclasses known to Hydra."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for group, kinds in GROUPS.items():
        for kind in kinds:
            store.store(group=f"{group}/schema", name=kind.kind, node=kind)


def to_config(composed: DictConfig) -> Config:
    """The composed config as plain, checked objects.

    Raises:
        BenchError: a value is missing or out of range.
    """
    _refuse_unknown(composed, prefix="")
    missing = OmegaConf.missing_keys(composed)
    if missing:
        raise BenchError(f"missing values: {', '.join(sorted(missing))}")
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    config.check()
    return config


def compose(*overrides: str) -> Config:
    """The config that `bregbench-train` would run with these overrides.

    Raises:
        BenchError: a value is missing or out of range.
        HydraException: an unknown key or option, or a value of the wrong type.
    """
    register_schemas()
    with hydra.initialize_config_module("bregbench.configs", version_base="1.3"):
        return to_config(hydra.compose("config", list(overrides)))


def _refuse_unknown(node: DictConfig, *, prefix: str) -> None:
    """Refuse keys forced into a config with `+key=value`, which nothing would ever read."""
    schema = OmegaConf.get_type(node)
    for key in node:
        known = dataclasses.fields(schema) if dataclasses.is_dataclass(schema) else None
        if known is not None and key not in {field.name for field in known}:
            names = ", ".join(field.name for field in known)
            raise BenchError(f"{prefix}{key} is unknown: the keys here are {names}")
        child = None if OmegaConf.is_missing(node, key) else node[key]
        if isinstance(child, DictConfig):
            _refuse_unknown(child, prefix=f"{prefix}{key}.")


def from_plain(plain: dict[str, Any]) -> Config:
    """The config that `identity.to_plain` wrote, for instance a run's `config.json`.

    Raises:
        BenchError: written by another version, with keys or kinds unknown to this one.
    """
    return _revive(Config, plain)


def _revive(declared: Any, value: Any) -> Any:
    """Turn JSON values into the declared type, choosing subclasses by their `kind`."""
    if value is None:
        return None
    if dataclasses.is_dataclass(declared) and isinstance(declared, type):
        return _revive_dataclass(declared, dict(value))
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin is list:
        return [_revive(arguments[0], item) for item in value]
    if origin is dict:
        return {key: _revive(arguments[1], item) for key, item in value.items()}
    if type(None) in arguments:
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return _revive(inner, value)
    if isinstance(declared, type) and issubclass(declared, Enum):
        return declared[value]
    return value


def _revive_dataclass(declared: type, plain: dict[str, Any]) -> Any:
    fields = {field.name for field in dataclasses.fields(declared)}
    kind = plain.pop("kind", None) if "kind" not in fields else None
    if kind is not None:
        kinds = {k.kind: k for ks in GROUPS.values() for k in ks if issubclass(k, declared)}
        if kind not in kinds:
            raise BenchError(f"{declared.__name__} of kind {kind} is unknown to this version")
        declared = kinds[kind]
    hints = typing.get_type_hints(declared)
    known = {f.name for f in dataclasses.fields(declared)}
    unknown = sorted(set(plain) - known)
    if unknown:
        raise BenchError(f"{declared.__name__} has no {', '.join(unknown)} in this version")
    return declared(**{key: _revive(hints[key], item) for key, item in plain.items()})
