"""Weights of sparse networks in small files: positions and values of what is not zero."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from bregbench.foundations.files import write_atomically

_POSITIONS, _VALUES, _SHAPE = "/positions", "/values", "/shape"


def save_sparse(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Write a state dictionary as safetensors, each tensor in whichever form is smaller.

    Sparse form: flat positions (int32) and values of the entries that are not zero, and the shape.
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
    """Read what `save_sparse` wrote, as ordinary dense tensors."""
    tensors = load_file(path)
    state: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        if key.endswith(_SHAPE):
            name = key.removesuffix(_SHAPE)
            values = tensors[name + _VALUES]
            dense = torch.zeros(int(tensor.prod()), dtype=values.dtype)
            dense[tensors[name + _POSITIONS].long()] = values
            state[name] = dense.reshape(tensor.tolist())
        elif not key.endswith((_POSITIONS, _VALUES)):
            state[key] = tensor
    return state
