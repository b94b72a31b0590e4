"""Figures of the paper on Fourier neural operators that show an idea and need no run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from bregbench.figures.base import Figure, Printed
from bregbench.figures.plotting import figure_to
from bregbench.tables.cells import FilledRow
from fno import to_spectral
from fno.interpolation import Interpolation, resize_images
from fno.spectrum import half_spectrum, opposite, resize_spectrum

#: side of the photograph at its full resolution; odd, so that no Nyquist frequency is in play
_SIDE = 127
_KERNEL = 11


@dataclass
class ZeroPadding(Figure):
    """A kernel padded with zeros in space and in frequency."""

    kind: ClassVar[str] = "zero_padding"
    from_runs: ClassVar[bool] = False

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw_zero_padding(output=output)


@dataclass
class NyquistSplitting(Figure):
    """How resizing a spectrum splits the Nyquist frequency."""

    kind: ClassVar[str] = "nyquist"
    from_runs: ClassVar[bool] = False

    def draw(self, rows: list[FilledRow], published: Printed, output: Path) -> None:
        """Draw one file."""
        draw_nyquist_splitting(output=output)


def draw_zero_padding(*, output: Path) -> None:
    """An image at three resolutions under one kernel, padded in space and in frequency.

    The kernel (a derivative filter) belongs to the middle resolution. Padded with zeros in space it keeps
    its pixels and shrinks relative to the image; padded with zeros in frequency it remains the same
    function on the torus, and so does the filtered image.

    Args:
        output: image file.
    """
    image = _photograph(_SIDE)
    sizes = [_SIDE // 4 | 1, _SIDE // 2 | 1, _SIDE]
    spatial, spectral = padded_responses(image, derivative_kernel(_KERNEL), sizes)
    with figure_to(output, width=8.4, height=8.4) as figure:
        axes = figure.subplots(3, 3)
        for column, size in enumerate(sizes):
            shown = resize_images(image, (size, size), Interpolation.trigonometric)
            axes[0, column].imshow(shown[0, 0].numpy(), cmap="gray")
            axes[0, column].set_title(f"{size} x {size}")
            for row, responses in ((1, spatial), (2, spectral)):
                response = responses[column][0, 0].numpy()
                # One range per row: a response that depends on the resolution is to be seen.
                limit = float(responses[-1].abs().max())
                axes[row, column].imshow(response, cmap="RdBu_r", vmin=-limit, vmax=limit)
        for label, line in zip(("image", "spatial", "spectral"), axes, strict=True):
            line[0].set_ylabel(f"{label} zero-padding" if label != "image" else label)
        for panel in axes.flat:
            panel.set(xticks=[], yticks=[])


def padded_responses(
    image: torch.Tensor, kernel: torch.Tensor, sizes: list[int]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """What a kernel makes of an image at several resolutions, padded in space and in frequency.

    Args:
        image: ``(1, 1, side, side)`` at the largest of the sizes.
        kernel: ``(k, k)`` with k odd; a kernel of the second size, at which both paddings agree.
        sizes: odd, the second one the kernel's.

    Returns:
        Responses ``(1, 1, size, size)`` of the spatial padding, and of the spectral one.
    """
    side = kernel.shape[-1]
    conv = nn.Conv2d(1, 1, side, padding="same", padding_mode="circular", bias=False).to(image)
    conv.weight.requires_grad_(False).copy_(kernel)
    layer = to_spectral(conv, sizes[1])
    spatial, spectral = [], []
    for size in sizes:
        resized = resize_images(image, (size, size), Interpolation.trigonometric)
        spatial.append(conv(resized))
        spectral.append(layer(resized).detach())
    return spatial, spectral


def derivative_kernel(side: int) -> torch.Tensor:
    """``(side, side)``: i / (i^2 + j^2) around the centre, 0 there, of unit norm; a smooth derivative."""
    i = torch.arange(side, dtype=torch.float64) - side // 2
    squares = i[:, None].square() + i.square()
    kernel = i[:, None] / squares.clamp(min=1)
    return kernel / kernel.norm()


def draw_nyquist_splitting(*, output: Path) -> None:
    """The spectrum of an even image, and the same resized to the next odd size and to a larger even one.

    Args:
        output: image file.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 1, 4, 4, dtype=torch.float64, generator=generator)
    sizes = (4, 5, 8)
    with figure_to(output, width=9, height=3.6) as figure:
        axes = figure.subplots(1, len(sizes))
        for panel, size in zip(axes, sizes, strict=True):
            spectrum = full_spectrum(resize_half_spectrum(image, size), size)
            amplitudes = spectrum.abs().numpy()
            low = -((size) // 2)
            panel.imshow(amplitudes, cmap="viridis", vmin=0, extent=_extent(low, size))
            for row, k1 in enumerate(range(low, low + size)):
                for column, k2 in enumerate(range(low, low + size)):
                    text = f"{amplitudes[row, column]:.2f}"
                    panel.text(k2, k1, text, ha="center", va="center", color="w", fontsize=6)
            panel.grid(visible=False)
            panel.set_title(f"{size} x {size}")
            panel.set(xlabel="$k_2$", ylabel="$k_1$")
            panel.set_xticks(range(low, low + size))
            panel.set_yticks(range(low, low + size))


def resize_half_spectrum(image: torch.Tensor, size: int) -> torch.Tensor:
    """Half spectrum ``(rows, columns, 2)`` of an image ``(1, 1, side, side)`` resized to a size."""
    side = image.shape[-1]
    spectrum = half_spectrum(image)[0, 0]
    return resize_spectrum(spectrum, (side, side), (size, size), "coefficients")


def full_spectrum(half: torch.Tensor, size: int) -> torch.Tensor:
    """All coefficients ``(size, size)``, complex, frequencies rising from -(size // 2).

    Args:
        half: ``(size, size // 2 + 1, 2)`` of a real image.
        size: of the image.
    """
    stored = torch.view_as_complex(half.contiguous())
    mirrored = torch.view_as_complex(opposite(half).contiguous())
    inner = stored.shape[1] - (1 if size % 2 == 0 else 0)
    negative = mirrored[:, 1:inner].flip(1)
    return torch.fft.fftshift(torch.cat([stored, negative], dim=1))


def _photograph(side: int) -> torch.Tensor:
    """A grey square ``(1, 1, side, side)`` of the photograph of a flower that scikit-learn carries."""
    from sklearn.datasets import load_sample_image

    pixels = torch.from_numpy(np.array(load_sample_image("flower.jpg"))).double() / 255
    grey = pixels.mean(2)[None, None]
    height = grey.shape[2]
    left = (grey.shape[3] - height) // 2
    square = grey[..., left : left + height]
    return resize_images(square, (side, side), Interpolation.bilinear)


def _extent(low: int, size: int) -> tuple[float, float, float, float]:
    """Pixels of an image centred on the frequencies that they stand for."""
    return low - 0.5, low + size - 0.5, low + size - 0.5, low - 0.5
