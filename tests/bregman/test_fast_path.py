"""The fast path equals the single-tensor reference, whatever happens during training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bregman import AdaBreg, LinBreg, ProxAdam, ProxSGD, updates
from tests.bregman.cases import DUAL_OPTIMIZERS, OPTIMIZERS, build

SHAPES = [(8, 4, 3, 3), (8, 4, 3, 3), (6, 8, 1, 1), (5, 12), (7, 5), (5,), (), (0, 3), (3, 4, 2)]


def parameters(dtype: torch.dtype = torch.float64, density: float = 0.5) -> list[nn.Parameter]:
    """All ranks; the second convolution is channels_last, one tensor is empty."""
    tensors = [torch.randn(shape, dtype=dtype) for shape in SHAPES]
    tensors = [x * (torch.rand(x.shape) < density) for x in tensors]
    tensors[1] = tensors[1].to(memory_format=torch.channels_last)
    return [nn.Parameter(x) for x in tensors]


def groups(params: list[nn.Parameter], cls: type) -> list[dict]:
    if cls is ProxAdam:
        return [{"params": params[:5], "penalty": "l1", "lam": 0.2}, {"params": params[5:]}]
    return [
        {"params": params[:3], "penalty": "l12", "group": "kernel", "lam": 0.2},
        {"params": params[3:4], "penalty": "l12", "group": "row", "lam": 0.1, "lr": 0.03},
        {"params": params[4:5], "penalty": "l1", "lam": 0.1},
        {"params": params[5:8]},
        {"params": params[8:], "penalty": "nonnegative", "lam": 0.05},
    ]


def random_gradients(*twins: list[nn.Parameter], skip: int | None = None) -> None:
    """Equal gradients in the layout of the parameter; parameter `skip` has none."""
    for index, params in enumerate(zip(*twins, strict=True)):
        grad = torch.randn_like(params[0])
        for param in params:
            param.grad = None if index == skip else grad.clone()


def run_both(case, options, steps=8, dtype=torch.float64):
    reference_params = parameters(dtype)
    fast_params = copy.deepcopy(reference_params)
    reference = build(case, groups(reference_params, case.cls), **{**options, "foreach": False})
    fast = build(case, groups(fast_params, case.cls), **options)
    for step in range(steps):
        for optimizer in (reference, fast):
            for group in optimizer.param_groups:
                if step == 3:
                    group["lr"] *= 0.1
                if step == 5:
                    group["lam"] *= 2.0
        random_gradients(reference_params, fast_params, skip={2: 0, 4: 5}.get(step))
        reference.step()
        fast.step()
        yield reference, fast, reference_params, fast_params


OPTIONS = [{}, {"maximize": True}, {"weight_decay": 0.3}, {"foreach": True}]
SCENARIOS = [(case, options) for case in OPTIMIZERS for options in OPTIONS]
SCENARIOS += [(case, {"delta": 0.7, "weight_decay": 0.3}) for case in DUAL_OPTIMIZERS]


@pytest.mark.parametrize(("case", "options"), SCENARIOS, ids=str)
def test_fast_path_equals_reference(case, options):
    for _, _, reference_params, fast_params in run_both(case, options):
        torch.testing.assert_close(fast_params, reference_params, rtol=1e-11, atol=1e-12)
        for fast_param, reference_param in zip(fast_params, reference_params, strict=True):
            assert torch.equal(fast_param != 0, reference_param != 0)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_state_of_fast_path_equals_reference(case):
    *_, (reference, fast, _, _) = run_both(case, {})
    reference_state, fast_state = (o.state_dict()["state"] for o in (reference, fast))
    assert reference_state.keys() == fast_state.keys()
    for index, expected in reference_state.items():
        assert expected.keys() == fast_state[index].keys()
        for name, value in expected.items():
            torch.testing.assert_close(fast_state[index][name], value, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_foreach_fallback_equals_reference(case, monkeypatch):
    """Devices without fused kernels take the foreach form."""
    monkeypatch.setattr(updates, "FUSED_DEVICES", frozenset())
    for name in ("_fused_sgd_", "_fused_adam_"):
        monkeypatch.setattr(torch, name, None)  # must not be called
    for _, _, reference_params, fast_params in run_both(case, {}):
        torch.testing.assert_close(fast_params, reference_params, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_fallback_when_torch_has_lost_its_kernels(case, monkeypatch):
    for name in ("_fused_sgd_", "_fused_adam_"):
        monkeypatch.delattr(torch, name)
    for _, _, reference_params, fast_params in run_both(case, {"maximize": True}):
        torch.testing.assert_close(fast_params, reference_params, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("case", OPTIMIZERS[1:4:2] + OPTIMIZERS[2:3] + OPTIMIZERS[5:], ids=str)
def test_fast_path_uses_the_fused_kernels(case, monkeypatch):
    """Also for channels_last weights: were they sent to the fallback, the benchmark would pay for it."""
    seen = []
    for name in ("_fused_sgd_", "_fused_adam_"):
        kernel = getattr(torch, name)

        def spy(targets, *rest, kernel=kernel, **options):
            seen.extend(targets)
            return kernel(targets, *rest, **options)

        monkeypatch.setattr(torch, name, spy)
    params = parameters()
    optimizer = build(case, groups(params, case.cls))
    random_gradients(params)
    optimizer.step()
    assert len(seen) == sum(1 for param in params if param.numel())
    assert all(target.is_contiguous() for target in seen)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_gradients_in_another_layout(case):
    """A contiguous gradient of a channels_last weight, the reverse, and an expanded gradient."""
    results = []
    for foreach in (False, None):
        torch.manual_seed(1)
        params = [
            nn.Parameter(torch.randn(6, 4, 3, 3).double().to(memory_format=torch.channels_last)),
            nn.Parameter(torch.randn(6, 4, 3, 3).double()),
            nn.Parameter(torch.randn(5, 4).double()),
            nn.Parameter(torch.randn(4, 5).double().t()),
        ]
        optimizer = build(case, params, penalty="l1", lam=0.1, foreach=foreach)
        for _ in range(4):
            params[0].grad = torch.randn(6, 4, 3, 3).double()
            params[1].grad = torch.randn(6, 4, 3, 3).double().to(memory_format=torch.channels_last)
            params[2].grad = torch.randn(5, 1).double().expand(5, 4)
            params[3].grad = torch.randn(5, 4).double()
            optimizer.step()
        results.append([param.detach() for param in params])
    torch.testing.assert_close(results[1], results[0], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_parameters_that_are_not_dense(case):
    results = []
    for foreach in (False, None):
        torch.manual_seed(1)
        storage = torch.randn(6, 10, dtype=torch.float64)
        param = nn.Parameter(storage[:, ::2])
        optimizer = build(case, [param], penalty="l1", lam=0.1, foreach=foreach)
        untouched = storage[:, 1::2].clone()
        for _ in range(4):
            param.grad = torch.randn(6, 5, dtype=torch.float64)
            optimizer.step()
        assert torch.equal(storage[:, 1::2], untouched)
        results.append(param.detach().clone())
    torch.testing.assert_close(results[1], results[0], rtol=1e-11, atol=1e-12)


#: Learning rates with which, at each lam, some but not all weights enter.
RATES = {LinBreg: {3e-4: 0.055, 6e-4: 0.1}, AdaBreg: {3e-4: 5e-5, 6e-4: 9e-5}}


@pytest.mark.parametrize("lam", [3e-4, 6e-4], ids=str)
@pytest.mark.parametrize("case", OPTIMIZERS[:4], ids=str)
@pytest.mark.parametrize("penalty", [("l1", None), ("l12", "kernel")], ids=str)
def test_same_support_from_a_sparse_start_in_float32(case, penalty, lam):
    """40 steps from 5 % non-zero groups: supports agree exactly, values to 1e-6 + 1e-5 relative."""
    name, group = penalty
    mask = (torch.rand(32, 16, 1, 1) if group else torch.rand(32, 16, 5, 5)) < 0.05
    start = torch.randn(32, 16, 5, 5) * mask * 0.1
    twins = [
        nn.Parameter(start.clone().to(memory_format=layout))
        for layout in (torch.contiguous_format, torch.contiguous_format, torch.channels_last)
    ]
    settings = {"penalty": name, "lam": lam, "lr": RATES[case.cls][lam]}
    if group:
        settings["group"] = group
    optimizers = [
        build(case, [param], foreach=foreach, **settings)
        for param, foreach in zip(twins, (False, None, None), strict=True)
    ]
    for _ in range(40):
        grad = 1e-3 * torch.randn(start.shape)
        for param, optimizer in zip(twins, optimizers, strict=True):
            param.grad = grad.clone(memory_format=torch.preserve_format).to(
                memory_format=torch.channels_last if param is twins[2] else torch.contiguous_format
            )
            optimizer.step()
    reference, *fast = (param.detach() for param in twins)
    density = (reference != 0).double().mean().item()
    assert 0.06 < density < 0.99  # the comparison is about weights that entered
    for other in fast:
        assert torch.equal(other != 0, reference != 0)
        torch.testing.assert_close(other, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*adds its steps")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_low_precision_parameters(case, dtype):
    """Both paths agree to the precision of the parameter, for parameters that round at every step."""
    results = []
    for foreach in (False, None):
        torch.manual_seed(1)
        params = [
            nn.Parameter(torch.randn(4, 3, 3, 3).to(dtype)),
            nn.Parameter(torch.randn(5).to(dtype)),
        ]
        optimizer = build(case, params, penalty="l1", lam=0.1, foreach=foreach)
        for _ in range(5):
            for param in params:
                param.grad = torch.randn_like(param)
            optimizer.step()
        assert all(param.dtype is dtype for param in params)
        results.append([param.detach() for param in params])
    torch.testing.assert_close(results[1], results[0], rtol=1e-2, atol=1e-2)


def test_a_low_precision_parameter_with_a_float32_dual_does_not_stagnate():
    """lr g is far below the resolution of bfloat16 at 1, and still adds up."""
    param = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    optimizer = LinBreg([param], lr=1e-4)
    for _ in range(1000):
        param.grad = torch.ones_like(param)
        optimizer.step()
    torch.testing.assert_close(param.float(), torch.full((3,), 0.9), rtol=0, atol=4e-3)


def test_steps_of_unequal_age_use_their_own_bias_correction():
    """A parameter that got its first gradient late has its own step count."""
    early, late = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    for cls in (AdaBreg, ProxAdam):
        optimizer = cls([early, late], lr=0.1)
        early.grad, late.grad = torch.ones(2), None
        optimizer.step()
        late.grad = torch.ones(2)
        optimizer.step()
        assert optimizer.state[early]["step"] == 2
        assert optimizer.state[late]["step"] == 1
        torch.testing.assert_close(late.detach(), torch.full((2,), -0.1))
        with torch.no_grad():
            early.zero_()
            late.zero_()


def test_proxsgd_momentum_can_be_switched_on_later():
    param = nn.Parameter(torch.ones(3))
    for cls in (LinBreg, ProxSGD):
        optimizer = cls([param], lr=0.1)
        param.grad = torch.ones(3)
        optimizer.step()
        optimizer.param_groups[0]["momentum"] = 0.5
        optimizer.step()
        torch.testing.assert_close(
            optimizer.state[param]["momentum_buffer"], torch.full((3,), 0.05)
        )
