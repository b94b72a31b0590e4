"""Average pooling to a fixed size, which keeps the memory order of images."""

from __future__ import annotations

from torch import Tensor, nn

from fno.dense import average_pool, batch_innermost
from fno.sizes import as_size


class AdaptiveAveragePool2d(nn.AdaptiveAvgPool2d):
    """`nn.AdaptiveAvgPool2d` without torch's copy of images whose batch is innermost in memory."""

    #: Tells `clip.upper_bound` that bounds of `nn.AdaptiveAvgPool2d` hold for this layer.
    computes_like_base = True

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the name that the base class gave it)
        """Map ``(batch, channels, H, W)`` to ``(batch, channels, *output_size)``."""
        plain = type(input) is Tensor and input.device.type == "cpu"
        if plain and batch_innermost(input) and not input.is_contiguous():
            wanted = self.output_size
            pair = (wanted, wanted) if wanted is None or isinstance(wanted, int) else wanted
            sides = [side or own for side, own in zip(pair, input.shape[-2:], strict=True)]
            return average_pool(input, as_size(sides))
        return super().forward(input)
