"""Training from Python: one's own network and data, through the same runs as the command line's."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bregbench.data import Custom as CustomData
from bregbench.data import Data, DatasetConfig
from bregbench.data.custom import same_numbers
from bregbench.data.digests import digest_arrays
from bregbench.data.given import read_given
from bregbench.foundations import factories
from bregbench.foundations.errors import BenchError
from bregbench.foundations.streams import Streams
from bregbench.methods import MethodConfig
from bregbench.models import Custom as CustomNetwork
from bregbench.models import ModelConfig
from bregbench.objectives import ObjectiveConfig
from bregbench.runs.load import network_of
from bregbench.runs.train import run_directory
from bregbench.runs.train import train as train_config
from bregbench.schema.compose import compose
from bregbench.schema.config import Config
from bregbench.schema.options import options

_DIGITS = 8
Choice = str | Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        directory: the run directory, which `bregbench` commands take.
        metrics: one row an epoch, as in `metrics.jsonl`.
        summary: as in `summary.json`; `summary["final"]["trained"]["last"]` holds the final evaluation.
        network: after the last epoch, in evaluation mode on the CPU; its first module normalises.
        config: everything about the run.
    """

    directory: Path
    metrics: list[dict[str, Any]]
    summary: dict[str, Any] = field(repr=False)
    network: nn.Module = field(repr=False)
    config: Config = field(repr=False)


def train(
    network: nn.Module | Callable[..., nn.Module] | ModelConfig | str,
    data: Any,
    *,
    method: Choice | MethodConfig = "linbreg",
    objective: Choice | ObjectiveConfig = "plain",
    epochs: int = 100,
    batch_size: int = 128,
    seed: int = 0,
    runs_dir: str | Path = "runs",
    experiment_name: str = "default",
    tracking: Choice = "none",
    overrides: Sequence[str] = (),
) -> Trained:
    """Train a network on data and return it with its measurements.

    The run is that of the command line: the same call again returns at once what is complete, and goes on
    with what was interrupted. Functions that can be imported make the run of
    ``model.factory=package.module:function``. Anything else is named by its content: a module by its
    structure, weights and the source of its classes, any other function by the module that it returns.

    Args:
        network: a module (a copy of it is trained, from its present weights unless ``method.start`` sets
            others, as LinBreg's sparse start does), a function or class as for ``model=custom``, or an
            architecture of the bench or its name.
        data: what a function of ``dataset=custom`` may return, such a function, what
            `DatasetConfig.build` returns, or a data set of the bench or its name.
        method: name of an option, its dataclass, or a mapping with ``name`` and overrides below
            ``method``, such as
            ``{"name": "linbreg", "lam": 0.2, "penalty": "rows", "start.density": 0.05}``.
        objective: likewise.
        epochs: passes over the training data.
        batch_size: samples per step.
        seed: of all random streams.
        runs_dir: where run directories are kept.
        experiment_name: the folder in it.
        tracking: where the run is mirrored, ``none`` or ``wandb``, or a mapping as for `method`.
        overrides: further ones as on the command line, such as ``["trainer/schedule=cosine"]``; they win.

    Raises:
        BenchError: bad values, data that cannot be read, or a loss that is not finite.
        Interrupted: a signal asked to stop; the position is saved.
    """
    chosen = {"method": method, "objective": objective, "tracking": tracking}
    chosen |= {"dataset": _data(data), "model": _network(network)}
    parts = {
        _key(group): choice for group, choice in chosen.items() if dataclasses.is_dataclass(choice)
    }
    values = {"trainer.epochs": epochs, "trainer.batch_size": batch_size, "seed": seed}
    values |= {"runs_dir": str(runs_dir), "experiment_name": experiment_name}
    texts = [text for group, choice in chosen.items() for text in _overrides(group, choice)]
    texts += [f"{key}={_literal(value)}" for key, value in values.items()]
    _refuse_inner(overrides, parts)
    config = dataclasses.replace(compose(*texts, *overrides), **parts)
    config.check()
    config = _named_by_content(config)
    summary = train_config(config)
    directory = run_directory(config.settled())
    return Trained(
        directory=directory.path,
        metrics=directory.read_metrics(),
        summary=summary,
        network=network_of(config, directory),
        config=config,
    )


