"""The words that settings of this package may have; a member equals its word, so either is taken."""

from __future__ import annotations

from enum import StrEnum


class CircularMethod(StrEnum):
    """How a circular convolution is computed: `auto` takes the FFT for large kernels."""

    auto = "auto"
    direct = "direct"
    fft = "fft"


class Striding(StrEnum):
    """How a stride reduces the size: by trigonometric resizing or by keeping every stride-th pixel."""

    trigonometric = "trigonometric"
    sampling = "sampling"


class SpectralActivation(StrEnum):
    """What follows a spectral convolution within its layer."""

    none = "none"
    gelu = "gelu"


class SpectrumKind(StrEnum):
    """What a spectrum holds: coefficients of images, or a multiplier of coefficients."""

    coefficients = "coefficients"
    multiplier = "multiplier"


class Truncation(StrEnum):
    """Which cut of modes: that of the theory, or the one that the published numbers were made with."""

    exact = "exact"
    published = "published"
