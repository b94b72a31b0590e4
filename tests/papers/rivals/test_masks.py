"""The mask controller: invariants under any optimiser, what grows, what is dropped, and every known trap."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bregbench.papers.rivals.masks import MaskController
from bregbench.papers.rivals.rewiring import (
    Fraction,
    Plan,
    Prune,
    Rewire,
    gmp_plan,
    granet_plan,
    rigl_plan,
    set_plan,
    static,
)
from bregman import LinBreg, Ramp, penalize

OPTIMIZERS = {
    "sgd": lambda ps: torch.optim.SGD(
        ps, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-2, foreach=False
    ),
    "adamw": lambda ps: torch.optim.AdamW(ps, 0.01, weight_decay=0.1),
    "rmsprop": lambda ps: torch.optim.RMSprop(ps, 0.01, momentum=0.5, centered=True),
}
PLANS = {
    "static": static,
    "set": lambda: set_plan(interval=3, end=40),
    "rigl": lambda: rigl_plan(interval=3, end=40),
    "granet": lambda: granet_plan(Ramp("cubic", 0.1, start=0.5, end=20), interval=3, end=40),
}


def network() -> Any:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 7)
    )


def batch(step: int, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(size, 1, 6, 6, generator=generator)
    return inputs, torch.randint(7, (size,), generator=generator)


def loss_of(model: nn.Module, step: int) -> torch.Tensor:
    inputs, targets = batch(step)
    return cross_entropy(model(inputs), targets)


def train(model, optimizer, steps: int, first: int = 0, each=lambda: None) -> None:
    for step in range(first, first + steps):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
        each()


def controlled(plan: Plan, optimizer="sgd", **options):
    model = network()
    made = OPTIMIZERS[optimizer](model.parameters())
    chosen: dict[str, Any] = {"density": 0.3} | options
    return model, made, MaskController(model, made, plan, **chosen)


def counts(masks: MaskController) -> list[int]:
    return [int(mask.sum()) for mask in masks.masks.values()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("plan", PLANS)
def test_invariants_after_every_step(plan, optimizer):
    options = {"density": 0.5} if plan == "granet" else {}
    model, made, masks = controlled(PLANS[plan](), optimizer, **options)
    before, seen = counts(masks), set()

    def each():
        for name, weight in masks.weights.items():
            gone = ~masks.masks[name]
            assert not weight[gone].any()
            for value in made.state[weight].values():
                if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                    assert not value[gone].any()
        if plan != "granet":
            assert counts(masks) == before
        seen.add(tuple(torch.cat([m.flatten() for m in masks.masks.values()]).tolist()))

    train(model, made, 45, each=each)
    assert (len(seen) == 1) == (plan == "static")
    if plan == "granet":
        assert sum(counts(masks)) == round(0.1 * sum(m.numel() for m in masks.masks.values()))
    assert model[1].weight.ne(1).any()  # what is not masked trains


def test_counts_are_constant_over_a_thousand_steps():
    torch.manual_seed(0)
    model = nn.Linear(40, 30)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    masks = MaskController(model, optimizer, rigl_plan(interval=10, end=900), density=0.1)
    for _ in range(1000):
        optimizer.zero_grad()
        model(torch.randn(4, 40)).square().mean().backward()
        optimizer.step()
        assert counts(masks) == [120]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_masks_without_holes_are_dense_training_bit_by_bit(optimizer):
    model, made, _ = controlled(static(), optimizer, density=1.0)
    plain = network()
    train(model, made, 10)
    train(plain, OPTIMIZERS[optimizer](plain.parameters()), 10)
    assert all(map(torch.equal, model.parameters(), plain.parameters()))


def test_rewiring_nothing_is_static():
    found = []
    for plan in (static(), rigl_plan(interval=2, end=20, alpha=0.0, instead=False)):
        model, made, _ = controlled(plan)
        train(model, made, 20)
        found.append(model)
    assert all(map(torch.equal, found[0].parameters(), found[1].parameters()))


def test_share_of_rigl():
    share = Fraction(0.3, 0.0, 1000)
    found = [share.at(step) for step in (0, 100, 250, 500, 750, 999)]
    assert found == pytest.approx([0.3, 0.292658, 0.256066, 0.15, 0.043934, 1e-6], abs=6e-7)


def test_share_of_granet():
    share = Fraction(0.5, 0.005, 1000)
    found = [share.at(step) for step in (0, 250, 500, 750, 1000)]
    assert found == pytest.approx([0.5, 0.427509, 0.2525, 0.077491, 0.005], abs=6e-7)


def test_density_of_granet_reaches_its_target():
    ramp = Ramp("cubic", 0.05, start=0.5, end=10)
    expected = [
        0.5,
        0.37805,
        0.2804,
        0.20435,
        0.1472,
        0.10625,
        0.0788,
        0.06215,
        0.0536,
        0.05045,
        0.05,
    ]
    assert [ramp.density(k) for k in range(11)] == pytest.approx(expected, abs=6e-7)


def test_sparsity_of_gradual_pruning():
    ramp = Ramp("cubic", 0.05, begin=100, end=1100)
    found = [1 - ramp.density(step) for step in (100, 350, 600, 850, 1100)]
    assert found == pytest.approx([0, 0.549219, 0.83125, 0.935156, 0.95], abs=6e-7)


def planted(plan: Plan, *, weight: float = 1.0):
    """A linear layer whose gradient is what the test says."""
    model = nn.Linear(4, 3, bias=False)
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[0] = True
    with torch.no_grad():
        model.weight.copy_(torch.arange(12.0).view(3, 4) * 0.1 + weight)
    optimizer = torch.optim.SGD(model.parameters(), 1.0, momentum=0.9)
    return model, optimizer, MaskController(model, optimizer, plan, masks={"weight": mask})


def backward(model: nn.Linear, grad: torch.Tensor) -> None:
    (model.weight * grad).sum().backward()


@pytest.mark.parametrize("instead", [True, False])
def test_a_planted_gradient_grows_the_planted_position(instead):
    plan = rigl_plan(interval=1, end=2, alpha=0.5, instead=instead)  # share at step 1: a quarter
    model, optimizer, masks = planted(plan)
    grad = torch.full((3, 4), 1e-3)
    grad[2, 1] = -5.0
    for _ in range(2):
        optimizer.zero_grad()
        backward(model, grad)
        optimizer.step()
    expected = torch.zeros(3, 4, dtype=torch.bool)
    expected[0, 1:] = True  # [0, 0] was the smallest
    expected[2, 1] = True
    assert torch.equal(masks.masks["weight"], expected)
    assert model.weight[2, 1] == 0
    assert optimizer.state[model.weight]["momentum_buffer"][2, 1] == 0
    assert masks.density() == 4 / 12
    assert int(model.weight.count_nonzero()) == 3  # masks count a new weight, values do not


def test_what_is_dropped_and_grown_at_once_is_not_new():
    """Its gradient is the largest, so the smallest weight stays, with its value and its momentum."""
    model, optimizer, masks = planted(rigl_plan(interval=1, end=2, alpha=0.5, instead=False))
    grad = torch.full((3, 4), 1e-3)
    grad[0, 0] = 0.1
    for _ in range(2):
        optimizer.zero_grad()
        backward(model, grad)
        optimizer.step()
    assert masks.masks["weight"][0].all()
    assert model.weight[0, 0] != 0
    assert optimizer.state[model.weight]["momentum_buffer"][0, 0] != 0


def test_an_update_takes_the_place_of_a_step_where_the_plan_says_so():
    model, optimizer, _ = controlled(rigl_plan(interval=5, end=20))
    bias = []
    train(model, optimizer, 8, each=lambda: bias.append(model[4].bias.detach().clone()))
    still = [k for k in range(1, 8) if torch.equal(bias[k], bias[k - 1])]
    assert still == [5]
    assert model[4].bias.grad is not None  # put back for whoever looks at it


def test_updates_end_exactly_where_they_should():
    model, optimizer, masks = controlled(set_plan(interval=5, end=15))
    seen = []
    train(model, optimizer, 30, each=lambda: seen.append(masks.masks["4.weight"].clone()))
    changed = [k for k in range(1, 30) if not torch.equal(seen[k], seen[k - 1])]
    assert changed == [5, 10]


@pytest.mark.parametrize("by_layer", [False, True])
def test_gradual_pruning_is_exact_and_only_shrinks(by_layer):
    ramp = Ramp("cubic", 0.1, begin=2, end=21)  # 21 is no multiple of the interval
    model, optimizer, masks = controlled(
        gmp_plan(ramp, interval=4, by_layer=by_layer), density=None
    )
    total = sum(mask.numel() for mask in masks.masks.values())
    last = copy.deepcopy(masks.masks)
    for step in range(25):
        train(model, optimizer, 1, first=step)
        assert all(bool((last[name] | ~mask).all()) for name, mask in masks.masks.items())
        last = copy.deepcopy(masks.masks)
        if (step >= 2 and step % 4 == 0) or step == 21:
            wanted = [round(ramp.density(step) * m.numel()) for m in masks.masks.values()]
            assert (
                counts(masks) == wanted
                if by_layer
                else sum(counts(masks)) == round(ramp.density(step) * total)
            )
    assert masks.density() == pytest.approx(0.1, abs=1 / total)


def test_pruning_with_ties_keeps_the_exact_number():
    model = nn.Linear(10, 10, bias=False)
    nn.init.ones_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    masks = MaskController(model, optimizer, gmp_plan(Ramp("cubic", 0.3, end=2), interval=1))
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(1, 10)).sum().backward()
        optimizer.step()
    assert counts(masks) == [30]


def test_granet_prunes_first_and_rewires_what_is_left():
    plan = Plan(
        (Prune(Ramp("constant", 0.5)), Rewire(Fraction(0.34), by_gradient=True, up=True)),
        interval=1,
        end=2,
    )
    model, optimizer, masks = planted(plan)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[2, 3] = False
    masks.load_state_dict(masks.state_dict() | {"masks": {"weight": mask}, "step": 1})
    with torch.no_grad():
        model.weight.copy_((torch.arange(12.0) + 10).view(3, 4) * mask)
    grad = torch.zeros(3, 4)
    grad[0, :3] = torch.tensor([3.0, 2.0, 1.0])
    backward(model, grad)
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    # six largest: 15..20; ceil(.34 * 6) = 3 of them go, and three grow in the first row
    assert masks.masks["weight"].flatten().nonzero().flatten().tolist() == [0, 1, 2, 8, 9, 10]


# ---- traps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("instead", [True, False])
def test_clipping_never_sees_the_dense_gradient(instead):
    model, optimizer, masks = controlled(rigl_plan(interval=2, end=20, instead=instead))
    for step in range(6):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        for name, weight in masks.weights.items():
            assert weight.grad is not None
            assert not weight.grad[~masks.masks[name]].any()
        optimizer.step()


def test_accumulated_gradients_are_scored_as_a_sum():
    found = []
    for pieces in (1, 4):
        model: Any = nn.Sequential(nn.Flatten(), nn.Linear(36, 7)).double()
        torch.manual_seed(5)
        nn.init.normal_(model[1].weight)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        masks = MaskController(model, optimizer, rigl_plan(interval=1, end=9), density=0.2)
        for step in range(6):
            optimizer.zero_grad()
            inputs, targets = batch(step)
            for part, labels in zip(inputs.chunk(pieces), targets.chunk(pieces), strict=True):
                (cross_entropy(model(part.double()), labels) / pieces).backward()
            optimizer.step()
        found.append(masks.masks["1.weight"])
    assert torch.equal(*found)


@pytest.mark.parametrize("to_none", [True, False])
def test_a_gradient_scaler_changes_nothing_and_its_refused_steps_do_not_count(to_none):
    found = []
    for scaled in (False, True):
        model, optimizer, masks = controlled(rigl_plan(interval=2, end=20, instead=False))
        saved = model[1].state_dict()
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        for step in range(9):
            if scaled and step in (3, 4):  # overflow before the step, once at an update
                optimizer.zero_grad(set_to_none=to_none)
                (scaler.scale(loss_of(model, 99)) * torch.inf).backward()
                scaler.step(optimizer)
                scaler.update(1024.0)
                with torch.no_grad():  # the forward pass has moved running statistics
                    model[1].load_state_dict(saved)
            optimizer.zero_grad(set_to_none=to_none)
            scaler.scale(loss_of(model, step)).backward()
            scaler.step(optimizer)
            scaler.update(1024.0)
            saved = copy.deepcopy(model[1].state_dict())
        assert masks.step == 9
        found.append(masks.masks)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_growth_needs_gradients():
    _, optimizer, _ = controlled(rigl_plan(interval=1, end=9))
    optimizer.step()
    with pytest.raises(ValueError, match="call backward before step"):
        optimizer.step()


def test_no_closure_where_an_update_replaces_a_step():
    model, optimizer, masks = controlled(rigl_plan(interval=1, end=9))
    train(model, optimizer, 1)
    with pytest.raises(ValueError, match="takes no closure"):
        optimizer.step(lambda: loss_of(model, 1))
    assert masks.step == 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("plan", PLANS)
def test_resume_is_exact(plan, optimizer, tmp_path):
    whole, made, expected = controlled(PLANS[plan](), optimizer)
    train(whole, made, 30)
    part, first, masks = controlled(PLANS[plan](), optimizer)
    train(part, first, 17)
    torch.save((part.state_dict(), first.state_dict(), masks.state_dict()), tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    generator = torch.Generator().manual_seed(99)  # another one, and other masks to begin with
    resumed, second, again = controlled(PLANS[plan](), optimizer, generator=generator)
    for thing, state in zip((resumed, second, again), saved, strict=True):
        thing.load_state_dict(state)
    train(resumed, second, 13, first=17)
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))
    assert all(torch.equal(expected.masks[n], again.masks[n]) for n in again.masks)


def test_layers_are_left_alone_or_begin_dense():
    _, _, masks = controlled(static(), leave=["0.*"])
    assert list(masks.masks) == ["4.weight"]
    _, _, masks = controlled(static(), dense=["0.weight"])
    assert masks.masks["0.weight"].all()
    total = 54 + 672
    assert sum(counts(masks)) == round(0.3 * total)
    assert "0.weight  6x1x3x3  54" in masks.describe()


def test_linbreg_carries_masks():
    model = network()
    optimizer = LinBreg(penalize(model, lam=0.01), 0.1, momentum=0.5)
    masks = MaskController(model, optimizer, rigl_plan(interval=3, end=40), density=0.3)
    first = loss_of(model, 0).item()

    def each():
        for name, weight in masks.weights.items():
            assert not weight[~masks.masks[name]].any()

    for _ in range(8):
        train(model, optimizer, 5, each=each)
    assert loss_of(model, 0).item() < first


def test_weights_have_to_be_there():
    model = network()
    optimizer = torch.optim.SGD(model[:2].parameters(), 0.1)
    with pytest.raises(ValueError, match=r"'4\.weight' is not in the optimiser"):
        MaskController(model, optimizer, static())
    with pytest.raises(ValueError, match="no weight is left"):
        MaskController(model, optimizer, static(), leave=["*"])
    with pytest.raises(ValueError, match=r"differ in '0\.weight', 'x'"):
        MaskController(model[:2], optimizer, static(), masks={"x": torch.ones(2)})


# ---- several processes ------------------------------------------------------------------------------


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    for plan in ("rigl", "set"):
        model = network().double()
        wrapped = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)
        optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
        generator = torch.Generator().manual_seed(rank)  # whatever it draws
        masks = MaskController(model, optimizer, PLANS[plan](), density=0.3, generator=generator)
        model[1].eval()
        for step in range(10):
            inputs, targets = batch(step)
            optimizer.zero_grad()
            cross_entropy(wrapped(inputs[rank::2].double()), targets[rank::2]).backward()
            optimizer.step()
        torch.save((model.state_dict(), masks.masks), Path(folder) / f"{plan}-{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_masks_are_equal_on_all_ranks_and_those_of_one_process(tmp_path):
    torch.multiprocessing.spawn(  # pyright: ignore[reportPrivateImportUsage]
        worker, args=(str(tmp_path),), nprocs=2
    )
    for plan in ("rigl", "set"):
        (state, masks), (other, others) = (
            torch.load(tmp_path / f"{plan}-{rank}.pt", weights_only=True) for rank in range(2)
        )
        assert all(torch.equal(masks[name], others[name]) for name in masks)
        assert all(torch.equal(state[name], other[name]) for name in state)
    model = network().double()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    single = MaskController(model, optimizer, PLANS["rigl"](), density=0.3, generator=generator)
    model[1].eval()
    for step in range(10):
        inputs, targets = batch(step)
        optimizer.zero_grad()
        cross_entropy(model(inputs.double()), targets).backward()
        optimizer.step()
    _, masks = torch.load(tmp_path / "rigl-0.pt", weights_only=True)
    assert all(torch.equal(masks[name], single.masks[name]) for name in masks)
