"""`bregbench doctor`: versions, devices, shadowed packages and data that were found."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from bregbench.cli.arguments import option, parse
from bregbench.cli.outcome import guarded
from bregbench.foundations.own_packages import refuse_shadowed, shadowed

if TYPE_CHECKING:
    import torch

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

#: columns of the longest name
_NAME = max(map(len, PACKAGES))

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
    import torch  # late, so that `--help` starts without it

    from bregbench.foundations.provenance import commit, device_name

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
    from bregbench.foundations.half_precision import has_bf16

    if has_bf16(device):
        return "yes (precision=auto: bf16)"
    return "no (precision=auto: fp32)"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


@dataclass
class Options:
    """Versions, devices, shadowed packages and data sets found."""

    data_root: str = option("data", help="folder with the data sets (data.root of a run)")


EXAMPLES = (
    "",
    "data_root=../data",
)


def main() -> None:
    """Entry point; exits with 1 where a package is shadowed."""
    sys.exit(guarded(_command))


def _command() -> int:
    options = parse(Options, sys.argv[1:], command="bregbench doctor", examples=EXAMPLES)
    previous = ""
    for section, name, finding in report(Path(options.data_root)):
        # No table: it would break paths to fit them into its column.
        print(f"{'' if section == previous else section:<9} {name:<{_NAME}} {finding}")
        previous = section
    refuse_shadowed()
    return 0


if __name__ == "__main__":
    main()
