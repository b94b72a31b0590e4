"""The product of layer norms, the upper bound (4.5) of the thesis, as a penalty."""

from __future__ import annotations

import math
from typing import Any, get_args

import torch
from torch import Tensor, nn

from bregman.modules import evaluating, uncompiled
from clip.composition import BoundError, Shape
from clip.evaluation import example_input
from clip.quotients import Power
from clip.upper import layer_bounds, upper_bound

# Linear layers whose smaller side has at most this size get their exact norm.
_EXACT_SIDE = 256
# Iterations from a random start, before the first penalty.
_FIRST_ITERATIONS = 50
# Vectors that are iterated at once.
_VECTORS = 16
_Convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BatchNorm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class ProductNorm:
    """(C_sigma prod_l |W_l|)^power, differentiable in the parameters.

    Spectral norms of linear layers with a side of at most 256 are exact. The norms of larger linear
    layers and of convolutions (at the size of their input, with any padding) are estimated from below by
    a subspace iteration, which keeps its vectors from call to call and so follows slow changes of the
    weights. The estimate serves as a penalty; for a guaranteed bound use `clip.upper_bound`. The norm of
    batch normalisation is its largest scale in evaluation mode. C_sigma is the product of the bounds
    that `clip.layer_bounds` gives for layers without parameters.

    Args:
        model: layers in sequence: linear layers, convolutions, batch normalisation, and layers without
            parameters.
        input_shape: shape of one input, without the batch.
        power: 1, or 2 for the square.
        iterations: iterations of the subspace at every call, at least 1.

    Raises:
        BoundError: the model cannot be bounded.
        ValueError: a number is out of range, the model has branches, or a layer has parameters but
            no differentiable norm.
    """

    def __init__(
        self, model: nn.Module, input_shape: Shape, *, power: Power = 1, iterations: int = 1
    ) -> None:
        if power not in get_args(Power):
            raise ValueError(f"power={power!r}: must be one of {get_args(Power)}")
        if iterations < 1:
            raise ValueError(f"iterations={iterations}: must be at least 1")
        self.power, self.iterations = power, iterations
        bounds = layer_bounds(model, input_shape)
        if not math.isclose(math.prod(bounds.values()), upper_bound(model, input_shape)):
            raise BoundError("the model has branches: must be a sequence of layers, as in (4.5)")
        model = uncompiled(model)
        modules = {name or type(model).__name__: module for name, module in model.named_modules()}
        _check_covered(modules)
        self._constant = 1.0
        self._factors: list[_Factor] = []
        shapes = _input_shapes(model, input_shape)
        for key, bound in bounds.items():
            name, _, use = key.partition("#")
            module = modules.get(name)
            factor = None
            if module is not None:
                calls = shapes.get(module, [])
                factor = _factor(module, calls[int(use or 1) - 1] if calls else ())
            if factor is None:
                self._constant *= bound
            else:
                self._factors.append(factor)

    def __call__(self) -> Tensor:
        """The penalty, a scalar."""
        norms = [factor(self.iterations) for factor in self._factors]
        return (self._constant * torch.stack(norms).prod()) ** self.power

    def end_epoch(self) -> None:
        """Do nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Vectors of the iterations."""
        return {"vectors": [factor.vectors.clone() for factor in self._factors]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        for factor, vectors in zip(self._factors, state["vectors"], strict=True):
            factor.vectors.copy_(vectors)


class _Factor:
    """The norm of one layer.

    Attributes:
        vectors: vectors of the subspace iteration, orthonormal rows; empty for an exact norm.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.vectors = torch.empty(0)

    def __call__(self, iterations: int) -> Tensor:
        raise NotImplementedError


class _Exact(_Factor):
    """A linear layer: u^T W v with the top singular vectors; its gradient u v^T is that of the norm."""

    def __call__(self, iterations: int) -> Tensor:
        weight = self.module.weight
        with torch.no_grad():
            wide = weight.shape[0] <= weight.shape[1]
            matrix = weight.double() if weight.device.type != "mps" else weight
            gram = matrix @ matrix.mT if wide else matrix.mT @ matrix
            top = torch.linalg.eigh(gram).eigenvectors[:, -1]
            other = matrix.mT @ top if wide else matrix @ top
            other = other / other.norm().clamp(min=torch.finfo(other.dtype).tiny)
            left, right = (top, other) if wide else (other, top)
        return left.to(weight) @ weight @ right.to(weight)


class _Iterated(_Factor):
    """A large linear layer or a convolution, whose norm comes from a subspace iteration.

    The penalty drives the largest singular value close to the following ones, and a power iteration with
    a single vector would then converge too slowly. So several vectors are iterated at once.
    """

    def __init__(self, module: Any, shape: Shape) -> None:
        super().__init__(module)
        self._shape = shape
        size = math.prod(shape)
        start = torch.randn(min(_VECTORS, size), size, generator=torch.Generator().manual_seed(0))
        self.vectors = _orthonormal(start.to(module.weight))
        self._iterate(_FIRST_ITERATIONS)

    def __call__(self, iterations: int) -> Tensor:
        self._iterate(iterations)
        with torch.no_grad():
            images = self._apply(self.vectors, self.module.weight)
            top = torch.linalg.eigh(images @ images.mT).eigenvectors[:, -1]
            vector = (top @ self.vectors)[None]
        return torch.linalg.vector_norm(self._apply(vector, self.module.weight))

    def _iterate(self, iterations: int) -> None:
        weight = self.module.weight.detach()
        with torch.enable_grad():
            for _ in range(iterations):
                vectors = self.vectors.clone().requires_grad_()
                energy = self._apply(vectors, weight).square().sum() / 2
                (images,) = torch.autograd.grad(energy, vectors)  # W^T W v
                self.vectors.copy_(_orthonormal(images))

    def _apply(self, vectors: Tensor, weight: Tensor) -> Tensor:
        inputs = vectors.unflatten(1, self._shape)
        if isinstance(self.module, nn.Linear):
            return nn.functional.linear(inputs, weight)
        return self.module._conv_forward(inputs, weight, None).flatten(1)


def _orthonormal(rows: Tensor) -> Tensor:
    return torch.linalg.qr(rows.mT).Q.mT.contiguous()


class _Scale(_Factor):
    """Batch normalisation in evaluation mode: the largest |gamma| / sqrt(variance + eps)."""

    def __call__(self, iterations: int) -> Tensor:
        scale = (self.module.running_var + self.module.eps).rsqrt()
        weight = self.module.weight
        return (scale if weight is None else scale * weight.abs()).max()


def _factor(module: nn.Module, shape: Shape) -> _Factor | None:
    if isinstance(module, nn.Linear):
        small = min(module.weight.shape) <= _EXACT_SIDE
        return _Exact(module) if small else _Iterated(module, (module.in_features,))
    if isinstance(module, _Convolution):
        return _Iterated(module, shape)
    if isinstance(module, _BatchNorm):
        return _Scale(module)
    return None


def _check_covered(modules: dict[str, nn.Module]) -> None:
    for name, module in modules.items():
        trainable = any(p.requires_grad for p in module.parameters(recurse=False))
        if trainable and not isinstance(module, (nn.Linear, *_Convolution, *_BatchNorm)):
            raise ValueError(
                f"module {name!r} ({type(module).__name__}) has parameters but no differentiable "
                "norm: must be a linear layer, a convolution or batch normalisation"
            )


def _input_shapes(model: nn.Module, input_shape: Shape) -> dict[nn.Module, list[Shape]]:
    """Shape of the input of every module at each of its calls, without the batch."""
    shapes: dict[nn.Module, list[Shape]] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shapes.setdefault(module, []).append(tuple(inputs[0].shape[1:]))

    modules = [module for module in model.modules() if isinstance(module, _Convolution)]
    handles = [module.register_forward_pre_hook(note) for module in modules]
    try:
        with evaluating(model), torch.no_grad():
            model(example_input(model, input_shape))
    finally:
        for handle in handles:
            handle.remove()
    return shapes
