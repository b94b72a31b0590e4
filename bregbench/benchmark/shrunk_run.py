"""`python -m bregbench.benchmark.shrunk_run`: whole runs on MNIST, ordinary and shrunk.

Every run has the same data, start and order of batches. What is printed of each: accuracy on the
validation images, share of weights that are not zero, share of hidden units that are active in the end,
multiplications of all steps as a share of those of the ordinary run, and CPU seconds.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from bregbench.cli.outcome import guarded
from bregbench.data import Mnist
from bregbench.data.loader import BatchLoader, evaluation_batches
from bregbench.data.split import Data
from bregbench.measures.cost import count_macs
from bregbench.measures.density import active_units, density
from bregbench.models import Cnn, Mlp
from bregman import LinBreg, he_normal, initialize_biases, penalize, sparsify
from bregman.layers import WEIGHT_LAYERS
from bregman.modules import evaluating
from bregman.rules import Rule
from dessilbi import ShrunkTraining, coarse_steps_at

SHAPE, BATCH = (1, 28, 28), 128
NETWORKS = {"mlp": Mlp(), "cnn": Cnn()}
RULES = {
    "entry": [Rule("l1", module=WEIGHT_LAYERS, name="*weight")],
    "filter": [Rule("l12", module=WEIGHT_LAYERS, name="*weight", group="filter")],
}


def run(
    network: nn.Module,
    optimizer: LinBreg,
    data: Data,
    *,
    epochs: int,
    most: int,
    weight: float,
    seed: int,
) -> dict[str, float]:
    """Train and measure.

    Args:
        network: trained in place.
        optimizer: of its parameters.
        data: training and validation images.
        epochs: the first without coarse steps.
        most: coarse steps after a full one in the end; 0 for the ordinary run.
        weight: of full steps.
        seed: of the order of the images.
    """
    shrunk = ShrunkTraining(network, optimizer, weight=weight, example=torch.rand(2, *SHAPE))
    order = torch.Generator().manual_seed(seed)
    loader = BatchLoader(data.train, BATCH, generator=order)
    costs: dict[tuple[torch.Size, ...], int] = {}
    begin, macs, steps = time.process_time(), 0, 0
    for epoch in range(epochs):
        shrunk.coarse_steps = coarse_steps_at(epoch, most)
        for images, labels in loader:
            now = shrunk.network
            shape = tuple(param.shape for param in now.parameters())
            if shape not in costs:
                costs[shape] = count_macs(now, SHAPE).dense
            shrunk.zero_grad()
            functional.cross_entropy(now(images), labels).backward()
            shrunk.step()
            macs, steps = macs + costs[shape], steps + 1
    shrunk.synchronise()
    seconds = time.process_time() - begin
    return {
        "accuracy": accuracy(network, data),
        "density/total": density(network)["density/total"],
        **active_units(network),
        "macs": macs / (steps * count_macs(network, SHAPE).dense),
        "seconds": seconds,
    }


@torch.no_grad()
def accuracy(network: nn.Module, data: Data) -> float:
    """Share of validation images that are classified rightly."""
    right = count = 0
    with evaluating(network):
        for images, labels in evaluation_batches(data.validation, 1000):
            right += int((network(images).argmax(1) == labels).sum())
            count += len(labels)
    return right / count


def start(kind: str, density: float, by: str, *, seed: int) -> nn.Module:
    """A network of the Bregman paper with few weights, or few units of each hidden layer."""
    torch.manual_seed(seed)
    network = NETWORKS[kind].build(input_shape=SHAPE, classes=10)
    he_normal(network)
    head = copy.deepcopy([layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1])
    sparsify(network, density, by=by)
    if by == "filter":  # all classes are read off from the start
        last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
        last.load_state_dict(head.state_dict())
    initialize_biases(network)
    return network


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both, print both; return the exit status."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    data = Mnist(root=options.data_root, limit=options.limit).build(torch.device("cpu"))
    for name, most, lam in (
        ("ordinary", 0, options.lam),
        ("shrunk", options.most, options.shrunk_lam),
    ):
        network = start(options.network, options.start, options.group, seed=options.seed)
        optimizer = LinBreg(penalize(network, RULES[options.group], lam=lam), lr=0.1)
        found = run(
            network,
            optimizer,
            data,
            epochs=options.epochs,
            most=most,
            weight=options.weight if most else 1.0,
            seed=options.seed,
        )
        numbers = ", ".join(f"{key} {value:.4g}" for key, value in found.items())
        print(f"{name}, {options.group}, lam {lam:g}, m {most}: {numbers}", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bregbench.benchmark.shrunk_run")
    parser.add_argument("--data-root", default="data", help="folder with the data sets")
    parser.add_argument(
        "--group", choices=list(RULES), default="filter", help="what vanishes together"
    )
    parser.add_argument("--network", choices=list(NETWORKS), default="mlp")
    parser.add_argument("--limit", type=int, help="train on the first so many images only")
    parser.add_argument("--lam", type=float, default=0.02, help="of the ordinary run")
    parser.add_argument("--shrunk-lam", type=float, default=0.02, help="of the shrunk run")
    parser.add_argument(
        "--start", type=float, default=0.1, help="share of weights or units at first"
    )
    parser.add_argument(
        "--most", type=int, default=4, help="coarse steps after a full one in the end"
    )
    parser.add_argument("--weight", type=float, default=5.0, help="of full steps")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    raise SystemExit(guarded(main))
