"""Bounds of modules that are not what their type says: overridden methods, hooks, computed weights."""

from __future__ import annotations

import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from clip import BoundError, accept_subclass, lower_bound, upper_bound

SHAPE = (2, 6, 6)


class Standardised(nn.Conv2d):
    def _conv_forward(self, input, weight, bias):  # noqa: A002
        weight = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
        return super()._conv_forward(input, 5 * weight / weight.std(), bias)


class Doubled(nn.Linear):
    def __call__(self, inputs):
        return 2 * super().__call__(inputs)


class Backwards(nn.Sequential):
    def __iter__(self):
        return iter(list(super().__iter__()) * 2)


class Looked(nn.Linear):
    def reset_parameters(self):
        # The base would draw into the copy that `weight` is here.
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.5)

    def __getattr__(self, name):
        found = super().__getattr__(name)
        return found.mul(3) if name == "weight" else found  # type: ignore[operator]


class Inherits(Standardised):
    pass


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (Standardised(2, 3, 3), SHAPE, "overrides _conv_forward of Conv2d"),
        (Inherits(2, 3, 3), SHAPE, r"\(Inherits\): overrides _conv_forward of Conv2d"),
    ],
)
def test_overridden_methods_void_a_rule(module, shape, message):
    with pytest.raises(BoundError, match=message) as error:
        upper_bound(nn.Sequential(nn.Identity(), module), shape)
    assert "module '1'" in str(error.value)
    assert "accept_subclass" in str(error.value)


@pytest.mark.parametrize(
    ("module", "shape"),
    [(Doubled(4, 4), (4,)), (Backwards(nn.Linear(4, 4)), (4,)), (Looked(4, 4), (4,))],
)
def test_other_overridden_methods_are_refused_or_bounded_rightly(module, shape):
    inputs = torch.randn(64, *shape)
    lower = lower_bound(module, inputs)
    try:
        upper = upper_bound(module, shape)
    except BoundError:
        return
    assert lower <= upper * (1 + 1e-5)


class Subsampled(nn.Conv2d):
    """The same map in another way."""

    computes_like_base = True

    def forward(self, input):  # noqa: A002
        step_h, step_w = self.stride
        return F.conv2d(input[..., ::step_h, ::step_w], self.weight, self.bias)


class SubsampledAgain(Subsampled):
    def forward(self, input):  # noqa: A002
        return 7 * super().forward(input)


def test_subclass_that_says_that_it_computes_the_same_is_covered():
    torch.manual_seed(0)
    fast = Subsampled(2, 3, 1, stride=2)
    plain = nn.Conv2d(2, 3, 1, stride=2)
    plain.load_state_dict(fast.state_dict())
    assert upper_bound(fast, SHAPE) == upper_bound(plain, SHAPE)
    with pytest.raises(BoundError, match="SubsampledAgain"):  # which does not say so itself
        upper_bound(SubsampledAgain(2, 3, 1, stride=2), SHAPE)


def test_accepted_subclass_is_covered():
    class Same(nn.Conv2d):
        def _conv_forward(self, input, weight, bias):  # noqa: A002
            return super()._conv_forward(input, weight, bias)

    with pytest.raises(BoundError, match="_conv_forward"):
        upper_bound(Same(2, 3, 3), SHAPE)
    accept_subclass(Same)
    assert upper_bound(Same(2, 3, 3), SHAPE) > 0
    with pytest.raises(TypeError, match="expected a subclass"):
        accept_subclass(int)  # type: ignore[arg-type]


class Harmless(nn.Conv2d):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, 3)

    def extra_repr(self):
        return "harmless"

    def reset_parameters(self):
        nn.init.normal_(self.weight)

    def helper(self):
        return self.weight


def test_subclass_that_changes_no_computation_keeps_its_rule():
    assert upper_bound(Harmless(2, 3), SHAPE) > 0


@pytest.mark.parametrize("name", ["forward", "_conv_forward", "_call_impl"])
def test_methods_replaced_on_an_object_are_refused(name):
    layer = nn.Conv2d(2, 3, 3)
    original = getattr(layer, name)

    def five_times(self, *arguments):
        return 5 * original(*arguments)

    setattr(layer, name, types.MethodType(five_times, layer))
    with pytest.raises(BoundError, match=f"{name} was replaced on this object"):
        upper_bound(nn.Sequential(layer), SHAPE)


def register(layer: nn.Module, kind: str):
    if kind == "post":
        return layer.register_forward_hook(lambda *call: 5 * call[2])
    if kind == "pre":
        return layer.register_forward_pre_hook(lambda _, inputs: (5 * inputs[0],))
    if kind == "global post":
        return nn.modules.module.register_module_forward_hook(lambda *call: 5 * call[2])
    return nn.modules.module.register_module_forward_pre_hook(
        lambda _, inputs: (5 * inputs[0],)  # type: ignore[arg-type]
    )


class Traced(nn.Module):
    def forward(self, inputs):
        return inputs / 2


