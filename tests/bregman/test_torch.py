"""The optimisers as citizens of torch: closures, storage, schedulers, scalers, compile."""

# Layers of a Sequential are typed as Tensor | Module.
# pyright: reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
from __future__ import annotations

import doctest

import pytest
import torch
from torch import nn
from torch.nn import functional

import bregman
from bregman import LinBreg
from tests.bregman.cases import OPTIMIZERS, build
from tests.bregman.training import batch, grouped, network, train, weights


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_closure_is_evaluated_with_gradients(case):
    param = nn.Parameter(torch.ones(3))
    optimizer = build(case, [param])

    def closure():
        optimizer.zero_grad()
        loss = param.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == 3.0
    assert (param < 1).all()
    assert optimizer.step() is None


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_parameters_without_gradient_are_left_alone(case):
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = build(case, [used, unused], penalty="l1", lam=0.1)
    used.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(unused.detach(), torch.ones(2))
    assert unused not in optimizer.state
    assert not torch.equal(used.detach(), torch.ones(2))


@pytest.mark.parametrize("foreach", [False, None])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_sparse_gradients_are_refused(case, foreach):
    embedding = nn.Embedding(5, 2, sparse=True)
    optimizer = build(case, list(embedding.named_parameters()), foreach=foreach)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=r"parameter 'weight': [a-zA-Z]+ does not support"):
        optimizer.step()


@pytest.mark.parametrize("foreach", [False, None])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_parameters_keep_their_storage_and_layout(case, foreach):
    model = network().to(memory_format=torch.channels_last)
    optimizer = build(case, grouped(model, case), foreach=foreach)
    view = model[0].weight.detach()
    before = [(param.data_ptr(), param.stride()) for param in model.parameters()]
    versions = [param._version for param in model.parameters()]
    train(model, optimizer, range(3))
    assert before == [(param.data_ptr(), param.stride()) for param in model.parameters()]
    assert torch.equal(view, model[0].weight)
    # autograd has to be able to notice that a saved tensor was overwritten
    assert all(
        param._version > old for param, old in zip(model.parameters(), versions, strict=True)
    )
    for param, state in optimizer.state.items():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                assert value.stride() == param.stride()


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_learning_rate_schedulers(case):
    """Two cosine cycles of a one-parameter problem against rates set by hand."""
    param, twin = (nn.Parameter(torch.ones(4)) for _ in range(2))
    optimizer, by_hand = build(case, [param], lr=0.1), build(case, [twin], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    for step in range(6):
        by_hand.param_groups[0]["lr"] = 0.1 * 0.5 ** (step // 2)
        for each, target in ((optimizer, param), (by_hand, twin)):
            target.grad = 2 * target.detach()
            each.step()
        scheduler.step()
        plateau.step(1.0 / (step + 1))
        torch.testing.assert_close(param, twin)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0125)


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_gradient_scaler(case):
    """A scaler changes nothing but skips the step when a gradient overflows."""
    plain, scaled = network(), network()
    scaled.load_state_dict(plain.state_dict())
    optimizers = [build(case, grouped(model, case)) for model in (plain, scaled)]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(4):
        images, labels = batch(step)
        for model, optimizer in zip((plain, scaled), optimizers, strict=True):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            if model is plain:
                loss.backward()
                optimizer.step()
            else:
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                scaler.step(optimizer)
                scaler.update()
        torch.testing.assert_close(weights(scaled), weights(plain), rtol=1e-5, atol=1e-6)
    before = weights(scaled)
    images, labels = batch(9)
    scaler.scale(functional.cross_entropy(scaled(images * torch.inf), labels)).backward()
    scaler.step(optimizers[1])
    scaler.update()
    for old, new in zip(before, weights(scaled), strict=True):
        assert torch.equal(old, new)
    assert scaler.get_scale() == 512.0


@pytest.mark.parametrize("case", OPTIMIZERS, ids=str)
def test_step_works_inside_and_beside_compiled_code(case):
    torch._dynamo.reset()
    eager, beside, inside = (network() for _ in range(3))
    beside.load_state_dict(eager.state_dict())
    inside.load_state_dict(eager.state_dict())
    optimizers = [build(case, grouped(model, case)) for model in (eager, beside, inside)]
    compiled_model = torch.compile(beside, backend="eager")
    compiled_step = torch.compile(optimizers[1].step, backend="eager")

    @torch.compile(backend="eager")
    def compiled_training(images, labels):
        loss = functional.cross_entropy(inside(images), labels)
        loss.backward()
        optimizers[2].step()
        optimizers[2].zero_grad()

    for step in range(3):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] *= 0.5
        images, labels = batch(step)
        train(eager, optimizers[0], [step])
        optimizers[1].zero_grad()
        functional.cross_entropy(compiled_model(images), labels).backward()
        compiled_step()
        compiled_training(images, labels)
        torch.testing.assert_close(weights(beside), weights(eager))
        torch.testing.assert_close(weights(inside), weights(eager))
    torch._dynamo.reset()


def test_new_parameters_start_where_they_are():
    """A group added in the middle of training gets its own dual at its first step."""
    optimizer = LinBreg([nn.Parameter(torch.ones(2))], lr=0.1, penalty="l1", lam=0.5)
    late = nn.Parameter(torch.tensor([0.7, 0.0]))
    optimizer.add_param_group({"params": [late], "delta": 2.0})
    late.grad = torch.zeros(2)
    optimizer.step()
    torch.testing.assert_close(late.detach(), torch.tensor([0.7, 0.0]))
    torch.testing.assert_close(optimizer.state[late]["dual"], torch.tensor([0.85, 0.0]))


def test_example_in_the_package_docstring_runs():
    failed, attempted = doctest.testmod(bregman)
    assert failed == 0
    assert attempted > 5
    assert all(hasattr(bregman, name) for name in bregman.__all__)
