"""Each kind of image file is read as what it shows, or refused in one line that names it."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bregbench.data import ImageFolder, ImageNet, decoding, digests
from bregbench.data.decoding import read_image
from bregbench.foundations.errors import BenchError

RAMP = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
COLOURS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
BROAD = np.stack([RAMP] * 3, axis=-1)


def read(file: Path, *, upright: bool = False) -> np.ndarray:
    return read_image(file, lambda image: image, upright=upright)


def refused(file: Path) -> str:
    with pytest.raises(BenchError) as caught:
        read(file)
    message = str(caught.value)
    assert str(file) in message
    assert "\n" not in message
    return message


def sixteen(shift: int) -> Image.Image:
    return Image.fromarray(RAMP.astype(np.uint16) * 256 + shift)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("shift", [0, 255])
def test_sixteen_bits_keep_their_high_byte(tmp_path: Path, name: str, shift: int) -> None:
    sixteen(shift).save(tmp_path / name)
    assert np.array_equal(read(tmp_path / name), BROAD)


def test_other_sixteen_bits(tmp_path: Path) -> None:
    values = RAMP.astype(np.uint16) * 257
    file = tmp_path / "a.pgm"
    file.write_bytes(b"P5 6 4 65535\n" + values.astype(">u2").tobytes())
    assert np.array_equal(read(file), BROAD)
    # White is zero: photometric interpretation 0.
    Image.fromarray(65535 - values).save(tmp_path / "a.tif", tiffinfo={262: 0})
    assert np.array_equal(read(tmp_path / "a.tif"), BROAD)
    big = Image.frombytes("I;16B", (6, 4), values.astype(">u2").tobytes())
    big.save(tmp_path / "b.tif")
    assert np.array_equal(read(tmp_path / "b.tif"), BROAD)


def write_tiff(file: Path, tags: dict[int, int], pixels: bytes) -> None:
    """One line of pixels, at offset 8."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    file.write_bytes(b"II*\0" + struct.pack("<I", 12) + pixels.ljust(4, b"\0") + directory)


def test_twelve_bits_fill_the_range(tmp_path: Path) -> None:
    tags = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 3}
    write_tiff(tmp_path / "a.tif", tags, bytes([0xFF, 0xF8, 0x00]))  # 0xFFF and 0x800
    assert read(tmp_path / "a.tif")[0, :, 0].tolist() == [255, 128]


def test_sixteen_bits_of_colour(tmp_path: Path) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    rows = (COLOURS.astype(">u2") * 257).astype(">u2")
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", 6, 4, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert np.array_equal(read(tmp_path / "a.png"), COLOURS)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "1", "P"])
def test_kinds_of_eight_bits_or_fewer(tmp_path: Path, mode: str) -> None:
    colours = Image.fromarray(COLOURS if mode.startswith("RGB") else BROAD)
    image = colours.convert(mode, dither=Image.Dither.NONE)
    if mode in ("LA", "RGBA"):
        image.putalpha(7)  # Nearly transparent: the colour stays what it is.
    image.save(tmp_path / "a.png")
    wanted = np.asarray(colours)
    if mode == "1":
        wanted = np.where(BROAD >= 128, 255, 0)
    if mode == "P":
        wanted = np.asarray(image.convert("RGB"))
    assert np.array_equal(read(tmp_path / "a.png"), wanted)


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_cmyk_is_ink(tmp_path: Path, name: str) -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:8, :, 0] = 255  # cyan
    inks[8:, :, 3] = 255  # black
    Image.fromarray(inks, "CMYK").save(tmp_path / name)
    found = read(tmp_path / name).astype(int)
    assert np.abs(found[2, 2] - [0, 255, 255]).max() <= 3
    assert found[13].max() <= 3


@pytest.mark.parametrize(
    ("dtype", "said"), [(np.float32, "are floats"), (np.int32, "integers of 32 bits")]
)
def test_pixels_without_a_range_are_refused(tmp_path: Path, dtype: type, said: str) -> None:
    Image.fromarray((RAMP / 255).astype(dtype)).save(tmp_path / "a.tif")
    assert said in refused(tmp_path / "a.tif")


