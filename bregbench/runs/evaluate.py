"""Measuring finished networks: saved runs, records, and anybody's own module."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from bregbench.data import Data
from bregbench.data.loader import to_unit_interval
from bregbench.evaluators import EvaluatorConfig
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import write_json
from bregbench.foundations.provenance import provenance
from bregbench.foundations.streams import Streams
from bregbench.methods.optimizer import OptimizerConfig
from bregbench.runs.judge import judge
from bregbench.runs.load import load_run
from bregbench.schema.check import check_tree
from bregbench.schema.config import Config
from bregbench.schema.trainer import Precision
from bregbench.storage.directory import RunDirectory
from bregbench.tasks.base import Classification, TaskConfig
from bregbench.tasks.context import RunContext
from dessilbi import recalibrate


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
        network: maps images in [0, 1] to outputs, on the device of the data; inputs are not normalised
            for it. The modes of its modules are put back afterwards.
        data: what `DatasetConfig.build` returns.
        evaluators: what to measure, for instance ``[Accuracy(), Lipschitz()]``.
        task: classification if None.
        seed: of attacks and noise.
        bf16: whether forward passes run under bfloat16 autocast.

    Returns:
        Metrics by name, as `docs/metrics.md` defines them.

    Raises:
        BenchError: a value of an evaluator is out of range, a number is not finite, or an evaluator cannot
            measure this network.
    """
    for evaluator in evaluators:
        check_tree(evaluator, f"evaluators.{evaluator.kind}")
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
    return judge(network, evaluators, data, context)


def evaluate_run(
    directory: RunDirectory,
    config: Config,
    evaluators: list[EvaluatorConfig],
    *,
    selection: str,
    variant: str = "trained",
) -> dict[str, float]:
    """Measure a finished run or record, and add the metrics to its summary.

    Args:
        directory: the run or record.
        config: its config, with paths and device of this machine.
        evaluators: what to measure.
        selection: `last` or `best`.
        variant: `trained`, or one that the weights give: `thresholded`, and `cut` of spred.

    Raises:
        BenchError: no finished run, weights not kept, data that cannot be read, or a variant that the
            saved weights do not determine.
    """
    device = config.trainer.torch_device()
    with config.trainer.applied():
        data = config.data.build(device)
        loaded = load_run(directory.path, selection=selection).to(device)
        network = variant_of(loaded, config, variant, data)
        metrics = evaluate(
            network,
            data,
            evaluators,
            task=config.task,
            seed=config.seed,
            bf16=config.trainer.precision is Precision.bf16,
        )
    entry: dict[str, Any] = {
        "evaluators": [evaluator.kind for evaluator in evaluators],
        "selection": selection,
        "variant": variant,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    entry |= provenance(torch.device(device))
    # Read only now: another command may have added to the summary while this one measured.
    with directory.keeping():
        summary = directory.read_summary()
        summary["final"].setdefault(variant, {}).setdefault(selection, {}).update(metrics)
        summary.setdefault("evaluated", []).append(entry)
        write_json(directory.summary, summary, make_folder=False)
    return metrics


def variant_of(
    network: nn.Module, config: Config, variant: str, data: Data | None = None
) -> nn.Module:
    """The network as trained, or cut as the method of the last phase says, norm layers measured anew.

    Args:
        network: as trained.
        config: of its run.
        variant: one of `variants` of that method.
        data: the data of the run; read where they are needed if None.

    Raises:
        BenchError: the run has no such variant, or its saved weights do not determine the variant.
    """
    if variant == "trained":
        return network
    method = config.run_phases()[-1].method
    cuts = method.cuts(network) if isinstance(method, OptimizerConfig) else {}
    if variant not in cuts:
        allowed = " and ".join(["trained", *cuts])
        known = variant in method.variants and variant != "thresholded"
        why = f"; {variant} rests on the optimiser's state, which is not kept" if known else ""
        raise BenchError(f"variant={variant}: this run has {allowed}{why}")
    cut = cuts[variant]()
    if isinstance(method, OptimizerConfig) and method.recalibrate:
        device = next(cut.parameters()).device
        train = (data or config.data.build(device)).train
        recalibrate(cut, to_unit_interval(train.images[: method.recalibrate]))
    return cut
