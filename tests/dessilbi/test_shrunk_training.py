"""Shrunk training against its oracle, and what it promises to a training loop."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bregman import LinBreg, ProxSGD, penalize
from dessilbi import ShrunkTraining, coarse_steps_at
from tests.dessilbi.random_networks import random_network
from tests.dessilbi.shrunk_oracle import NETWORKS, OPTIMIZERS, RULES, Pair, batches, loss_of

EXACT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}


def compare(pair: Pair, *, bitwise: bool = False) -> None:
    """Weights, supports, state and running statistics, but those that may stand still."""
    options: dict[str, Any] = {"rtol": 0, "atol": 0} if bitwise else EXACT
    theirs = pair.whole.state_dict()
    for name, tensor in pair.network.state_dict().items():
        moves = ~pair.stale.get(name, torch.zeros_like(tensor, dtype=torch.bool))
        torch.testing.assert_close(tensor[moves], theirs[name][moves], **options, msg=name)
    for mine, other in zip(pair.network.parameters(), pair.whole.parameters(), strict=True):
        assert torch.equal(mine != 0, other != 0)
        state, expected = pair.optimizer.state[mine], pair.ordinary.state[other]
        assert state.keys() == expected.keys()
        for key in state:
            torch.testing.assert_close(state[key], expected[key], **options)


@pytest.mark.parametrize("penalty", RULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_coarse_steps_are_those_of_the_masked_optimiser(name, optimizer, penalty):
    pair = Pair(name, optimizer, penalty, coarse_steps=3)
    small = []
    for batch in batches(name, 9):
        ours, theirs, was_small = pair.step(batch)
        small.append(was_small)
        assert ours == pytest.approx(theirs, rel=1e-10)
        pair.shrunk.synchronise()
        compare(pair)
    assert small == [False, True, True, True] * 2 + [False]


@pytest.mark.parametrize("name", NETWORKS)
def test_without_coarse_steps_a_run_is_the_ordinary_one_bit_by_bit(name):
    pair = Pair(name, "momentum", "l1", weight=7.0)
    for batch in batches(name, 4):
        ours, theirs, small = pair.step(batch)
        assert ours == theirs
        assert not small
    compare(pair, bitwise=True)


@pytest.mark.parametrize(("weight", "times"), [(2.5, 2.5), (3.0, 3.0), (7.0, 3.0)])
def test_a_full_step_counts_what_missed_coarse_steps_with_its_weight(weight, times):
    pair = Pair("mlp", "linbreg", "filter", coarse_steps=2, weight=weight)
    *first, last = batches("mlp", 4)
    for batch in first:
        pair.step(batch)
    pair.ordinary.zero_grad()
    loss_of(pair.whole, last).backward()
    for param, mask in pair._masks().items():
        param.grad = torch.where(mask, param.grad, times * param.grad)  # type: ignore[operator]
    pair.ordinary.step()
    pair.shrunk.zero_grad()
    loss_of(pair.shrunk.network, last).backward()
    pair.shrunk.step()
    compare(pair)


@pytest.mark.parametrize("optimizer", ["momentum", "adabreg"])
def test_moments_do_not_grow_with_the_weight(optimizer):
    states = []
    for weight in (1.0, 5.0):
        torch.manual_seed(0)
        pair = Pair("mlp", optimizer, "filter", coarse_steps=1, weight=weight)
        for batch in batches("mlp", 3):
            pair.step(batch)
        states.append([pair.optimizer.state[p] for p in pair.network.parameters()])
    key = "momentum_buffer" if optimizer == "momentum" else "exp_avg_sq"
    assert all(torch.equal(a[key], b[key]) for a, b in zip(*states, strict=True))
    assert not all(torch.equal(a["dual"], b["dual"]) for a, b in zip(*states, strict=True))


@pytest.mark.parametrize(
    ("name", "penalty"), [("mlp", "filter"), ("cnn", "l1"), ("resnet", "channel")]
)
@pytest.mark.parametrize("steps", [1, 2, 4, 5])
def test_an_interrupted_run_goes_on_bit_by_bit(name, penalty, steps):
    data = batches(name, 9)
    pair = Pair(name, "momentum", penalty, coarse_steps=3, weight=4.0)
    for batch in data[:steps]:
        train(pair.shrunk, batch)
    saved = copy.deepcopy(
        (pair.shrunk.state_dict(), pair.network.state_dict(), pair.optimizer.state_dict())
    )
    again = Pair(name, "momentum", penalty)
    again.network.load_state_dict(saved[1])
    again.optimizer.load_state_dict(saved[2])
    again.shrunk.load_state_dict(saved[0])
    assert str(again.shrunk.state_dict()) == str(saved[0])
    for batch in data[steps:]:
        assert train(pair.shrunk, batch) == train(again.shrunk, batch)
    again.shrunk.synchronise()
    pair.shrunk.synchronise()
    assert_same(pair, again)


@pytest.mark.parametrize("name", NETWORKS)
def test_writing_back_within_a_cycle_changes_nothing(name):
    pairs = []
    for often in (False, True):
        torch.manual_seed(0)
        pair = Pair(name, "adabreg", "filter", coarse_steps=3)
        for batch in batches(name, 8):
            train(pair.shrunk, batch)
            if often:
                pair.shrunk.synchronise()
        pairs.append(pair)
    assert_same(*pairs)


def assert_same(one: Pair, other: Pair) -> None:
    for key, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, other.network.state_dict()[key]), key
    for mine, theirs in zip(one.network.parameters(), other.network.parameters(), strict=True):
        for key, value in one.optimizer.state[mine].items():
            assert torch.equal(
                torch.as_tensor(value), torch.as_tensor(other.optimizer.state[theirs][key])
            )


def train(shrunk: ShrunkTraining, batch: tuple[Tensor, Tensor]) -> float:
    shrunk.zero_grad()
    loss = loss_of(shrunk.network, batch)
    loss.backward()
    shrunk.step()
    return float(loss.detach())


def linbreg(network: nn.Module, **options: Any) -> LinBreg:
    return LinBreg(penalize(network, lam=0.1), **{"lr": 0.0, **options})


def begun(network: nn.Module, *shape: int, **options: Any) -> ShrunkTraining:
    """Training of a network that is what it was: after a full step without a learning rate."""
    images = torch.randn(4, *shape)
    optimizer = linbreg(network, **options)
    shrunk = ShrunkTraining(network, optimizer, coarse_steps=2, example=images)
    train(shrunk, (images, torch.randint(2, (4,))))
    return shrunk


def kept(shrunk: ShrunkTraining) -> dict[str, Tensor]:
    assert shrunk.network  # where a cycle begins
    return shrunk.kept


@torch.no_grad()
def drop(layer: Any, *, rows=(), columns=()) -> None:
    layer.weight[list(rows)] = 0.0
    layer.weight[:, list(columns)] = 0.0


def test_units_without_weights_and_units_that_nobody_reads_are_left_out_along_the_whole_chain():
    network: Any = nn.Sequential(
        *(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    )
    drop(network[0], rows=[1])
    drop(network[4], columns=[0, 3])
    with torch.no_grad():
        network[2].weight[1:, 2] = 0.0  # read by unit 0 alone, which nobody reads
        network[2].weight[4, [0, 2, 3]] = 0.0  # reads unit 1 alone, which is constant
    small: Any = begun(network, 3).network
    assert small[0].weight.shape == (2, 3)
    assert small[2].weight.shape == (2, 2)
    assert small[4].weight.shape == (2, 2)
    assert torch.equal(small[2].weight, network[2].weight[[1, 2]][:, [0, 3]])


def test_a_layer_keeps_one_unit():
    network: Any = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    drop(network[0], rows=range(4))
    assert begun(network, 3).network[0].weight.shape == (1, 3)  # type: ignore[index]


def test_the_unit_that_a_layer_keeps_is_one_that_was_still_there():
    network: Any = nn.Sequential(
        *(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    )
    drop(network[4], columns=[1])
    drop(network[2], rows=[0], columns=[0])  # unit 1 is read by the unit that nobody reads
    assert [mask.tolist() for mask in kept(begun(network, 3)).values()] == [
        [False, True],
        [True, False],
    ]


def test_units_that_read_a_constant_that_is_trained_are_no_constants():
    network: Any = nn.Sequential(
        *(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    )
    drop(network[0], rows=range(4))  # one of them stays all the same
    assert [mask.tolist() for mask in kept(begun(network, 3)).values()] == [
        [True, False, False, False],
        [True, True, True],
    ]


@pytest.mark.parametrize(("layer", "penalty"), [(0, "channel"), (2, "filter")])
def test_groups_that_may_bring_weights_back_keep_what_they_span(layer, penalty):
    shrinks = []
    for rules in ("l1", penalty):
        network: Any = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        nn.init.zeros_(network[layer].weight)
        optimizer = LinBreg(penalize(network, RULES[rules], lam=1.0), lr=0.01)
        shrunk = ShrunkTraining(network, optimizer, coarse_steps=1)
        train(shrunk, (torch.randn(4, 3), torch.randint(2, (4,))))
        assert not network[layer].weight.any()
        shrinks.append(shrunk.network is not network)
    assert shrinks == [True, False]


def test_a_constant_stays_where_zeros_are_put_around_it():
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1), nn.Flatten())
    network: Any = nn.Sequential(*layers, nn.Linear(32, 2))
    drop(network[0], rows=[0, 1])
    with torch.no_grad():
        network[0].bias[0], network[0].bias[1] = 1.0, -1.0
    assert kept(begun(network, 1, 6, 6))["0"].tolist() == [True, False, True, True]


def test_a_constant_that_a_transposed_convolution_does_not_read_adds_nothing():
    network: Any = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 2, 3), nn.Flatten()),
        nn.Linear(72, 2),
    )
    drop(network[0], rows=[0])
    drop(network[2], rows=[0])  # its inputs
    nn.init.ones_(network[0].bias)
    shrunk = begun(network, 1, 6, 6)
    assert kept(shrunk)["0"].tolist() == [False, True, True, True]
    inputs = torch.randn(3, 1, 6, 6)
    torch.testing.assert_close(shrunk.network(inputs), network(inputs))


def test_dropout_leaves_no_constant_but_zero():
    network: Any = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2))
    drop(network[0], rows=[0, 1])
    with torch.no_grad():
        network[0].bias[0], network[0].bias[1] = 1.0, -1.0
    assert kept(begun(network, 3))["0"].tolist() == [True, False, True, True]


def test_norm_layers_that_are_frozen_shift_constants_by_their_statistics():
    torch.manual_seed(0)
    network: Any = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    drop(network[0], rows=[0])
    network[1].eval()
    nn.init.constant_(network[1].running_mean, -2.0)
    shrunk = begun(network, 3)
    inputs = torch.randn(5, 3)
    assert kept(shrunk)["0"].tolist() == [False, True, True, True]
    torch.testing.assert_close(shrunk.network(inputs), network(inputs))


def test_two_batches_in_a_step_are_two_in_running_statistics():
    pair = Pair("cnn", "linbreg", "filter", coarse_steps=1)
    full, first, second = batches("cnn", 3)
    train(pair.shrunk, full)
    twin = copy.deepcopy(pair.network)
    for batch in (first, second):
        loss_of(pair.shrunk.network, batch).backward()
        twin(batch[0])
    pair.shrunk.synchronise()
    for name, buffer in twin.named_buffers():
        torch.testing.assert_close(buffer, pair.network.get_buffer(name), **EXACT)


def test_options_of_the_optimiser_act_on_coarse_steps():
    pair = Pair("mlp", "linbreg", "l1", coarse_steps=2)
    for number, batch in enumerate(batches("mlp", 3)):
        for optimizer in (pair.optimizer, pair.ordinary):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (1 + number)
                group["lam"] *= 1.1
                group["weight_decay"] = 0.05 * number
        pair.step(batch)
    compare(pair)


def test_channels_last_stays():
    network: Any = nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 2)
    )
    drop(network[0], rows=[0, 1, 2])
    with torch.no_grad():
        network[0].bias.fill_(-1.0)
    network.to(memory_format=torch.channels_last)
    small: Any = begun(network, 4, 8, 8).network
    assert small[2].weight.shape == (4, 5, 3, 3)
    for layer in (small[0], small[2]):
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)


class Opaque(nn.Module):
    """Decides by values."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs) if inputs.sum() > 0 else self.layers(-inputs)


