"""A state dict that does not fit is refused in one line, and nothing has changed."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from bregman import AdaBreg, LinBreg, ProxAdam, ProxSGD
from bregman.checkpoints import LATER
from bregman.optimizer import PenalisedOptimizer
from dessilbi import DessiLBI
from tests.bregman.cases import OPTIMIZERS, OptimizerCase, build

SPLIT = [
    OptimizerCase(DessiLBI, {"lr": 0.1, "nu": 1.0, "momentum": 0.9, "scaling": scaling})
    for scaling in ("none", "magnitude", "released")
]
CASES = [*OPTIMIZERS, *SPLIT]
EVERY = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c}-{c.settings.get('scaling', '')}")


def trained(case: OptimizerCase, steps: int = 2) -> PenalisedOptimizer:
    """Two groups, with and without a penalty, of (3, 4) and (4,)."""
    torch.manual_seed(0)
    weight, bias = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(4))
    groups = [
        {"params": [weight], "penalty": "l1", "lam": 0.01},
        {"params": [bias], "penalty": "none"},
    ]
    if case.cls is DessiLBI:
        groups[0]["group"] = None
    optimizer = build(case, groups)
    for _ in range(steps):
        step(optimizer)
    return optimizer


def step(optimizer: PenalisedOptimizer) -> None:
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad = torch.sin(param.detach()) + 0.1
    optimizer.step()


def assert_refused(optimizer: PenalisedOptimizer, state_dict, message: str) -> None:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    before = copy.deepcopy((optimizer.state_dict(), params))
    with pytest.raises(ValueError, match=message) as error:
        optimizer.load_state_dict(state_dict)
    assert "\n" not in str(error.value)
    after = (optimizer.state_dict(), params)
    assert after[0]["param_groups"] == before[0]["param_groups"]
    torch.testing.assert_close(after[0]["state"], before[0]["state"], rtol=0, atol=0)
    torch.testing.assert_close(after[1], before[1], rtol=0, atol=0)
    step(optimizer)  # it goes on


WRONG_TENSORS = {
    "row": (lambda x: x[:1], r"has shape \(1,.*\(must be \("),
    "single": (lambda x: torch.ones(1), r"has shape \(1,\)"),
    "scalar": (lambda x: torch.ones(()), r"has shape \(\)"),
    "more": (lambda x: x[None], "has shape"),
    "integer": (lambda x: x.long(), "dtype torch.int64 .must be real floating point"),
    "bool": (lambda x: x > 0, "dtype torch.bool"),
    "complex": (lambda x: x.to(torch.complex64), "dtype torch.complex64"),
    "sparse": (lambda x: x.to_sparse(), "is not dense"),
    "meta": (lambda x: x.to("meta"), "meta device"),
    "number": (lambda x: 1.0, "is a float .must be a tensor"),
    "list": (lambda x: x.tolist(), "is a list"),
    "none": (lambda x: None, "is a NoneType"),
}


@pytest.mark.parametrize("wrong", WRONG_TENSORS)
@EVERY
def test_every_tensor_of_the_state_must_fit_its_parameter(case, wrong):
    change, message = WRONG_TENSORS[wrong]
    optimizer = trained(case)
    found = 0
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor):
                changed = copy.deepcopy(optimizer.state_dict())
                changed["state"][index][name] = change(value)
                assert_refused(optimizer, changed, f"Invalid state dict: .*{name}.*{message}")
                found += 1
    assert found or case.cls is ProxSGD


@pytest.mark.parametrize("value", [-1, 0.5, True, "1", None, torch.ones(1), torch.ones(3, 4), 1j])
@pytest.mark.parametrize("case", [c for c in CASES if c.cls in (AdaBreg, ProxAdam)], ids=str)
def test_step_must_be_a_count(case, value):
    optimizer = trained(case)
    changed = copy.deepcopy(optimizer.state_dict())
    changed["state"][0]["step"] = value
    assert_refused(optimizer, changed, r"step is .* \(must be an integer >= 0\)")


def test_a_step_in_a_scalar_tensor_is_a_count():
    optimizer = trained(CASES[2])
    changed = copy.deepcopy(optimizer.state_dict())
    changed["state"][0]["step"] = torch.tensor(7.0)
    optimizer.load_state_dict(changed)
    assert optimizer.state[optimizer.param_groups[0]["params"][0]]["step"] == 7


def test_a_second_moment_is_not_negative():
    optimizer = trained(CASES[2])
    changed = copy.deepcopy(optimizer.state_dict())
    changed["state"][0]["exp_avg_sq"][0, 0] = -1.0
    assert_refused(optimizer, changed, "exp_avg_sq has negative entries")


OUT_OF_RANGE = {
    "lr": [-0.1, float("nan"), "0.1", None, 1j],
    "lam": [-5.0, float("inf"), "x"],
    "weight_decay": [-1.0],
    "delta": [0, -1.0, float("nan")],
    "momentum": [1.0, -0.1],
    "betas": [(0.9,), (0.9, 1.0), (-0.1, 0.9), 0.9, None, (0.9, "x")],
    "eps": [-1e-8, None],
    "kappa": [0.0],
    "nu": [0.0, float("inf")],
    "scaling": ["paper", None, ["none"]],
    "scaling_floor": [1.0, -0.1],
    "penalty": ["L1", None, ["l1"], {}],
    "group": ["row-wise", 3, [[0]], (7,)],
    "group_weight": ["size", None],
}


@EVERY
def test_values_out_of_range_are_refused(case):
    optimizer = trained(case)
    names = [name for name in OUT_OF_RANGE if name in optimizer.param_groups[0]]
    assert len(names) >= 6
    for name in names:
        for value in OUT_OF_RANGE[name]:
            for number in range(2):
                changed = copy.deepcopy(optimizer.state_dict())
                changed["param_groups"][number][name] = value
                assert_refused(optimizer, changed, f"Invalid state dict: group {number}: ")


@EVERY
def test_options_that_are_missing_are_refused_or_stay(case):
    optimizer = trained(case)
    stays = {"maximize", "foreach", "group_weight", "legacy_bias_correction", *LATER}
    for name in list(optimizer.defaults):
        changed = copy.deepcopy(optimizer.state_dict())
        for group in changed["param_groups"]:
            del group[name]
        if name in stays:
            own = [group[name] for group in optimizer.param_groups]
            optimizer.load_state_dict(changed)
            assert [group[name] for group in optimizer.param_groups] == own
        else:
            assert_refused(optimizer, changed, f"group 0 lacks {name} ")


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize(("saved", "loading"), [(a, b) for a in CASES for b in CASES], ids=str)
def test_the_state_of_another_optimiser_is_refused(saved, loading, steps, tagged):
    """Also one without the name of its optimiser, as older versions wrote it."""
    state_dict, optimizer = trained(saved, steps).state_dict(), trained(loading)
    assert state_dict["optimizer"] == saved.cls.__name__
    if not tagged:
        del state_dict["optimizer"]
    if saved.cls is not loading.cls:
        assert_refused(optimizer, state_dict, "Invalid state dict: ")
    elif saved.settings.get("scaling", "none") == loading.settings.get("scaling", "none"):
        optimizer.load_state_dict(state_dict)
        step(optimizer)


@pytest.mark.parametrize("cls", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
@EVERY
def test_states_of_torch_are_refused(case, cls):
    optimizer = trained(case)
    params = [{"params": list(group["params"])} for group in optimizer.param_groups]
    other = cls(params, lr=0.1)
    assert_refused(optimizer, other.state_dict(), "lacks .*belongs to another optimiser")
    other.step()
    assert_refused(optimizer, other.state_dict(), "lacks .*belongs to another optimiser")


def _break(state_dict, *path, value):
    for key in path[:-1]:
        state_dict = state_dict[key]
    state_dict[path[-1]] = value


STRUCTURES = {
    "no-state": (("state",), None, "no 'state'"),
    "no-groups": (("param_groups",), None, "no 'param_groups'"),
    "fewer-groups": (("param_groups",), [], "0 groups of parameters .must have 2"),
    "no-group": (("param_groups", 0), None, "group 0 has no list"),
    "no-params": (("param_groups", 1, "params"), None, "group 1 has no list"),
    "more-params": (("param_groups", 1, "params"), [1, 2], "2 parameters .must have 1"),
    "fewer-params": (("param_groups", 1, "params"), [], "0 parameters .must have 1"),
    "twice": (("param_groups", 1, "params"), [0], "a parameter twice"),
    "unhashable": (("param_groups", 1, "params"), [[1]], "cannot be a key"),
    "stray": (("state", 5), {}, "parameter 5 belongs to no group"),
    "stray-name": (("state", "x"), {}, "parameter 'x' belongs to no group"),
    "no-dictionary": (("state", 0), 3, "no dictionary"),
    "extra": (("state", 0, "velocity"), torch.ones(3, 4), "velocity"),
}


@pytest.mark.parametrize("name", STRUCTURES)
@EVERY
def test_other_structures_are_refused(case, name):
    path, value, message = STRUCTURES[name]
    optimizer = trained(case)
    if name == "extra" and not optimizer.state_dict()["state"]:
        pytest.skip("an optimiser without state")
    changed = copy.deepcopy(optimizer.state_dict())
    _break(changed, *path, value=value)
    assert_refused(optimizer, changed, message)
    for nothing in (None, [], 3):
        assert_refused(optimizer, nothing, "Invalid state dict: it is a ")


@EVERY
def test_entries_that_are_missing_are_refused(case):
    optimizer = trained(case)
    for index, state in optimizer.state_dict()["state"].items():
        for name in state:
            if name == "momentum_buffer" or (name == "gamma" and len(state) == 1):
                continue  # is made when it is needed
            changed = copy.deepcopy(optimizer.state_dict())
            del changed["state"][index][name]
            if changed["state"][index]:
                assert_refused(optimizer, changed, f"lacks {name} ")


@EVERY
def test_hooks_act_as_in_torch(case):
    source, target = trained(case, 3), trained(case, 1)
    seen = []

    def replace(optimizer, state_dict):
        assert optimizer is target
        return OrderedDict(copy.deepcopy(source.state_dict()))

    def alter(optimizer, state_dict):
        seen.append(type(state_dict))
        state_dict["param_groups"][0]["lam"] = 0.02

    def after(optimizer):
        seen.append(optimizer.param_groups[0]["lam"])

    target.register_load_state_dict_pre_hook(replace)
    target.register_load_state_dict_pre_hook(alter)
    target.register_load_state_dict_post_hook(after)
    passed = trained(case, 0).state_dict()
    copied = copy.deepcopy(passed)
    target.load_state_dict(passed)
    assert passed["param_groups"] == copied["param_groups"]  # the caller's own is left alone
    assert seen == [OrderedDict, 0.02]
    torch.testing.assert_close(target.state_dict()["state"], source.state_dict()["state"])


def test_what_a_hook_returns_is_checked_and_a_refused_state_calls_no_post_hook():
    target = trained(CASES[0])

    def shrink(optimizer, state_dict):
        changed = copy.deepcopy(state_dict)
        changed["state"][0]["dual"] = torch.ones(4)
        return changed

    target.register_load_state_dict_pre_hook(shrink)
    target.register_load_state_dict_post_hook(lambda optimizer: pytest.fail("called"))
    assert_refused(target, target.state_dict(), r"dual has shape \(4,\)")


def test_a_late_group_that_fails_leaves_the_first_as_it_was():
    target = trained(CASES[0])
    changed = copy.deepcopy(target.state_dict())
    changed["param_groups"][0]["lam"] = 3.0
    changed["state"][0]["dual"] += 1.0
    changed["param_groups"][1]["delta"] = 0.0
    assert_refused(target, changed, r"group 1: Invalid delta: 0.0 \(must be > 0 and finite\)")


def test_names_appear_in_errors_and_subclasses_share_states():
    class Mine(LinBreg):
        pass

    named = [("layer.weight", nn.Parameter(torch.ones(3, 4)))]
    target = Mine(named, lr=0.1)
    step(target)
    source = LinBreg([("layer.weight", nn.Parameter(torch.ones(3, 4)))], lr=0.1)
    step(source)
    target.load_state_dict(source.state_dict())
    changed = copy.deepcopy(source.state_dict())
    changed["state"][0]["dual"] = torch.ones(1, 4)
    assert_refused(target, changed, r"parameter 'layer.weight': dual has shape \(1, 4\)")
