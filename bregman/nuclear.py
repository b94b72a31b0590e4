"""The nuclear norm: few singular values, hence low rank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Nuclear:
    """J = sum of the singular values of x seen as a matrix `(out, everything else)`.

    One step costs a singular value decomposition per tensor, so the penalty is meant for small layers.
    A tensor with a NaN or infinite entry has no decomposition and raises RuntimeError.
    """

    def check(self, shape: Sequence[int]) -> None:
        """Raise ValueError for a vector or a scalar."""
        if len(shape) < 2:
            raise ValueError(
                f"penalty 'nuclear' does not fit shape {tuple(shape)} (needs 2 dimensions)"
            )

    def value(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """`lam` times the sum of the singular values."""
        if x.numel() == 0:
            return x.new_zeros(())
        with _clear_error(x):
            return lam * torch.linalg.svdvals(_as_matrix(x)).sum()

    def prox(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """`U diag(max(s - lam, 0)) V^T`: the soft threshold of the singular values."""
        if x.numel() == 0:
            return x.clone()
        u, s, vh = _decompose(x)
        return ((u * (s - lam).clamp(min=0)) @ vh).reshape(x.shape)

    def prox_into(self, x: Tensor, lam: float, out: Tensor) -> None:
        """Write the prox into `out`."""
        out.copy_(self.prox(x, lam))

    def subgradient(self, x: Tensor, lam: float = 1.0) -> Tensor:
        """`lam U V^T` over the singular vectors of non-zero singular values."""
        if x.numel() == 0:
            return torch.zeros_like(x)
        u, s, vh = _decompose(x)
        # Below this a singular value is rounding (the convention of torch.linalg.matrix_rank).
        cutoff = s[0] * max(u.shape[0], vh.shape[1]) * torch.finfo(s.dtype).eps
        return lam * ((u * (s > cutoff)) @ vh).reshape(x.shape)


def _decompose(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    with _clear_error(x):
        u, s, vh = torch.linalg.svd(_as_matrix(x), full_matrices=False)
    return u, s, vh


@contextmanager
def _clear_error(x: Tensor) -> Iterator[None]:
    """Explain a failed decomposition by entries of x that are not finite."""
    try:
        yield
    except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
        if bool(x.isfinite().all()):
            raise
        raise RuntimeError(
            f"penalty 'nuclear': a tensor of shape {tuple(x.shape)} holds NaN or infinity "
            "(training has diverged: lower the learning rate or clip the gradients)"
        ) from error


def _as_matrix(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], -1)
