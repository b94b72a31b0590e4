"""Running evaluators on finished networks, at the end of a run and later."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable

import torch
from torch import nn

from bregbench.data import Data
from bregbench.evaluators import EvaluatorConfig
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import read_tensors
from bregbench.methods.base import Split, Traced
from bregbench.storage.weights import Selection
from bregbench.tasks.context import RunContext
from bregbench.tasks.scoring import score
from bregbench.training.trainer import Training
from bregman.modules import evaluating


def judge(
    network: nn.Module,
    evaluators: Iterable[EvaluatorConfig],
    data: Data,
    context: RunContext,
) -> dict[str, float]:
    """Metrics of a network by all evaluators.

    Args:
        network: on the device of the data; the modes of its modules are put back afterwards.
        evaluators: what to measure.
        data: all splits.
        context: task, device, precision.

    Raises:
        BenchError: a number is not finite, or an evaluator cannot measure this network.
    """
    metrics: dict[str, float] = {}
    with evaluating(network):
        for evaluator in evaluators:
            metrics |= evaluator.evaluate(network, data, context)
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise BenchError(f"{name} is {value} at the end of the run: the network is not usable")
    return metrics


def judge_run(training: Training) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics of a trained run, as `final[variant][last|best][metric]`.

    By default nothing else in a run uses the test split. Afterwards, the network has the weights of the last
    epoch.
    """
    network, best_epoch = training.network, training.keeper.best["epoch"]
    last = copy.deepcopy(network.state_dict())
    best = read_tensors(training.directory.best, training.device) if best_epoch > 0 else last
    final: dict[str, dict[str, dict[str, float]]] = {}
    for selection, state in ((Selection.best, best), (Selection.last, last)):
        network.load_state_dict(state)
        average = training.average
        if average is not None and selection is Selection.last:
            final["ema"] = {"last": _judge_variant(average.network, "ema", training)}
        # Variants that rest on the optimiser's state belong to the weights of the last epoch.
        spent = _spent(training, best_epoch if selection is Selection.best else 0)
        past = selection is Selection.best and best_epoch not in (0, training.position.epochs)
        hidden = training.method.last_only if past and isinstance(training.method, Split) else ()
        for variant, judged in training.method.variants().items():
            known = training.stage.phase.method.variants
            assert variant in known, f"{variant} is not among the variants {known} of the method"
            if variant not in hidden:
                final.setdefault(variant, {})[selection.value] = (
                    _judge_variant(judged, variant, training) | spent
                )
    return final


def traces_of_run(training: Training) -> dict[str, torch.Tensor]:
    """Tensors that evaluators and the last phase's method keep for figures, by `<kind>/<name>`."""
    method = training.method
    kind = training.stage.phase.method.kind
    kept = method.traces() if isinstance(method, Traced) else {}
    return {f"{kind}/{name}": tensor.contiguous() for name, tensor in kept.items()} | {
        f"{evaluator.kind}/{name}": tensor.contiguous()
        for evaluator in training.config.evaluators.values()
        for name, tensor in evaluator.traces(
            training.network.eval(), training.data, training.context()
        ).items()
    }


def _spent(training: Training, epoch: int) -> dict[str, float]:
    """What training had taken after an epoch, 0 for now."""
    if epoch in (0, training.position.epochs):
        return training.effort.metrics()
    row = training.directory.read_metrics()[epoch - 1]
    return {name: value for name, value in row.items() if name.startswith("cost/train_")}


def _judge_variant(network: nn.Module, variant: str, training: Training) -> dict[str, float]:
    context = training.context()
    metrics = judge(network, training.config.evaluators.values(), training.data, context)
    if variant != "trained":
        # Epochs have measured training scores of the trained variant only.
        metrics |= score(network.eval(), training.data.train, context, "train")
    return metrics
