"""Assignment of penalties by rules, the match table, and sums over groups."""

# Layers of a Sequential are typed as Tensor | Module.
# pyright: reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
from __future__ import annotations

import pytest
import torch
from torch import nn

from bregman import (
    DEFAULT_RULES,
    AdaBreg,
    LinBreg,
    Rule,
    l1_norm,
    make_penalty,
    match_table,
    penalize,
    penalty_value,
)


class Custom(nn.Module):
    """A parameter registered directly on the module, a conv, a norm layer and a shared weight."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.randn(3, 3))
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight


def assignment(groups: list[dict]) -> dict[str, tuple]:
    return {
        name: (group["penalty"], group["lam"], group["group"])
        for group in groups
        for name, _ in group["params"]
    }


def test_default_rules():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ConvTranspose1d(2, 2, 2), nn.Linear(4, 3)
    )
    assert assignment(penalize(model, lam=0.5)) == {
        "0.weight": ("l1", 0.5, None),
        "0.bias": ("none", 0.0, None),
        "1.weight": ("none", 0.0, None),
        "1.bias": ("none", 0.0, None),
        "2.weight": ("l1", 0.5, None),
        "2.bias": ("none", 0.0, None),
        "3.weight": ("l1", 0.5, None),
        "3.bias": ("none", 0.0, None),
    }


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(4),
        nn.LayerNorm(4),
        nn.GroupNorm(2, 4),
        nn.RMSNorm(4),
        nn.InstanceNorm2d(4, affine=True),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_norm_layers_carry_no_penalty(norm):
    assert {penalty for penalty, _, _ in assignment(penalize(norm, lam=1.0)).values()} == {"none"}


def test_user_rules_come_first_and_the_first_match_wins():
    rules = [
        Rule("l12", module=nn.Conv2d, name="*.weight", group="kernel", scale=2.0),
        Rule("nuclear", name="first.*weight"),
        Rule("l1", module=(nn.Linear, nn.Conv2d), name="*.bias"),
        Rule("l1", name="first.*"),
        Rule("none", name="mixing"),
    ]
    groups = penalize(Custom(), rules, lam=0.1)
    assert assignment(groups) == {
        "mixing": ("none", 0.0, None),
        "conv.weight": ("l12", 0.2, "kernel"),
        "conv.bias": ("l1", 0.1, None),
        "norm.weight": ("none", 0.0, None),
        "norm.bias": ("none", 0.0, None),
        "first.weight": ("nuclear", 0.1, None),
        "first.bias": ("l1", 0.1, None),
    }
    assert [group["lam_scale"] for group in groups if group["penalty"] == "l12"] == [2.0]


def test_shared_parameters_appear_once():
    model = Custom()
    groups = penalize(model, [Rule("none", name="mixing"), *DEFAULT_RULES], lam=0.1)
    params = [param for group in groups for _, param in group["params"]]
    assert len(params) == len({id(param) for param in params}) == len(list(model.parameters()))
    assert {id(param) for param in params} == {id(param) for param in model.parameters()}


def test_uncovered_parameter_is_an_error_that_names_it():
    with pytest.raises(
        ValueError, match=r"no rule covers parameter 'mixing' of a Custom, shape \(3, 3\)"
    ):
        penalize(Custom(), lam=0.1)
    with pytest.raises(ValueError, match=r"no rule covers parameter 'first.weight' of a Linear"):
        penalize(Custom(), [Rule("none", name="mixing"), Rule("l1", nn.Conv2d)], lam=0.1)


def test_module_by_class_name_includes_base_classes():
    class Special(nn.Linear):
        pass

    model = nn.Sequential(Special(2, 2), nn.Linear(2, 2))
    groups = penalize(model, [Rule("nuclear", "Special", "*weight"), Rule("l1", "Linear")], lam=1.0)
    assert assignment(groups)["0.weight"][0] == "nuclear"
    assert assignment(groups)["0.bias"][0] == "l1"
    assert assignment(groups)["1.weight"][0] == "l1"


def test_equal_settings_share_a_group():
    groups = penalize(nn.Sequential(nn.Linear(2, 2), nn.Conv1d(2, 2, 1), nn.LayerNorm(2)), lam=1.0)
    assert len(groups) == 2
    assert [name for name, _ in groups[1]["params"]] == ["0.bias", "1.bias", "2.weight", "2.bias"]


def test_biases_of_recurrent_and_attention_layers():
    rules = [Rule("l1", nn.LSTM, "*weight*"), Rule("l1", nn.MultiheadAttention), *DEFAULT_RULES]
    names = assignment(penalize(nn.ModuleList([nn.LSTM(2, 3)]), rules, lam=1.0))
    assert names["0.bias_ih_l0"][0] == names["0.bias_hh_l0"][0] == "none"
    assert names["0.weight_ih_l0"][0] == "l1"


def test_groups_feed_the_optimisers():
    model = nn.Sequential(nn.Linear(3, 3))
    optimizer = LinBreg(penalize(model, lam=0.3), lr=0.1)
    assert [group["penalty"] for group in optimizer.param_groups] == ["l1", "none"]
    assert optimizer.param_groups[0]["param_names"] == ["0.weight"]
    assert optimizer.param_groups[0]["lam_scale"] == 1.0


def test_group_that_does_not_fit_names_the_parameter():
    with pytest.raises(
        ValueError, match=r"parameter '0.weight': group 'kernel' does not fit shape \(2, 2\)"
    ):
        penalize(nn.Sequential(nn.Linear(2, 2)), [Rule("l12", nn.Linear, group="kernel")], lam=1.0)


def test_bad_rules_are_refused():
    with pytest.raises(ValueError, match="Invalid scale: -1"):
        Rule("l1", scale=-1)
    with pytest.raises(ValueError, match="Invalid penalty: 'lasso'"):
        Rule("lasso")
    with pytest.raises(ValueError, match=r"Invalid lam: -0.1"):
        penalize(nn.Linear(1, 1), lam=-0.1)
    assert Rule("l12", group=[0, 1]).group == (0, 1)


def test_match_table():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(4, 3))
    rules = [Rule("l12", nn.Conv2d, "*weight", group="kernel"), *DEFAULT_RULES]
    groups = penalize(model, rules, lam=0.25)
    expected = [
        "parameter  shape    penalty  lam   group",
        "0.weight   2x1x3x3  l12      0.25  kernel",
        "0.bias     2        none     0     -",
        "1.bias     3        none     0     -",
        "1.weight   3x4      l1       0.25  -",
    ]
    assert match_table(groups).splitlines() == expected
    assert match_table(AdaBreg(groups).param_groups).splitlines() == expected
    nameless = match_table(LinBreg(model.parameters(), lr=1.0).param_groups)
    assert nameless.splitlines()[1].split() == ["-", "2x1x3x3", "none", "0", "-"]


def test_penalty_value_is_the_weighted_sum_and_differentiable():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(4, 3))
    rules = [Rule("l12", nn.Conv2d, "*weight", group="kernel", scale=3.0), *DEFAULT_RULES]
    groups = penalize(model, rules, lam=0.25)
    value = penalty_value(groups)
    kernel = make_penalty("l12", group="kernel")
    expected = 0.75 * kernel.value(model[0].weight) + 0.25 * model[1].weight.abs().sum()
    torch.testing.assert_close(value, expected)
    value.backward()
    torch.testing.assert_close(
        model[0].weight.grad, kernel.subgradient(model[0].weight.detach(), 0.75)
    )
    torch.testing.assert_close(model[1].weight.grad, 0.25 * model[1].weight.detach().sign())
    assert model[0].bias.grad is None
    torch.testing.assert_close(penalty_value(LinBreg(groups, lr=1.0).param_groups), expected)


def test_l1_norm_counts_penalised_parameters_whatever_lam():
    model = nn.Sequential(nn.Linear(4, 3))
    expected = model[0].weight.abs().sum()
    for lam in (0.0, 2.0):
        torch.testing.assert_close(l1_norm(penalize(model, lam=lam)), expected)


def test_sums_over_nothing_are_zero():
    assert penalty_value([]) == 0
    assert l1_norm(penalize(nn.LayerNorm(3), lam=1.0)) == 0
