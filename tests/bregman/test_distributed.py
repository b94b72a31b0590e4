"""Two processes with half a batch each train like one process with the whole batch."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from bregman import DEFAULT_RULES, AdaBreg, LinBreg, ProxAdam, ProxSGD, Rule, penalize, sparsify

STEPS = 5
RULES = [Rule("l12", module=nn.Conv2d, name="*weight", group="kernel"), *DEFAULT_RULES]
OPTIMIZERS = {
    "linbreg": lambda groups: LinBreg(groups, lr=0.1, momentum=0.9),
    "adabreg": lambda groups: AdaBreg(groups, lr=0.01),
    "prox_sgd": lambda groups: ProxSGD(groups, lr=0.1),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
    ).double()
    sparsify(model, 0.3, by="kernel", generator=torch.Generator().manual_seed(1))
    return model.to(memory_format=torch.channels_last)


def data(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(8, 1, 8, 8, generator=generator, dtype=torch.float64)
    return images, torch.randint(3, (8,), generator=generator)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, half: int | None) -> None:
    for step in range(STEPS):
        images, labels = data(step)
        if half is not None:
            images, labels = images[half::2], labels[half::2]
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    for name, make in OPTIMIZERS.items():
        model = network()
        wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
        train(wrapped, make(penalize(model, RULES, lam=0.05)), half=rank)
        torch.save(model.state_dict(), Path(folder) / f"{name}-{rank}.pt")
    # Without this, one process may tear its connection down while the other is still talking to it.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    torch.multiprocessing.spawn(  # pyright: ignore[reportPrivateImportUsage]
        worker, args=(str(tmp_path),), nprocs=2
    )
    for name, make in OPTIMIZERS.items():
        model = network()
        start = copy.deepcopy(model.state_dict())
        train(model, make(penalize(model, RULES, lam=0.05)), half=None)
        assert not torch.equal(start["0.weight"], model.state_dict()["0.weight"])
        for rank in range(2):
            state = torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True)
            torch.testing.assert_close(state, model.state_dict(), rtol=1e-9, atol=1e-11)
            assert torch.equal(state["0.weight"] != 0, model.state_dict()["0.weight"] != 0)


def test_proxadam_takes_the_groups_of_penalize():
    """ProxAdam has no groups of its own but reads the same parameter groups."""
    model = nn.Sequential(nn.Linear(3, 2))
    ProxAdam(penalize(model, lam=0.1))
    with pytest.raises(ValueError, match=r"Invalid penalty: 'l12' .ProxAdam takes 'l1' or 'none'"):
        ProxAdam(penalize(model, [Rule("l12", nn.Linear, "*weight", group="row")], lam=0.1))
