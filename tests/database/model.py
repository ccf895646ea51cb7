"""What the queue is meant to do, in plain Python: one method for each operation of the database.

Most methods answer with one word: a verdict, ``"ok"`` where there is none, or the SQLSTATE of a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count, zip_longest

MISSING, INVALID, OTHER_CONTENT = "VJ001", "VJ002", "VJ003"
FINAL = ("completed", "failed", "cancelled")
MAX_LOST = 2
"""As the test sets it, lower than usual, so that few losses suffice."""

Attempt = tuple[int, int]
"""A job's number and the run token of one attempt at it."""
NOBODY = -1
"""Before all tenants, who are numbered from 0."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks to be created."""

    tenant: int
    key: int | None
    content: str
    queue: str
    pipeline: str
    priority: int
    max_attempts: int
    is_due: bool


@dataclass(slots=True)
class Lease:
    """An attempt's right to its job."""

    run_token: int
    worker: str
    claim_key: int
    expires_at: datetime | None = None
    """As the database said, as soon as it did."""
    is_expired: bool = False
    is_past_deadline: bool = False

    @property
    def is_overdue(self) -> bool:
        return self.is_expired or self.is_past_deadline


@dataclass(slots=True)
class Job:
    """What is expected of a stored job."""

    number: int
    wish: Wish
    queue: str
    priority: int
    is_due: bool
    since: int
    """Grows with the job's run_at, among those that are due."""
    status: str = "queued"
    attempt: int = 0
    lost_count: int = 0
    run_token: int = 0
    progress: int = 0
    stage: str | None = None
    checkpoint: int | None = None
    outputs: list[int] = field(default_factory=list)
    lease: Lease | None = None
    is_asked_to_stop: bool = False
    is_grace_over: bool = False
    retry_keys: set[int] = field(default_factory=set)
    history: list[str] = field(default_factory=lambda: ["created"])

    @property
    def is_overdue(self) -> bool:
        return self.lease is not None and (self.lease.is_overdue or self.is_grace_over)

    def key(self, kind: str) -> str:
        """Return what a limit of the kind knows the job by."""
        keys = {
            "tenant": str(self.wish.tenant),
            "queue": self.queue,
            "pipeline": self.wish.pipeline,
        }
        return keys[kind]


