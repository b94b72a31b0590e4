"""Affine maps: vector-Jacobian products equal matrices, norms are bounds and not far off."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lifted.affine import DenseMap
from lifted.norms import DriftingNorm, gram_norm, squared_norm
from lifted.vjp import VectorJacobianMap


@pytest.mark.parametrize("bias", [True, False])
def test_vector_jacobian_products_equal_matrices(bias):
    linear = nn.Linear(6, 4, bias=bias).double()
    dense, general = DenseMap(linear), VectorJacobianMap([linear])
    x, residual = torch.randn(9, 6).double(), torch.randn(9, 4).double()
    with torch.no_grad():
        torch.testing.assert_close(general.forward(x), dense.forward(x))
        torch.testing.assert_close(general.adjoint(residual, x), dense.adjoint(residual, x))
        torch.testing.assert_close(general.gradients(x, residual), dense.gradients(x, residual))
        exact = torch.linalg.matrix_norm(linear.weight, 2) ** 2
        assert exact <= general.input_norm(x) <= 1.2 * exact
        assert exact <= dense.input_norm(x) <= 1.4 * exact
        rows = torch.cat([x, torch.ones(9, 1).double()], 1) if bias else x
        exact = torch.linalg.matrix_norm(rows, 2) ** 2
        assert exact <= general.parameter_norm(x) <= 1.2 * exact
        assert exact <= dense.parameter_norm(x)


def test_adjoint_of_a_convolution_with_pooling():
    modules = [nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.AvgPool2d(2), nn.Flatten()]
    general = VectorJacobianMap([module.double() for module in modules])
    x, v = torch.randn(2, 3, 2, 8, 8).double().unbind(0)
    with torch.no_grad():
        z = general.forward(x)
        residual = torch.randn_like(z)
        change = general.forward(x + v) - z
        left, right = (change * residual).sum(), (v * general.adjoint(residual, x)).sum()
    torch.testing.assert_close(left, right)


def test_frozen_parameters_stay_out():
    linear = nn.Linear(3, 2)
    linear.bias.requires_grad_(False)
    general = VectorJacobianMap([linear])
    assert len(general.parameters) == 1
    with torch.no_grad():
        exact = torch.linalg.matrix_norm(torch.eye(3), 2) ** 2
        assert general.parameter_norm(torch.eye(3)) >= exact


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("shape", [(1, 5), (64, 64), (20, 300), (256, 40)])
def test_gram_norm_bounds_from_above(shape, scale, dtype):
    matrix = torch.randn(shape, dtype=dtype) * scale
    exact = torch.linalg.eigvalsh(matrix.double() @ matrix.double().T)[-1]
    bound = squared_norm(matrix).double()
    assert 0.9999 * exact <= bound <= 1.4 * exact
    flat = torch.eye(256, dtype=dtype) * scale
    assert scale <= gram_norm(flat) * 1.00001 <= scale * 256 ** (1 / 16) * 1.0001


def test_zero_matrix_has_norm_zero():
    assert squared_norm(torch.zeros(4, 3)) == 0
    assert squared_norm(torch.zeros(300, 300)) == 0


def test_large_matrices_by_power_iteration():
    matrix = torch.rand(300, 400)
    exact = torch.linalg.matrix_norm(matrix, 2) ** 2
    assert exact <= squared_norm(matrix) <= 1.2 * exact


def test_drifting_norm_stays_a_bound():
    matrix, norm = torch.randn(20, 30).double(), DriftingNorm()
    for _ in range(12):
        exact = torch.linalg.matrix_norm(matrix, 2) ** 2
        assert exact <= norm(matrix) * (1 + 1e-12)
        matrix = matrix + 0.1 * torch.randn_like(matrix)
