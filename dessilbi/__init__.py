"""DessiLBI: dense training that selects weights, filters and layers on the way.

`DessiLBI` is SGD on dense weights W, coupled to a sparse copy Gamma whose groups become non-zero
one after the other; groups that are selected early matter most. `weight_masks` and `filter_masks` give
the support of Gamma, `mask_filters` and `shrink` make a network physically smaller and keep its
outputs, `compact` does so with any sparse network, `recalibrate` measures the statistics of norm
layers anew, `Ticket` retrains on masks, `grow` appends filters, and `ShrunkTraining` trains a smaller
network between full steps. `dessilbi.tickets`, `dessilbi.growing`, `dessilbi.branches`,
`dessilbi.costs` and `dessilbi.step_size` hold further functions of each kind. The package depends on
torch and `bregman` only.

Source: Fu, Liu, Li, Zhong, Sun, Zeng, Yao, "Exploring Structural Sparsity of Deep Networks via
Inverse Scale Spaces". Part of bregbench.

Example:
    >>> import torch
    >>> from torch import nn
    >>> from bregman import penalize
    >>> from dessilbi import FILTER_RULES, DessiLBI, mask_filters, shrink
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    >>> optimizer = DessiLBI(penalize(model, FILTER_RULES, lam=1.0), lr=0.1, momentum=0.9)
    >>> model(torch.randn(8, 1, 4, 4)).square().mean().backward()
    >>> optimizer.step()
    >>> tuple(optimizer.gamma(model[0].weight).shape)
    (4, 1, 3, 3)
    >>> mask_filters(model, {"0.weight": torch.tensor([True, False, True, True])})
    >>> shrink(model)[0].out_channels
    3
"""

from __future__ import annotations

from dessilbi.compaction import compact
from dessilbi.costs import network_cost
from dessilbi.cycles import coarse_steps_at
from dessilbi.growing import grow
from dessilbi.loading import load_shrunk
from dessilbi.masking import mask_filters
from dessilbi.optimizer import DessiLBI
from dessilbi.path import SelectionPath
from dessilbi.recalibration import recalibrate
from dessilbi.removal import shrink
from dessilbi.rules import FILTER_RULES, WEIGHT_RULES
from dessilbi.shrunk_training import ShrunkTraining
from dessilbi.step_size import check_step, threshold_on_schedule
from dessilbi.supports import filter_masks, gamma_view, layer_support, support_view, weight_masks
from dessilbi.tickets import Ticket

__all__ = [
    "FILTER_RULES",
    "WEIGHT_RULES",
    "DessiLBI",
    "SelectionPath",
    "ShrunkTraining",
    "Ticket",
    "check_step",
    "coarse_steps_at",
    "compact",
    "filter_masks",
    "gamma_view",
    "grow",
    "layer_support",
    "load_shrunk",
    "mask_filters",
    "network_cost",
    "recalibrate",
    "shrink",
    "support_view",
    "threshold_on_schedule",
    "weight_masks",
]
