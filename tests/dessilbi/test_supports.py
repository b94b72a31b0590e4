"""Masks, views and the order of selection, on a network where V is set by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from bregman import penalize
from dessilbi import (
    FILTER_RULES,
    DessiLBI,
    SelectionPath,
    filter_masks,
    gamma_view,
    layer_support,
    mask_filters,
    support_view,
    weight_masks,
)
from dessilbi.supports import keep_ratios
from tests.dessilbi.cases import SETTINGS, build, network, train


def prepared(norms: list[float]) -> tuple[nn.Sequential, DessiLBI]:
    """A convolution whose filters have V of these norms (lam = 1), behind it an empty Linear layer."""
    model = nn.Sequential(nn.Conv2d(2, len(norms), 1), nn.Flatten(), nn.Linear(len(norms), 3))
    optimizer = DessiLBI(penalize(model, FILTER_RULES, lam=1.0), lr=0.0)
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    optimizer.step()
    set_norms(model, optimizer, norms)
    return model, optimizer


def set_norms(model, optimizer, norms):
    direction = torch.tensor([0.6, -0.8]).view(1, 2, 1, 1)
    optimizer.state[model[0].weight]["dual"].copy_(
        torch.tensor(norms).view(-1, 1, 1, 1) * direction
    )


def test_masks_are_the_support_of_gamma():
    model, optimizer = prepared([0.5, 1.5, 3.0, 0.0])
    selected = torch.tensor([False, True, True, False])
    assert torch.equal(filter_masks(model, optimizer)["0.weight"], selected)
    masks = weight_masks(model, optimizer)
    assert torch.equal(masks["0.weight"], selected.view(4, 1, 1, 1).expand(4, 2, 1, 1))
    assert not masks["2.weight"].any()
    assert set(weight_masks(model, optimizer, convolutions_only=True)) == {"0.weight"}
    assert layer_support(model, optimizer) == {"0.weight": True, "2.weight": False}
    assert keep_ratios(masks) == {"0.weight": 0.5, "2.weight": 0.0}
    assert set(filter_masks(model, optimizer, linear=True)) == {"0.weight", "2.weight"}


@pytest.mark.parametrize(
    ("cap", "kept"), [(0.2, [3]), (0.5, [1, 3, 4]), (0.6, [1, 3, 4]), (1, [0, 1, 2, 3, 4])]
)
def test_a_cap_keeps_the_largest_of_each_layer(cap, kept):
    model, optimizer = prepared([2.0, 4.0, 3.0, 9.0, 5.0])
    mask = filter_masks(model, optimizer, cap=cap)["0.weight"]
    assert mask.nonzero().flatten().tolist() == kept


def test_a_cap_keeps_what_was_selected_first():
    model, optimizer = prepared([2.0, 0.5, 0.5, 0.5])
    path = SelectionPath(model, optimizer)
    path.record(1.0)
    set_norms(model, optimizer, [1.1, 1.2, 7.0, 0.5])
    path.record(2.0)
    set_norms(model, optimizer, [0.9, 9.0, 8.0, 0.7])  # the first has left again
    path.record(3.0)
    assert path.first["0.weight"].flatten().tolist() == [1.0, 2.0, 2.0, float("inf")]
    assert path.order("0.weight").tolist() == [0, 1, 2, 3]
    assert path.order("2.weight").shape == (12,)
    set_norms(model, optimizer, [1.1, 1.2, 7.0, 1.5])
    assert path.order("0.weight").tolist() == [0, 2, 1, 3]
    mask = filter_masks(model, optimizer, cap=0.5, path=path)["0.weight"]
    assert mask.tolist() == [True, False, True, False]
    assert filter_masks(model, optimizer, cap=0.25)["0.weight"].tolist() == [
        False,
        False,
        True,
        False,
    ]


def test_a_cap_passes_over_what_was_early_and_has_left():
    model, optimizer = prepared([2.0, 2.0, 0.5, 0.5])
    path = SelectionPath(model, optimizer)
    path.record(1.0)
    set_norms(model, optimizer, [0.5, 0.5, 2.0, 3.0])
    path.record(2.0)
    mask = filter_masks(model, optimizer, cap=0.5, path=path)["0.weight"]
    assert mask.tolist() == [False, False, True, True]


def test_layers_that_are_not_trained_have_no_mask():
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Flatten(), nn.Linear(3, 3))
    optimizer = DessiLBI(penalize(model[2], FILTER_RULES, lam=1.0), lr=0.1)
    assert set(weight_masks(model, optimizer)) == {"2.weight"}
    assert set(filter_masks(model, optimizer, linear=True)) == {"2.weight"}
    assert set(SelectionPath(model, optimizer).first) == {"2.weight"}
    assert torch.equal(gamma_view(model, optimizer)[0].weight, model[0].weight)  # pyright: ignore


def test_a_path_goes_on_after_a_restart():
    model, optimizer = prepared([2.0, 0.5])
    path, other = SelectionPath(model, optimizer), SelectionPath(model, optimizer)
    path.record(1.0)
    other.load_state_dict(path.state_dict())
    other.record(5.0)
    assert other.first["0.weight"].flatten().tolist() == [1.0, float("inf")]
    with pytest.raises(ValueError, match="other parameters"):
        other.load_state_dict({"0.weight": torch.zeros(1)})


def test_larger_targets_are_selected_first():
    """The inverse scale space: on a separable quadratic, the order of entry is that of the size."""
    target = torch.tensor([0.5, -3.0, 1.0, 2.0])
    model = nn.Linear(4, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = DessiLBI(model.parameters(), lr=0.1, penalty="l1", nu=1.0)
    path = SelectionPath(model, optimizer)
    for step in range(400):
        model.weight.grad = model.weight.detach() - target
        optimizer.step()
        path.record(step)
    assert path.order("weight").tolist() == [1, 3, 2, 0]
    assert path.first["weight"].flatten().unique().numel() == 4


@pytest.mark.parametrize("settings", [SETTINGS["momentum"], SETTINGS["magnitude"]])
def test_views_are_copies_with_gamma_or_with_masked_weights(settings):
    model = network()
    optimizer = build(model, settings, lam=0.02)
    train(model, optimizer, range(4))
    before = copy.deepcopy(model.state_dict())
    gamma: Any = gamma_view(model, optimizer)
    support: Any = support_view(model, optimizer)
    for index in (0, 4):
        weight, value = model[index].weight, optimizer.gamma(model[index].weight)
        assert value.count_nonzero() > 0
        assert torch.equal(gamma[index].weight, value)
        assert torch.equal(support[index].weight, weight * (value != 0))
    assert torch.equal(gamma[0].bias, model[0].bias)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_filters_chosen_by_gamma_are_masked_behind_the_norm():
    model, optimizer = prepared([0.5, 1.5, 3.0, 0.0])
    mask_filters(model, filter_masks(model, optimizer))
    images = torch.randn(5, 2, 1, 1)
    assert model[0](images)[:, [0, 3]].count_nonzero() == 0
    assert model[0](images)[:, [1, 2]].count_nonzero() == 10
