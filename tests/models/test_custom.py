"""A user's own network trains as the bench's; what is no network is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from bregbench import load_run
from bregbench.foundations.errors import BenchError
from bregbench.foundations.identity import config_hash
from bregbench.models import Custom, Normalize
from bregbench.runs.train import run_directory, train


def make_mlp(input_shape: tuple[int, int, int], classes: int, hidden: int = 16) -> nn.Sequential:
    """What `model=mlp model.hidden=[16]` is."""
    channels, height, width = input_shape
    first = nn.Linear(channels * height * width, hidden)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(hidden, classes))


class Own(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(images).flatten(1))


def no_network() -> int:
    return 3


def two_outputs() -> nn.Module:
    class Two(nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images, images

    return Two()


def odd_size() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(63, 10))


def odd_labels() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


HERE = __name__


def test_the_same_network_trains_to_the_same_weights(make_config):
    ours = make_config("model=mlp", "model.hidden=[16]")
    theirs = make_config("model=custom", f"model.factory={HERE}:make_mlp")
    for config in (ours, theirs):
        train(config)
    found, expected = (load_run(run_directory(config).path) for config in (theirs, ours))
    weights = list(found.parameters())
    assert all(torch.equal(a, b) for a, b in zip(weights, expected.parameters(), strict=True))
    assert [name for name, _ in found.named_children()] == ["normalize", "0", "1", "2", "3"]


@pytest.mark.parametrize("method", ["linbreg", "dessilbi", "lifted", "rigl"])
def test_methods_of_all_kinds_take_it(make_config, method):
    config = make_config(
        "model=custom",
        f"model.factory={HERE}:make_mlp",
        f"method={method}",
        "trainer.epochs=1",
        "trainer.max_steps=3",
    )
    assert train(config)["epochs"] == 1


def test_a_module_of_any_kind_is_one_part_of_the_network(make_config):
    config = make_config("model=custom", f"model.factory={HERE}:Own", "method=sgd")
    summary = train(config)
    network = load_run(run_directory(config).path)
    assert isinstance(network, nn.Sequential)
    assert isinstance(network[0], Normalize)
    assert isinstance(network.get_submodule("network"), Own)
    assert network.get_submodule("network.norm").running_mean is not None
    assert len(summary["sources"]["model"]) == 64


def test_factory_and_arguments_are_the_identity(make_config):
    def hashed(*overrides: str) -> str:
        return config_hash(make_config("model=custom", *overrides))

    first = hashed("model.factory=a:make")
    assert first == hashed("model.factory=a:make", "model.arguments=null")
    others = [
        hashed("model.factory=a:other"),
        hashed("model.factory=a:make", "model.arguments={hidden: 2}"),
        hashed("model.factory=a:make", "+model.arguments.hidden=3"),
    ]
    assert len({first, *others}) == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_network", r"returned int and must return a torch\.nn\.Module"),
        ("two_outputs", r"answers with tuple and must answer with one tensor \(batch, 10\)"),
        ("odd_size", r"takes no images of shape \(1, 1, 8, 8\): RuntimeError: .*input_shape"),
        ("odd_labels", r"outputs of shape \(10,\) and the network has \(3,\): .*`classes`"),
    ],
)
def test_what_is_no_network_for_the_data_is_refused_in_one_line(make_config, name, message):
    config = make_config("model=custom", f"model.factory={HERE}:{name}")
    with pytest.raises(BenchError, match=message) as caught:
        train(config)
    assert "\n" not in str(caught.value)


def test_a_changed_source_is_said_at_resume_and_afterwards(
    make_config, train_killed, tmp_path, monkeypatch, capsys
):
    """The process that resumes finds another file; the function in memory stays the same here."""
    monkeypatch.chdir(tmp_path)
    file = Path("changing_network.py")
    file.write_text(Path(__file__).read_text())
    config = make_config("model=custom", "model.factory=changing_network:make_mlp")
    digests = iter(["a" * 64, "b" * 64, "b" * 64])
    monkeypatch.setattr(Custom, "source_digest", lambda self: next(digests, "c" * 64))
    train_killed(config, saves=2)
    said = capsys.readouterr().err
    assert "note: model.factory: its file has changed while this run trained" in said
    summary = run_directory(config).read_summary()
    assert summary["sources"] == {"model": "b" * 64}
    assert any("2 versions of the function" in note for note in summary["notes"])
    monkeypatch.setattr(Custom, "source_digest", lambda self: "c" * 64)
    train(config)
    assert "its file has changed since this run was trained" in capsys.readouterr().err
