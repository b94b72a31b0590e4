"""Linear layers of which the units stay and few weights are left: coarse steps train these weights alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dessilbi.active import ActiveUnits
from dessilbi.constants import own_layers
from dessilbi.slices import Entries, Slice


class Scattered:
    """Chooses the weights that coarse steps multiply in sparse form.

    Args:
        active: Of the whole network; None if nothing can be left out.
        groups: Of each parameter that is trained the group of the optimiser.
        most: Share of a layer's kept weights that are not zero, at most, for the layer to be sparse;
            0 for none.

    Attributes:
        places: By name of weight, flat indices of its entries in this cycle.
    """

    def __init__(
        self, active: ActiveUnits | None, groups: Mapping[Tensor, dict[str, Any]], most: float
    ) -> None:
        self.most = most
        self.places: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] = {}
        if active is None or not most:
            return
        own = own_layers(active.graph)
        for name, layer in active.graph.model.named_modules():
            if type(layer) is not nn.Linear or layer not in own:
                continue
            weight = layer.weight
            single = weight in groups and groups[weight]["penalty"] == "l1"
            if single and weight.device.type == "cpu" and weight.is_contiguous():
                self._weights[f"{name}.weight"] = weight

    def choose(self, slices: Mapping[str, Slice]) -> None:
        """Take the entries that are not zero, of layers that have few of them."""
        self.places = {}
        for name, weight in self._weights.items():
            kept = weight.new_zeros(weight.shape)
            where = slices.get(name, Slice())
            part = where.take(weight)
            if 0 < int(part.count_nonzero()) <= self.most * part.numel():
                where.put(kept, part)
                self.places[name] = kept.view(-1).nonzero().flatten()

    def refine(self, slices: dict[str, Slice]) -> dict[str, Slice]:
        """Parts of tensors, those of these layers being entries."""
        return slices | {
            name: Entries(slices.get(name, Slice()).index, places)
            for name, places in self.places.items()
        }
