"""Bounds of whole networks: composition, tracing, registered rules and the bench's architectures."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bregbench.data.normalization import Normalization
from bregbench.models import Cnn, Lenet5, Mlp, Resnet18
from clip import (
    Bound,
    BoundError,
    add,
    chain,
    check_bounds,
    layer_bounds,
    lower_bound,
    register_rule,
    upper_bound,
)
from tests.clip.cases import absolute_value, class_means, jacobian, norm, randomize, train

NORMALIZATION = Normalization(mean=torch.full((1, 1, 1), 0.13), std=torch.full((1, 1, 1), 0.31))


class Residual(nn.Module):
    def __init__(self, *, project: bool) -> None:
        super().__init__()
        self.branch = nn.Linear(4, 4)
        self.skip = nn.Linear(4, 4, bias=False) if project else nn.Identity()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.branch(inputs) + self.skip(inputs)


class Traced(nn.Module):
    """Wraps a function of the tests, so that it is traced."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.linear = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.tensor([1.0, -3.0, 2.0, 0.5]))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.function(self, inputs)


def bound_of(function, shape=(4,)) -> float:
    return upper_bound(Traced(function), shape)


def test_absolute_value_network():
    model = absolute_value()
    points = torch.tensor([[-2.0], [-0.1], [0.3], [5.0]])
    assert upper_bound(model, (1,)) == pytest.approx(2)
    for iterations in (1, 20, None):
        assert lower_bound(model, points, iterations=iterations) == pytest.approx(1)


def test_residual_blocks_against_jacobians():
    for project in (False, True):
        block = Residual(project=project)
        true = norm(jacobian(block, torch.zeros(4)))
        bound = upper_bound(block, (4,))
        skip = norm(block.skip.weight.detach()) if project else 1.0  # type: ignore[union-attr]
        assert bound == pytest.approx(skip + norm(block.branch.weight.detach()))
        assert true <= bound


def test_residual_block_is_attained_where_branch_and_skip_agree():
    block = Residual(project=False)
    with torch.no_grad():
        block.branch.weight.copy_(2 * torch.eye(4))
    assert norm(jacobian(block, torch.zeros(4))) == pytest.approx(3)
    assert upper_bound(block, (4,)) == pytest.approx(3)


def test_registered_rule_takes_the_place_of_tracing():
    class Block(Residual):
        def forward(self, inputs):
            if inputs.sum() > 0:  # cannot be traced
                return self.branch(inputs) + self.skip(inputs)
            return self.skip(inputs)

    block = nn.Sequential(nn.Linear(4, 4), Block(project=True))
    with pytest.raises(BoundError, match=r"'1' \(Block\).*cannot be traced.*register_rule"):
        upper_bound(block, (4,))

    def rule(module, shape, bound):
        branch = chain([module.branch], shape, bound)
        skip = bound(module.skip, shape)
        return chain([nn.ReLU()], add(branch, skip), bound)

    register_rule(Block, rule)
    parts = layer_bounds(block, (4,))
    assert list(parts) == ["0", "1.branch", "1.skip", "ReLU"]
    expected = parts["0"] * (parts["1.branch"] + parts["1.skip"])
    assert upper_bound(block, (4,)) == pytest.approx(expected)


