"""The manager: every operation on jobs, for scripts, notebooks and threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack
from uuid import UUID

from videojobs import arguments, calls, connecting, driving, flows
from videojobs.calls import Call, ClaimWish
from videojobs.calls.many import GroupBy
from videojobs.calls.work import Outputs
from videojobs.flows import Flow
from videojobs.identity import new_id, new_ids, new_key
from videojobs.models import (
    Beat,
    BeatReply,
    CreatedJob,
    DayTimes,
    Health,
    JobEvent,
    JobReceipt,
    JobStats,
    JobStatus,
    Lease,
    Page,
    RecoveredJob,
    UpdateResult,
    Verdict,
    VideoJob,
)
from videojobs.repeating import perform
from videojobs.reports import JobPlace
from videojobs.requests import JobChanges, JobFilter, NewVideoJob, NewVideoJobFields
from videojobs.settings import Settings
from videojobs.transports import Announcements, Channel, Listener, Token, Transport
from videojobs.upkeep import Operations

if TYPE_CHECKING:
    import psycopg
    from supabase import Client

T = TypeVar("T")


class VideoJobManager(Operations):
    """Creates, reads, changes and runs video jobs in a Supabase or Postgres database.

    Safe to share between threads. Close it, or use it as a context manager.

    Example:
        >>> with VideoJobManager.from_env() as manager:
        ...     job = manager.create_job(user_id=user_id, source_url="uploads/talk.mp4", clip_count=3)
        ...     job = manager.wait_for_job(job.id)
    """

    def __init__(self, transport: Transport, settings: Settings | None = None) -> None:
        self._transport = transport
        self.settings = settings or Settings()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """A manager for what the environment names; the README has the table of variables.

        Raises:
            ConfigurationError: A variable is missing or cannot be used.
            MissingExtraError: A direct Postgres connection is named without its extra.
        """
        settings = Settings.from_env() if environ is None else Settings.from_env(environ)
        return cls(connecting.open_transport(settings), settings)

    @classmethod
    def from_client(cls, client: Client, *, settings: Settings | None = None) -> Self:
        """A manager on your own supabase-py client, which is left as it is.

        Give the client a secret key, or sign it in as a user. Closing the manager leaves it open.
        """
        settings = settings or Settings()
        return cls(connecting.supabase().SupabaseTransport.of_client(client, settings), settings)

    @classmethod
    def from_url(
        cls, url: str, *, settings: Settings | None = None, pooled: bool | None = None
    ) -> Self:
        """A manager on a Postgres URL, with a pool of its own.

        Args:
            url: ``postgresql://user:password@host:5432/database``. The user must own the tables
                or be a member of ``service_role`` that bypasses row-level security.
            settings: Timeouts, sizes and secrets.
            pooled: Whether the URL leads to a transaction pooler, where prepared statements and
                LISTEN do not work; else `Settings.database_pooled` says it,
                else ports 6543 and 6432 are taken for poolers.
        """
        settings = settings or Settings()
        transport = connecting.postgres().PostgresTransport(url, settings, pooled=pooled)
        return cls(transport, settings)

    @classmethod
    def from_connection(
        cls, connection: psycopg.Connection[Any], *, settings: Settings | None = None
    ) -> Self:
        """A manager within your own transaction: what it creates is committed with your rows.

        Nothing is committed or repeated by the manager.
        """
        transport = connecting.postgres().PostgresConnectionTransport(connection)
        return cls(transport, settings)

    def as_user(self, token: Token) -> Self:
        """A manager with a signed-in user's rights, on the same connections.

        Costs microseconds: make one for each request. The database's row-level policies decide
        what it sees.

        Args:
            token: The user's access token, or a function that returns a fresh one; the function
                is called again when the server refuses the token as expired.
        """
        return type(self)(self._transport.as_user(token), self.settings)

    def close(self) -> None:
        """Close the connections that this manager opened."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Create and read

    def create_job(
        self, job: NewVideoJob | None = None, /, **fields: Unpack[NewVideoJobFields]
    ) -> CreatedJob:
        """The job is stored, and a worker will find it.

        Give a `NewVideoJob`, or its fields by name. With an ``idempotency_key`` that the user
        has used before, the earlier job is returned, with ``created`` false.

        Raises:
            SupabaseValidationError: A field has a value that is not allowed; nothing was sent.
            IdempotencyConflictError: The key names a job with other content.
            PermissionDeniedError: The team is not one of the user's.
            SupabaseConnectionError: The database could not be reached in time.
        """
        wish = arguments.new_job(job, fields, is_user=self._transport.is_user)
        return self.perform(calls.create_job(wish, new_id()))

    def create_jobs(self, jobs: Sequence[NewVideoJob | NewVideoJobFields]) -> list[JobReceipt]:
        """The jobs are stored; one receipt for each, in their order.

        Sent in batches, of 500 over PostgREST and of 2,500 on a direct connection; each batch is
        stored whole or not at all.

        Raises:
            SupabaseValidationError: A field has a value that is not allowed; nothing was sent.
            IdempotencyConflictError: A key names a job with other content; its batch was not stored.
            PartlyCreatedError: A later batch failed; its ``receipts`` tell what was stored.
        """
        wishes = arguments.new_jobs(jobs, is_user=self._transport.is_user)
        return self._run(
            flows.create_jobs(wishes, new_ids(len(wishes)), self._transport.batch_size)
        )

    def get_job(self, job_id: UUID | str) -> VideoJob:
        """The job as it is now.

        Raises:
            JobNotFoundError: There is no such job, or it is not the caller's to see.
        """
        return self.perform(calls.get_job(job_id))

    def list_jobs(
        self,
        filters: JobFilter | None = None,
        *,
        limit: int = 50,
        offset: int = 0,
        cursor: str | None = None,
    ) -> Page[VideoJob]:
        """A page of the jobs that the caller may see, newest first.

        A cursor is as fast on page 10,000 as on page 1; an offset gets slower with its size.

        Args:
            filters: Which jobs; all if not given.
            limit: 1 to 500 jobs.
            offset: How many to skip.
            cursor: The ``next_cursor`` of the page before, with the same filters.
        """
        return self.perform(
            calls.list_jobs(filters or JobFilter(), limit=limit, offset=offset, cursor=cursor)
        )

    def get_user_jobs(
        self,
        user_id: UUID | str,
        limit: int = 50,
        offset: int = 0,
        filters: JobFilter | None = None,
        *,
        cursor: str | None = None,
    ) -> Page[VideoJob]:
        """A page of one user's jobs, newest first; see `list_jobs`."""
        chosen = arguments.narrowed(filters, "user_id", user_id)
        return self.perform(calls.list_jobs(chosen, limit=limit, offset=offset, cursor=cursor))

    def get_team_jobs(
        self,
        team_id: UUID | str,
        limit: int = 50,
        offset: int = 0,
        filters: JobFilter | None = None,
        *,
        cursor: str | None = None,
    ) -> Page[VideoJob]:
        """A page of one team's jobs, newest first; see `list_jobs`."""
        chosen = arguments.narrowed(filters, "team_id", team_id)
        return self.perform(calls.list_jobs(chosen, limit=limit, offset=offset, cursor=cursor))

    def iter_jobs(
        self, filters: JobFilter | None = None, *, page_size: int = 200
    ) -> Iterator[VideoJob]:
        """Every job that matches, newest first, a page at a time."""
        return self._stream(flows.iter_jobs(filters or JobFilter(), page_size))

    def get_job_events(
        self, job_id: UUID | str, *, after_id: int = 0, limit: int = 500
    ) -> list[JobEvent]:
        """The job's history, oldest first; empty if the caller may not see the job.

        Args:
            job_id: Whose history.
            after_id: Only what came after this event.
            limit: 1 to 500 events.
        """
        return self.perform(calls.list_events(job_id, after_id, limit))

    def get_job_place(self, job_id: UUID | str) -> JobPlace:
        """Where the job stands: how many are before it in the queue, or until when it is leased.

        Raises:
            JobNotFoundError: There is no such job, it is not the caller's to see, or it is archived.
        """
        return self.perform(calls.get_place(job_id))

    def get_job_stats(
        self, filters: JobFilter | None = None, *, group_by: GroupBy | None = None
    ) -> JobStats:
        """Counts by status, processing times and throughput by day.

        Args:
            filters: Which jobs, for example a date range; all that the caller may see if not given.
            group_by: Also the figures by ``user_id``, ``team_id``, ``platform_target`` or
                ``pipeline``.
        """
        return self.perform(calls.get_stats(filters or JobFilter(), group_by))

    def get_processing_times(
        self, filters: JobFilter | None = None, *, days: int = 14
    ) -> list[DayTimes]:
        """Median and 95th percentile of the completed jobs of each of the last days.

        Args:
            filters: Which jobs; all that the caller may see if not given.
            days: 1 to 90, up to today. Days without a completed job are left out.
        """
        return self.perform(calls.get_times(filters or JobFilter(), days))

    # Wait and watch

    def wait_for_job(
        self, job_id: UUID | str, *, timeout: timedelta | float | None = None
    ) -> VideoJob:
        """The job, once it is completed, failed or cancelled.

        Woken by the database on a direct connection; polls with growing pauses over PostgREST.

        Args:
            job_id: The job to wait for.
            timeout: Seconds or a timedelta; ``None`` waits for ever.

        Raises:
            WaitTimeoutError: The job was not final in time. It goes on.
            JobNotFoundError: There is no such job, or it was deleted meanwhile.
        """
        identity = calls.as_id("wait_for_job", "job_id", job_id)
        longest = self.settings.poll_seconds
        return self._run(flows.wait_for_job(identity, longest, arguments.seconds(timeout)))

    def watch_job(self, job_id: UUID | str) -> Iterator[VideoJob]:
        """The job as it is now, and again after each change, until it is final.

        Woken by the database on a direct connection; polls with growing pauses over PostgREST,
        where changes that follow each other quickly may come as one.
        """
        identity = calls.as_id("watch_job", "job_id", job_id)
        return self._stream(flows.watch_job(identity, self.settings.poll_seconds))

    # Change

    def cancel_job(self, job_id: UUID | str, *, reason: str | None = None) -> VideoJob:
        """A queued job is cancelled; a running one is asked to stop.

        Its worker hears of it at once where the database can call it (on a direct connection, or
        through Realtime), with its next heartbeat elsewhere.
        Repeating it is harmless.

        Raises:
            InvalidTransitionError: The job has completed or failed.
            JobNotFoundError: There is no such job, or it is not the caller's to see.
            PermissionDeniedError: It is a team's, and the caller neither owns it nor is an admin.
        """
        return self.perform(calls.cancel_job(job_id, reason))

    def retry_job(self, job_id: UUID | str) -> VideoJob:
        """A failed or cancelled job is queued again, with all its attempts.

        Its earlier result stays in the events.

        Raises:
            InvalidTransitionError: The job is neither failed nor cancelled.
            JobNotFoundError: There is no such job, or it is not the caller's to see.
            PermissionDeniedError: It is a team's, and the caller neither owns it nor is an admin.
        """
        return self.perform(calls.retry_job(job_id, new_key()))

    def delete_job(self, job_id: UUID | str) -> None:
        """A final job is gone, with its history. Its output files are not touched.

        Raises:
            InvalidTransitionError: The job is queued or running: cancel it first.
            JobNotFoundError: There is no such job, or it is not the caller's to see.
            PermissionDeniedError: It is a team's, and the caller neither owns it nor is an admin.
        """
        return self.perform(calls.delete_job(job_id))

    def clear_jobs(
        self,
        filters: JobFilter | None = None,
        *,
        finished_before: datetime | None = None,
        older_than: timedelta | None = None,
    ) -> int:
        """Final jobs that match, and that the caller may change, are gone; says how many.

        Output files are not touched. A reply that was lost on the way is not in the count.

        Args:
            filters: Which jobs, for example ``JobFilter(status="failed")``.
            finished_before: Only those that ended before this moment.
            older_than: Only those that ended so long ago, by the database's clock.
        """
        moment = arguments.aware("clear_jobs", "finished_before", finished_before)
        age = arguments.positive("clear_jobs", "older_than", older_than)
        return self._run(flows.clear_jobs(filters or JobFilter(), moment, age))

    def bulk_update_jobs(
        self,
        changes: JobChanges,
        *,
        job_ids: Sequence[UUID | str] | None = None,
        filters: JobFilter | None = None,
        dry_run: bool = False,
    ) -> list[UpdateResult]:
        """The jobs are changed as far as each allows it; one outcome for each.

        Args:
            changes: What to set: status, priority, run_at, queue.
            job_ids: Which jobs, by id; the answer is in this order.
            filters: Which jobs, by filter; give one of the two.
            dry_run: Only tell what would happen.
        """
        ids = arguments.ids_or_filter("bulk_update_jobs", job_ids, filters)
        if ids is not None:
            return self._run(flows.bulk_update_ids(changes, ids, dry_run=dry_run))
        return self._run(
            flows.bulk_update_matching(changes, filters or JobFilter(), dry_run=dry_run)
        )

    # Work, for services

    def update_job_status(
        self,
        job_id: UUID | str,
        status: JobStatus | str,
        *,
        progress: int | None = None,
        stage: str | None = None,
        worker_id: str | None = None,
        output_files: Outputs = (),
        error_code: str = "processing_failed",
        error_message: str | None = None,
    ) -> VideoJob:
        """The job has the status, if the state machine has such an edge. Service only.

        For scripts that run a job without a `Worker`. Setting ``processing`` on a running job
        takes its progress. It is not repeated when a reply is lost.

        Raises:
            InvalidTransitionError: The present status does not lead there.
            OutcomeUnknownError: The reply was lost: read the job.
        """
        return self.perform(
            calls.update_status(
                job_id,
                arguments.status("update_job_status", status),
                progress=progress,
                stage=stage,
                worker=worker_id,
                outputs=output_files,
                error_code=error_code,
                error_message=error_message,
            )
        )

    def start_processing(
        self,
        job_id: UUID | str,
        worker_id: str = "manual",
        *,
        lease: timedelta | None = None,
    ) -> Lease:
        """One named job is leased to you, whatever its run_at. Service only.

        Args:
            job_id: A queued job.
            worker_id: Who you are, as the job will show it.
            lease: For how long without a heartbeat; an hour if not given.

        Raises:
            InvalidTransitionError: The job is not queued.
        """
        seconds = arguments.lease_seconds(lease, self.settings.manual_lease_seconds)
        return self.perform(calls.start_processing(job_id, worker_id, new_key(), seconds))

    def claim_jobs(
        self,
        worker_id: str,
        *,
        queues: Sequence[str] = ("default",),
        pipelines: Sequence[str] | None = None,
        limit: int = 1,
        lease: timedelta | None = None,
        hard_limit: timedelta | None = None,
        claim_key: UUID | None = None,
    ) -> list[Lease]:
        """Up to *limit* ready jobs are leased to the worker; an empty list if none is. Service only.

        In the order of the queues, then by priority, by turns of the tenants, by run_at and age.
        Limits are kept; see `set_limit`.

        Args:
            worker_id: Unique for each start of a worker.
            queues: Which queues, first things first.
            pipelines: Only jobs of these; any if not given.
            limit: 1 to 100.
            lease: How long a silent worker keeps them; a minute if not given.
            hard_limit: How long an attempt may run even while its worker beats.
            claim_key: Give the same again after an error: if only the reply was lost, the same
                leases come. A new one if not given.
        """
        return self.perform(
            calls.claim_jobs(
                ClaimWish(
                    worker=worker_id,
                    claim_key=claim_key or new_key(),
                    queues=list(dict.fromkeys(queues)) if not isinstance(queues, str) else queues,
                    pipelines=pipelines,
                    limit=limit,
                    lease_seconds=arguments.lease_seconds(lease, self.settings.lease_seconds),
                    hard_limit_seconds=arguments.positive("claim_jobs", "hard_limit", hard_limit),
                )
            )
        )

    def listen_for_work(self) -> AbstractContextManager[Listener]:
        """A context whose ``wait(queues, seconds)`` returns when one of the queues got a job.

        The database wakes it on a direct connection, and through Realtime over Supabase;
        elsewhere it is a pause. Either way the jobs must be claimed: several workers are woken
        for one job.
        """
        return self._transport.listen(Channel.QUEUE)

    def listen_for_changes(self) -> AbstractContextManager[Announcements]:
        """A context whose ``hear(seconds)`` returns when jobs were created, changed or deleted.

        What it returns are ids of changed jobs and other words; they only call to look. The
        database wakes it on a direct connection, and through Realtime over Supabase; elsewhere it
        is a pause. `videojobs.live` is built on it.
        """
        return self._transport.announcements(Channel.CHANGES, Channel.QUEUE)

    def listen_for_webhooks(self) -> AbstractContextManager[Announcements]:
        """A context whose ``hear(seconds)`` returns when webhooks have something to send."""
        return self._transport.announcements(Channel.WEBHOOKS)

    def heartbeat(
        self,
        beats: Sequence[Beat],
        *,
        lease: timedelta | None = None,
        worker_id: str | None = None,
        facts: Mapping[str, Any] | None = None,
        deadline_seconds: float | None = None,
    ) -> list[BeatReply]:
        """The leases are kept, and the progress is stored; one verdict for each beat. Service only.

        Args:
            beats: One for each job of the worker, up to 500.
            lease: How long from now a silent worker keeps them.
            worker_id: Whose beats they are: then it is listed as present, and each reply says
                whether it should drain. Without beats, that order is a reply without a job.
            facts: What `list_workers` shall show of it; once is enough.
            deadline_seconds: For how long to try, when the database cannot be reached.
        """
        seconds = arguments.lease_seconds(lease, self.settings.lease_seconds)
        return self.perform(calls.heartbeat(beats, seconds, worker_id, facts), deadline_seconds)

    def complete_job(
        self,
        job: Lease | VideoJob | UUID | str,
        output_files: Outputs = (),
        processing_time: float | None = None,
        *,
        detail: Mapping[str, Any] | None = None,
    ) -> VideoJob:
        """The job is completed. Repeating it by the same lease returns the stored job. Service only.

        Args:
            job: The lease; or the job or its id, if you started it yourself.
            output_files: Paths, or `OutputFile` with facts.
            processing_time: Seconds of work; since the claim if not given.
            detail: More for the history, such as warnings.

        Raises:
            LeaseLostError: Another attempt owns the job: stop working on it.
            InvalidTransitionError: By id only: the job is not running.
        """
        return self.perform(calls.complete_job(job, output_files, processing_time, detail or {}))

    def fail_job(
        self,
        job: Lease | VideoJob | UUID | str,
        error_message: str,
        *,
        error_code: str = "processing_failed",
        retryable: bool = True,
        detail: Mapping[str, Any] | None = None,
    ) -> VideoJob:
        """The attempt has failed: the job is queued again with a growing pause, or failed. Service only.

        Args:
            job: The lease; or the job or its id, if you started it yourself.
            error_message: What happened, for people.
            error_code: A word for programs.
            retryable: Whether another attempt could succeed.
            detail: More for the history, such as the end of ffmpeg's output.

        Raises:
            LeaseLostError: Another attempt owns the job: stop working on it.
            InvalidTransitionError: By id only: the job is not running.
        """
        return self.perform(
            calls.fail_job(
                job,
                error_message,
                error_code=error_code,
                retryable=retryable,
                detail=detail or {},
            )
        )

    def release_job(self, lease: Lease) -> VideoJob:
        """The job is given back unfinished, at no cost to its attempts. Service only.

        Raises:
            LeaseLostError: Another attempt owns the job already.
        """
        return self.perform(calls.release_job(lease))

    def confirm_cancel(self, lease: Lease) -> VideoJob:
        """The work has stopped, and the job is cancelled. Service only.

        Raises:
            LeaseLostError: The job was taken away, since stopping took too long.
        """
        return self.perform(calls.confirm_cancel(lease))

    def log(
        self, lease: Lease, message: str, *, detail: Mapping[str, Any] | None = None
    ) -> Verdict:
        """The note is in the job's history, for people; says whether to go on. Service only.

        Args:
            lease: The right to write on the job.
            message: Up to 4,000 characters.
            detail: More for programs, up to 16 kB as JSON.

        Raises:
            LeaseLostError: Another attempt owns the job: stop working on it.
            OutcomeUnknownError: The reply was lost; the note may be there.
        """
        return self.perform(calls.log(lease, message, detail or {}))

    # Look after

    def find_stuck_jobs(
        self, *, running_longer_than: timedelta | None = None, limit: int = 100
    ) -> list[VideoJob]:
        """Running jobs whose lease has ended, longest running first. Service only.

        Args:
            running_longer_than: Also those that run for longer than this.
            limit: 1 to 500.
        """
        seconds = arguments.positive("find_stuck_jobs", "running_longer_than", running_longer_than)
        return self.perform(calls.find_stuck(seconds, limit))

    def recover_stuck_jobs(self, *, limit: int = 100) -> list[RecoveredJob]:
        """Jobs of silent workers are queued again, or failed after too many such. Service only.

        Harmless at any time, from any number of places. Workers do it by themselves.
        """
        return self.perform(calls.recover(limit))

    def check(self) -> Health:
        """What the database says of itself: version, clock, counts, leases. Service only."""
        return self.perform(calls.check())

    # How it is done

    def perform(self, call: Call[T], deadline_seconds: float | None = None) -> T:
        """The answer to any call, repeated where that is harmless, for up to the deadline."""
        seconds = self.settings.deadline_seconds if deadline_seconds is None else deadline_seconds
        return perform(self._transport, call, seconds)

    def _run(self, flow: Flow[T]) -> T:
        return driving.run(flow, self._transport, self.perform)

    def _stream(self, flow: Flow[None]) -> Iterator[Any]:
        return driving.stream(flow, self._transport, self.perform)
