"""Sparse starts: counts, variances, biases, reproducibility (section 4.1 of the paper)."""

# Layers of a Sequential are typed as Tensor | Module.
# pyright: reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bregman import he_normal, initialize_biases, initialize_shifts, sparsify


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(50, 40), nn.Linear(40, 10)
    )


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def active_groups(weight: torch.Tensor, dims: tuple[int, ...]) -> int:
    return int((weight != 0).any(dim=dims).sum() if len(dims) else (weight != 0).sum())


COUNTS = [
    ("entry", (), 16 * 8 * 9, (), 2000),
    ("kernel", (2, 3), 16 * 8, (), 2000),
    ("filter", (1, 2, 3), 16, (1,), 40),
    ("row", (1, 2, 3), 16, (1,), 40),
]


@pytest.mark.parametrize(("by", "conv_dims", "conv_count", "linear_dims", "linear_count"), COUNTS)
@pytest.mark.parametrize("density", [0.01, 0.13, 0.5, 1.0])
def test_exact_counts(by, conv_dims, conv_count, linear_dims, linear_count, density):
    """Exactly round(density * count) groups, at least one, each of them whole."""
    model = network()
    sparsify(model, density, by=by, generator=generator())
    conv, linear = model[0].weight.detach(), model[3].weight.detach()
    expected = max(1, round(density * conv_count))
    assert active_groups(conv, conv_dims) == expected
    assert conv.count_nonzero() == expected * conv.numel() // conv_count
    expected = max(1, round(density * linear_count))
    assert active_groups(linear, linear_dims) == expected
    assert linear.count_nonzero() == expected * linear.numel() // linear_count


def test_transposed_convolutions_count_output_channels():
    layer = nn.ConvTranspose2d(6, 4, 3)
    sparsify(layer, 0.5, by="filter")
    assert (layer.weight != 0).any(dim=(0, 2, 3)).sum() == 2
    assert (layer.weight != 0).all(dim=(0, 2, 3)).sum() == 2


def test_bernoulli_masks_have_the_density_on_average():
    counts = []
    for seed in range(40):
        model = network()
        sparsify(model, 0.2, exact=False, generator=generator(seed))
        counts.append(model[3].weight.count_nonzero().item())
    assert len(set(counts)) > 5
    spread = math.sqrt(2000 * 0.2 * 0.8)
    assert abs(sum(counts) / 40 - 400) < 4 * spread / math.sqrt(40)


@pytest.mark.parametrize(
    ("rescale", "factor"), [(True, 5.0), (False, 1.0), (4.77, 4.77), (10, 10.0)]
)
def test_survivors_are_multiplied_by_the_factor(rescale, factor):
    model = network()
    before = model[3].weight.detach().clone()
    sparsify(model, 0.04, rescale=rescale, generator=generator())
    after = model[3].weight.detach()
    kept = after != 0
    torch.testing.assert_close(after[kept], factor * before[kept])


def test_rescaling_keeps_the_variance():
    """Eq. 4.3: E[W^2] of the masked, rescaled weights is that of the dense ones."""
    layer = nn.Linear(1000, 500)
    he_normal(layer, generator=generator())
    torch.testing.assert_close(layer.weight.square().mean().item(), 2 / 1000, rtol=0.02, atol=0)
    assert abs(layer.weight.mean()) < 3e-4
    sparsify(layer, 0.05, generator=generator())
    torch.testing.assert_close(layer.weight.square().mean().item(), 2 / 1000, rtol=0.05, atol=0)


