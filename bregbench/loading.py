"""Getting networks back from runs and records."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bregbench.config import Config, from_plain
from bregbench.data import Normalization
from bregbench.errors import BenchError
from bregbench.files import read_tensors
from bregbench.run_dir import RunDirectory
from bregbench.sparse_weights import load_sparse
from bregbench.structure import load_weights

#: the remedy where a finished run lacks what only training makes
TRAIN_ANEW = "delete it (run directory and record) and train it again with the command of its table"


def load_run(path: str | Path, *, selection: str = "last", epoch: int | None = None) -> nn.Module:
    """The network of a finished run, in evaluation mode on the CPU.

    Args:
        path: a run directory or a record.
        selection: `last`, or `best` for the best validation epoch (run directories keep both,
            records the last one).
        epoch: the network after this epoch instead, one of the run's `trainer.snapshots`.

    Raises:
        BenchError: no finished run there, or its weights were not kept.
    """
    directory = RunDirectory(path)
    if not directory.complete:
        raise BenchError(f"run={path} is not a finished run: give a directory with a summary.json")
    summary = directory.read_summary()
    state = _weights(directory, selection) if epoch is None else _snapshot(directory, epoch)
    network = read_config(directory).model.build(
        input_shape=tuple(summary["input_shape"]),
        classes=summary["classes"],
        normalization=Normalization(mean=state["normalize.mean"], std=state["normalize.std"]),
    )
    load_weights(network, state)
    return network.eval()


def read_config(directory: RunDirectory) -> Config:
    """The typed config of a run or record."""
    return from_plain(directory.read_config())


def _snapshot(directory: RunDirectory, epoch: int) -> dict[str, torch.Tensor]:
    path = directory.snapshot(epoch)
    if not path.is_file():
        kept = sorted(int(p.stem.removeprefix("epoch")) for p in directory.snapshots.glob("*"))
        raise BenchError(
            f"{directory.path} holds no weights of epoch {epoch}: choose one of "
            f"{', '.join(map(str, kept)) or '(none)'}, or delete it (run directory and record) and "
            f"train it again with trainer.snapshots=[{epoch}]"
        )
    return load_sparse(path)


def _weights(directory: RunDirectory, selection: str) -> dict[str, torch.Tensor]:
    if selection not in ("last", "best"):
        raise BenchError(f"selection={selection} is unknown: use last or best")
    if selection == "best" and directory.best.is_file():
        return read_tensors(directory.best)
    if selection == "last" and directory.weights.is_file():
        return read_tensors(directory.weights)
    if selection == "last" and directory.sparse_weights.is_file():
        return load_sparse(directory.sparse_weights)
    raise BenchError(
        f"the {selection} weights of {directory.path} were not kept (records keep the last ones of seed "
        f"0 where they are small): give its run directory, or {TRAIN_ANEW}"
    )
