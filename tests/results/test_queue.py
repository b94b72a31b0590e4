"""The queue over missing results when its processes are killed or asked to stop."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing import active_children

import pytest

from bregbench.foundations.errors import Interrupted
from bregbench.reproduce import queue
from bregbench.reproduce.plan import plan
from bregbench.runs.train import run_directory
from tests import queue_jobs
from tests.places import at


@dataclass
class FakeJob:
    """As much of a job as the queue looks at; `config` travels to the worker."""

    config: queue_jobs.FakeConfig
    label: str = "fake"
    done: bool = False
    blocked: str = ""


def test_a_killed_process_takes_its_job_along_and_no_other(monkeypatch, tmp_path):
    monkeypatch.setattr(queue, "_train", queue_jobs.train)
    names = ["slow", "killed", "after", "last"]
    jobs = [FakeJob(queue_jobs.FakeConfig(name, str(tmp_path))) for name in names]
    failed = queue.work(jobs, workers=2, deadline=None)  # pyright: ignore[reportArgumentType]
    assert [job.config.experiment_name for job, _ in failed] == ["killed"]
    assert failed[0][1].startswith("its process was killed, mostly for want of memory")
    assert {path.name for path in tmp_path.iterdir()} == {"slow", "after", "last"}


@pytest.mark.slow
def test_sigterm_to_the_queue_stops_its_worker_which_saves_its_position(
    small_table, tmp_path, local
):
    small_table.common[-1] = "trainer.epochs=1000000"  # more than any machine trains meanwhile
    jobs = plan(small_table, at(tmp_path / "records", *local), rows=["Dense"], seeds=[0, 1])
    first = run_directory(jobs[0].config)

    over = threading.Event()

    def terminate() -> None:
        while not first.metrics.is_file() or not first.read_metrics():
            if over.wait(0.01):  # the worker has failed, or there was none
                return
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=terminate)
    thread.start()
    try:
        with pytest.raises(Interrupted, match="SIGTERM"):
            queue.work(jobs, workers=1, deadline=None)
    finally:
        over.set()
        thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert not active_children()
    assert first.read_status()["state"] == "interrupted"
    assert first.checkpoint.is_file()
    assert not run_directory(jobs[1].config).path.exists()
