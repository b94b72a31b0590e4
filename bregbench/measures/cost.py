"""The cost of a network: multiplications, parameters, time and memory."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bregbench.measures.density import to_host
from bregbench.measures.layers import TRANSPOSED, WeightLayer, weight_layers
from bregman.modules import evaluating, uncompiled
from fno import SpectralConv2d

#: metrics that are measured anew whenever they are asked for
TIMES = frozenset(
    {
        "seconds",
        "cost/train_seconds",
        "cost/train_cpu_seconds",
        "cost/cycle_time",
        "cost/forward_seconds",
        "cost/peak_memory",
    }
)


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulate operations of one forward pass of one image.

    Only Linear and convolution layers count; biases, normalisation, activations and pooling do not.
    Spectral layers count their products (four for a complex product), but not their Fourier transforms.

    Attributes:
        dense: number of operations with every weight, zero or not.
        effective: number of operations times the density of each layer's weight. This is the work of
            hardware that skips zero weights at no cost, and a lower bound for other hardware.
        layers: the dense number of each layer, by name.
    """

    dense: int
    effective: float
    layers: dict[str, int]


@torch.no_grad()
def count_macs(model: nn.Module, input_shape: tuple[int, ...]) -> Macs:
    """Count the operations of a network by a forward pass of one black image.

    A layer that is called several times counts each time. Modes, hooks and gradients of the network do
    not change.

    Args:
        model: the network; only layers that are called as modules count.
        input_shape: shape of one input, without the batch, for instance (channels, height, width).
    """
    model = uncompiled(model)
    layers = weight_layers(model)
    counts = dict.fromkeys(layers, 0)
    names = {layer: name for name, layer in layers.items()}

    def hook(layer: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        counts[names[layer]] += _macs(layer, inputs[0], output)  # type: ignore[arg-type]

    handles = [layer.register_forward_hook(hook) for layer in layers.values()]
    try:
        # A compiled forward would neither call the hooks nor repay its compilation.
        with evaluating(model), torch.compiler.set_stance("force_eager"):
            model(_black_image(model, input_shape))
    finally:
        for handle in handles:
            handle.remove()
    nonzeros = to_host({name: layer.weight.count_nonzero() for name, layer in layers.items()})
    sizes = {name: max(layer.weight.numel(), 1) for name, layer in layers.items()}
    effective = sum(count * nonzeros[name] / sizes[name] for name, count in counts.items())
    return Macs(dense=sum(counts.values()), effective=float(effective), layers=counts)


def count_parameters(model: nn.Module) -> int:
    """Real numbers that training adjusts or could adjust; a complex entry counts as two."""
    parameters = uncompiled(model).parameters()
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in parameters)


@torch.no_grad()
def median_seconds(call: Callable[[], object], device: torch.device, *, repeats: int) -> float:
    """Wall time of a call in seconds: the median of `repeats` calls, after a warm-up call."""
    seconds: list[float] = []
    for _ in range(repeats + 1):
        wait(device)
        begin = time.perf_counter()
        call()
        wait(device)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def peak_memory_bytes(device: torch.device) -> int | None:
    """Largest number of bytes of memory in use so far.

    On CUDA it is the memory of torch's tensors since the start or the last
    `torch.cuda.reset_peak_memory_stats`, on the CPU the memory of the whole process since its start. The
    result is None where the system does not report it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # The unit is bytes on macOS and KiB elsewhere.
    return peak if sys.platform == "darwin" else peak * 1024


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _macs(layer: WeightLayer, inputs: torch.Tensor, output: torch.Tensor) -> int:
    """Products of one call: weights per output, or per input of a transposed layer, times their number."""
    if isinstance(layer, TRANSPOSED):
        return inputs.numel() * math.prod(layer.weight.shape[1:])
    if isinstance(layer, SpectralConv2d):
        height, width = layer.product_size((inputs.shape[-2], inputs.shape[-1]))
        pairs = layer.weight.shape[0] * layer.weight.shape[1]
        return 4 * len(inputs) * pairs * height * (width // 2 + 1)
    return output.numel() * math.prod(layer.weight.shape[1:])


def _black_image(model: nn.Module, input_shape: tuple[int, ...]) -> torch.Tensor:
    """A batch of one, in the precision and on the device of the model."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            return torch.zeros(1, *input_shape, dtype=tensor.dtype, device=tensor.device)
    return torch.zeros(1, *input_shape)
