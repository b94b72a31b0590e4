"""Growing: ratios, the published rules, appended filters, and Table 4's numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from bregman import penalize
from dessilbi import FILTER_RULES, DessiLBI, grow, mask_filters, network_cost, shrink
from dessilbi.growing import carry_state, grown_widths, growth_ratios, resnet_growth, vgg_growth
from dessilbi.nodes import Nothing, PaddedShortcut
from tests.dessilbi.networks import build, example, outputs, randomise_norms

POOLS = {2, 4, 7, 10}
TABLE_4 = [32, 96, 126, 220, 242, 200, 182, 266, 151, 105, 88, 88, 80]


class Rectify(nn.Module):
    """A call of torch.relu, as in the experiment's convolutions: its operation counter misses it."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.relu(features)


def vgg(widths: list[int]) -> Any:
    """The growing experiment's VGG16: four poolings and a head of two Linear layers."""
    layers: list[nn.Module] = []
    for index, (inputs, width) in enumerate(pairwise([3, *widths]), start=1):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), Rectify()]
        if index in POOLS:
            layers.append(nn.MaxPool2d(2))
    head = [nn.Linear(4 * widths[-1], 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 10)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(), *head)


def optimiser(model: nn.Module, **options) -> DessiLBI:
    return DessiLBI(penalize(model, FILTER_RULES, lam=1.0), **{"lr": 0.05, "nu": 100.0, **options})


def step(model: nn.Module, optimizer: DessiLBI, images: torch.Tensor) -> None:
    optimizer.zero_grad()
    model.train()(images).square().mean().backward()
    optimizer.step()


def test_table_4_has_266_filters_in_the_eighth_convolution():
    cost = network_cost(vgg(TABLE_4), torch.zeros(1, 3, 32, 32))
    assert cost.parameters == 2_961_463
    assert round(cost.counter_operations / 1e6, 1) == 217.3
    printed = [261 if width == 266 else width for width in TABLE_4]
    assert sum(param.numel() for param in vgg(printed).parameters()) == 2_946_463


def test_the_published_rule_climbs_to_table_4():
    ladder = [8]
    while ladder[-1] < 266:
        ladder.append(vgg_growth(ladder[-1]))
    assert len(ladder) - 1 == 22
    assert set(TABLE_4) <= set(ladder)
    assert 261 not in ladder
    assert [resnet_growth(width) for width in (8, 40, 50)] == [12, 44, 55]


