"""Which jobs are selected, over any number of pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from videojobs.models import VideoJob

MOST = 1_000
"""Single jobs; beyond, there is the choice of all that match."""


class Picks:
    """Single jobs, or all that match the filters."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}
        self.is_everything = False

    @property
    def ids(self) -> list[str]:
        """The single jobs, in the order in which they were selected."""
        return list(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __bool__(self) -> bool:
        return self.is_everything or bool(self._ids)

    def has(self, job_id: str) -> bool:
        """Whether the job is selected."""
        return self.is_everything or job_id in self._ids

    def set(self, shown: Iterable[VideoJob], job_ids: Sequence[str], picked: bool) -> bool:
        """Select these or not. After "all that match", what is shown stays selected but for these.

        Says whether there was room for them.
        """
        if self.is_everything:
            self._ids = {str(job.id): None for job in shown}
            self.is_everything = False
        if picked and len(self._ids.keys() | set(job_ids)) > MOST:
            return False
        for job_id in job_ids:
            if picked:
                self._ids[job_id] = None
            else:
                self._ids.pop(job_id, None)
        return True

    def set_everything(self) -> None:
        """All that match the filters are selected, on every page."""
        self.is_everything = True
        self._ids = {}

    def clear(self) -> None:
        """Nothing is selected."""
        self.is_everything = False
        self._ids = {}
