"""Comparing the run in a directory with the config that is asked for."""

from __future__ import annotations

from typing import Any

from bregbench.evaluators import EvaluatorConfig
from bregbench.foundations.errors import BenchError
from bregbench.foundations.identity import identity
from bregbench.runs.agreement import refuse_disagreement
from bregbench.runs.load import read_config
from bregbench.schema.config import Config
from bregbench.storage.directory import RunDirectory
from bregbench.storage.ledger import refuse_damaged_files


def refuse_another(config: Config, directory: RunDirectory) -> None:
    """Refuse a directory of another config whose eight-digit hash is equal by chance.

    Raises:
        BenchError: the directory holds the run of another config.
    """
    stored = _stored(directory)
    if stored is None:
        return
    ours, theirs = (identity(each, contents=False) for each in (config, stored))
    differing = sorted(key for key in ours | theirs if ours.get(key) != theirs.get(key))
    if differing:
        raise BenchError(
            f"run directory {directory.path} holds another run, which differs in "
            f"{', '.join(differing)} and by chance has the same hash: change experiment_name="
        )


def refuse_mixed(config: Config, directory: RunDirectory) -> None:
    """Refuse a finished run whose metrics and summary do not belong to its config, or with damaged files.

    Raises:
        BenchError: files of the run are damaged or disagree.
    """
    if _stored(directory) is not None:
        refuse_disagreement(directory, config.run_name, asked=config)
    refuse_damaged_files(directory, lacking=False)


def lacking(config: Config, directory: RunDirectory) -> list[str]:
    """One line for each requested option that a finished run lacks, with the remedy.

    Evaluators, snapshots and top-5 accuracy are no part of a run's identity: requesting more of them does not
    start another run.
    """
    stored = _stored(directory)
    if stored is None:
        return []
    summary = directory.read_summary()
    fresh = _fresh_evaluators(config, stored, summary)
    known, now = summary.get("sources", {}), config.sources()
    notes = [
        f"{key}.factory: its file has changed since this run was trained: another experiment_name= trains "
        "the new one"
        for key in known
        if key in now and now[key] != known[key]
    ]
    if fresh:
        notes.append(
            f"this finished run was not measured with evaluators={_list(fresh)} as they are set now: "
            f"bregbench evaluate run={directory.path} evaluators={_list(fresh)} does it"
        )
    untrained = _untrained(config, stored, directory, summary["epochs"])
    untrained += [f"traces of {n}" for n, e in fresh.items() if _keeps_traces(e)]
    if untrained:
        notes.append(
            f"this finished run has no {', '.join(untrained)}, which only training makes: delete "
            f"{directory.path} to train it again"
        )
    return notes


def _stored(directory: RunDirectory) -> Config | None:
    """The config in a directory; None if there is none that this version can read."""
    if not directory.config.is_file():
        return None
    try:
        return read_config(directory)
    except BenchError:
        return None


def _fresh_evaluators(
    config: Config, stored: Config, summary: dict[str, Any]
) -> dict[str, EvaluatorConfig]:
    later = {kind for entry in summary.get("evaluated", []) for kind in entry["evaluators"]}
    known = list(stored.evaluators.values())
    return {
        name: evaluator
        for name, evaluator in config.evaluators.items()
        if evaluator not in known and evaluator.kind not in later
    }


def _untrained(config: Config, stored: Config, directory: RunDirectory, epochs: int) -> list[str]:
    wanted = [epoch for epoch in config.trainer.snapshots if epoch <= epochs]
    missing = [epoch for epoch in wanted if not directory.snapshot(epoch).is_file()]
    found = [f"trainer.snapshots={_list(missing)}"] if missing else []
    if getattr(config.task, "top5", False) and not getattr(stored.task, "top5", False):
        found.append("task.top5")
    return found


def _keeps_traces(evaluator: EvaluatorConfig) -> bool:
    return type(evaluator).traces is not EvaluatorConfig.traces


def _list(items: Any) -> str:
    return f"[{','.join(map(str, items))}]"
