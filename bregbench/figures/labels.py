"""Labels of curves: what distinguishes runs from each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from bregbench.foundations.errors import BenchError
from bregbench.storage.find import SavedRun


def distinguish(runs: list[SavedRun], *, apart: str = "") -> dict[str, str]:
    """A label for each run name: its method, and in what it differs from the others, in words.

    Data set, architecture and objective are named where they differ at all; other values where they
    differ between runs of the same method.

    Args:
        runs: the runs.
        apart: a config key by whose value the runs stand in panels of their own (see `facets`);
            labels do not repeat the value.
    """
    configs = {run.name: flatten(run.config) for run in runs}
    separate = _key_of(apart)
    others = [kind for kind in _KINDS if kind not in ("method.kind", separate)]
    shown = ["method.kind", *_differing(configs.values(), others)]
    groups: dict[str, list[dict[str, Any]]] = {}
    for config in configs.values():
        groups.setdefault(_kinds_of(config), []).append(config)
    labels: dict[str, str] = {}
    for name, config in configs.items():
        alike = groups[_kinds_of(config)]
        keys = sorted({key for c in alike for key in c} - _UNLABELLED - {separate})
        values = [f"{_word(key)} {_value(config.get(key))}" for key in _differing(alike, keys)]
        labels[name] = ", ".join(
            [" ".join(proper_name(str(config[key])) for key in shown), *values]
        )
    return labels


def facets(runs: list[SavedRun], by: str) -> dict[str, list[SavedRun]]:
    """Runs by their value of a config key, in the order of the values; one group without a title if empty.

    Args:
        runs: the runs.
        by: `dataset`, `model`, `method`, `objective`, or a key such as `method.lam`.

    Raises:
        BenchError: no run has the key.
    """
    if not by:
        return {"": runs}
    key = _key_of(by)
    values = {run.path: flatten(run.config).get(key) for run in runs}
    known = sorted({key for run in runs for key in flatten(run.config)})
    if all(value is None for value in values.values()):
        raise BenchError(f"by={by} is no key of these runs: choose from {', '.join(known)}")
    groups: dict[str, list[SavedRun]] = {}
    title = "" if key in _KINDS else f"{_word(key)} "
    for run in sorted(runs, key=lambda run: _rank(values[run.path])):
        groups.setdefault(f"{title}{proper_name(_value(values[run.path]))}", []).append(run)
    return groups


_KINDS = ("data.kind", "model.kind", "method.kind", "objective.kind")

_WORDS = {"lr": "learning rate", "lam": "lambda", "wd": "weight decay"}

_NAMES = {
    "linbreg": "LinBreg",
    "adabreg": "AdaBreg",
    "dessilbi": "DessiLBI",
    "prox_sgd": "ProxSGD",
    "sgd": "SGD",
    "adam": "Adam",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "mlp": "MLP",
    "cnn": "CNN",
}


#: of no interest to a reader of a figure
_UNLABELLED = {
    "data.download",
    "data.root",
    "experiment_name",
    "method_name",
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


def _kinds_of(config: dict[str, Any]) -> str:
    return str([config.get(kind) for kind in _KINDS])


def _key_of(by: str) -> str:
    return {"dataset": "data.kind"}.get(by, f"{by}.kind" if f"{by}.kind" in _KINDS else by)


def _rank(value: Any) -> tuple[bool, float, str]:
    number = isinstance(value, int | float)
    return (not number, float(value) if number else 0.0, str(value))


def _word(key: str) -> str:
    """A config key in words."""
    last = key.removesuffix(".kind").rpartition(".")[2]
    rest = key.removeprefix("method.").removeprefix("trainer.")
    return _WORDS.get(last, rest).replace("_", " ").replace(".", " ")


def _value(value: Any) -> str:
    if value is None:
        return "unset"
    return f"{value:g}" if isinstance(value, float) else str(value)


def proper_name(kind: str) -> str:
    """What a kind of method, data set or architecture is called in a sentence."""
    return _NAMES.get(kind, kind)


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Plain values of a config by their dotted keys."""
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat
