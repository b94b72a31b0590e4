"""Checks that config, metrics, summary and address of a finished run belong together."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator
from typing import Any

from bregbench.evaluators import EvaluatorConfig
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import digest_file
from bregbench.foundations.identity import identity
from bregbench.runs.load import read_config
from bregbench.schema.config import Config
from bregbench.schema.groups import GROUPS
from bregbench.schema.selecting import selection_metric
from bregbench.storage.directory import RunDirectory
from bregbench.storage.layout import RunName

#: seconds are written in ten thousandths by epoch, and in thousandths of the whole run
_ROUNDING_EPOCH, _ROUNDING_RUN = 6e-5, 6e-4
#: largest relative distance of two measurements of the same weights; scores may be measured again elsewhere
_SAME, _SAME_SCORE = 1e-6, 2e-2


def refuse_disagreement(run: RunDirectory, name: RunName, *, asked: Config | None = None) -> None:
    """Refuse a finished run or record whose files are damaged or belong to different runs.

    Args:
        run: a run directory or record with a summary.
        name: the address that the run must have.
        asked: the config that the run must have; None compares the hash of its stored config with `name`.

    Raises:
        BenchError: files of the run disagree with each other, with `name` or with `asked`.
    """
    config, summary, rows = read_config(run), run.read_summary(), run.read_metrics()
    try:
        found = [*_address(config, summary, name), *_epochs(run, config, summary, rows)]
        found += [*_numbers(config, summary, rows), *_never_measured(config, summary)]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        found = [f"summary.json or metrics.jsonl lacks a required value ({error!r})"]
    found += [] if found else _identity(config, summary, name, asked)
    if found:
        raise BenchError(
            f"{run.path} is no intact record of {name}: {'; '.join(found)}: put its files back, or delete it"
        )


def _address(config: Config, summary: dict[str, Any], name: RunName) -> Iterator[str]:
    """An error for each file whose names differ from the address."""
    given = {
        "summary.json": (summary["experiment_name"], summary["name"], summary["hash"]),
        "config.json": (config.experiment_name, config.name, name.hash),
    }
    seeds = {"summary.json": summary["seed"], "config.json": config.seed}
    for file, (experiment, kind, digits) in given.items():
        theirs = f"{experiment}/{kind}-{digits}/seed{seeds[file]}"
        if theirs != str(name):
            yield f"{file} is of {theirs}"


def _identity(
    config: Config, summary: dict[str, Any], name: RunName, asked: Config | None
) -> Iterator[str]:
    """An error unless the config equals the one asked for, or has the hash of the address."""
    if asked is not None:
        ours, theirs = (identity(each, contents=False) for each in (asked, config))
        differing = sorted(key for key in ours | theirs if ours.get(key) != theirs.get(key))
        if differing:
            yield f"config.json is of another run, which differs in {', '.join(differing)}"
        return
    try:
        digits = config.hash_with(summary.get("fingerprints", {}))
    except BenchError as error:
        yield f"the hash of config.json depends on data that cannot be read here ({error})"
        return
    if digits != name.hash:
        yield f"config.json has the hash {digits}"


def _epochs(
    run: RunDirectory, config: Config, summary: dict[str, Any], rows: list[dict[str, Any]]
) -> Iterator[str]:
    """Errors unless the metrics have one line for each epoch of the summary, and add up to its seconds."""
    epochs, phases = summary["epochs"], config.run_phases()
    # Of runs in bundles the metrics of a few epochs are kept.
    thinned = summary.get("thinned")
    wanted = list(range(1, epochs + 1)) if thinned is None else thinned
    digest = summary.get("files", {}).get(run.metrics.name)
    if digest is not None and not (run.metrics.is_file() and digest_file(run.metrics) == digest):
        yield "metrics.jsonl differs from what the run wrote"
    found = [row["epoch"] for row in rows]
    if found != wanted or (found or [0])[-1] != epochs:
        shown = f"1 to {epochs}" if thinned is None else ", ".join(map(str, wanted))
        yield f"metrics.jsonl does not have the epochs {shown} of summary.json"
    if epochs > sum(phase.epochs for phase in phases):
        yield f"summary.json has {epochs} epochs, more than config.json"
    if not {row["phase"] for row in rows} <= {phase.name for phase in phases}:
        yield "metrics.jsonl has phases that config.json does not have"
    seconds = sum(row["seconds"] for row in rows)
    beyond = seconds - summary["seconds"]
    if max(beyond, -beyond if thinned is None else 0) > _ROUNDING_RUN + _ROUNDING_EPOCH * len(rows):
        yield f"metrics.jsonl took {seconds:.3f} s and summary.json {summary['seconds']:.3f} s"


def _numbers(config: Config, summary: dict[str, Any], rows: list[dict[str, Any]]) -> Iterator[str]:
    """Errors where final metrics of the best or last epoch differ from those measured after that epoch."""
    best, final = summary["best"], summary["final"]
    every = [m for selections in final.values() for m in selections.values()]
    for metrics in (summary["initial"], *every, *rows):
        strange = [k for k, v in metrics.items() if isinstance(v, float) and not math.isfinite(v)]
        if strange:
            yield f"{strange[0]} is not finite"
    by_epoch = {row["epoch"]: row for row in rows}
    if best["epoch"] and best["epoch"] not in by_epoch:
        yield f"the best epoch {best['epoch']} of summary.json is not in metrics.jsonl"
        return
    if best["epoch"]:
        metric = selection_metric(config.trainer.select_on, config.task)
        value = by_epoch[best["epoch"]].get(metric)
        if value != best["value"]:
            yield f"the best {metric} is {best['value']} in summary.json and {value} in metrics.jsonl"
    trained = final.get("trained", {})
    again = {kind for entry in summary.get("evaluated", []) for kind in entry["evaluators"]}
    for selection, epoch in (("last", 0), ("best", best["epoch"])):
        row = by_epoch.get(epoch, rows[-1]) if rows else None
        if row is not None and not _changed_since(row, config):
            measured = trained.get(selection, {})
            yield from _differing(measured, row, selection, scores_again=bool(again))


def _changed_since(row: dict[str, Any], config: Config) -> bool:
    """Whether a phase without epochs may have changed the network after an epoch."""
    phases = config.run_phases()
    names = [phase.name for phase in phases]
    later = phases[names.index(row["phase"]) + 1 :] if row["phase"] in names else []
    return any(phase.epochs == 0 for phase in later)


def _differing(
    final: dict[str, float], row: dict[str, Any], selection: str, *, scores_again: bool
) -> Iterator[str]:
    for metric in sorted(final.keys() & row.keys()):
        split = metric.partition("/")[0]
        # After an epoch, training metrics are running means over its batches.
        if split == "train":
            continue
        score = split in ("validation", "test")
        near = _SAME_SCORE if score and scores_again else _SAME_SCORE / 10 if score else _SAME
        if not math.isclose(final[metric], row[metric], rel_tol=near, abs_tol=near if score else 0):
            yield (
                f"{metric} of the {selection} epoch is {final[metric]:.6g} in summary.json and "
                f"{row[metric]:.6g} in metrics.jsonl"
            )


def _never_measured(config: Config, summary: dict[str, Any]) -> Iterator[str]:
    """Every final number comes from training or an evaluator that the run or a later command had."""
    later = {kind for entry in summary.get("evaluated", []) for kind in entry["evaluators"]}
    kinds: dict[str, type[EvaluatorConfig]] = {kind.kind: kind for kind in GROUPS["evaluators"]}
    used = [type(e) for e in config.evaluators.values()] + [kinds[k] for k in later if k in kinds]
    patterns = {"cost/train_*", *(pattern for kind in used for pattern in kind.measures)}
    for variant, selections in summary["final"].items():
        allowed = patterns if variant == "trained" else patterns | {"train/*"}
        for metric in {metric for metrics in selections.values() for metric in metrics}:
            if not any(fnmatch.fnmatchcase(metric, pattern) for pattern in allowed):
                yield f"summary.json has {metric}, which none of its evaluators measures"
