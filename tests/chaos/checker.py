"""Judges a history: every promise that it breaks, in a sentence. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from chaos.history import Event, History, Job
from chaos.replay import Replay

_FINAL = {"completed", "failed", "cancelled"}
_MISFORTUNES = {"worker_lost"}
"""A good video's job may fail only because too many workers died on it."""


def violations(history: History) -> list[str]:
    """What is wrong; nothing if all promises were kept."""
    events: dict[object, list[Event]] = {job.id: [] for job in history.jobs}
    for event in history.events:
        events.setdefault(event.job_id, []).append(event)
    found = [*_keys(history), *_strangers(history), *_times(history), *_leases(history)]
    for job in history.jobs:
        replay = Replay(events[job.id], job.max_attempts)
        told = [*replay.problems, *_row(job, replay), *_outputs(job, replay, history)]
        found += [f"job {job.id}: {problem}" for problem in told]
    return found + list(_endings(history))


def _keys(history: History) -> Iterator[str]:
    """Nothing is lost, and nothing is there twice."""
    ids_of: dict[str | None, list[object]] = {}
    for job in history.jobs:
        ids_of.setdefault(job.idempotency_key, []).append(job.id)
    for wish in history.wishes:
        ids = ids_of.pop(wish.key, [])
        if not ids:
            yield f"key {wish.key}: its job {wish.job_id} is lost"
        elif ids != [wish.job_id]:
            yield f"key {wish.key}: is job {wish.job_id} and no other, but there is {ids}"
    for key in ids_of:
        yield f"key {key}: nobody asked for such a job"


def _strangers(history: History) -> Iterator[str]:
    known = {job.id for job in history.jobs}
    for event in history.events:
        if event.job_id not in known:
            yield f"event {event.id} ({event.type}) is of job {event.job_id}, which is not there"


def _times(history: History) -> Iterator[str]:
    """Only the database's clock counts; a worker's may be wrong."""
    for event in history.events:
        if not history.begun_at <= event.at <= history.read_at:
            yield f"event {event.id} ({event.type}) is dated {event.at}, outside of the run"


def _leases(history: History) -> Iterator[str]:
    """A job is processing if and only if it has a lease."""
    jobs = {job.id: job for job in history.jobs}
    for lease in history.leases:
        job = jobs.pop(lease.job_id, None)
        if job is None or job.status != "processing":
            yield f"job {lease.job_id}: has a lease, and is {job.status if job else 'not there'}"
        elif job.run_token != lease.run_token:
            yield f"job {job.id}: has a lease for token {lease.run_token}, not {job.run_token}"
    for job in jobs.values():
        if job.status == "processing":
            yield f"job {job.id}: is processing without a lease"


def _row(job: Job, replay: Replay) -> Iterator[str]:
    """The row says what its events say."""
    facts = {
        "status": (job.status, replay.status),
        "run_token": (job.run_token, replay.token),
        "attempt": (job.attempt, replay.attempt),
        "lost_count": (job.lost_count, replay.lost_count),
    }
    for name, (stored, told) in facts.items():
        if stored != told:
            yield f"{name} is {stored}, but {told} by its events"
    if not 0 <= job.attempt <= job.max_attempts:
        yield f"attempt {job.attempt} of {job.max_attempts}"


def _outputs(job: Job, replay: Replay, history: History) -> Iterator[str]:
    """A completed job names files of the attempt that won, and they are there."""
    if job.status != "completed":
        if job.output_files:
            yield f"is {job.status} and names outputs"
        return
    if not job.output_files:
        yield "is completed without outputs"
    for output in job.output_files:
        path, size = output["path"], output.get("size_bytes")
        if not path.startswith(f"{job.id}/{replay.claimed_token}/"):
            yield f"names {path}, which is not of attempt {replay.claimed_token}"
        if path not in history.files:
            yield f"names {path}, which is not stored"
        elif size != history.files[path]:
            yield f"says that {path} has {size} bytes, and it has {history.files[path]}"


def _endings(history: History) -> Iterator[str]:
    """Every job ended, and as its source and the wishes to cancel let it."""
    jobs = {job.id: job for job in history.jobs}
    for wish in history.wishes:
        job = jobs.get(wish.job_id)
        if job is None:
            continue
        if job.status not in _FINAL:
            yield f"job {job.id}: did not end in time, it is {job.status}"
        elif job.status == "cancelled" and not wish.cancel_was_asked:
            yield f"job {job.id}: is cancelled, and nobody wanted it"
        elif job.status == "completed" and wish.expected_error:
            yield f"job {job.id}: is completed, and should have failed: {wish.expected_error}"
        elif job.status == "failed" and job.error_code not in {*_MISFORTUNES, wish.expected_error}:
            yield f"job {job.id}: failed with {job.error_code}: {job.error_message}"


def endings(history: History) -> Counter[str]:
    """How many jobs ended in which way."""
    return Counter(
        job.status if job.error_code is None else f"{job.status} ({job.error_code})"
        for job in history.jobs
    )
