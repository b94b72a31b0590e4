"""The discrepancy rule: directions, bounds, warm-up, state."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from clip import Discrepancy


def follow(rule: Discrepancy, *accuracies) -> list[float]:
    weights = []
    for accuracy in accuracies:
        rule.update(accuracy)
        weights.append(float(rule.weight))
    return weights


def test_additive_steps():
    """Equal to the target counts as not above it (Algorithm 2: if A > alpha, else)."""
    rule = Discrepancy(0.9, step=0.5, start=1.0)
    assert rule.weight == 1.0
    assert follow(rule, 0.95, 1.0, 0.9, 0.2) == [1.5, 2.0, 1.5, 1.0]


def test_multiplicative_steps():
    rule = Discrepancy(0.9, step=1.0, start=3.0, scale="multiplicative")
    assert follow(rule, 0.95, 0.95, 0.8, 0.8, 0.8) == [6.0, 12.0, 6.0, 3.0, 1.5]


@pytest.mark.parametrize("scale", ["additive", "multiplicative"])
def test_bounds(scale):
    rule = Discrepancy(0.5, step=1.0, start=2.0, minimum=1.0, maximum=3.0, scale=scale)
    assert follow(rule, 0.9, 0.9, 0.9) == [min(3.0, x) for x in (3.0, 4.0, 5.0)]
    assert follow(rule, *[0.1] * 4)[-1] == 1.0
    free = Discrepancy(0.5, step=1.0)
    assert follow(free, 0.1, 0.9, 0.9) == [0.0, 1.0, 2.0]


def test_warm_up_counts_updates():
    rule = Discrepancy(0.5, step=1.0, start=2.0, minimum=1.0, warmup=3)
    assert rule.weight == 0
    assert follow(rule, 0.9, 0.9, 0.9, 0.9, 0.1) == [0, 0, 2.0, 3.0, 2.0]


def test_no_step_is_a_fixed_weight_after_the_warm_up():
    rule = Discrepancy(0.5, step=0.0, start=2.0, warmup=1)
    assert rule.weight == 0
    assert follow(rule, 0.9, 0.1, 0.9) == [2.0, 2.0, 2.0]


def test_weight_settles_where_the_accuracy_meets_the_target():
    """Accuracy 1 - weight / 10 meets 0.7 at 3."""
    for scale, step in (("additive", 0.1), ("multiplicative", 0.03)):
        rule = Discrepancy(0.7, step=step, start=1.0, scale=scale)  # type: ignore[arg-type]
        for _ in range(100):
            rule.update(max(0.0, 1 - float(rule.weight) / 10))
        assert float(rule.weight) == pytest.approx(3, abs=0.11)


def test_tensor_accuracies_on_the_host_are_numbers():
    rule = Discrepancy(0.5, step=1.0)
    rule.update(torch.tensor(0.75))
    assert rule.weight == 1.0
    assert isinstance(rule.weight, float)


@pytest.mark.parametrize("scale", ["additive", "multiplicative"])
def test_accuracies_on_a_device_stay_there(scale):
    """The same weights from scalars that the host may not look at."""
    accuracies = [0.9, 0.2, 0.9, 0.9, 0.2, 0.9]
    settings: Any = {"step": 0.5, "start": 1.0, "maximum": 1.2, "scale": scale, "warmup": 1}
    expected = follow(Discrepancy(0.5, **settings), *accuracies)
    rule = Discrepancy(0.5, **settings)
    weights = []
    for accuracy in accuracies:
        rule.update(_elsewhere(accuracy))
        weights.append(rule.weight)
    assert isinstance(weights[-1], torch.Tensor)
    assert [float(weight) for weight in weights] == pytest.approx(expected)


def _elsewhere(value: float) -> torch.Tensor:
    """A scalar that says that it is on an accelerator and cannot be read."""

    class Elsewhere(torch.Tensor):
        @property
        def device(self):  # type: ignore[override]
            return torch.device("cuda")

        def __float__(self):
            raise AssertionError("the host looked at the accuracy")

        __bool__ = __float__

        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            result = super().__torch_function__(func, types, args, kwargs or {})
            return result.as_subclass(torch.Tensor) if isinstance(result, torch.Tensor) else result

    return torch.tensor(value).as_subclass(Elsewhere)


def test_state():
    rule = Discrepancy(0.5, step=1.0, start=2.0, warmup=2)
    follow(rule, 0.9, 0.9, 0.9)
    again = Discrepancy(0.5, step=1.0, start=2.0, warmup=2)
    again.load_state_dict(rule.state_dict())
    assert follow(again, 0.9, 0.1) == follow(rule, 0.9, 0.1)
    waiting = Discrepancy(0.5, step=1.0, start=2.0, warmup=2)
    waiting.update(0.9)
    again.load_state_dict(waiting.state_dict())
    assert follow(again, 0.9) == [2.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": 1.2}, r"target=1.2: must be an accuracy in \[0, 1\]"),
        ({"target": math.nan}, "target=nan"),
        ({"step": -1.0}, "Invalid step: -1.0"),
        ({"minimum": -1.0}, "Invalid minimum: -1.0"),
        ({"minimum": 2.0, "maximum": 1.0}, r"maximum=1.0: must be at least minimum=2.0"),
        ({"start": 3.0, "maximum": 2.0}, r"start=3.0: must be finite and in \[0.0, 2.0\]"),
        ({"start": 0.5, "minimum": 1.0}, r"start=0.5: must be finite and in \[1.0, inf\]"),
        ({"start": math.inf}, "start=inf: must be finite"),
        ({"scale": "log"}, "Invalid scale: 'log'.*additive, multiplicative"),
        ({"scale": "multiplicative"}, "start=0.0: must be positive"),
        ({"warmup": -1}, "warmup=-1: must be at least 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    settings = {"target": 0.9, "step": 0.1, **settings}
    with pytest.raises(ValueError, match=message):
        Discrepancy(**settings)


@pytest.mark.parametrize("accuracy", [-0.1, 95.0, math.nan, torch.tensor(1.5)])
def test_accuracy_out_of_range(accuracy):
    with pytest.raises(ValueError, match=r"accuracy=.*: must be in \[0, 1\]"):
        Discrepancy(0.9, step=0.1).update(accuracy)
