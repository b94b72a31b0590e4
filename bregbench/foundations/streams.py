"""Random streams: every use of randomness has its own generator, derived from (seed, purpose).

Adding one more random draw somewhere never shifts the numbers that another part of a run sees, and the
state of all streams is part of a checkpoint, so that a resumed run draws what an uninterrupted one would.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def derive_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed that depends on the run's seed and on the purpose of the random numbers."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Streams:
    """The named generators of one run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._generators: dict[str, torch.Generator] = {}
        #: States of streams in a loaded state dict that were not asked for since.
        self._waiting: dict[str, torch.Tensor] = {}

    def generator(self, purpose: str, device: torch.device | str | None = None) -> torch.Generator:
        """The generator of one purpose; the same object at every call.

        Args:
            purpose: purpose of the random numbers, for instance ``"data_order"`` or ``"augmentation"``.
            device: device of the generator, which the first call decides (CPU if None).
        """
        if purpose not in self._generators:
            # The device without values has no generators; numbers are drawn there with one on the CPU.
            real = device is not None and torch.device(device).type != "meta"
            generator = torch.Generator(device=device if real else "cpu")
            generator.manual_seed(derive_seed(self.seed, purpose))
            if purpose in self._waiting:
                generator.set_state(self._waiting.pop(purpose))
            self._generators[purpose] = generator
        return self._generators[purpose]

    @contextlib.contextmanager
    def scope(self, purpose: str) -> Iterator[None]:
        """Within the block torch's global CPU generator draws the numbers of this purpose.

        The context serves code without an argument for a generator, such as the constructors of torch's
        layers. The state of the global generator is restored afterwards.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, purpose))
            yield

    def seed_global(self) -> None:
        """Seed torch's global generators, which dropout and similar layers draw from."""
        torch.manual_seed(derive_seed(self.seed, "global"))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """State of every stream and of torch's global generators."""
        opened = {name: generator.get_state() for name, generator in self._generators.items()}
        state = {**self._waiting, **opened}
        state["global/cpu"] = torch.get_rng_state()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            state["global/cuda"] = torch.cuda.get_rng_state()
        return state

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore every stream; streams that nobody has asked for yet are restored when they are."""
        named = {name: value for name, value in state.items() if not name.startswith("global/")}
        for name, generator in self._generators.items():
            if name in named:
                generator.set_state(named.pop(name))
        self._waiting = named
        torch.set_rng_state(state["global/cpu"])
        if "global/cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["global/cuda"])
