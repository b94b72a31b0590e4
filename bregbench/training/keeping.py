"""What a run keeps of its epochs while it trains: best weights and snapshots."""

from __future__ import annotations

from typing import Any

import torch

from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import read_tensors, write_tensors
from bregbench.schema.config import Config
from bregbench.schema.selecting import selection_metric
from bregbench.storage.directory import RunDirectory
from bregbench.storage.ledger import Ledger
from bregbench.storage.sparse_weights import load_sparse, save_sparse


class Keeper:
    """Writes weights of chosen epochs, and remembers in a ledger which files the run relies on.

    Args:
        config: says which epoch is the best, and of which ones snapshots are kept.
        directory: the run directory, locked by this process.

    Attributes:
        best: the best epoch of the phase at work and its score; epoch 0 is none yet.
        ledger: the files that the run relies on.
    """

    def __init__(self, config: Config, directory: RunDirectory) -> None:
        self.ledger = Ledger(directory)
        self.best: dict[str, Any] = {"epoch": 0, "value": None}
        self._directory = directory
        self._metric = selection_metric(config.trainer.select_on, config.task)
        rewinds = [e for p in config.run_phases() if p.begin is not None for e in p.begin.rewinds()]
        #: for figures, or to go back to
        self._snapshots = {*config.trainer.snapshots, *rewinds}

    def begin_phase(self) -> None:
        """Forget the best epoch: "best" is a choice among the networks of the last phase."""
        self.best = {"epoch": 0, "value": None}
        self.ledger.drop(self._directory.best)

    def keep(self, epoch: int, metrics: dict[str, float], state: dict[str, torch.Tensor]) -> None:
        """Write the weights after an epoch where it is the best so far, or one to be kept."""
        value = metrics.get(self._metric)
        held = self.best["value"]
        # The latest of equals, as in the published code; without validation data the last epoch.
        if value is None or held is None or value >= held:
            self.best = {"epoch": epoch, "value": value}
            # Beside the former ones, on which the last checkpoint still relies.
            write_tensors(self._directory.next_best, state, make_folder=False)
        self.keep_snapshot(epoch, state)

    def keep_snapshot(self, epoch: int, state: dict[str, torch.Tensor]) -> None:
        """Write the weights after an epoch if they are to be kept."""
        if epoch in self._snapshots:
            path = self._directory.snapshot(epoch)
            self._directory.make_snapshots()
            save_sparse(path, state)
            self.ledger.add(path)

    def snapshot(self, epoch: int, *, now: int) -> dict[str, torch.Tensor]:
        """The weights after an epoch of this run.

        Args:
            epoch: which one, 0 being the start.
            now: how many epochs are finished.

        Raises:
            BenchError: they were not kept.
        """
        path = self._directory.snapshot(epoch)
        if not path.is_file():
            raise BenchError(
                f"no weights of epoch {epoch} to go back to: the run is at epoch {now}; rewind to an "
                "earlier one"
            )
        return load_sparse(path)

    def sync(self) -> None:
        """Make sure that what the next checkpoint relies on is on the disk.

        Raises:
            BenchError: a file of the run was deleted or cut short.
        """
        self._directory.refuse_gone()
        if self._directory.next_best.is_file():
            self.ledger.add(self._directory.best, written_as=self._directory.next_best)
        self.ledger.sync()

    def restore(self, best: dict[str, Any], files: dict[str, Any] | None, *, epochs: int) -> None:
        """Make sure that what a checkpoint relies on is there.

        Args:
            best: the best epoch of the checkpoint.
            files: its ledger; None of older checkpoints, which do not say what they rely on.
            epochs: finished epochs of the checkpoint.

        Raises:
            BenchError: a file was lost or damaged.
        """
        self.best = best
        if files is not None:
            self.ledger.load_state_dict(files)
            return
        if len(self._directory.read_metrics()) < epochs:
            raise BenchError(
                f"{self._directory.metrics} has lost epochs that {self._directory.checkpoint} is past: "
                f"put it back, or delete {self._directory.path} to start this run again"
            )
        self._directory.keep_metrics(epochs)
        self.ledger.begin()
        if best["epoch"] > 0:
            read_tensors(self._directory.best)
            self.ledger.add(self._directory.best)
        for epoch in self._snapshots:
            if epoch <= epochs:
                self.snapshot(epoch, now=epochs)
                self.ledger.add(self._directory.snapshot(epoch))
