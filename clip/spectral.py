"""Spectral norms that are enlarged by their rounding error, so that they are upper bounds."""

from __future__ import annotations

import torch
from torch import Tensor

#: Every computed norm is enlarged by this share. The rounding error of a Gram matrix and of its
#: eigenvalues in float64 is below 5e-10 of the square of the norm for matrices with up to 10^4
#: columns and 10^3 rows (size of a row times rank times 1.1e-16), so the result bounds the norm of
#: the matrix as stored.
ROUNDING = 1e-9


def as_double(tensor: Tensor) -> Tensor:
    """A float64 copy, on the CPU if the device has no float64.

    Raises:
        ValueError: an entry is not finite.
    """
    tensor = tensor.detach()
    tensor = tensor.cpu() if tensor.device.type == "mps" else tensor
    tensor = tensor.double()
    if not bool(tensor.isfinite().all()):
        raise ValueError("has weights that are not finite, so there is no bound")
    return tensor


def spectral_norms(matrices: Tensor) -> Tensor:
    """Spectral norms of a batch of matrices, never less than the exact norms.

    The norm is the root of the largest eigenvalue of the smaller Gram matrix. A Gram matrix loses
    accuracy for small singular values only. The eigenvalues come from a direct solver, so that close
    singular values do not slow it down.

    Args:
        matrices: float64 or complex128, ``(..., rows, columns)``.

    Returns:
        float64 ``(...)``, enlarged by `ROUNDING`.
    """
    if matrices.numel() == 0:
        return matrices.new_zeros(matrices.shape[:-2], dtype=torch.float64)
    scale = matrices.abs().amax()
    if scale == 0:
        return matrices.new_zeros(matrices.shape[:-2], dtype=torch.float64)
    # Scale entries to order one, so that no square overflows or underflows.
    matrices = matrices / scale
    rows, columns = matrices.shape[-2:]
    gram = matrices @ matrices.mH if rows <= columns else matrices.mH @ matrices
    return scale * torch.linalg.eigvalsh(gram)[..., -1].clamp(min=0).sqrt() * (1 + ROUNDING)


def spectral_norm(matrix: Tensor) -> float:
    """Spectral norm of one matrix of any real precision; see `spectral_norms`."""
    return float(spectral_norms(as_double(matrix)))
