"""The registry of config groups: the dataclasses of each group, from the core and from the papers."""

from __future__ import annotations

from hydra.core.config_store import ConfigStore

from bregbench.data.base import DatasetConfig
from bregbench.evaluators.base import EvaluatorConfig
from bregbench.foundations.kinds import import_all, kinds_of
from bregbench.methods.base import MethodConfig
from bregbench.methods.schedules import ScheduleConfig
from bregbench.models.base import ModelConfig
from bregbench.objectives.base import ObjectiveConfig
from bregbench.papers.lifted.solver import SolverConfig
from bregbench.phases.base import TransformConfig
from bregbench.schema.config import Config
from bregbench.storage.tracking import TrackingConfig
from bregbench.tasks.base import TaskConfig

#: Packages in which kinds are searched: a new module in one of them needs no registration.
_ROOMS = tuple(
    f"bregbench.{room}"
    for room in (
        *("data", "tasks", "models", "methods", "objectives", "evaluators", "phases", "storage"),
        "papers",
    )
)
import_all(*_ROOMS)

#: The schema of `method=linbreg` is registered as `method/schema/linbreg`; configs/method/linbreg.yaml builds
#: on it.
GROUPS: dict[str, tuple[type, ...]] = {
    "dataset": kinds_of(DatasetConfig, *_ROOMS),
    "task": kinds_of(TaskConfig, *_ROOMS),
    "model": kinds_of(ModelConfig, *_ROOMS),
    "method": kinds_of(MethodConfig, *_ROOMS),
    "method/solver": kinds_of(SolverConfig, *_ROOMS),
    "objective": kinds_of(ObjectiveConfig, *_ROOMS),
    "trainer/schedule": kinds_of(ScheduleConfig, *_ROOMS),
    "transform": kinds_of(TransformConfig, *_ROOMS),
    "evaluators": kinds_of(EvaluatorConfig, *_ROOMS),
    "tracking": kinds_of(TrackingConfig, *_ROOMS),
}


def method_variants() -> tuple[str, ...]:
    """The variants of all methods: the networks that a finished run may be judged by."""
    names = [name for method in GROUPS["method"] for name in method.variants]
    return tuple(dict.fromkeys([*names, "ema"]))


#: Pairs of group and class that Hydra has: storing one again takes as long as composing.
_STORED: set[tuple[str, type]] = set()


def register_schemas() -> None:
    """Store the dataclasses in Hydra's registry; stored ones are not stored again."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for group, kinds in GROUPS.items():
        for kind in kinds:
            if (group, kind) not in _STORED:
                store.store(group=f"{group}/schema", name=kind.kind, node=kind)
                _STORED.add((group, kind))
