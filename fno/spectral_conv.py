r"""The layer of a Fourier neural operator: a convolution given by its Fourier coefficients.

Source: Kabri, Roith, Tenbrinck, Burger, "Resolution-Invariant Image Classification based on Fourier
Neural Operators" (2023), eqs. 2 and 8; eqs. 4.7, 4.8 and 4.11 of the thesis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from bregman.validation import check_choice
from fno.choices import SpectralActivation, Striding
from fno.convolution import check_images, convolve
from fno.lipschitz import GELU_SLOPE, largest_norm, resizing_lipschitz, size_of
from fno.multiplier import balance_gradients, multiplier_of_modes
from fno.precision import wide, without_autocast
from fno.resize import trigonometric_resize
from fno.sizes import Size, as_size, odd, smaller, strided
from fno.spectrum import resize_spectrum


class SpectralConv2d(nn.Module):
    r"""sigma(W u + K u + b), with K u = F^{-1}(theta_hat . F u) of any input size.

    The layer is a convolution with one kernel function on the torus, whatever the resolution. It
    therefore commutes with trigonometric resizing to any size >= modes (Corollary 1), before sigma.

    `weight` has shape ``(out_channels, in_channels / groups, M1, M2 // 2 + 1, 2)``: coefficients of
    real kernels in the order of `torch.fft.rfft2`, real and imaginary part last. Where the half
    spectrum holds both a frequency and its opposite (column 0; the last column of an even M2), the layer
    symmetrises the two entries before it uses them, so that every weight gives a real kernel. The
    imaginary part of frequency 0 has no effect and the gradient 0. An even M_i contains its Nyquist
    frequency, half of it on either side.

    Args:
        in_channels: number of channels of the input.
        out_channels: number of channels of the output.
        modes: M, the number of frequencies per axis, including negative ones: k in I_M. More modes
            than pixels are allowed; modes above the Nyquist frequency of the input are not used.
        stride: output sizes are input sizes divided by the stride and rounded up.
        groups: number of groups of channels that do not mix.
        bias: whether b, one number per output channel, is added.
        pointwise: whether W u, a 1 x 1 convolution, is added.
        activation: sigma, `"gelu"` or `"none"`.
        striding: `"trigonometric"` or `"sampling"`.
        balanced: whether gradients are doubled where the half spectrum holds both a frequency and its
            opposite. Every other entry stands for two frequencies, so that its derivative is twice as
            large (Lemma 4). Without `balanced`, the modes that a Bregman iteration selects depend on
            which axis is the last. `balanced` does not change outputs.

    Weights of different layers may have one shape (5 x 4 and 5 x 5 modes). A `state_dict` therefore
    contains the numbers of modes, channels and groups, and `load_state_dict` raises RuntimeError if they
    differ from those of the layer. A state from a file of bare tensors lacks these numbers and is not
    checked.

    Raises:
        ValueError: a number is out of range, or groups do not divide the channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        modes: int | Sequence[int],
        *,
        stride: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        pointwise: bool = False,
        activation: str = "none",
        striding: str = "trigonometric",
        balanced: bool = False,
    ) -> None:
        super().__init__()
        _check(in_channels, out_channels, groups, activation, striding)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.modes = as_size(modes, "modes")
        self.stride = as_size(stride, "stride")
        self.groups = groups
        self.activation = activation
        self.striding = striding
        self.balanced = balanced
        shape = (out_channels, in_channels // groups, self.modes[0], self.modes[1] // 2 + 1, 2)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.pointwise: nn.Conv2d | None = None
        if pointwise:
            self.pointwise = nn.Conv2d(in_channels, out_channels, 1, groups=groups, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: Generator | None = None) -> None:
        """Draw kernels as torch does for a convolution of M1 x M2 taps, and take their modes.

        Taps are drawn from U(-a, a) with a = (inputs / groups * M1 * M2)^(-1/2). Every mode then has the
        mean square 1 / (3 inputs / groups), at every resolution and for every number of modes.
        """
        fan_in = self.weight.shape[1] * math.prod(self.modes)
        bound = 1 / math.sqrt(fan_in)
        kernels = self.weight.new_empty((*self.weight.shape[:2], *self.modes))
        kernels.uniform_(-bound, bound, generator=generator)
        self.weight.copy_(torch.view_as_real(torch.fft.rfft2(wide(kernels))))
        if self.bias is not None:
            self.bias.uniform_(-bound, bound, generator=generator)
        if self.pointwise is not None:
            bound = 1 / math.sqrt(self.weight.shape[1])
            self.pointwise.weight.uniform_(-bound, bound, generator=generator)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        # The numbers go to the metadata, so that the keys of the state dict do not change.
        known = getattr(destination, "_metadata", {}).get(prefix.removesuffix("."))
        if known is not None:
            known["spectral"] = self._meaning()

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """See `nn.Module`; the state of a layer with other modes is refused even if its shapes fit."""
        ours = self._meaning()
        theirs = local_metadata.get("spectral", ours)
        differing = [name for name in ours if theirs.get(name) != ours[name]]
        if not differing:
            super()._load_from_state_dict(
                state_dict,
                prefix,
                local_metadata,
                strict,
                missing_keys,
                unexpected_keys,
                error_msgs,
            )
            return
        saved, own = (
            ", ".join(f"{name}={end.get(name)}" for name in differing) for end in (theirs, ours)
        )
        error_msgs.append(
            f"{prefix}weight is that of a SpectralConv2d with {saved}, and this layer has {own} (build "
            "the layer like the saved one; dict(state) is loaded without this check)"
        )

    def _meaning(self) -> dict[str, int | Size]:
        """Numbers of modes, channels and groups, which the shape of the weight does not determine."""
        names = ("in_channels", "out_channels", "modes", "groups")
        return {name: getattr(self, name) for name in names}

    def multiplier(self, size: int | Sequence[int]) -> Tensor:
        """Factors of the coefficients of an input of the given size, without W.

        Returns:
            ``(out_channels, in_channels / groups, H, W // 2 + 1, 2)``, float32 or float64.
        """
        modes = wide(self.weight)
        if self.balanced:
            modes = balance_gradients(modes, self.modes[1])
        return multiplier_of_modes(modes, self.modes, as_size(size))

    def output_size(self, size: Size) -> Size:
        """Size of the output for an input of the given size."""
        return strided(size, self.stride)

    def product_size(self, size: Size) -> Size:
        """(H, W) of the spectrum that is multiplied, for an input of the given size.

        Only frequencies with a mode are multiplied. An axis on which not all modes lie below the Nyquist
        frequency of the input is kept whole.
        """
        return smaller(odd(self.modes), size)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(batch, in_channels, H, W)`` to ``(batch, out_channels, ceil(H/s), ceil(W/s))``.

        FFTs and products run in float32 (or float64), also under autocast and for half precision. The
        result has the dtype of the images. A single image ``(in_channels, H, W)`` is accepted, too, as
        by torch's convolutions.

        Raises:
            ValueError: the images have another number of axes or channels.
        """
        if images.dim() == 3:
            return self(images[None])[0]
        check_images(images, self.in_channels)
        source = as_size((images.shape[-2], images.shape[-1]))
        target = self.output_size(source)
        resizes = self.striding == "trigonometric"
        with without_autocast(images):
            result = self._convolve(wide(images), source, target if resizes else source)
        if self.pointwise is not None:
            # W acts on channels and commutes with resizing, which is done first to have fewer pixels.
            reduced = trigonometric_resize(images, target) if resizes else images
            result = result + self.pointwise(reduced)
        if not resizes:
            result = result[..., :: self.stride[0], :: self.stride[1]]
        if self.bias is not None:
            result = result + self.bias[:, None, None]
        if self.activation == "gelu":
            result = functional.gelu(result)
        return result.to(images.dtype)

    def _convolve(self, images: Tensor, source: Size, target: Size) -> Tensor:
        """K u on `source`, resized to `target` without leaving the spectrum."""
        kept = self.product_size(source)
        return convolve(images, self.multiplier(kept), kept, target, groups=self.groups)

    @torch.no_grad()
    def lipschitz_bound(self, shape: Sequence[int]) -> tuple[float, tuple[int, int, int]]:
        """A Lipschitz constant in Euclidean norms, and the shape of the output.

        Without a stride and GELU the constant is exact: the largest norm of the channel matrices
        over all frequencies. With a stride or GELU it is an upper bound. `clip.upper_bound` calls this
        method.

        Args:
            shape: shape of one input without the batch, ``(in_channels, height, width)``.

        Returns:
            The constant and ``(out_channels, ceil(height / stride), ceil(width / stride))``.

        Raises:
            ValueError: the shape has another number of axes or channels.
        """
        size = size_of(shape, self.in_channels)
        target = self.output_size(size)
        factors = multiplier_of_modes(self.weight.double(), self.modes, size)
        if self.pointwise is not None:
            # W is one matrix for all frequencies.
            factors[..., 0] += self.pointwise.weight.double()  # (outputs, inputs / groups, 1, 1)
        growth = 1.0
        if self.striding == "trigonometric" and target != size:
            # Frequencies that resizing drops do not count.
            factors = resize_spectrum(factors, size, smaller(odd(target), size), "multiplier")
            growth = resizing_lipschitz(size, target)
        slope = GELU_SLOPE if self.activation == "gelu" else 1.0
        constant = largest_norm(factors, self.groups) * growth * slope
        return constant, (self.out_channels, *target)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, modes={self.modes}, stride={self.stride}, "
            f"groups={self.groups}, bias={self.bias is not None}, activation={self.activation}, "
            f"striding={self.striding}, balanced={self.balanced}"
        )


def _check(inputs: int, outputs: int, groups: int, activation: str, striding: str) -> None:
    if inputs < 1 or outputs < 1 or groups < 1 or inputs % groups or outputs % groups:
        raise ValueError(
            f"Invalid channels: {inputs} -> {outputs} in {groups} groups "
            "(all must be positive, and groups must divide both numbers of channels)"
        )
    check_choice("activation", activation, SpectralActivation)
    check_choice("striding", striding, Striding)
