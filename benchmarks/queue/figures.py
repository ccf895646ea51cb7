"""Lines for people: our figure, the best peer's beside it, the goal, and whether it is met."""

from __future__ import annotations

from collections.abc import Mapping


def rates(name: str, found: Mapping[str, float], *, unit: str, goal: float, aim: str = "") -> str:
    """How much more we do than the best peer; the others follow in brackets."""
    ours, peers = _apart(found)
    if not peers:
        return f"{name:44} ours {ours:8.0f} {unit}"
    best = max(peers, key=peers.__getitem__)
    ratio = ours / peers[best]
    return (
        f"{name:44} ours {ours:8.0f} {unit}  best {best} {peers[best]:8.0f}"
        f"  ratio {ratio:5.2f} (goal {goal:.2f}{aim}) {'ok' if ratio >= goal else 'BELOW GOAL'}"
        f"  [{_others(peers, best, '.0f')}]"
    )


def times(name: str, found: Mapping[str, float]) -> str:
    """How our time compares with the best peer's; below 1 is faster."""
    ours, peers = _apart(found)
    if not peers:
        return f"{name:44} ours {ours:8.3f} ms"
    best = min(peers, key=peers.__getitem__)
    return (
        f"{name:44} ours {ours:8.3f} ms  best {best} {peers[best]:8.3f}"
        f"  ratio {ours / peers[best]:5.2f}  [{_others(peers, best, '.3f')}]"
    )


def most(name: str, value: float, *, unit: str, goal: float) -> str:
    """A figure that must stay below its goal."""
    verdict = "ok" if value < goal else "ABOVE GOAL"
    return f"{name:44} ours {value:8.3f} {unit} (goal < {goal:g}) {verdict}"


def percentile(times_ms: list[float], share: int) -> float:
    """The time that so many in a hundred stay below."""
    ordered = sorted(times_ms)
    return ordered[min(len(ordered) * share // 100, len(ordered) - 1)]


def _apart(found: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    return found["videojobs"], {name: each for name, each in found.items() if name != "videojobs"}


def _others(peers: Mapping[str, float], best: str, form: str) -> str:
    return ", ".join(f"{name} {each:{form}}" for name, each in peers.items() if name != best)
