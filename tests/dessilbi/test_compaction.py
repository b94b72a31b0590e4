"""Compaction: units that a sparse network does not need go, and its outputs stay."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from bregman.layers import weight_layers
from dessilbi import compact, shrink
from tests.dessilbi.networks import CONFIGS, build, example, outputs

EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}


def parameters(model: nn.Module) -> int:
    return sum(param.numel() for param in model.parameters())


def chain(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*layers).double()


@torch.no_grad()
def drop(layer: Any, *, rows=(), columns=()) -> None:
    """Weights of these outputs and inputs away, biases not."""
    layer.weight[list(rows)] = 0.0
    layer.weight[:, list(columns)] = 0.0


@torch.no_grad()
def sparsified(name: str) -> Any:
    """As unstructured training leaves it: rows and columns without entries, biases as they were."""
    model = build(name)
    layers = list(weight_layers(model))
    for _, layer, weight in layers:
        weight *= torch.rand_like(weight) < 0.5
        if layer is not layers[-1][1]:
            weight[torch.rand(len(weight)) < 0.4] = 0.0
        if layer is not layers[0][1]:
            weight[:, torch.rand(weight.shape[1]) < 0.3] = 0.0
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_outputs_stay_and_more_goes_than_with_removal_of_zeros(name):
    model, images = sparsified(name), example(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    small: Any = compact(model.train(), example=images)
    assert model.training
    assert small.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    expected = outputs(copy.deepcopy(model), images)
    assert expected.std() > 1e-3
    torch.testing.assert_close(outputs(small, images), expected, **EXACT)
    assert parameters(small) < 0.9 * parameters(shrink(model))


def test_nothing_is_left_to_do_the_second_time():
    small = compact(sparsified("cnn"))
    again = compact(small)
    assert [p.shape for p in again.parameters()] == [p.shape for p in small.parameters()]


def test_a_unit_without_weights_moves_into_the_next_bias():
    model: Any = chain(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2, bias=False))
    drop(model[0], rows=[1, 2])
    with torch.no_grad():
        model[0].bias[1], model[0].bias[2] = 2.0, -1.0
    weight = model[2].weight.detach().clone()
    small: Any = compact(model, example=torch.randn(5, 3).double())
    assert small[0].weight.shape == (2, 3)
    assert torch.equal(small[2].weight, weight[:, [0, 3]])
    assert torch.allclose(small[2].bias, 2 * weight[:, 1])  # the other one is off
    assert model[2].bias is None


def test_units_that_nobody_reads_go_along_the_whole_chain():
    model: Any = chain(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    drop(model[4], columns=[0, 3])
    with torch.no_grad():  # unit 2 of the first layer is read by unit 0 of the second alone
        model[2].weight[1:, 2] = 0.0
    small: Any = compact(model, example=torch.randn(5, 3).double())
    assert small[2].weight.shape == (3, 3)
    assert small[0].weight.shape == (3, 3)


@pytest.mark.parametrize(
    ("options", "goes"),
    [
        ({}, True),
        ({"padding": 1}, False),
        ({"padding": "same"}, False),
        ({"padding": 1, "padding_mode": "circular"}, True),
        ({"padding": 1, "padding_mode": "reflect"}, True),
    ],
)
def test_a_constant_image_stays_where_zeros_are_put_around_it(options, goes):
    model: Any = chain(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3, **options))
    drop(model[0], rows=[0])
    with torch.no_grad():
        model[0].bias[0] = 1.0
    images = torch.randn(2, 2, 8, 8).double()
    assert compact(model, example=images)[0].out_channels == 4 - goes  # type: ignore[index]
    drop(model[2], columns=[0])  # unread it goes in any case
    assert compact(model, example=images)[0].out_channels == 3  # type: ignore[index]


@pytest.mark.parametrize(("padding", "goes"), [(0, True), (1, False)])
def test_a_unit_that_reads_constants_alone_is_one_but_at_borders(padding, goes):
    model: Any = chain(
        *(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3, padding=padding), nn.ReLU()),
        nn.Conv2d(4, 2, 3),
    )
    drop(model[0], rows=[0])
    with torch.no_grad():
        model[0].bias[0], model[2].bias[1] = 1.0, 9.0
        model[2].weight[1, 1:] = 0.0
    small: Any = compact(model, example=torch.randn(2, 2, 9, 9).double())
    assert small[2].out_channels == 4 - goes


@pytest.mark.parametrize(
    ("pooling", "goes"),
    [
        (nn.AvgPool2d(2), True),
        (nn.AvgPool2d(2, padding=1), False),
        (nn.AvgPool2d(2, divisor_override=3), False),
        (nn.AvgPool2d(2, padding=1, count_include_pad=False), True),
        (nn.MaxPool2d(2, padding=1), True),
    ],
)
def test_a_constant_image_stays_where_pooling_does_not_keep_it_one(pooling, goes):
    model: Any = chain(nn.Conv2d(1, 3, 3), pooling, nn.Flatten(), nn.LazyLinear(2))
    images = torch.randn(2, 1, 8, 8).double()
    model(images)
    drop(model[0], rows=[2])
    assert compact(model, example=images)[0].out_channels == 3 - goes  # type: ignore[index]


def test_a_norm_layer_in_between_counts():
    model: Any = chain(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    with torch.no_grad():
        for tensor in (model[1].running_mean, model[1].running_var, model[1].bias):
            tensor.uniform_(0.5, 1.5)
        model[1].weight[3] = 0.0  # constant whatever the convolution says
    drop(model[0], rows=[0])
    small: Any = compact(model, example=torch.randn(3, 1, 9, 9).double())
    assert small[1].num_features == small[0].out_channels == 2


class Twice(nn.Module):
    """Reads one unit that is constant and one that is not with the same layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 3), nn.Linear(2, 3)
        self.reader = nn.Linear(3, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.reader(self.first(inputs)) + self.reader(self.second(inputs))


def test_layers_that_serve_twice_are_left_alone():
    model: Any = Twice().double()
    drop(model.first, rows=[0])
    small: Any = compact(model, example=torch.randn(4, 2).double())
    assert parameters(small) == parameters(model)


def test_weights_that_two_layers_share_are_not_changed_for_one_of_them():
    tied: Any = chain(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    tied[4].weight = tied[2].weight
    drop(
        tied[2], columns=[1]
    )  # unit 1 below either is unread; its row in the one is an output's there
    small: Any = compact(tied, example=torch.randn(4, 3).double())
    assert small[0].weight.shape == (2, 3)
    assert small[4].weight.shape == (3, 2)  # removal has parted the two, and then it is free


def test_a_layer_keeps_one_unit():
    model: Any = chain(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    drop(model[2], columns=range(4))
    small: Any = compact(model, example=torch.randn(4, 3).double())
    assert small[0].weight.shape == (1, 3)


def test_memory_order_does_not_matter():
    model = sparsified("cnn").to(memory_format=torch.channels_last)
    small = compact(model, example=example("cnn"))
    plain = compact(sparsified("cnn"))
    assert [p.shape for p in small.parameters()] == [p.shape for p in plain.parameters()]


def test_calls_are_followed_like_modules():
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(16, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen = nn.functional.leaky_relu(self.conv(images), 0.3)
            seen = nn.functional.max_pool2d(seen, 3).relu()
            return self.linear(nn.functional.dropout(seen, training=False).flatten(1))

    model: Any = Functional().double()
    drop(model.conv, rows=[1, 3])
    small: Any = compact(model, example=torch.randn(2, 1, 8, 8).double())
    assert small.conv.out_channels == 2
    assert small.linear.in_features == 8


def test_constants_of_layers_without_bias_have_the_precision_of_the_network():
    model = nn.Sequential(
        nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2)
    ).double()
    with torch.no_grad():
        model.get_parameter("0.weight")[1].zero_()
    inputs = torch.randn(5, 3, dtype=torch.float64)
    before = model(inputs)
    small = compact(model)
    assert small.get_parameter("0.weight").shape == (3, 3)
    torch.testing.assert_close(small(inputs), before)
