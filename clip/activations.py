"""Lipschitz constants of activations: the largest slope, or the norm of the Jacobian."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from clip.composition import Bound, BoundOf, Rule, Shape

#: Largest slope of x Phi(x), at x = sqrt(2) where the second derivative phi(x) (2 - x^2) vanishes:
#: Phi(sqrt(2)) + sqrt(2) phi(sqrt(2)).
GELU = (1 + math.erf(1)) / 2 + math.exp(-1) / math.sqrt(math.pi)
#: Largest slope of GELU's approximation by tanh, 1.128995, at x = 1.4190; rounded up.
GELU_TANH = 1.129
#: Largest slope of x sigmoid(x), 1.0998394, where x tanh(x / 2) = 2, at x = 2.3994; rounded up.
SILU = 1.09984
#: Largest slope of x tanh(softplus(x)), 1.0884962, at x = 1.4906; rounded up.
MISH = 1.0885
#: Largest slope of SELU, its scale times its alpha, left of zero; rounded up.
SELU = 1.758100
# Above its threshold torch replaces softplus by the identity, a jump of exp(-threshold) / beta.
_SOFTPLUS_THRESHOLD = 20

_CONSTANTS: dict[type[nn.Module], float] = {
    nn.Identity: 1.0,
    nn.Dropout: 1.0,  # evaluation mode: the identity
    nn.Dropout1d: 1.0,
    nn.Dropout2d: 1.0,
    nn.Dropout3d: 1.0,
    nn.AlphaDropout: 1.0,
    nn.ReLU: 1.0,
    nn.ReLU6: 1.0,
    nn.Hardtanh: 1.0,
    nn.Tanh: 1.0,
    nn.Softsign: 1.0,
    nn.LogSigmoid: 1.0,
    nn.Softshrink: 1.0,
    nn.Tanhshrink: 1.0,
    nn.Sigmoid: 0.25,
    nn.Hardsigmoid: 0.1666668,  # torch rounds the slope of 1/6 to float32
    nn.Hardswish: 1.5,
    nn.SiLU: SILU,
    nn.Mish: MISH,
    nn.SELU: SELU,
}


def _leaky_relu(module: Any, _: Shape) -> float:
    return max(1.0, abs(module.negative_slope))


def _prelu(module: Any, _: Shape) -> float:
    return max(1.0, float(module.weight.detach().abs().max()))


def _elu(module: Any, _: Shape) -> float:
    return max(1.0, abs(module.alpha))


def _celu(module: Any, _: Shape) -> float:
    if module.alpha < 0:
        raise ValueError(f"alpha={module.alpha} has unbounded slopes: it must be positive")
    return 1.0


def _gelu(module: Any, _: Shape) -> float:
    return GELU if module.approximate == "none" else GELU_TANH


def _softplus(module: Any, _: Shape) -> float:
    if module.threshold < _SOFTPLUS_THRESHOLD:
        raise ValueError(
            f"softplus jumps at its threshold, {module.threshold}: a threshold of at least "
            f"{_SOFTPLUS_THRESHOLD} makes the jump negligible"
        )
    return 1.0


def _softmax(module: Any, shape: Shape) -> float:
    """The Jacobian diag(p) - p p^T is largest at two equal probabilities."""
    _class_axis(module, shape)
    return 0.5


def _log_softmax(module: Any, shape: Shape) -> float:
    """The Jacobian I - 1 p^T is an oblique projection, with norm sqrt(n) |p| <= sqrt(n)."""
    return math.sqrt((1, *shape)[_class_axis(module, shape)])


def _class_axis(module: Any, shape: Shape) -> int:
    """The dimension of a softmax, which must not be that of the batch."""
    if module.dim is None:
        raise ValueError(f"name the dimension, as in {type(module).__name__}(dim=1)")
    if not -len(shape) - 1 <= module.dim <= len(shape):
        raise ValueError(f"dim={module.dim} does not exist in inputs of shape {shape}")
    if module.dim in (0, -len(shape) - 1):
        raise ValueError(
            f"dim={module.dim} is the batch axis, so that images are mixed: use dim=1 for classes"
        )
    return module.dim


_FORMULAS: dict[type[nn.Module], Callable[[Any, Shape], float]] = {
    nn.LeakyReLU: _leaky_relu,
    nn.PReLU: _prelu,
    nn.ELU: _elu,
    nn.CELU: _celu,
    nn.GELU: _gelu,
    nn.Softplus: _softplus,
    nn.Softmax: _softmax,
    nn.LogSoftmax: _log_softmax,
}


def _shape_keeping(formula: Callable[[Any, Shape], float]) -> Rule:
    def rule(module: nn.Module, shape: Shape, _: BoundOf) -> Bound:
        return Bound(formula(module, shape), shape)

    return rule


RULES: dict[type[nn.Module], Rule] = {
    **{kind: _shape_keeping(lambda *_, c=constant: c) for kind, constant in _CONSTANTS.items()},
    **{kind: _shape_keeping(formula) for kind, formula in _FORMULAS.items()},
}
