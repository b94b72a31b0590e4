"""Masks by magnitude and by support, and their application."""

# Layers of a Sequential are typed as Tensor | Module.
# pyright: reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false, reportIndexIssue=false
from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from bregman import (
    LinBreg,
    apply_masks,
    he_normal,
    initialize_biases,
    magnitude_masks,
    nonzero_masks,
    penalize,
    sparsify,
)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(30, 20))


def total(masks: dict[str, torch.Tensor]) -> int:
    return int(sum(mask.sum() for mask in masks.values()))


def test_names_and_shapes():
    model = network()
    for masks in (magnitude_masks(model, density=0.5), nonzero_masks(model)):
        assert {name: mask.shape for name, mask in masks.items()} == {
            "0.weight": (8, 3, 3, 3),
            "3.weight": (20, 30),
        }
        assert all(mask.dtype is torch.bool for mask in masks.values())


@pytest.mark.parametrize("density", [0.001, 0.1, 0.37, 1.0])
def test_global_density_keeps_the_largest_entries(density):
    model = network()
    masks = magnitude_masks(model, density=density)
    weights = {"0.weight": model[0].weight, "3.weight": model[3].weight}
    assert total(masks) == max(1, round(density * 816))
    kept = torch.cat([weights[name][mask].abs() for name, mask in masks.items()])
    if density < 1:
        dropped = torch.cat([weights[name][~mask].abs() for name, mask in masks.items()])
        assert kept.min() >= dropped.max()


def test_layer_scope_counts_in_each_layer():
    model = network()
    masks = magnitude_masks(model, density=0.25, scope="layer")
    assert masks["0.weight"].sum() == 54
    assert masks["3.weight"].sum() == 150


@pytest.mark.parametrize(
    ("by", "dims", "linear_dims", "counts"),
    [
        ("kernel", (2, 3), (), (24, 600)),
        ("filter", (1, 2, 3), (1,), (8, 20)),
        ("row", (1, 2, 3), (1,), (8, 20)),
    ],
)
def test_groups_are_kept_whole_and_ranked_by_root_mean_square(by, dims, linear_dims, counts):
    model = network()
    masks = magnitude_masks(model, density=0.5, by=by)
    conv, linear = model[0].weight.detach(), model[3].weight.detach()
    conv_size = conv.square().mean(dim=dims).sqrt().flatten()
    linear_size = (
        linear.square().mean(dim=linear_dims).sqrt().flatten()
        if linear_dims
        else linear.abs().flatten()
    )
    conv_keep = masks["0.weight"].amax(dim=dims).flatten()
    assert torch.equal(conv_keep, masks["0.weight"].amin(dim=dims).flatten())
    linear_mask = masks["3.weight"]
    linear_keep = (
        linear_mask.amax(dim=linear_dims).flatten() if linear_dims else linear_mask.flatten()
    )
    assert conv_keep.sum() + linear_keep.sum() == round(0.5 * sum(counts))
    sizes, keep = torch.cat([conv_size, linear_size]), torch.cat([conv_keep, linear_keep])
    assert sizes[keep].min() >= sizes[~keep].max()


def test_threshold_keeps_what_is_larger():
    model = network()
    masks = magnitude_masks(model, threshold=0.1)
    assert torch.equal(masks["0.weight"], model[0].weight.abs() > 0.1)
    assert torch.equal(masks["3.weight"], model[3].weight.abs() > 0.1)
    assert 0 < total(masks) < 816
    by_row = magnitude_masks(model, threshold=0.105, by="row")["3.weight"]
    assert torch.equal(by_row[:, 0], model[3].weight.square().mean(1).sqrt() > 0.105)


def test_threshold_zero_is_the_support():
    model = network()
    sparsify(model, 0.1)
    support = nonzero_masks(model)
    for name, mask in magnitude_masks(model, threshold=0.0).items():
        assert torch.equal(mask, support[name])


def test_apply_masks_zeroes_in_place_and_only_there():
    model = network()
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    pointers = [param.data_ptr() for param in model.parameters()]
    masks = magnitude_masks(model, density=0.3)
    apply_masks(model, masks)
    for name, param in model.named_parameters():
        expected = torch.where(masks[name], before[name], 0.0) if name in masks else before[name]
        assert torch.equal(param.detach(), expected)
    assert pointers == [param.data_ptr() for param in model.parameters()]
    support = nonzero_masks(model)
    assert all(torch.equal(support[name], masks[name]) for name in masks)


