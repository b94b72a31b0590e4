"""Bounds of the layers of `fno`, which say them themselves, against the matrices of the layers."""

from __future__ import annotations

import math
import subprocess
import sys
import types

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import clip
from clip import rules
from fno import CircularConv2d, FourierClassifier, SpectralConv2d, TrigonometricResize
from fno.pooling import AdaptiveAveragePool2d

SHAPE = (2, 6, 7)


def norm_of_matrix(layer: nn.Module, shape: tuple[int, ...]) -> float:
    """Largest singular value of the dense matrix of a linear (or affine) layer."""
    origin = torch.zeros(1, *shape, dtype=torch.float64)
    units = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    with torch.no_grad():
        columns = (layer(units) - layer(origin)).flatten(1)
    return float(torch.linalg.matrix_norm(columns, 2))


@pytest.mark.parametrize(
    ("layer", "exact"),
    [
        (SpectralConv2d(2, 3, (4, 5), pointwise=True), True),
        (SpectralConv2d(2, 4, 9, groups=2), True),
        (SpectralConv2d(2, 3, 3, stride=2), False),
        (CircularConv2d(2, 3, (3, 4)), True),
        (CircularConv2d(2, 3, 11), True),
        (CircularConv2d(2, 3, 3, stride=2), False),
        (TrigonometricResize(9), True),
        (TrigonometricResize((4, 3)), True),
        (AdaptiveAveragePool2d((3, 7)), True),
        (AdaptiveAveragePool2d(4), False),
    ],
)
def test_bound_of_a_layer_is_the_norm_of_its_matrix(layer, exact):
    layer = layer.double()
    norm, bound = norm_of_matrix(layer, SHAPE), clip.upper_bound(layer, SHAPE)
    assert norm <= bound * (1 + 1e-12)
    if exact:
        assert bound == pytest.approx(norm, rel=1e-8)
    else:
        assert bound <= 4 * norm


def test_bound_of_a_linear_network_is_at_least_that_of_its_matrix():
    network = nn.Sequential(
        SpectralConv2d(2, 3, 3), TrigonometricResize(5), CircularConv2d(3, 2, 3), nn.Flatten()
    ).double()
    bounds = clip.layer_bounds(network, SHAPE)
    assert math.prod(bounds.values()) == pytest.approx(clip.upper_bound(network, SHAPE))
    assert norm_of_matrix(network, SHAPE) <= clip.upper_bound(network, SHAPE)


def test_shapes_are_those_of_the_outputs():
    for layer in (
        SpectralConv2d(2, 3, 3, stride=2),
        CircularConv2d(2, 5, 3, stride=(1, 3)),
        TrigonometricResize(stride=2),
    ):
        shape = layer.lipschitz_bound(SHAPE)[1]
        assert shape == tuple(layer(torch.zeros(1, *SHAPE)).shape[1:])


@pytest.mark.parametrize("layer", [SpectralConv2d(2, 3, 3), CircularConv2d(2, 3, 3)])
@pytest.mark.parametrize("shape", [(3, 6, 7), (6, 7), (1, 2, 6, 7)])
def test_shapes_that_a_layer_does_not_take_are_refused(layer, shape):
    with pytest.raises(clip.BoundError, match="Invalid shape"):
        clip.upper_bound(layer, shape)


class Threefold(SpectralConv2d):
    def forward(self, images):
        return 3 * super().forward(images)


class ThreefoldModes(SpectralConv2d):
    def multiplier(self, size):
        return 3 * super().multiplier(size)


class Says(Threefold):
    def lipschitz_bound(self, shape):
        constant, output = super().lipschitz_bound(shape)
        return 3 * constant, output


class SaysNoMore(Says):
    def forward(self, images):
        return 3 * super().forward(images)


class Same(CircularConv2d):
    computes_like_base = True

    def forward(self, input):  # noqa: A002
        return super().forward(input + 0)


class ThreefoldCalls:
    def __call__(self, images):
        return 3 * super().__call__(images)  # type: ignore[misc]


class Mixed(ThreefoldCalls, CircularConv2d):
    pass


class Claims:
    def lipschitz_bound(self, shape):
        return 0.0, shape


class ClaimsOfOthers(Claims, CircularConv2d):
    pass


@pytest.mark.parametrize("kind", [Threefold, ThreefoldModes, SaysNoMore, Mixed, ClaimsOfOthers])
def test_a_subclass_does_not_inherit_the_word_for_another_map(kind):
    with pytest.raises(clip.BoundError, match=f"{kind.__name__}.*overrides"):
        clip.upper_bound(nn.Sequential(kind(2, 3, 3)), SHAPE)


