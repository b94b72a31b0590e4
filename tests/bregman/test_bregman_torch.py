"""The optimisers as citizens of torch: checkpoints, scalers, schedulers, compile, errors, memory."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from bregman_cases import DUAL_OPTIMIZERS, OPTIMIZERS, build
from torch import nn
from torch.nn import functional

from bregman import DEFAULT_RULES, AdaBreg, LinBreg, ProxAdam, ProxSGD, Rule, penalize

KERNELS = [Rule("l12", module=nn.Conv2d, name="*weight", group="kernel"), *DEFAULT_RULES]


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
    )


def grouped(model: nn.Module, case) -> list[dict]:
    return penalize(model, None if case.cls is ProxAdam else KERNELS, lam=0.02)


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(6, 1, 8, 8, generator=generator)
    return images, torch.randint(3, (6,), generator=generator)


def train(model, optimizer, seeds):
    for seed in seeds:
        optimizer.zero_grad()
        images, labels = batch(seed)
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [param.detach().clone() for param in model.parameters()]


def assert_identical(first: nn.Module, second: nn.Module) -> None:
    for a, b in zip(weights(first), weights(second), strict=True):
        assert torch.equal(a, b)


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
    twin = copy.deepcopy(model)
    other = build(case, grouped(twin, case))
    other.load_state_dict(optimizer.state_dict())
    expected_model = copy.deepcopy(model)
    train(twin, other, range(10, 12))
    train(model, optimizer, range(2, 4))
    lone = build(case, grouped(expected_model, case))
    train_again = network()
    del train_again, lone
    for state in optimizer.state.values():
        for other_state in other.state.values():
            for value in state.values():
                for other_value in other_state.values():
                    if isinstance(value, torch.Tensor) and isinstance(other_value, torch.Tensor):
                        assert value.data_ptr() != other_value.data_ptr()


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


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_closure_is_evaluated_with_gradients(case):
    param = nn.Parameter(torch.ones(3))
    optimizer = build(case, [param])

    def closure():
        optimizer.zero_grad()
        loss = param.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == 3.0
    assert (param < 1).all()
    assert optimizer.step() is None


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_parameters_without_gradient_are_left_alone(case):
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = build(case, [used, unused], penalty="l1", lam=0.1)
    used.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(unused.detach(), torch.ones(2))
    assert unused not in optimizer.state
    assert not torch.equal(used.detach(), torch.ones(2))


@pytest.mark.parametrize("foreach", [False, None])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_sparse_gradients_are_refused(case, foreach):
    embedding = nn.Embedding(5, 2, sparse=True)
    optimizer = build(case, list(embedding.named_parameters()), foreach=foreach)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(
        RuntimeError, match="parameter 'weight': .* does not support sparse gradients"
    ):
        optimizer.step()


@pytest.mark.parametrize("foreach", [False, None])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_parameters_keep_their_storage_and_layout(case, foreach):
    model = network().to(memory_format=torch.channels_last)
    optimizer = build(case, grouped(model, case), foreach=foreach)
    view = model[0].weight.detach()
    before = [(param.data_ptr(), param.stride()) for param in model.parameters()]
    versions = [param._version for param in model.parameters()]
    train(model, optimizer, range(3))
    assert before == [(param.data_ptr(), param.stride()) for param in model.parameters()]
    assert torch.equal(view, model[0].weight)
    # autograd has to be able to notice that a saved tensor was overwritten
    assert all(
        param._version > old for param, old in zip(model.parameters(), versions, strict=True)
    )
    for param, state in optimizer.state.items():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                assert value.stride() == param.stride()


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_learning_rate_schedulers(case):
    """Two cosine cycles of a one-parameter problem against rates set by hand."""
    param, twin = (nn.Parameter(torch.ones(4)) for _ in range(2))
    optimizer, by_hand = build(case, [param], lr=0.1), build(case, [twin], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    for step in range(6):
        by_hand.param_groups[0]["lr"] = 0.1 * 0.5 ** (step // 2)
        for each, target in ((optimizer, param), (by_hand, twin)):
            target.grad = 2 * target.detach()
            each.step()
        scheduler.step()
        plateau.step(1.0 / (step + 1))
        torch.testing.assert_close(param, twin)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0125)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_gradient_scaler(case):
    """A scaler changes nothing but skips the step when a gradient overflows."""
    plain, scaled = network(), network()
    scaled.load_state_dict(plain.state_dict())
    optimizers = [build(case, grouped(model, case)) for model in (plain, scaled)]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(4):
        images, labels = batch(step)
        for model, optimizer in zip((plain, scaled), optimizers, strict=True):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            if model is plain:
                loss.backward()
                optimizer.step()
            else:
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                scaler.step(optimizer)
                scaler.update()
        torch.testing.assert_close(weights(scaled), weights(plain), rtol=1e-5, atol=1e-6)
    before = weights(scaled)
    images, labels = batch(9)
    scaler.scale(functional.cross_entropy(scaled(images * torch.inf), labels)).backward()
    scaler.step(optimizers[1])
    scaler.update()
    for old, new in zip(before, weights(scaled), strict=True):
        assert torch.equal(old, new)
    assert scaler.get_scale() == 512.0


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_step_works_inside_and_beside_compiled_code(case):
    torch._dynamo.reset()
    eager, beside, inside = (network() for _ in range(3))
    beside.load_state_dict(eager.state_dict())
    inside.load_state_dict(eager.state_dict())
    optimizers = [build(case, grouped(model, case)) for model in (eager, beside, inside)]
    compiled_model = torch.compile(beside, backend="eager")
    compiled_step = torch.compile(optimizers[1].step, backend="eager")

    @torch.compile(backend="eager")
    def compiled_training(images, labels):
        loss = functional.cross_entropy(inside(images), labels)
        loss.backward()
        optimizers[2].step()
        optimizers[2].zero_grad()

    for step in range(3):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] *= 0.5
        images, labels = batch(step)
        train(eager, optimizers[0], [step])
        optimizers[1].zero_grad()
        functional.cross_entropy(compiled_model(images), labels).backward()
        compiled_step()
        compiled_training(images, labels)
        torch.testing.assert_close(weights(beside), weights(eager))
        torch.testing.assert_close(weights(inside), weights(eager))
    torch._dynamo.reset()


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


def test_new_parameters_start_where_they_are():
    """A group added in the middle of training gets its own dual at its first step."""
    optimizer = LinBreg([nn.Parameter(torch.ones(2))], lr=0.1, penalty="l1", lam=0.5)
    late = nn.Parameter(torch.tensor([0.7, 0.0]))
    optimizer.add_param_group({"params": [late], "delta": 2.0})
    late.grad = torch.zeros(2)
    optimizer.step()
    torch.testing.assert_close(late.detach(), torch.tensor([0.7, 0.0]))
    torch.testing.assert_close(optimizer.state[late]["dual"], torch.tensor([0.85, 0.0]))
