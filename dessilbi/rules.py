"""The two assignments of penalties that the paper uses, for `bregman.penalize`."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from bregman import DEFAULT_RULES, Rule

#: Unweighted groups per output filter in convolutions, single weights in Linear layers (section 3.2).
FILTER_RULES = (
    # Transposed convolutions store (in, out, *k): everything of one output is their "channel".
    Rule("l12", module=_ConvTransposeNd, name="*weight", group="channel", group_weight="none"),
    Rule(
        "l12",
        module=(nn.Conv1d, nn.Conv2d, nn.Conv3d),
        name="*weight",
        group="filter",
        group_weight="none",
    ),
    Rule("l1", module=nn.Linear, name="*weight"),
)
#: Single weights everywhere (weight pruning and winning tickets).
WEIGHT_RULES = DEFAULT_RULES
