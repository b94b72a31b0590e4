"""Lipschitz constants of resizing and of convolutions on the torus.

`lipschitz_constant` has what a rule of a package for bounds needs: a module and the shape of its
input in, a constant in Euclidean norms and the shape of the output out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fno.circular import CircularConv2d
from fno.multiplier import multiplier_of_kernel, multiplier_of_modes
from fno.resize import TrigonometricResize
from fno.sizes import Size, as_size, odd, smaller, strided
from fno.spectral_conv import SpectralConv2d
from fno.spectrum import resize_spectrum

#: Largest slope of GELU, at sqrt(2): Phi(sqrt 2) + sqrt(2) phi(sqrt 2).
GELU_SLOPE = 0.5 * (1 + math.erf(1.0)) + math.exp(-1.0) / math.sqrt(math.pi)


def resizing_lipschitz(
    source: int | Sequence[int], target: int | Sequence[int], *, mean_norm: bool = False
) -> float:
    """Norm of trigonometric resizing between two sizes.

    In the root mean square over pixels, which approximates the L2 norm on the torus: 1 per axis,
    except down to an even size, where folding the Nyquist frequency gives sqrt 2. Upwards nothing
    is lost from an odd size; from an even one half the energy at its Nyquist frequency is.

    Args:
        source: (H, W) of the input, or one integer.
        target: (H, W) of the output.
        mean_norm: root mean squares instead of Euclidean norms, which grow with the pixels.
    """
    before, after = as_size(source), as_size(target)
    folds = sum(b > a and a % 2 == 0 for b, a in zip(before, after, strict=True))
    growth = 1.0 if mean_norm else math.sqrt(math.prod(after) / math.prod(before))
    return math.sqrt(2.0) ** folds * growth


@torch.no_grad()
def lipschitz_constant(
    module: nn.Module, shape: tuple[int, ...]
) -> tuple[float, tuple[int, int, int]]:
    """Lipschitz constant of a module of this package, in Euclidean norms.

    Exact for resizing and for convolutions without stride (the largest norm of the channel matrices
    over all frequencies); with a stride, or with GELU, an upper bound.

    Args:
        module: a `TrigonometricResize`, `SpectralConv2d` or `CircularConv2d`.
        shape: (channels, height, width) of one input.

    Returns:
        The constant and the shape of the output.

    Raises:
        TypeError: another module.

    Example:
        >>> from fno import TrigonometricResize
        >>> from fno.lipschitz import lipschitz_constant
        >>> lipschitz_constant(TrigonometricResize(28), (1, 14, 14))
        (2.0, (1, 28, 28))
    """
    size = as_size(shape[-2:])
    if isinstance(module, TrigonometricResize):
        target = module.output_size(size)
        return resizing_lipschitz(size, target), (shape[0], *target)
    if isinstance(module, CircularConv2d):
        kernels = multiplier_of_kernel(module.weight.double(), size, as_size(module.dilation))
        target = strided(size, as_size(module.stride))
        return _largest_norm(kernels, module.groups), (module.out_channels, *target)
    if isinstance(module, SpectralConv2d):
        target = module.output_size(size)
        return _spectral(module, size, target), (module.out_channels, *target)
    raise TypeError(
        f"no constant for {type(module).__name__}: it must be a TrigonometricResize, "
        "SpectralConv2d or CircularConv2d"
    )


def _spectral(layer: SpectralConv2d, size: Size, target: Size) -> float:
    multiplier = multiplier_of_modes(layer.weight.double(), layer.modes, size)
    if layer.pointwise is not None:
        # W multiplies every frequency alike.
        multiplier[..., 0] += layer.pointwise.weight.double()  # (outputs, inputs / groups, 1, 1)
    growth = 1.0
    if layer.striding == "trigonometric" and target != size:
        # Frequencies that resizing drops do not count.
        seen = smaller(odd(target), size)
        multiplier = resize_spectrum(multiplier, size, seen, "multiplier")
        growth = resizing_lipschitz(size, target)
    slope = GELU_SLOPE if layer.activation == "gelu" else 1.0
    return _largest_norm(multiplier, layer.groups) * growth * slope


def _largest_norm(multiplier: Tensor, groups: int) -> float:
    """Largest spectral norm of the channel matrices of all frequencies and groups."""
    matrices = torch.view_as_complex(multiplier.contiguous()).flatten(2).permute(2, 0, 1)
    parts = matrices.unflatten(1, (groups, -1))
    return float(torch.linalg.matrix_norm(parts, 2).max())