@pytest.mark.parametrize("network", [Opaque(), nn.Sequential(nn.Linear(3, 2))])
def test_a_network_of_which_nothing_can_be_left_out_is_trained_in_full_and_says_so(network):
    with pytest.warns(UserWarning, match="trained in full") as caught:
        shrunk = ShrunkTraining(network, linbreg(network, lr=0.1), coarse_steps=3, weight=2.0)
    assert len(caught) == 1
    assert shrunk.reason is not None
    twin = copy.deepcopy(network)
    optimizer = linbreg(twin, lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            batch = (torch.randn(4, 3), torch.randint(2, (4,)))
            train(shrunk, batch)
            optimizer.zero_grad()
            loss_of(twin, batch).backward()
            optimizer.step()
    assert all(
        torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True)
    )


def test_what_cannot_be_done_is_refused():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(
        TypeError, match=r"Invalid optimizer: ProxSGD \(must be LinBreg or AdaBreg\)"
    ):
        ShrunkTraining(network, ProxSGD(network.parameters(), lr=0.1))  # type: ignore[arg-type]
    wrong: list[dict[str, Any]] = [{"coarse_steps": -1}, {"coarse_steps": 0.5}, {"weight": -1.0}]
    for options in wrong:
        with pytest.raises(ValueError, match=rf"Invalid {next(iter(options))}"):
            ShrunkTraining(network, linbreg(network), **options)
    with pytest.raises(ValueError, match="none of the network"):
        ShrunkTraining(network, linbreg(copy.deepcopy(network)))
    shrunk = begun(network, 3)
    with pytest.raises(RuntimeError, match="compute its gradient on `network`"):
        shrunk.step()
    other = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    shrunk.network.zero_grad()
    with pytest.raises(ValueError, match="other layers"):
        begun(other, 3).load_state_dict(shrunk.state_dict())


