"""Sums over parameter groups: the penalty as a term of a loss, and the l1 norm as a measure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bregman.optimizer import group_penalty
from bregman.penalties import total_value
from bregman.rules import named_params


def penalty_value(param_groups: Iterable[dict[str, Any]]) -> Tensor:
    """`sum over groups of lam * J(params)`: a differentiable scalar.

    The sum of loss and penalty is the Lasso objective of eq. 1.4 of Bungert et al. (2022), which any
    optimiser may minimise.

    Args:
        param_groups: Groups as `penalize` returns them, or the `param_groups` of an optimiser.
    """
    values = [
        total_value(group_penalty(group), [param for _, param in named_params(group)], group["lam"])
        for group in param_groups
        if group["penalty"] != "none"
    ]
    return torch.stack(values).sum() if values else torch.zeros(())


def l1_norm(param_groups: Iterable[dict[str, Any]]) -> Tensor:
    """Sum of absolute values of all parameters that carry a penalty, whatever the penalty's lam."""
    norms = [
        param.abs().sum()
        for group in param_groups
        if group["penalty"] != "none"
        for _, param in named_params(group)
    ]
    return torch.stack(norms).sum() if norms else torch.zeros(())