def test_registered_rule_that_is_wrong_is_reported():
    class Bad(nn.Module):
        def forward(self, inputs):
            return inputs

    register_rule(Bad, lambda module, shape, bound: Bound(float("inf"), shape))
    with pytest.raises(BoundError, match=r"'0' \(Bad\): the bound is inf, not a finite number"):
        upper_bound(nn.Sequential(Bad()), (4,))
    with pytest.raises(TypeError, match="expected a subclass of torch"):
        register_rule("Bad", lambda *_: Bound(1.0, ()))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="branches must have one output shape"):
        add(Bound(1.0, (3,)), Bound(1.0, (4,)))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda m, x: x + x, 2),
        (lambda m, x: 3 - x * 2, 2),
        (lambda m, x: x * m.scale, 3),
        (lambda m, x: (x - 0.1) / m.scale, 2),
        (lambda m, x: torch.add(x, F.relu(x), alpha=-2), 3),
        (lambda m, x: torch.cat([x, 2 * x], dim=1), math.sqrt(5)),
        (lambda m, x: torch.stack([x, x, x], dim=1).flatten(1), math.sqrt(3)),
        (lambda m, x: x.view(x.size(0), -1).reshape(x.shape[0], 2, 2).permute(0, 2, 1), 1),
        (lambda m, x: x.mean(1, keepdim=True), 1 / 2),
        (lambda m, x: x + x.mean(1, keepdim=True), 2),
        (lambda m, x: x.sum(1), 2),
        (lambda m, x: x[:, 1:].tanh(), 1),
        (lambda m, x: F.dropout(x, training=m.training), 1),
        (lambda m, x: torch.sigmoid(x) + F.softmax(x, dim=1), 3 / 4),
        (lambda m, x: F.leaky_relu(x, 1.5), 1.5),
        (lambda m, x: F.linear(x, m.scale.diag()), 3),
        (lambda m, x: F.max_pool2d(x[:, None, None], (1, 2), stride=1), math.sqrt(2)),
        (lambda m, x: F.avg_pool1d(x[:, None], 2), 1 / math.sqrt(2)),
        (lambda m, x: -x.abs().clamp(0, 1), 1),
        (lambda m, x: x[:, :1] + m.scale, 2),  # broadcasting repeats the entry four times
    ],
)
def test_traced_operations(function, expected):
    bound = bound_of(function)
    assert bound == pytest.approx(expected, rel=1e-6)
    model = Traced(function).eval()
    for point in torch.randn(10, 4):
        assert norm(jacobian(model, point)) <= bound * (1 + 1e-5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda m, x: torch.erfinv(x), "operation 'erfinv' has no rule"),
        (lambda m, x: m.linear(input=x), "sub-module 'linear' is called with more than one"),
        (lambda m, x: x * x, "multiplies two values that both vary"),
        (lambda m, x: 1 / x, "only its first argument may depend on the input"),
        (lambda m, x: x.chunk(2, dim=1)[0], "operation 'chunk' has no rule"),
        (lambda m, x: x[:, torch.tensor([0, 0])], "indexes with tensors or lists"),
        (lambda m, x: x.expand(1, 4), "operation 'expand' has no rule"),
        (lambda m, x: F.dropout(x), "is active: pass training=self.training"),
        (lambda m, x: x + torch.rand(4), "gives other outputs when it is traced"),
        (
            lambda m, x: m.linear(x) if isinstance(x, torch.Tensor) else x,
            "gives other outputs when",
        ),
        (lambda m, x: F.relu(x, inplace=True) + x, "changes in place a value that is used later"),
        (lambda m, x: m.scale, "must return one tensor that depends on the input"),
        (lambda m, x: (x, x), "must return one tensor that depends on the input"),
        (lambda m, x: x if x.sum() > 0 else -x, "cannot be traced"),
    ],
)
def test_what_cannot_be_traced_faithfully_is_an_error(function, message):
    with pytest.raises(BoundError, match=message):
        upper_bound(nn.Sequential(nn.Identity(), Traced(function)), (4,))


def test_block_that_works_in_place_is_traced():
    """Assignments in place are fine where the old value is not used again."""

    class InPlace(Residual):
        def __init__(self, *, project: bool) -> None:
            super().__init__(project=project)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, inputs):
            outputs = self.relu(self.branch(inputs))
            outputs += self.skip(inputs)
            return self.relu(outputs)

    block = InPlace(project=True)
    parts = layer_bounds(block, (4,))
    assert list(parts) == ["branch", "relu", "skip", "relu#2"]
    assert upper_bound(block, (4,)) == pytest.approx(parts["branch"] + parts["skip"])


