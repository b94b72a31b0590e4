"""Which filters are kept where not everything without support can go: chains, branches, sums."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dessilbi import mask_filters, shrink
from dessilbi.branches import bypass_layer
from dessilbi.selection import EmptySelectionError, choose_filters, in_chain, strongest_filter
from tests.dessilbi.cases import build

EXAMPLE = torch.randn(2, 2, 6, 6, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """Two convolutions beside an identity, and a convolution before and behind."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x).relu()
        return self.last(h + self.second(self.first(h).relu()))


def selected(model: nn.Module, counts: dict[str, int]):
    """An optimiser whose Gamma holds the first so many filters of each layer, by descending norm."""
    optimizer = build(model, {})
    model(EXAMPLE).square().mean().backward()
    optimizer.step()
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            dual = optimizer.state[module.weight]["dual"].zero_()
            for number in range(counts[name]):
                dual[number] = 9.0 - number
    return optimizer


def test_a_branch_without_support_goes_and_a_chain_keeps_its_strongest_filter():
    model = Block()
    optimizer = selected(model, {"stem": 2, "first": 0, "second": 0, "last": 2})
    assert [in_chain(model, name) for name in ("stem", "first", "second", "last")] == [
        True,
        False,
        False,
        True,
    ]
    choice = choose_filters(model, optimizer, layers=True, example=EXAMPLE)
    assert not choice.keep["second.weight"].any()
    assert choice.bypassed == []
    # Filters alone: each layer without support keeps the one with the largest norm of V.
    optimizer.state[model.first.weight]["dual"][2] = (
        0.01  # below lam: not selected, and still the strongest
    )
    assert strongest_filter(model, optimizer, "first").tolist() == [False, False, True]
    choice = choose_filters(model, optimizer, example=EXAMPLE)
    assert choice.keep["first.weight"].tolist() == [False, False, True]
    mask_filters(model, choice.keep, example=EXAMPLE)
    before = model(EXAMPLE)
    small = shrink(model, example=EXAMPLE)
    torch.testing.assert_close(small(EXAMPLE), before)
    assert small.get_submodule("first").get_parameter("weight").shape[0] == 1


def test_an_empty_layer_of_a_chain_is_bypassed_where_its_shape_allows():
    chain = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 3, 3)
    )
    optimizer = selected(chain, {"0": 2, "1": 0, "2": 1})
    choice = choose_filters(chain, optimizer, layers=True, example=EXAMPLE)
    assert choice.bypassed == ["1"]
    assert "1.weight" not in choice.keep
    bypass_layer(chain, "1", example=EXAMPLE)
    wide = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 5, 3), nn.Conv2d(5, 3, 3))
    optimizer = selected(wide, {"0": 2, "1": 0, "2": 1})
    choice = choose_filters(wide, optimizer, layers=True, example=EXAMPLE)
    assert choice.bypassed == []
    assert int(choice.keep["1.weight"].sum()) == 1


def test_nothing_selected_is_refused():
    model = Block()
    optimizer = selected(model, dict.fromkeys(("stem", "first", "second", "last"), 0))
    with pytest.raises(EmptySelectionError, match="Gamma is empty"):
        choose_filters(model, optimizer, example=EXAMPLE)