def test_other_pixels_without_a_range_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"Pf\n6 4\n-1.0\n" + RAMP.astype("<f4").tobytes())
    assert "are floats" in refused(tmp_path / "a.ppm")
    tags = {256: 2, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 2, 339: 2}
    write_tiff(tmp_path / "a.tif", tags, bytes([0xFF, 0x01]))  # -1 and 1
    assert "integers with a sign" in refused(tmp_path / "a.tif")
    Image.new("LAB", (6, 4)).save(tmp_path / "a.tif")
    assert "kind LAB" in refused(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.ppm", "a.webp"])
def test_cut_files_are_refused(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    file = tmp_path / name
    Image.fromarray(noise).save(file)
    content = file.read_bytes()
    for length in (0, 1, 9, 30, len(content) // 2):
        file.write_bytes(content[:length])
        assert "no readable image" in refused(file)


@pytest.mark.parametrize(
    "content",
    [
        *(b"P6", b"P6 x y 255\n", b"P6 -1 4 255\n", b"P6 6 4 0\n", b"P6 6 4 99999999\n"),
        *(
            b"P3 2 1 255\n1 2 3 4 5 garbage",
            b"P3 2 1 255\n1 2 3 4 5 999",
            b"P1 2 1\n2 7",
            b"P9 1 1",
        ),
        *(b"P6 99999999999999999999 4 255\n", b"Pf 6 4 nan\n", b"P5 6 4 255\n123", b"\xff" * 99),
        *(b"P7\nWIDTH 6\nENDHDR\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    ],
)
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ppm").write_bytes(content)
    assert "no readable image" in refused(tmp_path / "a.ppm")


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("side", [10_000, 20_000, 2**31 - 1])
def test_bombs_are_refused(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.ppm").write_bytes(f"P6 {side} {side} 255\n".encode())
    assert "pixels" in refused(tmp_path / "a.ppm")


def test_images_are_turned_where_asked(tmp_path: Path) -> None:
    image = Image.fromarray(COLOURS)
    # What a viewer shows of the stored pixels for each orientation (EXIF 2.3, tag 274).
    shown = {
        1: COLOURS,
        2: COLOURS[:, ::-1],
        3: COLOURS[::-1, ::-1],
        4: COLOURS[::-1],
        5: COLOURS.transpose(1, 0, 2),
        6: np.rot90(COLOURS, -1),
        7: COLOURS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLOURS),
    }
    for orientation, wanted in shown.items():
        exif = Image.Exif()
        exif[274] = orientation
        file = tmp_path / f"{orientation}.png"
        image.save(file, exif=exif)
        assert np.array_equal(read(file, upright=True), wanted)
        assert np.array_equal(read(file), COLOURS)
    assert ImageFolder.upright
    assert not ImageNet.upright


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("train", "test"):
        for label in "ab":
            place = tmp_path / "images" / part / label
            place.mkdir(parents=True)
            for index in range(2):
                Image.fromarray(COLOURS // (index + 1)).save(place / f"{index}.bmp")
    return tmp_path


@pytest.mark.parametrize("whole_bytes", [2**30, 0])
def test_inverted_pixels_are_another_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, whole_bytes: int
) -> None:
    monkeypatch.setattr(digests, "WHOLE_BYTES", whole_bytes)
    config = ImageFolder(root=str(folder))
    before = config.fingerprint()
    assert config.fingerprint() == before
    file = folder / "images" / "test" / "b" / "1.bmp"
    size, content = file.stat().st_size, file.read_bytes()
    Image.fromarray(255 - COLOURS // 2).save(file)
    assert file.stat().st_size == size
    assert config.fingerprint() != before
    file.write_bytes(content)
    assert config.fingerprint() == before
    elsewhere = folder / "elsewhere"
    (folder / "images").rename(elsewhere)
    assert ImageFolder(root=str(folder), folder="elsewhere").fingerprint() == before


def test_large_collections_count_by_the_ends_of_their_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "END_BYTES", 8)
    config = ImageFolder(root=str(folder))
    whole = config.fingerprint()
    monkeypatch.setattr(digests, "WHOLE_BYTES", 0)
    ends = config.fingerprint()
    assert whole != ends
    file = folder / "images" / "train" / "a" / "0.bmp"
    content = bytearray(file.read_bytes())
    for place, is_seen in ((7, True), (8, False), (-9, False), (-8, True)):
        changed = bytearray(content)
        changed[place] ^= 1
        file.write_bytes(changed)
        assert (config.fingerprint() != ends) == is_seen


def test_names_that_are_no_utf8_are_one_line(folder: Path) -> None:
    place = os.fsencode(folder / "images" / "train" / "a")
    for bad in (place + b"/\xff.png", os.path.dirname(place) + b"/\xfe"):  # noqa: PTH120
        try:
            os.mkdir(bad)  # noqa: PTH102
        except OSError:
            pytest.skip("this file system has no such names")
        config = ImageFolder(root=str(folder))
        for ask in (config.fingerprint, config.load):
            with pytest.raises(BenchError, match=r"\\udcf.* is no UTF-8: rename it") as caught:
                ask()
            str(caught.value).encode()
        os.rmdir(bad)  # noqa: PTH106


def test_what_is_no_file_is_refused(folder: Path) -> None:
    odd = folder / "images" / "train" / "a" / "2.png"
    odd.symlink_to("nowhere")
    with pytest.raises(BenchError, match=r"2\.png has the name of an image and is no file"):
        ImageFolder(root=str(folder)).fingerprint()
    odd.unlink()
    odd.mkdir()
    with pytest.raises(BenchError, match="is no file"):
        ImageFolder(root=str(folder)).load()


@pytest.mark.parametrize("stream", [False, True])
def test_the_folder_turns_its_images(folder: Path, stream: bool) -> None:
    exif = Image.Exif()
    exif[274] = 3
    halves = np.zeros((8, 8, 3), np.uint8)
    halves[:4] = 255
    place = folder / "images" / "test" / "a"
    (place / "0.bmp").unlink()
    Image.fromarray(halves).save(place / "0.png", exif=exif)
    config = ImageFolder(root=str(folder), size=8, stream=stream, validation=0)
    images = config.build(torch.device("cpu")).test.images
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), halves[::-1])


def test_formats_are_those_of_pillow() -> None:
    assert {"PNG", "JPEG", "TIFF", "PPM", "BMP"} <= set(decoding._formats())
