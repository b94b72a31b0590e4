"""What single solvers promise: limits, equalities, sparsity, acceleration, errors, cost."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bregman import LinBreg, ProxSGD, penalize
from lifted import (
    BackPropagation,
    BlockCoordinate,
    DivergenceError,
    ExplicitImplicit,
    Identity,
    ImplicitStochastic,
    L1Regulariser,
    Lift,
    LiftedNetwork,
    Multipliers,
    ProximalGradient,
    StoredStochastic,
    energy,
    paper_rho,
)
from lifted.choices import Order
from tests.lifted.cases import convolutional_network, data, images, perceptron
from tests.lifted.solver_cases import LIFTED, NETWORKS, SAMPLES, run


def test_orders_agree_where_there_is_one_layer():
    """Without auxiliary variables all orders are the same proximal point step."""
    x, y = data(SAMPLES, 30, 3)
    results = []
    for order, gram in (("layer", True), ("sweep", True), ("alternating", True), ("layer", False)):
        torch.manual_seed(5)
        network = perceptron(30, 3)
        solver = ImplicitStochastic(network, order=order, rho=0.5, iterations=800, gram=gram)
        run(solver, x, y, 1)
        results.append(network.get_parameter("0.weight").detach())
    for other in results[1:]:
        torch.testing.assert_close(results[0], other, rtol=0, atol=1e-10)


def test_sgd_bp_is_torch_sgd():
    network, (x, y) = NETWORKS["dense"]()
    twin = copy.deepcopy(network)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.01)
    run(BackPropagation(network, lr=0.01, reduction="sum"), x, y, 3)
    for _ in range(3):
        optimizer.zero_grad()
        ((twin(x) - y).square().sum() / 2).backward()
        optimizer.step()
    torch.testing.assert_close(network.state_dict(), twin.state_dict())


@pytest.mark.parametrize(("penalty", "lam"), [("l1", 0.05), ("nuclear", 0.3)])
def test_linearised_bregman_iterations_give_simple_parameters(penalty, lam):
    """Weights start at zero and enter late: sparse or of low rank, at a falling loss."""
    network, (x, y) = NETWORKS["dense"]()
    with torch.no_grad():
        network.get_parameter("0.weight").zero_()
    optimizer = LinBreg(
        [
            {"params": [network.get_parameter("0.weight")], "penalty": penalty, "lam": lam},
            {"params": [p for name, p in network.named_parameters() if name != "0.weight"]},
        ],
        lr=0.1,
    )
    solver = ExplicitImplicit(network, optimizer=optimizer)
    first = run(solver, x, y, 1)
    assert run(solver, x, y, 80) < first
    weight = network.get_parameter("0.weight").detach()
    if penalty == "l1":
        assert 0 < (weight != 0).double().mean() < 0.6
    else:
        assert 0 < torch.linalg.matrix_rank(weight, tol=1e-8) < 5
    assert solver.notes() == []


def test_variational_penalties_on_parameters_are_flagged():
    network, _ = NETWORKS["dense"]()
    solver = ExplicitImplicit(network, optimizer=ProxSGD(penalize(network, lam=0.1), lr=0.1))
    assert "no longer holds" in solver.notes()[0]


def test_acceleration_pays():
    network, (x, y) = NETWORKS["dense"]()
    values = {}
    for name in ("gauss-seidel", "nesterov", "heavy-ball"):
        solver = LIFTED[name](copy.deepcopy(network))
        seen: list[Tensor] = []
        solver.observers.append(lambda lift, seen=seen: seen.append(energy(lift).total))
        run(solver, x, y, 150)
        values[name] = seen[-1]
    assert values["nesterov"] < values["heavy-ball"] < values["gauss-seidel"]


def test_multipliers_close_the_gap():
    network, (x, y) = NETWORKS["dense"]()
    solver = ProximalGradient(network)
    multipliers = Multipliers(solver, rate=50.0)
    gaps: list[Tensor] = []
    solver.observers.append(lambda lift: gaps.append(energy(lift).penalties.sum()))
    for _ in range(150):
        solver.step(x, y)
        before = list(network.lam)
        assert all(a >= b for a, b in zip(multipliers.update(), before, strict=False))
    assert gaps[-1] < 0.2 * max(gaps)
    state = multipliers.state_dict()
    multipliers.load_state_dict(state)
    assert network.lam[-1] == 1


def test_variables_belong_to_samples():
    """Half of the samples at a time: stored rows are found again and others left alone."""
    network, (x, y) = NETWORKS["dense"]()
    solver = StoredStochastic(network, samples=SAMPLES, rho=0.1)
    half = torch.arange(0, SAMPLES, 2)
    solver.step(x[half], y[half], half)
    kept = solver._storage.tables[0].clone()
    solver.step(x[half + 1], y[half + 1], half + 1)
    torch.testing.assert_close(solver._storage.tables[0][half], kept[half], rtol=0, atol=0)
    assert solver._storage.visited is not None
    assert solver._storage.visited.all()
    with pytest.raises(ValueError, match="no indices"):
        solver.step(x, y)


def test_divergence_is_reported():
    network, (x, y) = NETWORKS["dense"]()
    solver = BackPropagation(network, lr=50.0)
    with pytest.raises(DivergenceError, match="loss rose from"):
        run(solver, x, y, 30)
    infeasible = LiftedNetwork(nn.Sequential(nn.Linear(5, 3), nn.ReLU()).double())
    with pytest.raises(DivergenceError, match="outside the domain"):
        run(ImplicitStochastic(infeasible), x, y, 1)


def test_refuses_bad_arguments():
    network, (x, y) = NETWORKS["dense"]()
    with pytest.raises(ValueError, match="Invalid order"):
        ImplicitStochastic(network, order="down")
    with pytest.raises(ValueError, match="Invalid step_scale"):
        ImplicitStochastic(network, step_scale=2.0)
    with pytest.raises(ValueError, match="Invalid rho"):
        ImplicitStochastic(network, rho=-1.0)
    with pytest.raises(ValueError, match="Invalid factor"):
        ImplicitStochastic(network).scale_lr(0.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="must be 'parameters'"):
        ExplicitImplicit(network, explicit="auxiliary", optimizer=optimizer)
    solver = ProximalGradient(network)
    solver.step(x, y)
    with pytest.raises(ValueError, match="whole training set"):
        solver.step(x[:3], y[:3])
    with pytest.raises(ValueError, match="ADMM needs dense layers"):
        BlockCoordinate(convolutional_network(), inner="admm").step(*images(3))
    with pytest.raises(ValueError, match=r"Invalid iterations: 0\.5"):
        ImplicitStochastic(network, iterations=0.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"Invalid parameter_steps: 2\.5"):
        BlockCoordinate(network, parameter_steps=2.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="index 5 of 3 samples"):
        StoredStochastic(network, samples=3).step(x[:2], y[:2], torch.tensor([1, 5]))
    with pytest.raises(ValueError, match="no penalties"):
        Multipliers(BackPropagation(network, lr=0.1), rate=1.0)
    with pytest.raises(ValueError, match="Bregman penalty"):
        BlockCoordinate(perceptron(5, 4, 3, penalty="mac"), inner="admm").step(x, y)


def test_iterative_regularisers_run_in_mirror_steps_only():
    x, y = data(SAMPLES, 5, 3)
    terms = {1: L1Regulariser(0.1, mode="iterative")}
    network = perceptron(5, 8, 7, 3, regularisers=terms)
    first = run(ProximalGradient(network), x, y, 1)
    assert run(ProximalGradient(network), x, y, 20) < first
    with pytest.raises(ValueError, match="iterative regulariser"):
        BlockCoordinate(network, inner="admm").step(x, y)
    with pytest.raises(ValueError, match="iterative regulariser"):
        ImplicitStochastic(network, x_step="prox").step(x, y)
    with pytest.raises(ValueError, match="iterative regulariser"):
        BackPropagation(network, lr=0.1)


def test_schedules_leave_rho_and_rate_of_back_propagation_reciprocal():
    """ISGD-BP with factor c is ISGD-BP with rate c lr and weight rho / c: 1 / rho is a rate (22)."""
    network, (x, y) = NETWORKS["dense"]()
    twin = copy.deepcopy(network)
    scaled = BackPropagation(network, lr=0.2, iterations=4, rho=0.5)
    scaled.scale_lr(0.5)
    scaled.step(x, y)
    BackPropagation(twin, lr=0.1, iterations=4, rho=1.0).step(x, y)
    torch.testing.assert_close(network.state_dict(), twin.state_dict(), rtol=0, atol=0)


def test_a_step_costs_a_small_multiple_of_back_propagation():
    """Goal 10 in multiplications, which no machine changes; `make benchmark` measures the time."""
    images, labels = torch.randn(100, 784), torch.randint(10, (100,))
    targets = nn.functional.one_hot(labels, 10).float()

    def modules() -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    def cost(step: Callable[[], object]) -> int:
        with FlopCounterMode(display=False) as counter:
            step()
        return counter.get_total_flops()

    plain = modules()
    base = cost(lambda: (plain(images) - targets).square().sum().backward())
    assert base > 0
    for order in Order:
        lifted = ImplicitStochastic(LiftedNetwork(modules()), order=order)
        assert base < cost(lambda method=lifted: method.step(images, targets)) < 7 * base


def test_paper_rho():
    assert paper_rho(100, 100) == 1
    assert paper_rho(0.5, 20, convention="literal") == 0.5
    assert paper_rho(0.5, 20, convention="reciprocal") == 2
    with pytest.raises(ValueError, match="Invalid convention"):
        paper_rho(1, 1, convention="mean")


def test_solvers_leave_no_graph_and_identity_output_is_default():
    network, (x, y) = NETWORKS["dense"]()
    assert isinstance(network.layers[-1].activation, Identity)
    result = ImplicitStochastic(network).step(x, y)
    assert not result.loss.requires_grad
    with torch.no_grad():
        assert not Lift(network, x, y).outputs.requires_grad
