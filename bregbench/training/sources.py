"""Whether the user's own functions are still those that a run began with."""

from __future__ import annotations

from collections.abc import Mapping

from bregbench.schema.config import Config


class Sources:
    """Digests of the files with the user's own functions, those of earlier processes included.

    They are no part of a run's identity: a comment that is added to a file makes no other run. But a run
    whose epochs come from different files says so.

    Args:
        config: names the functions.
    """

    def __init__(self, config: Config) -> None:
        self._seen = {key: [digest] for key, digest in config.sources().items()}

    @property
    def current(self) -> dict[str, str]:
        """The last digest of each file, by the key of what it configures."""
        return {key: digests[-1] for key, digests in self._seen.items()}

    def notes(self) -> list[str]:
        """Which files have changed while the run trained."""
        return [
            f"{key}.factory: its file has changed while this run trained, so its epochs come from "
            f"{len(digests)} versions of the function: another experiment_name= trains the new one alone"
            for key, digests in self._seen.items()
            if len(digests) > 1
        ]

    def state_dict(self) -> dict[str, list[str]]:
        """All digests, in the order in which they were met."""
        return {key: list(digests) for key, digests in self._seen.items()}

    def load_state_dict(self, state: Mapping[str, list[str]]) -> None:
        """Put what was met before in front."""
        for key, digests in state.items():
            now = self._seen.get(key, [])
            self._seen[key] = [*digests, *(digest for digest in now if digest != digests[-1])]
