"""AlexNet and ResNet-18 for ImageNet are torchvision's, and train from a folder of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bregbench.figures.specs import load_table
from bregbench.foundations.errors import BenchError
from bregbench.models import AlexNet, ModelConfig, Resnet18, Stem
from bregbench.runs.train import train
from bregbench.schema.compose import compose
from bregbench.tasks.base import Classification
from dessilbi.removal import fixed_layers
from tests.places import local_place

LARGE = (3, 224, 224)


@pytest.mark.parametrize(
    ("config", "reference", "parameters"),
    [
        (AlexNet(), "alexnet", 61_100_840),
        (Resnet18(stem=Stem.imagenet), "resnet18", 11_689_512),
    ],
)
def test_outputs_are_those_of_torchvision(config: ModelConfig, reference: str, parameters: int):
    from torchvision import models

    with torch.device("meta"):
        theirs = getattr(models, reference)()
        ours = config.build(input_shape=LARGE, classes=1000)
    assert sum(p.numel() for p in ours.parameters()) == parameters
    shapes = [[tuple(p.shape) for p in net.parameters()] for net in (ours, theirs)]
    assert sorted(shapes[0]) == sorted(shapes[1])


def test_small_ones_compute_what_torchvision_computes():
    from torchvision import models

    torch.manual_seed(0)
    images = torch.rand(2, 3, 80, 64)
    theirs = models.AlexNet(num_classes=7).eval()
    theirs.classifier = nn.Sequential(
        nn.Linear(9216, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 7)
    )
    ours = AlexNet(hidden=16).build(input_shape=(3, 80, 64), classes=7).eval()
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.copy_(other)
    assert torch.allclose(ours(images), theirs(images), atol=1e-6)

    resnet = models.resnet18(num_classes=7).eval()
    network = Resnet18(stem=Stem.imagenet).build(input_shape=(3, 80, 64), classes=7).eval()
    names = {"shortcut": "downsample", "norm": "bn", "linear": "fc"}
    found = resnet.state_dict()
    state = network.state_dict()
    for name in state:
        if name.startswith("normalize."):
            continue
        other = name.replace("stage", "layer").replace("conv.", "conv1.").replace("norm.", "norm1.")
        for mine, their in names.items():
            other = other.replace(mine, their)
        state[name] = found[other]
    network.load_state_dict(state)
    assert torch.allclose(network(images), resnet(images), atol=1e-5)


def test_filters_can_be_removed():
    network = AlexNet(hidden=4).build(input_shape=(3, 64, 64), classes=7)
    assert set(fixed_layers(network)) == {"linear3"}
    network = Resnet18(width=2, stem=Stem.imagenet).build(input_shape=(3, 64, 64), classes=7)
    assert "stage1.0.conv1" not in fixed_layers(network)


def test_small_images_are_refused_in_one_line():
    with pytest.raises(BenchError, match=r"at least 63 x 63 pixels .* 32 x 32"):
        AlexNet().build(input_shape=(3, 32, 32), classes=10)
    assert AlexNet(hidden=2).build(input_shape=(3, 63, 63), classes=6)(
        torch.rand(2, 3, 63, 63)
    ).shape == (2, 6)


def test_top5_counts_the_five_largest():
    logits = torch.tensor([[7.0, 6, 5, 4, 3, 2, 1]]).repeat(4, 1)
    scores = Classification(top5=True).scores(logits, torch.tensor([0, 4, 5, 6]))
    assert {name: int(count) for name, count in scores.items()} == {
        "accuracy": 1,
        "accuracy_top5": 2,
    }
    assert set(Classification().scores(logits, torch.tensor([0, 4, 5, 6]))) == {"accuracy"}


@pytest.fixture
def pictures(tmp_path):
    """Six classes, two pictures of 40 x 50 pixels each."""
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in range(6):
            folder = tmp_path / "images" / part / str(label)
            folder.mkdir(parents=True)
            for index in range(2):
                noise = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
                Image.fromarray(noise).save(folder / f"{index}.png")
    return tmp_path


@pytest.mark.parametrize(
    "model", [["resnet18", "model.width=2", "model.stem=imagenet"], ["alexnet", "model.hidden=4"]]
)
def test_rows_of_table_6_train_on_a_small_folder(model, pictures, tmp_path):
    table = load_table("dessilbi_table6")
    part = {"resnet18": "ImageNet ResNet-18", "alexnet": "ImageNet AlexNet"}[model[0]]
    config = table.config(
        "DessiLBI Mom",
        0,
        local_place(
            *("dataset=image_folder", "data.stream=true", "data.size=64", "data.fit=centre"),
            *(
                "data.augment=resized_crop_flip",
                f"data.root={pictures}",
                f"model={model[0]}",
                *model[1:],
            ),
            *(
                "trainer.epochs=1",
                "trainer.device=cpu",
                "trainer.precision=fp32",
                f"runs_dir={tmp_path / 'runs'}",
            ),
        ),
        part=part,
    )
    final = train(config)["final"]["trained"]["last"]
    assert 0 <= final["test/accuracy"] <= final["test/accuracy_top5"] <= 1
    with pytest.raises(BenchError, match=r"task\.top5=True .* false for 5 classes"):
        config.task.check_network(nn.Identity(), (3, 64, 64), 5)


def test_imagenet_cells_are_configs_that_tables_1_and_6_share():
    first, sixth = load_table("dessilbi_table1"), load_table("dessilbi_table6")
    for label in ("SGD Nesterov", "DessiLBI Mom-Wd"):
        for part in first.parts:
            config = first.config(label, 0, part=part)
            assert config.hashed_name == sixth.config(label, 0, part=part).hashed_name
            assert config.experiment_name == "dessilbi_table6"
            assert (config.data.kind, config.trainer.batch_size) == ("imagenet", 256)
            assert getattr(config.method, "nu", 1000.0) == 1000.0
            assert (first.wants_cuda(part), sixth.wants_cuda(part)) == (True, True)
    assert not any(first.not_run(label, part) for label in first.rows for part in first.parts)
    assert compose("dataset=imagenet", "model=alexnet").model.kind == "alexnet"