def test_a_subclass_may_say_its_own_bound_or_that_it_computes_the_same():
    threefold = Says(2, 3, 3).double()
    assert clip.upper_bound(threefold, SHAPE) == pytest.approx(norm_of_matrix(threefold, SHAPE))
    same = Same(2, 3, 3).double()
    assert clip.upper_bound(same, SHAPE) == pytest.approx(norm_of_matrix(same, SHAPE))


class Halves(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, inputs):
        return inputs * 0.5 if inputs.sum() > 0 else inputs * -0.5

    def lipschitz_bound(self, shape):
        return self.answer, shape


def test_a_layer_of_ones_own_needs_no_registration():
    network = nn.Sequential(Halves(0.5), nn.ReLU(), Halves(0.5))
    assert clip.upper_bound(network, (3,)) == 0.25
    for answer in (math.nan, -1.0, None):
        with pytest.raises(clip.BoundError, match=r"module .0. \(Halves\)"):
            clip.upper_bound(nn.Sequential(Halves(answer)), (3,))


def test_a_registered_rule_takes_the_place_of_what_a_layer_says(monkeypatch):
    monkeypatch.setattr(rules, "_RULES", dict(rules._RULES))
    clip.register_rule(Halves, lambda module, shape, bound: clip.Bound(0.75, shape))
    assert clip.upper_bound(Halves(0.5), (3,)) == 0.75


@pytest.mark.parametrize("name", ["forward", "lipschitz_bound", "multiplier", "output_size"])
def test_methods_replaced_on_a_layer_void_its_word(name):
    layer = SpectralConv2d(2, 3, 3)
    original = getattr(layer, name)
    setattr(layer, name, types.MethodType(lambda self, *given: original(*given), layer))
    with pytest.raises(clip.BoundError):
        clip.upper_bound(nn.Sequential(layer), SHAPE)


class Standardised(nn.Conv2d):
    def _conv_forward(self, input, weight, bias):  # noqa: A002
        return super()._conv_forward(input, weight / weight.std(), bias)


def test_hooks_and_other_parts_void_the_word_of_a_layer():
    layer = SpectralConv2d(2, 3, 3, pointwise=True)
    assert layer.pointwise is not None
    for hooked in (layer, layer.pointwise):
        handle = hooked.register_forward_hook(lambda *call: 5 * call[2])
        with pytest.raises(clip.BoundError, match="forward hook"):
            clip.upper_bound(layer, SHAPE)
        handle.remove()
    layer.pointwise.forward = lambda images: 5 * images  # type: ignore[method-assign]
    with pytest.raises(clip.BoundError, match="forward was replaced on its part 'pointwise'"):
        clip.upper_bound(layer, SHAPE)
    layer.pointwise = Standardised(2, 3, 1, bias=False)
    with pytest.raises(clip.BoundError, match=r"part .pointwise. \(Standardised\) overrides"):
        clip.upper_bound(layer, SHAPE)


def test_computed_weights_count_with_their_present_value():
    layer = SpectralConv2d(2, 3, 3, pointwise=True).double()
    assert layer.pointwise is not None
    parametrizations.weight_norm(layer)
    prune.l1_unstructured(layer.pointwise, "weight", 0.5)
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(2)  # type: ignore[union-attr]
        layer.pointwise.weight_orig.mul_(7)  # type: ignore[operator]
    bound = clip.upper_bound(layer, SHAPE)
    assert bound == pytest.approx(norm_of_matrix(layer, SHAPE), rel=1e-8)


ALONE = """
import sys, torch, clip, fno
def bounds():
    torch.manual_seed(0)
    spectral = fno.SpectralConv2d(1, 4, 5, stride=2, activation="gelu")
    circular = fno.CircularConv2d(4, 4, 9)
    network = torch.nn.Sequential(spectral, circular, fno.TrigonometricResize(3))
    classifier = fno.FourierClassifier(modes=5)
    return clip.upper_bound(network, (1, 9, 9)), clip.upper_bound(classifier, (1, 28, 28))
alone = bounds()
assert "bregbench" not in sys.modules
import bregbench.schema.groups
assert bounds() == alone
"""


def test_importing_the_bench_changes_no_bound():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_networks_of_fourier_layers_are_bounded():
    bound = clip.upper_bound(FourierClassifier(modes=5), (1, 28, 28))
    assert 0 < bound < math.inf
