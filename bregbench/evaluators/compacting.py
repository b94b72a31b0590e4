"""Networks without the units that they do not need."""

from __future__ import annotations

import torch
from torch import nn
from torch.fx.proxy import TraceError

from bregbench.foundations.errors import BenchError
from dessilbi import compact
from dessilbi.removal import OutputsChangedError, compare_outputs

#: inputs on which outputs are compared
COMPARED = 16


class NotFollowed(BenchError):
    """The layers of a network cannot be followed, so nothing can be removed from it."""


def compacted(network: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """A smaller copy in evaluation mode; its outputs are the same up to rounding.

    Args:
        network: maps ``(batch, *input_shape)`` to outputs; not changed.
        input_shape: of one input.

    Raises:
        NotFollowed: its layers cannot be followed.
        ValueError: the outputs have changed, which is a mistake of this library.
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
    """Mostly the first layer says what the inputs are, and what goes then goes for all sizes."""
    try:
        return compact(network)
    except OutputsChangedError:
        raise
    except ValueError:
        return compact(network, example=example)


def example_inputs(input_shape: tuple[int, ...]) -> torch.Tensor:
    """Random inputs in [0, 1], always the same."""
    return torch.rand(COMPARED, *input_shape, generator=torch.Generator().manual_seed(0))
