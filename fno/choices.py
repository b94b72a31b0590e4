"""Closed sets of words for settings of this package; a member equals its word, so both are accepted."""

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
    """Activation behind a spectral convolution, within its layer."""

    none = "none"
    gelu = "gelu"


class SpectrumKind(StrEnum):
    """Meaning of a spectrum: coefficients of images, or a multiplier of coefficients."""

    coefficients = "coefficients"
    multiplier = "multiplier"


class Truncation(StrEnum):
    """How modes are cut off: as in the theory, or as in the code of the published numbers."""

    exact = "exact"
    published = "published"
