"""Resolution-invariant image classification with Fourier neural operators (Kabri et al. 2023).

`trigonometric_resize` interpolates images. `SpectralConv2d` convolves images of any resolution with
kernels given by their Fourier modes, and commutes with `trigonometric_resize`. `CircularConv2d` is the
spatial parametrisation of the same convolutions; it evaluates large kernels by the FFT. `to_spectral`
and `to_spatial` convert layers, `spectral_network` and `spatial_network` convert whole networks.
`FourierClassifier` and `SpectralResNet18` are the paper's architectures. `frequency_rule` penalises
whole frequencies, so that `bregman`'s optimisers learn the number of modes of a layer; `fno.frequencies`
counts modes, and `fno.lipschitz` has Lipschitz constants. The package depends on torch and `bregman`
only. Part of bregbench.

Example:
    >>> import torch
    >>> from fno import SpectralConv2d, trigonometric_resize
    >>> layer = SpectralConv2d(1, 8, modes=5)
    >>> images = torch.randn(2, 1, 28, 28)
    >>> large = trigonometric_resize(images, 35)
    >>> torch.allclose(layer(large), trigonometric_resize(layer(images), 35), atol=1e-5)
    True
"""

from __future__ import annotations

from fno.circular import CircularConv2d
from fno.classifier import FourierClassifier
from fno.convert import to_spatial, to_spectral
from fno.frequencies import frequency_rule
from fno.networks import spatial_network, spectral_network
from fno.resize import TrigonometricResize, trigonometric_resize
from fno.resnet import SpectralResNet18
from fno.spectral_conv import SpectralConv2d

__all__ = [
    "CircularConv2d",
    "FourierClassifier",
    "SpectralConv2d",
    "SpectralResNet18",
    "TrigonometricResize",
    "frequency_rule",
    "spatial_network",
    "spectral_network",
    "to_spatial",
    "to_spectral",
    "trigonometric_resize",
]
