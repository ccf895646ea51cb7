"""Several queues by weight: which of them a worker asks first, each time it asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from videojobs.errors import ConfigurationError

Queues = Sequence[str] | Mapping[str, int]
"""Names, first things first; or names with weights."""


class QueueTurns:
    """The order in which to ask the queues, anew for each claim.

    A sequence is asked in its order. With weights, a queue of weight 3 is first three times as
    often as one of weight 1, evenly spread (smooth weighted round-robin, as nginx balances), and
    the others follow: where the first is empty, its turn is not lost.
    """

    def __init__(self, queues: Queues) -> None:
        if isinstance(queues, str) or not queues:
            raise ConfigurationError(f"queues={queues!r} must be one or more names")
        self._weights = dict(queues) if isinstance(queues, Mapping) else None
        self.names = tuple(dict.fromkeys(queues))
        if self._weights and not all(map(_is_weight, self._weights.values())):
            raise ConfigurationError(f"queues={queues!r}: weights must be whole numbers from 1")
        self._credits = dict.fromkeys(self.names, 0)

    def next_order(self) -> tuple[str, ...]:
        """Every queue once, the one whose turn it is first."""
        if self._weights is None:
            return self.names
        for name, weight in self._weights.items():
            self._credits[name] += weight
        order = sorted(self.names, key=lambda name: -self._credits[name])
        self._credits[order[0]] -= sum(self._weights.values())
        return tuple(order)


def _is_weight(weight: object) -> bool:
    return isinstance(weight, int) and not isinstance(weight, bool) and weight >= 1
