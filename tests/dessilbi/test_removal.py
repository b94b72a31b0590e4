"""Masking after the norm layer, and removal that keeps the outputs."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import nn

from bregman import apply_masks
from bregman.modules import Conv2d, strided_pointwise
from dessilbi import compact, load_shrunk, mask_filters, shrink
from dessilbi.branches import bypass_layer
from dessilbi.graph import ChannelGraph
from dessilbi.masking import align_filters, silent_sums
from dessilbi.nodes import Nothing
from dessilbi.removal import fixed_layers
from tests.dessilbi.networks import CONFIGS, SHAPES, build, example, outputs, random_filters

EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-13}


def parameters(model: nn.Module) -> int:
    return sum(param.numel() for param in model.parameters())


def masked(name: str, **options) -> Any:
    model = build(name)
    mask_filters(model, random_filters(model, **options))
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_removal_keeps_the_outputs(name):
    model, images = masked(name), example(name)
    expected = outputs(copy.deepcopy(model), images)
    small: Any = shrink(model, example=images)
    torch.testing.assert_close(outputs(small, images), expected, **EXACT)
    assert expected.std() > 1e-3
    assert parameters(small) < 0.75 * parameters(model)
    assert model.training  # as it was


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions_in_groups_are_masked_by_output(groups):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 6, 3, groups=groups)).double()
    images = torch.randn(2, 1, 5, 5, dtype=torch.float64)
    expected = outputs(model, images).clone()
    keep = torch.tensor([True, False, True, True, True, False])
    mask_filters(model, {"1.weight": keep})
    expected[:, ~keep] = 0.0
    torch.testing.assert_close(outputs(model, images), expected, **EXACT)


@pytest.mark.parametrize("name", CONFIGS)
def test_removal_keeps_the_training_mode_outputs_too(name):
    model, images = masked(name), example(name, 6)
    small: Any = shrink(model)
    torch.testing.assert_close(small.train()(images), model.train()(images), rtol=1e-9, atol=1e-11)


class Downsampling(nn.Module):
    """A residual block of torch's own layers, as anybody may write it."""

    def __init__(self, inputs: int = 12, outputs: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, inputs, 3, padding=1)
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2)
        self.end = nn.Conv2d(outputs, 5, 1, stride=(1, 2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.stem(images).relu()
        return self.end((self.conv(features) + self.shortcut(features)).relu()).flatten(1)


def unsafe(model: nn.Module) -> list[str]:
    """Layers that may run torch's strided 1 x 1 kernel: see `bregman.modules`."""
    return [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and strided_pointwise(layer)
        if not isinstance(layer, Conv2d)
    ]


@pytest.mark.parametrize("make_smaller", [shrink, compact])
def test_what_removal_leaves_never_runs_the_strided_pointwise_kernel(make_smaller):
    model = Downsampling()
    mask_filters(model, {"stem.weight": torch.arange(12) < 3})
    assert unsafe(model) == ["shortcut", "end"]
    small: Any = make_smaller(model, example=torch.randn(2, 3, 8, 8))
    assert small.shortcut.in_channels == 3
    assert unsafe(small) == []
    assert unsafe(make_smaller(small)) == []
    loaded: Any = Downsampling()
    load_shrunk(loaded, small.state_dict())
    assert unsafe(loaded) == []
    images = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(outputs(loaded, images), outputs(small, images))
    layout = torch.channels_last
    loaded.to(memory_format=layout).train()(images.to(memory_format=layout)).sum().backward()


@pytest.mark.parametrize("name", CONFIGS)
def test_sizes_say_what_the_tensors_hold(name):
    small: Any = shrink(masked(name))
    for space in ChannelGraph(small).spaces:
        for producer in space.producers:
            assert small.get_submodule(producer).weight.shape[0] == space.channels
        for norm in space.norms:
            assert small.get_submodule(norm).num_features == space.channels


def test_inner_filters_of_residual_blocks_go_at_once():
    """Each block's first convolution is its own space; the stream needs all its summands."""
    model = build("resnet")
    keep = {"stage2.1.conv1.weight": torch.arange(12) < 5}
    keep["stage2.1.conv2.weight"] = torch.arange(12) < 7
    mask_filters(model, keep)
    small: Any = shrink(model, example=example("resnet"))
    assert small.stage2[1].conv1.weight.shape == (5, 12, 3, 3)
    assert small.stage2[1].conv2.weight.shape == (12, 5, 3, 3)


def test_residual_channels_go_when_every_summand_is_masked():
    model, dead = build("resnet"), torch.arange(12) % 3 != 0
    names = ["stage2.0.conv2", "stage2.0.shortcut.0", "stage2.1.conv2"]
    mask_filters(model, {f"{name}.weight": dead for name in names})
    small: Any = shrink(model, example=example("resnet"))
    assert {small.get_submodule(name).out_channels for name in names} == {8}
    assert small.stage3[0].conv1.in_channels == small.stage3[0].shortcut[0].in_channels == 8


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
@pytest.mark.parametrize("block", ["stage1.1", "stage2.0"])
def test_an_empty_layer_turns_its_block_into_the_shortcut(block, layer):
    model, images = build("resnet"), example("resnet")
    width = model.get_submodule(f"{block}.{layer}").out_channels
    mask_filters(model, {f"{block}.{layer}.weight": torch.zeros(width, dtype=torch.bool)})
    expected = outputs(copy.deepcopy(model), images)
    small: Any = shrink(model, example=images)
    part = small.get_submodule(block)
    assert isinstance(part.conv1, Nothing)
    assert isinstance(part.conv2, Nothing)
    torch.testing.assert_close(outputs(small, images), expected, **EXACT)
    residual = outputs(part.shortcut, torch.randn(1, 6, 4, 4, dtype=torch.float64))
    features = torch.randn(1, 6, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(outputs(part, features), outputs(part.shortcut, features).relu())
    assert residual.shape[1] == width


def test_an_empty_layer_of_a_chain_is_refused():
    with pytest.raises(ValueError, match="no shortcut passes the layer by"):
        mask_filters(build("cnn"), {"conv2.weight": torch.zeros(6, dtype=torch.bool)})
    with pytest.raises(ValueError, match=r"'conv'.*no shortcut"):
        mask_filters(build("resnet"), {"conv.weight": torch.zeros(6, dtype=torch.bool)})


def test_a_sum_of_which_nothing_would_be_left_is_refused():
    """Both ways through a block are empty: the conv1 behind which conv2 falls silent, the shortcut."""
    model = build("resnet")
    nothing = torch.zeros(12, dtype=torch.bool)
    keep = {"stage2.0.conv1.weight": nothing, "stage2.0.shortcut.0.weight": nothing}
    assert silent_sums(model, keep) == [[["stage2.0.conv1"], ["stage2.0.shortcut.0"]]]
    with pytest.raises(ValueError, match="so that their sum is zero"):
        mask_filters(model, keep)
    del keep["stage2.0.shortcut.0.weight"]
    assert silent_sums(model, keep) == []


def test_aligned_filters_leave_a_stream():
    model = build("resnet")
    names = [f"stage2.{layer}.weight" for layer in ("0.conv2", "0.shortcut.0", "1.conv2")]
    keep = {name: torch.arange(12) < 3 + number for number, name in enumerate(names)}
    keep[names[2]] = torch.zeros(12, dtype=torch.bool)  # a branch that goes has no say
    aligned = align_filters(model, keep)
    assert [int(aligned[name].sum()) for name in names] == [4, 4, 0]
    mask_filters(model, aligned)
    small: Any = shrink(model, example=example("resnet"))
    assert small.get_submodule("stage2.0.conv2").out_channels == 4
    # Who has no mask keeps everything, and so do the others.
    del keep[names[1]]
    assert [int(align_filters(model, keep)[name].sum()) for name in (names[0], names[2])] == [12, 0]


def test_masking_the_weight_alone_is_not_enough():
    """A bias or a shift would go on contributing: nothing may be removed then."""
    model = build("resnet")
    keep = (torch.arange(6) < 3).view(-1, 1, 1, 1).expand(6, 6, 3, 3)
    apply_masks(model, {"stage1.0.conv1.weight": keep})
    small: Any = shrink(model, example=example("resnet"))
    assert parameters(small) == parameters(model)


@pytest.mark.parametrize("name", CONFIGS)
def test_saved_and_loaded_again_it_is_smaller_with_the_same_outputs(name):
    model, images = masked(name), example(name)
    if name == "resnet":
        mask_filters(model, {"stage3.1.conv1.weight": torch.zeros(24, dtype=torch.bool)})
    small: Any = shrink(model)
    files = [io.BytesIO(), io.BytesIO()]
    torch.save(model.state_dict(), files[0])
    torch.save(small.state_dict(), files[1])
    assert files[1].tell() < 0.8 * files[0].tell()
    files[1].seek(0)
    loaded = CONFIGS[name].build(input_shape=SHAPES[name], classes=10).double()
    load_shrunk(loaded, torch.load(files[1], weights_only=True))
    assert parameters(loaded) == parameters(small)
    assert torch.equal(outputs(loaded, images), outputs(small, images))


class Written(nn.Module):
    """A residual block as torchvision writes them, and a norm layer without a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.stateless = nn.BatchNorm2d(4, affine=False, track_running_stats=False)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.end = nn.BatchNorm2d(4, affine=False, track_running_stats=False)
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, images):
        features = self.stem(images)
        out = self.second(self.stateless(self.first(features)).relu())
        out += features
        return self.last(self.end(out))


def test_norm_layers_without_a_tensor_of_their_own_survive_loading():
    model, images = Written().double(), torch.randn(3, 1, 6, 6, dtype=torch.float64)
    for tensor in model.second.parameters():
        nn.init.zeros_(tensor)
    small: Any = shrink(model)
    assert isinstance(small.first, Nothing)
    loaded = Written().double()
    load_shrunk(loaded, small.state_dict())
    assert isinstance(loaded.end, nn.BatchNorm2d)
    assert isinstance(loaded.stateless, nn.Identity)
    assert torch.equal(outputs(loaded, images), outputs(model, images))
    untouched = Written().double()
    load_shrunk(untouched, model.state_dict())
    assert isinstance(untouched.stateless, nn.BatchNorm2d)


@pytest.mark.parametrize("kind", ["prefixed", "partial", "other"])
def test_a_state_that_is_refused_leaves_the_network_as_it_was(kind):
    model = build("resnet")
    state = dict(shrink(masked("resnet")).state_dict())
    if kind == "prefixed":
        state = {f"module.{name}": value for name, value in state.items()}
    elif kind == "partial":
        state = {name: value for name, value in state.items() if not name.startswith("conv.")}
    else:
        state["linear.bias"] = torch.zeros(3)
        state["linear.weight"] = torch.zeros(10, 7)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(RuntimeError):
        load_shrunk(model, state)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], value) for name, value in after.items())


def test_biases_of_a_compact_network_are_loaded():
    def build_two() -> Any:
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))

    model = build_two()
    with torch.no_grad():
        model[0].weight[1] = 0.0
        model[0].bias[1] = 2.0
    small, loaded = compact(model), build_two()
    load_shrunk(loaded, small.state_dict())
    assert torch.equal(loaded(torch.ones(2, 3)), small(torch.ones(2, 3)))


def test_a_shrunk_network_trains_on():
    small: Any = shrink(masked("resnet"))
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1)
    before = copy.deepcopy(small)
    small.train()(example("resnet")).square().mean().backward()
    optimizer.step()
    assert not torch.equal(small.conv.weight, before.conv.weight)


def test_what_the_graph_does_not_understand_stays_whole():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 4, 1)
            self.grouped = nn.Conv2d(4, 4, 1, groups=2)
            self.twice = nn.Conv2d(4, 4, 1)
            self.side = nn.Conv2d(1, 4, 1)
            self.last = nn.Conv2d(8, 2, 1)

        def forward(self, x):
            features = self.twice(self.twice(self.grouped(self.first(x))))
            return self.last(torch.cat([features, self.side(x)], dim=1))

    model = Odd().double()
    reasons = fixed_layers(model)
    assert set(reasons) == {"first", "grouped", "twice", "side", "last"}
    assert "grouped convolution" in reasons["first"]
    assert "more than once" in reasons["twice"]
    assert "cat" in reasons["side"]
    mask_filters(model, {"side.weight": torch.arange(4) < 2})
    small: Any = shrink(model, example=torch.randn(2, 1, 3, 3, dtype=torch.float64))
    assert parameters(small) == parameters(model)


@pytest.mark.parametrize("flatten", ["flatten", "torch", "size", "shape", "module"])
def test_channels_pass_a_flattening_to_a_linear_layer(flatten):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 5, 3)
            self.transposed = nn.ConvTranspose1d(5, 4, 2)
            self.module = nn.Flatten()
            self.linear = nn.Linear(4 * 7, 2)

        def forward(self, x):
            x = torch.relu(self.transposed(torch.relu(self.conv(x))))
            if flatten == "module":
                return self.linear(self.module(x))
            if flatten == "torch":
                return self.linear(torch.flatten(x, 1))
            if flatten == "shape":
                return self.linear(x.reshape(x.shape[0], -1))
            return self.linear(x.flatten(1) if flatten == "flatten" else x.view(x.size(0), -1))

    model, images = Net().double(), torch.randn(3, 1, 8, dtype=torch.float64)
    keep = {"conv.weight": torch.arange(5) < 2, "transposed.weight": torch.arange(4) > 0}
    mask_filters(model, keep)
    expected = outputs(copy.deepcopy(model), images)
    small: Any = shrink(model, example=images)
    assert small.transposed.weight.shape == (2, 3, 2)
    assert small.linear.in_features == 3 * 7
    torch.testing.assert_close(outputs(small, images), expected, **EXACT)


def test_a_network_that_hides_something_is_found_out():
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            features = self.first(x)
            if not self.training:  # traced in training mode, this is not in the graph
                features = features + 1.0
            return self.last(features)

    model = Hidden().double()
    mask_filters(model, {"first.weight": torch.arange(4) < 2})
    with pytest.raises(ValueError, match="changed the outputs"):
        shrink(model, example=torch.ones(1, 3, dtype=torch.float64))
    assert parameters(shrink(model.eval())) == parameters(model)  # x + 1 is not understood


def test_bypassing_takes_a_layer_out_of_a_chain():
    model: Any = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 2, 3),
    ).double()
    images = torch.randn(2, 1, 6, 6, dtype=torch.float64)
    expected = model[4](model[0](images).relu())
    bypass_layer(model, "1")
    torch.testing.assert_close(model(images), expected)
    assert [type(layer).__name__ for layer in model[1:3]] == ["Identity", "Identity"]
    for name in ("0", "4"):
        with pytest.raises(ValueError, match="changes the shape"):
            bypass_layer(model, name)
    with pytest.raises(ValueError, match="no Linear or Conv layer called '1'"):
        bypass_layer(model, "1")


def test_wrong_masks_are_refused_and_nothing_is_changed():
    model = build("cnn")
    before = copy.deepcopy(model.state_dict())
    good = {"conv1.weight": torch.arange(8) < 2}
    for bad, message in (
        ({"conv9.weight": torch.ones(3, dtype=torch.bool)}, "'conv9.weight' names no weight"),
        ({"conv2.weight": torch.ones(3, dtype=torch.bool)}, r"must be \(6,\)"),
        ({"conv2.weight": torch.zeros(6, dtype=torch.bool)}, "no filter is kept"),
    ):
        with pytest.raises(ValueError, match=message):
            mask_filters(model, {**good, **bad})
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
