"""Saving, loading, copying: training goes on as if nothing had happened."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from bregman import AdaBreg, LinBreg
from bregman.choices import GroupName, GroupWeight, PenaltyName
from tests.bregman.cases import DUAL_OPTIMIZERS, OPTIMIZERS, build
from tests.bregman.training import assert_identical, grouped, network, train


@pytest.mark.parametrize("foreach", [False, None])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_resume_is_bitwise(case, foreach, tmp_path):
    """Three steps, save, load with weights_only=True into fresh objects, three more = six steps."""
    model = network().to(memory_format=torch.channels_last)
    optimizer = build(case, grouped(model, case), foreach=foreach)
    train(model, optimizer, range(3))
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "c.pt"
    )
    train(model, optimizer, range(3, 6))

    resumed = network().to(memory_format=torch.channels_last)
    fresh = build(case, grouped(resumed, case), foreach=foreach, lr=123.0)
    checkpoint = torch.load(tmp_path / "c.pt", weights_only=True)
    resumed.load_state_dict(checkpoint["model"])
    fresh.load_state_dict(checkpoint["optimizer"])
    train(resumed, fresh, range(3, 6))
    assert_identical(model, resumed)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_loading_copies_the_state(case):
    """Two optimisers that once shared a state go their own ways."""
    model = network()
    optimizer = build(case, grouped(model, case))
    train(model, optimizer, range(2))
    twin, control = copy.deepcopy(model), copy.deepcopy(model)
    other, control_optimizer = build(case, grouped(twin, case)), build(case, grouped(control, case))
    other.load_state_dict(optimizer.state_dict())
    control_optimizer.load_state_dict(optimizer.state_dict())
    train(twin, other, range(10, 14))
    train(model, optimizer, range(2, 4))
    train(control, control_optimizer, range(2, 4))
    assert_identical(model, control)


@pytest.mark.parametrize("case", DUAL_OPTIMIZERS, ids=str)
def test_state_of_bfloat16_parameters_stays_float32(case, tmp_path):
    def make():
        torch.manual_seed(3)
        param = nn.Parameter(torch.randn(40).bfloat16())
        return param, build(case, [param], penalty="l1", lam=0.1)

    def steps(param, optimizer, count, seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(count):
            param.grad = torch.randn(40, generator=generator).bfloat16()
            optimizer.step()

    param, optimizer = make()
    steps(param, optimizer, 5, seed=0)
    torch.save((param.detach(), optimizer.state_dict()), tmp_path / "c.pt")
    steps(param, optimizer, 5, seed=1)

    resumed, fresh = make()
    values, state = torch.load(tmp_path / "c.pt", weights_only=True)
    with torch.no_grad():
        resumed.copy_(values)
    fresh.load_state_dict(state)
    for name, value in fresh.state[resumed].items():
        assert name == "step" or value.dtype is torch.float32
    steps(resumed, fresh, 5, seed=1)
    assert torch.equal(resumed, param)
    assert torch.equal(fresh.state[resumed]["dual"], optimizer.state[param]["dual"])


def test_state_is_as_wide_as_float64_parameters():
    param = nn.Parameter(torch.randn(3, dtype=torch.float64))
    param.grad = torch.randn_like(param)
    optimizer = AdaBreg([param], penalty="l1", lam=0.1)
    optimizer.step()
    tensors = [
        value for value in optimizer.state[param].values() if isinstance(value, torch.Tensor)
    ]
    assert len(tensors) == 3
    assert all(value.dtype is torch.float64 for value in tensors)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_groups_and_state_hold_plain_values(case):
    model = network()
    optimizer = build(case, grouped(model, case))
    train(model, optimizer, range(1))
    plain = (int, float, str, bool, type(None))
    for group in optimizer.state_dict()["param_groups"]:
        for name, value in group.items():
            if name not in ("params", "param_names"):
                items = value if isinstance(value, tuple) else (value,)
                assert all(isinstance(item, plain) for item in items), name
    for state in optimizer.state.values():
        assert all(isinstance(value, (*plain, torch.Tensor)) for value in state.values())


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_deepcopy_and_pickle_continue_alike(case):
    model = network()
    optimizer = build(case, grouped(model, case))
    train(model, optimizer, range(2))
    deep_model, deep = copy.deepcopy((model, optimizer))
    pickled_model, pickled = pickle.loads(pickle.dumps((model, optimizer)))
    for each_model, each in ((model, optimizer), (deep_model, deep), (pickled_model, pickled)):
        train(each_model, each, range(2, 4))
    assert_identical(model, deep_model)
    assert_identical(model, pickled_model)


def test_checkpoint_without_newer_options_loads():
    param = nn.Parameter(torch.randn(3))
    optimizer = AdaBreg([param])
    state = optimizer.state_dict()
    for name in ("legacy_bias_correction", "maximize", "foreach", "group_weight"):
        del state["param_groups"][0][name]
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["legacy_bias_correction"] is False
    param.grad = torch.randn(3)
    optimizer.step()


def test_members_of_enums_are_saved_as_words(tmp_path):
    settings = {"penalty": PenaltyName.l12, "group": GroupName.row}
    options = {**settings, "group_weight": GroupWeight.none}
    optimizer = LinBreg([nn.Parameter(torch.ones(3, 2))], lr=0.1, lam=0.1, **options)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    (group,) = torch.load(tmp_path / "state.pt", weights_only=True)["param_groups"]
    assert (group["penalty"], group["group"], group["group_weight"]) == ("l12", "row", "none")
