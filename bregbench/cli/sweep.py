"""Sweeps: a failing job does not stop the others, an interrupted one does; the end says which they were."""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from bregbench.foundations.console import fail, say
from bregbench.foundations.errors import BenchError, Interrupted
from bregbench.foundations.files import write_json
from bregbench.foundations.interrupts import end_with_parent, orphaned

_OUTCOME = "outcome.json"


class Stopped(BaseException):
    """Ends a sweep: no `Exception`, because Hydra catches those of a job and begins the next one."""


class SweepDirectory(Callback):
    """A Hydra callback that remembers where the present sweep keeps its outcomes.

    Jobs may run in other processes or on other machines, so they leave their outcome in a file.
    """

    path: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Hydra calls this in the launching process, before any job."""
        SweepDirectory.path = Path(config.hydra.sweep.dir)


def in_sweep() -> bool:
    """Whether the present job is part of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def has_begun() -> bool:
    """Whether a job of the sweep has begun: what is raised before is an error of the command."""
    return SweepDirectory.path is not None and any(SweepDirectory.path.glob(f"*/{_OUTCOME}"))


def begin_job() -> None:
    """Leave word of a job that has begun: if its process is killed, nobody else says so."""
    if SweepDirectory.path is None:
        # This is a worker: Hydra calls back in the launching process alone.
        end_with_parent()
    hydra = HydraConfig.get()
    _write_outcome(
        "its process ended without a word (it was killed, mostly for want of memory, or with another job of "
        "the sweep): the same command goes on from the last checkpoint",
        code=None,
        job=int(hydra.job.num),
        overrides=" ".join(hydra.overrides.task),
    )


def report_job(error: Exception | None) -> None:
    """Leave a job's outcome in its directory, and say at once what went wrong.

    Raises:
        Stopped: the job was interrupted, and the sweep with it.
    """
    hydra = HydraConfig.get()
    overrides = " ".join(hydra.overrides.task)
    expected = (BenchError, Interrupted)
    reason = None
    if error is not None:
        reason = str(error) if isinstance(error, expected) else f"{type(error).__name__}: {error}"
        if not isinstance(error, expected):
            traceback.print_exception(error)
        tell = say if isinstance(error, Interrupted) else fail
        tell(f"job {hydra.job.num} ({overrides}): {reason}")
    code = error.code if isinstance(error, Interrupted) else None
    _write_outcome(reason, code=code, job=int(hydra.job.num), overrides=overrides)
    if orphaned():
        os._exit(1 if code is None else code)
    if code is not None:
        raise Stopped


def _write_outcome(reason: str | None, *, code: int | None, job: int, overrides: str) -> None:
    outcome = {"job": job, "overrides": overrides, "reason": reason, "code": code}
    write_json(Path(HydraConfig.get().runtime.output_dir) / _OUTCOME, outcome)


def summarize(ended: Exception | None = None) -> int:
    """List the failed jobs of the sweep that has just ended.

    Args:
        ended: what ended the sweep before all of its jobs had begun, such as a worker that was killed.

    Returns:
        Exit code of the command: that of the interruption, else 1 if a job failed, else 0.
    """
    if SweepDirectory.path is None:
        return 0
    files = sorted(SweepDirectory.path.glob(f"*/{_OUTCOME}"))
    outcomes = sorted((json.loads(f.read_text()) for f in files), key=lambda o: o["job"])
    stopped = [outcome for outcome in outcomes if outcome["code"] is not None]
    failed = [outcome for outcome in outcomes if outcome["reason"] and outcome not in stopped]
    complete, begun = len(outcomes) - len(failed) - len(stopped), " begun" if stopped else ""
    say(f"sweep: {complete} of {len(outcomes)} jobs{begun} complete")
    for outcome in failed:
        fail(f"failed job {outcome['job']} ({outcome['overrides']}): {outcome['reason']}")
    if stopped:
        say(f"sweep ended with job {stopped[0]['job']}: {stopped[0]['reason']}")
        return int(stopped[0]["code"])
    if ended is not None:
        why = (str(ended).strip() or type(ended).__name__).splitlines()[0]
        fail(
            f"the sweep ended before all of its jobs had begun ({why}): give the same command again"
        )
        return 1
    return 1 if failed else 0
