"""Frequencies as groups, by which the number of modes of a layer is learned, set or counted.

A layer loses a mode only if the coefficients of all channel pairs at this frequency are zero. The group
of a penalty therefore spans all channel pairs of one frequency.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bregman import Rule
from fno.spectral_conv import SpectralConv2d

#: Axes of `SpectralConv2d.weight` that form one group: output channels, input channels, complex parts.
FREQUENCY_GROUP = (0, 1, 4)


def frequency_rule(*, single: bool = False, scale: float = 1.0, group_weight: str = "sqrt") -> Rule:
    """A rule for `bregman.penalize` that groups the weights of spectral layers by frequency.

    Use the rule with layers that have `balanced=True`, so that the choice of frequencies does not depend
    on the order of the axes.

    Args:
        single: True: a group is a single complex coefficient (shrinkage of the modulus).
        scale: see `bregman.Rule`.
        group_weight: see `bregman.Rule`.

    Example:
        >>> from bregman import DEFAULT_RULES, LinBreg, penalize
        >>> from fno import SpectralConv2d, frequency_rule
        >>> layer = SpectralConv2d(1, 8, 5, balanced=True)
        >>> optimizer = LinBreg(penalize(layer, [frequency_rule(), *DEFAULT_RULES], lam=0.1), lr=1)
    """
    return Rule(
        "l12",
        module=SpectralConv2d,
        name="*weight",
        scale=scale,
        group="complex" if single else FREQUENCY_GROUP,
        group_weight=group_weight,
    )


def frequency_numbers(layer: SpectralConv2d) -> tuple[Tensor, Tensor]:
    """The frequencies k1 of the rows and k2 of the columns of a layer's weight, as int64.

    For an even number of modes, the Nyquist frequency stands for both signs; it is -M1 / 2 in the rows
    and M2 / 2 in the columns.
    """
    rows, columns = layer.modes
    device = layer.weight.device
    k1 = torch.arange(rows, device=device)
    k1 = torch.where(k1 < (rows + 1) // 2, k1, k1 - rows)
    return k1, torch.arange(columns // 2 + 1, device=device)


@torch.no_grad()
def keep_low_frequencies(network: nn.Module, radius: int) -> None:
    """Set to zero, in place, all modes of spectral layers with |k1| or |k2| above a radius.

    The result is a sparse start for a Bregman iteration that adds modes. Call `optimizer.reset_dual()`
    before a Bregman optimiser takes further steps.

    Args:
        network: the network whose `SpectralConv2d` layers are changed.
        radius: largest frequency that is kept, at least 0; 0 keeps the mean only.

    Raises:
        ValueError: the radius is negative.
    """
    if radius < 0:
        raise ValueError(f"Invalid radius: {radius} (must be >= 0)")
    for layer in network.modules():
        if isinstance(layer, SpectralConv2d):
            k1, k2 = frequency_numbers(layer)
            drop = (k1.abs() > radius)[:, None] | (k2 > radius)
            layer.weight.masked_fill_(drop[:, :, None], 0.0)


def active_frequencies(layer: SpectralConv2d) -> Tensor:
    """Whether entries of the half spectrum are non-zero for a channel pair, bool (rows, columns).

    An entry of a symmetrised column is active if the entry or its opposite is non-zero, because both
    share one coefficient.
    """
    active = (layer.weight.detach() != 0).any(dim=-1).flatten(0, 1).any(dim=0)
    mirrored = active.roll(-1, 0).flip(0)  # row -k1
    shared = torch.zeros_like(active)
    shared[:, 0] = True
    if layer.modes[1] % 2 == 0:
        shared[:, -1] = True
    return active | (shared & mirrored)


def mode_count(layer: SpectralConv2d) -> int:
    """Number of active frequencies of the full spectrum, at most M1 * M2.

    Columns with 0 < k2 < M2 / 2 count twice, for k and -k.
    """
    active = active_frequencies(layer).sum(dim=0)
    last = active.shape[0] - (1 if layer.modes[1] % 2 == 0 else 0)
    return int(active.sum() + active[1:last].sum())
