"""Images that stay in files: the same pixels as torchvision's crops, from as many as are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bregbench.data import Augment, BatchLoader, ImageFolder, ImageNet, Split
from bregbench.data import image_folder as module
from bregbench.data.augment import resized_crop_flip
from bregbench.data.crops import crop_box, cut_out, draw_crops
from bregbench.foundations.errors import BenchError

SIZES = [(40, 31), (33, 60), (32, 32), (50, 45)]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two classes of noise pictures of four shapes."""
    place = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for part in ("train", "test", "val"):
        for label in ("a", "b"):
            folder = place / "small" / part / label
            folder.mkdir(parents=True)
            for index, (height, width) in enumerate(SIZES):
                noise = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(noise).save(folder / f"{index}.png")
    return place


def folder(root, **changed) -> ImageFolder:
    return ImageFolder(
        **{"root": str(root), "folder": "small", "size": 28, "validation": 2} | changed
    )


@pytest.mark.parametrize("fit", list(module.Fit))
def test_streamed_images_are_those_in_memory(root, fit):
    held, streamed = (folder(root, fit=fit, stream=stream).build(CPU) for stream in (False, True))
    for name in ("train", "validation", "test"):
        first, second = getattr(held, name), getattr(streamed, name)
        assert torch.equal(first.labels, second.labels)
        assert first.images.shape == second.images.shape
        chosen = torch.tensor([len(first) - 1, 0])
        assert torch.equal(
            first.images.index_select(0, chosen), second.images.index_select(0, chosen)
        )
        assert torch.equal(first.images[:3], second.images[:3])
        assert torch.equal(first.images[-1], second.images[-1])
    assert streamed.input_shape == (3, 28, 28)
    assert torch.equal(held.normalization.mean, streamed.normalization.mean)
    with pytest.raises(BenchError, match=r"data\.stream=false"):
        streamed.train.images.float()


def test_centre_is_torchvisions(root):
    from torchvision.transforms import functional as vision

    data = folder(root, fit=module.Fit.centre, stream=True).build(CPU)
    for index, file in enumerate(data.test.images.files):  # pyright: ignore[reportAttributeAccessIssue]
        with Image.open(file) as image:
            resized: Any = vision.resize(image, [32])  # pyright: ignore[reportArgumentType]
            wanted = vision.center_crop(resized, [28])
        assert torch.equal(data.test.images[index], vision.pil_to_tensor(wanted))


def test_random_crops_are_torchvisions_for_the_same_box(root):
    from torchvision.transforms import functional as vision

    data = folder(root, stream=True).build(CPU)
    chosen = torch.tensor([4, 1, 2])
    crops = resized_crop_flip(data.train.images, chosen, generator=torch.Generator().manual_seed(3))
    again = resized_crop_flip(data.train.images, chosen, generator=torch.Generator().manual_seed(3))
    assert torch.equal(crops, again)
    draws = draw_crops(3, generator=torch.Generator().manual_seed(3))
    assert {bool(coin < 0.5) for coin in draws[:, -1]} == {True, False}
    for crop, row, index in zip(crops, draws.tolist(), chosen.tolist(), strict=True):
        with Image.open(data.train.images.files[index]) as image:  # pyright: ignore[reportAttributeAccessIssue]
            box = crop_box(row, image.height, image.width)
            wanted: Any = vision.resized_crop(image, *box, [28, 28])  # pyright: ignore[reportArgumentType]
        mirrored = vision.hflip(wanted) if row[-1] < 0.5 else wanted
        assert torch.equal(crop, vision.pil_to_tensor(mirrored))


def test_boxes_lie_inside_and_have_the_usual_sizes():
    draws = draw_crops(2000, generator=torch.Generator().manual_seed(0))
    height, width = 300, 400
    boxes = torch.tensor([crop_box(row, height, width) for row in draws.tolist()]).double()
    top, left, h, w = boxes.unbind(1)
    for start, end, side in ((top, top + h, height), (left, left + w, width)):
        assert (start.min(), end.max()) == (0, side)  # inside, and up to the edges
    area, ratio = h * w / (height * width), w / h
    assert 0.07 < area.min() < 0.1 < 0.9 < area.max() <= 1
    assert 0.74 < ratio.min() < 0.76
    assert 1.32 < ratio.max() < 1.35
    # Nothing of an allowed ratio fits a narrow strip: the centre does.
    assert crop_box(draws[0].tolist(), 10, 1000) == (0, 493, 10, 13)
    assert crop_box(draws[0].tolist(), 1000, 10) == (493, 0, 13, 10)


def test_parts_of_images_in_memory():
    images = torch.randint(256, (3, 2, 12, 16), dtype=torch.uint8)
    boxes = [(0, 0, 12, 16), (0, 0, 12, 16), (6, 8, 6, 8)]
    cut = cut_out(images, boxes, torch.tensor([False, True, False]))
    assert torch.equal(cut[0], images[0])
    assert torch.equal(cut[1], images[1].flip(2))
    ramp = torch.arange(16, dtype=torch.uint8).expand(1, 1, 12, 16).contiguous() * 8
    right = cut_out(ramp, [(0, 8, 12, 8)], torch.tensor([False]))
    wanted = 8 * (8 + (torch.arange(16) + 0.5) / 2 - 0.5)
    inner = slice(1, -1)
    assert torch.allclose(right[0, 0, 0, inner].float(), wanted[inner], atol=0.51)


@pytest.mark.parametrize("stream", [True, False])
def test_loader_crops_and_resumes(root, stream):
    data = folder(root, stream=stream).build(CPU)

    def loader() -> BatchLoader:
        return BatchLoader(
            data.train,
            4,
            generator=torch.Generator().manual_seed(0),
            augment_generator=torch.Generator().manual_seed(1),
            augment=Augment.resized_crop_flip,
        )

    first = loader()
    iterator = iter(first)
    next(iterator)
    state = first.state_dict()
    wanted, labels = next(iterator)
    second = loader()
    second.load_state_dict(state)
    found, again = next(iter(second))
    assert torch.equal(wanted, found)
    assert torch.equal(labels, again)
    assert wanted.dtype == torch.float32
    assert 0 <= wanted.min() < wanted.max() <= 1


def test_imagenet_is_known_by_its_name(root, monkeypatch):
    config = ImageNet(root=str(root), folder="small", size=28, validation=0)
    assert ImageNet(root="nowhere").fingerprint() is None
    with pytest.raises(BenchError, match=r"number of classes in data\.folder=small=2 .* 1000"):
        config.load()
    with pytest.raises(
        BenchError, match=r"dataset=imagenet: no folders .*train/<class>/ and .*val"
    ):
        ImageNet(root="nowhere").load()
    monkeypatch.setattr(module, "_IMAGENET_CLASSES", 2)
    data = config.build(CPU)
    assert (len(data.train), len(data.validation), len(data.test)) == (8, 0, 8)
    assert isinstance(data.validation, Split)
    assert len(data.validation.images) == 0
