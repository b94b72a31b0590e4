"""Magnitude scaling of V and Gamma: eqs. 14-15, and their form in the published code.

`norm(W_j)` is the absolute value of a weight or the norm of a group; # counts within one layer:

| scaling     | beta, factor of the step of V                          | epsilon, factor of Gamma |
|-------------|--------------------------------------------------------|--------------------------|
| `none`      | 1                                                      | 1                        |
| `magnitude` | min(1, 1/norm(W_j)) max(1 - #supp Gamma/#supp W, floor)| norm(W_j)                |
| `released`  | min(1, 1/norm(W_j)) min(1 - #supp Gamma/#W, 0.01)      | max(norm(W_j), 1)        |

`magnitude` takes the W from before the step, as eqs. 14-15 print it. # counts weights or groups. Gamma
of `magnitude` cannot be computed from V one step later, so it is stored. `released` takes the W from
after the step. In `released` 0.01 is a cap, whereas the paper speaks of a floor: V moves a hundred times
more slowly until 99 % of a layer is selected, and the thresholds of Table 2 need this slow motion.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm

from bregman.groups import group_dims
from bregman.l12 import L12
from bregman.penalties import Penalty
from dessilbi.settings import Settings, Slot

#: Largest second factor of beta in the published code.
RELEASED_CAP = 0.01


def gamma_of(slot: Slot, settings: Settings) -> Tensor:
    """Gamma as the last step left it, of the shape of W: eqs. 9c, 14b."""
    if slot.gamma is not None:
        return slot.gamma
    assert slot.dual is not None
    gamma = settings.kappa * slot.penalty.prox(slot.dual, settings.lam)
    if settings.scaling == "released":
        gamma.mul_(magnitudes(slot.param, slot.penalty, gamma.dtype).clamp(min=1.0))
    return gamma


def beta(sizes: Tensor, selected: Tensor, settings: Settings) -> Tensor:
    """Factor of the step of V, broadcastable to the shape of W: eq. 15.

    Args:
        sizes: `magnitudes` of W from before the step (`magnitude`) or after it (`released`).
        selected: Number of weights or groups with a non-zero Gamma before the step (`support_size`).
        settings: Settings whose `scaling`, which must not be `"none"`, chooses the formula.
    """
    if settings.scaling == "magnitude":
        share = selected / torch.count_nonzero(sizes).clamp(min=1)
        return (1.0 - share).clamp(min=settings.scaling_floor) / sizes.clamp(min=1.0)
    share = selected / sizes.numel()
    return (1.0 - share).clamp(max=RELEASED_CAP) / sizes.clamp(min=1.0)


def support_size(gamma: Tensor, penalty: Penalty) -> Tensor:
    """Number of weights or groups at which Gamma is not zero, in the dtype of Gamma."""
    # An integer count would give shares in float32, whatever the dtype of the state.
    return torch.count_nonzero(magnitudes(gamma, penalty)).to(gamma.dtype)


def magnitudes(x: Tensor, penalty: Penalty, dtype: torch.dtype | None = None) -> Tensor:
    """Absolute values, or norms of the groups of `l12` with the reduced axes kept as length 1."""
    x = x if dtype is None else x.to(dtype)
    if isinstance(penalty, L12):
        return vector_norm(x, dim=group_dims(penalty.group, x.shape), keepdim=True)
    return x.abs()