def test_costs_of_the_full_network_are_the_published_ones():
    full = [64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    cost = network_cost(vgg(full), torch.zeros(2, 3, 32, 32))  # per input, not per batch
    assert cost.parameters == 15_778_378
    assert round(cost.macs / 1e6, 2) == 314.25


def test_a_transposed_convolution_costs_what_its_inputs_spread():
    model = nn.ConvTranspose2d(3, 5, 4, stride=2)
    cost = network_cost(model, torch.zeros(1, 3, 6, 6))
    assert cost.macs == 6 * 6 * 3 * 5 * 16
    assert cost.counter_operations == cost.macs + model(torch.zeros(1, 3, 6, 6)).numel()


@pytest.mark.parametrize("name", ["cnn", "resnet"])
def test_growing_with_preserve_keeps_the_outputs(name):
    model, images = build(name), example(name)
    widths = {"cnn": {"conv1": 11, "conv2": 9}, "resnet": {"conv": 8, "stage2.0.conv1": 15}}[name]
    grown: Any = grow(model, widths, mode="preserve")
    torch.testing.assert_close(
        outputs(grown, images), outputs(model, images), rtol=1e-12, atol=1e-13
    )
    for layer, width in widths.items():
        weight = grown.get_submodule(layer).weight
        assert weight.shape[0] == width
        assert weight[-1].abs().min() > 0  # new filters are alive
    if name == "resnet":  # one stream grows together
        assert grown.stage1[1].conv2.out_channels == grown.stage2[0].shortcut[0].in_channels == 8
        assert grown.stage1[0].norm2.num_features == 8


def test_growing_with_reset_copies_the_corner_and_forgets_the_statistics():
    model = build("cnn")
    grown: Any = grow(model, {"conv2": 9}, generator=torch.Generator().manual_seed(0))
    assert torch.equal(grown.conv2.weight[:6], model.conv2.weight)
    assert torch.equal(grown.conv2.bias, torch.cat([model.conv2.bias, torch.zeros(3)]))
    assert grown.linear1.weight.shape == (12, 9 * 16)
    assert torch.equal(grown.linear1.weight[:, : 6 * 16], model.linear1.weight)
    assert 0 < grown.linear1.weight[:, 6 * 16 :].std() < 0.02
    residual: Any = grow(build("resnet"), {"stage3.0.conv1": 30})
    norm = residual.stage3[0].norm1
    assert norm.running_mean.count_nonzero() == 0
    assert torch.equal(norm.running_var, torch.ones(30))
    assert torch.equal(norm.weight[24:], torch.ones(6))


def test_new_filters_are_he_normal():
    model: Any = nn.Sequential(nn.Conv2d(64, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    grown: Any = grow(model, {"0": 128}, generator=torch.Generator().manual_seed(0))
    assert grown[0].weight[8:].std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)


def test_ratio_counts_selected_among_present_filters():
    model = vgg([8] * 13)
    optimizer = optimiser(model)
    step(model, optimizer, torch.randn(4, 3, 32, 32))
    dual = optimizer.state[model[0].weight]["dual"]
    dual[:7].fill_(1.0)
    assert growth_ratios(model, optimizer)["0"] == 7 / 8
    assert growth_ratios(model, optimizer)["3"] == 0.0
    assert grown_widths(model, optimizer) == {"0": 16}
    assert grown_widths(model, optimizer, threshold=0.9) == {}
    assert grown_widths(model, optimizer, rule=resnet_growth) == {"0": 12}
    with torch.no_grad():
        model[0].weight[7].zero_()  # absent: not in the denominator
    assert growth_ratios(model, optimizer)["0"] == 1.0


def test_the_output_layer_does_not_grow():
    model: Any = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    optimizer = optimiser(model)
    step(model, optimizer, torch.randn(2, 1, 2, 2))
    for layer in (model[0], model[2]):
        optimizer.state[layer.weight]["dual"].fill_(5.0)
    assert set(growth_ratios(model, optimizer)) == {"0", "2"}
    assert set(grown_widths(model, optimizer)) == {"0"}


def test_carried_state_makes_growing_invisible_to_the_old_filters():
    """V, Gamma and momentum of old entries go on as they were; outputs agree before the next step."""
    model = build("resnet")
    randomise_norms(model)
    optimizer = optimiser(model, momentum=0.9, nu=1.0)
    images = example("resnet", 6)
    for _ in range(3):
        step(model, optimizer, images)
    grown: Any = grow(model, {"stage1.0.conv1": 9}, mode="preserve")
    fresh = optimiser(grown, momentum=0.9, nu=1.0)
    carry_state(model, optimizer, grown, fresh)
    old, new = model.stage1[0], grown.stage1[0]
    assert torch.equal(fresh.dual(new.conv1.weight)[:6], optimizer.dual(old.conv1.weight))
    assert fresh.dual(new.conv1.weight)[6:].count_nonzero() == 0
    assert torch.equal(fresh.gamma(new.conv2.weight)[:, :6], optimizer.gamma(old.conv2.weight))
    for net, other in ((model, optimizer), (grown, fresh)):
        step(net, other, images)
    assert fresh.gamma(new.conv1.weight).shape == (9, 6, 3, 3)
    torch.testing.assert_close(new.conv1.weight[:6], old.conv1.weight, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(
        fresh.dual(new.conv1.weight)[:6], optimizer.dual(old.conv1.weight), rtol=1e-9, atol=1e-11
    )


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = PaddedShortcut(width, stride=stride)

    def forward(self, features):
        residual = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(features)))))
        return torch.relu(residual + self.shortcut(features))