def test_a_restart_takes_weights_that_were_changed_by_hand():
    pair = Pair("mlp", "linbreg", "l1", coarse_steps=5)
    first, second, third = batches("mlp", 3)
    train(pair.shrunk, first)
    train(pair.shrunk, second)
    pair.shrunk.restart()
    with torch.no_grad():
        next(pair.network.parameters()).mul_(2.0)
    pair.optimizer.reset_dual()
    assert pair.shrunk.network is pair.network
    twin = float(loss_of(copy.deepcopy(pair.network), third).detach())
    assert train(pair.shrunk, third) == twin


def test_the_schedule_doubles():
    assert [coarse_steps_at(epoch, 9) for epoch in (0, 1, 2, 3, 4, 1000)] == [0, 1, 3, 7, 9, 9]


def test_random_networks_have_the_loss_and_the_gradient_of_the_whole():
    smaller = 0
    for seed in range(8):
        network = random_network(seed, constants=True).train()
        if "dropout" in str(network):
            continue
        inputs = torch.randn(5, *network.start).double()
        optimizer = LinBreg(network.parameters(), lr=0.0, penalty="l1", lam=0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some cannot be made smaller
            shrunk = ShrunkTraining(network, optimizer, coarse_steps=1, example=inputs)
        outputs_loss(network, inputs)
        shrunk.step()
        if (small := shrunk.network) is network:
            continue
        smaller += 1
        slices = shrunk._slices(shrunk._kept or {})
        network.zero_grad()
        found, expected = outputs_loss(small, inputs), outputs_loss(network, inputs)
        torch.testing.assert_close(found, expected, **EXACT)
        for name, param in network.named_parameters():
            if (gradient := param.grad) is not None:
                part = slices[name].take(gradient) if name in slices else gradient
                own = small.get_parameter(name).grad
                own = torch.zeros_like(part) if own is None else own
                torch.testing.assert_close(own, part, rtol=1e-8, atol=1e-8, msg=f"{network}")
    assert smaller > 3


def outputs_loss(network: nn.Module, inputs: Tensor) -> Tensor:
    """A number that depends on every output, after its gradient is computed."""
    outputs = network(inputs.clone())
    parts = outputs if isinstance(outputs, tuple) else (outputs,)
    loss = torch.stack([(one * torch.sin(1.0 + one.detach())).mean() for one in parts]).sum()
    loss.backward()
    return loss.detach()
