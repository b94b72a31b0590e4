"""One run from config to summary: lock, resume, train, evaluate, record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from bregbench.foundations.console import say
from bregbench.foundations.errors import BenchError, Diverged, Interrupted
from bregbench.foundations.files import (
    write_atomically,
    write_json,
    write_tensors,
    write_text,
)
from bregbench.foundations.identity import to_plain
from bregbench.foundations.provenance import provenance
from bregbench.measures import count_parameters, note_on_unreachable, peak_memory_bytes
from bregbench.runs.existing import lacking, refuse_another, refuse_mixed
from bregbench.runs.judge import judge_run, traces_of_run
from bregbench.schema.config import Config
from bregbench.schema.trainer import SelectOn
from bregbench.storage.directory import RunDirectory
from bregbench.training.trainer import Training


def run_directory(config: Config) -> RunDirectory:
    """The directory of a config's run, which depends on the hash of the config and on the seed."""
    return RunDirectory(Path(config.runs_dir) / config.run_name.path)


def train(config: Config, *, deadline: float | None = None) -> dict[str, Any]:
    """Train a run to its end and return its summary.

    A complete run is not trained again; an interrupted run continues from its checkpoint.

    Args:
        config: everything about the run.
        deadline: reading of `time.monotonic` after which to stop; None for never.

    Raises:
        BenchError: bad values, data that cannot be read, a run directory in use or of another run, a
            loss that is not finite.
        Interrupted: a signal or the deadline asked to stop; the position is saved.
    """
    config.check()
    config.check_order()
    config = config.settled()
    directory = run_directory(config)
    refuse_another(config, directory)
    if directory.complete:
        refuse_mixed(config, directory)
        say(f"complete: {directory.path}")
        for note in lacking(config, directory):
            say(f"note: {note}")
        return directory.read_summary()
    with directory.locked(), config.trainer.applied():
        if directory.complete:
            return directory.read_summary()
        try:
            return _own_files_kept(partial(_train_locked, config, directory, deadline), directory)
        except (BenchError, Interrupted) as error:
            state = "interrupted" if isinstance(error, Interrupted) else "failed"
            diverged = {"diverged": True} if isinstance(error, Diverged) else {}
            _note_end(directory, state, str(error), **diverged)
            raise
        except BaseException as error:
            state = "failed" if isinstance(error, Exception) else "interrupted"
            _note_end(directory, state, f"{type(error).__name__}: {error}")
            raise


def _own_files_kept(work: Callable[[], dict[str, Any]], directory: RunDirectory) -> dict[str, Any]:
    """Do the work, and report a file of the run that was deleted meanwhile.

    Raises:
        BenchError: a file of the run is missing.
    """
    try:
        return work()
    except FileNotFoundError as error:
        if error.filename is None or not Path(error.filename).is_relative_to(directory.path):
            raise
        raise BenchError(
            f"{error.filename} was deleted while this run trained: put the file back, or delete "
            f"{directory.path} and give the same command again to start from the beginning"
        ) from error


def _note_end(directory: RunDirectory, state: str, reason: str, **more: bool) -> None:
    """Leave a note of why a run has stopped, where there is still a place for it."""
    with contextlib.suppress(BenchError):
        directory.refuse_gone()
        directory.write_status(state, reason=reason, **more)


def _train_locked(
    config: Config, directory: RunDirectory, deadline: float | None
) -> dict[str, Any]:
    started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    write_json(directory.config, to_plain(config), make_folder=False)
    training = Training(config, directory)
    _begin(training)
    total = sum(phase.epochs for phase in training.phases)
    directory.write_status("running", epoch=training.position.epochs, epochs=total)
    tracker = config.tracking.build(
        name=f"{directory.name}-seed{config.seed}",
        group=config.experiment_name,
        directory=directory.tracking,
        config=to_plain(config),
    )
    try:
        tracker.catch_up(directory.read_metrics())
        training.run(tracker, deadline=deadline)
        training.keeper.ledger.refuse_damaged()
        summary = _summarize(training, started)
        tracker.finish(summary)
    finally:
        tracker.close()
    _keep_results(training, summary)
    directory.write_status("complete", epoch=training.position.epochs, epochs=total)
    directory.checkpoint.unlink(missing_ok=True)
    for note in summary["notes"]:
        say(f"note: {note}")
    say(f"complete: {directory.path}{_brief(summary)}")
    return summary


