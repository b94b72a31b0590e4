"""The one registry: which dataclasses each config group may hold, from the core and from the papers."""

from __future__ import annotations

from hydra.core.config_store import ConfigStore

from bregbench.data import DATASETS
from bregbench.evaluators import EVALUATORS
from bregbench.methods import METHODS
from bregbench.methods.schedules import SCHEDULES
from bregbench.models import MODELS
from bregbench.objectives import OBJECTIVES
from bregbench.papers import bregman, clip, dessilbi, fno, lifted
from bregbench.phases import TRANSFORMS
from bregbench.schema.config import Config
from bregbench.storage.tracking import TRACKERS
from bregbench.tasks.base import TASKS

#: The schema of `method=linbreg` is registered as `method/schema/linbreg`; configs/method/linbreg.yaml builds
#: on it.
GROUPS: dict[str, tuple[type, ...]] = {
    "dataset": (*DATASETS, *clip.DATASETS),
    "task": TASKS,
    "model": (*MODELS, *fno.MODELS, *dessilbi.MODELS),
    "method": (*METHODS, *bregman.METHODS, *lifted.METHODS, *dessilbi.METHODS),
    "method/solver": lifted.SOLVERS,
    "objective": (*OBJECTIVES, *clip.OBJECTIVES),
    "trainer/schedule": SCHEDULES,
    "transform": (*TRANSFORMS, *dessilbi.TRANSFORMS),
    "evaluators": (*EVALUATORS, *clip.EVALUATORS, *lifted.EVALUATORS, *fno.EVALUATORS),
    "tracking": TRACKERS,
}


def method_variants() -> tuple[str, ...]:
    """The variants of all methods: the networks that a finished run may be judged by."""
    return tuple(dict.fromkeys(name for method in GROUPS["method"] for name in method.variants))


#: what Hydra knows already: storing takes as long as composing
_STORED: set[tuple[str, type]] = set()


def register_schemas() -> None:
    """Make the dataclasses known to Hydra; what it knows already is left as it is."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for group, kinds in GROUPS.items():
        for kind in kinds:
            if (group, kind) not in _STORED:
                store.store(group=f"{group}/schema", name=kind.kind, node=kind)
                _STORED.add((group, kind))
