"""Range checks whose messages name the value and the allowed range."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor


def check_non_negative(label: str, value: Any) -> None:
    """Raise ValueError unless `value` is a finite number >= 0."""
    if not _is_number(value) or not 0 <= value < math.inf:
        raise ValueError(f"Invalid {label}: {value!r} (must be >= 0 and finite)")


def check_rate(label: str, value: Any) -> None:
    """Raise ValueError unless `value` is a finite number >= 0, or a real tensor that holds one."""
    if isinstance(value, Tensor):
        if value.numel() != 1 or value.is_complex() or value.layout != torch.strided:
            raise ValueError(
                f"Invalid {label}: a tensor of shape {tuple(value.shape)} and dtype {value.dtype} "
                "(must hold one real number)"
            )
        if not value.is_meta:
            check_non_negative(label, value.item())
    else:
        check_non_negative(label, value)


def check_positive(label: str, value: Any) -> None:
    """Raise ValueError unless `value` is a finite number > 0."""
    if not _is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"Invalid {label}: {value!r} (must be > 0 and finite)")


def check_count(label: str, value: Any) -> None:
    """Raise ValueError unless `value` is an integer > 0."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"Invalid {label}: {value!r} (must be an integer > 0)")


def check_decay(label: str, value: Any) -> None:
    """Raise ValueError unless `value` is a number in [0, 1): the share kept by a moving average."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ValueError(f"Invalid {label}: {value!r} (must be in [0, 1))")


def check_density(value: Any) -> None:
    """Raise ValueError unless `value` is a number in (0, 1]: a fraction of entries or groups."""
    if not _is_number(value) or not 0 < value <= 1:
        raise ValueError(f"Invalid density: {value!r} (must be in (0, 1])")


def check_choice(label: str, value: Any, choices: Iterable[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`, such as the members of a StrEnum."""
    known = [str(choice) for choice in choices]
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"Invalid {label}: {_plain(value)!r} (must be one of {', '.join(known)})")


def _plain(value: Any) -> Any:
    """The word itself of a member of a StrEnum."""
    return str(value) if isinstance(value, str) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