def _begin(training: Training) -> None:
    """Resume the run from its checkpoint, or start it."""
    directory = training.directory
    ledger = training.keeper.ledger
    if training.resume():
        say(f"resumed: {directory.path} after epoch {training.position.epochs}")
        for note in training.sources.notes():
            say(f"note: {note}")
    else:
        training.begin()
        lines = directory.metrics.read_bytes().count(b"\n") if directory.metrics.is_file() else 0
        again = f" again: its {lines} epochs have no checkpoint" if lines else ""
        say(f"started{again}: {directory.path}")
        note = note_on_unreachable(training.network)
        if note is not None:
            say(f"note: {note}")
        directory.remove_results()
        ledger.begin()
        # The file shows the penalties of the first phase, also after later phases.
        write_text(directory.penalties, training.method.describe(), make_folder=False)
    # Written again just before the ledger reads it: it may have been damaged while the data were read.
    write_json(directory.config, to_plain(training.config), make_folder=False)
    ledger.add(directory.config)
    ledger.add(directory.penalties)


def _keep_results(training: Training, summary: dict[str, Any]) -> None:
    """Write weights and traces of a finished run, then its summary if no other file is damaged."""
    directory, ledger = training.directory, training.keeper.ledger
    write_tensors(directory.weights, training.network.state_dict(), make_folder=False)
    ledger.add(directory.weights)
    traces = traces_of_run(training)
    if traces:
        write_atomically(directory.traces, lambda path: save_file(traces, path), make_folder=False)
        ledger.add(directory.traces)
    if training.keeper.best["epoch"] == 0:
        # The file has weights of an earlier phase, and the last phase has chosen no best epoch.
        directory.best.unlink(missing_ok=True)
    ledger.refuse_damaged()
    ledger.sync()
    summary["files"] = ledger.digests()
    write_json(directory.summary, summary, make_folder=False)
    try:
        # Once more: a file may have been lost while the summary was written.
        ledger.refuse_damaged()
    except BenchError:
        directory.summary.unlink(missing_ok=True)
        raise


def _summarize(training: Training, started: str) -> dict[str, Any]:
    config, position = training.config, training.position
    fingerprints, sources = config.fingerprints(), training.sources.current
    return {
        "name": config.name,
        "hash": config.run_name.hash,
        "experiment_name": config.experiment_name,
        "seed": config.seed,
        "epochs": position.epochs,
        "steps": position.steps,
        "seconds": round(position.seconds, 3),
        "started": started,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **provenance(training.device),
        "input_shape": list(training.data.input_shape),
        "classes": training.data.classes,
        "samples": {
            "train": len(training.data.train.labels),
            "validation": len(training.data.validation.labels),
            "test": len(training.data.test.labels),
        },
        "parameters": count_parameters(training.network),
        "peak_memory_bytes": peak_memory_bytes(training.device),
        "best": training.keeper.best,
        "initial": training.initial,
        **({"fingerprints": fingerprints} if fingerprints else {}),
        **({"sources": sources} if sources else {}),
        "notes": [
            *config.data.notes(),
            *training.method.notes(),
            *_selection_note(training),
            *training.sources.notes(),
            *_stopping_note(training),
        ],
        "final": judge_run(training),
    }


def _selection_note(training: Training) -> list[str]:
    if training.config.trainer.select_on is not SelectOn.test:
        return []
    return [
        "the best epoch was chosen on test images (trainer.select_on=test): its accuracy is no estimate "
        "for new ones"
    ]


def _stopping_note(training: Training) -> list[str]:
    phase = training.stage.phase
    if not training.stopped_early or training.position.phase_epochs == phase.epochs:
        return []
    return [
        f"phase {phase.name} ended after {training.position.phase_epochs} of {phase.epochs} epochs: none of "
        f"the last {training.config.trainer.patience} was as good as the best (trainer.patience)"
    ]


def _brief(summary: dict[str, Any]) -> str:
    found = summary["final"].get("trained", {}).get("last", {})
    shown = {
        "test accuracy": found.get("test/accuracy"),
        "density": found.get("density/total"),
    }
    return "".join(f"  {name} {value:.4f}" for name, value in shown.items() if value is not None)
