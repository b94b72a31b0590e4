"""Removal changes no output unnoticed: what it has to see, and what it refuses by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from dessilbi import compact, mask_filters, shrink
from dessilbi.branches import cut_branches
from dessilbi.comparing import OutputsChangedError, compare_outputs
from dessilbi.graph import ChannelGraph
from dessilbi.nodes import Nothing
from dessilbi.removal import fixed_layers
from tests.dessilbi.random_networks import random_network

REMOVALS = (shrink, compact)
ALL = slice(None)


class Net(nn.Module):
    """A forward and the layers that it uses."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.double()

    def forward(self, inputs: Tensor) -> Any:
        return self.function(self, inputs)


@torch.no_grad()
def linear(inputs: int, outputs: int, dead: Any = None) -> Any:
    layer = nn.Linear(inputs, outputs)
    if dead is not None:
        layer.weight[dead] = layer.bias[dead] = 0.0
    return layer


@torch.no_grad()
def conv(inputs: int, outputs: int, size: int = 3, dead: Any = None, **options: Any) -> Any:
    layer = nn.Conv2d(inputs, outputs, size, **options)
    if dead is not None:
        assert layer.bias is not None
        layer.weight[dead] = layer.bias[dead] = 0.0
    return layer


def parameters(model: nn.Module) -> int:
    return sum(param.numel() for param in model.parameters())


def tensors(value: Any) -> list[Tensor]:
    return list(value) if isinstance(value, tuple) else [value]


