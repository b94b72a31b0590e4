"""The largest learning rate, and the threshold of selection that nu and lam give on a schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bregman.validation import check_choice, check_non_negative, check_positive
from dessilbi.choices import Scaling
from dessilbi.scaling import RELEASED_CAP


def augmented_lipschitz(lipschitz: float, *, nu: float) -> float:
    """Lipschitz constant of the gradient of `L(W) + |W - Gamma|^2 / (2 nu)` in (W, Gamma).

    The constant is the largest eigenvalue of `[[Lip + 1/nu, -1/nu], [-1/nu, 1/nu]]`, that is
    `Lip/2 + 1/nu + sqrt(Lip^2/4 + 1/nu^2)`. Theorem 1 prints Lip + 1/nu, which is smaller.

    Args:
        lipschitz: Lip, the constant of the gradient of the data loss L.
        nu: Looseness of the coupling.

    Raises:
        ValueError: A value is out of range.
    """
    check_non_negative("lipschitz", lipschitz)
    check_positive("nu", nu)
    return lipschitz / 2 + 1 / nu + math.hypot(lipschitz / 2, 1 / nu)


def largest_step(lipschitz: float, *, nu: float, kappa: float = 1.0) -> float:
    """`2 / (kappa lambda_max)`: below it, the Lyapunov function of Lemma B.4 falls at every step.

    The bound holds for full gradients without momentum. The printed bound `2 / (kappa (Lip + 1/nu))` is
    too large: with it, the iteration may diverge on a quadratic.

    Raises:
        ValueError: A value is out of range.
    """
    check_positive("kappa", kappa)
    return 2 / (kappa * augmented_lipschitz(lipschitz, nu=nu))


def check_step(lr: float, lipschitz: float, *, nu: float, kappa: float = 1.0) -> None:
    """Raise ValueError unless `0 < lr < largest_step(...)`."""
    check_positive("learning rate", lr)
    bound = largest_step(lipschitz, nu=nu, kappa=kappa)
    if lr >= bound:
        raise ValueError(
            f"Invalid learning rate: {lr!r} (must be < {bound:.4g} for {lipschitz=}, {nu=}, "
            f"{kappa=}: lower the learning rate or kappa, or raise nu)"
        )


def threshold_on_schedule(
    schedule: Iterable[tuple[float, int]],
    *,
    nu: float,
    lam: float = 1.0,
    scaling: str = "none",
) -> list[float]:
    """The threshold that the norm of a group's mean weight must exceed to be selected, over a schedule.

    While Gamma = 0, V is `(c / nu) sum_k lr_k W_k`, so a group is selected as soon as the norm of
    its average of W over training, weighted with the learning rates, exceeds
    `lam nu / (c sum_k lr_k)`. c is 1, or 0.01 with `scaling="released"`. With a scaling the formula holds
    for groups whose norm is at most 1, and with `"magnitude"` for a layer in which no group is selected
    yet.

    Args:
        schedule: Pairs of a learning rate and the number of steps taken with it, in order.
        nu: Looseness of the coupling.
        lam: Weight of the penalty; with square-root group weights, lam times the root of the size.
        scaling: See `DessiLBI`.

    Returns:
        The threshold at the end of each piece of the schedule; infinite while no step was taken.

    Raises:
        ValueError: A value is out of range.

    Example:
        >>> epoch = 391  # steps, batches of 128 on CIFAR-10
        >>> pieces = [(0.1, 60 * epoch), (0.02, 60 * epoch), (0.004, 40 * epoch)]
        >>> thresholds = threshold_on_schedule(pieces, nu=500, lam=6e-4, scaling="released")
        >>> [round(value, 4) for value in thresholds]
        [0.0128, 0.0107, 0.0104]
    """
    check_positive("nu", nu)
    check_non_negative("lam", lam)
    check_choice("scaling", scaling, Scaling)
    factor = RELEASED_CAP if scaling == "released" else 1.0
    distance = 0.0
    thresholds = []
    for lr, steps in schedule:
        check_non_negative("learning rate", lr)
        check_non_negative("number of steps", steps)
        distance += lr * steps
        thresholds.append(lam * nu / (factor * distance) if distance else math.inf)
    return thresholds
