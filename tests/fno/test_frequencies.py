"""Groups of frequencies: what is one, what LinBreg does to it, how modes are counted."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bregman import DEFAULT_RULES, LinBreg, match_table, penalize
from fno import CircularConv2d, FourierClassifier, SpectralConv2d, frequency_rule, to_spatial
from fno.frequencies import (
    FREQUENCY_GROUP,
    active_frequencies,
    frequency_numbers,
    keep_low_frequencies,
    mode_count,
)
from tests.fno.cases import convolve, error, normal


def train(layer: nn.Module, optimizer: LinBreg, target: nn.Module, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        images = torch.randn(4, 2, 9, 9)
        loss = (layer(images) - target(images).detach()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("foreach", [False, None])
def test_linbreg_finds_the_modes_and_leaves_the_others_at_zero(foreach):
    target = SpectralConv2d(2, 3, 9, bias=False)
    keep_low_frequencies(target, 1)
    layer = SpectralConv2d(2, 3, 9, bias=False)
    keep_low_frequencies(layer, 0)
    groups = penalize(layer, [frequency_rule()], lam=0.01)
    assert str(FREQUENCY_GROUP) in match_table(groups)
    losses = train(layer, LinBreg(groups, lr=5.0, foreach=foreach), target, 150)
    assert losses[-1] < 0.05 * losses[0]
    assert torch.equal(active_frequencies(layer), active_frequencies(target))
    assert mode_count(layer) == 9
    dead = layer.weight[:, :, ~active_frequencies(layer)]
    assert dead.numel() > 0
    assert not dead.any()
    # A group is in or out as a whole, over all channel pairs.
    assert layer.weight.detach()[:, :, active_frequencies(layer)].any(-1).all()


@pytest.mark.parametrize("modes", [5, 6])
@pytest.mark.parametrize("balanced", [True, False])
def test_training_commutes_with_transposing_if_gradients_are_balanced(modes, balanced):
    """Otherwise which frequencies join depends on which axis of an image is the last one."""
    layer = SpectralConv2d(1, 1, modes, bias=False, balanced=balanced).double()
    turned = copy.deepcopy(layer)
    kernel, images = normal(1, 1, 9, 9), normal(16, 1, 9, 9)
    kernels = []
    for twin, turn in ((layer, False), (turned, True)):
        keep_low_frequencies(twin, 0)
        optimizer = LinBreg(penalize(twin, [frequency_rule()], lam=1.0), lr=0.5)
        counts = []
        for _ in range(40):
            wanted = convolve(kernel, images)
            inputs = images.mT if turn else images
            loss = (twin(inputs) - (wanted.mT if turn else wanted)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            counts.append(mode_count(twin))
        assert 1 < counts[9] < counts[-1]  # frequencies join one after the other
        found = to_spatial(twin, 9)
        assert isinstance(found, CircularConv2d)
        kernels.append(found.weight.mT if turn else found.weight)
    assert (error(*kernels) < 1e-10) == balanced


def test_balanced_layers_have_the_same_values_and_read_the_same_files():
    plain = SpectralConv2d(2, 3, 6)
    balanced = SpectralConv2d(2, 3, 6, balanced=True)
    balanced.load_state_dict(plain.state_dict())
    images = torch.randn(2, 2, 8, 7)
    assert torch.equal(balanced(images), plain(images))
    with pytest.raises(ValueError, match="balanced=True needs modes"):
        FourierClassifier(kernel_size=5, balanced=True)


def test_single_coefficients_are_another_group():
    layer = SpectralConv2d(2, 3, 5)
    (group, _) = penalize(layer, [frequency_rule(single=True, scale=2.0)], lam=0.1)
    assert group["group"] == "complex"
    assert group["lam"] == 0.2


def test_every_parameter_of_a_classifier_is_covered():
    network = FourierClassifier(modes=5, bias=True, pointwise=True)
    groups = penalize(network, [frequency_rule(), *DEFAULT_RULES], lam=0.1)
    penalties = {name: group["penalty"] for group in groups for name, _ in group["params"]}
    assert penalties["conv1.weight"] == "l12"
    assert penalties["conv1.pointwise.weight"] == "l1"
    assert penalties["conv2.bias"] == "none"


@pytest.mark.parametrize("modes", [(1, 1), (5, 5), (4, 4), (5, 6), (6, 3)])
def test_all_modes_are_counted(modes):
    layer = SpectralConv2d(1, 2, modes)
    assert mode_count(layer) == modes[0] * modes[1]
    rows, columns = frequency_numbers(layer)
    expected = (torch.fft.fftfreq(modes[0]) * modes[0]).round().long()
    assert torch.equal(rows, expected)
    assert columns.tolist() == list(range(modes[1] // 2 + 1))


def test_low_frequencies_are_kept_and_counted():
    network = nn.Sequential(SpectralConv2d(1, 2, 9), SpectralConv2d(2, 2, (6, 8)))
    keep_low_frequencies(network, 2)
    first, second = network
    assert isinstance(first, SpectralConv2d)
    assert isinstance(second, SpectralConv2d)
    assert mode_count(first) == 25
    assert mode_count(second) == 25
    assert active_frequencies(first).sum() == 15
    keep_low_frequencies(network, 0)
    assert mode_count(first) == 1
    with pytest.raises(ValueError, match="Invalid radius: -1"):
        keep_low_frequencies(network, -1)


def test_a_frequency_and_its_opposite_are_active_together():
    layer = SpectralConv2d(1, 1, 5, bias=False).double()
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 1, 0] = 1.0
    assert active_frequencies(layer).nonzero().tolist() == [[1, 0], [4, 0]]
    assert mode_count(layer) == 2
    spectrum = torch.fft.fft2(layer(normal(1, 1, 7, 7))[0, 0].detach())
    assert (spectrum.abs() > 1e-9).nonzero().tolist() == [[1, 0], [6, 0]]
