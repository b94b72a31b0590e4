"""Densities against counts made by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bregbench.measures import active_units, density, l1_norm, layer_density
from bregbench.models import Cnn, Resnet18


@pytest.fixture
def network() -> nn.Sequential:
    """A convolution with 3 of 6 kernels and 4 of 24 entries, a linear layer with 3 of 8 entries."""
    conv = nn.Conv2d(2, 3, 2)
    linear = nn.Linear(4, 2)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0, 0, 0] = 1.0
        conv.weight[0, 0, 1, 1] = -2.0
        conv.weight[0, 1, 0, 1] = 1e-30
        conv.weight[2, 1, 1, 0] = 3.0
        conv.get_parameter("bias").copy_(torch.tensor([1.0, 0.0, 1.0]))
        linear.weight.copy_(torch.tensor([[0.5, 0.0, -0.25, 4.0], [0.0, 0.0, 0.0, 0.0]]))
        linear.bias.zero_()
    return nn.Sequential(conv, nn.Flatten(), linear)


def test_density_counts_by_hand(network: nn.Sequential) -> None:
    assert density(network) == {
        "density/total": 7 / 32,
        "density/linear": 3 / 8,
        "density/conv_kernels": 3 / 6,
        "density/parameters": 9 / 37,
    }


def test_layer_density_and_active_units_by_hand(network: nn.Sequential) -> None:
    assert layer_density(network) == {"0": 4 / 24, "2": 3 / 8}
    assert active_units(network) == {"active_units/0": 2 / 3, "active_units/2": 1 / 2}


def test_l1_norm_by_hand(network: nn.Sequential) -> None:
    assert l1_norm(network) == pytest.approx(6.0 + 4.75)


def test_a_tiny_value_is_not_zero_and_a_negative_zero_is() -> None:
    linear = nn.Linear(2, 1, bias=False)
    linear.weight = nn.Parameter(torch.tensor([[-0.0, 1e-44]]))
    assert density(nn.Sequential(linear))["density/total"] == 1 / 2


def test_keys_are_absent_where_there_is_nothing_to_count() -> None:
    assert density(nn.ReLU()) == {}
    assert layer_density(nn.ReLU()) == active_units(nn.ReLU()) == {}
    assert l1_norm(nn.ReLU()) == 0
    assert density(nn.BatchNorm2d(2)) == {"density/parameters": 1 / 2}
    assert set(density(nn.Linear(1, 1))) == {
        *("density/total", "density/linear", "density/parameters")
    }
    assert set(density(nn.Conv1d(1, 1, 1))) == {
        *("density/total", "density/conv_kernels", "density/parameters")
    }


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_layer_without_entries_does_not_divide_by_zero() -> None:
    network = nn.Sequential(nn.Linear(0, 3, bias=False))
    assert density(network) == layer_density(network) == active_units(network) == {}


def test_shared_weights_count_once() -> None:
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    second.weight = first.weight
    other = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        first.weight.fill_(1)
        other.weight.zero_()
    network = nn.Sequential(first, second, other, first)
    assert density(network)["density/total"] == 4 / 8
    assert l1_norm(network) == 4
    assert set(layer_density(network)) == {"0", "2"}


def test_parametrised_weights_are_counted_as_they_act() -> None:
    class KeepFirst(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            mask = torch.zeros_like(weight)
            mask[0] = 1
            return weight * mask

    layers = [nn.Linear(3, 2, bias=False) for _ in range(4)]
    for layer in layers:
        nn.utils.parametrize.register_parametrization(layer, "weight", KeepFirst())
    measured = layer_density(nn.Sequential(*layers))
    assert measured == {str(index): 1 / 2 for index in range(4)}


def test_complex_entries_count_as_one() -> None:
    linear = nn.Linear(2, 2, bias=False, dtype=torch.complex64)
    linear.weight = nn.Parameter(torch.tensor([[3 + 4j, 0], [0, 1j]]))
    assert density(linear)["density/total"] == 1 / 2
    assert l1_norm(linear) == pytest.approx(6.0)
    assert active_units(linear) == {"active_units/": 1.0}


def test_filters_of_grouped_and_transposed_convolutions() -> None:
    grouped = nn.Conv2d(4, 6, 3, groups=2, bias=False)
    transposed = nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False)
    assert grouped.weight.shape == (6, 2, 3, 3)
    assert transposed.weight.shape == (4, 3, 3, 3)
    with torch.no_grad():
        grouped.weight.zero_()[5, 1, 0, 0] = 1
        # Input 3 belongs to the second group; its second output is channel 3 + 1 of 6.
        transposed.weight.zero_()[3, 1, 0, 0] = 1
    for layer in (grouped, transposed):
        assert density(layer)["density/conv_kernels"] == 1 / 12
        assert active_units(layer) == {"active_units/": 1 / 6}
    image = torch.ones(1, 4, 2, 2)
    responding = transposed(image).flatten(2).any(dim=2)
    assert responding.tolist() == [[False, False, False, False, True, False]]


@pytest.mark.parametrize(("groups", "channel"), [(1, 1), (2, 3)])
def test_transposed_units_are_output_channels(groups: int, channel: int) -> None:
    layer = nn.ConvTranspose1d(4, 2 * groups, 2, groups=groups, bias=False)
    with torch.no_grad():
        layer.weight.zero_()[3, 1] = 1
    output = layer(torch.ones(1, 4, 3))
    assert output.any(dim=2).nonzero()[:, 1].tolist() == [channel]
    assert active_units(layer) == {"active_units/": 1 / (2 * groups)}


def test_kernels_of_the_residual_network_include_the_shortcuts() -> None:
    network = Resnet18(width=4).build(input_shape=(3, 8, 8), classes=10)
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    total = sum(m.out_channels * m.in_channels for m in convs)
    with torch.no_grad():
        for conv in convs:
            conv.weight.zero_()
        next(m for m in convs if m.kernel_size == (1, 1)).weight[0, 0] = 1
    assert density(network)["density/conv_kernels"] == 1 / total


def test_a_dense_network_has_density_one_whatever_its_layout() -> None:
    network = Cnn().build(input_shape=(1, 28, 28), classes=10).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1)
    measured = density(network)
    assert measured == dict.fromkeys(measured, 1.0)
    assert len(measured) == 4


def test_names_do_not_depend_on_compilation() -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    compiled = torch.compile(network, backend="eager")
    assert layer_density(compiled) == layer_density(network)  # type: ignore[arg-type]


def test_measuring_needs_no_gradients_and_keeps_them() -> None:
    linear = nn.Linear(2, 2)
    linear.weight.grad = torch.ones(2, 2)
    density(linear)
    assert torch.equal(linear.weight.grad, torch.ones(2, 2))
    assert linear.weight.requires_grad
