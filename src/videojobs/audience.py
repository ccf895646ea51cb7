"""Who is to be told of whose jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from videojobs.changes import Owner, Sight


class Seeing(Protocol):
    """Somebody who sees some jobs."""

    sight: Sight


ReaderT = TypeVar("ReaderT", bound=Seeing)


class Audience(Generic[ReaderT]):
    """Readers, found by the owner of a job without asking each of them."""

    def __init__(self) -> None:
        self._all: set[ReaderT] = set()
        self._seeing_all: set[ReaderT] = set()
        self._by_owner: dict[UUID, set[ReaderT]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[ReaderT]:
        return iter(tuple(self._all))

    def of(self, owner: Owner) -> set[ReaderT]:
        """Those who see the owner's jobs."""
        readers = self._seeing_all | self._by_owner.get(owner.user_id, set())
        if owner.team_id is not None:
            readers |= self._by_owner.get(owner.team_id, set())
        return readers

    def add(self, reader: ReaderT) -> None:
        """It is found by what it sees."""
        self._all.add(reader)
        if reader.sight.sees_all:
            self._seeing_all.add(reader)
        for owner in _owners_in(reader.sight):
            self._by_owner.setdefault(owner, set()).add(reader)

    def discard(self, reader: ReaderT) -> None:
        """It is found no more; to do it twice is harmless."""
        self._all.discard(reader)
        self._seeing_all.discard(reader)
        for owner in _owners_in(reader.sight):
            others = self._by_owner.get(owner, set())
            others.discard(reader)
            if not others:
                self._by_owner.pop(owner, None)

    def change_teams(self, teams_by_user: dict[UUID, frozenset[UUID]]) -> list[ReaderT]:
        """Those whose teams are not what they were; from now on they see what these say."""
        changed: list[ReaderT] = []
        for reader in tuple(self._all):
            sight = reader.sight
            if sight.sees_all or sight.user_id is None or sight.user_id not in teams_by_user:
                continue
            if (teams := teams_by_user[sight.user_id]) != sight.team_ids:
                self.discard(reader)
                reader.sight = sight.model_copy(update={"team_ids": teams})
                self.add(reader)
                changed.append(reader)
        return changed

    def users(self) -> list[UUID]:
        """Those who see what they see because of who they are."""
        sights = {reader.sight.user_id for reader in self._all if not reader.sight.sees_all}
        return [user for user in sights if user is not None]


def _owners_in(sight: Sight) -> set[UUID]:
    if sight.sees_all:
        return set()
    return set(sight.team_ids) | ({sight.user_id} if sight.user_id is not None else set[UUID]())
