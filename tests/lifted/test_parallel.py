"""Averaging over real processes equals its simulation in one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lifted import DataParallel, ImplicitStochastic, Lift, LiftedNetwork, Multipliers
from lifted.parallel import parallel_round
from tests.lifted.cases import data, perceptron

ROUNDS = 3


def start() -> LiftedNetwork:
    torch.manual_seed(0)
    return perceptron(5, 6, 4, 3, lam=3.0)


def batch(step: int, rank: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(100 * step + rank)
    return data(8, 5, 3)


def joined(*batches: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    inputs, targets = zip(*batches, strict=True)
    return torch.cat(inputs), torch.cat(targets)


def solver(network: LiftedNetwork) -> ImplicitStochastic:
    return ImplicitStochastic(network, rho=0.5, iterations=5)


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    network = start()
    parallel = DataParallel(solver(network))
    solved: list[Lift] = []
    parallel.observers.append(solved.append)
    multipliers = Multipliers(parallel, rate=1.0)
    for step in range(ROUNDS):
        if step == 1:
            parallel.scale_lr(0.5)
        parallel.step(*batch(step, rank))
    parallel.check()
    assert len(solved) == ROUNDS
    saved = {"network": network.state_dict(), "lam": multipliers.update()}
    torch.save({"process": os.getpid(), **saved}, Path(folder) / f"{rank}.pt")
    # Without this, one process may tear its connection down while the other still talks to it.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_equal_their_simulation(tmp_path):
    torch.multiprocessing.spawn(  # pyright: ignore[reportPrivateImportUsage]
        worker, args=(str(tmp_path),), nprocs=2
    )
    network = start()
    before = network.state_dict()["0.weight"].clone()
    alone = solver(network)
    multipliers = Multipliers(alone, rate=1.0)
    for step in range(ROUNDS):
        if step == 1:
            alone.scale_lr(0.5)
        parallel_round(alone, [batch(step, rank) for rank in range(2)])
    assert not torch.equal(before, network.state_dict()["0.weight"])
    saved = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert len({os.getpid(), *(state["process"] for state in saved)}) == 3
    for state in saved:
        torch.testing.assert_close(state["network"], network.state_dict(), rtol=0, atol=1e-14)
    torch.testing.assert_close(saved[0]["network"], saved[1]["network"], rtol=0, atol=0)
    assert saved[0]["lam"] == saved[1]["lam"] == pytest.approx(multipliers.update(), rel=1e-12)
    # Neither one worker alone nor one large batch is the same thing.
    for other in (lambda s: batch(s, 0), lambda s: joined(batch(s, 0), batch(s, 1))):
        twin = start()
        single = solver(twin)
        for step in range(ROUNDS):
            if step == 1:
                single.scale_lr(0.5)
            single.step(*other(step))
        assert (twin.state_dict()["0.weight"] - network.state_dict()["0.weight"]).abs().max() > 1e-4


def test_one_worker_is_the_solver_itself():
    network, twin = start(), start()
    parallel_round(solver(network), [batch(0, 0)])
    solver(twin).step(*batch(0, 0))
    torch.testing.assert_close(network.state_dict(), twin.state_dict(), rtol=0, atol=0)
