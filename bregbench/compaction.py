"""Networks without the units that they do not need."""

from __future__ import annotations

import torch
from torch import nn
from torch.fx.proxy import TraceError

from bregbench.errors import BenchError
from dessilbi import compact

#: inputs on which the outputs are compared
COMPARED = 16


def compacted(network: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """A smaller copy in evaluation mode; its outputs are the same up to rounding.

    Args:
        network: maps ``(batch, *input_shape)`` to outputs; not changed.
        input_shape: of one input.

    Raises:
        BenchError: its layers cannot be followed, or the outputs would change.
    """
    tensor = next(network.parameters())
    example = torch.rand(COMPARED, *input_shape, generator=torch.Generator().manual_seed(0))
    try:
        return compact(network, example=example.to(tensor)).eval()
    except (ValueError, TypeError, TraceError) as error:
        reason = str(error).splitlines()[0]
        raise BenchError(f"units of this network cannot be removed: {reason}") from error
