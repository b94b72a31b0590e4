"""Units that can never enter, against the gradients that they really get."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bregbench.measures import dead_units, note_on_unreachable, unreachable_units
from bregbench.measures.units import _empty_units
from bregbench.models import Cnn, Resnet18
from bregman import he_normal, initialize_biases, initialize_shifts, sparsify


def gradients(model: nn.Module, shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Largest gradient of each unit's weights over a few random batches, by layer."""
    model.train()
    found: dict[str, torch.Tensor] = {}
    for seed in range(3):
        model.zero_grad()
        inputs = torch.rand(4, *shape, generator=torch.Generator().manual_seed(seed))
        labels = torch.arange(4) % 10
        nn.functional.cross_entropy(model(inputs), labels).backward()
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                assert layer.weight.grad is not None
                largest = layer.weight.grad.flatten(1).abs().amax(1)
                found[name] = torch.maximum(found.get(name, torch.zeros(len(largest))), largest)
    return found


def test_dead_and_unreachable_units_by_hand() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight[:3] = 0  # pyright: ignore
        model[0].bias.copy_(torch.tensor([0.5, 0.0, -1.0, -1.0]))  # pyright: ignore
        model[2].weight[0] = 0  # pyright: ignore[reportIndexIssue]
    assert dead_units(model) == {"units/dead": 4 / 6, "units/unreachable": 2 / 6}
    assert unreachable_units(model) == {"0": 2}


def test_nothing_to_count_and_nothing_dead() -> None:
    assert dead_units(nn.ReLU()) == {}
    assert dead_units(nn.Linear(2, 2)) == {"units/dead": 0, "units/unreachable": 0}
    assert note_on_unreachable(nn.Linear(2, 2)) is None


@pytest.mark.parametrize("shifts", [0.0, 0.1])
def test_unreachable_filters_of_a_residual_network_get_no_gradient(shifts: float) -> None:
    generator = torch.Generator().manual_seed(0)
    model = Resnet18(width=4).build(input_shape=(3, 8, 8), classes=10)
    he_normal(model, generator=generator)
    sparsify(model, 0.02, generator=generator)
    initialize_shifts(model, scale=shifts, generator=generator)
    found = unreachable_units(model)
    assert found is not None
    if shifts:
        assert found == {}
        return
    assert sum(found.values()) > 5
    empty, largest = _empty_units(model), gradients(model, (3, 8, 8))
    for name, count in found.items():
        assert count == int(empty[name].sum())
        assert not largest[name][empty[name]].any()
    note = note_on_unreachable(model)
    assert note is not None
    assert f"{sum(found.values())} of " in note
    assert "method.start.balanced=true" in note


@pytest.mark.parametrize("biases", ["positive", "zero"])
def test_pooling_before_the_activation_is_looked_through(biases: str) -> None:
    model = Cnn(channels=[6, 6], kernel_size=3).build(input_shape=(1, 12, 12), classes=10)
    generator = torch.Generator().manual_seed(1)
    he_normal(model, generator=generator)
    sparsify(model, 0.5, by="filter", generator=generator)
    initialize_biases(model, scheme=biases, generator=generator)
    found = unreachable_units(model)
    expected = {"conv1": 3, "conv2": 3, "linear1": 64} if biases == "zero" else {}
    assert found == expected
    largest = gradients(model, (1, 12, 12))
    for name, count in expected.items():
        assert int((largest[name] == 0).sum()) >= count


def test_a_network_that_cannot_be_traced_has_no_share_of_unreachable_units() -> None:
    class Strange(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            outputs = self.linear(inputs)
            return outputs if bool(outputs.sum() > 0) else -outputs

    model = Strange()
    nn.init.zeros_(model.linear.weight)
    assert dead_units(model) == {"units/dead": 1.0}
    assert unreachable_units(model) is None