def test_he_normal_uses_fan_in_of_convolutions():
    layer = nn.Conv2d(16, 256, 3)
    he_normal(layer, generator=generator())
    torch.testing.assert_close(layer.weight.var().item(), 2 / (16 * 9), rtol=0.03, atol=0)


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "stride", "groups"),
    [(64, 8, 3, 1, 1), (8, 64, 3, 1, 1), (32, 32, 3, 2, 1), (32, 16, (4, 2), (2, 1), 4)],
)
def test_he_normal_doubles_the_mean_square_behind_transposed_convolutions(
    inputs, outputs, kernel, stride, groups
):
    layer = nn.ConvTranspose2d(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
    he_normal(layer, generator=generator())
    images = torch.randn(16, inputs, 24, 24, generator=generator())
    with torch.no_grad():
        inside = layer(images)[:, :, 6:-6, 6:-6]  # at the border fewer products add up
    torch.testing.assert_close(inside.square().mean().item(), 2.0, rtol=0.15, atol=0)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_layers_without_inputs_are_left_empty():
    for layer in (nn.Linear(0, 3), nn.Conv2d(4, 0, 3), nn.ConvTranspose2d(0, 2, 3)):
        he_normal(layer)
        initialize_biases(layer)


@pytest.mark.parametrize(("scheme", "low", "high"), [("positive", 0, 1), ("symmetric", -1, 1)])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_bias_schemes(scheme, low, high, scale):
    layer = nn.Conv2d(3, 4000, 5)
    initialize_biases(layer, scheme=scheme, scale=scale, generator=generator())
    bound = scale / math.sqrt(75)
    scaled = layer.bias.detach() / bound
    assert scaled.min() >= low
    assert scaled.max() <= high
    assert scaled.min() < low + 0.01
    assert scaled.max() > high - 0.01
    assert abs(scaled.mean() - (low + high) / 2) < 0.05


def test_zero_biases_and_layers_without_bias():
    model = nn.Sequential(
        nn.Linear(3, 3), nn.Linear(3, 3, bias=False), nn.Conv1d(1, 1, 1, bias=False)
    )
    initialize_biases(model, scheme="zero")
    assert not model[0].bias.any()


def test_norm_layers_are_left_alone():
    model = network()
    nn.init.normal_(model[1].weight)
    nn.init.normal_(model[1].bias)
    before = [model[1].weight.detach().clone(), model[1].bias.detach().clone()]
    for seed in range(2):
        he_normal(model, generator=generator(seed))
        sparsify(model, 0.1, generator=generator(seed))
        initialize_biases(model, generator=generator(seed))
    assert torch.equal(model[1].weight, before[0])
    assert torch.equal(model[1].bias, before[1])


def test_generator_alone_decides():
    """The same generator state gives the same start, whatever torch's global stream does, in any layout."""

    def start(layout):
        model = network().to(memory_format=layout)
        source = generator(5)
        he_normal(model, generator=source)
        sparsify(model, 0.1, by="kernel", generator=source)
        initialize_biases(model, generator=source)
        torch.rand(3)
        return [
            param.detach().clone() for param in (model[0].weight, model[3].weight, model[3].bias)
        ]

    first = start(torch.contiguous_format)
    for layout in (torch.contiguous_format, torch.channels_last):
        for a, b in zip(first, start(layout), strict=True):
            assert torch.equal(a, b)
    state = torch.get_rng_state()
    sparsify(network(), 0.5)
    assert not torch.equal(state, torch.get_rng_state())


def test_parameters_stay_the_same_objects():
    model = network().to(memory_format=torch.channels_last)
    before = [(id(p), p.data_ptr(), p.stride()) for p in model.parameters()]
    he_normal(model)
    sparsify(model, 0.1)
    initialize_biases(model)
    assert before == [(id(p), p.data_ptr(), p.stride()) for p in model.parameters()]


def test_removed_weights_are_positive_zeros():
    layer = nn.Linear(20, 20)
    sparsify(layer, 0.1)
    assert not torch.signbit(layer.weight[layer.weight == 0]).any()


def test_shared_weights_are_masked_once():
    model = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10))
    model[1].weight = model[0].weight
    sparsify(model, 0.5)
    assert model[0].weight.count_nonzero() == 50


def test_bad_values_are_refused():
    for density in (0.0, 1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"Invalid density: .* \(must be in \(0, 1\]\)"):
            sparsify(network(), density)
    with pytest.raises(ValueError, match="Invalid by: 'column'"):
        sparsify(network(), 0.5, by="column")
    with pytest.raises(ValueError, match="Invalid rescale: -2"):
        sparsify(network(), 0.5, rescale=-2.0)
    with pytest.raises(ValueError, match="Invalid scheme: 'uniform'"):
        initialize_biases(network(), scheme="uniform")
    with pytest.raises(ValueError, match="Invalid scale: -1"):
        initialize_biases(network(), scale=-1)


@pytest.mark.parametrize("density", [0.01, 0.2, 1.0])
@pytest.mark.parametrize("by", ["entry", "kernel"])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Conv2d(6, 8, 3),
        lambda: nn.Conv2d(6, 8, 3, groups=2),
        lambda: nn.Conv2d(6, 8, 1),
        lambda: nn.Linear(30, 7),
        lambda: nn.ConvTranspose2d(6, 8, 3, groups=2),
    ],
    ids=["conv", "grouped", "pointwise", "linear", "transposed"],
)
def test_balanced_starts_keep_a_share_of_each_unit_and_its_variance(layer, by, density):
    """The same count in each output, at least one, and the squares add up to the fan-in."""
    layer = layer()
    nn.init.ones_(layer.weight)
    sparsify(layer, density, by=by, balanced=True, generator=generator())
    weight = layer.weight.detach().double()
    if isinstance(
        layer, nn.ConvTranspose2d
    ):  # (in, out / groups, ...): a group reads its own inputs
        weight = weight.view(2, 3, 4, 9).transpose(1, 2).reshape(8, 3, 3, 3)
    units = weight.flatten(1)
    parts = weight.flatten(2).shape[1] if by == "kernel" and weight.dim() > 2 else units.shape[1]
    size = units.shape[1] // parts
    kept = max(1, round(density * parts)) * size
    assert (units.count_nonzero(1) == kept).all()
    torch.testing.assert_close(
        units.square().sum(1), torch.full((len(units),), units.shape[1] * 1.0).double()
    )


def test_balanced_starts_refuse_what_leaves_units_empty():
    for options in ({"by": "filter"}, {"by": "row"}, {"exact": False}):
        model = network()
        before = [param.clone() for param in model.parameters()]
        with pytest.raises(ValueError, match="balanced keeps"):
            sparsify(model, 0.1, balanced=True, **options)
        assert all(map(torch.equal, model.parameters(), before))


def test_shifts_are_positive_and_those_of_batch_norms_alone():
    model = nn.Sequential(*network(), nn.LayerNorm(10), nn.BatchNorm1d(10, affine=False))
    before = {name: param.clone() for name, param in model.named_parameters()}
    initialize_shifts(model, scale=0.2, generator=generator())
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {"1.bias"}
    shifts = model[1].bias.detach()
    assert 0 < float(shifts.min()) < 0.1 < float(shifts.max()) < 0.2
    with pytest.raises(ValueError, match="scale"):
        initialize_shifts(model, scale=-1.0)