def test_masked_training_needs_a_new_dual():
    """After apply_masks an optimiser would bring the weights back, unless its duals are reset."""
    for reset in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 4))
        optimizer = LinBreg(penalize(model, lam=0.01), lr=0.1)
        for param in model.parameters():
            param.grad = torch.zeros_like(param)
        optimizer.step()
        apply_masks(model, magnitude_masks(model, density=0.5))
        if reset:
            optimizer.reset_dual()
        optimizer.step()
        assert model[0].weight.count_nonzero() == (12 if reset else 24)


def test_shared_weights_have_one_mask():
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    model[1].weight = model[0].weight
    assert list(magnitude_masks(model, density=0.2)) == ["0.weight"]


def test_weights_that_are_computed_are_seen_but_not_written_into():
    """weight_norm and its like compute the weight anew at every call; its id is then another's."""
    model = nn.Sequential(*[parametrizations.weight_norm(nn.Linear(4, 4)) for _ in range(6)])
    model.append(prune.random_unstructured(nn.Linear(4, 4), "weight", 3))
    model.append(nn.utils.spectral_norm(nn.Linear(4, 4)))
    model.append(nn.Linear(4, 4))
    names = [f"{index}.weight" for index in range(9)]
    assert list(nonzero_masks(model)) == names
    masks = magnitude_masks(model, density=0.5)
    assert list(masks) == names
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"'0\.weight' is of a weight that is computed"):
        apply_masks(model, masks)
    for change in (lambda: sparsify(model, 0.5), lambda: he_normal(model)):
        with pytest.raises(ValueError, match=r"'5\.weight', '6\.weight', '7\.weight' are computed"):
            change()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    initialize_biases(model, scheme="zero")  # those are plain
    assert all(layer.bias.count_nonzero() == 0 for layer in model)  # type: ignore[union-attr]
    prune.identity(model[8], "bias")
    with pytest.raises(ValueError, match=r"'8\.bias' are computed"):
        initialize_biases(model)
    apply_masks(model, {"8.weight": masks["8.weight"]})
    assert torch.equal(model[8].weight != 0, masks["8.weight"])


def test_only_layers_of_the_given_types_are_looked_at():
    model = network()
    masks = magnitude_masks(model, density=0.5, modules=nn.Linear)
    linear = {name for name in nonzero_masks(model) if model[int(name[0])].weight.dim() == 2}
    assert set(masks) == linear
    kept, count = (sum(int(f(m)) for m in masks.values()) for f in (torch.sum, torch.numel))
    assert kept == round(0.5 * count)


def test_network_without_weights_has_no_masks():
    assert magnitude_masks(nn.ReLU(), density=0.5) == {}


def test_bad_arguments_are_refused():
    model = network()
    for arguments in ({}, {"density": 0.5, "threshold": 0.1}):
        with pytest.raises(ValueError, match="density or threshold"):
            magnitude_masks(model, **arguments)
    with pytest.raises(ValueError, match="Invalid density: 0"):
        magnitude_masks(model, density=0)
    with pytest.raises(ValueError, match="Invalid threshold: -1"):
        magnitude_masks(model, threshold=-1)
    with pytest.raises(ValueError, match="Invalid by: 'rows'"):
        magnitude_masks(model, density=0.5, by="rows")
    with pytest.raises(ValueError, match="Invalid scope: 'all'"):
        magnitude_masks(model, density=0.5, scope="all")
    before = [param.detach().clone() for param in model.parameters()]
    good = torch.zeros(8, 3, 3, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"mask '9.weight' names no parameter"):
        apply_masks(model, {"0.weight": good, "9.weight": torch.ones(1, dtype=torch.bool)})
    with pytest.raises(
        ValueError, match=r"mask '3.weight' has shape \(2,\), its parameter \(20, 30\)"
    ):
        apply_masks(model, {"0.weight": good, "3.weight": torch.ones(2, dtype=torch.bool)})
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("by", ["entry", "kernel", "filter", "row"])
def test_nan_is_no_large_magnitude(by, scope):
    """Neither a density nor a threshold keeps it while something else is left; infinity is large."""
    model = network()
    with torch.no_grad():
        model[0].weight[1, 1, 1, 1] = torch.nan
        model[0].weight[2, 0, 0, 0] = torch.inf
        model[3].weight[4, 5] = -torch.nan
    for settings in ({"density": 0.5}, {"threshold": 0.0}):
        masks = magnitude_masks(model, by=by, scope=scope, **settings)
        assert not masks["0.weight"][1, 1, 1, 1]
        assert not masks["3.weight"][4, 5]
        assert masks["0.weight"][2, 0, 0, 0]
    everything = magnitude_masks(model, density=1.0, by=by, scope=scope)
    assert total(everything) == 816


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_layers_without_entries_have_none_to_keep(scope):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 0))
    masks = magnitude_masks(model, density=0.5, scope=scope)
    assert masks["0.weight"].sum() == 6
    assert masks["1.weight"].shape == (0, 4)
