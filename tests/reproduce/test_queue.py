"""The queue over missing results when its processes are killed or asked to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing import active_children

import pytest

from bregbench.foundations.errors import Interrupted
from bregbench.reproduce import queue
from bregbench.reproduce.plan import plan
from bregbench.reproduce.train import Stopped, run_missing
from bregbench.runs.train import run_directory
from bregbench.storage.locking import is_held
from tests.places import ROOT, at
from tests.reproduce import queue_jobs


@dataclass
class FakeJob:
    """As much of a job as the queue looks at; `config` travels to the worker."""

    config: queue_jobs.FakeConfig
    label: str = "fake"
    done: bool = False
    blocked: str = ""
    source: None = None


def test_a_killed_process_takes_its_job_along_and_no_other(monkeypatch, tmp_path):
    monkeypatch.setattr(queue, "_train", queue_jobs.train)
    names = ["slow", "killed", "after", "last"]
    jobs = [FakeJob(queue_jobs.FakeConfig(name, str(tmp_path))) for name in names]
    failed = queue.work(jobs, workers=2, deadline=None)  # pyright: ignore[reportArgumentType]
    assert [job.config.experiment_name for job, _ in failed] == ["killed"]
    assert failed[0][1].startswith("its process was killed, most likely because memory ran out")
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


#: two workers, of which one is at work for an hour and the other waits for a job
QUEUE = """
import sys
from bregbench.reproduce import queue
from tests.reproduce import queue_jobs
from tests.reproduce.test_queue import FakeJob

queue._train = queue_jobs.train
names = ("endless", "idle")
jobs = [FakeJob(queue_jobs.FakeConfig(name, sys.argv[1])) for name in names]
if __name__ == "__main__":
    queue.work(jobs, workers=2, deadline=None)
"""


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "queue_.py"
    script.write_text(QUEUE)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    locks = [tmp_path / f"{name}.lock" for name in ("endless", "idle")]
    try:
        while not all(is_held(lock) for lock in locks):
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    while any(is_held(lock) for lock in locks):  # else this never ends
        time.sleep(0.05)


def test_a_run_that_another_process_holds_has_not_failed(small_table, tmp_path, local, capsys):
    jobs = plan(small_table, at(tmp_path / "records", *local), rows=["Dense"], seeds=[0, 1])
    with run_directory(jobs[0].config).locked():
        assert run_missing(jobs, tmp_path / "records", deadline=None) == []
    said = capsys.readouterr().err
    assert f"left out: run directory {run_directory(jobs[0].config).path} is in use by" in said
    assert not run_directory(jobs[0].config).complete
    assert run_directory(jobs[1].config).complete


def test_the_queue_tells_failures_from_runs_held_elsewhere(monkeypatch, tmp_path):
    answers = {
        "held": Stopped("in use", failed=False),
        "late": Stopped("interrupted", failed=False),
        "broken": Stopped("no data", failed=True),
    }

    class Worker:
        def submit(self, config, deadline):
            future: Future[Stopped | None] = Future()
            future.set_result(answers.get(config.experiment_name))
            return future

        def close(self) -> None:
            pass

    monkeypatch.setattr(queue, "_Worker", Worker)
    names = ["held", "fine", "late", "broken"]
    jobs = [FakeJob(queue_jobs.FakeConfig(name, str(tmp_path))) for name in names]
    failed = queue.work(jobs, workers=1, deadline=None)  # pyright: ignore[reportArgumentType]
    assert [(job.config.experiment_name, why) for job, why in failed] == [("broken", "no data")]
