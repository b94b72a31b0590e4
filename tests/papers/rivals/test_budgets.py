"""Budgets of layers: printed densities, exact counts, dense layers."""

from __future__ import annotations

import math

import pytest
import torch

from bregbench.papers.rivals.budgets import layer_counts, layer_densities, random_masks

LENET = {"l1": (300, 784), "l2": (100, 300), "l3": (10, 100)}


def resnet20() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"stem": (16, 3, 3, 3)}
    width = 16
    for stage, outputs in enumerate((16, 32, 64)):
        for block in range(3):
            found[f"s{stage}b{block}c1"] = (outputs, width, 3, 3)
            found[f"s{stage}b{block}c2"] = (outputs, outputs, 3, 3)
            width = outputs
    return found | {"fc": (10, 64)}


@pytest.mark.parametrize(
    ("sparsity", "expected"),
    [
        (0.8, (0.162241, 0.469362, 1)),
        (0.9, (0.079568, 0.230189, 1)),
        (0.95, (0.038484, 0.111334, 0.918507)),
        (0.98, (0.015394, 0.044534, 0.367403)),
        (0.99, (0.007697, 0.022267, 0.183701)),
    ],
)
def test_erk_of_lenet(sparsity, expected):
    found = layer_densities(LENET, 1 - sparsity)
    assert list(found.values()) == pytest.approx(expected, abs=6e-7)


@pytest.mark.parametrize(
    ("sparsity", "expected"),
    [
        (0.8, (1, 0.617846, 0.438996, 0.284534, 0.207304, 0.13617, 1)),
        (0.9, (1, 0.302626, 0.215024, 0.139367, 0.101539, 0.066697, 1)),
        (0.95, (0.517423, 0.147466, 0.104778, 0.067912, 0.049479, 0.032501, 1)),
        (0.98, (0.206636, 0.058891, 0.041844, 0.027121, 0.01976, 0.012979, 0.412859)),
        (0.99, (0.103318, 0.029446, 0.020922, 0.01356, 0.00988, 0.00649, 0.206429)),
    ],
)
def test_erk_of_resnet20(sparsity, expected):
    found = layer_densities(resnet20(), 1 - sparsity)
    names = ("stem", "s0b0c1", "s1b0c1", "s1b0c2", "s2b0c1", "s2b0c2", "fc")
    assert [found[name] for name in names] == pytest.approx(expected, abs=6e-7)


def test_er_looks_at_channels_alone_and_equals_erk_without_kernels():
    assert layer_densities(LENET, 0.1, rule="er") == layer_densities(LENET, 0.1)
    found = layer_densities({"a": (8, 4, 3, 3), "b": (8, 8, 3, 3)}, 0.1, rule="er")
    assert found["a"] / found["b"] == pytest.approx((12 / 32) / (16 / 64))


@pytest.mark.parametrize("rule", ["uniform", "er", "erk"])
@pytest.mark.parametrize("density", [0.5, 0.1, 0.05, 0.013, 1.0])
@pytest.mark.parametrize("dense", [(), ("stem",), ("stem", "fc")])
def test_counts_add_up_to_the_unit(rule, density, dense):
    shapes = resnet20()
    counts = layer_counts(shapes, density, rule=rule, dense=dense)
    total = sum(math.prod(shape) for shape in shapes.values())
    assert sum(counts.values()) == round(density * total)
    for name, shape in shapes.items():
        assert 1 <= counts[name] <= math.prod(shape)
    for name in dense:
        assert counts[name] == math.prod(shapes[name])
    wanted = layer_densities(shapes, density, rule=rule, dense=dense)
    off = {n for n in shapes if abs(counts[n] - wanted[n] * math.prod(shapes[n])) > 1}
    assert len(off) <= 1  # the layer that takes the remainder
    masks = random_masks(shapes, counts, torch.Generator().manual_seed(0))
    assert {name: int(mask.sum()) for name, mask in masks.items()} == counts


def test_masks_are_random_and_repeatable():
    counts = layer_counts(LENET, 0.1)
    first, same, other = (
        random_masks(LENET, counts, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], same[name]) for name in LENET)
    assert not torch.equal(first["l1"], other["l1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"density": 0.0}, "Invalid density: 0.0"),
        ({"density": 0.1, "rule": "mean"}, "Invalid rule: 'mean'"),
        ({"density": 0.1, "dense": ["l4"]}, "Invalid dense layer: 'l4'"),
        ({"density": 0.1, "dense": ["l2"]}, "must be above 0.1127"),
    ],
)
def test_impossible_budgets_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        layer_densities(LENET, **arguments)
