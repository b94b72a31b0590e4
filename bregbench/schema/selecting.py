"""By which score the best epoch of a run is chosen, and the attack that one of the choices needs."""

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

#: the first so many validation images are attacked: about one epoch's work for a network on MNIST
ATTACKED = 500
#: the attack of the CLIP paper: Euclidean radius, images being in [0, 1], and signed steps
RADIUS, STEPS = 2.0, 100
#: what is logged of them
PGD = "validation/pgd"


def selection_metric(selection: SelectOn, task: TaskConfig) -> str:
    """The metric of an epoch whose largest value is the best; the latest of equals wins."""
    if selection is SelectOn.robustness:
        return PGD
    return f"{selection}/{task.selection}"


def check_selection(selection: SelectOn, task: TaskConfig, data: Data | None = None) -> None:
    """Refuse a selection by robustness where nothing can be attacked.

    Args:
        selection: `trainer.select_on`.
        task: of the run.
        data: None before the data set is read.

    Raises:
        BenchError: the task is no classification, or there are no validation images.
    """
    if selection is not SelectOn.robustness:
        return
    if not isinstance(task, Classification):
        raise BenchError(
            f"trainer.select_on=robustness attacks class labels and task={task.kind} has none: choose "
            "task=classification, or trainer.select_on=validation"
        )
    if data is not None and len(data.validation) == 0:
        raise BenchError(
            "trainer.select_on=robustness attacks validation images and data.validation=0: set some aside, "
            "for instance data.validation=5000"
        )


def withstood(network: nn.Module, data: Data, scores: dict[str, float]) -> dict[str, float]:
    """Share of the first validation images that the attack of the CLIP paper does not break.

    The attack is that of the evaluator `paper_robustness` at its defaults (eq. 14 of the paper: images in
    [0, 1], Euclidean radius 2, 100 signed steps from the image itself): nothing about it is random.

    Args:
        network: its mode is put back.
        data: whose first `ATTACKED` validation images are attacked.
        scores: of the same epoch. Where one is not finite nothing is attacked: the run refuses that score.

    Raises:
        BenchError: the network's outputs under attack are no scores.
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
