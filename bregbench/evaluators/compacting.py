"""Networks without the units that they do not need."""

from __future__ import annotations

import torch
from torch import nn
from torch.fx.proxy import TraceError

from bregbench.foundations.errors import BenchError
from dessilbi import compact
from dessilbi.removal import OutputsChangedError, compare_outputs

#: Number of inputs on which outputs are compared.
COMPARED = 16


class NotFollowed(BenchError):
    """A network cannot be traced or understood, so that no unit can be removed from it."""


def compacted(network: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """A smaller copy in evaluation mode with the same outputs up to rounding.

    Args:
        network: network for inputs ``(batch, *input_shape)``; it is not changed.
        input_shape: shape of one input, without the batch.

    Raises:
        NotFollowed: the network cannot be traced or understood.
        OutputsChangedError: the outputs have changed, which is an error of this library.
    """
    example = example_inputs(input_shape).to(next(network.parameters()))
    try:
        small = _compacted(network, example).eval()
    except OutputsChangedError:
        raise
    except (ValueError, TypeError, TraceError) as error:
        reason = str(error).splitlines()[0]
        raise NotFollowed(f"units of this network cannot be removed: {reason}") from error
    compare_outputs(network, small, example)
    return small


def _compacted(network: nn.Module, example: torch.Tensor) -> nn.Module:
    """Compact with made-up inputs, which is right for all input sizes, or else with the example."""
    try:
        return compact(network)
    except OutputsChangedError:
        raise
    except ValueError:
        return compact(network, example=example)


def example_inputs(input_shape: tuple[int, ...]) -> torch.Tensor:
    """Random inputs in [0, 1] with a fixed seed, ``(16, *input_shape)``."""
    return torch.rand(COMPARED, *input_shape, generator=torch.Generator().manual_seed(0))
