"""Circular convolutions with kernels of any size, evaluated directly or through the FFT."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bregman.modules import Conv2d
from bregman.validation import check_choice
from fno.choices import CircularMethod
from fno.convolution import by_matrices, check_images, convolve
from fno.lipschitz import largest_norm, size_of
from fno.multiplier import multiplier_of_kernel
from fno.precision import under_autocast, wide, without_autocast
from fno.sizes import Size, as_size, strided

#: Numbers of taps (height times width) from which "auto" takes the FFT: in general, and for images whose
#: FFTs are replaced by products of matrices; see docs/methods/fno.md.
FFT_FROM_TAPS, MATRICES_FROM_TAPS = 100, 25


class CircularConv2d(Conv2d):
    """A convolution with circular "same" padding: C(theta) in its spatial parametrisation.

    Weight ``(out_channels, in_channels / groups, kh, kw)`` and outputs are those of `nn.Conv2d`. The
    cost of the FFT does not depend on the kernel size, and the FFT allows kernels larger than the image,
    which wrap around.

    Args:
        in_channels: number of channels of the input.
        out_channels: number of channels of the output.
        kernel_size: height and width, of any parity.
        stride: every stride-th pixel is kept; for trigonometric resizing see
            `fno.TrigonometricResize`.
        dilation: distance between taps, in pixels.
        groups: number of groups of channels that do not mix.
        bias: whether one number per output channel is added.
        method: `"direct"`, `"fft"`, or `"auto"`: the FFT for kernels of at least `FFT_FROM_TAPS`
            taps (`MATRICES_FROM_TAPS` for small images on the CPU, outside autocast), and for padding
            wider than the image, which torch refuses.

    Raises:
        ValueError: a size is not positive, or the method is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        method: str = "auto",
    ) -> None:
        check_choice("method", method, CircularMethod)
        super().__init__(
            in_channels,
            out_channels,
            as_size(kernel_size, "kernel_size"),
            padding="same",
            padding_mode="circular",
            dilation=as_size(dilation, "dilation"),
            groups=groups,
            bias=bias,
        )
        # The stride is set here, because only torch's constructor refuses "same" with a stride.
        self.stride = as_size(stride, "stride")
        self.method = method

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name that nn.Conv2d gave it)
        """Map ``(batch, in_channels, H, W)`` to ``(batch, out_channels, ceil(H/s), ceil(W/s))``.

        A single image ``(in_channels, H, W)`` is accepted, too, as by `nn.Conv2d`.

        Raises:
            ValueError: the images have another number of axes or channels.
        """
        if input.dim() == 3:
            return self(input[None])[0]
        check_images(input, self.in_channels)
        size = as_size((input.shape[-2], input.shape[-1]))
        if not self._through_fft(input, size):
            return super().forward(input)
        with without_autocast(input):
            kernels = multiplier_of_kernel(wide(self.weight), size, as_size(self.dilation))
            result = convolve(wide(input), kernels, size, size, groups=self.groups)
            result = result[..., :: self.stride[0], :: self.stride[1]]
        if self.bias is not None:
            result = result + self.bias[:, None, None]
        return result.to(input.dtype)

    @torch.no_grad()
    def lipschitz_bound(self, shape: Sequence[int]) -> tuple[float, tuple[int, int, int]]:
        """A Lipschitz constant in Euclidean norms, and the shape of the output.

        Without a stride the constant is exact: the largest norm of the channel matrices over all
        frequencies. With a stride it is an upper bound. `clip.upper_bound` asks for it.

        Args:
            shape: shape of one input without the batch, ``(in_channels, height, width)``.

        Returns:
            The constant and ``(out_channels, ceil(height / stride), ceil(width / stride))``.

        Raises:
            ValueError: the shape has another number of axes or channels.
        """
        size = size_of(shape, self.in_channels)
        kernels = multiplier_of_kernel(self.weight.double(), size, as_size(self.dilation))
        target = strided(size, as_size(self.stride))
        return largest_norm(kernels, self.groups), (self.out_channels, *target)

    def _through_fft(self, images: Tensor, size: Size) -> bool:
        if self.method != "auto":
            return self.method == "fft"
        taps = self.kernel_size[0] * self.kernel_size[1]
        # torch pads by at most the size of the image.
        fits = all(
            dilation * (kernel - 1) // 2 + dilation * (kernel - 1) % 2 <= side
            for dilation, kernel, side in zip(self.dilation, self.kernel_size, size, strict=True)
        )
        if taps >= FFT_FROM_TAPS or not fits:
            return True
        # Direct convolutions gain from half precision; FFTs and their matrices run in float32.
        full = wide(images) is images and not under_autocast(images)
        by_hand = by_matrices(images, self.out_channels, size, size, groups=self.groups)
        return taps >= MATRICES_FROM_TAPS and full and by_hand
