"""Tensors that evaluators and methods keep of a run, for figures."""

from __future__ import annotations

import torch

from bregbench.foundations.errors import BenchError
from bregbench.storage.directory import RunDirectory
from bregbench.storage.sparse_weights import load_tensors
from bregbench.storage.weights import TRAIN_ANEW


def traces_of(run: RunDirectory, evaluator: str) -> dict[str, torch.Tensor]:
    """The tensors that an evaluator kept of a run, by name.

    Raises:
        BenchError: the run has no traces of the evaluator.
    """
    found: dict[str, torch.Tensor] = {}
    if run.traces.is_file():
        found = {
            name.removeprefix(f"{evaluator}/"): tensor
            for name, tensor in load_tensors(run.traces).items()
            if name.startswith(f"{evaluator}/")
        }
    if not found:
        raise BenchError(
            f"{run.path} has no traces of evaluators=[{evaluator}] (records keep those of seed 0): "
            f"{TRAIN_ANEW}"
        )
    return found
