"""Weights of sparse networks in small files: positions and values of non-zero entries."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import write_atomically

#: Largest number of entries of one tensor in a file, which guards against damaged shapes.
_MOST_ENTRIES = 2**30
_POSITIONS, _VALUES, _SHAPE = "/positions", "/values", "/shape"


def save_sparse(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Write a state dict as safetensors, each tensor in its dense or its sparse form, the smaller one.

    The sparse form holds flat positions (int32) and values of the non-zero entries, and the shape.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        positions = flat.nonzero().reshape(-1).to(torch.int32)
        values = flat[positions.long()]
        size = positions.nbytes + values.nbytes
        if size < flat.nbytes:
            tensors[name + _POSITIONS] = positions
            tensors[name + _VALUES] = values
            tensors[name + _SHAPE] = torch.tensor(tensor.shape, dtype=torch.int64)
        else:
            tensors[name] = tensor.detach().cpu().contiguous()
    write_atomically(path, lambda temporary: save_file(tensors, temporary))


def load_sparse(path: Path) -> dict[str, torch.Tensor]:
    """Read a file of `save_sparse` as dense tensors.

    Raises:
        BenchError: the file is damaged.
    """
    tensors = load_tensors(path)
    state: dict[str, torch.Tensor] = {}
    try:
        for key, tensor in tensors.items():
            if key.endswith(_SHAPE):
                name = key.removesuffix(_SHAPE)
                found = tensors[name + _POSITIONS], tensors[name + _VALUES]
                state[name] = _dense(tensor.tolist(), *found)
            elif not key.endswith((_POSITIONS, _VALUES)):
                state[key] = tensor
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error
    return state


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        BenchError: the file is damaged or missing.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged(path, error) from error


def _dense(shape: list[int], positions: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    entries = math.prod(shape)
    if min(shape, default=1) < 0 or entries > _MOST_ENTRIES:
        raise ValueError(f"a tensor of shape {shape}")
    dense = torch.zeros(entries, dtype=values.dtype)
    dense[positions.long()] = values
    return dense.reshape(shape)


def _damaged(path: Path, error: Exception) -> BenchError:
    reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return BenchError(
        f"{path} is damaged or was cut short ({reason}): put the file back, or delete and repeat the run"
    )
