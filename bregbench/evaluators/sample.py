"""The sample of images for evaluators that do not use all images."""

from __future__ import annotations

import torch

from bregbench.data import Split
from bregbench.foundations.streams import derive_seed


def sample_of(split: Split, count: int) -> Split:
    """`count` random images of a split, the same ones for every network and seed."""
    generator = torch.Generator().manual_seed(derive_seed(0, "evaluation_images"))
    chosen = torch.randperm(len(split), generator=generator)[:count].to(split.images.device)
    return Split(split.images.index_select(0, chosen), split.labels.index_select(0, chosen))