class Queue:
    """All jobs that were created and not deleted, by their numbers, and the rules of their order."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.archived: dict[int, Job] = {}
        self.limits: dict[tuple[str, str], int] = {}
        """How many may run, by the kind of limit and its key."""
        self.fifo_queues: set[str] = set()
        self._served: dict[tuple[str, int], int] = {}
        """The tenant that was served last, by queue and priority."""
        self._moments = count(1)

    # What can be asked of it

    def jobs_that_are(self, *statuses: str) -> list[int]:
        """Return the numbers of the jobs in one of the statuses, the oldest first."""
        return [job.number for job in self.jobs.values() if job.status in statuses]

    def numbers(self) -> list[int]:
        """Return the numbers of all jobs."""
        return list(self.jobs)

    def attempts(self) -> list[Attempt]:
        """Return the attempts that hold a lease."""
        return [(job.number, job.lease.run_token) for job in self.jobs.values() if job.lease]

    def waiting(self) -> list[int]:
        """Return the queued jobs that are not due."""
        return [n for n in self.jobs_that_are("queued") if not self.jobs[n].is_due]

    def running_under(self, kind: str, key: str) -> int:
        """Return how many jobs run that a limit of the kind would count."""
        return sum(1 for job in self._running() if key in ("*", job.key(kind)))

    # People

    def create(self, number: int, wish: Wish) -> int | str:
        """Store the job, or find the one that its number or key names; return the number."""
        known = self.jobs.get(number) or self._keyed(wish)
        if known is None:
            self.jobs[number] = Job(
                number, wish, wish.queue, wish.priority, wish.is_due, next(self._moments)
            )
            return number
        same = (known.wish.content, known.wish.pipeline) == (wish.content, wish.pipeline)
        return known.number if same else OTHER_CONTENT

    def cancel(self, number: int) -> str:
        """Cancel a queued job; ask a running one to stop."""
        job = self.jobs.get(number)
        if job is None:
            return self._absent(number)
        if job.status in ("completed", "failed"):
            return INVALID
        if job.status == "queued":
            self._move(job, "cancelled", "cancelled")
        elif job.status == "processing" and not job.is_asked_to_stop:
            job.is_asked_to_stop = True
            job.history.append("cancel_requested")
        return "ok"

    def retry(self, number: int, retry_key: int | None = None) -> str:
        """Give a failed or cancelled job all its attempts again."""
        job = self.jobs.get(number)
        if job is None:
            return self._absent(number)
        if retry_key in job.retry_keys:
            return "ok"
        if job.status in ("failed", "cancelled"):
            job.attempt = job.lost_count = 0
            job.run_token += 1
            job.outputs = []
            self._to_queue(job, "requeued")
            if retry_key is not None:
                job.retry_keys.add(retry_key)
            return "ok"
        return INVALID

    def delete(self, number: int) -> str:
        """Forget a final job."""
        job = self.jobs.get(number)
        if job is None:
            return self._absent(number)
        if job.status not in FINAL:
            return INVALID
        del self.jobs[number]
        return "ok"

    def clear(self, queue: str, limit: int) -> set[int]:
        """Forget the oldest final jobs of the queue; return their numbers."""
        gone = [n for n in self.jobs_that_are(*FINAL) if self.jobs[n].queue == queue][:limit]
        for number in gone:
            del self.jobs[number]
        return set(gone)

    def change(
        self, number: int, *, status: str | None, priority: int | None, queue: str | None
    ) -> str:
        """Change one job of a bulk; return the outcome."""
        job = self.jobs.get(number)
        if job is None:
            return "not_found"
        place = (
            job.priority if priority is None else priority,
            job.queue if queue is None else queue,
        )
        moves = status not in (None, job.status) and not (
            status == "cancelled" and job.is_asked_to_stop
        )
        reschedules = place != (job.priority, job.queue)
        sources = {"cancelled": ("queued", "processing"), "queued": ("failed", "cancelled")}
        if moves and job.status not in sources[status]:
            return "invalid_transition"
        if reschedules and (status or job.status) != "queued":
            return "invalid_transition"
        if moves:
            self.cancel(number) if status == "cancelled" else self.retry(number)
        if reschedules:
            job.priority, job.queue = place
            job.history.append("changed")
        return "updated" if moves or reschedules else "unchanged"

    # Workers

    def claim(
        self,
        worker: str,
        claim_key: int,
        *,
        queues: Sequence[str],
        pipelines: Sequence[str] | None,
        limit: int,
    ) -> list[Attempt]:
        """Lease what is next, or find what was leased with the key before, in order."""
        chosen = self._held(worker, claim_key)
        if not chosen:
            lease = Lease(0, worker, claim_key)
            chosen = self._lease_ready(lease, queues, pipelines, limit)
            if len(chosen) < limit and any(
                job.lease and job.lease.is_expired for job in self.jobs.values()
            ):
                self.recover(limit)
                chosen += self._lease_ready(lease, queues, pipelines, limit - len(chosen))
        return [(job.number, job.run_token) for job in chosen]

    def start(self, number: int) -> str:
        """Say whether the named job may be leased; `started` leases it."""
        job = self.jobs.get(number)
        if job is None:
            return self._absent(number)
        return "ok" if job.status == "queued" else INVALID

    def started(self, number: int, worker: str, claim_key: int) -> Attempt:
        """Lease the named job, due or not and whatever the limits."""
        job = self.jobs[number]
        self._lease(job, Lease(0, worker, claim_key))
        return number, job.run_token

    def beat(
        self,
        attempt: Attempt,
        *,
        progress: int | None,
        stage: str | None,
        checkpoint: int | None,
        until: datetime | None,
    ) -> str:
        """Keep the attempt's lease until then, as the database said, and take its progress."""
        number, run_token = attempt
        job = self.jobs.get(number)
        if job is None or job.run_token != run_token:
            return "lost"
        if job.lease is None:
            return "final"
        if job.lease.is_past_deadline:
            return "lost"
        assert until is not None
        job.lease.expires_at, job.lease.is_expired = until, False
        job.checkpoint = job.checkpoint if checkpoint is None else checkpoint
        job.stage = stage or job.stage
        job.progress = max(job.progress, progress or 0)
        return "cancel_requested" if job.is_asked_to_stop else "ok"

    def log(self, attempt: Attempt) -> str:
        """Take the attempt's note."""
        number, run_token = attempt
        job = self.jobs.get(number)
        answer = self._may_settle(job, run_token, number)
        if answer != "ok":
            return answer
        job.history.append("logged")
        return "cancel_requested" if job.is_asked_to_stop else "ok"

    def settle(self, outcomes: dict[Attempt, str], outputs: list[int]) -> dict[Attempt, str]:
        """End several attempts, those that went well before the others; return the verdicts."""
        ends = {
            "completed": lambda number, token: self.complete(number, token, outputs),
            "retryable": lambda number, token: self.fail(number, token, retryable=True),
            "failed": lambda number, token: self.fail(number, token, retryable=False),
            "released": self.release,
            "cancelled": self.confirm_cancel,
        }
        in_order = sorted(outcomes, key=lambda attempt: (outcomes[attempt] != "completed", attempt))
        return {attempt: ends[outcomes[attempt]](*attempt) for attempt in in_order}

    def complete(self, number: int, run_token: int | None, outputs: list[int]) -> str:
        """End the attempt, or any attempt if no token is given, with its result."""
        job = self.jobs.get(number)
        if run_token is None and job and (job.status, job.outputs) == ("completed", outputs):
            return "final"
        answer = self._may_settle(job, run_token, number)
        if answer == "ok":
            self._move(job, "completed", "completed")
            job.progress, job.outputs = 100, outputs
        return answer

    def fail(self, number: int, run_token: int | None, *, retryable: bool) -> str:
        """End the attempt; another follows if it may."""
        job = self.jobs.get(number)
        answer = self._may_settle(job, run_token, number)
        if answer == "ok":
            self._give_up(job, "retried" if retryable else "failed")
        return answer

    def release(self, number: int, run_token: int | None) -> str:
        """Give the job back; the attempt does not count."""
        job = self.jobs.get(number)
        answer = self._may_settle(job, run_token, number)
        if answer == "ok":
            self._give_up(job, "released")
        return answer

    def confirm_cancel(self, number: int, run_token: int) -> str:
        """End the attempt as somebody wished."""
        job = self.jobs.get(number)
        answer = self._may_settle(job, run_token, number)
        if answer == "ok":
            self._give_up(job, "cancelled")
        return answer

    def recover(self, limit: int) -> list[tuple[int, str]]:
        """Take back the jobs that are overdue the longest; return their numbers and what became of them."""
        overdue = [job for job in self.jobs.values() if job.is_overdue]
        overdue.sort(key=lambda job: job.lease.expires_at)
        return [
            (job.number, self._revoke(job))
            for job in sorted(overdue[:limit], key=lambda job: job.number)
        ]

    def set_status(self, number: int, status: str, *, progress: int | None) -> str:
        """Bring the job to the status, as a service without a lease does."""
        is_running = number in self.jobs and self.jobs[number].status == "processing"
        match status:
            case "processing" if is_running:
                self.jobs[number].progress = max(self.jobs[number].progress, progress or 0)
                return "ok"
            case "processing":
                return self.start(number)
            case "completed":
                return _without_verdict(self.complete(number, None, []))
            case "failed":
                return self.fail(number, None, retryable=False)
            case "cancelled":
                return self.cancel(number)
            case _ if is_running:
                return self.release(number, None)
            case _:
                return self.retry(number)

    # Operators

    def archive(self, statuses: Sequence[str], limit: int) -> list[int]:
        """Move final jobs out of the way, the oldest of each status first; return their numbers."""
        moved = [n for status in statuses for n in self.jobs_that_are(status)][:limit]
        self.archived.update({number: self.jobs.pop(number) for number in moved})
        return moved

    def set_limit(
        self, kind: str, key: str, max_running: int | None
    ) -> list[tuple[str, str, int, int]]:
        """Set or lift a limit; return all with how many run under each."""
        if max_running is None:
            self.limits.pop((kind, key), None)
        else:
            self.limits[kind, key] = max_running
        return [
            (kind, key, most, self.running_under(kind, key))
            for (kind, key), most in sorted(self.limits.items())
        ]

    def set_queue(self, queue: str, *, is_fair: bool) -> None:
        """Let the tenants of a queue take turns, or the oldest job be first."""
        (self.fifo_queues.discard if is_fair else self.fifo_queues.add)(queue)

    # Time

    def expire(self, number: int, expired_at: datetime) -> None:
        """The job's worker went silent."""
        lease = self.jobs[number].lease
        lease.expires_at, lease.is_expired = expired_at, True

    def pass_deadline(self, number: int) -> None:
        """The job's attempt has run too long."""
        self.jobs[number].lease.is_past_deadline = True

    def pass_grace(self, number: int) -> None:
        """The job's worker did not stop when it was asked to."""
        self.jobs[number].is_grace_over = True

    def fall_due(self, number: int) -> None:
        """The job's wait is over."""
        self.jobs[number].is_due = True
        self.jobs[number].since = next(self._moments)

    # The rules that the operations share

    def _keyed(self, wish: Wish) -> Job | None:
        jobs = (job for job in self.jobs.values() if job.wish.key is not None)
        named = (job for job in jobs if (job.wish.tenant, job.wish.key) == (wish.tenant, wish.key))
        return next(named, None)

    def _absent(self, number: int) -> str:
        return INVALID if number in self.archived else MISSING

    def _running(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.lease]

    def _held(self, worker: str, claim_key: int) -> list[Job]:
        held = [
            job
            for job in self._running()
            if (job.lease.worker, job.lease.claim_key) == (worker, claim_key)
        ]
        return sorted(held, key=lambda job: (-job.priority, job.since))

    def _lease_ready(
        self, lease: Lease, queues: Sequence[str], pipelines: Sequence[str] | None, limit: int
    ) -> list[Job]:
        if not self._are_limited(queues, pipelines):
            chosen: list[Job] = []
            for queue in queues:
                is_fair = queue not in self.fifo_queues
                chosen += self._choose(queue, pipelines, limit - len(chosen), is_fair=is_fair)
            for job in chosen:
                self._lease(job, replace(lease))
            return chosen
        chosen = []
        while len(chosen) < limit and (job := self._choose_within_limits(queues, pipelines)):
            self._lease(job, replace(lease))
            chosen.append(job)
        return chosen

    def _are_limited(self, queues: Sequence[str], pipelines: Sequence[str] | None) -> bool:
        concerned = {"queue": ("*", *queues), "pipeline": ("*", *(pipelines or ()))}
        return any(
            kind == "tenant" or key in concerned[kind] or (kind == "pipeline" and pipelines is None)
            for kind, key in self.limits
        )

    def _has_room(self, kind: str, key: str) -> bool:
        most = self.limits.get((kind, key), self.limits.get((kind, "*")))
        return most is None or self.running_under(kind, key) < most

    def _choose_within_limits(
        self, queues: Sequence[str], pipelines: Sequence[str] | None
    ) -> Job | None:
        tenants = {job.key("tenant"): job.wish.tenant for job in self._running()}
        blocked = {tenant for key, tenant in tenants.items() if not self._has_room("tenant", key)}
        for queue in queues:
            if not self._has_room("queue", queue):
                continue
            lanes = [
                lane
                for lane in {job.wish.pipeline for job in self.jobs.values()}
                if (pipelines is None or lane in pipelines) and self._has_room("pipeline", lane)
            ]
            while found := self._next_of(queue, lanes, blocked):
                (job,) = found
                if self._has_room("tenant", job.key("tenant")):
                    return job
                blocked.add(job.wish.tenant)
        return None

    def _next_of(self, queue: str, lanes: Sequence[str], blocked: Set[int]) -> list[Job]:
        is_fair = queue not in self.fifo_queues
        found = self._choose(queue, lanes, 1, is_fair=is_fair, blocked=blocked)
        if not found and blocked and not is_fair:
            # Only turns get past the jobs of a tenant who is held back, however many there are.
            found = self._choose(queue, lanes, 1, is_fair=True, blocked=blocked)
        return found

    def _choose(
        self,
        queue: str,
        pipelines: Sequence[str] | None,
        wanted: int,
        *,
        is_fair: bool,
        blocked: Set[int] = frozenset(),
    ) -> list[Job]:
        """Return the jobs that are next: by priority, then by turns or by age."""
        chosen: list[Job] = []
        for priority in reversed(range(10)):
            here = [
                job
                for job in self.jobs.values()
                if (job.status, job.queue, job.priority) == ("queued", queue, priority)
            ]
            if not here or len(chosen) >= wanted:
                continue
            lane = [job for job in here if pipelines is None or job.wish.pipeline in pipelines]
            ready = sorted((job for job in lane if job.is_due), key=lambda job: job.since)
            if not ready:  # where all are delayed, nobody has a turn
                continue
            picked: list[Job] = []
            if is_fair:
                tenants = sorted({job.wish.tenant for job in lane})
                wishes = wanted - len(chosen)
                picked = self._by_turns((queue, priority), tenants, ready, wishes, blocked)
            free = [job for job in ready if job.wish.tenant not in blocked]
            picked += [job for job in free if job not in picked]
            chosen += picked[: wanted - len(chosen)]
        return chosen

    def _by_turns(
        self,
        place: tuple[str, int],
        tenants: list[int],
        ready: list[Job],
        wanted: int,
        blocked: Set[int],
    ) -> list[Job]:
        """Return one job of each tenant in turn, in rounds, beginning after the one served last."""
        served = self._served.get(place)
        later = [tenant for tenant in tenants if served is None or tenant > served]
        earlier = [tenant for tenant in tenants if tenant not in later]
        lines = [
            [job for job in ready if job.wish.tenant == tenant and tenant not in blocked]
            for tenant in (*later, *earlier)
        ]
        rounds = zip_longest(*[line for line in lines if line][:wanted])
        picked = [job for round_ in rounds for job in round_ if job][:wanted]
        if picked:
            self._served[place] = picked[-1].wish.tenant
        else:
            looked_at = later if served is None else earlier
            self._served[place] = looked_at[-1] if looked_at else NOBODY
        return picked

    def _lease(self, job: Job, lease: Lease) -> None:
        job.run_token += 1
        lease.run_token = job.run_token
        job.attempt += 1
        self._move(job, "processing", "claimed")
        job.progress = 0
        job.lease = lease

    def _may_settle(self, job: Job | None, run_token: int | None, number: int) -> str:
        if run_token is None:
            return self._absent(number) if job is None else "ok" if job.lease else INVALID
        job = job or self.archived.get(number)
        if job is None or job.run_token != run_token:
            return "lost"
        return "ok" if job.lease else "final"

    def _give_up(self, job: Job, event: str) -> None:
        if job.is_asked_to_stop:
            event = "cancelled"
        elif event == "retried" and job.attempt >= job.wish.max_attempts:
            event = "failed"
        self._end(job, event)

    def _revoke(self, job: Job) -> str:
        job.run_token += 1
        if job.is_asked_to_stop:
            event = "cancelled"
        elif not job.lease.is_expired:
            event = "retried" if job.attempt < job.wish.max_attempts else "failed"
        else:
            event = "lost" if job.lost_count + 1 >= MAX_LOST else "rescued"
        self._end(job, event)
        return event

    def _end(self, job: Job, event: str) -> None:
        if event in ("rescued", "lost"):
            job.lost_count += 1
        if event in ("rescued", "released"):
            job.attempt -= 1
        if event in ("rescued", "released", "retried"):
            self._to_queue(job, event)
            job.is_due = event != "retried"
        else:
            self._move(job, "failed" if event == "lost" else event, event)

    def _to_queue(self, job: Job, event: str) -> None:
        self._move(job, "queued", event)
        job.progress = 0
        job.is_due = True
        job.since = next(self._moments)

    def _move(self, job: Job, status: str, event: str) -> None:
        job.status = status
        job.history.append(event)
        job.is_asked_to_stop = job.is_grace_over = False
        job.lease = job.stage = None
        # Whatever else a job becomes, the next attempt goes on from its checkpoint.
        if status in FINAL:
            job.checkpoint = None


def _without_verdict(answer: str) -> str:
    return "ok" if answer == "final" else answer
