"""Weights of finished runs and records, read from files without building a network."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import torch

from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import read_tensors
from bregbench.storage.directory import RunDirectory
from bregbench.storage.sparse_weights import load_sparse

#: The remedy if a finished run lacks files that only training makes.
TRAIN_ANEW = "delete it (run directory and record) and train it again with the command of its table"


class Selection(StrEnum):
    """The epoch to which weights and metrics of a run belong."""

    last = "last"
    #: The epoch with the best score on the images of `trainer.select_on`.
    best = "best"


def finished(path: str | Path) -> RunDirectory:
    """The directory of a finished run or a record.

    Raises:
        BenchError: the run has not finished, or there is no run.
    """
    directory = RunDirectory(path)
    if not directory.complete:
        raise BenchError(f"run={path} is not a finished run: give a directory with a summary.json")
    return directory


def last_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The weights at the end of a run, by parameter name.

    Raises:
        BenchError: there is no finished run, or its weights were not kept.
    """
    return weights_of(finished(path), Selection.last)


def snapshot_of(directory: RunDirectory, epoch: int) -> dict[str, torch.Tensor]:
    """The weights after an epoch, one of the run's `trainer.snapshots`.

    Raises:
        BenchError: the weights of this epoch were not kept.
    """
    path = directory.snapshot(epoch)
    if not path.is_file():
        kept = sorted(int(p.stem.removeprefix("epoch")) for p in directory.snapshots.glob("*"))
        raise BenchError(
            f"{directory.path} holds no weights of epoch {epoch}: choose one of "
            f"{', '.join(map(str, kept)) or '(none)'}, or delete it (run directory and record) and "
            f"train it again with trainer.snapshots=[{epoch}]"
        )
    return load_sparse(path)


def weights_of(directory: RunDirectory, selection: str) -> dict[str, torch.Tensor]:
    """The weights of the `last` or the `best` epoch.

    Raises:
        BenchError: the selection is unknown, or its weights were not kept.
    """
    if selection not in list(Selection):
        raise BenchError(f"selection={selection} is unknown: use {' or '.join(Selection)}")
    if selection == Selection.best and directory.best.is_file():
        return read_tensors(directory.best)
    if selection == Selection.last and directory.weights.is_file():
        return read_tensors(directory.weights)
    if selection == Selection.last and directory.sparse_weights.is_file():
        return load_sparse(directory.sparse_weights)
    raise BenchError(
        f"the {selection} weights of {directory.path} were not kept (records keep the last ones of seed "
        f"0 where they are small): give its run directory, or {TRAIN_ANEW}"
    )
