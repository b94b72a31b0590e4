"""Views of tensors in the order in which their entries lie in memory.

torch's fused CPU kernels copy every tensor that is not contiguous, and reductions over the spatial
axes of a channels_last weight are an order of magnitude slower than those of a contiguous one. A
permuted, contiguous view of the same memory avoids both costs.
"""

from __future__ import annotations

from torch import Tensor


def memory_axes(tensor: Tensor) -> tuple[int, ...] | None:
    """Axes that make `tensor.permute(axes)` contiguous, or None when no permutation does.

    A contiguous tensor gets the identity; a channels_last weight `(out, in, h, w)` gets
    `(0, 2, 3, 1)`.
    """
    natural = tuple(range(tensor.dim()))
    if tensor.is_contiguous():
        return natural
    strides = tensor.stride()
    axes = tuple(sorted(natural, key=lambda axis: -strides[axis]))
    return axes if tensor.permute(axes).is_contiguous() else None
