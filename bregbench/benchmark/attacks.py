"""`python -m bregbench.benchmark.attacks`: our strong attack beside AutoAttack, on committed records.

AutoAttack is the ensemble of Croce and Hein (ICML 2020) in the package `pyautoattack`, which
`pip install bregbench[attacks]` brings. Theirs gets the network's outputs, or the scores before a final
activation, whichever leaves less; both get the same test images and keep pixels in [0, 1].
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bregbench.cli.outcome import guarded
from bregbench.data.loader import to_unit_interval
from bregbench.evaluators.sample import sample_of
from bregbench.foundations.errors import BenchError
from bregbench.foundations.files import write_json
from bregbench.foundations.provenance import commit, device_name
from bregbench.runs.load import load_run, read_config
from bregbench.storage.directory import RunDirectory
from clip import attacks
from clip.scores import outputs_and_scores

FILE = "attacks.json"
PACKAGE = "pyautoattack"


class Scores(nn.Module):
    """What a network's last activation is applied to."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Scores ``(n, classes)``."""
        return outputs_and_scores(self.network, images)[1]


def compare(
    network: nn.Module, images: Tensor, labels: Tensor, *, radius: float, seed: int = 0
) -> dict[str, float]:
    """Accuracies that attacks in an l2 ball leave.

    Args:
        network: in evaluation mode.
        images: in [0, 1].
        labels: int64.
        radius: of the ball.
        seed: of the random parts of both.

    Raises:
        BenchError: AutoAttack is not installed.
    """
    accuracy = partial(attacks.robust_accuracy, network, images, labels, radii=[radius])
    found = {
        "paper_pgd": accuracy(attack=attacks.paper_pgd)[radius],
        "pgd": accuracy(attack=attacks.pgd)[radius],
        "strong": accuracy(attack=attacks.strong)[radius],
    }
    for name, judged in (("outputs", network), ("scores", Scores(network))):
        attack = _package().AutoAttack(judged, norm="L2", eps=radius, seed=seed)
        adversarial = attack.run_standard_evaluation(images, labels)[0]
        with torch.no_grad():
            right = network(adversarial).argmax(1) == labels
        found[f"autoattack_{name}"] = float(right.double().mean())
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print and write the result; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bregbench.benchmark.attacks")
    parser.add_argument("records", nargs="+", type=Path, help="records with weights")
    parser.add_argument("--data-root", default="data", help="folder with the data sets")
    parser.add_argument("--images", type=int, default=200, help="test images of each")
    parser.add_argument("--radius", type=float, default=2.0, help="of the Euclidean balls")
    parser.add_argument("--output", type=Path, default=Path("results/benchmark"), help="folder")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for path in options.records:
        config = read_config(RunDirectory(path))
        config.data.root = options.data_root
        # The first images of those that evaluators look at.
        sample = sample_of(config.data.build(torch.device("cpu")).test, 2000)
        images = to_unit_interval(sample.images[: options.images])
        network = load_run(path).eval()
        found = compare(network, images, sample.labels[: options.images], radius=options.radius)
        rows.append(
            {"record": f"{path.parent.parent.name}/{path.parent.name}/{path.name}", **found}
        )
        print(rows[-1], flush=True)
    environment = {
        "torch": torch.__version__,
        PACKAGE: _version(),
        "device": device_name(torch.device("cpu")),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit() or "unknown",
        "images": options.images,
        "norm": "l2",
        "radius": options.radius,
    }
    write_json(options.output / FILE, {"environment": environment, "rows": rows})
    print(f"written: {options.output / FILE}")
    return 0


def _package() -> Any:
    try:
        return importlib.import_module(PACKAGE)
    except ModuleNotFoundError:
        raise BenchError(f"{PACKAGE} is not installed: pip install 'bregbench[attacks]'") from None


def _version() -> str:
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return getattr(_package(), "__version__", "unknown")


if __name__ == "__main__":
    raise SystemExit(guarded(main))
