"""CLIP: Lipschitz bounds of networks, attacks on them (Bungert, Raab, Roith, Schwinn, Tenbrinck).

`lower_bound` is the largest Jacobian norm over a sample, `upper_bound` a product of layer norms
that holds everywhere; both are constants of the map from inputs to outputs in Euclidean norms.
`clip.attacks` measures robustness. Depends on torch only. Part of bregbench.

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
from clip.composition import Bound, BoundError, add, chain
from clip.lower import lower_bound
from clip.rules import register_rule
from clip.upper import check_bounds, layer_bounds, upper_bound

__all__ = [
    "Bound",
    "BoundError",
    "add",
    "attacks",
    "chain",
    "check_bounds",
    "layer_bounds",
    "lower_bound",
    "register_rule",
    "upper_bound",
]
