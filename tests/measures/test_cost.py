"""Operation counts against torch's counter and against arithmetic."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bregbench.measures import count_macs, count_parameters, peak_memory_bytes
from bregbench.models import Cnn, Lenet5, Mlp, ModelConfig, Resnet18


def with_ones(network: nn.Module) -> nn.Module:
    """Without the exact zeros that a random initialisation draws now and then."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1)
    return network


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (Mlp(), (1, 28, 28)),
        (Cnn(), (1, 28, 28)),
        (Lenet5(), (1, 28, 28)),
        (Resnet18(), (3, 32, 32)),
    ],
)
def test_counts_agree_with_the_flop_counter(
    config: ModelConfig, shape: tuple[int, int, int]
) -> None:
    network = with_ones(config.build(input_shape=shape, classes=10).eval())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *shape))
    macs = count_macs(network, shape)
    assert 2 * macs.dense == counter.get_total_flops()
    assert macs.effective == macs.dense == sum(macs.layers.values())


def test_grouped_strided_and_transposed_convolutions_agree_with_the_flop_counter() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        nn.ConvTranspose2d(6, 8, 2, stride=2, groups=2),
        nn.Conv2d(8, 2, 3, dilation=2),
    ).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 4, 9, 9))
    assert 2 * count_macs(network, (4, 9, 9)).dense == counter.get_total_flops()


def test_effective_count_weighs_each_layer_by_its_density() -> None:
    network = with_ones(Cnn().build(input_shape=(1, 28, 28), classes=10))
    with torch.no_grad():
        network.get_parameter("conv2.weight")[: 64 // 4] = 0
        network.get_parameter("linear1.weight").zero_()
    macs = count_macs(network, (1, 28, 28))
    assert macs.layers == {
        "conv1": 24 * 24 * 64 * 25,
        "conv2": 8 * 8 * 64 * 64 * 25,
        "linear1": 1024 * 128,
        "linear2": 1280,
    }
    expected = macs.layers["conv1"] + 0.75 * macs.layers["conv2"] + macs.layers["linear2"]
    assert macs.effective == pytest.approx(expected, rel=1e-12)


def test_a_layer_called_twice_counts_twice() -> None:
    linear = nn.Linear(3, 3)
    network = nn.Sequential(linear, nn.ReLU(), linear)
    assert count_macs(network, (3,)).dense == 18


def test_the_network_is_left_as_it_was() -> None:
    network = Resnet18(width=2).build(input_shape=(3, 8, 8), classes=10).train()
    network.stage1.eval()
    modes = {name: module.training for name, module in network.named_modules()}
    before = {name: value.clone() for name, value in network.state_dict().items()}
    count_macs(network, (3, 8, 8))
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(not module._forward_hooks for module in network.modules())


def test_modes_and_hooks_are_restored_after_a_failure() -> None:
    network = nn.Sequential(nn.Linear(3, 3)).train()
    with pytest.raises(RuntimeError):
        count_macs(network, (4,))
    assert network.training
    assert not network[0]._forward_hooks


def test_networks_without_layers_cost_nothing() -> None:
    macs = count_macs(nn.ReLU(), (3,))
    assert (macs.dense, macs.effective, macs.layers) == (0, 0.0, {})


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_precision_of_the_network_is_used(dtype: torch.dtype) -> None:
    assert count_macs(nn.Linear(3, 2).to(dtype), (3,)).dense == 6


def test_compiled_networks_are_counted_without_compiling() -> None:
    def fail(*_: object) -> None:
        raise AssertionError("compiled")

    network = nn.Sequential(nn.Linear(3, 2))
    compiled = torch.compile(network, backend=fail)
    assert count_macs(compiled, (3,)).dense == 6  # type: ignore[arg-type]
    network.compile(backend=fail)
    assert count_macs(network, (3,)).dense == 6


def test_parameters_are_counted_once_and_complex_ones_as_two() -> None:
    linear = nn.Linear(3, 2)
    assert count_parameters(nn.Sequential(linear, linear)) == 8
    assert count_parameters(nn.Linear(3, 2, bias=False, dtype=torch.complex64)) == 12


def test_peak_memory_is_in_bytes() -> None:
    peak = peak_memory_bytes(torch.device("cpu"))
    if sys.platform == "win32":
        assert peak is None
        return
    assert peak is not None
    # An interpreter with torch takes more than 50 MB and, in these tests, less than 100 GB.
    assert 50e6 < peak < 100e9


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peak_memory_on_cuda_follows_the_tensors() -> None:
    device = torch.device("cuda")
    torch.cuda.reset_peak_memory_stats(device)
    block = torch.empty(10_000_000, dtype=torch.uint8, device=device)
    peak = peak_memory_bytes(device)
    assert peak is not None
    assert peak >= block.numel()
