"""CLIP: cheap Lipschitz training, Lipschitz bounds of networks and attacks on them.

`Clip` is the objective loss + lam Lip(f; X_Lip) + mu |theta| for any training loop and optimiser: a
`PairSet` of points ascends on the network's difference quotients during training (`Ascent`), and a
`Discrepancy` rule steers lam by the accuracy. `PenalisedLoss` with `WeightPenalty` or `ProductNorm`
and `AdversarialTraining` are baselines. `lower_bound` is the largest Jacobian norm over a sample of
inputs, `upper_bound` is a product of layer norms that holds for all inputs; both bound the constant of
the map from inputs to outputs in Euclidean norms. `clip.attacks` measures robustness. The package
depends on torch and `bregman` only.

Source: Bungert, Raab, Roith, Schwinn, Tenbrinck, "CLIP: Cheap Lipschitz Training of Neural
Networks", SSVM 2021. Part of bregbench.

Example:
    >>> import torch
    >>> from clip import lower_bound, upper_bound
    >>> model = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), torch.nn.ReLU(),
    ...                             torch.nn.Linear(2, 1, bias=False))
    >>> with torch.no_grad():  # |x| = relu(x) + relu(-x)
    ...     _ = model[0].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    ...     _ = model[2].weight.fill_(1.0)
    >>> round(lower_bound(model, torch.tensor([[-1.0], [2.0]])), 6)
    1.0
    >>> round(upper_bound(model, (1,)), 6)
    2.0
"""

from __future__ import annotations

from clip import attacks
from clip.adversarial import AdversarialTraining
from clip.ascent import Ascent
from clip.composition import Bound, BoundError, add, chain
from clip.discrepancy import Discrepancy
from clip.lipschitz import LipschitzPenalty
from clip.lower import lower_bound
from clip.objective import Clip, Evaluated, PenalisedLoss, Penalty
from clip.pairs import PairSet
from clip.product import ProductNorm
from clip.quotients import difference_quotients
from clip.rules import accept_subclass, register_rule
from clip.sources import DataPairs, GivenPairs, NoisyData, PairSource, UniformPoints
from clip.upper import check_bounds, layer_bounds, upper_bound
from clip.weights import WeightPenalty

__all__ = [
    "AdversarialTraining",
    "Ascent",
    "Bound",
    "BoundError",
    "Clip",
    "DataPairs",
    "Discrepancy",
    "Evaluated",
    "GivenPairs",
    "LipschitzPenalty",
    "NoisyData",
    "PairSet",
    "PairSource",
    "PenalisedLoss",
    "Penalty",
    "ProductNorm",
    "UniformPoints",
    "WeightPenalty",
    "accept_subclass",
    "add",
    "attacks",
    "chain",
    "check_bounds",
    "difference_quotients",
    "layer_bounds",
    "lower_bound",
    "register_rule",
    "upper_bound",
]
