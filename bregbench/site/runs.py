"""What the browser knows of runs: their configs, final metrics by seed and learning curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bregbench.site.packing import Texts, column, flat, rounded, thinned
from bregbench.storage.find import SavedRun, find_runs

#: what a config says of the machine and of folders, not of the result
_LOCAL = ("data.root", "data.path", "data.download", "runs_dir", "tracking.", "trainer.device")
#: columns of metrics.jsonl that are no metrics
_NO_METRICS = ("epoch", "phase")

Packed = dict[str, Any]


def read_runs(results: Path) -> dict[str, list[SavedRun]]:
    """All finished runs by `<experiment>/<name>-<hash>`, each with its seeds in ascending order.

    Args:
        results: folder with `records`, and with `bundles` where there are any.
    """
    folders = [results / name for name in ("records", "bundles")]
    groups: dict[str, list[SavedRun]] = {}
    for run in find_runs([str(folder) for folder in folders if folder.is_dir()]):
        if run.summary is not None:
            groups.setdefault(f"{run.summary['experiment_name']}/{run.name}", []).append(run)
    return {key: sorted(groups[key], key=lambda run: run.seed) for key in sorted(groups)}


def pack_runs(groups: dict[str, list[SavedRun]], texts: Texts, *, points: int) -> list[Packed]:
    """One mapping per config, as the browser reads it.

    Args:
        groups: finished runs by config.
        texts: takes the texts that repeat.
        points: epochs that a learning curve keeps at most.
    """
    return [_pack(key, runs, texts, points) for key, runs in groups.items()]


def _pack(key: str, runs: list[SavedRun], texts: Texts, points: int) -> Packed:
    config = runs[0].config
    summaries = [run.summary or {} for run in runs]
    return {
        "record": texts.place(key),
        "data": config["data"]["kind"],
        "model": config["model"]["kind"],
        "method": method_of(config),
        "seeds": [run.seed for run in runs],
        "commit": [texts.place(str(summary.get("commit", ""))) for summary in summaries],
        "device": [texts.place(str(summary.get("device_name", ""))) for summary in summaries],
        "versions": [texts.place(_versions(summary)) for summary in summaries],
        "epochs": [summary.get("epochs", 0) for summary in summaries],
        "seconds": [rounded(summary.get("seconds")) for summary in summaries],
        "config": [texts.place(line) for line in config_lines(config)],
        "final": _final(summaries),
        "curves": [_curve(run, points) for run in runs],
    }


def method_of(config: dict[str, Any]) -> str:
    """The method of a run, with its objective where that is more than the loss of the task."""
    kind = config["method"]["kind"]
    objective = config.get("objective", {}).get("kind", "plain")
    return kind if objective == "plain" else f"{kind} + {objective}"


def config_lines(config: dict[str, Any]) -> list[str]:
    """A config as `key=value` lines, without folders, devices and values that are not set."""
    return [
        f"{key}={json.dumps(value) if not isinstance(value, str) else value}"
        for key, value in flat(config)
        if value not in (None, {}, []) and not key.startswith(_LOCAL)
    ]


def _versions(summary: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in summary.get("versions", {}).items())


def _final(summaries: list[dict[str, Any]]) -> Packed:
    """By variant and metric: the value after the last epoch, one per seed."""
    found: dict[str, dict[str, list[Any]]] = {}
    for place, summary in enumerate(summaries):
        for variant, selections in summary.get("final", {}).items():
            for metric, value in selections.get("last", {}).items():
                by_metric = found.setdefault(variant, {})
                by_metric.setdefault(metric, [None] * len(summaries))[place] = rounded(value)
    return found


def _curve(run: SavedRun, points: int) -> Packed:
    """Epochs and the metrics at them; epoch 0 is the start of the run."""
    rows = run.rows
    initial = (run.summary or {}).get("initial") or {}
    if initial:
        rows = [{"epoch": 0, **initial}, *rows]
    kept = [rows[k] for k in thinned(len(rows), points)]
    names = dict.fromkeys(name for row in kept for name in row if name not in _NO_METRICS)
    return {
        "epoch": [row["epoch"] for row in kept],
        **{name: column([_number(row.get(name)) for row in kept]) for name in names},
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
