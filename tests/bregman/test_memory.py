"""Bytes of state per parameter and temporary memory in a step."""

# The allocator's events are an untyped part of the profiler.
# pyright: reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
from __future__ import annotations

import pytest
import torch
from torch import nn

from bregman import AdaBreg, LinBreg, ProxSGD
from tests.bregman.cases import OPTIMIZERS, build

STATE_BYTES = {
    "LinBreg": 4,
    "LinBreg-momentum": 8,
    "AdaBreg": 12,
    "ProxSGD": 0,
    "ProxSGD-momentum": 4,
    "ProxAdam": 8,
}
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def conv_weight(layout: torch.memory_format) -> nn.Parameter:
    param = nn.Parameter(torch.randn(64, 32, 3, 3).to(memory_format=layout))
    param.grad = torch.randn_like(param)
    return param


def peak_bytes(action) -> int:
    """Largest sum of allocations alive at once during the action, from the allocator's events."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        action()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_bytes_of_state_per_parameter(case):
    param = conv_weight(torch.contiguous_format)
    optimizer = build(case, [param], penalty="l1", lam=0.1)
    optimizer.step()
    tensors = [v for v in optimizer.state[param].values() if isinstance(v, torch.Tensor)]
    assert (
        sum(t.numel() * t.element_size() for t in tensors) == STATE_BYTES[str(case)] * param.numel()
    )
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    assert sum(storages.values()) == STATE_BYTES[str(case)] * param.numel()


def test_the_probe_sees_a_temporary():
    x = torch.randn(1000)
    assert peak_bytes(lambda: (x + x).sum()) >= 4000


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize(
    "case", [case for case in OPTIMIZERS if case.cls in (LinBreg, AdaBreg, ProxSGD)], ids=str
)
@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"penalty": "none"}, 0.1),
        ({"penalty": "l1"}, 0.1),
        ({"penalty": "nonnegative"}, 0.1),
        ({"penalty": "l12", "group": "kernel"}, 0.6),
        ({"penalty": "l12", "group": "filter"}, 0.1),
    ],
    ids=str,
)
def test_temporary_bytes_per_parameter(case, settings, allowed, layout):
    param = conv_weight(layout)
    optimizer = build(case, [param], lam=0.1, **settings)
    optimizer.step()
    assert peak_bytes(optimizer.step) <= allowed * param.numel()


def test_reference_path_is_the_one_that_allocates():
    """So that the test above could fail."""
    param = conv_weight(torch.contiguous_format)
    optimizer = LinBreg([param], lr=0.1, penalty="l1", lam=0.1, foreach=False)
    optimizer.step()
    assert peak_bytes(optimizer.step) >= 4 * param.numel()
