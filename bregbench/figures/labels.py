"""Labels of curves: what distinguishes runs from each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from bregbench.storage.find import SavedRun


def distinguish(runs: list[SavedRun]) -> dict[str, str]:
    """A label for each run name: its method, and in what it differs from the others.

    Data set, architecture and objective are named where they differ at all; other values where they
    differ between runs of the same method.
    """
    configs = {run.name: _flatten(run.config) for run in runs}
    others = [kind for kind in _KINDS if kind != "method.kind"]
    shown = ["method.kind", *_differing(configs.values(), others)]
    labels: dict[str, str] = {}
    for name, config in configs.items():
        alike = [c for c in configs.values() if all(c.get(k) == config.get(k) for k in _KINDS)]
        keys = sorted({key for c in alike for key in c} - _UNLABELLED)
        values = [f"{_short(key)}={config.get(key)}" for key in _differing(alike, keys)]
        labels[name] = " ".join([str(config[key]) for key in shown] + values)
    return labels


_KINDS = ("data.kind", "model.kind", "method.kind", "objective.kind")


#: of no interest to a reader of a figure
_UNLABELLED = {
    "data.download",
    "data.root",
    "experiment_name",
    "runs_dir",
    "seed",
    "tracking.kind",
    "trainer.checkpoint_minutes",
    "trainer.device",
    "trainer.keep_memory",
    "trainer.snapshots",
    "trainer.threads",
}


def _differing(configs: Collection[dict[str, Any]], keys: Iterable[str]) -> list[str]:
    return [key for key in keys if len({str(config.get(key)) for config in configs}) > 1]


def _short(key: str) -> str:
    for prefix in ("method.", "trainer."):
        key = key.removeprefix(prefix)
    return key.removesuffix(".kind")


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat
