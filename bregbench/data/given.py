"""Data of a user's own, as Python objects: they become arrays of one layout."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bregbench.data.raw import LabelledImages, RawData
from bregbench.data.split import Split
from bregbench.foundations.console import Patience
from bregbench.foundations.errors import BenchError

#: what a user may give, in words
FORMS = (
    "a pair (train, test) or a mapping with train, test and perhaps validation, each a torch Dataset of "
    "pairs (input, label) or a pair (inputs, labels) of tensors or arrays; or a mapping with train_images, "
    "train_labels, test_images, test_labels and perhaps validation_..."
)
_PARTS = ("train", "validation", "test")
_SHAPES = (
    "tensors have shape (n, channels, height, width), NumPy arrays (n, height, width, channels), both may be "
    "(n, height, width) or (n, features)"
)
_MOST_CHANNELS = 4


@dataclass(frozen=True, eq=False)
class LabelledTensors(LabelledImages):
    """Arrays of one part of a data set, as a network sees them.

    Attributes:
        images: uint8 or float32 ``(n, channels, height, width)``.
        labels: int64 labels or float32 targets ``(n,)``.
    """

    def select(self, order: torch.Tensor, *, device: torch.device) -> Split:
        """See `LabelledImages.select`."""
        images, labels = torch.from_numpy(self.images), torch.from_numpy(self.labels)
        return Split(
            images=images.index_select(0, order).contiguous().to(device),
            labels=labels.index_select(0, order).to(device),
        )


def read_given(given: Any, *, source: str, classes: int | None = None) -> RawData:
    """Read and check what a user gives as data.

    Inputs are uint8, which the bench reads as x / 255, or floats, which stay as they are. Labels are whole
    numbers from 0, or floats, which are targets of a regression. Every sample of a data set is read once.

    Args:
        given: see `FORMS`; named tuples and dataclasses are mappings, too. What this function has
            returned stays as it is.
        source: where it came from, for messages.
        classes: number of classes; None takes the largest training label plus one.

    Raises:
        BenchError: it has another form, or its parts do not fit together.
    """
    if isinstance(given, RawData):
        return given
    parts = {name: _part(part, f"{source}: {name}") for name, part in _parts(given, source).items()}
    _refuse_differing(parts, source)
    train = parts["train"]
    is_regression = train.labels.dtype.kind == "f"
    if is_regression:
        classes = 1
    elif classes is None:
        classes = int(train.labels.max()) + 1
    for name, part in parts.items():
        low, high = part.labels.min(), part.labels.max()
        if not is_regression and not 0 <= low <= high < classes:
            raise BenchError(
                f"{source}: {name} labels lie in {low}..{high} and must lie in 0..{classes - 1}: number the "
                "classes from 0, or give data.classes"
            )
    return RawData(
        train=train, test=parts["test"], classes=classes, validation=parts.get("validation")
    )


def _parts(given: Any, source: str) -> dict[str, Any]:
    """The parts by name, each still as it was given."""
    if dataclasses.is_dataclass(given) and not isinstance(given, type):
        given = {f.name: getattr(given, f.name) for f in dataclasses.fields(given)}
    elif hasattr(given, "_asdict"):
        given = given._asdict()  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(given, tuple | list) and len(given) == 2 and not any(map(_is_array, given)):
        given = dict(zip(("train", "test"), given, strict=True))
    if not isinstance(given, Mapping):
        raise BenchError(f"{source} is {_described(given)} and must be {FORMS}")
    found = {name: given[name] for name in _PARTS if given.get(name) is not None}
    for name in _PARTS:
        pair = tuple(given.get(f"{name}_{kind}") for kind in ("images", "labels"))
        if all(each is not None for each in pair):
            found.setdefault(name, pair)
    missing = [name for name in ("train", "test") if name not in found]
    if missing:
        has = ", ".join(map(str, given)) or "nothing"
        raise BenchError(f"{source} has no {' and no '.join(missing)}: it has {has}; give {FORMS}")
    return found


def _part(part: Any, what: str) -> LabelledTensors:
    if isinstance(part, tuple | list) and len(part) == 2 and all(map(_is_array, part)):
        inputs, labels = part
    elif hasattr(part, "__getitem__") and isinstance(part, Sized):
        inputs, labels = _read_samples(part, what)
    else:
        lengthless = hasattr(part, "__iter__") and not isinstance(part, Sized)
        remedy = "give a Dataset with a length, or tensors" if lengthless else f"give {FORMS}"
        raise BenchError(f"{what} is {_described(part)}: {remedy}")
    images, targets = _as_inputs(inputs, what), _as_labels(labels, what)
    if len(images) != len(targets) or not len(images):
        raise BenchError(
            f"{what} has {len(images)} inputs and {len(targets)} labels: give as many labels as inputs, and "
            "at least one"
        )
    return LabelledTensors(images, targets)


def _read_samples(samples: Any, what: str) -> tuple[Any, Any]:
    """All inputs and labels of a data set, each sample read once."""
    inputs: list[np.ndarray | torch.Tensor] = []
    labels: list[float] = []
    patience = Patience()
    for index in range(len(samples)):
        patience.say(f"reading {what}: {index} of {len(samples)}")
        try:
            sample, label = samples[index][:2]
            labels.append(label.item() if hasattr(label, "item") else label)
        except (TypeError, ValueError, KeyError, IndexError, RuntimeError) as error:
            raise BenchError(
                f"{what}: sample {index} is no pair (input, label) with one label ({type(error).__name__}: "
                f"{error}): let the Dataset return such pairs"
            ) from error
        inputs.append(sample if isinstance(sample, torch.Tensor) else np.asarray(sample))
        if inputs[-1].shape != inputs[0].shape:
            raise BenchError(
                f"{what}: sample {index} has shape {tuple(inputs[-1].shape)} and sample 0 has "
                f"{tuple(inputs[0].shape)}: bring all to one shape, with a transform that resizes"
            )
    if not inputs:
        raise BenchError(f"{what} has no samples: give at least one")
    if isinstance(inputs[0], torch.Tensor):
        return torch.stack(inputs), np.asarray(labels)  # pyright: ignore[reportArgumentType]
    return np.stack(inputs), np.asarray(labels)


def _as_inputs(inputs: Any, what: str) -> np.ndarray:
    """Inputs as ``(n, channels, height, width)``, uint8 or float32."""
    is_tensor = isinstance(inputs, torch.Tensor)
    array = inputs.detach().cpu().numpy() if is_tensor else np.asarray(inputs)
    shape = array.shape
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise BenchError(
            f"{what} inputs have type {array.dtype} and must be uint8 (0 to 255) or floats: give "
            "inputs.float() for numbers of another range"
        )
    if array.ndim not in (2, 3, 4) or 0 in shape[1:]:
        raise BenchError(f"{what} inputs have shape {shape}: {_SHAPES}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BenchError(f"{what} inputs have values that are not finite: replace them")
    if array.ndim == 2:
        array = array[:, :, None, None]
    elif array.ndim == 3:
        array = array[:, None]
    elif not is_tensor:
        if shape[1] <= _MOST_CHANNELS < shape[3]:
            raise BenchError(
                f"{what} inputs are an array of shape {shape}, whose channels seem to come first: give "
                "torch.from_numpy(inputs), because NumPy arrays have their channels last"
            )
        array = array.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(array, None if array.dtype == np.uint8 else np.float32)


def _as_labels(labels: Any, what: str) -> np.ndarray:
    """Labels as int64, targets as float32, ``(n,)``."""
    array = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else labels
    array = np.asarray(array)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iubf":
        raise BenchError(
            f"{what} labels have type {array.dtype} and shape {array.shape}: give whole numbers from 0, or "
            "floats for task=regression, of shape (n,)"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BenchError(f"{what} labels have values that are not finite: replace them")
    return np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else np.int64)


def _refuse_differing(parts: dict[str, LabelledTensors], source: str) -> None:
    first = parts["train"]
    for name, part in parts.items():
        for kind in ("images", "labels"):
            ours, theirs = getattr(part, kind), getattr(first, kind)
            if (ours.dtype, ours.shape[1:]) != (theirs.dtype, theirs.shape[1:]):
                word = "inputs" if kind == "images" else kind
                raise BenchError(
                    f"{source}: {name} {word} are {ours.dtype} {ours.shape[1:]} and the training {word} are "
                    f"{theirs.dtype} {theirs.shape[1:]}: give all parts one type and shape"
                )


def _is_array(value: Any) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray)


def _described(value: Any) -> str:
    """Type and size of a value, for messages."""
    if _is_array(value):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {', '.join(type(item).__name__ for item in value)}"
    return type(value).__name__
