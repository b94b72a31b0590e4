"""What attacks ascend: losses of one image each, positive differences of scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def wrong_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest logit of a wrong class minus the right one's, ``(n,)``: positive if misclassified."""
    right = logits.gather(1, labels[:, None])
    return _wrong(logits, labels).amax(dim=1) - right[:, 0]


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Logarithm of the odds against the right class, ``(n,)``.

    The cross-entropy is softplus of it: both rise together and have the same direction of steepest
    ascent, but the cross-entropy's gradient is lost in rounding where the right class leads.
    """
    right = logits.gather(1, labels[:, None])
    return _wrong(logits, labels).logsumexp(dim=1) - right[:, 0]


def difference_of_logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the lead of the right class over the gap between the first and the third logit, ``(n,)``.

    Free of the scale of the logits (Croce and Hein, ICML 2020, Section 4). With two classes there is
    no third logit, and the margin remains.
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
    """Where rounding takes more than a thousandth of the cross-entropy's gradient, bool ``(n,)``.

    The gradient in the right logit is p - 1, of which a step of the floating-point grid around 1 is
    left when the right class leads by much.
    """
    lost = torch.finfo(logits.dtype).eps * 1e3
    return log_odds(logits.detach(), labels) < torch.tensor(lost, dtype=torch.float64).log().item()


#: by name, called with logits ``(n, classes)`` and labels ``(n,)``
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "margin": wrong_margins,
    "dlr": difference_of_logits_ratio,
}


def _wrong(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.scatter(1, labels[:, None], float("-inf"))
