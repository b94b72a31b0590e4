"""The optimiser as a citizen of torch: SGD as its limit, checkpoints, closures, errors."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bregman import penalize
from dessilbi import FILTER_RULES, DessiLBI
from tests.dessilbi.cases import SETTINGS, assert_identical, batch, build, network, train


@pytest.mark.parametrize("foreach", [False, None])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "weight_decay": 0.01},
    ],
)
def test_without_coupling_it_is_sgd(settings, foreach):
    """nu -> infinity."""
    model, twin = network().double(), network().double()
    twin.load_state_dict(model.state_dict())
    train(model, build(model, settings, nu=1e300, foreach=foreach), range(6))
    train(twin, torch.optim.SGD(twin.parameters(), lr=0.1, foreach=False, **settings), range(6))
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_parameters_without_a_penalty_take_the_rate_kappa_lr():
    param, twin = (nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2))
    optimizer = DessiLBI([param], lr=0.1, kappa=4.0, penalty="none", momentum=0.9)
    sgd = torch.optim.SGD([twin], lr=0.4, momentum=0.9)
    for _ in range(3):
        param.grad, twin.grad = param.detach().clone(), twin.detach().clone()
        optimizer.step()
        sgd.step()
    torch.testing.assert_close(param, twin, rtol=1e-14, atol=0)


@pytest.mark.parametrize("foreach", [False, None])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_resume_is_bitwise(settings, foreach, tmp_path):
    def make():
        model = network().to(memory_format=torch.channels_last)
        return model, build(model, settings, foreach=foreach)

    model, optimizer = make()
    train(model, optimizer, range(3))
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "c.pt"
    )
    train(model, optimizer, range(3, 6))
    resumed, fresh = make()
    checkpoint = torch.load(tmp_path / "c.pt", weights_only=True)
    resumed.load_state_dict(checkpoint["model"])
    fresh.load_state_dict(checkpoint["optimizer"])
    train(resumed, fresh, range(3, 6))
    assert_identical(model, resumed)
    assert torch.equal(optimizer.gamma(model[0].weight), fresh.gamma(resumed[0].weight))


def test_state_is_one_buffer_and_the_momentum():
    """8 bytes per fp32 parameter, as Adam; one more for Gamma where eq. 14b asks for it."""
    for settings, count in (({"momentum": 0.9}, 2), ({}, 1), (SETTINGS["magnitude"], 3)):
        model = network()
        optimizer = build(model, settings)
        train(model, optimizer, range(1))
        state = optimizer.state[model[0].weight]
        assert sum(value.nbytes for value in state.values()) == count * model[0].weight.nbytes
    assert "dual" not in optimizer.state[model[0].bias]


def test_groups_hold_plain_values():
    model = network()
    optimizer = build(model, {})
    train(model, optimizer, range(1))
    for group in optimizer.state_dict()["param_groups"]:
        for name, value in group.items():
            if name not in ("params", "param_names"):
                assert isinstance(value, (int, float, str, bool, type(None))), name


def test_copies_and_a_closure_continue_alike():
    model = network()
    optimizer = build(model, {"momentum": 0.9})
    train(model, optimizer, range(2))
    twin, other = copy.deepcopy((model, optimizer))
    images, labels = batch(7)

    def closure():
        other.zero_grad()
        loss = nn.functional.cross_entropy(twin(images), labels)
        loss.backward()
        return loss

    train(model, optimizer, [7])
    assert other.step(closure).item() > 0
    assert_identical(model, twin)


def test_gamma_before_the_first_step_is_zero():
    model = network()
    optimizer = build(model, {})
    assert torch.equal(optimizer.gamma(model[0].weight), torch.zeros(4, 2, 3, 3))
    train(model, optimizer, range(1))
    optimizer.gamma(model[0].weight).add_(1)  # a copy: Gamma itself stays
    assert optimizer.gamma(model[0].weight).abs().max() < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "learning rate: -1.0"),
        ({"kappa": 0.0}, "kappa: 0.0"),
        ({"nu": 0.0}, "nu: 0.0"),
        ({"nu": float("inf")}, "nu: inf"),
        ({"lam": -1.0}, "lam: -1.0"),
        ({"momentum": 1.0}, "momentum: 1.0"),
        ({"nesterov": True}, "needs momentum"),
        ({"scaling": "paper"}, "scaling: 'paper'"),
        ({"scaling_floor": 1.0}, "scaling_floor: 1.0"),
        ({"weight_decay": -0.1}, "weight_decay: -0.1"),
        ({"scaling": "released", "penalty": "nuclear"}, "has no magnitudes"),
        ({"group": "kernels"}, "group: 'kernels'"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DessiLBI([nn.Parameter(torch.ones(2, 2))], **{"lr": 0.1, **options})


def test_a_bias_under_the_default_penalty_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'0\.bias'.*filter"):
        DessiLBI(network().named_parameters(), lr=0.1)


def test_gamma_of_foreign_or_unpenalised_parameters_is_refused():
    model = network()
    optimizer = build(model, {})
    with pytest.raises(ValueError, match="no Gamma"):
        optimizer.gamma(model[0].bias)
    with pytest.raises(ValueError, match="no group holds"):
        optimizer.gamma(torch.ones(2))


def test_plain_groups_override_the_default_penalty():
    weight, bias = nn.Parameter(torch.ones(2, 2, 1, 1)), nn.Parameter(torch.ones(2))
    groups = [{"params": [weight]}, {"params": [bias], "penalty": "none"}]
    optimizer = DessiLBI(groups, lr=0.1)
    assert [group["group"] for group in optimizer.param_groups] == ["filter", None]


def test_the_group_of_the_optimiser_serves_groups_that_ask_for_its_penalty():
    model = nn.Conv2d(2, 3, 3)
    groups = [{"params": [model.weight], "penalty": "l12"}, {"params": [model.bias]}]
    optimizer = DessiLBI(groups, lr=0.1, penalty="none", group="filter")
    assert [group["group"] for group in optimizer.param_groups] == ["filter", None]


def test_rules_give_filters_entries_and_nothing():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(4, 5)
    )
    found = {
        name: (group["penalty"], group["group"], group["group_weight"])
        for group in penalize(model, FILTER_RULES, lam=1.0)
        for name, _ in group["params"]
    }
    assert found["0.weight"] == ("l12", "filter", "none")
    assert found["1.weight"] == ("l12", "channel", "none")
    assert found["3.weight"][0] == "l1"
    assert {found[name][0] for name in ("0.bias", "2.weight", "2.bias", "3.bias")} == {"none"}
