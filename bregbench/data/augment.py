"""Random crops and flips of a whole batch on the device."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch.nn import functional

from bregbench.data.crops import crop_box, cut_out, draw_crops
from bregbench.data.streamed import FileImages

PADDING = 4


class Augment(StrEnum):
    """Augmentation of training images; evaluation never augments."""

    none = "none"
    crop_flip = "crop_flip"
    resized_crop_flip = "resized_crop_flip"


def crop_flip(images: torch.Tensor, *, generator: torch.Generator) -> torch.Tensor:
    """Crop each image after padding by four black pixels, then mirror it with probability 1/2.

    Each image has its own offset, uniform over the 9 x 9 possible offsets. Numbers are drawn on the
    generator's device; a generator on the images' device avoids any transfer.

    Args:
        images: ``(batch, channels, height, width)``, any type.
        generator: the augmentation stream.
    """
    count, _, height, width = images.shape
    device, source = images.device, generator.device
    size = 2 * PADDING + 1
    offsets = torch.randint(size, (2, count), generator=generator, device=source)
    mirrored = torch.randint(2, (count,), generator=generator, device=source).bool()
    top, left = offsets.to(device, non_blocking=True)
    padded = functional.pad(images, (PADDING, PADDING, PADDING, PADDING))
    # All 9 x 9 crops are views of the padded images; indexing copies the chosen one of each image.
    crops = padded.unfold(2, height, 1).unfold(3, width, 1)
    cropped = crops[torch.arange(count, device=device), :, top, left]
    mirrored = mirrored.to(device, non_blocking=True).reshape(-1, 1, 1, 1)
    return torch.where(mirrored, cropped.flip(3), cropped)


def resized_crop_flip(
    images: torch.Tensor, chosen: torch.Tensor, *, generator: torch.Generator
) -> torch.Tensor:
    """Random parts of images, resized to one size and mirrored with probability 1/2.

    A part has 8 to 100 % of the area and a ratio of sides between 3/4 and 4/3, as usual on ImageNet. The
    part of an image in a file is cut from the whole file, that of another image from its tensor.

    Args:
        images: uint8 ``(n, channels, height, width)``.
        chosen: indices of the images, ``(batch,)``.
        generator: the augmentation stream.
    """
    draws = draw_crops(len(chosen), generator=generator)
    if isinstance(images, FileImages):
        return images.crops(chosen, draws)
    height, width = images.shape[2:]
    boxes = [crop_box(row, height, width) for row in draws.tolist()]
    return cut_out(images.index_select(0, chosen), boxes, draws[:, -1] < 0.5)
