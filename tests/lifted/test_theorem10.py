"""The eleven items of Theorem 10 for every activation, and what the paper derives before them."""

from __future__ import annotations

import pytest
import torch

from tests.lifted.cases import ACTIVATIONS, feasible_point

pytestmark = pytest.mark.parametrize("name", ACTIVATIONS)
N, D = 64, 5


def draw(name):
    activation = ACTIVATIONS[name]
    return activation, feasible_point(activation, N, D), 2 * torch.randn(N, D, dtype=torch.float64)


def inner(a, b):
    return (a * b).sum(1)


def envelope(activation, x, z):
    """E_z(x) = |x - z|^2 / 2 + Psi(x)."""
    return (x - z).square().sum(1) / 2 + activation.psi(x)


def test_item_1_difference_of_envelopes(name):
    act, x, z = draw(name)
    expected = envelope(act, x, z) - envelope(act, act(z), z)
    torch.testing.assert_close(act.bregman_loss(x, z), expected)


def test_item_2_bregman_distance_of_the_kernel(name):
    act, x, z = draw(name)
    expected = act.kernel(x) - act.kernel(act(z)) - inner(z, x - act(z))
    torch.testing.assert_close(act.bregman_loss(x, z), expected)


def test_item_3_bounds_the_squared_error(name):
    act, x, z = draw(name)
    distance = act.psi(x) - act.psi(act(z)) - inner(z - act(z), x - act(z))
    half = (x - act(z)).square().sum(1) / 2
    torch.testing.assert_close(act.bregman_loss(x, z), half + distance)
    assert (distance >= -1e-12).all()
    assert (act.bregman_loss(x, z) >= half - 1e-12).all()


def test_item_4_three_forms_agree(name):
    act, x, z = draw(name)
    sigma = act(z)
    fourth = (x - sigma).square().sum(1) / 2 + act.psi(x) - act.psi(sigma)
    fourth = fourth - inner(z - sigma, x - sigma)
    fenchel = act.kernel(x) + act.phi(z) - inner(x, z)
    torch.testing.assert_close(act.bregman_loss(x, z), fourth)
    torch.testing.assert_close(act.bregman_loss(x, z), fenchel)


def test_items_5_and_6_gradient_is_the_residual(name):
    act, x, z = draw(name)
    z.requires_grad_()
    act.bregman_loss(x, z).sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, act(z.detach()) - x)
    step = 1e-6 * torch.randn_like(x)
    change = act.bregman_loss(x, z.detach() + step) - act.bregman_loss(x, z.detach() - step)
    torch.testing.assert_close(change / 2, inner(z.grad, step), rtol=1e-4, atol=1e-9)


def test_item_7_minimum_at_the_activation(name):
    act, x, z = draw(name)
    zero = act.bregman_loss(act(z), z)
    torch.testing.assert_close(zero, torch.zeros_like(zero), atol=1e-13, rtol=0)
    assert (act.bregman_loss(x, z) > 0).all()


def test_item_8_biconvex(name):
    act, x, z = draw(name)
    x2, z2, w = feasible_point(act, N, D), 2 * torch.randn_like(z), torch.rand(N, 1).double()
    flat = w[:, 0]
    chord = flat * act.bregman_loss(x, z) + (1 - flat) * act.bregman_loss(x2, z)
    assert (act.bregman_loss(w * x + (1 - w) * x2, z) <= chord + 1e-12).all()
    chord = flat * act.bregman_loss(x, z) + (1 - flat) * act.bregman_loss(x, z2)
    assert (act.bregman_loss(x, w * z + (1 - w) * z2) <= chord + 1e-12).all()


def test_items_9_to_11_firmly_nonexpansive(name):
    act, _, z = draw(name)
    z2 = 2 * torch.randn_like(z)
    residuals, points = act(z) - act(z2), z - z2
    assert (inner(residuals, points) >= -1e-12).all()
    assert (residuals.norm(dim=1) <= points.norm(dim=1) + 1e-12).all()
    # Item 11 is misprinted: the bound is the distance of the values, not of the arguments.
    assert (inner(residuals, points) >= residuals.square().sum(1) - 1e-12).all()


def test_psi_and_its_prox_satisfy_moreau(name):
    """z = sigma(z) + prox of the conjugate (Theorem 7), through Fenchel's equality."""
    act, _, z = draw(name)
    sigma = act(z)
    # phi(z) = <sigma, z> - kernel(sigma) holds exactly at the maximiser.
    torch.testing.assert_close(act.phi(z), inner(sigma, z) - act.kernel(sigma))


@pytest.mark.parametrize("t", [0.01, 0.4, 1.0, 3.0, 50.0])
def test_prox_beats_its_neighbours(name, t):
    act, _, v = draw(name)
    x = act.prox(v, t)

    def objective(point):
        return (point - v).square().sum(1) / 2 + t * act.psi(point)

    best = objective(x)
    assert best.isfinite().all()
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(5):
            other = act.project(x + size * torch.randn_like(x))
            assert (objective(other) >= best - 1e-10).all()
    if t == 1:
        torch.testing.assert_close(x, act(v))


@pytest.mark.parametrize("t", [0.1, 1.0, 7.0])
def test_prox_of_phi_is_optimal(name, t):
    act, _, v = draw(name)
    y = act.prox_phi(v, t)
    torch.testing.assert_close(y + t * act(y), v, rtol=1e-8, atol=1e-8)


def test_gradients_by_finite_differences(name):
    act, x, z = draw(name)
    x, z = x[:3].clone(), z[:3].requires_grad_()
    assert torch.autograd.gradcheck(lambda z: act.bregman_loss(x, z), z)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [-50.0, 0.0, 50.0])
def test_stable_far_out(name, dtype, size):
    act = ACTIVATIONS[name]
    z = torch.full((2, 4), size, dtype=dtype)
    z[1, :2] *= -1
    x = act(z)
    z.requires_grad_()
    loss = act.bregman_loss(x, z)
    loss.sum().backward()
    torch.testing.assert_close(loss, torch.zeros_like(loss), atol=1e-5, rtol=0)
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert act.bregman_loss(x.flip(0), z).isfinite().all()


def test_projection_is_feasible_and_idempotent(name):
    act = ACTIVATIONS[name]
    x = act.project(3 * torch.randn(N, D, dtype=torch.float64))
    assert act.feasible(x).all()
    torch.testing.assert_close(act.project(x), x)


def test_far_outside_the_domain_costs_infinity(name):
    act = ACTIVATIONS[name]
    x = torch.full((1, D), -7.0)
    expected = name in ("identity", "soft")
    assert act.feasible(x).item() is expected
    assert act.bregman_loss(x, torch.zeros(1, D)).isfinite().item() is expected


@pytest.mark.parametrize("features", [(5,), (3, 4, 2)])
def test_no_samples_have_no_values(name, features):
    """What holds for each sample holds for a batch of none, gradients included."""
    act = ACTIVATIONS[name]
    z = torch.zeros(0, *features, dtype=torch.float64, requires_grad=True)
    x = act(z).detach().requires_grad_()
    for values in (act.phi(z), act.psi(x), act.kernel(x), act.feasible(x), act.bregman_loss(x, z)):
        assert values.shape == (0,)
    act.bregman_loss(x, z).sum().backward()
    for gradient in (x.grad, z.grad):
        assert gradient is not None
        assert gradient.shape == (0, *features)
