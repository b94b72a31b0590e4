"""Bregman learning: training that starts sparse and adds weights while the loss falls.

`LinBreg` and `AdaBreg` are SGD and Adam on a dual variable; a proximal map recovers the parameters
from it, so that most of them are exactly zero. `ProxSGD` and `ProxAdam` minimise the penalised loss
(Lasso) instead. `RMDA`, `RAMDA`, `XRDA` and the option `threshold` of LinBreg and AdaBreg give the
relatives of dual averaging. `penalize` decides by ordered rules which parameter gets which penalty;
`he_normal`, `sparsify` and `initialize_biases` make the sparse start that the method needs; masks and
magnitude thresholds cut a trained network back. `DensityTarget`, `QuantileControl` and `GapControl`
steer lam to a wanted density, and `Healing` freezes a support. Duals are float32, parameters are
written in place, and state dictionaries load with `weights_only=True`. Depends on torch only.

Source: Bungert, Roith, Tenbrinck, Burger, "A Bregman learning framework for sparse neural
networks", JMLR 23(192), 2022. Part of bregbench.

Example:
    >>> import torch
    >>> from bregman import LinBreg, he_normal, initialize_biases, penalize, sparsify
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> he_normal(model)
    >>> sparsify(model, 0.1)
    >>> initialize_biases(model)
    >>> optimizer = LinBreg(penalize(model, lam=0.1), lr=0.1)
    >>> logits = model(torch.randn(4, 8))
    >>> loss = nn.functional.cross_entropy(logits, torch.tensor([0, 1, 1, 0]))
    >>> loss.backward()
    >>> optimizer.step()
"""

from __future__ import annotations

from bregman.adabreg import AdaBreg
from bregman.density_control import GapControl, QuantileControl
from bregman.density_target import DensityTarget
from bregman.healing import Healing
from bregman.initialization import (
    he_normal,
    initialize_biases,
    initialize_shifts,
    sparsify,
)
from bregman.linbreg import LinBreg
from bregman.masks import apply_masks, magnitude_masks, nonzero_masks
from bregman.objective import l1_norm, penalty_value
from bregman.penalties import make_penalty
from bregman.proxadam import ProxAdam
from bregman.proxsgd import ProxSGD
from bregman.ramps import Ramp
from bregman.rmda import RAMDA, RMDA
from bregman.rules import DEFAULT_RULES, Rule, match_table, penalize
from bregman.xrda import XRDA

__all__ = [
    "DEFAULT_RULES",
    "RAMDA",
    "RMDA",
    "XRDA",
    "AdaBreg",
    "DensityTarget",
    "GapControl",
    "Healing",
    "LinBreg",
    "ProxAdam",
    "ProxSGD",
    "QuantileControl",
    "Ramp",
    "Rule",
    "apply_masks",
    "he_normal",
    "initialize_biases",
    "initialize_shifts",
    "l1_norm",
    "magnitude_masks",
    "make_penalty",
    "match_table",
    "nonzero_masks",
    "penalize",
    "penalty_value",
    "sparsify",
]
