"""Tickets: masks, rewinding, masked retraining, and baselines of the same budget."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from bregman import penalize
from dessilbi import WEIGHT_RULES, DessiLBI, Ticket, weight_masks
from dessilbi.costs import kept_fractions
from dessilbi.tickets import budget, largest_within, random_masks, round_densities
from tests.dessilbi.cases import network, train


def searched():
    """A network, its initial state, and the ticket that a few steps find."""
    model = network()
    start = copy.deepcopy(model.state_dict())
    optimizer = DessiLBI(penalize(model, WEIGHT_RULES, lam=0.02), lr=0.1, nu=1.0, momentum=0.9)
    train(model, optimizer, range(4))
    return model, start, weight_masks(model, optimizer)


def test_early_stop_mask_rewind_retrain():
    model, start, masks = searched()
    assert 0 < budget(masks) < sum(mask.numel() for mask in masks.values())
    ticket = Ticket(model, masks)
    ticket.rewind(start)
    for name, value in model.state_dict().items():
        expected = start[name] * masks[name] if name in masks else start[name]
        assert torch.equal(value, expected)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-2)
    for seed in range(6):
        train(model, optimizer, [seed])
        ticket.project()
        for name, mask in masks.items():
            assert model.state_dict()[name][~mask].count_nonzero() == 0
    moved = model.state_dict()["4.weight"] != start["4.weight"]
    assert moved[masks["4.weight"]].any()


def test_a_ticket_is_trained_like_a_network_of_its_own():
    """Projected steps of SGD are steps of SGD on the entries that are kept."""
    torch.manual_seed(1)
    model = nn.Linear(6, 1, bias=False).double()
    mask = torch.tensor([[True, False, True, True, False, True]])
    small = nn.Linear(4, 1, bias=False).double()
    with torch.no_grad():
        small.weight.copy_(model.weight[mask].view(1, 4))
    ticket = Ticket(model, {"weight": mask})
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (model, small)]
    for _ in range(5):
        images = torch.randn(8, 6, dtype=torch.float64)
        for net, inputs in ((model, images), (small, images[:, mask[0]])):
            net.zero_grad()
            (net(inputs) - 1).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
        ticket.project()
        torch.testing.assert_close(model.weight[mask], small.weight[0], rtol=1e-13, atol=1e-14)


def test_a_ticket_carries_over_to_another_head():
    model, _, masks = searched()
    other: Any = nn.Sequential(*copy.deepcopy(model[:4]), nn.Linear(4 * 36, 7))
    Ticket(other, {"0.weight": masks["0.weight"]})
    assert (other[0].weight.ne(0) == masks["0.weight"]).all()
    with pytest.raises(ValueError, match=r"'4\.weight' has shape"):
        Ticket(other, masks)


def test_one_shot_pruning_keeps_the_largest_of_all_layers():
    model, _, masks = searched()
    keep = budget(masks)
    found = largest_within(
        model, {name: torch.ones_like(mask) for name, mask in masks.items()}, keep
    )
    assert budget(found) == keep
    weights = {name: param.detach().abs() for name, param in model.named_parameters()}
    kept = torch.cat([weights[name][mask] for name, mask in found.items()])
    cut = torch.cat([weights[name][~mask] for name, mask in found.items()])
    assert kept.min() >= cut.max()


def test_iterative_pruning_never_takes_anything_back():
    model, _, masks = searched()
    within = {name: torch.ones_like(mask) for name, mask in masks.items()}
    total = budget(within)
    for density in round_densities(0.1, 4):
        with torch.no_grad():  # retrained in between: other weights are large now
            for param in model.parameters():
                param.normal_()
        previous = within
        within = largest_within(model, within, round(density * total))
        assert all(not (within[name] & ~previous[name]).any() for name in within)
        assert budget(within) == round(density * total)
    assert round_densities(0.1, 4)[-1] == pytest.approx(0.1)
    assert round_densities(0.25, 2) == pytest.approx([0.5, 0.25])


def test_weights_outside_are_not_kept_even_if_all_others_are_zero():
    model = nn.Linear(4, 1)
    nn.init.zeros_(model.weight)
    within = {"weight": torch.tensor([[True, False, False, True]])}
    assert torch.equal(largest_within(model, within, 2)["weight"], within["weight"])
    with pytest.raises(ValueError, match="keep: 3"):
        largest_within(model, within, 3)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_random_masks_have_the_same_budget(scope):
    _, _, masks = searched()
    generator = torch.Generator().manual_seed(3)
    found = random_masks(masks, generator=generator, scope=scope)
    assert budget(found) == budget(masks)
    same = [int(found[name].sum()) == int(masks[name].sum()) for name in masks]
    assert all(same) == (scope == "layer")
    assert any(not torch.equal(found[name], masks[name]) for name in masks)
    again = random_masks(masks, generator=torch.Generator().manual_seed(3), scope=scope)
    assert all(torch.equal(found[name], again[name]) for name in masks)


def test_fractions_under_three_denominators():
    model = network()  # 72 convolution weights, 432 linear, 4 + 4 + 4 + 3 others
    masks = {"0.weight": torch.arange(72).view(4, 2, 3, 3) < 18}
    fractions = kept_fractions(model, masks)
    assert fractions["masked"] == fractions["convolutions"] == 0.25
    assert fractions["parameters"] == pytest.approx(1 - 54 / 519)
    masks["4.weight"] = torch.zeros(3, 144, dtype=torch.bool)
    assert kept_fractions(model, masks)["masked"] == pytest.approx(18 / 504)


@pytest.mark.parametrize(("density", "rounds"), [(0.0, 2), (0.5, 0)])
def test_wrong_rounds_are_refused(density, rounds):
    with pytest.raises(ValueError, match="Invalid"):
        round_densities(density, rounds)
