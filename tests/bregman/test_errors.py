"""Bad settings are refused in one line that names the value, the range and the parameter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bregman import AdaBreg, LinBreg, ProxAdam, ProxSGD

BAD_SETTINGS = [
    (LinBreg, {"lr": -0.1}, r"Invalid learning rate: -0.1 \(must be >= 0 and finite\)"),
    (LinBreg, {"lr": float("nan")}, "Invalid learning rate: nan"),
    (LinBreg, {"lr": "0.1"}, "Invalid learning rate: '0.1'"),
    (LinBreg, {"lr": 0.1, "momentum": 1.0}, r"Invalid momentum: 1.0 \(must be in \[0, 1\)\)"),
    (LinBreg, {"lr": 0.1, "delta": 0.0}, r"Invalid delta: 0.0 \(must be > 0 and finite\)"),
    (LinBreg, {"lr": 0.1, "weight_decay": -1}, "Invalid weight_decay: -1"),
    (LinBreg, {"lr": 0.1, "lam": -1.0}, "Invalid lam: -1.0"),
    (LinBreg, {"lr": 0.1, "penalty": "L1"}, "Invalid penalty: 'L1'"),
    (LinBreg, {"lr": 0.1, "penalty": "l12"}, "Invalid group: None"),
    (AdaBreg, {"betas": (0.9, 1.0)}, r"Invalid betas\[1\]: 1.0"),
    (AdaBreg, {"betas": (0.9,)}, "must be two numbers"),
    (AdaBreg, {"eps": -1e-8}, "Invalid eps: -1e-08"),
    (AdaBreg, {"delta": -2.0}, "Invalid delta: -2.0"),
    (ProxSGD, {"lr": 0.1, "momentum": -0.5}, "Invalid momentum: -0.5"),
    (ProxAdam, {"penalty": "nuclear"}, "Invalid penalty: 'nuclear' .ProxAdam takes 'l1' or 'none'"),
]


@pytest.mark.parametrize(("cls", "settings", "message"), BAD_SETTINGS)
def test_bad_settings_are_refused_with_value_and_range(cls, settings, message):
    with pytest.raises(ValueError, match=message):
        cls([nn.Parameter(torch.zeros(2, 2))], **settings)
    # in a group, too; and a refused group leaves no trace
    base = cls(
        [nn.Parameter(torch.zeros(2, 2))], **({} if cls in (AdaBreg, ProxAdam) else {"lr": 0.1})
    )
    with pytest.raises(ValueError, match=message):
        base.add_param_group({"params": [nn.Parameter(torch.zeros(2, 2))], **settings})
    assert len(base.param_groups) == 1


def test_errors_name_the_parameter():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(
        ValueError, match=r"parameter '0.weight': group 'kernel' does not fit shape \(2, 2\)"
    ):
        LinBreg(model.named_parameters(), lr=0.1, penalty="l12", group="kernel")
    with pytest.raises(
        ValueError, match=r"parameter 1 of its group, shape \(2,\): penalty 'nuclear'"
    ):
        LinBreg(model.parameters(), lr=0.1, penalty="nuclear")
    with pytest.raises(ValueError, match=r"dtype torch.complex64 .*group 'complex'"):
        LinBreg([nn.Parameter(torch.zeros(2, dtype=torch.complex64))], lr=0.1)


def test_group_given_as_a_list_becomes_a_tuple():
    optimizer = LinBreg([nn.Parameter(torch.zeros(2, 3))], lr=0.1, penalty="l12", group=[0, 1])
    assert optimizer.param_groups[0]["group"] == (0, 1)