def evaluate(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return tensors(copy.deepcopy(model).eval()(inputs.clone()))


def removed(remove: Callable[..., Any], model: nn.Module, inputs: Tensor, **options: Any) -> int:
    """By how many parameters a removal makes a network smaller, the outputs being the same."""
    model = model.double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = remove(model, **options)
    for found, expected in zip(evaluate(small, inputs), evaluate(model, inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    return parameters(model) - parameters(small)


@pytest.fixture(params=[True, False], ids=["example", "made-up"])
def given(request) -> Callable[[Tensor], dict[str, Tensor]]:
    """With an example of another batch size, and without one."""
    return lambda inputs: {"example": torch.randn(3, *inputs.shape[1:])} if request.param else {}


# Silent branches.


@pytest.mark.parametrize("remove", REMOVALS)
@pytest.mark.parametrize("kind", ["x + f", "f + x", "x - f", "alpha", "f +="])
def test_a_silent_branch_beside_a_plain_shortcut_goes_alone(kind, remove, given):
    def forward(net: Any, x: Tensor) -> Tensor:
        h = net.stem(x)
        f = net.second(torch.relu(net.first(h)))
        if kind == "f +=":
            f += h
        sums = {
            "x + f": lambda: h + f,
            "f + x": lambda: f + h,
            "x - f": lambda: h - f,
            "alpha": lambda: torch.add(h, f, alpha=3),
            "f +=": lambda: f,
        }
        return net.head(torch.relu(sums[kind]()))

    net = Net(
        forward,
        stem=linear(3, 6),
        first=linear(6, 5),
        second=linear(5, 6, ALL),
        head=linear(6, 4),
    )
    inputs = torch.randn(7, 3).double()
    assert removed(remove, net, inputs, **given(inputs)) == 6 * 5 + 5 + 5 * 6 + 6
    small = remove(net, **given(inputs))
    assert isinstance(small.stem, nn.Linear)
    assert isinstance(small.first, Nothing)


@pytest.mark.parametrize("remove", REMOVALS)
def test_a_branch_of_another_shape_that_the_sum_is_written_into_stays(remove):
    def forward(net: Any, x: Tensor) -> Tensor:
        f = net.branch(x)
        f += net.shortcut(x)
        return net.head(f)

    net = Net(forward, branch=linear(3, 6, ALL), shortcut=linear(3, 6, [0]), head=linear(6, 4))
    inputs = torch.randn(7, 3).double()
    assert removed(remove, net, inputs) == 4 + 4 + 4  # one unit of either, and what reads it
    assert isinstance(remove(net).branch, nn.Linear)


@pytest.mark.parametrize("remove", REMOVALS)
def test_layers_of_a_silent_branch_that_serve_elsewhere_stay(remove, given):
    def forward(net: Any, x: Tensor) -> Tensor:
        h = net.stem(x)
        return net.head(h + net.silent(net.shared(h)) + net.other(net.shared(h + 1)))

    layers = {"stem": linear(3, 6), "shared": linear(6, 6), "other": linear(6, 6)}
    net = Net(forward, silent=linear(6, 6, ALL), head=linear(6, 4), **layers)
    inputs = torch.randn(7, 3).double()
    removed(remove, net, inputs, **given(inputs))


@pytest.mark.parametrize("remove", REMOVALS)
@pytest.mark.parametrize("shape", [(1, 6), (1, 1), (6,)])
def test_a_silent_summand_may_carry_the_shape(shape, remove, given):
    net = Net(
        lambda net, x: net.head(net.first(x) + net.constant),
        first=linear(3, 6, ALL),
        constant=nn.Parameter(torch.randn(shape)),
        head=linear(6, 3),
    )
    inputs = torch.randn(7, 3).double()
    assert removed(remove, net, inputs, **given(inputs)) == 0
    assert removed(remove, net, inputs, example=torch.randn(1, 3)) == 0


def test_a_silent_image_may_carry_the_shape_of_a_pooled_one(given):
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.head(net.wide(x) + net.pooled(x).mean((2, 3), keepdim=True))

    net = Net(forward, wide=conv(2, 6, 3, ALL), pooled=conv(2, 6), head=conv(6, 3, 1))
    inputs = torch.randn(7, 2, 12, 12).double()
    assert removed(shrink, net, inputs, **given(inputs)) == 0


# Where channels are.


def tokens() -> list[tuple[str, Callable[[], nn.Module], tuple[int, ...], bool]]:
    dead = [1, 2]
    return [
        ("flatten", lambda: nn.Sequential(linear(3, 6, dead), nn.ReLU(), nn.Flatten(), linear(30, 4)),
         (5, 3), True),
        ("features", lambda: nn.Sequential(linear(3, 6, dead), nn.ReLU(), linear(6, 4)), (5, 3), True),
        ("pooled", lambda: nn.Sequential(linear(3, 6, dead), nn.MaxPool1d(2), linear(3, 4)), (3,),
         False),
        ("pooled tokens", lambda: nn.Sequential(linear(3, 6, dead), nn.AvgPool1d(3), linear(2, 4)),
         (5, 3), False),
        ("norm of tokens",
         lambda: nn.Sequential(linear(3, 5, dead), nn.BatchNorm1d(5), nn.ReLU(), linear(5, 4)), (5, 3),
         False),
        ("width", lambda: nn.Sequential(conv(2, 5, padding=1, dead=dead), nn.ReLU(), linear(5, 4)),
         (2, 5, 5), False),
        ("mean", lambda: Net(lambda net, x: net.b(net.a(x).relu().mean(1)), a=linear(3, 6, dead),
                             b=linear(6, 4)), (5, 3), True),
        ("mean of features", lambda: Net(lambda net, x: net.b(net.a(x).mean(-1)), a=linear(3, 6, dead),
                                         b=linear(5, 4)), (5, 3), False),
        ("transposed", lambda: Net(lambda net, x: net.b(net.a(x).transpose(1, 2)), a=linear(3, 6, dead),
                                   b=linear(5, 4)), (5, 3), False),
        ("back and forth", lambda: Net(
            lambda net, x: net.b(net.a(x).transpose(1, 2).relu().permute(0, 2, 1)),
            a=linear(3, 6, dead), b=linear(6, 4)), (5, 3), True),
        ("convolution over tokens", lambda: Net(
            lambda net, x: net.b(net.a(x).transpose(1, 2)), a=linear(3, 6, dead), b=nn.Conv1d(6, 2, 3)),
         (5, 3), True),
        ("image flattened last", lambda: Net(
            lambda net, x: net.b(net.a(x).permute(0, 2, 3, 1).flatten(1)), a=conv(2, 4, dead=[1]),
            b=linear(36, 4)), (2, 5, 5), True),
        ("patches", lambda: Net(
            lambda net, x: net.b(net.a(x).flatten(2).transpose(1, 2)).mean(1), a=conv(2, 4, dead=[1]),
            b=linear(4, 4)), (2, 8, 8), True),
        ("literal sizes", lambda: Net(
            lambda net, x: net.b(net.a(x).view(-1, 2, 3)), a=linear(3, 6, dead), b=linear(3, 4)), (3,),
         False),
        ("width as a number", lambda: Net(
            lambda net, x: net.b(net.a(x)) / net.a(x).shape[1], a=linear(3, 6, dead), b=linear(6, 4)),
         (3,), False),
        ("size of the features", lambda: Net(_divided_by_width, a=linear(3, 6, dead), b=linear(6, 4)),
         (3,), False),
    ]  # fmt: skip


def _divided_by_width(net: Any, x: Tensor) -> Tensor:
    features = net.a(x)
    return net.b(features) / features.size(1)


@pytest.mark.parametrize(
    ("build", "shape", "goes"), [case[1:] for case in tokens()], ids=[case[0] for case in tokens()]
)
@pytest.mark.parametrize("remove", REMOVALS)
def test_channels_are_where_the_shapes_say(build, shape, goes, remove, given):
    inputs = torch.randn(7, *shape).double()
    assert (removed(remove, build(), inputs, **given(inputs)) > 0) == goes


def test_where_kinds_of_inputs_disagree_the_example_decides():
    """A norm over five features, or over five tokens: made-up inputs do not tell."""
    net = nn.Sequential(linear(3, 5, [1]), nn.BatchNorm1d(5), nn.ReLU(), linear(5, 4))
    assert "pass example=" in fixed_layers(net)["0"]
    inputs = torch.randn(7, 3).double()
    assert removed(compact, net, inputs) == 0
    assert removed(compact, net, inputs, example=inputs) == 3 + 1 + 2 + 4
    tokens = torch.randn(7, 5, 3).double()
    assert removed(compact, net, tokens, example=tokens) == 0


@pytest.mark.parametrize("outer", ["channels", "pixels"])
def test_a_flattening_in_either_order_is_undone(outer):
    """The entries of each channel, side by side or one in every pixel, leave the reader."""
    order = (0, 1, 2, 3) if outer == "channels" else (0, 2, 3, 1)
    net: Any = Net(
        lambda net, x: net.b(net.a(x).permute(order).flatten(1)),
        a=conv(2, 4, dead=[1]),
        b=linear(4 * 9, 3),
    )
    small: Any = shrink(net, example=torch.randn(2, 2, 5, 5))
    places = torch.arange(36).view(4, 9) if outer == "channels" else torch.arange(36).view(9, 4).T
    kept = torch.cat([places[:1], places[2:]]).flatten().sort().values
    assert torch.equal(small.b.weight, net.b.weight[:, kept])


# Arithmetic.


@pytest.mark.parametrize("remove", REMOVALS)
@pytest.mark.parametrize("kind", ["alpha", "method", "sub", "rsub", "scaled", "isub", "minus"])
def test_the_numbers_in_front_of_summands_count(kind, remove, given):
    """Constant units, which move into the next bias, have to do so with the right number."""
    functions: dict[str, Callable[..., Any]] = {
        "alpha": lambda a, b: torch.add(a, b, alpha=-1),
        "method": lambda a, b: a.add(b, alpha=2.5),
        "sub": lambda a, b: torch.sub(a, b, alpha=2),
        "rsub": lambda a, b: b - a,
        "scaled": lambda a, b: 3 * a + b / 2,
        "isub": lambda a, b: a.sub_(b),
        "minus": lambda a, b: a + -b,
    }
    net: Any = Net(
        lambda net, x: net.head(functions[kind](net.a(x), net.b(x))),
        a=linear(3, 6, [0, 1]),
        b=linear(3, 6, [0, 1]),
        head=linear(6, 4),
    )
    if remove is compact:
        with torch.no_grad():
            net.a.bias.fill_(0.7)
            net.b.bias.fill_(0.4)
    inputs = torch.randn(7, 3).double()
    assert removed(remove, net, inputs, **given(inputs)) == 2 * 2 * 4 + 2 * 4


def test_a_tensor_plus_itself():
    net = Net(lambda net, x: net.b(net.a(x) + net.a(x)), a=linear(3, 6, [0]), b=linear(6, 4))
    inputs = torch.randn(7, 3).double()
    assert removed(compact, net, inputs) == 0  # the layer is called twice

    def doubled(net: Any, x: Tensor) -> Tensor:
        features = net.a(x)
        return net.b(features + features - 3 * features)

    net = Net(doubled, a=linear(3, 6, [0]), b=linear(6, 4))
    assert removed(compact, net, inputs) == 4 + 4


# Changes in place.


def in_place() -> dict[str, Callable[[Any, Tensor], Any]]:
    def functional_form(net: Any, x: Tensor) -> Tensor:
        h = net.a(x)
        skip = h
        return net.b(skip + torch.relu_(h))

    def module(net: Any, x: Tensor) -> Tensor:
        h = net.a(x)
        return net.b(h + net.relu(h))

    def augmented(net: Any, x: Tensor) -> Tensor:
        h = net.a(x)
        kept = h
        h += net.other(x)
        return net.b(kept) + net.b2(h)

    def through_a_view(net: Any, x: Tensor) -> Tensor:
        h = net.a(x)
        flat = h.flatten(1)
        return net.b(h.relu_()) + net.b2(flat)

    def through_an_identity(net: Any, x: Tensor) -> Tensor:
        h = net.a(x)
        return net.b(net.relu(net.same(h)) + h)

    def multiplied(net: Any, x: Tensor) -> Tensor:
        h = net.a(x)
        kept = h
        h *= 2
        return net.b(h) - net.b2(kept)

    kinds = (functional_form, module, augmented, through_a_view, through_an_identity, multiplied)
    return {kind.__name__: kind for kind in kinds}


@pytest.mark.parametrize("remove", REMOVALS)
@pytest.mark.parametrize("name", in_place())
def test_values_changed_in_place_and_used_later_are_refused(name, remove, given):
    net = Net(
        in_place()[name],
        a=linear(3, 6, [0]),
        other=linear(3, 6, [0]),
        b=linear(6, 4),
        b2=linear(6, 4),
        relu=nn.ReLU(inplace=True),
        same=nn.Identity(),
    )
    with pytest.raises(ValueError, match="changes in place"):
        remove(net, **given(torch.randn(3, 3)))


def test_harmless_changes_in_place_are_followed(given):
    def forward(net: Any, x: Tensor) -> Tensor:
        h = net.relu(net.a(x))
        h += net.b(x)
        return net.head(h)

    net = Net(
        forward,
        a=linear(3, 6, [0]),
        b=linear(3, 6, [0]),
        relu=nn.ReLU(inplace=True),
        head=linear(6, 4),
    )
    inputs = torch.randn(7, 3).double()
    assert removed(shrink, net, inputs, **given(inputs)) == 4 + 4 + 4


# Weights that are computed.

COMPUTED = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "pruned": lambda layer: prune.l1_unstructured(layer, "weight", 5),
    "old spectral_norm": nn.utils.spectral_norm,
}


@pytest.mark.parametrize("kind", COMPUTED)
@pytest.mark.parametrize("remove", [*REMOVALS, lambda net: mask_filters(net, {})])
def test_weights_that_are_computed_are_refused_by_name(kind, remove):
    net = nn.Sequential(linear(3, 6), nn.ReLU(), COMPUTED[kind](linear(6, 4)))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"'2\.weight'.*computed.*make them plain"):
        remove(net)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


# Layers that serve twice, or apart.


def twice() -> dict[str, Callable[[Any, Tensor], Any]]:
    return {
        "readers": lambda net, x: net.read(net.a(x)) + net.read(net.b(x)),
        "producers": lambda net, x: net.read(net.a(x)) + net.other(net.a(x + 1)),
        "chain": lambda net, x: net.other(net.same(net.same(net.a(x)))),
        "norms": lambda net, x: net.read(net.norm(net.a(x))) + net.other(net.norm(net.b(x))),
        "weight": lambda net, x: functional.linear(net.a(x), net.read.weight) + net.read(net.b(x)),
        "scale": lambda net, x: net.read(net.norm(net.a(x))) * net.norm.weight.sum(),
    }


@pytest.mark.parametrize("remove", REMOVALS)
@pytest.mark.parametrize("name", twice())
def test_layers_that_serve_twice_keep_what_they_serve(name, remove):
    net = Net(
        twice()[name],
        a=linear(3, 6, [0, 1]),
        b=linear(3, 6, [1, 2]),
        read=linear(6, 4),
        other=linear(6, 4),
        same=linear(6, 6, [3]),
        norm=nn.BatchNorm1d(6),
    )
    with torch.no_grad():
        net.norm.weight[1] = net.norm.bias[1] = 0.0  # type: ignore[index]
    inputs = torch.randn(7, 3).double()
    assert removed(remove, net, inputs, example=inputs) == 0


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("dead", [None, [1, 2]])
def test_transposed_convolutions_in_groups(groups, dead):
    net = nn.Sequential(
        conv(3, 4, dead=dead),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 6, 3, groups=groups),
        conv(6, 2, 1),
    )
    inputs = torch.randn(3, 3, 8, 8).double()
    for remove in REMOVALS:
        assert (removed(remove, net, inputs) > 0) == (groups == 1 and dead is not None)


