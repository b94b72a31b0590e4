"""Every method, objective and evaluator on torch's `meta` device, which has shapes and no values.

There, reading a number (`.item()`, `if tensor`) fails, and so does touching a tensor of another device: steps
that pass wait for no device and leave it nowhere, whatever device that is. What must read numbers is named
below with the reason; a new option of a group is tested without being named anywhere. Evaluators answer with
numbers, so there is nothing to ask of them here.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch

from bregbench.data import Data, Split
from bregbench.foundations.streams import Streams
from bregbench.schema.compose import compose
from bregbench.schema.config import Config
from bregbench.schema.options import options
from bregbench.tasks.context import RunContext
from lifted.network import LiftedNetwork

META = torch.device("meta")
#: in each split, and in a batch: some solvers see all of them in every step
IMAGES = 16
KNOWN = options()

#: options that must read numbers within a step, and why
SYNCHRONISING: dict[str, str] = {
    "method=gmp": "counts the weights that its masks keep before it prunes, once in `method.interval` steps",
    "method=granet": "likewise",
    "method/penalty=nuclear": "looks for numbers that are not finite, at which decompositions fail or hang",
    "objective=product_norm": "looks once, when it is built, whether all weights are finite",
}


@pytest.fixture(scope="module")
def digits() -> Data:
    return compose("dataset=digits").data.build(torch.device("cpu"))


@pytest.fixture(autouse=True)
def _targets_are_not_looked_at(monkeypatch):
    """Lifted networks look once, when they are built, whether an activation can reach the targets."""
    monkeypatch.setattr(LiftedNetwork, "check_targets", lambda *_: None)


def on_meta(data: Data) -> Data:
    """A few images of each split, without values."""

    def moved(split: Split) -> Split:
        return Split(images=split.images[:IMAGES].to(META), labels=split.labels[:IMAGES].to(META))

    splits = {name: moved(getattr(data, name)) for name in ("train", "validation", "test")}
    return dataclasses.replace(data, **splits)


def context_of(config: Config, data: Data) -> RunContext:
    return RunContext(
        task=config.task,
        data=data,
        batch_size=IMAGES,
        steps_per_epoch=1,
        epochs=2,
        device=META,
        streams=Streams(0),
    )


def take_two_steps(digits: Data, *overrides: str) -> None:
    """Two steps of the first phase of a run on the device without values."""
    config = compose("dataset=digits", "model=mlp", "model.hidden=[12]", *overrides)
    data = on_meta(digits)
    network = config.model.build(input_shape=(1, 8, 8), classes=10)
    config.method.prepare(network, Streams(0))
    network.to(META)
    method = config.method.build(network, config.objective, context_of(config, data))
    network.train()
    index = torch.arange(IMAGES).to(META)
    for _ in range(2):
        inputs = data.train.images.index_select(0, index).float()
        step = method.step(inputs, data.train.labels.index_select(0, index), index)
        assert step.loss.device == step.outputs.device == META
        assert step.outputs.shape == (IMAGES, 10)


def cases(group: str) -> list[object]:
    found: list[object] = []
    for name in KNOWN[group]:
        marks = []
        reason = SYNCHRONISING.get(f"{group}={name}")
        if reason is not None:
            marks = [
                pytest.mark.xfail(
                    reason=reason, strict=True, raises=(RuntimeError, NotImplementedError)
                )
            ]
        found.append(pytest.param(name, marks=marks))
    return found


@pytest.mark.parametrize("name", cases("method"))
def test_methods_wait_for_no_device(digits, name):
    take_two_steps(digits, f"method={name}")


@pytest.mark.parametrize("name", cases("objective"))
def test_objectives_wait_for_no_device(digits, name):
    take_two_steps(digits, "method=sgd", f"objective={name}")


@pytest.mark.parametrize("name", cases("method/penalty"))
@pytest.mark.parametrize("method", ["linbreg", "adabreg", "prox_sgd"])
def test_penalties_wait_for_no_device(digits, method, name):
    take_two_steps(digits, f"method={method}", f"method/penalty={name}")


@pytest.mark.parametrize("name", cases("method/solver"))
def test_solvers_wait_for_no_device(digits, name):
    take_two_steps(digits, "method=lifted", f"method/solver={name}")
