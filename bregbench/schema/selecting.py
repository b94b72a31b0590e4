"""The score by which the best epoch of a run is chosen, and the attack for the choice `robustness`."""

from __future__ import annotations

import math
from functools import partial

from torch import nn

from bregbench.data import Data
from bregbench.data.loader import to_unit_interval
from bregbench.foundations.errors import BenchError
from bregbench.schema.trainer import SelectOn
from bregbench.tasks.base import Classification, TaskConfig
from clip import attacks

#: Number of validation images that are attacked: about the work of one epoch for a network on MNIST.
ATTACKED = 500
#: Euclidean radius (for images in [0, 1]) and number of signed steps of the attack of the CLIP paper.
RADIUS, STEPS = 2.0, 100
#: Metric of the accuracy under attack.
PGD = "validation/pgd"


def selection_metric(selection: SelectOn, task: TaskConfig) -> str:
    """The metric whose largest value makes an epoch the best; of equal epochs the latest is the best."""
    if selection is SelectOn.robustness:
        return PGD
    return f"{selection}/{task.selection}"


def check_selection(selection: SelectOn, task: TaskConfig, data: Data | None = None) -> None:
    """Check that a selection by robustness has a classification task and validation images.

    Args:
        selection: `trainer.select_on`.
        task: the task of the run.
        data: the data; None before the data set is read.

    Raises:
        BenchError: the task is no classification, or there are no validation images.
    """
    if selection is not SelectOn.robustness:
        return
    if not isinstance(task, Classification):
        raise BenchError(
            f"trainer.select_on=robustness needs class labels, and task={task.kind} has none: choose "
            "task=classification, or trainer.select_on=validation"
        )
    if data is not None and len(data.validation) == 0:
        raise BenchError(
            "trainer.select_on=robustness needs validation images, and there are none: set some aside, for "
            "instance data.validation=5000"
        )


def withstood(network: nn.Module, data: Data, scores: dict[str, float]) -> dict[str, float]:
    """Share of the first validation images that the attack of the CLIP paper does not break.

    The attack is that of the evaluator `paper_robustness` at its defaults (eq. 14 of the paper: images in
    [0, 1], Euclidean radius 2, 100 signed steps from the image itself). It uses no random numbers.

    Args:
        network: the network; its mode is restored.
        data: data whose first `ATTACKED` validation images are attacked.
        scores: other scores of the epoch. If one is not finite the result is empty, because the run stops
            with an error about that score.

    Raises:
        BenchError: the network's outputs under attack are not finite.
    """
    if not all(map(math.isfinite, scores.values())):
        return {}
    attack = partial(attacks.paper_pgd, steps=STEPS)
    images = to_unit_interval(data.validation.images[:ATTACKED])
    labels = data.validation.labels[:ATTACKED]
    try:
        shares = attacks.robust_accuracy(network, images, labels, radii=[RADIUS], attack=attack)
    except ValueError as error:
        raise BenchError(f"trainer.select_on=robustness: {error}") from error
    return {PGD: shares[RADIUS]}
