"""Measuring finished networks: saved runs, records, and anybody's own module."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bregbench.config import Config
from bregbench.context import RunContext
from bregbench.data import Data
from bregbench.evaluators import EvaluatorConfig
from bregbench.files import write_json
from bregbench.loading import load_run
from bregbench.provenance import provenance
from bregbench.run_dir import RunDirectory
from bregbench.streams import Streams
from bregbench.tasks import Classification, TaskConfig
from bregbench.trainer_config import Precision
from clip.evaluation import evaluating


def evaluate(
    network: nn.Module,
    data: Data,
    evaluators: list[EvaluatorConfig],
    *,
    task: TaskConfig | None = None,
    seed: int = 0,
    bf16: bool = False,
) -> dict[str, float]:
    """Measure any network on the splits of a data set.

    Args:
        network: maps images in [0, 1] to outputs, on the device of the data; normalisation is its
            own business. The modes of its modules are put back afterwards.
        data: what `DatasetConfig.build` returns.
        evaluators: what to measure, for instance ``[Accuracy(), Lipschitz()]``.
        task: classification if None.
        seed: of attacks and noise.
        bf16: whether forward passes run under bfloat16 autocast.

    Returns:
        Metrics by name, as `docs/metrics.md` defines them.
    """
    context = RunContext(
        task=task or Classification(),
        data=data,
        batch_size=1,
        steps_per_epoch=len(data.train),
        epochs=0,
        device=data.train.images.device,
        streams=Streams(seed),
        bf16=bf16,
    )
    metrics: dict[str, float] = {}
    with evaluating(network):
        for evaluator in evaluators:
            metrics |= evaluator.evaluate(network, data, context)
    return metrics


def evaluate_run(
    directory: RunDirectory,
    config: Config,
    evaluators: list[EvaluatorConfig],
    *,
    selection: str,
) -> dict[str, float]:
    """Measure a finished run or record, and add the metrics to its summary.

    Args:
        directory: the run or record.
        config: its config, with paths and device of this machine.
        evaluators: what to measure.
        selection: `last` or `best`.

    Raises:
        BenchError: no finished run, weights not kept, or data that cannot be read.
    """
    device = config.trainer.torch_device()
    with config.trainer.applied():
        network = load_run(directory.path, selection=selection).to(device)
        metrics = evaluate(
            network,
            config.data.build(device),
            evaluators,
            task=config.task,
            seed=config.seed,
            bf16=config.trainer.precision is Precision.bf16,
        )
    summary = directory.read_summary()
    summary["final"]["trained"][selection] |= metrics
    entry: dict[str, Any] = {
        "evaluators": [evaluator.kind for evaluator in evaluators],
        "selection": selection,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    summary.setdefault("evaluated", []).append(entry | provenance(torch.device(device)))
    write_json(directory.summary, summary)
    return metrics


def find_run(path: str) -> RunDirectory:
    """The run directory or record at a path, or the only one below it.

    Raises:
        BenchError: none there, or several.
    """
    from bregbench.errors import BenchError

    directory = RunDirectory(path)
    if directory.config.is_file():
        return directory
    below = sorted(p.parent for p in Path(path).rglob(directory.config.name))
    if len(below) == 1:
        return RunDirectory(below[0])
    found = f"{len(below)} runs below it" if below else "no run there"
    raise BenchError(f"run={path}: {found}: give one run directory or record")
