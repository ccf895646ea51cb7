"""Finished segments of a long film, in the storage: what a killed worker made is not made again."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError

from videojobs.errors import VideoJobsError
from videojobs.leftovers import mark_of
from videojobs.models import JobStatus, OutputFile, VideoJob
from videojobs.storage import Storage

if TYPE_CHECKING:
    from videojobs.attempts import Attempt

logger = logging.getLogger("videojobs.worker")

#: A beat goes out within a second. Without one, the work is not held up.
_PATIENCE_SECONDS = 5.0


class KeptSegments:
    """The segments that the attempts at one job have finished, as its checkpoint lists them.

    Each attempt stores below a prefix of its own, so that a late twin never touches the files of the
    attempt that the checkpoint names.
    """

    def __init__(
        self, attempt: Attempt, storage: Storage, segment_jobs: Sequence[VideoJob] = ()
    ) -> None:
        self._attempt = attempt
        self._storage = storage
        self._made_elsewhere = {
            (_key_of(output), PurePosixPath(output.path).name): output.path
            for job in segment_jobs
            for output in job.output_files
        }
        self._lock = threading.Lock()
        self._mark = mark_of(storage)
        self._told = _told(attempt.lease.checkpoint)

    def keep(self, key: str, name: str, files: Mapping[str, Path]) -> None:
        """The segment is in the storage, and the next beat tells the database.

        Raises:
            ProcessingError: It could not be stored.
        """
        token = str(self._attempt.lease.run_token)
        doubles = _doubles(files)
        with self._lock:
            self._announce(key)
        # The database lists whose files to remove, should this worker die: it knows first.
        self._attempt.wait_until_kept(_PATIENCE_SECONDS)
        try:
            prefix = _prefix(self._attempt.lease.job, token, name)
            self._storage.publish(doubles, prefix, cancel=self._attempt.stop)
        finally:
            shutil.rmtree(next(iter(doubles.values())).parent, ignore_errors=True)
        with self._lock:
            self._forget_others(key)
            self._told.kept.setdefault(token, []).append(name)
            self._save()

    def restore(self, key: str, name: str, files: Mapping[str, Path]) -> bool:
        """Whether an earlier attempt kept the segment; then its files are at the given paths.

        Raises:
            ProcessingError: It cannot be had from the storage.
        """
        with self._lock:
            self._forget_others(key)
            elsewhere = {name: self._made_elsewhere.get((key, name)) for name in files}
            made = {name: path for name, path in elsewhere.items() if path is not None}
            if len(made) == len(files):
                return self._link(made, files)
            token = next((token for token, names in self._told.kept.items() if name in names), None)
            if token is None:
                self._announce(key)
        if token is None:
            return False
        prefix = _prefix(self._attempt.lease.job, token, name)
        return self._link({file_name: f"{prefix}/{file_name}" for file_name in files}, files)

    def _link(self, stored: Mapping[str, str], files: Mapping[str, Path]) -> bool:
        for file_name, path in files.items():
            folder = path.with_name(f"{path.name}.kept")
            folder.mkdir(exist_ok=True)
            fetched = self._storage.fetch(stored[file_name], folder, cancel=self._attempt.stop)
            path.symlink_to(fetched)
        return True

    def _announce(self, key: str) -> None:
        # While the first segment is encoded, the database hears that this attempt will store some.
        self._forget_others(key)
        token = str(self._attempt.lease.run_token)
        if token not in self._told.kept:
            self._told.kept[token] = []
            self._save()

    def _save(self) -> None:
        others = self._attempt.checkpoint or {}
        self._attempt.save({**others, "segments": self._told.model_dump()})

    def _forget_others(self, key: str) -> None:
        # The settings, the source or ffmpeg have changed: those segments fit no more. Or they lie in a
        # storage that is not this worker's.
        if key != self._told.key or self._told.storage not in (None, self._mark):
            self._told = _Told(key=key)
        self._told.storage = self._mark


def remove_segments(job: VideoJob, attempt: Attempt, storage: Storage) -> list[str]:
    """Nothing is left of the segments that the attempts at a job that has ended have kept.

    Returns the prefixes that are gone; the database lists the others.
    """
    job_id = attempt.lease.job_id
    prefixes = [f"{job_id}/{token}.segments" for token in _told(attempt.checkpoint).kept]
    if job.status is JobStatus.COMPLETED:  # else another attempt may follow, and use what was made
        prefixes += [str(each.id) for each in attempt.segment_jobs]
    return [prefix for prefix in prefixes if _is_removed(prefix, storage)]


def _is_removed(prefix: str, storage: Storage) -> bool:
    try:
        storage.remove(prefix)
    except (VideoJobsError, OSError) as error:
        logger.warning("segments stay in the storage for an hour: %s: %s", prefix, error)
        return False
    return True


def _key_of(output: OutputFile) -> str | None:
    """What its job told of it; made of another source, or by other settings, it fits no more."""
    return (output.model_extra or {}).get("segments_key")


class _Told(BaseModel):
    """What a checkpoint says of segments."""

    key: str | None = None
    storage: str | None = None
    """Its mark; earlier versions did not tell."""
    kept: dict[str, list[str]] = Field(default_factory=dict[str, list[str]])
    """The names of the segments, by the token of the attempt that made them."""


def _told(checkpoint: Mapping[str, Any] | None) -> _Told:
    try:
        return _Told.model_validate((checkpoint or {}).get("segments", {}))
    except ValidationError:  # somebody else's checkpoint
        return _Told()


def _prefix(job: VideoJob, token: str, name: str) -> str:
    return f"{job.id}/{token}.segments/{name}"


def _doubles(files: Mapping[str, Path]) -> dict[str, Path]:
    """Second names of the files: a store may move what it is given, and these are still to be joined."""
    first = next(iter(files.values()))
    folder = first.with_name(f"{first.name}.stored")
    folder.mkdir()
    doubles: dict[str, Path] = {}
    for name, path in files.items():
        doubles[name] = folder / name
        try:
            os.link(path, doubles[name])
        except OSError:  # a file system without hard links
            shutil.copyfile(path, doubles[name])
    return doubles