def test_layers_with_hooks_stay_whole():
    net = nn.Sequential(linear(3, 6, [0, 1]), nn.ReLU(), linear(6, 4))
    net[1].register_forward_hook(lambda *call: call[2] + 1)
    inputs = torch.randn(7, 3).double()
    assert removed(shrink, net, inputs) == 0
    assert "hooks" in fixed_layers(net)["0"]


class Standardised(nn.Linear):
    """Does more with its weight than the layer that it is derived from."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return functional.linear(input, self.weight - self.weight.mean(), self.bias)


def test_layers_of_ones_own_are_looked_into():
    layer = Standardised(3, 6)
    with torch.no_grad():
        layer.weight[:2] = 0.0
        layer.bias[:2] = 0.0
    inputs = torch.randn(7, 3).double()
    for remove in REMOVALS:
        assert removed(remove, nn.Sequential(layer, nn.ReLU(), linear(6, 4)), inputs) == 0


# The comparison.


def test_shapes_are_compared_exactly():
    model, small = Net(lambda _, x: x), Net(lambda _, x: x.mean(0, keepdim=True))
    with pytest.raises(ValueError, match=r"from shape \(7, 3\) to \(1, 3\)"):
        compare_outputs(model, small, torch.ones(7, 3))


def test_values_are_compared_whatever_their_scale():
    model = nn.Linear(3, 4)
    with torch.no_grad():
        for param in model.parameters():
            param *= 1e-12
    other = copy.deepcopy(model)
    compare_outputs(model, other, torch.randn(5, 3))
    with torch.no_grad():
        other.weight[0, 0] += 1e-15
    with pytest.raises(OutputsChangedError, match="changed the outputs by"):
        compare_outputs(model, other, torch.randn(5, 3))


def test_rounding_of_the_network_s_own_precision_is_allowed_for():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[0].weight[0] = 0.0  # type: ignore[index]
        model[0].bias[0] = 1 / 3  # type: ignore[index]
    small: Any = compact(model)
    assert small[2].bias.dtype is torch.float32
    compare_outputs(model, small, torch.randn(5, 3))


def test_outputs_that_are_not_finite_say_nothing():
    last = linear(4, 2)
    model = nn.Sequential(linear(3, 4, [0]), last)
    with torch.no_grad():
        last.bias[0] = torch.inf
    with pytest.raises(ValueError, match="not finite"):
        shrink(model)


def test_nothing_is_touched_where_an_example_does_not_fit():
    net = nn.Sequential(linear(3, 6, [0]), nn.ReLU(), linear(6, 4))
    with pytest.raises(ValueError, match="does not accept the example"):
        shrink(net, example=torch.randn(2, 5))


def test_networks_of_several_inputs_need_an_example():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = linear(3, 6, [0]), linear(2, 6, [0]), linear(6, 4)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.head(self.a(x) + self.b(y))

    with pytest.raises(ValueError, match="pass example="):
        shrink(Two())
    small: Any = shrink(Two(), example=(torch.randn(3, 3), torch.randn(3, 2)))
    assert small.head.in_features == 5


def test_networks_that_cannot_be_traced_are_refused():
    net = Net(lambda net, x: net.a(x) if x.sum() > 0 else -net.a(x), a=linear(3, 4))
    for call in (shrink, compact, fixed_layers):
        with pytest.raises(ValueError, match="cannot be traced"):
            call(net)


@pytest.mark.parametrize("remove", REMOVALS)
def test_precisions_modes_and_statistics_stay(remove):
    net = nn.Sequential(
        conv(2, 4, dead=[1]).bfloat16(), nn.BatchNorm2d(4).bfloat16(), conv(4, 2, 1).bfloat16()
    )
    net[0].weight.requires_grad_(False)
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    small: Any = remove(net)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert [module.training for module in small.modules()] == [True, True, False, True]
    assert {value.dtype for value in small.state_dict().values()} == {torch.bfloat16, torch.long}
    assert not small[0].weight.requires_grad


def test_cutting_branches_in_place_is_all_or_nothing():
    def forward(net: Any, x: Tensor) -> Tensor:
        h = net.stem(x)
        return net.head(h + net.branch(h))

    net = Net(forward, stem=linear(3, 6), branch=linear(6, 6, ALL), head=linear(6, 4))
    assert cut_branches(net) == ["branch"]
    hidden = Net(
        lambda net, x: net.a(x) + net.b(x) if net.training else net.a(x) + net.b(x).cos(),
        a=linear(3, 6),
        b=linear(3, 6, ALL),
    )
    with pytest.raises(OutputsChangedError):
        cut_branches(hidden)
    assert isinstance(hidden.b, nn.Linear)


def test_made_up_inputs_fit_networks_of_several_kinds():
    for net, shape in (
        (nn.Sequential(conv(3, 4), nn.Flatten(), linear(4 * 26 * 26, 2)), (4, 3, 28, 28)),
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), linear(4 * 7, 2)), (4, 2, 9)),
        (nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten(), linear(2 * 8, 2)), (4, 1, 4, 4, 4)),
        (nn.Sequential(linear(3, 4), nn.Flatten(), linear(4 * 10, 2)), (4, 10, 3)),
    ):
        assert [tuple(batch[0].shape) for batch in ChannelGraph(net).probe.inputs] == [shape]


# Networks at random.


@pytest.mark.parametrize("part", range(2))
def test_random_networks_keep_their_outputs_or_are_refused(part):
    outcomes = {"smaller": 0, "refused": 0}
    for seed in range(10 * part, 10 * part + 10):
        remove = REMOVALS[seed % 2]
        net = random_network(seed, constants=remove is compact)
        options = {} if seed % 4 < 2 else {"example": torch.randn(3, *net.start)}
        try:
            goes = removed(remove, net, torch.randn(7, *net.start).double(), **options)
            outcomes["smaller"] += goes > 0
        except OutputsChangedError:
            raise
        except ValueError:
            outcomes["refused"] += 1
    assert outcomes["smaller"] >= 5
    assert outcomes["refused"] <= 5
