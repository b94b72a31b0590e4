"""Losses that attacks ascend, one value for each image."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def wrong_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest logit of a wrong class minus that of the right class, ``(n,)``: positive at errors."""
    right = logits.gather(1, labels[:, None])
    return _wrong(logits, labels).amax(dim=1) - right[:, 0]


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Logarithm of the odds against the right class, ``(n,)``.

    The cross-entropy is the softplus of the log-odds, so both have the same direction of steepest ascent.
    But the gradient of the cross-entropy is lost in rounding where the right class leads by much.
    """
    right = logits.gather(1, labels[:, None])
    return _wrong(logits, labels).logsumexp(dim=1) - right[:, 0]


def difference_of_logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the lead of the right class over the gap between the first and the third logit, ``(n,)``.

    The ratio does not depend on the scale of the logits (Croce and Hein, ICML 2020, Section 4). Two
    classes have no third logit, so the result is the margin.
    """
    margins = wrong_margins(logits, labels)
    if logits.shape[1] < 3:
        return margins
    largest = logits.topk(3, dim=1).values
    gaps = largest[:, 0] - largest[:, 2]
    return margins / gaps.clamp(min=torch.finfo(logits.dtype).tiny)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image, ``(n,)``."""
    return F.cross_entropy(logits, labels, reduction="none")


def is_saturated(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether rounding changes the cross-entropy's gradient by over a thousandth, bool ``(n,)``.

    The gradient in the right logit is p - 1. If the right class leads by much, p rounds to 1 or to one of
    the floating-point numbers next to 1.
    """
    lost = torch.finfo(logits.dtype).eps * 1e3
    return log_odds(logits.detach(), labels) < torch.tensor(lost, dtype=torch.float64).log().item()


#: Losses by name; each takes logits ``(n, classes)`` and labels ``(n,)``.
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "margin": wrong_margins,
    "dlr": difference_of_logits_ratio,
}


def _wrong(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.scatter(1, labels[:, None], float("-inf"))
