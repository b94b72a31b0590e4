"""Linear layers that multiply by their non-zero weights alone, with a pattern that stays for a while.

All three products of a step are sparse: outputs and gradients of inputs by the weight and its transpose
in compressed rows, the gradient of the weights at the places of the pattern alone. The arrays of indices
are made once. On a CPU that pays where few weights are left (`python -m bregbench.benchmark --only sparse`).
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn


class Pattern:
    """Places in a matrix, and the arrays of indices that products need.

    Args:
        places: Flat indices into the matrix, ascending, one at least.
        shape: Rows and columns of the matrix.
    """

    def __init__(self, places: Tensor, shape: tuple[int, int]) -> None:
        self.shape = shape
        rows, columns = places // shape[1], places % shape[1]
        self._order = (columns * shape[0] + rows).argsort()
        # The kernels of the CPU count in 32 bits and would convert others at every call.
        self._begins, self._columns = _begins(rows, shape[0]).int(), columns.int()
        self._column_begins = _begins(columns[self._order], shape[1]).int()
        self._rows = rows[self._order].int()

    def matrix(self, values: Tensor) -> Tensor:
        """The matrix with these entries, in compressed rows."""
        return _compressed(self._begins, self._columns, values, self.shape)

    def transposed(self, values: Tensor) -> Tensor:
        """Its transpose."""
        shape = self.shape[1], self.shape[0]
        return _compressed(
            self._column_begins, self._rows, values.index_select(0, self._order), shape
        )

    def product_at(self, left: Tensor, right: Tensor) -> Tensor:
        """Entries of `left @ right` at the places."""
        zeros = self.matrix(left.new_zeros(self._columns.shape))
        return torch.sparse.sampled_addmm(zeros, left, right, beta=0.0).values()


class SparseLinear(nn.Linear):
    """A Linear layer whose `weight` holds the entries of a pattern, one axis.

    Args:
        weight: A parameter `(entries,)`.
        bias: A parameter `(outputs,)` or None.
        pattern: Where the entries are; all others are zero.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, pattern: Pattern) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = pattern.shape
        self.weight = weight  # pyright: ignore[reportAttributeAccessIssue]
        self.bias = bias  # pyright: ignore[reportAttributeAccessIssue]
        self.pattern = pattern

    def forward(self, inputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """`(..., inputs)` to `(..., outputs)`, in the precision of the weight."""
        flat = inputs.reshape(-1, self.in_features)
        outputs: Tensor = _Product.apply(flat, self.weight, self.pattern)  # pyright: ignore[reportAssignmentType]
        outputs = outputs if self.bias is None else outputs + self.bias
        return outputs.reshape(*inputs.shape[:-1], self.out_features)


class _Product(torch.autograd.Function):
    """`inputs @ weight.T` for a weight with a pattern."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx: Any, inputs: Tensor, values: Tensor, pattern: Pattern) -> Tensor:
        ctx.save_for_backward(inputs, values)
        ctx.pattern = pattern
        return (pattern.matrix(values) @ inputs.t()).t()

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (grad,), (inputs, values) = grads, ctx.saved_tensors
        pattern: Pattern = ctx.pattern
        to_inputs, to_values, _ = ctx.needs_input_grad
        return (
            (pattern.transposed(values) @ grad.t()).t() if to_inputs else None,
            pattern.product_at(grad.t(), inputs) if to_values else None,
            None,
        )


def _begins(rows: Tensor, count: int) -> Tensor:
    """Where each row begins among entries in the order of rows, and where the last one ends."""
    begins = rows.new_zeros(count + 1)
    return begins.scatter_add_(0, rows + 1, torch.ones_like(rows)).cumsum(0)


def _compressed(begins: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    with warnings.catch_warnings():  # that the layout is in beta
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(begins, columns, values, shape, check_invariants=False)