def padded_resnet(blocks: int, width: int = 8) -> Any:
    """Three stages of blocks with shortcuts without weights, all of one width: the growing seed."""
    stages = [Block(width, width, 2 if i in (blocks, 2 * blocks) else 1) for i in range(3 * blocks)]
    stem = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)]
    return nn.Sequential(*stem, *stages, *head)


def test_the_seed_of_resnet56_has_the_published_size():
    assert sum(param.numel() for param in padded_resnet(9).parameters()) == 32_290


def test_blocks_with_padded_shortcuts_grow_by_themselves():
    model, images = padded_resnet(1).double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    grown: Any = grow(model, {"4.conv2": 13, "3.conv1": 9})
    assert grown[4].shortcut.outputs == grown[4].conv2.out_channels == 13
    assert grown[5].conv1.in_channels == 13
    assert (grown[3].conv1.out_channels, grown[3].conv2.out_channels) == (9, 8)
    assert outputs(grown, images).shape == (2, 10)
    features = torch.randn(1, 8, 4, 4, dtype=torch.float64)
    padded = grown[4].shortcut(features)
    assert torch.equal(padded[:, 2:10], features[:, :, ::2, ::2])
    assert padded[:, :2].count_nonzero() == padded[:, 10:].count_nonzero() == 0
    assert torch.equal(PaddedShortcut(4)(features), features[:, 2:6])
    with pytest.raises(ValueError, match="only grow with mode 'reset'"):
        grow(model, {"4.conv2": 13}, mode="preserve")


def test_inner_filters_of_blocks_with_padded_shortcuts_are_removed():
    model, images = padded_resnet(1).double(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    randomise_norms(model)
    some = torch.arange(8) < 3
    mask_filters(model, {"4.conv1.weight": some, "4.conv2.weight": some})
    mask_filters(model, {"5.conv1.weight": torch.zeros(8, dtype=torch.bool)})
    small: Any = shrink(model, example=images)
    assert small[4].conv1.out_channels == 3
    assert small[4].conv2.out_channels == 8
    assert isinstance(small[5].conv2, Nothing)
    expected = outputs(model, images)
    torch.testing.assert_close(outputs(small, images), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("mode", ["reset", "preserve"])
def test_what_is_frozen_stays_frozen(mode):
    model: Any = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 2, 1)
    )
    for layer in model[:2]:
        layer.requires_grad_(False)
    model[3].bias.requires_grad_(False)
    grown: Any = grow(model, {"0": 6, "3": 7}, mode=mode)
    assert grown[0].weight.shape[0] == grown[1].num_features == 6
    frozen = {name for name, param in grown.named_parameters() if not param.requires_grad}
    assert frozen == {"0.weight", "0.bias", "1.weight", "1.bias", "3.bias"}
    assert {param.dtype for param in grown.parameters()} == {torch.float32}


def test_layers_behind_a_flattening_that_mixes_cannot_grow():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(20, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(inputs).flatten(1))

    with pytest.raises(ValueError, match="'first' cannot grow: 'last' reads them behind"):
        grow(Net(), {"first": 6}, example=torch.randn(2, 5, 3))


def test_growing_that_would_change_outputs_is_found_out():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(inputs)) * self.first.out_features

    net = Net()
    with pytest.raises(ValueError, match="changed the outputs"):
        grow(net, {"first": 6}, mode="preserve")
    assert net.first.out_features == 4


def test_wrong_widths_are_refused():
    model = build("cnn")
    for widths, message in (
        ({"conv1": 4}, r"width of 'conv1': 4 \(must be >= 8\)"),
        ({"linear2": 20}, "cannot grow: an output"),
        ({"conv7": 20}, "no Linear or Conv layer called 'conv7'"),
    ):
        with pytest.raises(ValueError, match=message):
            grow(model, widths)
    with pytest.raises(ValueError, match="mode: 'keep'"):
        grow(model, {}, mode="keep")
