"""Cutting a chain of modules into layers z = f(x, Theta), x = sigma(z)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn
from torch.nn.utils import parametrize

from lifted.activation import Activation
from lifted.affine import AffineMap, DenseMap, is_dense
from lifted.entropic import Sigmoid, Softmax, Tanh
from lifted.piecewise import ReLU, SoftThreshold
from lifted.residual import Residual
from lifted.vjp import VectorJacobianMap

#: Linear modules. A layer joins at most one module with parameters and any number without.
LINEAR_MODULES = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.Flatten, nn.Unflatten, nn.Identity,
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """`x_l = sigma(f(x_{l-1}))`, or `x_l = x_{l-1} + sign sigma(f(x_{l-1}))` where sign is not 0."""

    affine: AffineMap
    activation: Activation
    sign: int = 0


def convert_activation(module: nn.Module) -> Activation | None:
    """The activation of this package that computes what a module of torch computes; None if none does.

    Raises:
        ValueError: The module is a softmax without a dimension.
    """
    if isinstance(module, Activation):
        return module
    if isinstance(module, nn.Softmax):
        if module.dim is None:
            raise ValueError(
                "Invalid nn.Softmax: dim=None (must be the axis that holds the classes)"
            )
        return Softmax(module.dim)
    if isinstance(module, nn.Softshrink):
        return SoftThreshold(module.lambd)
    plain = {nn.ReLU: ReLU, nn.Tanh: Tanh, nn.Sigmoid: Sigmoid}.get(type(module))
    return plain() if plain is not None else None


def convert_module(module: nn.Module) -> nn.Module:
    """A module with its activations converted, residual branches included.

    Raises:
        ValueError: The module is neither affine, nor a proximal activation, nor a residual block.
    """
    if isinstance(module, Residual):
        branch = [convert_module(inner) for inner in module.branch]
        return Residual(*branch, sign=module.sign)
    activation = convert_activation(module)
    if activation is not None:
        return activation
    if isinstance(module, LINEAR_MODULES) and not parametrize.is_parametrized(module):
        return module
    raise ValueError(
        f"no lifted form of {type(module).__name__} (layers must be linear in their parameters and "
        "in their input, activations proximal: ReLU, Tanh, Sigmoid, Softmax, Softshrink)"
    )


def cut_into_layers(modules: Iterable[nn.Module], loss: Activation | None) -> tuple[Layer, ...]:
    """The layers of a chain of converted modules.

    Args:
        modules: Affine modules, activations and residual blocks, in order.
        loss: Activation that belongs to the loss, for a chain that ends without one.

    Raises:
        ValueError: An activation has no affine map before it, a layer has two modules with parameters,
            the chain ends with a residual block, or there are a loss and a final activation at once.
    """
    layers: list[Layer] = []
    pending: list[nn.Module] = []
    for module in modules:
        if isinstance(module, Residual):
            if pending:
                raise ValueError("a residual block must follow an activation or the input")
            (inner,) = cut_into_layers(module.branch, None)
            layers.append(Layer(inner.affine, inner.activation, module.sign))
        elif isinstance(module, Activation):
            layers.append(Layer(_affine(pending), module))
            pending = []
        else:
            pending.append(module)
    if pending and loss is not None:
        layers.append(Layer(_affine(pending), loss))
    elif pending or not layers or layers[-1].sign or loss is not None:
        raise ValueError(
            "a network must end with an affine layer and a loss, or with an activation and without "
            "loss=..., but not with a residual block"
        )
    return tuple(layers)


def _affine(modules: list[nn.Module]) -> AffineMap:
    parametric = [m for m in modules if any(True for _ in m.parameters())]
    if len(parametric) > 1 or not modules:
        names = ", ".join(type(module).__name__ for module in modules) or "nothing"
        raise ValueError(
            f"one module with parameters is allowed between two activations, found {names}"
        )
    if is_dense(modules):
        assert isinstance(modules[0], nn.Linear)
        return DenseMap(modules[0])
    return VectorJacobianMap(modules)