def _refuse_inner(overrides: Sequence[str], parts: Mapping[str, Any]) -> None:
    """Refuse overrides of what was given as an object."""
    for text in overrides:
        if _key(re.split(r"[.=/@]", text.lstrip("+~"))[0]) in parts:
            raise BenchError(
                f"overrides: {text} changes what was given as an object: set it on the object instead"
            )


def _key(group: str) -> str:
    """The key of a config that a group fills."""
    return {"dataset": "data"}.get(group, group)


def _overrides(group: str, choice: Any) -> list[str]:
    """The overrides of an option: its name, or a mapping with its name and values."""
    if dataclasses.is_dataclass(choice):
        return [f"{group}={choice.kind}"]  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(choice, str):
        return [f"{group}={choice}"]
    if not isinstance(choice, Mapping) or not isinstance(choice.get("name"), str):
        raise BenchError(
            f"{group}={choice} is no option: give a name ({', '.join(options()[group])}), a mapping with a "
            "name and overrides, or the dataclass"
        )
    key, groups = _key(group), options()
    found = [f"{group}={choice['name']}"]
    for name, value in choice.items():
        if name == "name":
            continue
        subgroup = f"{group}/{name}"
        is_choice = subgroup in groups and isinstance(value, str)
        found.append(f"{subgroup}={value}" if is_choice else f"{key}.{name}={_literal(value)}")
    return found


def _literal(value: Any) -> str:
    """A value in the grammar of overrides."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(map(_literal, value)) + "]"
    return str(value)


def _data(data: Any) -> Any:
    """The data set that holds what was given."""
    named = isinstance(data, Mapping) and isinstance(data.get("name"), str)
    if named or isinstance(data, str | DatasetConfig):
        return data
    if isinstance(data, Data):
        splits = {"train": data.train, "validation": data.validation, "test": data.test}
        given: Any = {k: (s.images, s.labels) for k, s in splits.items() if len(s)}
        raw = read_given(given, source="data", classes=data.classes)
    else:
        function: Any = data if inspect.isroutine(data) else None
        name = None if function is None else factories.name_of(function)
        if name is not None:
            return CustomData(factory=name)
        with same_numbers():
            raw = read_given(data if function is None else function(), source="data")
    name = f"{type(data).__name__}-{digest_arrays(raw)[:_DIGITS]}"
    own = 0 if isinstance(data, Data) and not len(data.validation) else None
    return CustomData(factory=factories.give(name, lambda: raw), validation=own)


def _network(network: Any) -> Any:
    """The architecture that builds what was given; of a function that no module holds, see `_built`."""
    if isinstance(network, str | Mapping | ModelConfig):
        return network
    if isinstance(network, nn.Module):
        name = f"{type(network).__name__}-{_digest(network)}"
        kept = copy.deepcopy(network).cpu()
        return CustomNetwork(factories.give(name, lambda: copy.deepcopy(kept)))
    if not callable(network):
        raise BenchError(
            f"network={network!r} is {type(network).__name__}: give a torch.nn.Module, a function that "
            "returns one, or the name of an architecture"
        )
    return CustomNetwork(factories.name_of(network) or factories.give("unnamed", network))


def _named_by_content(config: Config) -> Config:
    """The config with a function that no module holds named by what it builds for the data."""
    model = config.model
    if not isinstance(model, CustomNetwork) or model.factory != f"{factories.GIVEN}:unnamed":
        return config
    function = factories.find(model.factory, "network")
    data = config.data.build(torch.device("cpu"))
    with Streams(0).scope("model"):
        built = model.build(input_shape=data.input_shape, classes=data.classes)
    name = f"{type(built[-1]).__name__}-{_digest(built)}"
    return dataclasses.replace(config, model=CustomNetwork(factories.give(name, function)))


def _digest(network: nn.Module) -> str:
    """Hexadecimal digits that depend on structure, weights and the source of a network's own classes."""
    digest = hashlib.sha256(repr(network).encode())
    for kind in sorted({type(m) for m in network.modules()}, key=lambda kind: kind.__qualname__):
        if not kind.__module__.startswith(("torch.", "bregbench.")):
            with contextlib.suppress(OSError, TypeError):  # of classes that were typed at a prompt
                digest.update(inspect.getsource(kind).encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:_DIGITS]