@pytest.mark.parametrize("layer", [nn.Linear(4, 4), nn.ReLU(), Traced()])
@pytest.mark.parametrize("kind", ["post", "pre", "global post", "global pre"])
def test_hooks_are_refused_by_name(layer, kind):
    model = nn.Sequential(nn.Identity(), layer)
    before = upper_bound(model, (4,))
    handle = register(layer, kind)
    try:
        with pytest.raises(BoundError, match="hook") as error:
            upper_bound(model, (4,))
    finally:
        handle.remove()
    if "global" not in kind:
        assert f"module '1' ({type(layer).__name__})" in str(error.value)
    assert upper_bound(model, (4,)) == before


def test_hook_on_the_whole_model_is_refused():
    model = nn.Sequential(nn.Linear(4, 4))
    model.register_forward_hook(lambda *call: 5 * call[2])
    with pytest.raises(BoundError, match="module of type Sequential: has a forward hook"):
        upper_bound(model, (4,))


class Tripled(nn.Module):
    def forward(self, weight):
        return 3 * weight.tanh()


class Random(nn.Module):
    def forward(self, weight):
        return weight + torch.rand(())


def computed(kind: str, layer: nn.Module) -> nn.Module:
    match kind:
        case "parametrised":
            parametrize.register_parametrization(layer, "weight", Tripled())
        case "weight_norm":
            parametrizations.weight_norm(layer)
        case "spectral_norm":
            parametrizations.spectral_norm(layer)
        case "old weight_norm":
            nn.utils.weight_norm(layer)
        case "old spectral_norm":
            nn.utils.spectral_norm(layer)
        case "pruned":
            prune.l1_unstructured(layer, "weight", 0.5)
        case "pruned twice":
            prune.random_unstructured(layer, "weight", 0.3)
            prune.l1_unstructured(layer, "weight", 0.3)
    return layer


KINDS = (
    "parametrised",
    "weight_norm",
    "spectral_norm",
    "old weight_norm",
    "old spectral_norm",
    "pruned",
    "pruned twice",
)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_computed_weights_count_with_their_present_value(kind):
    torch.manual_seed(0)
    model = nn.Sequential(
        computed(kind, nn.Conv2d(2, 3, 3, padding=1)),
        nn.ReLU(),
        nn.Flatten(),
        computed(kind, nn.Linear(108, 5)),
    ).eval()
    inputs = torch.randn(8, *SHAPE)
    for _ in range(2):
        upper = upper_bound(model, SHAPE)
        assert lower_bound(model, inputs) <= upper * (1 + 1e-5)
        plain = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), *model[1:3], nn.Linear(108, 5)).eval()
        with torch.no_grad():
            model(inputs)  # what hooks set is set anew
            for index in (0, 3):
                plain[index].load_state_dict(
                    {"weight": model[index].weight, "bias": model[index].bias}
                )
        assert upper == pytest.approx(upper_bound(plain, SHAPE), rel=1e-5)
        with torch.no_grad():  # now nothing but the parameters knows of the change
            for parameter in model.parameters():
                parameter.mul_(4)


def test_weight_that_is_another_at_each_reading_is_refused():
    layer = nn.Linear(4, 4)
    parametrize.register_parametrization(layer, "weight", Random())
    with pytest.raises(BoundError, match="weight changes from reading to reading"):
        upper_bound(layer, (4,))


class Function(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs):
        return self.function(inputs)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Softmax(dim=0), (4,)),
        (nn.Softmax(dim=-2), (4,)),
        (nn.LogSoftmax(dim=0), (4,)),
        (nn.LogSoftmax(dim=-4), (2, 3, 3)),
        (nn.Flatten(start_dim=0), (4,)),
        (Function(lambda x: torch.softmax(x, 0)), (4,)),
        (Function(lambda x: F.log_softmax(x, dim=0)), (4,)),
        (Function(lambda x: x - x.mean(0)), (4,)),
        (Function(lambda x: x - x.mean()), (4,)),
        (Function(lambda x: x + x.sum(dim=0, keepdim=True)), (4,)),
        (Function(lambda x: x.transpose(0, 1)), (1,)),
        (Function(lambda x: x.reshape(-1)), (4,)),
        (Function(lambda x: x[:1]), (4,)),
        (nn.BatchNorm1d(4, track_running_stats=False), (4,)),
    ],
)
def test_modules_that_mix_a_batch_have_no_bound(module, shape):
    with pytest.raises(BoundError):
        upper_bound(module, shape)
    with pytest.raises(BoundError):
        upper_bound(nn.Sequential(nn.Identity(), module), shape)


def test_softmax_over_classes_keeps_its_bound():
    assert upper_bound(nn.Softmax(dim=1), (4,)) == 0.5
    assert upper_bound(nn.Softmax(dim=-1), (4,)) == 0.5
    assert upper_bound(nn.LogSoftmax(dim=1), (9, 2)) == 3.0
