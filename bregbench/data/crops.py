"""The usual crops of photographs: a random part for training, the centre for evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

#: Ranges of the share of area and of the aspect ratio of a random crop, and number of attempts to fit one.
AREA, RATIO, ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10
#: The shorter side before the centre is cut out, as a multiple of the side of the crop.
SHORTER_SIDE = 256 / 224

Box = tuple[int, int, int, int]


def draw_crops(count: int, *, generator: torch.Generator) -> torch.Tensor:
    """Numbers in [0, 1) that decide the crops of images whose sizes are not known yet.

    Args:
        count: number of images.
        generator: the augmentation stream.

    Returns:
        ``(count, 2 ATTEMPTS + 3)`` on the CPU: area and ratio of each attempt, place, mirror.
    """
    shape = (count, 2 * ATTEMPTS + 3)
    return torch.rand(shape, generator=generator, device=generator.device).cpu()


def crop_box(draws: Sequence[float], height: int, width: int) -> Box:
    """A part of an image, by the rule of torchvision's `RandomResizedCrop`.

    Args:
        draws: a row of `draw_crops`.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        Top, left, height and width of the part.
    """
    low, high = (math.log(ratio) for ratio in RATIO)
    across, down = draws[-3], draws[-2]
    for attempt in range(ATTEMPTS):
        area, ratio = draws[2 * attempt], draws[2 * attempt + 1]
        pixels = height * width * (AREA[0] + (AREA[1] - AREA[0]) * area)
        aspect = math.exp(low + (high - low) * ratio)
        w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(down * (height - h + 1)), int(across * (width - w + 1)), h, w
    # No attempt fits a very long image: take the largest centred part with an allowed ratio.
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    return (height - h) // 2, (width - w) // 2, h, w


def centre_box(height: int, width: int, size: int) -> tuple[tuple[int, int], Box]:
    """The usual crop for evaluation.

    Returns:
        Height and width of the resized image, whose shorter side is `SHORTER_SIDE` times `size`, and the
        box of its centred square.
    """
    shorter = round(size * SHORTER_SIDE)
    if height <= width:
        resized = (shorter, int(shorter * width / height))
    else:
        resized = (int(shorter * height / width), shorter)
    top, left = (round((side - size) / 2) for side in resized)
    return resized, (top, left, size, size)


def cut_out(images: torch.Tensor, boxes: Sequence[Box], mirrored: torch.Tensor) -> torch.Tensor:
    """Parts of images, resized to the size of the images (bilinear) and mirrored where asked for.

    Args:
        images: uint8 or floats ``(batch, channels, height, width)``.
        boxes: one for each image.
        mirrored: bool ``(batch,)``.
    """
    height, width = images.shape[2:]
    top, left, h, w = torch.tensor(boxes, dtype=torch.float32).unbind(1)
    theta = torch.zeros(len(boxes), 2, 3)
    theta[:, 0, 0] = torch.where(mirrored.cpu(), -w, w) / width
    theta[:, 1, 1] = h / height
    theta[:, 0, 2] = (2 * left + w) / width - 1
    theta[:, 1, 2] = (2 * top + h) / height - 1
    grid = functional.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    cut = functional.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return cut if images.is_floating_point() else cut.round_().to(torch.uint8)
