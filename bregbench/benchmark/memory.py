"""Bytes of optimiser state, and temporary memory in a step from the allocator's events."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.profiler import ProfilerActivity, profile


def state_bytes_per_parameter(optimizer: Optimizer) -> float:
    """Bytes of state tensors over number of parameters; scalars (step counts) are left out."""
    parameters = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    values = [value for state in optimizer.state.values() for value in state.values()]
    tensors = [value for value in values if isinstance(value, Tensor) and value.dim() > 0]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / parameters


def peak_bytes(action: Callable[[], object]) -> int:
    """Largest sum of CPU allocations that the action has alive at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        action()
    profiler = recorded.profiler
    results = None if profiler is None else profiler.kineto_results
    if results is None:
        raise RuntimeError(f"torch {torch.__version__} recorded no allocator events")
    events = [event for event in results.events() if event.name() == "[memory]"]
    return peak_of([event.nbytes() for event in sorted(events, key=lambda e: e.start_ns())])  # pyright: ignore[reportAttributeAccessIssue]


def peak_of(changes: list[int]) -> int:
    """Largest running sum of signed allocations, at least 0."""
    alive = peak = 0
    for change in changes:
        alive += change
        peak = max(peak, alive)
    return peak
