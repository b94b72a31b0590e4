"""Sparse linear layers against dense ones, and coarse steps with them against the masked optimiser."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from bregman import LinBreg, Rule, initialize_biases, penalize
from dessilbi import ShrunkTraining
from dessilbi.sparse_linear import Pattern, SparseLinear

EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}


def sparse_weight(shape: tuple[int, int], density: float) -> torch.Tensor:
    weight = torch.randn(shape, dtype=torch.float64)
    return weight * (torch.rand(shape) < density)


@pytest.mark.parametrize("shape", [(5, 7), (1, 3), (4, 1), (30, 20)])
@pytest.mark.parametrize("lead", [(6,), (2, 3), ()])
def test_a_sparse_layer_has_the_values_and_gradients_of_a_dense_one(shape, lead):
    weight = sparse_weight(shape, 0.3)
    weight[0, 0] = 1.0
    places = weight.flatten().nonzero().flatten()
    dense, bias = nn.Parameter(weight.clone()), nn.Parameter(torch.randn(shape[0]).double())
    layer = SparseLinear(
        nn.Parameter(weight.flatten()[places]),
        nn.Parameter(bias.detach().clone()),
        Pattern(places, shape),
    )
    ours = torch.randn(*lead, shape[1], dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    out, wanted = layer(ours), functional.linear(theirs, dense, bias)
    torch.testing.assert_close(out, wanted, **EXACT)
    out.square().sum().backward()
    wanted.square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, **EXACT)
    assert dense.grad is not None
    assert layer.bias is not None
    torch.testing.assert_close(layer.bias.grad, bias.grad, **EXACT)
    torch.testing.assert_close(layer.weight.grad, dense.grad.flatten()[places], **EXACT)


def test_rows_and_columns_without_entries_give_zeros():
    layer = SparseLinear(
        nn.Parameter(torch.tensor([2.0])), None, Pattern(torch.tensor([4]), (3, 3))
    )
    assert layer(torch.eye(3)).tolist() == [[0, 0, 0], [0, 2, 0], [0, 0, 0]]


def test_autocast_keeps_the_precision_of_the_weight():
    layer = SparseLinear(nn.Parameter(torch.ones(1)), None, Pattern(torch.tensor([0]), (1, 1)))
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.full((1, 1), 1 + 2.0**-12, requires_grad=True))
        out.sum().backward()
    assert out.item() == 1 + 2.0**-12


def networks() -> tuple[nn.Module, nn.Module]:
    """Two equal networks with few weights."""
    layers = (nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 10), nn.Tanh(), nn.Linear(10, 3))
    network = nn.Sequential(*layers).double()
    initialize_biases(network)
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(torch.rand_like(layer.weight) < 0.25)
    return network, copy.deepcopy(network)


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.randn(6, 8).double(), torch.randint(3, (6,))) for _ in range(count)]


def step(network: nn.Module, optimizer: Any, batch: tuple[torch.Tensor, torch.Tensor]) -> float:
    optimizer.zero_grad()
    loss = functional.cross_entropy(network(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    return loss.item()


def test_coarse_steps_are_ordinary_ones_with_the_gradient_masked_to_the_support():
    mine, whole = networks()
    optimizer, ordinary = (LinBreg(penalize(net, lam=0.1), lr=0.05) for net in (mine, whole))
    shrunk = ShrunkTraining(mine, optimizer, coarse_steps=3, sparse=1.0)
    data = batches(8)
    support: dict[torch.Tensor, torch.Tensor] = {}
    for number, batch in enumerate(data):
        coarse = number % 4 != 0
        network = shrunk.network
        sparse = [layer for layer in network.modules() if isinstance(layer, SparseLinear)]
        assert len(sparse) == (3 if coarse else 0)
        if number % 4 == 1:
            kept = shrunk.kept
            support = {p: p != 0 for p in whole.parameters() if p.dim() == 2}
            for name in ("0", "2"):
                if name in kept:
                    support[whole.get_parameter(f"{name}.bias")] = kept[name]
                    following = whole.get_parameter(f"{int(name) + 2}.weight")
                    support[following] = support[following] & kept[name]
                    support[whole.get_parameter(f"{name}.weight")] &= kept[name][:, None]
        ours = step(network, shrunk, batch)
        ordinary.zero_grad()
        loss = functional.cross_entropy(whole(batch[0]), batch[1])
        loss.backward()
        if coarse:
            for param, mask in support.items():
                assert param.grad is not None
                param.grad.mul_(mask)
        ordinary.step()
        assert ours == pytest.approx(loss.item(), rel=1e-10)
        shrunk.synchronise()
        for one, other in zip(mine.parameters(), whole.parameters(), strict=True):
            torch.testing.assert_close(one, other, **EXACT)
            torch.testing.assert_close(
                optimizer.state[one]["dual"], ordinary.state[other]["dual"], **EXACT
            )


@pytest.mark.parametrize("steps", [1, 2, 4, 6])
def test_an_interrupted_run_with_sparse_layers_goes_on_bit_by_bit(steps):
    mine, again = networks()
    first = LinBreg(penalize(mine, lam=0.1), lr=0.05, momentum=0.9)
    second = LinBreg(penalize(again, lam=0.1), lr=0.05, momentum=0.9)
    whole = ShrunkTraining(mine, first, coarse_steps=3, weight=3, sparse=0.5)
    data = batches(8)
    for batch in data[:steps]:
        step(whole.network, whole, batch)
    saved = copy.deepcopy((whole.state_dict(), mine.state_dict(), first.state_dict()))
    again.load_state_dict(saved[1])
    second.load_state_dict(saved[2])
    resumed = ShrunkTraining(again, second, sparse=0.5)
    resumed.load_state_dict(saved[0])
    for batch in data[steps:]:
        assert step(whole.network, whole, batch) == step(resumed.network, resumed, batch)
    whole.synchronise()
    resumed.synchronise()
    assert all(map(torch.equal, mine.state_dict().values(), again.state_dict().values()))


def test_layers_with_many_weights_and_groups_stay_dense():
    network, _ = networks()
    nn.init.ones_(network[2].weight)  # pyright: ignore[reportIndexIssue, reportArgumentType]
    rules = [Rule("l12", name="4.weight", group="row"), Rule("l1", name="*weight")]
    optimizer = LinBreg(penalize(network, rules, lam=0.01), lr=1e-9)
    shrunk = ShrunkTraining(network, optimizer, coarse_steps=3, sparse=0.5)
    step(shrunk.network, shrunk, batches(1)[0])
    kinds = [type(layer) for layer in shrunk.network if isinstance(layer, nn.Linear)]  # pyright: ignore[reportGeneralTypeIssues]
    assert kinds == [SparseLinear, nn.Linear, nn.Linear]
