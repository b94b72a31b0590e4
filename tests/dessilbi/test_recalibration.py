"""Statistics of norm layers, measured anew."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dessilbi import recalibrate


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(4, 3, 1),
        nn.BatchNorm2d(3, momentum=None),
    ).double()


def test_statistics_are_those_of_what_the_layers_read():
    net, images = network().train(), 3 * torch.randn(8, 2, 6, 6).double() + 1
    recalibrate(net, images)
    with torch.no_grad():
        seen = net[0](images)
        for norm in (net[1], net[5]):
            var, mean = torch.var_mean(seen, (0, 2, 3))
            torch.testing.assert_close(norm.running_mean, mean)
            torch.testing.assert_close(norm.running_var, var)
            normalised = (seen - mean.view(-1, 1, 1)) / (
                seen.var((0, 2, 3), unbiased=False).view(-1, 1, 1) + norm.eps
            ).sqrt()
            if norm is net[1]:
                shaped = normalised * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
                seen = net[4](shaped.relu())  # no dropout
    assert net[1].momentum == 0.1
    assert net[5].momentum is None
    assert all(module.training for module in net.modules())


def test_batches_count_by_their_samples():
    net, other = network().eval(), network().eval()
    images = torch.randn(9, 2, 6, 6).double()
    recalibrate(net, iter([images[:6], images[6:], images[:0]]))
    with torch.no_grad():
        parts = [other[0](part) for part in (images[:6], images[6:])]
    mean = (6 * parts[0].mean((0, 2, 3)) + 3 * parts[1].mean((0, 2, 3))) / 9
    var = (6 * parts[0].var((0, 2, 3)) + 3 * parts[1].var((0, 2, 3))) / 9
    torch.testing.assert_close(net[1].running_mean, mean)
    torch.testing.assert_close(net[1].running_var, var)
    assert not any(module.training for module in net.modules())
    for name, param in other.named_parameters():
        assert torch.equal(net.get_parameter(name), param)


@pytest.mark.parametrize(
    ("images", "error"),
    [
        ([], ValueError),
        (torch.full((4, 2, 6, 6), torch.nan).double(), ValueError),
        ([torch.randn(4, 2, 6, 6).double(), torch.randn(4, 7, 6, 6).double()], RuntimeError),
    ],
)
def test_a_refused_call_changes_nothing(images, error):
    net = network()
    net[0].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(error):
        recalibrate(net, images)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert [module.training for module in net] == [False, *[True] * 5]
    assert net[1].momentum == 0.1
