"""Image files in a folder for each class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from bregbench.data import ImageFolder
from bregbench.foundations.errors import BenchError


@pytest.fixture
def folder(tmp_path):
    """Two classes of one colour each, in two sizes."""
    for part, count in (("train", 3), ("test", 2)):
        for label, colour in (("blue", (0, 0, 200)), ("red", (255, 0, 0))):
            place = tmp_path / "birds" / part / label
            place.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (20 + index, 30), colour).save(place / f"{index}.png")
    (tmp_path / "birds" / "train" / "red" / "notes.txt").write_text("no image")
    return tmp_path


def test_images_are_squares_with_labels_in_alphabetical_order(folder):
    config = ImageFolder(root=str(folder), folder="birds", size=12, validation=2)
    data = config.build(torch.device("cpu"))
    assert data.input_shape == (3, 12, 12)
    assert (len(data.train), len(data.validation), len(data.test), data.classes) == (4, 2, 4, 2)
    for split in (data.train, data.test):
        red = split.images[:, 0, 0, 0] == 255
        assert torch.equal(split.labels == 1, red)
        assert set(split.images[:, 2].unique().tolist()) == {0, 200}


def test_fingerprint_follows_the_files(folder):
    config = ImageFolder(root=str(folder), folder="birds", size=12)
    before = config.fingerprint()
    assert before == ImageFolder(root=str(folder), folder="birds", size=12).fingerprint()
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "birds" / "test" / "red" / "9.png")
    assert config.fingerprint() != before


def test_bad_folders_are_one_line(folder):
    def problem(**changed) -> str:
        config = ImageFolder(**{"root": str(folder), "folder": "birds", "size": 12, **changed})
        with pytest.raises(BenchError) as error:
            config.load()
        return str(error.value)

    with pytest.raises(BenchError, match=r"data\.size=0 is out of range"):
        ImageFolder(size=0).check("data")
    assert "no folders of classes in" in problem(folder="nowhere")
    (folder / "birds" / "train" / "green").mkdir()
    assert "no images of green" in problem()
    (folder / "birds" / "train" / "green" / "0.png").write_bytes(b"no image")
    assert "different classes (green)" in problem()
    (folder / "birds" / "train" / "green" / "0.png").unlink()
    (folder / "birds" / "train" / "green").rmdir()
    (folder / "birds" / "test" / "red" / "0.png").write_bytes(b"no image")
    assert "0.png is no readable image" in problem()


def test_folders_that_hold_something_else_are_listed(tmp_path):
    def build(**options):
        return ImageFolder(root=str(tmp_path), **options).build(torch.device("cpu"))

    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cats").mkdir()
    with pytest.raises(
        BenchError, match=r"no folders of classes in .*/train \(and .*images has cats/\)"
    ):
        build()
    (tmp_path / "images" / "train" / "cats").mkdir(parents=True)
    (tmp_path / "images" / "train" / "cats" / "notes.txt").write_text("no image")
    with pytest.raises(
        BenchError, match=r"no images of cats .* \(which has notes\.txt\): put train"
    ):
        build()


def test_a_path_is_said_to_be_no_folder_of_images(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(
        BenchError, match=rf"say data\.root={tmp_path} data\.folder=photos, which holds"
    ):
        ImageFolder(path=str(tmp_path / "photos")).build(torch.device("cpu"))
    with pytest.raises(BenchError, match=r"which reads folders: use dataset=arrays for an archive"):
        ImageFolder(path=str(tmp_path / "photos.npz")).build(torch.device("cpu"))
