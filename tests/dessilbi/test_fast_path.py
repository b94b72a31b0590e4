"""The fast path agrees with the reference, in every setting and layout."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from bregman.elementwise import L1
from bregman.l12 import L12
from dessilbi import DessiLBI, fast
from dessilbi.columns import Columns, Plan
from tests.dessilbi.cases import SETTINGS, build, network, train

#: Penalty, shape and group: divisible into rows or not, single axes, entries.
PENALTIES = [
    ("none", (5, 3), None),
    ("l1", (5, 3), None),
    ("l1", (), None),
    ("l12", (6, 3, 3, 2), "filter"),
    ("l12", (6, 3), "filter"),
    ("l12", (6, 3), "row"),
    ("l12", (6, 3, 3, 2), "channel"),
    ("l12", (6, 3, 3, 2), "kernel"),
    ("nonnegative", (5, 3), None),
    ("nuclear", (5, 3), None),
]


def pair(make, settings, **options):
    """The same parameters under the reference and under the fast path."""
    params = make()
    twins = [nn.Parameter(param.detach().clone()) for param in params]
    common = {"lr": 0.1, "nu": 1.0, "lam": 0.05, **settings, **options}
    return (
        (params, DessiLBI(params, foreach=False, **common)),
        (twins, DessiLBI(twins, foreach=True, **common)),
    )


def run(params, optimizer, steps=7, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for index, param in enumerate(params):
            grad = torch.randn(param.shape, generator=generator, dtype=param.dtype)
            param.grad = None if step == 3 and index == 0 else grad
        optimizer.step()


def assert_agree(first, second, *, rtol=1e-12, atol=1e-13):
    (params, optimizer), (twins, other) = first, second
    for param, twin in zip(params, twins, strict=True):
        torch.testing.assert_close(param, twin, rtol=rtol, atol=atol)
        for name, value in optimizer.state[param].items():
            torch.testing.assert_close(value, other.state[twin][name], rtol=rtol, atol=atol)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize(("penalty", "shape", "group"), PENALTIES)
def test_fast_path_agrees_with_the_reference_in_float64(
    settings, penalty, shape, group, monkeypatch
):
    if "scaling" in settings and penalty in ("nonnegative", "nuclear"):
        pytest.skip("refused")
    monkeypatch.setattr(fast, "BLOCK_SIZE", 8)  # several blocks, parts of tensors among them

    def make():
        torch.manual_seed(0)
        shapes = (shape, shape, (0, *shape[1:]))  # an empty parameter among them
        return [nn.Parameter(torch.randn(size, dtype=torch.float64)) for size in shapes]

    first, second = pair(make, settings, penalty=penalty, group=group)
    run(*first)
    run(*second)
    assert_agree(first, second)
    if penalty != "none":
        gamma = second[1].gamma(second[0][0])
        torch.testing.assert_close(first[1].gamma(first[0][0]), gamma, rtol=1e-12, atol=1e-13)
        assert gamma.count_nonzero() > 0  # the case is not vacuous


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_channels_last_is_stepped_like_contiguous(settings, monkeypatch):
    monkeypatch.setattr(fast, "BLOCK_SIZE", 50)
    make = [nn.Conv2d(3, 8, 3, bias=False).double().weight.detach() for _ in range(2)]

    def layout(memory_format):
        params = [nn.Parameter(w.clone(memory_format=memory_format)) for w in make]
        optimizer = DessiLBI(params, **{"lr": 0.1, "nu": 1.0, "lam": 0.05, **settings})
        run(params, optimizer)
        return params, optimizer

    plain, last = layout(torch.contiguous_format), layout(torch.channels_last)
    assert_agree(plain, last)
    assert last[0][0].is_contiguous(memory_format=torch.channels_last)
    for value in last[1].state[last[0][0]].values():
        assert value.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("kernel", [True, False])
def test_a_missing_kernel_changes_nothing(settings, kernel, monkeypatch):
    if not kernel:
        monkeypatch.delattr(torch, "_fused_sgd_", raising=False)

    def make():
        torch.manual_seed(0)
        return [nn.Parameter(torch.randn(4, 2, 3, 3, dtype=torch.float64)) for _ in range(2)]

    first, second = pair(make, settings)
    run(*first)
    run(*second)
    assert_agree(first, second)


@pytest.mark.filterwarnings("ignore:.*adds its steps")
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_low_precision_parameters_keep_float32_state(settings):
    def make():
        torch.manual_seed(0)
        return [nn.Parameter(torch.randn(4, 2, 3, 3).bfloat16()) for _ in range(2)]

    first, second = pair(make, settings)
    run(*first)
    run(*second)
    assert_agree(first, second, rtol=0.02, atol=0.02)
    for value in second[1].state[second[0][0]].values():
        assert value.dtype is torch.float32


@pytest.mark.filterwarnings("ignore:.*adds its steps")
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_both_paths_round_low_precision_weights_once_a_step(settings):
    """All but what lies at a tie of float32 arithmetic is equal after many steps."""

    def make():
        torch.manual_seed(0)
        return [nn.Parameter(torch.randn(8, 6, 3, 3).bfloat16()) for _ in range(2)]

    first, second = pair(make, settings)
    run(*first, steps=20)
    run(*second, steps=20)
    for param, twin in zip(first[0], second[0], strict=True):
        assert (param != twin).double().mean() < 0.02


def steps_of_both(first, second, count):
    run(*first, steps=count)
    run(*second, steps=count)
    assert_agree(first, second)


@pytest.mark.parametrize("name", ["momentum", "magnitude", "coupled", "decoupled-decay"])
def test_a_kept_plan_notices_what_has_changed(name):
    """States that were replaced or loaded, parameters in another layout, momentum, penalties, groups."""

    def make():
        torch.manual_seed(0)
        return [nn.Parameter(torch.randn(6, 3, 3, 2, dtype=torch.float64)) for _ in range(3)]

    settings = SETTINGS[name]
    first, second = pair(make, settings)
    steps_of_both(first, second, 2)
    kept = second[1]._joint, second[1]._plans.copy()
    assert (kept[0] is None) == (settings in (SETTINGS["magnitude"], SETTINGS["coupled"]))
    steps_of_both(first, second, 2)
    assert second[1]._joint is kept[0]
    assert all(second[1]._plans[key] is plan for key, plan in kept[1].items())
    for params, optimizer in (first, second):
        state = optimizer.state[params[0]]
        state["dual"] = state["dual"] + 0.3
        params[1].data = params[1].data.to(memory_format=torch.channels_last) * 2
    steps_of_both(first, second, 2)
    for params, optimizer in (first, second):
        params[1].data = params[1].data.contiguous()
        optimizer.param_groups[0]["momentum"] = 0.0
        optimizer.param_groups[0]["group"] = "kernel"
        optimizer.param_groups[0]["lam"] = 0.02
    steps_of_both(first, second, 2)
    for _, optimizer in (first, second):
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps_of_both(first, second, 2)
    late = [nn.Parameter(torch.ones(4, 2, dtype=torch.float64)) for _ in range(2)]
    for param, (params, optimizer) in zip(late, (first, second), strict=True):
        optimizer.add_param_group({"params": [param], "penalty": "none"})
        params.append(param)
    steps_of_both(first, second, 2)
    for _, optimizer in (first, second):
        optimizer.param_groups[0]["momentum"] = 0.5  # the groups no longer agree
        optimizer.param_groups[1]["momentum"] = 0.9
    steps_of_both(first, second, 2)
    params, optimizer = second
    twins, other = copy.deepcopy((params, optimizer))
    steps_of_both((params, optimizer), (twins, other), 2)


@pytest.mark.parametrize("coupled", [False, True])
def test_a_kept_plan_holds_no_gradients(coupled):
    param = nn.Parameter(torch.ones(4, 3))
    optimizer = DessiLBI([param], lr=0.1, momentum=0.9, coupling_in_momentum=coupled)
    for _ in range(2):
        param.grad = torch.ones(4, 3)
        gone = weakref.ref(param.grad)
        optimizer.step()
        param.grad = None
        gc.collect()
        assert gone() is None


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_groups_of_a_small_network_are_stepped_together(settings):
    """Filters, entries and no penalty, in groups with a lam each, beside the reference."""
    models = [network().double() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [
        build(model, settings, foreach=foreach)
        for model, foreach in zip(models, (False, None), strict=True)
    ]
    for optimizer in optimizers:
        optimizer.param_groups[0]["lam"] *= 0.5
    for step in range(4):
        for model, optimizer in zip(models, optimizers, strict=True):
            train(model, optimizer, [step])
            optimizer.param_groups[-1]["lr"] = 0.1 if step < 2 else 0.05
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)
        for name, value in optimizers[0].state[a].items():
            twin = optimizers[1].state[b][name]
            torch.testing.assert_close(value, twin, rtol=1e-11, atol=1e-12)


def test_networks_agree_after_training():
    models = [network().double() for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    for model, foreach in zip(models, (False, None), strict=True):
        train(model, build(model, SETTINGS["decay"], foreach=foreach), range(5))
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_blocks_cover_every_entry_once():
    params = [torch.zeros(7, 3), torch.zeros(2), torch.zeros(40, 1), torch.zeros(3, 4)]
    penalties = [L1(), L1(), L1(), L12("row")]
    columns = Columns(params, params, penalties, [torch.ones_like(param) for param in params])
    plan = Plan(columns, 10)
    plan.find_factors(0.5)
    for block in plan.blocks:
        size = sum(param.numel() for param in block.params)
        assert size <= 10
        for param, factor in zip(block.params, block.factors, strict=False):
            assert factor.shape == (len(param), 1)
            torch.testing.assert_close(factor, torch.full_like(factor, 0.5))
        for param in block.params:
            param.add_(1)
    assert all(torch.equal(param, torch.ones_like(param)) for param in params)
    assert len(Plan(columns, 10, whole=True).blocks) == 4