def test_operation_beside_sub_modules_is_listed():
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, images):
            return F.max_pool2d(torch.relu(self.conv(images)), 3, 2).flatten(1)

    model = nn.Sequential(Pooled())
    layers = layer_bounds(model, (1, 9, 9))
    assert list(layers) == ["0.conv", "0.max_pool2d"]
    assert layers["0.max_pool2d"] == pytest.approx(2)
    assert math.prod(layers.values()) == pytest.approx(upper_bound(model, (1, 9, 9)))


def test_subclass_with_another_forward_does_not_inherit_the_rule():
    class Doubled(nn.Linear):
        def forward(self, input):  # noqa: A002
            return 2 * super().forward(input)

    layer = Doubled(4, 4)
    assert upper_bound(layer, (4,)) == pytest.approx(2 * norm(layer.weight.detach()))


def test_parametrized_layer_keeps_its_rule():
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4), n_power_iterations=200)
    assert upper_bound(nn.Sequential(layer), (4,)) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (Mlp(), (1, 28, 28)),
        (Cnn(channels=[4, 8], hidden=[16]), (1, 28, 28)),
        (Lenet5(), (1, 28, 28)),
        (Resnet18(width=4), (1, 16, 16)),
    ],
    ids=["mlp", "cnn", "lenet5", "resnet"],
)
@pytest.mark.parametrize("trained", [False, True], ids=["random", "trained"])
def test_bounds_of_the_benchs_networks(config, shape, trained):
    model = config.build(input_shape=shape, classes=10, normalization=NORMALIZATION)
    images, labels = class_means(64, side=shape[1])
    if trained:
        train(model, images, labels, steps=10)
    randomize(model)
    upper = upper_bound(model, shape)
    lower = lower_bound(model, images[:16], iterations=5)
    assert 0 < lower <= upper
    check_bounds(lower, upper)
    assert layer_bounds(model, shape)["normalize"] == pytest.approx(1 / 0.31, rel=1e-5)
    assert all(p.grad is None for p in model.parameters())


def test_resnet_bound_is_its_blocks_formula():
    model = Resnet18(width=4).build(input_shape=(3, 16, 16), classes=10)
    randomize(model)
    layers = layer_bounds(model, (3, 16, 16))
    total = math.prod(layers[name] for name in ("normalize", "conv", "norm", "pool", "linear"))
    for stage in range(1, 5):
        for block in range(2):
            name = f"stage{stage}.{block}"
            branch = math.prod(layers[f"{name}.{p}"] for p in ("conv1", "norm1", "conv2", "norm2"))
            skip = [v for k, v in layers.items() if k.startswith(f"{name}.shortcut")]
            total *= branch + math.prod(skip)
    assert upper_bound(model, (3, 16, 16)) == pytest.approx(total)


def test_precision_and_modes_are_left_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.ReLU())
    model[1].eval()
    single = upper_bound(model, (4,))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert upper_bound(model.double(), (4,)) == pytest.approx(single, rel=1e-12)
    assert [module.training for module in model] == [True, False, True, True]
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name].to(value.dtype))


def test_compiled_models_are_looked_through():
    model = nn.Sequential(nn.Linear(4, 4))
    assert upper_bound(cast(nn.Module, torch.compile(model)), (4,)) == upper_bound(model, (4,))


def test_callers_without_autograd():
    block = Residual(project=True)
    expected = upper_bound(block, (4,))
    with torch.no_grad():
        assert upper_bound(block, (4,)) == expected
    with torch.inference_mode():
        assert upper_bound(block, (4,)) == expected


def test_contradicting_bounds():
    check_bounds(1.0, 1.0)
    check_bounds(1.0 + 5e-6, 1.0)
    for lower, upper in ((1.1, 1.0), (float("nan"), 1.0), (1.0, float("nan"))):
        with pytest.raises(BoundError, match="exceeds the upper bound"):
            check_bounds(lower, upper)
