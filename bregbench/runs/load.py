"""Getting networks back from runs and records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from bregbench.data import Normalization
from bregbench.schema.config import Config
from bregbench.schema.plain import from_plain
from bregbench.storage.directory import RunDirectory
from bregbench.storage.restore import load_weights
from bregbench.storage.weights import finished, snapshot_of, weights_of


def load_run(path: str | Path, *, selection: str = "last", epoch: int | None = None) -> nn.Module:
    """The network of a finished run, in evaluation mode on the CPU.

    Args:
        path: a run directory or a record.
        selection: `last`, or `best` for the best validation epoch (run directories keep both,
            records the last one).
        epoch: one of the run's `trainer.snapshots`, whose weights are loaded instead.

    Raises:
        BenchError: no finished run there, or its weights were not kept.
    """
    directory = finished(path)
    summary = directory.read_summary()
    state = weights_of(directory, selection) if epoch is None else snapshot_of(directory, epoch)
    return _restored(read_config(directory), summary, state)


def network_of(config: Config, directory: RunDirectory) -> nn.Module:
    """The network after the last epoch of a run of this config, in evaluation mode on the CPU."""
    return _restored(config, directory.read_summary(), weights_of(directory, "last"))


def _restored(config: Config, summary: dict[str, Any], state: dict[str, torch.Tensor]) -> nn.Module:
    network = config.model.build(
        input_shape=tuple(summary["input_shape"]),
        classes=summary["classes"],
        normalization=Normalization(mean=state["normalize.mean"], std=state["normalize.std"]),
    )
    load_weights(network, state)
    return network.eval()


def read_config(directory: RunDirectory) -> Config:
    """The typed config of a run or record."""
    return from_plain(directory.read_config())
