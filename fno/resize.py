"""Trigonometric interpolation of images, with which spectral layers commute.

Source: Kabri, Roith, Tenbrinck, Burger, "Resolution-Invariant Image Classification based on Fourier
Neural Operators" (2023), section 3.3; grid points j/N.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fno.lipschitz import resizing_lipschitz
from fno.precision import wide, without_autocast
from fno.sizes import Size, as_size, strided
from fno.spectrum import half_spectrum, image_of, resize_spectrum


def trigonometric_resize(images: Tensor, size: int | Sequence[int]) -> Tensor:
    """Resize images by sampling their trigonometric polynomial: v^{M -> N} with a triangle.

    Enlargement evaluates the polynomial through the pixels at the new grid points; reduction drops
    frequencies above half the new size first. Resizing keeps means, and reduction after enlargement is
    the identity. Resizing commutes with transposes, with reflections j -> -j of the torus and with shifts
    by whole pixels of both grids.

    Args:
        images: ``(..., height, width)``, real; half precision is computed in float32.
        size: new (height, width), or one integer for both; any parities.

    Returns:
        ``(..., *size)`` in the dtype of the images.

    Raises:
        TypeError: the images are not real floating-point numbers.
        ValueError: the size is not positive, or the images have fewer than two axes.

    Example:
        >>> import torch
        >>> trigonometric_resize(torch.tensor([[0.0, 1.0]]), (1, 4))
        tensor([[0.0000, 0.5000, 1.0000, 0.5000]])
    """
    if images.dim() < 2:
        raise ValueError(f"images need height and width, got shape {tuple(images.shape)}")
    source, target = as_size((images.shape[-2], images.shape[-1])), as_size(size)
    values = wide(images)
    if source == target:
        return images
    with without_autocast(images):
        spectrum = resize_spectrum(half_spectrum(values), source, target, "coefficients")
        return image_of(spectrum, target).to(images.dtype)


class TrigonometricResize(nn.Module):
    """`trigonometric_resize` as a module, to a fixed size or by a stride.

    Args:
        size: (height, width) of every output, or one integer for both. Exactly one of `size` and `stride`
            must be given.
        stride: output sizes are input sizes divided by the stride and rounded up.

    Raises:
        ValueError: both or neither are given, or a number is not positive.
    """

    def __init__(
        self, size: int | Sequence[int] | None = None, *, stride: int | Sequence[int] | None = None
    ) -> None:
        super().__init__()
        if (size is None) == (stride is None):
            raise ValueError(f"give size or stride, not both or neither ({size=}, {stride=})")
        self.size = None if size is None else as_size(size)
        self.stride = None if stride is None else as_size(stride, "stride")

    def output_size(self, size: Size) -> Size:
        """Size of the output for an input of the given size."""
        if self.size is not None:
            return self.size
        assert self.stride is not None
        return strided(size, self.stride)

    def forward(self, images: Tensor) -> Tensor:
        """Resize ``(..., height, width)``."""
        return trigonometric_resize(images, self.output_size((images.shape[-2], images.shape[-1])))

    def lipschitz_bound(self, shape: Sequence[int]) -> tuple[float, tuple[int, ...]]:
        """The exact Lipschitz constant in Euclidean norms, and the shape of the output.

        `clip.upper_bound` calls this method.

        Args:
            shape: shape of one input without the batch, ``(..., height, width)``.

        Returns:
            The constant and ``(..., *output size)``.

        Raises:
            ValueError: the shape has no height and width.
        """
        if len(shape) < 2:
            raise ValueError(f"images need height and width, got shape {tuple(shape)}")
        source = as_size(tuple(shape)[-2:])
        target = self.output_size(source)
        return resizing_lipschitz(source, target), (*tuple(shape)[:-2], *target)

    def extra_repr(self) -> str:
        return f"size={self.size}" if self.size is not None else f"stride={self.stride}"
