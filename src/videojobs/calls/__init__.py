"""Every operation as a value: which SQL function, with what, and how to read its answer.

Nothing here talks to anybody. The managers hand these values to a transport.
"""

from videojobs.calls._call import Call, Json, Repeatable, as_id
from videojobs.calls.jobs import (
    cancel_job,
    create_job,
    delete_job,
    get_job,
    list_events,
    list_jobs,
    retry_job,
)
from videojobs.calls.many import (
    bulk_update_ids,
    bulk_update_matching,
    check,
    clear,
    create_jobs,
    get_stats,
)
from videojobs.calls.work import (
    claim_jobs,
    complete_job,
    confirm_cancel,
    fail_job,
    find_stuck,
    heartbeat,
    recover,
    release_job,
    start_processing,
    update_status,
)

__all__ = [
    "Call",
    "Json",
    "Repeatable",
    "as_id",
    "bulk_update_ids",
    "bulk_update_matching",
    "cancel_job",
    "check",
    "claim_jobs",
    "clear",
    "complete_job",
    "confirm_cancel",
    "create_job",
    "create_jobs",
    "delete_job",
    "fail_job",
    "find_stuck",
    "get_job",
    "get_stats",
    "heartbeat",
    "list_events",
    "list_jobs",
    "recover",
    "release_job",
    "retry_job",
    "start_processing",
    "update_status",
]
