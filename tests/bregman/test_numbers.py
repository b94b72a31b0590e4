"""Learning rates in tensors, parameters in low precision, and gradients that are not finite."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from bregman import LinBreg, ProxAdam, ProxSGD, make_penalty
from dessilbi import DessiLBI
from tests.bregman.cases import DUAL_OPTIMIZERS, OPTIMIZERS, OptimizerCase, build

CASES = [*OPTIMIZERS, OptimizerCase(DessiLBI, {"lr": 0.1, "nu": 1.0, "momentum": 0.9})]
ON_PARAMETERS = [case for case in CASES if case not in DUAL_OPTIMIZERS]
NARROW = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


def descend(optimizer, steps: int) -> None:
    for _ in range(steps):
        for group in optimizer.param_groups:
            for param in group["params"]:
                param.grad = torch.sin(param.detach()) + 0.1
        optimizer.step()


def make(case: OptimizerCase, **options):
    torch.manual_seed(1)
    param = nn.Parameter(torch.randn(6, 4, dtype=torch.float64))
    if case.cls is DessiLBI:
        options["group"] = None
    return param, build(case, [param], penalty="l1", lam=0.01, **options)


@pytest.mark.parametrize("foreach", [False, None])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rate_in_a_tensor_acts_like_its_number_and_can_be_filled(case, foreach):
    rate = torch.tensor(0.1, dtype=torch.float64)
    param, optimizer = make(case, lr=rate, foreach=foreach)
    twin, by_number = make(case, lr=0.1, foreach=foreach)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    for step in range(5):
        by_number.param_groups[0]["lr"] = 0.1 * 0.5 ** (step // 2)
        descend(optimizer, 1)
        descend(by_number, 1)
        scheduler.step()
        torch.testing.assert_close(param, twin, rtol=1e-13, atol=0)
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(0.025)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rate_in_a_tensor_is_saved_as_one(case, tmp_path):
    rate = torch.tensor([0.05])
    param, optimizer = make(case, lr=rate)
    descend(optimizer, 2)
    torch.save((param.detach(), optimizer.state_dict()), tmp_path / "c.pt")
    resumed, fresh = make(case, lr=3.0)
    values, state = torch.load(tmp_path / "c.pt", weights_only=True)
    with torch.no_grad():
        resumed.copy_(values)
    fresh.load_state_dict(state)
    loaded = fresh.param_groups[0]["lr"]
    assert torch.equal(loaded, rate)
    assert loaded.data_ptr() != rate.data_ptr()
    for each in (optimizer, fresh, copy.deepcopy(fresh)):
        descend(each, 2)
    assert torch.equal(resumed, param)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize(
    "rate",
    [
        torch.tensor(-0.1),
        torch.tensor(torch.nan),
        torch.tensor([0.1, 0.2]),
        torch.tensor(0.1j),
        torch.empty(0),
    ],
    ids=str,
)
def test_other_tensors_are_no_learning_rate(case, rate):
    with pytest.raises(ValueError, match="Invalid learning rate: "):
        make(case, lr=rate)
    _, optimizer = make(case)
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["lr"] = rate
    with pytest.raises(ValueError, match="group 0: Invalid learning rate: "):
        optimizer.load_state_dict(state)


@NARROW
@pytest.mark.filterwarnings("ignore:.*adds its steps")
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("penalty", ["none", "l1", "nonnegative", "nuclear"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_paths_round_a_parameter_once_a_step(case, penalty, weight_decay, dtype):
    """So that all but the entries at a tie of float32 arithmetic are equal."""
    if case.cls is ProxAdam and penalty not in ("none", "l1"):
        pytest.skip("refused")
    options = {"penalty": penalty, "weight_decay": weight_decay, "group": None}
    if penalty != "none":
        options["lam"] = 0.01
    if case in DUAL_OPTIMIZERS:
        options["delta"] = 0.37
    results = []
    for foreach in (False, None):
        generator = torch.Generator().manual_seed(0)
        param = nn.Parameter(torch.randn(40, 25, generator=generator).abs().to(dtype))
        optimizer = build(case, [param], foreach=foreach, **options)
        for _ in range(5):
            param.grad = torch.randn(40, 25, generator=generator).to(dtype)
            optimizer.step()
        results.append(param.detach())
    differing = (results[0] != results[1]).double().mean()
    assert differing < (0.03 if penalty == "nuclear" else 0.005)  # a decomposition rounds more


@NARROW
@pytest.mark.parametrize("case", ON_PARAMETERS, ids=str)
def test_optimisers_that_would_lose_small_steps_say_so(case, dtype):
    param = nn.Parameter(torch.ones(3, 4, dtype=dtype))
    message = f"parameter 'w': {case.cls.__name__} adds its steps to the {str(dtype)[6:]} parameter"
    with pytest.warns(UserWarning, match=message):
        optimizer = build(case, [("w", param)], penalty="none", group=None)
    late = nn.Parameter(torch.ones(2, dtype=dtype))
    with pytest.warns(UserWarning, match="adds its steps"):
        optimizer.add_param_group({"params": [("late", late)]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the dual keeps the steps, and wide parameters do
        for other in DUAL_OPTIMIZERS:
            build(other, [nn.Parameter(torch.ones(3, dtype=dtype))])
        build(case, [nn.Parameter(torch.ones(3, 4))], penalty="none", group=None)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("foreach", [False, None])
@pytest.mark.parametrize("case", [c for c in CASES if c.cls is not ProxAdam], ids=str)
def test_nuclear_refuses_gradients_that_are_not_finite(case, foreach, value):
    free, matrix = nn.Parameter(torch.ones(2)), nn.Parameter(torch.randn(4, 3))
    groups = [
        {"params": [("free", free)], "penalty": "none"},
        {"params": [("matrix", matrix)], "penalty": "nuclear", "lam": 0.01},
    ]
    optimizer = build(case, groups, foreach=foreach, group=None)
    descend(optimizer, 1)
    before = copy.deepcopy((free, matrix, optimizer.state_dict()["state"]))
    assert matrix.grad is not None
    matrix.grad[1, 1] = value
    with pytest.raises(RuntimeError, match="parameter 'matrix': its gradient holds NaN") as error:
        optimizer.step()
    assert "\n" not in str(error.value)
    after = (free, matrix, optimizer.state_dict()["state"])
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    descend(optimizer, 1)


@pytest.mark.parametrize("name", ["value", "prox", "subgradient"])
def test_the_nuclear_norm_says_that_a_matrix_is_not_finite(name):
    matrix = torch.ones(3, 2)
    matrix[0, 0] = torch.nan
    with pytest.raises(RuntimeError, match=r"^penalty 'nuclear': .*\(3, 2\) holds NaN"):
        getattr(make_penalty("nuclear"), name)(matrix, 0.1)


def test_nan_in_other_gradients_shows_in_the_parameter():
    for cls in (LinBreg, ProxSGD):
        param = nn.Parameter(torch.ones(2))
        optimizer = cls([param], lr=0.1, penalty="l1", lam=0.1)
        param.grad = torch.tensor([torch.nan, 1.0])
        optimizer.step()
        assert param.isnan().tolist() == [True, False]


@pytest.mark.parametrize("foreach", [False, None])
@pytest.mark.parametrize("scaling", ["none", "magnitude", "released"])
def test_a_gamma_that_is_not_finite_is_refused_where_it_is_read(scaling, foreach):
    weight = nn.Parameter(torch.randn(4, 3))
    optimizer = DessiLBI([weight], lr=0.1, penalty="l1", scaling=scaling, foreach=foreach)
    descend(optimizer, 1)
    assert weight.grad is not None
    weight.grad[0, 0] = torch.nan
    optimizer.step()
    weight.grad = torch.zeros(4, 3)
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"Gamma of the parameter of shape \(4, 3\) holds NaN"):
        optimizer.gamma(weight)
