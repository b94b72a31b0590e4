"""What is installed and found here: the first thing to look at when something does not work."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from bregbench.half_precision import has_bf16
from bregbench.provenance import commit, device_name
from bregbench.shadowing import shadowed

PACKAGES = (
    "bregbench",
    "torch",
    "torchvision",
    "hydra-core",
    "omegaconf",
    "wandb",
    "pandas",
    "matplotlib",
    "numpy",
    "scikit-learn",
    "rich",
    "safetensors",
    "hydra-joblib-launcher",
    "hydra-submitit-launcher",
)

#: a file or folder that each data set cannot do without, below `data.root`
DATA = {
    "mnist": "MNIST/raw/train-images-idx3-ubyte",
    "fashion_mnist": "FashionMNIST/raw/train-images-idx3-ubyte",
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "svhn": "train_32x32.mat",
}


def report(data_root: Path) -> list[tuple[str, str, str]]:
    """Lines of (section, name, finding)."""
    lines = [("versions", "python", platform.python_version())]
    lines += [("versions", name, _version(name)) for name in PACKAGES]
    lines.append(("versions", "commit", commit() or "not a checkout"))
    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    devices = [torch.device(name) for name in names]
    lines += [("devices", str(device), device_name(device)) for device in devices]
    lines += [("devices", f"bf16 on {device}", _bf16(device)) for device in devices]
    if not torch.cuda.is_available():
        lines.append(("devices", "cuda", "none"))
    hidden = shadowed()
    for name, path in hidden.items():
        lines.append(("packages", name, f"HIDDEN by {path}"))
    if not hidden:
        lines.append(("packages", "bregman dessilbi lifted clip fno", "ours"))
    lines.append(("data", "digits", "found (inside scikit-learn)"))
    for name, needed in DATA.items():
        found = (data_root / needed).exists()
        lines.append(("data", name, "found" if found else f"no {data_root / needed}"))
    return lines


def _bf16(device: torch.device) -> str:
    if has_bf16(device):
        return "yes (precision=auto: bf16)"
    return "no (precision=auto: fp32)"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
